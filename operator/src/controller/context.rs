//! What all reconciles share.

use std::time::Duration;

use kube::{Client, runtime::events::Recorder};

use super::Backoff;
use crate::{apply::Memory, metrics::Metrics, settings::Settings};

/// What all reconciles share.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Images and the like.
    pub settings: Settings,
    /// How long one reconcile may take.
    pub timeout: Duration,
    /// Fingerprints of what was written.
    pub memory: Memory,
    /// Failures in a row.
    pub backoff: Backoff,
    /// Events.
    pub recorder: Recorder,
    /// Numbers.
    pub metrics: Metrics,
}
