//! What leaves a WebSocket or an IPC connection: the queue, pings, and answers that are streamed.
//!
//! A streamed answer is one message in fragments (RFC 6455, 5.4): what is queued behind it waits
//! for its end, pings and pongs do not. The next fragment is asked for when the peer has taken
//! those before, so that one that does not read stops the work behind its answer, and nothing else.
//! An answer that breaks ends the connection: half a message cannot be taken back.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_runtime::{System, checkpoint};
use futures_util::{
    FutureExt as _, Sink, SinkExt as _,
    future::{BoxFuture, Either, pending, select},
};
use tokio_tungstenite::tungstenite::{
    Error as WsError, Message, Utf8Bytes,
    protocol::frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

use super::ws::Farewell;
use crate::{
    answer::{Outgoing, Streamed},
    envelope,
    session::{End, Line},
};

/// What the reader tells the writer about the peer.
pub(super) struct Pulse {
    /// Something came since the last ping, or we were not listening.
    is_heard: AtomicBool,
    is_listening: AtomicBool,
    /// How often it is asked for a sign of life; none: never.
    ping_every: Option<Duration>,
}

impl Pulse {
    pub(super) fn new(ping_every: Option<Duration>) -> Self {
        Self { is_heard: AtomicBool::default(), is_listening: AtomicBool::default(), ping_every }
    }

    /// Something came, or a call ended; until we listen again, silence proves nothing.
    pub(super) fn heard(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
        self.is_listening.store(false, Ordering::Relaxed);
    }

    /// Whether we listen from now on.
    pub(super) fn listens(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }

    /// Whether there was a sign of life since this was last asked, or could be none.
    fn is_alive(&self) -> bool {
        self.is_heard.swap(false, Ordering::Relaxed) || !self.is_listening.load(Ordering::Relaxed)
    }
}

/// The writing half of a connection.
pub(super) struct Writer<'a, S> {
    sink: &'a mut S,
    system: &'a System,
    line: &'a Line,
    pulse: &'a Pulse,
    /// When the peer is pinged next.
    ping: BoxFuture<'static, ()>,
}

/// There is nobody to send to.
fn gone(_: WsError) -> Farewell {
    None
}

impl<'a, S> Writer<'a, S>
where
    S: Sink<Message, Error = WsError> + Unpin,
{
    pub(super) fn new(
        sink: &'a mut S,
        system: &'a System,
        (line, pulse): (&'a Line, &'a Pulse),
    ) -> Self {
        let ping = next_ping(system, pulse);
        Self { sink, system, line, pulse, ping }
    }

    /// Sends what is queued until there is a reason to leave.
    pub(super) async fn run(mut self) -> Farewell {
        loop {
            if let Err(farewell) = self.turn().await {
                return farewell;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Farewell> {
        let line = self.line;
        match self.pinging(line.next()).await? {
            Ok(message) => self.send_all(message).await,
            Err(End::Overrun) => Err(Some((CloseCode::Policy, "too many notifications unread"))),
            Err(End::Gone) => Err(None),
        }
    }

    /// Waits for something, and pings meanwhile.
    async fn pinging<T>(&mut self, wanted: impl Future<Output = T>) -> Result<T, Farewell> {
        let mut wanted = pin!(wanted);
        loop {
            match select(&mut wanted, &mut self.ping).await {
                Either::Left((it, _)) => return Ok(it),
                Either::Right(((), _)) if !self.pulse.is_alive() => {
                    return Err(Some((CloseCode::Away, "no sign of life")));
                }
                Either::Right(((), _)) => {}
            }
            self.ping = next_ping(self.system, self.pulse);
            self.sink.send(Message::Ping(Bytes::new())).await.map_err(gone)?;
        }
    }

    /// Sends `message` and all that wait behind it, then flushes once.
    async fn send_all(&mut self, message: Outgoing) -> Result<(), Farewell> {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Outgoing::Whole(text) => self.whole(text).await?,
                Outgoing::Streamed(streamed) => {
                    let is_notice = streamed.notice_of.is_some();
                    self.streamed(streamed).await?;
                    if !is_notice {
                        self.line.streamed();
                    }
                }
            }
            checkpoint().await;
            // An end is seen by the next call of `next`.
            next = self.line.take().unwrap_or_default();
        }
        self.sink.flush().await.map_err(gone)
    }

    async fn whole(&mut self, text: Bytes) -> Result<(), Farewell> {
        let text = Utf8Bytes::try_from(text).expect("answers and notifications are JSON");
        self.sink.feed(Message::Text(text)).await.map_err(gone)
    }

    /// Sends an answer as it comes.
    async fn streamed(&mut self, streamed: Streamed) -> Result<(), Farewell> {
        let Streamed { id, pieces, mut rest, end, .. } = streamed;
        // It may have waited behind others; nothing of it is sent yet. The error of one answer is
        // none of its batch.
        if let Some(id) = id
            && let Some(error) = rest.failure().await
        {
            let mut text = String::new();
            envelope::write_error(&mut text, Some(&id), error);
            return self.whole(text.into()).await;
        }
        let mut kind = Data::Text;
        for piece in pieces {
            self.fragment(piece, kind, false).await?;
            kind = Data::Continue;
        }
        loop {
            let there = poll_fn(|cx| Poll::Ready(rest.poll_next(cx))).await;
            let piece = match there {
                Poll::Ready(piece) => piece,
                Poll::Pending => {
                    self.sink.flush().await.map_err(gone)?;
                    self.pinging(poll_fn(|cx| rest.poll_next(cx))).await?
                }
            };
            match piece {
                Some(Ok(piece)) => self.fragment(piece, Data::Continue, false).await?,
                Some(Err(error)) => {
                    tracing::warn!(%error, "an answer that was streamed is broken off");
                    return Err(Some((CloseCode::Error, "an answer is broken off")));
                }
                None => break,
            }
            checkpoint().await;
        }
        self.fragment(Bytes::from_static(end.as_bytes()), Data::Continue, true).await
    }

    async fn fragment(&mut self, text: Bytes, kind: Data, is_last: bool) -> Result<(), Farewell> {
        let frame = Frame::message(text, OpCode::Data(kind), is_last);
        self.sink.feed(Message::Frame(frame)).await.map_err(gone)
    }
}

fn next_ping(system: &System, pulse: &Pulse) -> BoxFuture<'static, ()> {
    match pulse.ping_every {
        Some(after) => {
            let system = system.clone();
            async move { system.sleep(after).await }.boxed()
        }
        None => pending().boxed(),
    }
}
