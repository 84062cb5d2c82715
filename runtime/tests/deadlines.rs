//! Order by deadline inside a class: who is in time, and who pays for it.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Address, Class, Ctx, Entropy, Faults, Flow, MailboxSpec, Message, Overflow, Simulation,
    Spawn, System, TaskHandle, ThreadsConfig, Time, consume, limits,
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 4, bytes_max: 1 << 20, overflow: Overflow::Reject };
const RPC: Spawn = Spawn::new("rpc", Class::Rpc);
const QUANTUM: u64 = limits::QUANTUM_REDUCTIONS as u64;

/// What one job takes in reductions, and the time at which it is to be done.
#[derive(Clone, Copy, Debug)]
struct Job {
    cost: u32,
    deadline: Time,
}

const fn time(reductions: u64) -> Time {
    Time::from_nanos(reductions * limits::REDUCTION_NS)
}

fn jobs(entropy: &mut Entropy, count: usize) -> Vec<Job> {
    let cost = |entropy: &mut Entropy| 50 + u32::try_from(entropy.below(950)).unwrap();
    (0..count).map(|_| Job { cost: cost(entropy), deadline: Time::MAX }).collect()
}

/// Starts a job; whether it was late, when it has run.
fn start(system: &System, spawn: Spawn, job: Job, late: &Arc<AtomicU64>) {
    let (inside, late) = (system.clone(), Arc::clone(late));
    drop(system.spawn_future(spawn, async move {
        // One reduction is the turn's own.
        consume(job.cost - 1);
        late.fetch_add(u64::from(inside.now() > job.deadline), Ordering::Relaxed);
    }));
}

/// Runs jobs that all come at once; says how many are late.
fn late_of(simulation: &mut Simulation, jobs: &[Job], is_dated: bool, wait: Duration) -> u64 {
    let late = Arc::new(AtomicU64::new(0));
    for &job in jobs {
        let spawn = if is_dated { RPC.deadline(job.deadline) } else { RPC };
        start(simulation.system(), spawn, job, &late);
    }
    simulation.run_for(wait);
    late.load(Ordering::Relaxed)
}

/// Goal: of jobs that come at once none is late if there is any order in which none is, which is
/// the order of deadlines; first come, first served is late.
/// Method: random jobs and deadlines around the sum of their costs, of 400 seeds.
#[test]
fn no_job_is_late_if_none_need_be() {
    let (mut feasible, mut late_in_order) = (0, 0);
    for seed in 0..400 {
        let mut entropy = Entropy::from_seed(seed);
        let mut jobs = jobs(&mut entropy, 12);
        let sum: u64 = jobs.iter().map(|job| u64::from(job.cost)).sum();
        for job in &mut jobs {
            job.deadline = time(sum / 8 + entropy.below(sum * 5 / 4));
        }
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| job.deadline);
        let mut end = 0;
        let can_all = sorted.iter().all(|job| {
            end += u64::from(job.cost);
            time(end) <= job.deadline
        });
        if !can_all {
            continue;
        }
        feasible += 1;
        let run = |is_dated| {
            let mut simulation = System::simulated(seed, Faults::none());
            late_of(&mut simulation, &jobs, is_dated, Duration::from_secs(1))
        };
        assert_eq!(run(true), 0, "seed {seed}: {jobs:?}");
        late_in_order += u64::from(run(false) > 0);
    }
    assert!(feasible > 40 && late_in_order * 2 > feasible, "{feasible}, {late_in_order}");
}

struct Ping(Option<Address<Ping>>);

impl Message for Ping {}

/// Answers for ever, in light turns: always fresh, never spent.
struct Player {
    used: Arc<AtomicU64>,
}

impl Actor for Player {
    type Message = Ping;

    const HAS_START: bool = false;

    fn handle(&mut self, ping: Ping, ctx: &mut Ctx<'_, Ping>) -> Flow {
        ctx.consume(99);
        self.used.fetch_add(100, Ordering::Relaxed);
        if let Some(other) = ping.0 {
            other.send(Ping(Some(ctx.me().clone()))).expect("the other waits");
        }
        Flow::Next
    }
}

/// Always fresh work without a deadline, and what it has used.
fn undated(system: &System) -> (Arc<AtomicU64>, [Address<Ping>; 2]) {
    let used = Arc::new(AtomicU64::new(0));
    let player = || system.spawn_once(RPC, BOX, Player { used: Arc::clone(&used) });
    let players = [player(), player()];
    for (one, other) in [(0, 1), (1, 0)] {
        players[one].send(Ping(Some(players[other].clone()))).expect("there is room");
    }
    (used, players)
}

/// Always work that is spent, and endless.
fn spent(system: &System) {
    drop(system.spawn_future(RPC, async {
        loop {
            consume(limits::QUANTUM_REDUCTIONS);
            evenkeel_runtime::yield_now().await;
        }
    }));
}

