//! Times one checkpoint, for `make bench`: `bench ours|candle FOLDER f32|bf16 STEPS` prints one line of JSON.
//!
//! `candle` is candle-transformers' own Stable Diffusion module, with the same weights and inputs.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::stable_diffusion::StableDiffusionConfig;
use diffusion_pipeline::{LoadOptions, Pipeline, Precision, Request, Source};
use mimalloc::MiMalloc;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome = Result<serde_json::Value, Box<dyn std::error::Error>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [who, folder, precision, steps] = args.as_slice() else {
        return Err("usage: bench ours|candle FOLDER f32|bf16 STEPS".into());
    };
    let (folder, steps) = (Path::new(folder), steps.parse()?);
    let figures = match (who.as_str(), precision.as_str()) {
        ("ours", "f32") => ours(folder, Precision::F32, steps),
        ("ours", "bf16") => ours(folder, Precision::Bf16, steps),
        ("candle", "f32") => candle(folder, DType::F32, steps),
        ("candle", "bf16") => candle(folder, DType::BF16, steps),
        _ => Err("the first word is ours or candle, the third f32 or bf16".into()),
    }?;
    println!("{figures}");
    Ok(())
}

fn ours(folder: &Path, precision: Precision, steps: usize) -> Outcome {
    let begin = Instant::now();
    let pipeline = Pipeline::load(&Source::Directory(folder.into()), &LoadOptions { precision })?;
    let load = begin.elapsed().as_secs_f64();
    let request =
        Request { steps, ..pipeline.info().defaults("a photo of an astronaut riding a horse on mars") };
    let mut job = pipeline.start(&request)?;
    let mut seconds = Vec::new();
    while !job.is_done() && seconds.len() < steps {
        let begin = Instant::now();
        pipeline.step(std::slice::from_mut(&mut job))?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let picture = pipeline.finish(&mut job)?;
    let (width, height) = picture.pixels.dimensions();
    let (text, decode) = (job.timings().text.as_secs_f64(), job.timings().decode.as_secs_f64());
    Ok(
        json!({ "load": load, "text": text, "step": median(seconds), "decode": decode, "peak_gib": peak_gib()?,
        "size": [width, height] }),
    )
}

fn candle(folder: &Path, dtype: DType, steps: usize) -> Outcome {
    let (device, config) = (Device::Cpu, StableDiffusionConfig::v1_5(None, None, None));
    let begin = Instant::now();
    let file = |part: &str| folder.join(part).join("diffusion_pytorch_model.safetensors");
    let unet = config.build_unet(file("unet"), &device, 4, false, dtype)?;
    let vae = config.build_vae(file("vae"), &device, dtype)?;
    let load = begin.elapsed().as_secs_f64();
    let latents = Tensor::randn(0f32, 1.0, (2, 4, 64, 64), &device)?.to_dtype(dtype)?;
    let context = Tensor::randn(0f32, 1.0, (2, 77, 768), &device)?.to_dtype(dtype)?;
    let mut seconds = Vec::new();
    for _ in 0..steps {
        let begin = Instant::now();
        unet.forward(&latents, 500.0, &context)?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let begin = Instant::now();
    vae.decode(&latents.narrow(0, 0, 1)?)?;
    let decode = begin.elapsed().as_secs_f64();
    Ok(json!({ "load": load, "step": median(seconds), "decode": decode, "peak_gib": peak_gib()? }))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Peak resident memory of this process.
fn peak_gib() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0 / 1024.0)
}
