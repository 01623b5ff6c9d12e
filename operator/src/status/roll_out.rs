//! How far a roll-out is, as the Deployment tells it.

use k8s_openapi::api::apps::v1::Deployment;

/// How far the pods of the present template are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RollOut {
    /// The Deployment's controller has seen the present template.
    pub seen: bool,
    /// Pods that are wanted.
    pub wanted: i32,
    /// Pods of the present template.
    pub updated: i32,
    /// All pods.
    pub total: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// The controller has given up waiting.
    pub stalled: bool,
}

impl RollOut {
    /// All pods are of the present template, and as many as wanted are there and ready.
    pub fn complete(self) -> bool {
        self.seen && self.updated == self.wanted && self.total == self.wanted && self.ready == self.wanted
    }

    /// Only pods of the present template answer, and at least one does.
    pub fn serves_only_this(self) -> bool {
        self.seen && self.updated == self.total && self.ready >= 1
    }
}

/// Reads it off.
pub fn rolled_out(deployment: &Deployment) -> RollOut {
    let status = deployment.status.clone().unwrap_or_default();
    RollOut {
        seen: status.observed_generation.is_some()
            && status.observed_generation >= deployment.metadata.generation,
        wanted: deployment.spec.replicas.unwrap_or(1),
        updated: status.updated_replicas.unwrap_or(0),
        total: status.replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
        stalled: status.conditions.iter().flatten().any(|c| {
            c.type_.as_deref() == Some("Progressing")
                && c.reason.as_deref() == Some("ProgressDeadlineExceeded")
        }),
    }
}

/// Why pods can't even be made (a quota, a policy), if the Deployment says so.
pub(super) fn creation_failure(deployment: &Deployment) -> Option<String> {
    let failure = deployment
        .status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True"))?;
    Some(failure.message.clone().unwrap_or_default())
}
