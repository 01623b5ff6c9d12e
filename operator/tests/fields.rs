//! Every field of the spec has an effect. The fields are taken from the schema: a new one without a row here fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{at, made};
use diffusion_crds::definition::definition;
use serde_json::{Value, json};

/// Fields that hold a type of Kubernetes: they are handed on as they are, so one row is enough for what is inside.
const HANDED_ON: [&str; 9] = [
    "affinity",
    "autoscaling.behavior",
    "imagePullSecrets",
    "networkPolicy.egress",
    "networkPolicy.from",
    "networkPolicy.monitoringFrom",
    "resources",
    "tolerations",
    "topologySpreadConstraints",
];

/// A field, a value that is not its default, and what it must become.
struct Row {
    field: &'static str,
    base: Value,
    value: Value,
    object: &'static str,
    becomes: Value,
}

fn row(field: &'static str, base: &Value, value: Value, object: &'static str, becomes: Value) -> Row {
    Row { field, base: base.clone(), value, object, becomes }
}

/// A field that becomes a variable of the server.
fn variable(field: &'static str, value: Value, object: &'static str) -> Row {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    row(field, &bundled(), value, object, json!(text))
}

fn bundled() -> Value {
    json!({ "model": { "source": "bundled://emoji" } })
}

fn hub() -> Value {
    json!({ "model": { "source": "hf://org/repo" } })
}

fn cached() -> Value {
    json!({ "model": { "source": "hf://org/repo", "cache": { "size": "8Gi" } } })
}

fn gpu() -> Value {
    json!({ "model": { "source": "bundled://emoji" }, "accelerator": { "type": "nvidia" } })
}

