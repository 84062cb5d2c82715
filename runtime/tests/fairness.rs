//! Who gets how much, in simulated time: exact, no clock of the machine in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Address, Class, Ctx, Faults, Flow, MailboxSpec, Message, Order, Overflow, Reply, Share,
    Simulation, Spawn, System, Time, limits, reply,
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 16, bytes_max: 1 << 20, overflow: Overflow::Reject };

struct Ask(Reply<Time>);

impl Message for Ask {}

/// Never ends; counts what it has used.
struct Busy {
    used: Arc<AtomicU64>,
    slice: u32,
}

impl Actor for Busy {
    type Message = Ask;

    fn handle(&mut self, _ask: Ask, _ctx: &mut Ctx<'_, Ask>) -> Flow {
        Flow::Next
    }

    fn start(&mut self, ctx: &mut Ctx<'_, Ask>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Ask>) -> Flow {
        while ctx.left() > 0 {
            ctx.consume(self.slice);
            self.used.fetch_add(u64::from(self.slice), Ordering::Relaxed);
        }
        Flow::More
    }
}

/// Spawns a busy actor; the address keeps it alive, the counter tells what it got.
fn busy(system: &System, spawn: Spawn, slice: u32) -> (Address<Ask>, Arc<AtomicU64>) {
    let used = Arc::new(AtomicU64::new(0));
    let actor = Busy { used: Arc::clone(&used), slice };
    (system.spawn_once(spawn, BOX, actor), used)
}

struct Probe;

impl Actor for Probe {
    type Message = Ask;

    fn handle(&mut self, ask: Ask, ctx: &mut Ctx<'_, Ask>) -> Flow {
        ask.0.send(ctx.now());
        Flow::Next
    }
}

fn simulation(seed: u64) -> Simulation {
    System::simulated(seed, Faults::default())
}

/// Goal: busy classes get what their weights say, within 10 % of it, whatever their numbers.
#[test]
fn classes_share_by_weight() {
    for seed in 0..4 {
        let mut simulation = simulation(seed);
        let mut held = Vec::new();
        for (index, &class) in Class::ALL.iter().enumerate().skip(1) {
            for _ in 0..=(index * 3) {
                held.push(busy(simulation.system(), Spawn::new("busy", class), 100));
            }
        }
        simulation.run_for(Duration::from_secs(2));
        let status = simulation.system().status();
        let total: u64 = Class::ALL.iter().map(|&class| status.class(class).reductions).sum();
        for &class in &Class::ALL[1..] {
            let fair = total * u64::from(class.weight().unwrap()) / 149;
            let got = status.class(class).reductions;
            assert!(got.abs_diff(fair) * 10 <= fair, "seed {seed} {class:?}: {got} of {fair}");
        }
    }
}

/// Goal: a fresh process of the spinners' own class waits for at most the running turn and one
/// spent turn, with 64 spinners as with 1,000; so it is flat.
/// Method: 200 probes at times drawn by the seed; the wait is exact, in virtual time.
#[test]
fn a_probe_beside_endless_actors_of_its_class_waits_two_quanta_at_most() {
    for spinners in [64, 1_000] {
        for order in [Order::Fair, Order::Chaos] {
            let faults = Faults { order, ..Faults::default() };
            let mut simulation = System::simulated(9, faults);
            let system = simulation.system().clone();
            let held: Vec<_> = (0..spinners)
                .map(|_| busy(&system, Spawn::new("spinner", Class::Call), 10))
                .collect();
            // Every spinner becomes spent in its first turn, and one turn in four goes to those
            // that are spent already.
            simulation.run_for(Duration::from_nanos(limits::QUANTUM_NS * spinners * 2));
            let probe = system.spawn_once(Spawn::new("probe", Class::Call), BOX, Probe);
            let mut entropy = system.entropy("probe");
            for _ in 0..200 {
                simulation.run_for(Duration::from_nanos(entropy.below(3_000_000)));
                let asked = simulation.now();
                let (telling, answer) = reply();
                probe.send(Ask(telling)).unwrap();
                let waited = simulation.run_until(answer).unwrap() - asked;
                let bound = Duration::from_nanos(2 * limits::QUANTUM_NS);
                assert!(waited <= bound, "{spinners} spinners, {order:?}: {waited:?}");
            }
            drop(held);
        }
    }
}

