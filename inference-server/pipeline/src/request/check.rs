//! Whether a request can be drawn by a model.

use super::Request;
use crate::{FieldError, ModelInfo};

/// Pixels a side that no model here draws; beyond it sizes could overflow.
const LONGEST_SIDE: usize = 16_384;

/// Checks every field against the model, the scheduler's own limits apart.
pub(crate) fn check(request: &Request, model: &ModelInfo) -> Result<(), FieldError> {
    side("width", request.width, model.size_multiple)?;
    side("height", request.height, model.size_multiple)?;
    if request.steps == 0 || request.steps > model.train_timesteps {
        let problem = format!("must be 1 to {} (got {})", model.train_timesteps, request.steps);
        return Err(FieldError { field: "steps", problem });
    }
    number("guidance_scale", request.guidance_scale, 0.0, 1000.0)?;
    number("guidance_rescale", request.guidance_rescale, 0.0, 1.0)?;
    number("guidance_start", request.guidance_start, 0.0, 1.0)?;
    number("guidance_end", request.guidance_end, 0.0, 1.0)?;
    if request.guidance_start >= request.guidance_end {
        let (start, end) = (request.guidance_start, request.guidance_end);
        let problem = format!("must be above guidance_start, which is {start} (got {end})");
        return Err(FieldError { field: "guidance_end", problem });
    }
    if !(1..=Request::MAX_CACHE_INTERVAL).contains(&request.cache_interval) {
        let (most, got) = (Request::MAX_CACHE_INTERVAL, request.cache_interval);
        return Err(FieldError {
            field: "cache_interval",
            problem: format!("must be 1 to {most} (got {got})"),
        });
    }
    number("token_merging", request.token_merging, 0.0, Request::MAX_TOKEN_MERGING)?;
    number("eta", request.eta, 0.0, 1.0)?;
    let Some(init) = &request.init else { return Ok(()) };
    if !model.image_to_image {
        let problem = "this model has no VAE encoder, so it cannot start from a picture".into();
        return Err(FieldError { field: "image", problem });
    }
    number("strength", init.strength, 0.0, 1.0)?;
    if (request.steps as f64 * init.strength) < 1.0 {
        let (steps, least) = (request.steps, 1.0 / request.steps as f64);
        let problem =
            format!("leaves none of the {steps} steps to do; use {least:.3} or more, or more steps");
        return Err(FieldError { field: "strength", problem });
    }
    Ok(())
}

fn side(field: &'static str, pixels: usize, multiple: usize) -> Result<(), FieldError> {
    if pixels == 0 || pixels > LONGEST_SIDE || !pixels.is_multiple_of(multiple) {
        let nearest =
            (pixels.saturating_add(multiple / 2) / multiple * multiple).clamp(multiple, LONGEST_SIDE);
        let problem = format!(
            "must be a multiple of {multiple}, {multiple} to {LONGEST_SIDE} (got {pixels}; nearest: {nearest})"
        );
        return Err(FieldError { field, problem });
    }
    Ok(())
}

fn number(field: &'static str, value: f64, least: f64, most: f64) -> Result<(), FieldError> {
    // Written so that NaN is refused too.
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(FieldError { field, problem: format!("must be {least} to {most} (got {value})") })
}
