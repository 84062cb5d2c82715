//! Answers that are written while what they say is found.
//!
//! Each is written by a process of its own, in the client's share, which is at most
//! [`TEXT_AHEAD_BYTES`] ahead of its reader and waits beyond that. It ends with the last piece, at
//! its deadline, or when its reader is dropped. The time that it waits does not count: a reader
//! that takes nothing is its connection's to give up.

use std::{
    pin::pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use evenkeel_runtime::{
    Class, Credit, ReplyStream, Sink, Spawn, StreamEvent, System, Time, checkpoint, consume, stream,
};
use evenkeel_vm::limits::{TEXT_AHEAD_BYTES, TEXT_AHEAD_PIECES};
use futures_util::future::{BoxFuture, Either, select};
use serde::Serialize;

use super::limits::ITEM_REDUCTIONS;
use crate::{
    answer::{Answer, TextStream},
    api::Api,
    body::Owned,
    client::Client,
    error::RpcError,
    limits::PIECE_BYTES_MIN,
    places::Place,
    render,
};

/// How long an answer may be written.
pub(super) struct Until {
    pub(super) deadline: Time,
    /// What is said if it takes longer.
    pub(super) late: RpcError,
    /// The place of what is executed for it, which is kept to its end.
    pub(super) place: Option<Place>,
}

/// Where the text of an answer goes.
pub(super) struct Text {
    system: System,
    sink: Sink<Bytes, RpcError>,
    /// What is not handed on yet: short of a piece.
    open: String,
    has_items: bool,
    deadline: Time,
    late: RpcError,
}

impl Text {
    /// Appends text.
    ///
    /// # Errors
    ///
    /// Nobody reads it any more.
    pub(super) async fn push(&mut self, text: &str) -> Result<(), RpcError> {
        self.open.push_str(text);
        if self.open.len() < PIECE_BYTES_MIN { Ok(()) } else { self.hand_on().await }
    }

    /// When it has to be finished, if its reader takes all that comes at once.
    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Looks at the clock.
    ///
    /// # Errors
    ///
    /// It is late.
    pub(super) fn in_time(&self) -> Result<(), RpcError> {
        if self.system.now() < self.deadline { Ok(()) } else { Err(self.late.clone()) }
    }

    /// Appends an item of a list, giving way to others before.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`in_time`](Self::in_time).
    pub(super) async fn item(&mut self, item: &impl Serialize) -> Result<(), RpcError> {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        self.in_time()?;
        if std::mem::replace(&mut self.has_items, true) {
            self.open.push(',');
        }
        self.push(render::answer(item)?.get()).await
    }

    async fn hand_on(&mut self) -> Result<(), RpcError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.open));
        let bytes = piece.len();
        let since = self.system.now();
        let sent = self.sink.item_sized(piece, bytes).await;
        let waited = self.system.now().saturating_since(since);
        self.deadline = self.deadline.saturating_add(waited);
        sent.map_err(|_| RpcError::internal("nobody reads the answer"))
    }
}

/// An answer that `write` writes within a time.
///
/// # Errors
///
/// What goes wrong before the first piece, which is some 16 KiB or all of a short answer.
pub(super) async fn written<W>(
    api: &Api,
    client: &Client,
    Until { deadline, late, place }: Until,
    write: W,
) -> Result<Answer, RpcError>
where
    W: for<'a> FnOnce(&'a mut Text) -> BoxFuture<'a, Result<(), RpcError>> + Send + 'static,
{
    let (sink, mut text) = stream(Credit { items: TEXT_AHEAD_PIECES, bytes: TEXT_AHEAD_BYTES });
    let system = api.system.clone();
    let writing = async move {
        let (open, has_items, its_late) = (String::new(), false, late.clone());
        let mut text =
            Text { system: system.clone(), sink, open, has_items, deadline, late: its_late };
        let ended = {
            let writing = async {
                write(&mut text).await?;
                text.hand_on().await
            };
            match place {
                None => writing.await,
                Some(place) => {
                    match select(pin!(writing), pin!(place.is_due(&system, deadline))).await {
                        Either::Left((ended, _)) => ended,
                        Either::Right(((), _)) => Err(late),
                    }
                }
            }
        };
        match ended {
            Ok(()) => text.sink.finish(),
            Err(error) => text.sink.fail(error),
        }
    };
    let spawn = Spawn::new("answer", Class::Rpc).share(client.share.clone());
    let writing = Owned::new(api.system.spawn_future(spawn, writing));
    let mut stream = TextStream::new(move |cx| {
        let _ends_when_dropped = &writing;
        poll_piece(&mut text, cx)
    });
    stream.wait().await?;
    Ok(Answer::Stream(stream))
}

/// The next piece of a streamed reply.
pub(super) fn poll_piece<T, E>(
    pieces: &mut ReplyStream<T, E>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<T, RpcError>>>
where
    E: Into<RpcError>,
{
    loop {
        return match pieces.poll_event(cx) {
            Poll::Ready(StreamEvent::Pending) => continue,
            Poll::Ready(StreamEvent::Item(piece) | StreamEvent::Ok(piece)) => {
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(StreamEvent::Done) => Poll::Ready(None),
            Poll::Ready(StreamEvent::Failed { error, .. }) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(StreamEvent::Lost { .. } | StreamEvent::Stalled { .. }) => {
                Poll::Ready(Some(Err(RpcError::internal("the answer was lost"))))
            }
            Poll::Pending => Poll::Pending,
        };
    }
}
