//! The first step of a reconcile: reads what there is. Nothing here writes.

mod events;
mod pods;
mod server;

use diffusion_crds::DiffusionService;
use futures::{TryFutureExt, try_join};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

pub use events::mount_failure;
pub use pods::{FetchReport, PodProblem, Severity, fetch_report, log_report, ready, worst};
pub use server::{Facts, facts};

use crate::{
    desired::{names, pod_monitor_resource},
    select,
};

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("can't read {kind}: {source}")]
pub struct ObserveError {
    /// What was read.
    pub kind: &'static str,
    /// Why it failed.
    pub source: kube::Error,
}

/// The objects of one `DiffusionService` as they are, by the names that its children have; whether they are its own is
/// for apply to find out.
#[derive(Debug, Default)]
pub struct Observed {
    /// Deployment of the server.
    pub deployment: Option<Deployment>,
    /// Service in front of it.
    pub service: Option<Service>,
    /// Its autoscaler.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// Its disruption budget.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Policy of the server's pods.
    pub network_policy: Option<NetworkPolicy>,
    /// Policy of the download's pods.
    pub model_network_policy: Option<NetworkPolicy>,
    /// Account of all pods.
    pub service_account: Option<ServiceAccount>,
    /// Claim of a cached model.
    pub claim: Option<PersistentVolumeClaim>,
    /// Downloads into it.
    pub jobs: Vec<Job>,
    /// All pods: server and download.
    pub pods: Vec<Pod>,
    /// PodMonitor; None also where the cluster does not know that kind.
    pub monitor: Option<DynamicObject>,
    /// The claim that a pvc:// source names: None for other sources, Some(None) when it is not there.
    pub source_claim: Option<Option<PersistentVolumeClaim>>,
}

impl Observed {
    /// Whether a Job has filled the cache.
    pub fn cache_is_filled(&self) -> bool {
        let conditions = self.jobs.iter().filter_map(|j| j.status.as_ref()?.conditions.as_ref()).flatten();
        conditions.into_iter().any(|c| c.type_ == "Complete" && c.status == "True")
    }
}

/// Reads everything, all at once.
///
/// # Errors
///
/// The first read that failed.
pub async fn observe(client: &Client, resource: &DiffusionService) -> Result<Observed, ObserveError> {
    let namespace = resource.namespace().unwrap_or_default();
    let name = resource.name_any();
    let model = names::model(&name);
    let source_claim = async {
        let Some(rest) = resource.spec.model.source.strip_prefix("pvc://") else { return Ok(None) };
        let claim = rest.split('/').next().unwrap_or_default();
        get::<PersistentVolumeClaim>(client, &namespace, claim).await.map(Some)
    };
    let (
        deployment,
        service,
        autoscaler,
        disruption_budget,
        network_policy,
        model_network_policy,
        service_account,
        claim,
        jobs,
        pods,
        monitor,
        source_claim,
    ) = try_join!(
        get::<Deployment>(client, &namespace, &name),
        get::<Service>(client, &namespace, &name),
        get::<HorizontalPodAutoscaler>(client, &namespace, &name),
        get::<PodDisruptionBudget>(client, &namespace, &name),
        get::<NetworkPolicy>(client, &namespace, &name),
        get::<NetworkPolicy>(client, &namespace, &model),
        get::<ServiceAccount>(client, &namespace, &name),
        get::<PersistentVolumeClaim>(client, &namespace, &model),
        list::<Job>(client, &namespace, &name),
        list::<Pod>(client, &namespace, &name),
        monitor_of(client, &namespace, &name),
        source_claim,
    )?;
    Ok(Observed {
        deployment,
        service,
        autoscaler,
        disruption_budget,
        network_policy,
        model_network_policy,
        service_account,
        claim,
        jobs,
        pods,
        monitor,
        source_claim,
    })
}

/// A namespaced kind that k8s-openapi has a type for.
pub trait Kind:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + k8s_openapi::Resource
    + Clone
    + DeserializeOwned
    + Debug
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + k8s_openapi::Resource
        + Clone
        + DeserializeOwned
        + Debug
{
}

async fn get<K: Kind>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, ObserveError> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).map_err(|source| ObserveError { kind: K::KIND, source }).await
}

async fn list<K: Kind>(client: &Client, namespace: &str, name: &str) -> Result<Vec<K>, ObserveError> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let of_this = ListParams::default().labels(&select::of_instance(name));
    api.list(&of_this).map_ok(|l| l.items).map_err(|source| ObserveError { kind: K::KIND, source }).await
}

async fn monitor_of(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>, ObserveError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &pod_monitor_resource());
    match api.get(name).await {
        Ok(monitor) => Ok(Some(monitor)),
        // Also where the kind is not known, but then without a reason, which get_opt wants to see.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(source) => Err(ObserveError { kind: "PodMonitor", source }),
    }
}
