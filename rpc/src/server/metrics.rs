//! `GET /metrics`: the figures of scheduler, processes, executions and server for Prometheus.
//!
//! Nothing is counted for it: each answer is made of what the runtime, the places and the server
//! keep anyway, so it costs nothing while nobody asks. All counters are since the start.

use std::time::Duration;

use evenkeel_runtime::{Class, ClassStatus, DeadReason, Histogram, SlowName, SystemStatus};

use crate::{
    dispatch::Dispatch,
    exposition::{
        Exposition,
        Kind::{self, Counter, Gauge},
        Value,
    },
    groups::{Group, groups},
    places::PlaceGauge,
    server::http::Door,
};

/// The whole answer. O(processes) in slices, then O(names of processes) at once: some 50 KB, most
/// of it the histograms of the classes.
pub(super) async fn metrics<D: Dispatch>(door: &Door<D>) -> String {
    // The only part that yields comes first, so that all others are of one moment.
    let groups = groups(&door.system).await;
    let mut to = Exposition::default();
    to.metric(Gauge, "evenkeel_uptime_seconds", "Time since the start.")
        .value(door.system.now().as_duration());
    to.metric(Gauge, "evenkeel_sched_workers", "Worker threads of the scheduler.")
        .value(door.system.workers());
    let status = door.system.status();
    classes(&mut to, &status);
    times(&mut to, &status);
    turns_and_failures(&mut to, &status);
    slow_turns(&mut to, &status);
    processes(&mut to, &groups);
    executions(&mut to, door.calls.dispatch().executions());
    server(&mut to, door);
    to.into_text()
}

/// What every class has used.
fn classes(to: &mut Exposition, status: &SystemStatus) {
    let mut by_class = |kind, name, help, figure: fn(&ClassStatus) -> Value| {
        let mut metric = to.metric(kind, name, help);
        for class in Class::ALL {
            metric.sample(&[("class", class.name())], figure(status.class(class)));
        }
    };
    by_class(Counter, "evenkeel_sched_turns_total", "Turns run.", |class| class.turns.into());
    by_class(
        Counter,
        "evenkeel_sched_reductions_total",
        "Reductions charged, by count or by time, whichever was more.",
        |class| class.reductions.into(),
    );
    by_class(Counter, "evenkeel_sched_busy_seconds_total", "Time in turns.", |class| {
        Duration::from_nanos(class.busy_ns).into()
    });
    by_class(Gauge, "evenkeel_sched_queued", "Processes that are runnable now.", |class| {
        class.queued.into()
    });
}

/// How long the classes wait and run. A bound an octave: every other one that is known.
fn times(to: &mut Exposition, status: &SystemStatus) {
    let mut by_class = |name, help, times: fn(&ClassStatus) -> &Histogram| {
        let mut metric = to.metric(Kind::Histogram, name, help);
        for class in Class::ALL {
            let times = times(status.class(class));
            let (mut octaves, mut since) = (Vec::new(), 0);
            for (bound, count) in times.buckets() {
                since += count;
                if bound.is_power_of_two() {
                    octaves.push((Duration::from_nanos(bound), std::mem::take(&mut since)));
                }
            }
            let sum = Duration::from_nanos(times.sum_ns());
            metric.histogram(&[("class", class.name())], octaves, since, sum);
        }
    };
    by_class(
        "evenkeel_sched_wait_seconds",
        "How long fresh processes have waited for their turns.",
        |class| &class.waits,
    );
    by_class("evenkeel_sched_turn_seconds", "How long turns were.", |class| &class.lengths);
}

