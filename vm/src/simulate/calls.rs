//! The calls of one simulated block: turned into transactions one by one, each on the state that
//! those before it left, and what came of them.
//!
//! Pure. Source: geth `internal/ethapi`: `sanitizeCall`, `CallDefaults`, `ToTransaction`,
//! `ToMessage`; `core/state_transition.go` for the order of the checks.

use std::sync::Arc;

use alloy_consensus::{TxEip1559, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::TransactionRequest;
use evenkeel_chain::{Header, RecoveredTx, TypedTransaction, Withdrawal};
use evenkeel_state::Account;
use revm::context::{
    TxEnv,
    either::Either,
    result::{ExecutionResult, InvalidTransaction},
};

use super::{NumberedLog, SimulateError};
use crate::{
    error::{CallError, Halt, InvalidCall, Refusal, TxFacts},
    long::Fault,
    overlay::Overlay,
};

/// Bytes counted for every call and every log beside their data: what they hold in memory.
const ITEM_BYTES: usize = 256;

/// What came of a simulated call.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedCall {
    /// What it returned; nothing if it failed.
    pub output: Bytes,
    /// What it logged.
    pub logs: Vec<NumberedLog>,
    /// Gas that it is charged.
    pub gas_used: u64,
    /// Gas that it needed before refunds.
    pub gas_peak: u64,
    /// Why it failed, if it did.
    pub fault: Option<CallError>,
    /// Its gas limit was lowered to what the request had left.
    pub is_capped: bool,
}

/// What all calls of a request share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Gas that the calls to come may use.
    pub(crate) gas: u64,
    /// Bytes that their results may have.
    pub(crate) bytes: usize,
}

/// The calls of one block.
pub(crate) struct Calls {
    rest: std::vec::IntoIter<TransactionRequest>,
    pub(crate) withdrawals: Vec<Withdrawal>,
    is_validated: bool,
    chain_id: u64,
    /// Wei per blob gas in the block.
    blob_price: u128,
    pub(crate) allowance: Allowance,
    /// Of the call that runs.
    is_capped: bool,
    /// Whose nonce begins anew after the call that runs: it was the highest.
    wraps: Option<Address>,
    pub(crate) done: Vec<SimulatedCall>,
}

/// A call ready to run.
pub(crate) struct Ready {
    pub(crate) tx: Arc<RecoveredTx>,
    pub(crate) env: TxEnv,
    /// It may offer less than the base fee.
    pub(crate) is_free: bool,
    /// Wei that it pays for a unit of blob gas.
    pub(crate) blob_price: u128,
}

impl Calls {
    pub(crate) fn new(
        (calls, withdrawals): (Vec<TransactionRequest>, Vec<Withdrawal>),
        is_validated: bool,
        (chain_id, blob_price): (u64, u128),
        allowance: Allowance,
    ) -> Self {
        Self {
            done: Vec::with_capacity(calls.len()),
            rest: calls.into_iter(),
            withdrawals,
            is_validated,
            chain_id,
            blob_price,
            allowance,
            is_capped: false,
            wraps: None,
        }
    }

    /// The next call as a transaction in the block with `header`, whose calls so far used
    /// `gas_used`; None: there are no more.
    ///
    /// # Errors
    ///
    /// It contradicts itself, a rule refuses it, or the state cannot be read.
    pub(crate) fn next(
        &mut self,
        overlay: &mut Overlay,
        header: &Header,
        gas_used: u64,
    ) -> Result<Option<Ready>, CallError> {
        let Some(call) = self.rest.next() else { return Ok(None) };
        let from = call.from.unwrap_or_default();
        let account = overlay.account(from).map_err(|error| CallError::State(error.0))?;
        let account = account.unwrap_or_default();
        let remaining = header.gas_limit.saturating_sub(gas_used);
        let required = call.gas.unwrap_or(remaining);
        if required > remaining {
            return Err(SimulateError::BlockGas { remaining, required }.into());
        }
        let gas = required.min(self.allowance.gas);
        self.is_capped = gas < required;
        let call = Call::new(call, (account.nonce, gas, self.chain_id), header.base_fee_per_gas)?;
        let mut env = call.env(self.chain_id);
        let is_free = !self.is_validated && call.max_fee == 0 && call.tip == 0;
        let facts = TxFacts::of(&env, header.base_fee_per_gas.unwrap_or(0));
        if let Some(error) = self.refusal(&call, (&account, is_free), header.base_fee_per_gas) {
            let refusal = Box::new(Refusal { error, tx: facts });
            return Err(SimulateError::Refused { refusal, supplied_gas: gas }.into());
        }
        self.wraps = None;
        if !self.is_validated {
            // revm refuses the highest nonce though it does not look at nonces; geth begins anew.
            env.nonce = 0;
            let is_call = env.kind.is_call();
            self.wraps = (is_call && account.nonce == u64::MAX).then_some(from);
        }
        // Who has blobs and offers nothing for them pays nothing, unless it is validated.
        let has_free_blobs =
            !self.is_validated && !env.blob_hashes.is_empty() && env.max_fee_per_blob_gas == 0;
        let blob_price = if has_free_blobs { 0 } else { self.blob_price };
        let tx = RecoveredTx::unsigned(call.typed(self.chain_id)?, from);
        Ok(Some(Ready { tx, env, is_free, blob_price }))
    }

