//! For kubelet, Prometheus and the operator.

use http_body_util::BodyExt;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::App;
use super::body::{Body, full};
use super::problem::Problem;
use crate::engine::Phase;
use crate::params::{self, Fields};

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

/// What the operator copies into the status of its resource. Members may be added, none changes.
pub(super) fn status(app: &App) -> Response<Body> {
    let info = app.engine.info();
    let settings = &app.settings;
    // The picture of a request that says nothing but its prompt.
    let usual = info.and_then(|info| {
        let fields = Fields { prompt: Some("a".into()), ..Fields::default() };
        Some(params::resolve(fields, info, &settings.limits, &settings.defaults, 0).ok()?.request)
    });
    let seconds = usual.as_ref().and_then(|request| app.engine.estimate(request)).map(round);
    let scheduler = settings.defaults.scheduler.or(info.map(|info| info.scheduler));
    let document = json!({
        "model": app.served.model,
        "revision": app.served.revision,
        "precision": info.map(|info| info.precision.name()),
        "scheduler": scheduler.map(|kind| kind.name()),
        "steps": usual.as_ref().map(|request| request.steps),
        "width": usual.as_ref().map(|request| request.width),
        "height": usual.as_ref().map(|request| request.height),
        "secondsPerImage": seconds,
        "queueSeconds": round(app.engine.ahead().as_secs_f64()),
    });
    text(format!("{document}\n"), "application/json")
}

/// To a millisecond.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
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
