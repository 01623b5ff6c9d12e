//! `scheduler/scheduler_config.json`: which scheduler a checkpoint wants, and all its options.
//!
//! A config may hold options of classes other than its own (Stable Diffusion v1's PNDM config says `clip_sample`, which
//! only DDIM knows): its own class passes over them, and a request that names another scheduler gets them. So the
//! options of all classes are read, and those whose default differs between classes stay `None` when absent.

use super::SchedulerKind;
use super::betas::{AlphasCumprod, BetaSchedule, NoiseOptions};
use super::prediction::{Limit, Prediction};
use super::sigmas::{FinalSigma, SigmaSpacing};
use super::timesteps::{Spacing, Timesteps};
use crate::LoadError;
use crate::checkpoint::ConfigFile;

/// A checkpoint's scheduler.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SchedulerConfig {
    pub(super) own: SchedulerKind,
    pub(super) options: Options,
    /// Set by [`SchedulerConfig::for_stable_diffusion`].
    stable_diffusion: bool,
}

/// The way in which a multistep solver closes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SolverType {
    Midpoint,
    Heun,
    Bh1,
    Bh2,
}

/// The options of all classes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) train_timesteps: usize,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    pub(crate) beta_schedule: Option<BetaSchedule>,
    trained_betas: Option<Vec<f64>>,
    rescale_betas_zero_snr: bool,
    pub(crate) prediction: Prediction,
    spacing: Option<Spacing>,
    steps_offset: Option<usize>,

    clip_sample: Option<bool>,
    clip_sample_range: f64,
    thresholding: bool,
    dynamic_thresholding_ratio: f64,
    sample_max_value: f64,

    use_karras_sigmas: bool,
    use_exponential_sigmas: bool,
    use_lu_lambdas: bool,
    pub(crate) sigma_min: Option<f64>,
    pub(crate) sigma_max: Option<f64>,
    pub(crate) final_sigma: FinalSigma,
    pub(crate) log_linear: bool,
    pub(crate) continuous_timesteps: bool,

    pub(crate) skip_prk_steps: bool,
    set_alpha_to_one: Option<bool>,

    pub(crate) solver_order: usize,
    pub(crate) solver_type: Option<SolverType>,
    pub(crate) stochastic: bool,
    pub(crate) lower_order_final: bool,
    pub(crate) euler_at_final: bool,
    pub(crate) lambda_min_clipped: f64,
    pub(crate) predict_x0: bool,
    pub(crate) disable_corrector: Vec<usize>,

    pub(crate) original_inference_steps: usize,
    pub(crate) timestep_scaling: f64,
}

