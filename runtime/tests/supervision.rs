//! What supervisors, monitors, links, names and groups promise, one by one.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod strategies;

use std::{
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_runtime::{
    Actor, ActorHandle, Address, AtRestart, Backoff, Child, Class, Ctx, DeadReason, Down, Exit,
    Faults, Flow, GroupError, LookupError, MailboxSpec, Message, Monitor, NameError, Overflow,
    Restart, Simulation, Spawn, SpawnRefused, StopReason, Strategy, Supervisor, SupervisorSpec,
    System, ThreadsConfig, Told, limits, link,
};

const MS: Duration = Duration::from_millis(1);

fn spec(items_max: usize) -> MailboxSpec {
    let overflow = Overflow::Reject;
    MailboxSpec { name: "box", items_max, bytes_max: 1 << 20, overflow }
}

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

#[derive(Clone)]
enum Say {
    Word(&'static str),
    Break,
    Work(u32),
    Later(Duration, &'static str),
    Watch(Address<Say>),
    Unwatch,
    Link(Address<Say>),
    Unlink(Address<Say>),
    Trap,
    Down(Box<Down>),
    Exit(Box<Down>),
}

impl Message for Say {
    fn kind(&self) -> &'static str {
        "say"
    }
}

fn boxed(wrap: fn(Box<Down>) -> Say) -> impl Fn(Down) -> Say + Send + Sync + 'static {
    move |down| wrap(Box::new(down))
}

/// Writes down all that it is told.
struct Scribe {
    name: &'static str,
    log: Log,
    monitor: Option<Monitor>,
}

impl Drop for Scribe {
    fn drop(&mut self) {
        note(&self.log, format!("{} ends", self.name));
    }
}

impl Actor for Scribe {
    type Message = Say;

    fn start(&mut self, _ctx: &mut Ctx<'_, Say>) -> Flow {
        note(&self.log, format!("{} begins", self.name));
        Flow::Next
    }

    fn handle(&mut self, say: Say, ctx: &mut Ctx<'_, Say>) -> Flow {
        match say {
            Say::Word(word) => note(&self.log, format!("{} hears {word}", self.name)),
            // A panic without the noise of the hook.
            Say::Break => panic::resume_unwind(Box::new("asked to break")),
            Say::Work(reductions) => ctx.consume(reductions),
            Say::Later(delay, word) => drop(ctx.send_after(delay, Say::Word(word))),
            Say::Watch(other) => {
                self.monitor = Some(ctx.monitor(&other, boxed(Say::Down)).unwrap());
            }
            Say::Unwatch => ctx.demonitor(&self.monitor.take().unwrap()),
            Say::Link(other) => ctx.link(&other).unwrap(),
            Say::Unlink(other) => ctx.unlink(&other),
            Say::Trap => ctx.trap_exits(boxed(Say::Exit)),
            Say::Down(down) => {
                let Down { name, exit, may_return, .. } = *down;
                note(&self.log, format!("{} sees {name}: {exit:?} {may_return}", self.name));
            }
            Say::Exit(down) => {
                let Down { name, exit, .. } = *down;
                note(&self.log, format!("{} traps {name}: {exit:?}", self.name));
            }
        }
        Flow::Next
    }
}

fn scribe(name: &'static str, log: &Log) -> impl FnMut() -> Scribe + Send + 'static {
    let log = Arc::clone(log);
    move || Scribe { name, log: Arc::clone(&log), monitor: None }
}

fn free(system: &System, name: &'static str, log: &Log) -> (Address<Say>, ActorHandle) {
    let (address, mailbox) = system.mailbox(spec(8));
    let handle = system.spawn(Spawn::new(name, Class::Rpc), mailbox, scribe(name, log));
    (address, handle)
}

fn child(above: &Supervisor, system: &System, child: Child, log: &Log) -> Address<Say> {
    let name = "child";
    let (address, mailbox) = system.mailbox(spec(64));
    above.spawn(child, mailbox, scribe(name, log)).unwrap();
    address
}

fn named(above: &Supervisor, system: &System, name: &'static str, log: &Log) -> Address<Say> {
    let (address, mailbox) = system.mailbox(spec(64));
    above.spawn(Child::new(name, Class::Rpc), mailbox, scribe(name, log)).unwrap();
    address
}

fn simulation(seed: u64) -> (Simulation, System, Log) {
    let simulation = System::simulated(seed, Faults::none());
    let system = simulation.system().clone();
    (simulation, system, Log::default())
}

/// Three children under one strategy; the second fails.
fn fail_the_second(strategy: Strategy) -> (Vec<String>, Option<StopReason>) {
    let (mut simulation, system, log) = simulation(3);
    let above = system.supervisor(SupervisorSpec::new("above", strategy));
    let children = ["a", "b", "c"].map(|name| named(&above, &system, name, &log));
    simulation.run_until_idle();
    taken(&log);
    children[1].send(Say::Break).unwrap();
    simulation.run_until_idle();
    for child in &children {
        let _ = child.send(Say::Word("word"));
        simulation.run_until_idle();
    }
    let result = (taken(&log), system.stop_reason());
    drop((above, children));
    result
}

/// Goal: each strategy does what it says, the youngest first down, the oldest first up, and the
/// addresses stay.
#[test]
fn each_strategy_ends_and_begins_whom_it_says_in_order() {
    strategies::check(fail_the_second);
}

/// Goal: what waits when a child begins anew is kept or dropped as its spec says; what its earlier
/// life has ordered, even if it waits already, does not come; kills count as failures.
#[test]
fn a_new_life_gets_the_mailbox_by_policy_and_nothing_that_the_old_one_ordered() {
    for (at_restart, heard) in [(AtRestart::Keep, true), (AtRestart::Drop, false)] {
        let (mut simulation, system, log) = simulation(5);
        let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
        let rule = Child::new("child", Class::Rpc).at_restart(at_restart);
        let address = child(&above, &system, rule, &log);
        address.send(Say::Later(MS, "early")).unwrap();
        address.send(Say::Later(MS * 20, "late")).unwrap();
        // Busy from before the early timer fires until after, so that its message waits.
        simulation.run_for(MS / 2);
        address.send(Say::Work(100_000)).unwrap();
        address.send(Say::Break).unwrap();
        address.send(Say::Word("kept")).unwrap();
        simulation.run_until_idle();
        let mut expected = vec!["child begins", "child ends", "child begins"];
        expected.extend(heard.then_some("child hears kept"));
        assert_eq!(taken(&log), expected);
        let status = system.status();
        assert_eq!(status.dead(DeadReason::EarlierLife), 2);
        assert_eq!(status.dead(DeadReason::Restarted), u64::from(!heard));
        assert_eq!((status.restarts, status.dead_letters), (1, 2 + u64::from(!heard)));
    }
}

/// Goal: children begin anew after waits that double from the base, within ± 20 %.
#[test]
fn waits_before_a_new_life_double() {
    let (mut simulation, system, log) = simulation(6);
    let backoff = Backoff { base: MS * 10, max: MS * 25, reset_after: MS * 1_000 };
    let spec = SupervisorSpec::new("above", Strategy::Restart).backoff(backoff);
    let above = system.supervisor(spec);
    let address = named(&above, &system, "a", &log);
    for base in [10, 20, 25, 25] {
        let base = MS * base;
        address.send(Say::Break).unwrap();
        simulation.run_for(base * 79 / 100);
        assert!(!taken(&log).ends_with(&["a begins".to_owned()]), "not before {base:?} - 20 %");
        simulation.run_for(base * 42 / 100);
        assert_eq!(taken(&log), ["a begins"], "not after {base:?} + 20 %");
    }
}

/// Goal: one failure more than allowed within the window goes up: the tree below goes down and
/// begins anew as a whole, at the same addresses; at the root it stops the system and names who
/// failed.
#[test]
fn too_many_failures_go_up_the_tree_and_stop_the_system_at_the_root() {
    let (mut simulation, system, log) = simulation(7);
    let root = SupervisorSpec::new("root", Strategy::Restart).intensity(1, MS * 10_000);
    let root = system.supervisor(root);
    let middle = SupervisorSpec::new("middle", Strategy::Restart).intensity(1, MS * 10_000);
    let middle = root.supervisor(middle, MS * 100).unwrap();
    let aside = named(&root, &system, "aside", &log);
    let a = named(&middle, &system, "a", &log);
    let _b = named(&middle, &system, "b", &log);
    simulation.run_until_idle();
    taken(&log);
    // A chain of failures: the middle forgives one, then the root forgives the middle one.
    for expected in [&["a ends", "a begins"][..], &["a ends", "b ends", "a begins", "b begins"]] {
        a.send(Say::Break).unwrap();
        simulation.run_until_idle();
        assert_eq!(taken(&log), expected);
    }
    aside.send(Say::Word("still here")).unwrap();
    for _ in 0..2 {
        assert_eq!(system.stop_reason(), None);
        a.send(Say::Break).unwrap();
        simulation.run_until_idle();
    }
    let reason = "asked to break".to_owned();
    assert_eq!(system.stop_reason(), Some(StopReason::GaveUp { name: "a", panics: 2, reason }));
    assert_eq!(system.status().actors_live, 0);
    assert!(taken(&log).contains(&"aside hears still here".to_owned()));
    assert_eq!(root.exited().try_take(), Some(Ok(Exit::NoProcess)));
}

/// Goal: a stop from the top goes from the youngest to the oldest, each handling what waits for it;
/// one that needs longer than its deadline is killed, and what it left is counted.
#[test]
fn a_stop_from_the_top_is_orderly_and_keeps_its_deadlines() {
    for by_system in [false, true] {
        let (mut simulation, system, log) = simulation(8);
        let root = system.supervisor(SupervisorSpec::new("root", Strategy::Restart));
        let a = named(&root, &system, "a", &log);
        let middle = SupervisorSpec::new("middle", Strategy::Restart);
        let middle = root.supervisor(middle, MS * 1_000).unwrap();
        let b = named(&middle, &system, "b", &log);
        let slow = Child::new("child", Class::Rpc).stop_within(MS * 10);
        let slow = child(&middle, &system, slow, &log);
        simulation.run_until_idle();
        taken(&log);
        // 40 ms of work for one that has 10.
        for _ in 0..40 {
            slow.send(Say::Work(40_000)).unwrap();
        }
        slow.send(Say::Word("too late")).unwrap();
        for address in [&a, &b] {
            address.send(Say::Work(400_000)).unwrap();
            address.send(Say::Word("last")).unwrap();
        }
        let began = simulation.now();
        if by_system {
            system.request_stop(StopReason::Asked);
        } else {
            root.stop();
        }
        simulation.run_until_idle();
        let mut log = taken(&log);
        log.retain(|line| !line.ends_with("hears last"));
        assert_eq!(log, ["child ends", "b ends", "a ends"]);
        assert!(simulation.now() - began < MS * 60, "the slow one had 10 ms");
        let dead = system.dead_letters();
        assert!(!dead.is_empty() && dead.iter().all(|letter| letter.receiver == "child"));
        assert_eq!(system.status().dead(DeadReason::Ended), dead.len() as u64);
        assert_eq!(system.status().actors_live, 0);
        let (_, mailbox) = system.mailbox::<Say>(spec(1));
        let more =
            root.spawn(Child::new("more", Class::Rpc), mailbox, scribe("more", &Log::default()));
        assert_eq!(more.unwrap_err(), SpawnRefused::Ended("root"));
    }
}

/// Never handles anything: it has always more to do.
struct Endless;

impl Actor for Endless {
    type Message = Say;

    fn start(&mut self, _ctx: &mut Ctx<'_, Say>) -> Flow {
        Flow::More
    }

    fn handle(&mut self, _say: Say, _ctx: &mut Ctx<'_, Say>) -> Flow {
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Say>) -> Flow {
        ctx.consume(ctx.left());
        Flow::More
    }
}

/// Goal: an actor in an endless loop of slices ends at its next turn, on threads too.
#[test]
fn an_endless_loop_of_slices_does_not_hold_up_a_stop() {
    let config = ThreadsConfig { workers: 2, ..ThreadsConfig::default() };
    let system = System::threads(config).unwrap();
    let root = system.supervisor(SupervisorSpec::new("root", Strategy::RestartAll));
    for index in 0..8 {
        let (_, mailbox) = system.mailbox(spec(1));
        let endless = root.spawn(Child::new("endless", Class::Rpc), mailbox, || Endless).unwrap();
        if index % 2 == 0 {
            endless.kill();
        }
    }
    root.stop();
    assert_eq!(root.exited().wait(), Ok(Exit::Stopped));
    assert_eq!(system.status().actors_live, 0);
    system.stop(Duration::from_secs(10));
}

/// Goal: a monitor tells once how a life ended, though the watcher's mailbox is full; not when it
/// was taken back; at once about what has ended; and not the watcher's next life.
#[test]
fn a_monitor_tells_once_and_its_own_life_alone() {
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

    // A life that is followed by another is over too; the watch of a life that is over is not kept.
    let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
    let a = named(&above, &system, "a", &quiet);
    let b = named(&above, &system, "b", &log);
    watcher.send(Say::Watch(a.clone())).unwrap();
    b.send(Say::Watch(a.clone())).unwrap();
    simulation.run_until_idle();
    b.send(Say::Break).unwrap();
    simulation.run_until_idle();
    taken(&log);
    a.send(Say::Break).unwrap();
    simulation.run_until_idle();
    let exit = Exit::Panicked("asked to break".to_owned());
    assert_eq!(taken(&log), [format!("watcher sees a: {exit:?} true")]);
}

/// Goal: an abnormal end stops the linked, whichever side it comes from, and through chains; a
/// normal end, an unlinked one and a trapped one do not.
#[test]
fn links_pass_on_abnormal_ends_unless_they_are_trapped() {
    let (mut simulation, system, log) = simulation(10);
    let names = ["a", "b", "c", "trapper", "normal", "unlinked"];
    let [a, b, c, trapper, normal, unlinked] = names.map(|name| free(&system, name, &log));
    a.0.send(Say::Link(b.0.clone())).unwrap();
    b.0.send(Say::Link(c.0.clone())).unwrap();
    trapper.0.send(Say::Trap).unwrap();
    trapper.0.send(Say::Link(a.0.clone())).unwrap();
    trapper.0.send(Say::Link(normal.0.clone())).unwrap();
    unlinked.0.send(Say::Link(c.0.clone())).unwrap();
    simulation.run_until_idle();
    unlinked.0.send(Say::Unlink(c.0.clone())).unwrap();
    normal.1.stop();
    simulation.run_until_idle();
    assert!(taken(&log).contains(&"trapper traps normal: Stopped".to_owned()));
    c.0.send(Say::Break).unwrap();
    let exits = [a.1.exited(), b.1.exited(), c.1.exited()];
    simulation.run_until_idle();
    let [a_exit, b_exit, c_exit] = exits.map(|mut exit| exit.try_take().unwrap().unwrap());
    assert_eq!(c_exit, Exit::Panicked("asked to break".to_owned()));
    assert_eq!(b_exit, Exit::Linked { id: c.1.id(), name: "c" });
    assert_eq!(a_exit, Exit::Linked { id: b.1.id(), name: "b" });
    assert!(taken(&log).contains(&format!("trapper traps a: {a_exit:?}")));
    assert!(!trapper.1.is_finished() && !unlinked.1.is_finished());
    // Linked to one that has ended: as if it ended now.
    unlinked.0.send(Say::Link(c.0)).unwrap();
    simulation.run_until_idle();
    assert!(unlinked.1.is_finished());
}

/// Goal: a supervisor fails with what it is linked to, and all below it with it: its parent begins
/// them anew, the root stops the system.
/// Found by the trees under fire (`trees`): it ended alone, and what was below it was nobody's.
#[test]
fn a_supervisor_fails_with_what_it_is_linked_to() {
    let (mut simulation, system, log) = simulation(14);
    let root = system.supervisor(SupervisorSpec::new("root", Strategy::Stop));
    let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
    let middle = above.supervisor(SupervisorSpec::new("middle", Strategy::Stop), MS).unwrap();
    let _children = ["a", "b"].map(|name| named(&middle, &system, name, &log));
    let _child = named(&root, &system, "c", &log);
    simulation.run_until_idle();
    taken(&log);
    let mut fail_beside = |supervisor: &Supervisor| {
        let supervisor = supervisor.clone();
        system.spawn_future::<()>(Spawn::new("beside", Class::Rpc), async move {
            link(&supervisor).unwrap();
            panic::resume_unwind(Box::new("asked to break"));
        });
        simulation.run_until_idle();
        taken(&log)
    };
    assert_eq!(fail_beside(&middle), ["b ends", "a ends", "a begins", "b begins"]);
    assert_eq!(system.stop_reason(), None);
    assert_eq!(fail_beside(&root).len(), 3);
    let reason = "asked to break".to_owned();
    let gave_up = StopReason::GaveUp { name: "beside", panics: 1, reason };
    assert_eq!(system.stop_reason(), Some(gave_up));
    assert_eq!(system.status().actors_live, 0);
}

struct Other;

impl Message for Other {}

/// Goal: a name leads to one living process and its type, over restarts, and is free when it ends.
#[test]
fn a_name_is_typed_survives_restarts_and_is_free_at_the_end() {
    let (mut simulation, system, log) = simulation(11);
    let above = system.supervisor(SupervisorSpec::new("above", Strategy::Restart));
    let (address, mailbox) = system.mailbox(spec(8));
    assert_eq!(system.register("clerk", &address), Err(NameError::NoProcess));
    let handle = above.spawn(Child::new("a", Class::Rpc), mailbox, scribe("a", &log)).unwrap();
    system.register("clerk", &address).unwrap();
    let (other, _other) = free(&system, "other", &log);
    let taken_by = NameError::Taken { name: "clerk".to_owned(), holder: handle.id() };
    assert_eq!(system.register("clerk", &other), Err(taken_by));
    let wrong = system.lookup::<Other>("clerk").unwrap_err();
    assert!(matches!(wrong, LookupError::OtherMessages { .. }));
    assert!(wrong.to_string().ends_with("Say, not supervision::Other"), "{wrong}");
    address.send(Say::Break).unwrap();
    simulation.run_until_idle();
    taken(&log);
    system.lookup::<Say>("clerk").unwrap().send(Say::Word("you")).unwrap();
    simulation.run_until_idle();
    assert_eq!(taken(&log), ["a hears you"]);
    handle.stop();
    simulation.run_until_idle();
    let unknown = LookupError::Unknown("clerk".to_owned());
    assert_eq!(system.lookup::<Say>("clerk").unwrap_err(), unknown);
    system.register("clerk", &other).unwrap();
    system.unregister("clerk");
    assert_eq!(system.lookup::<Say>("clerk").unwrap_err(), unknown);
}

/// Goal: a group has its living members in the order they joined, takes one type, is bounded, and
/// tells all of them.
#[test]
fn a_group_tells_its_living_members_and_is_bounded() {
    let (mut simulation, system, log) = simulation(12);
    let [a, b, c] = ["a", "b", "c"].map(|name| free(&system, name, &log));
    for (address, _) in [&a, &b, &c, &a] {
        system.join("all", address).unwrap();
    }
    assert!(matches!(system.members::<Other>("all"), Err(LookupError::OtherMessages { .. })));
    b.1.kill();
    system.leave_group("all", &c.0);
    simulation.run_until_idle();
    taken(&log);
    assert_eq!(system.members::<Say>("all").unwrap().len(), 1);
    system.join("all", &c.0).unwrap();
    let told = system.broadcast("all", &Say::Word("word")).unwrap();
    assert_eq!(told, Told { sent: 2, full: 0 });
    while a.0.send(Say::Work(1)).is_ok() {}
    let told = system.broadcast("all", &Say::Work(1)).unwrap();
    assert_eq!(told, Told { sent: 1, full: 1 });
    assert_eq!(system.broadcast("none", &Say::Work(1)), Ok(Told::default()));
    let crowd: Vec<_> = (0..limits::GROUP_MEMBERS_MAX).map(|_| free(&system, "x", &log)).collect();
    for (address, _) in &crowd {
        system.join("crowd", address).unwrap();
    }
    let full = Err(GroupError::MembersFull("crowd".to_owned()));
    assert_eq!(system.join("crowd", &a.0), full);
}

/// Goal: dead letters are counted by reason, and the last of them can be read.
#[test]
fn dead_letters_are_counted_by_reason_and_sampled() {
    let (mut simulation, system, log) = simulation(13);
    let dropping = |overflow| MailboxSpec { overflow, ..spec(1) };
    let (new, new_box) = system.mailbox(dropping(Overflow::DropNew));
    let (old, old_box) = system.mailbox(dropping(Overflow::DropOld));
    for word in ["one", "two", "three"] {
        new.send(Say::Word(word)).unwrap();
        old.send(Say::Word(word)).unwrap();
    }
    system.spawn(Spawn::new("new", Class::Rpc), new_box, scribe("new", &log));
    let old_handle = system.spawn(Spawn::new("old", Class::Rpc), old_box, scribe("old", &log));
    old_handle.kill();
    simulation.run_until_idle();
    let status = system.status();
    let dead = DeadReason::ALL.map(|reason| status.dead(reason));
    assert_eq!((dead, status.dead_letters), ([2, 2, 1, 0, 0, 0], 5));
    let last = *system.dead_letters().last().unwrap();
    assert_eq!((last.kind, last.receiver, last.reason), ("say", "old", DeadReason::Ended));
    for _ in 0..2 * limits::DEAD_LETTERS_KEPT {
        new.send(Say::Word("one")).unwrap();
        new.send(Say::Word("too many")).unwrap();
        simulation.run_until_idle();
    }
    assert_eq!(system.dead_letters().len(), limits::DEAD_LETTERS_KEPT);
    assert_eq!(system.status().dead(DeadReason::Full), 2 + 2 * limits::DEAD_LETTERS_KEPT as u64);
}

/// Goal: an actor that has its own rule keeps its promises beside supervisors: a kill is final.
#[test]
fn a_kill_is_final_without_a_supervisor() {
    let (mut simulation, system, log) = simulation(14);
    let (_address, mailbox) = system.mailbox(spec(8));
    let rule = Spawn::new("a", Class::Rpc).restart(Restart::DEFAULT);
    let handle = system.spawn(rule, mailbox, scribe("a", &log));
    simulation.run_until_idle();
    handle.kill();
    let mut exited = handle.exited();
    simulation.run_until_idle();
    assert_eq!(exited.try_take(), Some(Ok(Exit::Killed)));
    assert_eq!(system.stop_reason(), None);
}

/// Watches what it is given, and is linked to some of it.
struct Guard {
    told: Arc<AtomicU64>,
}

impl Actor for Guard {
    type Message = Say;

    fn handle(&mut self, say: Say, ctx: &mut Ctx<'_, Say>) -> Flow {
        match say {
            Say::Watch(other) => drop(ctx.monitor(&other, boxed(Say::Down)).unwrap()),
            Say::Link(other) => ctx.link(&other).unwrap(),
            Say::Trap => ctx.trap_exits(boxed(Say::Exit)),
            Say::Down(_) | Say::Exit(_) => {
                self.told.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Flow::Next
    }
}

/// Goal: B1 on threads: however the end of a process races with those who bind themselves to it,
/// each monitor and each trapped link tells once, and all names are free again.
#[test]
fn every_bond_tells_once_however_it_races_with_the_end() {
    const ROUNDS: u64 = 2_000;
    let config = ThreadsConfig { workers: 4, ..ThreadsConfig::default() };
    let system = System::threads(config).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let guards: Vec<_> = (0..4)
        .map(|_| {
            let guard = Guard { told: Arc::clone(&told) };
            let mailbox = MailboxSpec { items_max: 1 << 20, bytes_max: 1 << 30, ..spec(1) };
            let guard = system.spawn_once(Spawn::new("guard", Class::Rpc), mailbox, guard);
            guard.send(Say::Trap).unwrap();
            guard
        })
        .collect();
    let quiet = Log::default();
    for round in 0..ROUNDS {
        let (target, handle) = free(&system, "target", &quiet);
        for guard in &guards {
            guard.send(Say::Watch(target.clone())).unwrap();
            guard.send(Say::Link(target.clone())).unwrap();
        }
        // It may end before, between and after the bonds, and before it has its name.
        let named = system.register("target", &target);
        assert!(matches!(named, Ok(()) | Err(NameError::NoProcess)), "round {round}: {named:?}");
        handle.kill();
        assert_eq!(handle.exited().wait().map(|exit| exit.is_abnormal()), Ok(true));
    }
    assert!(system.lookup::<Say>("target").is_err());
    // The guards handle what waits before they end.
    system.stop(Duration::from_secs(30));
    assert_eq!(system.status().actors_live, 0);
    assert_eq!(told.load(Ordering::Relaxed), ROUNDS * 8);
}
