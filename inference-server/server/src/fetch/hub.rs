//! The hub's API: which commit a revision is, which files it has, and where they are.

use std::collections::BTreeMap;

use hyper::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::FetchError;
use super::hash::Expected;
use super::http::{Answer, Http};
use super::progress::Progress;
use super::retry::{Failed, Tries};
use super::source::{HubSource, is_commit};
use super::url::{self, escape, next_page};

/// Bytes of one page of a listing.
const LARGEST_PAGE: usize = 32 << 20;
const MOST_PAGES: usize = 1000;

/// A file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) size: u64,
    pub(super) hash: Expected,
}

/// The files of a commit, by path.
pub(super) type Listing = BTreeMap<String, Entry>;

/// A repository of a hub.
pub(super) struct Hub {
    pub(super) http: Http,
    /// Without a slash at the end.
    endpoint: String,
    source: HubSource,
    pub(super) retries: u32,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
}

#[derive(Deserialize)]
struct TreeEntry {
    r#type: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Reads `--endpoint`.
pub(super) fn endpoint(text: &str) -> Result<Uri, FetchError> {
    let uri = text.trim_end_matches('/').parse::<Uri>().ok();
    let right = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    };
    uri.filter(right).ok_or_else(|| {
        FetchError::Flag(format!(
            "--endpoint (HF_ENDPOINT) {text:?}: expected an address such as https://huggingface.co"
        ))
    })
}

impl Hub {
    pub(super) fn new(http: Http, endpoint: &Uri, source: HubSource, retries: u32) -> Self {
        let endpoint = endpoint.to_string().trim_end_matches('/').to_owned();
        Self { http, endpoint, source, retries }
    }

    /// The commit that the revision is now.
    pub(super) async fn commit(&self, progress: &Progress) -> Result<String, FetchError> {
        let HubSource { repo, revision } = &self.source;
        let url = self.url(&format!("api/models/{repo}/revision/{}", escape(revision)))?;
        let (info, _): (Info, _) = self.json(&url, progress).await?;
        if !is_commit(&info.sha) || (self.source.is_pinned() && info.sha != *revision) {
            let problem = format!("it says that the commit is {:?}", info.sha);
            return Err(FetchError::NotAHub { url: url::shown(&url), problem });
        }
        Ok(info.sha)
    }

    /// Every file of a commit.
    pub(super) async fn listing(&self, commit: &str, progress: &Progress) -> Result<Listing, FetchError> {
        let repo = &self.source.repo;
        let mut url = self.url(&format!("api/models/{repo}/tree/{commit}?recursive=true"))?;
        let mut listing = Listing::new();
        for _ in 0..MOST_PAGES {
            let (page, next): (Vec<TreeEntry>, _) = self.json(&url, progress).await?;
            for entry in page.into_iter().filter(|entry| entry.r#type == "file") {
                let (path, entry) = checked(entry)?;
                listing.insert(path, entry);
            }
            let Some(next) = next else { return Ok(listing) };
            url = url::join(&url, &next).ok_or_else(|| FetchError::NotAHub {
                url: url::shown(&url),
                problem: format!("the next page is {next:?}"),
            })?;
        }
        Err(FetchError::NotAHub { url: url::shown(&url), problem: "the listing does not end".into() })
    }

    /// Where a file of a commit is.
    pub(super) fn file(&self, commit: &str, path: &str) -> Result<Uri, FetchError> {
        let path = path.split('/').map(escape).collect::<Vec<_>>().join("/");
        self.url(&format!("{}/resolve/{commit}/{path}", self.source.repo))
    }

