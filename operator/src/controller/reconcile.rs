//! One reconcile: observe -> validate -> desired -> apply -> status.

use std::{sync::Arc, time::Duration};

use diffusion_crds::DiffusionService;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::LogParams,
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::controller::Action,
};

use super::{Context, backoff::jitter, narrate};
use crate::{
    apply::{ApplyError, Outcome, Target, apply},
    desired::{FETCH_CONTAINER as FETCH, objects},
    metrics::Step,
    observe::{self, ObserveError, Observed, observe},
    status::{self, Evidence, Failure, downloads, servers, status},
    validate::{Invalid, validate},
};

/// Between two looks at a resource that nothing happened to.
const AT_REST: Duration = Duration::from_secs(600);
/// Between two looks at a download.
const DOWNLOADING: Duration = Duration::from_secs(5);

/// A reconcile that failed. All of it was told in the status, too, if that could be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// A read failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The spec can't be served.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Some objects could not be made.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Apply(Vec<ApplyError>),
    /// The status could not be written.
    #[error("can't write the status: {0}")]
    Status(kube::Error),
    /// It took too long.
    #[error("the API server took longer than {} s to answer", .0.as_secs())]
    Timeout(Duration),
    /// The resource can't be read as what this operator knows.
    #[error("the resource can't be read: {0}")]
    Unreadable(Box<InvalidObject>),
}

impl ReconcileError {
    /// The step that failed, for metrics.
    pub(super) fn step(&self) -> Step {
        match self {
            Self::Observe(_) => Step::Observe,
            Self::Invalid(_) | Self::Unreadable(_) => Step::Validate,
            Self::Apply(_) => Step::Apply,
            Self::Status(_) => Step::Status,
            Self::Timeout(_) => Step::Timeout,
        }
    }

    fn failures(&self) -> Vec<Failure> {
        let one = |reason, message: String| vec![Failure { reason, message }];
        match self {
            Self::Observe(e) => one("ObserveFailed", e.to_string()),
            Self::Invalid(e) => one("InvalidSpec", e.to_string()),
            Self::Unreadable(e) => one("InvalidSpec", e.to_string()),
            Self::Timeout(_) => one("Timeout", self.to_string()),
            Self::Status(_) => Vec::new(),
            Self::Apply(errors) => errors
                .iter()
                .map(|e| {
                    let reason =
                        if matches!(e, ApplyError::Conflict { .. }) { "NameConflict" } else { "ApplyFailed" };
                    Failure { reason, message: e.to_string() }
                })
                .collect(),
        }
    }

    /// Whether trying again without a change is of no use: only an edit mends it.
    fn needs_an_edit(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Unreadable(_))
    }
}

/// The controller's callback.
pub(super) async fn reconcile(
    guarded: Arc<DeserializeGuard<DiffusionService>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let timer = context.metrics.reconcile_started();
    let resource = match &guarded.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            context.metrics.failed(Step::Validate);
            narrate::unreadable(&context, invalid).await;
            return Err(ReconcileError::Unreadable(Box::new(invalid.clone())));
        }
    };
    if resource.metadata.deletion_timestamp.is_some() {
        // Owner references do the rest.
        return Ok(Action::await_change());
    }
    let result = match tokio::time::timeout(context.timeout, steps(resource, &context)).await {
        Ok(result) => result,
        Err(_) => {
            let error = ReconcileError::Timeout(context.timeout);
            let blind = Evidence { failures: error.failures(), ..Evidence::default() };
            // One more try to say so, as short as the first.
            let _ = tokio::time::timeout(context.timeout, tell(resource, &blind, &context)).await;
            Err(error)
        }
    };
    timer.done();
    match result {
        Ok(action) => {
            context.backoff.succeeded(&key(resource));
            Ok(action)
        }
        Err(error) if error.needs_an_edit() => {
            context.metrics.failed(error.step());
            tracing::warn!(resource = key(resource), %error, "this needs an edit");
            Ok(Action::await_change())
        }
        Err(error) => Err(error),
    }
}

