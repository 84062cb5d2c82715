//! What a supervisor decides: who is made anew, who is stopped, in which order and when.
//!
//! Pure: time, entropy and what happened go in, orders come out. `actor` carries them out for a
//! tree; an actor with a [`Restart`](super::Restart) rule carries out those of a machine in which
//! it is the only child.
//!
//! A child is a process. It has *lives*: a panic, a kill or an order of the supervisor ends a life
//! and leaves the process `Down`, without state, until it is told to begin the next. A supervisor
//! is a child like any other; its life ends when all below it are down.
//!
//! ```text
//!  added           Halt
//!  -----> Running ------> Halting ---- Halted, Crashed ---> Down --- Begin --> Beginning
//!          ^  '----------------------- Crashed --------------^ ^-- Crashed ------'  |
//!          '------------------------------ Begun ------------------------------------'
//!  any --- Stop --> Stopping --- deadline: Kill --> Killing --- Exited --> (gone)
//! ```
//!
//! # Invariants
//!
//! - V1: children that begin anew together do so in the order they were added, and are halted and
//!   stopped in reverse, one after another.
//! - V2: every `Halt` that is ordered is answered by one `Crashed`, `Halted` or `Exited` before
//!   anything else is ordered of that child but an end.
//! - V3: more than `max` crashes within `window` are not followed by a restart.
//! - V4: a supervisor that stops ends when, and only when, no child is left.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{entropy::Entropy, time::Time};

/// What a supervisor does when a child's life ends by a panic or a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// That child begins anew.
    Restart,
    /// All children begin anew, in start order, once all their lives have ended.
    RestartAll,
    /// That child and those started after it begin anew.
    RestartRest,
    /// That child ends; the others go on.
    Stop,
    /// All children stop, and with them the supervisor.
    StopAll,
    /// The supervisor's own life ends at once: its parent decides.
    Escalate,
}

/// How many failures a supervisor puts up with before it fails itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts within `window`; one more failure ends the supervisor's own life.
    pub max: u32,
    /// How long a failure is remembered.
    pub window: Duration,
}

/// How long a child waits before it begins anew: `base` * 2^k ± 20 %, k counting its failures since
/// it last ran for `reset_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// No wait is longer (± 20 %).
    pub max: Duration,
    /// A life this long makes the earlier failures forgotten.
    pub reset_after: Duration,
}

impl Backoff {
    /// 10 ms at first, 30 s at most, forgotten after a minute.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(10),
        max: Duration::from_secs(30),
        reset_after: Duration::from_mins(1),
    };

    /// The wait before restart number `streak` in a row, from 1.
    fn wait(&self, streak: u32, entropy: &mut Entropy) -> Duration {
        let doubled = 2_u32.checked_pow(streak - 1).and_then(|by| self.base.checked_mul(by));
        let wait = doubled.unwrap_or(self.max).min(self.max);
        // 80 % to 120 %, so that those that fell together do not get up together.
        let percent = 80 + u32::try_from(entropy.below(41)).expect("below 41");
        wait.saturating_mul(percent) / 100
    }
}

/// A supervisor's rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    /// Nobody above: it escalates by stopping the system, and its children with grace.
    pub(crate) is_root: bool,
}

/// A child, by the number of its process: numbers grow in start order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub(crate) u64);

impl ChildId {
    /// Of a machine with one child.
    pub(crate) const ALONE: Self = Self(0);
}

/// What a supervisor learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A child was spawned; when asked to stop it gets `stop_wait` before it is killed.
    Added { child: ChildId, stop_wait: Duration },
    /// A child's life ended by a failure.
    Crashed { child: ChildId },
    /// A child's life ended because it was ordered.
    Halted { child: ChildId },
    /// A child has begun, as it was ordered.
    Begun { child: ChildId },
    /// A child's process ended.
    Exited { child: ChildId },
    /// From above: end this life.
    Halt,
    /// From above: begin the next.
    Begin,
    /// From above: stop, with grace.
    Stop,
    /// From above: end now.
    Kill,
    /// A process that is linked to this supervisor ended by a failure.
    Broken,
    /// Time has passed.
    Due,
}

