//! The last step of a reconcile: what is told of it. Pure, but for the patch at the end; it runs also when a step before
//! it failed.

mod conditions;
mod download;
mod patch;
mod roll_out;
mod url;

use diffusion_crds::{DiffusionService, DiffusionServiceStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

pub use patch::patch;
pub use roll_out::rolled_out;
pub use url::{Address, address};

use crate::{
    apply::Held,
    desired::{labels::Component, names},
    observe::{Facts, FetchReport, Observed, PodProblem},
    select::COMPONENT,
};

/// A step that failed, in the words of its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Reason for the condition: ObserveFailed, InvalidSpec, NameConflict, ApplyFailed, Timeout.
    pub reason: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// What a status is made from.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    /// The objects as they are after apply.
    pub observed: Option<&'a Observed>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// The worst problem of a server's or a download's pod.
    pub pod_problem: Option<PodProblem>,
    /// What a running download reported.
    pub progress: Option<FetchReport>,
    /// What a ready server says of itself.
    pub facts: Option<Facts>,
    /// Pods that are left as they are by an upgraded operator.
    pub held: Option<Held>,
}

/// The status that follows from the evidence.
pub fn status(resource: &DiffusionService, evidence: &Evidence<'_>, now: &Time) -> DiffusionServiceStatus {
    let before = resource.status.clone().unwrap_or_default();
    let Some(observed) = evidence.observed else {
        // Nothing could be read: what was known stays, but for what is said about it.
        let mut status = before.clone();
        status.conditions = conditions::blind(resource, &evidence.failures, &before.conditions, now);
        return status;
    };
    let spec = &resource.spec;
    let deployment = observed.deployment.as_ref();
    let of_deployment = deployment.and_then(|d| d.status.as_ref());
    let replicas = of_deployment.and_then(|s| s.replicas).unwrap_or(0);
    let ready = of_deployment.and_then(|s| s.ready_replicas).unwrap_or(0);
    let desired = deployment.and_then(|d| d.spec.replicas).unwrap_or(0);
    let address = observed.service.as_ref().and_then(address);
    let model = download::model(&spec.model.source, observed, evidence, before.model.as_ref());
    let facts = evidence.facts.as_ref();
    let same_model = before.model.as_ref().is_some_and(|m| m.source == spec.model.source);
    let kept = |value: &Option<String>| value.clone().filter(|_| same_model);
    DiffusionServiceStatus {
        conditions: conditions::all(resource, observed, evidence, &model, &before.conditions, now),
        observed_generation: resource.metadata.generation,
        url: address.as_ref().map(|a| a.url.clone()),
        ready: Some(format!("{ready}/{desired}")),
        replicas,
        ready_replicas: ready,
        desired_replicas: desired,
        selector: Some(names::selector(&resource.name_any())),
        image: deployment.and_then(|d| d.spec.template.spec.as_ref()?.containers.first()?.image.clone()),
        precision: facts.and_then(|f| f.precision.clone()).or_else(|| kept(&before.precision)),
        scheduler: facts.and_then(|f| f.scheduler.clone()).or_else(|| kept(&before.scheduler)),
        seconds_per_image: seconds(
            before.seconds_per_image.filter(|_| same_model),
            facts.and_then(|f| f.seconds_per_image),
        ),
        model: Some(model),
    }
}

/// Two significant digits, and the figure of before unless it moved by more than a fifth: noise is not written.
fn seconds(before: Option<f64>, measured: Option<f64>) -> Option<f64> {
    let Some(measured) = measured.filter(|s| s.is_finite() && *s > 0.0) else { return before };
    if let Some(before) = before
        && (measured / before - 1.0).abs() <= 0.2
    {
        return Some(before);
    }
    let unit = 10f64.powf(measured.log10().floor() - 1.0);
    let rounded = (measured / unit).round() * unit;
    // 3.1000000000000001 would be printed in full.
    format!("{rounded:.4}").parse().ok()
}

/// The pods that serve, of all pods of a `DiffusionService`.
pub fn servers(pods: &[Pod]) -> impl Iterator<Item = &Pod> {
    of(pods, Component::Server)
}

/// The pods that download, of all pods of a `DiffusionService`.
pub fn downloads(pods: &[Pod]) -> impl Iterator<Item = &Pod> {
    of(pods, Component::ModelFetch)
}

fn of(pods: &[Pod], component: Component) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(move |p| p.labels().get(COMPONENT).is_some_and(|c| c == component.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_two_digits_and_do_not_follow_noise() {
        assert_eq!(seconds(None, None), None);
        assert_eq!(seconds(None, Some(3.123)), Some(3.1));
        assert_eq!(seconds(None, Some(123.4)), Some(120.0));
        assert_eq!(seconds(None, Some(0.012_34)), Some(0.012));
        assert_eq!(seconds(Some(3.1), Some(3.6)), Some(3.1));
        assert_eq!(seconds(Some(3.1), Some(3.8)), Some(3.8));
        assert_eq!(seconds(Some(3.1), None), Some(3.1));
        assert_eq!(seconds(Some(3.1), Some(f64::NAN)), Some(3.1));
    }
}
