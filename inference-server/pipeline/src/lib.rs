//! A diffusers checkpoint and a prompt become a picture.
//!
//! Built so far: checkpoints, the tokenizer, guidance, and pictures with their parameters. The text encoder, UNet, VAE
//! and schedulers are next, and with them `Pipeline::step`, the unit of work: it advances any set of jobs whose latents
//! have the same shape by one UNet evaluation each. There is no async, no HTTP and no global state here.

#![allow(
    dead_code,
    reason = "the tokenizer, guidance and pixels are used by the pipeline, which is not wired in yet"
)]

pub mod checkpoint;
mod error;
mod guidance;
mod image;
mod info;
mod request;
pub mod scheduler;
mod tokenizer;

pub use crate::image::{ImageFormat, Picture};
pub use checkpoint::Source;
pub use error::{Error, FieldError, LoadError};
pub use info::ModelInfo;
pub use request::{InitImage, Request};
pub use scheduler::SchedulerKind;
