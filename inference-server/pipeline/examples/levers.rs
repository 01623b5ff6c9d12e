//! What the options that change the picture slightly cost and save: `levers CHECKPOINT PROMPTS f32|bf16 STEPS...` draws
//! the first ten prompts of a file with and without them, and prints a table: mean PSNR against the picture without, and
//! the steps' processor time, of all threads. A line of PROMPTS is a prompt, or `prompt = ...`; `#` begins a comment.

use std::path::Path;
use std::time::Duration;

use diffusion_pipeline::memory::Allocator;
use diffusion_pipeline::{LoadOptions, Pipeline, Precision, Request, Source};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// `guidance_start`, `guidance_end`, `cache_interval`, `token_merging`; the first is what the others are compared with.
const SETTINGS: [(f64, f64, usize, f64); 15] = [
    (0.0, 1.0, 1, 0.0),
    (0.0, 0.6, 1, 0.0),
    (0.2, 0.8, 1, 0.0),
    (0.0, 1.0, 2, 0.0),
    (0.0, 1.0, 3, 0.0),
    (0.0, 1.0, 5, 0.0),
    (0.0, 1.0, 1, 0.25),
    (0.0, 1.0, 1, 0.5),
    (0.0, 1.0, 1, 0.75),
    (0.0, 0.6, 2, 0.0),
    (0.0, 0.6, 3, 0.0),
    (0.2, 0.8, 3, 0.0),
    (0.0, 1.0, 2, 0.5),
    (0.0, 1.0, 3, 0.5),
    (0.2, 0.8, 3, 0.5),
];

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, prompts, precision, counts @ ..] = args.as_slice() else {
        return Err("usage: levers CHECKPOINT PROMPTS f32|bf16 STEPS...".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("{other} is neither f32 nor bf16").into()),
    };
    let text = std::fs::read_to_string(prompts)?;
    let prompts: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split(" = ").next().unwrap_or(line))
        .take(10)
        .collect();
    let source = Source::Directory(Path::new(checkpoint).into());
    let pipeline = Pipeline::load(&source, &LoadOptions { precision })?;
    println!(
        "| Precision | Steps | guidance_start, guidance_end | cache_interval | token_merging | PSNR | CPU seconds a \
         picture | of all |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for steps in counts {
        table(&pipeline, &prompts, steps.parse()?)?;
    }
    Ok(())
}

/// The settings take turns, so that a busy moment of the machine hits all of them.
fn table(pipeline: &Pipeline, prompts: &[&str], steps: usize) -> Outcome<()> {
    let mut figures = [(0.0, Duration::ZERO); SETTINGS.len()];
    for (seed, prompt) in prompts.iter().enumerate() {
        let mut plain: Option<Vec<u8>> = None;
        for ((start, end, interval, merging), (psnr, time)) in SETTINGS.into_iter().zip(&mut figures) {
            let request = Request {
                seed: seed as u64,
                steps,
                guidance_start: start,
                guidance_end: end,
                cache_interval: interval,
                token_merging: merging,
                ..pipeline.info().defaults(*prompt)
            };
            let mut job = pipeline.start(&request)?;
            let begin = processor_time()?;
            while !job.is_done() {
                pipeline.step(std::slice::from_mut(&mut job))?;
            }
            *time += processor_time()? - begin;
            let pixels = pipeline.finish(&mut job)?.pixels.into_raw();
            *psnr += plain.as_ref().map_or(0.0, |plain| decibels(&pixels, plain));
            plain.get_or_insert(pixels);
        }
    }
    let count = prompts.len() as f64;
    let all = figures[0].1.as_secs_f64();
    for ((start, end, interval, merging), (psnr, time)) in SETTINGS.into_iter().zip(figures) {
        let (psnr, time) = (psnr / count, time.as_secs_f64());
        let psnr = if psnr > 0.0 { format!("{psnr:.1} dB") } else { String::new() };
        println!(
            "| {:?} | {steps} | {start}, {end} | {interval} | {merging} | {psnr} | {:.2} | {:.0} % |",
            pipeline.info().precision,
            time / count,
            100.0 * time / all
        );
    }
    Ok(())
}

/// Peak signal-to-noise ratio.
fn decibels(got: &[u8], want: &[u8]) -> f64 {
    let squares: f64 = got.iter().zip(want).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let mse = squares / got.len() as f64;
    10.0 * (255.0f64.powi(2) / mse.max(1e-9)).log10()
}

/// Of all threads of this process: the fields `utime` and `stime` of proc(5), in hundredths of a second.
fn processor_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in brackets, may have blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}
