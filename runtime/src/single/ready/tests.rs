//! The bound holds for the rule, and sees when the rule is broken.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::*;
use crate::{cell::said_by, limits::QUANTUM_REDUCTIONS, limits::REDUCTION_NS};

struct Process {
    id: u64,
    class: Class,
    /// Reductions of each of its turns.
    turn: u64,
    /// It ends its turns woken again, or with more to do.
    is_woken_again: bool,
    deadline: Time,
}

impl Runnable for Process {
    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> &'static str {
        "process"
    }

    fn class(&self) -> Class {
        self.class
    }

    fn deadline(&self) -> Time {
        self.deadline
    }
}

/// The classes, and of how many processes one has deadlines.
type Mix<'a> = (&'a [Class], u64);

/// Runs `turns` turns of processes that always have more to do, of the given classes, with turns
/// up to `turn_max` long. Some sleep in between and come back in the middle of another's turn. Of
/// those whose number divides by `dated`, each turn has a deadline, some of them too early.
fn run(seed: u64, (classes, dated): Mix, turn_max: u64, turns: u32, broken: Option<Broken>) {
    let mut entropy = Entropy::from_seed(seed);
    let mut ready = Ready::new(Pick::Fair(Entropy::from_seed(seed + 1)));
    ready.broken = broken;
    let mut now = Time::ZERO;
    for id in 0..40 {
        let class = classes[usize::try_from(entropy.below(classes.len() as u64)).unwrap()];
        let turn = 1 + entropy.below(turn_max);
        let (is_woken_again, deadline) = (entropy.once_in(3), Time::MAX);
        ready.woke(Process { id, class, turn, is_woken_again, deadline }, now);
    }
    let mut asleep = Vec::new();
    for _ in 0..turns {
        let Some(mut process) = ready.next(now) else {
            ready.woke(asleep.pop().expect("all others sleep"), now);
            continue;
        };
        let (class, used) = (process.class, process.turn);
        ready.allow(QUANTUM_REDUCTIONS);
        for _ in 0..entropy.below(3) {
            if let Some(sleeper) = asleep.pop() {
                let part = entropy.below(used);
                let since = now.as_nanos() + part * REDUCTION_NS;
                ready.woke(sleeper, Time::from_nanos(since));
            }
        }
        now = Time::from_nanos(now.as_nanos() + used * REDUCTION_NS);
        ready.book(class, used, used * REDUCTION_NS);
        if process.id % dated == 0 {
            process.deadline = now + Duration::from_nanos(entropy.below(50 * used * REDUCTION_NS));
        }
        // The strict class leaves room for others by sleeping.
        if class == Class::System || entropy.once_in(4) {
            asleep.push(process);
        } else {
            let is_spent = !process.is_woken_again;
            ready.again(process, now, is_spent);
        }
    }
}

/// Goal: S1 to S5 hold for the rule, with overrun quanta, wake-ups in turns, the strict class, and
/// deadlines of none, some and all.
#[test]
fn the_rule_keeps_the_bound() {
    let quantum = u64::from(QUANTUM_REDUCTIONS);
    for seed in 0..8 {
        for turn_max in [quantum / 10, quantum, 20 * quantum] {
            for dated in [u64::MAX, 3, 2, 1] {
                run(seed, (&Class::ALL, dated), turn_max, 2_000, None);
                run(seed, (&[Class::Call], dated), turn_max, 500, None);
                run(seed, (&[Class::Consensus, Class::Prove], dated), turn_max, 1_000, None);
            }
        }
    }
}

/// Goal: each way to break the rule fails the assertion, which names process, class, wait, bound.
#[test]
fn a_broken_rule_breaks_the_bound() {
    let quantum = u64::from(QUANTUM_REDUCTIONS);
    let (one, all) = (&[Class::Call][..], &Class::ALL[..]);
    let cases = [
        (Broken::Newest, (one, u64::MAX), ["turns of its queue", "of class call"]),
        (
            Broken::SpentLast,
            (one, u64::MAX),
            ["the spent of class call were passed over", "their bound is 11999"],
        ),
        (
            Broken::UndatedLast,
            (one, 2),
            ["the fresh of class call were passed over", "their bound is 3999"],
        ),
        (Broken::LatestFirst, (one, 2), ["of class call is drawn with deadline", "before one"]),
        (Broken::EndlessChain, (one, u64::MAX), ["reductions of its chain", "of class call"]),
        (Broken::LightestClass, (all, u64::MAX), ["of class", "its bound is"]),
    ];
    for (broken, mix, expected) in cases {
        let run = || run(7, mix, quantum, 5_000, Some(broken));
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("the bound is broken");
        let text = said_by(panic);
        for part in expected {
            assert!(text.contains(part), "{broken:?}: {text}");
        }
    }
}
