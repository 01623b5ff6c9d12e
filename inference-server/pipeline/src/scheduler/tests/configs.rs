//! Configs of real checkpoints, and configs that cannot be honoured.

use serde_json::{Value, json};

use super::super::SchedulerConfig;
use super::super::prediction::Limit;
use super::{SchedulerKind, read};
use crate::LoadError;
use crate::checkpoint::ConfigFile;

fn error(config: &Value) -> String {
    let file = ConfigFile::parse("scheduler/scheduler_config.json", config.to_string().as_bytes()).unwrap();
    match SchedulerConfig::read(file) {
        Ok(_) => panic!("accepted: {config}"),
        Err(e @ (LoadError::Field { .. } | LoadError::Unsupported { .. })) => e.to_string(),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn stable_diffusion_1_4() {
    let config = read(&json!({
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.7.0.dev0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false,
        "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
        "trained_betas": null
    }))
    .for_stable_diffusion();
    assert_eq!(config.kind(), SchedulerKind::Pndm);
    assert_eq!(config.train_timesteps(), 1000);
    assert_eq!(config.limit(SchedulerKind::Ddim), Limit::None);
    let scheduler = config.build(None, 50, None, 0.0).unwrap();
    assert_eq!(scheduler.timesteps().len(), 51);
    assert_eq!(scheduler.timesteps()[..4], [981.0, 961.0, 961.0, 941.0]);
}

#[test]
fn stable_diffusion_2_1_has_options_of_another_class() {
    let config = read(&json!({
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false,
        "num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": false,
        "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null
    }));
    assert_eq!(config.build(None, 1, None, 1.0).unwrap().timesteps(), [1.0]);
}

#[test]
fn pythons_infinity_and_names_of_other_solvers() {
    let text = br#"{"_class_name": "UniPCMultistepScheduler", "lambda_min_clipped": -Infinity,
        "algorithm_type": "deis", "solver_type": "logrho", "solver_p": null, "variance_type": null,
        "disable_corrector": [], "use_flow_sigmas": false, "flow_shift": 1.0, "predict_epsilon": true}"#;
    let config = SchedulerConfig::read(ConfigFile::parse("s.json", text).unwrap()).unwrap();
    assert_eq!(config.build(None, 4, None, 0.0).unwrap().timesteps().len(), 4);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for (field, value) in [
        ("_class_name", json!("DDPMScheduler")),
        ("beta_schedule", json!("sigmoid")),
        ("beta_start", json!(2.0)),
        ("trained_betas", json!([0.1, 0.2])),
        ("num_train_timesteps", json!(0)),
        ("num_train_timesteps", json!(u64::MAX)),
        ("prediction_type", json!("flow_prediction")),
        ("timestep_spacing", json!("sideways")),
        ("steps_offset", json!(-1)),
        ("steps_offset", json!(1000)),
        ("solver_order", json!(4)),
        ("solver_type", json!("rk4")),
        ("algorithm_type", json!("dpmsolver")),
        ("variance_type", json!("learned_range")),
        ("use_beta_sigmas", json!(true)),
        ("use_flow_sigmas", json!(true)),
        ("shift_terminal", json!(0.1)),
        ("final_sigmas_type", json!("last")),
        ("interpolation_type", json!("cubic")),
        ("clip_sample_range", json!(0.0)),
        ("sample_max_value", json!(-1.0)),
        ("dynamic_thresholding_ratio", json!(1.5)),
        ("original_inference_steps", json!(0)),
        ("sigma_min", json!(-0.5)),
        ("clip_sample", json!("yes")),
        ("sigma_data", json!(0.5)),
    ] {
        let mut config = json!({"_class_name": "DPMSolverMultistepScheduler"});
        config[field] = value.clone();
        let message = error(&config);
        assert!(message.starts_with(&format!("scheduler/scheduler_config.json: {field}")), "{message}");
    }
    let message = error(&json!({"_class_name": "LCMScheduler", "num_train_timesteps": 40}));
    assert!(
        message.contains("original_inference_steps: must be at most num_train_timesteps, 40"),
        "{message}"
    );
    let both =
        json!({"_class_name": "PNDMScheduler", "use_karras_sigmas": true, "use_exponential_sigmas": true});
    assert!(error(&both).contains("use_exponential_sigmas: excludes use_karras_sigmas"));
    assert!(error(&json!({})).contains("_class_name"));
}
