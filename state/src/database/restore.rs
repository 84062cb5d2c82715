//! A chain from a state file, put into a store without one: the state under its last block, and the
//! blocks with their receipts.
//!
//! The file is taken in parts of bounded size, so that memory does not grow with it. Invariant G1
//! of [`super::genesis`] holds here too. The state is that of the genesis with the file's accounts
//! over it, as anvil has it; its root need not be the one in the head's header, and is kept beside.

use std::{
    io::Read,
    mem,
    sync::atomic::{AtomicBool, Ordering},
};

use alloy_consensus::constants::{EMPTY_RECEIPTS, EMPTY_TRANSACTIONS, EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::{
    ChainSpec, Fork, Header, Height, Receipt, SealedBlock,
    state_file::{
        self, Contents, FileAccount, FileBlock, FileEnv, FileReceipt, FormatError, ReadError,
    },
};

use super::{
    Database, Options,
    genesis::{self, Parts},
    load::Values,
};
use crate::{
    blocks, chunks,
    error::{OpenError, StateError, StoreError},
    limits::{RESTORE_BATCH_BYTES, SCAN_ROWS_MAX, SORT_RUN_BYTES},
    reader::ChainReader,
    rows,
    store::{Batch, Family, Range, Row, Store, Sync, for_each},
};

/// Follows the key of a receipt that is not in its block's row yet.
const LOOSE: u8 = 0xff;

/// Why no chain was made from a state file. Nothing of it is in the database then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no state file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It has blocks, but not the one it calls the last.
    #[error("best_block_number: the file has no block {0}")]
    NoHead(u64),
    /// The datadir has a chain.
    #[error("the datadir holds a chain already")]
    NotEmpty,
    /// Whoever wanted it wants it no more.
    #[error("stopped by a signal")]
    Stopped,
    /// The database cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<StateError> for RestoreError {
    fn from(error: StateError) -> Self {
        Self::Open(error.into())
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

impl From<ReadError<Self>> for RestoreError {
    fn from(error: ReadError<Self>) -> Self {
        match error {
            ReadError::Format(error) => error.into(),
            ReadError::Taken(error) => error,
        }
    }
}

/// What was taken from a state file, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Accounts.
    pub accounts: u64,
    /// Slots of them that are not zero.
    pub slots: u64,
    /// Blocks of the chain.
    pub blocks: u64,
    /// Number of the last one.
    pub head: u64,
    /// Blocks below a gap or above the head, which are left out.
    pub blocks_left_out: u64,
    /// Blocks of which a receipt is missing: they have no transactions here.
    pub blocks_without_receipts: u64,
    /// Fields of the file that are not read.
    pub fields_left_out: Vec<String>,
}

/// What a chain is made from.
pub(super) struct Source<'a, R> {
    /// The text of a state file.
    pub(super) text: R,
    /// Becomes true when nobody wants it any more.
    pub(super) is_stopped: &'a AtomicBool,
    /// Bytes of the state that are sorted at once.
    pub(super) run_bytes: usize,
}

impl Database {
    /// Makes the database from the text of a state file (anvil's format), unless `is_stopped`
    /// becomes true meanwhile.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the database is as empty as before then, and a datadir is not there.
    pub fn restore(
        options: &Options,
        spec: &ChainSpec,
        text: impl Read,
        is_stopped: &AtomicBool,
    ) -> Result<(Self, RestoreReport), RestoreError> {
        let source = Source { text, is_stopped, run_bytes: SORT_RUN_BYTES };
        let (database, report) =
            Self::open_or(options, spec, |store, sync| write(store, spec, sync, source))?;
        Ok((database, report.ok_or(RestoreError::NotEmpty)?))
    }

    /// The same in a store that is at hand and empty, sorting `run_bytes` at once.
    #[cfg(test)]
    pub(crate) fn restore_store(
        store: std::sync::Arc<dyn Store>,
        spec: &ChainSpec,
        text: impl Read,
        run_bytes: usize,
    ) -> Result<(Self, RestoreReport), RestoreError> {
        let source = Source { text, is_stopped: &AtomicBool::new(false), run_bytes };
        let report = write(store.as_ref(), spec, Sync::Yes, source)?;
        Ok((Self::load(store, Sync::Yes)?, report))
    }
}

