//! The writer on the simulated driver, over a memory store and a failing one.

use std::sync::{Arc, Mutex};

use evenkeel_chain::RevertTo;
use evenkeel_runtime::{
    Class, Faults as SystemFaults, MailboxSpec, Overflow, Port, Published, Spawn, StopReason,
    System, published, reply,
};

use super::{Committed, Writer, WriterMessage};
use crate::{
    ChangeSet, Database, Durable, ExecutedBlock, Tip,
    store::{Faults, Faulty, Memory, Store, Sync},
    testing::{execute, spec},
};

const MAILBOX: MailboxSpec =
    MailboxSpec { name: "writer", items_max: 256, bytes_max: 1 << 30, overflow: Overflow::Reject };

type Log = Arc<Mutex<Vec<Committed>>>;

/// A writer over `store`, with what it tells others.
fn spawn(
    system: &System,
    store: Arc<dyn Store>,
) -> (evenkeel_runtime::Address<WriterMessage>, Published<Durable>, Log, Tip) {
    let database = Database::open_store(store, &spec(1), Sync::Yes).expect("it opens");
    let tip = database.tip();
    let started = Durable { head_since: system.wall_clock(), ..database.durable() };
    let (publisher, durable) = published(started);
    let log = Log::default();
    let told = Arc::clone(&log);
    let committed = Port::new(move |committed| {
        told.lock().expect("no holder panics").push(committed);
        Ok(())
    });
    let (address, mailbox) = system.mailbox(MAILBOX);
    let mut writer = Some(Writer::new(database, publisher, committed));
    let factory = move || writer.take().expect("it is never restarted");
    system.spawn(Spawn::new("writer", Class::Exec), mailbox, factory);
    (address, durable, log, tip)
}

/// A chain of empty blocks on `tip`.
fn chain(tip: &Tip, length: u64) -> Vec<Arc<ExecutedBlock>> {
    let mut tip = tip.clone();
    let blocks = (0..length).map(|salt| {
        let executed = execute(&tip, &ChangeSet::default(), salt);
        tip = tip.extend(&executed);
        executed
    });
    blocks.collect()
}

/// Goal: blocks become durable in order, waiting ones share a batch, and what is published is never
/// behind what was told; marks, cheats and reverts keep their place between them.
#[test]
fn work_is_done_in_order_and_told_when_durable() {
    let mut simulation = System::simulated(1, SystemFaults::default());
    let (writer, durable, log, tip) = spawn(simulation.system(), Arc::new(Memory::new()));
    let blocks = chain(&tip, 200);
    let send = |message| writer.send(message).unwrap_or_else(|_| panic!("there is room"));
    for executed in &blocks[..100] {
        send(WriterMessage::Commit(Arc::clone(executed)));
    }
    let (marked, mark) = reply();
    send(WriterMessage::Mark { reply: marked });
    for executed in &blocks[100..] {
        send(WriterMessage::Commit(Arc::clone(executed)));
    }
    let (done, cheat) = reply();
    send(WriterMessage::Diff { changes: vec![Arc::default(), Arc::default()], reply: done });
    assert_eq!(simulation.run_until(mark), Ok(0));
    assert!(durable.get().hash == blocks[99].block.hash || durable.get().height().get() > 107);
    assert_eq!(simulation.run_until(cheat), Ok(()));
    assert_eq!((durable.get().hash, durable.get().diffs), (blocks[199].block.hash, 2));

    let told = std::mem::take(&mut *log.lock().expect("no holder panics"));
    let heights: Vec<u64> = told
        .iter()
        .flat_map(|committed| &committed.blocks)
        .map(|executed| executed.block.header.number)
        .collect();
    assert_eq!(heights, (8..208).collect::<Vec<_>>());
    assert!(told.len() < 20, "{} batches", told.len());
    let cheats = told.last().expect("the cheats are told last");
    assert!(cheats.blocks.is_empty(), "and both at once");
    for committed in told.iter().filter(|committed| !committed.blocks.is_empty()) {
        let last = committed.blocks.last().expect("it has blocks");
        assert_eq!(committed.durable.hash, last.block.hash);
    }

    let (back, reverted) = reply();
    send(WriterMessage::Revert { to: RevertTo::Mark(0), reply: back });
    let tip = simulation.run_until(reverted).expect("it replies").expect("the mark is there");
    assert_eq!((tip.hash, durable.get().hash), (blocks[99].block.hash, blocks[99].block.hash));
    assert_eq!(durable.get().generation, 1);
    let told = std::mem::take(&mut *log.lock().expect("no holder panics"));
    assert_eq!(told.iter().map(|committed| committed.reverted).collect::<Vec<_>>(), [true]);
    let (back, reverted) = reply();
    send(WriterMessage::Revert { to: RevertTo::Mark(0), reply: back });
    assert!(simulation.run_until(reverted).expect("it replies").is_none());
}

/// Goal: after a failed write the system stops by name, and the block was never told.
#[test]
fn a_failed_write_stops_the_system() {
    let mut simulation = System::simulated(1, SystemFaults::default());
    // Writes 0 and 1 are the genesis.
    let faults = Faults { seed: 1, fail_at_write: Some(2) };
    let store = Arc::new(Faulty::new(faults));
    let (writer, durable, log, tip) = spawn(simulation.system(), store);
    let blocks = chain(&tip, 2);
    let sent = writer.send(WriterMessage::Commit(Arc::clone(&blocks[0])));
    assert!(sent.is_ok());
    simulation.run_until_idle();
    assert!(log.lock().expect("no holder panics").is_empty());
    assert_eq!(durable.get().hash, tip.hash);
    let reason = simulation.system().stop_reason();
    assert!(
        matches!(&reason, Some(StopReason::Fatal(text)) if text.contains("injected fault")),
        "{reason:?}"
    );
}

/// Goal: the head's age counts from its publication: a cheat does not change it, a revert does.
#[test]
fn the_head_has_its_time() {
    let mut simulation = System::simulated(1, SystemFaults::default());
    let system = simulation.system().clone();
    let (writer, durable, _, tip) = spawn(&system, Arc::new(Memory::new()));
    let hour = std::time::Duration::from_hours(1);
    let mut send = |message: WriterMessage| {
        simulation.run_for(hour);
        let before = system.wall_clock();
        writer.send(message).unwrap_or_else(|_| panic!("there is room"));
        simulation.run_until_idle();
        let since = durable.get().head_since;
        assert!(since >= before || since + hour <= before, "now, or long ago");
        since >= before
    };
    assert!(!send(WriterMessage::Mark { reply: reply().0 }), "the start's");
    assert!(send(WriterMessage::Commit(Arc::clone(&chain(&tip, 1)[0]))));
    let changes = Arc::new(ChangeSet::default());
    assert!(!send(WriterMessage::Diff { changes: vec![changes], reply: reply().0 }));
    assert!(send(WriterMessage::Revert { to: RevertTo::Mark(0), reply: reply().0 }));
}
