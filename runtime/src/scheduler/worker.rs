//! One worker thread: takes tasks from its queues, or from others', and runs their turns.

use std::{
    cell::{Cell, OnceCell},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::atomic::Ordering,
    time::Duration,
};

use super::{
    Scheduler,
    core_time::CoreTime,
    idle::Searcher,
    lane::{ClassQueue, Lane, Queues},
    queues::{ClassTimes, Kind},
};
use crate::{
    budget,
    cell::{After, Header, Run, forget_current, said_by},
    class::Class,
    histogram::grow,
    limits::{
        BALANCE_NS, DEBT_QUANTA_MAX, QUANTUM_NS, REDUCTION_NS, SEARCH_PAUSES, SEARCHES,
        TIMERS_AT_ONCE, TIMERS_LOOK_NS, TURN_DOUBTED_NS,
    },
    park::TurnClock,
    status::SlowTurn,
    sync::coarse::thread_local,
    system::System,
    time::Time,
};

/// A turn that goes on, and what of it is charged already: it may end several times, when the
/// process is woken while it ends.
struct InTurn {
    class: Class,
    kind: Kind,
    quantum: u32,
    allowance: u32,
    /// Reductions by count, and as they were charged.
    counted: u64,
    charged: u32,
}

/// What only the worker's own thread touches.
struct Local {
    system: System,
    index: usize,
    queues: Queues,
    times: ClassTimes,
    /// The class of the running turn.
    running: Cell<Option<Class>>,
    clock: TurnClock,
    core_time: CoreTime,
    /// When it looks at the timers of all workers, in nanoseconds.
    looks_around: Cell<u64>,
    /// It has asked for a watch (I4 of `idle`) since it last parked; that is kept until then.
    is_watched: Cell<bool>,
    /// State of a xorshift generator: which victim to steal from needs no better.
    random: Cell<u64>,
}

thread_local! {
    static LOCAL: OnceCell<Rc<Local>> = const { OnceCell::new() };
}

/// True on a worker thread of this scheduler.
pub(super) fn is_own_worker(scheduler: &Scheduler) -> bool {
    let is_own = |local: &OnceCell<Rc<Local>>| local.get().is_some_and(|l| l.is_of(scheduler));
    LOCAL.try_with(is_own).unwrap_or(false)
}

/// True on a worker thread of any system.
pub(crate) fn is_worker() -> bool {
    LOCAL.try_with(|local| local.get().is_some()).unwrap_or(false)
}

/// Number of the calling worker in its system.
pub(crate) fn worker_index() -> Option<usize> {
    LOCAL.try_with(|local| Some(local.get()?.index)).ok().flatten()
}

/// Puts a run into the calling worker's queues, or gives it back on any other thread.
#[inline]
pub(super) fn push_local(run: Run) -> Option<Run> {
    let mut run = Some(run);
    // The thread's values are gone while it ends: then it is no worker any more.
    let _ = LOCAL.try_with(|local| {
        if let Some(local) = local.get()
            && let Some(run) = run.take_if(|run| local.system.is_same(&run.system))
        {
            local.woke(run);
        }
    });
    run
}

/// Lets another worker take over what the running turn has made runnable.
pub(crate) fn hand_over() {
    let _ = LOCAL.try_with(|local| {
        if let Some(scheduler) = local.get().and_then(|local| local.system.scheduler()) {
            scheduler.idle.announce();
        }
    });
}

/// What has passed on the calling worker since `earlier`, by its own clock.
pub(crate) fn passed_since(earlier: Time) -> Duration {
    let passed = |local: &OnceCell<Rc<Local>>| Some(local.get()?.clock.now(earlier) - earlier);
    LOCAL.try_with(passed).ok().flatten().unwrap_or_default()
}

/// The life of worker `index`, until the scheduler stops.
pub(super) fn run(scheduler: &Scheduler, index: usize, queues: Queues, system: &System) {
    let start = system.core().clock.start().expect("workers run in real time");
    budget::measure_time();
    let local = Rc::new(Local {
        system: system.clone(),
        index,
        queues,
        times: ClassTimes::default(),
        running: Cell::new(None),
        clock: TurnClock::new(start),
        core_time: CoreTime::default(),
        looks_around: Cell::new(0),
        is_watched: Cell::new(false),
        random: Cell::new(0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1)),
    });
    let is_first = LOCAL.with(|slot| slot.set(Rc::clone(&local)).is_ok());
    assert!(is_first, "a thread is one worker");
    scheduler.idle.enlist(index);
    while !local.survives(scheduler) {}
    local.clear();
}

