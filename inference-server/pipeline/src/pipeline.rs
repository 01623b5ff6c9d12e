//! The pipeline: load once, then start jobs, step them, finish them.

use crate::{Error, FieldError, Job, LoadError, LoadOptions, ModelInfo, Picture, Request, Source};

/// A loaded model. `Send`, used by one thread at a time.
pub struct Pipeline {}

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
