//! The walks against diffusers' (`tests/golden/schedulers.json`, made by `inference-server/golden/schedulers.py`).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::{Scheduler, SchedulerConfig, SchedulerKind};
use crate::FieldError;
use crate::checkpoint::ConfigFile;
use crate::noise::TorchGenerator;

mod clean;
mod configs;
mod properties;
mod requests;

/// The largest difference, relative to the largest of the latents: what the rounding of f32 tensors in another order
/// may make over 50 steps.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Goldens {
    seed: u64,
    initial: Vec<f32>,
    clean: Vec<f32>,
    alphas: Vec<Alphas>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Alphas {
    config: Value,
    at: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Value,
    steps: usize,
    kind: Option<String>,
    karras: Option<bool>,
    #[serde(default)]
    eta: f64,
    #[serde(default)]
    start: usize,
    #[serde(default)]
    stable_diffusion: bool,
    /// Absent when diffusers fell over in all runs.
    timesteps: Option<Vec<f64>>,
    init_noise_sigma: Option<f64>,
    /// By prediction type.
    runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct Run {
    half: Option<Vec<f32>>,
    last: Option<Vec<f32>>,
    refused: Option<String>,
    #[serde(default)]
    not_finite: bool,
}

/// What our scheduler made of a case.
struct Walked {
    timesteps: Vec<f64>,
    init_noise_sigma: f64,
    half: Vec<f32>,
    last: Vec<f32>,
}

fn goldens() -> Goldens {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/schedulers.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn goldens_without_cases() -> Goldens {
    let initial = vec![0.8, -1.1, 0.35, 1.7, -0.45, 0.05, -2.0, 1.2];
    Goldens { seed: 7, clean: initial.clone(), initial, alphas: Vec::new(), cases: Vec::new() }
}

fn read(config: &Value) -> SchedulerConfig {
    let file = ConfigFile::parse("scheduler/scheduler_config.json", config.to_string().as_bytes()).unwrap();
    SchedulerConfig::read(file).unwrap_or_else(|e| panic!("{e}: {config}"))
}

fn by_name(name: &str) -> SchedulerKind {
    SchedulerKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap()
}

/// The model of `schedulers.py`.
fn model(latents: &Tensor, timestep: f64) -> Tensor {
    let wave = (0..latents.elem_count()).map(|j| (0.4 * (0.01 * timestep + 0.7 * j as f64).cos()) as f32);
    let wave = Tensor::from_iter(wave, &Device::Cpu).unwrap().reshape(latents.shape()).unwrap();
    (latents.affine(0.6, 0.0).unwrap() + wave).unwrap()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, (1, 2, 2, 2), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Walks from start to end, as the pipeline does.
fn walk(scheduler: &mut dyn Scheduler, start: usize, goldens: &Goldens) -> Walked {
    let init_noise_sigma = scheduler.init_noise_sigma();
    let initial = tensor(&goldens.initial);
    let mut latents = initial.affine(init_noise_sigma, 0.0).unwrap();
    if start > 0 {
        scheduler.start_at(start * scheduler.order());
        latents = scheduler.add_noise(&tensor(&goldens.clean), &initial).unwrap();
    }
    let timesteps = scheduler.timesteps().to_vec();
    let mut noise = TorchGenerator::new(goldens.seed);
    let mut half = latents.clone();
    for (i, timestep) in timesteps.iter().enumerate() {
        let output = model(&scheduler.scale_model_input(&latents).unwrap(), *timestep);
        latents = scheduler.step(&output, &latents, &mut noise).unwrap();
        if i == timesteps.len() / 2 {
            half = latents.clone();
        }
    }
    Walked { timesteps, init_noise_sigma, half: values(&half), last: values(&latents) }
}

fn run(case: &Case, prediction: &str, goldens: &Goldens) -> Result<Walked, FieldError> {
    let mut config = case.config.clone();
    config["prediction_type"] = prediction.into();
    let mut config = read(&config);
    if case.stable_diffusion {
        config = config.for_stable_diffusion();
    }
    let mut scheduler = config.build(case.kind.as_deref().map(by_name), case.steps, case.karras, case.eta)?;
    Ok(walk(scheduler.as_mut(), case.start, goldens))
}

fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    let largest = want.iter().fold(0f32, |max, v| max.max(v.abs()));
    let error = got
        .iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs())
        .fold(0f32, |max, e| if e > max || e.is_nan() { e } else { max });
    f64::from(error) / f64::from(largest)
}

fn is_finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

#[test]
fn signal_levels_are_diffusers() {
    for alphas in goldens().alphas {
        let config = read(&alphas.config);
        let ours = super::betas::AlphasCumprod::new(&config.noise_options(SchedulerKind::Ddim)).unwrap();
        for (at, want) in alphas.at.iter().zip(&alphas.values) {
            let got = ours.values()[*at];
            // Zero terminal SNR goes through a square root, which torch takes from MKL: not always the nearest f32.
            let exact = alphas.config.get("rescale_betas_zero_snr").is_none();
            let close = if exact { got == *want } else { (got - want).abs() <= 1e-6 * want };
            assert!(close, "{got} instead of {want} at timestep {at} of {}", alphas.config);
        }
    }
}

#[test]
fn walks_are_diffusers() {
    let goldens = goldens();
    let mut worst: BTreeMap<(&str, &str), (f64, String)> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in &goldens.cases {
        for (prediction, golden) in &case.runs {
            let what = format!(
                "{} {} {} steps {} kind {:?} karras {:?} eta {} start {}",
                case.name, case.config, prediction, case.steps, case.kind, case.karras, case.eta, case.start
            );
            let Some(last) = &golden.last else {
                if let Err(problem) = where_diffusers_fails(case, prediction, golden, &goldens) {
                    failures.push(format!("{problem}: {what}"));
                }
                continue;
            };
            let ours = match run(case, prediction, &goldens) {
                Ok(ours) => ours,
                Err(e) => {
                    failures.push(format!("{e}: {what}"));
                    continue;
                }
            };
            let want = case.timesteps.as_deref().unwrap_or_default();
            if diffusers_counts_below_zero(case) {
                // Its walk has a wrong last evaluation; all before it are compared.
                assert_eq!(&want[..ours.timesteps.len()], ours.timesteps, "{what}");
                continue;
            }
            let close = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
            // Fractional timesteps come from differences of logarithms that diffusers has in f32.
            let same = want.len() == ours.timesteps.len()
                && want
                    .iter()
                    .zip(&ours.timesteps)
                    .all(|(w, o)| close(*o, *w, 1e-6).max((o - w).abs() < 1e-4));
            if !same {
                failures.push(format!("timesteps {:?} instead of {want:?}: {what}", ours.timesteps));
                continue;
            }
            assert!(close(ours.init_noise_sigma, case.init_noise_sigma.unwrap(), 1e-6), "{what}");
            let mut error = relative_error(&ours.last, last);
            if let Some(half) = &golden.half {
                error = error.max(relative_error(&ours.half, half));
            }
            if error.is_nan() || error > tolerance(ours.init_noise_sigma) {
                failures.push(format!("relative error {error:e}: {what}"));
            }
            let kind = case.kind.as_deref().unwrap_or_else(|| read(&case.config).kind().name());
            let entry = worst.entry((kind, &case.name)).or_default();
            if error > entry.0 {
                *entry = (error, what);
            }
        }
    }
    for ((kind, name), (error, what)) in &worst {
        println!("{kind:22} {name:20} {error:.1e}  {}", &what[..what.len().min(200)]);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Where noise levels are in the thousands (zero terminal SNR, squared cosine), diffusers' Euler, Heun and LMS
/// subtract latents of that size from each other in f32 on their way to latents of size 1. The walk here is free of
/// those subtractions, so the difference is theirs: about a unit in the last place of the initial latents.
fn tolerance(init_noise_sigma: f64) -> f64 {
    TOLERANCE.max(2.0 * init_noise_sigma * f64::from(f32::EPSILON))
}

/// With trailing spacing and 61 steps, numpy's arange is one too long and diffusers evaluates timestep -1, too.
fn diffusers_counts_below_zero(case: &Case) -> bool {
    case.timesteps.as_deref().unwrap_or_default().iter().any(|timestep| *timestep < 0.0)
        && case.config.get("timestep_type").is_none()
}

/// What diffusers refuses or makes NaN of is refused here, too, or has finite numbers here.
fn where_diffusers_fails(
    case: &Case,
    prediction: &str,
    golden: &Run,
    goldens: &Goldens,
) -> Result<(), String> {
    assert!(golden.not_finite || golden.refused.is_some());
    let refusal = golden.refused.as_deref().unwrap_or_default();
    // An LCM has no more steps than it was distilled on.
    let refused = refusal.contains("original_steps");
    match run(case, prediction, goldens) {
        Err(e) if refused && e.field == "steps" => Ok(()),
        Err(e) => Err(format!("refused: {e}")),
        Ok(_) if refused => Err("not refused".into()),
        Ok(ours) if is_finite(&ours.last) => Ok(()),
        Ok(ours) => Err(format!("{:?}", ours.last)),
    }
}
