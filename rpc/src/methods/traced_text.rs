//! Traces as text, which is streamed.

use std::{
    future::{pending, poll_fn},
    ops::Range,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use alloy_rpc_types_trace::{geth::GethDebugTracingOptions, parity::LocalizedTransactionTrace};
use bytes::Bytes;
use evenkeel_runtime::{Answer as Ended, Class, Reply, ReplyStream, Spawn, Time, reply};
use evenkeel_vm::{
    CallError, StreamedTrace, TraceFrame, TraceJob, TraceKind, TracePiece, spawn_streamed_trace,
};
use futures_util::{
    future::{Either, select},
    task::AtomicWaker,
};

use super::{
    limits::EXEC_TIME_MAX,
    traced::{self, Scene},
    written::poll_piece,
};
use crate::{
    answer::{Answer, TextStream},
    api::{Api, Request},
    client::Client,
    duration,
    error::RpcError,
    executions::{Method, killed_error},
    places::Place,
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
    streamed(api, request, (place, job, frame)).await
}

/// Lets the trace take as long as its options say, unless it is held: then who holds it has said.
fn set_timeout(api: &Api, client: &Client, job: &mut TraceJob) -> Result<(), RpcError> {
    if let TraceKind::Geth(options) = &job.kind
        && let Some(timeout) = timeout(api, options)?
        && client.held.is_none()
    {
        job.limits.timeout = timeout;
        job.limits.deadline = Some(client.arrived.saturating_add(timeout));
        job.limits.is_own_time = true;
    }
    Ok(())
}

/// How long a trace may take by its options, if they say; no longer than others, if the node serves
/// strangers.
pub(super) fn timeout(
    api: &Api,
    options: &GethDebugTracingOptions,
) -> Result<Option<Duration>, RpcError> {
    let Some(text) = &options.timeout else { return Ok(None) };
    let asked = duration::parse(text).filter(|asked| *asked <= EXEC_TIME_MAX);
    let asked = asked.ok_or_else(|| {
        let most = EXEC_TIME_MAX.as_secs();
        RpcError::invalid_params(format!(
            "timeout {text:?}: expected a duration such as 5s or 1m30s, at most {most}s"
        ))
    })?;
    Ok(Some(if api.config.is_dev { asked } else { asked.min(api.config.evm_timeout) }))
}

/// Traces under way, between their reader and who watches over them.
struct Shared {
    /// Taken when the traces are given up.
    pieces: Mutex<Result<ReplyStream<TracePiece, CallError>, RpcError>>,
    reader: AtomicWaker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Result<ReplyStream<TracePiece, CallError>, RpcError>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, error: RpcError) {
        let former = std::mem::replace(&mut *self.lock(), Err(error));
        // Dropping the pieces wakes the execution, which ends.
        drop(former);
        self.reader.wake();
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<TracePiece, RpcError>>> {
        self.reader.register(cx.waker());
        match &mut *self.lock() {
            Ok(pieces) => poll_piece(pieces, cx),
            Err(error) => Poll::Ready(Some(Err(error.clone()))),
        }
    }
}

/// Traces that run. Dropping it ends them.
pub(super) struct Tracing {
    shared: Arc<Shared>,
    /// Its end, however it comes, is that of the watch.
    _reading: Reply<()>,
}

impl Tracing {
    /// Starts traces. The execution is listed, and keeps the place that is given with it, until all
    /// pieces are read or it is dropped. It sees to its deadline itself; here it is given up if its
    /// place is to be given back.
    pub(super) fn start(
        api: &Arc<Api>,
        (client, method): (&Client, Method),
        (place, job, frame): (Option<Place>, TraceJob, TraceFrame),
    ) -> Self {
        let share = api.executions.share(client, method);
        let late = CallError::Timeout(job.limits.timeout);
        let deadline = job.limits.deadline.unwrap_or_else(|| api.deadline(client));
        let StreamedTrace { pieces, running } =
            spawn_streamed_trace(&api.system, &share, (job, frame), client.hold());
        let (entry, killed) = api.executions.list_running(client, method);
        let shared = Shared { pieces: Mutex::new(Ok(pieces)), reader: AtomicWaker::new() };
        let shared = Arc::new(shared);
        let (reading, read) = reply::<()>();

        let (system, watched) = (api.system.clone(), Arc::clone(&shared));
        let watching = async move {
            let is_due = async {
                match &place {
                    Some(place) => place.is_due(&system, deadline).await,
                    None => pending().await,
                }
            };
            match select(select(pin!(is_due), killed), read).await {
                Either::Left((Either::Left(_), _)) => watched.give_up(late.into()),
                Either::Left((Either::Right(_), _)) => watched.give_up(killed_error()),
                Either::Right(_) => {}
            }
            drop((place, entry, running));
        };
        let spawn = Spawn::new("trace watch", Class::Rpc).share(client.share.clone());
        // Dropping the handle lets the process go on by itself.
        drop(api.system.spawn_future(spawn, watching));
        Self { shared, _reading: reading }
    }

    /// The next piece; none at the end.
    pub(super) async fn next(&self) -> Result<Option<TracePiece>, RpcError> {
        poll_fn(|cx| self.shared.poll_next(cx)).await.transpose()
    }

    /// The next text. Where `may_end` says so it ends before the next transaction.
    fn poll_text(
        &self,
        cx: &mut Context<'_>,
        may_end: impl Fn() -> bool,
    ) -> Poll<Option<Result<Next, RpcError>>> {
        loop {
            let piece = ready!(self.shared.poll_next(cx));
            return Poll::Ready(Some(match piece {
                Some(Ok(TracePiece::Between)) if !may_end() => continue,
                Some(Ok(TracePiece::Between)) => Ok(Next::End),
                Some(Ok(TracePiece::Text(text))) => Ok(Next::Text(text)),
                Some(Ok(TracePiece::Flat { .. })) => Err(traced::wrong_kind()),
                Some(Err(error)) => Err(error),
                None => return Poll::Ready(None),
            }));
        }
    }
}

/// What comes next of traces that are text.
enum Next {
    Text(Bytes),
    /// The traces end here, before the next transaction.
    End,
}

/// Parity's traces of transactions of a block, one by one. Dropping them ends their execution.
pub(super) struct FlatTraces {
    tracing: Tracing,
    /// What came and was not asked for yet.
    came: vec::IntoIter<LocalizedTransactionTrace>,
}

impl FlatTraces {
    /// Starts them, in the place that their client has; they end at `deadline` if there is one,
    /// else at that of all executions.
    pub(super) fn start(
        api: &Arc<Api>,
        (client, method): (&Client, Method),
        (scene, txs, deadline): (Scene, Range<usize>, Option<Time>),
    ) -> Self {
        let mut job = scene.job(api, client, (txs, TraceKind::Flat));
        job.limits.deadline = deadline.or(job.limits.deadline);
        let tracing = Tracing::start(api, (client, method), (None, job, TraceFrame::List));
        Self { tracing, came: Vec::new().into_iter() }
    }

    /// The next one; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<LocalizedTransactionTrace>, RpcError> {
        loop {
            if let Some(trace) = self.came.next() {
                return Ok(Some(trace));
            }
            match self.tracing.next().await? {
                Some(TracePiece::Flat { traces, .. }) => self.came = traces.into_iter(),
                Some(TracePiece::Text(_) | TracePiece::Between) => {
                    return Err(traced::wrong_kind());
                }
                None => return Ok(None),
            }
        }
    }
}

