//! One object: made, changed, left alone or deleted, and never taken from somebody else.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{ApplyError, MANAGER, Outcome, Target, memory::print, prune::delete};
use crate::{desired::RETAIN_ANNOTATION, observe::Kind, select::INSTANCE};

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Created,
    Changed,
    Deleted,
}

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub verb: Verb,
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Target<'_> {
    /// Makes the object so, or deletes it if none is desired.
    pub(super) async fn one<K: Kind + Serialize>(
        &self,
        out: &mut Outcome,
        desired: Option<K>,
        live: &mut Option<K>,
    ) {
        let api = Api::namespaced(self.client.clone(), &self.service.namespace);
        self.dynamic(out, &api, desired, live).await;
    }

    /// The same for any kind.
    pub(super) async fn dynamic<K>(
        &self,
        out: &mut Outcome,
        api: &Api<K>,
        desired: Option<K>,
        live: &mut Option<K>,
    ) where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let kind = kind_of(desired.as_ref().or(live.as_ref()));
        match desired {
            Some(desired) => match self.make(api, &kind, &desired, live.as_ref()).await {
                Ok((object, verb)) => {
                    let name = object.name_any();
                    *live = Some(object);
                    out.changes.extend(verb.map(|verb| Change { verb, kind, name }));
                }
                Err(error) => {
                    // A foreign object must not be taken for ours by what follows.
                    if matches!(error, ApplyError::Conflict { .. }) {
                        *live = None;
                    }
                    out.errors.push(error);
                }
            },
            None => {
                let Some(object) = live.take() else { return };
                if !self.owns(object.meta()) {
                    return;
                }
                let name = object.name_any();
                match delete(api, &object).await {
                    Ok(true) => out.changes.push(Change { verb: Verb::Deleted, kind, name }),
                    Ok(false) => {}
                    Err(source) => out.errors.push(ApplyError::Api { kind, name, source }),
                }
            }
        }
    }

    pub(super) async fn make<K>(
        &self,
        api: &Api<K>,
        kind: &str,
        desired: &K,
        live: Option<&K>,
    ) -> Result<(K, Option<Verb>), ApplyError>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = desired.name_any();
        if let Some(live) = live {
            self.check(kind, live.meta())?;
            if self.memory.knows(self.uid(), kind, &name, print(desired, live)) {
                return Ok((live.clone(), None));
            }
        }
        let params = PatchParams::apply(MANAGER).force();
        let made =
            api.patch(&name, &params, &Patch::Apply(desired)).await.map_err(|source| match source {
                // A missing namespace is 404, too, but says so.
                kube::Error::Api(status) if status.code == 404 && status.reason != "NotFound" => {
                    ApplyError::UnknownKind { kind: kind.to_owned() }
                }
                source => ApplyError::Api { kind: kind.to_owned(), name: name.clone(), source },
            })?;
        self.memory.remember(self.uid(), kind, &name, print(desired, &made));
        let verb = match live {
            None => Some(Verb::Created),
            Some(live) if live.resource_version() != made.resource_version() => Some(Verb::Changed),
            Some(_) => None,
        };
        Ok((made, verb))
    }

    /// Refuses an object that is not ours or is on its way out.
    pub(super) fn check(&self, kind: &str, meta: &kube::api::ObjectMeta) -> Result<(), ApplyError> {
        let name = meta.name.clone().unwrap_or_default();
        if !self.owns(meta) && !self.may_adopt(meta) {
            let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
            let owner = owner.map_or_else(
                || "nobody controls it".to_owned(),
                |o| format!("{} {} with uid {} controls it", o.kind, o.name, o.uid),
            );
            return Err(ApplyError::Conflict { kind: kind.to_owned(), name, owner });
        }
        if meta.deletion_timestamp.is_some() {
            return Err(ApplyError::Deleting { kind: kind.to_owned(), name });
        }
        Ok(())
    }

    /// Whether it is controlled by this very `DiffusionService`, not by one of the same name before it.
    pub(super) fn owns(&self, meta: &kube::api::ObjectMeta) -> bool {
        let mut owners = meta.owner_references.iter().flatten();
        owners.any(|o| o.controller == Some(true) && o.uid == self.uid())
    }

    fn uid(&self) -> &str {
        self.service.owner.as_ref().map_or("", |o| &o.uid)
    }

    /// A claim that a `DiffusionService` of the same name left behind on purpose is taken over.
    fn may_adopt(&self, meta: &kube::api::ObjectMeta) -> bool {
        let says = |map: &Option<std::collections::BTreeMap<String, String>>, key: &str, value: &str| {
            map.as_ref().and_then(|m| m.get(key)).is_some_and(|v| v == value)
        };
        meta.owner_references.iter().flatten().next().is_none()
            && says(&meta.annotations, RETAIN_ANNOTATION, "true")
            && says(&meta.labels, INSTANCE, &self.service.name)
    }
}

impl Target<'_> {
    /// The Service. Its ports are told apart by their numbers, so one that somebody edited is another port beside ours with
    /// the same name, and apply alone can't get rid of it: then the list is replaced first.
    pub(super) async fn service(&self, out: &mut Outcome, desired: Service, live: &mut Option<Service>) {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.service.namespace);
        if let Some(there) = live.as_ref().filter(|l| self.check("Service", &l.metadata).is_ok())
            && has_other_ports(&desired, there)
        {
            let ports = desired.spec.as_ref().map(|s| &s.ports);
            let patch =
                json!({"metadata": {"resourceVersion": there.resource_version()}, "spec": {"ports": ports}});
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            match api.patch(&there.name_any(), &params, &Patch::Merge(patch)).await {
                Ok(mended) => *live = Some(mended),
                Err(source) => {
                    out.errors.push(ApplyError::Api {
                        kind: "Service".into(),
                        name: there.name_any(),
                        source,
                    });
                    return;
                }
            }
        }
        self.dynamic(out, &api, Some(desired), live).await;
    }
}

fn has_other_ports(desired: &Service, live: &Service) -> bool {
    let numbers = |s: &Service| -> Vec<i32> {
        s.spec.iter().flat_map(|s| s.ports.iter().flatten()).map(|p| p.port).collect()
    };
    let wanted = numbers(desired);
    // A port that is ours and is to be another is no other's: apply changes it.
    let ours = |port: i32| {
        let key = format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}");
        live.metadata.managed_fields.iter().flatten().any(|entry| {
            let fields = entry.fields_v1.as_ref().map(|f| &f.0);
            entry.manager.as_deref() == Some(MANAGER)
                && entry.operation.as_deref() == Some("Apply")
                && fields.is_some_and(|f| f.pointer("/f:spec/f:ports").is_some_and(|p| p.get(&key).is_some()))
        })
    };
    numbers(live).into_iter().any(|port| !wanted.contains(&port) && !ours(port))
}

/// The kind of an object, for messages.
fn kind_of<K: Serialize>(object: Option<&K>) -> String {
    let value = object.and_then(|o| serde_json::to_value(o).ok()).unwrap_or_default();
    value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("object").to_owned()
}