/// More training timesteps than any model has; a config cannot make us allocate more than this.
const MAX_TRAIN_TIMESTEPS: usize = 100_000;

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// Names the field that is unknown, makes no sense, or asks for what we cannot do.
    pub(crate) fn read(config: ConfigFile) -> Result<Self, LoadError> {
        let class: String = config.require("_class_name")?;
        let Some(own) = SchedulerKind::ALL.into_iter().find(|kind| kind.class() == class) else {
            let classes = SchedulerKind::ALL.map(SchedulerKind::class).join(", ");
            return Err(config.unsupported("_class_name", &classes));
        };
        let mut options = Options::read(&config)?;
        if own == SchedulerKind::Lcm && options.original_inference_steps > options.train_timesteps {
            let problem = format!("must be at most num_train_timesteps, {}", options.train_timesteps);
            return Err(config.field_error("original_inference_steps", problem));
        }
        options.solver_type = match (own, options.solver_type) {
            // Where a class replaces a word that it does not know, it hands the replacement on to other classes.
            (SchedulerKind::UniPcMultistep, Some(SolverType::Midpoint | SolverType::Heun)) => {
                Some(SolverType::Bh2)
            }
            (SchedulerKind::DpmSolverMultistep, Some(SolverType::Bh1 | SolverType::Bh2)) => {
                Some(SolverType::Midpoint)
            }
            (_, given) => given,
        };
        let this = Self { own, options, stable_diffusion: false };
        if let Err((field, problem)) = AlphasCumprod::new(&this.noise_options(own)) {
            return Err(config.field_error(field, problem));
        }
        config.finish()?;
        Ok(this)
    }

    /// The changes that diffusers' Stable Diffusion pipelines make to the scheduler they are given: `steps_offset`
    /// becomes 1 and `clip_sample` false, whatever the config says.
    pub(crate) fn for_stable_diffusion(mut self) -> Self {
        self.stable_diffusion = true;
        self
    }

    /// The checkpoint's own scheduler.
    pub(crate) fn kind(&self) -> SchedulerKind {
        self.own
    }

    /// Timesteps of the training: the upper limit of steps.
    pub(crate) fn train_timesteps(&self) -> usize {
        self.options.train_timesteps
    }

    pub(super) fn noise_options(&self, kind: SchedulerKind) -> NoiseOptions {
        use SchedulerKind::{Heun, Lcm, Lms, Pndm};
        let options = &self.options;
        let (start, end, schedule) = match kind {
            Heun => (0.00085, 0.012, BetaSchedule::Linear),
            Lcm => (0.00085, 0.012, BetaSchedule::ScaledLinear),
            _ => (0.0001, 0.02, BetaSchedule::Linear),
        };
        NoiseOptions {
            train_timesteps: options.train_timesteps,
            beta_start: options.beta_start.unwrap_or(start),
            beta_end: options.beta_end.unwrap_or(end),
            schedule: options.beta_schedule.unwrap_or(schedule),
            trained: options.trained_betas.clone(),
            zero_terminal_snr: options.rescale_betas_zero_snr && !matches!(kind, Pndm | Lms | Heun),
        }
    }

    pub(super) fn timesteps(&self, kind: SchedulerKind) -> Timesteps {
        use SchedulerKind::{Ddim, Lcm, Pndm};
        let spacing = match kind {
            Pndm | Ddim | Lcm => Spacing::Leading,
            _ => Spacing::Linspace,
        };
        let offset = match self.options.steps_offset {
            // A default is not handed on to another class, so only the own one's is changed.
            None => usize::from(self.stable_diffusion && kind == self.own),
            Some(_) if self.stable_diffusion => 1,
            Some(offset) => offset,
        };
        Timesteps {
            spacing: self.options.spacing.unwrap_or(spacing),
            train: self.options.train_timesteps,
            offset,
        }
    }

    pub(super) fn limit(&self, kind: SchedulerKind) -> Limit {
        use SchedulerKind::{Ddim, DpmSolverMultistep, Heun, Lcm, UniPcMultistep};
        let options = &self.options;
        let clip = match options.clip_sample {
            Some(clip) => clip && !self.stable_diffusion,
            None => kind == Ddim && !(self.stable_diffusion && kind == self.own),
        };
        if options.thresholding && matches!(kind, Ddim | Lcm | DpmSolverMultistep | UniPcMultistep) {
            Limit::Threshold { ratio: options.dynamic_thresholding_ratio, max: options.sample_max_value }
        } else if clip && matches!(kind, Ddim | Lcm | Heun) {
            Limit::Clip { range: options.clip_sample_range }
        } else {
            Limit::None
        }
    }

    pub(super) fn sigma_spacing(&self, kind: SchedulerKind, karras: Option<bool>) -> SigmaSpacing {
        if !kind.takes_karras() {
            SigmaSpacing::Own
        } else if karras.unwrap_or(self.options.use_karras_sigmas) {
            SigmaSpacing::Karras
        } else if self.options.use_lu_lambdas && kind == SchedulerKind::DpmSolverMultistep {
            SigmaSpacing::Lu
        } else if self.options.use_exponential_sigmas {
            SigmaSpacing::Exponential
        } else {
            SigmaSpacing::Own
        }
    }

    /// Whether the step below timestep 0 leads to clean latents (or else to those of timestep 0).
    pub(super) fn ends_clean(&self, kind: SchedulerKind) -> bool {
        self.options.set_alpha_to_one.unwrap_or(kind != SchedulerKind::Pndm)
    }
}