/// Starts traces and streams their text.
///
/// # Errors
///
/// What goes wrong before there is any text.
pub(super) async fn streamed(
    api: &Arc<Api>,
    request: Request<'_>,
    (place, job, frame): (Place, TraceJob, TraceFrame),
) -> Result<Answer, RpcError> {
    let who = (request.client, traced::method(request)?);
    let tracing = Tracing::start(api, who, (Some(place), job, frame));
    let mut stream = TextStream::new(move |cx| {
        let next = ready!(tracing.poll_text(cx, || false));
        Poll::Ready(next.map(|next| next.map(Next::text)))
    });
    stream.wait().await?;
    Ok(Answer::Stream(stream))
}

impl Next {
    fn text(self) -> Bytes {
        match self {
            Self::Text(text) => text,
            Self::End => Bytes::from_static(ENDED.as_bytes()),
        }
    }
}

/// What follows the traces of a block that nobody wants any more, within the object that has them.
const ENDED: &str =
    r#"],"error":{"code":-32000,"message":"the subscription ended within this block"}"#;

/// Starts traces of a block; their text, which has begun, and what comes when all of it is taken.
/// Who drops that gets the transaction under way, and [`ENDED`].
///
/// # Errors
///
/// What goes wrong before there is any text.
pub(super) async fn of_block(
    api: &Arc<Api>,
    (client, method): (&Client, Method),
    (place, mut job): (Place, TraceJob),
) -> Result<(TextStream, Ended<()>), RpcError> {
    set_timeout(api, client, &mut job)?;
    let asked = (Some(place), job, TraceFrame::Block);
    let tracing = Tracing::start(api, (client, method), asked);
    let (done, taken) = reply();
    let mut under_way = Some((tracing, done));
    let mut stream = TextStream::new(move |cx| {
        let Some((tracing, done)) = &under_way else { return Poll::Ready(None) };
        let next = ready!(tracing.poll_text(cx, || done.is_cancelled()));
        if matches!(next, None | Some(Ok(Next::End)))
            && let Some((_, done)) = under_way.take()
        {
            done.send(());
        }
        Poll::Ready(next.map(|next| next.map(Next::text)))
    });
    stream.wait().await?;
    Ok((stream, taken))
}
