//! `evenkeel top`: what a running node's scheduler does, as text, once or again and again.
//!
//! Two looks a second apart give the rates. The node is asked over plain HTTP; nothing here runs on
//! its scheduler.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the node may take to connect, and to send something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one answer: 1,000 groups take less than 200 KB.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Groups of processes that are shown.
const GROUPS_SHOWN: usize = 20;

/// Prints what the node at `url` does: one time, or until it is interrupted.
///
/// # Errors
///
/// The URL is not `http://HOST:PORT`, or the node does not answer.
pub(crate) fn run(url: &str, is_once: bool) -> Result<()> {
    let place = host_and_port(url)?;
    let mut before = Look::take(place).with_context(|| format!("cannot reach {url}"))?;
    loop {
        rest();
        let now = Look::take(place).with_context(|| format!("cannot reach {url}"))?;
        let text = page(url, &before, &now);
        let mut stdout = std::io::stdout().lock();
        // Clears the screen of a terminal that shows it again and again.
        let lead = if is_once { "" } else { "\x1b[2J\x1b[H" };
        if stdout.write_all(format!("{lead}{text}").as_bytes()).is_err() || is_once {
            return Ok(());
        }
        before = now;
    }
}

#[expect(clippy::disallowed_methods, reason = "this process has no scheduler")]
fn rest() {
    std::thread::sleep(LOOK_EVERY);
}

/// `HOST:PORT` of `http://HOST:PORT`, with or without the scheme.
fn host_and_port(url: &str) -> Result<&str> {
    let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let is_plain = !place.contains('/') && place.contains(':');
    ensure!(is_plain, "expected http://HOST:PORT, found {url:?}");
    Ok(place)
}

/// One look at a node.
struct Look {
    status: Value,
    queues: Value,
}

impl Look {
    fn take(place: &str) -> Result<Self> {
        let mut answers = post(
            place,
            &json!([
                { "jsonrpc": "2.0", "id": 0, "method": "sched_status", "params": [] },
                { "jsonrpc": "2.0", "id": 1, "method": "sched_queues", "params": [1_000] },
            ]),
        )?;
        let mut result = |index: usize| -> Result<Value> {
            let answer = answers.get_mut(index).ok_or_else(|| anyhow!("it answers otherwise"))?;
            if let Some(error) = answer.get("error") {
                bail!("{}", error["message"].as_str().unwrap_or("it refuses"));
            }
            Ok(answer["result"].take())
        };
        Ok(Self { status: result(0)?, queues: result(1)? })
    }

    fn groups(&self) -> impl Iterator<Item = (String, &Value)> {
        let groups = self.queues.as_array().map(Vec::as_slice).unwrap_or_default();
        groups
            .iter()
            .map(|group| (format!("{} {}", text(group, "name"), text(group, "class")), group))
    }
}

/// One POST on a connection of its own.
fn post(place: &str, body: &Value) -> Result<Value> {
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
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200"), "it answers {status:?}");
    Ok(serde_json::from_str(body)?)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What is printed of two looks.
fn page(url: &str, before: &Look, now: &Look) -> String {
    let (old, new) = (&before.status, &now.status);
    let millis = (number(new, "uptimeMs").saturating_sub(number(old, "uptimeMs"))).max(1);
    let rate = |more: u64| more * 1_000 / millis;
    let slowest = &new["slowestTurn"];
    let executions = &new["executions"];
    let mut page = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(page, "{text}").expect("writing to a String cannot fail");
    };
    line(format_args!(
        "evenkeel {url}  up {} s  workers {}  actors {}",
        number(new, "uptimeMs") / 1_000,
        number(new, "workers"),
        number(new, "actors")
    ));
    line(format_args!(
        "executions: {} running, {} waiting, {} refused   panics {}  restarts {}  dead letters {}",
        number(executions, "running"),
        number(executions, "waiting"),
        number(executions, "refused"),
        number(new, "panics"),
        number(new, "restarts"),
        number(new, "deadLetters")
    ));
    line(format_args!(
        "turns over 1 ms: {} ({} preempted)   slowest: {} us ({} us on the core), {}",
        number(new, "turnsSlow"),
        number(new, "turnsPreempted"),
        number(slowest, "nanos") / 1_000,
        number(slowest, "coreNs") / 1_000,
        text(slowest, "name")
    ));
    line(format_args!(
        "\n{:<10} {:>6} {:>8} {:>7} {:>12} {:>14}",
        "CLASS", "WEIGHT", "BUSY %", "QUEUED", "TURNS/S", "REDUCTIONS/S"
    ));
    let classes = |status: &Value| status["classes"].as_array().cloned().unwrap_or_default();
    let busy = |new: &Value, old: &Value| number(new, "busyNs") - number(old, "busyNs");
    let pairs: Vec<_> = classes(new).into_iter().zip(classes(old)).collect();
    let busy_all: u64 = pairs.iter().map(|(new, old)| busy(new, old)).sum();
    for (class, old) in &pairs {
        let permille = busy(class, old) * 1_000 / busy_all.max(1);
        line(format_args!(
            "{:<10} {:>6} {:>8} {:>7} {:>12} {:>14}",
            text(class, "name"),
            class["weight"]
                .as_u64()
                .map_or_else(|| "first".to_owned(), |weight| weight.to_string()),
            format!("{}.{}", permille / 10, permille % 10),
            number(class, "queued"),
            rate(number(class, "turns") - number(old, "turns")),
            rate(number(class, "reductions") - number(old, "reductions")),
        ));
    }
    line(format_args!(
        "\n{:<20} {:<10} {:>7} {:>8} {:>12} {:>14} {:>8}",
        "PROCESSES", "CLASS", "COUNT", "QUEUED", "BYTES", "REDUCTIONS/S", "RESTARTS"
    ));
    let used: BTreeMap<_, _> =
        before.groups().map(|(key, group)| (key, number(group, "reductions"))).collect();
    for (key, group) in now.groups().take(GROUPS_SHOWN) {
        // Processes that ended meanwhile take theirs with them.
        let before = used.get(&key).copied().unwrap_or_default();
        line(format_args!(
            "{:<20} {:<10} {:>7} {:>8} {:>12} {:>14} {:>8}",
            text(group, "name"),
            text(group, "class"),
            number(group, "count"),
            number(group, "queued"),
            number(group, "queuedBytes"),
            rate(number(group, "reductions").saturating_sub(before)),
            number(group, "restarts"),
        ));
    }
    page
}