/// Goal: beside endless work of the same class, without deadlines and spent, a job is in time if
/// its deadline leaves room for their part: as much again for the fresh and a third of both for the
/// spent, with a quantum each for what they are owed and for the turn that runs.
#[test]
fn a_deadline_holds_beside_endless_work() {
    for seed in 0..40 {
        let mut simulation = System::simulated(seed, Faults::none());
        let (_used, _players) = undated(simulation.system());
        spent(simulation.system());
        simulation.run_for(Duration::from_millis(1));
        let begin = simulation.now().as_nanos() / limits::REDUCTION_NS + 1;
        let mut entropy = Entropy::from_seed(seed);
        let mut jobs = jobs(&mut entropy, 20);
        let mut end = 0;
        for job in &mut jobs {
            end += u64::from(job.cost);
            let fresh = 2 * end + 2 * QUANTUM;
            let all = fresh + (fresh + 4 * QUANTUM) / 3 + QUANTUM;
            job.deadline = time(begin + all + entropy.below(QUANTUM));
        }
        jobs.sort_by_key(|job| job.cost);
        let late = late_of(&mut simulation, &jobs, true, Duration::from_millis(5));
        assert_eq!(late, 0, "seed {seed}");
    }
}

/// Goal: whatever comes with a deadline, those without get half of what is fresh in their class.
/// Method: chains of jobs with near deadlines, each starting the next, for a tenth of a second.
#[test]
fn those_without_a_deadline_get_their_half() {
    struct Chain {
        used: Arc<AtomicU64>,
        left: u32,
    }
    fn next(system: &System, chain: Chain) {
        let inside = system.clone();
        let deadline = system.now() + Duration::from_millis(5);
        drop(system.spawn_future(RPC.deadline(deadline), async move {
            consume(499);
            chain.used.fetch_add(500, Ordering::Relaxed);
            if chain.left > 0 {
                next(&inside, Chain { left: chain.left - 1, ..chain });
            }
        }));
    }
    let mut simulation = System::simulated(3, Faults::none());
    let (used, _players) = undated(simulation.system());
    let dated = Arc::new(AtomicU64::new(0));
    for _ in 0..4 {
        next(simulation.system(), Chain { used: Arc::clone(&dated), left: u32::MAX });
    }
    simulation.run_for(Duration::from_millis(100));
    let (undated, dated) = (used.load(Ordering::Relaxed), dated.load(Ordering::Relaxed));
    assert!(undated.abs_diff(dated) * 20 < undated, "{undated} without, {dated} with a deadline");
}

/// Who ran, in order.
type Ran = Arc<Mutex<Vec<&'static str>>>;

/// Starts processes whose order is to be that of deadlines, and one of each kind that waits behind
/// them: without one, with one that is over.
fn start_out_of_order(system: &System, ran: &Ran) -> Vec<TaskHandle<()>> {
    let hour = Duration::from_hours(1);
    let now = system.now();
    let cases = [
        ("none", None),
        ("over", Some(now)),
        ("third", Some(now + 3 * hour)),
        ("first", Some(now + hour)),
        ("second", Some(now + 2 * hour)),
    ];
    let start = |(name, deadline): (&'static str, Option<Time>)| {
        let ran = Arc::clone(ran);
        let spawn = deadline.map_or(RPC, |deadline| RPC.deadline(deadline));
        system.spawn_future(spawn, async move { ran.lock().unwrap().push(name) })
    };
    cases.map(start).into_iter().collect()
}

const ORDER: [&str; 5] = ["first", "second", "third", "none", "over"];

/// Goal: one worker runs what has come meanwhile in the order of deadlines. Those without one may
/// come between: they have their half of the time, and on a busy machine a turn may look long.
#[test]
fn a_worker_goes_by_deadlines() {
    let config =
        ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    let system = System::threads(config).unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (entered, is_entered) = mpsc::channel();
    // Holds the worker until all have come.
    drop(system.spawn_future(RPC, async move {
        entered.send(()).expect("the test waits");
        gate.recv().expect("the test opens it");
    }));
    is_entered.recv().unwrap();
    let ran = Ran::default();
    let started = start_out_of_order(&system, &ran);
    open.send(()).unwrap();
    for one in started {
        one.wait().unwrap();
    }
    system.stop(Duration::from_secs(10));
    let ran = ran.lock().unwrap();
    for kind in [&ORDER[..3], &ORDER[3..]] {
        let of_kind: Vec<_> = ran.iter().copied().filter(|name| kind.contains(name)).collect();
        assert_eq!(of_kind, kind);
    }
}

/// Goal: the drivers on the calling thread do the same; of those without a deadline the simulated
/// one draws the order.
#[test]
fn the_other_drivers_go_by_deadlines() {
    let mut inline = System::inline().unwrap();
    let ran = Ran::default();
    drop(start_out_of_order(inline.system(), &ran));
    inline.run_until_idle();
    assert_eq!(*ran.lock().unwrap(), ORDER);
    for seed in 0..20 {
        let mut simulation = System::simulated(seed, Faults::none());
        let ran = Ran::default();
        drop(start_out_of_order(simulation.system(), &ran));
        simulation.run_until_idle();
        assert_eq!(ran.lock().unwrap()[..3], ORDER[..3]);
    }
}
