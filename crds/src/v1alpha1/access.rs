//! `spec.auth`, `spec.networkPolicy`, `spec.podDisruptionBudget` and `spec.monitoring`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyPeer},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A key of a Secret in the same namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')").message("must be a key of a Secret: letters, digits, -, _ and ."))]
    pub key: String,
}

/// Who may draw.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// The key of a Secret that holds the API keys, one a line. A request needs one of them, as
    /// `Authorization: Bearer KEY`. Changes of the Secret take effect without a restart.
    pub api_keys_secret_ref: SecretKey,
}

/// The PodDisruptionBudget.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDisruptionBudget {
    /// Whether there is one.
    #[serde(default = "super::yes")]
    pub enabled: bool,
    /// Pods that may be taken away at one time: a number or a percentage.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("string(self).matches('^([0-9]+|(100|[1-9]?[0-9])%)$')").message("must be a number or a percentage, for example 1 or 25%"))]
    pub max_unavailable: IntOrString,
}

impl Default for PodDisruptionBudget {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: one() }
    }
}

/// The NetworkPolicy.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether there is one. It takes effect where the cluster's network enforces policies.
    #[serde(default = "super::yes")]
    pub enabled: bool,
    /// Who may connect to the serving port. Default: everybody that service.loadBalancerSourceRanges lets in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<NetworkPolicyPeer>,
    /// Who may connect to the admin port (health, metrics) beside the operator and the kubelet. Default: the namespace
    /// called monitoring.
    #[serde(default = "monitoring_namespace")]
    pub monitoring_from: Vec<NetworkPolicyPeer>,
    /// Where the pods may connect to, beside DNS and the model's source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<NetworkPolicyEgressRule>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true, from: Vec::new(), monitoring_from: monitoring_namespace(), egress: Vec::new() }
    }
}

/// A PodMonitor of the Prometheus operator.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Whether a PodMonitor is made. The cluster must know that kind.
    #[serde(default)]
    pub enabled: bool,
    /// Seconds between two scrapes.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// Labels of the PodMonitor, by which Prometheus finds it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { enabled: false, interval_seconds: thirty(), labels: BTreeMap::new() }
    }
}

fn one() -> IntOrString {
    IntOrString::Int(1)
}

fn thirty() -> i32 {
    30
}

fn monitoring_namespace() -> Vec<NetworkPolicyPeer> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
    let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), "monitoring".to_owned())]);
    vec![NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(labels), ..Default::default() }),
        ..Default::default()
    }]
}
