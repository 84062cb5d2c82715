//! One WebSocket connection as the methods see it: a place to open subscriptions.
//!
//! Everything that leaves the connection goes through one bounded queue. An answer waits until
//! there is room (and nothing is read meanwhile); a notification never waits: the one that finds
//! the queue full ends the connection, because a subscriber that does not read would otherwise
//! hold memory for ever or silently miss events.
//!
//! # Invariants
//!
//! - S1: the queue holds at most [`OUTBOX_ITEMS_MAX`] messages and [`OUTBOX_BYTES_MAX`] bytes, or
//!   one message of any size. Notifications are queued only while all queues together hold at most
//!   [`OUTBOXES_BYTES_MAX`], or their own no more than [`OUTBOX_FREE_BYTES`]. Answers of all
//!   connections are bounded before they come here (B4 of [`body`](crate::body)); one that is
//!   streamed has no more than its beginning in the queue. A notification that is streamed comes in
//!   beside these bounds with its head alone; its subscription sends the next when it is taken.
//! - S2: no notification of a subscription leaves before the answer that names it.
//! - S3: when the connection ends, all its subscriptions end.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    num::ParseIntError,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::Bytes;
use evenkeel_runtime::{Class, Entropy, Reply, Share, Spawn, System, reply};
use futures_util::{future::BoxFuture, task::AtomicWaker};
use rand_core::RngCore;
use serde::{Serialize, Serializer};

use crate::{
    answer::{Outgoing, Streamed, TextStream},
    body::Owned,
    error::RpcError,
    limits::{
        OUTBOX_BYTES_MAX, OUTBOX_FREE_BYTES, OUTBOX_ITEMS_MAX, OUTBOXES_BYTES_MAX,
        SUBSCRIPTIONS_MAX,
    },
};

/// Names a subscription; 128 random bits, so that one client cannot guess another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u128);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for SubscriptionId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u128::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).map(Self)
    }
}

impl Serialize for SubscriptionId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The connection is gone, or has just been given up because its client does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

/// One request's hold on its WebSocket connection.
#[derive(Clone)]
pub struct Session {
    line: Arc<Line>,
    /// Starts the subscriptions that this request opened, once its answer is queued, or at the end
    /// of a batch that is streamed (S2).
    gates: Arc<Mutex<Vec<Reply<()>>>>,
}

impl Session {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line, gates: Arc::default() }
    }

    /// Opens a subscription: the future that `make` returns runs until it ends by itself, is
    /// closed, or the connection ends. It starts when the answer to this request is on its way.
    ///
    /// # Errors
    ///
    /// -32005 at [`SUBSCRIPTIONS_MAX`]; -32000 if the connection is closing.
    pub fn open(
        &self,
        make: impl FnOnce(SubscriptionId, Outbox) -> BoxFuture<'static, ()>,
    ) -> Result<SubscriptionId, RpcError> {
        let line = &self.line;
        let mut subscriptions = line.subscriptions();
        let Some(open) = subscriptions.as_mut() else {
            return Err(RpcError::server("the connection is closed"));
        };
        if open.len() >= SUBSCRIPTIONS_MAX {
            let text = format!("too many subscriptions: limit {SUBSCRIPTIONS_MAX}");
            return Err(RpcError::limit(text));
        }
        let id = line.draw_id();
        let run = make(id, Outbox { id, namespace: "eth", line: Arc::clone(line) });
        let (gate, opened) = reply();
        let spawn = Spawn::new("subscription", Class::Rpc).share(line.share.clone());
        let here = Arc::clone(line);
        let task = line.system.spawn_future(spawn, async move {
            if opened.await.is_ok() {
                run.await;
            }
            here.forget(id);
        });
        let former = open.insert(id, Owned::new(task));
        assert!(former.is_none(), "128 random bits repeat");
        drop(subscriptions);

        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.push(gate);
        Ok(id)
    }

    /// Ends a subscription; false if there is none of this id. What it streams and has not begun to
    /// send is not sent.
    pub fn close(&self, id: &SubscriptionId) -> bool {
        let ended = self.line.subscriptions().as_mut().and_then(|live| live.remove(id));
        let was_there = ended.is_some();
        // First of all who streams it.
        drop(ended);
        let waiting = self.line.queue().remove_notices(*id);
        // Outside the lock: work ends with it.
        drop(waiting);
        self.line.emptied.wake();
        was_there
    }

    /// Lets the subscriptions of this request start. Call it when the answer is queued; of a batch
    /// that is streamed, at its end.
    pub(crate) fn release(&self) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        for gate in gates.drain(..) {
            gate.send(());
        }
    }
}

