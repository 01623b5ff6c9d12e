//! The pods of a DiffusionService.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use serde_json::Value;

use crate::{
    failure::{Failure, Outcome, fail},
    http::{Answer, Ask, over},
    world::World,
};

/// Port that draws.
const HTTP_PORT: u16 = 8080;
/// Port of health, metrics and status.
const ADMIN_PORT: u16 = 8081;

impl World<'_> {
    /// Server pods that are not on their way out, oldest first.
    pub(crate) async fn pods(&self, name: &str) -> Outcome<Vec<Pod>> {
        let labels = format!("app.kubernetes.io/instance={name},app.kubernetes.io/component=server");
        let list = self.api::<Pod>().list(&ListParams::default().labels(&labels)).await?;
        let mut pods: Vec<_> =
            list.items.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none()).collect();
        pods.sort_by_key(|p| (p.creation_timestamp().map(|t| t.0), p.name_any()));
        Ok(pods)
    }

    /// The one pod there is.
    pub(crate) async fn only_pod(&self, name: &str) -> Outcome<Pod> {
        let mut pods = self.pods(name).await?;
        match (pods.pop(), pods.len()) {
            (Some(pod), 0) => Ok(pod),
            (_, others) => fail!("{name} should have one pod, but has {}", others + 1),
        }
    }

    /// The ids of the requests that a pod's log says were drawn.
    pub(crate) async fn drawn_by(&self, pod: &str) -> Outcome<Vec<String>> {
        let log = self.api::<Pod>().logs(pod, &LogParams::default()).await?;
        Ok(log.lines().filter_map(drawn).collect())
    }

    /// GETs a page of a pod's admin port, through a forwarded port.
    pub(crate) async fn admin(&self, pod: &str, path: &str) -> Outcome<Answer> {
        self.forwarded(pod, ADMIN_PORT, &Ask::get(path)).await
    }

    /// One picture by this very pod.
    pub(crate) async fn through(&self, pod: &str, json: Value) -> Outcome<Answer> {
        self.forwarded(pod, HTTP_PORT, &Ask::picture(json)).await
    }

    /// As `kubectl port-forward` does it.
    async fn forwarded(&self, pod: &str, port: u16, ask: &Ask) -> Outcome<Answer> {
        let api: Api<Pod> = self.api();
        let mut forward = api.portforward(pod, &[port]).await?;
        let Some(stream) = forward.take_stream(port) else { fail!("no stream to {pod}") };
        let asked = tokio::time::timeout(std::time::Duration::from_secs(60), over(stream, ask)).await;
        forward.abort();
        asked.unwrap_or_else(|_| Err(Failure(format!("{pod} does not answer {}", ask.path))))
    }
}

/// Whether a pod's Ready condition is true.
pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Starts of a pod's first container again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    containers.iter().map(|c| c.restart_count).sum()
}

/// Name, uid and restarts of each pod: two looks that give the same saw the same running containers.
pub(crate) fn identities(pods: &[Pod]) -> Vec<(String, String, i32)> {
    let mut all: Vec<_> =
        pods.iter().map(|p| (p.name_any(), p.uid().unwrap_or_default(), restarts(p))).collect();
    all.sort();
    all
}

/// The id in a log line of a request that was drawn.
fn drawn(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let is = |field: &str, value: &str| {
        fields.get(field).is_some_and(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned) == value)
    };
    (is("route", "Generate") && is("status", "200")).then(|| fields.get("id")?.as_str().map(str::to_owned))?
}
