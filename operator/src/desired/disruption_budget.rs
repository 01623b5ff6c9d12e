//! The PodDisruptionBudget.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};

use super::{
    labels::{Component, label_selector, metadata},
    names,
};
use crate::validate::Validated;

pub(super) fn disruption_budget(service: &Validated) -> Option<PodDisruptionBudget> {
    let wanted = &service.spec.pod_disruption_budget;
    wanted.enabled.then(|| PodDisruptionBudget {
        metadata: metadata(service, names::child(&service.name), Component::Server),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(wanted.max_unavailable.clone()),
            selector: Some(label_selector(service, Component::Server)),
            // A pod that is not ready serves nobody: it must not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    })
}
