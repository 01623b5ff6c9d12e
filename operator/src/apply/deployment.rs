//! The Deployment: who says how many pods there are, and when its pods are left alone.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{ApplyError, Cached, Change, MANAGER, Outcome, REPLICAS_MANAGER, Target, Verb};
use crate::desired::{
    DeploymentPlan, Replicas,
    hash::{SPEC_ANNOTATION, TEMPLATE_ANNOTATION},
};

const KIND: &str = "Deployment";
/// Of a write that others get in the way of.
const TRIES: usize = 5;

/// An upgraded operator renders other pods for the same resource. They stay as they are until the resource changes, or
/// its annotation `diffusion-operator.dev/update` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The image that new pods would have.
    pub image: String,
}

impl Target<'_> {
    /// Applies the Deployment without its number of pods, then the number, each under its own field manager: so the
    /// autoscaler's number is never touched, and never dropped either.
    pub(super) async fn deployment(
        &self,
        out: &mut Outcome,
        plan: DeploymentPlan,
        cached: Cached,
        live: &mut Option<Deployment>,
    ) {
        match self.try_deployment(out, plan, cached, live.as_ref()).await {
            Ok(object) => *live = Some(object),
            Err(error) => {
                if matches!(error, ApplyError::Conflict { .. }) {
                    *live = None;
                }
                out.errors.push(error);
            }
        }
    }

    async fn try_deployment(
        &self,
        out: &mut Outcome,
        plan: DeploymentPlan,
        cached: Cached,
        live: Option<&Deployment>,
    ) -> Result<Deployment, ApplyError> {
        let DeploymentPlan { deployment: mut desired, replicas, .. } = plan;
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.service.namespace);
        let Some(live) = live else {
            // The first time the number goes along, so that no pod is started only to be one of two a moment later.
            let first = if cached == Cached::NotYet { 0 } else { wanted(replicas, None).unwrap_or(1) };
            desired.spec.replicas = Some(first);
            let (made, verb) = self.make(&api, KIND, &desired, None).await?;
            self.set_replicas(&api, made.clone(), |_| first).await?;
            out.changes.extend(verb.map(|verb| Change { verb, kind: KIND.into(), name: made.name_any() }));
            desired.spec.replicas = None;
            return Ok(self.make(&api, KIND, &desired, Some(&made)).await?.0);
        };
        self.check(KIND, &live.metadata)?;
        let mut current = live.clone();
        // A crash between the two writes above leaves the number to the wrong manager, and dropping it would mean 1.
        if only_manager_of_replicas(&current) {
            current = self.set_replicas(&api, current, |now| now).await?;
        }
        let serves_from_elsewhere = cached == Cached::NotYet && replicas_of(&current) > 0;
        if let Some(held) = held(&desired, &current) {
            out.held = Some(held);
        } else if !serves_from_elsewhere {
            let (made, verb) = self.make(&api, KIND, &desired, Some(&current)).await?;
            out.changes.extend(verb.map(|verb| Change { verb, kind: KIND.into(), name: made.name_any() }));
            current = made;
        }
        let number = |now: i32| match cached {
            Cached::NotYet if now == 0 => 0,
            _ => wanted(replicas, Some(now)).unwrap_or(now),
        };
        let now = replicas_of(&current);
        if number(now) != now {
            current = self.set_replicas(&api, current, number).await?;
            out.changes.push(Change { verb: Verb::Changed, kind: KIND.into(), name: current.name_any() });
        }
        Ok(current)
    }

    /// Takes the number over. If the Deployment has changed since it was read (the autoscaler was quicker), it is read
    /// again: `number` is asked with what is there.
    async fn set_replicas(
        &self,
        api: &Api<Deployment>,
        mut live: Deployment,
        number: impl Fn(i32) -> i32,
    ) -> Result<Deployment, ApplyError> {
        let name = live.name_any();
        let failed = |source| ApplyError::Api { kind: KIND.into(), name: name.clone(), source };
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        for _ in 0..TRIES {
            let patch = json!({
                "apiVersion": "apps/v1", "kind": KIND,
                "metadata": {"name": name, "resourceVersion": live.resource_version()},
                "spec": {"replicas": number(replicas_of(&live))},
            });
            match api.patch(&name, &params, &Patch::Apply(&patch)).await {
                Ok(made) => return Ok(made),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    live = api.get(&name).await.map_err(failed)?
                }
                Err(source) => return Err(failed(source)),
            }
        }
        Err(ApplyError::Busy { kind: KIND.into(), name })
    }
}

