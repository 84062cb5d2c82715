//! What a method answers: JSON that is there, or JSON that comes piece by piece.

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use evenkeel_runtime::{System, Yielder, checkpoint};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use serde_json::value::RawValue;

use crate::{
    error::RpcError,
    limits::{JOB_SLICE_BYTES, JOIN_INLINE_BYTES_MAX, PIECE_BYTES_MIN},
    quota::Taken,
    session::SubscriptionId,
};

/// The result of a call.
#[derive(Debug)]
pub enum Answer {
    /// It is there.
    Json(Box<RawValue>),
    /// It comes.
    Stream(TextStream),
}

/// JSON text that comes piece by piece. Dropping it ends the work that makes it. After an error
/// nothing comes: what came before is no JSON then.
pub struct TextStream {
    pieces: BoxStream<'static, Result<Bytes, RpcError>>,
    /// A piece that was waited for, or the error in its place.
    first: Option<Result<Bytes, RpcError>>,
    /// Its part of a quota.
    held: Option<Taken>,
    /// What the body that it answers is counted as: a batch holds what it has not worked yet.
    body: Option<Taken>,
}

/// What a stream gives next; `None` at its end.
type Piece = Option<Result<Bytes, RpcError>>;

/// How a stream went on.
pub(crate) enum Begun {
    /// This is all of it.
    Whole(Vec<Bytes>),
    /// This is its beginning.
    Beginning(Vec<Bytes>, TextStream),
}

impl From<Box<RawValue>> for Answer {
    fn from(json: Box<RawValue>) -> Self {
        Self::Json(json)
    }
}

impl fmt::Debug for TextStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextStream")
    }
}

impl Answer {
    /// All of it as JSON. O(its size) at once: for callers that are no node.
    ///
    /// # Errors
    ///
    /// What ended a stream.
    pub async fn into_json(self) -> Result<Box<RawValue>, RpcError> {
        let stream = match self {
            Self::Json(json) => return Ok(json),
            Self::Stream(stream) => stream,
        };
        let (Begun::Whole(pieces) | Begun::Beginning(pieces, _)) = stream.begin(usize::MAX).await?;
        json_of(&pieces)
    }
}

/// The JSON that the pieces are. O(their bytes) at once.
pub(crate) fn json_of(pieces: &[Bytes]) -> Result<Box<RawValue>, RpcError> {
    let text = String::from_utf8(pieces.concat())
        .map_err(|error| RpcError::internal(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| RpcError::internal(error.to_string()))
}

pub(crate) fn text_of(json: Box<RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(json).into_string())
}

impl TextStream {
    pub(crate) fn new(poll: impl FnMut(&mut Context<'_>) -> Poll<Piece> + Send + 'static) -> Self {
        Self::of(futures_util::stream::poll_fn(poll))
    }

    pub(crate) fn of(pieces: impl Stream<Item = Result<Bytes, RpcError>> + Send + 'static) -> Self {
        Self { pieces: pieces.boxed(), first: None, held: None, body: None }
    }

    /// Counts as `held` as long as it lives.
    pub(crate) fn hold(&mut self, held: Option<Taken>) {
        self.held = held;
    }

    /// Keeps what the body that it answers is counted as.
    pub(crate) fn keep_body(&mut self, held: Option<Taken>) {
        self.body = held;
    }

    /// Waits for the first piece, or for the error in its place.
    pub(crate) async fn wait(&mut self) -> Result<(), RpcError> {
        if self.first.is_none() {
            self.first = self.pieces.next().await.transpose()?.map(Ok);
        }
        Ok(())
    }

    /// Why nothing comes any more, if that is known. Does not wait.
    pub(crate) async fn failure(&mut self) -> Option<&RpcError> {
        if self.first.is_none() {
            // An end is told again when it is asked for next.
            self.first = match poll_fn(|cx| Poll::Ready(self.pieces.poll_next_unpin(cx))).await {
                Poll::Ready(Some(piece)) => Some(piece),
                Poll::Ready(None) | Poll::Pending => None,
            };
        }
        self.first.as_ref()?.as_ref().err()
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.pieces.poll_next_unpin(cx),
        }
    }

    /// Waits for its end, or for more than `bytes` of it.
    pub(crate) async fn begin(mut self, bytes: usize) -> Result<Begun, RpcError> {
        let mut pieces = Vec::new();
        let mut came = 0_usize;
        while let Some(piece) = poll_fn(|cx| self.poll_next(cx)).await {
            let piece = piece?;
            came = came.saturating_add(piece.len());
            pieces.push(piece);
            if came > bytes {
                return Ok(Begun::Beginning(pieces, self));
            }
            checkpoint().await;
        }
        Ok(Begun::Whole(pieces))
    }
}

