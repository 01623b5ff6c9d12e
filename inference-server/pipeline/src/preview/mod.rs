//! Small or rough pictures of what is being drawn, for people who wait.
//!
//! A checkpoint may bring a decoder that is made for them, in its folder `preview_decoder/`: a tiny one, trained to do nearly
//! what the VAE's does (Bohan 2023, "TAESD"; diffusers' `AutoencoderTiny`). For one that does not, latents are projected to
//! colours, which costs nothing.

mod config;
mod decoder;
mod projection;
#[cfg(test)]
mod tests;

pub(crate) use decoder::PreviewDecoder;
pub(crate) use projection::Projection;
