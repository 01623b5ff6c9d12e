//! For kubelet and Prometheus.

use http_body_util::BodyExt;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::App;
use super::body::{Body, full};
use super::problem::Problem;
use crate::engine::Phase;

/// Alive unless the engine has failed or hangs: a restart helps then, and in no other case.
pub(super) fn live(app: &App) -> Response<Body> {
    if let Phase::Failed(why) = &*app.engine.phase().borrow() {
        return unavailable("failed", format!("the engine has failed: {why}"));
    }
    let busy = app.engine.busy_for();
    if busy > app.settings.stall_timeout {
        let detail = format!("the engine has been busy with one thing for {} s", busy.as_secs());
        return unavailable("stalled", detail);
    }
    text("ok\n".into(), "text/plain; charset=utf-8")
}

/// Ready after the warm-up picture, and until the server drains.
pub(super) fn ready(app: &App) -> Response<Body> {
    match app.engine.ready() {
        Ok(()) => text("ok\n".into(), "text/plain; charset=utf-8"),
        Err(refused) => Problem::from(refused).response(""),
    }
}

pub(super) fn metrics(app: &App) -> Response<Body> {
    text(app.metrics.text(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
}

fn unavailable(code: &'static str, detail: String) -> Response<Body> {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, "The server needs a restart", detail).response("")
}

fn text(text: String, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
