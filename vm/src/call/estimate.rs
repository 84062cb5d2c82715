//! The least gas limit with which a transaction succeeds, found as geth finds it.
//!
//! Pure. Source: geth `eth/gasestimator.Estimate`; the order of its tries and its tolerance decide
//! the number, and tools compare it.

use alloy_primitives::{TxKind, U256};
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction};

use super::{
    request::Prepared,
    single::{Single, output_of},
};
use crate::{
    error::{CallError, InvalidCall},
    noted::{Noted, Noting},
    overlay::Overlay,
    step::Step,
    suspended::Suspended,
};

/// Gas of a transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value gives its callee for free.
const CALL_STIPEND: u64 = 2_300;
/// The search ends when the bounds are this close: 1.5 %, geth's `estimateGasErrorRatio`.
const TOLERANCE: (u64, u64) = (15, 1_000);

/// A running estimate.
pub(super) struct Estimate {
    evm: Suspended<Overlay>,
    prepared: Prepared,
    attempt: Attempt,
    single: Single,
    /// With this gas limit it fails.
    low: u64,
    /// With this gas limit it succeeds, once the highest was tried.
    high: u64,
    /// What the attempt with the highest said; the others would repeat it.
    noted: Noted,
}

/// Which gas limit is being tried.
enum Attempt {
    Transfer,
    Highest,
    Optimistic(u64),
    Middle(u64),
}

impl Estimate {
    /// # Errors
    ///
    /// The sender has less than the value, or the state cannot be read.
    pub(super) fn new(
        mut overlay: Overlay,
        prepared: Prepared,
        gas_cap: Option<u64>,
        block_gas_limit: u64,
    ) -> Result<Self, CallError> {
        let tx = &prepared.tx;
        let mut high = match prepared.gas_named {
            Some(gas) if gas >= TRANSFER_GAS => gas,
            _ => block_gas_limit,
        };
        if tx.gas_price > 0 {
            let account = overlay.account(tx.caller).map_err(|error| CallError::State(error.0))?;
            let balance = account.unwrap_or_default().balance;
            if tx.value >= balance && !tx.value.is_zero() {
                return Err(CallError::Invalid(InvalidCall::FundsForTransfer));
            }
            let allowance = (balance - tx.value) / U256::from(tx.gas_price);
            high = high.min(u64::try_from(allowance).unwrap_or(u64::MAX));
        }
        high = high.min(gas_cap.unwrap_or(u64::MAX)).min(prepared.tx_gas_max);
        let is_transfer = match tx.kind {
            TxKind::Call(to) if tx.data.is_empty() => {
                overlay.code_of(to).map_err(|error| CallError::State(error.0))?.is_empty()
            }
            TxKind::Call(_) | TxKind::Create => false,
        };
        let (attempt, gas) =
            if is_transfer { (Attempt::Transfer, TRANSFER_GAS) } else { (Attempt::Highest, high) };
        let single = attempt_with(&prepared, gas);
        let evm = Suspended::new(prepared.setup.clone(), overlay, ());
        Ok(Self { evm, prepared, attempt, single, low: 0, high, noted: Noted::default() })
    }

    pub(super) fn evm(&mut self) -> &mut Suspended<Overlay> {
        &mut self.evm
    }

    /// Takes what the call said, also in an attempt that is broken off.
    pub(super) fn take_noted(&mut self) -> Noted {
        match self.attempt {
            Attempt::Highest if self.noted.is_empty() => self.evm.take_noted(),
            _ => std::mem::take(&mut self.noted),
        }
    }

