//! Writes the status, if it is another than the one that is there.

use diffusion_crds::{DiffusionService, DiffusionServiceStatus};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::apply::MANAGER;

/// Writes it by server-side apply; true if it was another.
///
/// # Errors
///
/// The API server's, but for "not found": the resource is gone, and so is what was to be said of it.
pub async fn patch(
    client: &Client,
    resource: &DiffusionService,
    status: &DiffusionServiceStatus,
) -> Result<bool, kube::Error> {
    if resource.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let api: Api<DiffusionService> =
        Api::namespaced(client.clone(), &resource.namespace().unwrap_or_default());
    let name = resource.name_any();
    let body = json!({
        "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
        // With the uid a resource of the same name that was made since is not given this one's status.
        "metadata": {"name": name, "uid": resource.uid()},
        "status": status,
    });
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
