//! Trying again: when, and how long to wait.

use std::time::Duration;

use super::FetchError;
use super::progress::Progress;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A hub that wants more patience than this is not waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What became of a try.
#[derive(Debug)]
pub(super) enum Failed {
    /// It may work the next time.
    Again {
        /// What happened.
        problem: String,
        /// When the hub says to come back.
        after: Option<Duration>,
    },
    /// It will not.
    Final(FetchError),
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

impl Failed {
    pub(super) fn again(problem: impl Into<String>) -> Self {
        Self::Again { problem: problem.into(), after: None }
    }
}

/// The tries of one request.
pub(super) struct Tries {
    allowed: u32,
    done: u32,
}

impl Tries {
    /// `retries`: tries beyond the first.
    pub(super) fn new(retries: u32) -> Self {
        Self { allowed: retries, done: 0 }
    }

    /// Something came: the tries are counted anew.
    pub(super) fn progressed(&mut self) {
        self.done = 0;
    }

    /// Waits for the next try.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn wait(&mut self, failed: Failed, progress: &Progress) -> Result<(), FetchError> {
        let (problem, after) = match failed {
            Failed::Final(error) => return Err(error),
            Failed::Again { problem, after } => (problem, after),
        };
        if let Some(after) = after.filter(|after| *after > LONGEST_RETRY_AFTER) {
            let problem = format!("{problem}; it asks to come back in {} s", after.as_secs());
            return Err(FetchError::GivenUp { problem, tries: self.done + 1 });
        }
        if self.done >= self.allowed {
            return Err(FetchError::GivenUp { problem, tries: self.done + 1 });
        }
        let pause = after.unwrap_or_else(|| pause(self.done, fraction()));
        self.done += 1;
        progress.message(&format!(
            "{problem}; trying again in {:.1} s ({} of {})",
            pause.as_secs_f64(),
            self.done,
            self.allowed
        ));
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Doubled each time, and somewhere in its second half, so that many who were cut off together do not come back together.
fn pause(done: u32, fraction: f64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(done)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + 0.5 * fraction)
}

fn fraction() -> f64 {
    (crate::random::bits() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_differ() {
        let seconds = |done, fraction| pause(done, fraction).as_secs_f64();
        assert_eq!((seconds(0, 0.0), seconds(0, 1.0)), (0.5, 1.0));
        assert_eq!((seconds(3, 0.0), seconds(3, 1.0)), (4.0, 8.0));
        assert_eq!((seconds(60, 0.0), seconds(u32::MAX, 1.0)), (30.0, 60.0));
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&fraction()));
        }
    }
}
