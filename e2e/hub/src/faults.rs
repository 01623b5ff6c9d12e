//! What goes wrong on purpose.

use std::collections::VecDeque;
use std::time::Duration;

/// What the hub does wrong, until it is told otherwise.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers for the next requests, instead of what was asked for.
    pub answers: VecDeque<Answer>,
    /// File bodies whose connection breaks: how many, and after how many bytes. Shorter ones do not count.
    pub breaks: Option<(usize, u64)>,
    /// File bodies that stop coming, with the connection open: how many, and after how many bytes.
    pub stalls: Option<(usize, u64)>,
    /// File bodies with a wrong byte: how many.
    pub wrong_bytes: usize,
    /// `Range` is not understood: 200 and the whole file.
    pub no_ranges: bool,
    /// Every `Range` is answered with 416.
    pub no_range_fits: bool,
    /// Bytes a second of a file body.
    pub rate: Option<u64>,
    /// Says another size of LFS files than it sends.
    pub wrong_linked_size: bool,
    /// A path that is put into every listing.
    pub listed: Option<String>,
    /// Redirects of the resolve route lead to themselves.
    pub redirect_loop: bool,
}

/// An answer that was not asked for.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Only for requests whose path has this in it.
    pub path: String,
    /// Status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<u64>,
    /// Text of the body.
    pub body: String,
}

impl Answer {
    /// A status for whatever comes next.
    pub fn status(status: u16) -> Self {
        Self { path: String::new(), status, retry_after: None, body: "on purpose".into() }
    }
}

/// What goes wrong with one body.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyFaults {
    pub(crate) break_after: Option<u64>,
    pub(crate) stall_after: Option<u64>,
    pub(crate) wrong: bool,
    pub(crate) rate: Option<u64>,
}

impl Faults {
    /// The answer for this path, if there is one.
    pub(crate) fn answer(&mut self, path: &str) -> Option<Answer> {
        let index = self.answers.iter().position(|answer| path.contains(&answer.path))?;
        self.answers.remove(index)
    }

    /// What goes wrong with the next body, of so many bytes.
    pub(crate) fn body(&mut self, size: u64) -> BodyFaults {
        let wrong = self.wrong_bytes > 0;
        self.wrong_bytes = self.wrong_bytes.saturating_sub(1);
        BodyFaults {
            break_after: next(&mut self.breaks, size),
            stall_after: next(&mut self.stalls, size),
            wrong,
            rate: self.rate,
        }
    }
}

fn next(faults: &mut Option<(usize, u64)>, size: u64) -> Option<u64> {
    let (left, after) = faults.as_mut().filter(|(left, after)| *left > 0 && *after < size)?;
    *left -= 1;
    Some(*after)
}

impl BodyFaults {
    /// Time that a piece takes.
    pub(crate) fn pause(&self, bytes: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64))
    }
}
