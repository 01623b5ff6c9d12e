//! Labels and metadata of the children. None of them has a version: an upgrade must not change an object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::validate::Validated;

/// `app.kubernetes.io/name` of everything that belongs to a `DiffusionService`.
pub const NAME: &str = "diffusion-server";

/// `app.kubernetes.io/managed-by`, and the field manager.
pub const MANAGER: &str = "diffusion-operator";

/// Which pods an object is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Those that draw.
    Server,
    /// Those that fetch a model into its cache.
    ModelFetch,
}

impl Component {
    /// `app.kubernetes.io/component`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ModelFetch => "model-fetch",
        }
    }
}

/// Labels that select the pods of a component. They never change: a Deployment's selector can't.
pub fn selector(service: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = instance(service);
    labels.insert("app.kubernetes.io/component".to_owned(), component.as_str().to_owned());
    labels
}

/// Labels that select all pods of a `DiffusionService`.
pub fn instance(service: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), NAME.to_owned()),
        ("app.kubernetes.io/instance".to_owned(), service.to_owned()),
    ])
}

/// All labels of an object.
pub fn labels(service: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(service, component);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "diffusion-operator".to_owned());
    labels
}

/// The selector of a component's pods, as most objects have it.
pub(super) fn label_selector(service: &Validated, component: Component) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(&service.name, component)), ..Default::default() }
}

/// Metadata of a child that lives and dies with its `DiffusionService`.
pub(super) fn metadata(service: &Validated, name: String, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(service.namespace.clone()),
        labels: Some(labels(&service.name, component)),
        owner_references: service.owner.clone().map(|owner| vec![owner]),
        ..Default::default()
    }
}
