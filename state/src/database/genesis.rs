//! The first block of a chain, as rows.

use std::sync::Arc;

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{U256, keccak256};
use evenkeel_chain::{ChainSpec, SealedBlock};

use super::stage::{History, Stage};
use crate::{
    base::Base,
    blocks,
    change::{Account, ChangeSet},
    error::StateError,
    recent::Recent,
    rows,
    store::{Batch, Family, Snapshot},
    trie::Trie,
};

/// Everything an empty store needs to hold the genesis of `spec`. O(size of the genesis state).
pub(super) fn batch(snapshot: &Arc<dyn Snapshot>, spec: &ChainSpec) -> Result<Batch, StateError> {
    let changes = Arc::new(changes(spec));
    let trie = Trie::stored(Arc::clone(snapshot), EMPTY_ROOT_HASH);
    let (root, _, nodes) = trie.update(&changes).finish_now()?;
    let header = spec.genesis_header(root);
    let withdrawals = header.withdrawals_root.map(|_| Vec::new());
    let block = SealedBlock::seal(header, Vec::new(), Vec::new(), withdrawals);

    let base = Base {
        snapshot: Arc::clone(snapshot),
        head: block.height(),
        genesis: block.height(),
        caches: Arc::default(),
        recent: Recent::default(),
    };
    let mut stage = Stage::new(&base);
    stage.changes(&changes, History::Skip)?;
    stage.nodes(&nodes)?;
    let key = rows::height_key(block.height());
    let batch = stage.batch();
    blocks::put_block(batch, &block, &[]);
    batch.put(Family::Meta, rows::META_FORMAT, rows::FORMAT.to_be_bytes());
    batch.put(Family::Meta, rows::META_SPEC, spec.hash().as_slice());
    batch.put(Family::Meta, rows::META_GENESIS, key);
    batch.put(Family::Meta, rows::META_GENERATION, 0_u64.to_be_bytes());
    batch.put(Family::Meta, rows::META_NEXT_MARK, 0_u64.to_be_bytes());
    batch.put(Family::Meta, rows::META_HEAD, rows::encode_head(block.height(), block.hash));
    Ok(stage.finish().0)
}

fn changes(spec: &ChainSpec) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for (&address, genesis) in spec.genesis_alloc() {
        let mut account = Account {
            nonce: genesis.nonce.unwrap_or(0),
            balance: genesis.balance,
            ..Account::default()
        };
        if let Some(code) = genesis.code.as_ref().filter(|code| !code.is_empty()) {
            account.code_hash = keccak256(code);
            changes.codes.insert(account.code_hash, code.clone());
        }
        changes.accounts.insert(address, Some(account));
        let storage = changes.storage.entry(address).or_default();
        for (&slot, &value) in genesis.storage.iter().flatten() {
            if !value.is_zero() {
                storage.slots.insert(slot.into(), value.into());
            }
        }
    }
    changes.storage.retain(|_, change| !change.slots.is_empty());
    debug_assert!(changes.storage.values().all(|change| !change.slots.values().any(U256::is_zero)));
    changes
}