impl Options {
    fn read(config: &ConfigFile) -> Result<Self, LoadError> {
        refuse_what_we_cannot_do(config)?;
        let train_timesteps: usize = config.or("num_train_timesteps", 1000)?;
        if !(1..=MAX_TRAIN_TIMESTEPS).contains(&train_timesteps) {
            let problem = format!("must be from 1 to {MAX_TRAIN_TIMESTEPS}, not {train_timesteps}");
            return Err(config.field_error("num_train_timesteps", problem));
        }
        let steps_offset = config.get("steps_offset")?;
        if steps_offset.is_some_and(|offset| offset >= train_timesteps) {
            return Err(config.field_error("steps_offset", "must be below num_train_timesteps".into()));
        }
        let sigma_min = positive(config, "sigma_min")?;
        let sigma_max = positive(config, "sigma_max")?;
        if sigma_min.zip(sigma_max).is_some_and(|(min, max)| min >= max) {
            return Err(config.field_error("sigma_min", "must be below sigma_max".into()));
        }
        let dynamic_thresholding_ratio: f64 = config.or("dynamic_thresholding_ratio", 0.995)?;
        if !(0.0..=1.0).contains(&dynamic_thresholding_ratio) {
            return Err(config.field_error("dynamic_thresholding_ratio", "must be from 0 to 1".into()));
        }
        let use_karras_sigmas = config.or("use_karras_sigmas", false)?;
        let use_exponential_sigmas = config.or("use_exponential_sigmas", false)?;
        if use_karras_sigmas && use_exponential_sigmas {
            return Err(config.field_error("use_exponential_sigmas", "excludes use_karras_sigmas".into()));
        }
        config.only("solver_order", &[1, 2, 3])?;
        let original_inference_steps = config.or("original_inference_steps", 50)?;
        if original_inference_steps == 0 {
            return Err(config.field_error("original_inference_steps", "must be at least 1".into()));
        }
        let algorithm = [("dpmsolver++", false), ("deis", false), ("sde-dpmsolver++", true)];
        let solver_types = [
            ("midpoint", Some(SolverType::Midpoint)),
            ("heun", Some(SolverType::Heun)),
            ("bh1", Some(SolverType::Bh1)),
            ("bh2", Some(SolverType::Bh2)),
            // Of DEIS; the classes that we have fall back to their default.
            ("logrho", None),
        ];
        let clean = [("zero", FinalSigma::Zero), ("sigma_min", FinalSigma::SigmaMin)];
        Ok(Self {
            train_timesteps,
            beta_start: config.get("beta_start")?,
            beta_end: config.get("beta_end")?,
            beta_schedule: word(config, "beta_schedule", &BETA_SCHEDULES)?,
            trained_betas: config.get("trained_betas")?,
            rescale_betas_zero_snr: config.or("rescale_betas_zero_snr", false)?,
            prediction: word(config, "prediction_type", &PREDICTIONS)?.unwrap_or(Prediction::Epsilon),
            spacing: word(config, "timestep_spacing", &SPACINGS)?,
            steps_offset,
            clip_sample: config.get("clip_sample")?,
            clip_sample_range: positive(config, "clip_sample_range")?.unwrap_or(1.0),
            thresholding: config.or("thresholding", false)?,
            dynamic_thresholding_ratio,
            sample_max_value: positive(config, "sample_max_value")?.unwrap_or(1.0),
            use_karras_sigmas,
            use_exponential_sigmas,
            use_lu_lambdas: config.or("use_lu_lambdas", false)?,
            sigma_min,
            sigma_max,
            final_sigma: word(config, "final_sigmas_type", &clean)?.unwrap_or(FinalSigma::Zero),
            log_linear: word(config, "interpolation_type", &[("linear", false), ("log_linear", true)])?
                .unwrap_or(false),
            continuous_timesteps: word(
                config,
                "timestep_type",
                &[("discrete", false), ("continuous", true)],
            )?
            .unwrap_or(false),
            skip_prk_steps: config.or("skip_prk_steps", false)?,
            set_alpha_to_one: config.get("set_alpha_to_one")?,
            solver_order: config.or("solver_order", 2)?,
            solver_type: word(config, "solver_type", &solver_types)?.flatten(),
            stochastic: word(config, "algorithm_type", &algorithm)?.unwrap_or(false),
            lower_order_final: config.or("lower_order_final", true)?,
            euler_at_final: config.or("euler_at_final", false)?,
            lambda_min_clipped: number_or_infinity(config, "lambda_min_clipped")?
                .unwrap_or(f64::NEG_INFINITY),
            predict_x0: config.or("predict_x0", true)?,
            disable_corrector: config.or("disable_corrector", Vec::new())?,
            original_inference_steps,
            timestep_scaling: positive(config, "timestep_scaling")?.unwrap_or(10.0),
        })
    }
}

