//! The clean latents that an output stands for.

use serde_json::json;

use super::super::combine::combine;
use super::{SchedulerKind, TorchGenerator, read, tensor, values};

/// A model that knows the clean latents, wherever a walk is.
#[test]
fn a_perfect_output_gives_the_clean_latents_at_every_evaluation() {
    let clean = tensor(&[0.5, -1.0, 0.25, 2.0, -0.75, 0.1, -1.5, 1.25]);
    let noise = tensor(&[-0.3, 0.9, 1.4, -0.6, 0.2, -1.1, 0.7, 0.4]);
    for kind in SchedulerKind::ALL {
        for prediction in ["epsilon", "v_prediction", "sample"] {
            let config = json!({"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                "beta_schedule": "scaled_linear", "prediction_type": prediction, "steps_offset": 1});
            let mut scheduler = read(&config).for_stable_diffusion().build(Some(kind), 8, None, 0.0).unwrap();
            let mut latents = scheduler.add_noise(&clean, &noise).unwrap();
            let mut generator = TorchGenerator::new(1);
            for index in 0..scheduler.timesteps().len() {
                // Latents are `signal x clean + level x noise`: the scheduler itself says how much of each.
                let [zero, one] = [0.0f32, 1.0].map(|x| tensor(&[x; 8]));
                let share = |clean, noise| f64::from(values(&scheduler.add_noise(clean, noise).unwrap())[0]);
                let (signal, level) = (share(&one, &zero), share(&zero, &one));
                let noise = combine(&[(1.0 / level, &latents), (-signal / level, &clean)]).unwrap();
                let length = signal.hypot(level);
                let output = match prediction {
                    "epsilon" => noise,
                    "sample" => clean.clone(),
                    _ => combine(&[(signal / length, &noise), (-level / length, &clean)]).unwrap(),
                };
                let (of_latents, of_output) = scheduler.clean_weights();
                let got = values(&combine(&[(of_latents, &latents), (of_output, &output)]).unwrap());
                for (got, want) in got.iter().zip(values(&clean)) {
                    // At the highest noise level a clean latent is a small difference of large numbers.
                    assert!((got - want).abs() < 1e-3, "{kind:?} {prediction} {index}: {got} {want}");
                }
                latents = scheduler.step(&output, &latents, &mut generator).unwrap();
            }
        }
    }
}