impl Local {
    fn is_of(&self, scheduler: &Scheduler) -> bool {
        self.system.scheduler().is_some_and(|own| std::ptr::eq(own, scheduler))
    }

    /// A process became runnable during a turn of this worker.
    #[inline]
    fn woke(&self, run: Run) {
        let has_others = !self.times.is_empty();
        run.set_since(budget::looked());
        let identity = run.identity();
        let (class, deadline) = (identity.class, identity.deadline());
        if self.running.get() == Some(class) && deadline == Time::MAX {
            self.queues.0[class.index()].push_next(run);
            self.times.filled(class);
        } else {
            self.push(run, false);
        }
        if has_others {
            self.wake_another();
        } else {
            budget::nudge_later();
        }
        if !self.is_watched.get() {
            self.be_watched();
        }
    }

    /// A worker that is about to park may miss this: what waits is in this worker's own queue, and
    /// if the turn gets long somebody watches it. So no fence.
    fn wake_another(&self) {
        if let Some(scheduler) = self.system.scheduler()
            && scheduler.idle.has_parked()
        {
            scheduler.idle.wake_one();
        }
    }

    #[cold]
    fn be_watched(&self) {
        if !self.is_watched.replace(true)
            && let Some(scheduler) = self.system.scheduler()
        {
            scheduler.idle.be_watched();
        }
    }

    #[inline]
    fn push(&self, run: Run, is_spent: bool) {
        let (class, deadline) = (run.identity().class, run.identity().deadline());
        let queue = &self.queues.0[class.index()];
        if is_spent {
            queue.spent.push(run);
        } else if deadline == Time::MAX {
            queue.fresh.push(run);
        } else {
            return self.push_dated(class, deadline, run);
        }
        self.times.filled(class);
    }

    #[cold]
    fn push_dated(&self, class: Class, deadline: Time, run: Run) {
        self.queues.0[class.index()].dated.push(deadline, run);
        self.times.filled_dated(class);
    }

