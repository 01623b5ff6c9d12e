//! Troubles that only events tell: a volume that can't be mounted leaves a pod in ContainerCreating without a word.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::pods::{PodProblem, Severity};

/// Why one of these pods does not get its volumes, if that is so. A missing Secret is found here.
///
/// # Errors
///
/// A list of events that failed.
pub async fn mount_failure(
    client: &Client,
    namespace: &str,
    mut pods: impl Iterator<Item = &Pod>,
) -> Result<Option<PodProblem>, kube::Error> {
    let Some(pod) = pods.find(|p| creating(p)) else { return Ok(None) };
    let name = pod.name_any();
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let of_pod = ListParams::default()
        .fields(&format!("involvedObject.kind=Pod,involvedObject.name={name},reason=FailedMount"));
    let newest = events.list(&of_pod).await?.items.into_iter().next_back();
    Ok(newest.and_then(|e| e.message).map(|why| PodProblem {
        severity: Severity::Failing,
        reason: "FailedMount".into(),
        message: format!("pod {name} does not get its volumes: {why}"),
        download: false,
    }))
}

/// Whether it has a node and waits for its first container.
fn creating(pod: &Pod) -> bool {
    let Some(status) = pod.status.as_ref() else { return false };
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let mut waiting = containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    pod.metadata.deletion_timestamp.is_none()
        && status.phase.as_deref() == Some("Pending")
        && waiting.any(|r| r == "ContainerCreating" || r == "PodInitializing")
}
