//! One line a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffusion_pipeline::{Request, Timings};

use crate::metrics::{Metrics, Route};

/// Collects what is known about a request. The line is written when it is complete, or, when the client goes away before,
/// as it is dropped.
pub(crate) struct RequestLog {
    began: Instant,
    metrics: Arc<Metrics>,
    pub(crate) id: String,
    method: String,
    route: Route,
    status: u16,
    error: Option<String>,
    request: Option<Drawn>,
    prompt: Option<String>,
    timings: Option<(Duration, Timings, Duration)>,
    sent: usize,
    complete: bool,
}

struct Drawn {
    seed: u64,
    size: String,
    steps: usize,
    scheduler: &'static str,
}

impl RequestLog {
    pub(crate) fn new(metrics: Arc<Metrics>, id: String, method: &hyper::Method, route: Route) -> Self {
        Self {
            began: Instant::now(),
            metrics,
            id,
            method: method.as_str().chars().take(20).collect(),
            route,
            status: 0,
            error: None,
            request: None,
            prompt: None,
            timings: None,
            sent: 0,
            complete: false,
        }
    }

    pub(crate) fn request(&mut self, request: &Request, with_prompt: bool) {
        self.request = Some(Drawn {
            seed: request.seed,
            size: format!("{}x{}", request.width, request.height),
            steps: request.steps,
            scheduler: request.scheduler.map_or("default", |kind| kind.name()),
        });
        if with_prompt {
            self.prompt = Some(request.prompt.chars().take(500).collect());
        }
    }

    pub(crate) fn timings(&mut self, queued: Duration, timings: Timings, encode: Duration) {
        self.timings = Some((queued, timings, encode));
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    pub(crate) fn error(&mut self, detail: &str) {
        self.error = Some(detail.chars().take(300).collect());
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// The answer was handed over in full.
    pub(crate) fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let client_gone = !self.complete;
        self.metrics.request(self.route, self.status, client_gone);
        let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        let (queued, timings, encode) = match self.timings {
            Some((queued, timings, encode)) => (Some(ms(queued)), Some(timings), Some(ms(encode))),
            None => (None, None, None),
        };
        let request = self.request.as_ref();
        tracing::info!(
            target: "diffusion_server::request",
            id = self.id,
            method = self.method,
            route = ?self.route,
            status = self.status,
            client_gone,
            total_ms = ms(self.began.elapsed()),
            seed = request.map(|r| r.seed),
            size = request.map(|r| r.size.as_str()),
            steps = request.map(|r| r.steps),
            scheduler = request.map(|r| r.scheduler),
            queue_ms = queued,
            text_ms = timings.map(|t| ms(t.text)),
            denoise_ms = timings.map(|t| ms(t.denoise)),
            decode_ms = timings.map(|t| ms(t.decode)),
            encode_ms = encode,
            bytes = (self.sent > 0).then_some(self.sent),
            error = self.error.as_deref(),
            prompt = self.prompt.as_deref(),
            "request"
        );
    }
}
