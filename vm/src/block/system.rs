//! What happens in a block outside its transactions: system calls, requests, withdrawals, rewards.
//!
//! Pure. Source: EIP-4788, EIP-2935 (before the transactions); EIP-4895, EIP-6110, EIP-7002,
//! EIP-7251, EIP-7685 (after them).

use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, b256};
use evenkeel_chain::{ChainSpec, DAO_REFUND, Fork, Header, Height, Receipt};
use revm::{context::TxEnv, handler::SYSTEM_ADDRESS};

use super::ExecError;
use crate::{
    limits::SYSTEM_CALL_GAS,
    overlay::{Overlay, ReadError},
};

/// Request type of deposits (EIP-6110).
pub(super) const DEPOSIT_REQUEST: u8 = 0;
/// Request type of withdrawals (EIP-7002).
const WITHDRAWAL_REQUEST: u8 = 1;
/// Request type of consolidations (EIP-7251).
const CONSOLIDATION_REQUEST: u8 = 2;

/// Topic of the deposit contract's event.
const DEPOSIT_TOPIC: B256 =
    b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Bytes of ABI-encoded event data.
const DEPOSIT_DATA_BYTES: usize = 576;
/// Where its five fields lie, and how long they are: public key, credentials, amount, signature,
/// index. The word before each is its length; the data begin with the places of those words.
const DEPOSIT_FIELDS: [(usize, usize); 5] = [(192, 48), (288, 32), (352, 8), (416, 96), (544, 8)];
const WORD_BYTES: usize = 32;

/// Wei of block reward before Byzantium, before Constantinople, before Paris.
const REWARDS: [u64; 3] =
    [5_000_000_000_000_000_000, 3_000_000_000_000_000_000, 2_000_000_000_000_000_000];

/// The system calls before the first transaction.
pub(crate) fn before(spec: &ChainSpec, header: &Header) -> Vec<TxEnv> {
    let fork = spec.fork_of(header);
    let mut calls = Vec::new();
    if header.number == 0 {
        return calls;
    }
    if fork >= Fork::Cancun {
        let root = header.parent_beacon_block_root.unwrap_or_default();
        calls.push(call(BEACON_ROOTS_ADDRESS, Bytes::from(root.0)));
    }
    if fork >= Fork::Prague {
        calls.push(call(HISTORY_STORAGE_ADDRESS, Bytes::from(header.parent_hash.0)));
    }
    calls
}

/// The system calls after the last transaction, with the type of the requests they return.
pub(super) fn after(fork: Fork) -> Vec<(u8, TxEnv)> {
    if fork < Fork::Prague {
        return Vec::new();
    }
    vec![
        (WITHDRAWAL_REQUEST, call(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, Bytes::new())),
        (CONSOLIDATION_REQUEST, call(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, Bytes::new())),
    ]
}

fn call(contract: Address, data: Bytes) -> TxEnv {
    TxEnv {
        caller: SYSTEM_ADDRESS,
        kind: TxKind::Call(contract),
        data,
        gas_limit: SYSTEM_CALL_GAS,
        ..TxEnv::default()
    }
}

/// The deposits that the logs of the block tell of (EIP-6110).
///
/// # Errors
///
/// [`ExecError::DepositLog`].
pub(super) fn deposits(spec: &ChainSpec, receipts: &[Receipt]) -> Result<Vec<u8>, ExecError> {
    let mut requests = Vec::new();
    let Some(contract) = spec.deposit_contract else { return Ok(requests) };
    let logs = receipts.iter().flat_map(|receipt| &receipt.logs);
    for log in logs.filter(|log| is_deposit(log, contract)) {
        let data = &log.data.data;
        let malformed = || ExecError::DepositLog { len: data.len() };
        if data.len() != DEPOSIT_DATA_BYTES {
            return Err(malformed());
        }
        let word = |at: usize| U256::from_be_slice(&data[at..at + WORD_BYTES]);
        for (nth, (at, len)) in DEPOSIT_FIELDS.into_iter().enumerate() {
            let len_at = at - WORD_BYTES;
            if word(nth * WORD_BYTES) != U256::from(len_at) || word(len_at) != U256::from(len) {
                return Err(malformed());
            }
            requests.extend_from_slice(&data[at..at + len]);
        }
    }
    Ok(requests)
}

fn is_deposit(log: &Log, contract: Address) -> bool {
    log.address == contract && log.topics().first() == Some(&DEPOSIT_TOPIC)
}

/// EIP-779: what the DAO held goes where it can be asked back from.
///
/// # Errors
///
/// The state cannot be read.
pub(crate) fn drain_dao(
    spec: &ChainSpec,
    height: Height,
    overlay: &mut Overlay,
) -> Result<(), ReadError> {
    for drained in spec.dao_drained(height) {
        overlay.move_balance(*drained, DAO_REFUND)?;
    }
    Ok(())
}

/// Who is paid for a mined block, and how much. Blocks without difficulty are nobody's work: those
/// of a dev chain before Paris pay nothing, as anvil's.
#[must_use]
pub fn rewards(fork: Fork, header: &Header, ommers: &[Header]) -> Vec<(Address, U256)> {
    if fork >= Fork::Paris || header.difficulty.is_zero() {
        return Vec::new();
    }
    let [first, byzantium, constantinople] = REWARDS.map(U256::from);
    let reward = match fork {
        fork if fork < Fork::Byzantium => first,
        fork if fork < Fork::Constantinople => byzantium,
        _ => constantinople,
    };
    let miner = reward + reward * U256::from(ommers.len()) / U256::from(32);
    let ommers = ommers.iter().map(|ommer| {
        let distance = header.number.saturating_sub(ommer.number);
        (ommer.beneficiary, reward * U256::from(8_u64.saturating_sub(distance)) / U256::from(8))
    });
    std::iter::once((header.beneficiary, miner)).chain(ommers).collect()
}