/// Text of which the long pieces are not copied.
#[derive(Default)]
pub(crate) struct Pieces {
    done: Vec<Bytes>,
    open: String,
}

impl Pieces {
    /// Where short text is written.
    pub(crate) const fn text(&mut self) -> &mut String {
        &mut self.open
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.open.is_empty()
    }

    /// Adds JSON.
    pub(crate) fn extend(&mut self, pieces: Vec<Bytes>) {
        for piece in pieces {
            self.push(piece);
        }
    }

    fn push(&mut self, piece: Bytes) {
        match str::from_utf8(&piece) {
            Ok(short) if short.len() < PIECE_BYTES_MIN => self.open.push_str(short),
            _ => {
                self.end_piece();
                self.done.push(piece);
            }
        }
    }

    fn end_piece(&mut self) {
        if !self.open.is_empty() {
            self.done.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.end_piece();
        self.done
    }
}

/// What a body is answered with.
pub enum Reply {
    /// Pieces that are there.
    Whole(Whole),
    /// An answer of which more comes.
    Streamed(Streamed),
}

/// An answer that is there.
pub struct Whole {
    pieces: Vec<Bytes>,
    held: Option<Taken>,
}

/// An answer or a notification whose text comes: the beginning, the rest, then the end.
pub struct Streamed {
    /// Id of the call; none if it is a batch or a notification.
    pub(crate) id: Option<Box<RawValue>>,
    /// What is there.
    pub(crate) pieces: Vec<Bytes>,
    /// What comes.
    pub(crate) rest: TextStream,
    /// What follows that.
    pub(crate) end: &'static str,
    /// Whose notification it is, if it is one.
    pub(crate) notice_of: Option<SubscriptionId>,
}

/// An answer or a notification on its way to a connection.
pub(crate) enum Outgoing {
    /// It is there.
    Whole(Bytes),
    /// It comes.
    Streamed(Streamed),
}

impl Outgoing {
    /// Bytes of it that are there.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(text) => text.len(),
            Self::Streamed(streamed) => streamed.pieces.iter().map(Bytes::len).sum(),
        }
    }
}

/// Text and its part of a quota.
struct Counted {
    text: Bytes,
    _held: Arc<Taken>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

fn counted(text: Bytes, held: &Arc<Taken>) -> Bytes {
    Bytes::from_owner(Counted { text, _held: Arc::clone(held) })
}

impl Reply {
    /// These pieces, which count as long as `held` is.
    pub(crate) fn whole(pieces: Pieces, held: Option<Taken>) -> Self {
        Self::Whole(Whole { pieces: pieces.finish(), held })
    }

    /// For a connection that is sent messages: in one piece, if nothing is streamed.
    pub(crate) async fn into_outgoing(self, system: &System) -> Outgoing {
        match self {
            Self::Whole(whole) => Outgoing::Whole(whole.join(system).await),
            Self::Streamed(streamed) => Outgoing::Streamed(streamed),
        }
    }
}

impl Whole {
    /// The pieces, which count until they are dropped.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        let Self { pieces, held } = self;
        match held.map(Arc::new) {
            None => pieces,
            Some(held) => pieces.into_iter().map(|text| counted(text, &held)).collect(),
        }
    }

    /// All of it in one piece: on the compute pool if copying it takes longer than a turn.
    pub(crate) async fn join(self, system: &System) -> Bytes {
        let Self { mut pieces, held } = self;
        let whole = if pieces.len() == 1 {
            pieces.swap_remove(0)
        } else if pieces.iter().map(Bytes::len).sum::<usize>() <= JOIN_INLINE_BYTES_MAX {
            Bytes::from(pieces.concat())
        } else {
            let for_job = pieces.clone();
            let job = system.compute_async(move |yielder| joined(&for_job, yielder));
            // The pool may be full: a turn that is too long, rather than no answer.
            job.await.unwrap_or_else(|_| Bytes::from(pieces.concat()))
        };
        match held.map(Arc::new) {
            None => whole,
            Some(held) => counted(whole, &held),
        }
    }
}

/// All of them in one, a slice at a time; what is there so far if nobody wants it any more.
fn joined(pieces: &[Bytes], yielder: &Yielder) -> Bytes {
    let mut whole = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
    let slices = pieces.iter().flat_map(|piece| piece.chunks(JOB_SLICE_BYTES));
    for slice in slices.take_while(|_| !yielder.should_stop()) {
        whole.extend_from_slice(slice);
    }
    Bytes::from(whole)
}
