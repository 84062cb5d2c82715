//! Gas a transaction costs before its first instruction.
//!
//! Pure. Source: yellow paper (g0) with EIP-2, 2028, 2930, 3860, 7702 and 7623.

use alloy_consensus::Transaction;

use crate::{fork::Fork, tx::TxEnvelope};

const TX: u64 = 21_000;
const CREATE: u64 = 32_000;
const ZERO_BYTE: u64 = 4;
const NONZERO_BYTE_FRONTIER: u64 = 68;
const NONZERO_BYTE: u64 = 16;
const ACCESS_LIST_ADDRESS: u64 = 2_400;
const ACCESS_LIST_SLOT: u64 = 1_900;
const INIT_CODE_WORD: u64 = 2;
const AUTHORIZATION: u64 = 25_000;
/// EIP-7623: a zero byte is one token, another byte four.
const TOKENS_OF_NONZERO_BYTE: u64 = 4;
const FLOOR_TOKEN: u64 = 10;

/// What a transaction's gas limit must cover to be valid at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntrinsicGas {
    /// Charged before execution.
    pub gas: u64,
    /// Charged in the end at least (EIP-7623); zero before Prague.
    pub floor: u64,
}

impl IntrinsicGas {
    /// The lowest gas limit that is valid.
    #[must_use]
    pub const fn required(&self) -> u64 {
        if self.gas > self.floor { self.gas } else { self.floor }
    }
}

/// Intrinsic gas of `tx` under the rules of `fork`; O(n) in its call data.
#[must_use]
pub fn intrinsic_gas(tx: &TxEnvelope, fork: Fork) -> IntrinsicGas {
    let input = tx.input();
    let nonzero_bytes = input.iter().filter(|&&byte| byte != 0).count() as u64;
    let zero_bytes = input.len() as u64 - nonzero_bytes;
    let nonzero_byte = if fork >= Fork::Istanbul { NONZERO_BYTE } else { NONZERO_BYTE_FRONTIER };
    let mut gas = TX + zero_bytes * ZERO_BYTE + nonzero_bytes * nonzero_byte;

    if tx.is_create() && fork >= Fork::Homestead {
        gas += CREATE;
    }
    if tx.is_create() && fork >= Fork::Shanghai {
        gas += input.len().div_ceil(32) as u64 * INIT_CODE_WORD;
    }
    if let Some(access_list) = tx.access_list() {
        for item in access_list.iter() {
            gas += ACCESS_LIST_ADDRESS + item.storage_keys.len() as u64 * ACCESS_LIST_SLOT;
        }
    }
    gas += tx.authorization_list().map_or(0, <[_]>::len) as u64 * AUTHORIZATION;

    let tokens = zero_bytes + nonzero_bytes * TOKENS_OF_NONZERO_BYTE;
    let floor = if fork >= Fork::Prague { TX + tokens * FLOOR_TOKEN } else { 0 };
    IntrinsicGas { gas, floor }
}
