//! What is runnable on one thread, and what runs next. Pure.
//!
//! The class follows from weighted virtual time, as on worker threads. Within a class order goes by
//! rounds: whatever is runnable when a round begins runs once before anything runs twice. What is
//! fresh and has a deadline goes by that, and in orders that starve like everything else. What a
//! turn has woken in its own class may run right after it, within the quantum of that turn.
//!
//! # Invariants
//!
//! - S1: a process that waits in a queue runs in this round or the next of its queue, so after at
//!   most twice as many turns of its kind as its class has processes.
//! - S2: of four quanta of a class whose queues are both filled, three go to fresh processes.
//! - S3: no wait is longer than the bound of `bound`, which says what it is and why.
//! - S4: of what is fresh and has a deadline to come the earliest goes first; of two quanta of
//!   fresh processes of a class one goes to those without.
//! - S5: between two draws from the queues of a class, those that run right after who has woken
//!   them use less than a quantum, together with the turn that began it, but for the last one's
//!   overrun.

use std::mem;

use super::{
    bound::{Bound, Drawn, Mark, Order},
    priorities::Priorities,
};
use crate::{
    class::Class,
    entropy::Entropy,
    limits::CHAIN_REDUCTIONS_MIN,
    scheduler::queues::{ByDeadline, ClassTimes, Kind},
    status::ClassStatus,
    time::{Time, nanos},
};

/// What is queued here.
pub(crate) trait Runnable {
    fn id(&self) -> u64;
    fn name(&self) -> &'static str;
    fn class(&self) -> Class;
    /// [`Time::MAX`] if it has none.
    fn deadline(&self) -> Time;
}

/// Which process of a round runs next.
pub(crate) enum Pick {
    /// The one that waits longest.
    First,
    /// Drawn by a seed, within rounds.
    Fair(Entropy),
    /// Drawn by a seed, of all that waits.
    Chaos(Entropy),
    /// The one of the highest priority, of all that waits.
    Priorities(Priorities),
}

struct Queued<T> {
    item: T,
    since: Time,
    mark: Mark,
}

/// One queue: what runs in this round, and what came after it began.
struct Rounds<T> {
    current: Vec<Queued<T>>,
    next: Vec<Queued<T>>,
    /// How many this round began with.
    size: usize,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { current: Vec::new(), next: Vec::new(), size: 0 }
    }
}

impl<T: Runnable> Rounds<T> {
    const fn len(&self) -> usize {
        self.current.len() + self.next.len()
    }

    fn begin_round(&mut self) {
        if self.current.is_empty() {
            mem::swap(&mut self.current, &mut self.next);
            self.size = self.current.len();
        }
    }

    fn draw(&mut self, pick: &mut Pick) -> Option<Queued<T>> {
        let index = match pick {
            Pick::First => {
                if self.current.is_empty() {
                    self.begin_round();
                    self.current.reverse();
                }
                return self.current.pop();
            }
            Pick::Fair(entropy) => {
                self.begin_round();
                draw_index(entropy, self.current.len())?
            }
            Pick::Chaos(entropy) => {
                self.current.append(&mut self.next);
                draw_index(entropy, self.current.len())?
            }
            Pick::Priorities(priorities) => {
                self.current.append(&mut self.next);
                priorities.draw(self.current.iter().map(|queued| queued.item.id()))?
            }
        };
        Some(self.current.swap_remove(index))
    }

    fn retain(&mut self, keeps: impl Fn(&T) -> bool, dropped: &mut Vec<T>) {
        for queue in [&mut self.current, &mut self.next] {
            for queued in mem::take(queue) {
                if keeps(&queued.item) {
                    queue.push(queued);
                } else {
                    dropped.push(queued.item);
                }
            }
        }
    }
}

fn draw_index(entropy: &mut Entropy, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::try_from(entropy.below(len as u64)).expect("below a usize"))
}

/// The queues of one class.
struct Queues<T> {
    dated: ByDeadline<Queued<T>>,
    /// Woken by the turn that has just run.
    slot: Option<Queued<T>>,
    /// What the running turn, or the chain of them, has left for the one in the slot.
    chain: u32,
    fresh: Rounds<T>,
    spent: Rounds<T>,
    /// In a box, so that nobody moves it about.
    status: Box<ClassStatus>,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self {
            dated: ByDeadline::default(),
            slot: None,
            chain: u32::MAX,
            fresh: Rounds::default(),
            spent: Rounds::default(),
            status: Box::default(),
        }
    }
}