/// What a supervisor orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// End this child's life, at its next turn.
    Halt(ChildId),
    /// Let this child begin its next life.
    Begin(ChildId),
    /// Let this child handle what waits for it and end.
    Stop(ChildId),
    /// End this child at its next turn.
    Kill(ChildId),
    /// `Due` at this time, which takes the place of any earlier such wish; none: there is no wish.
    Wake(Time),
    /// This life has failed, with so many failures that are remembered: tell the parent, or stop
    /// the system.
    Escalate { crashes: u32 },
    /// Tell the parent that this life has ended as ordered.
    Halted,
    /// Tell the parent that all below have begun, as ordered.
    Begun,
    /// No child is left: end.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Beginning,
    Running,
    Halting,
    /// Begins at this time, if any.
    Down(Option<Time>),
    Stopping {
        until: Time,
    },
    Killing,
}

impl Life {
    const fn is_alive(self) -> bool {
        matches!(self, Self::Beginning | Self::Running | Self::Halting)
    }
}

#[derive(Debug)]
struct Member {
    life: Life,
    stop_wait: Duration,
    began: Time,
    /// Failures in a row.
    streak: u32,
    /// Begins anew with others, in turn.
    is_in_turn: bool,
}

impl Member {
    const fn new(now: Time, stop_wait: Duration) -> Self {
        Self { life: Life::Running, stop_wait, began: now, streak: 0, is_in_turn: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    /// Ends its own life; if by itself, after so many failures.
    Halting {
        failures: Option<u32>,
    },
    /// Waits for `Begin`.
    Halted,
    Stopping,
}

/// Children from `first` on go down and begin anew together, not before `at`.
#[derive(Clone, Copy, Debug)]
struct Group {
    first: ChildId,
    at: Time,
}

/// The state of one supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    children: BTreeMap<ChildId, Member>,
    /// Failures that are still remembered; `intensity.max + 1` at most.
    crashes: VecDeque<Time>,
    mode: Mode,
    group: Option<Group>,
    /// The parent waits to be told that all have begun.
    is_beginning: bool,
    is_killed: bool,
}

impl Machine {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            children: BTreeMap::new(),
            crashes: VecDeque::new(),
            mode: Mode::Running,
            group: None,
            is_beginning: false,
            is_killed: false,
        }
    }

    /// A machine whose only child, [`ChildId::ALONE`], has begun long ago.
    pub(crate) fn alone(rules: Rules) -> Self {
        let member = Member::new(Time::ZERO, Duration::ZERO);
        Self { children: BTreeMap::from([(ChildId::ALONE, member)]), ..Self::new(rules) }
    }

    /// Takes note of what happened, and says what is to be done, in this order.
    ///
    /// O(children).
    pub(crate) fn handle(&mut self, now: Time, event: Event, entropy: &mut Entropy) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Added { child, stop_wait } => {
                self.children.insert(child, Member::new(now, stop_wait));
            }
            Event::Crashed { child } => {
                if self.went_down(child) && self.mode == Mode::Running {
                    self.decide(now, child, entropy, &mut effects);
                }
            }
            Event::Halted { child } => {
                let is_grouped = self.group.is_some_and(|group| group.first <= child);
                if self.went_down(child) && self.mode == Mode::Running && !is_grouped {
                    // It was halted with its supervisor, which has begun anew meanwhile.
                    self.set_life(child, Life::Down(Some(now)));
                }
            }
            Event::Begun { child } => {
                if let Some(member) = self.children.get_mut(&child)
                    && member.life == Life::Beginning
                {
                    member.life = Life::Running;
                }
            }
            Event::Exited { child } => {
                self.children.remove(&child);
            }
            Event::Halt if self.mode == Mode::Running => {
                self.is_beginning = false;
                self.mode = Mode::Halting { failures: None };
            }
            Event::Begin if self.mode == Mode::Halted => self.begin_all(now),
            Event::Broken if self.mode == Mode::Running => {
                let crashes = self.remember(now);
                self.escalate(crashes, &mut effects);
            }
            Event::Stop => self.mode = Mode::Stopping,
            Event::Kill => {
                self.mode = Mode::Stopping;
                self.is_killed = true;
            }
            // What it orders is in force already.
            Event::Halt | Event::Begin | Event::Broken | Event::Due => {}
        }
        self.advance(now, &mut effects);
        effects
    }

    fn set_life(&mut self, child: ChildId, life: Life) {
        self.children.get_mut(&child).expect("the caller knows the child").life = life;
    }

    /// Whether the end of a life that the supervisor is linked to ends its own: of a `child` not if
    /// it has halted that.
    pub(super) fn fails_with(&self, child: Option<ChildId>) -> bool {
        let member = child.and_then(|child| self.children.get(&child));
        member.is_none_or(|member| !matches!(member.life, Life::Halting))
    }

    /// True if the child was alive until now.
    fn went_down(&mut self, child: ChildId) -> bool {
        match self.children.get_mut(&child) {
            Some(member) if member.life.is_alive() => {
                member.life = Life::Down(None);
                member.is_in_turn = false;
                true
            }
            // One that is being stopped ends by itself.
            Some(_) | None => false,
        }
    }

    /// A new life of the supervisor itself: nothing is remembered.
    fn begin_all(&mut self, now: Time) {
        self.mode = Mode::Running;
        self.group = None;
        self.crashes.clear();
        self.is_beginning = true;
        for member in self.children.values_mut() {
            member.streak = 0;
            if member.life == Life::Down(None) {
                member.life = Life::Down(Some(now));
                member.is_in_turn = true;
            }
        }
    }

    fn decide(
        &mut self,
        now: Time,
        child: ChildId,
        entropy: &mut Entropy,
        effects: &mut Vec<Effect>,
    ) {
        let Rules { strategy, intensity, .. } = self.rules;
        let crashes = self.remember(now);
        let first = match strategy {
            Strategy::Stop => {
                self.crashes.clear();
                self.set_life(child, Life::Killing);
                return effects.push(Effect::Kill(child));
            }
            Strategy::StopAll => {
                self.mode = Mode::Stopping;
                return;
            }
            Strategy::Escalate => return self.escalate(crashes, effects),
            Strategy::Restart | Strategy::RestartAll | Strategy::RestartRest
                if crashes > intensity.max =>
            {
                // V3
                return self.escalate(crashes, effects);
            }
            Strategy::Restart => None,
            Strategy::RestartAll => self.children.keys().next().copied(),
            Strategy::RestartRest => Some(child),
        };
        let backoff = self.rules.backoff;
        let member = self.children.get_mut(&child).expect("it went down just now");
        if now - member.began >= backoff.reset_after {
            member.streak = 0;
        }
        member.streak = member.streak.saturating_add(1);
        let at = now + backoff.wait(member.streak, entropy);
        let Some(first) = first else {
            member.life = Life::Down(Some(at));
            return;
        };
        let before = self.group.unwrap_or(Group { first, at });
        self.group = Some(Group { first: before.first.min(first), at: before.at.max(at) });
    }

    /// Takes note of a failure; says how many are remembered.
    fn remember(&mut self, now: Time) -> u32 {
        let window = self.rules.intensity.window;
        self.crashes.retain(|&at| now - at < window);
        self.crashes.push_back(now);
        u32::try_from(self.crashes.len()).unwrap_or(u32::MAX)
    }

    fn escalate(&mut self, crashes: u32, effects: &mut Vec<Effect>) {
        self.group = None;
        self.is_beginning = false;
        self.crashes.clear();
        if self.rules.is_root {
            self.mode = Mode::Stopping;
            effects.push(Effect::Escalate { crashes });
        } else {
            self.mode = Mode::Halting { failures: Some(crashes) };
        }
    }

    /// Does what can be done now, and says when there will be more.
    fn advance(&mut self, now: Time, effects: &mut Vec<Effect>) {
        match self.mode {
            Mode::Running => {
                self.advance_group(effects);
                self.begin_due(now, effects);
            }
            Mode::Halting { failures } => {
                if self.halt_from(ChildId(0), effects) {
                    self.mode = Mode::Halted;
                    effects.push(match failures {
                        Some(crashes) => Effect::Escalate { crashes },
                        None => Effect::Halted,
                    });
                }
            }
            // One may have been added meanwhile.
            Mode::Halted => {
                self.halt_from(ChildId(0), effects);
            }
            Mode::Stopping => self.stop_last(now, effects),
        }
    }

    /// Halts the last living child from `first` on, unless one is halting already (V1, V2). True
    /// if all are down.
    fn halt_from(&mut self, first: ChildId, effects: &mut Vec<Effect>) -> bool {
        if self.children.range(first..).any(|(_, member)| member.life == Life::Halting) {
            return false;
        }
        let mut younger_first = self.children.range_mut(first..).rev();
        let Some((&child, last)) = younger_first.find(|(_, m)| m.life.is_alive()) else {
            return true;
        };
        last.life = Life::Halting;
        effects.push(Effect::Halt(child));
        false
    }

    fn advance_group(&mut self, effects: &mut Vec<Effect>) {
        let Some(Group { first, at }) = self.group else {
            return;
        };
        if !self.halt_from(first, effects) {
            return;
        }
        self.group = None;
        for (_, member) in self.children.range_mut(first..) {
            if let Life::Down(due) = &mut member.life {
                *due = Some(at);
                member.is_in_turn = true;
            }
        }
    }

    /// V1: in start order, as the map has them.
    fn begin_due(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let group = self.group;
        let mut first_due: Option<Time> = None;
        let mut has_to_wait = false;
        for (&child, member) in &mut self.children {
            let is_grouped = group.is_some_and(|group| group.first <= child);
            match member.life {
                Life::Beginning => has_to_wait |= member.is_in_turn,
                Life::Down(Some(_)) if is_grouped || (has_to_wait && member.is_in_turn) => {}
                Life::Down(Some(at)) if at <= now => {
                    member.life = Life::Beginning;
                    member.began = now;
                    has_to_wait |= member.is_in_turn;
                    effects.push(Effect::Begin(child));
                }
                Life::Down(Some(at)) => {
                    first_due = Some(first_due.map_or(at, |first| first.min(at)));
                }
                Life::Down(None)
                | Life::Running
                | Life::Halting
                | Life::Stopping { .. }
                | Life::Killing => {}
            }
        }
        effects.extend(first_due.map(Effect::Wake));
        let is_waited_for = |member: &Member| {
            member.life == Life::Beginning || (member.is_in_turn && !member.life.is_alive())
        };
        if self.is_beginning && group.is_none() && !self.children.values().any(is_waited_for) {
            self.is_beginning = false;
            effects.push(Effect::Begun);
        }
    }

    /// V1, V4: the last child first; the next when it is gone. A killed supervisor kills all.
    fn stop_last(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.children.is_empty() {
            return effects.push(Effect::End);
        }
        if self.is_killed {
            for (&child, member) in self.children.iter_mut().rev() {
                if member.life != Life::Killing {
                    member.life = Life::Killing;
                    effects.push(Effect::Kill(child));
                }
            }
            return;
        }
        // One that was added while another stops waits for its turn: that is being looked after.
        let busy = self
            .children
            .iter_mut()
            .rev()
            .find(|(_, member)| matches!(member.life, Life::Stopping { .. } | Life::Killing));
        let (&child, member) = match busy {
            Some(busy) => busy,
            None => self.children.iter_mut().next_back().expect("it is not empty"),
        };
        match member.life {
            Life::Beginning | Life::Running | Life::Halting | Life::Down(_) => {
                let until = now + member.stop_wait;
                member.life = Life::Stopping { until };
                effects.extend([Effect::Stop(child), Effect::Wake(until)]);
            }
            Life::Stopping { until } if until <= now => {
                member.life = Life::Killing;
                effects.push(Effect::Kill(child));
            }
            Life::Stopping { until } => effects.push(Effect::Wake(until)),
            Life::Killing => {}
        }
    }
}
