//! A look at a picture in the making.

use super::Pipeline;
use crate::preview::Projection;
use crate::{Error, Job, Picture, image};

impl Pipeline {
    /// What a job is going to draw, small or rough: the clean latents that its last evaluation predicts, decoded by the
    /// checkpoint's preview decoder if it has one. Else they are projected to colours, two pixels for each latent (a quarter of
    /// the picture's sides with the VAE of Stable Diffusion); the first time takes a little longer. The job stays as it is.
    /// Before the first evaluation it is noise.
    ///
    /// # Errors
    /// When the numbers are not finite.
    pub fn preview(&self, job: &Job) -> Result<Picture, Error> {
        let latents = job.clean();
        let decoded = match &self.preview {
            Some(decoder) => decoder.decode(latents)?,
            None => self.projection()?.apply(latents)?,
        };
        Ok(Picture { pixels: image::from_tensor(&decoded)? })
    }

    fn projection(&self) -> Result<&Projection, Error> {
        if let Some(projection) = self.projection.get() {
            return Ok(projection);
        }
        let decode = |latents: &candle_core::Tensor| self.vae.decode(&self.vae.unscale(latents)?);
        let fitted = Projection::fit(self.vae.channels(), self.vae.factor(), &self.device, decode)?;
        Ok(self.projection.get_or_init(|| fitted))
    }
}
