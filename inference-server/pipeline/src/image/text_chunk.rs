//! The PNG text chunk `parameters`.

use std::io::Write;

/// The keyword that AUTOMATIC1111's web UI and the tools around it look for.
const KEYWORD: &str = "parameters";

/// Adds `tEXt` when Latin-1 can carry the text and `iTXt` otherwise, as those tools do.
pub(super) fn add<W: Write>(encoder: &mut png::Encoder<'_, W>, text: &str) -> Result<(), png::EncodingError> {
    if text.chars().all(|c| u32::from(c) < 256) {
        encoder.add_text_chunk(KEYWORD.into(), text.into())
    } else {
        encoder.add_itxt_chunk(KEYWORD.into(), text.into())
    }
}
