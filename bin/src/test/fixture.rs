//! What state tests and block tests have in common: accounts, numbers, configurations.

use std::{collections::BTreeMap, sync::Arc};

use alloy_genesis::{ChainConfig, Genesis};
use alloy_primitives::{Address, B64, B256, Bytes, U256, keccak256};
use evenkeel_chain::{BlobParams, ChainSpec, GenesisAccount};
use evenkeel_state::{
    Database, Tip,
    store::{Memory, Sync},
};
use serde::Deserialize;

use super::tally::expect;

/// Accounts by address.
pub(super) type Accounts = BTreeMap<Address, FixtureAccount>;

/// An account, as tests write it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FixtureAccount {
    nonce: U256,
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

/// Rules beside the fork.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FixtureConfig {
    pub(super) chainid: Option<U256>,
    pub(super) blob_schedule: BTreeMap<String, FixtureBlobs>,
}

/// Blob parameters of a fork.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FixtureBlobs {
    target: U256,
    max: U256,
    base_fee_update_fraction: U256,
}

impl FixtureConfig {
    pub(super) fn chain_id(&self) -> u64 {
        self.chainid.map_or(1, |id| id.saturating_to())
    }

    /// By the names of a genesis file.
    pub(super) fn blobs(&self) -> BTreeMap<String, BlobParams> {
        let params = |blobs: &FixtureBlobs| BlobParams {
            target_blob_count: blobs.target.saturating_to(),
            max_blob_count: blobs.max.saturating_to(),
            update_fraction: blobs.base_fee_update_fraction.saturating_to(),
            ..BlobParams::cancun()
        };
        let schedule = self.blob_schedule.iter();
        schedule.map(|(fork, blobs)| (fork.to_lowercase(), params(blobs))).collect()
    }
}

/// The block around a transaction, or before the first one.
#[derive(Deserialize)]
pub(super) struct Environment {
    #[serde(rename = "currentCoinbase")]
    pub(super) coinbase: Address,
    #[serde(rename = "currentGasLimit")]
    pub(super) gas_limit: U256,
    #[serde(rename = "currentNumber")]
    pub(super) number: U256,
    #[serde(rename = "currentTimestamp")]
    pub(super) timestamp: U256,
    #[serde(rename = "currentDifficulty")]
    pub(super) difficulty: Option<U256>,
    /// A word, which is not always written in full.
    #[serde(rename = "currentRandom")]
    pub(super) random: Option<U256>,
    #[serde(rename = "currentBaseFee")]
    pub(super) base_fee: Option<U256>,
    #[serde(rename = "currentBlobGasUsed")]
    pub(super) blob_gas_used: Option<U256>,
    #[serde(rename = "currentExcessBlobGas")]
    pub(super) excess_blob_gas: Option<U256>,
}

/// The header of a first block, as far as it is not made of the state.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FirstHeader {
    /// What it comes to, where a test says so.
    pub(super) hash: Option<B256>,
    pub(super) parent_hash: B256,
    pub(super) coinbase: Address,
    pub(super) difficulty: U256,
    pub(super) number: U256,
    pub(super) gas_limit: U256,
    pub(super) timestamp: U256,
    pub(super) extra_data: Bytes,
    pub(super) mix_hash: B256,
    pub(super) nonce: B64,
    pub(super) base_fee_per_gas: Option<U256>,
    pub(super) blob_gas_used: Option<U256>,
    pub(super) excess_blob_gas: Option<U256>,
}

/// The accounts as a genesis file has them.
pub(super) fn alloc(accounts: Accounts) -> BTreeMap<Address, GenesisAccount> {
    let word = |value: U256| B256::from(value);
    let account = |account: FixtureAccount| GenesisAccount {
        nonce: Some(account.nonce.saturating_to()),
        balance: account.balance,
        code: Some(account.code),
        storage: Some(account.storage.into_iter().map(|(k, v)| (word(k), word(v))).collect()),
        ..GenesisAccount::default()
    };
    accounts.into_iter().map(|(address, fixture)| (address, account(fixture))).collect()
}

/// The first block of the chain, in a database in memory.
pub(super) fn genesis(spec: &ChainSpec) -> Result<Tip, String> {
    let database = Database::open_store(Arc::new(Memory::new()), spec, Sync::No);
    Ok(database.map_err(|error| error.to_string())?.tip())
}

/// The rules and the first block of a chain that begins with this header and these accounts.
///
/// # Errors
///
/// There is no such chain, or the block has another hash than the header says.
pub(super) fn first_block(
    config: ChainConfig,
    header: &FirstHeader,
    pre: Accounts,
) -> Result<(Arc<ChainSpec>, Tip), String> {
    let number = |value: &U256| value.saturating_to::<u64>();
    let file = Genesis {
        config,
        nonce: u64::from_be_bytes(header.nonce.0),
        timestamp: number(&header.timestamp),
        extra_data: header.extra_data.clone(),
        gas_limit: number(&header.gas_limit),
        difficulty: header.difficulty,
        mix_hash: header.mix_hash,
        coinbase: header.coinbase,
        alloc: alloc(pre),
        base_fee_per_gas: header.base_fee_per_gas.map(|fee| fee.saturating_to()),
        excess_blob_gas: header.excess_blob_gas.as_ref().map(number),
        blob_gas_used: header.blob_gas_used.as_ref().map(number),
        number: Some(number(&header.number)),
        parent_hash: Some(header.parent_hash),
        ..Genesis::default()
    };
    let spec = ChainSpec::from_genesis(file).map(Arc::new).map_err(|error| error.to_string())?;
    let first = genesis(&spec)?;
    header.hash.map_or(Ok(()), |expected| expect("genesis hash", first.hash, expected))?;
    Ok((spec, first))
}

/// Compares accounts with those of a state. That there are no others is for its root to say.
pub(super) fn check_accounts(expected: &Accounts, found: &Tip) -> Result<(), String> {
    expected.iter().try_for_each(|(address, expected)| check_account(*address, expected, found))
}

/// Compares one account with that of a state.
pub(super) fn check_account(
    address: Address,
    expected: &FixtureAccount,
    found: &Tip,
) -> Result<(), String> {
    let view = &found.view;
    let account = view.account(address).map_err(|error| error.to_string())?;
    let Some(account) = account else {
        return Err(format!("no account {address}, expected {expected:?}"));
    };
    expect(&format!("nonce of {address}"), U256::from(account.nonce), expected.nonce)?;
    expect(&format!("balance of {address}"), account.balance, expected.balance)?;
    let code_hash = keccak256(&expected.code);
    expect(&format!("code hash of {address}"), account.code_hash, code_hash)?;
    for (slot, value) in &expected.storage {
        let found = view.storage(address, *slot).map_err(|error| error.to_string())?;
        expect(&format!("slot {slot:#x} of {address}"), found, *value)?;
    }
    Ok(())
}

/// Checks that a state has no such account.
pub(super) fn check_gone(address: Address, found: &Tip) -> Result<(), String> {
    match found.view.account(address).map_err(|error| error.to_string())? {
        None => Ok(()),
        Some(account) => Err(format!("account {address} is {account:?}, expected none")),
    }
}