fn rows() -> Vec<Row> {
    let (bundled, hub, cached, gpu) = (bundled(), hub(), cached(), gpu());
    let fixed = json!({ "model": { "source": "bundled://emoji" }, "autoscaling": { "enabled": false } });
    let authenticated = json!({
        "model": { "source": "bundled://emoji" },
        "auth": { "apiKeysSecretRef": { "name": "a", "key": "a" } },
    });
    let token = json!({
        "model": { "source": "hf://org/repo", "tokenSecretRef": { "name": "a", "key": "a" } },
    });
    let monitored = json!({ "model": { "source": "bundled://emoji" }, "monitoring": { "enabled": true } });
    let queue = json!({
        "model": { "source": "bundled://emoji" },
        "autoscaling": { "queue": { "targetSeconds": 5 } },
    });
    let peer = json!([{ "podSelector": { "matchLabels": { "a": "b" } } }]);
    let mut rows = vec![
        row(
            "model.source",
            &bundled,
            json!("pvc://models"),
            "Deployment/spec/template/spec/volumes/name=model/persistentVolumeClaim/claimName",
            json!("models"),
        ),
        row(
            "model.source",
            &bundled,
            json!("pvc://models/sd"),
            "Deployment/spec/template/spec/containers/0/volumeMounts/name=model/subPath",
            json!("sd"),
        ),
        row(
            "model.source",
            &hub,
            json!("hf://org/other@v1"),
            "Deployment/spec/template/spec/initContainers/0/args/1",
            json!("hf://org/other@v1"),
        ),
        row(
            "model.source",
            &cached,
            json!("hf://org/other"),
            "Job/spec/template/spec/containers/0/args/1",
            json!("hf://org/other"),
        ),
        row(
            "model.endpoint",
            &hub,
            json!("http://mirror:8080"),
            "Deployment/spec/template/spec/initContainers/0/env/name=HF_ENDPOINT/value",
            json!("http://mirror:8080"),
        ),
        row(
            "model.endpoint",
            &hub,
            json!("http://mirror:8080"),
            "NetworkPolicy/spec/egress/1/ports/0/port",
            json!(8080),
        ),
        row(
            "model.tokenSecretRef.name",
            &token,
            json!("hub"),
            "Deployment/spec/template/spec/initContainers/0/env/name=HF_TOKEN/valueFrom/secretKeyRef/name",
            json!("hub"),
        ),
        row(
            "model.tokenSecretRef.key",
            &token,
            json!("token"),
            "Deployment/spec/template/spec/initContainers/0/env/name=HF_TOKEN/valueFrom/secretKeyRef/key",
            json!("token"),
        ),
        row(
            "model.precision",
            &hub,
            json!("bf16"),
            "Deployment/spec/template/spec/initContainers/0/args/5",
            json!("bf16"),
        ),
        row(
            "model.precision",
            &hub,
            json!("bf16"),
            "Deployment/spec/template/spec/containers/0/resources/limits/memory",
            json!("5Gi"),
        ),
        row(
            "model.cache.size",
            &cached,
            json!("16Gi"),
            "PersistentVolumeClaim/spec/resources/requests/storage",
            json!("16Gi"),
        ),
        row(
            "model.cache.storageClassName",
            &cached,
            json!("fast"),
            "PersistentVolumeClaim/spec/storageClassName",
            json!("fast"),
        ),
        row(
            "model.cache.accessModes",
            &cached,
            json!(["ReadWriteMany"]),
            "PersistentVolumeClaim/spec/accessModes",
            json!(["ReadWriteMany"]),
        ),
        row(
            "model.cache.accessModes",
            &cached,
            json!(["ReadWriteMany"]),
            "Deployment/spec/template/spec/affinity",
            Value::Null,
        ),
        row(
            "model.cache.retain",
            &cached,
            json!(true),
            "PersistentVolumeClaim/metadata/annotations/diffusion-operator.dev~1retain",
            json!("true"),
        ),
        row(
            "model.cache.retain",
            &cached,
            json!(true),
            "PersistentVolumeClaim/metadata/ownerReferences",
            Value::Null,
        ),
        row(
            "image",
            &bundled,
            json!("x/y:1"),
            "Deployment/spec/template/spec/containers/0/image",
            json!("x/y:1"),
        ),
        row("image", &cached, json!("x/y:1"), "Job/spec/template/spec/containers/0/image", json!("x/y:1")),
        row(
            "imagePullPolicy",
            &hub,
            json!("Always"),
            "Deployment/spec/template/spec/containers/0/imagePullPolicy",
            json!("Always"),
        ),
        row(
            "imagePullPolicy",
            &hub,
            json!("Never"),
            "Deployment/spec/template/spec/initContainers/0/imagePullPolicy",
            json!("Never"),
        ),
        row(
            "imagePullSecrets",
            &bundled,
            json!([{ "name": "r" }]),
            "Deployment/spec/template/spec/imagePullSecrets",
            json!([{ "name": "r" }]),
        ),
        row("replicas", &fixed, json!(5), "replicas/fixed", json!(5)),
        row("autoscaling.enabled", &bundled, json!(false), "replicas", json!({ "fixed": 2 })),
        row("autoscaling.enabled", &bundled, json!(false), "HorizontalPodAutoscaler", Value::Null),
        row(
            "autoscaling.minReplicas",
            &bundled,
            json!(3),
            "HorizontalPodAutoscaler/spec/minReplicas",
            json!(3),
        ),
        row("autoscaling.minReplicas", &bundled, json!(3), "replicas/min", json!(3)),
        row(
            "autoscaling.maxReplicas",
            &bundled,
            json!(7),
            "HorizontalPodAutoscaler/spec/maxReplicas",
            json!(7),
        ),
        row(
            "autoscaling.targetCPUUtilization",
            &bundled,
            json!(55),
            "HorizontalPodAutoscaler/spec/metrics/0/resource/target/averageUtilization",
            json!(55),
        ),
        row(
            "autoscaling.queue.targetSeconds",
            &queue,
            json!(20),
            "HorizontalPodAutoscaler/spec/metrics/1/pods/target/averageValue",
            json!("20"),
        ),
        row(
            "autoscaling.behavior",
            &bundled,
            json!({ "scaleUp": { "stabilizationWindowSeconds": 9 } }),
            "HorizontalPodAutoscaler/spec/behavior/scaleUp/stabilizationWindowSeconds",
            json!(9),
        ),
        row("service.type", &bundled, json!("NodePort"), "Service/spec/type", json!("NodePort")),
        row("service.port", &bundled, json!(8000), "Service/spec/ports/0/port", json!(8000)),
        row(
            "service.annotations",
            &bundled,
            json!({ "a": "b" }),
            "Service/metadata/annotations",
            json!({ "a": "b" }),
        ),
        row(
            "service.loadBalancerClass",
            &bundled,
            json!("x/y"),
            "Service/spec/loadBalancerClass",
            json!("x/y"),
        ),
        row(
            "service.loadBalancerSourceRanges",
            &bundled,
            json!(["10.0.0.0/8"]),
            "Service/spec/loadBalancerSourceRanges",
            json!(["10.0.0.0/8"]),
        ),
        row(
            "service.loadBalancerSourceRanges",
            &bundled,
            json!(["10.0.0.0/8"]),
            "Service/spec/externalTrafficPolicy",
            json!("Local"),
        ),
        row(
            "service.loadBalancerSourceRanges",
            &bundled,
            json!(["10.0.0.0/8"]),
            "NetworkPolicy/spec/ingress/0/from",
            json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }]),
        ),
        row(
            "accelerator.type",
            &bundled,
            json!("nvidia"),
            "Deployment/spec/template/spec/containers/0/image",
            json!("example.com/server-cuda:1"),
        ),
        row(
            "accelerator.type",
            &bundled,
            json!("nvidia"),
            "Deployment/spec/template/spec/runtimeClassName",
            json!("nvidia"),
        ),
        row(
            "accelerator.type",
            &bundled,
            json!("nvidia"),
            "Deployment/spec/template/spec/tolerations/0/key",
            json!("nvidia.com/gpu"),
        ),
        row(
            "accelerator.type",
            &bundled,
            json!("nvidia"),
            "Deployment/spec/strategy/rollingUpdate",
            json!({ "maxSurge": 0, "maxUnavailable": 1 }),
        ),
        row(
            "accelerator.count",
            &gpu,
            json!(4),
            "Deployment/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu",
            json!("4"),
        ),
        row(
            "accelerator.resourceName",
            &gpu,
            json!("nvidia.com/mig-1g.10gb"),
            "Deployment/spec/template/spec/containers/0/resources/limits/nvidia.com~1mig-1g.10gb",
            json!("1"),
        ),
        row(
            "resources",
            &bundled,
            json!({ "limits": { "cpu": 3 } }),
            "Deployment/spec/template/spec/containers/0/resources",
            json!({ "limits": { "cpu": "3" } }),
        ),
        row(
            "resources",
            &gpu,
            json!({ "limits": { "cpu": "3" } }),
            "Deployment/spec/template/spec/containers/0/resources/limits",
            json!({ "cpu": "3", "nvidia.com/gpu": "1" }),
        ),
        row(
            "nodeSelector",
            &bundled,
            json!({ "disk": "ssd" }),
            "Deployment/spec/template/spec/nodeSelector",
            json!({ "disk": "ssd" }),
        ),
        row(
            "nodeSelector",
            &cached,
            json!({ "disk": "ssd" }),
            "Job/spec/template/spec/nodeSelector",
            json!({ "disk": "ssd" }),
        ),
        row(
            "tolerations",
            &bundled,
            json!([{ "operator": "Exists" }]),
            "Deployment/spec/template/spec/tolerations",
            json!([{ "operator": "Exists" }]),
        ),
        row(
            "affinity",
            &bundled,
            json!({ "nodeAffinity": {} }),
            "Deployment/spec/template/spec/affinity",
            json!({ "nodeAffinity": {} }),
        ),
        row(
            "topologySpreadConstraints",
            &bundled,
            json!([]),
            "Deployment/spec/template/spec/topologySpreadConstraints",
            Value::Null,
        ),
        row(
            "topologySpreadConstraints",
            &bundled,
            json!([{ "topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule" }]),
            "Deployment/spec/template/spec/topologySpreadConstraints/0/topologyKey",
            json!("rack"),
        ),
        row(
            "priorityClassName",
            &bundled,
            json!("high"),
            "Deployment/spec/template/spec/priorityClassName",
            json!("high"),
        ),
        row(
            "runtimeClassName",
            &gpu,
            json!("gvisor"),
            "Deployment/spec/template/spec/runtimeClassName",
            json!("gvisor"),
        ),
        row(
            "auth.apiKeysSecretRef.name",
            &authenticated,
            json!("keys"),
            "Deployment/spec/template/spec/volumes/name=api-keys/secret/secretName",
            json!("keys"),
        ),
        row(
            "auth.apiKeysSecretRef.key",
            &authenticated,
            json!("k.txt"),
            "Deployment/spec/template/spec/volumes/name=api-keys/secret/items",
            json!([{ "key": "k.txt", "path": "k.txt" }]),
        ),
        row(
            "auth.apiKeysSecretRef.key",
            &authenticated,
            json!("k.txt"),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_API_KEYS_FILE/value",
            json!("/etc/diffusion/api-keys/k.txt"),
        ),
        row("podDisruptionBudget.enabled", &bundled, json!(false), "PodDisruptionBudget", Value::Null),
        row(
            "podDisruptionBudget.maxUnavailable",
            &bundled,
            json!("25%"),
            "PodDisruptionBudget/spec/maxUnavailable",
            json!("25%"),
        ),
        row("networkPolicy.enabled", &bundled, json!(false), "NetworkPolicy", Value::Null),
        row("networkPolicy.enabled", &cached, json!(false), "ModelNetworkPolicy", Value::Null),
        row("networkPolicy.from", &bundled, peer.clone(), "NetworkPolicy/spec/ingress/0/from", peer.clone()),
        row(
            "networkPolicy.monitoringFrom",
            &bundled,
            peer.clone(),
            "NetworkPolicy/spec/ingress/1/from/0",
            peer[0].clone(),
        ),
        row(
            "networkPolicy.egress",
            &bundled,
            json!([{ "to": peer }]),
            "NetworkPolicy/spec/egress",
            json!([{ "to": peer }]),
        ),
        row("monitoring.enabled", &bundled, json!(true), "PodMonitor/kind", json!("PodMonitor")),
        row(
            "monitoring.intervalSeconds",
            &monitored,
            json!(15),
            "PodMonitor/spec/podMetricsEndpoints/0/interval",
            json!("15s"),
        ),
        row(
            "monitoring.labels",
            &monitored,
            json!({ "release": "p" }),
            "PodMonitor/metadata/labels/release",
            json!("p"),
        ),
        row("suspend", &bundled, json!(true), "replicas", json!({ "fixed": 0 })),
        row("suspend", &bundled, json!(true), "HorizontalPodAutoscaler", Value::Null),
        row(
            "limits.requestTimeout",
            &bundled,
            json!(60),
            "Deployment/spec/template/spec/terminationGracePeriodSeconds",
            json!(100),
        ),
        row(
            "limits.requestTimeout",
            &bundled,
            json!(60),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_GRACE_SECONDS/value",
            json!("75"),
        ),
    ];
    rows.extend([
        variable(
            "model.precision",
            json!("bf16"),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_PRECISION/value",
        ),
        variable(
            "defaults.scheduler",
            json!("euler_ancestral"),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_SCHEDULER/value",
        ),
        variable(
            "defaults.steps",
            json!(12),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_STEPS/value",
        ),
        variable(
            "defaults.guidanceScale",
            json!(7.5),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_GUIDANCE_SCALE/value",
        ),
        variable(
            "defaults.width",
            json!(640),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_WIDTH/value",
        ),
        variable(
            "defaults.height",
            json!(384),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_HEIGHT/value",
        ),
        variable(
            "defaults.negativePrompt",
            json!("blurry"),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_NEGATIVE_PROMPT/value",
        ),
        variable(
            "limits.maxSteps",
            json!(20),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_MAX_STEPS/value",
        ),
        variable(
            "limits.maxPixels",
            json!(4096),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_MAX_PIXELS/value",
        ),
        variable(
            "limits.maxQueueSeconds",
            json!(10),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_MAX_QUEUE_SECONDS/value",
        ),
        variable(
            "limits.maxBatch",
            json!(1),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_MAX_BATCH/value",
        ),
        variable(
            "limits.requestTimeout",
            json!(60),
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_REQUEST_TIMEOUT/value",
        ),
    ]);
    rows
}

