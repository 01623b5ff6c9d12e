//! What `render` refuses, and what it says then.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use diffusion_operator::{render::render, settings::Settings};

fn with_spec(spec: &str) -> String {
    format!(
        "apiVersion: diffusion-operator.dev/v1alpha1\nkind: DiffusionService\nmetadata:\n  name: sd\nspec:\n  {}\n",
        spec.replace('\n', "\n  ")
    )
}

fn refused(text: &str) -> String {
    match render(text, &Settings::default()) {
        Err(error) => error.to_string(),
        Ok(objects) => panic!("{text} is rendered:\n{objects}"),
    }
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    let message = refused(text);
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

const MODEL: &str = "model: {source: 'bundled://emoji'}";

#[test]
fn what_is_no_resource() {
    says("a: [", &["no YAML"]);
    says("", &["no DiffusionService", "at least one"]);
    says("---\n---\n", &["no DiffusionService"]);
    says(
        "text",
        &["document 1", "without apiVersion and kind", "DiffusionService of diffusion-operator.dev/v1alpha1"],
    );
    says("apiVersion: v1\nkind: Pod\n", &["document 1 is Pod of v1"]);
    let second = format!("{}---\napiVersion: apps/v1\nkind: Deployment\n", with_spec(MODEL));
    says(&second, &["document 2 is Deployment of apps/v1"]);
}

#[test]
fn unknown_fields_have_a_hint() {
    for (spec, field, hint) in [
        ("replica: 3", "spec.replica ", "spec.replicas?"),
        ("autoscaling: {minReplica: 3}", "spec.autoscaling.minReplica ", "spec.autoscaling.minReplicas?"),
        (
            "autoscaling: {targetCpuUtilization: 3}",
            "spec.autoscaling.targetCpuUtilization ",
            "targetCPUUtilization?",
        ),
        ("maxReplicas: 3", "spec.maxReplicas ", "spec.autoscaling.maxReplicas?"),
        ("steps: 3", "spec.steps ", "spec.defaults.steps?"),
        ("negativePrompt: x", "spec.negativePrompt ", "spec.defaults.negativePrompt?"),
        ("tolerations: [{keys: a}]", "spec.tolerations[0].keys ", "spec.tolerations[0].key?"),
        ("zzz: 1", "spec.zzz ", "docs/custom-resource.md"),
    ] {
        says(&with_spec(&format!("{MODEL}\n{spec}")), &["document 1", field, "is not a field", hint]);
    }
    let metadata = with_spec(MODEL).replace("  name: sd", "  name: sd\n  label: {a: b}");
    says(&metadata, &["metadata.label is not a field: did you mean metadata.labels?"]);
    says(&format!("{}specs: {{}}\n", with_spec(MODEL)), &["specs is not a field: did you mean spec?"]);
}

#[test]
fn values_are_checked_by_the_schema() {
    for (spec, message) in [
        ("replicas: two", "spec.replicas is \"two\": it must be a whole number"),
        ("replicas: 1.5", "spec.replicas is 1.5: it must be a whole number"),
        ("replicas: 1001", "spec.replicas is 1001: it must be 0 to 1000"),
        ("suspend: 'yes'", "spec.suspend is \"yes\": it must be true or false"),
        ("nodeSelector: {ssd: true}", "spec.nodeSelector.ssd is true: it must be a text"),
        (
            "service: {type: External}",
            "spec.service.type is \"External\": it must be one of LoadBalancer, ClusterIP, NodePort",
        ),
        ("image: ''", "spec.image has 0 characters: it must have 1 to 1024"),
        ("service: []", "spec.service is []: it must be an object"),
        ("tolerations: {}", "spec.tolerations is {}: it must be a list"),
        (
            "podDisruptionBudget: {maxUnavailable: true}",
            "maxUnavailable is true: it must be a whole number or a text",
        ),
        (
            "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a}]",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable is missing",
        ),
        ("defaults: {guidanceScale: 2000}", "spec.defaults.guidanceScale is 2000: it must be 0 to 1000"),
    ] {
        says(&with_spec(&format!("{MODEL}\n{spec}")), &[message]);
    }
    says(&with_spec("replicas: 1"), &["spec.model is missing"]);
    says(
        "apiVersion: diffusion-operator.dev/v1alpha1\nkind: DiffusionService\n",
        &["metadata.name is missing", "spec is missing"],
    );
}

#[test]
fn all_mistakes_of_a_document_are_said_at_once() {
    let message = refused(&with_spec(&format!("{MODEL}\nreplica: 1\nsuspend: 3\nservice: {{port: 0}}")));
    assert_eq!(message.lines().count(), 4, "{message}");
}

#[test]
fn rules_are_checked() {
    says(&with_spec("model: {source: 's3://x'}"), &["spec.model.source: must start with bundled://"]);
    says(
        &with_spec(&format!("{MODEL}\nautoscaling: {{minReplicas: 5, maxReplicas: 3}}")),
        &["minReplicas must not be above maxReplicas"],
    );
    says(
        &with_spec(MODEL).replace("name: sd", "name: s.d"),
        &["metadata.name must be at most 48 characters"],
    );
    says(&with_spec(MODEL).replace("name: sd", "labels: {}"), &["metadata.name is missing"]);
}

#[test]
fn what_kubectl_prints_can_be_rendered() {
    let text = "apiVersion: diffusion-operator.dev/v1alpha1
kind: DiffusionService
metadata:
  name: sd
  namespace: pictures
  creationTimestamp: null
  generation: 2
  resourceVersion: '12'
  uid: 0c0ffee0-0000-4000-8000-000000000000
  managedFields: []
spec:
  image: null
  model: {source: 'bundled://emoji'}
status:
  replicas: 1
  whatever: true
";
    let objects = render(text, &Settings::default()).expect("objects");
    assert!(objects.contains("kind: Deployment"));
    assert!(objects.contains("diffusion-operator.dev/server:"));
}
