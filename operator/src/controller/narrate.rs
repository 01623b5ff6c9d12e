//! Events: what happened to a resource, for `kubectl describe`.

use diffusion_crds::DiffusionService;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, error_boundary::InvalidObject},
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::Context;
use crate::apply::{Change, MANAGER, Verb};

/// Tells of objects that were written.
pub(super) async fn changes(context: &Context, resource: &DiffusionService, changes: &[Change]) {
    for verb in [Verb::Created, Verb::Changed, Verb::Deleted] {
        let names: Vec<String> =
            changes.iter().filter(|c| c.verb == verb).map(|c| format!("{} {}", c.kind, c.name)).collect();
        if names.is_empty() {
            continue;
        }
        let (reason, word) = match verb {
            Verb::Created => ("Created", "made"),
            Verb::Changed => ("Changed", "changed"),
            Verb::Deleted => ("Deleted", "deleted"),
        };
        publish(
            context,
            resource,
            EventType::Normal,
            reason,
            "Apply",
            format!("{word} {}", names.join(", ")),
        )
        .await;
    }
}

/// Tells of conditions that turned.
pub(super) async fn conditions(context: &Context, resource: &DiffusionService, now: &[Condition]) {
    let before = resource.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    for condition in now.iter().filter(|c| matches!(c.type_.as_str(), "Ready" | "Degraded")) {
        let known = before.iter().find(|c| c.type_ == condition.type_);
        if known.is_some_and(|k| k.status == condition.status && k.reason == condition.reason) {
            continue;
        }
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") if known.is_none_or(|k| k.status != "True") => {
                publish(context, resource, EventType::Normal, "Ready", "Status", condition.message.clone())
                    .await;
            }
            ("Degraded", "True") => {
                publish(
                    context,
                    resource,
                    EventType::Warning,
                    &condition.reason,
                    "Status",
                    condition.message.clone(),
                )
                .await;
            }
            ("Degraded", "False") if known.is_some_and(|k| k.status == "True") => {
                publish(
                    context,
                    resource,
                    EventType::Normal,
                    "Recovered",
                    "Status",
                    condition.message.clone(),
                )
                .await;
            }
            _ => {}
        }
    }
}

async fn publish(
    context: &Context,
    resource: &DiffusionService,
    type_: EventType,
    reason: &str,
    action: &str,
    note: String,
) {
    // A note of an event may have 1024 bytes.
    let note = note.chars().take(1000).collect::<String>();
    let note = note.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 1024).map(|(_, c)| c).collect();
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &resource.object_ref(&())).await {
        tracing::warn!(%error, reason, "an event could not be written");
    }
}

/// Says in the status that a resource can't be read; its type can't be used for it.
pub(super) async fn unreadable(context: &Context, invalid: &InvalidObject) {
    let meta = &invalid.metadata;
    let (name, namespace) =
        (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
    let kind = ApiResource::erase::<DiffusionService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind);
    let message = format!("this operator can't read the resource: {}", invalid.error);
    tracing::warn!(name, namespace, message, "unreadable");
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "InvalidSpec", "message": message,
            "observedGeneration": meta.generation,
            "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now()),
        })
    };
    let body = json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "uid": meta.uid},
        "status": {"conditions": [condition("Ready", "False"), condition("Degraded", "True")]},
    });
    let params = PatchParams::apply(MANAGER).force();
    let patched =
        tokio::time::timeout(context.timeout, api.patch_status(&name, &params, &Patch::Apply(&body))).await;
    if let Ok(Err(error)) = patched {
        tracing::warn!(%error, "its status could not be written");
    }
}
