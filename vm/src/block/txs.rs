//! The transactions of a block: begun, applied, or left out. Pure.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use evenkeel_chain::{
    Fork, Receipt, RecoveredTx,
    limits::{BLOCK_SIZE_BYTES_MAX, TX_GAS_LIMIT_MAX},
};
use revm::context::{
    TxEnv,
    result::{EVMError, ExecutionResult, InvalidTransaction},
};

use super::{
    ExecError,
    observer::Observer,
    run::{BlockRun, Phase, Progress, Source, fatal},
};
use crate::{
    env,
    error::{Refusal, TxFacts},
    limits::{AUTHORITY_FUEL, CANDIDATES_MAX, TX_FUEL},
    overlay::Overlay,
    slice::{Frames, Machine, Slice},
};

/// Bytes of a block beside its transactions and withdrawals: the header (about 600, and extra data)
/// and the lengths of lists, rounded up.
const BLOCK_FRAME_BYTES: usize = 2_048;
/// Bytes of a withdrawal's RLP at most.
const WITHDRAWAL_BYTES: usize = 48;
/// Gas of the cheapest transaction.
const TX_GAS_MIN: u64 = 21_000;

/// What became of a transaction that was to begin.
enum Began {
    Running,
    Finished(ExecutionResult),
    Skipped,
}