impl<T: Runnable> Queues<T> {
    fn len(&self) -> usize {
        self.dated.len() + usize::from(self.slot.is_some()) + self.fresh.len() + self.spent.len()
    }

    /// The queue that is drawn from.
    fn kind(&self, class: Class, times: &ClassTimes) -> Kind {
        let (has_dated, has_fresh) = (self.dated.len() > 0, self.fresh.len() > 0);
        let has_spent = self.spent.len() > 0;
        if has_spent && (times.wants_spent(class) || !(has_dated || has_fresh)) {
            Kind::Spent
        } else if has_dated && !(has_fresh && times.wants_undated(class)) {
            Kind::Dated
        } else {
            Kind::Fresh
        }
    }
}

/// A rule that is broken on purpose, to show that the bound sees it.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The last that came runs first.
    Newest,
    /// Spent processes wait for the end of all fresh ones.
    SpentLast,
    /// Those without a deadline wait for the end of all with one.
    UndatedLast,
    /// The latest deadline goes first.
    LatestFirst,
    /// Weights are ignored: the class that comes last runs first.
    LightestClass,
    /// Who is woken runs next, whatever was used since the queue was drawn from.
    EndlessChain,
}

/// All that is runnable.
pub(crate) struct Ready<T> {
    classes: [Queues<T>; Class::COUNT],
    /// What was woken since the last turn ended, and when.
    woken: Vec<(T, Time)>,
    times: ClassTimes,
    /// What was drawn last.
    drawn: (Class, Kind),
    /// How long that has waited, in nanoseconds.
    waited_ns: u64,
    pick: Pick,
    /// `None` where waits are not bounded: out of order, or in real time.
    bound: Option<Bound>,
    #[cfg(test)]
    broken: Option<Broken>,
}

impl<T: Runnable> Ready<T> {
    pub(crate) fn new(pick: Pick) -> Self {
        let bound = matches!(pick, Pick::Fair(_)).then(Bound::default);
        Self {
            classes: Default::default(),
            woken: Vec::new(),
            times: ClassTimes::default(),
            drawn: (Class::System, Kind::Fresh),
            waited_ns: 0,
            pick,
            bound,
            #[cfg(test)]
            broken: None,
        }
    }

    /// Something became runnable, perhaps during a turn: it is queued when that ends.
    pub(crate) fn woke(&mut self, item: T, since: Time) {
        self.woken.push((item, since));
    }

    /// Queues what was woken; `running` is the length of the turn that has just ended, if one has.
    fn settle(&mut self, running: u64) {
        for (item, since) in mem::take(&mut self.woken) {
            if self.runs_next(&item, running) {
                self.push_next(item, since, running);
            } else {
                self.push(item, since, Kind::Fresh, running);
            }
        }
    }

    /// True if the turn that has ended lets what it has woken run after it. Drawn orders do both.
    fn runs_next(&mut self, item: &T, running: u64) -> bool {
        let is_of_chain =
            running > 0 && item.class() == self.drawn.0 && item.deadline() == Time::MAX;
        is_of_chain
            && match &mut self.pick {
                Pick::First => true,
                Pick::Fair(entropy) => entropy.once_in(2),
                Pick::Chaos(_) | Pick::Priorities(_) => false,
            }
    }

    fn push_next(&mut self, item: T, since: Time, running: u64) {
        let class = item.class();
        self.times.filled(class);
        let mark = self.bound.as_mut().map_or_else(Mark::default, |bound| {
            let mark = bound.mark(class, since, running, 0, &self.times);
            bound.waits_since(class, mark);
            mark
        });
        let earlier = self.classes[class.index()].slot.replace(Queued { item, since, mark });
        self.give_up_slot(class, earlier);
    }

    /// Lets what was to run next wait with the other fresh ones.
    fn give_up_slot(&mut self, class: Class, next: Option<Queued<T>>) {
        let Some(Queued { item, since, mark }) = next else { return };
        let rounds = &mut self.classes[class.index()].fresh;
        let current = rounds.current.len();
        let bound = self.bound.as_ref();
        let mark = bound.map_or(mark, |b| b.mark_queued(class, mark, current, &self.times));
        rounds.next.push(Queued { item, since, mark });
    }