    pub(super) fn step(&mut self, fuel: u64) -> Step<Result<u64, CallError>> {
        let result = match self.single.step(&mut self.evm, fuel) {
            Step::More { used } => return Step::More { used },
            Step::Offload(call) => return Step::Offload(call),
            Step::Done(result) => result,
        };
        if matches!(self.attempt, Attempt::Highest) {
            self.noted = self.evm.take_noted();
            self.evm.note(Noting::default());
        }
        // The next attempt starts from the same state.
        self.evm.finalize();
        match self.tried(result) {
            Ok(Some(gas)) => Step::Done(Ok(gas)),
            Ok(None) => Step::More { used: fuel },
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Learns from an attempt and chooses the next; returns the estimate when it is found.
    fn tried(
        &mut self,
        result: Result<ExecutionResult, CallError>,
    ) -> Result<Option<u64>, CallError> {
        let result = match result {
            // Too little gas even to begin: more may do.
            Err(error) if is_intrinsic(&error) => None,
            Err(error) => {
                if matches!(self.attempt, Attempt::Transfer) {
                    return Ok(self.attempt_next(Attempt::Highest, self.high));
                }
                return Err(refused(error));
            }
            Ok(result) => Some(result),
        };
        let has_failed = !result.as_ref().is_some_and(ExecutionResult::is_success);
        match self.attempt {
            Attempt::Transfer if !has_failed => Ok(Some(TRANSFER_GAS)),
            Attempt::Transfer => Ok(self.attempt_next(Attempt::Highest, self.high)),
            Attempt::Highest => {
                let result = match result {
                    None | Some(ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }) => {
                        return Err(CallError::GasRequiredExceedsAllowance(self.high));
                    }
                    Some(result) if has_failed => {
                        return Err(output_of(result, self.evm.fault()).expect_err("it failed"));
                    }
                    Some(result) => result,
                };
                self.low = result.tx_gas_used().saturating_sub(1);
                let peak = result.gas().total_gas_spent().max(result.tx_gas_used());
                // In 128 bits: a call may name 2^64 - 1 gas and burn most of it.
                let optimistic = (u128::from(peak) + u128::from(CALL_STIPEND)) * 64 / 63;
                let optimistic = u64::try_from(optimistic).unwrap_or(u64::MAX);
                if optimistic < self.high {
                    Ok(self.attempt_next(Attempt::Optimistic(optimistic), optimistic))
                } else {
                    Ok(self.narrow())
                }
            }
            Attempt::Optimistic(gas) | Attempt::Middle(gas) => {
                if has_failed {
                    self.low = gas;
                } else {
                    self.high = gas;
                }
                Ok(self.narrow())
            }
        }
    }

    /// Tries the middle of the bounds, unless they are close enough.
    fn narrow(&mut self) -> Option<u64> {
        let (share, whole) = TOLERANCE;
        let is_close = u128::from(self.high - self.low) * u128::from(whole)
            < u128::from(self.high) * u128::from(share);
        if self.low + 1 >= self.high || is_close {
            return Some(self.high);
        }
        let middle = self.low.midpoint(self.high);
        // Most transactions need little more than they use.
        let middle = if self.low > 0 { middle.min(self.low.saturating_mul(2)) } else { middle };
        self.attempt_next(Attempt::Middle(middle), middle)
    }

    fn attempt_next(&mut self, attempt: Attempt, gas: u64) -> Option<u64> {
        self.attempt = attempt;
        self.single = attempt_with(&self.prepared, gas);
        None
    }
}

/// geth names the gas of the attempt that was refused.
fn refused(error: CallError) -> CallError {
    match error {
        CallError::Invalid(InvalidCall::Refused { refusal, supplied_gas }) => {
            CallError::Invalid(InvalidCall::RefusedAttempt { refusal, gas: supplied_gas })
        }
        error => error,
    }
}

fn attempt_with(prepared: &Prepared, gas: u64) -> Single {
    let tx = revm::context::TxEnv { gas_limit: gas, ..prepared.tx.clone() };
    Single::new(tx, &prepared.facts)
}

fn is_intrinsic(error: &CallError) -> bool {
    let CallError::Invalid(InvalidCall::Refused { refusal, .. }) = error else { return false };
    matches!(
        refusal.error,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
            | InvalidTransaction::GasFloorMoreThanGasLimit { .. }
    )
}