    /// What a status that is no success means.
    pub(super) async fn failed(&self, answer: Answer) -> Failed {
        let HubSource { repo, revision } = self.source.clone();
        let (code, said) = (answer.header("x-error-code"), answer.header("x-error-message"));
        let with_token = self.http.has_token();
        let ours = url::shown(&answer.url).starts_with(&self.endpoint);
        let no_repository =
            FetchError::NoRepository { repo: repo.clone(), endpoint: self.endpoint.clone(), with_token };
        let error = match (answer.status, code) {
            (_, Some("GatedRepo")) => {
                let page = format!("{}/{repo}", self.endpoint);
                FetchError::Gated { repo, page, with_token }
            }
            (_, Some("RevisionNotFound")) => FetchError::NoRevision { repo, revision },
            (_, Some("RepoNotFound")) => no_repository,
            (StatusCode::UNAUTHORIZED, _)
                if said.is_some_and(|said| said.contains("Invalid credentials")) =>
            {
                FetchError::Token { page: format!("{}/settings/tokens", self.endpoint) }
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) if ours => no_repository,
            // Of what is not there, a hub says what it is.
            (StatusCode::NOT_FOUND, None) if ours => {
                FetchError::NotAHub { url: url::shown(&answer.url), problem: answer.status.to_string() }
            }
            _ => return answer.unexpected().await,
        };
        error.into()
    }

    fn url(&self, path: &str) -> Result<Uri, FetchError> {
        let url = format!("{}/{path}", self.endpoint);
        url.parse().map_err(|_| FetchError::Answer { url, problem: "is not an address".into() })
    }

    /// An answer as JSON, and the address of the next page.
    async fn json<T: DeserializeOwned>(
        &self,
        url: &Uri,
        progress: &Progress,
    ) -> Result<(T, Option<String>), FetchError> {
        let mut tries = Tries::new(self.retries);
        loop {
            match self.try_json(url).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => tries.wait(failed, progress).await?,
            }
        }
    }

    async fn try_json<T: DeserializeOwned>(&self, url: &Uri) -> Result<(T, Option<String>), Failed> {
        let mut answer = self.http.get(url, None).await?;
        if answer.status != StatusCode::OK {
            return Err(self.failed(answer).await);
        }
        let next = answer.header("link").and_then(next_page).map(str::to_owned);
        let text = answer.text(LARGEST_PAGE).await?;
        let value = serde_json::from_slice(&text).map_err(|e| FetchError::NotAHub {
            url: url::shown(&answer.url),
            problem: format!("its answer is not the expected JSON: {e}"),
        })?;
        Ok((value, next))
    }
}

/// Names and hashes come from elsewhere and become paths here.
fn checked(entry: TreeEntry) -> Result<(String, Entry), FetchError> {
    let TreeEntry { path, oid, size, lfs, .. } = entry;
    if !is_safe(&path) {
        return Err(FetchError::Path { path });
    }
    let (size, hash) = match lfs {
        Some(lfs) => (lfs.size, Expected::sha256(&lfs.oid)),
        None => (size, Expected::git(&oid)),
    };
    let hash = hash.ok_or_else(|| FetchError::Answer {
        url: path.clone(),
        problem: "the hub lists it with something that is not a hash".into(),
    })?;
    Ok((path, Entry { size, hash }))
}

/// A path that stays inside its folder on every system.
fn is_safe(path: &str) -> bool {
    path.len() <= 1000
        && !path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
        && path.split('/').all(|piece| !piece.is_empty() && piece != "." && piece != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside() {
        for path in
            ["model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors", "a/b/c d", ".gitattributes"]
        {
            assert!(is_safe(path), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/.",
            "a\\..\\b",
            "C:\\x",
            "a\nb",
            "a\0b",
            "a/",
        ] {
            assert!(!is_safe(path), "{path:?}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address() {
        assert_eq!(endpoint("https://huggingface.co/").unwrap(), "https://huggingface.co");
        assert!(endpoint("http://mirror.example:8080/hf/").is_ok());
        for text in ["huggingface.co", "ftp://a", "https://", "https://a?b", "", "https://a b"] {
            assert!(endpoint(text).unwrap_err().to_string().contains("HF_ENDPOINT"), "{text}");
        }
    }
}
