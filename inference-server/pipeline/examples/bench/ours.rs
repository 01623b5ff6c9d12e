//! Our row, through the pipeline's public API.

use std::path::Path;

use diffusion_pipeline::{
    ImageFormat, Job, LoadOptions, Pipeline, Precision, Request, SchedulerKind, Source, profile,
};
use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::{median, peak_gib, timed};
use crate::inputs::Inputs;

/// `short`: load, text encoder, steps and decoder; another part: the seconds of a whole picture.
pub(crate) fn part(
    checkpoint: &Path,
    inputs: &Inputs,
    precision: &str,
    part: &str,
    file: &Path,
) -> Outcome<Value> {
    let walk = inputs.walk(part)?;
    let (load, pipeline) = load(checkpoint, precision)?;
    let kind = SchedulerKind::ALL.into_iter().find(|kind| kind.name() == walk.scheduler);
    let request = Request {
        negative_prompt: inputs.negative_prompt.clone(),
        seed: inputs.seed,
        steps: walk.steps,
        guidance_scale: inputs.guidance_scale,
        width: inputs.size,
        height: inputs.size,
        scheduler: Some(kind.ok_or("the walk's scheduler has no name here")?),
        ..pipeline.info().defaults(&inputs.prompt)
    };
    let (figures, picture) = if part == "short" {
        timings(&pipeline, &request, load)?
    } else {
        let (seconds, picture) = timed(|| pipeline.generate(&request, |_, _| ()))?;
        (json!({ "load": load, "picture": seconds, "peak_gib": peak_gib()? }), picture)
    };
    std::fs::write(file, picture.encode(ImageFormat::Png, None)?)?;
    Ok(figures)
}

/// The checkpoint's own scheduler, and its own size if there is no other one, without inputs; of 0 steps only the load.
pub(crate) fn steps(
    checkpoint: &Path,
    precision: &str,
    steps: usize,
    side: Option<usize>,
    token_merging: f64,
) -> Outcome<Value> {
    let (load, pipeline) = load(checkpoint, precision)?;
    if steps == 0 {
        return Ok(json!({ "load": load, "peak_gib": peak_gib()? }));
    }
    let defaults = pipeline.info().defaults("a photo of an astronaut riding a horse on mars");
    let request = Request {
        steps,
        width: side.unwrap_or(defaults.width),
        height: side.unwrap_or(defaults.height),
        token_merging,
        ..defaults
    };
    Ok(timings(&pipeline, &request, load)?.0)
}

fn load(checkpoint: &Path, precision: &str) -> Outcome<(f64, Pipeline)> {
    let precision = match precision {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        _ => return Err("the precision is f32 or bf16".into()),
    };
    Ok(timed(|| Pipeline::load(&Source::Directory(checkpoint.into()), &LoadOptions { precision }))?)
}

/// A picture taken apart. The first start and the first step warm up.
fn timings(
    pipeline: &Pipeline,
    request: &Request,
    load: f64,
) -> Outcome<(Value, diffusion_pipeline::Picture)> {
    pipeline.start(request)?;
    let jobs = (0..3).map(|_| pipeline.start(request)).collect::<Result<Vec<Job>, _>>()?;
    let texts: Vec<f64> = jobs.iter().map(|job| job.timings().text.as_secs_f64()).collect();
    let mut job = jobs.into_iter().next().ok_or("no job")?;
    let mut seconds = Vec::new();
    profile::take();
    while !job.is_done() {
        seconds.push(timed(|| pipeline.step(std::slice::from_mut(&mut job)))?.0);
    }
    let steps = shares(seconds.len());
    let (first, _) = timed(|| pipeline.finish(&mut job))?;
    let (second, picture) = timed(|| pipeline.finish(&mut job))?;
    let decode = shares(2);
    let warm = seconds.get(1..).filter(|warm| !warm.is_empty()).unwrap_or(&seconds);
    let figures = json!({
        "load": load, "text": median(&texts), "step": median(warm), "decode": median(&[first, second]),
        "peak_gib": peak_gib()?, "of_step": steps, "of_decode": decode,
    });
    Ok((figures, picture))
}

/// What every kind of operation took of one of `n` runs: seconds and GFLOP.
fn shares(n: usize) -> Value {
    let share = |share: profile::Share| {
        let (n, operations) = (n.max(1) as f64, share.operations as f64);
        (share.kind.name().to_owned(), json!([share.time.as_secs_f64() / n, operations / n / 1e9]))
    };
    Value::Object(profile::take().map(share).into_iter().collect())
}
