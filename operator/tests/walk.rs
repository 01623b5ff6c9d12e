//! A random walk over specs. Each step is a seed, so that a failure can be repeated.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{at, by_kind, resource, settings};
use diffusion_crds::definition::definition;
use diffusion_operator::{
    desired::{Objects, hash, names, objects},
    settings::Settings,
    validate::validate,
};
use kube::core::cel::{Validator, compile_schema};
use serde_json::{Map, Value, json};

const STEPS: u64 = 400;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn yes(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn between(&mut self, min: i64, max: i64) -> i64 {
        min + (self.next() % (max - min + 1).unsigned_abs()).cast_signed()
    }
}

/// Fields whose values have a form that the schema doesn't say.
fn special(path: &str, random: &mut Random) -> Option<Value> {
    Some(match path {
        "model.source" => {
            json!(random.one(&["bundled://emoji", "pvc://models/sd", "hf://org/repo", "hf://o/r@v1"]))
        }
        "model.endpoint" => json!(random.one(&["http://mirror:8080", "https://mirror"])),
        "model.cache.size" => random.one(&[json!("8Gi"), json!("1.5Ti"), json!(8_000_000_000_i64)]),
        "accelerator.resourceName" => json!(random.one(&["nvidia.com/gpu", "nvidia.com/mig-1g.10gb"])),
        "defaults.width" | "defaults.height" => json!(8 * random.between(1, 1024)),
        "podDisruptionBudget.maxUnavailable" => random.one(&[json!(0), json!(3), json!("25%")]),
        "service.loadBalancerSourceRanges" => {
            random.one(&[json!(["10.0.0.0/8"]), json!(["10.0.0.0/8", "fd00::/8"])])
        }
        "resources" => random.one(&[
            json!({}),
            json!({ "requests": { "cpu": 2, "memory": "4Gi" }, "limits": { "memory": "4Gi" } }),
            json!({ "requests": { "nvidia.com/gpu": "3" }, "limits": { "nvidia.com/gpu": "3" } }),
        ]),
        _ if path.ends_with(".key") => json!(random.one(&["token", "keys.txt"])),
        _ => return None,
    })
}

/// A random value that a schema allows.
fn value(path: &str, schema: &Value, random: &mut Random) -> Value {
    if let Some(value) = special(path, random) {
        return value;
    }
    if let Some(values) = schema["enum"].as_array() {
        return random.one(values);
    }
    let bound = |key: &str, otherwise: i64| schema[key].as_i64().unwrap_or(otherwise);
    match schema["type"].as_str() {
        Some("object") => match schema["properties"].as_object() {
            Some(fields) => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let mut object = Map::new();
                for (name, schema) in fields {
                    if required.contains(&json!(name)) || random.below(3) == 0 {
                        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        object.insert(name.clone(), value(&path, schema, random));
                    }
                }
                Value::Object(object)
            }
            None => json!({ random.one(&["a", "b/c", "app.kubernetes.io/name"]): random.one(&["x", "y"]) }),
        },
        Some("array") => {
            let length = random.between(bound("minItems", 0), 2);
            (0..length).map(|_| value(&format!("{path}[]"), &schema["items"], random)).collect()
        }
        Some("boolean") => json!(random.yes()),
        Some("integer") => json!(random.between(bound("minimum", 0), bound("maximum", 1000))),
        Some("number") => json!(random.between(bound("minimum", 0), bound("maximum", 1000) - 1) as f64 + 0.5),
        // A text, or an integer or text.
        _ => json!(random.one(&["a", "some-text", "$(PATH) $$ \"quoted\"\n: #"])),
    }
}

struct Walk {
    schema: Value,
    rules: kube::core::cel::CompiledSchema,
}

impl Walk {
    fn new() -> Self {
        let definition = definition();
        let whole = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").expect("a schema");
        Self { schema: whole["properties"]["spec"].clone(), rules: compile_schema(whole) }
    }

    /// Any spec of the schema; most break a rule.
    fn any(&self, random: &mut Random) -> Value {
        value("", &self.schema, random)
    }

