//! The Kubernetes objects of a `DiffusionService`: pure functions of the validated resource, one file per kind.

mod autoscaler;
mod deployment;
mod disruption_budget;
mod environment;
mod fetch;
pub mod hash;
pub mod labels;
mod model_cache;
mod monitor;
pub mod names;
mod network_policy;
mod pod;
mod probes;
mod resources;
mod security;
mod service;
mod service_account;

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::core::DynamicObject;

pub use deployment::{DeploymentPlan, Replicas};
pub use fetch::FETCH_CONTAINER;
pub use model_cache::{ModelCache, RETAIN_ANNOTATION};
pub use monitor::pod_monitor_resource;
pub use pod::SERVER_CONTAINER;

use crate::{settings::Settings, validate::Validated};

/// All objects of one `DiffusionService`. Where it is applied it is taken apart without `..`: a kind that is made here
/// and not applied there does not compile.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// Identity of the pods, without a token.
    pub service_account: ServiceAccount,
    /// The server's pods.
    pub deployment: DeploymentPlan,
    /// What is in front of them.
    pub service: Service,
    /// None without autoscaling, and while suspended.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// None where it is switched off.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// For the server's pods; none where it is switched off.
    pub network_policy: Option<NetworkPolicy>,
    /// For the pods that fetch a cached model; none where there is no cache or policies are switched off.
    pub model_network_policy: Option<NetworkPolicy>,
    /// Only with `spec.model.cache`.
    pub cache: Option<ModelCache>,
    /// A PodMonitor; its kind may be unknown to the cluster.
    pub monitor: Option<DynamicObject>,
}

/// Makes the objects.
pub fn objects(service: &Validated, settings: &Settings) -> Objects {
    Objects {
        service_account: service_account::service_account(service),
        deployment: deployment::deployment(service, settings),
        service: service::service(service),
        autoscaler: autoscaler::autoscaler(service),
        disruption_budget: disruption_budget::disruption_budget(service),
        network_policy: network_policy::network_policy(service),
        model_network_policy: network_policy::model_network_policy(service),
        cache: model_cache::model_cache(service, settings),
        monitor: monitor::monitor(service),
    }
}