    /// The first rule that a call breaks, in geth's order; revm checks them again in its own.
    fn refusal(
        &self,
        call: &Call,
        (account, is_free): (&Account, bool),
        base_fee: Option<u64>,
    ) -> Option<InvalidTransaction> {
        use InvalidTransaction as E;
        let (tx, state) = (call.nonce, account.nonce);
        if self.is_validated && tx > state {
            return Some(E::NonceTooHigh { tx, state });
        }
        if self.is_validated && tx < state {
            return Some(E::NonceTooLow { tx, state });
        }
        if self.is_validated && state == u64::MAX {
            return Some(E::NonceOverflowInTransaction);
        }
        if let Some(base_fee) = base_fee.filter(|_| !is_free) {
            if call.tip > call.max_fee {
                return Some(E::PriorityFeeGreaterThanMaxFee);
            }
            if call.max_fee < u128::from(base_fee) {
                return Some(E::GasPriceLessThanBasefee);
            }
        }
        let gas_cost = U256::from(call.gas).checked_mul(U256::from(call.max_fee))?;
        let fee = gas_cost.checked_add(call.value)?;
        (fee > account.balance).then(|| E::LackOfFundForMaxFee {
            fee: Box::new(fee),
            balance: Box::new(account.balance),
        })
    }

    /// Takes in what the last call did, once its changes are in `overlay`.
    ///
    /// # Errors
    ///
    /// The request has used up its gas or its bytes.
    pub(crate) fn applied(
        &mut self,
        overlay: &mut Overlay,
        (result, fault): (&ExecutionResult, Option<Fault>),
        logs: Vec<NumberedLog>,
    ) -> Result<(), CallError> {
        if let Some(address) = self.wraps.take() {
            overlay.set_nonce(address, 0).map_err(|error| CallError::State(error.0))?;
        }
        let gas_used = result.tx_gas_used();
        let remaining = self.allowance.gas;
        let Some(gas) = remaining.checked_sub(gas_used) else {
            return Err(SimulateError::GasCap { need: gas_used, remaining }.into());
        };
        self.allowance.gas = gas;
        let (output, fault) = match result {
            ExecutionResult::Success { output, .. } => (output.data().clone(), None),
            ExecutionResult::Revert { output, .. } => {
                (Bytes::new(), Some(CallError::Reverted { data: output.clone() }))
            }
            ExecutionResult::Halt { reason, .. } => {
                let halt = Halt { reason: reason.clone(), fault };
                (Bytes::new(), Some(CallError::Halted(halt)))
            }
        };
        let gas_peak = result.gas().total_gas_spent().max(gas_used);
        let is_capped = self.is_capped;
        let call = SimulatedCall { output, logs, gas_used, gas_peak, fault, is_capped };
        let bytes = self.allowance.bytes.checked_sub(call.size_bytes());
        self.allowance.bytes = bytes.ok_or(SimulateError::Bytes)?;
        self.done.push(call);
        Ok(())
    }
}

impl SimulatedCall {
    /// Bytes held, roughly.
    fn size_bytes(&self) -> usize {
        let logs = self.logs.iter().map(|log| ITEM_BYTES + log.log.data.data.len());
        let data = match &self.fault {
            Some(CallError::Reverted { data }) => data.len(),
            _ => self.output.len(),
        };
        ITEM_BYTES + data + logs.sum::<usize>()
    }
}

