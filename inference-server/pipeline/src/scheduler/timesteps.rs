//! Which training timesteps the steps of a walk fall on (Lin et al. 2023, table 2).
//!
//! Where diffusers counts with numpy, the same order of additions is kept here: ties in the rounding depend on it.

/// How timesteps are spread over the training range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Multiples of a whole step, counted from 0.
    Leading,
    /// Evenly from 0 to the last timestep, both included.
    Linspace,
    /// Steps counted down from the last timestep.
    Trailing,
}

/// What the timesteps of a walk are made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Timesteps {
    pub(crate) spacing: Spacing,
    pub(crate) train: usize,
    pub(crate) offset: usize,
}

impl Timesteps {
    /// `steps` whole timesteps, highest first.
    pub(crate) fn whole(self, steps: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Linspace => descending(linspace(self.train - 1, steps).map(f64::round_ties_even)),
            _ => self.fractional(steps),
        }
    }

    /// `steps` timesteps, highest first; those of `Linspace` may lie between training timesteps.
    pub(crate) fn fractional(self, steps: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Leading => leading(self.train / steps, 0..steps, self.offset),
            Spacing::Linspace => descending(linspace(self.train - 1, steps).map(|t| f64::from(t as f32))),
            Spacing::Trailing => trailing(self.train, self.train, steps),
        }
    }

    /// Whole timesteps for solvers that walk from each point to the next and end at 0, which has no evaluation of
    /// its own. `highest` is one past the highest timestep to use. Trailing spacing gives fewer than `steps` when
    /// `highest` is below the training range.
    pub(crate) fn above_zero(self, steps: usize, highest: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Leading => leading(highest / (steps + 1), 1..steps + 1, self.offset),
            Spacing::Linspace => {
                descending(linspace(highest - 1, steps + 1).skip(1).map(f64::round_ties_even))
            }
            Spacing::Trailing => trailing(highest, self.train, steps),
        }
    }
}

/// Timesteps of a latent consistency model: spread over the `original` ones that it was distilled on.
pub(crate) fn distilled(train: usize, original: usize, steps: usize) -> Vec<f64> {
    let (ratio, stride) = (train / original, original as f64 / steps as f64);
    let nth = |i: usize| original - ((i as f64 * stride) as usize).min(original - 1);
    (0..steps).map(|i| (nth(i) * ratio) as f64 - 1.0).collect()
}

fn descending(ascending: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = ascending.collect();
    all.reverse();
    all
}

fn leading(ratio: usize, range: std::ops::Range<usize>, offset: usize) -> Vec<f64> {
    range.rev().map(|i| (i * ratio + offset) as f64).collect()
}

/// `numpy.linspace(0, last, points)`.
fn linspace(last: usize, points: usize) -> impl Iterator<Item = f64> {
    let last = last as f64;
    let step = last / (points.max(2) - 1) as f64;
    (0..points).map(move |i| if i > 0 && i + 1 == points { last } else { i as f64 * step })
}

/// `numpy.arange(highest, 0, -train / steps)`, rounded, minus 1. For some numbers of steps numpy's last value is a
/// rounding error above 0, which diffusers makes into timestep -1; it is left out here.
fn trailing(highest: usize, train: usize, steps: usize) -> Vec<f64> {
    let highest = highest as f64;
    let step = (highest - train as f64 / steps as f64) - highest;
    (0..steps)
        .map(|i| (highest + i as f64 * step).round_ties_even() - 1.0)
        .take_while(|timestep| *timestep >= 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spacing: Spacing) -> Timesteps {
        Timesteps { spacing, train: 1000, offset: 1 }
    }

    #[test]
    fn the_papers_table() {
        // Lin et al. (2023), table 2: 10 of 1000 steps; their timesteps count from 1.
        let leading: Vec<f64> = (0..10).rev().map(|i| f64::from(i * 100 + 1)).collect();
        assert_eq!(of(Spacing::Leading).whole(10), leading);
        let linspace = [999.0, 888.0, 777.0, 666.0, 555.0, 444.0, 333.0, 222.0, 111.0, 0.0];
        assert_eq!(of(Spacing::Linspace).whole(10), linspace);
        let trailing = [999.0, 899.0, 799.0, 699.0, 599.0, 499.0, 399.0, 299.0, 199.0, 99.0];
        assert_eq!(of(Spacing::Trailing).whole(10), trailing);
    }

    #[test]
    fn every_number_of_steps_gives_that_many_timesteps() {
        for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
            for steps in 1..=1000 {
                let made = of(spacing);
                for timesteps in [made.whole(steps), made.fractional(steps), made.above_zero(steps, 1000)] {
                    assert_eq!(timesteps.len(), steps, "{spacing:?}");
                    assert!(timesteps.is_sorted_by(|a, b| a >= b), "{spacing:?} {steps}: {timesteps:?}");
                    assert!(timesteps[steps - 1] >= 0.0, "{spacing:?} {steps}");
                }
            }
        }
    }

    #[test]
    fn one_point_is_the_lowest() {
        assert_eq!(of(Spacing::Linspace).whole(1), [0.0]);
        assert_eq!(of(Spacing::Leading).whole(1), [1.0]);
        assert_eq!(of(Spacing::Trailing).whole(1), [999.0]);
    }

    #[test]
    fn distilled_timesteps() {
        assert_eq!(distilled(1000, 50, 4), [999.0, 759.0, 499.0, 259.0]);
        assert_eq!(distilled(1000, 50, 50)[49], 19.0);
    }
}
