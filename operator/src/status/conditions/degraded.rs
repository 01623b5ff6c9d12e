//! Degraded: whether something needs a person, and what.

use diffusion_crds::DiffusionService;
use k8s_openapi::{api::autoscaling::v2::HorizontalPodAutoscaler, apimachinery::pkg::apis::meta::v1::Time};

use super::{
    super::{
        Evidence,
        roll_out::{RollOut, creation_failure},
    },
    Finding, no, yes,
};
use crate::observe::{Observed, PodProblem};

pub(super) fn find(
    resource: &DiffusionService,
    observed: &Observed,
    evidence: &Evidence<'_>,
    roll: RollOut,
    now: &Time,
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
