//! `GET /metrics`: read as Prometheus does, before and after some work.

use std::collections::BTreeMap;

use evenkeel_runtime::{Class, DeadReason, Spawn, yield_now};

use super::{
    peer::{Peer, Reply},
    *,
};
use crate::exposition::parse::{Metric, ONE, parse};

type Metrics = BTreeMap<String, Metric>;

fn ask(peer: &mut Peer, method: &str) -> Reply {
    peer.send(format!("{method} /metrics HTTP/1.1\r\nhost: h\r\n\r\n"));
    peer.read_answer_to(method)
}

fn read(peer: &mut Peer) -> Metrics {
    let reply = ask(peer, "GET");
    assert_eq!(reply.status, 200);
    let content_type = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    assert!(reply.head.contains(content_type), "{}", reply.head);
    assert!(reply.head.contains("access-control-allow-origin: *\r\n"), "{}", reply.head);
    parse(&reply.body).unwrap_or_else(|why| panic!("{why} in\n{}", reply.body))
}

/// The only sample of a metric without labels.
fn value(metrics: &Metrics, name: &str) -> u128 {
    metrics[name].samples[&Vec::new()]
}

/// Runs a turn of two milliseconds and waits until it is counted.
fn run_slow_turn(system: &System) {
    let (done, is_done) = channel();
    let clock = system.clone();
    let task = system.spawn_future(Spawn::new("glutton", Class::Net), async move {
        let began = clock.now();
        while clock.now() - began < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        // The next turn begins when this one is counted.
        yield_now().await;
        done.send(()).expect("it is waited for");
    });
    is_done.recv_timeout(PATIENCE).expect("it ends");
    drop(task);
}

/// Goal: what is served is the format, with every class and every reason; the figures of the work
/// that was done are in it, and no counter falls.
/// Method: two reads, 200 calls between them.
#[test]
fn metrics_tell_of_the_work_and_never_fall() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let before = read(&mut peer);
    for class in Class::ALL {
        for name in ["turns_total", "reductions_total", "busy_seconds_total", "queued"] {
            let metric = &before[&format!("evenkeel_sched_{name}")];
            assert!(metric.with("class", class.name()).is_some(), "{name} of {class:?}");
        }
    }
    for reason in DeadReason::ALL {
        let dead = &before["evenkeel_sched_dead_letters_total"];
        assert!(dead.with("reason", reason.name()).is_some(), "{reason:?}");
    }
    for (name, expected) in [
        ("evenkeel_executions_running", 3),
        ("evenkeel_executions_waiting", 2),
        ("evenkeel_executions_refused_total", 1),
        ("evenkeel_sched_workers", 2),
        ("evenkeel_rpc_connections", 1),
        ("evenkeel_rpc_clients", 1),
        ("evenkeel_rpc_answer_bytes", 0),
        ("evenkeel_rpc_answer_bytes_max", rules().body.answers_bytes_max as u128),
    ] {
        assert_eq!(value(&before, name), expected * ONE, "{name}");
    }

    for id in 0..200 {
        assert_eq!(peer.post(&call(id, "echo", "[1]")).status, 200);
    }
    run_slow_turn(&bench.system);
    let second = Peer::new(bench.address);
    let mut asker = Peer::new(bench.address);
    let after = read(&mut asker);
    drop(second);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, metric) in before.iter().filter(|(_, metric)| metric.kind != "gauge") {
        for (labels, before) in &metric.samples {
            let after = after[name].samples[labels];
            assert!(after >= *before, "{name}{labels:?} fell from {before} to {after}");
        }
    }
    let rpc = |metrics: &Metrics, name: &str| metrics[name].with("class", "rpc").expect("a class");
    let turns = "evenkeel_sched_turns_total";
    assert!(rpc(&after, turns) > rpc(&before, turns));
    let busy = "evenkeel_sched_busy_seconds_total";
    assert!(rpc(&after, busy) > rpc(&before, busy));
    for name in ["wait", "turn"] {
        let name = format!("evenkeel_sched_{name}_seconds");
        assert!(rpc(&after, &name) > rpc(&before, &name), "{name}");
        assert_eq!(after[&name].samples.len(), Class::COUNT * (24 + 1 + 2), "{name}");
    }
    assert_eq!(rpc(&after, "evenkeel_sched_turn_seconds"), rpc(&after, turns));
    assert!(value(&after, "evenkeel_uptime_seconds") > value(&before, "evenkeel_uptime_seconds"));
    assert_eq!(value(&after, "evenkeel_rpc_connections"), 3 * ONE);

    let labels = |name: &str, class: &str| {
        let labels = [("process", name), ("class", class)];
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let slow = |name: &str| &after[&format!("evenkeel_sched_slow_turn{name}")].samples;
    let glutton = labels("glutton", "net");
    assert_eq!(slow("s").get(&glutton), Some(&ONE));
    assert!(slow("_seconds")[&glutton] >= 2 * ONE / 1_000);
    assert!(slow("_core_seconds")[&glutton] <= slow("_seconds")[&glutton]);
    let labels = labels("http", "rpc");
    assert_eq!(after["evenkeel_processes"].samples[&labels], 3 * ONE, "three connections");
    assert!(after["evenkeel_process_reductions"].samples[&labels] > 0);
}

/// Goal: HEAD tells of the same answer without it; what holds for other paths holds for this one.
#[test]
fn metrics_keep_the_rules_of_other_paths() {
    let bench = Bench::new(Rules { cors: Some(vec!["http://a.example".to_owned()]), ..rules() });
    let mut peer = Peer::new(bench.address);
    let head = ask(&mut peer, "HEAD");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-type: text/plain; version=0.0.4"), "{}", head.head);
    assert_eq!(ask(&mut peer, "PUT").status, 405);
    assert_eq!(ask(&mut peer, "POST").status, 404);
    for (origin, status) in [("http://a.example", 200), ("http://b.example", 403)] {
        peer.send(format!("GET /metrics HTTP/1.1\r\nhost: h\r\norigin: {origin}\r\n\r\n"));
        let reply = peer.read();
        assert_eq!((reply.status, reply.body.is_empty()), (status, status == 403));
        let marked = format!("access-control-allow-origin: {origin}\r\n");
        assert_eq!(reply.head.contains(&marked), status == 200);
    }
    assert_eq!(bench.called(), 0);
}
