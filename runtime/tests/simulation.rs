//! One seed, one run: order, timers, restarts, jobs.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use evenkeel_runtime::{
    Actor, ActorHandle, Address, Class, Ctx, Entropy, Exit, Faults, Flow, JobHandle, MailboxSpec,
    Message, Order, Overflow, Panicked, Reply, Restart, Share, Spawn, StopReason, System,
    ThreadsConfig, Time, Yielder, checkpoint, consume, reply,
};

fn spec(items_max: usize) -> MailboxSpec {
    MailboxSpec { name: "box", items_max, bytes_max: 1 << 20, overflow: Overflow::DropOld }
}

struct Gossip {
    hops: u32,
}

impl Message for Gossip {}

/// Passes messages on to drawn neighbours, works a drawn while, starts jobs now and then.
struct Node {
    neighbours: Arc<Mutex<Vec<Address<Gossip>>>>,
}

impl Actor for Node {
    type Message = Gossip;

    fn handle(&mut self, gossip: Gossip, ctx: &mut Ctx<'_, Gossip>) -> Flow {
        let work = ctx.entropy().below(5_000);
        ctx.consume(u32::try_from(work).unwrap());
        if gossip.hops == 0 {
            return Flow::Next;
        }
        let neighbours = self.neighbours.lock().unwrap();
        let to = ctx.entropy().below(neighbours.len() as u64);
        let next = Gossip { hops: gossip.hops - 1 };
        match ctx.entropy().below(3) {
            0 => {
                let delay = Duration::from_micros(ctx.entropy().below(900));
                ctx.send_after(delay, next);
            }
            1 => {
                ctx.compute(move |_| next, |next| next.expect("the job does not panic")).detach();
            }
            _ => neighbours[usize::try_from(to).unwrap()].send(next).expect("it drops the oldest"),
        }
        Flow::Next
    }
}

fn gossip(seed: u64, faults: Faults) -> (u64, Time) {
    let mut simulation = System::simulated(seed, faults);
    let system = simulation.system().clone();
    let neighbours = Arc::new(Mutex::new(Vec::new()));
    for index in 0..20 {
        let class = Class::ALL[index % Class::COUNT];
        let (address, mailbox) = system.mailbox(spec(64));
        neighbours.lock().unwrap().push(address);
        let neighbours = Arc::clone(&neighbours);
        system.spawn(Spawn::new("node", class), mailbox, move || Node {
            neighbours: Arc::clone(&neighbours),
        });
    }
    let timer = system.clone();
    system.spawn_future(Spawn::new("clock", Class::System), async move {
        for _ in 0..50 {
            timer.sleep(Duration::from_micros(333)).await;
        }
    });
    for address in neighbours.lock().unwrap().iter() {
        address.send(Gossip { hops: 100 }).unwrap();
    }
    simulation.run_until_idle();
    let result = (simulation.event_hash(), simulation.now());
    neighbours.lock().unwrap().clear();
    result
}

/// Goal: the same seed does the same, another does not, in both orders.
#[test]
fn one_seed_is_one_run() {
    for order in [Order::Fair, Order::Chaos] {
        let faults = Faults { order, ..Faults::default() };
        let first: Vec<_> = (0..8).map(|seed| gossip(seed, faults)).collect();
        let second: Vec<_> = (0..8).map(|seed| gossip(seed, faults)).collect();
        assert_eq!(first, second);
        for (seed, run) in first.iter().enumerate() {
            assert!(!first[..seed].contains(run), "seed {seed} repeats another's run");
        }
    }
}

struct Fired(usize);

impl Message for Fired {}

/// Sets drawn timers, cancels some, and writes down what fires.
struct Alarm {
    fired: Arc<Mutex<Vec<(usize, Time)>>>,
    set: Arc<Mutex<Vec<(usize, Time)>>>,
}

impl Actor for Alarm {
    type Message = Fired;

    fn start(&mut self, ctx: &mut Ctx<'_, Fired>) -> Flow {
        let mut timers = Vec::new();
        for index in 0..200 {
            let at = ctx.now() + Duration::from_micros(ctx.entropy().below(50) * 1_000);
            timers.push((index, at, ctx.send_at(at, Fired(index))));
        }
        for (index, at, timer) in timers {
            if ctx.entropy().once_in(3) {
                ctx.cancel(timer);
            } else {
                self.set.lock().unwrap().push((index, at));
            }
        }
        Flow::Next
    }

