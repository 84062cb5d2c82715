//! `sched_*`: what the scheduler does, what waits, and the means to end or weigh executions.

use std::{borrow::Cow, collections::BTreeMap};

use evenkeel_runtime::{
    Class, DeadLetter, DeadReason, Histogram, SlowName,
    limits::{DEAD_LETTERS_KEPT, SHARE_WEIGHT_MAX, SHARE_WEIGHT_ONE},
};
use serde::Serialize;

use super::limits::{QUEUES_DEFAULT, QUEUES_MAX};
use crate::{
    api::{Api, Request},
    client::ClientId,
    error::RpcError,
    executions::Method,
    groups::{Group, groups},
    params::{Object, Params, Quantity, refuse},
    render::{Answered, answer},
};

/// A class in the status.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClassLine {
    name: &'static str,
    /// `null` for the class that goes before all others.
    weight: Option<u32>,
    turns: u64,
    reductions: u64,
    busy_ns: u64,
    queued: usize,
    /// Part of the time of all turns, 0 to 1.
    busy_share: f64,
    /// How long fresh processes have waited for their turns.
    wait_ns: Times,
    /// How long the turns were.
    turn_ns: Times,
}

/// What a histogram of times says, in nanoseconds.
#[derive(Serialize)]
struct Times {
    p50: u64,
    p99: u64,
    max: u64,
}

