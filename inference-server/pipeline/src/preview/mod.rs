//! Small pictures of what is being drawn, for people who wait.
//!
//! A checkpoint may bring a decoder that is made for them, in its folder `preview_decoder/`: a tiny one, trained to do nearly
//! what the VAE's does (Bohan 2023, "TAESD"; diffusers' `AutoencoderTiny`). For one that does not, the VAE itself decodes
//! [`fewer`] latents, which costs as much less as they are fewer.

mod config;
mod decoder;
#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor};

pub(crate) use decoder::PreviewDecoder;

/// Latents a side that still make a picture: 128 pixels with the VAE of Stable Diffusion.
const LEAST: usize = 16;

/// Latents `(batch, channels, height, width)`, of which each is the mean of a square of 16 or 4, if no side of what is left is
/// shorter than [`LEAST`].
pub(crate) fn fewer(latents: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = latents.dims4()?;
    let Some(side) = [4, 2].into_iter().find(|side| height.min(width) / side >= LEAST) else {
        return Ok(latents.clone());
    };
    // The last row and column fill up squares that are not whole.
    let lacking = |n: usize| n.next_multiple_of(side) - n;
    latents
        .pad_with_same(2, 0, lacking(height))?
        .pad_with_same(3, 0, lacking(width))?
        .contiguous()?
        .avg_pool2d(side)
}
