//! What can go wrong with a download, said so that a person knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use diffusion_pipeline::LoadError;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source is not one of the hub.
    #[error("source {given:?}: {problem}")]
    Source {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A flag that cannot be used.
    #[error("{0}")]
    Flag(String),
    /// The licence has not been accepted.
    #[error("{repo} is gated: {}, then run this again", if *.with_token {
        format!("the token's account has no access to it; open {page} with that account, accept the licence, and let \
                 the token read gated repositories")
    } else {
        format!("accept its licence at {page} and give a token of that account (HF_TOKEN)")
    })]
    Gated {
        /// The repository.
        repo: String,
        /// Its page.
        page: String,
        /// Whether a token was given.
        with_token: bool,
    },
    /// The token is none.
    #[error(
        "the hub does not know the token: it is mistyped, has expired or was revoked; make a new one at {page}"
    )]
    Token {
        /// Where tokens are made.
        page: String,
    },
    /// No such repository, or not for us.
    #[error("there is no {repo} at {endpoint}, or it is private: check the name, and {}", if *.with_token {
        "that the token's account may read it"
    } else {
        "give a token (HF_TOKEN) if it is private"
    })]
    NoRepository {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was given.
        with_token: bool,
    },
    /// No such branch, tag or commit.
    #[error(
        "{repo} has no revision {revision:?}: name a branch, a tag or a whole commit, or leave it out for main"
    )]
    NoRevision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// What answers is not a hub.
    #[error("{url} does not answer as a hub does ({problem}): is --endpoint (HF_ENDPOINT) right?")]
    NotAHub {
        /// What was asked for.
        url: String,
        /// What came.
        problem: String,
    },
    /// An answer that more tries will not change.
    #[error("{url}: {problem}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What came.
        problem: String,
    },
    /// The tries are used up.
    #[error("{problem}; given up after {tries} tries. What is there is kept, the next run goes on from it")]
    GivenUp {
        /// What happened the last time.
        problem: String,
        /// How often.
        tries: u32,
    },
    /// The repository is not a model that we can load.
    #[error("{given}: {problem}")]
    Layout {
        /// The source.
        given: String,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The model is of another kind.
    #[error("{0}")]
    Model(#[from] LoadError),
    /// A name that leads out of the folder.
    #[error("the repository lists {path:?}, which is not a path inside it; nothing of it is fetched")]
    Path {
        /// The name.
        path: String,
    },
    /// The contents are not those that were listed.
    #[error(
        "{path}: the contents do not have the {kind} that the hub lists ({wanted}, not {found}); the file was \
             deleted. Run this again; if that does not help, something between here and the hub changes files"
    )]
    Hash {
        /// The file.
        path: String,
        /// SHA-256, or git's name.
        kind: &'static str,
        /// As listed.
        wanted: String,
        /// As downloaded.
        found: String,
    },
    /// The disk is too small.
    #[error("{} has {} free, and {} more are needed: make the volume larger", folder.display(), size(*available),
            size(*needed))]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes to download.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// The disk filled up.
    #[error("{}: no space is left; make the volume larger and run this again, it goes on from here", .0.display())]
    Full(PathBuf),
    /// The folder has weights that would be loaded instead.
    #[error("{} is there already and would be loaded instead of the model; empty the folder or take another",
            .0.display())]
    Foreign(PathBuf),
    /// A file or folder of this machine.
    #[error("{}: {source}{}", path.display(), hint(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A signal.
    #[error("stopped by {0}; what is there is kept, the next run goes on from it")]
    Stopped(&'static str),
}

impl FetchError {
    /// An error of the file system.
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.into()),
            _ => Self::File { path: path.into(), source },
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (this process must be allowed to write there; in a pod, securityContext.fsGroup gives it a volume)"
        }
        io::ErrorKind::ReadOnlyFilesystem => " (mount the volume writable for the download)",
        _ => "",
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (4_265_000_000, "4.3 GB"),
            (123_456_789, "123 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_full_disk_and_a_closed_folder_say_what_to_do() {
        let path = Path::new("/models/unet");
        let error = |kind: io::ErrorKind| FetchError::file(path)(kind.into()).to_string();
        for (kind, words) in [
            (io::ErrorKind::StorageFull, "make the volume larger"),
            (io::ErrorKind::QuotaExceeded, "make the volume larger"),
            (io::ErrorKind::PermissionDenied, "fsGroup"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount the volume writable"),
        ] {
            let text = error(kind);
            assert!(text.starts_with("/models/unet") && text.contains(words), "{text}");
        }
    }
}
