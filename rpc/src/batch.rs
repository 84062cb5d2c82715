//! Works the calls of a batch and puts their answers in order.
//!
//! The answers are streamed from the first one on that is long and streams itself: what comes
//! behind it is worked meanwhile, as far as the window and the credit of each answer go, and sent
//! in its turn. Subscriptions that are among them start at the end of it all (S2 of
//! [`session`](crate::session)).

use std::{borrow::Cow, collections::VecDeque, future::poll_fn, mem, sync::Arc, vec::IntoIter};

use bytes::Bytes;
use evenkeel_runtime::{Class, Spawn, checkpoint};
use serde_json::value::RawValue;

use crate::{
    answer::{self, Answer, Begun, Pieces, Reply, Streamed, TextStream},
    body::{Calls, Meter, Owned, internal_error, write_answer},
    client::Client,
    dispatch::Dispatch,
    envelope::{self, ANSWER_END, Call, Entry},
    error::RpcError,
    limits::BATCH_FANOUT,
    session::Session,
};

/// A batch under way.
pub(crate) struct Batch<D> {
    calls: Calls<D>,
    client: Client,
    session: Option<Session>,
    meter: Arc<Meter>,
    entries: IntoIter<Entry<'static>>,
    /// Those that run, the oldest first (B1).
    window: VecDeque<Started>,
    /// What is ready to be sent.
    out: Pieces,
    has_answers: bool,
    /// The answer that is sent as it comes; `out` ends with its beginning.
    current: Option<TextStream>,
}

/// One entry on its way.
enum Started {
    Done { id: Option<Cow<'static, RawValue>>, error: RpcError },
    Running { id: Option<Cow<'static, RawValue>>, task: Owned<Result<Begun, RpcError>> },
}

impl<D: Dispatch> Batch<D> {
    pub(crate) fn new(
        calls: &Calls<D>,
        (client, session): (&Client, Option<&Session>),
        entries: Vec<Entry<'_>>,
    ) -> Self {
        let entries: Vec<_> = entries.into_iter().map(Entry::into_owned).collect();
        Self {
            calls: calls.clone(),
            client: client.clone(),
            session: session.cloned(),
            meter: Arc::new(calls.meter()),
            window: VecDeque::with_capacity(BATCH_FANOUT.min(entries.len())),
            entries: entries.into_iter(),
            out: Pieces::default(),
            has_answers: false,
            current: None,
        }
    }

    /// Works it, up to the end or to an answer that is streamed. `None`: it held notifications
    /// only.
    pub(crate) async fn reply(mut self) -> Option<Reply> {
        while self.current.is_none() {
            if !self.answer().await {
                if !self.has_answers {
                    return None;
                }
                self.out.text().push(']');
                return Some(Reply::whole(self.out, self.meter.take_held()));
            }
        }
        let pieces = mem::take(&mut self.out).finish();
        let ready = VecDeque::new();
        let rest =
            futures_util::stream::unfold((self, ready), |(mut batch, mut ready)| async move {
                let piece = batch.next(&mut ready).await?;
                Some((piece, (batch, ready)))
            });
        let (rest, end) = (TextStream::of(rest), "]");
        Some(Reply::Streamed(Streamed { id: None, pieces, rest, end, notice_of: None }))
    }

    /// The next piece, once answers are streamed; `ready` are those that follow.
    async fn next(&mut self, ready: &mut VecDeque<Bytes>) -> Option<Result<Bytes, RpcError>> {
        loop {
            if let Some(piece) = ready.pop_front() {
                return Some(Ok(piece));
            }
            if let Some(current) = &mut self.current {
                if let Some(piece) = poll_fn(|cx| current.poll_next(cx)).await {
                    return Some(piece);
                }
                self.current = None;
                self.out.text().push_str(ANSWER_END);
            }
            if !self.answer().await && self.out.is_empty() {
                // What they notify of is queued behind this message.
                if let Some(session) = &self.session {
                    session.release();
                }
                return None;
            }
            ready.extend(mem::take(&mut self.out).finish());
        }
    }

    /// Waits for the next answer and puts it, or its beginning, behind the others; false if there
    /// is none.
    async fn answer(&mut self) -> bool {
        checkpoint().await;
        while self.window.len() < BATCH_FANOUT
            && let Some(entry) = self.entries.next()
        {
            let started = self.start(entry);
            self.window.extend(started);
        }
        let Some(oldest) = self.window.pop_front() else { return false };
        let (id, mut begun) = match oldest {
            Started::Done { id, error } => (id, Err(error)),
            Started::Running { id, task } => {
                let begun = task.await.unwrap_or_else(|_| Err(internal_error()));
                // A notification.
                let Some(id) = id else { return true };
                (Some(id), begun)
            }
        };
        self.out.text().push(if self.has_answers { ',' } else { '[' });
        self.has_answers = true;
        // It may have waited behind others; nothing of it is sent yet.
        if let Ok(Begun::Beginning(_, rest)) = &mut begun
            && let Some(error) = rest.failure().await
        {
            begun = Err(error.clone());
        }
        match begun {
            Ok(Begun::Beginning(first, rest)) => {
                envelope::begin_result(self.out.text(), id.as_deref());
                self.out.extend(first);
                self.current = Some(rest);
            }
            Ok(Begun::Whole(text)) => write_answer(&mut self.out, id.as_deref(), Ok(text)),
            Err(error) => write_answer(&mut self.out, id.as_deref(), Err(error)),
        }
        true
    }

    /// Starts what `entry` asks for; `None` if there is nothing to run and nothing to answer.
    fn start(&self, entry: Entry<'static>) -> Option<Started> {
        let Call { id, method, params } = match entry {
            Entry::Invalid { id, error } => return Some(Started::Done { id, error }),
            Entry::Call(call) => call,
        };
        // B2: once the answer is too large, the rest is refused without being worked.
        if self.meter.is_spent() {
            let error = RpcError::response_too_large();
            return id.map(|id| Started::Done { id: Some(id), error });
        }
        let call = Call { id: None, method, params };
        let (calls, client) = (self.calls.clone(), self.client.clone());
        let (session, meter) = (self.session.clone(), Arc::clone(&self.meter));
        let spawn = Spawn::new("request", Class::Rpc).share(client.share.clone());
        let task = self.calls.system().spawn_future(spawn, async move {
            let result = match calls.answer(&call, &client, session.as_ref()).await {
                Ok(Answer::Stream(stream)) => match calls.begin(stream).await {
                    Ok(Begun::Whole(text)) => Ok(text),
                    other => return other,
                },
                Ok(Answer::Json(json)) => Ok(vec![answer::text_of(json)]),
                Err(error) => Err(error),
            };
            meter.count(result).map(Begun::Whole)
        });
        Some(Started::Running { id, task: Owned::new(task) })
    }
}
