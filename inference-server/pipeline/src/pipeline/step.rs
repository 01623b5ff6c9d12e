//! One step of several jobs.

use std::time::Instant;

use candle_core::{Result, Tensor};

use super::Pipeline;
use crate::ops::FeatureMap;
use crate::scheduler::combine;
use crate::unet::Prompt;
use crate::{Error, Job};

impl Pipeline {
    /// Advances every job by one UNet evaluation. Jobs may differ in everything but the shape of their latents.
    /// A job that is done is left alone.
    ///
    /// # Errors
    /// [`Error::MixedShapes`]; no job has moved then.
    pub fn step<J: AsMut<Job>>(&self, jobs: &mut [J]) -> std::result::Result<(), Error> {
        let begin = Instant::now();
        let jobs: Vec<&mut Job> = jobs.iter_mut().map(AsMut::as_mut).filter(|job| !job.is_done()).collect();
        let Some(first) = jobs.first().map(|job| job.latents.dims().to_vec()) else { return Ok(()) };
        if let Some(other) = jobs.iter().find(|job| job.latents.dims() != first) {
            return Err(Error::MixedShapes { first, other: other.latents.dims().to_vec() });
        }
        let mut batches: Vec<Together<'_>> = Vec::new();
        for job in jobs {
            let map = job.cache.reusable(job.rows())?;
            let fits = batches.iter_mut().find(|batch| batch.takes(job, map.is_some()));
            match fits {
                Some(batch) => {
                    batch.jobs.push(job);
                    batch.maps.extend(map);
                }
                None => batches.push(Together { jobs: vec![job], maps: map.into_iter().collect() }),
            }
        }
        // All are evaluated before a job moves, so that an error leaves all of them where they are.
        let outputs = batches.iter().map(|batch| self.evaluate(batch)).collect::<Result<Vec<_>>>()?;
        for (batch, (output, kept)) in batches.iter_mut().zip(&outputs) {
            batch.advance(output, kept.as_ref())?;
        }
        let elapsed = begin.elapsed();
        batches.iter_mut().flat_map(|batch| &mut batch.jobs).for_each(|job| job.timings.denoise += elapsed);
        Ok(())
    }

    /// The UNet's output: of all of it, with its inner map if a job wants to keep it, or of its outermost layers.
    fn evaluate(&self, together: &Together<'_>) -> Result<(Tensor, Option<FeatureMap>)> {
        let Batch { latents, timesteps, prompt, merging } = Batch::of(&together.jobs)?;
        if together.maps.is_empty() {
            let keep = together.jobs.iter().any(|job| job.cache.is_on());
            return self.unet.forward(&latents, &timesteps, &prompt, merging, keep);
        }
        let kept = FeatureMap::join(&together.maps)?;
        Ok((self.unet.forward_reusing(&latents, &timesteps, &prompt, merging, kept)?, None))
    }
}

/// Jobs that one evaluation advances. Those that reuse a map run other layers than those that do not, and those that merge
/// another part of the tokens have another number of them: each kind is a batch of its own.
struct Together<'a> {
    jobs: Vec<&'a mut Job>,
    /// What the jobs reuse: one for each, or none.
    maps: Vec<FeatureMap>,
}

impl Together<'_> {
    /// Whether a job that reuses a map or not can be one of these.
    fn takes(&self, job: &Job, reuses: bool) -> bool {
        reuses != self.maps.is_empty() && self.jobs.iter().all(|other| other.merging == job.merging)
    }

    /// Takes every job one evaluation further, whose inner map, if the whole UNet ran, is `kept`.
    fn advance(&mut self, output: &Tensor, kept: Option<&FeatureMap>) -> Result<()> {
        let reused = !self.maps.is_empty();
        let mut row = 0;
        for job in &mut self.jobs {
            let rows = job.rows();
            let guided = job.guidance.combine(&output.narrow(0, row, rows)?)?;
            let (of_latents, of_output) = job.scheduler.clean_weights();
            job.predicted = Some(combine(&[(of_latents, &job.latents), (of_output, &guided)])?);
            job.latents = job.scheduler.step(&guided, &job.latents, &mut job.generator)?;
            if reused {
                job.cache.reused();
                job.evaluated.reused += rows;
            } else {
                if let Some(kept) = kept.filter(|_| job.cache.is_on()) {
                    job.cache.keep(kept.rows(row, rows)?);
                }
                job.evaluated.whole += rows;
            }
            job.done += 1;
            row += rows;
        }
        Ok(())
    }
}

/// What the UNet is given: a row of the latents and a timestep for every job, and the rows of its prompt.
struct Batch {
    latents: Tensor,
    timesteps: Vec<f64>,
    prompt: Prompt,
    /// The same for all jobs.
    merging: f64,
}

impl Batch {
    fn of(jobs: &[&mut Job]) -> Result<Self> {
        let (mut latents, mut timesteps, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            let input = job.scheduler.scale_model_input(&job.latents)?;
            let timestep = job.scheduler.timesteps().get(job.done).copied().unwrap_or_default();
            latents.push(input);
            timesteps.push(timestep);
            prompts.push(job.prompt.last(job.rows())?);
        }
        let merging = jobs.first().map_or(0.0, |job| job.merging);
        Ok(Self { latents: Tensor::cat(&latents, 0)?, timesteps, prompt: Prompt::join(&prompts)?, merging })
    }
}
