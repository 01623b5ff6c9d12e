//! Whether the small checkpoints can fail a test at all: weak random weights draw the same picture whatever the prompt, and
//! would agree with diffusers without a text encoder.

use std::path::Path;

use diffusion_pipeline::{LoadOptions, Pipeline, Precision, Request, Source};

/// Mean absolute difference in levels.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    f64::from(sum) / a.len() as f64
}

#[test]
fn prompt_negative_prompt_seed_and_guidance_each_change_every_checkpoints_picture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    let mut tried = 0;
    for checkpoint in std::fs::read_dir(folder).unwrap() {
        let path = checkpoint.unwrap().path();
        let options = LoadOptions { precision: Precision::F32 };
        let pipeline = Pipeline::load(&Source::Directory(path.clone()), &options).unwrap();
        let draw = |request: &Request| pipeline.generate(request, |_, _| ()).unwrap().pixels.into_raw();
        let base =
            Request { seed: 1, steps: 3, guidance_scale: 4.0, ..pipeline.info().defaults("a red apple") };
        let first = draw(&base);
        for (what, other) in [
            ("prompt", Request { prompt: "two cats".into(), ..base.clone() }),
            ("negative prompt", Request { negative_prompt: "two cats".into(), ..base.clone() }),
            ("seed", Request { seed: 2, ..base.clone() }),
            ("guidance", Request { guidance_scale: 1.0, ..base.clone() }),
        ] {
            let levels = difference(&draw(&other), &first);
            println!("{}: another {what}: {levels:.1} levels", path.display());
            // The pictures' bar allows 1 level in 0.1 % of the pixels.
            assert!(levels > 2.0, "{}: another {what} changes only {levels:.2} levels", path.display());
        }
        tried += 1;
    }
    assert!(tried >= 7, "{tried} checkpoints");
}
