//! `exec_*`: executions that a client holds: paused, stepped through, watched, cancelled.
//!
//! An execution is the same actor as that of a plain call, with a hold on it. It has a place from
//! its first turn to its end, paused or not. Only the client that started it reaches it.

use std::{sync::Arc, time::Duration};

use evenkeel_runtime::{Answer, Class, Spawn, Time};
use evenkeel_vm::{CallKind, CallOutcome, Hold, HoldState, Limits, spawn_held_call};
use futures_util::{
    FutureExt as _,
    future::{Either, select},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    call::{self, Asked},
    limits::{EXEC_KEPT, EXEC_RESULT_BYTES_MAX, EXEC_STEPS_MAX, EXEC_TIME_MAX, EXEC_TOLD_EVERY},
    subscribe::session,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    executions::{End, Held, Method},
    params::{Object, Params, Quantity, refuse},
    render::{Answered, answer, quantity},
    session::{Closed, Outbox},
};

/// The third argument of `exec_start`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    /// How long it may take, pauses included; the node's time for a call unless given.
    timeout_ms: Option<u64>,
    /// Paused before its first instruction.
    paused: bool,
}

/// `exec_start(kind, params, options)`: starts it and answers with its number.
pub(super) fn start(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let name = params.required::<String>(0)?;
    let inner = Request { method: &name, params: params.raw(1), ..request };
    let (asked, kind) = call::to_hold(inner)?;
    let Object(options) =
        params.optional::<Object<Options>>(2)?.unwrap_or(Object(Options::default()));
    let timeout = options.timeout_ms.map_or(api.config.evm_timeout, Duration::from_millis);
    if timeout > EXEC_TIME_MAX && options.timeout_ms.is_some() {
        let most = EXEC_TIME_MAX.as_millis();
        return Err(refuse(2, &format!("timeoutMs is above the limit of {most}")));
    }
    let timeout = timeout.min(EXEC_TIME_MAX);
    let deadline = request.client.arrived.saturating_add(timeout);
    let method = if matches!(kind, CallKind::Call) { Method::Call } else { Method::TraceCall };
    let hold = Hold::new(options.paused);
    let entered = api.executions.hold(request.client, (method, hold, deadline))?;
    let id = entered.0.id;
    let limits = Limits { deadline: Some(deadline), timeout, ..api.limits(request.client) };
    let spawn = Spawn::new("exec", Class::Rpc).share(request.client.share.clone());
    let driver = drive(Arc::clone(api), entered, (asked, kind, limits));
    // It ends by itself: at its deadline at the latest, and the time that a result is kept.
    drop(api.system.spawn_future(spawn, driver));
    quantity(id)
}

/// Sees an execution to its end, keeps its result for a while, and forgets it.
async fn drive(
    api: Arc<Api>,
    (held, cancelled): (Arc<Held>, Answer<()>),
    work: (Asked, CallKind, Limits),
) {
    // One that is cancelled leaves at once, also the line for a place; it has its end already.
    let running = run(&api, &held, work).boxed();
    if let Either::Left((result, _)) = select(running, cancelled).await {
        held.ended(api.system.now(), kept(result));
    }
    if api.executions.is_held(held.id) {
        api.system.sleep(EXEC_KEPT).await;
        api.executions.forget(held.id);
    }
}

/// What is kept of a result or an error: all of it, or that it was too large.
fn kept(result: Answered) -> Result<Arc<RawValue>, RpcError> {
    let bytes = match &result {
        Ok(result) => result.get().len(),
        Err(error) => error.size_bytes(),
    };
    if bytes > EXEC_RESULT_BYTES_MAX {
        return Err(RpcError::limit(format!(
            "the result has {bytes} bytes, too many to be kept: limit {EXEC_RESULT_BYTES_MAX}"
        )));
    }
    result.map(Arc::from)
}

async fn run(api: &Api, held: &Held, (asked, kind, limits): (Asked, CallKind, Limits)) -> Answered {
    let client = &held.client;
    let _place = api.places.take(client, held.deadline, limits.timeout).await?;
    let job = asked.job(api, kind, limits).await?;
    let share = api.executions.share(client, held.method);
    let outcome = spawn_held_call(&api.system, &share, job, &held.hold);
    let outcome = outcome.await.map_err(|lost| RpcError::internal(format!("exec: {lost}")))??;
    match outcome {
        CallOutcome::Output(output) => answer(&output),
        CallOutcome::Trace(trace) => Ok(trace.0),
        CallOutcome::Gas(gas) => quantity(gas),
        CallOutcome::AccessList(_) => Err(call::wrong_kind()),
    }
}

/// What the client is told of one of its executions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    id: String,
    kind: &'static str,
    state: &'static str,
    gas_used: u64,
    slices: u64,
    steps: u64,
    depth: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pc: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opcode: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gas_left: Option<u64>,
    elapsed_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
}