    fn push(&mut self, item: T, since: Time, kind: Kind, running: u64) {
        let class = item.class();
        self.times.filled(class);
        let queues = &mut self.classes[class.index()];
        let mut mark = |current: usize| {
            self.bound.as_mut().map_or_else(Mark::default, |bound| {
                let mark = bound.mark(class, since, running, current, &self.times);
                bound.waits_since(class, mark);
                mark
            })
        };
        let deadline = item.deadline();
        let is_by_deadline = matches!(self.pick, Pick::First | Pick::Fair(_));
        if kind == Kind::Fresh && is_by_deadline && deadline != Time::MAX && deadline > since {
            queues.dated.push(deadline, Queued { item, since, mark: mark(0) });
            return;
        }
        let rounds = if kind == Kind::Spent { &mut queues.spent } else { &mut queues.fresh };
        let mark = mark(rounds.current.len());
        rounds.next.push(Queued { item, since, mark });
    }

    /// Lets those of a class whose deadline is over wait with those that have none, from now on.
    fn give_up_late(&mut self, class: Class, now: Time) {
        let queues = &mut self.classes[class.index()];
        while queues.dated.first().is_some_and(|deadline| deadline <= now) {
            let Some((_, Queued { item, since, .. })) = queues.dated.pop() else { return };
            let current = queues.fresh.current.len();
            let mark = self.bound.as_ref().map(|b| b.mark(class, now, 0, current, &self.times));
            queues.fresh.next.push(Queued { item, since, mark: mark.unwrap_or_default() });
        }
    }

    /// Queues what was drawn and does not run, because it owes a quantum to the others.
    pub(crate) fn sits_out(&mut self, item: T, now: Time) {
        self.note_turn(0);
        self.push(item, now, Kind::Spent, 0);
    }

    /// What the process that was drawn last may spend of its `rest`.
    pub(crate) fn allow(&mut self, rest: u32) -> u32 {
        let chain = &mut self.classes[self.drawn.0.index()].chain;
        *chain = rest.min(*chain);
        *chain
    }

    /// What was drawn last has used so much.
    fn note_turn(&mut self, used: u64) {
        let (class, kind) = self.drawn;
        self.times.note_turn(class, kind, used);
        if let Some(bound) = &mut self.bound {
            bound.note_turn(class, kind, used);
        }
    }

    /// Queues what has just run and has more to do.
    pub(crate) fn again(&mut self, item: T, now: Time, is_spent: bool) {
        let kind = if is_spent { Kind::Spent } else { Kind::Fresh };
        self.push(item, now, kind, 0);
    }

    pub(crate) const fn is_ready(&self, class: Class) -> bool {
        self.times.is_ready(class)
    }

    /// What runs next.
    pub(crate) fn next(&mut self, now: Time) -> Option<T> {
        self.settle(0);
        if let Some(bound) = &mut self.bound {
            bound.begin(now, &self.times);
        }
        loop {
            let class = self.pick_class()?;
            self.give_up_late(class, now);
            let next = self.classes[class.index()].slot.take();
            if let Some(next) = next {
                if self.is_chain_on(class) {
                    return Some(self.draw_next(class, next, now));
                }
                self.give_up_slot(class, Some(next));
            }
            let queues = &mut self.classes[class.index()];
            queues.chain = u32::MAX;
            let kind = queues.kind(class, &self.times);
            #[cfg(test)]
            let kind = match self.broken {
                Some(Broken::SpentLast) if queues.fresh.len() > 0 => Kind::Fresh,
                Some(Broken::UndatedLast) if queues.dated.len() > 0 => Kind::Dated,
                _ => kind,
            };
            let rounds = if kind == Kind::Spent { &mut queues.spent } else { &mut queues.fresh };
            #[cfg(test)]
            if self.broken == Some(Broken::Newest) && !rounds.next.is_empty() {
                rounds.current = rounds.next.drain(rounds.next.len() - 1..).collect();
                rounds.size = 1;
            }
            let (next, order) = if kind == Kind::Dated {
                #[cfg(not(test))]
                let next = queues.dated.pop();
                #[cfg(test)]
                let next = if self.broken == Some(Broken::LatestFirst) {
                    queues.dated.pop_latest()
                } else {
                    queues.dated.pop()
                };
                (next.map(|(_, queued)| queued), Order::ByDeadline(queues.dated.first()))
            } else {
                let next = rounds.draw(&mut self.pick);
                let oldest = rounds.next.first().map(|oldest| oldest.mark);
                (next, Order::Rounds { size: rounds.size as u64, oldest })
            };
            let waiting = [queues.dated.len() > 0, queues.fresh.len() > 0, queues.spent.len() > 0];
            let is_empty = queues.len() == 0;
            if is_empty {
                self.times.emptied(class);
            }
            let Some(Queued { item, since, mark }) = next else {
                continue;
            };
            if let Some(bound) = &mut self.bound {
                let (id, name, deadline) = (item.id(), item.name(), item.deadline());
                let drawn = Drawn { class, kind, id, name, deadline, mark, order, waiting };
                bound.drew(&drawn, now, &self.times);
            }
            self.drawn = (class, kind);
            self.waited_ns = nanos(now - since);
            return Some(item);
        }
    }

