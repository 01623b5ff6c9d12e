//! Checks a document against the schema in the custom resource's definition, as an API server with strict field validation
//! does it.

use diffusion_crds::DiffusionService;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

/// Fields of `metadata` that a file may have.
const METADATA: [&str; 14] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Takes nulls out (they count as absent), and returns what is wrong with the rest.
pub(super) fn check(value: &mut Value) -> Vec<String> {
    without_nulls(value);
    let schema = schema();
    let mut problems = Vec::new();
    if let Value::Object(fields) = &*value {
        let known = ["apiVersion", "kind", "metadata", "spec"];
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            problems.push(unknown("", key, known.into_iter(), &schema));
        }
        if let Some(Value::Object(metadata)) = fields.get("metadata") {
            for key in metadata.keys().filter(|key| !METADATA.contains(&key.as_str())) {
                problems.push(unknown("metadata", key, METADATA.into_iter(), &Value::Null));
            }
        }
        if fields.get("metadata").and_then(|metadata| metadata.get("name")).is_none() {
            problems.push("metadata.name is missing: the objects are named after it".to_owned());
        }
        match fields.get("spec") {
            None => problems.push("spec is missing: it needs at least spec.model.source".to_owned()),
            Some(spec) => field("spec", spec, at(&schema, "spec"), &schema, &mut problems),
        }
    }
    problems
}

/// The schema of the whole resource.
fn schema() -> Value {
    let versions = DiffusionService::crd().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema);
    serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema)).unwrap_or_default()
}

fn at<'a>(schema: &'a Value, property: &str) -> &'a Value {
    schema.get("properties").and_then(|properties| properties.get(property)).unwrap_or(&Value::Null)
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn field(path: &str, value: &Value, schema: &Value, root: &Value, problems: &mut Vec<String>) {
    if let Some(problem) = wrong_type(value, schema).or_else(|| out_of_bounds(value, schema)) {
        problems.push(format!("{path} {problem}"));
        return;
    }
    match value {
        Value::Object(fields) => object(path, fields, schema, root, problems),
        Value::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            for (i, item) in items.iter().enumerate() {
                field(&format!("{path}[{i}]"), item, schema, root, problems);
            }
        }
        _ => {}
    }
}

fn object(path: &str, fields: &Map<String, Value>, schema: &Value, root: &Value, problems: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, value) in fields {
        match (properties.and_then(|properties| properties.get(key)), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => {
                field(&format!("{path}.{key}"), value, schema, root, problems);
            }
            (None, None) => {
                if let Some(properties) = properties {
                    problems.push(unknown(path, key, properties.keys().map(String::as_str), root));
                }
            }
        }
    }
    let required =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for key in required.filter(|key| !fields.contains_key(*key)) {
        problems.push(format!("{path}.{key} is missing"));
    }
}

fn wrong_type(value: &Value, schema: &Value) -> Option<String> {
    let (fits, expected) = if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        (value.is_i64() || value.is_string(), "a whole number or a text")
    } else {
        match schema.get("type").and_then(Value::as_str)? {
            "object" => (value.is_object(), "an object"),
            "array" => (value.is_array(), "a list"),
            "string" => (value.is_string(), "a text; numbers and true or false need quotes"),
            "boolean" => (value.is_boolean(), "true or false"),
            "integer" => (value.is_i64(), "a whole number"),
            "number" => (value.is_number(), "a number"),
            _ => return None,
        }
    };
    (!fits).then(|| format!("is {value}: it must be {expected}"))
}

fn out_of_bounds(value: &Value, schema: &Value) -> Option<String> {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        return Some(format!("is {value}: it must be one of {}", allowed.join(", ")));
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let size = match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            // A format is a bound, too.
            let int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
            let min = bound("minimum").or_else(|| int32.then_some(i32::MIN.into()));
            let max = bound("maximum").or_else(|| int32.then_some(i32::MAX.into()));
            return between(number, min, max).map(|limits| format!("is {value}: it must be {limits}"));
        }
        Value::String(text) => (text.chars().count(), "minLength", "maxLength", "characters"),
        Value::Array(items) => (items.len(), "minItems", "maxItems", "entries"),
        _ => return None,
    };
    let (size, min, max, unit) = size;
    // Lengths are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    between(size as f64, bound(min), bound(max))
        .map(|limits| format!("has {size} {unit}: it must have {limits}"))
}

fn between(value: f64, min: Option<f64>, max: Option<f64>) -> Option<String> {
    let inside = min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max);
    if inside {
        return None;
    }
    Some(match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return None,
    })
}

/// Says where a field that is not known may belong: to a similar name, or to another object.
fn unknown<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a str>, root: &Value) -> String {
    let name = join(path, key);
    let lower = key.to_lowercase();
    let (similarity, nearest) = known
        .map(|known| (strsim::normalized_damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .unwrap_or((0.0, ""));
    // A slip of the pen, then the right name in the wrong place, then what may have been meant.
    let hint = (similarity >= 0.85)
        .then(|| join(path, nearest))
        .or_else(|| elsewhere("spec", key, at(root, "spec")))
        .or_else(|| (similarity >= 0.6).then(|| join(path, nearest)));
    match hint {
        Some(hint) => format!("{name} is not a field: did you mean {hint}?"),
        None => format!(
            "{name} is not a field: remove it, or see docs/custom-resource.md for those that there are"
        ),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The first field of that very name in another object.
fn elsewhere(path: &str, key: &str, schema: &Value) -> Option<String> {
    let properties = schema.get("properties").and_then(Value::as_object)?;
    if properties.contains_key(key) {
        return Some(join(path, key));
    }
    properties.iter().find_map(|(name, schema)| elsewhere(&join(path, name), key, schema))
}
