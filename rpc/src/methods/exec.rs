//! `exec_*`: executions that a client holds: paused, stepped through, watched, cancelled.
//!
//! An execution is that of the plain method, with a hold on it. It has a place from its first turn
//! to its end, paused or not. Only the client that started it reaches it.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_runtime::{Class, Lost, Spawn, System, Time};
use evenkeel_vm::{Hold, HoldState, Progress};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, select},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    dispatch,
    limits::{EXEC_KEPT, EXEC_RESULT_BYTES_MAX, EXEC_STEPS_MAX, EXEC_TIME_MAX, EXEC_TOLD_EVERY},
    subscribe::session,
};
use crate::{
    answer::{Answer, Begun, json_of},
    api::{Api, Request},
    client::Client,
    error::RpcError,
    executions::{End, Entered, Held, Method, ToHold},
    limits::JOIN_INLINE_BYTES_MAX,
    params::{Object, Params, Quantity, refuse},
    render::{Answered, answer, quantity},
    session::{Closed, Outbox},
};

/// The third argument of `exec_start`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    /// How long it may take, pauses included; the node's time for a call unless given. 0 is no
    /// limit but [`EXEC_TIME_MAX`], as 0 of the node's time is none.
    timeout_ms: Option<u64>,
    /// Paused before its first instruction.
    paused: bool,
}

/// `exec_start(method, params, options)`: starts it and answers with its number; with the method's
/// error if its parameters are wrong, or what they name is not there. One that has to wait for a
/// place looks for the latter when it has got it, as the method does: then it is told as its end.
pub(super) async fn start(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let name = params.required::<String>(0)?;
    let method = Method::named(&name).filter(|method| method.can_be_held());
    let method = method.ok_or_else(|| cannot_hold(&name))?;
    let Object(options) =
        params.optional::<Object<Options>>(2)?.unwrap_or(Object(Options::default()));
    let timeout = match options.timeout_ms {
        None => api.config.evm_timeout,
        Some(0) => EXEC_TIME_MAX,
        Some(millis) => Duration::from_millis(millis),
    };
    if timeout > EXEC_TIME_MAX && options.timeout_ms.is_some() {
        let most = EXEC_TIME_MAX.as_millis();
        return Err(refuse(2, &format!("timeoutMs is above the limit of {most}")));
    }
    let timeout = timeout.min(EXEC_TIME_MAX);
    let to_hold = ToHold {
        method,
        params: params.raw(1).map(ToOwned::to_owned),
        hold: Hold::new(options.paused),
        deadline: request.client.arrived.saturating_add(timeout),
        timeout,
    };
    let Entered { held, params, started, cancelled } =
        api.executions.hold(request.client, to_hold)?;
    let id = held.id;
    let spawn = Spawn::new("exec", Class::Rpc).share(request.client.share.clone());
    let driver = drive(Arc::clone(api), (held, params), cancelled);
    // It ends by itself: at its deadline at the latest, and the time that a result is kept.
    drop(api.system.spawn_future(spawn, driver));
    started.await.map_err(|lost| RpcError::internal(format!("exec: {lost}")))??;
    quantity(id)
}

fn cannot_hold(name: &str) -> RpcError {
    let can = Method::ALL.into_iter().filter(|method| method.can_be_held());
    let can = can.map(Method::name).collect::<Vec<_>>().join(", ");
    RpcError::invalid_params(format!("cannot hold {name}: expected one of {can}"))
}

/// Sees an execution to its end, keeps its result for a while, and forgets it. Boxed: what it runs
/// may start another one by its type, if not in fact.
fn drive(
    api: Arc<Api>,
    (held, params): (Arc<Held>, Option<Box<RawValue>>),
    cancelled: evenkeel_runtime::Answer<()>,
) -> BoxFuture<'static, ()> {
    let driver = async move {
        // One that is cancelled leaves at once, also the line for a place; it has its end already.
        let running = run(&api, &held, params).boxed();
        if let Either::Left((result, _)) = select(running, cancelled).await {
            match (held.take_start(), kept(&api, &held, result)) {
                (Some(start), Err(error)) => {
                    api.executions.forget(held.id);
                    start.send(Err(of_params(held.method, error)));
                    return;
                }
                (start, result) => {
                    held.ended(api.system.now(), result);
                    if let Some(start) = start {
                        start.send(Ok(()));
                    }
                }
            }
        }
        held.has_started();
        if api.executions.is_held(held.id) {
            api.system.sleep(EXEC_KEPT).await;
            api.executions.forget(held.id);
        }
    };
    driver.boxed()
}

/// Says of an error about arguments that they are the method's, not those of `exec_start`.
fn of_params(method: Method, error: RpcError) -> RpcError {
    if error.code != RpcError::INVALID_PARAMS {
        return error;
    }
    let message = format!("params of {}: {}", method.name(), error.message).into();
    RpcError { message, ..error }
}

/// What is kept of a result or an error: all of it, or that it was too large.
fn kept(api: &Api, held: &Held, result: Answered) -> Result<Arc<RawValue>, RpcError> {
    let bytes = match &result {
        Ok(result) => result.get().len(),
        Err(error) => error.size_bytes(),
    };
    if bytes > EXEC_RESULT_BYTES_MAX {
        return Err(too_large(&bytes.to_string()));
    }
    api.executions.make_room(held, bytes)?;
    result.map(Arc::from)
}

