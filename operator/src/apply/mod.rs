//! The fourth step of a reconcile: makes the cluster hold the desired objects, by server-side apply, and nothing else.

mod deployment;
mod memory;
mod object;
mod prune;

use kube::{Api, Client};

use crate::{
    desired::{ModelCache, Objects, pod_monitor_resource},
    observe::Observed,
    validate::Validated,
};
pub use deployment::Held;
pub use memory::Memory;
pub use object::{Change, Verb};

/// The field manager of everything but the number of pods.
pub const MANAGER: &str = "diffusion-operator";
/// The field manager of the number of pods; see docs/operations.md.
pub const REPLICAS_MANAGER: &str = "diffusion-operator-replicas";

/// An object that could not be made as desired.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another owner has an object of that name.
    #[error(
        "there is a {kind} {name} that does not belong to this DiffusionService ({owner}); delete or rename one of the two"
    )]
    Conflict {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// One of ours, from before, is still being deleted.
    #[error("the {kind} {name} of before is still being deleted")]
    Deleting {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The cluster does not know the kind.
    #[error(
        "the cluster does not know the kind {kind}; install what defines it, or turn off what asks for it in spec"
    )]
    UnknownKind {
        /// The kind.
        kind: String,
    },
    /// Others wrote it all the time.
    #[error("{kind} {name} changes faster than it can be written; it is tried again")]
    Busy {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server said no.
    #[error("can't write {kind} {name}: {source}")]
    Api {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Its answer.
        source: kube::Error,
    },
}

/// What was made of the desired objects.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was written.
    pub changes: Vec<Change>,
    /// What could not be; the other objects were applied all the same.
    pub errors: Vec<ApplyError>,
    /// Whether an upgraded operator would render other pods and leaves them as they are.
    pub held: Option<Held>,
}

/// Where writes go, and who they are for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Client.
    pub client: &'a Client,
    /// What the objects are of.
    pub service: &'a Validated,
    /// What was written before.
    pub memory: &'a Memory,
}

/// Makes it so, and puts the objects as they are now into `observed`.
pub async fn apply(target: Target<'_>, desired: Objects, observed: &mut Observed) -> Outcome {
    // Taken apart without `..`: a kind that is desired and not applied does not compile.
    let Objects {
        service_account,
        deployment,
        service,
        autoscaler,
        disruption_budget,
        network_policy,
        model_network_policy,
        cache,
        monitor,
    } = desired;
    let mut out = Outcome::default();
    let (claim, job) = cache.map_or((None, None), |ModelCache { claim, job }| (Some(claim), Some(job)));

    target.one(&mut out, Some(service_account), &mut observed.service_account).await;
    target.one(&mut out, network_policy, &mut observed.network_policy).await;
    target.one(&mut out, model_network_policy, &mut observed.model_network_policy).await;
    target.one(&mut out, claim, &mut observed.claim).await;
    let cached = target.download(&mut out, job, observed).await;
    target.deployment(&mut out, deployment, cached, &mut observed.deployment).await;
    target.service(&mut out, service, &mut observed.service).await;
    target.one(&mut out, autoscaler, &mut observed.autoscaler).await;
    target.one(&mut out, disruption_budget, &mut observed.disruption_budget).await;
    let monitors =
        Api::namespaced_with(target.client.clone(), &target.service.namespace, &pod_monitor_resource());
    target.dynamic(&mut out, &monitors, monitor, &mut observed.monitor).await;
    out
}

/// Whether a cached model is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// There is no cache, or it is filled.
    Yes,
    /// The download is not done.
    NotYet,
}

impl Target<'_> {
    /// Makes the Job that fills the cache, unless it is there: a Job can't be changed. Jobs of before are deleted.
    async fn download(
        &self,
        out: &mut Outcome,
        job: Option<k8s_openapi::api::batch::v1::Job>,
        observed: &mut Observed,
    ) -> Cached {
        let wanted = job.as_ref().and_then(|j| j.metadata.name.clone());
        let (kept, old): (Vec<_>, Vec<_>) =
            std::mem::take(&mut observed.jobs).into_iter().partition(|j| j.metadata.name == wanted);
        for job in old {
            self.one::<k8s_openapi::api::batch::v1::Job>(out, None, &mut Some(job)).await;
        }
        observed.jobs = kept;
        let Some(job) = job else { return Cached::Yes };
        if observed.jobs.is_empty() {
            let mut made = None;
            self.one(out, Some(job), &mut made).await;
            observed.jobs.extend(made);
        }
        if observed.cache_is_filled() { Cached::Yes } else { Cached::NotYet }
    }
}
