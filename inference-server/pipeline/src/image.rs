//! Pixels, and the files that carry them.

use crate::Error;

/// A file format for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Lossless, with the parameters in a text chunk.
    Png,
    /// Lossy, quality 90.
    Jpeg,
    /// Lossless.
    WebP,
}

impl ImageFormat {
    /// The media type, as in `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// 8 bits a channel, rounded as diffusers does.
    pub pixels: image::RgbImage,
}

impl Picture {
    /// Encodes the picture. `parameters` is the text that AUTOMATIC1111-style tools read back (see
    /// [`crate::Request::describe`]); `None` leaves it out.
    ///
    /// # Errors
    /// When the encoder refuses, which the sizes that a pipeline draws do not cause.
    pub fn encode(&self, format: ImageFormat, parameters: Option<&str>) -> Result<Vec<u8>, Error> {
        let _ = (format, parameters);
        unimplemented!()
    }
}