/// Takes the whole file. O(its size · log).
fn write(
    store: &dyn Store,
    spec: &ChainSpec,
    sync: Sync,
    source: Source<'_, impl Read>,
) -> Result<RestoreReport, RestoreError> {
    store.set_bulk(true)?;
    let parts = Parts::begin(store)?;
    let mut restoring = Restoring {
        store,
        spec,
        is_stopped: source.is_stopped,
        parts,
        values: Some(Values::of_genesis(store, spec, source.run_bytes)?),
        chain: Batch::default(),
        env: None,
        best: None,
        report: RestoreReport::default(),
    };
    state_file::read(source.text, &mut restoring)?;
    let report = restoring.finish(sync)?;
    store.set_bulk(false)?;
    Ok(report)
}

/// Refuses to go on when nobody wants what comes of it.
pub(super) fn check_wanted(is_stopped: &AtomicBool) -> Result<(), RestoreError> {
    if is_stopped.load(Ordering::Relaxed) { Err(RestoreError::Stopped) } else { Ok(()) }
}

/// A state file that is being taken.
struct Restoring<'a> {
    store: &'a dyn Store,
    spec: &'a ChainSpec,
    is_stopped: &'a AtomicBool,
    parts: Parts<'a>,
    /// Accounts and slots, until all are known.
    values: Option<Values<'a>>,
    /// Blocks and receipts that are not written yet.
    chain: Batch,
    env: Option<FileEnv>,
    best: Option<u64>,
    report: RestoreReport,
}

impl Contents for Restoring<'_> {
    type Error = RestoreError;

    fn env(&mut self, env: FileEnv) -> Result<(), RestoreError> {
        self.env = Some(env);
        Ok(())
    }

    fn slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), RestoreError> {
        self.check_wanted()?;
        self.report.slots += u64::from(!value.is_zero());
        Ok(self.values().slot(address, slot, value)?)
    }

    fn account(&mut self, address: Address, account: FileAccount) -> Result<(), RestoreError> {
        self.check_wanted()?;
        self.report.accounts += 1;
        // An empty account is none (EIP-161), unless it has slots, as on anvil it may.
        let is_kept = account.has_slots || self.spec.genesis_fork() < Fork::SpuriousDragon;
        let FileAccount { nonce, balance, code, .. } = account;
        let is_none = nonce == 0 && balance.is_zero() && code.is_empty() && !is_kept;
        if is_none {
            return Ok(self.values().no_account(address)?);
        }
        Ok(self.values().account(address, nonce, balance, &code)?)
    }

    fn best_block(&mut self, number: u64) -> Result<(), RestoreError> {
        self.best = Some(number);
        Ok(())
    }

    fn block(&mut self, block: FileBlock) -> Result<(), RestoreError> {
        self.check_wanted()?;
        let height = Height::new(block.header.number);
        // The later of two at one height is the chain's, as on anvil.
        self.write_chain()?;
        self.drop_block(height)?;
        // The format has no withdrawals.
        let withdrawals = block.header.withdrawals_root.map(|_| Vec::new());
        let block = SealedBlock::seal(block.header, block.txs, block.ommers, withdrawals);
        blocks::put_block(&mut self.chain, &block, &[]);
        Ok(())
    }

    fn receipt(&mut self, receipt: FileReceipt) -> Result<(), RestoreError> {
        self.check_wanted()?;
        let FileReceipt { hash, block_number, index, receipt } = receipt;
        let mut key = rows::chunk_key(Height::new(block_number), index);
        key.push(LOOSE);
        let mut value = hash.to_vec();
        chunks::encode_receipt(&receipt, &mut value);
        self.chain.put(Family::Receipts, key, value);
        Ok(self.keep_small()?)
    }

    fn left_out(&mut self, field: &str) {
        let fields = &mut self.report.fields_left_out;
        if fields.len() < 16 && !fields.iter().any(|known| known == field) {
            fields.push(field.to_owned());
        }
    }
}

impl<'a> Restoring<'a> {
    fn check_wanted(&self) -> Result<(), RestoreError> {
        check_wanted(self.is_stopped)
    }

