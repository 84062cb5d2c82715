//! One look at a node over plain HTTP, and what two of them say together.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use evenkeel_runtime::{DeadReason, limits::DEAD_LETTERS_KEPT};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// How long the node may take to connect, and to send something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one answer: 1,000 groups and 256 executions take less than 300 KB.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Groups of processes that are asked for: the most there are to be had.
const GROUPS_MAX: usize = 1_000;
/// Dead letters that are shown, of all that are to be had.
pub(super) const DEAD_SHOWN: usize = 5;

/// What helps where no node is.
const TIP: &str = "`evenkeel` starts a node; `evenkeel top http://HOST:PORT` asks another";

/// Where a node listens.
pub(super) struct Node {
    url: String,
    /// `HOST:PORT`
    place: String,
}

/// What a node says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) groups: Vec<Group>,
    pub(super) executions: Vec<Execution>,
    pub(super) dead: DeadLetters,
}

/// What is used of `sched_status`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) workers: u64,
    pub(super) uptime_ms: u64,
    pub(super) actors: u64,
    pub(super) classes: Vec<Class>,
    pub(super) turns_slow: u64,
    pub(super) turns_preempted: u64,
    pub(super) slowest_turn: SlowestTurn,
    /// The slowest first.
    pub(super) slow_lately: Vec<SlowName>,
    pub(super) panics: u64,
    pub(super) restarts: u64,
    pub(super) executions: Places,
}

/// A class in `sched_status`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Class {
    pub(super) name: String,
    /// `None`: it goes before all others.
    pub(super) weight: Option<u64>,
    pub(super) turns: u64,
    pub(super) reductions: u64,
    pub(super) busy_ns: u64,
    pub(super) queued: u64,
    /// How long fresh processes have waited for their turns, since the start.
    pub(super) wait_ns: Times,
    /// How long the turns were, since the start.
    pub(super) turn_ns: Times,
}

/// What is said of some times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Times {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

/// The longest turn so far.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct SlowestTurn {
    pub(super) name: String,
    pub(super) nanos: u64,
}

/// The turns over a millisecond of one name, of the last 30 to 60 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SlowName {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) at_ms: u64,
    pub(super) nanos: u64,
    pub(super) core_ns: u64,
    pub(super) turns: u64,
}

/// What nobody handled, in `sched_deadLetters`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetters {
    pub(super) total: u64,
    pub(super) by_reason: BTreeMap<String, u64>,
    /// What was lost, then what an end has crossed, each the newest first.
    pub(super) letters: Vec<DeadLetter>,
}

/// Whether messages that died of this reason have met an end: as a rule nobody misses them.
pub(super) fn is_crossing(reason: &str) -> bool {
    [DeadReason::Ended, DeadReason::EarlierLife].iter().any(|crossing| crossing.name() == reason)
}

/// A message that nobody handled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetter {
    pub(super) at_ms: u64,
    pub(super) receiver: String,
    pub(super) kind: String,
    pub(super) reason: String,
}

/// The executions of requests, counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Places {
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) refused: u64,
}

/// Processes of one name and class in `sched_queues`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) count: u64,
    pub(super) queued: u64,
    pub(super) queued_bytes: u64,
    pub(super) reductions: u64,
    pub(super) restarts: u64,
}

/// An execution in `sched_executions`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Execution {
    /// A hex quantity.
    pub(super) id: String,
    pub(super) method: String,
    pub(super) client: u64,
    pub(super) elapsed_ms: u64,
}

impl Node {
    /// The node at `url`, with or without the scheme; nobody is asked yet.
    pub(super) fn at(url: &str) -> Result<Self> {
        let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let is_plain = !place.contains('/') && place.contains(':');
        ensure!(is_plain, "expected http://HOST:PORT, found {url:?}");
        Ok(Self { url: url.to_owned(), place: place.to_owned() })
    }

