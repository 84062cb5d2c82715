//! Nobody starves among ten thousand actors of which some never yield within their budget: in
//! virtual time, where waits are exact, and on threads, where turns are counted.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use evenkeel_runtime::{
    Actor, Address, Class, Ctx, Faults, Flow, MailboxSpec, Message, Order, Overflow, Reply,
    Simulation, Spawn, System, ThreadsConfig, Time, limits, reply,
};

const QUANTUM: u64 = limits::QUANTUM_REDUCTIONS as u64;

/// Of ten thousand actors of one class so many never yield within their budget.
const ENDLESS: u64 = 99;
const LIGHTS: u64 = 10_000 - ENDLESS;

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 1, bytes_max: 1 << 10, overflow: Overflow::Reject };

struct Go;

impl Message for Go {}

// --- in virtual time -----------------------------------------------------------------------

/// Reductions of a light actor's turn.
const LIGHT: u64 = 20;
/// 10 ms: what the slow ones' handlers take.
const SLOW: u64 = 10_000_000 / limits::REDUCTION_NS;
/// The longest turn of all: the handler, its message, and the start before it.
const TURN_MAX: u64 = SLOW + 2;

/// How an actor never yields within its budget.
#[derive(Clone, Copy)]
enum Endless {
    /// Has more to do after little, without a look at what is left.
    Restless,
    /// Does ten quanta at once, and has more to do.
    Greedy,
    /// Sends itself the next message, each of which takes 10 ms.
    Slow,
}

impl Endless {
    const fn nth(number: u64) -> Self {
        match number % 3 {
            0 => Self::Restless,
            1 => Self::Greedy,
            _ => Self::Slow,
        }
    }

    const fn turn(self) -> u64 {
        match self {
            Self::Restless => 100,
            Self::Greedy => 10 * QUANTUM,
            Self::Slow => SLOW,
        }
    }
}

struct Hog {
    kind: Endless,
    used: Arc<AtomicU64>,
}

impl Hog {
    fn work(&self, ctx: &mut Ctx<'_, Go>) {
        ctx.consume(u32::try_from(self.kind.turn()).unwrap());
        self.used.fetch_add(self.kind.turn(), Ordering::Relaxed);
    }
}

impl Actor for Hog {
    type Message = Go;

    fn start(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        match self.kind {
            Endless::Restless | Endless::Greedy => self.resume(ctx),
            Endless::Slow => {
                ctx.me().send(Go).unwrap();
                Flow::Next
            }
        }
    }

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.work(ctx);
        ctx.me().send(Go).unwrap();
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.work(ctx);
        Flow::More
    }
}

/// What a light actor got.
#[derive(Default)]
struct Service {
    turns: AtomicU64,
    waited_max: AtomicU64,
    /// Since when it waits, or when it will, in nanoseconds.
    due: AtomicU64,
}

/// Is woken by a timer, works a little, and sleeps for a while that the seed draws.
struct Light {
    service: Arc<Service>,
    sleep_max: u64,
}

impl Actor for Light {
    type Message = Go;

