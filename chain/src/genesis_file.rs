//! Writes a chain's genesis as a file in geth's format, from which the same chain is read.
//!
//! Pure. What geth's format has no word for, that blocks of a devnet may share a second, is under a
//! key that other nodes ignore.

use alloy_eips::eip7840::BlobParams;
use alloy_genesis::ChainConfig;
use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    fork::Fork,
    spec::{Activation, ChainSpec, Genesis, Timestamps},
};

/// Key of `config` under which stands what only this node knows.
pub(crate) const EXTENSION: &str = "evenkeel";

/// What stands there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    pub(crate) timestamps: Timestamps,
}

/// Forks with blobs of their own; those after the last are BPO3 to BPO5.
pub(crate) const BLOB_FORKS: [Fork; 5] =
    [Fork::Cancun, Fork::Prague, Fork::Osaka, Fork::Bpo1, Fork::Bpo2];

impl ChainSpec {
    /// The genesis in geth's format; [`from_genesis_json`](Self::from_genesis_json) reads a chain
    /// with the same hash from it, but where Petersburg does not come with Constantinople and no
    /// height of its own says when. O(size of the genesis state).
    #[must_use]
    pub fn to_genesis_json(&self) -> String {
        let Genesis { number, timestamp, gas_limit, base_fee, extra_data, coinbase, .. } =
            &self.genesis;
        let Genesis { difficulty, mix_hash, nonce, parent_hash, .. } = &self.genesis;
        let has_blobs = self.genesis_fork() >= Fork::Cancun;
        let file = alloy_genesis::Genesis {
            config: self.config(),
            nonce: *nonce,
            timestamp: *timestamp,
            extra_data: extra_data.clone(),
            gas_limit: *gas_limit,
            difficulty: *difficulty,
            mix_hash: *mix_hash,
            coinbase: *coinbase,
            alloc: self.alloc.clone(),
            base_fee_per_gas: base_fee.map(u128::from),
            excess_blob_gas: has_blobs.then_some(self.genesis.excess_blob_gas),
            blob_gas_used: has_blobs.then_some(self.genesis.blob_gas_used),
            number: Some(*number),
            parent_hash: Some(*parent_hash),
            ..alloy_genesis::Genesis::default()
        };
        serde_json::to_string_pretty(&file).expect("its keys are text and nothing in it can fail")
    }

    fn config(&self) -> ChainConfig {
        let height = |fork| match self.forks.get(&fork) {
            Some(Activation::Height(height)) => Some(*height),
            _ => None,
        };
        let time = |fork| match self.forks.get(&fork) {
            Some(Activation::Timestamp(time)) => Some(*time),
            _ => None,
        };
        let merged = height(Fork::Paris);
        // Of a chain that was mined up to there, geth wants to know more than is known here.
        let is_merged_at_start = merged.is_some_and(|height| height <= self.genesis.number);
        let mut config = ChainConfig {
            chain_id: self.chain_id,
            homestead_block: height(Fork::Homestead),
            dao_fork_block: self.dao.map(|dao| dao.height),
            dao_fork_support: self.dao.is_some_and(|dao| dao.is_supported),
            eip150_block: height(Fork::Tangerine),
            eip155_block: height(Fork::SpuriousDragon),
            eip158_block: height(Fork::SpuriousDragon),
            byzantium_block: height(Fork::Byzantium),
            constantinople_block: height(Fork::Constantinople),
            petersburg_block: height(Fork::Petersburg),
            istanbul_block: height(Fork::Istanbul),
            muir_glacier_block: height(Fork::MuirGlacier),
            berlin_block: height(Fork::Berlin),
            london_block: height(Fork::London),
            arrow_glacier_block: height(Fork::ArrowGlacier),
            gray_glacier_block: height(Fork::GrayGlacier),
            merge_netsplit_block: merged,
            shanghai_time: time(Fork::Shanghai),
            cancun_time: time(Fork::Cancun),
            prague_time: time(Fork::Prague),
            osaka_time: time(Fork::Osaka),
            bpo1_time: time(Fork::Bpo1),
            bpo2_time: time(Fork::Bpo2),
            terminal_total_difficulty: self
                .terminal_total_difficulty()
                .or(is_merged_at_start.then_some(U256::ZERO)),
            terminal_total_difficulty_passed: is_merged_at_start,
            deposit_contract_address: self.deposit_contract,
            ..ChainConfig::default()
        };
        if self.timestamps != Timestamps::Strict {
            let extension = json!(Extension { timestamps: self.timestamps });
            config.extra_fields.insert(EXTENSION.to_owned(), extension);
        }
        self.write_blobs(&mut config);
        config
    }

    fn write_blobs(&self, config: &mut ChainConfig) {
        let known: Vec<_> =
            BLOB_FORKS.into_iter().filter(|fork| self.forks.contains_key(fork)).collect();
        // S3
        let of_forks = known.iter().zip(&self.blobs);
        config.blob_schedule =
            of_forks.map(|(fork, (_, params))| (fork.name().to_owned(), *params)).collect();
        let later = [
            ("bpo3", &mut config.bpo3_time),
            ("bpo4", &mut config.bpo4_time),
            ("bpo5", &mut config.bpo5_time),
        ];
        let rest: &[(u64, BlobParams)] = &self.blobs[known.len().min(self.blobs.len())..];
        for ((name, at), (time, params)) in later.into_iter().zip(rest) {
            *at = Some(*time);
            config.blob_schedule.insert(name.to_owned(), *params);
        }
    }
}
