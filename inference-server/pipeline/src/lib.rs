//! A diffusers checkpoint and a prompt become a picture.
//!
//! ```no_run
//! use diffusion_pipeline::{ImageFormat, LoadOptions, Pipeline, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::load(&Source::parse("bundled://emoji")?, &LoadOptions::default())?;
//! let request = pipeline.info().defaults("a red apple");
//! let picture = pipeline.generate(&request, |step, of| eprintln!("{step}/{of}"))?;
//! std::fs::write("apple.png", picture.encode(ImageFormat::Png, Some(&request.describe(pipeline.info())))?)?;
//! # Ok(())
//! # }
//! ```
//!
//! The unit of work is [`Pipeline::step`]: it advances any set of [`Job`]s whose latents have the same shape by one
//! UNet evaluation each. There is no async, no HTTP and no global state here.

mod blocks;
mod cache;
pub mod checkpoint;
mod error;
#[cfg(test)]
mod golden;
mod guidance;
mod image;
mod info;
mod job;
mod noise;
mod ops;
mod options;
mod pipeline;
mod preview;
pub mod profile;
mod request;
pub mod scheduler;
mod text_encoder;
mod tokenizer;
mod unet;
mod vae;

/// Memory for large tensors, used again from one step to the next.
pub mod memory {
    pub use diffusion_kernels::{Allocator, give_back};
}

pub use crate::image::{ImageFormat, Picture, resize};
pub use checkpoint::Source;
pub use error::{Error, FieldError, LoadError};
pub use info::ModelInfo;
pub use job::{Evaluated, Job, Timings};
pub use options::{LoadOptions, Precision};
pub use pipeline::Pipeline;
pub use request::{InitImage, Request};
pub use scheduler::SchedulerKind;
