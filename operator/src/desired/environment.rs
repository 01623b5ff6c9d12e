//! Environment of the containers: the server's flags.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use super::{deployment, pod};
use crate::{source::Source, validate::Validated};

/// Folder of the mounted API keys.
pub(super) const API_KEYS: &str = "/etc/diffusion/api-keys";

/// Of the server.
pub(super) fn server(service: &Validated) -> Vec<EnvVar> {
    let (spec, defaults, limits) = (&service.spec, &service.spec.defaults, &service.spec.limits);
    let model = match &service.source {
        Source::Bundled { .. } => service.source.to_string(),
        Source::Hub { .. } | Source::Claim { .. } => pod::MODELS.to_owned(),
    };
    let mut env = vec![
        variable("DIFFUSION_MODEL", model),
        variable("DIFFUSION_PRECISION", spec.model.precision.as_str()),
    ];
    let optional = [
        ("DIFFUSION_DEFAULT_SCHEDULER", defaults.scheduler.map(|scheduler| scheduler.as_str().to_owned())),
        ("DIFFUSION_DEFAULT_STEPS", defaults.steps.map(|steps| steps.to_string())),
        ("DIFFUSION_DEFAULT_GUIDANCE_SCALE", defaults.guidance_scale.map(|scale| scale.to_string())),
        ("DIFFUSION_DEFAULT_WIDTH", defaults.width.map(|width| width.to_string())),
        ("DIFFUSION_DEFAULT_HEIGHT", defaults.height.map(|height| height.to_string())),
        ("DIFFUSION_DEFAULT_NEGATIVE_PROMPT", defaults.negative_prompt.clone()),
    ];
    env.extend(optional.into_iter().filter_map(|(name, value)| Some(variable(name, value?))));
    env.extend([
        variable("DIFFUSION_MAX_STEPS", limits.max_steps.to_string()),
        variable("DIFFUSION_MAX_PIXELS", limits.max_pixels.to_string()),
        variable("DIFFUSION_MAX_QUEUE_SECONDS", limits.max_queue_seconds.to_string()),
        variable("DIFFUSION_MAX_BATCH", limits.max_batch.to_string()),
        variable("DIFFUSION_REQUEST_TIMEOUT", service.request_timeout.to_string()),
        variable("DIFFUSION_GRACE_SECONDS", deployment::drain_seconds(service).to_string()),
        variable("DIFFUSION_LOG_FORMAT", "json"),
    ]);
    env.extend(spec.auth.as_ref().map(|auth| {
        variable("DIFFUSION_API_KEYS_FILE", format!("{API_KEYS}/{}", auth.api_keys_secret_ref.key))
    }));
    env
}

/// Of the fetch container.
pub(super) fn fetch(service: &Validated) -> Vec<EnvVar> {
    let mut env = vec![
        variable("DIFFUSION_LOG_FORMAT", "json"),
        // What it holds at the end is the container's termination message: the operator reads it there.
        variable("DIFFUSION_PROGRESS_FILE", "/dev/termination-log"),
    ];
    env.extend(service.endpoint.url.as_ref().map(|url| variable("HF_ENDPOINT", url.as_str())));
    env.extend(service.spec.model.token_secret_ref.as_ref().map(|token| EnvVar {
        name: "HF_TOKEN".to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: token.name.clone(),
                key: token.key.clone(),
                optional: None,
            }),
            ..Default::default()
        }),
        ..Default::default()
    }));
    env
}

fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(literal(&value.into())), ..Default::default() }
}

/// Kubernetes reads `$(NAME)` in arguments and variables as a reference, and `$$` as one dollar.
pub(super) fn literal(value: &str) -> String {
    value.replace('$', "$$")
}
