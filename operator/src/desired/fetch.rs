//! The container that fetches a model: an init container of each server, or a Job's only container.

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{environment, pod, resources, security};
use crate::{settings::Settings, validate::Validated};

/// Its name.
pub const FETCH_CONTAINER: &str = "fetch";

/// The container. It ends at once where the folder already holds the model.
pub(super) fn container(service: &Validated, settings: &Settings) -> Container {
    let args = [
        "fetch",
        &service.source.to_string(),
        "--output",
        pod::MODELS,
        "--precision",
        service.spec.model.precision.as_str(),
    ];
    Container {
        name: FETCH_CONTAINER.to_owned(),
        // A download needs no device, and the image without a device's libraries is a fraction of the other.
        image: Some(service.spec.image.as_ref().unwrap_or(&settings.server_image).clone()),
        image_pull_policy: Some(service.spec.image_pull_policy.as_str().to_owned()),
        args: Some(args.into_iter().map(environment::literal).collect()),
        env: Some(environment::fetch(service)),
        resources: Some(resources::fetch()),
        security_context: Some(security::container()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            VolumeMount {
                name: pod::MODEL_VOLUME.to_owned(),
                mount_path: pod::MODELS.to_owned(),
                ..Default::default()
            },
            pod::tmp_mount(),
        ]),
        ..Default::default()
    }
}
