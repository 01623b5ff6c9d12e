//! What wakes a reconcile: the resource itself, and anything that carries our label.

use std::{collections::HashSet, sync::Arc, time::Duration};

use diffusion_crds::DiffusionService;
use futures::StreamExt;
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
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        controller::{Config, Controller},
        reflector::{ObjectRef, Store},
        watcher,
    },
};

use super::{
    Context,
    reconcile::{after_failure, key, reconcile},
};
use crate::select;

type Guarded = DeserializeGuard<DiffusionService>;

/// Changes that come together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);
const TIDY: Duration = Duration::from_secs(600);

/// Reconciles until `stop`; reconciles that run then are finished.
pub async fn run(
    context: Arc<Context>,
    namespace: Option<&str>,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let client = &context.client;
    let ours = watcher::Config::default().labels(&select::managed());
    let controller = Controller::new(api::<Guarded>(client, namespace), watcher::Config::default());
    let store = controller.store();
    let results = controller
        .with_config(Config::default().concurrency(concurrency).debounce(DEBOUNCE))
        // Of what we own only the metadata is watched: it changes with every change, and it is small.
        .owns(meta::<Deployment>(client, namespace), ours.clone())
        .owns(meta::<Service>(client, namespace), ours.clone())
        .owns(meta::<HorizontalPodAutoscaler>(client, namespace), ours.clone())
        .owns(meta::<PodDisruptionBudget>(client, namespace), ours.clone())
        .owns(meta::<NetworkPolicy>(client, namespace), ours.clone())
        .owns(meta::<ServiceAccount>(client, namespace), ours.clone())
        .owns(meta::<PersistentVolumeClaim>(client, namespace), ours.clone())
        .owns(meta::<Job>(client, namespace), ours.clone())
        .watches(meta::<Pod>(client, namespace), ours, |pod| instance(&pod))
        .graceful_shutdown_on(stop)
        .run(reconcile, after_failure, Arc::clone(&context));
    let tidy = tidy(&context, store);
    tokio::pin!(tidy);
    tokio::select! {
        () = results.for_each(|result| async move {
            if let Err(error) = result {
                log(&error);
            }
        }) => {}
        () = &mut tidy => {}
    }
}

fn log<E: std::error::Error + 'static>(error: &kube::runtime::controller::Error<E, watcher::Error>) {
    use kube::runtime::controller::Error;
    match error {
        // Deleted between the trigger and the reconcile: nothing to do.
        Error::ObjectNotFound(gone) => tracing::debug!(%gone, "gone"),
        Error::ReconcilerFailed(error, resource) => {
            tracing::warn!(%resource, %error, "reconcile failed; it is tried again")
        }
        Error::QueueError(error) => tracing::warn!(%error, "a watch failed; it is opened again"),
        other => tracing::warn!(error = %other, "the controller's queue"),
    }
}

/// Forgets what is remembered of resources that are gone.
async fn tidy(context: &Context, store: Store<Guarded>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let present: HashSet<String> =
            store.state().iter().filter_map(|g| g.0.as_ref().ok().map(key)).collect();
        context.memory.keep(|uid| present.contains(uid));
        context.backoff.keep(|uid| present.contains(uid));
    }
}

/// The resource that a pod belongs to, by its label: a pod is owned by a ReplicaSet or a Job.
fn instance(pod: &PartialObjectMeta<Pod>) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get(select::INSTANCE)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn meta<K>(client: &Client, namespace: Option<&str>) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    api(client, namespace)
}