/// The transaction at work.
pub(super) struct Current {
    tx: Arc<RecoveredTx>,
    /// Until it is begun.
    env: Option<Box<TxEnv>>,
}

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    /// Goes on with `current`, or takes the next.
    pub(super) fn txs(
        &mut self,
        current: Option<Current>,
        left: &mut u64,
    ) -> Result<Progress, ExecError> {
        let mut current = if let Some(current) = current {
            current
        } else {
            *left = left.saturating_sub(TX_FUEL);
            let Some((tx, env)) = self.next()? else { return self.finish_txs() };
            Current { tx, env: Some(Box::new(env)) }
        };
        if let Some(mut env) = current.env.take() {
            while env::recover_authority(&mut env) {
                *left = left.saturating_sub(AUTHORITY_FUEL);
                if *left == 0 {
                    current.env = Some(env);
                    return Ok(Progress::Phase(Phase::Txs(Some(current))));
                }
            }
            match self.begin(&current.tx, *env)? {
                Began::Running => {}
                Began::Finished(result) => {
                    return self.applied(current.tx, result).map(Progress::Phase);
                }
                Began::Skipped => return Ok(Progress::Phase(Phase::Txs(None))),
            }
        }
        match self.evm().resume(left).map_err(fatal)? {
            Slice::More => Ok(Progress::Phase(Phase::Txs(Some(current)))),
            Slice::Offload(call) => Ok(Progress::Offload(Phase::Txs(Some(current)), call)),
            Slice::Done(result) => self.applied(current.tx, result).map(Progress::Phase),
        }
    }

    fn next(&mut self) -> Result<Option<(Arc<RecoveredTx>, TxEnv)>, ExecError> {
        if let Source::Simulate(_) = &self.source {
            return self.next_call();
        }
        Ok(self.next_tx().map(|tx| {
            let env = env::tx_env(&tx);
            (tx, env)
        }))
    }

    fn next_tx(&mut self) -> Option<Arc<RecoveredTx>> {
        let gas_left = self.header.gas_limit - self.body.gas_used;
        match &mut self.source {
            Source::Validate { block } => block.txs.get(self.body.txs.len()).cloned(),
            Source::Single { tx } => tx.take(),
            Source::Simulate(_) => None,
            Source::Build { attributes, candidates, tried } => {
                let is_full = attributes.txs_max.is_some_and(|max| self.body.txs.len() >= max);
                if is_full || gas_left < TX_GAS_MIN || *tried >= CANDIDATES_MAX {
                    return None;
                }
                *tried += 1;
                candidates.next()
            }
        }
    }

    fn begin(&mut self, tx: &Arc<RecoveredTx>, env: TxEnv) -> Result<Began, ExecError> {
        let facts = TxFacts::of(&env, self.header.base_fee_per_gas.unwrap_or(0));
        if let Source::Simulate(_) = &self.source {
            return self.start(tx, env, facts);
        }
        let gas_left = self.header.gas_limit - self.body.gas_used;
        if tx.gas_limit() > gas_left {
            // What is wrong with it in any block is named first (EIP-7825).
            let is_capped = self.fork >= Fork::Osaka && self.has_tx_gas_cap;
            let (gas_limit, cap) = (tx.gas_limit(), TX_GAS_LIMIT_MAX);
            let error = if is_capped && gas_limit > cap {
                InvalidTransaction::TxGasLimitGreaterThanCap { gas_limit, cap }
            } else {
                InvalidTransaction::CallerGasLimitMoreThanBlock
            };
            let is_hopeless = gas_limit > self.header.gas_limit || is_hopeless(&error);
            return self.refuse(tx, Refusal { error, tx: facts }, is_hopeless);
        }
        if let Some(error) = self.lacks_room(tx) {
            return self.refuse(tx, Refusal { error, tx: facts }, false);
        }
        self.evm().allow_code_at_sender(tx.is_impersonated());
        self.start(tx, env, facts)
    }

    fn start(
        &mut self,
        tx: &Arc<RecoveredTx>,
        env: TxEnv,
        facts: TxFacts,
    ) -> Result<Began, ExecError> {
        let evm = self.evm();
        match evm.begin(env) {
            Ok(None) => Ok(Began::Running),
            Ok(Some(result)) => Ok(Began::Finished(result)),
            Err(EVMError::Transaction(error)) => {
                // B2: nothing is committed; what was loaded is forgotten.
                evm.finalize();
                let is_hopeless = is_hopeless(&error);
                self.refuse(tx, Refusal { error, tx: facts }, is_hopeless)
            }
            Err(error) => Err(fatal(error)),
        }
    }

    /// Why `tx` does not fit beside the transactions before it: blobs (EIP-4844), and for blocks of
    /// our own their size (EIP-7934); those of others were measured before.
    fn lacks_room(&self, tx: &RecoveredTx) -> Option<InvalidTransaction> {
        let blob_gas = tx.tx().blob_gas_used().unwrap_or(0);
        let params = self.spec.blob_params(self.header.timestamp);
        let blob_gas_max = params.max_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
        if blob_gas > 0 && self.body.blob_gas_used + blob_gas > blob_gas_max {
            let max = usize::try_from(params.max_blob_count).unwrap_or(usize::MAX);
            let have = usize::try_from((self.body.blob_gas_used + blob_gas) / DATA_GAS_PER_BLOB);
            return Some(InvalidTransaction::TooManyBlobs {
                max,
                have: have.unwrap_or(usize::MAX),
            });
        }
        let Source::Build { attributes, .. } = &self.source else { return None };
        let other = BLOCK_FRAME_BYTES + attributes.withdrawals.len() * WITHDRAWAL_BYTES;
        let size = other + self.body.txs_bytes + tx.rlp_length();
        // Like a block without gas for it: the next one may have room.
        (size > BLOCK_SIZE_BYTES_MAX).then_some(InvalidTransaction::CallerGasLimitMoreThanBlock)
    }

    fn refuse(
        &mut self,
        tx: &Arc<RecoveredTx>,
        refusal: Refusal,
        is_hopeless: bool,
    ) -> Result<Began, ExecError> {
        if let Source::Build { candidates, .. } = &mut self.source
            && !candidates.is_binding()
        {
            candidates.skip_sender();
            if is_hopeless {
                self.unexecutable.push((*tx.hash(), refusal.to_string()));
            }
            return Ok(Began::Skipped);
        }
        Err(ExecError::Transaction {
            index: self.body.txs.len(),
            hash: *tx.hash(),
            refusal: Box::new(refusal),
        })
    }

    /// Takes in what a transaction did; returns what comes next.
    fn applied(
        &mut self,
        tx: Arc<RecoveredTx>,
        result: ExecutionResult,
    ) -> Result<Phase, ExecError> {
        let fault = self.evm().fault();
        self.note(&result, fault);
        self.commit()?;
        self.called(&result, fault)?;
        let body = &mut self.body;
        body.gas_used += result.tx_gas_used();
        body.txs_bytes += tx.rlp_length();
        body.blob_gas_used += tx.tx().blob_gas_used().unwrap_or(0);
        let receipt = Receipt {
            tx_type: tx.tx_type(),
            success: result.is_success(),
            post_state: None,
            cumulative_gas_used: body.gas_used,
            logs: result.into_logs(),
        };
        for log in &receipt.logs {
            body.bloom.accrue_log(log);
        }
        body.receipts.push(receipt);
        body.txs.push(tx.without_sidecar());
        let changes = self.evm().db_mut().take_recorded();
        Ok(match &mut self.post_state {
            Some(state) => Phase::PostState(state.begin(&changes)),
            None => Phase::Txs(None),
        })
    }
}

/// Whether no later block can use a candidate with this fault either.
fn is_hopeless(error: &InvalidTransaction) -> bool {
    use InvalidTransaction as E;
    !matches!(
        error,
        E::NonceTooHigh { .. }
            | E::GasPriceLessThanBasefee
            | E::BlobGasPriceGreaterThanMax { .. }
            | E::CallerGasLimitMoreThanBlock
    )
}
