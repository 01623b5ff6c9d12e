//! Deletes what is no longer desired: only the very object that was looked at.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};
use serde::de::DeserializeOwned;

/// Deletes the object if it is still this one; false if it was gone or on its way already.
///
/// # Errors
///
/// What the API server says, but for "not found" and "it has changed" (the next reconcile sees it anew).
pub(super) async fn delete<K>(api: &Api<K>, object: &K) -> Result<bool, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if object.meta().deletion_timestamp.is_some() {
        return Ok(false);
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: object.uid(), resource_version: object.resource_version() }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..Default::default()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
