//! What the scheduler says of slow turns and of messages that nobody handled.

use std::time::Duration;

use evenkeel_runtime::{
    Address, Class, Mailbox, MailboxSpec, Message, Overflow, Spawn, consume, limits::REDUCTION_NS,
    yield_now,
};
use serde_json::{Value, json};

use super::world::World;
use crate::RpcConfig;

struct Word;

impl Message for Word {
    fn kind(&self) -> &'static str {
        "word"
    }
}

/// A mailbox for one message.
fn mailbox(world: &World, overflow: Overflow) -> (Address<Word>, Mailbox<Word>) {
    let spec = MailboxSpec { name: "words", items_max: 1, bytes_max: 1_024, overflow };
    world.api.system.mailbox(spec)
}

/// Runs turns of so many microseconds.
fn run_turns(world: &mut World, name: &'static str, class: Class, micros: &'static [u32]) {
    let task = world.api.system.spawn_future(Spawn::new(name, class), async move {
        for micros in micros {
            consume(micros * 1_000 / u32::try_from(REDUCTION_NS).expect("25"));
            yield_now().await;
        }
    });
    world.sim.run_until(task).expect("no panic");
}

fn names(status: &Value, key: &str) -> Vec<(String, u64)> {
    let names = status[key].as_array().expect("a list").iter();
    let name = |one: &Value| {
        let name = one["name"].as_str().expect("a name").to_owned();
        (name, one["turns"].as_u64().expect("a number"))
    };
    names.map(name).collect()
}

/// Goal: slow turns are told by name with class, length, time and number; one at the start hides
/// none of those that come later, and is forgotten but in what is told since the start.
#[test]
fn slow_turns_are_told_by_name() {
    let mut world = World::new(71, RpcConfig::default());
    run_turns(&mut world, "early", Class::Net, &[90_000]);
    world.sim.run_for(Duration::from_secs(20));
    run_turns(&mut world, "late", Class::Exec, &[3_000, 999, 5_000, 2_000]);
    let status = world.ok("sched_status", "[]");
    let owned = |names: &[(&str, u64)]| -> Vec<_> {
        names.iter().map(|&(name, turns)| (name.to_owned(), turns)).collect()
    };
    let both = owned(&[("early", 1), ("late", 3)]);
    assert_eq!((names(&status, "slowLately"), names(&status, "slowEver")), (both.clone(), both));
    let late = &status["slowLately"][1];
    // A poll counts one.
    let nanos = 5_000_000 + REDUCTION_NS;
    assert_eq!((&late["class"], &late["nanos"]), (&json!("exec"), &json!(nanos)));
    assert_eq!(late["coreNs"], late["nanos"], "virtual time is the core's");
    // 90 ms, 20 s, 3 + 1 + 5 ms.
    assert!(late["atMs"].as_u64().is_some_and(|at| (20_098..=20_100).contains(&at)), "{late}");

    world.sim.run_for(Duration::from_secs(45));
    run_turns(&mut world, "late", Class::Exec, &[1_500]);
    let status = world.ok("sched_status", "[]");
    assert_eq!(names(&status, "slowLately"), owned(&[("late", 1)]));
    assert_eq!(names(&status, "slowEver"), owned(&[("early", 1), ("late", 4)]));
    assert_eq!(status["slowestTurn"]["name"], "early");
}

/// Goal: messages that nobody handled can be read, the newest first, as many as one asks for, with
/// all of them counted by reason.
#[test]
fn dead_letters_are_read() {
    let mut world = World::new(72, RpcConfig::default());
    let none = json!({
        "full": 0, "displaced": 0, "ended": 0, "restarted": 0, "earlier_life": 0, "no_version": 0,
    });
    let read = world.ok("sched_deadLetters", "[]");
    assert_eq!(read, json!({ "total": 0, "byReason": none, "letters": [] }));

    let (new, new_box) = mailbox(&world, Overflow::DropNew);
    let (old, _old_box) = mailbox(&world, Overflow::DropOld);
    let spawn = Spawn::new("deaf", Class::Rpc);
    let deaf = world.api.system.spawn_async(spawn, new_box, |inbox| async move {
        let _inbox = inbox;
        std::future::pending::<()>().await;
    });
    for _ in 0..3 {
        new.send(Word).expect("it drops what is new");
    }
    world.sim.run_for(Duration::from_millis(500));
    deaf.kill();
    world.sim.run_for(Duration::from_millis(500));
    let read = world.ok("sched_deadLetters", "[2]");
    let letter =
        |reason| json!({ "atMs": 0, "receiver": "deaf", "kind": "word", "reason": reason });
    let mut ended = letter("ended");
    ended["atMs"] = json!(500);
    assert_eq!(read["letters"], json!([ended, letter("full")]), "the newest first");
    for _ in 0..100 {
        old.send(Word).expect("it drops what is old");
    }
    let read = world.ok("sched_deadLetters", "[]");
    let counts = json!({
        "full": 2, "displaced": 99, "ended": 1, "restarted": 0, "earlier_life": 0, "no_version": 0,
    });
    assert_eq!((&read["total"], &read["byReason"]), (&json!(102), &counts));
    assert_eq!(read["letters"].as_array().map(Vec::len), Some(64), "a sample");
    let read = world.ok("sched_deadLetters", "[1]");
    let letter =
        json!({ "atMs": 1_000, "receiver": "not spawned", "kind": "word", "reason": "displaced" });
    assert_eq!(read["letters"], json!([letter]));
    for wrong in ["[0]", "[65]"] {
        let (code, text) = world.err("sched_deadLetters", wrong);
        assert!(code == -32_602 && text.contains("expected 1 to 64 letters"), "{text}");
    }
}
