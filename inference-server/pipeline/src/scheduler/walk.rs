//! Where a request is on its walk: the timesteps, where it started, and which evaluation is next.

use candle_core::{Result, bail};

pub(crate) struct Walk {
    timesteps: Vec<f64>,
    begin: usize,
    next: usize,
}

impl Walk {
    pub(crate) fn new(timesteps: Vec<f64>) -> Self {
        Self { timesteps, begin: 0, next: 0 }
    }

    /// The timesteps from the first evaluation that is not left out.
    pub(crate) fn timesteps(&self) -> &[f64] {
        &self.timesteps[self.begin..]
    }

    /// All timesteps.
    pub(crate) fn all(&self) -> &[f64] {
        &self.timesteps
    }

    /// Evaluations of the whole walk, those left out included.
    pub(crate) fn len(&self) -> usize {
        self.timesteps.len()
    }

    pub(crate) fn start_at(&mut self, index: usize) {
        self.begin = index.min(self.timesteps.len());
        self.next = self.begin;
    }

    /// Evaluations done.
    pub(crate) fn done(&self) -> usize {
        self.next - self.begin
    }

    /// Index of the next evaluation; the last one when there is none left.
    pub(crate) fn index(&self) -> usize {
        self.next.min(self.timesteps.len().saturating_sub(1))
    }

    /// Timestep of the next evaluation.
    pub(crate) fn timestep(&self) -> f64 {
        self.timesteps.get(self.index()).copied().unwrap_or_default()
    }

    /// Index of the evaluation whose output has come, and moves on.
    ///
    /// # Errors
    /// When there was none left.
    pub(crate) fn advance(&mut self) -> Result<usize> {
        if self.next >= self.timesteps.len() {
            bail!("the scheduler has no evaluation left after {}", self.timesteps.len());
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}
