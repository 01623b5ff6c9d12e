//! Version v1alpha1 of `DiffusionService`.

// KubeSchema writes each struct again, with its `pub`, inside of a function.
#![allow(unreachable_pub)]

mod accelerator;
mod access;
mod autoscaling;
mod model;
mod picture;
mod service;
mod status;

pub use accelerator::{Accelerator, AcceleratorType};
pub use access::{Auth, Monitoring, NetworkPolicy, PodDisruptionBudget, SecretKey};
pub use autoscaling::{Autoscaling, QueueTarget};
use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::{CustomResource, KubeSchema};
pub use model::{AccessMode, Cache, Model, Precision};
pub use picture::{Defaults, Limits, Scheduler};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use service::{ServicePort, ServiceType};
pub use status::{DiffusionServiceStatus, Download, ModelStatus};
use std::collections::BTreeMap;

/// The longest name of a `DiffusionService`: its children add up to 15 characters to it, and labels hold 63.
pub const MAX_NAME: usize = 48;

/// What a `DiffusionService` should be. Only `model` is needed; everything else has a default for production.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "diffusion-operator.dev",
    version = "v1alpha1",
    kind = "DiffusionService",
    namespaced,
    shortname = "dsvc",
    category = "all",
    category = "diffusion",
    doc = "A text-to-image service: one model, served over HTTP by pods behind a Service.",
    status = "DiffusionServiceStatus",
    derive = "PartialEq",
    cel,
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model.source"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Ready pods / wanted pods"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Scheduler", type_ = "string", json_path = ".status.scheduler", priority = 1),
    printcolumn(name = "Precision", type_ = "string", json_path = ".status.precision", priority = 1),
    printcolumn(
        name = "Seconds/image",
        type_ = "number",
        json_path = ".status.secondsPerImage",
        description = "Measured seconds for a picture with the default parameters",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 48 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 48 characters: a lower-case letter, then lower-case letters, digits and hyphens, no hyphen at the end (a Service and a Job are named after it)")
)]
// Back to the default is always let through: a manifest without the field means that, and must not be stuck.
#[x_kube(
    validation = Rule::new("!self.autoscaling.enabled || !oldSelf.autoscaling.enabled || self.replicas == oldSelf.replicas || self.replicas == 2")
        .message("replicas can't be changed while autoscaling is on: set autoscaling.minReplicas and autoscaling.maxReplicas, or autoscaling.enabled: false")
        .field_path(".replicas")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("has(self.accelerator) && self.accelerator.type != 'none' || self.model.precision != 'f16'")
        .message("model.precision f16 needs an accelerator: set accelerator.type, or take bf16, which has the same size")
        .field_path(".model.precision"),
)]
#[serde(rename_all = "camelCase")]
pub struct DiffusionServiceSpec {
    /// Which model is served.
    pub model: Model,
    /// Image of the inference server. Default: the one that belongs to the operator's version, for the accelerator.
    /// A default image stays as it is when the operator is upgraded, until something else changes the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// Secrets with credentials for the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Parameters of a request that does not give them. Default: the model's own.
    #[serde(default)]
    pub defaults: Defaults,
    /// What one request may ask for, and how much may wait.
    #[serde(default)]
    pub limits: Limits,
    /// Number of pods without autoscaling; with autoscaling it is not used. `kubectl scale dsvc` sets it.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// A HorizontalPodAutoscaler sets the number of pods.
    #[serde(default)]
    pub autoscaling: Autoscaling,
    /// The Service in front of the pods.
    #[serde(default)]
    pub service: ServicePort,
    /// A GPU or other device for each pod. Default: none, pictures are drawn on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// CPU and memory of each pod. Default: requests, and a limit of memory, that fit the kind of model and its
    /// precision. The server uses as many threads as it has CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and neighbours the pods want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread. Default: over nodes and zones, as well as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub priority_class_name: Option<String>,
    /// RuntimeClass of the pods. Default: the cluster's, or the accelerator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub runtime_class_name: Option<String>,
    /// Who may draw. Default: everybody who reaches the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How many pods a drain of nodes may take away at one time.
    #[serde(default)]
    pub pod_disruption_budget: PodDisruptionBudget,
    /// What may connect to the pods, and where they may connect to.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Scraping by Prometheus.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// No pods: the resource, its Service with its address and a cached model stay.
    #[serde(default)]
    pub suspend: bool,
}

impl DiffusionServiceSpec {
    /// A spec in which everything but the model's source is at its default.
    pub fn new(source: &str) -> Self {
        Self {
            model: Model::new(source),
            image: None,
            image_pull_policy: ImagePullPolicy::default(),
            image_pull_secrets: Vec::new(),
            defaults: Defaults::default(),
            limits: Limits::default(),
            replicas: two(),
            autoscaling: Autoscaling::default(),
            service: ServicePort::default(),
            accelerator: None,
            resources: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: None,
            priority_class_name: None,
            runtime_class_name: None,
            auth: None,
            pod_disruption_budget: PodDisruptionBudget::default(),
            network_policy: NetworkPolicy::default(),
            monitoring: Monitoring::default(),
            suspend: false,
        }
    }
}

/// When an image is pulled.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Before every start of a container.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the image is on the node, or the pod fails.
    Never,
}

impl ImagePullPolicy {
    /// The name in a pod.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

fn two() -> i32 {
    2
}

fn yes() -> bool {
    true
}