    /// The same, mended where it breaks a rule, and checked that it breaks none.
    fn valid(&self, random: &mut Random) -> Value {
        let mut spec = self.any(random);
        let hub = spec["model"]["source"].as_str().is_some_and(|source| source.starts_with("hf://"));
        let model = spec["model"].as_object_mut().expect("a model");
        if !hub {
            model.retain(|field, _| ["source", "precision"].contains(&field.as_str()));
        }
        if spec["accelerator"]["type"] != "nvidia" && spec["model"]["precision"] == "f16" {
            spec["model"]["precision"] = json!("bf16");
        }
        if let Some(service) = spec.get_mut("service").and_then(Value::as_object_mut)
            && service.get("type").is_some_and(|kind| kind != "LoadBalancer")
        {
            service.retain(|field, _| !field.starts_with("loadBalancer"));
        }
        if let Some(autoscaling) = spec.get_mut("autoscaling").and_then(Value::as_object_mut) {
            let min = autoscaling.get("minReplicas").and_then(Value::as_i64).unwrap_or(2);
            let max = autoscaling.get("maxReplicas").and_then(Value::as_i64).unwrap_or(10);
            autoscaling.insert("maxReplicas".to_owned(), json!(max.max(min)));
        }
        let whole = serde_json::to_value(resource(&spec)).expect("JSON");
        if let Err(errors) = Validator::new().validate_compiled(&self.rules, &whole, None) {
            panic!("{spec}: {errors}");
        }
        spec
    }
}

fn make(spec: &Value, settings: &Settings) -> Objects {
    let validated = validate(&resource(spec)).unwrap_or_else(|e| panic!("{spec}: {e}"));
    objects(&validated, settings)
}

fn for_each_spec(mut check: impl FnMut(&Value, &mut Random, &Walk)) {
    let walk = Walk::new();
    for seed in 0..STEPS {
        let mut random = Random(seed);
        let spec = walk.valid(&mut random);
        check(&spec, &mut random, &walk);
    }
}

#[test]
fn nothing_that_the_schema_allows_panics() {
    let walk = Walk::new();
    let mut taken = 0;
    for seed in 0..4 * STEPS {
        if let Ok(validated) = validate(&resource(&walk.any(&mut Random(seed)))) {
            objects(&validated, &settings());
            taken += 1;
        }
    }
    assert!(taken > STEPS / 4, "{taken} specs were taken: the walk tests too little");
}

#[test]
fn two_renders_are_the_same() {
    for_each_spec(|spec, _, _| assert_eq!(make(spec, &settings()), make(spec, &settings()), "{spec}"));
}

fn is_dns_label(name: &str) -> bool {
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(end)
        && name.ends_with(end)
        && name.chars().all(|c| end(c) || c == '-')
}

#[test]
fn names_fit_whatever_the_name_of_the_resource() {
    for_each_spec(|spec, random, _| {
        let name = "a".repeat(random.between(1, 48) as usize);
        let mut resource = resource(spec);
        resource.metadata.name = Some(name.clone());
        let validated = validate(&resource).unwrap_or_else(|e| panic!("{spec}: {e}"));
        for (kind, object) in by_kind(objects(&validated, &settings())) {
            let Some(metadata) = object.get("metadata") else { continue };
            let child = metadata["name"].as_str().expect("a name");
            assert!(is_dns_label(child) && child.starts_with(&name), "{kind} {child}");
            assert_eq!(metadata["namespace"], "pictures");
            for (label, value) in metadata["labels"].as_object().expect("labels") {
                assert!(value.as_str().is_some_and(|value| value.len() <= 63), "{kind}: {label}={value}");
            }
            assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "diffusion-server", "{kind}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "diffusion-operator", "{kind}");
            let retained = metadata["annotations"]["diffusion-operator.dev/retain"] == "true";
            let owners = metadata["ownerReferences"].as_array().map_or(0, Vec::len);
            assert_eq!(owners, usize::from(!retained), "{kind}");
        }
    });
}

fn selects(selector: &Value, labels: &Value) -> bool {
    selector
        .as_object()
        .is_some_and(|all| !all.is_empty() && all.iter().all(|(key, value)| &labels[key] == value))
}

#[test]
fn selectors_select_the_pods_that_they_are_for() {
    for_each_spec(|spec, _, _| {
        let all = by_kind(make(spec, &settings()));
        let server = at(&all, "Deployment/spec/template/metadata/labels");
        let fetch = at(&all, "Job/spec/template/metadata/labels");
        for path in [
            "Deployment/spec/selector/matchLabels",
            "Service/spec/selector",
            "PodDisruptionBudget/spec/selector/matchLabels",
            "NetworkPolicy/spec/podSelector/matchLabels",
            "PodMonitor/spec/selector/matchLabels",
        ] {
            let selector = at(&all, path);
            let there = all.contains_key(path.split('/').next().expect("a kind"));
            assert_eq!(selects(selector, server), there, "{spec}: {path}");
            assert!(!selects(selector, fetch), "{spec}: {path}");
        }
        let model = at(&all, "ModelNetworkPolicy/spec/podSelector/matchLabels");
        assert_eq!(selects(model, fetch), all.contains_key("ModelNetworkPolicy"), "{spec}");
        assert!(!selects(model, server), "{spec}");
        let text: Map<String, Value> = names::selector("sd")
            .split(',')
            .map(|pair| pair.split_once('=').expect("key=value"))
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect();
        assert_eq!(&Value::Object(text), at(&all, "Deployment/spec/selector/matchLabels"));
        if all.contains_key("HorizontalPodAutoscaler") {
            let target = at(&all, "HorizontalPodAutoscaler/spec/scaleTargetRef/name");
            assert_eq!(target, at(&all, "Deployment/metadata/name"));
        }
    });
}

