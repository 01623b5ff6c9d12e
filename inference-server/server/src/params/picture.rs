//! The picture that image to image starts from.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

/// Decodes a PNG, JPEG or WebP file of at most `max_pixels` and fits it to `width` x `height`, so that a waiting request
/// holds no more pixels than it will draw. Transparent parts become white, a camera's rotation is applied.
///
/// # Errors
/// Says what is wrong with the file.
pub fn decode(file: &[u8], max_pixels: u64, width: usize, height: usize) -> Result<RgbImage, String> {
    let unreadable = |e: image::ImageError| format!("the picture could not be read: {e}");
    let format = image::guess_format(file)
        .ok()
        .filter(|f| matches!(f, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP))
        .ok_or("expected a PNG, JPEG or WebP file")?;
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    // Pixels are counted before they are decoded: a few kilobytes can unpack to gigabytes.
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(8));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (w, h) = decoder.dimensions();
    if w == 0 || h == 0 || u64::from(w) * u64::from(h) > max_pixels {
        return Err(format!("the picture has {w} x {h} pixels; at most {max_pixels} are allowed"));
    }
    let orientation = decoder.orientation().map_err(unreadable)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    picture.apply_orientation(orientation);
    let rgb = on_white(picture);
    let side = |n: usize| u32::try_from(n).map_err(|_| "the size is too large".to_owned());
    Ok(diffusion_pipeline::resize(&rgb, side(width)?, side(height)?))
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        let over = |c: u8| {
            let (c, a) = (u32::from(c), u32::from(a));
            ((c * a + 255 * (255 - a) + 127) / 255) as u8
        };
        image::Rgb([over(r), over(g), over(b)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn three_formats_are_read_and_fitted() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let picture = decode(&file(format, 40, 20), 1000, 16, 24).unwrap();
            assert_eq!(picture.dimensions(), (16, 24));
        }
        let same = decode(&file(ImageFormat::Png, 8, 8), 64, 8, 8).unwrap();
        assert_eq!(same.get_pixel(5, 3).0, [5, 3, 7]);
    }

    #[test]
    fn what_is_transparent_becomes_white() {
        let rgba =
            image::RgbaImage::from_fn(2, 1, |x, _| image::Rgba([10, 20, 30, if x == 0 { 0 } else { 255 }]));
        let mut out = Cursor::new(Vec::new());
        rgba.write_to(&mut out, ImageFormat::Png).unwrap();
        let picture = decode(&out.into_inner(), 2, 2, 1).unwrap();
        assert_eq!(picture.get_pixel(0, 0).0, [255, 255, 255]);
        assert_eq!(picture.get_pixel(1, 0).0, [10, 20, 30]);
    }

    #[test]
    fn broken_other_and_huge_files_are_refused() {
        let png = file(ImageFormat::Png, 40, 20);
        assert!(decode(&png, 799, 8, 8).unwrap_err().contains("40 x 20 pixels; at most 799"));
        assert!(decode(&png[..png.len() / 2], 1000, 8, 8).unwrap_err().contains("could not be read"));
        for other in [&b""[..], b"GIF89a\x01\x00\x01\x00", b"hello"] {
            assert!(decode(other, 1000, 8, 8).unwrap_err().contains("PNG, JPEG or WebP"));
        }
    }
}
