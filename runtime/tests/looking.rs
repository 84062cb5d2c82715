//! What a system says about its processes, and what it lets others weigh.

use std::{sync::mpsc, time::Duration};

use evenkeel_runtime::{
    Actor, Class, Ctx, Faults, Flow, MailboxSpec, Message, Overflow, ProcessStatus, Share, Spawn,
    System, ThreadsConfig, Weight,
};

struct Note(usize);

impl Message for Note {
    fn size_bytes(&self) -> usize {
        self.0
    }

    fn kind(&self) -> &'static str {
        "note"
    }
}

/// Has one reduction of work for every message.
struct Reader;

impl Actor for Reader {
    type Message = Note;

    fn handle(&mut self, _: Note, _: &mut Ctx<'_, Note>) -> Flow {
        Flow::Next
    }
}

/// Never ends, and uses whatever its share gives it.
struct Endless;

impl Actor for Endless {
    type Message = Note;

    fn start(&mut self, _: &mut Ctx<'_, Note>) -> Flow {
        Flow::More
    }

    fn handle(&mut self, _: Note, _: &mut Ctx<'_, Note>) -> Flow {
        Flow::More
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Note>) -> Flow {
        let left = ctx.left();
        ctx.consume(left);
        Flow::More
    }
}

fn all(system: &System, spots_max: usize) -> Vec<ProcessStatus> {
    let (mut seen, mut processes) = (Vec::new(), system.processes());
    while processes.look(spots_max, |process| seen.push(*process)) {}
    seen.sort_by_key(|process| process.id);
    seen
}

/// Goal: every living process is seen once, whatever the slices, with what waits for it and what
/// it has used; those that have ended are not.
/// Method: 100 actors with all overflow rules, every seventh stopped, looked at in slices of 1, 3
/// and 1,000.
#[test]
fn processes_are_seen_once_with_their_queues() {
    let mut sim = System::simulated(1, Faults::none());
    let system = sim.system().clone();
    let rules = [Overflow::Reject, Overflow::DropOld, Overflow::DropNew, Overflow::Await];
    let actors: Vec<_> = (0..100)
        .map(|n| {
            let overflow = rules[n % rules.len()];
            let spec = MailboxSpec { name: "reader", items_max: 9, bytes_max: 999, overflow };
            let (address, mailbox) = system.mailbox(spec);
            (address, system.spawn(Spawn::new("reader", Class::Net), mailbox, || Reader))
        })
        .collect();
    for (_, handle) in actors.iter().step_by(7) {
        handle.stop();
    }
    sim.run_until_idle();
    for (n, (address, _)) in actors.iter().enumerate().filter(|(n, _)| n % 7 != 0) {
        for _ in 0..n % 5 {
            address.send(Note(10)).expect("there is room");
        }
    }
    for spots_max in [1, 3, 1_000] {
        let seen = all(&system, spots_max);
        let living = actors.iter().enumerate().filter(|(n, _)| n % 7 != 0);
        assert_eq!(seen.len(), living.clone().count());
        for (process, (n, (_, handle))) in seen.iter().zip(living) {
            let who = (process.id, process.name, process.class);
            assert_eq!(who, (handle.id(), "reader", Class::Net));
            assert_eq!((process.queued, process.queued_bytes), (n % 5, n % 5 * 10), "actor {n}");
        }
    }
    sim.run_until_idle();
    for (process, n) in all(&system, 8).iter().zip((0_u64..100).filter(|n| n % 7 != 0)) {
        assert_eq!((process.queued, process.queued_bytes, process.restarts), (0, 0, 0));
        assert!(n % 5 == 0 || process.reductions >= n % 5, "actor {n} was charged");
    }
}

/// Goal: shares get time by their weights, as far as their processes can use it.
/// Method: three shares of four endless actors; reductions of each after the same time.
#[test]
fn shares_get_time_by_weight() {
    let mut sim = System::simulated(2, Faults::none());
    let system = sim.system().clone();
    let names = ["half", "one", "double"];
    let shares = [32, 64, 128].map(|weight| {
        let share = Share::new();
        share.set_weight_64ths(weight);
        assert_eq!(share.weight_64ths(), weight);
        share
    });
    for (name, share) in names.iter().zip(&shares) {
        for _ in 0..4 {
            let spec = MailboxSpec { name, items_max: 1, bytes_max: 9, overflow: Overflow::Reject };
            let spawn = Spawn::new(name, Class::Call).share(share.clone());
            drop(system.spawn_once(spawn, spec, Endless));
        }
    }
    sim.run_for(Duration::from_millis(100));
    let used = |name: &str| -> u64 {
        let own = all(&system, 64).into_iter().filter(|process| process.name == name);
        own.map(|process| process.reductions).sum()
    };
    let [half, one, double] = names.map(used);
    let is_about = |have: u64, want: u64| have.abs_diff(want) * 20 <= want;
    assert!(is_about(2 * half, one) && is_about(double, 2 * one), "{half} {one} {double}");
}