/// Goal: spent processes keep a quarter of their class beside fresh ones that never end.
/// Method: 50 actors that are woken again and again by timers and each time use half a quantum,
/// more than the machine can do; 4 spinners of the same class beside them.
#[test]
fn spent_processes_keep_a_quarter_of_their_class() {
    struct Tick;
    impl Message for Tick {}
    struct Light;
    impl Actor for Light {
        type Message = Tick;
        fn start(&mut self, ctx: &mut Ctx<'_, Tick>) -> Flow {
            ctx.send_after(Duration::from_micros(200), Tick);
            Flow::Next
        }
        fn handle(&mut self, _tick: Tick, ctx: &mut Ctx<'_, Tick>) -> Flow {
            ctx.consume(limits::QUANTUM_REDUCTIONS / 2);
            self.start(ctx)
        }
    }
    let mut simulation = simulation(3);
    let system = simulation.system().clone();
    let lights: Vec<_> =
        (0..50).map(|_| system.spawn_once(Spawn::new("light", Class::Rpc), BOX, Light)).collect();
    let spinners: Vec<_> =
        (0..4).map(|_| busy(&system, Spawn::new("spinner", Class::Rpc), 10)).collect();
    simulation.run_for(Duration::from_secs(1));
    let spent: u64 = spinners.iter().map(|(_, used)| used.load(Ordering::Relaxed)).sum();
    let total = system.status().class(Class::Rpc).reductions;
    // One turn in four, and a spent turn is a whole quantum where a fresh one is half of it.
    assert!(spent * 4 >= total && spent * 2 <= total, "{spent} of {total}");
    drop(lights);
}

/// Goal: a client with 64 calls gets what a client with one gets, within 10 %, also when calls can
/// only be cut coarsely, so that they overrun their small quanta and owe.
#[test]
fn a_client_with_many_calls_gets_what_a_client_with_one_gets() {
    for slice in [20, 300] {
        let mut simulation = simulation(5);
        let system = simulation.system().clone();
        let spawn = |share: &Share| Spawn::new("call", Class::Call).share(share.clone());
        let (many, one) = (Share::new(), Share::new());
        let single = busy(&system, spawn(&one), slice);
        let calls: Vec<_> = (0..64).map(|_| busy(&system, spawn(&many), slice)).collect();
        simulation.run_for(Duration::from_millis(500));
        assert_eq!((many.active(), one.active()), (64, 1));
        let got: u64 = calls.iter().map(|(_, used)| used.load(Ordering::Relaxed)).sum();
        let alone = single.1.load(Ordering::Relaxed);
        assert!(got.abs_diff(alone) * 10 <= alone, "slice {slice}: {got} and {alone}");
    }
}

/// Goal: equal actors get equal parts: Jain's index of 100 of them is at least 0.99.
#[test]
#[expect(clippy::cast_precision_loss, reason = "an index of fairness needs few digits")]
fn equal_actors_get_equal_parts() {
    let mut simulation = simulation(11);
    let system = simulation.system().clone();
    let actors: Vec<_> =
        (0..100).map(|i| busy(&system, Spawn::new("equal", Class::Exec), 7 + i)).collect();
    simulation.run_for(Duration::from_secs(1));
    let parts: Vec<f64> =
        actors.iter().map(|(_, used)| used.load(Ordering::Relaxed) as f64).collect();
    let sum: f64 = parts.iter().sum();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    let jain = sum * sum / (parts.len() as f64 * squares);
    assert!(jain >= 0.99, "{jain}");
}
