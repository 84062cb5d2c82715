//! Works a whole request body: parses it, has its calls answered, renders the answers.
//!
//! A single call runs in the future that serves its connection; the items of a batch are processes
//! of their own, so that they spread over the workers and divide their client's share.
//!
//! # Invariants
//!
//! - B1: answers come in the order of the calls; at most
//!   [`BATCH_FANOUT`](crate::limits::BATCH_FANOUT) calls run at once.
//! - B2: finished answers of one body never hold more than `response_bytes_max`, plus one answer
//!   per running call; what would exceed it is answered with -32003, as geth does. Answers that
//!   are streamed are not among them.
//! - B3: dropping the future of a body drops the futures of all its calls.
//! - B4: finished answers of all bodies together, until they are written, hold no more than
//!   `answers_bytes_max` and [`ANSWER_FREE_BYTES`] each; what finds no room is answered with
//!   -32005. An answer that is streamed counts as [`STREAM_HELD_BYTES`] until its end, so single
//!   ones of any length fit.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use evenkeel_runtime::{System, TaskHandle, checkpoint, consume};
use serde_json::value::RawValue;

use crate::{
    answer::{self, Answer, Begun, Pieces, Reply, Streamed, TextStream},
    api::Request,
    batch::Batch,
    client::Client,
    dispatch::{BodyLimits, Dispatch},
    envelope::{self, ANSWER_END, Call, Entry, Parsed},
    error::RpcError,
    limits::{
        ANSWER_FREE_BYTES, BYTES_PER_REDUCTION, PARSE_INLINE_BYTES_MAX, STREAM_FROM_BYTES,
        STREAM_HELD_BYTES,
    },
    quota::{Quota, Taken},
    session::Session,
};

/// Who works calls, and within what limits.
pub struct Calls<D> {
    system: System,
    dispatch: Arc<D>,
    limits: BodyLimits,
    /// B4.
    answers: Quota,
}

impl<D> Clone for Calls<D> {
    fn clone(&self) -> Self {
        Self {
            system: self.system.clone(),
            dispatch: Arc::clone(&self.dispatch),
            limits: self.limits,
            answers: self.answers.clone(),
        }
    }
}

impl<D: Dispatch> Calls<D> {
    /// Calls are answered by `dispatch` and run on `system`.
    pub fn new(system: System, dispatch: Arc<D>, limits: BodyLimits) -> Self {
        let answers = Quota::new(limits.answers_bytes_max);
        Self { system, dispatch, limits, answers }
    }

    /// Where they run.
    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    /// The limits every body is held to.
    pub fn limits(&self) -> &BodyLimits {
        &self.limits
    }

    /// Bytes of finished answers that all bodies hold now; B4 bounds them.
    pub(crate) fn answers_bytes(&self) -> usize {
        self.answers.used()
    }

    /// Who answers them.
    pub fn dispatch(&self) -> &D {
        &self.dispatch
    }

    /// Works a whole body. `None`: it held notifications only, so there is nothing to answer.
    pub async fn serve(
        &self,
        client: &Client,
        session: Option<&Session>,
        body: Bytes,
    ) -> Option<Reply> {
        checkpoint().await;
        let parsed = if body.len() > PARSE_INLINE_BYTES_MAX {
            self.parse_elsewhere(body.clone()).await
        } else {
            consume(u32::try_from(body.len() / BYTES_PER_REDUCTION).unwrap_or(u32::MAX));
            envelope::parse(&body, &self.limits.envelope)
        };
        match parsed {
            Parsed::Single(entry) => self.serve_single(client, session, entry).await,
            Parsed::Batch(entries) => Batch::new(self, (client, session), entries).reply().await,
            Parsed::Refused(refused) => {
                let mut pieces = Pieces::default();
                *pieces.text() = refused.render();
                Some(Reply::whole(pieces, None))
            }
        }
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
    ) -> Option<Reply> {
        let meter = self.meter();
        let mut pieces = Pieces::default();
        let (id, result) = match entry {
            Entry::Invalid { id, error } => (id, Err(error)),
            Entry::Call(call) => {
                let answer = self.answer(&call, client, session).await;
                let id = call.id?;
                let result = match answer {
                    Ok(Answer::Stream(stream)) => match self.begin(stream).await {
                        Ok(Begun::Beginning(first, rest)) => {
                            envelope::begin_result(pieces.text(), Some(&id));
                            pieces.extend(first);
                            let (id, pieces) = (Some(id.into_owned()), pieces.finish());
                            let (end, notice_of) = (ANSWER_END, None);
                            let streamed = Streamed { id, pieces, rest, end, notice_of };
                            return Some(Reply::Streamed(streamed));
                        }
                        Ok(Begun::Whole(text)) => Ok(text),
                        Err(error) => Err(error),
                    },
                    Ok(Answer::Json(json)) => Ok(vec![answer::text_of(json)]),
                    Err(error) => Err(error),
                };
                (Some(id), meter.count(result))
            }
        };
        write_answer(&mut pieces, id.as_deref(), result);
        Some(Reply::whole(pieces, meter.take_held()))
    }

    /// Waits for as much of a stream as its answer is begun with. What it may hold from then on
    /// until it is written is counted (B4).
    pub(crate) async fn begin(&self, stream: TextStream) -> Result<Begun, RpcError> {
        let begun = stream.begin(STREAM_FROM_BYTES).await?;
        let Begun::Beginning(first, mut rest) = begun else { return Ok(begun) };
        let held = self.answers.take(STREAM_HELD_BYTES).ok_or_else(too_many_answers)?;
        rest.hold(Some(held));
        Ok(Begun::Beginning(first, rest))
    }

