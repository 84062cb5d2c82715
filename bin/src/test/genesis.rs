//! Genesis tests: the first block of a chain from before all forks, as it is encoded.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use anyhow::Result;
use evenkeel_chain::{ChainSpec, GenesisAccount, SealedBlock};
use serde::Deserialize;

use super::{
    fixture::genesis,
    tally::{Cases, expect},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenesisTest {
    nonce: U256,
    alloc: BTreeMap<Address, Account>,
    timestamp: U256,
    parent_hash: B256,
    extra_data: Bytes,
    gas_limit: U256,
    difficulty: U256,
    mix_hash: B256,
    coinbase: Address,
    result: Bytes,
}

#[derive(Deserialize)]
#[serde(default)]
struct Account {
    #[serde(alias = "wei")]
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

impl Default for Account {
    fn default() -> Self {
        Self { balance: U256::ZERO, code: Bytes::new(), storage: BTreeMap::new() }
    }
}

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, GenesisTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        cases.run(&name, None, || check(test));
    }
    Ok(())
}

fn check(test: GenesisTest) -> Result<(), String> {
    let account = |account: Account| GenesisAccount {
        balance: account.balance,
        code: Some(account.code),
        storage: Some(account.storage.into_iter().map(|(k, v)| (k.into(), v.into())).collect()),
        ..GenesisAccount::default()
    };
    let spec = ChainSpec::from_genesis(alloy_genesis::Genesis {
        nonce: test.nonce.saturating_to(),
        timestamp: test.timestamp.saturating_to(),
        extra_data: test.extra_data,
        gas_limit: test.gas_limit.saturating_to(),
        difficulty: test.difficulty,
        mix_hash: test.mix_hash,
        coinbase: test.coinbase,
        parent_hash: Some(test.parent_hash),
        alloc: test.alloc.into_iter().map(|(address, it)| (address, account(it))).collect(),
        ..alloy_genesis::Genesis::default()
    })
    .map_err(|error| error.to_string())?;
    let header = genesis(&spec)?.header.as_ref().clone();
    let found = SealedBlock::seal(header, Vec::new(), Vec::new(), None).encode_rlp();
    expect("block", Bytes::from(found), test.result)
}
