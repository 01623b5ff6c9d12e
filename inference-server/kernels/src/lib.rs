//! CPU kernels on slices of numbers, without any knowledge of a model or a tensor library.
//!
//! Numbers are `f32` or `bf16` ([`Element`]); sums are taken in f32. Pictures have their channels last. Weights are
//! packed once ([`PackedMatrix`], [`PackedConv`]) into the order that the innermost loop reads; what to do with a result
//! while it is still in the cache is an [`Epilogue`]. The instructions are chosen at run time ([`Level`]).
//!
//! A result depends on the level only: never on the number of threads, nor on what else is in the batch. Every number is
//! one sum, taken in one order by one thread.

mod aligned;
mod allocator;
mod arena;
mod attention;
mod conv;
mod decode;
mod dispatch;
mod doubling;
mod element;
mod elementwise;
mod epilogue;
mod finish;
mod gemm;
mod group_norm;
mod layer_norm;
mod level;
mod math;
mod output;
mod panels;
mod parallel;
#[cfg(test)]
mod testing;
mod tile;
mod winograd;

pub use allocator::{Allocator, give_back};
pub use attention::{Attention, Rows};
pub use conv::{Algorithm, ConvShape, PackedConv, Transformed};
pub use decode::Format;
pub use doubling::PackedDoubling;
pub use element::Element;
pub use epilogue::{Activation, Epilogue};
pub use gemm::PackedMatrix;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use level::Level;