fn turns_and_failures(to: &mut Exposition, status: &SystemStatus) {
    let slowest = status.slowest_turn;
    to.metric(Gauge, "evenkeel_sched_actors", "Processes that live.").value(status.actors_live);
    to.metric(Counter, "evenkeel_sched_slow_turns_total", "Turns over a millisecond.")
        .value(status.turns_slow);
    to.metric(
        Counter,
        "evenkeel_sched_preempted_turns_total",
        "Turns over a millisecond that had the processor for less.",
    )
    .value(status.turns_preempted);
    to.metric(Gauge, "evenkeel_sched_slowest_turn_seconds", "The longest turn, by its process.")
        .sample(&[("process", slowest.name)], Duration::from_nanos(slowest.nanos));
    to.metric(
        Gauge,
        "evenkeel_sched_slowest_turn_core_seconds",
        "How long the longest turn had the processor.",
    )
    .sample(&[("process", slowest.name)], Duration::from_nanos(slowest.core_ns));
    to.metric(Counter, "evenkeel_sched_panics_total", "Panics of processes.").value(status.panics);
    to.metric(Counter, "evenkeel_sched_restarts_total", "Restarts after panics.")
        .value(status.restarts);
    let help = "Messages that nobody handled.";
    let mut dead = to.metric(Counter, "evenkeel_sched_dead_letters_total", help);
    for reason in DeadReason::ALL {
        dead.sample(&[("reason", reason.name())], status.dead(reason));
    }
}

/// The slowest names of the last 30 to 60 seconds: no more samples than the runtime shows names.
fn slow_turns(to: &mut Exposition, status: &SystemStatus) {
    let mut by_name = |name, help, figure: fn(&SlowName) -> Value| {
        let mut metric = to.metric(Gauge, name, help);
        for slow in &status.slow_lately {
            let labels = [("process", slow.name), ("class", slow.class.name())];
            metric.sample(&labels, figure(slow));
        }
    };
    by_name(
        "evenkeel_sched_slow_turn_seconds",
        "The longest turn over a millisecond of the last 30 to 60 seconds.",
        |slow| Duration::from_nanos(slow.nanos).into(),
    );
    by_name(
        "evenkeel_sched_slow_turn_core_seconds",
        "How long that turn had the processor.",
        |slow| Duration::from_nanos(slow.core_ns).into(),
    );
    by_name(
        "evenkeel_sched_slow_turns",
        "Turns over a millisecond of the last 30 to 60 seconds.",
        |slow| slow.turns.into(),
    );
}

/// The living processes by name. What has ended takes its figures with it: all are gauges.
fn processes(to: &mut Exposition, groups: &[Group]) {
    let mut by_name = |name, help, figure: fn(&Group) -> Value| {
        let mut metric = to.metric(Gauge, name, help);
        for group in groups {
            let labels = [("process", group.name), ("class", group.class.name())];
            metric.sample(&labels, figure(group));
        }
    };
    by_name("evenkeel_processes", "Processes that live.", |group| group.count.into());
    by_name("evenkeel_process_queued_messages", "Messages that wait for them.", |group| {
        group.queued.into()
    });
    by_name("evenkeel_process_queued_bytes", "Bytes of the messages that wait.", |group| {
        group.queued_bytes.into()
    });
    by_name("evenkeel_process_reductions", "Reductions of those that live.", |group| {
        group.reductions.into()
    });
    by_name("evenkeel_process_restarts", "Restarts of those that live.", |group| {
        group.restarts.into()
    });
}

fn executions(to: &mut Exposition, gauge: PlaceGauge) {
    to.metric(Gauge, "evenkeel_executions_running", "Executions of requests that have a place.")
        .value(gauge.running);
    to.metric(Gauge, "evenkeel_executions_waiting", "Requests that wait for a place.")
        .value(gauge.waiting);
    to.metric(
        Counter,
        "evenkeel_executions_refused_total",
        "Requests that found the line for a place full.",
    )
    .value(gauge.refused);
}

fn server<D: Dispatch>(to: &mut Exposition, door: &Door<D>) {
    to.metric(Gauge, "evenkeel_rpc_connections", "Open connections.")
        .value(door.connections.used());
    to.metric(Gauge, "evenkeel_rpc_clients", "Clients that are remembered.")
        .value(door.clients.len());
    to.metric(
        Gauge,
        "evenkeel_rpc_body_bytes",
        "Bytes of large request bodies that are read or worked.",
    )
    .value(door.bodies.used());
    to.metric(Gauge, "evenkeel_rpc_answer_bytes", "Bytes of answers that wait to be written.")
        .value(door.calls.answers_bytes());
    to.metric(Gauge, "evenkeel_rpc_answer_bytes_max", "Bytes of answers that may wait.")
        .value(door.calls.limits().answers_bytes_max);
    to.metric(Gauge, "evenkeel_rpc_outbox_bytes", "Bytes that wait for WebSockets.")
        .value(door.outboxes.bytes());
}
