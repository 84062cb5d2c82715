//! What each command does to a `Solo` engine.
//!
//! Modes change as anvil's do: automine turned on replaces the interval, an interval automine,
//! and an interval of nothing leaves only `Mine`. Automine off leaves the interval of a mixed mode.

use std::time::Duration;

use evenkeel_chain::{
    Command, CommandError, EngineStatus, Outcome, RevertTo,
    limits::{GAS_LIMIT_MAX, GAS_LIMIT_MIN, GENESIS_MARK},
};

use super::{clock, machine::Solo, slots::Slots};
use crate::{
    engine::{Effect, Now},
    limits::{COMMANDS_WAITING_MAX, INTERVAL_MIN},
};

impl Solo {
    /// A command comes in: it is carried out now, or waits for the build in flight.
    pub(super) fn command(
        &mut self,
        now: Now,
        ticket: u64,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        // Reads only, so that it can be seen what a stuck engine is stuck with.
        if command == Command::Status {
            return answer(effects, ticket, Ok(Outcome::Status(self.status())));
        }
        if self.is_free() && self.waiting.is_empty() && !is_barrier(&command) {
            return self.carry_out(now, ticket, command, effects);
        }
        if self.waiting.len() >= COMMANDS_WAITING_MAX {
            return answer(effects, ticket, Err(CommandError::Busy));
        }
        if goes_back(&command) {
            self.revoke_build();
        }
        self.waiting.push_back((ticket, command));
    }

    /// Carries a command out, with no build in flight; a barrier, with every block durable.
    pub(super) fn carry_out(
        &mut self,
        now: Now,
        ticket: u64,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        assert!(self.is_free(), "S1: commands come between builds");
        let outcome = match command {
            Command::Mine { blocks: 0, .. } => Ok(Outcome::Blocks(Vec::new())),
            Command::Mine { blocks, interval_secs } => {
                match self.mine(ticket, blocks, interval_secs) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
            Command::SetAutomine(is_on) => Ok(self.set_automine(is_on)),
            Command::SetInterval(interval) => self.set_interval(now, interval),
            Command::IncreaseTime(secs) => {
                self.clock.increase(now.wall, secs).map(Outcome::Seconds)
            }
            Command::SetTime(timestamp) => {
                self.clock.set(now.wall, timestamp).map(Outcome::Seconds)
            }
            Command::SetNextTimestamp(timestamp) => {
                self.clock.set_next(timestamp, self.tip.timestamp).map(|()| Outcome::Done)
            }
            Command::SetTimestampInterval(secs) => self.set_timestamp_interval(secs),
            Command::SetNextBaseFee(base_fee) => self.set_next_base_fee(base_fee, effects),
            Command::SetGasLimit(gas_limit) => self.set_gas_limit(gas_limit, effects),
            Command::SetCoinbase(coinbase) => {
                self.coinbase = coinbase;
                Ok(Outcome::Done)
            }
            Command::SetNextPrevRandao(prev_randao) => {
                self.next_prev_randao = Some(prev_randao);
                Ok(Outcome::Done)
            }
            Command::Status => Ok(Outcome::Status(self.status())),
            Command::Cheat(cheat) => {
                // The executor takes it before any later build, as messages keep their order.
                effects.push(Effect::Cheat { cheat, ticket });
                return;
            }
            Command::Snapshot => {
                self.barrier = Some(ticket);
                effects.push(Effect::Mark { ticket });
                return;
            }
            // Nobody was given this number: it is for `Reset` alone.
            Command::Revert(GENESIS_MARK) => Ok(Outcome::Reverted(false)),
            Command::Reset => {
                return self.revert(ticket, RevertTo::Mark(GENESIS_MARK), effects);
            }
            Command::Revert(mark) => return self.revert(ticket, RevertTo::Mark(mark), effects),
            Command::Rollback(height) => {
                return self.revert(ticket, RevertTo::Height(height), effects);
            }
            Command::Reorg { kept, blocks } if blocks.is_empty() => {
                return self.revert(ticket, RevertTo::Height(kept), effects);
            }
            Command::Reorg { kept, blocks } => match self.reorg(ticket, kept, blocks, effects) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
        };
        answer(effects, ticket, outcome);
    }

    fn revert(&mut self, ticket: u64, to: RevertTo, effects: &mut Vec<Effect>) {
        self.barrier = Some(ticket);
        effects.push(Effect::Revert { to, ticket });
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            automine: self.is_automine,
            interval: self.slots.as_ref().map(Slots::interval),
            time_offset_secs: self.clock.offset_secs(),
            next_timestamp: self.clock.next_timestamp(),
            timestamp_interval: self.clock.spacing(),
            gas_limit: self.gas_limit,
            coinbase: self.coinbase,
        }
    }

