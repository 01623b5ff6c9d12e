//! A look at a picture in the making.

use super::Pipeline;
use crate::preview::fewer;
use crate::{Error, Job, Picture, image};

impl Pipeline {
    /// A small or rough picture of what a job is going to draw: the clean latents that its last evaluation predicts, decoded by
    /// the checkpoint's preview decoder, if it has one, and else by the VAE at a quarter, half or all of the picture's sides. The
    /// job stays as it is. Before the first evaluation it is noise.
    ///
    /// # Errors
    /// When the numbers are not finite.
    pub fn preview(&self, job: &Job) -> Result<Picture, Error> {
        let latents = job.clean();
        let decoded = match &self.preview {
            Some(decoder) => decoder.decode(latents)?,
            None => self.vae.decode(&self.vae.unscale(&fewer(latents)?)?)?,
        };
        Ok(Picture { pixels: image::from_tensor(&decoded)? })
    }
}
