//! Solo: the consensus of one. It decides when a block is made and what its header says.
//!
//! Pure: no clock, no I/O, no randomness. [`Consensus`](crate::Consensus) carries out its effects.
//!
//! # Protocol
//!
//! A block is made for one of three reasons, asked in this order whenever nothing is being built:
//! a *slot* of the interval is due; a *mine* command wants its next block; or, in automine, a
//! transaction is *ready*. Slots and mines alternate when both always want, and mines take turns.
//!
//! `Build` -> `Built` -> `Finalize` -> `Applied`. The next `Build` may be ordered after `Finalize`,
//! while the disk still works on the last blocks, but automine waits for all of them: what arrives
//! during a sync shares the next block. `Empty` ends an automine round until the next `PoolReady`.
//!
//! Commands are carried out between builds, in the order they came; those that arrive during a
//! build wait in a bounded queue. `Snapshot` and whatever goes back are *barriers*: they wait until
//! every block is durable, and no build starts until the executor has answered. A build in flight
//! when one that goes back arrives is discarded: its block could only be reverted.
//!
//! A failed build is tried again after a wait that doubles; a slot keeps its claim, `Mine` gives up
//! after a few.
//!
//! # Invariants
//!
//! - S1: at most one build is in flight, and none during a barrier.
//! - S2: a `PoolReady` is followed by a block started after it, or by `Empty`, in automine.
//! - S3: timestamps are as [`super::clock`] C1 says; heights are consecutive.
//! - S4: every command is answered exactly once, `Mine` when its last block is durable.
//! - S5: `next_deadline` is after the last step: a step never asks to be run again at once.
//! - S6: commands cannot hold up a wanted build for longer than one barrier.

use std::{collections::VecDeque, mem, time::Duration};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use evenkeel_chain::{BlockAttributes, Command, CommandError, Outcome, SealedBlock};
use evenkeel_runtime::Time;

use super::{
    clock::ChainClock,
    commands::is_barrier,
    config::{ConfigError, Mining, SoloConfig},
    mine::MineJobs,
    reorg::Reorg,
    slots::Slots,
};
use crate::{
    engine::{Effect, Engine, Event, Head, Now},
    limits::{INTERVAL_MIN, RETRY_DELAY_MAX, RETRY_DELAY_MIN, UNAPPLIED_MAX},
};

/// Why a block is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// A slot of the interval is due.
    Slot,
    /// The `Mine` command of this ticket wants its next block.
    Mine { ticket: u64, interval_secs: u64 },
    /// A transaction is ready.
    Automine,
}

/// The build in flight.
#[derive(Debug)]
struct Build {
    id: u64,
    purpose: Purpose,
    timestamp: u64,
    /// The clock once the block exists.
    clock_after: ChainClock,
    /// A `PoolReady` that this block is to answer.
    has_ready: bool,
    /// A `Revert` has come since.
    is_revoked: bool,
}

/// The newest finalized block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    pub(super) height: u64,
    pub(super) hash: B256,
    pub(super) timestamp: u64,
    pub(super) has_base_fee: bool,
}

impl Tip {
    pub(super) fn of(head: &Head) -> Self {
        Self {
            height: head.header.number,
            hash: head.hash,
            timestamp: head.header.timestamp,
            has_base_fee: head.header.base_fee_per_gas.is_some(),
        }
    }
}

/// Failed builds in a row, and when to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    failures: u32,
    at: Time,
}

/// A finalized block that is not yet durable.
#[derive(Clone, Copy, Debug)]
struct Unapplied {
    hash: B256,
    /// Of the `Mine` it was made for.
    ticket: Option<u64>,
}

/// The engine of a chain with one node.
#[derive(Debug)]
pub struct Solo {
    pub(super) is_automine: bool,
    pub(super) slots: Option<Slots>,
    pub(super) clock: ChainClock,
    pub(super) gas_limit: u64,
    pub(super) coinbase: Address,
    pub(super) next_base_fee: Option<u64>,
    pub(super) next_prev_randao: Option<B256>,
    prev_randao_seed: B256,
    txs_max: Option<usize>,
    extra_data: Bytes,

    pub(super) tip: Tip,
    unapplied: VecDeque<Unapplied>,
    build: Option<Build>,
    next_build_id: u64,
    retry: Option<Retry>,
    /// S2: told by the pool, and no build started since.
    has_ready: bool,
    /// Of the build started last.
    last_purpose: Option<Purpose>,

