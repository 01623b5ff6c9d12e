//! `POST /generate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffusion_pipeline::{ImageFormat, InitImage};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY,
};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::accept::negotiate;
use super::body::{Body, Pieces, read};
use super::log::RequestLog;
use super::problem::Problem;
use super::{App, progress, routes};
use crate::engine::{Drawn, Ticket};
use crate::params::{self, Drawing};

const SEED: HeaderName = HeaderName::from_static("x-seed");
const WARNING: HeaderName = HeaderName::from_static("x-warning");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A request that was let in.
pub(super) struct Accepted {
    pub(super) seed: u64,
    pub(super) ticket: Ticket,
    pub(super) format: ImageFormat,
    /// What the picture says about itself.
    parameters: Option<String>,
}

/// A picture as a file.
pub(super) struct Encoded {
    pub(super) file: Vec<u8>,
    pub(super) drawn: Drawn,
    pub(super) encode: Duration,
}

pub(super) async fn handle(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Incoming,
    mut log: RequestLog,
) -> Response<Body> {
    let (accepted, events) = match accept(app, parts, body, &mut log).await {
        Ok(accepted) => accepted,
        Err(problem) => return routes::problem(log, &problem),
    };
    let seed = accepted.seed;
    let mut response =
        if events { progress::respond(app, accepted, log) } else { picture(app, accepted, log).await };
    let headers = response.headers_mut();
    headers.insert(SEED, HeaderValue::from(seed));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Reads and checks everything and lets the request in; says whether events are wanted.
async fn accept(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Incoming,
    log: &mut RequestLog,
) -> Result<(Accepted, bool), Problem> {
    let form = negotiate(&parts.headers).ok_or_else(Problem::not_acceptable)?;
    check_content_type(&parts.headers)?;
    // Who comes in vain learns it before sending a picture.
    app.engine.ready()?;
    let info = app.engine.info().ok_or_else(|| Problem::internal("the model is not there"))?;
    let settings = &app.settings;

    let received = read(body, settings.max_image_body, settings.body_timeout, &app.bodies).await?;
    let fields = params::parse(&received.bytes)?;
    if fields.image.is_none() && received.bytes.len() > settings.max_body {
        return Err(Problem::too_large(settings.max_body, "--max-body-bytes, without an image"));
    }
    drop(received);
    let seed = crate::random::seed();
    let Drawing { mut request, image, metadata, previews } =
        params::resolve(fields, info, &settings.limits, &settings.defaults, seed)?;
    if previews > 0 && !form.events {
        let problem = "come as events: accept text/event-stream, or leave previews out";
        return Err(Problem::field("previews", problem));
    }
    log.request(&request, settings.log_prompts);
    if let Some((file, strength)) = image {
        let (most, width, height) = (settings.limits.image_pixels, request.width, request.height);
        let decoded = app.codec(move || params::decode_picture(&file, most, width, height)).await?;
        let image = decoded.map_err(|problem| Problem::field("image", problem))?;
        request.init = Some(InitImage { image, strength });
    }
    let seed = request.seed;
    let parameters = metadata.then(|| request.describe(info));
    let ticket = app.engine.submit_with_previews(request, previews)?;
    Ok((Accepted { seed, ticket, format: form.format, parameters }, form.events))
}

/// JSON in UTF-8, not compressed. A body without a type is taken for JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|e| *e != "identity") {
        return Err(Problem::media_type(format!("Content-Encoding {encoding:?} is not supported.")));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut pieces = text.split(';').map(str::trim);
    let media_type = pieces.next().unwrap_or_default();
    let charset = pieces.find_map(|p| p.strip_prefix("charset=")).unwrap_or("utf-8").trim_matches('"');
    let json = media_type == "application/json" || media_type.ends_with("+json");
    if json && matches!(charset, "utf-8" | "utf8" | "us-ascii") {
        return Ok(());
    }
    let given: String = text.chars().take(80).collect();
    Err(Problem::media_type(format!("Expected Content-Type application/json in UTF-8, got {given:?}.")))
}

/// Waits for the picture and sends it.
async fn picture(app: &Arc<App>, mut accepted: Accepted, mut log: RequestLog) -> Response<Body> {
    let encoded = match draw(app, &mut accepted).await {
        Ok(encoded) => encoded,
        Err(problem) => return routes::problem(log, &problem),
    };
    let Encoded { file, drawn, encode } = encoded;
    log.timings(drawn.queued, drawn.timings, encode);
    log.status(StatusCode::OK.as_u16());
    let mut response = Response::new(Pieces::new(file, log).boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(accepted.format.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&server_timing(&drawn, encode)) {
        headers.insert(SERVER_TIMING, value);
    }
    for warning in &drawn.warnings {
        headers.append(WARNING, ascii(warning));
    }
    response
}

/// Waits for the picture within the time for a request, and encodes it.
pub(super) async fn draw(app: &Arc<App>, accepted: &mut Accepted) -> Result<Encoded, Problem> {
    let limit = app.settings.request_timeout;
    let picture = tokio::time::timeout(limit, accepted.ticket.picture()).await;
    let drawn = picture.map_err(|_| {
        Problem::too_late(limit.as_secs(), app.engine.ahead().as_secs_f64().ceil().max(1.0) as u64)
    })??;
    let parameters = accepted.parameters.take();
    let format = accepted.format;
    let encode = move || {
        let began = Instant::now();
        let file = drawn.picture.encode(format, parameters.as_deref());
        (file, drawn, began.elapsed())
    };
    let (file, drawn, encode) = app.codec(encode).await?;
    let file = file.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Encoded { file, drawn, encode })
}

/// Milliseconds, as the header wants them (W3C Server Timing).
pub(super) fn timings(drawn: &Drawn, encode: Duration) -> Vec<(&'static str, f64)> {
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    let mut timings = vec![
        ("queue", ms(drawn.queued)),
        ("text", ms(drawn.timings.text)),
        ("denoise", ms(drawn.timings.denoise)),
        ("decode", ms(drawn.timings.decode)),
        ("encode", ms(encode)),
    ];
    if !drawn.previews.is_zero() {
        timings.push(("previews", ms(drawn.previews)));
    }
    timings
}

fn server_timing(drawn: &Drawn, encode: Duration) -> String {
    let entries: Vec<_> =
        timings(drawn, encode).iter().map(|(name, ms)| format!("{name};dur={ms}")).collect();
    entries.join(", ")
}

/// A header carries ASCII; what a prompt brought along is replaced.
fn ascii(text: &str) -> HeaderValue {
    let text: String =
        text.chars().take(500).map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("?"))
}