    fn handle(&mut self, fired: Fired, ctx: &mut Ctx<'_, Fired>) -> Flow {
        self.fired.lock().unwrap().push((fired.0, ctx.now()));
        Flow::Next
    }
}

/// Goal: timers fire in order of time, then of setting, not early and not late; cancelled ones do
/// not; and they come though there are more of them than the mailbox has room for.
#[test]
fn timers_fire_in_order_and_cancelled_ones_do_not() {
    let mut simulation = System::simulated(4, Faults::default());
    let (fired, set) = (Arc::default(), Arc::default());
    let alarm = Alarm { fired: Arc::clone(&fired), set: Arc::clone(&set) };
    let address = simulation.system().spawn_once(Spawn::new("alarm", Class::Rpc), spec(2), alarm);
    simulation.run_until_idle();
    let mut set = set.lock().unwrap().clone();
    set.sort_by_key(|&(index, at)| (at, index));
    let fired = fired.lock().unwrap();
    assert_eq!(fired.len(), set.len());
    for (&(index, at), &(fired, when)) in set.iter().zip(fired.iter()) {
        assert_eq!(fired, index);
        assert!(when >= at && when - at < Duration::from_micros(100), "{index}: {:?}", when - at);
    }
    drop(address);
}

enum Command {
    Add(u64),
    Break,
    Tell(Reply<(u32, u64)>),
}

impl Message for Command {}

struct Counter {
    life: u32,
    sum: u64,
}

impl Actor for Counter {
    type Message = Command;

    fn handle(&mut self, message: Command, ctx: &mut Ctx<'_, Command>) -> Flow {
        match message {
            Command::Add(more) => self.sum += more,
            Command::Break => {
                // What this life has ordered must not reach the next.
                ctx.send_after(Duration::from_millis(500), Command::Add(1_000_000));
                panic!("asked to break");
            }
            Command::Tell(telling) => telling.send((self.life, self.sum)),
        }
        Flow::Next
    }
}

/// Goal: after a panic the actor has a new state from its factory, its old mailbox, and the
/// backoff between; too many panics stop the system and say why.
#[test]
fn a_panic_gives_a_new_state_and_too_many_stop_the_system() {
    let mut simulation = System::simulated(2, Faults::default());
    let system = simulation.system().clone();
    let (address, mailbox) = system.mailbox(spec(16));
    let lives = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lives);
    let backoff = Duration::from_millis(100);
    let rule = Restart::Always { max: 2, window: Duration::from_mins(1), backoff };
    let handle =
        system.spawn(Spawn::new("counter", Class::Exec).restart(rule), mailbox, move || Counter {
            life: u32::try_from(counted.fetch_add(1, Ordering::Relaxed)).unwrap(),
            sum: 0,
        });
    let exited = handle.exited();
    address.send(Command::Add(5)).unwrap();
    address.send(Command::Break).unwrap();
    address.send(Command::Add(7)).unwrap();
    let (telling, answer) = reply();
    address.send(Command::Tell(telling)).unwrap();
    assert_eq!(simulation.run_until(answer), Ok((1, 7)));
    let waited = simulation.now() - Time::ZERO;
    assert!(waited >= backoff * 8 / 10 && waited <= backoff * 13 / 10, "{waited:?}");
    simulation.run_for(Duration::from_secs(2));
    let (telling, answer) = reply();
    address.send(Command::Tell(telling)).unwrap();
    assert_eq!(simulation.run_until(answer), Ok((1, 7)), "a timer of the first life came");

    address.send(Command::Break).unwrap();
    address.send(Command::Break).unwrap();
    let reason = simulation.run_until(system.on_stop()).unwrap();
    assert!(
        matches!(&reason, StopReason::GaveUp { name: "counter", panics: 3, reason }
            if reason == "asked to break"),
        "{reason:?}"
    );
    assert_eq!(simulation.run_until(exited), Ok(Exit::Panicked("asked to break".to_owned())));
    assert_eq!((system.status().panics, system.status().restarts), (3, 2));
}

enum Job {
    Start,
    Done(Result<u64, Panicked>),
}

impl Message for Job {}

