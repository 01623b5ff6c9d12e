//! What Prometheus sees. Labels have few values, whatever clients send.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// A route, for labels and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Route {
    Generate,
    Root,
    Other,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Success,
    ClientError,
    ServerError,
    ClientGone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    model: String,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    connections: Gauge,
    threads: Gauge,
    inside: Gauge,
    queue_work: Gauge<f64, AtomicU64>,
    queue_seconds: Gauge<f64, AtomicU64>,
    step_seconds: Histogram,
    batch: Histogram,
    preview_seconds: Histogram,
    picture_seconds: Histogram,
    cancelled: Counter,
    panics: Counter,
}

impl Metrics {
    /// Metrics of a server with this model.
    pub fn new(model: &str) -> Self {
        let mut registry = Registry::with_prefix("diffusion");
        let build = BuildLabels { version: env!("CARGO_PKG_VERSION"), model: model.into() };
        registry.register("build", "Version of the server and the model it serves", Info::new(build));
        let metrics = Self {
            requests: Family::default(),
            connections: Gauge::default(),
            threads: Gauge::default(),
            inside: Gauge::default(),
            queue_work: Gauge::default(),
            queue_seconds: Gauge::default(),
            step_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            batch: Histogram::new([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0]),
            preview_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            picture_seconds: Histogram::new(exponential_buckets(0.05, 2.0, 15)),
            cancelled: Counter::default(),
            panics: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests by route and how they ended", metrics.requests.clone());
        registry.register("http_connections", "Open connections", metrics.connections.clone());
        registry.register("threads", "Threads that compute", metrics.threads.clone());
        registry.register(
            "requests_in_flight",
            "Accepted requests that are waiting or being drawn",
            metrics.inside.clone(),
        );
        registry.register(
            "queue_work",
            "Accepted work that is left, in pixels x UNet rows x evaluations",
            metrics.queue_work.clone(),
        );
        registry.register(
            "queue_seconds",
            "Time that the accepted work will take, as measured on this machine",
            metrics.queue_seconds.clone(),
        );
        registry.register(
            "step_seconds",
            "Time of one UNet evaluation of a batch",
            metrics.step_seconds.clone(),
        );
        registry.register("batch_size", "Requests advanced together by one step", metrics.batch.clone());
        registry.register(
            "preview_seconds",
            "Time of one preview, decoded and encoded",
            metrics.preview_seconds.clone(),
        );
        registry.register(
            "picture_seconds",
            "From acceptance to the finished picture",
            metrics.picture_seconds.clone(),
        );
        registry.register("cancelled", "Requests whose client went away", metrics.cancelled.clone());
        registry.register("panics", "Panics in the pipeline", metrics.panics.clone());
        Self { registry, ..metrics }
    }

    /// In OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    pub(crate) fn threads(&self, threads: usize) {
        self.threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
    }

    pub(crate) fn request(&self, route: Route, status: u16, client_gone: bool) {
        let outcome = match status {
            _ if client_gone => Outcome::ClientGone,
            500.. => Outcome::ServerError,
            400.. => Outcome::ClientError,
            _ => Outcome::Success,
        };
        self.requests.get_or_create(&RequestLabels { route, outcome }).inc();
    }

    pub(crate) fn queue(&self, inside: usize, work: f64, seconds: f64) {
        self.inside.set(i64::try_from(inside).unwrap_or(i64::MAX));
        self.queue_work.set(work);
        self.queue_seconds.set(seconds);
    }

    pub(crate) fn stepped(&self, batch: usize, time: Duration) {
        self.step_seconds.observe(time.as_secs_f64());
        self.batch.observe(batch as f64);
    }

    pub(crate) fn previewed(&self, time: Duration) {
        self.preview_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn drawn(&self, time: Duration) {
        self.picture_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn cancelled(&self, requests: usize) {
        self.cancelled.inc_by(requests as u64);
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.inc();
        Connection(Arc::clone(self))
    }
}

pub(crate) struct Connection(Arc<Metrics>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_can_read_it() {
        let metrics = Metrics::new("emoji");
        metrics.request(Route::Generate, 200, false);
        metrics.request(Route::Generate, 429, false);
        metrics.request(Route::Generate, 200, true);
        metrics.queue(3, 1e6, 2.5);
        metrics.stepped(4, Duration::from_millis(30));
        metrics.cancelled(2);
        let text = metrics.text();
        for line in [
            "diffusion_http_requests_total{route=\"Generate\",outcome=\"ClientError\"} 1",
            "diffusion_http_requests_total{route=\"Generate\",outcome=\"ClientGone\"} 1",
            "diffusion_requests_in_flight 3",
            "diffusion_queue_seconds 2.5",
            "diffusion_cancelled_total 2",
            "diffusion_batch_size_bucket{le=\"4.0\"} 1",
            "model=\"emoji\"",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
