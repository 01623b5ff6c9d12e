//! Any config and any request give an error or a finite walk.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ConfigFile, SchedulerConfig, SchedulerKind, TorchGenerator, is_finite, tensor, values};

/// A config of any class: valid words, and numbers over the whole range that is let in.
fn config() -> impl Strategy<Value = Value> {
    let noise = (
        prop::sample::select(SchedulerKind::ALL.to_vec()),
        1usize..1100,
        (1e-5..0.01, 0.0101..0.2),
        prop::sample::select(vec!["linear", "scaled_linear", "squaredcos_cap_v2", "exp"]),
        any::<bool>(),
        prop::sample::select(vec!["epsilon", "v_prediction", "sample"]),
        prop::sample::select(vec!["leading", "linspace", "trailing"]),
        0usize..5,
    );
    let levels = (
        0..4u8,
        prop::option::of((1e-3..1.0, 1.5..100.0)),
        prop::sample::select(vec!["zero", "sigma_min"]),
        prop::sample::select(vec!["linear", "log_linear"]),
        prop::sample::select(vec!["discrete", "continuous"]),
        (any::<bool>(), 0.1..5.0),
        (any::<bool>(), 0.0..1.0, 0.1..5.0),
    );
    let solver = (
        1usize..=3,
        prop::sample::select(vec!["midpoint", "heun", "bh1", "bh2"]),
        prop::sample::select(vec!["dpmsolver++", "sde-dpmsolver++"]),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        prop::sample::select(vec![-5.1, -20.0, 3.0]),
        prop::collection::vec(0usize..20, 0..3),
        (1usize..60, 0.1..20.0),
    );
    (noise, levels, solver).prop_map(|(noise, levels, solver)| {
        let (class, train, (start, end), schedule, zero_snr, prediction, spacing, offset) = noise;
        let (sigmas, range, last, interpolation, timestep_type, (clip, clip_range), (threshold, ratio, max)) = levels;
        let (order, solver_type, algorithm, (lower, euler, x0, skip, one), lambda, disabled, (original, scaling)) =
            solver;
        json!({
            "_class_name": class.class(), "num_train_timesteps": train, "beta_start": start, "beta_end": end,
            "beta_schedule": schedule, "rescale_betas_zero_snr": zero_snr, "prediction_type": prediction,
            "timestep_spacing": spacing, "steps_offset": offset, "use_karras_sigmas": sigmas == 1,
            "use_exponential_sigmas": sigmas == 2, "use_lu_lambdas": sigmas == 3,
            "sigma_min": range.map(|r| r.0), "sigma_max": range.map(|r| r.1), "final_sigmas_type": last,
            "interpolation_type": interpolation, "timestep_type": timestep_type, "clip_sample": clip,
            "clip_sample_range": clip_range, "thresholding": threshold, "dynamic_thresholding_ratio": ratio,
            "sample_max_value": max, "solver_order": order, "solver_type": solver_type,
            "algorithm_type": algorithm, "lower_order_final": lower, "euler_at_final": euler, "predict_x0": x0,
            "skip_prk_steps": skip, "set_alpha_to_one": one, "lambda_min_clipped": lambda,
            "disable_corrector": disabled, "original_inference_steps": original, "timestep_scaling": scaling,
        })
    })
}

/// Steps: mostly few, sometimes as many as there are.
fn steps() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..12, 2 => 12usize..70, 1 => 400usize..1100]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn walks_are_finite_and_go_down(
        config in config(),
        kind in prop::option::of(prop::sample::select(SchedulerKind::ALL.to_vec())),
        steps in steps(),
        karras in prop::option::of(any::<bool>()),
        eta in prop_oneof![Just(0.0), 0.0..=1.0],
        start in prop_oneof![Just(0.0), 0.0..1.0],
        sd in any::<bool>(),
    ) {
        let file = ConfigFile::parse("s.json", config.to_string().as_bytes()).unwrap();
        let Ok(read) = SchedulerConfig::read(file) else { return Ok(()) };
        let read = if sd { read.for_stable_diffusion() } else { read };
        let Ok(mut scheduler) = read.build(kind, steps, karras, eta) else { return Ok(()) };
        let kind = kind.unwrap_or(read.kind());

        let all = scheduler.timesteps().to_vec();
        let evaluations = match kind {
            SchedulerKind::Heun => 2 * steps - 1,
            SchedulerKind::Pndm if config["skip_prk_steps"] == false && steps >= 4 => steps + 9,
            SchedulerKind::Pndm if steps > 1 => steps + 1,
            _ => steps,
        };
        // `lambda_min_clipped` cuts trailing timesteps off; log-linear levels with continuous timesteps have one more.
        let exact = !matches!(kind, SchedulerKind::DpmSolverMultistep) && config["timestep_type"] == "discrete";
        prop_assert!(!exact || all.len() == evaluations, "{} evaluations instead of {evaluations}", all.len());
        // The Runge-Kutta steps look at the middle of a step twice and go back up from there.
        let pndm = kind == SchedulerKind::Pndm && evaluations == steps + 9;
        prop_assert!(pndm || all.is_sorted_by(|a, b| a >= b), "{all:?}");

        // Noise, and a model whose outputs are bounded: it cannot make a walk diverge, only a scheduler can.
        let initial = tensor(&[0.8, -1.1, 0.35, 1.7, -0.45, 0.05, -2.0, 1.2]);
        prop_assert!(scheduler.init_noise_sigma().is_finite());
        let mut latents = initial.affine(scheduler.init_noise_sigma(), 0.0).unwrap();
        let skipped = (start * steps as f64) as usize * scheduler.order();
        if skipped > 0 {
            scheduler.start_at(skipped);
            prop_assert!(pndm || scheduler.timesteps() == &all[skipped.min(all.len())..]);
            latents = scheduler.add_noise(&initial, &initial).unwrap();
        }
        let left = scheduler.timesteps().to_vec();
        let mut noise = TorchGenerator::new(3);
        for timestep in left {
            let input = scheduler.scale_model_input(&latents).unwrap();
            let output = (input.sin().unwrap() * (0.9 + 0.1 * (0.01 * timestep).cos())).unwrap();
            latents = scheduler.step(&output, &latents, &mut noise).unwrap();
            prop_assert!(is_finite(&values(&latents)), "{:?} after timestep {timestep}", values(&latents));
        }
    }

    /// One request's walk does not depend on what another does in between.
    #[test]
    fn state_is_per_request(kind in prop::sample::select(SchedulerKind::ALL.to_vec()), steps in 1usize..8) {
        let config = super::read(&json!({"_class_name": "PNDMScheduler"}));
        let goldens = super::goldens_without_cases();
        let mut alone = config.build(Some(kind), steps, None, 0.0).unwrap();
        let alone = super::walk(alone.as_mut(), 0, &goldens);
        let mut first = config.build(Some(kind), steps, None, 0.0).unwrap();
        let mut other = config.build(Some(kind), steps, None, 0.0).unwrap();
        super::walk(other.as_mut(), 0, &goldens);
        prop_assert_eq!(super::walk(first.as_mut(), 0, &goldens).last, alone.last);
    }
}
