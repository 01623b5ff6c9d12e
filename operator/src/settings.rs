//! What the objects depend on beside the custom resource.

/// Settings of the operator that shape the objects.
///
/// A change of these changes pod templates, so they change with the operator's version only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of the inference server where the custom resource names none.
    pub server_image: String,
    /// The same for accelerators by NVIDIA.
    pub server_image_nvidia: String,
}

impl Default for Settings {
    /// The images of this version.
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            server_image: format!("diffusion-operator.dev/server:{version}"),
            server_image_nvidia: format!("diffusion-operator.dev/server-cuda:{version}"),
        }
    }
}
