//! What can't be acted on is said with its field, what came, and a way out; and nothing panics, whatever comes.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::resource;
use diffusion_crds::DiffusionService;
use diffusion_operator::{
    desired::objects,
    source::Source,
    validate::{Invalid, UPDATE_ANNOTATION, validate, validate_without_uid},
};
use serde_json::{Value, json};

fn refused(spec: Value) -> Invalid {
    match validate(&resource(&spec)) {
        Err(error) => error,
        Ok(validated) => panic!("{spec} is taken: {validated:?}"),
    }
}

fn bundled(more: Value) -> Value {
    let mut spec = json!({ "model": { "source": "bundled://emoji" } });
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn what_a_validated_resource_knows() {
    let spec = json!({
        "model": { "source": "hf://org/repo@v1", "endpoint": "http://mirror" },
        "accelerator": { "type": "nvidia", "count": 2 },
        "limits": { "requestTimeout": 60 },
    });
    let mut resource = resource(&spec);
    resource.metadata.annotations = Some([(UPDATE_ANNOTATION.to_owned(), "now".to_owned())].into());
    let validated = validate(&resource).expect("a valid resource");
    assert_eq!((validated.name.as_str(), validated.namespace.as_str()), ("sd", "pictures"));
    assert_eq!(validated.source, Source::Hub { repo: "org/repo".into(), revision: Some("v1".into()) });
    assert_eq!(validated.endpoint.ports, [80, 443]);
    assert_eq!(validated.request_timeout, 60);
    assert_eq!(validated.update.as_deref(), Some("now"));
    let device = validated.device.expect("a device");
    assert_eq!((device.resource.as_str(), device.count), ("nvidia.com/gpu", 2));
    let owner = validated.owner.expect("an owner");
    assert_eq!(owner.api_version, "diffusion-operator.dev/v1alpha1");
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("DiffusionService", "sd"));
    assert_eq!(owner.uid, "0c0ffee0-0000-4000-8000-000000000000");
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(false)));
}

#[test]
fn errors_name_the_field_the_value_and_the_way_out() {
    for (spec, words) in [
        (json!({ "model": { "source": "s3://x" } }), ["spec.model.source", "\"s3://x\"", "must start with"]),
        (
            json!({ "model": { "source": "hf://org" } }),
            ["spec.model.source", "\"hf://org\"", "hf://org/repo"],
        ),
        (
            json!({ "model": { "source": "hf://org/repo", "endpoint": "mirror" } }),
            ["spec.model.endpoint", "\"mirror\"", "https://"],
        ),
        (
            json!({ "model": { "source": "bundled://emoji", "cache": { "size": "1Gi" } } }),
            ["spec.model.cache", "bundled://emoji", "remove it"],
        ),
        (
            json!({ "model": { "source": "pvc://m", "tokenSecretRef": { "name": "a", "key": "b" } } }),
            ["spec.model.tokenSecretRef", "pvc://m", "remove it"],
        ),
        (
            json!({ "model": { "source": "hf://org/repo", "cache": { "size": "0" } } }),
            ["spec.model.cache.size", "\"0\"", "8Gi"],
        ),
        (
            json!({ "model": { "source": "hf://org/repo", "cache": { "size": "1Gi", "accessModes": [] } } }),
            ["spec.model.cache.accessModes", "empty", "at least one"],
        ),
        (
            json!({ "model": { "source": "bundled://emoji", "precision": "f16" } }),
            ["spec.model.precision", "f16", "spec.accelerator.type"],
        ),
        (
            bundled(json!({ "autoscaling": { "minReplicas": 5, "maxReplicas": 3 } })),
            ["minReplicas is 5", "maxReplicas is 3", "not above"],
        ),
        (bundled(json!({ "autoscaling": { "minReplicas": 0 } })), ["minReplicas is 0", "", "at least 1"]),
        (bundled(json!({ "replicas": -1 })), ["spec.replicas", "-1", "0 to 1000"]),
        (bundled(json!({ "service": { "port": 70000 } })), ["spec.service.port", "70000", "1 to 65535"]),
        (
            bundled(json!({ "limits": { "requestTimeout": 0 } })),
            ["spec.limits.requestTimeout", "0", "1 to 86400"],
        ),
        (
            bundled(json!({ "accelerator": { "type": "nvidia", "count": 0 } })),
            ["spec.accelerator.count", "0", "1 to 16"],
        ),
        (
            bundled(json!({ "defaults": { "negativePrompt": "a\u{0}b" } })),
            ["spec.defaults.negativePrompt", "NUL", "remove"],
        ),
    ] {
        let message = refused(spec.clone()).to_string();
        for word in words {
            assert!(message.contains(word), "{spec}: {message:?} does not say {word:?}");
        }
    }
}

#[test]
fn sizes_of_caches() {
    for (size, fits) in [
        ("8Gi", true),
        (".5Gi", true),
        ("+1G", true),
        ("1e9", true),
        ("0.0", false),
        ("-1Gi", false),
        ("", false),
    ] {
        let spec = json!({ "model": { "source": "hf://org/repo", "cache": { "size": size } } });
        assert_eq!(validate(&resource(&spec)).is_ok(), fits, "{size}");
    }
}

#[test]
fn a_resource_needs_a_name_that_its_children_can_have() {
    let longest = "a".repeat(48);
    let too_long = "a".repeat(49);
    for (name, fits) in [
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("1a", false),
        ("a-", false),
        ("a.b", false),
    ] {
        let mut resource = resource(&bundled(json!({})));
        resource.metadata.name = Some(name.to_owned());
        assert_eq!(validate(&resource).is_ok(), fits, "{name}");
        resource.metadata.name = None;
        assert_eq!(validate(&resource), Err(Invalid::Name(String::new())));
    }
}

#[test]
fn only_render_does_without_a_uid() {
    let mut resource = resource(&bundled(json!({})));
    resource.metadata.uid = None;
    assert_eq!(validate(&resource), Err(Invalid::Uid));
    assert_eq!(validate_without_uid(&resource).expect("a valid resource").owner, None);
    resource.metadata.namespace = None;
    assert_eq!(validate_without_uid(&resource), Err(Invalid::Namespace));
}

/// Every number of the spec at the ends of its type: no overflow, no panic.
#[test]
fn no_number_panics() {
    let resource = resource(&json!({
        "model": { "source": "hf://org/repo", "cache": { "size": "8Gi" } },
        "accelerator": { "type": "nvidia" },
        "defaults": { "steps": 1, "width": 8, "height": 8, "guidanceScale": 1.5 },
        "autoscaling": { "queue": { "targetSeconds": 1 } },
    }));
    let spec = serde_json::to_value(&resource.spec).expect("JSON");
    let mut paths = Vec::new();
    numbers("", &spec, &mut paths);
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        for number in [i32::MIN, -1, 0, i32::MAX] {
            let mut spec = spec.clone();
            *spec.pointer_mut(&path).expect("a path of this spec") = json!(number);
            let mut resource: DiffusionService = resource.clone();
            resource.spec = serde_json::from_value(spec).expect("a spec");
            if let Ok(validated) = validate(&resource) {
                objects(&validated, &common::settings());
            }
        }
    }
}

fn numbers(path: &str, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| numbers(&format!("{path}/{key}"), value, paths))
        }
        Value::Number(_) => paths.push(path.to_owned()),
        _ => {}
    }
}
