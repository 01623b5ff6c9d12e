//! What the engine needs from a model.

use diffusion_pipeline::{
    Error, Job, LoadError, LoadOptions, ModelInfo, Picture, Pipeline, Request, Source, Timings,
};

/// A model that draws in steps. There is one, [`PipelineModel`]; the engine's tests have others that fail on purpose.
pub trait Model: 'static {
    /// One picture in the making.
    type Job;

    /// Facts and defaults.
    fn info(&self) -> &ModelInfo;
    /// Begins a picture.
    ///
    /// # Errors
    /// When the request does not fit the model.
    fn start(&self, request: &Request) -> Result<Self::Job, Error>;
    /// Advances jobs of one size by one UNet evaluation.
    ///
    /// # Errors
    /// When none of them moved.
    fn step(&self, jobs: &mut [&mut Self::Job]) -> Result<(), Error>;
    /// Decodes a picture.
    ///
    /// # Errors
    /// When the numbers are not finite.
    fn finish(&self, job: &mut Self::Job) -> Result<Picture, Error>;
    /// A small or rough picture of what a job is going to draw.
    ///
    /// # Errors
    /// When the numbers are not finite.
    fn preview(&self, job: &Self::Job) -> Result<Picture, Error>;
    /// Lets go of what makes the next picture faster but the machine could use meanwhile: there is nothing to draw.
    fn rest(&self);
    /// Evaluations done and in all.
    fn progress(job: &Self::Job) -> (usize, usize);
    /// Where the time went.
    fn timings(job: &Self::Job) -> Timings;
    /// What the caller should know.
    fn warnings(job: &Self::Job) -> Vec<String>;
}

/// The real one.
pub struct PipelineModel(Pipeline);

impl PipelineModel {
    /// Loads a checkpoint.
    ///
    /// # Errors
    /// Names the file, field or tensor that is wrong.
    pub fn load(source: &Source, options: &LoadOptions) -> Result<Self, LoadError> {
        Pipeline::load(source, options).map(Self)
    }
}

impl Model for PipelineModel {
    type Job = Job;

    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn start(&self, request: &Request) -> Result<Job, Error> {
        self.0.start(request)
    }

    fn step(&self, jobs: &mut [&mut Job]) -> Result<(), Error> {
        self.0.step(jobs)
    }

    fn finish(&self, job: &mut Job) -> Result<Picture, Error> {
        self.0.finish(job)
    }

    fn preview(&self, job: &Job) -> Result<Picture, Error> {
        self.0.preview(job)
    }

    fn rest(&self) {
        diffusion_pipeline::memory::give_back();
    }

    fn progress(job: &Job) -> (usize, usize) {
        (job.done(), job.total())
    }

    fn timings(job: &Job) -> Timings {
        job.timings()
    }

    fn warnings(job: &Job) -> Vec<String> {
        job.warnings().to_vec()
    }
}
