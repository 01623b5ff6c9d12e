//! `.diffusion-fetch.json`: what a folder holds, written when it is complete.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name of the file.
pub(super) const MARKER: &str = ".diffusion-fetch.json";

/// A complete set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// `hf://organisation/name@revision`, as it was asked for.
    pub source: String,
    /// The commit.
    pub revision: String,
    /// Which weights were preferred: empty for the full ones, else `fp16` or `bf16`.
    pub variant: String,
    /// The files.
    pub files: Vec<MarkedFile>,
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedFile {
    /// Path in the folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Marker {
    /// Reads a folder's marker; nothing when there is none, or none that we understand.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        Self::read_file(&folder.join(MARKER))
    }

    pub(super) fn read_file(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether every file is there with its size.
    pub(super) fn is_whole(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| {
            fs::metadata(folder.join(&file.path))
                .is_ok_and(|found| found.is_file() && found.len() == file.size)
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}