impl From<&Histogram> for Times {
    fn from(times: &Histogram) -> Self {
        let quantile = |permille| times.quantile_ns(permille);
        Self { p50: quantile(500), p99: quantile(990), max: times.max_ns() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slowest {
    name: &'static str,
    nanos: u64,
    core_ns: u64,
}

/// The slowest turn of the processes of one name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slow {
    name: &'static str,
    class: &'static str,
    /// Since the start of the node.
    at_ms: u64,
    nanos: u64,
    core_ns: u64,
    /// Turns over a millisecond.
    turns: u64,
}

impl From<&SlowName> for Slow {
    fn from(slow: &SlowName) -> Self {
        let &SlowName { name, class, at, nanos, core_ns, turns } = slow;
        Self { name, class: class.name(), at_ms: at.as_nanos() / 1_000_000, nanos, core_ns, turns }
    }
}

#[derive(Serialize)]
struct Gauge {
    running: usize,
    waiting: usize,
    refused: u64,
}

/// A weight that is not one.
#[derive(Serialize)]
struct Weight {
    #[serde(flatten)]
    whose: Whose,
    weight: f64,
}

/// Whose executions are weighed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Whose {
    Client(u64),
    Method(&'static str),
}

impl Weight {
    fn new(whose: Whose, weight_64ths: u32) -> Self {
        Self { whose, weight: f64::from(weight_64ths) / f64::from(SHARE_WEIGHT_ONE) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    workers: usize,
    uptime_ms: u64,
    actors: usize,
    classes: Vec<ClassLine>,
    turns_slow: u64,
    turns_preempted: u64,
    slowest_turn: Slowest,
    /// By name, of the last 30 to 60 seconds, the slowest first.
    slow_lately: Vec<Slow>,
    /// The same since the start.
    slow_ever: Vec<Slow>,
    dead_letters: u64,
    panics: u64,
    restarts: u64,
    executions: Gauge,
    weights: Vec<Weight>,
}

/// `sched_status`: figures since the start. O(classes * workers).
pub(super) fn status(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let status = api.system.status();
    let slowest = status.slowest_turn;
    let busy_all: u64 = status.classes.iter().map(|class| class.busy_ns).sum();
    let line = |class: Class| {
        let used = status.class(class);
        #[expect(clippy::cast_precision_loss, reason = "a part for people to read")]
        let busy_share = used.busy_ns as f64 / busy_all.max(1) as f64;
        ClassLine {
            name: class.name(),
            weight: class.weight(),
            turns: used.turns,
            reductions: used.reductions,
            busy_ns: used.busy_ns,
            queued: used.queued,
            busy_share,
            wait_ns: (&used.waits).into(),
            turn_ns: (&used.lengths).into(),
        }
    };
    let gauge = api.places.gauge();
    let clients = api.executions.weights().into_iter();
    let clients =
        clients.map(|(client, weight)| Weight::new(Whose::Client(client.number()), weight));
    let methods = Method::ALL.into_iter().filter_map(|method| {
        let weight = api.executions.weight(method).in_64ths();
        let is_set = weight != SHARE_WEIGHT_ONE;
        is_set.then(|| Weight::new(Whose::Method(method.name()), weight))
    });
    answer(&Status {
        workers: api.system.workers(),
        uptime_ms: api.system.now().as_nanos() / 1_000_000,
        actors: status.actors_live,
        classes: Class::ALL.map(line).into(),
        turns_slow: status.turns_slow,
        turns_preempted: status.turns_preempted,
        slowest_turn: Slowest {
            name: slowest.name,
            nanos: slowest.nanos,
            core_ns: slowest.core_ns,
        },
        slow_lately: status.slow_lately.iter().map(Slow::from).collect(),
        slow_ever: status.slow_ever.iter().map(Slow::from).collect(),
        dead_letters: status.dead_letters,
        panics: status.panics,
        restarts: status.restarts,
        executions: Gauge {
            running: gauge.running,
            waiting: gauge.waiting,
            refused: gauge.refused,
        },
        weights: clients.chain(methods).collect(),
    })
}

/// `sched_queues(count)`: living processes by name, those with the longest queues first, then those
/// that have used most. O(processes), in slices.
pub(super) async fn queues(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        name: &'static str,
        class: &'static str,
        count: usize,
        queued: usize,
        queued_bytes: usize,
        reductions: u64,
        restarts: u64,
    }
    let params = Params::new(request.params, 1)?;
    let count = params.count(0, QUEUES_MAX, "groups")?.unwrap_or(QUEUES_DEFAULT);
    let mut groups = groups(&api.system).await;
    groups.sort_by_key(|group| {
        std::cmp::Reverse((group.queued, group.queued_bytes, group.reductions))
    });
    groups.truncate(count);
    let line = |group: Group| Line {
        name: group.name,
        class: group.class.name(),
        count: group.count,
        queued: group.queued,
        queued_bytes: group.queued_bytes,
        reductions: group.reductions,
        restarts: group.restarts,
    };
    answer(&groups.into_iter().map(line).collect::<Vec<_>>())
}

/// `sched_deadLetters(limit)`: messages that nobody handled: how many since the start by reason,
/// and the last of them, the newest first. O(those that are kept).
pub(super) fn dead_letters(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Letter {
        /// Since the start of the node.
        at_ms: u64,
        receiver: &'static str,
        kind: &'static str,
        reason: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Dead {
        total: u64,
        by_reason: BTreeMap<&'static str, u64>,
        letters: Vec<Letter>,
    }
    let params = Params::new(request.params, 1)?;
    let limit = params.count(0, DEAD_LETTERS_KEPT, "letters")?.unwrap_or(DEAD_LETTERS_KEPT);
    let status = api.system.status();
    let letter = |letter: DeadLetter| Letter {
        at_ms: letter.at.as_nanos() / 1_000_000,
        receiver: letter.receiver,
        kind: letter.kind,
        reason: letter.reason.name(),
    };
    answer(&Dead {
        total: status.dead_letters,
        by_reason: DeadReason::ALL.map(|reason| (reason.name(), status.dead(reason))).into(),
        letters: api.system.dead_letters().into_iter().rev().take(limit).map(letter).collect(),
    })
}

/// `sched_executions`: what executes for requests now, the oldest first.
pub(super) fn executions(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        id: String,
        method: &'static str,
        client: u64,
        elapsed_ms: u128,
    }
    Params::none(request.params)?;
    let now = api.system.now();
    let line = |listed: crate::executions::Listed| Line {
        id: format!("{:#x}", listed.id),
        method: listed.method.name(),
        client: listed.client.number(),
        elapsed_ms: (now - listed.since).as_millis(),
    };
    answer(&api.executions.list().into_iter().map(line).collect::<Vec<_>>())
}

/// `sched_kill(id)`: ends an execution of a request; nothing else can be killed.
pub(super) fn kill(api: &Api, request: Request<'_>) -> Answered {
    let Quantity(id) = Params::new(request.params, 1)?.required(0)?;
    if api.executions.kill(id, api.system.now()) {
        return answer(&true);
    }
    let text = format!(
        "no execution {id:#x}: only executions of requests can be killed, see sched_executions"
    );
    Err(RpcError::resource_not_found(text))
}

/// `sched_setWeight(client or method, weight)`: what the executions of the client, or those of the
/// method, get against others, 1/64 to 64; 1 at first.
pub(super) fn set_weight(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let method = params.raw(0).and_then(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok());
    let method = method.filter(|name| name.contains('_'));
    let weights = "a weight of 1/64 to 64";
    let Object(weight) = params.expected::<Object<f64>>(1, weights)?;
    let (least, most) = (1.0, f64::from(SHARE_WEIGHT_MAX));
    let parts = (weight * f64::from(SHARE_WEIGHT_ONE)).round();
    if !(least..=most).contains(&parts) {
        return Err(refuse(1, &format!("expected {weights}, found {weight}")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 4,096")]
    let parts = parts as u32;
    match method {
        None => {
            let expected = "the number of a client, or a method that executes such as eth_call";
            let Quantity(client) = params.expected(0, expected)?;
            api.executions.set_weight(ClientId::new(client), parts)?;
        }
        Some(name) => {
            let known = Method::named(&name);
            let method = known.ok_or_else(|| {
                let all = Method::ALL.map(Method::name).join(", ");
                refuse(0, &format!("expected a client or one of {all}, found {name:?}"))
            })?;
            api.executions.weight(method).set_in_64ths(parts);
        }
    }
    answer(&true)
}
