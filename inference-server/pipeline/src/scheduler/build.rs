//! From a checkpoint's config and a request's wishes to a scheduler.

use super::betas::AlphasCumprod;
use super::config::{Options, SchedulerConfig};
use super::prediction::Limit;
use super::sigmas::{FinalSigma, SigmaSpacing, SigmaTable, as_f32, exponential, karras};
use super::timesteps::Timesteps;
use super::{Scheduler, SchedulerKind};
use super::{ddim, dpm_solver_multistep, euler, euler_ancestral, heun, lcm, lms, pndm, unipc_multistep};
use crate::FieldError;

/// Timesteps this little below a whole one count as whole: the highest is found through a logarithm and its inverse.
const EDGE: f64 = 1e-9;

/// All that a scheduler is made from.
pub(crate) struct Setup<'a> {
    pub(crate) kind: SchedulerKind,
    pub(crate) options: &'a Options,
    pub(crate) steps: usize,
    pub(crate) eta: f64,
    pub(crate) timesteps: Timesteps,
    pub(crate) alphas: AlphasCumprod,
    pub(crate) sigma_spacing: SigmaSpacing,
    pub(crate) limit: Limit,
    /// Signal below timestep 0.
    pub(crate) final_alpha: f64,
}

impl SchedulerConfig {
    /// A scheduler for one request: the checkpoint's own, or another kind that takes over what the config says and
    /// has its class's defaults for the rest, as diffusers' `Other.from_config(pipe.scheduler.config)`.
    ///
    /// # Errors
    /// Names the request's field, its limits, and what to do instead.
    pub(crate) fn build(
        &self,
        kind: Option<SchedulerKind>,
        steps: usize,
        karras: Option<bool>,
        eta: f64,
    ) -> Result<Box<dyn Scheduler>, FieldError> {
        let kind = kind.unwrap_or(self.own);
        self.check(kind, steps, karras, eta)?;
        let alphas = AlphasCumprod::new(&self.noise_options(kind)).map_err(|(field, problem)| {
            let problem = format!("{} does not work with this model: {field}: {problem}", kind.name());
            FieldError { field: "scheduler", problem }
        })?;
        let final_alpha = if self.ends_clean(kind) { 1.0 } else { alphas.at(0.0) };
        let setup = Setup {
            kind,
            options: &self.options,
            steps,
            eta,
            timesteps: self.timesteps(kind),
            alphas,
            sigma_spacing: self.sigma_spacing(kind, karras),
            limit: self.limit(kind),
            final_alpha,
        };
        Ok(match kind {
            SchedulerKind::Pndm => Box::new(pndm::Pndm::new(setup)),
            SchedulerKind::Ddim => Box::new(ddim::Ddim::new(setup)),
            SchedulerKind::Lms => Box::new(lms::Lms::new(setup)),
            SchedulerKind::Euler => Box::new(euler::Euler::new(setup)),
            SchedulerKind::EulerAncestral => Box::new(euler_ancestral::EulerAncestral::new(setup)),
            SchedulerKind::Heun => Box::new(heun::Heun::new(setup)),
            SchedulerKind::DpmSolverMultistep => {
                Box::new(dpm_solver_multistep::DpmSolverMultistep::new(setup))
            }
            SchedulerKind::UniPcMultistep => Box::new(unipc_multistep::UniPcMultistep::new(setup)),
            SchedulerKind::Lcm => Box::new(lcm::Lcm::new(setup)),
        })
    }

    fn check(
        &self,
        kind: SchedulerKind,
        steps: usize,
        karras: Option<bool>,
        eta: f64,
    ) -> Result<(), FieldError> {
        let (name, train) = (kind.name(), self.options.train_timesteps);
        let error = |field, problem| Err(FieldError { field, problem });
        if !(1..=train).contains(&steps) {
            return error("steps", format!("must be from 1 to {train}, not {steps}"));
        }
        if kind == SchedulerKind::Lcm {
            let original = self.options.original_inference_steps;
            if original > train {
                let problem = format!(
                    "lcm does not work with this model: it needs {original} training timesteps and there are {train}"
                );
                return error("scheduler", problem);
            }
            if steps > original {
                let problem = format!(
                    "must be from 1 to {original} with scheduler lcm, not {steps}; use another scheduler for more"
                );
                return error("steps", problem);
            }
        }
        if karras == Some(true) && !kind.takes_karras() {
            let takers = SchedulerKind::ALL.into_iter().filter(|kind| kind.takes_karras());
            let takers: Vec<_> = takers.map(SchedulerKind::name).collect();
            let problem = format!(
                "scheduler {name} does not take Karras noise levels; these do: {}",
                takers.join(", ")
            );
            return error("karras", problem);
        }
        if !(0.0..=1.0).contains(&eta) {
            return error("eta", format!("must be from 0 to 1, not {eta}"));
        }
        if eta > 0.0 && kind != SchedulerKind::Ddim {
            return error("eta", format!("must be 0 with scheduler {name}; only ddim takes it"));
        }
        Ok(())
    }
}

