//! Hashes that stay the same from one operator to the next: SHA-256 of JSON with sorted keys.

use std::fmt::Write as _;

use diffusion_crds::{DiffusionServiceSpec, v1alpha1::Model};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::validate::Validated;

/// Annotation of the Deployment: [`spec`].
pub const SPEC_ANNOTATION: &str = "diffusion-operator.dev/spec-hash";

/// Annotation of the Deployment: [`template`].
pub const TEMPLATE_ANNOTATION: &str = "diffusion-operator.dev/template-hash";

const LENGTH: usize = 16;

/// Hash of what the user says about the pods. While it stays the same, an operator that would make another template
/// leaves the pods alone.
///
/// What is at its default counts as absent, so that neither a new field nor a new default in a later version
/// of the custom resource changes the hash of a resource that doesn't mention it.
pub fn spec(service: &Validated) -> String {
    let shape = shape(&service.spec);
    let default = self::shape(&DiffusionServiceSpec::new(""));
    short(&json!([without(&shape, &default), service.update]), LENGTH)
}

/// Hash of a pod template as it was rendered.
pub fn template(template: &impl Serialize) -> String {
    short(template, LENGTH)
}

/// The first `digits` hexadecimal digits of the hash of a value.
pub fn short(value: &impl Serialize, digits: usize) -> String {
    let mut text = String::new();
    // What goes in is made of maps with text keys, texts, booleans and finite numbers: it always has a JSON form.
    canonical(&serde_json::to_value(value).unwrap_or_default(), &mut text);
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(digits);
    hex
}

/// The parts of a spec that shape pods. Taken apart without `..`, so that a new field has to be put on one side.
fn shape(spec: &DiffusionServiceSpec) -> Value {
    let DiffusionServiceSpec {
        model,
        image,
        image_pull_policy,
        image_pull_secrets,
        defaults,
        limits,
        accelerator,
        resources,
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
        runtime_class_name,
        auth,
        // These shape other objects.
        replicas: _,
        autoscaling: _,
        service: _,
        pod_disruption_budget: _,
        network_policy: _,
        monitoring: _,
        suspend: _,
    } = spec;
    json!({
        "model": model_shape(model),
        "image": image,
        "imagePullPolicy": image_pull_policy,
        "imagePullSecrets": image_pull_secrets,
        "defaults": defaults,
        "limits": limits,
        "accelerator": accelerator,
        "resources": resources,
        "nodeSelector": node_selector,
        "tolerations": tolerations,
        "affinity": affinity,
        "topologySpreadConstraints": topology_spread_constraints,
        "priorityClassName": priority_class_name,
        "runtimeClassName": runtime_class_name,
        "auth": auth,
    })
}

/// With a cache, the server's pods neither fetch nor care how large the claim is.
fn model_shape(model: &Model) -> Value {
    let Model { source, endpoint, token_secret_ref, precision, cache } = model;
    match cache {
        Some(cache) => json!({ "source": source, "precision": precision, "cache": cache.access_modes }),
        None => json!({
            "source": source, "precision": precision, "endpoint": endpoint, "tokenSecretRef": token_secret_ref,
        }),
    }
}

/// A value without what is the same in `default`. What has no default is kept as it is: an empty selector, for one, is not
/// the same as none.
fn without(value: &Value, default: &Value) -> Value {
    let (Value::Object(fields), Value::Object(defaults)) = (value, default) else { return value.clone() };
    let left = fields.iter().filter_map(|(key, value)| {
        let default = defaults.get(key).unwrap_or(&Value::Null);
        if value == default {
            return None;
        }
        Some((key.clone(), without(value, default)))
    });
    Value::Object(left.collect())
}

/// JSON without blanks and with sorted keys, whatever order serde_json keeps.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                _ = write!(out, "{}:", Value::String(key.clone()));
                canonical(fields.get(key).unwrap_or(&Value::Null), out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        leaf => _ = write!(out, "{leaf}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_has_sorted_keys_and_no_blanks() {
        let mut text = String::new();
        canonical(&json!({ "b": [1, 2.5, null], "a": { "z": "\"\n", "y": true } }), &mut text);
        assert_eq!(text, r#"{"a":{"y":true,"z":"\"\n"},"b":[1,2.5,null]}"#);
    }

    #[test]
    fn the_hash_is_sha256() {
        // printf '"abc"' | sha256sum
        assert_eq!(
            short(&"abc", 16),
            "6cc43f858fbb763301637b5af970e2a46b46f461f27e5a0f41e009c59b827b25"[..16]
        );
    }

    #[test]
    fn a_default_counts_as_absent() {
        let default = json!({ "limits": { "a": 1, "b": 2 }, "x": null });
        assert_eq!(without(&default, &default), json!({}));
        assert_eq!(
            without(&json!({ "limits": { "a": 1, "b": 3, "c": null }, "selector": {}, "x": [] }), &default),
            json!({ "limits": { "b": 3 }, "selector": {}, "x": [] })
        );
    }
}
