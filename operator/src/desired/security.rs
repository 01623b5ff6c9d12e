//! What the containers may do: nothing beyond reading, writing to /tmp and talking to the network. It fits the restricted
//! Pod Security Standard.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

use crate::validate::Validated;

/// User and group of the images.
const USER: i64 = 65532;

pub(super) fn pod(service: &Validated) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        // A new claim belongs to root. Only our own claim is given to the group: what a user's claim holds is not ours
        // to change.
        fs_group: service.cache().map(|_| USER),
        fs_group_change_policy: service.cache().map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

pub(super) fn container() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..Default::default()
    }
}
