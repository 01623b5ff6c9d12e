//! Keys of the API: a file with one a line, read again as it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;

/// How often the file is looked at. A Secret takes the kubelet a minute to bring, so this adds little.
const INTERVAL: Duration = Duration::from_secs(2);
/// Keys are short, and a file of this size is something else.
const LARGEST_FILE: u64 = 1 << 20;

/// The keys that are good now. Their hashes are kept: they all have one length, and so take the same time to compare.
pub struct Keys {
    path: PathBuf,
    hashes: RwLock<Vec<[u8; 32]>>,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// When there is no key in it, or something that is none.
    pub fn read(path: &Path) -> Result<Arc<Self>, String> {
        let hashes = read(path)?;
        Ok(Arc::new(Self { path: path.into(), hashes: RwLock::new(hashes) }))
    }

    /// Reads the file again and again, for as long as somebody has the keys. What cannot be used changes nothing.
    pub async fn follow(self: Arc<Self>) {
        let keys = Arc::downgrade(&self);
        drop(self);
        let mut told = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(keys) = keys.upgrade() else { return };
            match read(&keys.path) {
                Ok(hashes) => {
                    told = None;
                    keys.replace(hashes);
                }
                Err(problem) => {
                    // Once, not every two seconds.
                    if told.as_ref() != Some(&problem) {
                        tracing::error!(problem, "the API keys cannot be read again; the last ones stay");
                    }
                    told = Some(problem);
                }
            }
        }
    }

    fn replace(&self, hashes: Vec<[u8; 32]>) {
        let mut current = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        if *current != hashes {
            tracing::info!(keys = hashes.len(), "the API keys have changed");
            *current = hashes;
        }
    }

    /// Lets a request with a key pass.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let given = headers.get(AUTHORIZATION).ok_or_else(Problem::no_key)?;
        let (scheme, key) = given.to_str().ok().and_then(|given| given.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::no_key());
        }
        let given = hash(key.trim());
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        // All of them, so that the time does not tell which one it was.
        let known = hashes.iter().fold(Choice::from(0), |known, hash| known | hash.ct_eq(&given));
        if known.into() { Ok(()) } else { Err(Problem::wrong_key()) }
    }
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, String> {
    let wrong = |problem: String| format!("--api-keys-file {}: {problem}", path.display());
    let metadata = fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
    if metadata.len() > LARGEST_FILE {
        return Err(wrong(format!("more than {LARGEST_FILE} bytes are not a list of keys")));
    }
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let mut hashes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let key = line.trim();
        if key.is_empty() || key.starts_with('#') {
            continue;
        }
        if !key.chars().all(|c| c.is_ascii_graphic()) {
            let problem =
                format!("line {}: a key has letters, digits and signs of ASCII, and no spaces", index + 1);
            return Err(wrong(problem));
        }
        hashes.push(hash(key));
    }
    if hashes.is_empty() {
        return Err(wrong("there is no key in it; write one a line".into()));
    }
    Ok(hashes)
}

fn hash(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Arc<Keys>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, text).unwrap();
        Keys::read(&path)
    }

    fn status(keys: &Keys, header: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        keys.check(&headers).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn one_key_a_line() {
        let keys = keys("# of the web shop\n  first-key\r\n\n#off\nsecond/+=key").unwrap();
        for header in ["Bearer first-key", "bearer second/+=key", "BEARER  first-key "] {
            assert_eq!(status(&keys, Some(header)), 200, "{header}");
        }
        for header in [
            None,
            Some(""),
            Some("first-key"),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer first"),
            Some("Bearer first-keys"),
            Some("Bearer #off"),
            Some("Bearer off"),
            Some("Basic first-key"),
            Some("Bearer first-key second/+=key"),
        ] {
            assert_eq!(status(&keys, header), 401, "{header:?}");
        }
    }

    #[test]
    fn a_file_without_keys_is_an_error() {
        for (text, words) in [
            ("", "no key in it"),
            ("\n# nothing\n", "no key in it"),
            ("a\nb c\n", "line 2"),
            ("schlüssel", "line 1"),
        ] {
            let problem = keys(text).err().unwrap();
            assert!(problem.starts_with("--api-keys-file") && problem.contains(words), "{problem}");
        }
        assert!(Keys::read(Path::new("/nowhere/keys")).err().unwrap().contains("/nowhere/keys"));
        assert!(keys(&"x\n".repeat(600_000)).err().unwrap().contains("not a list of keys"));
    }
}