    fn mine(
        &mut self,
        ticket: u64,
        blocks: u64,
        interval_secs: Option<u64>,
    ) -> Result<(), CommandError> {
        let interval_secs = interval_secs.unwrap_or(0);
        clock::check_range(interval_secs)?;
        self.jobs.add(ticket, blocks, interval_secs)
    }

    fn set_automine(&mut self, is_on: bool) -> Outcome {
        if is_on && !self.is_automine {
            self.slots = None;
        }
        self.is_automine = is_on;
        Outcome::Done
    }

    fn set_interval(
        &mut self,
        now: Now,
        interval: Option<Duration>,
    ) -> Result<Outcome, CommandError> {
        if let Some(found) = interval.filter(|interval| *interval < INTERVAL_MIN) {
            return Err(CommandError::IntervalTooShort { found, min: INTERVAL_MIN });
        }
        self.is_automine = false;
        self.slots = interval.map(|interval| Slots::new(now.at, interval));
        Ok(Outcome::Done)
    }

    fn set_timestamp_interval(&mut self, secs: Option<u64>) -> Result<Outcome, CommandError> {
        clock::check_range(secs.unwrap_or(0))?;
        self.clock.set_spacing(secs);
        Ok(Outcome::Done)
    }

    fn set_next_base_fee(
        &mut self,
        base_fee: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, CommandError> {
        if !self.tip.has_base_fee {
            return Err(CommandError::NoBaseFee);
        }
        self.next_base_fee = Some(base_fee);
        effects.push(Effect::SetNextBaseFee(base_fee));
        Ok(Outcome::Done)
    }

    fn set_gas_limit(
        &mut self,
        gas_limit: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, CommandError> {
        if !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&gas_limit) {
            let (min, max) = (GAS_LIMIT_MIN, GAS_LIMIT_MAX);
            return Err(CommandError::GasLimitOutOfRange { found: gas_limit, min, max });
        }
        self.gas_limit = gas_limit;
        effects.push(Effect::SetGasLimit(gas_limit));
        Ok(Outcome::Done)
    }
}

/// Barriers need every block to be durable, and no build beside them.
pub(super) const fn is_barrier(command: &Command) -> bool {
    matches!(command, Command::Snapshot) || goes_back(command)
}

/// Whether blocks are dropped, the one being built first of all.
const fn goes_back(command: &Command) -> bool {
    match command {
        Command::Revert(_) | Command::Reset | Command::Rollback(_) | Command::Reorg { .. } => true,
        Command::Snapshot
        | Command::Mine { .. }
        | Command::SetAutomine(_)
        | Command::SetInterval(_)
        | Command::IncreaseTime(_)
        | Command::SetTime(_)
        | Command::SetNextTimestamp(_)
        | Command::SetTimestampInterval(_)
        | Command::SetNextBaseFee(_)
        | Command::SetGasLimit(_)
        | Command::SetCoinbase(_)
        | Command::SetNextPrevRandao(_)
        | Command::Cheat(_)
        | Command::Status => false,
    }
}

pub(super) fn answer(
    effects: &mut Vec<Effect>,
    ticket: u64,
    outcome: Result<Outcome, CommandError>,
) {
    effects.push(Effect::Answer { ticket, outcome });
}