#[test]
fn pods_hang_together() {
    for_each_spec(|spec, _, _| {
        let all = by_kind(make(spec, &settings()));
        for kind in ["Deployment", "Job"].into_iter().filter(|kind| all.contains_key(*kind)) {
            let pod = at(&all, &format!("{kind}/spec/template/spec"));
            let names = |list: &Value| -> Vec<String> {
                let items = list.as_array().into_iter().flatten();
                items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
            };
            let volumes = names(&pod["volumes"]);
            assert_eq!(volumes.len(), volumes.iter().collect::<BTreeSet<_>>().len(), "{spec}: {volumes:?}");
            let mut mounted = BTreeSet::new();
            let containers =
                pod["initContainers"].as_array().into_iter().chain(pod["containers"].as_array()).flatten();
            for container in containers {
                let variables = names(&container["env"]);
                assert_eq!(
                    variables.len(),
                    variables.iter().collect::<BTreeSet<_>>().len(),
                    "{spec}: {variables:?}"
                );
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
                mounted.extend(names(&container["volumeMounts"]));
            }
            assert_eq!(mounted, volumes.into_iter().collect(), "{spec}: {kind} mounts what it has");
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(&pod["serviceAccountName"], at(&all, "ServiceAccount/metadata/name"));
        }
        // A pod that ends: connections stop, accepted requests are finished, and only then it is killed.
        let pod = at(&all, "Deployment/spec/template/spec");
        let grace =
            at(&all, "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_GRACE_SECONDS/value");
        let grace: i64 = grace.as_str().and_then(|text| text.parse().ok()).expect("seconds");
        let sleep =
            pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().expect("seconds");
        assert!(pod["terminationGracePeriodSeconds"].as_i64().expect("seconds") > sleep + grace, "{spec}");
        // The roll-out counts as stuck only after a slow start had its time.
        let startup = &pod["containers"][0]["startupProbe"];
        let budget = startup["periodSeconds"].as_i64().zip(startup["failureThreshold"].as_i64());
        let deadline = at(&all, "Deployment/spec/progressDeadlineSeconds").as_i64();
        assert!(deadline > budget.map(|(period, failures)| period * failures), "{spec}");
        assert_eq!(
            at(&all, "Deployment/spec/replicas"),
            &Value::Null,
            "replicas are set by another field manager"
        );
    });
}

/// Kubernetes expands `$(NAME)` in variables and arguments; what a user writes must arrive as it was written.
#[test]
fn nothing_is_expanded() {
    for_each_spec(|spec, _, _| {
        let all = by_kind(make(spec, &settings()));
        let prompt = at(
            &all,
            "Deployment/spec/template/spec/containers/0/env/name=DIFFUSION_DEFAULT_NEGATIVE_PROMPT/value",
        );
        let Some(prompt) = prompt.as_str() else { return };
        assert_eq!(Some(prompt.replace("$$", "$").as_str()), spec["defaults"]["negativePrompt"].as_str());
        assert!(!prompt.replace("$$", "").contains('$'), "{prompt}");
    });
}

