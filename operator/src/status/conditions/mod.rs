//! The four conditions: Ready, ModelAvailable, Progressing, Degraded, a file each.

mod degraded;
mod model_available;
mod progressing;
mod ready;

use diffusion_crds::{DiffusionService, v1alpha1::ModelStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Evidence, Failure, roll_out::rolled_out};
use crate::observe::Observed;

/// The conditions' names, in the order in which they are shown.
fn condition_types() -> [&'static str; 4] {
    ["Ready", "ModelAvailable", "Progressing", "Degraded"]
}

/// What was found about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
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
    let available = model_available::find(resource, observed, evidence, model);
    let degraded = degraded::find(resource, observed, evidence, roll, now);
    let progressing = progressing::find(resource, evidence, roll, &available);
    let (ready, generation) = ready::find(resource, observed, roll, &available, &degraded, before);
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

#[cfg(test)]
mod tests;