    const HAS_START: bool = false;

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        let service = &self.service;
        let waited = ctx.now() - Time::from_nanos(service.due.load(Ordering::Relaxed));
        service.waited_max.fetch_max(nanos(waited), Ordering::Relaxed);
        service.turns.fetch_add(1, Ordering::Relaxed);
        // With the message itself.
        ctx.consume(u32::try_from(LIGHT - 1).unwrap());
        let due = ctx.now() + Duration::from_nanos(ctx.entropy().below(self.sleep_max));
        service.due.store(due.as_nanos(), Ordering::Relaxed);
        ctx.send_at(due, Go);
        Flow::Next
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// The class of the ten thousand, and all that others may run in.
const CROWD: Class = Class::Call;
const BUSY: &[Class] = {
    let (_strict, others) = Class::ALL.split_at(1);
    others
};

const fn lights_of(class: Class) -> u64 {
    if class as usize == CROWD as usize { LIGHTS } else { 5 }
}

fn weight(class: Class) -> u64 {
    class.weight().expect("not the strict class").into()
}

/// The longest that a light actor may wait for its turn, in nanoseconds, by the rule alone
/// (`docs/semantics.md`, S1 to S3 of `runtime/src/single/bound.rs`):
/// `r + U + sum over j != c: (w_j / 64) (T_c - F + L) + m_j`, with no turn longer than
/// [`TURN_MAX`].
fn wait_max(class: Class) -> u64 {
    // S1: fresh are light ones alone, and they run at most twice before it.
    let fresh = 2 * lights_of(class) * LIGHT;
    // S2: 3 p <= D + f with D < 4 Q. Of a spent turn at most a quantum counts in p.
    let spent = (4 * QUANTUM + fresh) * TURN_MAX / (limits::SPENT_PART * QUANTUM);
    let own = fresh + spent;
    // S3: the class may be ahead of the floor by a turn when the wait begins; others begin behind
    // it by their lead, a quantum of the heaviest class.
    let heaviest = weight(Class::Consensus);
    let ahead = (TURN_MAX + own) * heaviest / weight(class) + QUANTUM;
    let others = BUSY.iter().filter(|&&other| other != class);
    let others: u64 = others.map(|&other| weight(other) * ahead / heaviest + TURN_MAX).sum();
    // The turn during which it was woken comes before all.
    (TURN_MAX + own + others) * limits::REDUCTION_NS
}

type Lights = Vec<(Class, Address<Go>, Arc<Service>)>;

/// Ninety-nine of the crowd and two of every other class that is not strict never yield, and each
/// has used up a quantum: those of the crowd while nobody else runs, which saves time.
fn endless(simulation: &mut Simulation) -> Vec<Address<Go>> {
    let mut all = Vec::new();
    let others = BUSY.iter().filter(|&&class| class != CROWD).map(|&class| (class, 1..3));
    for (class, numbers) in iter::once((CROWD, 0..ENDLESS)).chain(others) {
        let used: Vec<_> = numbers
            .map(|number| {
                let used = Arc::<AtomicU64>::default();
                let hog = Hog { kind: Endless::nth(number), used: Arc::clone(&used) };
                let spawn = Spawn::new("endless", class);
                all.push(simulation.system().spawn_once(spawn, BOX, hog));
                used
            })
            .collect();
        let is_spent = |used: &Arc<AtomicU64>| used.load(Ordering::Relaxed) >= QUANTUM;
        let turns = (0..1_000).take_while(|_| !used.iter().all(is_spent));
        turns.for_each(|_| simulation.run_for(Duration::from_millis(20)));
        assert!(used.iter().all(is_spent), "an endless actor starves");
    }
    all
}

/// Runs the mix for so long that each light actor has two turns if none waits for longer than it
/// may. Says who had fewer or waited for longer, how many lights there were, and how long one of
/// the crowd waited in parts of what it may.
fn starved(seed: u64, order: Order) -> (usize, usize, f64) {
    let mut simulation = System::simulated(seed, Faults { order, ..Faults::none() });
    let hogs = endless(&mut simulation);
    let sleep_max = wait_max(CROWD) / 32;
    let mut lights = Lights::new();
    let began = simulation.now();
    for &class in BUSY {
        for _ in 0..lights_of(class) {
            let service = Arc::new(Service::default());
            service.due.store(began.as_nanos(), Ordering::Relaxed);
            let light = Light { service: Arc::clone(&service), sleep_max };
            let spawn = Spawn::new("light", class);
            let address = simulation.system().spawn_once(spawn, BOX, light);
            address.send(Go).unwrap();
            lights.push((class, address, service));
        }
    }
    simulation.run_for(Duration::from_nanos(2 * (wait_max(CROWD) + sleep_max)));
    let now = simulation.now().as_nanos();
    let waited = |service: &Service| {
        let waits = now.saturating_sub(service.due.load(Ordering::Relaxed));
        waits.max(service.waited_max.load(Ordering::Relaxed))
    };
    let is_starved = |(class, _, service): &&(Class, _, Arc<Service>)| {
        service.turns.load(Ordering::Relaxed) < 2 || waited(service) > wait_max(*class)
    };
    let starved = lights.iter().filter(is_starved).count();
    let crowd = lights.iter().filter(|(class, ..)| *class == CROWD);
    let waited_max = crowd.map(|(_, _, service)| waited(service)).max().unwrap();
    drop(hogs);
    (starved, lights.len(), as_f64(waited_max) / as_f64(wait_max(CROWD)))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs few digits")]
fn as_f64(nanos: u64) -> f64 {
    nanos as f64
}

/// Goal: none of 10,000 actors of a class of which 99 never yield within their budget, nor of the
/// other classes with two such ones each, waits for longer than the rule says.
/// Method: the bound is a formula of numbers, weights and limits. In the order that starves, which
/// draws from all that wait and has no rounds, the same mix breaks it: so it is not idle.
#[test]
fn nobody_waits_for_longer_than_the_rule_says_beside_endless_actors() {
    for seed in 0..3 {
        let (starved, of, part) = starved(seed, Order::Fair);
        assert_eq!(starved, 0, "seed {seed}: so many of {of}; the crowd {part:.2} of its bound");
    }
    let (starved, of, part) = starved(0, Order::Chaos);
    assert!(starved > 0, "all {of} within their bounds without rounds: {part:.2}");
}

// --- on threads ----------------------------------------------------------------------------

/// What one worker ran.
#[derive(Clone, Copy, Default)]
struct Shift {
    /// Turns of endless ones of the crowd since a light one; unknown before the first.
    endless: Option<u64>,
    /// The endless one that was the last of the crowd to run.
    last: Option<u64>,
    /// Light ones that had one turn of an endless one right before them, and more than one.
    after_one: u64,
    after_more: u64,
}

/// What every worker ran, by its thread.
#[derive(Default)]
struct Shifts(Mutex<Vec<(ThreadId, Shift)>>);

impl Shifts {
    fn with(&self, note: impl FnOnce(&mut Shift)) {
        let mut shifts = self.0.lock().unwrap();
        let me = thread::current().id();
        let place = shifts.iter().position(|(thread, _)| *thread == me).unwrap_or_else(|| {
            shifts.push((me, Shift::default()));
            shifts.len() - 1
        });
        note(&mut shifts[place].1);
    }

    fn note_light(&self) {
        self.with(|shift| {
            shift.last = None;
            match shift.endless.replace(0) {
                None | Some(0) => {}
                Some(1) => shift.after_one += 1,
                Some(_) => shift.after_more += 1,
            }
        });
    }

    /// A slow one handles two messages in one turn, which only then looks at the clock
    /// (`docs/adr/0020`).
    fn note_endless(&self, number: u64) {
        self.with(|shift| {
            if shift.last.replace(number) != Some(number) {
                shift.endless = shift.endless.map(|turns| turns + 1);
            }
        });
    }
}

/// Never yields within its budget: by ten quanta at once, or by 10 ms of which it says nothing.
struct Unyielding {
    number: u64,
    is_slow: bool,
    /// `None` in other classes than that of the crowd.
    shifts: Option<Arc<Shifts>>,
    began: Option<mpsc::Sender<()>>,
}

impl Unyielding {
    fn work(&mut self, ctx: &mut Ctx<'_, Go>) {
        if let Some(shifts) = &self.shifts {
            shifts.note_endless(self.number);
        }
        if self.is_slow {
            let began = Instant::now();
            // Some of it on the processor, also where others want that.
            let mut looks = 0;
            while looks < 20_000 || began.elapsed() < Duration::from_millis(10) {
                looks += 1;
            }
        } else {
            ctx.consume(10 * limits::QUANTUM_REDUCTIONS);
        }
        if let Some(began) = self.began.take() {
            began.send(()).unwrap();
        }
    }
}

impl Actor for Unyielding {
    type Message = Go;

    fn start(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        if self.is_slow {
            ctx.me().send(Go).unwrap();
            return Flow::Next;
        }
        self.resume(ctx)
    }

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.work(ctx);
        // Refused when the system stops.
        let _ = ctx.me().send(Go);
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.work(ctx);
        Flow::More
    }
}

/// Answers, the last one of all with a word.
struct Answerer {
    shifts: Arc<Shifts>,
    left: Arc<AtomicUsize>,
    done: Arc<Mutex<Option<Reply<()>>>>,
}

impl Actor for Answerer {
    type Message = Go;

