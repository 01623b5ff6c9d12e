//! What pods say of themselves: ready or not, what keeps them from it, what a download reported.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Deserialize;

use crate::desired::FETCH_CONTAINER as FETCH;

/// How bad a pod's trouble is; the worst one of all pods is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It may pass: a place on a node is still being looked for, a container ended once.
    Waiting,
    /// It needs a person or other resources.
    Failing,
}

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodProblem {
    /// How bad it is.
    pub severity: Severity,
    /// A word for the condition: Kubernetes' own where it has one.
    pub reason: String,
    /// What is wrong, with the pod's name.
    pub message: String,
    /// Whether it concerns the download of the model.
    pub download: bool,
}

/// What `diffusion-server fetch` reports; see docs/server.md.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FetchReport {
    /// fetching, done or failed.
    pub state: String,
    /// Commit.
    pub revision: Option<String>,
    /// Files that are there.
    pub files_done: i64,
    /// Files in all.
    pub files: i64,
    /// Bytes that are there.
    pub bytes_done: i64,
    /// Bytes in all.
    pub bytes: i64,
    /// What went wrong.
    pub error: Option<String>,
}

/// Whether the pod's Ready condition is true and it is not ending.
pub fn ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && conditions(pod).iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The worst problem of these pods; pods that are ending have none.
pub fn worst<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<PodProblem> {
    pods.into_iter()
        .filter_map(problem)
        .max_by(|a, b| a.severity.cmp(&b.severity).then(b.message.cmp(&a.message)))
}

fn conditions(pod: &Pod) -> &[k8s_openapi::api::core::v1::PodCondition] {
    pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(main)
}

fn problem(pod: &Pod) -> Option<PodProblem> {
    if pod.metadata.deletion_timestamp.is_some() || ready(pod) {
        return None;
    }
    if let Some(found) = containers(pod).find_map(|container| container_problem(pod, container)) {
        return Some(found);
    }
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.clone().unwrap_or_else(|| "PodFailed".into());
        let why = status.message.clone().unwrap_or_else(|| "it failed".into());
        return Some(plain(Severity::Failing, reason, format!("pod {name}: {why}")));
    }
    let unplaced = conditions(pod).iter().find(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
    })?;
    let why = unplaced.message.clone().unwrap_or_default();
    Some(plain(Severity::Failing, "Unschedulable".into(), format!("no node takes pod {name}: {why}")))
}

fn plain(severity: Severity, reason: String, message: String) -> PodProblem {
    PodProblem { severity, reason, message, download: false }
}

fn container_problem(pod: &Pod, container: &ContainerStatus) -> Option<PodProblem> {
    let name = pod.name_any();
    let state = container.state.as_ref();
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let ended = state.and_then(|s| s.terminated.as_ref());
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let failure = ended.filter(|t| t.exit_code != 0).or(last.filter(|t| t.exit_code != 0));
    let running = state.is_some_and(|s| s.running.is_some());

    if container.name == FETCH
        && !running
        && let Some(failure) = failure
        && ended.is_none_or(|t| t.exit_code != 0)
    {
        let report = failure.message.as_deref().and_then(parse);
        let why = report.and_then(|r| r.error).or_else(|| failure.message.clone()).unwrap_or_else(|| {
            format!("it ended with status {}; see kubectl logs {name} -c {FETCH}", failure.exit_code)
        });
        let message = format!("the download of the model failed (pod {name}, tried again): {why}");
        let reason = "DownloadFailed".into();
        return Some(PodProblem { severity: Severity::Failing, reason, message, download: true });
    }
    if failure.is_some_and(|t| t.reason.as_deref() == Some("OOMKilled")) {
        let message = format!(
            "container {} of pod {name} needed more memory than its limit ({} restarts); raise spec.resources.limits.memory, or take precision bf16",
            container.name, container.restart_count
        );
        return Some(plain(Severity::Failing, "OOMKilled".into(), message));
    }
    let waiting = waiting?;
    let reason = waiting.reason.clone().unwrap_or_default();
    let why = waiting.message.clone().unwrap_or_default();
    match reason.as_str() {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            // The two names of one trouble alternate; a status that alternates with them would be written for ever.
            let reason = if reason == "ErrImagePull" { "ImagePullBackOff".to_owned() } else { reason };
            let message = format!(
                "the image {} of pod {name} can't be had; check spec.image and spec.imagePullSecrets",
                container.image
            );
            Some(plain(Severity::Failing, reason, message))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(plain(
            Severity::Failing,
            reason,
            format!("container {} of pod {name}: {why}", container.name),
        )),
        "CrashLoopBackOff" => {
            let status = failure.map_or_else(String::new, |t| format!(" with status {}", t.exit_code));
            let said = failure
                .and_then(|t| t.message.as_deref())
                .map(|m| format!(": {}", m.trim()))
                .unwrap_or_default();
            let message = format!(
                "container {} of pod {name} ends{status} again and again{said}; see kubectl logs {name} -c {} --previous",
                container.name, container.name
            );
            Some(plain(Severity::Failing, reason, message))
        }
        _ => None,
    }
}

fn parse(message: &str) -> Option<FetchReport> {
    serde_json::from_str(message.trim()).ok().filter(|r: &FetchReport| !r.state.is_empty())
}

/// What the pod's download said when it ended, if it did.
pub fn fetch_report(pod: &Pod) -> Option<FetchReport> {
    let container = containers(pod).find(|c| c.name == FETCH)?;
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|s| s.terminated.as_ref()).and_then(|t| t.message.clone())
    };
    let message = ended(container.state.as_ref()).or_else(|| ended(container.last_state.as_ref()))?;
    parse(&message)
}

/// The last report in a log of a download that runs.
pub fn log_report(log: &str) -> Option<FetchReport> {
    log.lines().rev().find_map(parse)
}
