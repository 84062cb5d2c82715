//! geth's traces as text: those of the struct logger streamed, the others whole.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use alloy_primitives::B256;
use alloy_rpc_types_trace::geth::GethDebugTracingOptions;
use bytes::Bytes;
use evenkeel_runtime::{Class, ReplyStream, Spawn, StreamEvent, reply};
use evenkeel_vm::{
    CallError, StreamedTrace, TraceFrame, TraceJob, TraceKind, TraceStart, Within,
    spawn_streamed_trace,
};
use futures_util::{
    future::{Either, select},
    task::AtomicWaker,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{limits::EXEC_TIME_MAX, traced};
use crate::{
    answer::{Answer, TextStream},
    api::{Api, Request},
    client::Client,
    duration,
    error::RpcError,
    executions::killed_error,
    places::Place,
    render::joined,
};

/// Runs traces for a request, within the time that their options give them.
///
/// # Errors
///
/// What goes wrong before there is any text.
pub(super) async fn answer(
    api: &Arc<Api>,
    request: Request<'_>,
    (place, mut job, frame): (Place, TraceJob, TraceFrame),
) -> Result<Answer, RpcError> {
    set_timeout(api, request.client, &mut job)?;
    if job.kind.is_struct_log() {
        return streamed(api, request, (place, job, frame)).await;
    }
    whole(api, request, (job, frame)).await.map(Answer::from)
}

/// Lets the trace take as long as its options say; no longer than others, if the node serves
/// strangers.
fn set_timeout(api: &Api, client: &Client, job: &mut TraceJob) -> Result<(), RpcError> {
    let TraceKind::Geth(GethDebugTracingOptions { timeout: Some(text), .. }) = &job.kind else {
        return Ok(());
    };
    let asked = duration::parse(text).filter(|asked| *asked <= EXEC_TIME_MAX);
    let asked = asked.ok_or_else(|| {
        let most = EXEC_TIME_MAX.as_secs();
        RpcError::invalid_params(format!(
            "timeout {text:?}: expected a duration such as 5s or 1m30s, at most {most}s"
        ))
    })?;
    let timeout = if api.config.is_dev { asked } else { asked.min(api.config.evm_timeout) };
    job.limits.timeout = timeout;
    job.limits.deadline = Some(client.arrived.saturating_add(timeout));
    job.limits.is_own_time = true;
    Ok(())
}

/// The traces when all have ended.
async fn whole(
    api: &Api,
    request: Request<'_>,
    (job, frame): (TraceJob, TraceFrame),
) -> Result<Box<RawValue>, RpcError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OfTx {
        tx_hash: B256,
        result: Box<RawValue>,
    }
    let hashes: Vec<B256> = match &job.start {
        TraceStart::Block(Within { block, replayed, .. }) => {
            block.txs[*replayed..].iter().map(|tx| *tx.hash()).collect()
        }
        TraceStart::State { .. } => Vec::new(),
    };
    let mut traces = traced::run(api, request, job).await?;
    if frame == TraceFrame::One {
        return traced::text(traces.pop().ok_or_else(traced::wrong_kind)?);
    }
    let mut bytes = 0;
    let mut shown = Vec::with_capacity(traces.len());
    for (tx_hash, trace) in hashes.into_iter().zip(traces) {
        let result = traced::text(trace)?;
        bytes += result.get().len() + size_of::<OfTx>();
        shown.push(OfTx { tx_hash, result });
    }
    joined(&api.system, shown, bytes).await
}

/// Text under way, between its reader and who watches over it.
struct Shared {
    /// Taken when the trace is given up.
    text: Mutex<Result<ReplyStream<Bytes, CallError>, RpcError>>,
    reader: AtomicWaker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Result<ReplyStream<Bytes, CallError>, RpcError>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, error: RpcError) {
        let former = std::mem::replace(&mut *self.lock(), Err(error));
        // Dropping the text wakes the trace, which ends.
        drop(former);
        self.reader.wake();
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RpcError>>> {
        self.reader.register(cx.waker());
        let mut text = self.lock();
        let text = match &mut *text {
            Ok(text) => text,
            Err(error) => return Poll::Ready(Some(Err(error.clone()))),
        };
        loop {
            return match text.poll_event(cx) {
                Poll::Ready(StreamEvent::Pending) => continue,
                Poll::Ready(StreamEvent::Item(piece) | StreamEvent::Ok(piece)) => {
                    Poll::Ready(Some(Ok(piece)))
                }
                Poll::Ready(StreamEvent::Done) => Poll::Ready(None),
                Poll::Ready(StreamEvent::Failed { error, .. }) => {
                    Poll::Ready(Some(Err(error.into())))
                }
                Poll::Ready(StreamEvent::Lost { .. } | StreamEvent::Stalled { .. }) => {
                    Poll::Ready(Some(Err(RpcError::internal("the trace was lost"))))
                }
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

/// Starts traces and streams their text. The execution is listed and keeps its place until the text
/// has ended or is dropped; that is at the deadline at the latest, whether somebody reads or not.
async fn streamed(
    api: &Arc<Api>,
    request: Request<'_>,
    (place, job, frame): (Place, TraceJob, TraceFrame),
) -> Result<Answer, RpcError> {
    let method = traced::method(request)?;
    let share = api.executions.share(request.client, method);
    let late = CallError::Timeout(job.limits.timeout);
    let deadline = job.limits.deadline.unwrap_or_else(|| api.deadline(request.client));
    let StreamedTrace { text, running } = spawn_streamed_trace(&api.system, &share, (job, frame));
    let (entry, killed) = api.executions.list_running(request.client, method);
    let shared = Arc::new(Shared { text: Mutex::new(Ok(text)), reader: AtomicWaker::new() });
    let (reading, read) = reply::<()>();

    let (system, watched) = (api.system.clone(), Arc::clone(&shared));
    let watching = async move {
        let deadline = pin!(system.sleep_until(deadline));
        match select(select(deadline, killed), read).await {
            Either::Left((Either::Left(_), _)) => watched.give_up(late.into()),
            Either::Left((Either::Right(_), _)) => watched.give_up(killed_error()),
            Either::Right(_) => {}
        }
        drop((place, entry, running));
    };
    let spawn = Spawn::new("trace deadline", Class::Rpc).share(request.client.share.clone());
    // Dropping the handle lets the process go on by itself.
    drop(api.system.spawn_future(spawn, watching));

    let mut stream = TextStream::new(move |cx| {
        // Its end, however it comes, is that of the watch.
        let _reading = &reading;
        shared.poll_next(cx)
    });
    stream.wait().await?;
    Ok(Answer::Stream(stream))
}
