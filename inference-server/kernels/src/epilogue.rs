//! What is done with a result while it is still in the cache.

use crate::math::{normal, sigmoid};

/// A function of every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`, Phi being the normal distribution.
    Gelu,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
}

impl Activation {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Identity, Self::Silu, Self::Gelu, Self::QuickGelu];

    #[inline(always)]
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Silu => x * sigmoid(x),
            Self::Gelu => x * normal(x),
            Self::QuickGelu => x * sigmoid(1.702 * x),
        }
    }
}

/// `activation(x + bias) + residual`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One number for each output (of a matrix) or output channel (of a convolution).
    pub bias: Option<&'a [f32]>,
    /// Comes after the bias.
    pub activation: Activation,
    /// Comes last; as many numbers as the result, in the same order.
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// # Panics
    /// Where the lengths are not those of the result.
    pub(crate) fn check(&self, outputs: usize, length: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == outputs), "as many biases as outputs");
        assert!(self.residual.is_none_or(|residual| residual.len() == length), "a residual for every number");
    }
}
