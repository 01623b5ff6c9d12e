//! The CustomResourceDefinition, as it is written to files and applied.

use kube::CustomResourceExt;
use serde_json::{Number, Value};
use serde_saphyr::ser::Error;

use crate::DiffusionService;

/// The definition as JSON.
pub fn definition() -> Value {
    // It is made of maps with text keys, texts and finite numbers, which always have a JSON form.
    let mut definition = serde_json::to_value(DiffusionService::crd()).unwrap_or_default();
    tidy(&mut definition);
    definition
}

/// The definition as YAML.
///
/// # Errors
/// None that is known: everything in it has a YAML form.
pub fn definition_yaml() -> Result<String, Error> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: 100_000 };
    serde_saphyr::to_string_with_options(&definition(), options)
}

/// Bounds as whole numbers, and descriptions without the line ends of their source code.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "description" => *text = unwrapped(text),
                    value => tidy(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            // Bounds are far below 2^53.
            #[allow(clippy::cast_possible_truncation)]
            if number.is_f64() && float.fract() == 0.0 {
                *number = Number::from(float as i64);
            }
        }
        _ => {}
    }
}

/// Joins lines, but for those after the end of a sentence.
fn unwrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !out.is_empty() {
            out.push(if out.ends_with('.') { '\n' } else { ' ' });
        }
        out.push_str(line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema in the definition with its path.
    fn schemas<'a>(path: String, schema: &'a Value, all: &mut Vec<(String, &'a Value)>) {
        for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            schemas(format!("{path}.{name}"), schema, all);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(inner) {
                schemas(format!("{path}[]"), schema, all);
            }
        }
        all.push((path, schema));
    }

    fn root(definition: &Value) -> &Value {
        definition.pointer("/spec/versions/0/schema/openAPIV3Schema").expect("a schema")
    }

    #[test]
    fn the_schema_is_structural_and_has_no_unsigned_numbers() {
        let definition = definition();
        let mut all = Vec::new();
        schemas(String::new(), root(&definition), &mut all);
        assert!(all.len() > 200, "only {} schemas", all.len());
        for (path, schema) in all {
            let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
            // The API server knows no uint formats and warns of them.
            assert!(
                ["", "int32", "int64", "double", "date-time"].contains(&format),
                "{path}: format {format}"
            );
            let either = schema.get("x-kubernetes-int-or-string").is_some();
            assert!(
                schema.get("type").is_some_and(Value::is_string) || either,
                "{path} has no type: {schema}"
            );
            for word in ["anyOf", "oneOf", "allOf", "not", "$ref"] {
                assert!(schema.get(word).is_none(), "{path} has {word}");
            }
        }
    }

    #[test]
    fn every_field_of_ours_is_explained() {
        let definition = definition();
        let mut all = Vec::new();
        schemas(String::new(), root(&definition), &mut all);
        for (path, schema) in all {
            let plain = path.is_empty() || path.ends_with("[]") || path == ".metadata";
            let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(
                plain || ["apiVersion", "kind"].iter().any(|end| path.ends_with(end)) || !text.is_empty(),
                "{path}"
            );
        }
    }

    #[test]
    fn it_fits_into_the_annotation_of_kubectl_apply_and_then_some() {
        let yaml = definition_yaml().expect("YAML");
        assert!(yaml.len() < 200_000, "{} bytes", yaml.len());
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).expect("YAML that reads back"), definition());
    }

    #[test]
    fn a_spec_at_its_defaults_is_what_the_defaults_of_the_fields_say() {
        let minimal = serde_json::json!({ "model": { "source": "bundled://emoji" } });
        let read: crate::DiffusionServiceSpec = serde_json::from_value(minimal).expect("a spec");
        assert_eq!(read, crate::DiffusionServiceSpec::new("bundled://emoji"));
    }

    #[test]
    fn lines_are_joined_within_sentences() {
        assert_eq!(
            unwrapped("One sentence in\ntwo lines.\nAnother."),
            "One sentence in two lines.\nAnother."
        );
    }
}
