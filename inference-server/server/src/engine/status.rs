//! What the engine is doing, for readiness and liveness.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ledger::Refused;

/// Where the engine is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The checkpoint is being read.
    Loading,
    /// The first picture is being drawn.
    WarmingUp,
    /// Pictures can be drawn.
    Ready,
    /// After a panic: a picture is being drawn to see whether it still can.
    Recovering,
    /// It cannot go on.
    Failed(String),
}

pub(super) struct Status {
    phase: watch::Sender<Phase>,
    draining: AtomicBool,
    busy_since: Mutex<Option<Instant>>,
}

impl Status {
    pub(super) fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Loading),
            draining: AtomicBool::new(false),
            busy_since: Mutex::new(None),
        }
    }

    pub(super) fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Nothing, or why no request can be let in. `ahead` is asked only when the answer needs it.
    pub(super) fn check(&self, ahead: impl FnOnce() -> Duration) -> Result<(), Refused> {
        if self.is_draining() {
            return Err(Refused::Draining { retry_after: ahead() });
        }
        let (reason, seconds) = match &*self.phase.borrow() {
            Phase::Ready => return Ok(()),
            Phase::Loading => ("the model is being loaded".to_owned(), 5),
            Phase::WarmingUp => ("the first picture is being drawn".to_owned(), 2),
            Phase::Recovering => ("a picture failed, and a test picture is being drawn".to_owned(), 5),
            Phase::Failed(why) => (format!("the engine has failed: {why}"), 30),
        };
        Err(Refused::NotReady { reason, retry_after: Duration::from_secs(seconds) })
    }

    /// Marks the thread as busy with one thing, until the guard is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.set_busy(Some(Instant::now()));
        Busy(self)
    }

    pub(super) fn busy_for(&self) -> Duration {
        let since = *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

pub(super) struct Busy<'a>(&'a Status);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set_busy(None);
    }
}
