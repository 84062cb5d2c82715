//! Streamed replies: `pending | item | ok | err | done`, with credit by items and bytes.
//!
//! The sink may be ahead of the reader by its credit. Without credit an async producer waits in
//! `item`, a sync one parks on [`Sink::when_credit`]. A stream has no timer of its own; a reader
//! that asks for a stall limit has one while it waits ([`ReplyStream::stall_after`]).

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    sync::coarse::{Mutex, MutexGuard},
    system::System,
    ticket::Completion,
    time::Time,
    timers::TimerId,
};

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
    /// The producer has begun; nothing is there yet. Comes once, before all else, if at all.
    Pending,
    /// The next item.
    Item(T),
    /// The result, after all items; `Done` follows.
    Ok(T),
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
    /// Nothing came for as long as the reader was ready to wait. The producer goes on until the
    /// reader is dropped; reading on waits again.
    Stalled {
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
    /// Nothing came for as long as the reader was ready to wait.
    #[error("the stream stalled after {items_sent} items")]
    Stalled {
        /// Items that came before.
        items_sent: u64,
    },
}

/// There is no credit for this item now; or ever, if the reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCredit<T>(pub T);

enum End<T, E> {
    Done,
    /// The result, then `Done`.
    Ok(T),
    Failed(E),
    Lost,
}

struct State<T, E> {
    credit: Credit,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    items_sent: u64,
    /// `Pending` was said and not read.
    is_pending: bool,
    end: Option<End<T, E>>,
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
pub struct ReplyStream<T, E> {
    shared: Arc<Shared<T, E>>,
    stall: Option<Stall>,
}

/// How long a reader waits for the next event.
struct Stall {
    system: System,
    after: Duration,
    /// Set while it waits.
    until: Option<(Time, TimerId)>,
}

impl Stall {
    /// True if the wait that goes on is over. Begins one if none does.
    fn is_over(&mut self, waker: &Waker) -> bool {
        let now = self.system.now();
        if let Some((until, _)) = self.until {
            return until <= now;
        }
        let (at, waker) = (now + self.after, waker.clone());
        let timer = self.system.set_timer(at, Box::new(move || waker.wake()));
        self.until = Some((at, timer));
        false
    }

    fn end_wait(&mut self) {
        if let Some((_, timer)) = self.until.take() {
            self.system.cancel_timer(timer);
        }
    }
}

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
        is_pending: false,
        end: None,
        is_cancelled: false,
        reader: None,
        writer: None,
        parked: None,
    })));
    (Sink(Arc::clone(&shared)), ReplyStream { shared, stall: None })
}

impl<T, E> Sink<T, E> {
    /// Says that the work has begun, if nothing was said yet.
    pub fn pending(&mut self) {
        let mut state = self.0.lock();
        state.is_pending = state.items_sent == 0 && state.end.is_none();
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

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

    /// Ends the stream well, with a result. It needs no credit.
    pub fn finish_with(self, result: T) {
        self.end(End::Ok(result));
    }

    /// Ends the stream with an error; the items before it still arrive.
    pub fn fail(self, error: E) {
        self.end(End::Failed(error));
    }

    fn end(&self, end: End<T, E>) {
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
    /// From now on a wait for the next event of more than `after` gives
    /// [`StreamEvent::Stalled`]. The timer is one of `system`, and there is one only while the
    /// reader waits.
    #[must_use]
    pub fn stall_after(mut self, system: &System, after: Duration) -> Self {
        self.stall = Some(Stall { system: system.clone(), after, until: None });
        self
    }

    /// The next event. After the end it is `Done` again and again.
    pub async fn next(&mut self) -> StreamEvent<T, E> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// As [`ReplyStream::next`], for hand-written futures.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<StreamEvent<T, E>> {
        let mut state = self.shared.lock();
        let Some(event) = take_event(&mut state) else {
            state.reader = Some(cx.waker().clone());
            let items_sent = state.items_sent;
            drop(state);
            if let Some(stall) = &mut self.stall
                && stall.is_over(cx.waker())
            {
                stall.end_wait();
                return Poll::Ready(StreamEvent::Stalled { items_sent });
            }
            return Poll::Pending;
        };
        let (writer, parked) = (state.writer.take(), state.parked.take());
        drop(state);
        if let Some(stall) = &mut self.stall {
            stall.end_wait();
        }
        if let Some(writer) = writer {
            writer.wake();
        }
        drop(parked);
        Poll::Ready(event)
    }

    /// All items, and the result behind them if there is one.
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the producer did not finish; the items are dropped.
    pub async fn collect(self) -> Result<Vec<T>, StreamError<E>> {
        let mut items = Vec::new();
        let result = self.run(|item| items.push(item)).await?;
        items.extend(result);
        Ok(items)
    }

    /// Reads to the end, hands each item to `each`, and gives the result, if there is one.
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the producer did not finish, with the items that came before.
    pub async fn run(mut self, mut each: impl FnMut(T)) -> Result<Option<T>, StreamError<E>> {
        let mut result = None;
        loop {
            match self.next().await {
                StreamEvent::Pending => {}
                StreamEvent::Item(item) => each(item),
                StreamEvent::Ok(value) => result = Some(value),
                StreamEvent::Done => return Ok(result),
                StreamEvent::Failed { error, items_sent } => {
                    return Err(StreamError::Failed { error, items_sent });
                }
                StreamEvent::Lost { items_sent } => return Err(StreamError::Lost { items_sent }),
                StreamEvent::Stalled { items_sent } => {
                    return Err(StreamError::Stalled { items_sent });
                }
            }
        }
    }
}

/// What the reader gets next, if anything is there.
fn take_event<T, E>(state: &mut State<T, E>) -> Option<StreamEvent<T, E>> {
    if mem::take(&mut state.is_pending) {
        return Some(StreamEvent::Pending);
    }
    if let Some((item, bytes)) = state.items.pop_front() {
        state.bytes = state.bytes.saturating_sub(bytes);
        return Some(StreamEvent::Item(item));
    }
    let items_sent = state.items_sent;
    let event = match state.end.replace(End::Done) {
        Some(End::Done) => StreamEvent::Done,
        Some(End::Ok(result)) => StreamEvent::Ok(result),
        Some(End::Failed(error)) => StreamEvent::Failed { error, items_sent },
        Some(End::Lost) => StreamEvent::Lost { items_sent },
        None => {
            state.end = None;
            return None;
        }
    };
    Some(event)
}

impl<T, E> Drop for ReplyStream<T, E> {
    fn drop(&mut self) {
        if let Some(stall) = &mut self.stall {
            stall.end_wait();
        }
        let mut state = self.shared.lock();
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