fn too_large(bytes: &str) -> RpcError {
    RpcError::limit(format!(
        "the result has {bytes} bytes, too many to be kept: limit {EXEC_RESULT_BYTES_MAX}"
    ))
}

/// What the plain method answers.
async fn run(api: &Arc<Api>, held: &Arc<Held>, params: Option<Box<RawValue>>) -> Answered {
    let client = Client { held: Some(Arc::clone(held)), ..held.client.clone() };
    let (method, params) = (held.method.name(), params.as_deref());
    let request = Request { method, params, client: &client, session: None };
    let stream = match dispatch(api, request).await? {
        Answer::Json(json) => return Ok(json),
        Answer::Stream(stream) => stream,
    };
    match stream.begin(EXEC_RESULT_BYTES_MAX).await? {
        Begun::Whole(pieces) => whole(&api.system, pieces).await,
        Begun::Beginning(..) => Err(too_large(&format!("more than {EXEC_RESULT_BYTES_MAX}"))),
    }
}

/// The JSON that the pieces are: on the compute pool if reading it takes longer than a turn.
async fn whole(system: &System, pieces: Vec<Bytes>) -> Answered {
    if pieces.iter().map(Bytes::len).sum::<usize>() <= JOIN_INLINE_BYTES_MAX {
        return json_of(&pieces);
    }
    let json = system.compute_async(move |_| json_of(&pieces)).await;
    json.map_err(|lost| RpcError::internal(format!("exec: {lost}")))?
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
    fn of(held: &Held, (progress, end): (Progress, Option<&'a End>), now: Time) -> Self {
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
    let so_far = (held.hold.progress(), held.end());
    answer(&Status::of(held, (so_far.0, so_far.1.as_ref()), api.system.now()))
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
        stopped(&held, paused).await;
    }
    tell(api, &held)
}

/// `exec_resume(id)`
pub(super) fn resume(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    held.hold.resume();
    tell(api, &held)
}

/// `exec_step(id, n)`: answers with the status after n instructions of a paused execution, or when
/// it has ended; of one that was started paused and has no place yet, when it has.
pub(super) async fn step(api: &Api, request: Request<'_>) -> Answered {
    let (held, params) = named(api, request, 2)?;
    let count = params.count(1, EXEC_STEPS_MAX, "instructions")?.unwrap_or(1);
    if held.hold.progress().state == HoldState::Over {
        // Its result is on the way.
        held.over().await;
    }
    if let Some(end) = held.end() {
        return Err(has_ended(&held, &end));
    }
    if !held.hold.is_pausing() {
        let text = "only a paused execution can be stepped: this one runs, or is about to; \
                    exec_pause pauses it";
        return Err(RpcError::server(text));
    }
    stopped(&held, held.hold.step(count as u64)).await;
    tell(api, &held)
}

fn has_ended(held: &Held, end: &End) -> RpcError {
    let id = held.id;
    RpcError::server(match &end.result {
        Ok(_) => format!("execution {id:#x} has ended: done, exec_status has its result"),
        Err(error) => format!("execution {id:#x} has ended: failed, {}", error.message),
    })
}

/// Waits until it has stopped, or has ended, as by a panic of what runs it. If another request asks
/// too, the answer is lost: then the status says how far it is.
async fn stopped(held: &Held, stops: impl Future<Output = Result<Progress, Lost>> + Unpin) {
    if let Either::Left((Ok(progress), over)) = select(stops, pin!(held.over())).await
        && progress.state == HoldState::Over
    {
        // Its result is on the way.
        over.await;
    }
}

/// `exec_cancel(id)`: ends it within one slice and forgets it.
pub(super) fn cancel(api: &Api, request: Request<'_>) -> Answered {
    let (held, _) = named(api, request, 1)?;
    held.cancel(api.system.now(), RpcError::server("execution cancelled"));
    api.executions.forget(held.id);
    answer(&true)
}

/// `exec_subscribe(id)`: `pending`, then an `item` with the status whenever its state has changed,
/// and while it runs every [`EXEC_TOLD_EVERY`], then `ok` or `err`, then `done`, as notifications
/// of `eth_subscription`.
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
    let (mut watch, mut items, mut due) = (held.hold.watch(), 0, api.system.now());
    outbox.notify(&Event::Pending)?;
    let end = loop {
        let next = watch.next(api.system.sleep_until(due));
        let progress = match select(pin!(next), pin!(held.over())).await {
            Either::Left((progress, _)) => progress,
            Either::Right((end, _)) => break end,
        };
        if progress.state == HoldState::Over {
            // Its result is on the way.
            break held.over().await;
        }
        let status = Status::of(held, (progress, None), api.system.now());
        outbox.notify(&Event::Item { progress: &status })?;
        (items, due) = (items + 1, api.system.now() + EXEC_TOLD_EVERY);
    };
    match end.result {
        Ok(result) => outbox.notify(&Event::Ok { result: &result })?,
        Err(error) => outbox.notify(&Event::Err { error: &error_json(&error) })?,
    }
    outbox.notify(&Event::Done { items })
}
