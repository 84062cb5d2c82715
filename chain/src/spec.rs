//! The rules and the beginning of one chain.
//!
//! Pure. Equal on all nodes of the chain: [`ChainSpec::hash`] goes into the handshake and into the
//! database. What a single process may choose for itself is not here.
//!
//! # Invariants
//!
//! - S1: forks are active in their order; a fork by time needs London by height, as in geth, and
//!   Paris by total difficulty where that is how the chain came to it.
//! - S2: blob parameters never divide by zero: fraction and maximum are positive.
//! - S3: every fork with blobs has its parameters, in the order of the forks; then come those of
//!   BPO3 to BPO5.

use std::collections::BTreeMap;

use alloy_consensus::{
    Header,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_RECEIPTS, EMPTY_TRANSACTIONS, EMPTY_WITHDRAWALS},
};
use alloy_eips::{
    eip4844::DATA_GAS_PER_BLOB, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7685::EMPTY_REQUESTS_HASH,
    eip7840::BlobParams,
};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{
    chain_id::ChainIds, dao::DaoFork, dev::all_from_the_start, fork::Fork, id::Height,
    limits::BASE_FEE_INITIAL,
};

/// What every block since Prague calls after its transactions.
const REQUEST_CONTRACTS: [Address; 2] =
    [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS];

/// Base fee may change by an eighth per block (EIP-1559).
const BASE_FEE_CHANGE_DENOMINATOR: u128 = 8;
/// The gas target is half the gas limit (EIP-1559).
const ELASTICITY: u64 = 2;

/// How timestamps of a parent and its child compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Timestamps {
    /// The child's is later, as on Ethereum.
    Strict,
    /// The child's is not earlier: chains with blocks under a second.
    Monotone,
}

/// Header fields of the first block; what is not here follows from them and from the forks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Number of the first block.
    pub number: u64,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Wei per gas; None: EIP-1559's initial value if London is active.
    pub base_fee: Option<u64>,
    /// Extra data.
    pub extra_data: Bytes,
    /// Fee recipient.
    pub coinbase: Address,
    /// Difficulty.
    pub difficulty: U256,
    /// Mix hash.
    pub mix_hash: B256,
    /// Nonce.
    pub nonce: u64,
    /// Parent hash; zero but for chains that continue another.
    pub parent_hash: B256,
    /// Blob gas used; used from Cancun on.
    pub blob_gas_used: u64,
    /// Excess blob gas; used from Cancun on.
    pub excess_blob_gas: u64,
}

/// When a fork becomes active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Activation {
    Height(u64),
    Timestamp(u64),
    /// Paris only: after the first block that brings the sum of all difficulties up to this.
    TotalDifficulty(U256),
}

/// The rules and the beginning of one chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// EIP-155 chain id at the start; [`ChainSpec::chain_id_at`] knows what became of it.
    pub chain_id: u64,
    #[serde(skip)]
    pub(crate) ids: ChainIds,
    /// How timestamps of a parent and its child compare.
    pub timestamps: Timestamps,
    /// Bytes of `extra_data` a header may have.
    pub extra_data_max: usize,
    /// Header fields of the first block.
    pub genesis: Genesis,
    /// Where validators deposit (EIP-6110); None: deposits are not looked for.
    pub deposit_contract: Option<Address>,
    #[serde(default)]
    pub(crate) dao: Option<DaoFork>,
    pub(crate) forks: BTreeMap<Fork, Activation>,
    /// By activation time, in order; at least one.
    #[serde(with = "crate::spec_json")]
    pub(crate) blobs: Vec<(u64, BlobParams)>,
    pub(crate) alloc: BTreeMap<Address, GenesisAccount>,
}

