//! Names of the children. A `DiffusionService` has at most 48 characters, so that the longest of these has 63.

use diffusion_crds::v1alpha1::Model;

use super::{hash, labels};
use crate::select;

/// Deployment, Service, HorizontalPodAutoscaler, ServiceAccount, PodDisruptionBudget, NetworkPolicy, PodMonitor.
pub fn child(service: &str) -> String {
    service.to_owned()
}

/// The claim of the model's cache, and the NetworkPolicy of the pods that fill it.
pub fn model(service: &str) -> String {
    format!("{service}-model")
}

/// The Job that fills the cache. Another model, precision or server is another Job.
pub fn fetch_job(service: &str, model: &Model) -> String {
    let what = serde_json::json!([model.source, model.precision.as_str(), model.endpoint]);
    format!("{service}-model-{}", hash::short(&what, 8))
}

/// Selector of the server's pods, as `kubectl get pods -l` and `status.selector` take it.
pub fn selector(service: &str) -> String {
    select::text(&labels::selector(service, labels::Component::Server))
}
