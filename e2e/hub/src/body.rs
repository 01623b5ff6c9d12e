//! Bodies: a text, or a file piece by piece with what goes wrong on the way.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::sync::mpsc;

use crate::faults::BodyFaults;

pub(crate) type Body = BoxBody<Bytes, io::Error>;

const PIECE: usize = 16 << 10;

pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// The file from `start` on.
pub(crate) fn file(path: PathBuf, start: u64, faults: BodyFaults) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        if let Err(error) = send(path, start, faults, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    Pieces(receiver).boxed()
}

async fn send(
    path: PathBuf,
    start: u64,
    faults: BodyFaults,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(start)).await?;
    let mut sent = 0;
    let mut buffer = vec![0; PIECE];
    loop {
        let stop = faults.break_after.into_iter().chain(faults.stall_after).min();
        let room = stop.map_or(PIECE, |stop| usize::try_from(stop - sent).unwrap_or(PIECE).min(PIECE));
        let read = if room == 0 { 0 } else { file.read(&mut buffer[..room]).await? };
        if read == 0 {
            break;
        }
        let mut piece = buffer[..read].to_vec();
        if let Some(byte) = piece.first_mut().filter(|_| faults.wrong && sent == 0) {
            *byte ^= 0xff;
        }
        tokio::time::sleep(faults.pause(read)).await;
        sent += read as u64;
        if sender.send(Ok(piece.into())).await.is_err() {
            return Ok(());
        }
    }
    if faults.stall_after == Some(sent) {
        // Until the client has had enough.
        sender.closed().await;
    }
    match faults.break_after {
        Some(after) if after == sent => Err(io::Error::other("broken on purpose")),
        _ => Ok(()),
    }
}

struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
