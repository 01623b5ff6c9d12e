//! What the modules are made of. This is the one place that decides who computes: the modules know no kernel.
//!
//! Layers own their weights, so that they can be packed once at load. Activations are `(batch, channels, height, width)`
//! or `(batch, tokens, width)`.

mod activation;
mod attention;
mod conv;
mod linear;
mod norm;

pub(crate) use activation::Activation;
pub(crate) use attention::attention;
pub(crate) use conv::{Conv2d, Padding};
pub(crate) use linear::Linear;
pub(crate) use norm::{GroupNorm, LayerNorm};