    pub(crate) fn meter(&self) -> Meter {
        let max = self.limits.response_bytes_max;
        Meter { max, answers: self.answers.clone(), used: Mutex::default() }
    }

    pub(crate) async fn answer(
        &self,
        call: &Call<'_>,
        client: &Client,
        session: Option<&Session>,
    ) -> Result<Answer, RpcError> {
        let request =
            Request { method: &call.method, params: call.params.as_deref(), client, session };
        self.dispatch.dispatch(request).await
    }
}

/// What is said of a call that panicked.
pub(crate) fn internal_error() -> RpcError {
    RpcError::internal("internal error")
}

fn too_many_answers() -> RpcError {
    RpcError::limit("too many large answers at once")
}

/// The text of a result in pieces, or why there is none.
pub(crate) type Text = Result<Vec<Bytes>, RpcError>;

/// Appends one answer.
pub(crate) fn write_answer(out: &mut Pieces, id: Option<&RawValue>, result: Text) {
    match result {
        Ok(text) => {
            envelope::begin_result(out.text(), id);
            out.extend(text);
            out.text().push_str(ANSWER_END);
        }
        Err(error) => envelope::write_error(out.text(), id, &error),
    }
}

/// Bytes that an answer has in the body, its id aside. An error counts like a result: revert data
/// may be as large as the memory of the EVM.
fn bytes_of(result: &Text) -> usize {
    match result {
        Ok(text) => text.iter().map(Bytes::len).sum(),
        Err(error) => error.size_bytes(),
    }
}

/// Bytes of answers that one body has gathered.
pub(crate) struct Meter {
    /// B2.
    max: usize,
    /// B4.
    answers: Quota,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    held: Option<Taken>,
}

impl Meter {
    /// Counts an answer; gives it back, or what is said in its place if it is too much.
    pub(crate) fn count(&self, result: Text) -> Text {
        let mut used = self.lock();
        let bytes = used.bytes.saturating_add(bytes_of(&result));
        if bytes > self.max {
            used.bytes = bytes;
            return Err(RpcError::response_too_large());
        }
        if bytes > ANSWER_FREE_BYTES && !self.answers.hold(&mut used.held, bytes) {
            return Err(too_many_answers());
        }
        used.bytes = bytes;
        drop(used);
        result
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.lock().bytes > self.max
    }

    /// What the finished body holds of the quota, to be kept until it is written.
    pub(crate) fn take_held(&self) -> Option<Taken> {
        self.lock().held.take()
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use evenkeel_runtime::{Class, Faults, Share, Spawn};

    use super::*;
    use crate::{
        client::{ClientId, Member},
        dispatch::{Patience, Rules},
        envelope::EnvelopeLimits,
    };

    const ANSWER_BYTES: usize = 100_000;

    /// Every call is answered with so many bytes.
    struct Large(BodyLimits);

    impl Dispatch for Large {
        fn rules(&self) -> Rules {
            let patience = Patience::default();
            Rules { body: self.0, connections_max: 1, cors: None, patience }
        }

        fn executions(&self) -> crate::PlaceGauge {
            crate::PlaceGauge::default()
        }

        async fn dispatch(self: &Arc<Self>, _: Request<'_>) -> Result<Answer, RpcError> {
            let text = format!("\"{}\"", "x".repeat(ANSWER_BYTES - 2));
            Ok(RawValue::from_string(text).expect("a string").into())
        }
    }

    /// Goal: B4: answers that nobody has written yet bound those to come, single ones and those of
    /// a batch alike, and make room when they are dropped.
    #[test]
    fn unwritten_answers_are_bounded_together() {
        let envelope = EnvelopeLimits { bytes_max: 1 << 20, batch_max: 100, depth_max: 8 };
        let limits =
            BodyLimits { envelope, response_bytes_max: 1 << 20, answers_bytes_max: 1_000_000 };
        let mut sim = System::simulated(1, Faults::default());
        let calls = Calls::new(sim.system().clone(), Arc::new(Large(limits)), limits);
        let member = Member { share: Share::new(), id: ClientId::default() };
        let mut ask = |count: usize| {
            let call = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
            let body = match count {
                1 => call.to_owned(),
                _ => format!("[{}]", vec![call; count].join(",")),
            };
            let client = Client::new(&member, sim.system().now());
            let calls = calls.clone();
            let task = sim.system().spawn_future(Spawn::new("body", Class::Rpc), async move {
                match calls.serve(&client, None, Bytes::from(body)).await {
                    Some(Reply::Whole(whole)) => whole.join(&calls.system).await,
                    _ => panic!("nothing is streamed"),
                }
            });
            sim.run_until(task).expect("no panic")
        };
        let refused = |body: &Bytes| {
            String::from_utf8_lossy(body).matches("too many large answers at once").count()
        };
        let mut held: Vec<_> = (0..8).map(|_| ask(1)).collect();
        assert!(held.iter().all(|body| refused(body) == 0));
        let batch = ask(4);
        assert_eq!((refused(&batch), batch.len() / ANSWER_BYTES), (2, 2));
        assert_eq!(refused(&ask(1)), 1);
        held.pop();
        let more = ask(1);
        assert_eq!(refused(&more), 0);
        drop((held, batch, more));
        assert_eq!(refused(&ask(10)), 0, "all room was given back");
    }
}