impl<'a> Status<'a> {
    fn of(held: &Held, end: Option<&'a End>, now: Time) -> Self {
        let progress = held.hold.progress();
        let state = match (end, progress.state) {
            (Some(End { result: Ok(_), .. }), _) => "done",
            (Some(End { result: Err(_), .. }), _) => "failed",
            (None, HoldState::Pending) => "pending",
            (None, HoldState::Paused) => "paused",
            // Over: its result is on the way.
            (None, HoldState::Running | HoldState::Over) => "running",
        };
        let until = end.map_or(now, |end| end.at);
        Self {
            id: format!("{:#x}", held.id),
            kind: held.method.name(),
            state,
            gas_used: progress.gas_used,
            slices: progress.slices,
            steps: progress.here.steps,
            depth: progress.here.depth,
            pc: progress.here.pc,
            opcode: progress.here.opcode,
            gas_left: progress.here.gas_left,
            elapsed_ms: (until - held.client.arrived).as_millis(),
            result: end.and_then(|end| end.result.as_deref().ok()),
            error: end.and_then(|end| end.result.as_ref().err()).map(error_json),
        }
    }
}

fn error_json(error: &RpcError) -> Box<RawValue> {
    let mut text = String::new();
    error.write_json(&mut text);
    RawValue::from_string(text).expect("an error is written as JSON")
}

fn tell(api: &Api, held: &Held) -> Answered {
    answer(&Status::of(held, held.end().as_ref(), api.system.now()))
}

/// The execution that the first argument names; `max` arguments.
fn named<'a>(
    api: &Api,
    request: Request<'a>,
    max: usize,
) -> Result<(Arc<Held>, Params<'a>), RpcError> {
    let params = Params::new(request.params, max)?;
    let Quantity(id) = params.required(0)?;
    Ok((api.executions.held(id, request.client)?, params))
}

/// `exec_status(id)`
pub(super) fn status(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    tell(api, &held)
}

/// `exec_pause(id)`: answers with the status when it has stopped, within one slice. One that has no
/// place yet will be paused when it has.
pub(super) async fn pause(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    let paused = held.hold.pause();
    if held.hold.progress().state != HoldState::Pending {
        // Lost if another request asks too: then the status says how far it is.
        let _is_there = paused.await;
    }
    tell(api, &held)
}

/// `exec_resume(id)`
pub(super) fn resume(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    held.hold.resume();
    tell(api, &held)
}

/// `exec_step(id, n)`: answers with the status after n instructions of a paused execution.
pub(super) async fn step(api: &Api, request: Request<'_>) -> Answered {
    let (held, params) = named(api, request, 2)?;
    let count = params.optional::<Quantity>(1)?.map_or(1, |Quantity(count)| count);
    if !(1..=EXEC_STEPS_MAX).contains(&count) {
        return Err(refuse(1, &format!("expected 1 to {EXEC_STEPS_MAX} instructions")));
    }
    if held.hold.progress().state != HoldState::Paused {
        return Err(RpcError::server("only a paused execution can be stepped"));
    }
    // Lost if another request asks too: then the status says how far it is.
    let _is_there = held.hold.step(count).await;
    tell(api, &held)
}

/// `exec_cancel(id)`: ends it within one slice and forgets it.
pub(super) fn cancel(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    held.cancel(api.system.now(), RpcError::server("execution cancelled"));
    api.executions.forget(held.id);
    answer(&true)
}

/// `exec_subscribe(id)`: `pending`, then an `item` with the status whenever it has changed, then
/// `ok` or `err`, then `done`, as notifications of `eth_subscription`.
pub(super) fn subscribe(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let session = session(request)?;
    let (held, _) = named(api, request, 1)?;
    let api = Arc::clone(api);
    let id = session.open(move |_, outbox| {
        async move {
            if follow(&api, &held, &outbox).await.is_err() {
                tracing::debug!("a subscriber left before the end of its execution");
            }
        }
        .boxed()
    })?;
    answer(&id)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Event<'a> {
    Pending,
    Item { progress: &'a Status<'a> },
    Ok { result: &'a RawValue },
    Err { error: &'a RawValue },
    Done { items: u64 },
}

async fn follow(api: &Api, held: &Held, outbox: &Outbox) -> Result<(), Closed> {
    let (mut told, mut items) = (None, 0);
    outbox.notify(&Event::Pending)?;
    loop {
        let (end, progress) = (held.end(), held.hold.progress());
        let is_new = told != Some(progress) && progress.state != HoldState::Pending;
        if is_new && end.is_none() {
            let status = Status::of(held, None, api.system.now());
            outbox.notify(&Event::Item { progress: &status })?;
            (told, items) = (Some(progress), items + 1);
        }
        match end {
            Some(End { result: Ok(result), .. }) => {
                outbox.notify(&Event::Ok { result: &result })?;
                return outbox.notify(&Event::Done { items });
            }
            Some(End { result: Err(error), .. }) => {
                outbox.notify(&Event::Err { error: &error_json(&error) })?;
                return outbox.notify(&Event::Done { items });
            }
            None => api.system.sleep(EXEC_TOLD_EVERY).await,
        }
    }
}