impl ChainSpec {
    /// The rules of the block at `height` and `timestamp`; O(number of forks).
    ///
    /// Where Paris comes by total difficulty the block is taken as mined until a fork by time is
    /// active; [`fork_of`](Self::fork_of) knows better.
    #[must_use]
    pub fn fork_at(&self, height: Height, timestamp: u64) -> Fork {
        let by_height = self.fork_by_height(height);
        // S1
        if by_height < Fork::London {
            return by_height;
        }
        let by_time = self.forks.iter().rev().find(|(_, start)| match start {
            Activation::Height(_) | Activation::TotalDifficulty(_) => false,
            Activation::Timestamp(start) => *start <= timestamp,
        });
        by_time.map_or(by_height, |(fork, _)| by_height.max(*fork))
    }

    /// The rules of the block with this header. Where Paris comes by total difficulty, a block
    /// without difficulty is one of proof of stake and any other is not; whether it may be what it
    /// is follows from the blocks before it.
    #[must_use]
    pub fn fork_of(&self, header: &Header) -> Fork {
        let height = Height::new(header.number);
        if self.terminal_total_difficulty().is_none() {
            return self.fork_at(height, header.timestamp);
        }
        if !header.difficulty.is_zero() {
            return self.fork_by_height(height);
        }
        let fork = self.fork_at(height, header.timestamp);
        if fork < Fork::London { fork } else { fork.max(Fork::Paris) }
    }

    /// The sum of difficulties that ends proof of work, where that is how the chain comes to Paris.
    #[must_use]
    pub fn terminal_total_difficulty(&self) -> Option<U256> {
        match self.forks.get(&Fork::Paris) {
            Some(Activation::TotalDifficulty(terminal)) => Some(*terminal),
            _ => None,
        }
    }

    /// The newest fork that is active because of the height.
    pub(crate) fn fork_by_height(&self, height: Height) -> Fork {
        let newest = self.forks.keys().rev().find(|fork| self.is_active_at(**fork, height));
        newest.copied().unwrap_or(Fork::Frontier)
    }

    /// Whether `fork` itself, and not just a later one, is active because of the height.
    pub(crate) fn is_active_at(&self, fork: Fork, height: Height) -> bool {
        matches!(self.forks.get(&fork), Some(Activation::Height(start)) if *start <= height.get())
    }

    /// Whether blocks since Prague need the contracts of EIP-7002 and EIP-7251, as on Ethereum. A
    /// chain that begins at Prague without them could have no block at all; it does without.
    #[must_use]
    pub fn needs_request_contracts(&self) -> bool {
        let is_there = |address| {
            let account = self.alloc.get(address);
            account.and_then(|account| account.code.as_ref()).is_some_and(|code| !code.is_empty())
        };
        self.genesis_fork() < Fork::Prague || REQUEST_CONTRACTS.iter().any(is_there)
    }

    /// This chain as it would be if `fork`, and all before it, had been active from the first block
    /// on; with the blob parameters that its schedule has for the fork, if it has the fork. The
    /// state is the same: contracts that a fork brings with it are not there.
    #[must_use]
    pub fn under(&self, fork: Fork) -> Self {
        let (forks, mut blobs) = all_from_the_start(fork);
        if let Some(Activation::Timestamp(start)) = self.forks.get(&fork)
            && fork >= Fork::Cancun
            && self.fork_at(Height::new(u64::MAX), *start) == fork
        {
            blobs.push((0, self.blob_params(*start)));
        }
        Self { forks, blobs, ..self.clone() }
    }

    /// The rules of the first block.
    #[must_use]
    pub fn genesis_fork(&self) -> Fork {
        self.fork_at(Height::new(self.genesis.number), self.genesis.timestamp)
    }

    /// Blob parameters at `timestamp`; Cancun's where blobs do not exist yet.
    #[must_use]
    pub fn blob_params(&self, timestamp: u64) -> BlobParams {
        self.blobs
            .iter()
            .rev()
            .find(|(start, _)| *start <= timestamp)
            .map_or_else(BlobParams::cancun, |(_, params)| *params)
    }

