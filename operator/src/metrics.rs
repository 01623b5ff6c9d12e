//! The operator's numbers, in the text format of OpenMetrics.

use std::{sync::atomic::AtomicU64, time::Instant};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

/// A step of a reconcile, or the lack of time for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Step {
    Observe,
    Validate,
    Apply,
    Status,
    Timeout,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: Step,
}

/// The operator's numbers.
pub struct Metrics {
    registry: Registry,
    reconciles: Counter,
    running: Gauge,
    seconds: Histogram,
    failures: Family<StepLabel, Counter>,
    leader: Gauge,
    last_success: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("diffusion_operator");
        let seconds = Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let new = Self {
            reconciles: Counter::default(),
            running: Gauge::default(),
            seconds: seconds.clone(),
            failures: Family::default(),
            leader: Gauge::default(),
            last_success: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("build", "The version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("reconciles", "Reconciles begun", new.reconciles.clone());
        registry.register("reconciles_running", "Reconciles that run now", new.running.clone());
        registry.register_with_unit("reconcile", "Time of a reconcile", Unit::Seconds, seconds);
        registry.register("reconcile_failures", "Reconciles that failed, by step", new.failures.clone());
        registry.register("leader", "1 if this one holds the Lease", new.leader.clone());
        registry.register_with_unit(
            "last_reconcile_timestamp",
            "When a reconcile last ended, in seconds since 1970",
            Unit::Seconds,
            new.last_success.clone(),
        );
        Self { registry, ..new }
    }
}

impl Metrics {
    /// A reconcile begins; the guard counts it as running until it is dropped.
    pub fn reconcile_started(&self) -> Timer<'_> {
        self.reconciles.inc();
        self.running.inc();
        Timer { metrics: self, since: Instant::now() }
    }

    /// A reconcile failed.
    pub fn failed(&self, step: Step) {
        self.failures.get_or_create(&StepLabel { step }).inc();
    }

    /// Whether this one holds the Lease.
    pub fn set_leader(&self, holds: bool) {
        self.leader.set(holds.into());
    }

    /// All of it as text.
    ///
    /// # Errors
    ///
    /// None in practice: it writes to memory.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A reconcile that runs.
pub struct Timer<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Timer<'_> {
    /// It ended by itself.
    pub fn done(self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.metrics.last_success.set(now.as_secs_f64());
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.metrics.running.dec();
        self.metrics.seconds.observe(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_shows_in_the_text() {
        let metrics = Metrics::default();
        metrics.failed(Step::Apply);
        metrics.set_leader(true);
        let timer = metrics.reconcile_started();
        assert!(metrics.text().unwrap().contains("diffusion_operator_reconciles_running 1"));
        timer.done();
        let text = metrics.text().unwrap();
        for line in [
            "diffusion_operator_reconciles_total 1",
            "diffusion_operator_reconciles_running 0",
            "diffusion_operator_reconcile_failures_total{step=\"Apply\"} 1",
            "diffusion_operator_leader 1",
            "diffusion_operator_reconcile_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
