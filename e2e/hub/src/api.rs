//! The hub's routes: what there is in a repository, and where its files are.

use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, HeaderMap,
    HeaderName, HeaderValue, LINK, LOCATION, RANGE, RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{Body, file, text};
use crate::repo::{Blob, Revision};
use crate::state::{Access, Shared};

const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

/// Answers on the hub's own port.
pub(crate) fn hub(shared: &Shared, parts: &Parts) -> Response<Body> {
    let path = parts.uri.path();
    if let Some(answer) = shared.faults().answer(path) {
        let mut response = Response::new(text(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
        if let Some(seconds) = answer.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        return response;
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return error(StatusCode::METHOD_NOT_ALLOWED, "", "only GET and HEAD");
    }
    let route = Route::parse(path);
    match route {
        Some(route) => shared.moved(&route.repo).map_or_else(
            || route.answer(shared, parts),
            |name| redirect(&path.replacen(&route.repo, &name, 1)),
        ),
        None => error(StatusCode::NOT_FOUND, "", "Sorry, we can't find the page you are looking for."),
    }
}

/// Answers on the port of large files: no repositories, no tokens, only contents by their hash.
pub(crate) fn cdn(shared: &Shared, parts: &Parts) -> Response<Body> {
    let hash = parts.uri.path().trim_start_matches('/');
    let Some(blob) = shared.large(hash) else { return error(StatusCode::NOT_FOUND, "", "no such file") };
    contents(shared, parts, &blob, &format!("\"{hash}\""))
}

/// A path taken apart.
struct Route {
    repo: String,
    kind: Kind,
    revision: String,
    /// Path inside the repository.
    rest: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Info,
    Tree,
    Resolve,
    /// Where the resolve route sends those who want a small file.
    Cached,
}

impl Route {
    fn parse(path: &str) -> Option<Self> {
        let pieces: Vec<String> = path.strip_prefix('/')?.split('/').map(decode).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (kind, org, name, revision, rest) = match pieces[..] {
            ["api", "models", org, name] => (Kind::Info, org, name, "main", &[][..]),
            ["api", "models", org, name, "revision", revision] => (Kind::Info, org, name, revision, &[][..]),
            ["api", "models", org, name, "tree", revision] => (Kind::Tree, org, name, revision, &[][..]),
            ["api", "resolve-cache", "models", org, name, revision, ref rest @ ..] => {
                (Kind::Cached, org, name, revision, rest)
            }
            [org, name, "resolve", revision, ref rest @ ..] => (Kind::Resolve, org, name, revision, rest),
            _ => return None,
        };
        Some(Self { repo: format!("{org}/{name}"), kind, revision: revision.into(), rest: rest.join("/") })
    }

    fn answer(&self, shared: &Shared, parts: &Parts) -> Response<Body> {
        if let Some(refusal) = self.refuse(&shared.settings.access, &parts.headers) {
            return refusal;
        }
        let revision = match shared.revision(&self.repo, &self.revision) {
            Ok(Some(revision)) => revision,
            Ok(None) if shared.exists(&self.repo) => {
                let message = format!("Invalid rev id: {}", self.revision);
                return error(StatusCode::NOT_FOUND, "RevisionNotFound", &message);
            }
            Ok(None) => return error(StatusCode::UNAUTHORIZED, "RepoNotFound", "Repository not found"),
            Err(problem) => return error(StatusCode::INTERNAL_SERVER_ERROR, "", &problem.to_string()),
        };
        let mut response = match self.kind {
            Kind::Info => self.info(shared, &revision),
            Kind::Tree => self.tree(shared, parts, &revision),
            Kind::Resolve | Kind::Cached => self.resolve(shared, parts, &revision),
        };
        insert(&mut response, REPO_COMMIT, &revision.commit);
        response
    }

    /// As the hub refuses: a private repository does not exist for others; of a gated one only the files are hidden.
    fn refuse(&self, access: &Access, headers: &HeaderMap) -> Option<Response<Body>> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if given.is_some_and(|token| !token.starts_with("hf_")) {
            let message = "Invalid credentials in Authorization header";
            return Some(error(StatusCode::UNAUTHORIZED, "", message));
        }
        let files = matches!(self.kind, Kind::Resolve | Kind::Cached);
        match (access, given) {
            (Access::Private(token), Some(given)) if token != given => {
                Some(error(StatusCode::NOT_FOUND, "RepoNotFound", "Repository not found"))
            }
            (Access::Private(_), None) => {
                Some(error(StatusCode::UNAUTHORIZED, "RepoNotFound", "Invalid username or password."))
            }
            (Access::Gated(token), Some(given)) if files && token != given => {
                let message = "Access to model is restricted and you are not in the authorized list.";
                Some(error(StatusCode::FORBIDDEN, "GatedRepo", message))
            }
            (Access::Gated(_), None) if files => {
                let message =
                    "Access to model is restricted. You must have access to it and be authenticated.";
                Some(error(StatusCode::UNAUTHORIZED, "GatedRepo", message))
            }
            _ => None,
        }
    }

    fn info(&self, shared: &Shared, revision: &Revision) -> Response<Body> {
        let siblings: Vec<_> = revision.blobs.iter().map(|blob| json!({"rfilename": blob.path})).collect();
        json_response(&json!({
            "_id": revision.commit,
            "id": self.repo,
            "modelId": self.repo,
            "sha": revision.commit,
            "private": matches!(shared.settings.access, Access::Private(_)),
            "gated": matches!(shared.settings.access, Access::Gated(_)),
            "disabled": false,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }))
    }

    /// Every file, a page at a time; `cursor` is where the next one begins.
    fn tree(&self, shared: &Shared, parts: &Parts, revision: &Revision) -> Response<Body> {
        let query = parts.uri.query().unwrap_or_default();
        let value = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let start: usize = value("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let mut entries: Vec<Value> = revision.blobs.iter().map(entry).collect();
        entries.extend(
            shared
                .faults()
                .listed
                .iter()
                .map(|path| json!({"type": "file", "oid": revision.commit, "size": 1, "path": path})),
        );
        let end = start.saturating_add(shared.settings.page).min(entries.len());
        let page = entries.get(start..end).unwrap_or_default().to_vec();
        let mut response = json_response(&Value::Array(page));
        if end < entries.len() {
            let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let path = parts.uri.path();
            let next = format!("<http://{host}{path}?recursive=true&cursor={end}>; rel=\"next\"");
            insert(&mut response, LINK, &next);
        }
        response
    }

    fn resolve(&self, shared: &Shared, parts: &Parts, revision: &Revision) -> Response<Body> {
        let Some(blob) = revision.blobs.iter().find(|blob| blob.path == self.rest) else {
            return error(StatusCode::NOT_FOUND, "EntryNotFound", "Entry not found");
        };
        let faults = shared.faults().clone();
        if faults.redirect_loop {
            return redirect(parts.uri.path());
        }
        let Some(sha256) = &blob.sha256 else {
            if self.kind == Kind::Resolve {
                let commit = &revision.commit;
                let mut response =
                    redirect(&format!("/api/resolve-cache/models/{}/{commit}/{}", self.repo, blob.path));
                insert(&mut response, LINKED_ETAG, &format!("\"{}\"", blob.sha1));
                insert(&mut response, LINKED_SIZE, &blob.size.to_string());
                return response;
            }
            return contents(shared, parts, blob, &format!("\"{}\"", blob.sha1));
        };
        shared.remember(sha256, blob);
        let mut response = redirect(&format!("{}/{sha256}", shared.cdn_url(&parts.headers)));
        *response.status_mut() = StatusCode::FOUND;
        insert(&mut response, LINKED_ETAG, &format!("\"{sha256}\""));
        let size = if faults.wrong_linked_size { blob.size + 1 } else { blob.size };
        insert(&mut response, LINKED_SIZE, &size.to_string());
        response
    }
}

fn entry(blob: &Blob) -> Value {
    let mut entry = json!({"type": "file", "oid": blob.sha1, "size": blob.size, "path": blob.path});
    if let Some(sha256) = &blob.sha256 {
        entry["lfs"] = json!({"oid": sha256, "size": blob.size, "pointerSize": 130});
    }
    entry
}

/// A file, or the part of it that `Range` asks for.
fn contents(shared: &Shared, parts: &Parts, blob: &Blob, etag: &str) -> Response<Body> {
    let mut faults = shared.faults();
    let range = parts.headers.get(RANGE).and_then(|range| range.to_str().ok()).filter(|_| !faults.no_ranges);
    let start = match range.map(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok())
    {
        None => None,
        Some(Some(start)) if start < blob.size && !faults.no_range_fits => Some(start),
        Some(_) => {
            let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, "", "the range does not fit");
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{}", blob.size));
            return response;
        }
    };
    let from = start.unwrap_or(0);
    let head = parts.method == Method::HEAD;
    let body = if head { text("") } else { file(blob.file.clone(), from, faults.body(blob.size - from)) };
    drop(faults);
    let mut response = Response::new(body);
    insert(&mut response, ETAG, etag);
    insert(&mut response, ACCEPT_RANGES, "bytes");
    insert(&mut response, CONTENT_LENGTH, &(blob.size - from).to_string());
    if start.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        insert(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {from}-{}/{}", blob.size.saturating_sub(1), blob.size),
        );
    }
    response
}

fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(text(value.to_string()));
    insert(&mut response, CONTENT_TYPE, "application/json; charset=utf-8");
    response
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(text(""));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    insert(&mut response, LOCATION, location);
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let mut response = json_response(&json!({"error": message}));
    *response.status_mut() = status;
    if !code.is_empty() {
        insert(&mut response, ERROR_CODE, code);
    }
    insert(&mut response, ERROR_MESSAGE, message);
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// `refs%2Fpr%2F1` to `refs/pr/1`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
