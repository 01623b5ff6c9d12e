//! The four conditions: Ready, ModelAvailable, Progressing, Degraded.

use diffusion_crds::{DiffusionService, v1alpha1::ModelStatus};
use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscaler,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt;

use super::{
    Evidence, Failure, downloads,
    ready::{RollOut, creation_failure, rolled_out},
    servers, url,
};
use crate::observe::{Observed, PodProblem, fetch_report, ready};

/// The conditions' names, in the order in which they are shown.
pub fn condition_types() -> [&'static str; 4] {
    ["Ready", "ModelAvailable", "Progressing", "Degraded"]
}

/// What was found about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// True, False or Unknown.
    pub status: &'static str,
    /// A word.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
}

fn yes(reason: &str, message: impl Into<String>) -> Finding {
    Finding { status: "True", reason: reason.to_owned(), message: message.into() }
}

fn no(reason: &str, message: impl Into<String>) -> Finding {
    Finding { status: "False", reason: reason.to_owned(), message: message.into() }
}

fn unknown(reason: &str, message: impl Into<String>) -> Finding {
    Finding { status: "Unknown", reason: reason.to_owned(), message: message.into() }
}

/// All four, of what was seen.
pub(super) fn all(
    resource: &DiffusionService,
    observed: &Observed,
    evidence: &Evidence<'_>,
    model: &ModelStatus,
    before: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let roll = observed.deployment.as_ref().map(rolled_out).unwrap_or_default();
    let available = model_available(resource, observed, evidence, model);
    let degraded = degraded(resource, observed, evidence, roll, now);
    let progressing = progressing(resource, evidence, roll, &available);
    let (ready, generation) = ready_condition(resource, observed, roll, &available, &degraded, before);
    let present = resource.metadata.generation;
    vec![
        condition("Ready", ready, generation, before, now),
        condition("ModelAvailable", available, present, before, now),
        condition("Progressing", progressing, present, before, now),
        condition("Degraded", degraded, present, before, now),
    ]
}

/// All four, when nothing could be read: Degraded says why, the others stay as they were, or are unknown.
pub(super) fn blind(
    resource: &DiffusionService,
    failures: &[Failure],
    before: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let failure = failures.first();
    condition_types()
        .into_iter()
        .map(|type_| match (type_, before.iter().find(|c| c.type_ == type_)) {
            ("Degraded", _) => {
                let finding =
                    failure.map_or_else(|| no("AsExpected", ""), |f| yes(f.reason, f.message.clone()));
                condition(type_, finding, resource.metadata.generation, before, now)
            }
            (_, Some(known)) => known.clone(),
            (_, None) => {
                let finding = unknown("NotSeen", "the objects of this resource could not be read yet");
                condition(type_, finding, resource.metadata.generation, before, now)
            }
        })
        .collect()
}

fn condition(
    type_: &str,
    found: Finding,
    generation: Option<i64>,
    before: &[Condition],
    now: &Time,
) -> Condition {
    let last = before.iter().find(|c| c.type_ == type_ && c.status == found.status);
    Condition {
        type_: type_.to_owned(),
        status: found.status.to_owned(),
        reason: found.reason,
        message: found.message,
        observed_generation: generation,
        last_transition_time: last.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
    }
}

fn model_available(
    resource: &DiffusionService,
    observed: &Observed,
    evidence: &Evidence<'_>,
    model: &ModelStatus,
) -> Finding {
    let source = &resource.spec.model.source;
    if source.starts_with("bundled://") {
        return yes("Bundled", "the model is inside the server's image");
    }
    let serving = servers(&observed.pods).any(ready);
    if let Some(claim) = &observed.source_claim {
        let name = source.trim_start_matches("pvc://").split('/').next().unwrap_or_default();
        let Some(claim) = claim else {
            return no(
                "ClaimNotFound",
                format!("there is no PersistentVolumeClaim {name} in this namespace"),
            );
        };
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
        return match (serving, phase) {
            (true, _) => yes("Loaded", format!("the pods have loaded {source}")),
            (false, "Bound") => unknown(
                "ClaimBound",
                format!("PersistentVolumeClaim {name} is bound; no pod has loaded the model from it yet"),
            ),
            (false, phase) => no("ClaimNotBound", format!("PersistentVolumeClaim {name} is {phase}")),
        };
    }
    let revision = model.revision.as_deref().map(|r| format!(" at commit {r}")).unwrap_or_default();
    let filled = downloads(&observed.pods)
        .chain(servers(&observed.pods))
        .filter_map(fetch_report)
        .any(|r| r.state == "done");
    let complete = observed.jobs.iter().any(|j| {
        let conditions = j.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Complete" && c.status == "True")
    });
    if complete || serving || filled && resource.spec.model.cache.is_none() {
        return yes("Downloaded", format!("{source}{revision} is downloaded"));
    }
    if let Some(problem) = evidence.pod_problem.as_ref().filter(|p| p.download) {
        return no(&problem.reason, problem.message.clone());
    }
    if resource.spec.suspend && resource.spec.model.cache.is_none() {
        return unknown("Suspended", "each pod downloads the model when it starts");
    }
    no("Downloading", progress(model))
}

fn progress(model: &ModelStatus) -> String {
    match &model.download {
        Some(d) if d.bytes > 0 => {
            let percent = d.bytes_done.saturating_mul(100) / d.bytes;
            format!("{} of {} files, {percent} % of {} MB", d.files_done, d.files, d.bytes / 1_000_000)
        }
        _ => "the download is starting".to_owned(),
    }
}

