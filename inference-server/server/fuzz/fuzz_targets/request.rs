//! Any bytes become a request within the limits or an error with words in it; a picture inside is decoded, too.

#![no_main]

use diffusion_pipeline::{ModelInfo, Precision, SchedulerKind};
use diffusion_server::params::{Defaults, Limits, decode_picture, parse, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let model = ModelInfo {
        name: "fuzz".into(),
        scheduler: SchedulerKind::Pndm,
        schedulers: SchedulerKind::ALL.into(),
        width: 64,
        height: 64,
        size_multiple: 8,
        steps: 20,
        guidance_scale: 7.5,
        max_tokens: 77,
        train_timesteps: 1000,
        image_to_image: true,
        parameters: 1,
        precision: Precision::F32,
    };
    let limits = Limits { pixels: 1 << 14, image_pixels: 1 << 14, ..Limits::default() };
    match parse(body) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(fields) => match resolve(fields, &model, &limits, &Defaults::default(), 1) {
            Err(problems) => assert!(!problems.is_empty()),
            Ok(drawing) => {
                let r = &drawing.request;
                assert!(drawing.previews <= 20);
                assert!((1..=150).contains(&r.steps) && r.width * r.height <= 1 << 14);
                assert!(r.width % 8 == 0 && r.height % 8 == 0 && r.guidance_scale.is_finite());
                if let Some((file, strength)) = drawing.image {
                    assert!(strength > 0.0 && strength <= 1.0);
                    if let Ok(picture) = decode_picture(&file, limits.image_pixels, r.width, r.height) {
                        assert_eq!(picture.dimensions(), (r.width as u32, r.height as u32));
                    }
                }
            }
        },
    }
});