/// A call with everything filled in.
struct Call {
    from: Address,
    kind: TxKind,
    nonce: u64,
    gas: u64,
    value: U256,
    input: Bytes,
    access_list: Option<AccessList>,
    /// It names a price, or there is no base fee yet.
    is_legacy: bool,
    max_fee: u128,
    tip: u128,
    blob_hashes: Option<Vec<B256>>,
    max_blob_fee: u128,
    authorizations: Option<Vec<SignedAuthorization>>,
}

impl Call {
    fn new(
        call: TransactionRequest,
        (nonce, gas, chain_id): (u64, u64, u64),
        base_fee: Option<u64>,
    ) -> Result<Self, CallError> {
        let has_caps = call.max_fee_per_gas.is_some() || call.max_priority_fee_per_gas.is_some();
        if call.gas_price.is_some() && has_caps {
            return Err(CallError::Invalid(InvalidCall::BothFees));
        }
        if let Some(have) = call.chain_id.filter(|have| *have != chain_id) {
            return Err(CallError::Invalid(InvalidCall::ChainId { have, want: chain_id }));
        }
        let is_legacy = call.gas_price.is_some() || base_fee.is_none();
        let max_fee = call.gas_price.or(call.max_fee_per_gas).unwrap_or(0);
        Ok(Self {
            from: call.from.unwrap_or_default(),
            kind: call.to.unwrap_or(TxKind::Create),
            nonce: call.nonce.unwrap_or(nonce),
            gas,
            value: call.value.unwrap_or_default(),
            input: call.input.into_input().unwrap_or_default(),
            access_list: call.access_list,
            is_legacy,
            max_fee,
            tip: if is_legacy { max_fee } else { call.max_priority_fee_per_gas.unwrap_or(0) },
            blob_hashes: call.blob_versioned_hashes,
            max_blob_fee: call.max_fee_per_blob_gas.unwrap_or(0),
            authorizations: call.authorization_list,
        })
    }

    /// As the EVM takes it.
    fn env(&self, chain_id: u64) -> TxEnv {
        let tx_type = match (&self.authorizations, &self.blob_hashes, self.is_legacy) {
            (Some(_), _, _) => 4,
            (None, Some(_), _) => 3,
            (None, None, false) => 2,
            (None, None, true) => u8::from(self.access_list.is_some()),
        };
        let authorizations = self.authorizations.iter().flatten();
        TxEnv {
            tx_type,
            caller: self.from,
            gas_limit: self.gas,
            gas_price: self.max_fee,
            kind: self.kind,
            value: self.value,
            data: self.input.clone(),
            nonce: self.nonce,
            chain_id: Some(chain_id),
            access_list: self.access_list.clone().unwrap_or_default(),
            gas_priority_fee: (tx_type >= 2).then_some(self.tip),
            blob_hashes: self.blob_hashes.clone().unwrap_or_default(),
            max_fee_per_blob_gas: self.max_blob_fee,
            authorization_list: authorizations.cloned().map(Either::Left).collect(),
        }
    }

    /// As it stands in the block: of the newest type that its fields allow.
    fn typed(self, chain_id: u64) -> Result<TypedTransaction, CallError> {
        let from = self.from;
        let to = |name| match self.kind {
            TxKind::Call(to) => Ok(to),
            TxKind::Create => Err(SimulateError::NoRecipient(name, from)),
        };
        let Self { nonce, gas, value, input, max_fee, tip, .. } = self;
        if self.is_legacy {
            return Ok(TypedTransaction::Legacy(TxLegacy {
                chain_id: None,
                nonce,
                gas_price: max_fee,
                gas_limit: gas,
                to: self.kind,
                value,
                input,
            }));
        }
        if let Some(authorization_list) = self.authorizations {
            return Ok(TypedTransaction::Eip7702(TxEip7702 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to: to("set code")?,
                value,
                access_list: self.access_list.unwrap_or_default(),
                authorization_list,
                input,
            }));
        }
        if let Some(blob_versioned_hashes) = self.blob_hashes {
            return Ok(TypedTransaction::Eip4844(TxEip4844 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to: to("blob")?,
                value,
                access_list: self.access_list.unwrap_or_default(),
                blob_versioned_hashes,
                max_fee_per_blob_gas: self.max_blob_fee,
                input,
            }));
        }
        Ok(TypedTransaction::Eip1559(TxEip1559 {
            chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: tip,
            to: self.kind,
            value,
            access_list: self.access_list.unwrap_or_default(),
            input,
        }))
    }
}