struct Worker {
    results: Vec<Result<u64, Panicked>>,
    done: Option<Reply<Vec<Result<u64, Panicked>>>>,
}

impl Actor for Worker {
    type Message = Job;

    fn handle(&mut self, job: Job, ctx: &mut Ctx<'_, Job>) -> Flow {
        match job {
            Job::Start => {
                ctx.compute(|_| 6 * 7, Job::Done).detach();
                ctx.compute(|_| panic!("a bad job"), Job::Done).detach();
                ctx.compute(|_| 1, Job::Done).cancel();
                ctx.blocking(|| 9, Job::Done);
                return Flow::Next;
            }
            Job::Done(result) => self.results.push(result),
        }
        if self.results.len() == 4 {
            self.results.sort_by_key(|result| format!("{result:?}"));
            let results = std::mem::take(&mut self.results);
            self.done.take().expect("there are four jobs").send(results);
        }
        Flow::Next
    }
}

fn four_jobs(system: &System) -> evenkeel_runtime::Answer<Vec<Result<u64, Panicked>>> {
    let (done, answer) = reply();
    let worker = Worker { results: Vec::new(), done: Some(done) };
    let address = system.spawn_once(Spawn::new("worker", Class::Prove), spec(1), worker);
    address.send(Job::Start).unwrap();
    answer
}

fn four_results() -> Vec<Result<u64, Panicked>> {
    let panicked = Panicked::Panic("a bad job".to_owned());
    vec![Err(Panicked::Cancelled), Err(panicked), Ok(42), Ok(9)]
}

/// Goal: every job gives exactly one message: result, panic or cancellation.
#[test]
fn every_job_gives_one_message() {
    let mut simulation = System::simulated(6, Faults::default());
    let answer = four_jobs(simulation.system());
    assert_eq!(simulation.run_until(answer), Ok(four_results()));
}

/// Starts a job that it keeps and one that it lets go, and hears of neither.
struct Owner {
    runs: [Arc<AtomicUsize>; 2],
    kept: Option<JobHandle>,
}

impl Actor for Owner {
    type Message = Job;

    fn handle(&mut self, job: Job, ctx: &mut Ctx<'_, Job>) -> Flow {
        if matches!(job, Job::Start) {
            let [kept, let_go] = self.runs.clone();
            let run = |runs: Arc<AtomicUsize>| move |_: &Yielder| 1 + count(&runs);
            ctx.compute(run(let_go), Job::Done).detach();
            self.kept = Some(ctx.compute(run(kept), Job::Done));
        }
        Flow::Next
    }
}

struct Ends(ActorHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill();
    }
}

fn count(runs: &AtomicUsize) -> u64 {
    runs.fetch_add(1, Ordering::Relaxed) as u64
}

/// Goal: what a process has started ends with it, down to its jobs; what it let go does not.
/// Method: a future that owns an actor with two jobs, and waits for one of its own, is aborted
/// before any of them begins.
#[test]
fn jobs_end_with_who_wants_them() {
    for seed in 0..32 {
        let faults = Faults { job_time_max: Duration::from_secs(1), ..Faults::default() };
        let mut simulation = System::simulated(seed, faults);
        let system = simulation.system().clone();
        let runs: [_; 3] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
        let [kept, let_go, awaited] = runs.clone();
        let inside = system.clone();
        let (started, has_started) = reply();
        let outer = system.spawn_future(Spawn::new("outer", Class::Rpc), async move {
            let (address, mailbox) = inside.mailbox(spec(2));
            let runs = [kept, let_go];
            let owner = move || Owner { runs: runs.clone(), kept: None };
            let _ends = Ends(inside.spawn(Spawn::new("owner", Class::Call), mailbox, owner));
            address.send(Job::Start).expect("there is room");
            checkpoint().await;
            started.send(());
            inside.compute_async(move |_| count(&awaited)).await
        });
        simulation.run_until(has_started).expect("it goes on");
        outer.abort();
        simulation.run_for(Duration::from_secs(1));
        assert_eq!(runs.map(|runs| runs.load(Ordering::Relaxed)), [0, 1, 0], "{seed}");
        assert_eq!(system.status().actors_live, 0);
    }
}

