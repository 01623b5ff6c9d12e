//! Numbers that differ: seeds and request ids. Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// 64 bits: a hash, under a random key of this thread, of a counter and the clock.
pub(crate) fn bits() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((COUNTER.fetch_add(1, Ordering::Relaxed), now.as_nanos()))
}

/// A seed below 2^32: every language and tool can hold it exactly.
pub(crate) fn seed() -> u64 {
    bits() >> 32
}
