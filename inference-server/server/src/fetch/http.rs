//! One GET, with its redirects, its secrets kept, and its errors told apart.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, PROXY_AUTHORIZATION, RANGE,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls;

use super::FetchError;
use super::connect::Connector;
use super::retry::Failed;
use super::url;

const MOST_REDIRECTS: usize = 10;
/// Bytes of an error's body that are read for a message.
const LONGEST_WORDS: usize = 8 << 10;

/// The client.
pub(super) struct Http {
    client: Client<HttpsConnector<Connector>, Empty<Bytes>>,
    proxies: Arc<Matcher>,
    /// Where the token may be sent.
    endpoint: Uri,
    token: Option<HeaderValue>,
    idle: Duration,
}

/// An answer with a status that is not a redirect.
pub(super) struct Answer {
    pub(super) url: Uri,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Headers of the first redirect: there the hub says what it leads to.
    pub(super) first: Option<HeaderMap>,
    body: Incoming,
    idle: Duration,
}

impl Http {
    pub(super) fn new(endpoint: Uri, token: Option<&str>, idle: Duration) -> Result<Self, FetchError> {
        let proxies = Arc::new(Matcher::from_env());
        let https = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(builder) => builder,
            // A small container image has no certificates, and a hub without TLS needs none.
            Err(_) if endpoint.scheme_str() == Some("http") => {
                HttpsConnectorBuilder::new().with_tls_config(nobody_trusted()?)
            }
            Err(error) => {
                return Err(FetchError::Flag(format!(
                    "the system's certificates cannot be read ({error}); install ca-certificates, or name a file of \
                     them in SSL_CERT_FILE"
                )));
            }
        };
        let https = https.https_or_http().enable_http1().wrap_connector(Connector::new(Arc::clone(&proxies)));
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                FetchError::Flag("--token (HF_TOKEN): a token has no spaces or line breaks".into())
            })?;
            value.set_sensitive(true);
            Ok::<_, FetchError>(value)
        });
        let client = Client::builder(TokioExecutor::new()).build(https);
        Ok(Self { client, proxies, endpoint, token: token.transpose()?, idle })
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for `url`, from a byte on, and follows redirects.
    pub(super) async fn get(&self, url: &Uri, from: Option<u64>) -> Result<Answer, Failed> {
        let mut url = url.clone();
        let mut first = None;
        for _ in 0..=MOST_REDIRECTS {
            let request = self.request(&url, from).map_err(|problem| answer(&url, problem))?;
            let response = tokio::time::timeout(self.idle, self.client.request(request)).await;
            let response = response
                .map_err(|_| Failed::again(format!("{} does not answer", url::shown(&url))))?
                .map_err(|error| unreachable(&url, &error))?;
            let (parts, body) = response.into_parts();
            if !parts.status.is_redirection() || parts.status == StatusCode::NOT_MODIFIED {
                let idle = self.idle;
                return Ok(Answer { url, status: parts.status, headers: parts.headers, first, body, idle });
            }
            let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url::join(&url, location));
            let next = next.ok_or_else(|| answer(&url, "a redirect to nowhere"))?;
            if !matches!(next.scheme_str(), Some("http" | "https")) {
                return Err(answer(&url, "a redirect to something other than http and https"));
            }
            if url.scheme_str() == Some("https") && next.scheme_str() == Some("http") {
                return Err(answer(&url, "a redirect from https to http, which is not followed"));
            }
            first.get_or_insert(parts.headers);
            url = next;
        }
        Err(answer(&url, "too many redirects"))
    }

    fn request(&self, url: &Uri, from: Option<u64>) -> Result<Request<Empty<Bytes>>, &'static str> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        let agent = concat!("diffusion-server/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        // Sizes and ranges are those of the file, not of a compressed form of it.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(token) = self.token.as_ref().filter(|_| url::same_origin(url, &self.endpoint)) {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(from) = from {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            headers.insert(RANGE, range.map_err(|_| "a range that is none")?);
        }
        if url.scheme_str() == Some("http")
            && let Some(credentials) =
                self.proxies.intercept(url).as_ref().and_then(|proxy| proxy.basic_auth())
        {
            headers.insert(PROXY_AUTHORIZATION, credentials.clone());
        }
        Ok(request)
    }
}

impl Answer {
    /// The next piece; nothing at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            let frame = tokio::time::timeout(self.idle, self.body.frame()).await;
            let shown = || url::shown(&self.url);
            let frame = frame.map_err(|_| {
                Failed::again(format!("{}: nothing came for {} s", shown(), self.idle.as_secs()))
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Failed::again(format!(
                        "{}: the connection broke ({})",
                        shown(),
                        words(&error)
                    )));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) async fn text(&mut self, limit: usize) -> Result<Vec<u8>, Failed> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            if text.len() + piece.len() > limit {
                return Err(answer(&self.url, format!("more than {limit} bytes came, which is too much")));
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }

    /// What the hub calls the problem.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// An answer that is no success and that the caller knows nothing about.
    pub(super) async fn unexpected(mut self) -> Failed {
        let said = self.header("x-error-message").map(str::to_owned);
        let said = match said {
            Some(said) => said,
            None => match self.text(LONGEST_WORDS).await {
                Ok(text) => String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" "),
                Err(_) => String::new(),
            },
        };
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        let problem =
            if said.is_empty() { self.status.to_string() } else { format!("{}: {said}", self.status) };
        let temporary = self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if temporary {
            let after = self.header(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
            let problem = format!("{}: {problem}", url::shown(&self.url));
            return Failed::Again { problem, after: after.map(Duration::from_secs) };
        }
        answer(&self.url, problem)
    }
}

/// TLS to whom no certificate is good enough.
fn nobody_trusted() -> Result<rustls::ClientConfig, FetchError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| FetchError::Flag(format!("TLS: {error}")))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn answer(url: &Uri, problem: impl Into<String>) -> Failed {
    Failed::Final(FetchError::Answer { url: url::shown(url), problem: problem.into() })
}

/// No answer. A certificate that is wrong now is wrong a minute later, too.
fn unreachable(url: &Uri, error: &ClientError) -> Failed {
    let problem = words(error);
    if is_certificate(error) {
        return answer(
            url,
            format!(
                "{problem}; if this network has its own certificate authority, name its file in SSL_CERT_FILE"
            ),
        );
    }
    Failed::again(format!("{} cannot be reached ({problem})", url::shown(url)))
}

fn is_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let tls = error.downcast_ref::<rustls::Error>();
    // An I/O error passes over what it was made of when it is asked for its source.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
        || wrapped.is_some_and(|inner| is_certificate(inner))
        || error.source().is_some_and(is_certificate)
}

/// The reason at the bottom, which is the one that says something.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        next = error.source();
    }
    words
}