/// Runs jobs that tell how many of them run at once.
struct Client {
    running: Arc<AtomicUsize>,
    worst: Arc<AtomicUsize>,
    /// The first job waits for this.
    gate: Option<mpsc::Receiver<()>>,
    left: usize,
    done: Option<Reply<()>>,
}

impl Actor for Client {
    type Message = Job;

    fn handle(&mut self, job: Job, ctx: &mut Ctx<'_, Job>) -> Flow {
        if matches!(job, Job::Start) {
            for _ in 0..self.left {
                let (running, worst) = (Arc::clone(&self.running), Arc::clone(&self.worst));
                let gate = self.gate.take();
                let run = move |_: &Yielder| {
                    worst.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if let Some(gate) = gate {
                        gate.recv().expect("the other client tells");
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    0
                };
                ctx.compute(run, Job::Done).detach();
            }
            return Flow::Next;
        }
        self.left -= 1;
        if self.left > 0 {
            return Flow::Next;
        }
        self.done.take().expect("it ends once").send(());
        Flow::Stop
    }
}

/// Goal: jobs of one share run one at a time, and do not keep another share's from running.
#[test]
fn a_share_has_one_job_at_a_time() {
    let config =
        ThreadsConfig { workers: 2, compute_threads: 2, blocking_threads: 1, seed: Some(1) };
    let system = System::threads(config).expect("it starts");
    let (open, gate) = mpsc::channel();
    let share = Share::new();
    let start = |share: &Share, gate, left| {
        let (done, answer) = reply();
        let worst = Arc::new(AtomicUsize::new(0));
        let (running, seen) = (Arc::default(), Arc::clone(&worst));
        let client = Client { running, worst, gate, left, done: Some(done) };
        let spawn = Spawn::new("client", Class::Call).share(share.clone());
        system.spawn_once(spawn, spec(1), client).send(Job::Start).unwrap();
        (answer, seen)
    };
    let (busy, worst) = start(&share, Some(gate), 50);
    let (other, _) = start(&Share::new(), None, 1);
    other.wait().expect("the first client's jobs are not in its way");
    open.send(()).expect("the first job waits");
    busy.wait().expect("all are done");
    assert_eq!(worst.load(Ordering::SeqCst), 1);
    system.stop(Duration::from_secs(1));
}

/// Goal: the same on threads, but for a cancelled job, which may have begun.
#[test]
fn every_job_gives_one_message_on_threads() {
    let config =
        ThreadsConfig { workers: 2, compute_threads: 2, blocking_threads: 1, seed: Some(1) };
    for _ in 0..50 {
        let system = System::threads(config).unwrap();
        let results = four_jobs(&system).wait().unwrap();
        let mut expected = four_results();
        if results.contains(&Ok(1)) {
            expected = vec![expected.remove(1), Ok(1), Ok(42), Ok(9)];
        }
        assert_eq!(results, expected);
        system.stop(Duration::from_secs(10));
    }
}

/// Goal: a future that consumes without end but has checkpoints leaves room for others.
#[test]
fn a_future_with_checkpoints_yields() {
    let mut simulation = System::simulated(8, Faults::default());
    let system = simulation.system().clone();
    let spinner = system.spawn_future(Spawn::new("spinner", Class::Call), async {
        loop {
            consume(10);
            checkpoint().await;
        }
    });
    let other = system.spawn_future(Spawn::new("other", Class::Call), async { 5 });
    assert_eq!(simulation.run_until(other), Ok(5));
    spinner.abort();
    simulation.run_until_idle();
    assert!(spinner.is_finished());
    assert!(simulation.run_until(spinner).is_err());
}

/// Goal: two streams of entropy are independent of how much the other has been used.
#[test]
fn entropy_streams_are_independent_and_repeatable() {
    let draw = |system: &System, label: &str| -> Vec<u64> {
        let mut entropy: Entropy = system.entropy(label);
        (0..4).map(|_| entropy.below(u64::MAX)).collect()
    };
    let (first, second) =
        (System::simulated(1, Faults::default()), System::simulated(1, Faults::default()));
    let other = System::simulated(2, Faults::default());
    let keys = draw(first.system(), "keys");
    draw(second.system(), "peers");
    assert_eq!(keys, draw(second.system(), "keys"));
    assert_ne!(keys, draw(first.system(), "peers"));
    assert_ne!(keys, draw(other.system(), "keys"));
}
