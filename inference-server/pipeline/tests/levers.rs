//! The options that change a picture slightly: how much they change it, and how much of the UNet they leave out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use diffusion_pipeline::{Evaluated, LoadOptions, Pipeline, Precision, Request, SchedulerKind, Source};

fn load(folder: PathBuf) -> Pipeline {
    Pipeline::load(&Source::Directory(folder), &LoadOptions { precision: Precision::F32 }).unwrap()
}

fn emoji() -> Pipeline {
    load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/emoji"))
}

/// The picture and what the UNet did for it.
fn draw(pipeline: &Pipeline, request: &Request) -> (Vec<u8>, Evaluated) {
    let mut job = pipeline.start(request).unwrap();
    while !job.is_done() {
        pipeline.step(std::slice::from_mut(&mut job)).unwrap();
    }
    let pixels = pipeline.finish(&mut job).unwrap().pixels.into_raw();
    (pixels, job.evaluated())
}

/// Peak signal-to-noise ratio in dB.
fn psnr(got: &[u8], want: &[u8]) -> f64 {
    let squares: f64 = got.iter().zip(want).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) * got.len() as f64 / squares.max(1e-9)).log10()
}

/// The floors are some 3 dB below what there is.
#[test]
fn pictures_with_options_differ_but_not_by_much() {
    let pipeline = emoji();
    for prompt in ["red apple", "a cat face"] {
        let plain = Request { seed: 3, steps: 20, ..pipeline.info().defaults(prompt) };
        let (without, _) = draw(&pipeline, &plain);
        for (what, least, request) in [
            ("guidance from 0 to 0.6", 28.0, Request { guidance_end: 0.6, ..plain.clone() }),
            (
                "guidance from 0.2 to 0.8",
                30.0,
                Request { guidance_start: 0.2, guidance_end: 0.8, ..plain.clone() },
            ),
            ("cache interval 2", 35.0, Request { cache_interval: 2, ..plain.clone() }),
            ("cache interval 3", 32.0, Request { cache_interval: 3, ..plain.clone() }),
            ("token merging 0.25", 39.0, Request { token_merging: 0.25, ..plain.clone() }),
            ("token merging 0.5", 33.0, Request { token_merging: 0.5, ..plain.clone() }),
            ("both", 28.0, Request { guidance_end: 0.6, cache_interval: 2, ..plain.clone() }),
        ] {
            let psnr = psnr(&draw(&pipeline, &request).0, &without);
            println!("{prompt}, {what}: {psnr:.1} dB");
            assert!((least..60.0).contains(&psnr), "{prompt}, {what}: {psnr:.1} dB");
        }
    }
}

#[test]
fn the_unet_runs_as_often_as_the_options_say() {
    let pipeline = emoji();
    let ddim = Some(SchedulerKind::Ddim);
    let plain =
        Request { steps: 10, scheduler: ddim, guidance_scale: 2.0, ..pipeline.info().defaults("a cat") };
    let evaluated = |change: fn(&mut Request)| {
        let mut request = plain.clone();
        change(&mut request);
        let Evaluated { whole, reused } = draw(&pipeline, &request).1;
        (whole, reused)
    };
    assert_eq!(evaluated(|_| ()), (20, 0));
    assert_eq!(evaluated(|r| r.guidance_scale = 1.0), (10, 0));
    // Six of ten evaluations have two rows.
    assert_eq!(evaluated(|r| r.guidance_end = 0.6), (16, 0));
    assert_eq!(evaluated(|r| (r.guidance_start, r.guidance_end) = (0.2, 0.8)), (16, 0));
    // Evaluations 0, 3, 6 and 9 are whole.
    assert_eq!(evaluated(|r| r.cache_interval = 3), (8, 12));
    assert_eq!(evaluated(|r| r.cache_interval = 10), (2, 18));
    // Of 0 to 5 with two rows 0 and 4 are whole; of 6 to 9 with one, 8, as the map of 4 has the row of 6 and 7.
    assert_eq!(evaluated(|r| (r.guidance_end, r.cache_interval) = (0.6, 4)), (5, 11));
    // 0 is whole with one row, 2 as guidance begins, then 6 and, for one row, 10 would be.
    let both = |r: &mut Request| (r.guidance_start, r.guidance_end, r.cache_interval) = (0.2, 0.8, 4);
    assert_eq!(evaluated(both), (5, 11));
}

/// One block, one layer, odd sides: whatever the model, the options work.
#[test]
fn every_small_checkpoint_draws_with_the_options() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    for checkpoint in std::fs::read_dir(folder).unwrap() {
        let path = checkpoint.unwrap().path();
        let pipeline = load(path.clone());
        let plain = Request { steps: 4, guidance_scale: 3.0, ..pipeline.info().defaults("a cat") };
        let side = pipeline.info().size_multiple * 7;
        for (width, height) in [(plain.width, plain.height), (side, 3 * side)] {
            let plain = Request { width, height, ..plain.clone() };
            let (without, all) = draw(&pipeline, &plain);
            let request = Request { guidance_start: 0.4, cache_interval: 2, ..plain.clone() };
            let (with, some) = draw(&pipeline, &request);
            assert_eq!(with.len(), without.len(), "{}", path.display());
            assert!(
                with != without && some.reused > 0 && some.whole < all.whole,
                "{}: {some:?}",
                path.display()
            );
            let request = Request { token_merging: 0.5, ..plain.clone() };
            let (merged, _) = draw(&pipeline, &request);
            // One has no whole cell in the only maps that look at themselves.
            let nothing_to_merge = path.ends_with("mixed");
            assert_eq!(merged == without, nothing_to_merge, "{}", path.display());
        }
    }
}
