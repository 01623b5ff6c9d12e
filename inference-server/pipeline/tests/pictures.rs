//! Whole pictures against diffusers' own: `inference-server/golden/models.py` drew them.

use std::path::{Path, PathBuf};

use diffusion_pipeline::{InitImage, LoadOptions, Pipeline, Precision, Request, SchedulerKind, Source};
use image::{Rgb, RgbImage};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    pictures: Vec<Drawn>,
}

/// A picture's parameters; what is left out is the checkpoint's own.
#[derive(Deserialize)]
struct Drawn {
    file: String,
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
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Names of the checkpoints.
fn checkpoints() -> Vec<String> {
    let folders = std::fs::read_dir(tests().join("checkpoints")).unwrap();
    let mut names: Vec<_> = folders.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn load(name: &str, precision: Precision) -> Pipeline {
    let source = Source::Directory(tests().join("checkpoints").join(name));
    Pipeline::load(&source, &LoadOptions { precision }).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn goldens(name: &str) -> Vec<Drawn> {
    let text = std::fs::read_to_string(tests().join(format!("golden/models/{name}.json"))).unwrap();
    serde_json::from_str::<Golden>(&text).unwrap().pictures
}

/// The picture that `golden/models.py` starts from, too.
fn init_image(width: usize, height: usize) -> RgbImage {
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb([x * 255 / width as u32, y * 255 / height as u32, (x + y) % 256].map(|v| v as u8))
    })
}

fn request(drawn: &Drawn, pipeline: &Pipeline) -> Request {
    let defaults = pipeline.info().defaults(&drawn.prompt);
    let (width, height) = (drawn.width.unwrap_or(defaults.width), drawn.height.unwrap_or(defaults.height));
    let kind = |name: &String| SchedulerKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap();
    Request {
        negative_prompt: drawn.negative_prompt.clone(),
        seed: drawn.seed,
        steps: drawn.steps,
        guidance_scale: drawn.guidance_scale,
        guidance_rescale: drawn.guidance_rescale,
        width,
        height,
        scheduler: drawn.scheduler.as_ref().map(kind),
        karras: drawn.karras,
        eta: drawn.eta,
        init: drawn.strength.map(|strength| InitImage { image: init_image(width, height), strength }),
        ..defaults
    }
}

/// How two pictures differ.
struct Difference {
    /// Peak signal-to-noise ratio in dB.
    psnr: f64,
    /// Share of the pixels in which no channel differs by more than one level.
    near: f64,
}

fn compare(got: &RgbImage, want: &RgbImage, what: &str) -> Difference {
    assert_eq!(got.dimensions(), want.dimensions(), "{what}");
    let (mut squares, mut near) = (0.0, 0.0);
    for (a, b) in got.pixels().zip(want.pixels()) {
        let levels = [0, 1, 2].map(|c| a.0[c].abs_diff(b.0[c]));
        squares += levels.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>();
        near += f64::from(u8::from(levels.iter().all(|d| *d <= 1)));
    }
    let pixels = got.pixels().len() as f64;
    Difference { psnr: 10.0 * (255.0 * 255.0 / (squares / (3.0 * pixels))).log10(), near: near / pixels }
}

/// What is outside the bars, for every picture of every checkpoint.
fn failures(precision: Precision, passes: impl Fn(&Difference) -> bool) -> Vec<String> {
    let (mut failed, mut worst) = (Vec::new(), Difference { psnr: f64::INFINITY, near: 1.0 });
    for name in checkpoints() {
        let pipeline = load(&name, precision);
        let drawn = goldens(&name);
        assert!(drawn.len() >= 6, "{name} has only {} pictures", drawn.len());
        for drawn in drawn {
            let want = image::open(tests().join("golden/models").join(&drawn.file)).unwrap().to_rgb8();
            let request = request(&drawn, &pipeline);
            let file = &drawn.file;
            let got = match pipeline.generate(&request, |_, _| ()) {
                Ok(picture) => picture.pixels,
                Err(e) => {
                    failed.push(format!("{file}: {e}"));
                    continue;
                }
            };
            let difference = compare(&got, &want, file);
            let Difference { psnr, near } = difference;
            if !passes(&difference) {
                failed.push(format!("{file}: {psnr:.1} dB, {:.3} % within one level", near * 100.0));
            }
            worst = Difference { psnr: worst.psnr.min(psnr), near: worst.near.min(near) };
        }
    }
    println!("{precision:?}: worst {:.1} dB, {:.3} % within one level", worst.psnr, worst.near * 100.0);
    failed
}

#[test]
fn in_f32_pictures_are_diffusers_own() {
    let failed = failures(Precision::F32, |d| d.psnr >= 50.0 && d.near >= 0.999);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn in_bf16_pictures_look_the_same() {
    let failed = failures(Precision::Bf16, |d| d.psnr >= 30.0);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Weak weights would make all of the above pass without a text encoder.
#[test]
fn prompt_seed_and_guidance_each_change_every_checkpoints_picture() {
    for name in checkpoints() {
        let pipeline = load(&name, Precision::F32);
        let base =
            Request { seed: 1, steps: 3, guidance_scale: 4.0, ..pipeline.info().defaults("a red apple") };
        let draw = |request: &Request| pipeline.generate(request, |_, _| ()).unwrap().pixels;
        let first = draw(&base);
        assert_eq!(first, draw(&base), "{name}: the same request drew another picture");
        for (what, request) in [
            ("prompt", Request { prompt: "two cats".into(), ..base.clone() }),
            ("negative prompt", Request { negative_prompt: "two cats".into(), ..base.clone() }),
            ("seed", Request { seed: 2, ..base.clone() }),
            ("guidance", Request { guidance_scale: 1.0, ..base.clone() }),
        ] {
            let Difference { psnr, .. } = compare(&draw(&request), &first, &name);
            println!("{name}: another {what}: {psnr:.1} dB");
            assert!(psnr < 35.0, "{name}: another {what} changes next to nothing ({psnr:.1} dB)");
        }
    }
}