    /// True if the one in the slot runs next in its class.
    fn is_chain_on(&self, class: Class) -> bool {
        let queues = &self.classes[class.index()];
        #[cfg(test)]
        if self.broken == Some(Broken::EndlessChain) {
            return true;
        }
        queues.chain >= CHAIN_REDUCTIONS_MIN
            && queues.dated.len() == 0
            && !(queues.spent.len() > 0 && self.times.wants_spent(class))
    }

    fn draw_next(&mut self, class: Class, next: Queued<T>, now: Time) -> T {
        let queues = &self.classes[class.index()];
        let waiting = [queues.dated.len() > 0, queues.fresh.len() > 0, queues.spent.len() > 0];
        if queues.len() == 0 {
            self.times.emptied(class);
        }
        let Queued { item, since, mark } = next;
        let kind = Kind::Fresh;
        if let Some(bound) = &mut self.bound {
            let (id, name, deadline) = (item.id(), item.name(), item.deadline());
            let order = Order::Next;
            let drawn = Drawn { class, kind, id, name, deadline, mark, order, waiting };
            bound.drew(&drawn, now, &self.times);
        }
        self.drawn = (class, kind);
        self.waited_ns = nanos(now - since);
        item
    }

    fn pick_class(&mut self) -> Option<Class> {
        #[cfg(test)]
        if self.broken == Some(Broken::LightestClass) {
            return Class::ALL.into_iter().rev().find(|&class| self.times.is_ready(class));
        }
        self.times.pick()
    }

    /// Books a turn that is over, and queues what it has woken.
    pub(crate) fn book(&mut self, class: Class, used: u64, busy_ns: u64) {
        self.times.charge(class, used);
        self.note_turn(used);
        let chain = &mut self.classes[class.index()].chain;
        *chain = chain.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        if let Some(bound) = &mut self.bound {
            bound.book(class, used);
        }
        let status = &mut self.classes[class.index()].status;
        status.turns += 1;
        status.reductions += used;
        status.busy_ns += busy_ns;
        status.lengths.add(busy_ns);
        // One that sits its turn out waits anew.
        if self.drawn.1 != Kind::Spent {
            status.waits.add(self.waited_ns);
        }
        self.settle(used);
    }

    pub(crate) fn status(&self, class: Class) -> ClassStatus {
        let queues = &self.classes[class.index()];
        let woken = self.woken.iter().filter(|(item, _)| item.class() == class).count();
        ClassStatus { queued: queues.len() + woken, ..(*queues.status).clone() }
    }

    /// Takes out what is not to be kept; to be dropped where nothing is locked.
    pub(crate) fn take_out(&mut self, keeps: impl Fn(&T) -> bool) -> Vec<T> {
        self.settle(0);
        let mut dropped = Vec::new();
        for class in Class::ALL {
            let queues = &mut self.classes[class.index()];
            let dated = queues.dated.take_out(|queued| keeps(&queued.item));
            dropped.extend(dated.into_iter().map(|queued| queued.item));
            let next = queues.slot.take_if(|next| !keeps(&next.item));
            dropped.extend(next.map(|queued| queued.item));
            queues.fresh.retain(&keeps, &mut dropped);
            queues.spent.retain(&keeps, &mut dropped);
            if queues.len() == 0 {
                self.times.emptied(class);
                if let Some(bound) = &mut self.bound {
                    bound.emptied(class);
                }
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests;
