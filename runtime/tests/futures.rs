//! Futures under supervisors, and what they are told of others: as it is for actors.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod strategies;

use std::{
    future::pending,
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_runtime::{
    ActorHandle, Address, AtRestart, Backoff, Child, Class, DeadReason, Down, Exit, Faults, Inbox,
    MailboxSpec, Message, Overflow, Simulation, Spawn, SpawnRefused, StopReason, Strategy,
    Supervisor, SupervisorSpec, System, TaskError, consume, limits::MONITORS_MAX, link, unlink,
    watch,
};

const MS: Duration = Duration::from_millis(1);

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

enum Say {
    Word(&'static str),
    Break,
    Return,
    Work(u32),
    Watch(Address<Say>),
    Unwatch,
    Link(Address<Say>),
    Unlink(Address<Say>),
    Trap,
    Down(Box<Down>),
    Exit(Box<Down>),
}

impl Message for Say {}

struct Ends(&'static str, Log);

impl Drop for Ends {
    fn drop(&mut self) {
        note(&self.1, format!("{} ends", self.0));
    }
}

/// Writes down all that it is told.
async fn scribe(name: &'static str, log: Log, mut inbox: Inbox<Say>) {
    note(&log, format!("{name} begins"));
    let _ends = Ends(name, Arc::clone(&log));
    let mut monitor = None;
    while let Some(say) = inbox.recv().await {
        match say {
            Say::Word(word) => note(&log, format!("{name} hears {word}")),
            // A panic without the noise of the hook.
            Say::Break => panic::resume_unwind(Box::new("asked to break")),
            Say::Return => return,
            Say::Work(reductions) => consume(reductions),
            Say::Watch(other) => {
                let wrap = |down| Say::Down(Box::new(down));
                monitor = Some(inbox.monitor(&other, wrap).unwrap());
            }
            Say::Unwatch => inbox.demonitor(&monitor.take().unwrap()),
            Say::Link(other) => inbox.link(&other).unwrap(),
            Say::Unlink(other) => inbox.unlink(&other),
            Say::Trap => inbox.trap_exits(|down| Say::Exit(Box::new(down))),
            Say::Down(down) => {
                let Down { name: whose, exit, may_return, .. } = *down;
                note(&log, format!("{name} sees {whose}: {exit:?} {may_return}"));
            }
            Say::Exit(down) => note(&log, format!("{name} traps {}: {:?}", down.name, down.exit)),
        }
    }
}

fn spec(name: &'static str) -> MailboxSpec {
    MailboxSpec { name, items_max: 8, bytes_max: 1 << 20, overflow: Overflow::Reject }
}

fn child(above: &Supervisor, system: &System, child: Child, log: &Log) -> Address<Say> {
    let (address, mailbox) = system.mailbox(spec("child"));
    let log = Arc::clone(log);
    above
        .spawn_async(child, mailbox, move |inbox| scribe("child", Arc::clone(&log), inbox))
        .unwrap();
    address
}

fn named(
    above: &Supervisor,
    system: &System,
    name: &'static str,
    log: &Log,
) -> (Address<Say>, ActorHandle) {
    let (address, mailbox) = system.mailbox(spec(name));
    let log = Arc::clone(log);
    let make = move |inbox| scribe(name, Arc::clone(&log), inbox);
    (address, above.spawn_async(Child::new(name, Class::Rpc), mailbox, make).unwrap())
}

fn free(system: &System, name: &'static str, log: &Log) -> (Address<Say>, ActorHandle) {
    let (address, mailbox) = system.mailbox(spec(name));
    let log = Arc::clone(log);
    let spawn = Spawn::new(name, Class::Rpc);
    (address, system.spawn_async(spawn, mailbox, move |inbox| scribe(name, log, inbox)))
}

fn simulation(seed: u64) -> (Simulation, System, Log) {
    let simulation = System::simulated(seed, Faults::none());
    let system = simulation.system().clone();
    (simulation, system, Log::default())
}

fn broken() -> Exit {
    Exit::Panicked("asked to break".to_owned())
}

/// Three children under one strategy; the second fails.
fn fail_the_second(strategy: Strategy) -> (Vec<String>, Option<StopReason>) {
    let (mut simulation, system, log) = simulation(3);
    let above = system.supervisor(SupervisorSpec::new("above", strategy));
    let children = ["a", "b", "c"].map(|name| named(&above, &system, name, &log).0);
    simulation.run_until_idle();
    taken(&log);
    children[1].send(Say::Break).unwrap();
    simulation.run_until_idle();
    for child in &children {
        let _ = child.send(Say::Word("word"));
        simulation.run_until_idle();
    }
    (taken(&log), system.stop_reason())
}

/// Goal: each strategy does what it says with futures as with actors: the youngest first down, the
/// oldest first up, at the same addresses.
#[test]
fn each_strategy_ends_and_begins_futures_in_order() {
    strategies::check(fail_the_second);
}

/// Goal: what waits when a future begins anew is kept or dropped as its spec says, waits grow, and
/// kills count as failures; a future that returns is a child that is gone.
#[test]
fn a_new_life_of_a_future_gets_the_mailbox_by_policy() {
    for (at_restart, is_kept) in [(AtRestart::Keep, true), (AtRestart::Drop, false)] {
        let (mut simulation, system, log) = simulation(5);
        let backoff = Backoff { base: MS * 10, max: MS * 100, reset_after: MS * 1_000 };
        let rules = SupervisorSpec::new("above", Strategy::Restart).backoff(backoff);
        let above = system.supervisor(rules);
        let rule = Child::new("child", Class::Rpc).at_restart(at_restart);
        let address = child(&above, &system, rule, &log);
        for base in [10, 20] {
            address.send(Say::Break).unwrap();
            address.send(Say::Word("kept")).unwrap();
            taken(&log);
            simulation.run_for(MS * base * 79 / 100);
            assert!(!taken(&log).contains(&"child begins".to_owned()) || base == 10);
            simulation.run_for(MS * base * 42 / 100);
            let mut expected = vec!["child begins"];
            expected.extend(is_kept.then_some("child hears kept"));
            assert!(
                taken(&log)
                    .ends_with(&expected.iter().map(|&line| line.into()).collect::<Vec<String>>())
            );
        }
        let status = system.status();
        assert_eq!((status.panics, status.restarts), (2, 2));
        let dropped = if is_kept { 0 } else { 2 };
        assert_eq!((status.dead(DeadReason::Restarted), status.dead_letters), (dropped, dropped));
        assert_eq!(above.children(), 1);
        address.send(Say::Return).unwrap();
        simulation.run_until_idle();
        assert_eq!((taken(&log), above.children()), (vec!["child ends".to_owned()], 0));
        assert_eq!((system.status().restarts, system.stop_reason()), (2, None));
    }
}

/// Goal: a future without a mailbox is a child too; its factory may fail; too many failures, kills
/// among them, are the supervisor's own and are blamed on it by name.
#[test]
fn too_many_failures_of_a_future_stop_the_system() {
    let (mut simulation, system, log) = simulation(6);
    let rules = SupervisorSpec::new("above", Strategy::Restart).intensity(3, MS * 60_000);
    let above = system.supervisor(rules);
    let (inside, written, mut lives) = (system.clone(), Arc::clone(&log), 0);
    let sleeper = above.spawn_future(Child::new("sleeper", Class::Net), move || {
        lives += 1;
        assert_ne!(lives, 2, "no second life");
        let (inside, written) = (inside.clone(), Arc::clone(&written));
        async move {
            inside.sleep(MS).await;
            note(&written, format!("life {lives}"));
            pending::<()>().await;
        }
    });
    let sleeper = sleeper.unwrap();
    simulation.run_for(MS * 100);
    assert_eq!(taken(&log), ["life 1"]);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    sleeper.kill();
    simulation.run_for(MS * 1_000);
    panic::set_hook(hook);
    assert_eq!(taken(&log), ["life 3"], "the second could not be made");
    sleeper.kill();
    simulation.run_for(MS * 1_000);
    assert_eq!((taken(&log), system.stop_reason()), (vec!["life 4".to_owned()], None));
    sleeper.kill();
    simulation.run_for(MS * 1_000);
    let reason = system.stop_reason().unwrap();
    assert!(matches!(reason, StopReason::GaveUp { name: "sleeper", panics: 4, .. }), "{reason:?}");
    assert_eq!((taken(&log), system.status().actors_live), (vec![], 0));
    let refused = above.spawn_future(Child::new("late", Class::Net), || async {});
    assert_eq!(refused.unwrap_err(), SpawnRefused::Ended("above"));
}

/// Goal: a suspended future does nothing until it is resumed; one that is asked to stop handles
/// what waits; under a supervisor and without.
#[test]
fn a_future_is_suspended_and_stopped_like_an_actor() {
    let (mut simulation, system, log) = simulation(7);
    let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
    for is_supervised in [true, false] {
        let (address, handle) = if is_supervised {
            named(&above, &system, "a", &log)
        } else {
            free(&system, "a", &log)
        };
        simulation.run_until_idle();
        handle.suspend();
        address.send(Say::Word("one")).unwrap();
        simulation.run_until_idle();
        assert_eq!(taken(&log), ["a begins"]);
        handle.resume();
        simulation.run_until_idle();
        assert_eq!(taken(&log), ["a hears one"]);
        address.send(Say::Word("two")).unwrap();
        handle.stop();
        assert!(address.send(Say::Word("three")).is_err());
        simulation.run_until_idle();
        assert_eq!(taken(&log), ["a hears two", "a ends"]);
        assert!(handle.is_finished());
    }
    assert_eq!(above.children(), 0);
    // Never made only to end.
    let (_address, handle) = named(&above, &system, "b", &log);
    handle.stop();
    simulation.run_until_idle();
    assert_eq!((taken(&log), above.children()), (vec![], 0));
}

/// Goal: an async actor is told once of the end of a life that it watches, even with a full
/// mailbox; not of one that it does not watch any more; and not in its next life.
#[test]
fn a_monitor_of_a_future_tells_once_and_its_own_life_alone() {
    let (mut simulation, system, log) = simulation(9);
    let quiet = Log::default();
    let (watcher, _) = free(&system, "watcher", &log);
    let (target, handle) = free(&system, "target", &quiet);
    watcher.send(Say::Watch(target.clone())).unwrap();
    watcher.send(Say::Watch(target.clone())).unwrap();
    watcher.send(Say::Unwatch).unwrap();
    simulation.run_until_idle();
    taken(&log);
    for _ in 0..8 {
        watcher.send(Say::Work(1)).unwrap();
    }
    handle.kill();
    simulation.run_until_idle();
    assert_eq!(taken(&log), ["watcher sees target: Killed false"]);
    watcher.send(Say::Watch(target)).unwrap();
    simulation.run_until_idle();
    assert_eq!(taken(&log), ["watcher sees target: NoProcess false"]);

    let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
    let (a, _) = named(&above, &system, "a", &quiet);
    let (b, _) = named(&above, &system, "b", &log);
    for address in [&watcher, &b] {
        address.send(Say::Watch(a.clone())).unwrap();
    }
    simulation.run_until_idle();
    b.send(Say::Break).unwrap();
    simulation.run_until_idle();
    taken(&log);
    a.send(Say::Break).unwrap();
    simulation.run_until_idle();
    assert_eq!(taken(&log), [format!("watcher sees a: {:?} true", broken())]);
}

/// Goal: links of async actors pass on abnormal ends, unless they are trapped or taken back.
#[test]
fn links_of_async_actors_pass_on_abnormal_ends() {
    let (mut simulation, system, log) = simulation(10);
    let names = ["a", "b", "trapper", "unlinked"];
    let [a, b, trapper, unlinked] = names.map(|name| free(&system, name, &log));
    a.0.send(Say::Link(b.0.clone())).unwrap();
    trapper.0.send(Say::Trap).unwrap();
    trapper.0.send(Say::Link(a.0.clone())).unwrap();
    unlinked.0.send(Say::Link(b.0.clone())).unwrap();
    unlinked.0.send(Say::Unlink(b.0.clone())).unwrap();
    simulation.run_until_idle();
    let mut exit = a.1.exited();
    b.0.send(Say::Break).unwrap();
    simulation.run_until_idle();
    let linked = Exit::Linked { id: b.1.id(), name: "b" };
    assert_eq!(exit.try_take(), Some(Ok(linked.clone())));
    assert!(taken(&log).contains(&format!("trapper traps a: {linked:?}")));
    assert!(!trapper.1.is_finished() && !unlinked.1.is_finished());
}

/// Goal: a future without a mailbox awaits the end of a life, whichever kind of process lives it,
/// and links itself; a watch that is dropped leaves nothing behind.
#[test]
fn a_plain_future_awaits_an_end_and_links_itself() {
    let (mut simulation, system, log) = simulation(11);
    let (target, handle) = free(&system, "target", &log);
    let spawn = |name| Spawn::new(name, Class::Net);
    let seen = target.clone();
    let watcher = system.spawn_future(spawn("watcher"), async move {
        for _ in 0..=MONITORS_MAX {
            drop(watch(&seen).unwrap());
        }
        let down = watch(&seen).unwrap().await;
        let again = watch(&seen).unwrap().await;
        (down, again.exit)
    });
    let forever = |name, other: Address<Say>, is_linked: bool| {
        system.spawn_future(spawn(name), async move {
            link(&other).unwrap();
            if !is_linked {
                unlink(&other);
            }
            pending::<()>().await;
        })
    };
    let linked = forever("linked", target.clone(), true);
    let unlinked = forever("unlinked", target.clone(), false);
    simulation.run_until_idle();
    let of_linked = watch(&linked).unwrap();
    handle.kill();
    let (down, again) = simulation.run_until(watcher).unwrap();
    assert_eq!((down.name, down.exit, down.may_return), ("target", Exit::Killed, false));
    assert_eq!(again, Exit::NoProcess);
    let id = handle.id();
    let told = simulation.run_until(of_linked);
    assert_eq!(told.exit, Exit::Linked { id, name: "target" });
    assert_eq!(simulation.run_until(linked), Err(TaskError::Cancelled));
    assert!(!unlinked.is_finished());

    // The other way round: the panic of the future ends whom it is linked to.
    let (other, other_handle) = free(&system, "other", &log);
    let breaks = system.spawn_future(spawn("breaks"), async move {
        link(&other).unwrap();
        panic::resume_unwind(Box::new("asked to break"));
    });
    let mut exit = other_handle.exited();
    simulation.run_until_idle();
    assert!(breaks.is_finished());
    assert!(matches!(exit.try_take(), Some(Ok(Exit::Linked { name: "breaks", .. }))));

    // The watch of a life that has ended goes with it.
    let backoff = Backoff { base: Duration::ZERO, max: MS, reset_after: MS };
    let rules = SupervisorSpec::new("above", Strategy::Restart).intensity(10_000, MS * 60_000);
    let above = system.supervisor(rules.backoff(backoff));
    let (survivor, _) = free(&system, "survivor", &log);
    let child = above.spawn_future(Child::new("child", Class::Net), move || {
        let survivor = survivor.clone();
        async move { drop(watch(&survivor).unwrap().await) }
    });
    let (child, panics) = (child.unwrap(), system.status().panics);
    for _ in 0..=MONITORS_MAX {
        simulation.run_until_idle();
        child.kill();
    }
    simulation.run_until_idle();
    let status = system.status();
    assert_eq!((status.restarts, status.panics), (MONITORS_MAX as u64 + 1, panics));
    assert!(!child.is_finished());
}

/// Goal: what a supervisor ends itself, to begin its children anew together, is no failure of what
/// it is linked to.
#[test]
fn a_supervisor_does_not_fail_with_a_child_that_it_halts() {
    let (mut simulation, system, log) = simulation(15);
    let above = system.supervisor(SupervisorSpec::new("above", Strategy::RestartAll));
    let (supervisor, begins) = (above.clone(), Arc::clone(&log));
    let linked = move || {
        let (supervisor, log) = (supervisor.clone(), Arc::clone(&begins));
        async move {
            link(&supervisor).unwrap();
            note(&log, "a begins");
            pending::<()>().await;
        }
    };
    above.spawn_future(Child::new("a", Class::Rpc), linked).unwrap();
    let (b, _b) = named(&above, &system, "b", &log);
    simulation.run_until_idle();
    taken(&log);
    b.send(Say::Break).unwrap();
    simulation.run_until_idle();
    assert_eq!(taken(&log), ["b ends", "a begins", "b begins"]);
    assert_eq!((system.stop_reason(), system.status().restarts), (None, 2));
}