const BETA_SCHEDULES: [(&str, BetaSchedule); 4] = [
    ("linear", BetaSchedule::Linear),
    ("scaled_linear", BetaSchedule::ScaledLinear),
    ("squaredcos_cap_v2", BetaSchedule::SquaredCosCap),
    ("exp", BetaSchedule::Exponential),
];

const PREDICTIONS: [(&str, Prediction); 3] = [
    ("epsilon", Prediction::Epsilon),
    ("v_prediction", Prediction::Velocity),
    ("sample", Prediction::Sample),
];

const SPACINGS: [(&str, Spacing); 3] =
    [("leading", Spacing::Leading), ("linspace", Spacing::Linspace), ("trailing", Spacing::Trailing)];

fn refuse_what_we_cannot_do(config: &ConfigFile) -> Result<(), LoadError> {
    // Flow matching, and noise levels from a beta distribution.
    for field in ["use_flow_sigmas", "use_dynamic_shifting", "use_beta_sigmas"] {
        config.only(field, &[false])?;
    }
    config.only::<bool>("shift_terminal", &[])?;
    config.only::<bool>("solver_p", &[])?;
    // A model that also predicts its variance has more channels than latents; the others are names for DDPM alone.
    config.only("variance_type", &["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"])?;
    // The old name for a choice of prediction types; true is epsilon.
    config.only("predict_epsilon", &[true])?;
    // These speak about flow matching or have meant nothing for years.
    config.ignore(&["flow_shift", "time_shift_type", "tensor_format", "noise_sampler_seed"]);
    Ok(())
}

/// A field that holds one of several words.
fn word<T: Copy>(config: &ConfigFile, field: &str, words: &[(&str, T)]) -> Result<Option<T>, LoadError> {
    let Some(given) = config.get::<String>(field)? else { return Ok(None) };
    match words.iter().find(|(word, _)| *word == given) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let known = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            Err(config.unsupported(field, &known))
        }
    }
}

fn positive(config: &ConfigFile, field: &str) -> Result<Option<f64>, LoadError> {
    match config.get::<f64>(field)? {
        Some(value) if value <= 0.0 => {
            Err(config.field_error(field, format!("must be above 0, not {value}")))
        }
        value => Ok(value),
    }
}

/// A number, or the word that [`ConfigFile`] makes of Python's infinities.
fn number_or_infinity(config: &ConfigFile, field: &str) -> Result<Option<f64>, LoadError> {
    match config.get::<serde_json::Value>(field)? {
        Some(serde_json::Value::String(word)) if word == "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
        _ => config.get(field),
    }
}
