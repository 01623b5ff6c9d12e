//! Selectors as the API takes them, and the labels that tell pods apart.

use std::collections::BTreeMap;

use crate::desired::labels;

/// The label with the name of the `DiffusionService`.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that tells servers from downloads.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// All that belongs to a `DiffusionService`.
pub fn of_instance(name: &str) -> String {
    text(&labels::instance(name))
}

/// All that this operator made.
pub fn managed() -> String {
    format!("app.kubernetes.io/managed-by={}", labels::MANAGER)
}

pub(crate) fn text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
