//! The checkpoint that is compiled in.

/// Path inside the checkpoint and contents.
pub(super) type Files = &'static [(&'static str, &'static [u8])];

/// `bundled://emoji`; empty when the crate is built without its `bundled` feature.
const EMOJI: Files = include!(concat!(env!("OUT_DIR"), "/bundled_emoji.rs"));

/// The names after `bundled://` that this build knows.
pub(super) fn names() -> &'static [&'static str] {
    if EMOJI.is_empty() { &[] } else { &["emoji"] }
}

pub(super) fn find(name: &str) -> Option<Files> {
    (name == "emoji" && !EMOJI.is_empty()).then_some(EMOJI)
}