    pub(super) jobs: MineJobs,
    pub(super) waiting: VecDeque<(u64, Command)>,
    /// Ticket of the barrier that the executor is carrying out.
    pub(super) barrier: Option<u64>,
    /// What the barrier is about, if it is a reorg.
    pub(super) reorg: Option<Reorg>,
    /// S6: a barrier ended and no build has started since.
    is_build_turn: bool,
}

impl Solo {
    /// An engine on top of `config.head`; slots count from `now`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::IntervalTooShort`].
    pub fn new(config: SoloConfig, now: Time) -> Result<Self, ConfigError> {
        let (is_automine, interval) = match config.mode {
            Mining::Automine => (true, None),
            Mining::Interval(interval) => (false, Some(interval)),
            Mining::None => (false, None),
            Mining::Mixed(interval) => (true, Some(interval)),
        };
        if let Some(found) = interval.filter(|interval| *interval < INTERVAL_MIN) {
            return Err(ConfigError::IntervalTooShort { found, min: INTERVAL_MIN });
        }
        Ok(Self {
            is_automine,
            slots: interval.map(|interval| Slots::new(now, interval)),
            clock: ChainClock::new(config.timestamps, config.time_offset_secs),
            gas_limit: config.gas_limit,
            coinbase: config.coinbase,
            next_base_fee: None,
            next_prev_randao: None,
            prev_randao_seed: config.prev_randao_seed,
            txs_max: config.txs_max,
            extra_data: config.extra_data,
            tip: Tip::of(&config.head),
            unapplied: VecDeque::new(),
            build: None,
            next_build_id: 0,
            retry: None,
            has_ready: false,
            last_purpose: None,
            jobs: MineJobs::default(),
            waiting: VecDeque::new(),
            barrier: None,
            reorg: None,
            is_build_turn: false,
        })
    }

    /// Slots of the present interval that passed without a block of their own.
    pub fn slots_missed(&self) -> u64 {
        self.slots.as_ref().map_or(0, Slots::missed)
    }

