//! A TCP connection that does not wait for its peer for ever.
//!
//! Two timers at most, both made only when the socket has nothing for us: one for a peer that owes
//! us a request head (`idle_max`), one for a peer that takes none of what we have for it
//! (`write_stall_max`). The read timer is not reset for each request; when it fires it looks at
//! the last progress and goes back to sleep for the rest, so a busy connection pays nothing for it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use evenkeel_runtime::{System, Time};
use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{io::ReadBuf, net::TcpStream};

use crate::dispatch::Patience;

/// Whose turn it is on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The peer owes us a request head.
    Listening,
    /// We owe an answer.
    Working,
    /// A WebSocket: its own pings find out whether the peer lives.
    Upgraded,
}

/// The phase of a connection, set by who works its requests.
#[derive(Debug)]
pub(super) struct Gauge(AtomicU8);

impl Gauge {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(Phase::Listening as u8)))
    }

    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.0.load(Ordering::Relaxed) == phase as u8
    }
}

/// A timer that is made when it is first needed.
#[derive(Default)]
pub(super) struct Alarm(Option<BoxFuture<'static, ()>>);

impl Alarm {
    pub(super) fn poll(&mut self, system: &System, at: Time, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| {
            let system = system.clone();
            Box::pin(async move { system.sleep_until(at).await })
        });
        ready!(timer.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

/// The connection itself.
pub(super) struct Wire {
    stream: TokioIo<TcpStream>,
    system: System,
    patience: Patience,
    gauge: Arc<Gauge>,
    /// When bytes last went either way, or we last owed an answer.
    progress: Time,
    idle: Alarm,
    stall: Alarm,
}

impl Wire {
    pub(super) fn new(
        stream: TcpStream,
        system: System,
        patience: Patience,
        gauge: Arc<Gauge>,
    ) -> Self {
        let progress = system.now();
        Self {
            stream: TokioIo::new(stream),
            system,
            patience,
            gauge,
            progress,
            idle: Alarm::default(),
            stall: Alarm::default(),
        }
    }

    /// Called when there is nothing to read.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gauge.is(Phase::Upgraded) {
            return Poll::Pending;
        }
        if self.gauge.is(Phase::Working) {
            self.progress = self.system.now();
        }
        let idle_max = self.patience.idle_max;
        loop {
            let deadline = self.progress.saturating_add(idle_max);
            ready!(self.idle.poll(&self.system, deadline, cx));
            if self.gauge.is(Phase::Working) {
                self.progress = self.system.now();
            }
            // What happened since the timer was made may have moved the deadline.
            if self.system.now() >= self.progress.saturating_add(idle_max) {
                return Poll::Ready(Err(timed_out("no request", idle_max)));
            }
        }
    }

    /// True if the peer has ended the connection and all it sent was read. If it has not, the task
    /// is woken when something comes.
    fn is_hung_up(&self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        match self.stream.inner().poll_peek(cx, &mut byte) {
            Poll::Ready(Ok(peeked)) => peeked == 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Called after every attempt to write.
    fn written<T>(
        &mut self,
        attempt: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.stall = Alarm::default();
            self.progress = self.system.now();
            return attempt;
        }
        let stall_max = self.patience.write_stall_max;
        let deadline = self.system.now().saturating_add(stall_max);
        ready!(self.stall.poll(&self.system, deadline, cx));
        Poll::Ready(Err(timed_out("nothing taken", stall_max)))
    }
}

pub(super) fn timed_out(what: &str, after: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} for {after:?}"))
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            // Bytes of a head are no progress: a peer that sends one a second is as idle as one
            // that sends none.
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => this.poll_idle(cx),
        }
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let attempt = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(attempt, cx)
    }

    /// hyper comes by here each time it waits for an answer, but does not read while it has bytes
    /// of further requests. So the end of a pipelining peer is looked for here. (With its option
    /// `pipeline_flush` it would not come by either.)
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gauge.is(Phase::Working) && this.is_hung_up(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let attempt = Pin::new(&mut this.stream).poll_write_vectored(cx, buffers);
        this.written(attempt, cx)
    }
}

#[cfg(test)]
mod tests;
