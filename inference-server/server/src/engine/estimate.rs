//! How long work takes on this machine, measured as it is done.

use std::time::Duration;

use diffusion_pipeline::Request;

/// Weight of the newest measurement: the last ten or so decide.
const NEWEST: f64 = 0.2;
/// What an evaluation costs that reuses the UNet's inner part, measured on the bundled model. Too high an estimate lets
/// people wait longer than they must; too low a one breaks a promise.
const REUSED: f64 = 0.2;

/// Work that is still to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Work {
    /// Pixels x UNet rows x evaluations: guidance doubles the rows.
    pub(super) steps: f64,
    /// Pixels to encode and decode.
    pub(super) pixels: f64,
    /// Pixels of the picture for each of its previews.
    pub(super) previews: f64,
}

impl Work {
    /// What a request will need; the scheduler may turn out to evaluate a few times more.
    pub(super) fn of(request: &Request, previews: usize) -> Self {
        let kept = request.init.as_ref().map_or(1.0, |init| init.strength);
        Self {
            steps: per_evaluation(request) * request.steps as f64 * kept,
            pixels: pixels(request),
            previews: pixels(request) * previews as f64,
        }
    }
}

pub(super) fn pixels(request: &Request) -> f64 {
    request.width as f64 * request.height as f64
}

/// Work of one UNet evaluation: the mean of the request's, where options make some of them cheaper. What merged tokens
/// save depends on the model and the size, and is so little that the estimate may be too high by it.
pub(super) fn per_evaluation(request: &Request) -> f64 {
    let guided = request.guidance_end - request.guidance_start;
    let rows = if request.guidance_scale > 1.0 { 1.0 + guided.clamp(0.0, 1.0) } else { 1.0 };
    let whole = 1.0 / request.cache_interval.max(1) as f64;
    pixels(request) * rows * (whole + (1.0 - whole) * REUSED)
}

/// Measured seconds per unit of [`Work`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    steps: Option<f64>,
    pixels: Option<f64>,
    previews: Option<f64>,
}

impl Rates {
    pub(super) fn stepped(&mut self, work: f64, time: Duration) {
        self.steps = mean(self.steps, work, time);
    }

    pub(super) fn coded(&mut self, pixels: f64, time: Duration) {
        self.pixels = mean(self.pixels, pixels, time);
    }

    pub(super) fn previewed(&mut self, pixels: f64, time: Duration) {
        self.previews = mean(self.previews, pixels, time);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.steps.is_some() && self.pixels.is_some()
    }

    pub(super) fn seconds(&self, work: Work) -> f64 {
        work.steps * self.steps.unwrap_or(0.0)
            + work.pixels * self.pixels.unwrap_or(0.0)
            + work.previews * self.previews.unwrap_or(0.0)
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
    fn options_that_make_evaluations_cheaper_count() {
        let plain = Request { guidance_scale: 7.5, ..crate::params::tests::model().defaults("a") };
        let all = per_evaluation(&plain);
        assert_eq!(all, 2.0 * 64.0 * 64.0);
        let share = |request: Request| per_evaluation(&request) / all;
        assert_eq!(share(Request { guidance_scale: 1.0, ..plain.clone() }), 0.5);
        assert_eq!(share(Request { guidance_start: 0.25, guidance_end: 0.75, ..plain.clone() }), 0.75);
        assert_eq!(share(Request { guidance_scale: 1.0, guidance_end: 0.5, ..plain.clone() }), 0.5);
        assert!((share(Request { cache_interval: 3, ..plain }) - (1.0 + 2.0 * REUSED) / 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_estimate_follows_the_measurements() {
        let mut rates = Rates::default();
        let work = Work { steps: 1000.0, pixels: 10.0, previews: 0.0 };
        assert_eq!(rates.seconds(work), 0.0);
        rates.stepped(100.0, Duration::from_secs(1));
        rates.coded(10.0, Duration::from_secs(3));
        rates.previewed(20.0, Duration::from_secs(1));
        assert_eq!(rates.seconds(work), 13.0);
        assert_eq!(rates.seconds(Work { previews: 40.0, ..work }), 15.0);
        for _ in 0..50 {
            rates.stepped(50.0, Duration::from_secs(1));
        }
        rates.stepped(0.0, Duration::from_secs(1));
        assert!((rates.seconds(work) - 23.0).abs() < 0.01);
    }
}
