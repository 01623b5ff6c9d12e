//! CPU, memory and devices of the containers.

use std::collections::BTreeMap;

use diffusion_crds::v1alpha1::Precision;
use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};

use crate::{source::Source, validate::Validated};

/// Of the server: the user's, taken whole, or what fits the kind of model. A device is put in either way.
pub(super) fn server(service: &Validated) -> ResourceRequirements {
    let mut resources = service.spec.resources.clone().unwrap_or_else(|| default(service));
    if let Some(device) = &service.device {
        // Devices can't be overcommitted: the API server makes the request the same as the limit, unless it is given.
        if let Some(requests) = &mut resources.requests {
            requests.remove(&device.resource);
        }
        let limits = resources.limits.get_or_insert_default();
        limits.insert(device.resource.clone(), Quantity(device.count.to_string()));
    }
    resources
}

/// Of the fetch container: it streams files to disk.
pub(super) fn fetch() -> ResourceRequirements {
    requirements("100m", "256Mi", "1Gi")
}

/// No limit of CPU: the server then uses all CPUs of its node that nobody else asks for.
fn default(service: &Validated) -> ResourceRequirements {
    if service.device.is_some() {
        return requirements("1", "4Gi", "8Gi");
    }
    match (&service.source, service.spec.model.precision) {
        (Source::Bundled { .. }, _) => requirements("500m", "384Mi", "1Gi"),
        // Stable Diffusion v1-4's shape peaks at 2.6 GiB in bf16 and at 6.0 GiB in f32 (docs/performance.md, one picture of
        // 512 x 512). The limits leave room for a batch and for larger pictures.
        (_, Precision::Bf16) => requirements("2", "3Gi", "5Gi"),
        (_, Precision::Auto | Precision::F32 | Precision::F16) => requirements("2", "6Gi", "9Gi"),
    }
}

fn requirements(cpu: &str, memory: &str, memory_limit: &str) -> ResourceRequirements {
    let quantities = |all: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        all.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", cpu), ("memory", memory)])),
        limits: Some(quantities(&[("memory", memory_limit)])),
        ..Default::default()
    }
}
