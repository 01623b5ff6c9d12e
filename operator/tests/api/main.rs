//! The operator's binary against a real kube-apiserver and etcd.

mod children;
mod faults;
mod lease;
mod operator;
mod plane;
mod proxy;
mod rest;
mod rules;
mod scaling;
mod status;
mod upgrade;

use serde_json::{Value, json};

/// The shortest spec.
pub fn minimal() -> Value {
    json!({"model": {"source": "bundled://emoji"}})
}

/// The shortest spec, and more.
pub fn minimal_and(more: Value) -> Value {
    let mut spec = minimal();
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}
