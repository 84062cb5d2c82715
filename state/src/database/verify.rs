//! Checks a whole database against itself.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{TrieAccount, root};
use evenkeel_chain::{Height, Receipt, SealedBlock, logs_bloom, receipts_root};

use super::{Database, revert::former_values};
use crate::{
    base::{Base, corrupt},
    change::{Account, ChangeSet},
    error::StateError,
    limits::VERIFY_FAULTS_MAX,
    log_index::index_rows,
    reader::ChainReader,
    recent::Recent,
    rows,
    store::{Family, for_each},
    trie::{Space, Trie, walk},
};

/// What [`Database::verify`] looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks read.
    pub blocks: u64,
    /// Transactions whose index entries were followed.
    pub transactions: u64,
    /// Accounts at the head.
    pub accounts: u64,
    /// Storage slots at the head.
    pub slots: u64,
    /// Nodes of all stored tries.
    pub nodes: u64,
    /// Rows of history.
    pub history_rows: u64,
    /// What is wrong, the first [`VERIFY_FAULTS_MAX`] of it.
    pub faults: Vec<VerifyFault>,
}

/// One thing that is wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyFault {
    /// A row does not decode or is missing.
    #[error(transparent)]
    State(#[from] StateError),
    /// A header is not the child of the one below, or its hash is not its own.
    #[error("block {height}: header does not hash to {hash} or does not link to its parent")]
    Link {
        /// Height of the block.
        height: Height,
        /// The hash it is stored with.
        hash: B256,
    },
    /// The body is not the one the header names.
    #[error("block {height}: transactions, ommers or withdrawals are not those of the header")]
    Body {
        /// Height of the block.
        height: Height,
    },
    /// The receipts are not those the header names.
    #[error("block {height}: receipts are not those of the header")]
    Receipts {
        /// Height of the block.
        height: Height,
    },
    /// An index does not lead to the block or transaction.
    #[error("block {height}: index of hash {hash} leads elsewhere")]
    Index {
        /// Height of the block.
        height: Height,
        /// Hash of the block or transaction.
        hash: B256,
    },
    /// The sender kept with a transaction did not sign it.
    #[error("block {height}: transaction {hash} is not from {sender}")]
    Sender {
        /// Height of the block.
        height: Height,
        /// Hash of the transaction.
        hash: B256,
        /// The sender it is stored with.
        sender: Address,
    },
    /// The flat state does not have the root of the header.
    #[error("state root of the flat rows is {found}, head says {expected}")]
    StateRoot {
        /// Root of the flat state.
        found: B256,
        /// Root in the header of the head.
        expected: B256,
    },
    /// The store holds another number of trie nodes than the tries have.
    #[error("{found} trie nodes are stored, the tries have {expected}")]
    Nodes {
        /// Rows in the store.
        found: u64,
        /// Nodes reached from the root.
        expected: u64,
    },
    /// The index of logs has another number of rows than the blocks' logs have keys.
    #[error("{rows} rows in the index of logs, but the logs of the blocks have {expected}")]
    LogIndex {
        /// Rows in the store.
        rows: u64,
        /// Addresses and topics of each block, and one if it has logs.
        expected: u64,
    },
    /// A log of a block cannot be found.
    #[error("block {height}: the index of logs lacks rows of it")]
    LogIndexRow {
        /// Height of the block.
        height: Height,
    },
    /// A history row is not in its block's list of changes, or the reverse.
    #[error("{rows} rows of history, but blocks list {listed} changed keys")]
    History {
        /// Rows in the store.
        rows: u64,
        /// Keys in the lists.
        listed: u64,
    },
}

impl Database {
    /// Checks the whole database: links of headers, bodies and receipts against their roots,
    /// senders, indexes, the state root of the head rebuilt from the flat rows, every trie node,
    /// and the way back through the history, with the root of every block; of blocks from a state
    /// file that they are there, with their hashes, senders and indexes. O(size of the
    /// database); `progress` gets each height.
    ///
    /// # Errors
    ///
    /// [`StateError::Store`] only; what is wrong with the rows is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Height)) -> Result<VerifyReport, StateError> {
        // Blocks in the cache of the database were not read from its rows.
        let base = Arc::new(Base {
            snapshot: Arc::clone(&self.base.snapshot),
            head: self.base.head,
            genesis: self.base.genesis,
            restored: self.base.restored,
            caches: Arc::default(),
            recent: Recent::default(),
        });
        let mut verify =
            Verify { base: &base, report: VerifyReport::default(), listed: 0, indexed: 0 };
        let mut height = self.base.genesis;
        let mut parent = None;
        while height <= self.base.head {
            let checked = verify.block(height, parent);
            parent = verify.note(checked)?;
            progress(height);
            height = height.next();
        }
        let root = self.base.state_root(&self.header);
        let checked = verify.state(root);
        verify.note(checked)?;
        let checked = verify.nodes(root);
        verify.note(checked)?;
        let checked = verify.former_states(&self.trie);
        verify.note(checked)?;
        let checked = verify.log_index();
        verify.note(checked)?;
        let checked = verify.history();
        verify.note(checked)?;
        Ok(verify.report)
    }
}

