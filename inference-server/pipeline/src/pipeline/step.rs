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
        // Jobs that reuse a map run other layers than those that do not: two batches.
        let (mut whole, mut reusing, mut maps) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job.cache.reusable(job.rows())? {
                None => whole.push(job),
                Some(map) => {
                    reusing.push(job);
                    maps.push(map);
                }
            }
        }
        // Both are evaluated before a job moves, so that an error leaves all of them where they are.
        let evaluated = (!whole.is_empty()).then(|| self.evaluate(&whole)).transpose()?;
        let reused = (!reusing.is_empty()).then(|| self.evaluate_reusing(&reusing, &maps)).transpose()?;
        if let Some((output, kept)) = evaluated {
            advance(&mut whole, &output, &Ran::Whole(kept.as_ref()))?;
        }
        if let Some(output) = reused {
            advance(&mut reusing, &output, &Ran::Reusing)?;
        }
        let elapsed = begin.elapsed();
        whole.iter_mut().chain(&mut reusing).for_each(|job| job.timings.denoise += elapsed);
        Ok(())
    }

    /// The whole UNet's output, and its inner map if a job wants to keep it.
    fn evaluate(&self, jobs: &[&mut Job]) -> Result<(Tensor, Option<FeatureMap>)> {
        let batch = Batch::of(jobs)?;
        let keep = jobs.iter().any(|job| job.cache.is_on());
        self.unet.forward(&batch.latents, &batch.timesteps, &batch.prompt, keep)
    }

    /// The output of the UNet's outermost layers for a map of each job.
    fn evaluate_reusing(&self, jobs: &[&mut Job], maps: &[FeatureMap]) -> Result<Tensor> {
        let batch = Batch::of(jobs)?;
        self.unet.forward_reusing(&batch.latents, &batch.timesteps, &batch.prompt, FeatureMap::join(maps)?)
    }
}

/// What the UNet is given: one row of each for every row of every job.
struct Batch {
    latents: Tensor,
    timesteps: Vec<f64>,
    prompt: Prompt,
}

impl Batch {
    fn of(jobs: &[&mut Job]) -> Result<Self> {
        let (mut latents, mut timesteps, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            let input = job.scheduler.scale_model_input(&job.latents)?;
            let timestep = job.scheduler.timesteps().get(job.done).copied().unwrap_or_default();
            let rows = job.rows();
            for _ in 0..rows {
                latents.push(input.clone());
                timesteps.push(timestep);
            }
            prompts.push(job.prompt.last(rows)?);
        }
        Ok(Self { latents: Tensor::cat(&latents, 0)?, timesteps, prompt: Prompt::join(&prompts)? })
    }
}

/// How a batch was evaluated.
enum Ran<'a> {
    /// With the inner map, if a job wants to keep it.
    Whole(Option<&'a FeatureMap>),
    Reusing,
}

/// Takes every job of a batch one evaluation further.
fn advance(jobs: &mut [&mut Job], output: &Tensor, ran: &Ran<'_>) -> Result<()> {
    let mut row = 0;
    for job in jobs {
        let rows = job.rows();
        let guided = job.guidance.combine(&output.narrow(0, row, rows)?)?;
        let (of_latents, of_output) = job.scheduler.clean_weights();
        job.predicted = Some(combine(&[(of_latents, &job.latents), (of_output, &guided)])?);
        job.latents = job.scheduler.step(&guided, &job.latents, &mut job.generator)?;
        match ran {
            Ran::Whole(kept) => {
                if let Some(kept) = kept.filter(|_| job.cache.is_on()) {
                    job.cache.keep(kept.rows(row, rows)?);
                }
                job.evaluated.whole += rows;
            }
            Ran::Reusing => {
                job.cache.reused();
                job.evaluated.reused += rows;
            }
        }
        job.done += 1;
        row += rows;
    }
    Ok(())
}
