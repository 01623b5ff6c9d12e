//! Specs that many tests use.

use serde_json::{Value, json};

/// The shortest spec.
pub(crate) fn minimal() -> Value {
    json!({"model": {"source": "bundled://emoji"}})
}

/// The shortest spec, and more.
pub(crate) fn minimal_and(more: Value) -> Value {
    let mut spec = minimal();
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}
