//! The pipeline: load once, then start jobs, step them, finish them.

use std::time::Duration;

use crate::{Error, FieldError, LoadError, ModelInfo, Picture, Request, Source};

/// The type that weights are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f32 on a CPU, f16 on a GPU.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

/// How to load a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Type of the weights.
    pub precision: Precision,
}

/// Where a job's time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokenising and text encoder (and the VAE encoder, for image to image).
    pub text: Duration,
    /// This job's share of UNet evaluations and scheduler steps: the wall time of the steps it took part in.
    pub denoise: Duration,
    /// VAE decoder.
    pub decode: Duration,
}

/// A loaded model. `Send`, used by one thread at a time.
pub struct Pipeline {}

/// One picture in the making.
pub struct Job {}

impl Job {
    /// UNet evaluations done.
    pub fn done(&self) -> usize {
        unimplemented!()
    }

    /// UNet evaluations in all (PNDM needs one more than `steps`).
    pub fn total(&self) -> usize {
        unimplemented!()
    }

    /// Whether every evaluation is done.
    pub fn is_done(&self) -> bool {
        self.done() >= self.total()
    }

    /// Shape of the latents `(4, height / 8, width / 8)`: jobs of one shape can step together.
    pub fn latent_shape(&self) -> &[usize] {
        unimplemented!()
    }

    /// What the caller should know, for people: such as a prompt that was cut at 77 tokens.
    pub fn warnings(&self) -> &[String] {
        unimplemented!()
    }

    /// Where the time went so far.
    pub fn timings(&self) -> Timings {
        unimplemented!()
    }
}

impl AsMut<Job> for Job {
    fn as_mut(&mut self) -> &mut Job {
        self
    }
}

impl Pipeline {
    /// Loads a checkpoint.
    ///
    /// # Errors
    /// Names the file, field or tensor that is wrong.
    pub fn load(source: &Source, options: &LoadOptions) -> Result<Self, LoadError> {
        let _ = (source, options);
        unimplemented!()
    }

    /// Facts and defaults.
    pub fn info(&self) -> &ModelInfo {
        unimplemented!()
    }

    /// Whether a request can be drawn by this model; cheap, no tensor is touched.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self, request: &Request) -> Result<(), FieldError> {
        let _ = request;
        unimplemented!()
    }

    /// Encodes the prompt and draws the initial noise.
    ///
    /// # Errors
    /// When the request does not fit the model.
    pub fn start(&self, request: &Request) -> Result<Job, Error> {
        let _ = request;
        unimplemented!()
    }

    /// Advances every job by one UNet evaluation. Jobs may differ in everything but the shape of their latents.
    /// A job that is done is left alone.
    ///
    /// # Errors
    /// [`Error::MixedShapes`]; no job has moved then.
    pub fn step<J: AsMut<Job>>(&self, jobs: &mut [J]) -> Result<(), Error> {
        let _ = jobs;
        unimplemented!()
    }

    /// Decodes a job's latents; a job that is not done gives the picture as it is now.
    ///
    /// # Errors
    /// When the numbers are not finite.
    pub fn finish(&self, job: &mut Job) -> Result<Picture, Error> {
        let _ = job;
        unimplemented!()
    }

    /// A small, rough picture of a job as it stands, without the VAE: cheap enough for every step.
    ///
    /// # Errors
    /// When the tensor library refuses.
    pub fn preview(&self, job: &Job) -> Result<Picture, Error> {
        let _ = job;
        unimplemented!()
    }

    /// Draws one picture from start to finish, telling `progress` the evaluations done and their number.
    ///
    /// # Errors
    /// As [`Self::start`], [`Self::step`] and [`Self::finish`].
    pub fn generate(
        &self,
        request: &Request,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Picture, Error> {
        let mut job = self.start(request)?;
        while !job.is_done() {
            self.step(std::slice::from_mut(&mut job))?;
            progress(job.done(), job.total());
        }
        self.finish(&mut job)
    }
}