    const HAS_START: bool = false;

    fn handle(&mut self, _go: Go, _ctx: &mut Ctx<'_, Go>) -> Flow {
        self.shifts.note_light();
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.lock().unwrap().take().unwrap().send(());
        }
        Flow::Next
    }
}

/// Asks all of them in one turn, so that none comes when others have been answered already.
struct Asker(Vec<Address<Go>>, Arc<Shifts>);

impl Actor for Asker {
    type Message = Go;

    const HAS_START: bool = false;

    fn handle(&mut self, _go: Go, _ctx: &mut Ctx<'_, Go>) -> Flow {
        for address in &self.0 {
            address.send(Go).unwrap();
        }
        self.1.note_light();
        Flow::Next
    }
}

/// Reductions of all light actors, by count or by time.
fn used_by_lights(system: &System) -> u64 {
    let (mut processes, mut used) = (system.processes(), 0);
    let mut has_more = true;
    while has_more {
        has_more = processes.look(1_000, |process| {
            if process.name == "light" {
                used += process.reductions.max(limits::TURN_REDUCTIONS_MIN);
            }
        });
    }
    used
}

/// Goal: on threads all others of 10,000 actors answer a burst beside endless ones, and while they
/// wait an endless one has a turn for each three quanta of theirs at most (S2), however long that
/// turn is; one at a time.
/// Method: turns are counted on each worker. On one it holds to the turn. On two it holds while a
/// worker has light ones; it runs out of them and gets more when they balance.
#[test]
fn a_burst_is_answered_beside_endless_actors_on_threads() {
    const CROWD: Class = Class::Rpc;
    for workers in [1, 2] {
        let config =
            ThreadsConfig { workers, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
        let system = System::threads(config).expect("threads can be started");
        let shifts = Arc::new(Shifts::default());
        let (begins, began) = mpsc::channel();
        let mut held = Vec::new();
        for (class, count) in [(CROWD, ENDLESS), (Class::Exec, 1), (Class::Call, 2)] {
            for number in 0..count {
                let shifts = (class == CROWD).then(|| Arc::clone(&shifts));
                let (is_slow, began) = (number % 5 == 0, Some(begins.clone()));
                let actor = Unyielding { number, is_slow, shifts, began };
                held.push(system.spawn_once(Spawn::new("endless", class), BOX, actor));
            }
        }
        // Each has used up a quantum by then.
        assert_eq!(began.iter().take(held.len()).count(), held.len());

        let lights = LIGHTS - 1;
        let (telling, answer) = reply();
        let left = Arc::new(AtomicUsize::new(usize::try_from(lights).unwrap()));
        let done = Arc::new(Mutex::new(Some(telling)));
        let spawn = |_| {
            let (left, done) = (Arc::clone(&left), Arc::clone(&done));
            let actor = Answerer { shifts: Arc::clone(&shifts), left, done };
            system.spawn_once(Spawn::new("light", CROWD), BOX, actor)
        };
        let asker = Asker((0..lights).map(spawn).collect(), Arc::clone(&shifts));
        let asker = system.spawn_once(Spawn::new("light", CROWD), BOX, asker);
        asker.send(Go).unwrap();
        answer.wait().expect("all of them answer");

        let used = used_by_lights(&system);
        let shifts = shifts.0.lock().unwrap().clone();
        let sum = |of: fn(&Shift) -> u64| shifts.iter().map(|(_, shift)| of(shift)).sum::<u64>();
        let (after_one, after_more) = (sum(|s| s.after_one), sum(|s| s.after_more));
        // S2, on each worker, and anew when it gets some again: 3 p <= D + f with D < 4 Q, and of
        // each turn a quantum counts in p.
        let times = workers as u64 + after_more;
        let after_one_max = (4 * QUANTUM * times + used) / (limits::SPENT_PART * QUANTUM);
        assert!(after_one <= after_one_max, "{after_one} of {after_one_max} on {workers} workers");
        let after_more_max = if workers == 1 { 0 } else { LIGHTS / 100 };
        assert!(after_more <= after_more_max, "{after_more} of {LIGHTS} on {workers} workers");
        system.stop(Duration::from_secs(10));
    }
}
