//! Block tests: blocks on a genesis, one after the other, on all their branches.

use std::{collections::HashMap, sync::Arc};

use alloy_consensus::Block;
use alloy_primitives::{Address, B64, B256, Bytes, U256};
use alloy_rlp::Decodable as _;
use anyhow::Result;
use evenkeel_chain::{BlockDecodeError, BodyError, ChainSpec, TxEnvelope};
use evenkeel_node::{BlockImport, ImportError, Imported, Limits};
use evenkeel_vm::ExecError;
use serde::Deserialize;

use super::{
    Options,
    exception::{self, Fault},
    fixture::{Accounts, FixtureConfig, alloc, check_accounts, genesis},
    network,
    tally::{Cases, expect},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockTest {
    network: String,
    genesis_block_header: GenesisHeader,
    pre: Accounts,
    blocks: Vec<FixtureBlock>,
    #[serde(rename = "lastblockhash")]
    last_block_hash: B256,
    post_state: Option<Accounts>,
    post_state_hash: Option<B256>,
    #[serde(default)]
    config: FixtureConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenesisHeader {
    hash: B256,
    parent_hash: B256,
    coinbase: Address,
    difficulty: U256,
    number: U256,
    gas_limit: U256,
    timestamp: U256,
    extra_data: Bytes,
    mix_hash: B256,
    nonce: B64,
    base_fee_per_gas: Option<U256>,
    blob_gas_used: Option<U256>,
    excess_blob_gas: Option<U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FixtureBlock {
    rlp: Bytes,
    expect_exception: Option<String>,
    block_header: Option<BlockHeader>,
}

#[derive(Deserialize)]
struct BlockHeader {
    hash: B256,
}

pub(super) fn run(options: &Options, bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: HashMap<String, BlockTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        let network = test.network.clone();
        if options.leaves_out(&network) {
            cases.skip();
            continue;
        }
        cases.run(&name, Some(&network), || check(test, options));
    }
    Ok(())
}

fn check(test: BlockTest, options: &Options) -> Result<(), String> {
    let config = network::config(&test.network, &test.config)?;
    let spec = spec(config, &test.genesis_block_header, test.pre)?;
    let first = genesis(&spec)?;
    expect("genesis hash", first.hash, test.genesis_block_header.hash)?;
    let mut chain = BlockImport::new(spec, first, Limits::consensus(), options.slice);
    for (nth, block) in test.blocks.iter().enumerate() {
        let imported = import(&mut chain, &block.rlp, block.expect_exception.as_deref());
        exception::check(imported.as_ref().err(), block.expect_exception.as_deref())
            .and_then(|()| match (&imported, &block.block_header) {
                (Ok(imported), Some(header)) => expect("hash", imported.hash, header.hash),
                _ => Ok(()),
            })
            .map_err(|reason| format!("block {nth}: {reason}"))?;
    }
    let head = chain.head();
    expect("last block", head.hash, test.last_block_hash)?;
    if let Some(expected) = test.post_state_hash {
        expect("state root", head.header.state_root, expected)?;
    }
    test.post_state.map_or(Ok(()), |expected| check_accounts(&expected, head))
}

/// Imports a block. Where tests were filled with a transaction that a block cannot have, its header
/// is often that of the block without it: two rules are broken, and the test names one. Then the
/// header is mended, to see whether the other is found too.
fn import(chain: &mut BlockImport, rlp: &[u8], expected: Option<&str>) -> Result<Imported, Fault> {
    let imported = chain.import(rlp);
    match (&imported, expected) {
        (
            Err(ImportError::Execution(ExecError::Body(BodyError::Transactions { found, .. }))),
            Some(names),
        ) if names.contains("TransactionException.") => {
            let mut mended = Block::<TxEnvelope>::decode(&mut &rlp[..])
                .map_err(|error| BlockDecodeError::Rlp { part: "fields", error })
                .map_err(ImportError::from)?;
            mended.header.transactions_root = *found;
            Ok(chain.import(&alloy_rlp::encode(mended))?)
        }
        _ => Ok(imported?),
    }
}

fn spec(
    config: alloy_genesis::ChainConfig,
    header: &GenesisHeader,
    pre: Accounts,
) -> Result<Arc<ChainSpec>, String> {
    let number = |value: &U256| value.saturating_to::<u64>();
    let file = alloy_genesis::Genesis {
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
        ..alloy_genesis::Genesis::default()
    };
    ChainSpec::from_genesis(file).map(Arc::new).map_err(|error| error.to_string())
}
