//! `spec.service`: the Service in front of the pods.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the pods are reached.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type == 'LoadBalancer' || !has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)")
        .message("loadBalancerClass and loadBalancerSourceRanges are for type LoadBalancer"),
    validation = Rule::new("self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) ? self.loadBalancerClass : '') == (has(oldSelf.loadBalancerClass) ? oldSelf.loadBalancerClass : '')")
        .message("loadBalancerClass can't be changed, Kubernetes keeps it for the life of a LoadBalancer: set type ClusterIP first, then LoadBalancer with the new class")
        .field_path(".loadBalancerClass")
        .reason(Reason::FieldValueForbidden),
)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// LoadBalancer (an address from outside), ClusterIP (only inside the cluster) or NodePort (a port of every node).
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Port of the Service.
    #[serde(default = "http")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Annotations of the Service: settings of the load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Which load balancer controller serves it. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Addresses that may connect, in CIDR notation, for example 203.0.113.0/24. Default: all. They hold in the load
    /// balancer and, without networkPolicy.from, in the NetworkPolicy; the Service then has externalTrafficPolicy Local,
    /// so that addresses arrive as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(range, isCIDR(range))").message("every range must be in CIDR notation, for example 203.0.113.0/24"))]
    pub load_balancer_source_ranges: Option<Vec<String>>,
}

/// Kinds of Service.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// An address from outside the cluster.
    #[default]
    LoadBalancer,
    /// An address inside the cluster.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// A port of every node.
    NodePort,
}

impl ServiceType {
    /// The name in a Service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
        }
    }
}

impl Default for ServicePort {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: http(),
            annotations: BTreeMap::new(),
            load_balancer_class: None,
            load_balancer_source_ranges: None,
        }
    }
}

fn http() -> i32 {
    80
}
