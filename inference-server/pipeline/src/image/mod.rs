//! Pixels, and the files that carry them.

mod exif;
mod pixels;
mod text_chunk;

use std::io::Cursor;

use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::webp::WebPEncoder;
use ::image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::Error;
pub use pixels::resize;
pub(crate) use pixels::{from_tensor, to_tensor};

/// JPEG quality: high enough that nobody sees the loss, a tenth of the PNG's size.
const JPEG_QUALITY: u8 = 92;

/// A file format for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Lossless; the parameters are in a text chunk.
    Png,
    /// Lossy, quality 92; the parameters are in the Exif user comment.
    Jpeg,
    /// Lossless; the parameters are in the Exif user comment.
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

    /// The format that a file name's ending asks for.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// 8 bits a channel, rounded as diffusers does.
    pub pixels: RgbImage,
}

impl Picture {
    /// Encodes the picture. `parameters` is the text that AUTOMATIC1111-style tools read back (see
    /// [`crate::Request::describe`]); `None` leaves it out.
    ///
    /// # Errors
    /// When the encoder refuses, which the sizes that a pipeline draws do not cause.
    pub fn encode(&self, format: ImageFormat, parameters: Option<&str>) -> Result<Vec<u8>, Error> {
        let wrong = |e: &dyn std::fmt::Display| Error::Encode(e.to_string());
        let mut out = Vec::new();
        let exif = parameters.map(exif::user_comment);
        match format {
            ImageFormat::Png => self.png(&mut out, parameters).map_err(|e| wrong(&e))?,
            ImageFormat::Jpeg => {
                let mut encoder = JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
                // An Exif segment holds 64 KiB; a longer text is not worth failing for.
                if let Some(exif) = exif.filter(|exif| exif.len() < 65_000) {
                    encoder.set_exif_metadata(exif).map_err(|e| wrong(&e))?;
                }
                self.write(encoder).map_err(|e| wrong(&e))?;
            }
            ImageFormat::WebP => {
                let mut encoder = WebPEncoder::new_lossless(Cursor::new(&mut out));
                if let Some(exif) = exif {
                    encoder.set_exif_metadata(exif).map_err(|e| wrong(&e))?;
                }
                self.write(encoder).map_err(|e| wrong(&e))?;
            }
        }
        Ok(out)
    }

    fn write(&self, encoder: impl ImageEncoder) -> ::image::ImageResult<()> {
        let (width, height) = self.pixels.dimensions();
        encoder.write_image(&self.pixels, width, height, ExtendedColorType::Rgb8)
    }

    fn png(&self, out: &mut Vec<u8>, parameters: Option<&str>) -> Result<(), png::EncodingError> {
        let (width, height) = self.pixels.dimensions();
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if let Some(text) = parameters {
            text_chunk::add(&mut encoder, text)?;
        }
        encoder.write_header()?.write_image_data(&self.pixels)
    }
}

#[cfg(test)]
mod tests {
    use ::image::ImageDecoder;

    use super::*;

    fn picture() -> Picture {
        let paint = |x: u32, y: u32| ::image::Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]);
        Picture { pixels: RgbImage::from_fn(24, 16, paint) }
    }

    #[test]
    fn lossless_formats_come_back_exactly_and_jpeg_closely() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let file = picture().encode(format, Some("a red apple\nSteps: 3")).unwrap();
            let back = ::image::load_from_memory(&file).unwrap().into_rgb8();
            assert_eq!(back.dimensions(), (24, 16));
            if format != ImageFormat::Jpeg {
                assert_eq!(back, picture().pixels, "{format:?}");
            }
        }
    }

    #[test]
    fn png_carries_the_parameters_in_any_script_and_leaves_them_out_when_told() {
        for text in ["a red apple\nSteps: 20, Sampler: PNDM", "日本の猫 \u{1F431}, naïve", ""] {
            let file = picture().encode(ImageFormat::Png, Some(text)).unwrap();
            let reader = png::Decoder::new(Cursor::new(&file)).read_info().unwrap();
            let latin =
                reader.info().uncompressed_latin1_text.iter().map(|c| (c.keyword.clone(), c.text.clone()));
            let utf8 = reader.info().utf8_text.iter().map(|c| (c.keyword.clone(), c.get_text().unwrap()));
            let chunks: Vec<_> = latin.chain(utf8).collect();
            assert_eq!(chunks, [("parameters".to_owned(), text.to_owned())]);
        }
        let bare = picture().encode(ImageFormat::Png, None).unwrap();
        assert!(!bare.windows(10).any(|w| w == b"parameters"));
    }

    #[test]
    fn jpeg_and_webp_carry_the_parameters_in_exif() {
        let read = |format, text: &str| {
            let file = picture().encode(format, Some(text)).unwrap();
            let reader = ::image::ImageReader::new(Cursor::new(file)).with_guessed_format().unwrap();
            reader.into_decoder().unwrap().exif_metadata().unwrap()
        };
        for format in [ImageFormat::Jpeg, ImageFormat::WebP] {
            let exif = read(format, "a cat \u{1F431}").unwrap();
            let utf16: Vec<u8> = "a cat \u{1F431}".encode_utf16().flat_map(u16::to_be_bytes).collect();
            assert!(exif.windows(utf16.len()).any(|w| w == utf16), "{format:?}");
        }
        assert_eq!(read(ImageFormat::Jpeg, &"x".repeat(1 << 20)), None);
    }
}
