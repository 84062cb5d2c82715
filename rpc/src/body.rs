//! Works a whole request body: parses it, has its calls answered, renders the answers.
//!
//! A single call runs in the future that serves its connection; the items of a batch are processes
//! of their own, so that they spread over the workers and divide their client's share.
//!
//! # Invariants
//!
//! - B1: answers come in the order of the calls; at most [`BATCH_FANOUT`] calls run at once.
//! - B2: finished answers of one body never hold more than `response_bytes_max`, plus one answer
//!   per running call; what would exceed it is answered with -32003, as geth does.
//! - B3: dropping the future of a body drops the futures of all its calls.

use std::{
    borrow::Cow,
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use evenkeel_runtime::{Class, Spawn, System, TaskHandle, checkpoint, consume};
use serde_json::value::RawValue;

use crate::{
    api::Request,
    client::Client,
    dispatch::{BodyLimits, Dispatch},
    envelope::{self, Call, Entry, Parsed},
    error::RpcError,
    limits::{BATCH_FANOUT, BYTES_PER_REDUCTION, PARSE_INLINE_BYTES_MAX},
    session::Session,
};

/// Who works calls, and within what limits.
pub struct Calls<D> {
    system: System,
    dispatch: Arc<D>,
    limits: BodyLimits,
}

impl<D> Clone for Calls<D> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            dispatch: Arc::clone(&self.dispatch),
            limits: self.limits,
        }
    }
}

impl<D: Dispatch> Calls<D> {
    /// Calls are answered by `dispatch` and run on `system`.
    pub fn new(system: System, dispatch: Arc<D>, limits: BodyLimits) -> Self {
        Self { system, dispatch, limits }
    }

    /// The limits every body is held to.
    pub fn limits(&self) -> &BodyLimits {
        &self.limits
    }

    /// Works a whole body. `None`: it held notifications only, so there is nothing to answer.
    pub async fn serve_body(
        &self,
        client: &Client,
        session: Option<&Session>,
        body: Bytes,
    ) -> Option<Bytes> {
        checkpoint().await;
        let parsed = if body.len() > PARSE_INLINE_BYTES_MAX {
            self.parse_elsewhere(body.clone()).await
        } else {
            consume(u32::try_from(body.len() / BYTES_PER_REDUCTION).unwrap_or(u32::MAX));
            envelope::parse(&body, &self.limits.envelope)
        };
        let answer = match parsed {
            Parsed::Single(entry) => self.serve_single(client, session, entry).await,
            Parsed::Batch(entries) => self.serve_batch(client, session, entries).await,
            Parsed::Refused(refused) => Some(refused.render()),
        };
        answer.map(Bytes::from)
    }

