//! The ServiceAccount of the pods: a name for policies, no rights and no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{
    labels::{Component, metadata},
    names,
};
use crate::validate::Validated;

pub(super) fn service_account(service: &Validated) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(service, names::child(&service.name), Component::Server),
        automount_service_account_token: Some(false),
        ..Default::default()
    }
}
