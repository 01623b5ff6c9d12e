//! The `DiffusionService` custom resource.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text-to-image service: one model, served over HTTP.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "diffusion-operator.dev",
    version = "v1alpha1",
    kind = "DiffusionService",
    namespaced,
    shortname = "dsvc",
    doc = "A text-to-image service: one model, served over HTTP."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiffusionServiceSpec {
    /// The model to serve.
    pub model: Model,
}

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// Where its files are: `bundled://emoji` is inside the server's image.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9+.-]*://.+$"))]
    pub source: String,
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shortest_resource_is_read_and_a_misspelt_field_is_not() {
        let resource = |spec| {
            serde_json::from_value::<DiffusionService>(json!({
                "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
                "metadata": {"name": "sd"}, "spec": spec,
            }))
        };
        let read = resource(json!({"model": {"source": "bundled://emoji"}})).unwrap();
        assert_eq!(read.spec.model.source, "bundled://emoji");
        let error = resource(json!({"model": {"sauce": "bundled://emoji"}})).unwrap_err().to_string();
        assert!(error.contains("sauce"), "{error}");
    }

    #[test]
    fn the_definition_is_the_one_that_users_write_against() {
        let crd = DiffusionService::crd();
        assert_eq!(crd.metadata.name.as_deref(), Some("diffusionservices.diffusion-operator.dev"));
        let version = &crd.spec.versions[0];
        assert_eq!((version.name.as_str(), version.served, version.storage), ("v1alpha1", true, true));
        let schema = serde_json::to_value(&version.schema).unwrap();
        let model = &schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["model"];
        assert_eq!(model["required"], json!(["source"]));
        assert!(model["properties"]["source"]["pattern"].is_string());
    }
}