/// Goal: parts of a share are weighed against its others and against other shares; a weight may
/// change while it counts; the parts are still one share.
/// Method: a client with an endless actor of weight 1/4 and a plain one, beside a client with one.
#[test]
fn parts_of_a_share_get_time_by_their_weight() {
    let mut sim = System::simulated(3, Faults::none());
    let system = sim.system().clone();
    let weight = Weight::default();
    weight.set_in_64ths(16);
    let (client, other) = (Share::new(), Share::new());
    let names = ["light", "plain", "other"];
    for (name, share) in names.iter().zip([client.part(&weight), client.clone(), other]) {
        let spec = MailboxSpec { name, items_max: 1, bytes_max: 9, overflow: Overflow::Reject };
        let spawn = Spawn::new(name, Class::Call).share(share);
        drop(system.spawn_once(spawn, spec, Endless));
    }
    let used = |name: &str| -> u64 {
        let own = all(&system, 64).into_iter().filter(|process| process.name == name);
        own.map(|process| process.reductions).sum()
    };
    let is_about = |have: u64, want: u64| have.abs_diff(want) * 20 <= want;
    sim.run_for(Duration::from_millis(100));
    assert_eq!(client.active(), 2);
    let [light, plain, other] = names.map(used);
    assert!(is_about(4 * light, plain), "{light} {plain}");
    assert!(is_about(other, 2 * plain), "{plain} {other}");

    weight.set_in_64ths(64);
    sim.run_for(Duration::from_millis(100));
    let [light, plain, other] =
        [(0, light), (1, plain), (2, other)].map(|(n, was)| used(names[n]) - was);
    assert!(is_about(light, plain) && is_about(other, 2 * plain), "{light} {plain} {other}");
}

/// Works so many reductions for every message.
struct Worker;

impl Actor for Worker {
    type Message = Note;

    const HAS_START: bool = false;

    fn handle(&mut self, Note(reductions): Note, ctx: &mut Ctx<'_, Note>) -> Flow {
        ctx.consume(u32::try_from(reductions).expect("a small number"));
        Flow::Next
    }
}

/// Goal: how long a class waits and runs is told, to the nanosecond where there is no clock; what
/// has used up a quantum is not counted among those that wait to be answered.
/// Method: one turn of 75 us before another of 50 us, by class; then two that go on and on.
#[test]
fn waits_and_turns_are_told_by_class() {
    let mut sim = System::simulated(4, Faults::none());
    let system = sim.system().clone();
    let spec =
        MailboxSpec { name: "box", items_max: 9, bytes_max: 1 << 20, overflow: Overflow::Reject };
    let [first, other] = [Class::System, Class::Rpc]
        .map(|class| system.spawn_once(Spawn::new("worker", class), spec, Worker));
    // One for the message and one for the first turn.
    other.send(Note(1_998)).expect("there is room");
    first.send(Note(2_998)).expect("there is room");
    sim.run_until_idle();
    let status = system.status();
    for (class, waited, ran) in [(Class::System, 1_024, 75_000), (Class::Rpc, 75_000, 50_000)] {
        let class = status.class(class);
        assert_eq!((class.waits.max_ns(), class.waits.count()), (waited, 1));
        assert_eq!((class.lengths.max_ns(), class.lengths.sum_ns()), (ran, class.busy_ns));
        assert_eq!((class.lengths.quantile_ns(500), class.lengths.count()), (ran, class.turns));
    }
    assert_eq!(status.class(Class::Call).waits.count(), 0);

    let spawn = Spawn::new("endless", Class::Call);
    let endless = [(); 2].map(|()| system.spawn_once(spawn.clone(), spec, Endless));
    sim.run_for(Duration::from_millis(100));
    let status = system.status();
    let call = status.class(Class::Call);
    // Their births, and their first quanta.
    assert!(call.turns > 900 && call.waits.count() <= 4, "{} turns, {:?}", call.turns, call.waits);
    drop(endless);
}

/// Goal: on threads a wait is not shorter than it was, whoever has woken: another thread, or a turn
/// of the same worker.
/// Method: a turn that does not end while the main thread counts 3 ms.
#[test]
fn threads_tell_how_long_was_waited() {
    let config =
        ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    let system = System::threads(config).expect("threads can be started");
    let ((begins, begun), (ends, end)) = (mpsc::channel(), mpsc::channel::<()>());
    let inside = system.clone();
    let long = system.spawn_future(Spawn::new("long", Class::Call), async move {
        let within = inside.spawn_future(Spawn::new("within", Class::Net), async {});
        begins.send(within).expect("the main thread waits");
        end.recv().expect("the main thread lets it end");
    });
    let within = begun.recv().expect("it begins");
    let outside = system.spawn_future(Spawn::new("outside", Class::Rpc), async {});
    let since = system.now();
    while system.now() - since < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    ends.send(()).expect("it waits");
    assert_eq!((long.wait(), within.wait(), outside.wait()), (Ok(()), Ok(()), Ok(())));
    system.stop(Duration::from_secs(10));
    let status = system.status();
    let least = 2_900_000;
    for class in [Class::Net, Class::Rpc] {
        let waits = &status.class(class).waits;
        assert!(waits.count() == 1 && waits.max_ns() >= least, "{class:?}: {waits:?}");
    }
    let call = status.class(Class::Call);
    assert!(call.lengths.max_ns() >= least && call.waits.count() == 1, "{call:?}");
    for class in Class::ALL {
        assert_eq!(status.class(class).turns, status.class(class).lengths.count());
    }
}
