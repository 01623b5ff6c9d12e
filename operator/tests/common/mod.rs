//! Objects as JSON, for tests that look into them.

#![allow(dead_code)] // each test is a crate of its own and takes what it needs

use diffusion_crds::DiffusionService;
use diffusion_operator::{
    desired::{DeploymentPlan, ModelCache, Objects, Replicas, objects},
    settings::Settings,
    validate::validate,
};
use serde_json::{Map, Value, json};

/// Not the version's own.
pub(crate) fn settings() -> Settings {
    Settings {
        server_image: "example.com/server:1".into(),
        server_image_nvidia: "example.com/server-cuda:1".into(),
    }
}

/// A resource as an API server has it.
pub(crate) fn resource(spec: &Value) -> DiffusionService {
    let resource = json!({
        "apiVersion": "diffusion-operator.dev/v1alpha1",
        "kind": "DiffusionService",
        "metadata": { "name": "sd", "namespace": "pictures", "uid": "0c0ffee0-0000-4000-8000-000000000000" },
        "spec": spec,
    });
    serde_json::from_value(resource).unwrap_or_else(|e| panic!("{spec}: {e}"))
}

/// The objects of a spec, each under its kind; the model's NetworkPolicy under `ModelNetworkPolicy`, the number of pods
/// under `replicas`.
pub(crate) fn made(spec: &Value) -> Map<String, Value> {
    let validated = validate(&resource(spec)).unwrap_or_else(|e| panic!("{spec}: {e}"));
    by_kind(objects(&validated, &settings()))
}

/// [`Objects`] as JSON.
pub(crate) fn by_kind(objects: Objects) -> Map<String, Value> {
    let Objects {
        service_account,
        deployment: DeploymentPlan { deployment, replicas, spec_hash: _, template_hash: _ },
        service,
        autoscaler,
        disruption_budget,
        network_policy,
        model_network_policy,
        cache,
        monitor,
    } = objects;
    let (claim, job) = cache.map(|ModelCache { claim, job }| (claim, job)).unzip();
    let replicas = match replicas {
        Replicas::Fixed(count) => json!({ "fixed": count }),
        Replicas::Autoscaled { min, max } => json!({ "min": min, "max": max }),
    };
    let all = json!({
        "ServiceAccount": service_account,
        "Deployment": deployment,
        "replicas": replicas,
        "Service": service,
        "HorizontalPodAutoscaler": autoscaler,
        "PodDisruptionBudget": disruption_budget,
        "NetworkPolicy": network_policy,
        "ModelNetworkPolicy": model_network_policy,
        "PersistentVolumeClaim": claim,
        "Job": job,
        "PodMonitor": monitor,
    });
    let Value::Object(mut all) = all else { unreachable!("json! of an object") };
    all.retain(|_, object| !object.is_null());
    all
}

/// What is at a path such as `Deployment/spec/template/spec/containers/0/env/name=A/value`; null where there is nothing.
pub(crate) fn at<'a>(objects: &'a Map<String, Value>, path: &str) -> &'a Value {
    let mut parts = path.split('/');
    let mut value = objects.get(parts.next().unwrap_or_default()).unwrap_or(&Value::Null);
    for part in parts {
        let part = part.replace("~1", "/");
        let inner = match (value, part.split_once('=')) {
            (Value::Array(items), Some((key, wanted))) => items.iter().find(|item| item[key] == wanted),
            (Value::Array(items), None) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            (value, _) => value.get(&part),
        };
        value = inner.unwrap_or(&Value::Null);
    }
    value
}
