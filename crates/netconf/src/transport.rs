//! A byte stream that can be cut from outside.
//!
//! russh runs each connection in a task of its own that nothing but the end of its stream is sure to stop:
//! a peer that falls silent in the key exchange or stops reading would hold the task for ever. A [`Cut`]
//! ends the stream, whatever the task is waiting for.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Ends the stream it belongs to when [`Cut::cut`] is called or the last [`CutOnDrop`] goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    /// Makes every further read and write of the stream fail.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// Whether [`Cut::cut`] was called.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }
}

/// Cuts the stream when dropped.
#[derive(Debug)]
pub(crate) struct CutOnDrop(pub(crate) Cut);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// The stream.
#[derive(Debug)]
pub(crate) struct CutStream<S> {
    stream: S,
    cut: Cut,
}

impl<S> CutStream<S> {
    pub(crate) fn new(stream: S) -> (Self, Cut) {
        let cut = Cut::default();
        (Self { stream, cut: cut.clone() }, cut)
    }

    fn check(&self, waker: &AtomicWaker, context: &Context<'_>) -> Result<(), Error> {
        waker.register(context.waker());
        if self.cut.is_cut() {
            return Err(Error::new(ErrorKind::ConnectionAborted, "connection closed on this side"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        self.check(&self.cut.0.reader, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        self.check(&self.cut.0.writer, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.check(&self.cut.0.writer, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.cut.is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