    /// Asks it for all that is shown, in one request.
    pub(super) fn look(&self) -> Result<Look> {
        let kept = DEAD_LETTERS_KEPT;
        let request = json!([
            { "jsonrpc": "2.0", "id": 0, "method": "sched_status", "params": [] },
            { "jsonrpc": "2.0", "id": 1, "method": "sched_queues", "params": [GROUPS_MAX] },
            { "jsonrpc": "2.0", "id": 2, "method": "sched_executions", "params": [] },
            { "jsonrpc": "2.0", "id": 3, "method": "sched_deadLetters", "params": [kept] },
        ]);
        let url = &self.url;
        let answers = self.post(&request);
        let answers = answers.map_err(|error| anyhow!("cannot reach {url}: {error:#} ({TIP})"))?;
        Look::read(&answers).map_err(|error| {
            let found = self.name().unwrap_or_else(|_| "another program".to_owned());
            anyhow!("{url} is {found}, expected an Evenkeel node: sched_status: {error:#} ({TIP})")
        })
    }

    /// What the node calls itself.
    fn name(&self) -> Result<String> {
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": "web3_clientVersion" });
        result(&self.post(&request)?)
    }

    /// Ends the execution of this id.
    pub(super) fn kill(&self, id: &str) -> Result<()> {
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": "sched_kill", "params": [id] });
        let is_killed: bool = result(&self.post(&request)?)?;
        ensure!(is_killed, "it says no");
        Ok(())
    }

    /// One POST on a connection of its own.
    fn post(&self, body: &Value) -> Result<Value> {
        let place = &self.place;
        let address = place.to_socket_addrs()?.next().ok_or_else(|| anyhow!("no such host"))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200"), "it answers {status:?}");
        serde_json::from_str(body).context("it answers, but not in JSON: it is no Ethereum node")
    }
}

/// The result in one JSON-RPC answer.
fn result<T: DeserializeOwned>(answer: &Value) -> Result<T> {
    if let Some(error) = answer.get("error") {
        bail!("{}", error["message"].as_str().unwrap_or("it refuses"));
    }
    T::deserialize(&answer["result"]).context("it answers otherwise")
}

impl Look {
    /// Reads the answers to the four questions of [`Node::look`].
    pub(super) fn read(answers: &Value) -> Result<Self> {
        let mut look = Self {
            status: result(&answers[0])?,
            groups: result(&answers[1])?,
            executions: result(&answers[2])?,
            dead: result(&answers[3])?,
        };
        let letters = &mut look.dead.letters;
        letters.sort_by_key(|letter| is_crossing(&letter.reason));
        letters.truncate(DEAD_SHOWN);
        Ok(look)
    }
}

/// What was done between two looks, by class and by group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// In the order of the classes.
    pub(super) classes: Vec<ClassRates>,
    /// Reductions a second, in the order of the later look's groups.
    pub(super) groups: Vec<u64>,
}

/// What a class did between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassRates {
    /// Part of the time of all turns, in thousandths.
    pub(super) busy_permille: u64,
    /// Turns a second.
    pub(super) turns: u64,
    /// Reductions a second.
    pub(super) reductions: u64,
}

impl Rates {
    /// A node that was started anew in between has done nothing.
    pub(super) fn between(before: &Look, now: &Look) -> Self {
        let (old, new) = (&before.status, &now.status);
        let millis = new.uptime_ms.saturating_sub(old.uptime_ms).max(1);
        let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1_000) / millis;
        let pairs: Vec<_> = new.classes.iter().zip(&old.classes).collect();
        let busy = |(new, old): &(&Class, &Class)| new.busy_ns.saturating_sub(old.busy_ns);
        let busy_all = pairs.iter().map(busy).sum::<u64>().max(1);
        let class = |pair: &(&Class, &Class)| ClassRates {
            busy_permille: busy(pair).saturating_mul(1_000) / busy_all,
            turns: rate(pair.0.turns, pair.1.turns),
            reductions: rate(pair.0.reductions, pair.1.reductions),
        };
        let key = |group: &Group| (group.name.clone(), group.class.clone());
        let used: BTreeMap<_, _> =
            before.groups.iter().map(|group| (key(group), group.reductions)).collect();
        // Processes that ended meanwhile take theirs with them.
        let group = |group: &Group| {
            rate(group.reductions, used.get(&key(group)).copied().unwrap_or_default())
        };
        Self {
            classes: pairs.iter().map(class).collect(),
            groups: now.groups.iter().map(group).collect(),
        }
    }
}
