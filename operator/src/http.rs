//! One HTTP/1.1 request over a connection of its own: to a pod, or to a Service.

use std::fmt::Display;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::Bytes,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// GETs a path, or POSTs JSON to it. `address` is `host:port`. The caller sets a time limit.
///
/// # Errors
///
/// In words: no connection, a broken answer, a body longer than `longest` bytes.
pub async fn send(
    address: &str,
    path: &str,
    json: Option<String>,
    longest: usize,
) -> Result<Response<Bytes>, String> {
    let socket = TcpStream::connect(address).await.map_err(|e| format!("no connection to {address}: {e}"))?;
    let said = |e: &dyn Display| format!("{address}: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|e| said(&e))?;
    let connection = tokio::spawn(connection);
    let request = match json {
        None => Request::get(path).header(HOST, address).body(Full::default()),
        Some(json) => Request::post(path)
            .header(HOST, address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json))),
    };
    let response = sender.send_request(request.map_err(|e| said(&e))?).await.map_err(|e| said(&e))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, longest).collect().await.map_err(|e| said(&e))?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}
