use diffusion_crds::DiffusionService;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    apply::Held,
    observe::{Observed, PodProblem, Severity},
    status::{Failure, status},
};

fn resource(generation: i64, before: &[Condition]) -> DiffusionService {
    serde_json::from_value(json!({
        "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
        "metadata": {"name": "sd", "namespace": "art", "generation": generation},
        "spec": {"model": {"source": "bundled://emoji"}},
        "status": {"conditions": before},
    }))
    .unwrap()
}

/// Pods of the present template, all pods, ready pods; two are wanted. The controller has seen it if `seen`.
fn observed(seen: bool, updated: i32, total: i32, ready: i32) -> Observed {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"generation": 5},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": if seen { 5 } else { 4 }, "replicas": total, "updatedReplicas": updated, "readyReplicas": ready},
    }))
    .unwrap();
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "sd", "namespace": "art"}, "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
    }))
    .unwrap();
    Observed { deployment: Some(deployment), service: Some(service), ..Observed::default() }
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn conditions(resource: &DiffusionService, evidence: &Evidence<'_>) -> Vec<Condition> {
    status(resource, evidence, &time(1000)).conditions
}

fn seen(observed: &Observed) -> Evidence<'_> {
    Evidence { observed: Some(observed), ..Evidence::default() }
}

fn of(all: &[Condition], type_: &str) -> (String, String, Option<i64>) {
    let c = all.iter().find(|c| c.type_ == type_).unwrap();
    (c.status.clone(), c.reason.clone(), c.observed_generation)
}

fn is(status: &str, reason: &str, generation: i64) -> (String, String, Option<i64>) {
    (status.into(), reason.into(), Some(generation))
}

#[test]
fn a_life_of_ready() {
    let fresh = resource(1, &[]);
    let all = conditions(&fresh, &seen(&observed(false, 0, 0, 0)));
    assert_eq!(of(&all, "Ready"), is("False", "Starting", 1));
    assert_eq!(of(&all, "Progressing"), is("True", "Starting", 1));
    // One of two draws: pictures can be had, more pods are on the way.
    let all = conditions(&fresh, &seen(&observed(true, 2, 2, 1)));
    assert_eq!(of(&all, "Ready"), is("True", "Serving", 1));
    assert_eq!(of(&all, "Progressing").0, "True");
    let all = conditions(&fresh, &seen(&observed(true, 2, 2, 2)));
    assert_eq!(of(&all, "Progressing"), is("False", "Complete", 1));
    // A new generation: ready for the one of before until only its pods are left.
    let changed = resource(2, &all);
    for roll in [observed(false, 2, 2, 2), observed(true, 1, 3, 2), observed(true, 2, 3, 3)] {
        assert_eq!(of(&conditions(&changed, &seen(&roll)), "Ready"), is("True", "RollingOut", 1));
    }
    assert_eq!(of(&conditions(&changed, &seen(&observed(true, 2, 2, 2))), "Ready"), is("True", "Serving", 2));
    // All pods gone.
    assert_eq!(of(&conditions(&changed, &seen(&observed(true, 2, 2, 0))), "Ready").0, "False");
}

#[test]
fn transition_times_move_only_with_the_status() {
    let before = Condition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: "Serving".into(),
        message: "x".into(),
        observed_generation: Some(1),
        last_transition_time: time(7),
    };
    let known = resource(2, &[before]);
    let when = |o: &Observed| {
        let all = conditions(&known, &seen(o));
        all.into_iter().find(|c| c.type_ == "Ready").unwrap().last_transition_time
    };
    assert_eq!(when(&observed(true, 1, 3, 2)), time(7), "another reason, same status");
    assert_eq!(when(&observed(true, 2, 2, 0)), time(1000));
}

#[test]
fn a_failed_step_is_told_and_does_not_hide_pods_that_draw() {
    let fine = observed(true, 2, 2, 2);
    let serving = conditions(&resource(1, &[]), &seen(&fine));
    let failure = |reason| vec![Failure { reason, message: "what and why".into() }];
    // An invalid new spec: the pods of before go on, and Ready says for which generation.
    let evidence = Evidence { failures: failure("InvalidSpec"), ..seen(&fine) };
    let all = conditions(&resource(2, &serving), &evidence);
    assert_eq!(of(&all, "Degraded"), is("True", "InvalidSpec", 2));
    assert_eq!(of(&all, "Ready"), is("True", "RollingOut", 1));
    // The same from the start: nothing was ever ready.
    let none = observed(true, 0, 0, 0);
    let evidence = Evidence { failures: failure("InvalidSpec"), ..seen(&none) };
    assert_eq!(of(&conditions(&resource(1, &[]), &evidence), "Ready"), is("False", "InvalidSpec", 1));
    // Nothing could be read: what was known stays.
    let evidence = Evidence { failures: failure("ObserveFailed"), ..Evidence::default() };
    let all = conditions(&resource(1, &serving), &evidence);
    assert_eq!(of(&all, "Ready"), is("True", "Serving", 1));
    assert_eq!(of(&all, "Degraded"), is("True", "ObserveFailed", 1));
    let all = conditions(&resource(1, &[]), &evidence);
    assert_eq!(of(&all, "Ready"), is("Unknown", "NotSeen", 1));
}

