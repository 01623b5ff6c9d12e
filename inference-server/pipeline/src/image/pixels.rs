//! Between tensors in -1..1 and 8-bit pixels.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use image::imageops::FilterType;

use crate::Error;

/// `(1, 3, height, width)` in about -1..1 to pixels: `round(clamp(x / 2 + 0.5, 0, 1) * 255)`, ties to even, in f32 as
/// diffusers' `VaeImageProcessor` computes it.
pub(crate) fn from_tensor(decoded: &Tensor) -> Result<RgbImage, Error> {
    let (_, _, height, width) = decoded.dims4()?;
    let decoded = decoded.squeeze(0)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    let rows = decoded.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    if rows.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { stage: "VAE decoder" });
    }
    let bytes = rows.into_iter().map(|x| ((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8);
    let side = |n: usize| u32::try_from(n).map_err(|e| Error::Encode(e.to_string()));
    let (width, height) = (side(width)?, side(height)?);
    RgbImage::from_raw(width, height, bytes.collect())
        .ok_or_else(|| Error::Encode("pixels are missing".into()))
}

/// Pixels to `(1, 3, height, width)` in -1..1.
pub(crate) fn to_tensor(pixels: &RgbImage, device: &Device) -> Result<Tensor, Error> {
    let (width, height) = pixels.dimensions();
    let values: Vec<f32> = pixels.as_raw().iter().map(|&p| f32::from(p) / 255.0 * 2.0 - 1.0).collect();
    let rows = Tensor::from_vec(values, (height as usize, width as usize, 3), &Device::Cpu)?;
    Ok(rows.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?.to_device(device)?)
}

/// Resizes to exactly `width` x `height`, as diffusers' default (Lanczos) does.
pub fn resize(pixels: &RgbImage, width: u32, height: u32) -> RgbImage {
    if pixels.dimensions() == (width, height) {
        return pixels.clone();
    }
    image::imageops::resize(pixels, width, height, FilterType::Lanczos3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_round_as_diffusers_does_and_come_back() {
        let all = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8, 255 - x as u8, 7]));
        let tensor = to_tensor(&all, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [1, 3, 1, 256]);
        assert_eq!(from_tensor(&tensor).unwrap(), all);

        // -1, 1, beyond both, the middle (127.5 goes to the even 128), and just under and over 1/255.
        let values = [-1f32, 1.0, -9.0, 9.0, 0.0, 0.0059, 0.0019, -0.9962, -0.9960];
        let tensor = Tensor::from_slice(&values, (1, 3, 1, 3), &Device::Cpu).unwrap();
        let mut got = from_tensor(&tensor).unwrap().into_raw();
        got.sort_unstable();
        assert_eq!(got, [0, 0, 0, 1, 128, 128, 128, 255, 255]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_an_error() {
        let tensor = Tensor::from_slice(&[0f32, f32::NAN, 0.0], (1, 3, 1, 1), &Device::Cpu).unwrap();
        assert!(matches!(from_tensor(&tensor), Err(Error::NotFinite { .. })));
    }
}
