//! `spec.accelerator`: a device for each pod.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device for each pod. It picks the server's image, the resource that the pod asks for, and a roll-out that needs no
/// spare device.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accelerator {
    /// none or nvidia.
    #[serde(rename = "type")]
    pub type_: AcceleratorType,
    /// Devices of each pod. The server draws on the first.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub count: i32,
    /// The extended resource that a device is asked for by. Default: nvidia.com/gpu; set it for a slice of a GPU, for
    /// example nvidia.com/mig-1g.10gb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')").message("must be an extended resource such as nvidia.com/gpu"))]
    pub resource_name: Option<String>,
}

/// Kinds of device.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorType {
    /// The CPU.
    None,
    /// A GPU by NVIDIA.
    Nvidia,
}

fn one() -> i32 {
    1
}
