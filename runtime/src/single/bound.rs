//! The starvation bound: how long a process may wait for its turn. Pure.
//!
//! All lengths are in reductions, and real: a turn that overruns its quantum counts as it was. Let
//! a process of class `c` and weight `w_c` come into its queue at `s`, which is between two turns,
//! and be drawn at `d`. `T_j` is the virtual time of class `j`, `F` the floor that a class which
//! wakes is lifted to but for the lead `L` (see `scheduler::queues`); one reduction of `j` moves
//! `T_j` by `64 / w_j`. Then
//!
//! ```text
//! wait <= r + S + U + sum over j that ran, j != c: (w_j / 64) (T_c(d) - F(s) + L) + m_j
//! ```
//!
//! - `r`: the turn during which it was woken. `S`: what the strict class used between `s` and `d`.
//! - `U`: what `c` used. `m_j`: the length of the last turn of `j`.
//!
//! Proof. Nothing runs but turns, so the wait is `r` and what each class used. A class `j` that is
//! ready has `T_j >= F - L`: so it was lifted when it woke, and `F` rises only to the time of the
//! class that is picked, which is the smallest of all ready ones. So `T_j` begins at `F(s) - L` or
//! later. Class `c` is ready from `s` to `d`; when `j` is picked for the last time, `T_j <= T_c <=
//! T_c(d)`. Up to there `j` used `(w_j / 64)` of the difference, and then `m_j`.
//!
//! What of `c` itself runs:
//!
//! - S1: of its own queue at most `|current round at s| + |its round| - 1` draws go before it, each
//!   a turn or one sat out. What runs in its round was in it when it began, and each of those once.
//! - S2: let `f` and `p` be what fresh and spent draws of `c` used since `s`, each at most a
//!   quantum `Q`, and `D` what the class owes its spent ones: `D(d) = D(s) + f - 3 p`. A spent one
//!   is drawn before fresh ones if `D >= 3 Q`, which leaves `D >= 0`; fresh before spent if not,
//!   which leaves `D < 4 Q`. So a fresh process sees `3 p <= D(s) + f` and a spent one
//!   `D(s) + f < 3 p + 4 Q`: while both wait, the spent get a quarter of their class.
//! - S4: in `f` let `a` be what those with a deadline used and `b` what those without did, and `E`
//!   what the class owes these: `E(d) = E(s) + a - b`. One without is drawn before one with a
//!   deadline if `E >= Q`, which leaves `E >= 0`; the other way round if not, which leaves
//!   `E < 2 Q`. So one with a deadline sees `b <= E(s) + a`, and one without
//!   `E(s) + a < b + 2 Q`: they get half of what is fresh. Of its own queue, one with a deadline
//!   has none before it with a later one, and nobody who comes after its deadline: then that is
//!   over, and what comes must have one that is to come. Afterwards it waits as one without, and
//!   its wait counts from there.
//! - S5: those that run right after who has woken them are not drawn from a queue, and what they
//!   use is in `U`. Between two draws from the queues of `c` that is less than a quantum, so a
//!   process of a queue waits as if each turn before it had used all of its own.
//!
//! With `e` the charge of the turn of `c` before `s`, `T_c(d) <= F(s) + e + (64 / w_c) U`. So the
//! wait is at most `r + S + U (sum of weights / w_c)` and, for each other class, `m_j` and its
//! share of `e + L`: with `N` fresh processes and equal turns `q`, `N q (sum / w_c)` and a
//! constant.

use crate::{
    class::Class,
    limits::{
        DATED_REDUCTIONS_MAX, FRESH_REDUCTIONS_MAX, QUANTUM_REDUCTIONS, REDUCTION_NS, SPENT_PART,
    },
    scheduler::queues::{ClassTimes, Kind, WAKE_LEAD, WEIGHT_MAX, turn_part},
    time::{Time, nanos},
};

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Dated => "dated",
        Kind::Fresh => "fresh",
        Kind::Spent => "spent",
    }
}

const KINDS: usize = 3;

/// In which order the queue runs that was drawn from, and what is left there.
pub(super) enum Order {
    /// By deadlines; the earliest of the others.
    ByDeadline(Option<Time>),
    /// Right after who has woken it.
    Next,
    /// In rounds, this one of that size at its beginning; the oldest of those that came later.
    Rounds { size: u64, oldest: Option<Mark> },
}

const QUANTUM: u64 = QUANTUM_REDUCTIONS as u64;

/// What was so when a process came into its queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    since: Time,
    /// Number of the next turn.
    turn: u64,
    floor: u64,
    strict: u64,
    own: u64,
    /// The turn during which it was woken.
    running: u64,
    /// Draws of its class so far, by kind.
    draws: [u64; KINDS],
    /// What those used, each at most a quantum.
    parts: [u64; KINDS],
    /// What the class owed its spent ones, and its fresh ones without a deadline.
    owed: [u64; 2],
    /// What was left of the round.
    current: u64,
}

/// A draw that is to be checked.
pub(super) struct Drawn {
    pub(super) class: Class,
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) deadline: Time,
    pub(super) mark: Mark,
    pub(super) order: Order,
    /// Which queues of the class have something left.
    pub(super) waiting: [bool; KINDS],
}

