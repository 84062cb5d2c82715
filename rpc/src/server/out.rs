//! The body of an HTTP answer: pieces that are there, then those that come.
//!
//! An answer that is streamed has no length; if its work fails on the way, the connection is broken
//! off, so that no client takes what it got for the whole.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    answer::{Reply, Streamed, TextStream},
    error::RpcError,
    server::wire::{Gauge, Phase},
};

/// The body of an answer.
#[derive(Default)]
pub(super) struct Out {
    pieces: VecDeque<Bytes>,
    rest: Option<Rest>,
}

/// What is not there yet. We owe it as long as it lives.
struct Rest {
    text: TextStream,
    /// What follows it.
    end: &'static str,
    gauge: Arc<Gauge>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.gauge.set(Phase::Listening);
    }
}

impl Out {
    pub(super) fn new(reply: Reply, gauge: &Arc<Gauge>) -> Self {
        match reply {
            Reply::Whole(whole) => Self { pieces: whole.into_pieces().into(), rest: None },
            Reply::Streamed(Streamed { pieces, rest, end, .. }) => {
                let rest = Some(Rest { text: rest, end, gauge: Arc::clone(gauge) });
                Self { pieces: pieces.into(), rest }
            }
        }
    }

    /// Whether more is to come than is there.
    pub(super) const fn is_streamed(&self) -> bool {
        self.rest.is_some()
    }
}

impl From<Bytes> for Out {
    fn from(whole: Bytes) -> Self {
        let pieces = if whole.is_empty() { VecDeque::new() } else { VecDeque::from([whole]) };
        Self { pieces, rest: None }
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = RpcError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RpcError>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let piece = match ready!(rest.text.poll_next(cx)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                tracing::warn!(%error, "an answer that was streamed is broken off");
                self.rest = None;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                let end = Bytes::from_static(rest.end.as_bytes());
                self.rest = None;
                end
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let there = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(there);
        if self.rest.is_none() {
            hint.set_upper(there);
        }
        hint
    }
}
