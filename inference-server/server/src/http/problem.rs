//! Errors as RFC 9457 problem documents.

use http_body_util::BodyExt;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{Body, full};
use crate::engine::{Failure, Refused};
use crate::params::{FieldProblem, ParseError};

/// What went wrong with a request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Last part of `type`: for programs, never changes.
    code: &'static str,
    title: &'static str,
    /// What was expected, what came, what to do: for people.
    pub(crate) detail: String,
    fields: Vec<FieldProblem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), fields: Vec::new(), headers: Vec::new() }
    }

    fn fields(problems: Vec<FieldProblem>) -> Self {
        let detail = crate::params::list(&problems);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self {
            fields: problems,
            ..Self::new(status, "invalid-field", "A field of the request cannot be used", detail)
        }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    pub(crate) fn not_found(path: &str) -> Self {
        let path: String = path.chars().take(80).collect();
        let detail = format!("There is nothing at {path:?}. Pictures are drawn by POST /generate.");
        Self::new(StatusCode::NOT_FOUND, "not-found", "No such resource", detail)
    }

    pub(crate) fn no_key() -> Self {
        let detail = "Send a key of this service: Authorization: Bearer KEY.";
        Self::unauthorized(detail, "Bearer realm=\"diffusion-server\"")
    }

    pub(crate) fn wrong_key() -> Self {
        let detail =
            "The key in the Authorization header is not one of this service's; ask whoever runs it for one.";
        Self::unauthorized(detail, "Bearer realm=\"diffusion-server\", error=\"invalid_token\"")
    }

    /// The challenge is that of RFC 6750.
    fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A key is needed", detail);
        problem.headers.push((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        problem
    }

    pub(crate) fn method(method: &hyper::Method, allow: &'static str) -> Self {
        let method: String = method.as_str().chars().take(20).collect();
        let detail = format!("{method} is not possible here; use one of {allow}.");
        let mut problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail);
        problem.headers.push((ALLOW, HeaderValue::from_static(allow)));
        problem
    }

    pub(crate) fn not_acceptable() -> Self {
        let detail = "The Accept header allows none of image/png, image/jpeg, image/webp and text/event-stream \
                      (curl --json sends Accept: application/json; add -H 'accept: image/png').";
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "No acceptable form of the picture", detail)
    }

    pub(crate) fn media_type(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is not JSON",
            detail,
        );
        problem.headers.push((hyper::header::ACCEPT, HeaderValue::from_static("application/json")));
        problem
    }

    pub(crate) fn too_large(limit: usize, flag: &str) -> Self {
        let detail = format!("The body may have at most {limit} bytes ({flag}).");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub(crate) fn too_slow(seconds: u64) -> Self {
        let detail = format!("The body did not arrive within {seconds} s (--body-timeout).");
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly", detail)
    }

    pub(crate) fn broken_body() -> Self {
        let detail = "The connection or its encoding broke before the body was complete.";
        Self::new(StatusCode::BAD_REQUEST, "broken-body", "The body is incomplete", detail)
    }

    pub(crate) fn no_memory() -> Self {
        let detail = "Too many large bodies are being received at this moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy", detail).retry_after(1)
    }

    pub(crate) fn too_late(limit: u64, retry_after: u64) -> Self {
        let detail =
            format!("The picture was not finished within {limit} s (--request-timeout) and was given up.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "request-timeout", "The picture took too long", detail)
            .retry_after(retry_after)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The picture could not be drawn", detail)
    }

    pub(crate) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::fields(vec![FieldProblem::new(field, problem)])
    }

    /// The members of the document.
    pub(crate) fn json(&self, request_id: &str) -> serde_json::Value {
        let mut document = json!({
            "type": format!("urn:diffusion-operator:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if !self.fields.is_empty() {
            document["errors"] = json!(self.fields);
        }
        document
    }

    pub(crate) fn response(&self, request_id: &str) -> Response<Body> {
        let mut text = self.json(request_id).to_string();
        text.push('\n');
        let mut response = Response::new(full(text).boxed());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Malformed(detail) => {
                Self::new(StatusCode::BAD_REQUEST, "malformed", "The body is not a JSON object", detail)
            }
            ParseError::Invalid(problems) => Self::fields(problems),
        }
    }
}

impl From<Vec<FieldProblem>> for Problem {
    fn from(problems: Vec<FieldProblem>) -> Self {
        Self::fields(problems)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        let seconds = refused.retry_after();
        let (status, code, title) = match refused {
            Refused::Full { .. } | Refused::Busy { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "queue-full", "The queue is full")
            }
            Refused::NotReady { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-ready", "The server is not ready")
            }
            Refused::Draining { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "draining", "The server is shutting down")
            }
        };
        Self::new(status, code, title, detail).retry_after(seconds)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(problem) => Self::fields(vec![problem.into()]),
            other => Self::internal(other.to_string()),
        }
    }
}
