//! The admin port: /livez, /readyz and /metrics.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch};

use crate::controller::Context;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What this operator waits for, in words; empty when it waits for nothing.
pub type Pending = watch::Receiver<Option<String>>;

/// Serves until the process ends.
///
/// # Errors
///
/// When the address can't be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|e| format!("can't listen on {address}: {e}; choose another --admin-listen"))
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, context: Arc<Context>, pending: Pending) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (context, pending) = (Arc::clone(&context), pending.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&request, &context, &pending);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            if let Err(error) = http.serve_connection(TokioIo::new(socket), answer).await {
                tracing::debug!(%error, "a connection of the admin port");
            }
        });
    }
}

fn answer<B>(request: &Request<B>, context: &Context, pending: &Pending) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => match pending.borrow().as_deref() {
            None => text(StatusCode::OK, "ok\n".into()),
            Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {what}\n")),
        },
        "/metrics" => match context.metrics.text() {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                let kind = header::HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                );
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