/// The controller's callback for a reconcile that failed.
pub(super) fn after_failure(
    guarded: Arc<DeserializeGuard<DiffusionService>>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    context.metrics.failed(error.step());
    match &guarded.0 {
        Ok(resource) => Action::requeue(context.backoff.failed(&key(resource))),
        Err(_) => Action::await_change(),
    }
}

/// The name under which a resource's failures are counted: another resource of the same name starts anew.
pub(super) fn key(resource: &DiffusionService) -> String {
    resource.uid().unwrap_or_default()
}

async fn steps(resource: &DiffusionService, context: &Context) -> Result<Action, ReconcileError> {
    let mut observed = match observe(&context.client, resource).await {
        Ok(observed) => observed,
        Err(error) => {
            let error = ReconcileError::from(error);
            tell(resource, &Evidence { failures: error.failures(), ..Evidence::default() }, context).await?;
            return Err(error);
        }
    };
    let mut failed = None;
    let mut outcome = Outcome::default();
    match validate(resource) {
        Ok(validated) => {
            let desired = objects(&validated, &context.settings);
            let target = Target { client: &context.client, service: &validated, memory: &context.memory };
            outcome = apply(target, desired, &mut observed).await;
            if !outcome.errors.is_empty() {
                failed = Some(ReconcileError::Apply(std::mem::take(&mut outcome.errors)));
            }
        }
        Err(invalid) => failed = Some(ReconcileError::Invalid(invalid)),
    }
    narrate::changes(context, resource, &outcome.changes).await;
    let mut evidence = Evidence {
        failures: failed.as_ref().map(ReconcileError::failures).unwrap_or_default(),
        held: outcome.held,
        ..Evidence::default()
    };
    look_closer(resource, context, &observed, &mut evidence).await;
    evidence.observed = Some(&observed);
    let steady = tell(resource, &evidence, context).await?;
    match failed {
        Some(error) => Err(error),
        None => Ok(Action::requeue(steady)),
    }
}

/// Asks pods, and events about them, for what their objects do not say.
async fn look_closer(
    resource: &DiffusionService,
    context: &Context,
    observed: &Observed,
    evidence: &mut Evidence<'_>,
) {
    let namespace = resource.namespace().unwrap_or_default();
    let pods = || servers(&observed.pods).chain(downloads(&observed.pods));
    evidence.pod_problem = observe::worst(pods());
    if evidence.pod_problem.is_none() {
        match observe::mount_failure(&context.client, &namespace, pods()).await {
            Ok(problem) => evidence.pod_problem = problem,
            Err(error) => tracing::debug!(%error, "events can't be read"),
        }
    }
    if let Some(pod) = pods().find(|p| fetching(p)) {
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
        let last = LogParams { container: Some(FETCH.into()), tail_lines: Some(5), ..LogParams::default() };
        match api.logs(&pod.name_any(), &last).await {
            Ok(log) => evidence.progress = observe::log_report(&log),
            Err(error) => tracing::debug!(%error, "the log of a download can't be read"),
        }
    }
    evidence.facts = observe::facts(servers(&observed.pods)).await;
}

fn fetching(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let all = status
        .into_iter()
        .flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses))
        .flatten();
    all.into_iter().any(|c| c.name == FETCH && c.state.as_ref().is_some_and(|s| s.running.is_some()))
}

/// Writes the status and what changed in it; says when to look again.
async fn tell(
    resource: &DiffusionService,
    evidence: &Evidence<'_>,
    context: &Context,
) -> Result<Duration, ReconcileError> {
    let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
    let told = status(resource, evidence, &now);
    if status::patch(&context.client, resource, &told).await.map_err(ReconcileError::Status)? {
        narrate::conditions(context, resource, &told.conditions).await;
    }
    let waiting = told.conditions.iter().any(|c| {
        matches!(c.reason.as_str(), "Downloading" | "Starting" | "FailedMount")
            || c.type_ == "Progressing" && c.status == "True"
    }) || told.seconds_per_image.is_none() && told.ready_replicas > 0;
    Ok(if waiting { DOWNLOADING } else { jitter(AT_REST, 0.2) })
}
