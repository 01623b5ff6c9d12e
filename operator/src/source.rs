//! `spec.model.source` and `spec.model.endpoint`, taken apart.

use std::fmt;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Inside the server's image.
    Bundled {
        /// Its name.
        name: String,
    },
    /// The Hugging Face hub, or a mirror of it.
    Hub {
        /// `org/repo`.
        repo: String,
        /// Branch, tag or commit; none for the hub's default.
        revision: Option<String>,
    },
    /// A folder on a PersistentVolumeClaim of the user's.
    Claim {
        /// Name of the claim.
        claim: String,
        /// Folder in it; none for its root.
        path: Option<String>,
    },
}

impl Source {
    /// Reads `bundled://emoji`, `hf://org/repo[@revision]` or `pvc://claim[/folder]`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(|c: char| c.is_control()) {
            return Err("it must not have control characters");
        }
        match text.split_once("://") {
            Some(("bundled", "emoji")) => Ok(Self::Bundled { name: "emoji".to_owned() }),
            Some(("bundled", _)) => Err("the only bundled model is bundled://emoji"),
            Some(("hf", rest)) => hub(rest).ok_or("give hf://org/repo or hf://org/repo@revision"),
            Some(("pvc", rest)) => {
                claim(rest).ok_or("give pvc://claim or pvc://claim/folder, without an empty or .. part")
            }
            _ => Err(
                "it must start with bundled://, hf:// or pvc://, for example hf://CompVis/stable-diffusion-v1-4",
            ),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled { name } => write!(f, "bundled://{name}"),
            Self::Hub { repo, revision: None } => write!(f, "hf://{repo}"),
            Self::Hub { repo, revision: Some(revision) } => write!(f, "hf://{repo}@{revision}"),
            Self::Claim { claim, path: None } => write!(f, "pvc://{claim}"),
            Self::Claim { claim, path: Some(path) } => write!(f, "pvc://{claim}/{path}"),
        }
    }
}

fn hub(rest: &str) -> Option<Source> {
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (rest, None),
    };
    let (org, name) = repo.split_once('/')?;
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (word(org, "._-") && word(name, "._-") && revision.is_none_or(|revision| word(revision, "._/-")))
        .then(|| Source::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
}

fn claim(rest: &str) -> Option<Source> {
    let (claim, path) = match rest.split_once('/') {
        Some((claim, path)) => (claim, Some(path)),
        None => (rest, None),
    };
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let named = claim.len() <= 253
        && claim.starts_with(end)
        && claim.ends_with(end)
        && claim.chars().all(|c| end(c) || c == '-' || c == '.');
    let inside =
        path.is_none_or(|path| path.split('/').all(|part| !part.is_empty() && !part.starts_with("..")));
    (named && inside).then(|| Source::Claim { claim: claim.to_owned(), path: path.map(str::to_owned) })
}

/// The server of a hub source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL, where one is given.
    pub url: Option<String>,
    /// TCP ports that fetching needs: the server's own, and 443, because large files are redirected to other servers.
    pub ports: Vec<u16>,
}

impl Endpoint {
    /// The hub itself.
    pub fn hub() -> Self {
        Self { url: None, ports: vec![443] }
    }

    /// Reads an http:// or https:// URL.
    pub fn parse(url: &str) -> Option<Self> {
        if url.contains(|c: char| c.is_control() || c == ' ') {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // An IPv6 address is in brackets and has colons of its own.
        let after_brackets = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let port = match after_brackets.rsplit_once(':') {
            Some((_, port)) => port.parse().ok().filter(|port| *port > 0)?,
            None => default,
        };
        if host.is_empty() || host.starts_with(':') {
            return None;
        }
        let mut ports = vec![port];
        if port != 443 {
            ports.push(443);
        }
        Some(Self { url: Some(url.to_owned()), ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written_back() {
        for text in [
            "bundled://emoji",
            "hf://CompVis/stable-diffusion-v1-4",
            "hf://org/repo@main",
            "hf://org/repo@refs/pr/1",
            "pvc://models",
            "pvc://models.v1/sd/v1-4",
            "pvc://models/with space/$HOME",
        ] {
            let source = Source::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_a_way_out() {
        for (text, fix) in [
            ("", "must start with"),
            ("emoji", "must start with"),
            ("s3://bucket", "must start with"),
            ("bundled://other", "only bundled"),
            ("hf://", "hf://org/repo"),
            ("hf://org", "hf://org/repo"),
            ("hf://org/repo/more", "hf://org/repo"),
            ("hf://org/repo@", "hf://org/repo"),
            ("hf://-org/repo", "hf://org/repo"),
            ("pvc://", "pvc://claim"),
            ("pvc://Models", "pvc://claim"),
            ("pvc://models/", "pvc://claim"),
            ("pvc://models//sd", "pvc://claim"),
            ("pvc://models/../other", "pvc://claim"),
            ("pvc://models/a\nb", "control"),
        ] {
            let error = Source::parse(text).expect_err(text);
            assert!(error.contains(fix), "{text}: {error}");
        }
    }

    #[test]
    fn the_ports_of_an_endpoint() {
        for (url, ports) in [
            ("https://hub.example.com", &[443][..]),
            ("https://hub.example.com/path:8/x", &[443]),
            ("http://hub.example.com", &[80, 443]),
            ("http://hub.models.svc:8080/", &[8080, 443]),
            ("https://user:pw@hub.example.com:8443", &[8443, 443]),
            ("http://[fd00::1]:9000", &[9000, 443]),
            ("http://[fd00::1]", &[80, 443]),
        ] {
            assert_eq!(Endpoint::parse(url).map(|e| e.ports).as_deref(), Some(ports), "{url}");
        }
        for url in [
            "",
            "hub.example.com",
            "ftp://x",
            "http://",
            "http://:80",
            "http://x:0",
            "http://x:port",
            "http://a b",
        ] {
            assert_eq!(Endpoint::parse(url), None, "{url}");
        }
    }
}
