//! `Accept: text/event-stream`: the steps as they are done, previews, then the picture.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use diffusion_pipeline::ImageFormat;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::App;
use super::body::Body;
use super::generate::{Accepted, Encoded, draw, timings};
use super::log::RequestLog;
use crate::engine::{Preview, Progress};

/// Proxies close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn respond(app: &Arc<App>, accepted: Accepted, mut log: RequestLog) -> Response<Body> {
    log.status(200);
    let (sender, receiver) = mpsc::channel(16);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let gone = sender.clone();
        // When the client goes away the body is dropped and the channel closes: this drops the ticket, which cancels.
        tokio::select! {
            () = produce(&app, accepted, &mut log, sender) => log.complete(),
            () = gone.closed() => drop(log),
        }
    });
    let mut response = Response::new(Events(receiver).boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect the events otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn produce(app: &Arc<App>, mut accepted: Accepted, log: &mut RequestLog, sender: mpsc::Sender<Bytes>) {
    let (seed, ahead) = (accepted.seed, accepted.ticket.ahead);
    let queued = json!({"seed": seed, "request_id": log.id, "seconds_ahead": round(ahead.as_secs_f64())});
    send(&sender, "queued", &queued).await;

    let (mut progress, mut previews) = (accepted.ticket.progress(), accepted.ticket.previews());
    let mut alive = tokio::time::interval(KEEP_ALIVE);
    alive.reset();
    let result = {
        let mut drawing = std::pin::pin!(draw(app, &mut accepted));
        loop {
            tokio::select! {
                biased;
                Ok(()) = progress.changed() => {
                    let Progress { done, total, .. } = *progress.borrow_and_update();
                    send(&sender, "step", &json!({"step": done, "of": total})).await;
                }
                Some(preview) = previews.recv() => send_preview(&sender, log, &preview).await,
                result = &mut drawing => break result,
                _ = alive.tick() => { let _ = sender.send(Bytes::from_static(b": alive\n\n")).await; }
            }
        }
    };
    // All of them are there when the picture is.
    while let Ok(preview) = previews.try_recv() {
        send_preview(&sender, log, &preview).await;
    }
    match result {
        Ok(Encoded { file, drawn, encode }) => {
            log.timings(drawn.queued, drawn.timings, encode);
            log.sent(file.len());
            let times: Map<String, Value> =
                timings(&drawn, encode).iter().map(|(name, ms)| (format!("{name}_ms"), json!(ms))).collect();
            let event = json!({
                "seed": seed,
                "request_id": log.id,
                "media_type": accepted.format.media_type(),
                "timings": times,
                "warnings": drawn.warnings,
                "image": STANDARD.encode(&file),
            });
            send(&sender, "picture", &event).await;
        }
        Err(problem) => {
            log.error(&problem.detail);
            log.status(problem.status.as_u16());
            send(&sender, "error", &problem.json(&log.id)).await;
        }
    }
}

async fn send_preview(sender: &mpsc::Sender<Bytes>, log: &mut RequestLog, preview: &Preview) {
    let Preview { file, width, height, done, total } = preview;
    log.sent(file.len());
    let event = json!({
        "step": done,
        "of": total,
        "width": width,
        "height": height,
        "media_type": ImageFormat::Jpeg.media_type(),
        "image": STANDARD.encode(file),
    });
    send(sender, "preview", &event).await;
}

/// JSON has no line breaks of its own here, so one `data:` line carries it.
async fn send(sender: &mpsc::Sender<Bytes>, event: &str, data: &Value) {
    let _ = sender.send(format!("event: {event}\ndata: {data}\n\n").into()).await;
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
