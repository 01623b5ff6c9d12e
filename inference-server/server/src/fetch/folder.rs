//! The folder that a model goes into: one download at a time, and a whole set or none.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FetchError;
use super::marker::{MARKER, Marker};
use super::plan::Wanted;
use super::progress::Progress;

const LOCK: &str = ".diffusion-fetch.lock";
/// The marker of the set that is being replaced, while it is.
const REPLACED: &str = ".diffusion-fetch.replaced.json";
const PARTIAL: &str = ".partial";

/// How often a lock that somebody else has is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Folder {
    pub(super) root: PathBuf,
}

impl Folder {
    /// The complete set that is there.
    pub(super) fn marker(&self) -> Result<Option<Marker>, FetchError> {
        let path = self.root.join(MARKER);
        Ok(Marker::read_file(&path)
            .map_err(FetchError::file(&path))?
            .filter(|marker| marker.is_whole(&self.root)))
    }

    /// Makes the folder and waits until nobody else downloads into it. The lock ends with the file.
    pub(super) async fn lock(&self, progress: &Progress) -> Result<File, FetchError> {
        fs::create_dir_all(&self.root).map_err(FetchError::file(&self.root))?;
        let path = self.root.join(LOCK);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(FetchError::file(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        let folder = self.root.display();
                        progress
                            .message(&format!("another download into {folder} is running; waiting for it"));
                    }
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Err(TryLockError::Error(error)) => {
                    // Some network file systems have no locks.
                    progress.message(&format!("{}: no lock ({error}); going on without one", path.display()));
                    return Ok(file);
                }
            }
        }
    }

    /// Where a file is until the set is whole. The contents are in the name: what is there can be gone on with, whatever
    /// revision it was begun for.
    pub(super) fn partial(&self, wanted: &Wanted) -> PathBuf {
        let path = self.root.join(&wanted.path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hash = wanted.entry.hash.hex();
        path.with_file_name(format!(".{name}.{}{PARTIAL}", hash.get(..16).unwrap_or(hash)))
    }

    /// Bytes that can be written.
    pub(super) fn available(&self) -> Result<u64, FetchError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|e| FetchError::file(&self.root)(e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Puts the downloaded files in their places, removes those of the set before, and writes the marker. If it is
    /// interrupted, there is no marker, and the next run does the rest.
    pub(super) fn install(&self, fetched: &[Wanted], marker: &Marker) -> Result<(), FetchError> {
        self.retire()?;
        for wanted in fetched {
            let (from, to) = (self.partial(wanted), self.root.join(&wanted.path));
            fs::rename(&from, &to).map_err(FetchError::file(&to))?;
        }
        let keep: BTreeSet<_> = marker.files.iter().map(|file| file.path.as_str()).collect();
        self.sweep(&keep)?;
        let folders: BTreeSet<_> = marker.files.iter().map(|file| self.parent(&file.path)).collect();
        for folder in folders {
            sync(&folder)?;
        }
        let path = self.root.join(MARKER);
        let text = serde_json::to_vec_pretty(marker).map_err(|e| FetchError::file(&path)(e.into()))?;
        write(&path, &text).map_err(FetchError::file(&path))?;
        sync(&self.root)
    }

    /// The folder no longer holds a complete set. What it held is remembered until it is removed.
    fn retire(&self) -> Result<(), FetchError> {
        let (from, to) = (self.root.join(MARKER), self.root.join(REPLACED));
        match fs::rename(&from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FetchError::file(&from)(e)),
            _ => Ok(()),
        }
    }

    /// Removes the set that is there but for `keep`, for room.
    pub(super) fn clear(&self, keep: &BTreeSet<&str>) -> Result<(), FetchError> {
        self.retire()?;
        self.sweep(keep)
    }

    /// Removes files of the set before that are not in `keep`.
    fn sweep(&self, keep: &BTreeSet<&str>) -> Result<(), FetchError> {
        let replaced = self.root.join(REPLACED);
        let old = Marker::read_file(&replaced).map_err(FetchError::file(&replaced))?;
        for file in old.iter().flat_map(|old| &old.files) {
            // The marker may have been written by anybody.
            let inside = !file.path.split('/').any(|piece| piece.is_empty() || piece == "..");
            if inside && !keep.contains(file.path.as_str()) {
                remove(&self.root.join(&file.path))?;
                // Only if it is empty.
                let _ = fs::remove_dir(self.parent(&file.path));
            }
        }
        remove(&replaced)
    }

    /// Removes partial files that are not among `wanted`: leftovers of another revision.
    pub(super) fn forget_partials(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let keep: BTreeSet<_> = wanted.iter().map(|wanted| self.partial(wanted)).collect();
        let folders: BTreeSet<_> = wanted.iter().map(|wanted| self.parent(&wanted.path)).collect();
        for folder in folders {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with('.') && name.ends_with(PARTIAL) && !keep.contains(&path) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Files that are known to be ours: those of a set that is there or was being replaced.
    pub(super) fn ours(&self) -> BTreeSet<String> {
        let markers = [MARKER, REPLACED].map(|name| Marker::read_file(&self.root.join(name)).ok().flatten());
        markers.into_iter().flatten().flat_map(|marker| marker.files).map(|file| file.path).collect()
    }

    fn parent(&self, path: &str) -> PathBuf {
        self.root.join(path).parent().map_or_else(|| self.root.clone(), Path::to_owned)
    }
}

fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FetchError::file(path)(e)),
        _ => Ok(()),
    }
}

/// A new name is only sure after its folder is written.
fn sync(folder: &Path) -> Result<(), FetchError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FetchError::file(folder))
}

/// All of it or nothing.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
