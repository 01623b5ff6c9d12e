//! Bodies: reading them within bounds, and sending them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::log::RequestLog;
use super::problem::Problem;

/// What we answer with.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Bytes of a picture that go out in one piece.
const PIECE: usize = 64 << 10;
/// What is read and thrown away of a body that nobody wants, so that the client gets to read why.
const LINGER: (u64, Duration) = (256 << 20, Duration::from_secs(10));
/// A body below this is not counted against the memory for bodies.
const SMALL: usize = 64 << 10;

pub(crate) fn full(text: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(text.into())
}

/// Memory for the bodies of all requests together, in KiB.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes >> 10).min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from(bytes >> 10).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kibibytes).ok()
    }
}

/// A body in memory, and its share of the budget.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes within `timeout`.
pub(crate) async fn read(
    body: &mut Incoming,
    limit: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<Received, Problem> {
    let too_large = || Problem::too_large(limit, "--max-image-body-bytes");
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut received = Received { bytes: Vec::new(), _share: None };
    let read = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Problem::broken_body())?.into_data() else { continue };
            let length = received.bytes.len() + data.len();
            if length > limit {
                return Err(too_large());
            }
            if length > SMALL && length > received.bytes.capacity() {
                // Doubling, as the vector would, so that its growth is what is counted.
                let capacity = length.next_power_of_two().min(limit);
                let more =
                    budget.take(capacity - received.bytes.capacity()).ok_or_else(Problem::no_memory)?;
                match &mut received._share {
                    Some(share) => share.merge(more),
                    none => *none = Some(more),
                }
                received.bytes.reserve_exact(capacity - received.bytes.len());
            }
            received.bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, read).await {
        Ok(result) => result.map(|()| received),
        Err(_) => Err(Problem::too_slow(timeout.as_secs())),
    }
}

/// Reads on for a while without keeping anything. A server that closes while the client is still sending makes the
/// client's system throw the answer away.
pub(crate) fn linger(mut body: Incoming) {
    let (most, time) = LINGER;
    tokio::spawn(tokio::time::timeout(time, async move {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > most {
                return;
            }
        }
    }));
}

/// A finished file that goes out piece by piece; when it ends or is dropped, its request's log line is written.
pub(crate) struct Pieces {
    rest: Bytes,
    log: Option<RequestLog>,
}

impl Pieces {
    pub(crate) fn new(file: Vec<u8>, log: RequestLog) -> Self {
        Self { rest: file.into(), log: Some(log) }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        if let Some(log) = &mut this.log {
            log.sent(piece.len());
        }
        if this.rest.is_empty()
            && let Some(log) = this.log.take()
        {
            log.complete();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }
}
