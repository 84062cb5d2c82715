//! What is printed of two looks where there is no terminal: no line is longer than 80 columns, but
//! by names and figures that are longer than their own. Pure.

use std::fmt::Write as _;

use super::look::{DeadLetters, Look, Rates, Status, is_crossing};

/// Groups of processes that are shown.
const GROUPS_SHOWN: usize = 20;

/// The lines above the tables.
pub(super) fn head(url: &str, now: &Look) -> [String; 4] {
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
            "executions: {} running, {} waiting, {} refused   panics {}  restarts {}",
            executions.running,
            executions.waiting,
            executions.refused,
            status.panics,
            status.restarts,
        ),
        format!(
            "turns over 1 ms: {} ({} preempted)   slowest ever: {} {}",
            status.turns_slow,
            status.turns_preempted,
            time(slowest.nanos),
            slowest.name
        ),
        dead_by_reason(&now.dead),
    ]
}

/// What was lost, and of each reason that there is some of; apart, what an end has crossed, such as
/// wake-ups of calls that are over.
fn dead_by_reason(dead: &DeadLetters) -> String {
    let (crossings, losses): (Vec<_>, Vec<_>) =
        dead.by_reason.iter().partition(|(reason, _)| is_crossing(reason));
    let crossed: u64 = crossings.iter().map(|&(_, count)| count).sum();
    let mut text = format!("dead letters: {}", dead.total.saturating_sub(crossed));
    let mut before = "   ";
    for (reason, count) in losses.into_iter().filter(|&(_, &count)| count > 0) {
        write!(text, "{before}{reason} {count}").expect("writing to a String cannot fail");
        before = "  ";
    }
    write!(text, "   crossed by an end: {crossed}").expect("writing to a String cannot fail");
    text
}

/// How long ago something was that has happened `at_ms` after the start, in five columns or so.
pub(super) fn ago(status: &Status, at_ms: u64) -> String {
    match status.uptime_ms.saturating_sub(at_ms) / 1_000 {
        seconds @ 0..10_000 => format!("{seconds}s"),
        seconds => format!("{}h", seconds / 3_600),
    }
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
    classes(&mut line, now, rates);
    line(format_args!(
        "\n{:<20} {:<9} {:>6} {:>7} {:>10} {:>12} {:>8}",
        "PROCESSES", "CLASS", "COUNT", "QUEUED", "BYTES", "REDUCTIONS/S", "RESTARTS"
    ));
    for (group, reductions) in now.groups.iter().zip(&rates.groups).take(GROUPS_SHOWN) {
        line(format_args!(
            "{:<20} {:<9} {:>6} {:>7} {:>10} {:>12} {:>8}",
            group.name,
            group.class,
            group.count,
            group.queued,
            group.queued_bytes,
            reductions,
            group.restarts,
        ));
    }
    slow_and_dead(&mut line, now);
    page.push('\n');
    page
}

/// Their shares and rates, then their times.
fn classes(line: &mut impl FnMut(std::fmt::Arguments<'_>), now: &Look, rates: &Rates) {
    line(format_args!(
        "\n{:<20} {:>6} {:>8} {:>10} {:>14} {:>8}",
        "CLASS", "WEIGHT", "QUEUED", "TURNS/S", "REDUCTIONS/S", "BUSY %"
    ));
    for (class, rates) in now.status.classes.iter().zip(&rates.classes) {
        line(format_args!(
            "{:<20} {:>6} {:>8} {:>10} {:>14} {:>8}",
            class.name,
            weight(class.weight),
            class.queued,
            rates.turns,
            rates.reductions,
            percent(rates.busy_permille),
        ));
    }
    line(format_args!(
        "\n{:<20} {:>8} {:>8} {:>8}    {:>8} {:>8} {:>8}",
        "TIMES", "WAIT P50", "P99", "MAX", "TURN P50", "P99", "MAX"
    ));
    for class in &now.status.classes {
        line(format_args!(
            "{:<20} {:>8} {:>8} {:>8}    {:>8} {:>8} {:>8}",
            class.name,
            time(class.wait_ns.p50),
            time(class.wait_ns.p99),
            time(class.wait_ns.max),
            time(class.turn_ns.p50),
            time(class.turn_ns.p99),
            time(class.turn_ns.max),
        ));
    }
}

/// The slowest turns of the last 30 to 60 seconds, and dead letters.
fn slow_and_dead(line: &mut impl FnMut(std::fmt::Arguments<'_>), now: &Look) {
    line(format_args!(
        "\n{:<20} {:<9} {:>8} {:>8} {:>8} {:>6}",
        "SLOW TURNS", "CLASS", "LONGEST", "ON CORE", "TURNS", "AGO"
    ));
    for slow in &now.status.slow_lately {
        line(format_args!(
            "{:<20} {:<9} {:>8} {:>8} {:>8} {:>6}",
            slow.name,
            slow.class,
            time(slow.nanos),
            time(slow.core_ns),
            slow.turns,
            ago(&now.status, slow.at_ms),
        ));
    }
    line(format_args!("\n{:<20} {:<24} {:<12} {:>6}", "DEAD LETTERS", "MESSAGE", "REASON", "AGO"));
    for letter in &now.dead.letters {
        line(format_args!(
            "{:<20} {:<24} {:<12} {:>6}",
            letter.receiver,
            letter.kind,
            letter.reason,
            ago(&now.status, letter.at_ms),
        ));
    }
}