/// Two queues that take turns.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// What the other one used while this one, which had something, was passed over.
    passed: [u64; 2],
    /// The draw that runs passes the other one over.
    is_passing: bool,
}

impl Pair {
    /// One of the two was drawn. Says what was passed of the other, if that has something.
    fn drew(&mut self, one: usize, is_other_waiting: bool) -> u64 {
        self.is_passing = is_other_waiting;
        self.passed[one] = 0;
        if is_other_waiting { self.passed[1 - one] } else { 0 }
    }

    fn used(&mut self, one: usize, part: u64) {
        let passed = &mut self.passed[1 - one];
        *passed = if self.is_passing { *passed + part } else { 0 };
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    total: u64,
    /// Number and length of the last turn.
    last: Option<(u64, u64)>,
    draws: [u64; KINDS],
    parts: [u64; KINDS],
    /// Fresh and spent.
    spent: Pair,
    /// Of the fresh, those with a deadline and those without.
    dated: Pair,
    /// Used since the last draw from a queue.
    chain: u64,
}

/// Counts what every class used, and asserts the bound.
#[derive(Debug, Default)]
pub(super) struct Bound {
    classes: [Used; Class::COUNT],
    turn: u64,
    /// Since when a class waits as a whole; `None` if it is not ready.
    waiting: [Option<Mark>; Class::COUNT],
}

impl Bound {
    /// A process woken at `since` comes into a queue whose round has `current` left; `running` is
    /// the length of the turn in which that was.
    pub(super) fn mark(
        &self,
        class: Class,
        since: Time,
        running: u64,
        current: usize,
        times: &ClassTimes,
    ) -> Mark {
        let used = &self.classes[class.index()];
        Mark {
            since,
            turn: self.turn,
            floor: times.floor(),
            strict: self.classes[Class::System.index()].total,
            own: used.total,
            running,
            draws: used.draws,
            parts: used.parts,
            owed: [times.fresh_used(class), times.dated_used(class)],
            current: current as u64,
        }
    }

    /// One that was to run next comes into a queue instead, whose round has `current` left: what it
    /// waits in all counts from before, what it waits in that queue from now.
    pub(super) fn mark_queued(
        &self,
        class: Class,
        before: Mark,
        current: usize,
        times: &ClassTimes,
    ) -> Mark {
        let Mark { draws, parts, owed, current, .. } =
            self.mark(class, before.since, before.running, current, times);
        Mark { draws, parts, owed, current, ..before }
    }

    /// A class has something runnable; `mark` is that of the first of it.
    pub(super) fn waits_since(&mut self, class: Class, mark: Mark) {
        self.waiting[class.index()].get_or_insert(mark);
    }

    /// Before a draw: the class that was drawn last waits anew, if it has more.
    pub(super) fn begin(&mut self, now: Time, times: &ClassTimes) {
        for class in Class::ALL {
            if times.is_ready(class) && self.waiting[class.index()].is_none() {
                self.waiting[class.index()] = Some(self.mark(class, now, 0, 0, times));
            }
        }
    }

    /// Checks a draw, and that the classes which were not drawn may still wait.
    pub(super) fn drew(&mut self, drawn: &Drawn, now: Time, times: &ClassTimes) {
        self.check_turns(drawn);
        self.check_queues(drawn);
        let Drawn { class, id, name, mark, .. } = drawn;
        let (waited, bound) = (nanos(now - mark.since), self.bound(*class, mark, times));
        assert!(
            waited <= bound,
            "process {id} ({name}) of class {} waited {waited} ns, its bound is {bound} ns",
            class.name(),
        );
        if !matches!(drawn.order, Order::Next) {
            let of_class = &mut self.classes[class.index()];
            of_class.draws[drawn.kind as usize] += 1;
            of_class.chain = 0;
        }
        // As a whole the class waits anew, from its next turn on.
        self.waiting[class.index()] = None;
        for other in Class::ALL {
            let Some(mark) = &self.waiting[other.index()] else {
                continue;
            };
            let waited = nanos(now - mark.since);
            if waited == 0 {
                continue;
            }
            let bound = self.bound(other, mark, times);
            assert!(
                waited <= bound,
                "class {} has waited {waited} ns when process {id} ({name}) of class {} is \
                 drawn, its bound is {bound} ns",
                other.name(),
                class.name(),
            );
        }
    }