    /// The state before the first block.
    #[must_use]
    pub const fn genesis_alloc(&self) -> &BTreeMap<Address, GenesisAccount> {
        &self.alloc
    }

    /// The first header over the state with this root.
    #[must_use]
    pub fn genesis_header(&self, state_root: B256) -> Header {
        let fork = self.genesis_fork();
        let genesis = &self.genesis;
        let from = |first: Fork| fork >= first;
        Header {
            parent_hash: genesis.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: genesis.coinbase,
            state_root,
            transactions_root: EMPTY_TRANSACTIONS,
            receipts_root: EMPTY_RECEIPTS,
            logs_bloom: Bloom::ZERO,
            difficulty: genesis.difficulty,
            number: genesis.number,
            gas_limit: genesis.gas_limit,
            gas_used: 0,
            timestamp: genesis.timestamp,
            extra_data: genesis.extra_data.clone(),
            mix_hash: genesis.mix_hash,
            nonce: B64::from(genesis.nonce),
            base_fee_per_gas: from(Fork::London)
                .then(|| genesis.base_fee.unwrap_or(BASE_FEE_INITIAL)),
            withdrawals_root: from(Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
            blob_gas_used: from(Fork::Cancun).then_some(genesis.blob_gas_used),
            excess_blob_gas: from(Fork::Cancun).then_some(genesis.excess_blob_gas),
            parent_beacon_block_root: from(Fork::Cancun).then_some(B256::ZERO),
            requests_hash: from(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
            block_access_list_hash: None,
            slot_number: None,
        }
    }

    /// Identifies the spec: two specs with one hash are one chain. O(size of the genesis state).
    #[must_use]
    pub fn hash(&self) -> B256 {
        let mut digest = Digest::default();
        digest.text("evenkeel chain spec 1");
        digest.number(self.chain_id);
        digest.number(match self.timestamps {
            Timestamps::Strict => 0,
            Timestamps::Monotone => 1,
        });
        digest.number(self.extra_data_max as u64);
        let Genesis { number, timestamp, gas_limit, base_fee, extra_data, coinbase, .. } =
            &self.genesis;
        for number in [*number, *timestamp, *gas_limit] {
            digest.number(number);
        }
        digest.option(base_fee.map(u64::to_be_bytes));
        digest.bytes(extra_data);
        digest.bytes(coinbase.as_slice());
        let Genesis { difficulty, mix_hash, nonce, parent_hash, .. } = &self.genesis;
        digest.bytes(&difficulty.to_be_bytes::<32>());
        digest.bytes(mix_hash.as_slice());
        digest.number(*nonce);
        digest.bytes(parent_hash.as_slice());
        digest.number(self.genesis.blob_gas_used);
        digest.number(self.genesis.excess_blob_gas);
        digest.option(self.deposit_contract.map(|address| address.0.0));
        if let Some(DaoFork { height, is_supported }) = self.dao {
            digest.text(if is_supported { "dao" } else { "no dao" });
            digest.number(height);
        }
        self.digest_schedule(&mut digest);
        self.digest_alloc(&mut digest);
        keccak256(&digest.0)
    }

    /// Base fee of the child of `parent`, in wei per gas; None before London.
    #[must_use]
    pub fn next_base_fee(&self, parent: &Header) -> Option<u64> {
        if let Some(base_fee) = parent.base_fee_per_gas {
            return Some(next_base_fee(base_fee, parent.gas_used, parent.gas_limit));
        }
        let child = Height::new(parent.number).next();
        (self.fork_at(child, 0) >= Fork::London).then_some(BASE_FEE_INITIAL)
    }

    /// Excess blob gas of the child of `parent` at `timestamp`; None before Cancun.
    ///
    /// EIP-4844, and EIP-7918 from Osaka on.
    #[must_use]
    pub fn next_excess_blob_gas(&self, parent: &Header, timestamp: u64) -> Option<u64> {
        let fork = self.fork_at(Height::new(parent.number).next(), timestamp);
        if fork < Fork::Cancun {
            return None;
        }
        let excess = parent.excess_blob_gas.unwrap_or(0);
        let used = parent.blob_gas_used.unwrap_or(0);
        let params = self.blob_params(timestamp);
        let target = params.target_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
        let sum = excess.saturating_add(used);
        if sum < target {
            return Some(0);
        }
        if fork >= Fork::Osaka {
            let base_fee = U256::from(parent.base_fee_per_gas.unwrap_or(0));
            let reserve = U256::from(params.blob_base_cost) * base_fee;
            let blob_fee = U256::from(params.calc_blob_fee(excess));
            if reserve > U256::from(DATA_GAS_PER_BLOB) * blob_fee {
                // S2: the maximum is positive and not below the target.
                let above = u128::from(params.max_blob_count - params.target_blob_count);
                let scaled = u128::from(used) * above / u128::from(params.max_blob_count);
                let scaled = u64::try_from(scaled).expect("a part of a u64");
                return Some(excess.saturating_add(scaled));
            }
        }
        Some(sum - target)
    }

    fn digest_schedule(&self, digest: &mut Digest) {
        digest.number(self.forks.len() as u64);
        for (fork, start) in &self.forks {
            digest.text(fork.name());
            match start {
                Activation::Height(height) => digest.bytes(&height.to_be_bytes()),
                Activation::Timestamp(time) => digest.text(&time.to_string()),
                Activation::TotalDifficulty(terminal) => {
                    digest.bytes(&terminal.to_be_bytes::<32>());
                }
            }
        }
        digest.number(self.blobs.len() as u64);
        for (start, params) in &self.blobs {
            digest.number(*start);
            digest.number(params.target_blob_count);
            digest.number(params.max_blob_count);
            digest.bytes(&params.update_fraction.to_be_bytes());
            digest.bytes(&params.min_blob_fee.to_be_bytes());
            digest.number(params.max_blobs_per_tx);
            digest.number(params.blob_base_cost);
        }
    }

    fn digest_alloc(&self, digest: &mut Digest) {
        digest.number(self.alloc.len() as u64);
        for (address, account) in &self.alloc {
            digest.bytes(address.as_slice());
            digest.number(account.nonce.unwrap_or(0));
            digest.bytes(&account.balance.to_be_bytes::<32>());
            digest.bytes(account.code.as_ref().map_or(&[][..], |code| code));
            let slots = || account.storage.iter().flatten().filter(|(_, value)| !value.is_zero());
            digest.number(slots().count() as u64);
            for (slot, value) in slots() {
                digest.bytes(slot.as_slice());
                digest.bytes(value.as_slice());
            }
        }
    }
}

/// EIP-1559's rule, saturating: hostile headers must not overflow it.
fn next_base_fee(base_fee: u64, gas_used: u64, gas_limit: u64) -> u64 {
    let target = gas_limit / ELASTICITY;
    if target == 0 {
        return base_fee;
    }
    let change = |gas_delta: u64| {
        let divisor = u128::from(target) * BASE_FEE_CHANGE_DENOMINATOR;
        let change = u128::from(base_fee) * u128::from(gas_delta) / divisor;
        u64::try_from(change).unwrap_or(u64::MAX)
    };
    if gas_used > target {
        base_fee.saturating_add(change(gas_used - target).max(1))
    } else {
        base_fee.saturating_sub(change(target - gas_used))
    }
}

/// Bytes to be hashed; every part carries its length, so no two sequences give the same bytes.
#[derive(Default)]
struct Digest(Vec<u8>);

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u64).to_be_bytes());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    fn option<const N: usize>(&mut self, bytes: Option<[u8; N]>) {
        self.bytes(bytes.as_ref().map_or(&[], <[u8; N]>::as_slice));
    }
}
