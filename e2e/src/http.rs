//! HTTP/1.1 as a careful client speaks it: what was sent is answered, or that is an error.

use std::{fmt, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{io, net::TcpStream};

use crate::failure::Outcome;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether it is a picture.
    pub(crate) fn is_png(&self) -> bool {
        self.status == StatusCode::OK && self.body.starts_with(b"\x89PNG\r\n\x1a\n")
    }

    /// "Not now": how long to wait before the request is sent again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let not_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&self.status);
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        not_now.then(|| Duration::from_secs(seconds))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        write!(f, "{}: {}", self.status, text.trim())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// No connection: nothing was sent.
    Unconnected(String),
    /// The connection ended after the request was sent, or no answer came in time.
    Unanswered(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconnected(why) => write!(f, "no connection: {why}"),
            Self::Unanswered(why) => write!(f, "sent, but not answered: {why}"),
        }
    }
}

impl std::error::Error for Lost {}

/// What is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// POSTed, if it is there.
    pub(crate) json: Option<Value>,
    /// As `Authorization: Bearer`.
    pub(crate) key: Option<String>,
    /// As `x-request-id`.
    pub(crate) id: Option<String>,
}

impl Ask {
    /// A picture.
    pub(crate) fn picture(json: Value) -> Self {
        Self { path: "/generate".into(), json: Some(json), ..Self::default() }
    }

    /// A page.
    pub(crate) fn get(path: &str) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    fn request(&self, host: &str) -> Outcome<Request<Full<Bytes>>> {
        let mut request = match self.json {
            Some(_) => Request::post(&self.path).header(CONTENT_TYPE, "application/json"),
            None => Request::get(&self.path),
        };
        request = request.header(HOST, host);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(id) = &self.id {
            request = request.header("x-request-id", id);
        }
        let body = self.json.as_ref().map(Value::to_string).unwrap_or_default();
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }
}

/// A client that keeps its connection, or takes a new one for each request.
pub(crate) struct Http {
    address: String,
    keep: bool,
    connection: Option<SendRequest<Full<Bytes>>>,
    patience: Duration,
}

impl Http {
    /// Of a URL without a path. Answers are waited for as long as a server may take.
    pub(crate) fn new(url: &str, keep: bool) -> Self {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        Self { address, keep, connection: None, patience: Duration::from_secs(120) }
    }

    /// How long an answer is waited for.
    pub(crate) fn patience(mut self, seconds: u64) -> Self {
        self.patience = Duration::from_secs(seconds);
        self
    }

    /// Sends it, and waits for the whole answer.
    pub(crate) async fn send(&mut self, ask: &Ask) -> Result<Answer, Lost> {
        let patience = self.patience;
        let slow = || Lost::Unanswered(format!("nothing for {} s", patience.as_secs()));
        let answer = tokio::time::timeout(patience, self.ask(ask)).await.unwrap_or_else(|_| Err(slow()));
        if answer.is_err() || !self.keep {
            self.connection = None;
        }
        answer
    }

    async fn ask(&mut self, ask: &Ask) -> Result<Answer, Lost> {
        let mut sender = match self.kept().await {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let said = |e: &dyn fmt::Display| Lost::Unanswered(e.to_string());
        let request = ask.request(&self.address).map_err(|e| said(&e))?;
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                // Closed between two requests, and hyper knows that none of this one was sent: a new connection.
                let Some(unsent) = error.take_message() else { return Err(said(&describe(error.error()))) };
                sender = self.connect().await?;
                sender.send_request(unsent).await.map_err(|e| said(&describe(&e)))?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| said(&describe(&e)))?.to_bytes();
        self.connection = Some(sender);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// The connection of before, unless the server closed it meanwhile, as it may when nothing is sent.
    async fn kept(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.connection.take()?;
        kept.ready().await.is_ok().then_some(kept)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Lost> {
        let unconnected = |e: &dyn fmt::Display| Lost::Unconnected(format!("{}: {e}", self.address));
        let connecting = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(&self.address));
        let socket = connecting.await.map_err(|e| unconnected(&e))?.map_err(|e| unconnected(&e))?;
        let _ = socket.set_nodelay(true);
        start(socket).await.map_err(|e| unconnected(&e))
    }
}

async fn start(
    socket: impl io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request over a stream that is open already, such as a forwarded port.
pub(crate) async fn over(
    stream: impl io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
    ask: &Ask,
) -> Outcome<Answer> {
    let mut sender = start(stream).await?;
    let (head, body) = sender.send_request(ask.request("localhost")?).await?.into_parts();
    Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
}

fn describe(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|c| format!(": {c}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_for_now_are_tried_again() {
        let answer = |status, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            after.map(|a| headers.insert(RETRY_AFTER, a.parse().unwrap()));
            Answer { status, headers, body: Bytes::new() }.retry_after()
        };
        assert_eq!(answer(StatusCode::SERVICE_UNAVAILABLE, Some("3")), Some(Duration::from_secs(3)));
        assert_eq!(answer(StatusCode::SERVICE_UNAVAILABLE, None), None);
        assert_eq!(answer(StatusCode::INTERNAL_SERVER_ERROR, Some("3")), None);
    }
}
