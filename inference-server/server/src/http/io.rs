//! A socket that does not wait for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How HTTP/2 begins. hyper reads this much to tell the versions apart, and its own timer for headers starts only then.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fails when the version of HTTP is not known in time, and when a client stops reading what it asked for.
pub(super) struct Guarded<S> {
    socket: S,
    /// Bytes of the preface that came, until it is complete or something else.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, opening: Duration, write_timeout: Duration) -> Self {
        let opening = Some((0, Box::pin(tokio::time::sleep(opening))));
        Self { socket, opening, write_timeout, stalled: None }
    }

    fn opened(&mut self, bytes: &[u8]) {
        if let Some((seen, _)) = &mut self.opening {
            let rest = &PREFACE[*seen..];
            let common = rest.len().min(bytes.len());
            if rest[..common] == bytes[..common] && common < rest.len() {
                *seen += common;
            } else {
                self.opening = None;
            }
        }
    }

    /// Watches an attempt to write: progress clears the timer, waiting starts it.
    fn written<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let deadline = Instant::now() + self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client does not read")))
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.opened(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some((_, deadline)) = &mut this.opening else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(timed_out("the client does not send a request")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.socket).poll_write(cx, data);
        this.written(cx, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush.
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.socket).poll_write_vectored(cx, data);
        this.written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn guarded(socket: tokio::io::DuplexStream) -> Guarded<tokio::io::DuplexStream> {
        Guarded::new(socket, Duration::from_millis(50), Duration::from_millis(50))
    }

    #[tokio::test]
    async fn a_client_that_does_not_begin_is_cut_off() {
        for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut client, server) = duplex(100);
            client.write_all(start).await.unwrap();
            let mut all = Vec::new();
            let error = guarded(server).read_to_end(&mut all).await.unwrap_err();
            assert_eq!((error.kind(), all.as_slice()), (io::ErrorKind::TimedOut, start));
        }
    }

    #[tokio::test]
    async fn one_that_has_begun_may_wait() {
        for start in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"PUT", PREFACE] {
            let mut server = guarded(duplex(100).1);
            server.opened(start);
            assert!(server.opening.is_none());
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (_client, server) = duplex(10);
        let error = guarded(server).write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
