//! Who is inside, and with how much work: the door's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diffusion_pipeline::Request;
use tokio::sync::Notify;

use super::estimate::{Rates, Work};
use crate::metrics::Metrics;

/// What is let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Requests inside, those being drawn included.
    pub max_queue: usize,
    /// Seconds of work, as measured, that may be ahead of a request.
    pub max_queue_time: Duration,
}

/// A request that has to come back later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests as are allowed.
    #[error("{inside} requests are waiting or being drawn, and --max-queue allows {limit}")]
    Full {
        /// Requests inside.
        inside: usize,
        /// The bound.
        limit: usize,
        /// When the next place should be free.
        retry_after: Duration,
    },
    /// More work than is allowed.
    #[error("the work ahead takes about {} s, and --max-queue-seconds allows {} s", ahead.as_secs(), limit.as_secs())]
    Busy {
        /// Time of the work inside.
        ahead: Duration,
        /// The bound.
        limit: Duration,
        /// When it should be below the bound.
        retry_after: Duration,
    },
    /// The model is not ready.
    #[error("not ready: {reason}")]
    NotReady {
        /// Why.
        reason: String,
        /// When to look again.
        retry_after: Duration,
    },
    /// The server is about to end.
    #[error("the server is shutting down and takes no new work")]
    Draining {
        /// When this server should be gone.
        retry_after: Duration,
    },
}

impl Refused {
    /// When to come back: whole seconds, at least 1.
    pub fn retry_after(&self) -> u64 {
        let (Self::Full { retry_after, .. }
        | Self::Busy { retry_after, .. }
        | Self::NotReady { retry_after, .. }
        | Self::Draining { retry_after }) = self;
        (retry_after.as_secs_f64().ceil() as u64).max(1)
    }
}

#[derive(Default)]
struct Book {
    inside: HashMap<u64, Work>,
    next: u64,
    rates: Rates,
}

impl Book {
    fn seconds(&self) -> f64 {
        // Not `sum`: that of nothing is -0.0, which looks odd on a dashboard.
        self.inside.values().fold(0.0, |sum, work| sum + self.rates.seconds(*work))
    }
}

struct Inner {
    book: Mutex<Book>,
    bounds: Bounds,
    idle: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
pub(super) struct Ledger(Arc<Inner>);

impl Ledger {
    pub(super) fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { book: Mutex::default(), bounds, idle: Notify::new(), metrics }))
    }

    /// Writes a request down, or says when to come back. The time is that of the work ahead.
    pub(super) fn admit(&self, request: &Request, previews: usize) -> Result<(Permit, Duration), Refused> {
        let Bounds { max_queue, max_queue_time } = self.0.bounds;
        let mut book = self.0.lock();
        let (inside, ahead) = (book.inside.len(), seconds(book.seconds()));
        if inside >= max_queue {
            let retry_after = ahead / u32::try_from(inside.max(1)).unwrap_or(u32::MAX);
            return Err(Refused::Full { inside, limit: max_queue, retry_after });
        }
        if inside > 0 && ahead > max_queue_time {
            return Err(Refused::Busy { ahead, limit: max_queue_time, retry_after: ahead - max_queue_time });
        }
        let id = book.next;
        book.next += 1;
        book.inside.insert(id, Work::of(request, previews));
        self.0.show(&book);
        Ok((Permit { id, ledger: self.clone() }, ahead))
    }

    pub(super) fn ahead(&self) -> Duration {
        seconds(self.0.lock().seconds())
    }

    /// Seconds for one request; nothing while nothing was measured.
    pub(super) fn estimate(&self, request: &Request) -> Option<f64> {
        let rates = self.0.lock().rates;
        rates.is_measured().then(|| rates.seconds(Work::of(request, 0)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().inside.len()
    }

    pub(super) fn measured(&self, measure: impl FnOnce(&mut Rates)) {
        measure(&mut self.0.lock().rates);
    }

    pub(super) async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.0.idle.notified());
            // Registered before the look, so that no notice is missed.
            notified.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Book> {
        // The book is consistent after every statement, so a panic elsewhere does not spoil it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, book: &Book) {
        let work = book.inside.values().fold(0.0, |sum, work| sum + work.steps);
        self.metrics.queue(book.inside.len(), work, book.seconds());
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
}

/// A place inside; given back by [`Permit::release`], however often that is called.
#[derive(Clone)]
pub(super) struct Permit {
    id: u64,
    ledger: Ledger,
}

impl Permit {
    /// What is left to do.
    pub(super) fn set(&self, work: Work) {
        let mut book = self.ledger.0.lock();
        if let Some(place) = book.inside.get_mut(&self.id) {
            *place = work;
        }
        self.ledger.0.show(&book);
    }

    pub(super) fn release(&self) {
        let mut book = self.ledger.0.lock();
        if book.inside.remove(&self.id).is_some() {
            self.ledger.0.show(&book);
            if book.inside.is_empty() {
                self.ledger.0.idle.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::tests::model;

    fn ledger(max_queue: usize, max_queue_time: u64) -> Ledger {
        let bounds = Bounds { max_queue, max_queue_time: Duration::from_secs(max_queue_time) };
        Ledger::new(bounds, Arc::new(Metrics::new("test")))
    }

    #[test]
    fn the_door_counts_work_and_says_honestly_when_to_come_back() {
        let ledger = ledger(10, 30);
        let request = Request { steps: 10, ..model().defaults("a") };
        let work = Work::of(&request, 0);
        assert_eq!(work.steps, 64.0 * 64.0 * 2.0 * 10.0);
        // Ten steps take 20 seconds.
        ledger.measured(|rates| rates.stepped(work.steps, Duration::from_secs(20)));
        let (first, ahead) = ledger.admit(&request, 0).ok().unwrap();
        assert_eq!(ahead, Duration::ZERO);
        let (second, ahead) = ledger.admit(&request, 0).ok().unwrap();
        assert_eq!(ahead.as_secs(), 20);
        let refused = ledger.admit(&request, 0).err().unwrap();
        assert_eq!(refused.retry_after(), 10, "{refused}");
        assert!(refused.to_string().contains("takes about 40 s"), "{refused}");
        // Half of the first is done: 30 seconds are ahead, which is allowed.
        first.set(Work { steps: work.steps / 2.0, pixels: 0.0, previews: 0.0 });
        let third = ledger.admit(&request, 0).ok().unwrap().0;
        for permit in [&first, &second, &third, &first] {
            permit.release();
        }
        assert_eq!((ledger.len(), ledger.ahead()), (0, Duration::ZERO));
    }

    #[test]
    fn an_empty_house_lets_any_request_in_and_a_full_one_none() {
        let ledger = ledger(1, 0);
        ledger.measured(|rates| rates.stepped(1.0, Duration::from_secs(1000)));
        let permit = ledger.admit(&model().defaults("a"), 0).ok().unwrap().0;
        assert!(matches!(
            ledger.admit(&model().defaults("b"), 0),
            Err(Refused::Full { inside: 1, limit: 1, .. })
        ));
        permit.release();
        assert!(ledger.admit(&model().defaults("b"), 0).is_ok());
    }

    #[tokio::test]
    async fn idle_waits_for_the_last_one() {
        let ledger = ledger(5, 100);
        ledger.idle().await;
        let permit = ledger.admit(&model().defaults("a"), 0).ok().unwrap().0;
        let waiter = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        permit.release();
        waiter.await.unwrap();
    }
}