fn set(spec: &mut Value, field: &str, value: &Value) {
    let mut inner = spec;
    for part in field.split('.') {
        if inner.get(part).is_none() {
            inner[part] = json!({});
        }
        inner = &mut inner[part];
    }
    *inner = value.clone();
}

#[test]
fn a_field_changes_what_it_says() {
    for Row { field, base, value, object, becomes } in rows() {
        let mut spec = base.clone();
        set(&mut spec, field, &value);
        let (before, after) = (made(&base), made(&spec));
        assert_eq!(at(&after, object), &becomes, "{field}: {value} -> {object}");
        assert_ne!(at(&before, object), &becomes, "{field}: {object} is the same without it");
    }
}

#[test]
fn every_field_has_a_row() {
    let definition = definition();
    let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a spec");
    let mut leaves = BTreeSet::new();
    collect("", spec, &mut leaves);
    assert!(leaves.len() > 50, "only {} fields", leaves.len());
    let rows: BTreeSet<String> = rows().iter().map(|row| row.field.to_owned()).collect();
    let without: Vec<_> = leaves.difference(&rows).collect();
    assert!(
        without.is_empty(),
        "these fields have no row in rows(), so nobody knows that they do anything: {without:?}"
    );
    let unknown: Vec<_> = rows.difference(&leaves).collect();
    assert!(unknown.is_empty(), "these rows are about no field: {unknown:?}");
}

fn collect(path: &str, schema: &Value, leaves: &mut BTreeSet<String>) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(fields) if !HANDED_ON.contains(&path) => {
            for (name, schema) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, schema, leaves);
            }
        }
        _ => _ = leaves.insert(path.to_owned()),
    }
}
