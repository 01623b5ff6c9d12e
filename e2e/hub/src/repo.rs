//! A folder read as a repository: its files, what git and LFS would call them, and its commit.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Files from this size on are kept in LFS, smaller ones in git (the hub's own limit).
const LFS_FROM: u64 = 10 << 20;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Path in the repository.
    pub(crate) path: String,
    /// Where it is here.
    pub(crate) file: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// What git calls it.
    pub(crate) sha1: String,
    /// What LFS calls it; nothing for files that are kept in git.
    pub(crate) sha256: Option<String>,
}

/// One revision of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Made from the contents: other contents, another commit.
    pub(crate) commit: String,
    /// By path.
    pub(crate) blobs: Vec<Blob>,
}

/// Hashes of files that were read before, by path, size and time of change.
#[derive(Default)]
pub(crate) struct Cache(HashMap<(PathBuf, u64, SystemTime), (String, Option<String>)>);

impl Cache {
    /// Reads a folder. Files whose names begin with a dot are not part of it.
    pub(crate) fn read(&mut self, root: &Path) -> io::Result<Revision> {
        let mut files = Vec::new();
        list(root, &mut files)?;
        files.sort();
        let mut blobs = Vec::with_capacity(files.len());
        for file in files {
            let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            blobs.push(self.blob(path, file)?);
        }
        let mut commit = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        for blob in &blobs {
            commit.update(format!("{} {}\n", blob.sha1, blob.path).as_bytes());
        }
        Ok(Revision { commit: hex(commit), blobs })
    }

    fn blob(&mut self, path: String, file: PathBuf) -> io::Result<Blob> {
        let metadata = fs::metadata(&file)?;
        let (size, changed) = (metadata.len(), metadata.modified()?);
        let key = (file.clone(), size, changed);
        let (sha1, sha256) = match self.0.get(&key) {
            Some(known) => known.clone(),
            None => {
                let lfs = size >= LFS_FROM || path.ends_with(".safetensors") || path.ends_with(".bin");
                let hashes = hash(&file, size, lfs)?;
                self.0.insert(key, hashes.clone());
                hashes
            }
        };
        Ok(Blob { path, file, size, sha1, sha256 })
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// What git hashes of a file is `blob`, its size, and the contents; of one in LFS, a pointer.
fn hash(file: &Path, size: u64, lfs: bool) -> io::Result<(String, Option<String>)> {
    let mut git = git_context(size);
    let mut sha256 = Context::new(&SHA256);
    let mut opened = File::open(file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = opened.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        git.update(bytes);
        sha256.update(bytes);
    }
    if !lfs {
        return Ok((hex(git), None));
    }
    let sha256 = hex(sha256);
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
        .into_bytes();
    let mut git = git_context(pointer.len() as u64);
    git.update(&pointer);
    Ok((hex(git), Some(sha256)))
}

fn git_context(size: u64) -> Context {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {size}\0").as_bytes());
    context
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_git_and_lfs() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("unet")).unwrap();
        fs::write(folder.path().join("a.txt"), "hello\n").unwrap();
        fs::write(folder.path().join("unet/x.safetensors"), "abc").unwrap();
        fs::write(folder.path().join(".hidden"), "abc").unwrap();
        let mut cache = Cache::default();
        let revision = cache.read(folder.path()).unwrap();
        let [small, large] = &revision.blobs[..] else { panic!("{revision:?}") };
        // `printf 'hello\n' | git hash-object --stdin`
        assert_eq!((small.path.as_str(), small.size), ("a.txt", 6));
        assert_eq!(small.sha1, "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(small.sha256, None);
        assert_eq!(large.path, "unet/x.safetensors");
        // `printf abc | sha256sum`
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(large.sha256.as_deref(), Some(abc));
        assert_eq!(cache.read(folder.path()).unwrap(), revision);
        fs::write(folder.path().join("a.txt"), "hello!\n").unwrap();
        assert_ne!(cache.read(folder.path()).unwrap().commit, revision.commit);
    }
}
