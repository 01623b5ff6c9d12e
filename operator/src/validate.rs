//! Reads a `DiffusionService` once: what comes out needs no more parsing and no more checks.
//!
//! The API server has checked most of it by the rules of the custom resource's definition. They are checked again, because
//! an object may be older than a rule, and [`crate::render`] has no API server at all.

use diffusion_crds::{
    DiffusionService, DiffusionServiceSpec,
    v1alpha1::{AcceleratorType, Cache, MAX_NAME, Precision},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use crate::source::{Endpoint, Source};

/// The annotation of a `DiffusionService` whose every change replaces the pods, with the operator's present template.
pub const UPDATE_ANNOTATION: &str = "diffusion-operator.dev/update";

/// Why a `DiffusionService` can't be acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// `metadata.name`.
    #[error(
        "metadata.name is {0:?}: it must be at most {MAX_NAME} characters, a lower-case letter, then lower-case letters, \
         digits and hyphens, no hyphen at the end. Make a DiffusionService with such a name and delete this one"
    )]
    Name(String),
    /// `metadata.namespace`.
    #[error("metadata.namespace is empty: say which namespace the objects belong to")]
    Namespace,
    /// `metadata.uid`.
    #[error(
        "metadata.uid is empty: the resource was not read from an API server, and owner references need it"
    )]
    Uid,
    /// `spec.model.source`.
    #[error("spec.model.source is {source_text:?}: {fix}")]
    Source {
        /// What came.
        source_text: String,
        /// What is expected.
        fix: &'static str,
    },
    /// `spec.model.endpoint`.
    #[error(
        "spec.model.endpoint is {0:?}: give an http:// or https:// URL, for example https://hub.example.com"
    )]
    Endpoint(String),
    /// A field that is for hf:// sources.
    #[error(
        "{field} is set and spec.model.source is {source_text:?}: {field} is for hf:// sources, remove it"
    )]
    OnlyForHub {
        /// The field.
        field: &'static str,
        /// The source.
        source_text: String,
    },
    /// `spec.model.precision`.
    #[error(
        "spec.model.precision is f16 and spec.accelerator is absent: f16 needs an accelerator, set spec.accelerator.type, \
         or take bf16, which has the same size"
    )]
    Precision,
    /// `spec.model.cache.size`.
    #[error("spec.model.cache.size is {0:?}: give a size above 0, for example 8Gi")]
    CacheSize(String),
    /// A list that must not be empty.
    #[error("{0} is empty: give at least one, or leave the field out")]
    Empty(&'static str),
    /// `spec.autoscaling`.
    #[error(
        "spec.autoscaling.minReplicas is {min} and maxReplicas is {max}: minReplicas must be at least 1 and not above \
         maxReplicas"
    )]
    Replicas {
        /// minReplicas.
        min: i32,
        /// maxReplicas.
        max: i32,
    },
    /// A number out of its range.
    #[error("{field} is {value}: it must be {min} to {max}")]
    Range {
        /// The field.
        field: &'static str,
        /// What came.
        value: i64,
        /// The lowest.
        min: i64,
        /// The highest.
        max: i64,
    },
    /// A text that no process can get.
    #[error("{0} has a NUL character in it: remove it")]
    Nul(&'static str),
}

/// A device of each pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The extended resource, such as nvidia.com/gpu.
    pub resource: String,
    /// Devices of each pod.
    pub count: i32,
}

/// A `DiffusionService` that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// Its name: the name of most children.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The owner reference of its children; none where there is no uid ([`validate_without_uid`]).
    pub owner: Option<OwnerReference>,
    /// Where the model comes from.
    pub source: Source,
    /// Server of a hub source: the endpoint, or the hub itself.
    pub endpoint: Endpoint,
    /// The device of each pod, if any.
    pub device: Option<Device>,
    /// Seconds from acceptance to picture.
    pub request_timeout: i64,
    /// Value of [`UPDATE_ANNOTATION`].
    pub update: Option<String>,
    /// The rest, as it came.
    pub spec: DiffusionServiceSpec,
}

impl Validated {
    /// The model's cache: only for hub sources.
    pub fn cache(&self) -> Option<&Cache> {
        self.spec.model.cache.as_ref()
    }

    /// Whether every pod fetches the model by itself.
    pub fn fetches_in_pod(&self) -> bool {
        matches!(self.source, Source::Hub { .. }) && self.cache().is_none()
    }

    /// The image of the inference server.
    pub fn image<'a>(&'a self, settings: &'a crate::settings::Settings) -> &'a str {
        match (&self.spec.image, &self.device) {
            (Some(image), _) => image,
            (None, Some(_)) => &settings.server_image_nvidia,
            (None, None) => &settings.server_image,
        }
    }
}

/// Reads a resource that came from an API server.
///
/// # Errors
/// [`Invalid`] says which field is wrong and what to do.
pub fn validate(resource: &DiffusionService) -> Result<Validated, Invalid> {
    let validated = validate_without_uid(resource)?;
    if validated.owner.is_none() {
        return Err(Invalid::Uid);
    }
    Ok(validated)
}