struct Verify<'a> {
    base: &'a Arc<Base>,
    report: VerifyReport,
    /// Keys in the lists of changes.
    listed: u64,
    /// Rows that the index of logs has to have.
    indexed: u64,
}

impl Verify<'_> {
    fn fault(&mut self, fault: VerifyFault) {
        if self.report.faults.len() < VERIFY_FAULTS_MAX {
            self.report.faults.push(fault);
        }
    }

    /// A bad row is a fault; a failing disk ends the run.
    fn note<T>(&mut self, checked: Result<T, StateError>) -> Result<Option<T>, StateError> {
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(StateError::Store(error)) => Err(error.into()),
            Err(error) => {
                self.fault(error.into());
                Ok(None)
            }
        }
    }

    /// Returns the hash of the block, which its child must name.
    fn block(&mut self, height: Height, parent: Option<B256>) -> Result<B256, StateError> {
        let reader = ChainReader::new(self.base);
        let key = rows::height_key(height);
        let header = reader.header(height)?;
        let header = header.ok_or_else(|| corrupt(Family::Headers, &key, "missing"))?;
        self.report.blocks += 1;
        // What came from a state file is as its node wrote it: of blocks it keeps no receipts or
        // withdrawals of some, and anvil's genesis has a hash of its own.
        let is_ours = self.base.restored.is_none_or(|restored| height > restored.height);
        let is_child = !is_ours || parent.is_none_or(|parent| header.header.parent_hash == parent);
        if header.header.hash_slow() != header.hash || !is_child {
            self.fault(VerifyFault::Link { height, hash: header.hash });
        }
        if reader.height_of(header.hash)? != Some(height) {
            self.fault(VerifyFault::Index { height, hash: header.hash });
        }
        if let Some(block) = self.note(reader.block(height))?.flatten() {
            self.body(height, &block, is_ours)?;
        }
        if let Some(receipts) = self.note(reader.receipts(height))?.flatten() {
            if is_ours
                && (receipts_root(&receipts) != header.header.receipts_root
                    || logs_bloom(&receipts) != header.header.logs_bloom)
            {
                self.fault(VerifyFault::Receipts { height });
            }
            self.logs(height, &receipts)?;
        }
        Ok(header.hash)
    }

    fn body(
        &mut self,
        height: Height,
        block: &SealedBlock,
        is_ours: bool,
    ) -> Result<(), StateError> {
        if is_ours && block.check_body().is_err() {
            self.fault(VerifyFault::Body { height });
        }
        let reader = ChainReader::new(self.base);
        for (index, tx) in block.txs.iter().enumerate() {
            self.report.transactions += 1;
            let hash = *tx.hash();
            let location = reader.transaction(hash)?;
            if !location.is_some_and(|at| at.height == height && at.index == index as u64) {
                self.fault(VerifyFault::Index { height, hash });
            }
            let signer =
                evenkeel_chain::recover::secp256k1(tx.tx().signature(), &tx.tx().signature_hash());
            if !tx.is_impersonated() && signer.ok() != Some(tx.sender()) {
                self.fault(VerifyFault::Sender { height, hash, sender: tx.sender() });
            }
        }
        Ok(())
    }

    /// Looks for the rows that lead to the logs of a block, and counts them.
    fn logs(&mut self, height: Height, receipts: &[Receipt]) -> Result<(), StateError> {
        let mut is_whole = true;
        for row in index_rows(height, receipts) {
            self.indexed += 1;
            is_whole &= self.base.snapshot.get(Family::LogIndex, &row)?.is_some();
        }
        if !is_whole {
            self.fault(VerifyFault::LogIndexRow { height });
        }
        Ok(())
    }

    /// Each row was looked for by one block, so the counts must agree.
    fn log_index(&mut self) -> Result<(), StateError> {
        let rows = self.count(Family::LogIndex, |_, row| (!row.is_empty()).then_some("a value"))?;
        if rows != self.indexed {
            self.fault(VerifyFault::LogIndex { rows, expected: self.indexed });
        }
        Ok(())
    }

    /// Rebuilds the state root from the flat rows with alloy's hash builder, not with our trie.
    fn state(&mut self, expected: B256) -> Result<(), StateError> {
        let snapshot = self.base.snapshot.as_ref();
        let mut slots: BTreeMap<Address, Vec<(B256, U256)>> = BTreeMap::new();
        for_each(snapshot, Family::Storage, &[], |key, row| {
            let slot = rows::slot_of_key(key);
            let slot = slot.ok_or_else(|| corrupt(Family::Storage, key, "not a slot"))?;
            let value = rows::decode_value(row).filter(|value| !value.is_zero());
            let value = value.ok_or_else(|| corrupt(Family::Storage, key, "not a value"))?;
            let slots = slots.entry(Address::from_slice(&key[..20])).or_default();
            slots.push((slot.into(), value));
            Ok::<(), StateError>(())
        })?;
        let mut accounts: Vec<(Address, Account)> = Vec::new();
        for_each(snapshot, Family::Accounts, &[], |key, row| {
            let account = rows::decode_account(row).filter(|_| key.len() == 20);
            let account =
                account.ok_or_else(|| corrupt(Family::Accounts, key, "not an account"))?;
            accounts.push((Address::from_slice(key), account));
            Ok::<(), StateError>(())
        })?;
        self.report.accounts = accounts.len() as u64;
        self.report.slots = slots.values().map(|slots| slots.len() as u64).sum();
        let mut leaves = Vec::with_capacity(accounts.len());
        for (address, account) in accounts {
            if account.has_code() {
                let code = snapshot.get(Family::Codes, account.code_hash.as_slice())?;
                if code.is_none_or(|code| keccak256(code) != account.code_hash) {
                    self.fault(StateError::CodeMissing { hash: account.code_hash }.into());
                }
            }
            let slots = slots.remove(&address).unwrap_or_default();
            let leaf = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: root::storage_root_unhashed(slots),
                code_hash: account.code_hash,
            };
            leaves.push((address, leaf));
        }
        for (address, slots) in slots {
            let root = root::storage_root_unhashed(slots);
            self.fault(StateError::OrphanStorage { address, root }.into());
        }
        let found = root::state_root_unhashed(leaves);
        if found != expected {
            self.fault(VerifyFault::StateRoot { found, expected });
        }
        Ok(())
    }

    /// Reads every node of every trie, and counts the rows.
    fn nodes(&mut self, root: B256) -> Result<(), StateError> {
        let snapshot = self.base.snapshot.as_ref();
        let mut storages: Vec<(B256, B256)> = Vec::new();
        let mut expected = 0;
        if root != EMPTY_ROOT_HASH {
            expected += walk(snapshot, Space::Accounts, root, &mut |hashed, mut value| {
                let account = TrieAccount::decode(&mut value).map_err(|_| {
                    corrupt(Family::Nodes, hashed.as_slice(), "the leaf is not an account")
                })?;
                if account.storage_root != EMPTY_ROOT_HASH {
                    storages.push((hashed, account.storage_root));
                }
                Ok(())
            })?
            .rows;
        }
        for (hashed, root) in storages {
            let walked = walk(snapshot, Space::Storage(hashed), root, &mut |_, _| Ok(()));
            expected += self.note(walked)?.map_or(0, |walked| walked.rows);
        }
        let found = self.count(Family::Nodes, |_, _| None)?;
        self.report.nodes = found;
        if found != expected {
            self.fault(VerifyFault::Nodes { found, expected });
        }
        Ok(())
    }

    /// Goes back block by block in memory: the values before each block must give the root of its
    /// parent. Memory grows with what the blocks changed.
    fn former_states(&mut self, head: &Trie) -> Result<(), StateError> {
        let reader = ChainReader::new(self.base);
        let mut trie = head.clone();
        let mut height = self.base.head;
        while height > self.base.oldest() {
            let mut former = ChangeSet::default();
            let keys = former_values(self.base, height, &mut former)?;
            self.listed += (keys.accounts.len() + keys.slots.len()) as u64;
            // The trie knows no slots of an account that was not there.
            for (&address, change) in &former.storage {
                if former.is_dead(address) && change.slots.values().any(|value| !value.is_zero()) {
                    let key = rows::history_key(address.as_slice(), height);
                    let reason = "slots of an account that was not there";
                    self.fault(corrupt(Family::StorageHistory, &key, reason).into());
                }
            }
            height = height.prev().expect("above the first block");
            let (found, before, _) = trie.update(&Arc::new(former)).finish_now()?;
            trie = before;
            let key = rows::height_key(height);
            let parent = reader.header(height)?;
            let parent = parent.ok_or_else(|| corrupt(Family::Headers, &key, "missing"))?;
            let expected = self.base.state_root(&parent.header);
            if found != expected {
                return Err(StateError::RootMismatch { height, found, expected });
            }
        }
        Ok(())
    }

    /// Reads every history row; each is in one block's list, so the counts must agree.
    fn history(&mut self) -> Result<(), StateError> {
        let accounts = self.count(Family::AccountHistory, |key, row| {
            let is_fine = key.len() == 28 && rows::decode_former_account(row).is_some();
            (!is_fine).then_some("not an account")
        })?;
        let slots = self.count(Family::StorageHistory, |key, row| {
            let is_fine = key.len() == 60 && rows::decode_value(row).is_some();
            (!is_fine).then_some("not a value")
        })?;
        self.report.history_rows = accounts + slots;
        if self.report.history_rows != self.listed {
            let rows = self.report.history_rows;
            self.fault(VerifyFault::History { rows, listed: self.listed });
        }
        Ok(())
    }

    /// Counts the rows of a family; what `check` says against one is a fault.
    fn count(
        &mut self,
        family: Family,
        check: impl Fn(&[u8], &[u8]) -> Option<&'static str>,
    ) -> Result<u64, StateError> {
        let snapshot = Arc::clone(&self.base.snapshot);
        let mut count = 0;
        for_each(snapshot.as_ref(), family, &[], |key, row| {
            count += 1;
            if let Some(reason) = check(key, row) {
                self.fault(corrupt(family, key, reason).into());
            }
            Ok::<(), StateError>(())
        })?;
        Ok(count)
    }
}