    /// Does what can be done now: commands first, in order, then the next build.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.is_free() {
            let Some((_, command)) = self.waiting.front() else { break };
            if is_barrier(command) && !self.may_barrier(now) {
                break;
            }
            let (ticket, command) = self.waiting.pop_front().expect("the front was just seen");
            self.carry_out(now, ticket, command, effects);
        }
        if self.is_free() && !self.is_draining() {
            self.start_build(now, effects);
        }
    }

    /// S1.
    pub(super) const fn is_free(&self) -> bool {
        self.build.is_none() && self.barrier.is_none()
    }

    /// A barrier starts when every block is durable; after another one, a build goes first (S6).
    fn may_barrier(&self, now: Now) -> bool {
        self.unapplied.is_empty() && !(self.is_build_turn && self.purpose(now.at).is_some())
    }

    /// With the engine free, what is first in the queue is a barrier.
    fn is_draining(&self) -> bool {
        !self.waiting.is_empty() && !self.is_build_turn
    }

    /// Marks the build in flight as unwanted.
    pub(super) const fn revoke_build(&mut self) {
        if let Some(build) = &mut self.build {
            build.is_revoked = true;
        }
    }

    /// What a block would be made for now.
    fn purpose(&self, now: Time) -> Option<Purpose> {
        if self.retry.is_some_and(|retry| now < retry.at) {
            return None;
        }
        if self.unapplied.len() >= UNAPPLIED_MAX {
            return None;
        }
        let mine =
            self.jobs.next().map(|(ticket, interval_secs)| Purpose::Mine { ticket, interval_secs });
        let is_slot_due = self.slots.as_ref().is_some_and(|slots| slots.is_due(now));
        let was_slot = self.last_purpose == Some(Purpose::Slot);
        if is_slot_due && !(was_slot && mine.is_some()) {
            return Some(Purpose::Slot);
        }
        mine.or_else(|| self.wants_automine().then_some(Purpose::Automine))
    }

    fn wants_automine(&self) -> bool {
        self.is_automine && self.has_ready && self.unapplied.is_empty()
    }

    fn start_build(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(purpose) = self.purpose(now.at) else { return };
        let jump_secs = match purpose {
            Purpose::Mine { interval_secs, .. } => interval_secs,
            Purpose::Slot | Purpose::Automine => 0,
        };
        if purpose == Purpose::Slot {
            self.slots.as_mut().expect("a slot is due").take(now.at);
        }
        let (timestamp, clock_after) = self.clock.stamp(now.wall, self.tip.timestamp, jump_secs);
        let id = self.next_build_id;
        self.next_build_id += 1;
        self.last_purpose = Some(purpose);
        self.is_build_turn = false;
        let has_ready = mem::take(&mut self.has_ready);
        self.build =
            Some(Build { id, purpose, timestamp, clock_after, has_ready, is_revoked: false });
        let prev_randao =
            self.next_prev_randao.unwrap_or_else(|| self.prev_randao(self.tip.height + 1));
        let attributes = BlockAttributes {
            base_fee: self.next_base_fee,
            txs_max: self.txs_max,
            must_have_txs: purpose == Purpose::Automine,
            ..self.attributes(timestamp, prev_randao)
        };
        effects.push(Effect::Build { id, attributes });
    }

    /// What any block is like that is made now.
    pub(super) fn attributes(&self, timestamp: u64, prev_randao: B256) -> BlockAttributes {
        BlockAttributes {
            timestamp,
            prev_randao,
            fee_recipient: self.coinbase,
            gas_limit: self.gas_limit,
            base_fee: None,
            extra_data: self.extra_data.clone(),
            parent_beacon_root: B256::ZERO,
            withdrawals: Vec::new(),
            txs_max: None,
            must_have_txs: false,
        }
    }

    /// Of a height; the same in every run with this seed, also after a revert.
    pub(super) fn prev_randao(&self, height: u64) -> B256 {
        let mut input = [0; 40];
        input[..32].copy_from_slice(self.prev_randao_seed.as_slice());
        input[32..].copy_from_slice(&height.to_be_bytes());
        keccak256(input)
    }

    fn take_build(&mut self, id: u64) -> Option<Build> {
        self.build.take_if(|build| build.id == id)
    }

    fn built(&mut self, now: Now, id: u64, block: &SealedBlock, effects: &mut Vec<Effect>) {
        let hash = block.hash;
        let Some(build) = self.take_build(id) else {
            effects.push(Effect::Discard { hash });
            return;
        };
        if build.is_revoked {
            effects.push(Effect::Discard { hash });
            self.give_back(&build);
            return;
        }
        if !self.is_next(&build, block) {
            // The executor stands on another block than we do: no build can be right.
            effects.push(Effect::Discard { hash });
            let reason = "the block built is not the next one of the chain";
            self.failed(now, &build, reason.to_owned(), effects);
            return;
        }
        let ticket = match build.purpose {
            Purpose::Mine { ticket, .. } => {
                self.jobs.built(ticket);
                Some(ticket)
            }
            Purpose::Slot | Purpose::Automine => None,
        };
        self.tip = Tip {
            height: block.header.number,
            hash,
            timestamp: block.header.timestamp,
            has_base_fee: block.header.base_fee_per_gas.is_some(),
        };
        self.clock = build.clock_after;
        self.next_base_fee = None;
        self.next_prev_randao = None;
        self.retry = None;
        self.unapplied.push_back(Unapplied { hash, ticket });
        effects.push(Effect::Finalize { hash });
    }

    /// S3.
    fn is_next(&self, build: &Build, block: &SealedBlock) -> bool {
        block.header.parent_hash == self.tip.hash
            && block.header.number == self.tip.height + 1
            && block.header.timestamp == build.timestamp
    }

    fn empty(&mut self, now: Now, id: u64, effects: &mut Vec<Effect>) {
        let Some(build) = self.take_build(id) else { return };
        match build.purpose {
            // S2: nothing was ready when the build started; what came since is in `has_ready`.
            Purpose::Automine => self.retry = None,
            // These may be empty, so the executor broke its word.
            Purpose::Slot | Purpose::Mine { .. } => {
                let reason = "no block came of a build that may be empty";
                self.failed(now, &build, reason.to_owned(), effects);
            }
        }
    }

    fn failed(&mut self, now: Now, build: &Build, reason: String, effects: &mut Vec<Effect>) {
        self.give_back(build);
        let failures = self.retry.map_or(0, |retry| retry.failures) + 1;
        let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let delay = RETRY_DELAY_MIN.saturating_mul(factor).min(RETRY_DELAY_MAX);
        assert!(delay > Duration::ZERO, "S5: a failing executor is never asked in a hot loop");
        self.retry = Some(Retry { failures, at: now.at + delay });
        if let Purpose::Mine { ticket, .. } = build.purpose
            && self.jobs.failed(ticket)
        {
            let outcome = Err(CommandError::Failed { reason });
            effects.push(Effect::Answer { ticket, outcome });
        }
    }

    /// The build made no block: what asked for it asks again.
    fn give_back(&mut self, build: &Build) {
        self.has_ready |= build.has_ready;
        match build.purpose {
            Purpose::Slot => {
                if let Some(slots) = &mut self.slots {
                    slots.give_back();
                }
            }
            // A job keeps its turn until a block of it is built.
            Purpose::Mine { .. } | Purpose::Automine => {}
        }
    }

    fn applied(&mut self, hash: B256, effects: &mut Vec<Effect>) {
        let Some(at) = self.unapplied.iter().position(|block| block.hash == hash) else { return };
        for block in self.unapplied.drain(..=at) {
            let Some(ticket) = block.ticket else { continue };
            if let Some(hashes) = self.jobs.applied(ticket, block.hash) {
                effects.push(Effect::Answer { ticket, outcome: Ok(Outcome::Blocks(hashes)) });
            }
        }
    }

    fn marked(&mut self, ticket: u64, result: Result<u64, String>, effects: &mut Vec<Effect>) {
        if self.end_barrier(ticket) {
            let outcome = result.map(Outcome::Snapshot).map_err(failed);
            effects.push(Effect::Answer { ticket, outcome });
        }
    }

    fn reverted(
        &mut self,
        now: Now,
        ticket: u64,
        result: Result<Option<Head>, String>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.end_barrier(ticket) {
            return;
        }
        if let Ok(Some(head)) = &result {
            self.tip = Tip::of(head);
            self.clock.reset(now.wall, self.tip.timestamp);
            self.next_base_fee = None;
            self.next_prev_randao = None;
        }
        let outcome = result.map(|head| Outcome::Reverted(head.is_some()));
        let outcome = outcome.map_err(failed);
        effects.push(Effect::Answer { ticket, outcome });
    }

    pub(super) fn end_barrier(&mut self, ticket: u64) -> bool {
        let is_ours = self.barrier.take_if(|current| *current == ticket).is_some();
        self.is_build_turn |= is_ours;
        is_ours
    }
}

