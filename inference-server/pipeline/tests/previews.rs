//! Looks at pictures in the making: how close they are to what is drawn in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use diffusion_pipeline::{Job, LoadOptions, Pipeline, Precision, Request, SchedulerKind, Source};
use image::RgbImage;
use image::imageops::{FilterType, resize};

fn emoji() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/emoji")
}

fn load(folder: PathBuf, precision: Precision) -> Pipeline {
    Pipeline::load(&Source::Directory(folder), &LoadOptions { precision }).unwrap()
}

/// The bundled model without its preview decoder, as most checkpoints are.
fn without_decoder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(emoji()).unwrap() {
        let path = entry.unwrap().path().canonicalize().unwrap();
        let name = path.file_name().unwrap();
        if name != "preview_decoder" {
            std::os::unix::fs::symlink(&path, folder.path().join(name)).unwrap();
        }
    }
    let path = folder.path().into();
    (folder, path)
}

/// A preview after every evaluation, and the picture.
fn draw(pipeline: &Pipeline, request: &Request) -> (Vec<RgbImage>, RgbImage) {
    let mut job = pipeline.start(request).unwrap();
    let mut previews = Vec::new();
    while !job.is_done() {
        pipeline.step(std::slice::from_mut(&mut job)).unwrap();
        previews.push(look(pipeline, &job));
    }
    (previews, pipeline.finish(&mut job).unwrap().pixels)
}

fn look(pipeline: &Pipeline, job: &Job) -> RgbImage {
    pipeline.preview(job).unwrap().pixels
}

/// Peak signal-to-noise ratio in dB, of the picture brought to the preview's size.
fn psnr(preview: &RgbImage, picture: &RgbImage) -> f64 {
    let (width, height) = preview.dimensions();
    let picture = resize(picture, width, height, FilterType::Triangle);
    let pairs = preview.as_raw().iter().zip(picture.as_raw());
    let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) * preview.as_raw().len() as f64 / squares.max(1e-9)).log10()
}

const PROMPTS: [&str; 4] = ["a red apple", "a cat face", "a rocket on a blue background", "a birthday cake"];

/// The least mean of what previews of the prompts are at the end, half of the way and after a quarter of it, in dB.
fn previews_reach(pipeline: &Pipeline, size: u32, least: [f64; 3]) {
    let mut means = [0.0; 3];
    for prompt in PROMPTS {
        let request = Request { seed: 3, steps: 20, ..pipeline.info().defaults(prompt) };
        let (previews, picture) = draw(pipeline, &request);
        let n = previews.len();
        for (mean, index) in means.iter_mut().zip([n - 1, n / 2, n / 4]) {
            assert_eq!(previews[index].dimensions(), (size, size));
            let psnr = psnr(&previews[index], &picture);
            println!("{prompt}, evaluation {} of {n}: {psnr:.1} dB", index + 1);
            *mean += psnr / PROMPTS.len() as f64;
        }
    }
    println!("means: {means:.1?}");
    for (mean, least) in means.into_iter().zip(least) {
        assert!(mean >= least, "{means:?}");
    }
}

/// The floors are some 2 dB below what there is: the decoder's own distance from the VAE's at the end, and what is still to be
/// decided before.
#[test]
fn the_bundled_decoder_shows_what_comes() {
    previews_reach(&load(emoji(), Precision::F32), 128, [29.0, 24.5, 20.5]);
    previews_reach(&load(emoji(), Precision::Bf16), 128, [29.0, 24.5, 20.5]);
}

#[test]
fn without_a_decoder_colours_and_shapes_can_be_seen() {
    let (_folder, path) = without_decoder();
    previews_reach(&load(path, Precision::F32), 32, [18.0, 17.0, 14.0]);
}

/// Whatever the architecture, scheduler and prediction; a picture does not depend on being looked at, nor a preview on others.
#[test]
fn every_checkpoint_has_previews_and_they_change_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    for checkpoint in std::fs::read_dir(folder).unwrap() {
        let path = checkpoint.unwrap().path();
        let pipeline = load(path.clone(), Precision::F32);
        for scheduler in SchedulerKind::ALL {
            let request = Request {
                steps: 3,
                guidance_scale: 3.0,
                scheduler: Some(scheduler),
                ..pipeline.info().defaults("a cat")
            };
            let Ok(plain) = pipeline.generate(&request, |_, _| ()) else {
                // Some schedulers do not take some checkpoints' predictions.
                continue;
            };
            let (previews, picture) = draw(&pipeline, &request);
            assert_eq!(picture, plain.pixels, "{} {scheduler:?}", path.display());
            let (again, _) = draw(&pipeline, &request);
            assert_eq!(previews, again, "{} {scheduler:?}", path.display());
            let side = |pixels: usize| 2 * (pixels / pipeline.info().size_multiple) as u32;
            assert_eq!(previews[0].dimensions(), (side(request.width), side(request.height)));
        }
    }
}
