//! What a running server says of itself: GET /status on the admin port of a ready pod.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::http;

/// Port of health, metrics and status.
const ADMIN_PORT: u16 = 8081;
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: usize = 64 * 1024;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Commit of the model, if it came from a hub.
    #[serde(default)]
    pub revision: Option<String>,
    /// Type of the weights.
    #[serde(default)]
    pub precision: Option<String>,
    /// Scheduler of a request that names none.
    #[serde(default)]
    pub scheduler: Option<String>,
    /// Measured seconds for a picture with the default parameters.
    #[serde(default)]
    pub seconds_per_image: Option<f64>,
}

/// Asks the first ready pod. None when none answers: this is a nicety, nothing depends on it.
pub async fn facts<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<Facts> {
    let mut ready = pods.filter(|p| super::ready(p));
    let address = ready.find_map(|p| p.status.as_ref()?.pod_ip.clone())?;
    match tokio::time::timeout(PATIENCE, ask(&address)).await {
        Ok(Ok(facts)) => Some(facts),
        Ok(Err(error)) => {
            tracing::debug!(address, error, "a pod's /status can't be read");
            None
        }
        Err(_) => None,
    }
}

async fn ask(ip: &str) -> Result<Facts, String> {
    let ip: IpAddr = ip.parse().map_err(|e| format!("{ip}: {e}"))?;
    let response = http::send(&SocketAddr::new(ip, ADMIN_PORT).to_string(), "/status", None, LONGEST).await?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    serde_json::from_slice(response.body()).map_err(|e| e.to_string())
}
