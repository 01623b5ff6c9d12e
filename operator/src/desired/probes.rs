//! The server's ports, and what the kubelet asks at them.

use k8s_openapi::{
    api::core::v1::{ContainerPort, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{source::Source, validate::Validated};

/// Name of the port that draws.
pub(super) const HTTP_PORT: &str = "http";

/// Name of the port of health and metrics.
pub(super) const ADMIN_PORT: &str = "admin";

/// The ports.
pub(super) fn ports() -> Vec<ContainerPort> {
    [(HTTP_PORT, 8080), (ADMIN_PORT, 8081)]
        .into_iter()
        .map(|(name, port)| ContainerPort {
            name: Some(name.to_owned()),
            container_port: port,
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        })
        .collect()
}

/// Seconds in which a server has to load its model and draw a first picture: after that it is started again.
///
/// The bundled model takes a second. Others are gigabytes, which a slow network volume gives at some MB/s. A download is
/// not in it, it is over before the server starts.
pub(super) fn startup_budget(service: &Validated) -> i32 {
    match service.source {
        Source::Bundled { .. } => 300,
        Source::Hub { .. } | Source::Claim { .. } => 1800,
    }
}

/// No liveness probe runs before this one has succeeded, so none can kill a server that is loading.
pub(super) fn startup(service: &Validated) -> Probe {
    let period = match service.source {
        Source::Bundled { .. } => 2,
        Source::Hub { .. } | Source::Claim { .. } => 5,
    };
    Probe {
        period_seconds: Some(period),
        failure_threshold: Some(startup_budget(service) / period),
        ..get("/readyz", 2)
    }
}

/// Quick to notice that a server drains or draws test pictures after a failure.
pub(super) fn readiness() -> Probe {
    Probe { period_seconds: Some(2), failure_threshold: Some(2), ..get("/readyz", 2) }
}

/// Slow to kill: a server whose CPUs are all busy may answer late.
pub(super) fn liveness() -> Probe {
    Probe { period_seconds: Some(10), failure_threshold: Some(3), ..get("/livez", 5) }
}

fn get(path: &str, timeout: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..Default::default()
        }),
        timeout_seconds: Some(timeout),
        ..Default::default()
    }
}
