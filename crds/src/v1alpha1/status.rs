//! `status`: what the operator saw.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffusionServiceStatus {
    /// Ready: pictures can be drawn, by pods of this very generation.
    /// ModelAvailable: the model's files are there.
    /// Progressing: pods are being replaced, added or started.
    /// Degraded: something is wrong and needs a person, or fewer pods than wanted are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation of the resource that the operator last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where POST /generate goes: the load balancer's address; before it has one, or without one, the address inside the
    /// cluster (the Ready condition says so).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Ready pods / wanted pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Pods that there are.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that can draw.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that are wanted: spec.replicas, or what the autoscaler says.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Selector of the pods, as `kubectl get pods -l` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The model that is served or being downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    /// Image of the inference server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Type of the weights in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Scheduler of a request that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Measured seconds for a picture with the default parameters, on one pod; two significant digits, changed when it
    /// moved by more than a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_image: Option<f64>,
}

/// The model that is served or being downloaded.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// Its source.
    pub source: String,
    /// The commit that an hf:// source was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far the download is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Download>,
}

/// How far a download is.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// Files that are there.
    pub files_done: i64,
    /// Files in all.
    pub files: i64,
    /// Bytes that are there.
    pub bytes_done: i64,
    /// Bytes in all.
    pub bytes: i64,
}
