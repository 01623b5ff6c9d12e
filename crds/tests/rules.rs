//! Every rule of the custom resource, without a cluster: what it lets pass, what it refuses, and what it says then.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use diffusion_crds::{DiffusionService, definition::definition};
use serde_json::{Value, json};

/// `metadata` and `spec`, read as the operator reads them.
fn resource(name: &str, spec: Value) -> DiffusionService {
    let resource = json!({
        "apiVersion": "diffusion-operator.dev/v1alpha1",
        "kind": "DiffusionService",
        "metadata": { "name": name },
        "spec": spec,
    });
    serde_json::from_value(resource.clone()).unwrap_or_else(|e| panic!("{resource}: {e}"))
}

fn spec(model: Value, more: Value) -> Value {
    let mut spec = json!({ "model": model });
    merge(&mut spec, &more);
    spec
}

fn merge(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (key, value) in from {
        match into.get_mut(key) {
            Some(old) if old.is_object() && value.is_object() => merge(old, value),
            _ => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

fn bundled(more: Value) -> Value {
    spec(json!({ "source": "bundled://emoji" }), more)
}

fn hub(model: Value, more: Value) -> Value {
    let mut all = json!({ "source": "hf://org/repo" });
    merge(&mut all, &model);
    spec(all, more)
}

/// The messages of the rules that a resource breaks.
fn messages(new: &DiffusionService, old: Option<&DiffusionService>) -> Vec<String> {
    let result = match old {
        Some(old) => new.validate_cel_update(old),
        None => new.validate_cel(),
    };
    result
        .err()
        .map_or(Vec::new(), |errors| errors.into_vec().into_iter().map(|error| error.message).collect())
}

fn accepts(new: &DiffusionService, old: Option<&DiffusionService>) {
    let messages = messages(new, old);
    assert!(messages.is_empty(), "{:?} is refused: {messages:?}", new.spec);
}

fn refuses(new: &DiffusionService, old: Option<&DiffusionService>, message: &str) {
    let messages = messages(new, old);
    assert!(
        messages.len() == 1 && messages[0].contains(message),
        "{:?}: {messages:?}, not {message:?}",
        new.spec
    );
}

#[test]
fn names() {
    let longest = "a".repeat(48);
    for name in ["a", "sd", "sd-1", "a1-2", longest.as_str()] {
        accepts(&resource(name, bundled(json!({}))), None);
    }
    let too_long = "a".repeat(49);
    for name in ["1sd", "-sd", "sd-", "s.d", "SD", too_long.as_str()] {
        refuses(&resource(name, bundled(json!({}))), None, "at most 48 characters");
    }
}

#[test]
fn sources() {
    for source in [
        "bundled://emoji",
        "hf://CompVis/stable-diffusion-v1-4",
        "hf://org/repo@v1.0",
        "hf://org/repo@refs/pr/1",
        "pvc://models",
        "pvc://models/sd/v1-4",
    ] {
        accepts(&resource("sd", json!({ "model": { "source": source } })), None);
    }
    for (source, message) in [
        ("emoji", "must start with bundled://, hf:// or pvc://"),
        ("s3://bucket/model", "must start with bundled://, hf:// or pvc://"),
        ("bundled://other", "the only bundled model"),
        ("hf://org", "must be hf://org/repo"),
        ("hf://org/repo/more", "must be hf://org/repo"),
        ("hf://org/repo@", "must be hf://org/repo"),
        ("pvc://", "must be pvc://claim"),
        ("pvc://models/", "must be pvc://claim"),
        ("pvc://models//sd", "must be pvc://claim"),
        ("pvc://models/../secret", "must be pvc://claim"),
    ] {
        refuses(&resource("sd", json!({ "model": { "source": source } })), None, message);
    }
}

#[test]
fn endpoints() {
    for endpoint in ["https://hub.example.com", "http://hub.models.svc:8080/prefix"] {
        accepts(&resource("sd", hub(json!({ "endpoint": endpoint }), json!({}))), None);
    }
    for endpoint in ["hub.example.com", "ftp://hub", "https://", "https://hub/a b"] {
        refuses(
            &resource("sd", hub(json!({ "endpoint": endpoint }), json!({}))),
            None,
            "http:// or https:// URL",
        );
    }
}

#[test]
fn what_only_hub_sources_have() {
    let token = json!({ "name": "hub", "key": "token" });
    for (field, value, message) in [
        ("cache", json!({ "size": "8Gi" }), "cache is for hf:// sources"),
        ("tokenSecretRef", token, "tokenSecretRef is for hf:// sources"),
        ("endpoint", json!("https://hub"), "endpoint is for hf:// sources"),
    ] {
        accepts(&resource("sd", hub(json!({ field: value }), json!({}))), None);
        for source in ["bundled://emoji", "pvc://models"] {
            let model = json!({ "source": source, field: value });
            refuses(&resource("sd", json!({ "model": model })), None, message);
        }
    }
}

#[test]
fn keys_of_secrets() {
    let with = |key: &str| {
        resource("sd", bundled(json!({ "auth": { "apiKeysSecretRef": { "name": "keys", "key": key } } })))
    };
    for key in ["keys", "keys.txt", "A_b-1", ".hidden"] {
        accepts(&with(key), None);
    }
    for key in ["a/b", "..", "..data", ".", "a b"] {
        refuses(&with(key), None, "must be a key of a Secret");
    }
}

#[test]
fn half_precision_needs_an_accelerator() {
    let f16 = |accelerator: Value| {
        resource("sd", hub(json!({ "precision": "f16" }), json!({ "accelerator": accelerator })))
    };
    accepts(&f16(json!({ "type": "nvidia" })), None);
    refuses(&f16(json!({ "type": "none" })), None, "f16 needs an accelerator");
    refuses(&f16(Value::Null), None, "f16 needs an accelerator");
    accepts(&resource("sd", hub(json!({ "precision": "bf16" }), json!({}))), None);
}

#[test]
fn extended_resources() {
    let with = |name: &str| {
        resource("sd", bundled(json!({ "accelerator": { "type": "nvidia", "resourceName": name } })))
    };
    for name in ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb"] {
        accepts(&with(name), None);
    }
    for name in ["gpu", "nvidia.com/", "/gpu", "NVIDIA.com/gpu", "a/b/c"] {
        refuses(&with(name), None, "extended resource");
    }
}

#[test]
fn sizes_of_pictures() {
    for field in ["width", "height"] {
        accepts(&resource("sd", bundled(json!({ "defaults": { field: 512 } }))), None);
        refuses(&resource("sd", bundled(json!({ "defaults": { field: 500 } }))), None, "multiple of 8");
    }
}

#[test]
fn sizes_of_caches() {
    for size in [json!("8Gi"), json!("500M"), json!(8_000_000_000_i64), json!("1.5Ti")] {
        accepts(&resource("sd", hub(json!({ "cache": { "size": size } }), json!({}))), None);
    }
    for size in [json!("0"), json!(0), json!("-1Gi"), json!("8 Gi"), json!("big"), json!("8GiB")] {
        refuses(
            &resource("sd", hub(json!({ "cache": { "size": size } }), json!({}))),
            None,
            "must be a quantity above 0",
        );
    }
}

#[test]
fn disruptions() {
    let with =
        |value: Value| resource("sd", bundled(json!({ "podDisruptionBudget": { "maxUnavailable": value } })));
    for value in [json!(0), json!(1), json!("25%"), json!("100%"), json!("0%")] {
        accepts(&with(value), None);
    }
    for value in [json!(-1), json!("101%"), json!("one"), json!("25 %"), json!("%")] {
        refuses(&with(value), None, "a number or a percentage");
    }
}

#[test]
fn autoscaling_bounds() {
    let with = |min: i32, max: i32| {
        resource("sd", bundled(json!({ "autoscaling": { "minReplicas": min, "maxReplicas": max } })))
    };
    accepts(&with(3, 3), None);
    refuses(&with(4, 3), None, "minReplicas must not be above maxReplicas");
}

#[test]
fn load_balancers() {
    let with = |service: Value| resource("sd", bundled(json!({ "service": service })));
    accepts(&with(json!({ "loadBalancerClass": "x/y", "loadBalancerSourceRanges": ["10.0.0.0/8"] })), None);
    accepts(&with(json!({ "loadBalancerSourceRanges": ["2001:db8::/32"] })), None);
    for service in [
        json!({ "type": "ClusterIP", "loadBalancerClass": "x/y" }),
        json!({ "type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"] }),
    ] {
        refuses(&with(service), None, "are for type LoadBalancer");
    }
    for range in ["10.0.0.1", "10.0.0.0/33", "all"] {
        refuses(&with(json!({ "loadBalancerSourceRanges": [range] })), None, "CIDR notation");
    }
}

#[test]
fn the_class_of_a_load_balancer_stays() {
    let with = |service: Value| resource("sd", bundled(json!({ "service": service })));
    let (a, b) = (with(json!({ "loadBalancerClass": "x/a" })), with(json!({ "loadBalancerClass": "x/b" })));
    let none = with(json!({}));
    let inside = with(json!({ "type": "ClusterIP" }));
    accepts(&a, Some(&a));
    for (new, old) in [(&b, &a), (&a, &none), (&none, &a)] {
        refuses(new, Some(old), "loadBalancerClass can't be changed");
    }
    accepts(&inside, Some(&a));
    accepts(&b, Some(&inside));
}

#[test]
fn a_cached_model_stays() {
    let with = |model: Value| resource("sd", hub(model, json!({})));
    let cache = json!({ "size": "8Gi" });
    let old = with(json!({ "cache": cache }));
    for model in [
        json!({ "source": "hf://org/other", "cache": cache }),
        json!({ "precision": "bf16", "cache": cache }),
    ] {
        refuses(&with(model), Some(&old), "can't be changed while the model is cached");
    }
    accepts(&with(json!({ "source": "hf://org/other" })), Some(&old));
    accepts(&with(json!({ "cache": { "size": "16Gi", "retain": true } })), Some(&old));
    accepts(&with(json!({ "source": "hf://org/other", "cache": cache })), Some(&with(json!({}))));
}

#[test]
fn what_a_claim_keeps() {
    let with = |cache: Value| resource("sd", hub(json!({ "cache": cache }), json!({})));
    let old = with(json!({ "size": "8Gi" }));
    for cache in [
        json!({ "size": "8Gi", "storageClassName": "fast" }),
        json!({ "size": "8Gi", "accessModes": ["ReadWriteMany"] }),
    ] {
        refuses(&with(cache.clone()), Some(&old), "storageClassName and accessModes can't be changed");
        refuses(&old, Some(&with(cache)), "storageClassName and accessModes can't be changed");
    }
    accepts(&with(json!({ "size": "9Gi" })), Some(&old));
}

#[test]
fn replicas_under_autoscaling() {
    let with = |replicas: i32, enabled: bool| {
        resource("sd", bundled(json!({ "replicas": replicas, "autoscaling": { "enabled": enabled } })))
    };
    refuses(&with(3, true), Some(&with(2, true)), "replicas can't be changed while autoscaling is on");
    for (new, old) in
        [(with(3, false), with(2, false)), (with(3, false), with(2, true)), (with(3, true), with(2, false))]
    {
        accepts(&new, Some(&old));
    }
}

/// A rule that this file does not mention is a rule without a test.
#[test]
fn every_rule_has_a_test() {
    let mut rules = Vec::new();
    collect(&definition(), &mut rules);
    assert!(rules.len() > 20, "{} rules", rules.len());
    let tests = include_str!("rules.rs");
    let refused: Vec<&str> = tests.split('"').skip(1).step_by(2).filter(|text| text.contains(' ')).collect();
    for message in rules {
        assert!(refused.iter().any(|text| message.contains(text)), "no test refuses with {message:?}");
    }
}

fn collect(value: &Value, rules: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(all)) = fields.get("x-kubernetes-validations") {
                rules.extend(all.iter().map(|rule| {
                    rule["message"]
                        .as_str()
                        .unwrap_or_else(|| panic!("a rule without a message: {rule}"))
                        .to_owned()
                }));
            }
            fields.values().for_each(|value| collect(value, rules));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, rules)),
        _ => {}
    }
}
