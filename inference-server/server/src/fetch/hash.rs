//! What the contents of a file must be.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The hash that the hub lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// Of a file in LFS.
    Sha256(String),
    /// git's name of a file that is kept in git.
    Git(String),
}

impl Expected {
    pub(super) fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.into()))
    }

    pub(super) fn git(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::Git(hex.into()))
    }

    /// In hexadecimal digits.
    pub(super) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// What it is called.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Git(_) => "git blob hash",
        }
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Hashes of contents that come piece by piece.
#[derive(Clone)]
pub(super) struct Hasher {
    sha256: Context,
    /// Only for files in git: it is slow, and large ones are not there.
    git: Option<Context>,
}

/// Hashes of whole contents.
pub(super) struct Hashes {
    pub(super) sha256: String,
    git: Option<String>,
}

impl Hasher {
    /// For contents of `size` bytes, which are part of git's hash.
    pub(super) fn new(size: u64, expected: &Expected) -> Self {
        let git = matches!(expected, Expected::Git(_)).then(|| {
            let mut git = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            git.update(format!("blob {size}\0").as_bytes());
            git
        });
        Self { sha256: Context::new(&SHA256), git }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Hashes {
        Hashes { sha256: hex(self.sha256), git: self.git.map(hex) }
    }

    /// Takes in what a file has, up to its end.
    pub(super) fn read(&mut self, file: &mut File) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(length) };
            self.update(bytes);
            length += read as u64;
        }
    }
}

impl Hashes {
    /// The one that was expected, or what it is instead.
    pub(super) fn check(&self, expected: &Expected) -> Result<(), &str> {
        let found = match expected {
            Expected::Sha256(_) => &self.sha256,
            Expected::Git(_) => self.git.as_deref().unwrap_or("none"),
        };
        if found == expected.hex() { Ok(()) } else { Err(found) }
    }
}

/// The hashes of a file of this size; nothing when it has another or is not there.
pub(super) fn of_file(path: &Path, size: u64, expected: &Expected) -> io::Result<Option<Hashes>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if !file.metadata()?.is_file() || file.metadata()?.len() != size {
        return Ok(None);
    }
    let mut hasher = Hasher::new(size, expected);
    hasher.read(&mut file)?;
    Ok(Some(hasher.finish()))
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_lfs_and_git() {
        // `printf 'hello\n' | git hash-object --stdin`, and `| sha256sum`
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for expected in [Expected::git(git).unwrap(), Expected::sha256(sha256).unwrap()] {
            let mut hasher = Hasher::new(6, &expected);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            let hashes = hasher.finish();
            assert_eq!(hashes.check(&expected), Ok(()));
            assert_eq!(hashes.sha256, sha256);
        }
        let hashes = Hashes { sha256: sha256.into(), git: None };
        assert_eq!(hashes.check(&Expected::sha256(&"0".repeat(64)).unwrap()), Err(sha256));
        for wrong in ["", "xyz", &sha256[1..], &sha256.to_uppercase(), git] {
            assert_eq!(Expected::sha256(wrong), None);
        }
    }
}
