//! What the hub knows: its settings, what goes wrong, who asked for what.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, RANGE};
use hyper::http::request::Parts;

use crate::faults::Faults;
use crate::repo::{Blob, Cache, Revision};

/// Who may have the files.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who has this token; for others the repositories do not exist.
    Private(String),
    /// Who has this token; others see the listing only.
    Gated(String),
}

/// How a hub is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Repositories: `ROOT/org/name` is the branch main, `ROOT/org/name@v2` the branch (or tag) v2.
    pub root: PathBuf,
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address that the API redirects to for large files.
    pub cdn_listen: SocketAddr,
    /// How clients reach that; nothing for the host that they reached the API by.
    pub cdn_url: Option<String>,
    /// Who may have the files.
    pub access: Access,
    /// Entries of a page of a listing.
    pub page: usize,
    /// Repositories that have another name now.
    pub moved: HashMap<String, String>,
}

impl Settings {
    /// The folder on two free ports of this machine, for everybody.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            root: root.into(),
            listen: any,
            cdn_listen: any,
            cdn_url: None,
            access: Access::Open,
            page: 1000,
            moved: HashMap::new(),
        }
    }
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it was the port of large files.
    pub cdn: bool,
    /// Path and query.
    pub path: String,
    /// The header.
    pub authorization: Option<String>,
    /// The header.
    pub range: Option<String>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    cdn: SocketAddr,
    cache: Mutex<Cache>,
    large: Mutex<HashMap<String, Blob>>,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<Seen>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(settings: Settings, faults: Faults, cdn: SocketAddr) -> Self {
        Self {
            settings,
            cdn,
            cache: Mutex::default(),
            large: Mutex::default(),
            faults: Mutex::new(faults),
            seen: Mutex::default(),
        }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        lock(&self.seen)
    }

    pub(crate) fn see(&self, cdn: bool, parts: &Parts) {
        let header = |name| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let (authorization, range) = (header(AUTHORIZATION), header(RANGE));
        self.seen().push(Seen { cdn, path, authorization, range });
    }

    pub(crate) fn moved(&self, repo: &str) -> Option<String> {
        self.settings.moved.get(repo).cloned()
    }

    pub(crate) fn exists(&self, repo: &str) -> bool {
        safe(repo) && self.settings.root.join(repo).is_dir()
    }

    /// A branch, or any revision by its commit.
    pub(crate) fn revision(&self, repo: &str, name: &str) -> io::Result<Option<Revision>> {
        if !self.exists(repo) {
            return Ok(None);
        }
        let mut cache = lock(&self.cache);
        let main = self.settings.root.join(repo);
        if name == "main" {
            return cache.read(&main).map(Some);
        }
        let branch = self.settings.root.join(format!("{repo}@{}", name.replace('/', "_")));
        if safe(name) && branch.is_dir() {
            return cache.read(&branch).map(Some);
        }
        let (Some(folder), Some(own)) = (main.parent(), main.file_name()) else { return Ok(None) };
        let own = own.to_string_lossy();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let other = path.file_name().unwrap_or_default().to_string_lossy();
            if other == own || other.split_once('@').is_some_and(|(repo, _)| repo == own) {
                let revision = cache.read(&path)?;
                if revision.commit == name {
                    return Ok(Some(revision));
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn remember(&self, hash: &str, blob: &Blob) {
        lock(&self.large).insert(hash.to_owned(), blob.clone());
    }

    pub(crate) fn large(&self, hash: &str) -> Option<Blob> {
        lock(&self.large).get(hash).cloned()
    }

    pub(crate) fn cdn_url(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.settings.cdn_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        format!("http://{name}:{}", self.cdn.port())
    }
}

/// Nothing that leads out of the root.
fn safe(path: &str) -> bool {
    path.split('/').all(|piece| !piece.is_empty() && !piece.starts_with('.'))
}
