//! Dead letters in the log, where what takes the log sends messages itself. One test, since a
//! program has one log.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use evenkeel_runtime::{
    Address, Class, DeadReason, Faults, MailboxSpec, Message, Overflow, Spawn, System,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

struct Word;

impl Message for Word {
    fn kind(&self) -> &'static str {
        "word"
    }
}

/// Writes lines down, and sends each to a mailbox that is full.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    full: Arc<OnceLock<Address<Word>>>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string takes it");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut Fields(&mut line));
        self.lines.lock().unwrap().push(line);
        self.full.get().unwrap().send(Word).unwrap();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Goal: a flood of dead letters is a line a second, with how many it stands for; a log that sends
/// has no echo of what dies of it, and that is counted and kept like all others.
#[test]
fn a_flood_is_told_without_an_echo() {
    let mut simulation = System::simulated(1, Faults::default());
    let system = simulation.system().clone();
    // It takes one message in and never looks at it.
    let full = |name| {
        let overflow = Overflow::DropNew;
        let spec = MailboxSpec { name, items_max: 1, bytes_max: 1_024, overflow };
        let (address, mailbox) = system.mailbox::<Word>(spec);
        system.spawn_async(Spawn::new(name, Class::Rpc), mailbox, |inbox| async move {
            let _inbox = inbox;
            std::future::pending::<()>().await;
        });
        address.send(Word).unwrap();
        address
    };
    let (deaf, taker) = (full("deaf"), full("sink"));
    simulation.run_until_idle();
    let log = Log::default();
    assert!(log.full.set(taker).is_ok());
    tracing::subscriber::set_global_default(log.clone()).unwrap();

    for _ in 0..100 {
        deaf.send(Word).unwrap();
    }
    simulation.run_for(Duration::from_secs(1));
    deaf.send(Word).unwrap();
    let lines = log.lines.lock().unwrap();
    let said = |unsaid| {
        let letter = r#"receiver="deaf" kind="word" reason="full""#;
        format!("message=nobody handles a message {letter} unsaid={unsaid} ")
    };
    assert_eq!(*lines, [said(0), said(99)]);
    let counted = system.status().dead(DeadReason::Full);
    assert_eq!((counted, system.dead_letters().len()), (101 + 2, 64));
}