/// Where one subscription sends its notifications.
#[derive(Clone)]
pub struct Outbox {
    id: SubscriptionId,
    /// Of the method that its notifications name.
    namespace: &'static str,
    line: Arc<Line>,
}

impl Outbox {
    /// The same for notifications of a method of `namespace`; of `eth` unless it is said.
    pub(crate) fn within(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    /// A notification up to the value of `key`; `}}` follows that.
    fn head(&self, key: &str) -> String {
        let Self { id, namespace, .. } = self;
        let method = format!("{namespace}_subscription");
        format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"subscription":"{id}","{key}":"#
        )
    }

    /// Queues one notification. Never waits.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the connection is gone; a queue that is full closes it.
    pub fn notify(&self, result: &impl Serialize) -> Result<(), Closed> {
        let mut text = self.head("result").into_bytes();
        // Our own types; a map with keys that are no strings would be a mistake of ours.
        serde_json::to_writer(&mut text, result).expect("notifications are plain data");
        text.extend_from_slice(b"}}");
        self.line.notify(Bytes::from(text))
    }

    /// Queues one notification that has an error in the place of its result: the subscriber has
    /// missed something. Never waits.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn notify_error(&self, error: &RpcError) -> Result<(), Closed> {
        let mut text = self.head("error");
        error.write_json(&mut text);
        text.push_str("}}");
        self.line.notify(Bytes::from(text))
    }

    /// Queues one notification whose result is an object: its text begins with `begin`, and comes
    /// up to the end of the object. Never waits; to be called again when `rest` has been taken.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the connection is gone.
    pub(crate) fn stream(&self, begin: &str, rest: TextStream) -> Result<(), Closed> {
        let pieces = vec![Bytes::from(self.head("result") + begin)];
        let notice_of = Some(self.id);
        self.line.stream(Streamed { id: None, pieces, rest, end: "}}}", notice_of })
    }

    /// True if nothing will be sent any more.
    pub fn is_closed(&self) -> bool {
        self.line.queue().end.is_some()
    }
}

/// Why a connection takes no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A notification found the queue full.
    Overrun,
    /// The connection is gone.
    Gone,
}

/// What both halves of a connection and its subscriptions share.
pub(crate) struct Line {
    system: System,
    share: Share,
    queue: Mutex<Queue>,
    /// The writer waits for messages.
    filled: AtomicWaker,
    /// The reader waits for room.
    emptied: AtomicWaker,
    /// `None` once the connection has ended.
    subscriptions: Mutex<Option<Live>>,
    ids: Mutex<Entropy>,
}

type Live = BTreeMap<SubscriptionId, Owned<()>>;

/// Bytes that wait for all connections of a server together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outboxes(Arc<AtomicUsize>);

impl Outboxes {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Queue {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    /// Streamed answers that wait or are being sent.
    streams: usize,
    end: Option<End>,
    together: Outboxes,
}

impl Queue {
    /// S1.
    fn has_room(&self, bytes: usize) -> bool {
        self.messages.is_empty()
            || self.messages.len() < OUTBOX_ITEMS_MAX
                && self.bytes.saturating_add(bytes) <= OUTBOX_BYTES_MAX
    }

    /// S1: whether there is room for a notification, of which only a reader can make more.
    fn has_room_beside_others(&self, bytes: usize) -> bool {
        self.bytes <= OUTBOX_FREE_BYTES
            || self.together.bytes().saturating_add(bytes) <= OUTBOXES_BYTES_MAX
    }

    fn push(&mut self, message: Outgoing) {
        let is_worked =
            matches!(&message, Outgoing::Streamed(streamed) if streamed.notice_of.is_none());
        self.streams += usize::from(is_worked);
        self.bytes += message.len();
        self.together.0.fetch_add(message.len(), Ordering::Relaxed);
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Outgoing> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        self.together.0.fetch_sub(message.len(), Ordering::Relaxed);
        Some(message)
    }

    /// Removes the notifications of a subscription that are streamed.
    fn remove_notices(&mut self, id: SubscriptionId) -> VecDeque<Outgoing> {
        let is_its = |message: &Outgoing| match message {
            Outgoing::Streamed(streamed) => streamed.notice_of == Some(id),
            Outgoing::Whole(_) => false,
        };
        let messages = std::mem::take(&mut self.messages);
        let (removed, kept): (VecDeque<_>, _) = messages.into_iter().partition(is_its);
        self.messages = kept;
        let bytes = removed.iter().map(Outgoing::len).sum::<usize>();
        self.bytes -= bytes;
        self.together.0.fetch_sub(bytes, Ordering::Relaxed);
        removed
    }