    /// Works until the scheduler stops. False if a panic of the user's has come through, which was
    /// in no process's own fence, as of a waker: then the turn's process has ended by it.
    fn survives(&self, scheduler: &Scheduler) -> bool {
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.work(scheduler))) else {
            return true;
        };
        // What loom and shuttle find is a panic.
        if cfg!(any(evenkeel_loom, evenkeel_shuttle)) {
            resume_unwind(payload);
        }
        self.running.set(None);
        budget::end();
        forget_current();
        self.system.count_panic();
        let reason = said_by(payload);
        tracing::error!(reason, "a panic ended a turn from outside of its handler");
        false
    }

    fn work(&self, scheduler: &Scheduler) {
        let lane = &*scheduler.lanes[self.index];
        let mut now = self.clock.now(Time::ZERO);
        let mut balanced = now;
        self.core_time.begin(now);
        while !scheduler.is_stopping.load(Ordering::Relaxed) {
            // What is done between turns is no time of the next one.
            if !scheduler.inbox.is_empty() {
                self.take_inbox(scheduler);
                now = self.clock.now(now);
            }
            self.fire_timers(&mut now);
            if let Some((run, kind)) = self.next(now) {
                self.dispatch(lane, run, kind, &mut now);
                if now.as_nanos() - balanced.as_nanos() >= BALANCE_NS {
                    self.balance(scheduler, now);
                    now = self.clock.check(now);
                    balanced = now;
                    self.core_time.begin(now);
                }
            } else {
                scheduler.idle.search(self.index, &Search { local: self, scheduler });
                if self.has_several(scheduler) {
                    // Stolen, or fired: behind the turn that begins now.
                    self.be_watched();
                }
                let idle_since = now;
                now = self.clock.check(now);
                self.core_time.was_idle(now - idle_since);
            }
        }
    }

    /// Takes over what came from outside; if that is more than one, another worker may help.
    fn take_inbox(&self, scheduler: &Scheduler) {
        let mut taken = 0;
        scheduler.inbox.take(|run| {
            self.push(run, false);
            taken += 1;
        });
        if taken > 1 {
            self.be_watched();
            // Between the inbox and these queues a worker that was about to park saw them nowhere.
            scheduler.idle.announce();
        }
    }

    /// Fires what is due in this worker's wheel; in others' too when some time has passed, since
    /// theirs may be in a long turn.
    #[inline]
    fn fire_timers(&self, now: &mut Time) {
        let timers = self.system.timers();
        if timers.is_due(self.index, *now) {
            budget::look(*now);
            timers.fire_in(self.index, *now, TIMERS_AT_ONCE);
            *now = self.clock.now(*now);
        }
        if now.as_nanos() >= self.looks_around.get() {
            self.fire_all_timers(*now);
            *now = self.clock.now(*now);
        }
    }

    fn fire_all_timers(&self, now: Time) {
        self.looks_around.set(now.as_nanos().saturating_add(TIMERS_LOOK_NS));
        budget::look(now);
        self.system.timers().fire(now, TIMERS_AT_ONCE);
    }

    /// The next run of this worker's own queues, and from which queue of its class it is.
    #[inline]
    fn next(&self, now: Time) -> Option<(Run, Kind)> {
        let times = &self.times;
        while let Some(class) = times.pick() {
            let queue = &self.queues.0[class.index()];
            let drawn = queue.draw(class, times, now);
            if queue.is_empty() && !times.is_dated(class) {
                times.emptied(class);
            }
            // None if other workers have stolen it all.
            if drawn.is_some() {
                return drawn;
            }
        }
        None
    }

    /// Runs one turn and charges it. `now` is when the last turn ended, and is moved on.
    #[inline]
    fn dispatch(&self, lane: &Lane, run: Run, kind: Kind, now: &mut Time) {
        let (class, quantum) = (run.identity().class, run.quantum());
        if self.sits_out(&run, class, quantum) {
            self.times.note_turn(class, kind, 0);
            run.set_since(*now);
            self.push(run, true);
            return;
        }
        if kind != Kind::Spent {
            lane.counters[class.index()].waits.add(run.waited_ns(*now));
        }
        let allowance = self.queues.0[class.index()].allowance(run.rest(quantum));
        budget::begin(allowance, *now);
        lane.begins_turn(*now);
        self.running.set(Some(class));
        let mut turn = InTurn { class, kind, quantum, allowance, counted: 0, charged: 0 };
        let after = run.turn(|header| self.charge(lane, header, &mut turn, now));
        self.running.set(None);
        budget::end();
        match after {
            After::Again(run) => {
                let is_spent = run.book(turn.charged, quantum);
                run.set_since(*now);
                self.push(run, is_spent);
            }
            After::Idle(None) => {}
            // What is dropped with the last holder may send, and be woken, and take its time.
            After::Idle(Some(holder)) | After::Done(holder) => {
                drop(holder);
                *now = self.clock.now(*now);
            }
        }
    }

    /// Charges what a turn has used since it was charged last.
    #[inline]
    fn charge(&self, lane: &Lane, header: &Header, turn: &mut InTurn, now: &mut Time) {
        let &mut InTurn { class, kind, quantum, allowance, counted, charged } = turn;
        turn.counted = budget::used();
        let end = self.clock.now(*now);
        let nanos = end.as_nanos() - now.as_nanos();
        *now = end;
        let (core_ns, charged_ns) = if nanos > TURN_DOUBTED_NS {
            let core_ns = self.core_time.within(nanos, end);
            // A thread whose time is counted in ticks may seem to have had none.
            (core_ns, core_ns.max(QUANTUM_NS))
        } else {
            (nanos, nanos)
        };
        let charge = (turn.counted - counted).max(charged_ns / REDUCTION_NS);
        self.times.charge(class, charge);
        self.times.note_turn(class, kind, charge);
        let counters = &lane.counters[class.index()];
        grow(&counters.reductions, charge);
        if counters.lengths.add(nanos) {
            let name = header.identity().name;
            self.system.counters().note_turn(SlowTurn { name, nanos, core_ns }, class, end);
        }
        header.count(charge);

        turn.charged = charged.saturating_add(u32::try_from(charge).unwrap_or(u32::MAX));
        self.queues.0[class.index()].leaves(allowance.saturating_sub(turn.charged));
        if turn.charged > quantum {
            let owed = |used: u32| used.saturating_sub(quantum).min(quantum * DEBT_QUANTA_MAX);
            header.debt.fetch_add(owed(turn.charged) - owed(charged), Ordering::Relaxed);
        }
    }

    /// True if the process owes a whole quantum and others of its class could run: then it pays
    /// one back by waiting.
    #[inline]
    fn sits_out(&self, header: &Header, class: Class, quantum: u32) -> bool {
        let debt = header.debt.load(Ordering::Relaxed);
        if debt < quantum {
            return false;
        }
        let debt = debt.min(quantum.saturating_mul(DEBT_QUANTA_MAX));
        header.debt.store(debt - quantum, Ordering::Relaxed);
        self.times.is_ready(class)
    }

    /// Looks for work for a moment: what comes within it costs no system call on either side.
    fn finds_work(&self, scheduler: &Scheduler) -> bool {
        // A model has no hurry, and each look is a step of it.
        for _ in 0..if cfg!(evenkeel_shuttle) { 1 } else { SEARCHES } {
            if !self.times.is_empty() || self.steal(scheduler) {
                return true;
            }
            for _ in 0..SEARCH_PAUSES {
                std::hint::spin_loop();
            }
            if !scheduler.inbox.is_empty() {
                self.take_inbox(scheduler);
            }
        }
        false
    }

    fn has_several(&self, scheduler: &Scheduler) -> bool {
        scheduler.lanes[self.index].queued_in_all() > 1
    }

    fn until_first_timer(&self) -> Option<Duration> {
        self.system.timers().look_at().map(|first: Time| first - self.system.now())
    }

    fn random(&self, below: usize) -> usize {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        usize::try_from(state % below as u64).expect("below a usize")
    }

    /// Takes half of a random victim's tasks of the heaviest class that any has.
    fn steal(&self, scheduler: &Scheduler) -> bool {
        let lanes = &scheduler.lanes;
        if lanes.len() < 2 {
            return false;
        }
        let first = self.random(lanes.len());
        for class in Class::ALL {
            for step in 0..lanes.len() {
                let victim = (first + step) % lanes.len();
                if victim != self.index && self.steal_from(&lanes[victim], class) {
                    return true;
                }
            }
        }
        false
    }

    fn steal_from(&self, victim: &Lane, class: Class) -> bool {
        let theirs = &victim.classes[class.index()];
        // One, the most urgent: the thief runs it next.
        if theirs.dated.len() > 0
            && let Some((deadline, run)) = theirs.dated.pop()
        {
            self.push_dated(class, deadline, run);
            return true;
        }
        let has_stolen = theirs.steal_half(&self.queues.0[class.index()]);
        if has_stolen {
            self.times.filled(class);
        }
        has_stolen
    }

    /// Takes half of the difference from a random worker that has more than twice as much; all from
    /// one that is in a long turn, behind which it would wait until that ends.
    fn balance(&self, scheduler: &Scheduler, now: Time) {
        let lanes = &scheduler.lanes;
        let victim = self.random(lanes.len());
        if victim == self.index {
            return;
        }
        let is_stuck = lanes[victim].is_stuck(now, BALANCE_NS);
        for class in Class::ALL {
            let own = lanes[self.index].queued(class);
            let theirs = lanes[victim].queued(class);
            let wanted = match () {
                () if is_stuck => theirs,
                () if theirs > 2 * own + 1 => (theirs - own) / 2,
                () => 0,
            };
            while lanes[self.index].queued(class) < own + wanted
                && self.steal_from(&lanes[victim], class)
            {}
        }
    }

    /// Drops what is left when the system stops.
    fn clear(&self) {
        // What is dropped may make others runnable, of a class that was cleared before.
        while self.queues.0.iter().any(ClassQueue::has_dropped) {}
    }
}

