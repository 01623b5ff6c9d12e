//! `hf://organisation/name@revision`.

use std::fmt;

use super::FetchError;

/// A revision of a repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubSource {
    /// `organisation/name`.
    pub(super) repo: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
}

impl HubSource {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let text = text.trim();
        let wrong = |problem: &str| FetchError::Source { given: text.into(), problem: problem.into() };
        let rest =
            text.strip_prefix("hf://").ok_or_else(|| wrong("write hf://ORGANISATION/NAME@REVISION"))?;
        let (repo, revision) = match rest.split_once('@') {
            Some((_, "")) => return Err(wrong("there is no revision after the @; leave it out for main")),
            Some((repo, revision)) => (repo, revision),
            None => (rest, "main"),
        };
        match repo.split('/').collect::<Vec<_>>()[..] {
            [organisation, name] if is_name(organisation) && is_name(name) => {}
            [_, _] => {
                return Err(wrong("names have letters, digits, -, _ and . in them, and no . or - at an end"));
            }
            _ => return Err(wrong("a repository is ORGANISATION/NAME")),
        }
        if revision.len() > 250 || !revision.chars().all(|c| c.is_ascii_graphic()) || revision.contains("..")
        {
            return Err(wrong("a revision is a branch, a tag or a commit"));
        }
        Ok(Self { repo: repo.into(), revision: revision.into() })
    }

    /// Whether the revision cannot change.
    pub(super) fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for HubSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}@{}", self.repo, self.revision)
    }
}

fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=96).contains(&name.len())
        && name.chars().all(inside)
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("..")
}

/// A whole commit: 40 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_repository_and_a_revision() {
        for (text, repo, revision) in [
            ("hf://CompVis/stable-diffusion-v1-4", "CompVis/stable-diffusion-v1-4", "main"),
            (" hf://a/b.c_d@v1.0\n", "a/b.c_d", "v1.0"),
            ("hf://a/b@refs/pr/1", "a/b", "refs/pr/1"),
        ] {
            let source = HubSource::parse(text).unwrap();
            assert_eq!((source.repo.as_str(), source.revision.as_str()), (repo, revision), "{text}");
            assert_eq!(HubSource::parse(&source.to_string()).unwrap(), source);
        }
        assert!(HubSource::parse(&format!("hf://a/b@{}", "0a".repeat(20))).unwrap().is_pinned());
        for text in [
            "",
            "a/b",
            "https://huggingface.co/a/b",
            "hf://a",
            "hf://a/b/c",
            "hf://a/",
            "hf:///b",
            "hf://a/..",
            "hf://../b",
            "hf://a/b@",
            "hf://a/b@x y",
            "hf://a/b@../../x",
            "hf://a/b c",
            "hf://a/-b",
            "hf://a/b?x=1",
            "hf://a/b#1",
            "hf://a/é",
        ] {
            assert!(matches!(HubSource::parse(text), Err(FetchError::Source { .. })), "{text}");
        }
        for text in ["main", "0123456789abcdef", &"0A".repeat(20), &"0g".repeat(20)] {
            assert!(!is_commit(text));
        }
    }
}
