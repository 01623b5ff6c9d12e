//! The one Exif tag that image tools read parameters from: `UserComment` (Exif 2.32, section 4.6.5).

const EXIF_IFD: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const LONG: u16 = 4;
const UNDEFINED: u16 = 7;

/// A big-endian TIFF block with nothing but a user comment in UTF-16.
pub(super) fn user_comment(text: &str) -> Vec<u8> {
    let mut comment = b"UNICODE\0".to_vec();
    comment.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
    // Header (8 bytes), then two directories of one entry each (2 + 12 + 4 bytes), then the comment.
    let (first, second, data) = (8u32, 26u32, 44u32);
    let length = u32::try_from(comment.len()).unwrap_or(u32::MAX);

    let mut block = b"MM\0*".to_vec();
    block.extend(first.to_be_bytes());
    block.extend(directory(EXIF_IFD, LONG, 1, second));
    block.extend(directory(USER_COMMENT, UNDEFINED, length, data));
    block.append(&mut comment);
    block
}

/// An image file directory of one entry, and no next one.
fn directory(tag: u16, kind: u16, count: u32, value: u32) -> Vec<u8> {
    let mut bytes = 1u16.to_be_bytes().to_vec();
    bytes.extend(tag.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend(value.to_be_bytes());
    bytes.extend(0u32.to_be_bytes());
    bytes
}
