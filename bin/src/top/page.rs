//! What is printed of two looks where there is no terminal. Pure.

use std::fmt::Write as _;

use super::look::{Look, Rates};

/// Groups of processes that are shown.
const GROUPS_SHOWN: usize = 20;

/// The lines above the tables.
pub(super) fn head(url: &str, now: &Look) -> [String; 3] {
    let status = &now.status;
    let (slowest, executions) = (&status.slowest_turn, &status.executions);
    [
        format!(
            "evenkeel {url}  up {} s  workers {}  actors {}",
            status.uptime_ms / 1_000,
            status.workers,
            status.actors
        ),
        format!(
            "executions: {} running, {} waiting, {} refused   panics {}  restarts {}  \
             dead letters {}",
            executions.running,
            executions.waiting,
            executions.refused,
            status.panics,
            status.restarts,
            status.dead_letters
        ),
        format!(
            "turns over 1 ms: {} ({} preempted)   slowest: {} us ({} us on the core), {}",
            status.turns_slow,
            status.turns_preempted,
            slowest.nanos / 1_000,
            slowest.core_ns / 1_000,
            slowest.name
        ),
    ]
}

/// `12.3` of 123 thousandths.
pub(super) fn percent(permille: u64) -> String {
    format!("{}.{}", permille / 10, permille % 10)
}

/// A time in seven columns at most: whole microseconds, from 100 ms on milliseconds, then seconds.
pub(super) fn time(nanos: u64) -> String {
    match nanos {
        0 => "-".to_owned(),
        1..100_000_000 => format!("{}us", nanos / 1_000),
        100_000_000..10_000_000_000 => format!("{}ms", nanos / 1_000_000),
        _ => format!("{}s", nanos / 1_000_000_000),
    }
}

/// A class's weight.
pub(super) fn weight(weight: Option<u64>) -> String {
    weight.map_or_else(|| "first".to_owned(), |weight| weight.to_string())
}

/// The whole text.
pub(super) fn page(url: &str, now: &Look, rates: &Rates) -> String {
    let mut page = head(url, now).join("\n");
    let mut line = |text: std::fmt::Arguments<'_>| {
        write!(page, "\n{text}").expect("writing to a String cannot fail");
    };
    line(format_args!(
        "\n{:<10} {:>6} {:>8} {:>7} {:>12} {:>14} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}",
        "CLASS",
        "WEIGHT",
        "BUSY %",
        "QUEUED",
        "TURNS/S",
        "REDUCTIONS/S",
        "WAIT P50",
        "P99",
        "MAX",
        "TURN P50",
        "P99",
        "MAX"
    ));
    for (class, rates) in now.status.classes.iter().zip(&rates.classes) {
        line(format_args!(
            "{:<10} {:>6} {:>8} {:>7} {:>12} {:>14} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}",
            class.name,
            weight(class.weight),
            percent(rates.busy_permille),
            class.queued,
            rates.turns,
            rates.reductions,
            time(class.wait_ns.p50),
            time(class.wait_ns.p99),
            time(class.wait_ns.max),
            time(class.turn_ns.p50),
            time(class.turn_ns.p99),
            time(class.turn_ns.max),
        ));
    }
    line(format_args!(
        "\n{:<20} {:<10} {:>7} {:>8} {:>12} {:>14} {:>8}",
        "PROCESSES", "CLASS", "COUNT", "QUEUED", "BYTES", "REDUCTIONS/S", "RESTARTS"
    ));
    for (group, reductions) in now.groups.iter().zip(&rates.groups).take(GROUPS_SHOWN) {
        line(format_args!(
            "{:<20} {:<10} {:>7} {:>8} {:>12} {:>14} {:>8}",
            group.name,
            group.class,
            group.count,
            group.queued,
            group.queued_bytes,
            reductions,
            group.restarts,
        ));
    }
    page.push('\n');
    page
}