impl Setup<'_> {
    /// Timesteps and noise levels for schedulers that evaluate at the lowest level too (LMS, Euler, Heun).
    pub(crate) fn levels(&self) -> (Vec<f64>, Vec<f64>) {
        let table = SigmaTable::new(&self.alphas.clone().with_some_signal());
        let mut timesteps = self.timesteps.fractional(self.steps);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| table.at(*t)).collect();
        if self.kind == SchedulerKind::Euler && self.options.log_linear {
            // One level more than there are evaluations: the walk ends above 0, as in diffusers.
            sigmas = exponential(table.max(), table.min(), self.steps + 1);
        }
        let first = sigmas.first().copied().unwrap_or_default();
        let last = sigmas.last().copied().unwrap_or_default();
        let max = self.options.sigma_max.unwrap_or(first);
        let min = self.options.sigma_min.unwrap_or(last);
        match self.sigma_spacing {
            SigmaSpacing::Karras if self.kind == SchedulerKind::Lms => {
                // diffusers' LMS does not ask for sigma_min and sigma_max here.
                sigmas = karras(first, last, self.steps);
            }
            SigmaSpacing::Karras => sigmas = karras(max, min, self.steps),
            SigmaSpacing::Exponential => sigmas = exponential(max, min, self.steps),
            SigmaSpacing::Own | SigmaSpacing::Lu => {}
        }
        if matches!(self.sigma_spacing, SigmaSpacing::Karras | SigmaSpacing::Exponential) {
            timesteps = as_f32(sigmas.iter().map(|s| table.timestep(*s)));
        }
        sigmas.push(match self.options.final_sigma {
            FinalSigma::SigmaMin if self.kind == SchedulerKind::Euler => table.min(),
            FinalSigma::SigmaMin | FinalSigma::Zero => 0.0,
        });
        (timesteps, as_f32(sigmas))
    }

    /// Timesteps and noise levels for the multistep solvers (DPM-Solver, UniPC). `highest` is one past the highest
    /// timestep to use; `round` makes whole timesteps of Karras's by rounding instead of cutting.
    pub(crate) fn solver_levels(&self, highest: usize, round: bool) -> (Vec<f64>, Vec<f64>) {
        let table = SigmaTable::new(&self.alphas.clone().with_some_signal());
        let max = self.options.sigma_max.unwrap_or(table.max());
        let min = self.options.sigma_min.unwrap_or(table.min());
        let mut timesteps = self.timesteps.above_zero(self.steps, highest);
        let mut sigmas = match self.sigma_spacing {
            SigmaSpacing::Own => timesteps.iter().map(|t| table.at(*t)).collect(),
            SigmaSpacing::Karras => karras(max, min, self.steps),
            SigmaSpacing::Exponential => exponential(max, min, self.steps),
            SigmaSpacing::Lu => table.lu(self.steps),
        };
        if self.sigma_spacing != SigmaSpacing::Own {
            let rounded = round && self.sigma_spacing != SigmaSpacing::Exponential;
            let whole = |t: f64| if rounded { t.round_ties_even() } else { (t + EDGE).trunc() };
            timesteps = sigmas.iter().map(|s| whole(table.timestep(*s))).collect();
        }
        sigmas.push(match (self.options.final_sigma, self.kind, self.sigma_spacing) {
            (FinalSigma::Zero, ..) => 0.0,
            (_, SchedulerKind::UniPcMultistep, SigmaSpacing::Karras | SigmaSpacing::Exponential) => {
                sigmas.last().copied().unwrap_or_default()
            }
            _ => table.min(),
        });
        (timesteps, as_f32(sigmas))
    }
}
