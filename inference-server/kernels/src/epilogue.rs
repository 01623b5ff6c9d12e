//! What is done with a result while it is still in the cache.

use crate::element::Element;
use crate::math::{normal, roughly_normal, times_sigmoid};

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

    /// The function of one number, as it is for results of a type.
    #[cfg(test)]
    pub(crate) fn of<T: Element>(self, x: f32) -> f32 {
        match self {
            Self::Identity => Identity::at::<T, false>(x),
            Self::Silu => Silu::at::<T, false>(x),
            Self::Gelu => Gelu::at::<T, false>(x),
            Self::QuickGelu => QuickGelu::at::<T, false>(x),
        }
    }
}

/// An activation as a type, so that a loop is compiled for each and has no branch. Not a closure, which might not be
/// inlined and would then be compiled without the level's instructions.
pub(crate) trait Function {
    /// The function of one number, with or without fused multiply-adds, for a result that becomes a `T`.
    fn at<T: Element, const FMA: bool>(x: f32) -> f32;
}

macro_rules! functions {
    ($($name:ident: |$x:ident| $value:expr;)*) => {$(
        pub(crate) struct $name;

        impl Function for $name {
            #[inline(always)]
            fn at<T: Element, const FMA: bool>($x: f32) -> f32 {
                $value
            }
        }
    )*};
}

functions! {
    Identity: |x| x;
    Silu: |x| times_sigmoid::<FMA>(x, x);
    Gelu: |x| x * if size_of::<T>() == 2 { roughly_normal::<FMA>(x) } else { normal::<FMA>(x) };
    QuickGelu: |x| times_sigmoid::<FMA>(x, 1.702 * x);
}

/// `$f::<$generics, F>($arguments)` for the type `F` that an activation is.
macro_rules! for_function {
    ($activation:expr, $f:ident::<$($generic:tt),*>($($argument:expr),* $(,)?)) => {
        match $activation {
            $crate::epilogue::Activation::Identity => $f::<$($generic,)* $crate::epilogue::Identity>($($argument),*),
            $crate::epilogue::Activation::Silu => $f::<$($generic,)* $crate::epilogue::Silu>($($argument),*),
            $crate::epilogue::Activation::Gelu => $f::<$($generic,)* $crate::epilogue::Gelu>($($argument),*),
            $crate::epilogue::Activation::QuickGelu => $f::<$($generic,)* $crate::epilogue::QuickGelu>($($argument),*),
        }
    };
}
pub(crate) use for_function;

/// `activation(x + bias) + residual`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// One number for each output (of a matrix) or output channel (of a convolution); or so many for each picture of a
    /// convolution's batch.
    pub bias: Option<&'a [f32]>,
    /// Comes after the bias.
    pub activation: Activation,
    /// Comes last; as many numbers as the result, in the same order.
    pub residual: Option<&'a [T]>,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self { bias: None, activation: Activation::Identity, residual: None }
    }
}

impl<T: Element> Epilogue<'_, T> {
    /// The numbers of the bias for each of `pictures`, 0 if they are the same for all.
    ///
    /// # Panics
    /// Where the lengths are not those of the result.
    pub(crate) fn check(&self, outputs: usize, pictures: usize, length: usize) -> usize {
        assert!(self.residual.is_none_or(|residual| residual.len() == length), "a residual for every number");
        match self.bias.map(<[f32]>::len) {
            None => 0,
            Some(n) if n == outputs => 0,
            Some(n) => {
                assert_eq!(n, outputs * pictures, "as many biases as outputs, or as outputs of all pictures");
                outputs
            }
        }
    }
}
