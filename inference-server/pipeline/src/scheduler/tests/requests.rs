//! What a request may ask for, and walks with a known end.

use candle_core::Tensor;
use serde_json::json;

use super::{SchedulerConfig, SchedulerKind, TorchGenerator, read, tensor, values};

fn config(class: &str) -> SchedulerConfig {
    read(
        &json!({"_class_name": class, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}),
    )
}

fn refusal(kind: SchedulerKind, steps: usize, karras: Option<bool>, eta: f64) -> String {
    match config("PNDMScheduler").build(Some(kind), steps, karras, eta) {
        Ok(_) => panic!("{kind:?} accepted"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn limits_and_alternatives_are_named() {
    use SchedulerKind::{Ddim, Euler, Lcm, Pndm};
    assert_eq!(refusal(Pndm, 0, None, 0.0), "steps: must be from 1 to 1000, not 0");
    assert_eq!(refusal(Pndm, 1001, None, 0.0), "steps: must be from 1 to 1000, not 1001");
    assert_eq!(
        refusal(Lcm, 51, None, 0.0),
        "steps: must be from 1 to 50 with scheduler lcm, not 51; use another scheduler for more"
    );
    assert_eq!(
        refusal(Ddim, 10, Some(true), 0.0),
        "karras: scheduler ddim does not take Karras noise levels; these do: lms, euler, heun, \
         dpm_solver_multistep, unipc_multistep"
    );
    assert_eq!(refusal(Euler, 10, None, 0.5), "eta: must be 0 with scheduler euler; only ddim takes it");
    for eta in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(refusal(Ddim, 10, None, eta).starts_with("eta: must be from 0 to 1"));
    }
}

#[test]
fn karras_false_is_welcome_everywhere() {
    for kind in SchedulerKind::ALL {
        assert!(config("PNDMScheduler").build(Some(kind), 10, Some(false), 0.0).is_ok());
    }
}

#[test]
fn evaluations_per_step() {
    for (kind, evaluations) in [
        (SchedulerKind::Pndm, 18), // 12 of the Runge-Kutta steps take the place of three
        (SchedulerKind::Heun, 17),
        (SchedulerKind::Euler, 9),
        (SchedulerKind::UniPcMultistep, 9),
    ] {
        let scheduler = config("PNDMScheduler").build(Some(kind), 9, None, 0.0).unwrap();
        assert_eq!(scheduler.timesteps().len(), evaluations, "{kind:?}");
    }
}

#[test]
fn one_evaluation_too_many_is_an_error() {
    let latents = tensor(&[1.0; 8]);
    for kind in SchedulerKind::ALL {
        let mut scheduler = config("PNDMScheduler").build(Some(kind), 4, None, 0.0).unwrap();
        let mut noise = TorchGenerator::new(0);
        for _ in 0..scheduler.timesteps().len() {
            scheduler.step(&latents, &latents, &mut noise).unwrap();
        }
        assert!(scheduler.step(&latents, &latents, &mut noise).is_err(), "{kind:?}");
        assert!(
            scheduler.scale_model_input(&latents).is_ok() && scheduler.add_noise(&latents, &latents).is_ok()
        );
        scheduler.start_at(usize::MAX);
        assert!(scheduler.timesteps().is_empty(), "{kind:?}");
        assert!(scheduler.step(&latents, &latents, &mut noise).is_err(), "{kind:?}");
    }
}

/// A model that knows the picture: every scheduler must then arrive there, whatever diffusers can do.
#[test]
fn a_perfect_prediction_of_the_sample_arrives_at_it() {
    let clean = tensor(&[0.3, -0.7, 1.5, 0.1, -1.2, 0.9, 0.6, -0.2]);
    let noise = tensor(&[0.8, -1.1, 0.35, 1.7, -0.45, 0.05, -2.0, 1.2]);
    for kind in SchedulerKind::ALL {
        for steps in [1, 2, 3, 10] {
            for skip in [true, false] {
                let config = read(&json!({
                    "_class_name": "DDIMScheduler", "prediction_type": "sample", "clip_sample": false,
                    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                    "set_alpha_to_one": true, "timestep_spacing": "leading", "skip_prk_steps": skip
                }));
                let mut scheduler = config.build(Some(kind), steps, None, 0.0).unwrap();
                let mut latents: Tensor = scheduler.add_noise(&clean, &noise).unwrap();
                let mut generator = TorchGenerator::new(1);
                for _ in 0..scheduler.timesteps().len() {
                    latents = scheduler.step(&clean, &latents, &mut generator).unwrap();
                }
                let error = super::relative_error(&values(&latents), &values(&clean));
                // LCM's boundary condition mixes in a little of the latents.
                let tolerance = if kind == SchedulerKind::Lcm { 1e-4 } else { 1e-5 };
                assert!(error < tolerance, "{kind:?} {steps} {skip}: {error:e}");
            }
        }
    }
}