#[test]
fn hashes_change_with_what_they_are_of() {
    const ELSEWHERE: [&str; 7] = [
        "replicas",
        "autoscaling",
        "service",
        "podDisruptionBudget",
        "networkPolicy",
        "monitoring",
        "suspend",
    ];
    let mut changed = 0;
    for_each_spec(|spec, random, walk| {
        let plan = make(spec, &settings()).deployment;
        let other = walk.valid(random);
        let with = |fields: &[&str]| {
            let mut mixed = spec.clone();
            for field in fields {
                match other.get(field) {
                    Some(value) => mixed[*field] = value.clone(),
                    None => _ = mixed.as_object_mut().expect("an object").remove(*field),
                }
            }
            mixed
        };
        let elsewhere = make(&with(&ELSEWHERE), &settings()).deployment;
        assert_eq!(elsewhere.spec_hash, plan.spec_hash, "{spec}\n{other}");
        assert_eq!(elsewhere.template_hash, plan.template_hash, "{spec}\n{other}");

        let fields: Vec<&str> = other.as_object().expect("an object").keys().map(String::as_str).collect();
        let field = random.one(&fields);
        let mixed = with(&[field]);
        let Ok(validated) = validate(&resource(&mixed)) else { return };
        let mixed = objects(&validated, &settings()).deployment;
        let same = mixed.deployment.spec.template == plan.deployment.spec.template;
        assert_eq!(mixed.template_hash == plan.template_hash, same, "{field}: {spec}\n{other}");
        // The other way round it need not be: a default that is written out is another spec and the same template.
        assert!(
            same || mixed.spec_hash != plan.spec_hash,
            "{field} changes pods and not the hash: {spec}\n{other}"
        );
        changed += u32::from(!same);

        let upgraded = Settings { server_image: "example.com/server:2".into(), ..settings() };
        assert_eq!(make(spec, &upgraded).deployment.spec_hash, plan.spec_hash, "an upgrade changes no spec");
    });
    assert!(changed > 50, "{changed} changes of pods: the walk tests too little");
}

#[test]
fn the_annotations_are_the_hashes() {
    let plan = make(&json!({ "model": { "source": "bundled://emoji" } }), &settings()).deployment;
    let annotations = plan.deployment.metadata.annotations.expect("annotations");
    assert_eq!(annotations.get(hash::SPEC_ANNOTATION), Some(&plan.spec_hash));
    assert_eq!(annotations.get(hash::TEMPLATE_ANNOTATION), Some(&plan.template_hash));
    assert_eq!(plan.template_hash, hash::template(&plan.deployment.spec.template));
}

#[test]
fn an_update_is_asked_for_by_an_annotation() {
    let mut resource = resource(&json!({ "model": { "source": "bundled://emoji" } }));
    let hash_of =
        |resource: &_| objects(&validate(resource).expect("valid"), &settings()).deployment.spec_hash;
    let before = hash_of(&resource);
    resource.metadata.annotations = Some([("other".to_owned(), "x".to_owned())].into());
    assert_eq!(hash_of(&resource), before);
    let annotation = diffusion_operator::validate::UPDATE_ANNOTATION;
    resource.metadata.annotations = Some([(annotation.to_owned(), "1".to_owned())].into());
    assert_ne!(hash_of(&resource), before);
}

/// What is written out at its default is the same spec; what only the Job and the claim are about replaces no pods.
#[test]
fn the_spec_hash_ignores_what_makes_no_difference() {
    let hash_of = |spec: Value| make(&spec, &settings()).deployment.spec_hash;
    let hub = || json!({ "model": { "source": "hf://org/repo" } });
    let mut written = hub();
    written["limits"] = json!({ "maxSteps": 150, "requestTimeout": 900 });
    written["imagePullPolicy"] = json!("IfNotPresent");
    written["model"]["precision"] = json!("auto");
    written["nodeSelector"] = json!({});
    assert_eq!(hash_of(written), hash_of(hub()));

    let cached = |more: Value| {
        let mut spec = json!({ "model": { "source": "hf://org/repo", "cache": { "size": "8Gi" } } });
        for (field, value) in more.as_object().expect("an object") {
            spec["model"][field] = value.clone();
        }
        hash_of(spec)
    };
    let before = cached(json!({}));
    assert_eq!(
        cached(json!({ "cache": { "size": "16Gi", "retain": true, "storageClassName": "fast" } })),
        before
    );
    assert_eq!(
        cached(json!({ "endpoint": "http://mirror", "tokenSecretRef": { "name": "a", "key": "b" } })),
        before
    );
    assert_ne!(cached(json!({ "cache": { "size": "8Gi", "accessModes": ["ReadWriteMany"] } })), before);
    assert_ne!(hash_of(hub()), before);
}

/// Another model is another Job: its template can't be changed.
#[test]
fn jobs_are_named_after_what_they_fetch() {
    let job = |more: Value| {
        let mut spec = json!({ "model": { "source": "hf://org/repo", "cache": { "size": "8Gi" } } });
        for (field, value) in more.as_object().expect("an object") {
            spec["model"][field] = value.clone();
        }
        make(&spec, &settings()).cache.expect("a cache").job.metadata.name.expect("a name")
    };
    let names: BTreeSet<String> = [
        json!({}),
        json!({ "source": "hf://org/other" }),
        json!({ "precision": "bf16" }),
        json!({ "endpoint": "http://mirror" }),
    ]
    .into_iter()
    .map(job)
    .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(job(json!({})), job(json!({ "tokenSecretRef": { "name": "a", "key": "b" } })));
}