/// The number to set, if it is ours to set.
fn wanted(replicas: Replicas, now: Option<i32>) -> Option<i32> {
    match (replicas, now) {
        (Replicas::Fixed(number), _) => Some(number),
        // Between its bounds the autoscaler has the word; it never starts from nothing.
        (Replicas::Autoscaled { min, .. }, None | Some(0)) => Some(min),
        (Replicas::Autoscaled { .. }, Some(_)) => None,
    }
}

fn replicas_of(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// Whether nobody but the manager that is about to drop it says how many pods there are.
fn only_manager_of_replicas(deployment: &Deployment) -> bool {
    let mut of_main = false;
    for entry in deployment.metadata.managed_fields.iter().flatten() {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |f| &f.0);
        if fields.get("f:spec").and_then(|s| s.get("f:replicas")).is_none() {
            continue;
        }
        if entry.manager.as_deref() != Some(MANAGER) {
            return false;
        }
        of_main = true;
    }
    of_main
}

/// Whether the pods should be left alone: same resource, other operator.
fn held(desired: &Deployment, live: &Deployment) -> Option<Held> {
    let annotation =
        |d: &Deployment, key: &str| d.metadata.annotations.as_ref().and_then(|a| a.get(key)).cloned();
    let live_spec = annotation(live, SPEC_ANNOTATION)?;
    let live_template = annotation(live, TEMPLATE_ANNOTATION)?;
    let same_resource = annotation(desired, SPEC_ANNOTATION)? == live_spec;
    let same_template = annotation(desired, TEMPLATE_ANNOTATION)? == live_template;
    (same_resource && !same_template).then(|| Held { image: image(desired).unwrap_or_default() })
}

fn image(deployment: &Deployment) -> Option<String> {
    deployment.spec.template.spec.as_ref()?.containers.first()?.image.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec_hash: &str, template_hash: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "sd", "annotations": {SPEC_ANNOTATION: spec_hash, TEMPLATE_ANNOTATION: template_hash}},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "server", "image": "server:2"}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn an_upgrade_leaves_pods_alone_and_a_change_of_the_resource_does_not() {
        assert_eq!(
            held(&deployment("a", "2"), &deployment("a", "1")),
            Some(Held { image: "server:2".into() })
        );
        assert_eq!(held(&deployment("b", "2"), &deployment("a", "1")), None);
        assert_eq!(held(&deployment("a", "1"), &deployment("a", "1")), None);
    }

    #[test]
    fn the_autoscalers_number_is_left_to_it_but_for_zero() {
        let scaled = Replicas::Autoscaled { min: 2, max: 5 };
        assert_eq!(wanted(scaled, None), Some(2));
        assert_eq!(wanted(scaled, Some(0)), Some(2));
        assert_eq!(wanted(scaled, Some(1)), None);
        assert_eq!(wanted(scaled, Some(9)), None);
        assert_eq!(wanted(Replicas::Fixed(3), Some(7)), Some(3));
    }

    #[test]
    fn a_number_that_only_the_main_manager_holds_is_handed_over_first() {
        let with = |managers: &[&str]| -> Deployment {
            let fields: Vec<_> = managers
                .iter()
                .map(|m| json!({"manager": m, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}))
                .collect();
            serde_json::from_value(json!({"metadata": {"managedFields": fields}})).unwrap()
        };
        assert!(only_manager_of_replicas(&with(&[MANAGER])));
        assert!(!only_manager_of_replicas(&with(&[MANAGER, REPLICAS_MANAGER])));
        assert!(!only_manager_of_replicas(&with(&["kube-controller-manager"])));
        assert!(!only_manager_of_replicas(&with(&[])));
    }
}
