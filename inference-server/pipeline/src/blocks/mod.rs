//! Modules that the UNet and the VAE share.

mod resample;
mod resnet;

pub(crate) use resample::{Downsample, Upsample};
pub(crate) use resnet::{ResnetBlock, ResnetShape};