    /// Takes no more, for the first reason there was.
    fn end(&mut self, why: End) {
        self.end.get_or_insert(why);
        self.messages = VecDeque::new();
        self.together.0.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end(End::Gone);
    }
}

impl Line {
    /// A connection whose work is charged to `share`; `ids` names its subscriptions.
    pub(crate) fn new(system: System, share: Share, ids: Entropy, together: Outboxes) -> Arc<Self> {
        let messages = VecDeque::new();
        let queue = Queue { messages, bytes: 0, streams: 0, end: None, together };
        Arc::new(Self {
            system,
            share,
            queue: Mutex::new(queue),
            filled: AtomicWaker::new(),
            emptied: AtomicWaker::new(),
            subscriptions: Mutex::new(Some(BTreeMap::new())),
            ids: Mutex::new(ids),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions(&self) -> MutexGuard<'_, Option<Live>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_id(&self) -> SubscriptionId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        SubscriptionId(u128::from(ids.next_u64()) << 64 | u128::from(ids.next_u64()))
    }

    fn forget(&self, id: SubscriptionId) {
        let ended = self.subscriptions().as_mut().and_then(|live| live.remove(&id));
        // The process itself is the caller and about to end: there is nothing to abort.
        if let Some(task) = ended {
            task.detach();
        }
    }

    fn notify(&self, message: Bytes) -> Result<(), Closed> {
        let mut queue = self.queue();
        if queue.end.is_some() {
            return Err(Closed);
        }
        let bytes = message.len();
        let has_room = queue.has_room(bytes) && queue.has_room_beside_others(bytes);
        if has_room {
            queue.push(Outgoing::Whole(message));
        } else {
            queue.end(End::Overrun);
        }
        drop(queue);
        self.filled.wake();
        if has_room { Ok(()) } else { Err(Closed) }
    }

    /// Queues a notification that is streamed (S1).
    fn stream(&self, message: Streamed) -> Result<(), Closed> {
        let mut queue = self.queue();
        if queue.end.is_some() {
            return Err(Closed);
        }
        queue.push(Outgoing::Streamed(message));
        drop(queue);
        self.filled.wake();
        Ok(())
    }

    /// Queues an answer; waits for room. One caller at a time.
    pub(crate) async fn push(&self, message: Outgoing) -> Result<(), Closed> {
        let mut message = Some(message);
        poll_fn(|cx| {
            self.emptied.register(cx.waker());
            let mut queue = self.queue();
            if queue.end.is_some() {
                return Poll::Ready(Err(Closed));
            }
            if !queue.has_room(message.as_ref().map_or(0, Outgoing::len)) {
                return Poll::Pending;
            }
            if let Some(message) = message.take() {
                queue.push(message);
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.filled.wake();
        Ok(())
    }

    /// The next message to send. One caller at a time.
    pub(crate) async fn next(&self) -> Result<Outgoing, End> {
        let message = poll_fn(|cx| {
            self.filled.register(cx.waker());
            self.take().transpose().map_or(Poll::Pending, Poll::Ready)
        })
        .await?;
        Ok(message)
    }

    /// The next message to send, if one is there.
    pub(crate) fn take(&self) -> Result<Option<Outgoing>, End> {
        let mut queue = self.queue();
        if let Some(end) = queue.end {
            return Err(end);
        }
        let Some(message) = queue.pop() else { return Ok(None) };
        drop(queue);
        self.emptied.wake();
        Ok(Some(message))
    }

    /// As [`take`](Self::take), where nothing is streamed.
    #[cfg(test)]
    pub(crate) fn take_text(&self) -> Result<Option<Bytes>, End> {
        let text = |message| match message {
            Outgoing::Whole(text) => text,
            Outgoing::Streamed(_) => panic!("it is streamed"),
        };
        Ok(self.take()?.map(text))
    }

    /// Streamed answers that wait or are being sent. The waker is woken when one has been sent.
    pub(crate) fn streams(&self, waker: &Waker) -> usize {
        self.emptied.register(waker);
        self.queue().streams
    }

    /// A streamed answer has been sent.
    pub(crate) fn streamed(&self) {
        self.queue().streams -= 1;
        self.emptied.wake();
    }

    /// Ends all subscriptions and refuses what comes (S3).
    pub(crate) fn end(&self) {
        let mut queue = self.queue();
        queue.end(End::Gone);
        drop(queue);
        let live = self.subscriptions().take();
        drop(live);
    }
}

#[cfg(test)]
mod tests;
