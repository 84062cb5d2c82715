//! What state tests and block tests have in common: accounts, numbers, configurations.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
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

/// Compares accounts with those of a state. That there are no others is for its root to say.
pub(super) fn check_accounts(expected: &Accounts, found: &Tip) -> Result<(), String> {
    let view = &found.view;
    for (address, expected) in expected {
        let account = view.account(*address).map_err(|error| error.to_string())?;
        let Some(account) = account else {
            return Err(format!("no account {address}, expected {expected:?}"));
        };
        expect(&format!("nonce of {address}"), U256::from(account.nonce), expected.nonce)?;
        expect(&format!("balance of {address}"), account.balance, expected.balance)?;
        let code_hash = keccak256(&expected.code);
        expect(&format!("code hash of {address}"), account.code_hash, code_hash)?;
        for (slot, value) in &expected.storage {
            let found = view.storage(*address, *slot).map_err(|error| error.to_string())?;
            expect(&format!("slot {slot:#x} of {address}"), found, *value)?;
        }
    }
    Ok(())
}
