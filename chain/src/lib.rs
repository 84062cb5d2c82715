//! Says what a block is: ids, transactions, headers, genesis, encodings, sender recovery.
//!
//! Pure: no clock, no I/O, no randomness. Types are alloy's where alloy has them; this crate adds
//! what a node must know beside them: who sent a transaction ([`RecoveredTx`]), which rules hold
//! at a block ([`ChainSpec`], [`Fork`]), and whether a header may follow another
//! ([`check_header`]).

mod accounts;
mod attributes;
mod blobs;
mod block;
mod chain_id;
mod command;
mod dao;
mod dev;
mod difference;
mod difficulty;
mod fork;
mod genesis;
mod genesis_file;
mod id;
mod intrinsic;
pub mod limits;
mod ommers;
mod receipt;
pub mod recover;
mod rlp_words;
mod root;
mod rules;
mod schedule;
mod spec;
mod spec_json;
pub mod state_file;
mod tx;
mod wide;

pub use accounts::{AccountsError, DERIVATION_PATH, DevAccounts, MNEMONIC};
pub use alloy_consensus::Header;
pub use alloy_eips::eip4895::Withdrawal;
pub use alloy_eips::eip7840::BlobParams;
pub use alloy_genesis::GenesisAccount;
pub use attributes::{BlockAttributes, BlockPlan};
pub use blobs::{BlobError, BlobSidecar, check_blob_hashes, kzg_settings, prove_blobs};
pub use block::{
    BlockDecodeError, BodyError, SealedBlock, UnrecoveredBlock, logs_bloom, ommers_hash,
    receipts_root, transactions_root, withdrawals_root,
};
pub use chain_id::TooManyChainIds;
pub use command::{Cheat, Command, CommandError, EngineStatus, Loaded, Outcome, RevertTo};
pub use dao::DAO_REFUND;
pub use dev::{CREATE2_FACTORY, DevOptions};
pub use difference::{Difference, header_difference};
pub use fork::{Fork, UnknownFork};
pub use genesis::GenesisError;
pub use id::Height;
pub use intrinsic::{IntrinsicGas, intrinsic_gas};
pub use ommers::{Ancestor, OmmerError, check_ommers};
pub use receipt::Receipt;
pub use recover::{SignatureError, recover_all};
pub use root::trie_root;
pub use rules::{HeaderError, check_header};
pub use schedule::Era;
pub use spec::{ChainSpec, Genesis, Timestamps};
pub use tx::{RecoveredTx, TxDecodeError, TxEnvelope, TypedTransaction, UnrecoveredTx};
pub use wide::WideTx;
