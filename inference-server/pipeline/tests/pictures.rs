//! Whole pictures against diffusers' (`inference-server/golden/models.py`), and jobs against each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use diffusion_pipeline::{
    ImageFormat, InitImage, LoadOptions, Pipeline, Precision, Request, SchedulerKind, Source,
};
use image::RgbImage;
use proptest::prelude::*;
use serde::Deserialize;

/// Small random checkpoints, and the bundled model, which is trained.
const NAMES: [&str; 8] = ["sd1", "sd2", "odd", "mixed", "wide", "shards", "shift", "emoji"];

#[derive(Deserialize)]
struct Manifest {
    pictures: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    prompt: String,
    #[serde(default)]
    negative_prompt: String,
    seed: u64,
    steps: usize,
    guidance_scale: f64,
    #[serde(default)]
    guidance_rescale: f64,
    width: Option<usize>,
    height: Option<usize>,
    scheduler: Option<String>,
    karras: Option<bool>,
    #[serde(default)]
    eta: f64,
    strength: Option<f64>,
    file: String,
    /// How close torch in bf16 comes to the picture.
    torch_bf16_psnr: f64,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn load(name: &str, precision: Precision) -> Pipeline {
    let folder = match name {
        "emoji" => tests().join("../../models/emoji"),
        _ => tests().join("checkpoints").join(name),
    };
    let source = Source::Directory(folder);
    Pipeline::load(&source, &LoadOptions { precision }).unwrap()
}

/// The picture that `models.py` starts from.
fn init_image(width: usize, height: usize) -> RgbImage {
    let (w, h) = (width as u32, height as u32);
    RgbImage::from_fn(w, h, |x, y| {
        image::Rgb([(x * 255 / w) as u8, (y * 255 / h) as u8, ((x + y) % 256) as u8])
    })
}

impl Golden {
    fn request(&self, pipeline: &Pipeline) -> Request {
        let model = pipeline.info();
        let defaults = model.defaults(&self.prompt);
        let (width, height) = (self.width.unwrap_or(model.width), self.height.unwrap_or(model.height));
        let scheduler = self.scheduler.as_ref().map(|name| {
            SchedulerKind::ALL.into_iter().find(|kind| kind.name() == name).expect("a scheduler's name")
        });
        Request {
            negative_prompt: self.negative_prompt.clone(),
            seed: self.seed,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            guidance_rescale: self.guidance_rescale,
            width,
            height,
            scheduler,
            karras: self.karras,
            eta: self.eta,
            init: self.strength.map(|strength| InitImage { image: init_image(width, height), strength }),
            ..defaults
        }
    }
}

/// Peak signal-to-noise ratio in dB, and the share of values that differ by more than one level.
fn compare(got: &RgbImage, want: &RgbImage) -> (f64, f64) {
    assert_eq!(got.dimensions(), want.dimensions());
    let differences: Vec<f64> =
        got.as_raw().iter().zip(want.as_raw()).map(|(&a, &b)| f64::from(a.abs_diff(b))).collect();
    let n = differences.len() as f64;
    let mse = differences.iter().map(|d| d * d).sum::<f64>() / n;
    let far = differences.iter().filter(|&&d| d > 1.0).count() as f64 / n;
    (10.0 * (255.0f64.powi(2) / mse.max(1e-9)).log10(), far)
}

/// Draws every golden picture of a checkpoint; what `compare` says of each.
fn draw(name: &str, precision: Precision) -> Vec<(Golden, f64, f64)> {
    let pipeline = load(name, precision);
    let manifest = std::fs::read(tests().join(format!("golden/models/{name}.json"))).unwrap();
    let goldens = serde_json::from_slice::<Manifest>(&manifest).unwrap().pictures;
    let compared = goldens.into_iter().map(|golden| {
        let want = image::open(tests().join("golden/models").join(&golden.file)).unwrap().into_rgb8();
        let picture = pipeline.generate(&golden.request(&pipeline), |_, _| ());
        let got = picture.unwrap_or_else(|e| panic!("{}: {e}", golden.file)).pixels;
        let (psnr, far) = compare(&got, &want);
        (golden, psnr, far)
    });
    compared.collect()
}

#[test]
fn pictures_in_f32_are_diffusers_own() {
    let drawn: Vec<_> = NAMES.iter().flat_map(|name| draw(name, Precision::F32)).collect();
    for (golden, psnr, far) in &drawn {
        println!("{}: {psnr:.1} dB, {:.3} % differ by more than a level", golden.file, far * 100.0);
        assert!(*psnr >= 50.0 && *far <= 0.001, "{}: {psnr:.1} dB, {far}", golden.file);
    }
    assert!(drawn.len() >= 50, "{}", drawn.len());
}

/// A picture alone says little: random weights magnify the last digit, and two ways to round the same numbers are some dB
/// apart on it, either way. The mean of all pictures has to be torch's, a checkpoint's nearly.
#[test]
fn pictures_in_bf16_are_as_close_to_diffusers_f32_as_torchs_in_bf16() {
    /// What a checkpoint's mean may be below torch's, in dB.
    const MARGIN: f64 = 0.5;
    /// What a picture may be below torch's, in dB.
    const SWING: f64 = 6.0;
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for name in NAMES {
        let drawn = draw(name, Precision::Bf16);
        let pairs: Vec<_> = drawn.iter().map(|(golden, ours, _)| (*ours, golden.torch_bf16_psnr)).collect();
        rows.extend(drawn.iter().zip(&pairs).map(|((golden, ..), &pair)| (golden.file.clone(), pair, SWING)));
        rows.push((format!("{name}: mean"), mean(&pairs), MARGIN));
        all.extend(pairs);
    }
    rows.push(("all: mean".into(), mean(&all), 0.0));
    println!("{:14} {:>6} {:>6}", "dB", "ours", "torch");
    for (what, (ours, torch), _) in &rows {
        println!("{what:14} {ours:6.2} {torch:6.2} {:+6.2}", ours - torch);
    }
    for (what, (ours, torch), allowed) in rows {
        assert!(ours >= torch - allowed, "{what}: {ours:.2} dB, torch in bf16 {torch:.2} dB");
    }
}

fn mean(pairs: &[(f64, f64)]) -> (f64, f64) {
    let n = pairs.len() as f64;
    (pairs.iter().map(|pair| pair.0).sum::<f64>() / n, pairs.iter().map(|pair| pair.1).sum::<f64>() / n)
}

fn bits(pipeline: &Pipeline, request: &Request) -> Vec<u8> {
    pipeline.generate(request, |_, _| ()).unwrap().pixels.into_raw()
}

fn requests(pipeline: &Pipeline) -> impl Strategy<Value = Vec<Request>> + use<> {
    let model = pipeline.info().clone();
    let one =
        (any::<u64>(), 1usize..6, prop_oneof![Just(1.0), 2.0..9.0f64], 0usize..SchedulerKind::ALL.len());
    let interval = prop_oneof![Just((0.0, 1.0)), (0.0..0.5f64, 0.5..=1.0f64)];
    let cache = prop_oneof![Just(1usize), 2usize..5];
    let merging = prop_oneof![Just(0.0), Just(0.5), 0.1..=0.75f64];
    let request = (one, interval, (cache, merging)).prop_map(
        move |((seed, steps, guidance_scale, kind), (guidance_start, guidance_end), faster)| {
            let (cache_interval, token_merging) = faster;
            Request {
                seed,
                steps,
                guidance_scale,
                guidance_start,
                guidance_end,
                cache_interval,
                token_merging,
                scheduler: Some(SchedulerKind::ALL[kind]),
                ..model.defaults(format!("picture {seed}"))
            }
        },
    );
    prop::collection::vec(request, 1..5)
}

#[test]
fn a_job_in_a_batch_gives_the_picture_that_it_gives_alone_and_a_dropped_one_changes_nothing() {
    let pipeline = load("shift", Precision::F32);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(32));
    let case = (requests(&pipeline), any::<prop::sample::Index>(), 0usize..4);
    runner
        .run(&case, |(requests, dropped, after)| {
            let dropped = (requests.len() > 1).then(|| dropped.index(requests.len()));
            let mut jobs: Vec<_> =
                requests.iter().map(|request| Some(pipeline.start(request).unwrap())).collect();
            for round in 0.. {
                if let (Some(gone), true) = (dropped, round == after) {
                    jobs[gone] = None;
                }
                let mut live: Vec<_> = jobs.iter_mut().flatten().collect();
                if live.iter().all(|job| job.is_done()) {
                    break;
                }
                pipeline.step(&mut live).unwrap();
            }
            for (request, job) in requests.iter().zip(&mut jobs) {
                let Some(job) = job else { continue };
                prop_assert_eq!(pipeline.finish(job).unwrap().pixels.into_raw(), bits(&pipeline, request));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn jobs_of_different_sizes_are_refused_and_none_has_moved() {
    let pipeline = load("sd1", Precision::F32);
    let small = pipeline.info().defaults("a cat");
    let large = Request { width: 128, ..small.clone() };
    let mut jobs = [pipeline.start(&small).unwrap(), pipeline.start(&large).unwrap()];
    let error = pipeline.step(&mut jobs).unwrap_err().to_string();
    assert!(error.contains("latents of one shape"), "{error}");
    assert!(jobs.iter().all(|job| job.done() == 0));
}

#[test]
fn a_request_that_cannot_be_drawn_names_the_field() {
    let pipeline = load("sd1", Precision::F32);
    let good = Request { steps: 4, ..pipeline.info().defaults("a cat") };
    pipeline.check(&good).unwrap();
    let init = |strength| Some(InitImage { image: init_image(64, 64), strength });
    for (request, field) in [
        (Request { steps: 0, ..good.clone() }, "steps"),
        (Request { steps: 1_000_000_000, ..good.clone() }, "steps"),
        (Request { width: 60, ..good.clone() }, "width"),
        (Request { width: usize::MAX, ..good.clone() }, "width"),
        (Request { height: 0, ..good.clone() }, "height"),
        (Request { guidance_scale: f64::NAN, ..good.clone() }, "guidance_scale"),
        (Request { guidance_scale: -1.0, ..good.clone() }, "guidance_scale"),
        (Request { guidance_rescale: 1.5, ..good.clone() }, "guidance_rescale"),
        (Request { guidance_start: -0.1, ..good.clone() }, "guidance_start"),
        (Request { guidance_start: f64::NAN, ..good.clone() }, "guidance_start"),
        (Request { guidance_end: 1.1, ..good.clone() }, "guidance_end"),
        (Request { guidance_start: 0.6, guidance_end: 0.6, ..good.clone() }, "guidance_end"),
        (Request { cache_interval: 0, ..good.clone() }, "cache_interval"),
        (Request { cache_interval: 11, ..good.clone() }, "cache_interval"),
        (Request { token_merging: -0.1, ..good.clone() }, "token_merging"),
        (Request { token_merging: 0.76, ..good.clone() }, "token_merging"),
        (Request { token_merging: f64::NAN, ..good.clone() }, "token_merging"),
        (Request { eta: f64::INFINITY, ..good.clone() }, "eta"),
        (Request { init: init(1.1), ..good.clone() }, "strength"),
        (Request { init: init(0.1), ..good.clone() }, "strength"),
    ] {
        let error = pipeline.check(&request).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(pipeline.start(&request).is_err(), "{field}");
    }
}

#[test]
fn a_cut_prompt_is_a_warning_and_the_same_seed_the_same_picture() {
    let pipeline = load("sd1", Precision::F32);
    let request = Request { steps: 2, ..pipeline.info().defaults("word ".repeat(90)) };
    let job = pipeline.start(&request).unwrap();
    assert!(job.warnings()[0].starts_with("prompt was cut at 77 tokens"), "{:?}", job.warnings());
    assert_eq!(bits(&pipeline, &request), bits(&pipeline, &request));
    assert_ne!(bits(&pipeline, &request), bits(&pipeline, &Request { seed: 1, ..request.clone() }));
    let picture = pipeline.generate(&request, |_, _| ()).unwrap();
    picture.encode(ImageFormat::Png, Some(&request.describe(pipeline.info()))).unwrap();
}