fn degraded(
    resource: &DiffusionService,
    observed: &Observed,
    evidence: &Evidence<'_>,
    roll: RollOut,
) -> Finding {
    if let Some(failure) = evidence.failures.first() {
        let all: Vec<&str> = evidence.failures.iter().map(|f| f.message.as_str()).collect();
        return yes(failure.reason, all.join("; "));
    }
    if resource.spec.suspend {
        return no("Suspended", "there are no pods, as spec.suspend says");
    }
    // Before the pods' own trouble, which follows from it: the scheduler finds no place for them.
    if matches!(observed.source_claim, Some(None)) {
        return yes("ClaimNotFound", format!("the claim of {} does not exist", resource.spec.model.source));
    }
    if let Some(problem) = &evidence.pod_problem {
        return pod_trouble(problem, roll);
    }
    if let Some(why) = observed.deployment.as_ref().and_then(creation_failure) {
        return yes("FailedCreate", format!("pods can't be made: {why}"));
    }
    if roll.stalled {
        return yes(
            "Stalled",
            format!(
                "{} of {} pods are ready, and none became ready for a long time",
                roll.ready, roll.wanted
            ),
        );
    }
    if let Some(why) = observed.autoscaler.as_ref().and_then(|a| blind_autoscaler(a, now)) {
        let message = format!(
            "the autoscaler can't see the load: {why}; it needs metrics-server, and spec.resources.requests.cpu where spec.resources is set"
        );
        return yes("AutoscalerBlind", message);
    }
    no("AsExpected", "nothing is wrong")
}

/// Why the autoscaler does not work, if it has not for five minutes: at the start it never does.
fn blind_autoscaler(autoscaler: &HorizontalPodAutoscaler, now: &Time) -> Option<String> {
    let conditions = autoscaler.status.as_ref()?.conditions.iter().flatten();
    let active = conditions.into_iter().find(|c| c.type_ == "ScalingActive" && c.status == "False")?;
    if active.reason.as_deref() == Some("ScalingDisabled") {
        return None;
    }
    let since = active.last_transition_time.as_ref()?.0;
    (now.0.as_second() - since.as_second() >= 300).then(|| active.message.clone().unwrap_or_default())
}

fn pod_trouble(problem: &PodProblem, roll: RollOut) -> Finding {
    let rest = match roll.ready {
        0 => String::new(),
        ready => format!(" ({ready} of {} pods are ready)", roll.wanted),
    };
    yes(&problem.reason, format!("{}{rest}", problem.message))
}

fn progressing(
    resource: &DiffusionService,
    evidence: &Evidence<'_>,
    roll: RollOut,
    available: &Finding,
) -> Finding {
    if let Some(held) = &evidence.held {
        let message = format!(
            "this version of the operator would make other pods (image {}); they are replaced when spec changes, or now by: kubectl -n {} annotate dsvc {} --overwrite diffusion-operator.dev/update=$(date +%s)",
            held.image,
            resource.namespace().unwrap_or_default(),
            resource.name_any(),
        );
        return no("UpdateWaits", message);
    }
    if roll.complete() {
        return match (resource.spec.suspend, roll.wanted, available.reason.as_str()) {
            (true, _, _) => no("Suspended", "there are no pods, as spec.suspend says"),
            (false, 0, "Downloading" | "DownloadFailed") => {
                yes("Downloading", "pods start when the model is there")
            }
            _ => no("Complete", format!("{} of {} pods are ready", roll.ready, roll.wanted)),
        };
    }
    if roll.stalled {
        return no(
            "Stalled",
            format!(
                "{} of {} pods are ready, and none became ready for a long time",
                roll.ready, roll.wanted
            ),
        );
    }
    let old = roll.total - roll.updated;
    let (reason, old) = match (roll.seen, old) {
        (true, 1..) => ("RollingOut", format!(", {old} of before are still there")),
        _ => ("Starting", String::new()),
    };
    yes(reason, format!("{} of {} pods are ready{old}", roll.ready, roll.wanted))
}

/// Ready holds for a generation: while pods of before still answer, it stays true for theirs.
fn ready_condition(
    resource: &DiffusionService,
    observed: &Observed,
    roll: RollOut,
    available: &Finding,
    degraded: &Finding,
    before: &[Condition],
) -> (Finding, Option<i64>) {
    let present = resource.metadata.generation;
    if resource.spec.suspend {
        return (no("Suspended", "spec.suspend is true; set it to false to draw again"), present);
    }
    let invalid = ["InvalidSpec", "NameConflict", "ApplyFailed"].contains(&degraded.reason.as_str());
    let address = observed.service.as_ref().and_then(url::address);
    if roll.serves_only_this() && !invalid {
        let message = match address {
            Some(a) if a.external => {
                format!("{} of {} pods draw, at {}/generate", roll.ready, roll.wanted, a.url)
            }
            Some(a) if a.pending => format!(
                "{} of {} pods draw, at {}/generate inside the cluster; the load balancer has not given an address yet",
                roll.ready, roll.wanted, a.url
            ),
            Some(a) => format!(
                "{} of {} pods draw, at {}/generate inside the cluster",
                roll.ready, roll.wanted, a.url
            ),
            None => {
                return (
                    no("NoService", "pods are ready, but there is no Service in front of them"),
                    present,
                );
            }
        };
        return (yes("Serving", message), present);
    }
    if roll.ready >= 1 {
        let known = before.iter().find(|c| c.type_ == "Ready" && c.status == "True");
        if let Some(known) = known {
            let message = format!("{} pods draw, of before the last change or of after it", roll.ready);
            return (yes("RollingOut", message), known.observed_generation.or(present));
        }
    }
    let found = match (degraded.status, available.status) {
        ("True", _) => no(&degraded.reason, degraded.message.clone()),
        (_, "False") => no(&available.reason, available.message.clone()),
        _ => no("Starting", format!("{} of {} pods are ready", roll.ready, roll.wanted)),
    };
    (found, present)
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
