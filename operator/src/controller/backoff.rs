//! How long a resource waits after a failed reconcile: longer each time, never the same for two.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by resource.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// The wait after one more failure: half to all of 0.5 s, 1 s, 2 s ... 5 min.
    pub fn failed(&self, resource: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(resource.to_owned()).or_default();
        let full = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        jitter(full, 0.5)
    }

    /// It went well.
    pub fn succeeded(&self, resource: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }

    /// Forgets all but these.
    pub fn keep(&self, resources: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|r, _| resources(r));
    }
}

/// A time between `full * (1 - share)` and `full`.
pub fn jitter(full: Duration, share: f64) -> Duration {
    // The seed of every RandomState is another: randomness enough to spread waits.
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    full.mul_f64(1.0 - share * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_five_minutes_and_start_anew_after_a_success() {
        let backoff = Backoff::default();
        let mut full = FIRST;
        for _ in 0..40 {
            let wait = backoff.failed("a");
            assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        assert!(backoff.failed("b") <= FIRST, "another resource has its own");
        backoff.succeeded("a");
        assert!(backoff.failed("a") <= FIRST);
        backoff.keep(|r| r == "b");
        assert!(backoff.failed("a") <= FIRST && backoff.failed("b") > FIRST / 2);
    }
}
