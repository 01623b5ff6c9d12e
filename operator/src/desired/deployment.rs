//! The Deployment, without its number of replicas.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    hash,
    labels::{Component, label_selector, metadata},
    names, pod, probes,
};
use crate::{settings::Settings, validate::Validated};

/// Seconds between the end of a pod's life being decided and SIGTERM: connections stop coming in that time.
pub(super) const PRE_STOP_SECONDS: i64 = 10;

/// How many pods there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// So many.
    Fixed(i32),
    /// As many as the HorizontalPodAutoscaler says.
    Autoscaled {
        /// At least.
        min: i32,
        /// At most.
        max: i32,
    },
}

/// A Deployment and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentPlan {
    /// The Deployment: `spec.replicas` is not set, and both hashes are annotations.
    pub deployment: Deployment,
    /// How many pods there are.
    pub replicas: Replicas,
    /// [`hash::spec`].
    pub spec_hash: String,
    /// [`hash::template`].
    pub template_hash: String,
}

pub(super) fn deployment(service: &Validated, settings: &Settings) -> DeploymentPlan {
    let template = pod::template(service, settings);
    let spec_hash = hash::spec(service);
    let template_hash = hash::template(&template);
    let mut metadata = metadata(service, names::child(&service.name), Component::Server);
    metadata.annotations = Some(BTreeMap::from([
        (hash::SPEC_ANNOTATION.to_owned(), spec_hash.clone()),
        (hash::TEMPLATE_ANNOTATION.to_owned(), template_hash.clone()),
    ]));
    let deployment = Deployment {
        metadata,
        spec: DeploymentSpec {
            selector: label_selector(service, Component::Server),
            template,
            strategy: Some(strategy(service)),
            progress_deadline_seconds: Some(progress_deadline(service)),
            ..Default::default()
        },
        ..Default::default()
    };
    DeploymentPlan { deployment, replicas: replicas(service), spec_hash, template_hash }
}

/// Seconds in which a server finishes what it has accepted: one request's time, and a moment to send it.
pub(super) fn drain_seconds(service: &Validated) -> i64 {
    service.request_timeout.saturating_add(15)
}

/// Seconds before the kubelet kills a pod: never before it has drained.
pub(super) fn termination_seconds(service: &Validated) -> i64 {
    service.request_timeout.saturating_add(PRE_STOP_SECONDS + 30)
}

fn replicas(service: &Validated) -> Replicas {
    let (spec, autoscaling) = (&service.spec, &service.spec.autoscaling);
    if spec.suspend {
        Replicas::Fixed(0)
    } else if autoscaling.enabled {
        Replicas::Autoscaled { min: autoscaling.min_replicas, max: autoscaling.max_replicas }
    } else {
        Replicas::Fixed(spec.replicas)
    }
}

/// A new pod is ready before an old one goes. With devices an old one goes first: a cluster seldom has a spare one, and the
/// roll-out would wait for it for ever.
fn strategy(service: &Validated) -> DeploymentStrategy {
    let (max_unavailable, max_surge) = if service.device.is_some() { (1, 0) } else { (0, 1) };
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(max_unavailable)),
            max_surge: Some(IntOrString::Int(max_surge)),
        }),
    }
}

/// Seconds without progress before the roll-out counts as stuck: the time of a start, and that of a download where each
/// pod downloads.
fn progress_deadline(service: &Validated) -> i32 {
    let download = if service.fetches_in_pod() { 1800 } else { 0 };
    probes::startup_budget(service) + download + 300
}
