//! `spec.autoscaling`: the HorizontalPodAutoscaler.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How the number of pods follows the load.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be above maxReplicas")
        .field_path(".minReplicas"),
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Whether the number of pods follows the load; if not, it is spec.replicas.
    #[serde(default = "super::yes")]
    pub enabled: bool,
    /// Pods at least.
    #[serde(default = "super::two")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Pods at most.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Average CPU use that is aimed at, in percent of the pods' CPU request.
    #[serde(default = "eighty", rename = "targetCPUUtilization")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_utilization: i32,
    /// Scale on waiting work, too. It needs an adapter that serves the pods' metric diffusion_queue_seconds on
    /// custom.metrics.k8s.io, such as prometheus-adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueTarget>,
    /// How fast it may grow and shrink. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// How much work may wait.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTarget {
    /// Average seconds of work waiting in front of a pod that are aimed at.
    #[schemars(range(min = 1, max = 86400))]
    pub target_seconds: i32,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            enabled: true,
            min_replicas: super::two(),
            max_replicas: ten(),
            target_cpu_utilization: eighty(),
            queue: None,
            behavior: None,
        }
    }
}

fn ten() -> i32 {
    10
}

fn eighty() -> i32 {
    80
}