    /// Parsing cannot be cut into slices, so a large body is parsed on the compute pool.
    async fn parse_elsewhere(&self, body: Bytes) -> Parsed<'static> {
        let limits = self.limits.envelope;
        let parsed =
            self.system.compute_async(move |_| envelope::parse(&body, &limits).into_owned()).await;
        parsed.unwrap_or_else(|_| {
            Parsed::Single(Entry::Invalid { id: None, error: internal_error() })
        })
    }

    async fn serve_single(
        &self,
        client: &Client,
        session: Option<&Session>,
        entry: Entry<'_>,
    ) -> Option<String> {
        let (id, result) = match entry {
            Entry::Invalid { id, error } => (id, Err(error)),
            Entry::Call(call) => {
                let mut result = self.answer(&call, client, session).await;
                if bytes_of(&result) > self.limits.response_bytes_max {
                    result = Err(RpcError::response_too_large());
                }
                (Some(call.id?), result)
            }
        };
        let mut out = String::new();
        envelope::write_answer(&mut out, id.as_deref(), &result);
        Some(out)
    }

    /// Runs the calls in a window that moves with the oldest of them (B1).
    async fn serve_batch(
        &self,
        client: &Client,
        session: Option<&Session>,
        entries: Vec<Entry<'_>>,
    ) -> Option<String> {
        let meter =
            Arc::new(Meter { used: AtomicUsize::new(0), max: self.limits.response_bytes_max });
        let mut window = VecDeque::with_capacity(BATCH_FANOUT.min(entries.len()));
        let mut entries = entries.into_iter();
        let mut out = String::new();
        loop {
            while window.len() < BATCH_FANOUT
                && let Some(entry) = entries.next()
            {
                window.extend(self.start(client, session, entry, &meter));
            }
            let Some(oldest) = window.pop_front() else { break };
            let (id, result) = match oldest {
                Started::Done { id, error } => (id, Err(error)),
                Started::Running { id, task } => {
                    let result = task.await.unwrap_or_else(|_| Err(internal_error()));
                    // A notification.
                    let Some(id) = id else { continue };
                    (Some(id), result)
                }
            };
            out.push(if out.is_empty() { '[' } else { ',' });
            envelope::write_answer(&mut out, id.as_deref(), &result);
            checkpoint().await;
        }
        if out.is_empty() {
            return None;
        }
        out.push(']');
        Some(out)
    }

    /// Starts what `entry` asks for; `None` if there is nothing to run and nothing to answer.
    fn start<'a>(
        &self,
        client: &Client,
        session: Option<&Session>,
        entry: Entry<'a>,
        meter: &Arc<Meter>,
    ) -> Option<Started<'a>> {
        let Call { id, method, params } = match entry {
            Entry::Invalid { id, error } => return Some(Started::Done { id, error }),
            Entry::Call(call) => call,
        };
        // B2: once the answer is too large, the rest is refused without being worked.
        if meter.is_spent() {
            let error = RpcError::response_too_large();
            return id.map(|id| Started::Done { id: Some(id), error });
        }
        let call = Call { id: None, method, params }.into_owned();
        let (calls, client, session) = (self.clone(), client.clone(), session.cloned());
        let meter = Arc::clone(meter);
        let spawn = Spawn::new("request", Class::Rpc).share(client.share.clone());
        let task = self.system.spawn_future(spawn, async move {
            let result = calls.answer(&call, &client, session.as_ref()).await;
            if meter.take(bytes_of(&result)) { result } else { Err(RpcError::response_too_large()) }
        });
        Some(Started::Running { id, task: Owned::new(task) })
    }

    async fn answer(
        &self,
        call: &Call<'_>,
        client: &Client,
        session: Option<&Session>,
    ) -> Result<Box<RawValue>, RpcError> {
        let request =
            Request { method: &call.method, params: call.params.as_deref(), client, session };
        self.dispatch.dispatch(request).await
    }
}

/// What is said of a call that panicked.
pub(crate) fn internal_error() -> RpcError {
    RpcError::internal("internal error")
}

/// Bytes that an answer has in the body, its id aside. An error counts like a result: revert data
/// may be as large as the memory of the EVM.
fn bytes_of(result: &Result<Box<RawValue>, RpcError>) -> usize {
    match result {
        Ok(raw) => raw.get().len(),
        Err(error) => error.size_bytes(),
    }
}

/// One entry of a batch on its way.
enum Started<'a> {
    Done { id: Option<Cow<'a, RawValue>>, error: RpcError },
    Running { id: Option<Cow<'a, RawValue>>, task: Owned<Result<Box<RawValue>, RpcError>> },
}

/// Bytes of answers that one body has gathered.
struct Meter {
    used: AtomicUsize,
    max: usize,
}

impl Meter {
    /// Counts `bytes`; false if that is too much.
    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.max
    }

    fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max
    }
}

/// A process that ends with its owner (B3).
pub(crate) struct Owned<T: Send>(Option<TaskHandle<T>>);

impl<T: Send> Owned<T> {
    pub(crate) fn new(task: TaskHandle<T>) -> Self {
        Self(Some(task))
    }

    /// Lets the process go on without its owner.
    pub(crate) fn detach(mut self) {
        self.0.take();
    }
}

impl<T: Send> Future for Owned<T> {
    type Output = <TaskHandle<T> as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.0.as_mut().expect("only detach takes it, and that consumes self");
        Pin::new(task).poll(cx)
    }
}

impl<T: Send> Drop for Owned<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
