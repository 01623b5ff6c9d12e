//! Which path does what.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use serde_json::json;

use super::body::{Body, full, linger};
use super::log::RequestLog;
use super::problem::Problem;
use super::{App, generate, health};
use crate::metrics::Route;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers on the public port.
///
/// # Errors
/// None: what goes wrong is an answer too.
pub async fn public(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let id = request_id(&parts.headers);
    let route = match parts.uri.path() {
        "/generate" => Route::Generate,
        "/" => Route::Root,
        _ => Route::Other,
    };
    let log = RequestLog::new(Arc::clone(&app.metrics), id.clone(), &parts.method, route);
    // Who only asks what is possible (a browser before it sends the key) needs none.
    let allowed = match &app.keys {
        Some(keys) if parts.method != Method::OPTIONS => keys.check(&parts.headers),
        _ => Ok(()),
    };
    let mut response = match (route, &parts.method) {
        _ if let Err(refusal) = &allowed => problem(log, refusal),
        (Route::Generate, &Method::POST) => generate::handle(&app, &parts, &mut body, log).await,
        (Route::Generate, &Method::OPTIONS) => done(log, options("POST, OPTIONS")),
        (Route::Generate, method) => problem(log, &Problem::method(method, "POST, OPTIONS")),
        (Route::Root, &Method::GET | &Method::HEAD) => done(log, usage(&app)),
        (Route::Root, &Method::OPTIONS) => done(log, options("GET, HEAD, OPTIONS")),
        (Route::Root, method) => problem(log, &Problem::method(method, "GET, HEAD, OPTIONS")),
        (Route::Other, _) => problem(log, &Problem::not_found(parts.uri.path())),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if app.engine.is_draining() && parts.version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    discard(&parts, body);
    Ok(response)
}

/// Answers on the admin port: for kubelet and Prometheus.
///
/// # Errors
/// None.
pub async fn admin(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let response = match (path, &parts.method) {
        ("/livez" | "/readyz" | "/metrics" | "/status", method)
            if method != Method::GET && method != Method::HEAD =>
        {
            Problem::method(method, "GET, HEAD").response("")
        }
        ("/livez", _) => health::live(&app),
        ("/readyz", _) => health::ready(&app),
        ("/metrics", _) => health::metrics(&app),
        ("/status", _) => health::status(&app),
        _ => {
            let detail = "There are /livez, /readyz, /metrics and /status here.";
            Problem::new(StatusCode::NOT_FOUND, "not-found", "No such resource", detail).response("")
        }
    };
    discard(&parts, body);
    Ok(response)
}

/// What was not read of the request is read and forgotten, except if the client waits for our word to send it.
fn discard(parts: &Parts, body: Incoming) {
    if !body.is_end_stream() && !parts.headers.contains_key(EXPECT) {
        linger(body);
    }
}

/// Logs an answer that is complete as it stands.
pub(super) fn done(mut log: RequestLog, response: Response<Body>) -> Response<Body> {
    log.status(response.status().as_u16());
    log.complete();
    response
}

pub(super) fn problem(mut log: RequestLog, problem: &Problem) -> Response<Body> {
    log.error(&problem.detail);
    let response = problem.response(&log.id);
    done(log, response)
}

fn options(allow: &'static str) -> Response<Body> {
    let mut response = Response::new(full("").boxed());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn usage(app: &App) -> Response<Body> {
    let model = app.engine.info().map(|info| {
        json!({
            "name": info.name,
            "width": info.width,
            "height": info.height,
            "steps": info.steps,
            "guidance_scale": info.guidance_scale,
            "scheduler": info.scheduler.name(),
            "schedulers": info.schedulers.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        })
    });
    let document = json!({
        "name": "diffusion-server",
        "version": env!("CARGO_PKG_VERSION"),
        "model": model,
        "usage": "curl -H 'content-type: application/json' -d '{\"prompt\": \"a red apple\"}' -o apple.png http://HOST/generate",
        "fields": crate::params::FIELD_NAMES,
    });
    let mut response = Response::new(full(format!("{document:#}\n")).boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The client's id when it is short and harmless in logs and headers, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=@".contains(c);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.chars().all(harmless) => id.to_owned(),
        _ => format!("{:016x}{:016x}", crate::random::bits(), crate::random::bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            request_id(&headers)
        };
        assert_eq!(with("a1B2-c.d:e/f+g=@_"), "a1B2-c.d:e/f+g=@_");
        for bad in ["", "a b", "a\"b", "é", "{}", &"x".repeat(129)] {
            assert_ne!(with(bad), bad);
            assert_eq!(with(bad).len(), 32);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
