//! One picture in the making.

use std::time::Duration;

use candle_core::Tensor;

use crate::cache::Cache;
use crate::guidance::Guidance;
use crate::noise::TorchGenerator;
use crate::scheduler::Scheduler;
use crate::unet::Prompt;

/// Where a job's time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokenising and text encoder (and the VAE encoder, for image to image).
    pub text: Duration,
    /// Wall time of the steps that the job took part in, whatever else was in them.
    pub denoise: Duration,
    /// VAE decoder.
    pub decode: Duration,
}

/// What the UNet did for a job: rows of its batch, of which guidance takes two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// Rows that went through the whole UNet.
    pub whole: usize,
    /// Rows that took the inner part from the cache.
    pub reused: usize,
}

/// One picture in the making: its latents, its own scheduler and its own noise.
pub struct Job {
    /// `(1, channels, height, width)` in f32.
    pub(crate) latents: Tensor,
    /// What the last evaluation took the clean latents for; nothing before the first.
    pub(crate) predicted: Option<Tensor>,
    /// The negative prompt first when guidance is on.
    pub(crate) prompt: Prompt,
    pub(crate) guidance: Guidance,
    pub(crate) cache: Cache,
    /// The part of the tokens that is merged.
    pub(crate) merging: f64,
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) generator: TorchGenerator,
    pub(crate) done: usize,
    pub(crate) evaluated: Evaluated,
    pub(crate) warnings: Vec<String>,
    pub(crate) timings: Timings,
}

impl Job {
    /// UNet evaluations done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// What these evaluations were.
    pub fn evaluated(&self) -> Evaluated {
        self.evaluated
    }

    /// UNet evaluations in all (PNDM needs one more than the steps asked for, Heun almost twice as many).
    pub fn total(&self) -> usize {
        self.scheduler.timesteps().len()
    }

    /// Whether every evaluation is done.
    pub fn is_done(&self) -> bool {
        self.done >= self.total()
    }

    /// Shape of the latents `(1, channels, height / 8, width / 8)`: jobs of one shape can step together.
    pub fn latent_shape(&self) -> &[usize] {
        self.latents.dims()
    }

    /// What the caller should know, for people: such as a prompt that was cut at 77 tokens.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The best guess of what the latents will be in the end: the noise, before the first evaluation.
    pub(crate) fn clean(&self) -> &Tensor {
        match &self.predicted {
            Some(predicted) if !self.is_done() => predicted,
            _ => &self.latents,
        }
    }

    /// Rows of the UNet's batch that the next evaluation needs.
    pub(crate) fn rows(&self) -> usize {
        self.guidance.rows(self.done, self.total())
    }

    /// Where the time went so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

impl AsMut<Job> for Job {
    fn as_mut(&mut self) -> &mut Job {
        self
    }
}
