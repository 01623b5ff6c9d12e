//! How long work takes on this machine, measured as it is done.

use std::time::Duration;

use diffusion_pipeline::Request;

/// Weight of the newest measurement: the last ten or so decide.
const NEWEST: f64 = 0.2;

/// Work that is still to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Work {
    /// Pixels x UNet rows x evaluations: guidance doubles the rows.
    pub(super) steps: f64,
    /// Pixels to encode and decode.
    pub(super) pixels: f64,
}

impl Work {
    /// What a request will need; the scheduler may turn out to evaluate a few times more.
    pub(super) fn of(request: &Request) -> Self {
        let kept = request.init.as_ref().map_or(1.0, |init| init.strength);
        Self { steps: per_evaluation(request) * request.steps as f64 * kept, pixels: pixels(request) }
    }
}

pub(super) fn pixels(request: &Request) -> f64 {
    request.width as f64 * request.height as f64
}

/// Work of one UNet evaluation.
pub(super) fn per_evaluation(request: &Request) -> f64 {
    pixels(request) * if request.guidance_scale > 1.0 { 2.0 } else { 1.0 }
}

/// Measured seconds per unit of [`Work`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    steps: Option<f64>,
    pixels: Option<f64>,
}

impl Rates {
    pub(super) fn stepped(&mut self, work: f64, time: Duration) {
        self.steps = mean(self.steps, work, time);
    }

    pub(super) fn coded(&mut self, pixels: f64, time: Duration) {
        self.pixels = mean(self.pixels, pixels, time);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.steps.is_some() && self.pixels.is_some()
    }

    pub(super) fn seconds(&self, work: Work) -> f64 {
        work.steps * self.steps.unwrap_or(0.0) + work.pixels * self.pixels.unwrap_or(0.0)
    }
}

fn mean(old: Option<f64>, work: f64, time: Duration) -> Option<f64> {
    if work <= 0.0 {
        return old;
    }
    let new = time.as_secs_f64() / work;
    Some(old.map_or(new, |old| old + NEWEST * (new - old)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_measurements() {
        let mut rates = Rates::default();
        let work = Work { steps: 1000.0, pixels: 10.0 };
        assert_eq!(rates.seconds(work), 0.0);
        rates.stepped(100.0, Duration::from_secs(1));
        rates.coded(10.0, Duration::from_secs(3));
        assert_eq!(rates.seconds(work), 13.0);
        for _ in 0..50 {
            rates.stepped(50.0, Duration::from_secs(1));
        }
        rates.stepped(0.0, Duration::from_secs(1));
        assert!((rates.seconds(work) - 23.0).abs() < 0.01);
    }
}