    /// S1, S2 and S4.
    fn check_turns(&self, drawn: &Drawn) {
        let Drawn { class, kind, id, name, mark, order, .. } = drawn;
        let so_far = &self.classes[class.index()];
        let used = |kind: Kind| so_far.parts[kind as usize] - mark.parts[kind as usize];
        let (dated, fresh, spent) = (used(Kind::Dated), used(Kind::Fresh), used(Kind::Spent));
        let spent_max = (mark.owed[0] + dated + fresh) / SPENT_PART;
        // What the others used, and may have.
        let others = match kind {
            Kind::Dated => [(spent, spent_max), (fresh, mark.owed[1] + dated)],
            Kind::Fresh => {
                let dated_max =
                    (fresh + DATED_REDUCTIONS_MAX + QUANTUM).saturating_sub(mark.owed[1]);
                [(spent, spent_max), (dated, dated_max)]
            }
            Kind::Spent => {
                let paid = SPENT_PART * spent + FRESH_REDUCTIONS_MAX + QUANTUM;
                [(dated + fresh, paid.saturating_sub(mark.owed[0])), (0, 0)]
            }
        };
        let (ahead, ahead_max) = match order {
            Order::ByDeadline(_) => (0, 0),
            // S5.
            Order::Next => (so_far.chain, QUANTUM),
            Order::Rounds { size, .. } => {
                let ahead = so_far.draws[*kind as usize] - mark.draws[*kind as usize];
                (ahead, mark.current + size - 1)
            }
        };
        assert!(
            ahead <= ahead_max && others.iter().all(|(used, max)| used <= max),
            "process {id} ({name}) of class {}, {}, waited for {ahead} turns of its queue, or \
             reductions of its chain (bound {ahead_max}), and for reductions of others, with \
             their bounds: {others:?}",
            class.name(),
            self::name(*kind),
        );
    }

    /// S1, S2 and S4 for those that were not drawn, who else could wait for ever.
    fn check_queues(&mut self, drawn: &Drawn) {
        let Drawn { class, kind, id, name, deadline, order, waiting, .. } = drawn;
        let [has_dated, has_fresh, has_spent] = *waiting;
        let of_class = &mut self.classes[class.index()];
        let (spent, dated) = (&mut of_class.spent, &mut of_class.dated);
        // Who was passed over, for how much, and for how much at most.
        let passed = match kind {
            Kind::Dated => [
                ("spent", spent.drew(0, has_spent), FRESH_REDUCTIONS_MAX - 1),
                ("fresh", dated.drew(0, has_fresh), DATED_REDUCTIONS_MAX - 1),
            ],
            Kind::Fresh => [
                ("spent", spent.drew(0, has_spent), FRESH_REDUCTIONS_MAX - 1),
                ("dated", dated.drew(1, has_dated), QUANTUM),
            ],
            Kind::Spent => [
                ("fresh", spent.drew(1, has_dated || has_fresh), QUANTUM / SPENT_PART),
                ("dated", 0, 0),
            ],
        };
        for (other, passed, passed_max) in passed {
            assert!(
                passed <= passed_max,
                "the {other} of class {} were passed over for {passed} reductions when process \
                 {id} ({name}) is drawn, their bound is {passed_max}",
                class.name(),
            );
        }
        match order {
            Order::ByDeadline(earliest) => assert!(
                earliest.is_none_or(|earliest| *deadline <= earliest),
                "process {id} ({name}) of class {} is drawn with deadline {deadline:?} before one \
                 with {earliest:?}",
                class.name(),
            ),
            Order::Next | Order::Rounds { oldest: None, .. } => {}
            Order::Rounds { oldest: Some(oldest), .. } => {
                let ahead = of_class.draws[*kind as usize] + 1 - oldest.draws[*kind as usize];
                assert!(
                    ahead <= oldest.current,
                    "a process of class {}, {}, has waited for {ahead} turns of its queue when \
                     process {id} ({name}) is drawn, the bound of its round is {}",
                    class.name(),
                    self::name(*kind),
                    oldest.current,
                );
            }
        }
    }

    /// How long a process, or the class as a whole, with this mark may have waited, in nanoseconds.
    fn bound(&self, class: Class, mark: &Mark, times: &ClassTimes) -> u64 {
        let own = self.classes[class.index()].total - mark.own;
        let mut bound = mark.running + own;
        if class != Class::System {
            bound += self.classes[Class::System.index()].total - mark.strict;
            let lead = (times.time(class) + WAKE_LEAD).saturating_sub(mark.floor);
            // By index, since this is done for every class at every draw.
            for other in 0..Class::COUNT {
                if let Some((turn, last)) = self.classes[other].last
                    && turn >= mark.turn
                    && other != class.index()
                    && let Some(weight) = Class::ALL[other].weight()
                {
                    bound += u64::from(weight) * lead / WEIGHT_MAX + last;
                }
            }
        }
        bound * REDUCTION_NS
    }

    /// The draw of `class` that ran has used so much of its quantum.
    pub(super) fn note_turn(&mut self, class: Class, kind: Kind, used: u64) {
        let part = turn_part(used);
        let of_class = &mut self.classes[class.index()];
        of_class.parts[kind as usize] += part;
        of_class.spent.used(usize::from(kind == Kind::Spent), part);
        if kind != Kind::Spent {
            of_class.dated.used(usize::from(kind == Kind::Fresh), part);
        }
    }

    /// A turn of `class` is over.
    pub(super) fn book(&mut self, class: Class, used: u64) {
        let turn = self.turn;
        let of_class = &mut self.classes[class.index()];
        of_class.total += used;
        of_class.chain += used;
        of_class.last = Some((turn, used));
        self.turn += 1;
    }

    /// A class has nothing runnable any more.
    pub(super) fn emptied(&mut self, class: Class) {
        self.waiting[class.index()] = None;
    }
}