/// An order came back undone.
pub(super) const fn failed(reason: String) -> CommandError {
    CommandError::Failed { reason }
}

impl Engine for Solo {
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::PoolReady { pending } => self.has_ready = pending > 0,
            Event::Built { id, block } => self.built(now, id, &block, effects),
            Event::Empty { id } => self.empty(now, id, effects),
            Event::BuildFailed { id, reason } => {
                if let Some(build) = self.take_build(id) {
                    self.failed(now, &build, reason, effects);
                }
            }
            // There is no other node whose blocks we would have asked about; and a deadline is
            // only a reason to look at the clock.
            Event::Verdict { .. } | Event::Deadline => {}
            Event::Applied { header: _, hash } => self.applied(hash, effects),
            Event::CheatDone { ticket, result } => {
                let outcome = result.map(|()| Outcome::Done).map_err(failed);
                effects.push(Effect::Answer { ticket, outcome });
            }
            Event::Marked { ticket, result } => self.marked(ticket, result, effects),
            Event::Reverted { ticket, result } => self.reverted(now, ticket, result, effects),
            Event::Branched { ticket, result } => self.branched(now, ticket, result, effects),
            Event::Reorged { ticket, result } => self.reorged(ticket, result, effects),
            Event::Command { command, ticket } => self.command(now, ticket, command, effects),
        }
        self.advance(now, effects);
    }

    fn next_deadline(&self) -> Option<Time> {
        // Whatever ends the wait is an event, which starts the build if one is due.
        if !self.is_free() || self.is_draining() || self.unapplied.len() >= UNAPPLIED_MAX {
            return None;
        }
        let slot = self.slots.as_ref().map(Slots::next);
        let Some(retry) = self.retry else { return slot };
        let is_slot_owed = self.slots.as_ref().is_some_and(Slots::is_owed);
        if is_slot_owed || self.jobs.next().is_some() || self.wants_automine() {
            return Some(retry.at);
        }
        // S5: a slot does not end the wait of a failing executor.
        slot.map(|slot| slot.max(retry.at))
    }
}
