//! One file: gone on with where it ended, tried again when it breaks, checked as it comes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hyper::{StatusCode, Uri};

use super::FetchError;
use super::hash::{Hasher, Hashes};
use super::http::Answer;
use super::hub::{Entry, Hub};
use super::plan::Wanted;
use super::progress::Progress;
use super::retry::{Failed, Tries};
use super::url::shown;

/// What is there of a file.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    entry: Entry,
    hasher: Hasher,
    length: u64,
    /// Some of it is from an earlier run: if the contents are wrong, it is that part's fault.
    resumed: bool,
}

impl Partial {
    /// Opens it, and hashes what is there. More than there should be is thrown away.
    fn open(path: &Path, entry: &Entry) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut hasher = Hasher::new(entry.size, &entry.hash);
        let length = if file.metadata()?.len() <= entry.size { hasher.read(&mut file)? } else { 0 };
        let mut partial =
            Self { path: path.into(), file, entry: entry.clone(), hasher, length, resumed: length > 0 };
        if length == 0 {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::new(self.entry.size, &self.entry.hash);
        (self.length, self.resumed) = (0, false);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Fetches a file into `path` and gives its hashes.
pub(super) async fn fetch(
    hub: &Hub,
    url: &Uri,
    commit: &str,
    wanted: &Wanted,
    path: &Path,
    progress: &Progress,
) -> Result<Hashes, FetchError> {
    let file_error = FetchError::file(path);
    let (opened, entry) = (path.to_owned(), wanted.entry.clone());
    let open = tokio::task::spawn_blocking(move || Partial::open(&opened, &entry));
    let mut partial = open.await.map_err(|e| file_error(io::Error::other(e)))?.map_err(&file_error)?;
    progress.came(partial.length);
    let mut tries = Tries::new(hub.retries);
    loop {
        if partial.length == wanted.entry.size {
            let hashes = partial.hasher.clone().finish();
            let Err(found) = hashes.check(&wanted.entry.hash) else {
                partial.file.sync_all().map_err(&file_error)?;
                return Ok(hashes);
            };
            progress.lost(partial.length);
            if !partial.resumed {
                fs::remove_file(&partial.path).map_err(&file_error)?;
                let (kind, expected) = (wanted.entry.hash.kind(), wanted.entry.hash.hex().to_owned());
                let found = found.to_owned();
                return Err(FetchError::Hash { path: wanted.path.clone(), kind, wanted: expected, found });
            }
            progress.message(&format!("{}: what was there is damaged; starting it again", wanted.path));
            partial.restart().map_err(&file_error)?;
        }
        let before = partial.length;
        let result = attempt(hub, url, commit, wanted, &mut partial, progress).await;
        if partial.length > before {
            tries.progressed();
        }
        if let Err(failed) = result {
            tries.wait(failed, progress).await?;
        }
    }
}

/// One request for what is missing.
async fn attempt(
    hub: &Hub,
    url: &Uri,
    commit: &str,
    wanted: &Wanted,
    partial: &mut Partial,
    progress: &Progress,
) -> Result<(), Failed> {
    let size = wanted.entry.size;
    let from = (partial.length > 0).then_some(partial.length);
    let path = partial.path.clone();
    let file_error = FetchError::file(&path);
    let mut answer = hub.http.get(url, from).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::PARTIAL_CONTENT if range(&answer) == Some((partial.length, size)) => {}
        // Whatever is there does not fit what is at the other end, or the other end is confused.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            progress.lost(partial.length);
            partial.restart().map_err(&file_error)?;
            let problem = format!("{}: {} to a part of the file", shown(&answer.url), answer.status);
            return Err(Failed::again(problem));
        }
        _ => return Err(hub.failed(answer).await),
    }
    check_promise(&answer, commit, wanted)?;
    if answer.status == StatusCode::OK && partial.length > 0 {
        // All of it comes again.
        progress.lost(partial.length);
        partial.restart().map_err(&file_error)?;
    }
    while let Some(piece) = answer.piece().await? {
        if partial.length + piece.len() as u64 > size {
            progress.lost(partial.length);
            fs::remove_file(&partial.path).map_err(&file_error)?;
            let problem = format!("more came than the {size} bytes that are listed; the file was deleted");
            return Err(FetchError::Answer { url: shown(&answer.url), problem }.into());
        }
        partial.append(&piece).map_err(&file_error)?;
        progress.came(piece.len() as u64);
    }
    if partial.length < size {
        let problem =
            format!("{}: the answer ended after {} of {size} bytes", shown(&answer.url), partial.length);
        return Err(Failed::again(problem));
    }
    Ok(())
}

/// First byte and size of the whole file, from `Content-Range: bytes 5-9/10`.
fn range(answer: &Answer) -> Option<(u64, u64)> {
    let (range, size) = answer.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()?))
}

/// What the hub says about the file must be what it listed.
fn check_promise(answer: &Answer, commit: &str, wanted: &Wanted) -> Result<(), FetchError> {
    let header = |name: &str| {
        let first = answer.first.as_ref().and_then(|headers| headers.get(name)?.to_str().ok());
        first.or_else(|| answer.header(name))
    };
    let differs = |what: &str, found: &str, listed: &str| {
        let problem =
            format!("the hub says that {what} is {found}, but it listed {listed}; run this again later");
        Err(FetchError::Answer { url: wanted.path.clone(), problem })
    };
    if let Some(found) = header("x-repo-commit").filter(|found| *found != commit) {
        return differs("the commit", found, commit);
    }
    let size = wanted.entry.size.to_string();
    if let Some(found) = header("x-linked-size").filter(|found| *found != size) {
        return differs("the size", found, &size);
    }
    let etag = header("x-linked-etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    if let Some(found) = etag.filter(|found| *found != wanted.entry.hash.hex()) {
        return differs("the hash", found, wanted.entry.hash.hex());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::hash::Expected;

    #[test]
    fn a_partial_file_is_gone_on_with_and_a_longer_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unet/.x.partial");
        // `printf 'hello\n' | git hash-object --stdin`
        let hash = Expected::git("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let entry = Entry { size: 6, hash };
        let mut partial = Partial::open(&path, &entry).unwrap();
        partial.append(b"hel").unwrap();
        drop(partial);
        let mut partial = Partial::open(&path, &entry).unwrap();
        assert_eq!((partial.length, partial.resumed), (3, true));
        partial.append(b"lo\n").unwrap();
        assert!(partial.hasher.clone().finish().check(&entry.hash).is_ok());
        fs::write(&path, "hello\nworld").unwrap();
        let partial = Partial::open(&path, &entry).unwrap();
        assert_eq!((partial.length, partial.resumed), (0, false));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