/// Reads a resource from a file: its objects have no owner, because it has no uid yet.
///
/// # Errors
/// [`Invalid`] says which field is wrong and what to do.
pub fn validate_without_uid(resource: &DiffusionService) -> Result<Validated, Invalid> {
    let name = resource.metadata.name.clone().unwrap_or_default();
    if !is_name(&name) {
        return Err(Invalid::Name(name));
    }
    let namespace = resource.metadata.namespace.clone().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Invalid::Namespace);
    }
    let spec = &resource.spec;
    let source = source(spec)?;
    numbers(spec)?;
    texts(spec)?;
    Ok(Validated {
        name,
        namespace,
        owner: owner(resource),
        endpoint: endpoint(spec)?,
        source,
        device: device(spec)?,
        request_timeout: spec.limits.request_timeout.into(),
        update: resource.metadata.annotations.as_ref().and_then(|all| all.get(UPDATE_ANNOTATION)).cloned(),
        spec: spec.clone(),
    })
}

/// Deleting the owner in the foreground must not wait for a child, so that nothing can be stuck.
fn owner(resource: &DiffusionService) -> Option<OwnerReference> {
    let mut owner = resource.controller_owner_ref(&())?;
    owner.block_owner_deletion = Some(false);
    (!owner.uid.is_empty()).then_some(owner)
}

fn source(spec: &DiffusionServiceSpec) -> Result<Source, Invalid> {
    let model = &spec.model;
    let source = Source::parse(&model.source)
        .map_err(|fix| Invalid::Source { source_text: model.source.clone(), fix })?;
    if !matches!(source, Source::Hub { .. }) {
        let set = [
            ("spec.model.cache", model.cache.is_some()),
            ("spec.model.tokenSecretRef", model.token_secret_ref.is_some()),
            ("spec.model.endpoint", model.endpoint.is_some()),
        ];
        if let Some((field, _)) = set.into_iter().find(|(_, set)| *set) {
            return Err(Invalid::OnlyForHub { field, source_text: model.source.clone() });
        }
    }
    if let Some(cache) = &model.cache {
        // A digit from 1 to 9 before the suffix: enough to tell a size from nothing; the API server reads the rest.
        if !cache.size.0.trim_start_matches(['+', '0', '.']).starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Invalid::CacheSize(cache.size.0.clone()));
        }
        if cache.access_modes.is_empty() {
            return Err(Invalid::Empty("spec.model.cache.accessModes"));
        }
    }
    Ok(source)
}

fn endpoint(spec: &DiffusionServiceSpec) -> Result<Endpoint, Invalid> {
    match &spec.model.endpoint {
        None => Ok(Endpoint::hub()),
        Some(url) => Endpoint::parse(url).ok_or_else(|| Invalid::Endpoint(url.clone())),
    }
}

fn device(spec: &DiffusionServiceSpec) -> Result<Option<Device>, Invalid> {
    let device = match &spec.accelerator {
        None => None,
        Some(accelerator) => match accelerator.type_ {
            AcceleratorType::None => None,
            AcceleratorType::Nvidia => Some(Device {
                resource: accelerator.resource_name.clone().unwrap_or_else(|| "nvidia.com/gpu".to_owned()),
                count: accelerator.count,
            }),
        },
    };
    if device.is_none() && spec.model.precision == Precision::F16 {
        return Err(Invalid::Precision);
    }
    Ok(device)
}

/// The numbers that a child object or the server would refuse.
fn numbers(spec: &DiffusionServiceSpec) -> Result<(), Invalid> {
    let (limits, defaults, autoscaling) = (&spec.limits, &spec.defaults, &spec.autoscaling);
    let ranges = [
        ("spec.replicas", spec.replicas, 0, 1000),
        ("spec.service.port", spec.service.port, 1, 65535),
        ("spec.autoscaling.targetCPUUtilization", autoscaling.target_cpu_utilization, 1, 1000),
        ("spec.limits.requestTimeout", limits.request_timeout, 1, 86400),
        ("spec.limits.maxQueueSeconds", limits.max_queue_seconds, 1, 86400),
        ("spec.limits.maxSteps", limits.max_steps, 1, 1000),
        ("spec.limits.maxPixels", limits.max_pixels, 64, 1 << 26),
        ("spec.limits.maxBatch", limits.max_batch, 1, 64),
        ("spec.defaults.steps", defaults.steps.unwrap_or(1), 1, 1000),
        ("spec.defaults.width", defaults.width.unwrap_or(8), 8, 8192),
        ("spec.defaults.height", defaults.height.unwrap_or(8), 8, 8192),
        ("spec.accelerator.count", spec.accelerator.as_ref().map_or(1, |a| a.count), 1, 16),
        ("spec.monitoring.intervalSeconds", spec.monitoring.interval_seconds, 1, 3600),
    ];
    for (field, value, min, max) in ranges {
        if !(min..=max).contains(&value) {
            return Err(Invalid::Range { field, value: value.into(), min: min.into(), max: max.into() });
        }
    }
    let (min, max) = (autoscaling.min_replicas, autoscaling.max_replicas);
    if autoscaling.enabled && (min < 1 || min > max) {
        return Err(Invalid::Replicas { min, max });
    }
    Ok(())
}

/// A NUL ends a text for the kernel: the container would not start.
fn texts(spec: &DiffusionServiceSpec) -> Result<(), Invalid> {
    if spec.defaults.negative_prompt.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(Invalid::Nul("spec.defaults.negativePrompt"));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
