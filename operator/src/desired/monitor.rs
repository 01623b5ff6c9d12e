//! A PodMonitor, a kind of the Prometheus operator.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::{
    labels::{self, Component, metadata},
    names,
    probes::ADMIN_PORT,
};
use crate::validate::Validated;

/// The kind, as its group serves it.
pub fn pod_monitor_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor"),
        "podmonitors",
    )
}

pub(super) fn monitor(service: &Validated) -> Option<DynamicObject> {
    let wanted = &service.spec.monitoring;
    if !wanted.enabled {
        return None;
    }
    let name = names::child(&service.name);
    let mut object = DynamicObject::new(&name, &pod_monitor_resource()).data(json!({
        "spec": {
            "selector": { "matchLabels": labels::selector(&service.name, Component::Server) },
            "podMetricsEndpoints": [{
                "port": ADMIN_PORT,
                "path": "/metrics",
                "interval": format!("{}s", wanted.interval_seconds),
            }],
        },
    }));
    object.metadata = metadata(service, name, Component::Server);
    // The user's labels first, so that none of them takes ours away.
    let mut all = wanted.labels.clone();
    all.extend(object.metadata.labels.take().unwrap_or_default());
    object.metadata.labels = Some(all);
    Some(object)
}
