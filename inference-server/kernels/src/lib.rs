//! CPU kernels on slices of numbers, without any knowledge of a model or a tensor library.
//!
//! Weights are packed once ([`PackedMatrix`], [`PackedConv`]) into the order that the innermost loop reads; what to do
//! with a result while it is still in the cache is an [`Epilogue`]. The instructions are chosen at run time ([`Level`]).
//!
//! A result depends on the level only: never on the number of threads, nor on what else is in the batch. Every number is
//! one sum, taken in one order by one thread.

mod aligned;
mod conv;
mod elementwise;
mod epilogue;
mod gemm;
mod level;
mod math;
mod output;
mod parallel;
#[cfg(test)]
mod testing;
mod tile;

pub use conv::{ConvShape, PackedConv};
pub use epilogue::{Activation, Epilogue};
pub use gemm::PackedMatrix;
pub use level::Level;
