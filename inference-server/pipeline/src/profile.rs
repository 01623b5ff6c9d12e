//! Where the time goes, by kind of operation: the sums of everything that this process computed.
//!
//! Always on: two readings of the clock for an operation that takes a hundred thousand times as long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fully connected layers and what is fused with them.
    Linear,
    /// Convolutions and what is fused with them.
    Convolution,
    /// Attention, without its projections.
    Attention,
    /// Group normalisation and the activation after it.
    GroupNorm,
    /// Layer normalisation.
    LayerNorm,
    /// Joining of feature maps.
    Join,
    /// Finding similar tokens, merging them and copying back.
    Merge,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Linear,
        Self::Convolution,
        Self::Attention,
        Self::GroupNorm,
        Self::LayerNorm,
        Self::Join,
        Self::Merge,
    ];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Convolution => "convolution",
            Self::Attention => "attention",
            Self::GroupNorm => "group norm",
            Self::LayerNorm => "layer norm",
            Self::Join => "join",
            Self::Merge => "merge",
        }
    }
}

/// What one kind of operation took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The kind.
    pub kind: Kind,
    /// How often it was computed.
    pub calls: u64,
    /// Wall time.
    pub time: Duration,
    /// Multiplications and additions by the operation's definition, whatever the kernel saved.
    pub operations: u64,
}

struct Counter {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    operations: AtomicU64,
}

static COUNTERS: [Counter; 7] = [const {
    Counter { calls: AtomicU64::new(0), nanoseconds: AtomicU64::new(0), operations: AtomicU64::new(0) }
}; 7];

/// What every kind of operation took since the last call, in this process.
pub fn take() -> [Share; 7] {
    let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
    Kind::ALL.map(|kind| {
        let counter = &COUNTERS[kind as usize];
        Share {
            kind,
            calls: take(&counter.calls),
            time: Duration::from_nanos(take(&counter.nanoseconds)),
            operations: take(&counter.operations),
        }
    })
}

/// `f`, timed.
pub(crate) fn timed<R>(kind: Kind, operations: usize, f: impl FnOnce() -> R) -> R {
    let begin = Instant::now();
    let result = f();
    let counter = &COUNTERS[kind as usize];
    counter.calls.fetch_add(1, Ordering::Relaxed);
    counter.nanoseconds.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    counter.operations.fetch_add(operations as u64, Ordering::Relaxed);
    result
}
