//! `spec.model`: where the files come from and how they are held.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKey;

/// Which model, and where its files come from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.cache) || !has(oldSelf.cache) || self.source == oldSelf.source && self.precision == oldSelf.precision")
        .message("source and precision can't be changed while the model is cached, pods are reading those files: make a second DiffusionService, or remove cache first")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.cache) || self.source.startsWith('hf://')")
        .message("cache is for hf:// sources; bundled:// and pvc:// models need no download")
        .field_path(".cache"),
    validation = Rule::new("!has(self.tokenSecretRef) || self.source.startsWith('hf://')")
        .message("tokenSecretRef is for hf:// sources")
        .field_path(".tokenSecretRef"),
    validation = Rule::new("!has(self.endpoint) || self.source.startsWith('hf://')")
        .message("endpoint is for hf:// sources")
        .field_path(".endpoint"),
)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// `bundled://emoji`: the small model inside the server's image, no download.
    /// `hf://org/repo` or `hf://org/repo@revision`: from the Hugging Face hub or a mirror of it; a revision is a branch, a
    /// tag or a commit, and only a commit draws the same pictures for ever.
    /// `pvc://claim` or `pvc://claim/folder`: a folder in diffusers layout on a PersistentVolumeClaim.
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.startsWith('bundled://') || self.startsWith('pvc://') || self.startsWith('hf://')")
            .message("must start with bundled://, hf:// or pvc://, for example hf://CompVis/stable-diffusion-v1-4"),
        validation = Rule::new("!self.startsWith('bundled://') || self == 'bundled://emoji'")
            .message("the only bundled model is bundled://emoji"),
        validation = Rule::new("!self.startsWith('hf://') || self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._/-]*)?$')")
            .message("must be hf://org/repo or hf://org/repo@revision"),
        validation = Rule::new("!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^/]+)*$') && !self.contains('/..')")
            .message("must be pvc://claim or pvc://claim/folder, without an empty or .. part"),
    )]
    pub source: String,
    /// Server of an hf:// source, for example a mirror inside the cluster. Default: the hub itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ]+(/[^ ]*)?$')").message("must be an http:// or https:// URL"))]
    pub endpoint: Option<String>,
    /// The key of a Secret that holds an access token of the hub, for gated or private models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKey>,
    /// Type of the weights: auto (f32 on a CPU, f16 on an accelerator), f32, bf16 (half of the memory) or f16
    /// (accelerator only).
    #[serde(default)]
    pub precision: Precision,
    /// Download the model once, into a PersistentVolumeClaim that all pods read. Default: each pod downloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

impl Model {
    /// A model with everything else at its default.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            endpoint: None,
            token_secret_ref: None,
            precision: Precision::default(),
            cache: None,
        }
    }
}

/// Type of the weights.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 on a CPU, f16 on an accelerator.
    #[default]
    Auto,
    /// 32-bit floats: the reference.
    F32,
    /// bfloat16: half of the memory.
    Bf16,
    /// 16-bit floats: accelerator only.
    F16,
}

impl Precision {
    /// The name in the custom resource and on the server's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// A PersistentVolumeClaim for the model's files, filled by one Job.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '') && self.accessModes == oldSelf.accessModes")
        .message("storageClassName and accessModes can't be changed, a claim keeps them for its life: remove cache, then add it again")
        .reason(Reason::FieldValueForbidden),
)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Size of the claim, for example 8Gi. It can grow where the storage class allows, not shrink.
    #[x_kube(
        validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))")
            .message("must be a quantity above 0, for example 8Gi"),
    )]
    pub size: Quantity,
    /// Storage class of the claim. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Access modes of the claim. With ReadWriteOnce all pods run on the node that has the volume; with ReadWriteMany
    /// they spread.
    #[serde(default = "once")]
    #[schemars(length(min = 1, max = 3))]
    pub access_modes: Vec<AccessMode>,
    /// Keep the claim when the DiffusionService is deleted; one of the same name finds it again.
    #[serde(default)]
    pub retain: bool,
}

/// How a volume can be mounted.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// By the pods of one node.
    ReadWriteOnce,
    /// By pods of many nodes.
    ReadWriteMany,
}

impl AccessMode {
    /// The name in a claim.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

fn once() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}
