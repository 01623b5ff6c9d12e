//! docs/custom-resource.md: a table for each object of the custom resource.

use std::fmt::Write as _;

use serde_json::Value;

/// Fields that hold a type of Kubernetes, and where `kubectl explain` tells more about it.
const KUBERNETES: [(&str, &str, &str); 12] = [
    ("spec.imagePullSecrets", "list of LocalObjectReference", "pod.spec.imagePullSecrets"),
    ("spec.autoscaling.behavior", "HorizontalPodAutoscalerBehavior", "hpa.spec.behavior"),
    ("spec.resources", "ResourceRequirements", "pod.spec.containers.resources"),
    ("spec.tolerations", "list of Toleration", "pod.spec.tolerations"),
    ("spec.affinity", "Affinity", "pod.spec.affinity"),
    (
        "spec.topologySpreadConstraints",
        "list of TopologySpreadConstraint",
        "pod.spec.topologySpreadConstraints",
    ),
    ("spec.networkPolicy.from", "list of NetworkPolicyPeer", "networkpolicy.spec.ingress.from"),
    ("spec.networkPolicy.monitoringFrom", "list of NetworkPolicyPeer", "networkpolicy.spec.ingress.from"),
    ("spec.networkPolicy.egress", "list of NetworkPolicyEgressRule", "networkpolicy.spec.egress"),
    ("status.conditions", "list of Condition", "dsvc.status.conditions"),
    ("spec.model.cache.size", "quantity", "pvc.spec.resources.requests"),
    ("spec.podDisruptionBudget.maxUnavailable", "number or percentage", "pdb.spec.maxUnavailable"),
];

const HEAD: &str = "<!-- Made from crds/src by `cargo run -p diffusion-crds --bin crdgen`: don't edit. -->
# The custom resource

A `DiffusionService` is one model, served over HTTP. This is enough:

```yaml
apiVersion: diffusion-operator.dev/v1alpha1
kind: DiffusionService
metadata:
  name: sd
spec:
  model:
    source: hf://CompVis/stable-diffusion-v1-4
```

All other fields have a default. `kubectl explain dsvc.spec` shows the same texts as this page, and
`diffusion-operator render FILE` prints the objects that a resource becomes, without a cluster.

An annotation asks for new pods when nothing else has changed, for example after an upgrade of the operator, which leaves
running pods alone: any new value of `diffusion-operator.dev/update`.
";

/// The page.
pub(crate) fn reference(definition: &Value) -> String {
    let root = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap_or(&Value::Null);
    let mut out = HEAD.to_owned();
    let rules = rules(root);
    if !rules.is_empty() {
        _ = write!(out, "\nRules of the whole resource:\n\n{rules}");
    }
    for name in ["spec", "status"] {
        section(name, property(root, name), &mut out);
    }
    out
}

fn property<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get("properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null)
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// One object, then those inside of it.
fn section(path: &str, schema: &Value, out: &mut String) {
    _ = write!(out, "\n## {path}\n\n{}\n\n", cell(text(schema, "description")));
    out.push_str("| Field | Type | Default | |\n|---|---|---|---|\n");
    let required: Vec<_> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut fields: Vec<_> =
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| (!required.contains(&name.as_str()), name.as_str()));
    for (name, field) in &fields {
        let inner = format!("{path}.{name}");
        _ = writeln!(
            out,
            "| `{name}` | {} | {} | {} |",
            kind(&inner, field),
            default(field, required.contains(&name.as_str())),
            about(&inner, field)
        );
    }
    let rules = rules(schema);
    if !rules.is_empty() {
        _ = write!(out, "\nRules:\n\n{rules}");
    }
    for (name, field) in fields {
        let inner = format!("{path}.{name}");
        if is_ours(&inner, field) {
            section(&inner, field, out);
        }
    }
}

/// Whether an object is described on this page.
fn is_ours(path: &str, schema: &Value) -> bool {
    schema.get("properties").is_some() && kubernetes(path).is_none()
}

fn kubernetes(path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    KUBERNETES.iter().find(|(field, _, _)| *field == path)
}

fn kind(path: &str, schema: &Value) -> String {
    if let Some((_, name, explain)) = kubernetes(path) {
        return format!("{name} (`kubectl explain {explain}`)");
    }
    if is_ours(path, schema) {
        // The anchor that GitHub makes of a heading.
        let anchor: String = path.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        return format!("[object](#{})", anchor.to_lowercase());
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    match text(schema, "type") {
        "array" => format!("list of {}", kind(path, schema.get("items").unwrap_or(&Value::Null))),
        "object" => "map of strings".to_owned(),
        "" => "integer or string".to_owned(),
        word @ ("integer" | "number") => {
            let bound = |key: &str| schema.get(key).map(Value::to_string);
            match (bound("minimum"), bound("maximum")) {
                (Some(min), Some(max)) => format!("{word}, {min} to {max}"),
                (Some(min), None) => format!("{word}, at least {min}"),
                (None, Some(max)) => format!("{word}, at most {max}"),
                (None, None) => word.to_owned(),
            }
        }
        word => word.to_owned(),
    }
}

fn default(schema: &Value, required: bool) -> String {
    match schema.get("default") {
        _ if required => "required".to_owned(),
        // An object with defaults of its own has a table of its own.
        None | Some(Value::Object(_)) => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

/// The description and what has to hold; for an object, that is said below its table.
fn about(path: &str, schema: &Value) -> String {
    let mut out = cell(text(schema, "description"));
    for message in messages(schema).into_iter().filter(|_| !is_ours(path, schema)) {
        _ = write!(out, "<br>*Rule:* {}", cell(message));
    }
    out
}

fn rules(schema: &Value) -> String {
    messages(schema).into_iter().map(|message| format!("- {message}\n")).collect()
}

fn messages(schema: &Value) -> Vec<&str> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    rules.into_iter().flatten().map(|rule| text(rule, "message")).collect()
}

/// A text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "<br>")
}