/// A worker that looks for work.
struct Search<'a> {
    local: &'a Local,
    scheduler: &'a Scheduler,
}

impl Searcher for Search<'_> {
    fn finds_work(&self) -> bool {
        self.local.finds_work(self.scheduler)
    }

    fn leaves_work(&self) -> bool {
        !self.scheduler.inbox.is_empty() || self.local.has_several(self.scheduler)
    }

    fn has_work(&self) -> bool {
        !self.scheduler.inbox.is_empty()
            || self.scheduler.is_stopping.load(Ordering::SeqCst)
            || self.scheduler.lanes.iter().any(|lane| lane.has_work())
    }

    fn timeout(&self) -> Option<Duration> {
        self.local.until_first_timer()
    }

    fn is_due(&self) -> bool {
        let now = self.local.system.now();
        let first = self.local.system.timers().look_at();
        let is_long = |lane: &Lane| lane.is_stuck(now, BALANCE_NS) && lane.has_work();
        self.scheduler.is_stopping.load(Ordering::SeqCst)
            || first.is_some_and(|first| first <= now)
            || self.scheduler.lanes.iter().any(|lane| is_long(lane))
    }

    fn goes_on(&self) -> bool {
        // It has parked.
        self.local.is_watched.set(false);
        self.local.fire_all_timers(self.local.system.now());
        !self.scheduler.is_stopping.load(Ordering::SeqCst)
    }
}