#[test]
fn a_pods_trouble_degrades_and_only_stops_ready_without_others() {
    let problem = PodProblem {
        severity: Severity::Failing,
        reason: "OOMKilled".into(),
        message: "pod a needed more".into(),
        download: false,
    };
    let one = observed(true, 2, 2, 1);
    let evidence = Evidence { pod_problem: Some(problem.clone()), ..seen(&one) };
    let all = conditions(&resource(1, &[]), &evidence);
    assert_eq!((of(&all, "Ready").0.as_str(), of(&all, "Degraded").1.as_str()), ("True", "OOMKilled"));
    assert!(all[3].message.contains("1 of 2 pods are ready"), "{}", all[3].message);
    let none = observed(true, 2, 2, 0);
    let evidence = Evidence { pod_problem: Some(problem), ..seen(&none) };
    assert_eq!(of(&conditions(&resource(1, &[]), &evidence), "Ready"), is("False", "OOMKilled", 1));
}

#[test]
fn a_claim_that_is_not_there_is_the_reason_and_not_what_the_scheduler_makes_of_it() {
    let unplaced = PodProblem {
        severity: Severity::Failing,
        reason: "Unschedulable".into(),
        message: "persistentvolumeclaim \"models\" not found".into(),
        download: false,
    };
    let none = Observed { source_claim: Some(None), ..observed(true, 1, 1, 0) };
    let evidence = Evidence { pod_problem: Some(unplaced), ..seen(&none) };
    let mut claim = resource(1, &[]);
    claim.spec.model.source = "pvc://models/sd14".into();
    let all = conditions(&claim, &evidence);
    for type_ in ["Ready", "ModelAvailable"] {
        assert_eq!(of(&all, type_), is("False", "ClaimNotFound", 1));
    }
    assert_eq!(of(&all, "Degraded"), is("True", "ClaimNotFound", 1));
}

#[test]
fn an_update_that_waits_is_said_with_the_command() {
    let fine = observed(true, 2, 2, 2);
    let evidence = Evidence { held: Some(Held { image: "server:2".into() }), ..seen(&fine) };
    let all = conditions(&resource(1, &[]), &evidence);
    assert_eq!(of(&all, "Progressing"), is("False", "UpdateWaits", 1));
    assert!(all[2].message.contains("kubectl -n art annotate dsvc sd"), "{}", all[2].message);
    assert_eq!(of(&all, "Ready"), is("True", "Serving", 1));
}

#[test]
fn conditions_are_what_kubernetes_asks_of_them() {
    let all = conditions(&resource(1, &[]), &seen(&observed(true, 2, 2, 2)));
    let types: Vec<_> = all.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, condition_types());
    for c in &all {
        assert!(["True", "False", "Unknown"].contains(&c.status.as_str()));
        assert!(!c.reason.is_empty() && c.reason.chars().all(char::is_alphanumeric), "{c:?}");
        assert!(serde_json::to_value(c).is_ok_and(|v| v["lastTransitionTime"].is_string()), "{c:?}");
    }
    let _: Value = json!(all);
}

#[test]
fn an_autoscaler_that_can_not_see_is_told_after_a_while() {
    let with = |since: i64, reason: &str| {
        let mut fine = observed(true, 2, 2, 2);
        fine.autoscaler = serde_json::from_value(json!({
            "metadata": {}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "sd"}},
            "status": {"desiredReplicas": 2, "conditions": [{"type": "ScalingActive", "status": "False", "reason": reason,
                "message": "missing request for cpu", "lastTransitionTime": time(since)}]},
        }))
        .unwrap();
        of(&conditions(&resource(1, &[]), &seen(&fine)), "Degraded")
    };
    assert_eq!(with(900, "FailedGetResourceMetric"), is("False", "AsExpected", 1));
    assert_eq!(with(700, "FailedGetResourceMetric"), is("True", "AutoscalerBlind", 1));
    assert_eq!(with(100, "ScalingDisabled"), is("False", "AsExpected", 1));
}
