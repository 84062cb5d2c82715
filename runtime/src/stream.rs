//! Streamed replies with credit by items and bytes, and no timer.
//!
//! The sink may be ahead of the reader by its credit. Without credit an async producer waits in
//! `item`, a sync one parks on [`Sink::when_credit`].

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::ticket::Completion;

/// How far a producer may be ahead of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Items that may wait.
    pub items: usize,
    /// Bytes that may wait. A bigger item is let through when nothing else waits.
    pub bytes: usize,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent<T, E> {
    /// The next item.
    Item(T),
    /// The producer has finished.
    Done,
    /// The producer has failed.
    Failed {
        /// Why.
        error: E,
        /// Items that came before.
        items_sent: u64,
    },
    /// The producer went away without a word.
    Lost {
        /// Items that came before.
        items_sent: u64,
    },
}

/// Why a stream could not be collected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError<E> {
    /// The producer has failed.
    #[error("the stream failed after {items_sent} items: {error}")]
    Failed {
        /// Why.
        error: E,
        /// Items that came before.
        items_sent: u64,
    },
    /// The producer went away without a word.
    #[error("the producer went away after {items_sent} items")]
    Lost {
        /// Items that came before.
        items_sent: u64,
    },
}

/// There is no credit for this item now; or ever, if the reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCredit<T>(pub T);

enum End<E> {
    Done,
    Failed(E),
    Lost,
}

struct State<T, E> {
    credit: Credit,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    items_sent: u64,
    end: Option<End<E>>,
    is_cancelled: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    parked: Option<Completion>,
}

impl<T, E> State<T, E> {
    fn has_credit(&self, bytes: usize) -> bool {
        let has_bytes = self.bytes.saturating_add(bytes) <= self.credit.bytes;
        self.items.len() < self.credit.items && (has_bytes || self.items.is_empty())
    }
}

struct Shared<T, E>(Mutex<State<T, E>>);

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The producer's end. Dropped without `finish` or `fail` the reader gets `Lost`.
pub struct Sink<T, E>(Arc<Shared<T, E>>);

/// The reader's end. Dropping it cancels.
pub struct ReplyStream<T, E>(Arc<Shared<T, E>>);

/// A streamed reply.
///
/// # Panics
///
/// If there is credit for no item: nothing could ever be sent.
#[must_use]
pub fn stream<T, E>(credit: Credit) -> (Sink<T, E>, ReplyStream<T, E>) {
    assert!(credit.items > 0, "a stream without credit never moves");
    let shared = Arc::new(Shared(Mutex::new(State {
        credit,
        items: VecDeque::new(),
        bytes: 0,
        items_sent: 0,
        end: None,
        is_cancelled: false,
        reader: None,
        writer: None,
        parked: None,
    })));
    (Sink(Arc::clone(&shared)), ReplyStream(shared))
}

impl<T, E> Sink<T, E> {
    /// Sends an item that holds nothing beyond itself.
    ///
    /// # Errors
    ///
    /// [`NoCredit`] with the item.
    pub fn try_item(&mut self, item: T) -> Result<(), NoCredit<T>> {
        self.try_item_sized(item, size_of::<T>())
    }

    /// Sends an item that counts as `bytes`.
    ///
    /// # Errors
    ///
    /// [`NoCredit`] with the item.
    pub fn try_item_sized(&mut self, item: T, bytes: usize) -> Result<(), NoCredit<T>> {
        let mut state = self.0.lock();
        if state.is_cancelled || !state.has_credit(bytes) {
            return Err(NoCredit(item));
        }
        state.items.push_back((item, bytes));
        state.bytes = state.bytes.saturating_add(bytes);
        state.items_sent += 1;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Sends an item when there is credit.
    ///
    /// # Errors
    ///
    /// [`NoCredit`] if the reader has gone.
    pub async fn item(&mut self, item: T) -> Result<(), NoCredit<T>> {
        self.item_sized(item, size_of::<T>()).await
    }

    /// Sends an item that counts as `bytes` when there is credit.
    ///
    /// # Errors
    ///
    /// [`NoCredit`] if the reader has gone.
    pub async fn item_sized(&mut self, item: T, bytes: usize) -> Result<(), NoCredit<T>> {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.is_cancelled || state.has_credit(bytes) {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        // One producer: nobody can have used the credit up in between.
        self.try_item_sized(item, bytes)
    }

    /// Completes `completion` when the reader next takes something, or goes away; at once if
    /// nothing waits. For actors that park.
    pub fn when_credit(&mut self, completion: Completion) {
        let mut state = self.0.lock();
        if state.is_cancelled || state.items.is_empty() {
            drop(state);
            completion.complete();
        } else {
            state.parked = Some(completion);
        }
    }

    /// True once the reader has gone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().is_cancelled
    }

    /// Ends the stream well.
    pub fn finish(self) {
        self.end(End::Done);
    }

    /// Ends the stream with an error; the items before it still arrive.
    pub fn fail(self, error: E) {
        self.end(End::Failed(error));
    }

    fn end(&self, end: End<E>) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T, E> Drop for Sink<T, E> {
    fn drop(&mut self) {
        self.end(End::Lost);
    }
}

impl<T, E> ReplyStream<T, E> {
    /// The next event. After the end it is `Done` again and again.
    pub async fn next(&mut self) -> StreamEvent<T, E> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// As [`ReplyStream::next`], for hand-written futures.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StreamEvent<T, E>> {
        let mut state = self.0.lock();
        let event = if let Some((item, bytes)) = state.items.pop_front() {
            state.bytes = state.bytes.saturating_sub(bytes);
            StreamEvent::Item(item)
        } else {
            let items_sent = state.items_sent;
            match state.end.replace(End::Done) {
                Some(End::Done) => StreamEvent::Done,
                Some(End::Failed(error)) => StreamEvent::Failed { error, items_sent },
                Some(End::Lost) => StreamEvent::Lost { items_sent },
                None => {
                    state.end = None;
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        let (writer, parked) = (state.writer.take(), state.parked.take());
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        drop(parked);
        Poll::Ready(event)
    }

    /// All items.
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the producer did not finish; the items are dropped.
    pub async fn collect(mut self) -> Result<Vec<T>, StreamError<E>> {
        let mut items = Vec::new();
        loop {
            match self.next().await {
                StreamEvent::Item(item) => items.push(item),
                StreamEvent::Done => return Ok(items),
                StreamEvent::Failed { error, items_sent } => {
                    return Err(StreamError::Failed { error, items_sent });
                }
                StreamEvent::Lost { items_sent } => return Err(StreamError::Lost { items_sent }),
            }
        }
    }
}

impl<T, E> Drop for ReplyStream<T, E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_cancelled = true;
        let items = mem::take(&mut state.items);
        let (writer, parked) = (state.writer.take(), state.parked.take());
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        drop((items, parked));
    }
}
