//! Difficulty tests: what follows from a parent, on mainnet and on chains with its rules.

use std::collections::BTreeMap;

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_genesis::ChainConfig;
use alloy_primitives::{B256, U256};
use anyhow::{Result, anyhow};
use evenkeel_chain::{ChainSpec, Header};
use serde::Deserialize;

use super::tally::{Cases, expect};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DifficultyTest {
    parent_timestamp: U256,
    parent_difficulty: U256,
    parent_uncles: Option<B256>,
    current_timestamp: U256,
    current_block_number: U256,
    current_difficulty: U256,
}

/// The chain is not in the file but in its name.
fn config(file: &str) -> ChainConfig {
    let (homestead, byzantium, constantinople) = match file {
        name if name.contains("Ropsten") => (0, 1_700_000, 4_230_000),
        name if name.contains("Homestead") => (0, u64::MAX, u64::MAX),
        name if name.contains("Frontier") => (u64::MAX, u64::MAX, u64::MAX),
        name if name.contains("Byzantium") => (0, 0, u64::MAX),
        name if name.contains("Constantinople") => (0, 0, 0),
        _ => (1_150_000, 4_370_000, 7_280_000),
    };
    ChainConfig {
        homestead_block: Some(homestead),
        eip150_block: Some(homestead),
        eip158_block: Some(homestead),
        byzantium_block: Some(byzantium),
        constantinople_block: Some(constantinople),
        ..ChainConfig::default()
    }
}

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, DifficultyTest> = serde_json::from_slice(bytes)?;
    let spec = ChainSpec::from_genesis(alloy_genesis::Genesis {
        config: config(cases.file_name()),
        gas_limit: 5_000,
        difficulty: U256::from(1 << 17),
        ..alloy_genesis::Genesis::default()
    })
    .map_err(|error| anyhow!("{error}"))?;
    for (name, test) in tests {
        cases.run(&name, None, || {
            let number: u64 = test.current_block_number.saturating_to();
            let parent = Header {
                number: number.saturating_sub(1),
                timestamp: test.parent_timestamp.saturating_to(),
                difficulty: test.parent_difficulty,
                // Zero stands for none.
                ommers_hash: test
                    .parent_uncles
                    .filter(|hash| *hash != B256::ZERO)
                    .unwrap_or(EMPTY_OMMER_ROOT_HASH),
                ..Header::default()
            };
            let found = spec.next_difficulty(&parent, test.current_timestamp.saturating_to());
            expect("difficulty", found, test.current_difficulty)
        });
    }
    Ok(())
}