    fn values(&mut self) -> &mut Values<'a> {
        self.values.as_mut().expect("they are taken at the end of the file")
    }

    fn keep_small(&mut self) -> Result<(), StateError> {
        if self.chain.size_bytes() < RESTORE_BATCH_BYTES { Ok(()) } else { self.write_chain() }
    }

    /// Writes the blocks and receipts at hand.
    fn write_chain(&mut self) -> Result<(), StateError> {
        let batch = mem::take(&mut self.chain);
        if !batch.is_empty() {
            self.store.write(&batch, Sync::No)?;
        }
        Ok(())
    }

    fn reader(&self) -> ChainReader {
        ChainReader::new(&std::sync::Arc::new(self.parts.base()))
    }

    /// Deletes the block at `height`, if there is one, but not its loose receipts.
    fn drop_block(&mut self, height: Height) -> Result<(), StateError> {
        let reader = self.reader();
        let Some(block) = reader.block(height)? else { return Ok(()) };
        let mut batch = Batch::default();
        self.drop_txs(height, &mut batch)?;
        batch.delete(Family::Heights, block.hash.as_slice());
        let key = rows::height_key(height);
        batch.delete(Family::Headers, key);
        batch.delete(Family::Bodies, key);
        Ok(self.store.write(&batch, Sync::No)?)
    }

    /// Deletes the transactions of a block, which are not in the index yet.
    fn drop_txs(&self, height: Height, batch: &mut Batch) -> Result<(), StateError> {
        let key = rows::height_key(height);
        for_each(self.store.snapshot().as_ref(), Family::Bodies, &key, |row, _| {
            if row.len() > key.len() {
                batch.delete(Family::Bodies, row);
            }
            Ok::<(), StateError>(())
        })
    }

    /// Writes what is left, makes the blocks a chain, and says that all is there.
    fn finish(mut self, sync: Sync) -> Result<RestoreReport, RestoreError> {
        self.write_chain()?;
        self.values
            .take()
            .expect("nobody else takes them")
            .write(&mut self.parts, self.is_stopped)?;
        let root = self.parts.root();
        let last = self.best.or(self.env.as_ref().map(|env| env.number));
        let (first, head) = if let Some(ends) = self.ends(last)? {
            ends
        } else {
            let head = self.put_head(last, root);
            (head, head)
        };
        self.write_chain()?;
        let head = self.reader().header(head)?.ok_or(RestoreError::NoHead(head.get()))?;
        let height = Height::new(head.header.number);
        let mut at = first;
        while at <= height {
            self.check_wanted()?;
            self.gather_receipts(at)?;
            at = at.next();
        }
        self.drop_loose()?;
        self.report.blocks = height.get() - first.get() + 1;
        self.report.head = height.get();
        let mut batch = Batch::default();
        genesis::put_meta(&mut batch, self.spec, first, (height, head.hash));
        batch.put(Family::Meta, rows::META_RESTORED, rows::encode_head(height, root));
        self.store.write(&batch, sync)?;
        Ok(self.report)
    }

    /// The first and the last block of the chain, if there are blocks: the last is the one that the
    /// file says, the first is above the last gap. All others are deleted.
    fn ends(&mut self, last: Option<u64>) -> Result<Option<(Height, Height)>, RestoreError> {
        let mut run: Option<(Height, Height)> = None;
        self.each_header(|height| {
            if last.is_none_or(|last| height.get() <= last) {
                run = match run {
                    Some((first, end)) if end.next() == height => Some((first, height)),
                    _ => Some((height, height)),
                };
            }
        })?;
        let run = run.filter(|(_, end)| last.is_none_or(|last| end.get() == last));
        let Some((first, end)) = run else {
            return match last {
                Some(last) if self.has_blocks()? => Err(RestoreError::NoHead(last)),
                _ => Ok(None),
            };
        };
        let mut others = Vec::new();
        loop {
            self.each_header(|height| {
                if others.len() < SCAN_ROWS_MAX && !(first..=end).contains(&height) {
                    others.push(height);
                }
            })?;
            if others.is_empty() {
                return Ok(Some((first, end)));
            }
            self.report.blocks_left_out += others.len() as u64;
            for height in others.drain(..) {
                self.drop_block(height)?;
            }
        }
    }

    fn has_blocks(&self) -> Result<bool, StateError> {
        let range = Range { prefix: &[], from: &[], rows_max: 1 };
        Ok(!self.store.snapshot().scan(Family::Headers, range)?.is_empty())
    }

    fn each_header(&self, mut visit: impl FnMut(Height)) -> Result<(), StateError> {
        for_each(self.store.snapshot().as_ref(), Family::Headers, &[], |key, _| {
            visit(Height::new(rows::decode_u64(key).expect("a key of this family is a height")));
            Ok::<(), StateError>(())
        })
    }

    /// A block for a file without any: at the number that the file says, with its environment.
    fn put_head(&mut self, number: Option<u64>, root: B256) -> Height {
        let mut header = self.spec.genesis_header(root);
        if let Some(env) = &self.env {
            let fork = self.spec.fork_at(Height::new(env.number), env.timestamp);
            let since = |first: Fork| fork >= first;
            header = Header {
                beneficiary: env.beneficiary,
                state_root: root,
                transactions_root: EMPTY_TRANSACTIONS,
                receipts_root: EMPTY_RECEIPTS,
                difficulty: env.difficulty,
                gas_limit: env.gas_limit,
                timestamp: env.timestamp,
                mix_hash: env.prev_randao,
                base_fee_per_gas: since(Fork::London).then_some(env.base_fee),
                withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
                blob_gas_used: since(Fork::Cancun).then_some(0),
                excess_blob_gas: since(Fork::Cancun).then_some(env.excess_blob_gas),
                parent_beacon_block_root: since(Fork::Cancun).then_some(B256::ZERO),
                requests_hash: since(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
                ..Header::default()
            };
        }
        header.number = number.unwrap_or(header.number);
        let withdrawals = header.withdrawals_root.map(|_| Vec::new());
        let block = SealedBlock::seal(header, Vec::new(), Vec::new(), withdrawals);
        blocks::put_block(&mut self.chain, &block, &[]);
        block.height()
    }

    /// Puts the loose receipts of the block at `height` into its rows, and its transactions into
    /// the index: all blocks that are left out are gone by now. Memory: one block.
    fn gather_receipts(&mut self, height: Height) -> Result<(), StateError> {
        let Some(block) = self.reader().block(height)? else { return Ok(()) };
        if block.txs.is_empty() {
            return Ok(());
        }
        let loose = self.loose(&rows::height_key(height))?;
        let mut batch = Batch::default();
        let mut receipts: Vec<Receipt> = Vec::with_capacity(block.txs.len());
        for (key, value) in &loose {
            batch.delete(Family::Receipts, key);
            let (hash, mut row) = value.split_at(B256::len_bytes());
            let place = rows::encode_pair(height.get(), receipts.len() as u64);
            if key[..16] != *rows::chunk_key(height, receipts.len() as u64) {
                break;
            }
            // anvil gives what an impersonated account sent a hash of its own.
            batch.put(Family::Transactions, hash, place);
            receipts.extend(chunks::decode_receipt(&mut row));
        }
        if receipts.len() == block.txs.len() && loose.len() == receipts.len() {
            for (index, tx) in block.txs.iter().enumerate() {
                let place = rows::encode_pair(height.get(), index as u64);
                batch.put(Family::Transactions, tx.hash().as_slice(), place);
            }
            blocks::put_receipts(&mut batch, height, &receipts);
        } else {
            self.report.blocks_without_receipts += 1;
            batch = Batch::default();
            self.drop_txs(height, &mut batch)?;
            let rest = SealedBlock { txs: Vec::new(), ..block.as_ref().clone() };
            blocks::put_block(&mut batch, &rest, &[]);
        }
        Ok(self.store.write(&batch, Sync::No)?)
    }

    /// The loose receipts whose keys begin with `prefix`.
    fn loose(&self, prefix: &[u8]) -> Result<Vec<Row>, StateError> {
        let mut loose = Vec::new();
        for_each(self.store.snapshot().as_ref(), Family::Receipts, prefix, |key, value| {
            if key.len() == 17 {
                loose.push((key.to_vec(), value.to_vec()));
            }
            Ok::<(), StateError>(())
        })?;
        Ok(loose)
    }

    /// Deletes the receipts of blocks that are not there.
    fn drop_loose(&self) -> Result<(), StateError> {
        let mut batch = Batch::default();
        for_each(self.store.snapshot().as_ref(), Family::Receipts, &[], |key, _| {
            if key.len() == 17 {
                batch.delete(Family::Receipts, key);
            }
            if batch.size_bytes() >= RESTORE_BATCH_BYTES {
                self.store.write(&mem::take(&mut batch), Sync::No)?;
            }
            Ok::<(), StateError>(())
        })?;
        Ok(self.store.write(&batch, Sync::No)?)
    }
}
