//! Reads whole blocks, and all receipts of one, chunk by chunk: as much as fits into a turn each.

use std::{mem, sync::Arc};

use evenkeel_chain::{Height, Receipt, RecoveredTx, SealedBlock};

use crate::{
    base::{Base, corrupt},
    blocks::{BodyRest, SealedHeader},
    chunks,
    error::StateError,
    rows,
    store::{Family, Range, Row},
};

/// A block that is being read. See [`ChainReader::read_block`](crate::ChainReader::read_block).
pub struct BlockReading {
    base: Arc<Base>,
    /// Where it was found already.
    cached: Option<Arc<SealedBlock>>,
    header: SealedHeader,
    rest: BodyRest,
    txs: Vec<Arc<RecoveredTx>>,
}

impl BlockReading {
    pub(crate) fn new(
        base: &Arc<Base>,
        header: SealedHeader,
        rest: BodyRest,
        cached: Option<Arc<SealedBlock>>,
    ) -> Self {
        Self { base: Arc::clone(base), cached, header, rest, txs: Vec::new() }
    }

    /// Reads at most one chunk; the block, once there is no more.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails or the block is not whole.
    pub fn step(&mut self) -> Result<Option<Arc<SealedBlock>>, StateError> {
        if let Some(block) = &self.cached {
            return Ok(Some(Arc::clone(block)));
        }
        let height = Height::new(self.header.header.number);
        let index = self.txs.len() as u64;
        if index < self.rest.count {
            let (key, row) = chunk(&self.base, Family::Bodies, height, index)?;
            let decoded = chunks::decode_txs(&row, &mut self.txs);
            let last = rows::chunk_key(height, (self.txs.len() as u64).wrapping_sub(1));
            let is_whole = decoded.is_some() && key == last;
            return is_whole.then_some(None).ok_or_else(|| corrupt(Family::Bodies, &key, NOT_TXS));
        }
        if index > self.rest.count {
            let key = rows::height_key(height);
            return Err(corrupt(Family::Bodies, &key, "another number of transactions"));
        }
        let block = Arc::new(SealedBlock {
            header: self.header.header.clone(),
            hash: self.header.hash,
            txs: mem::take(&mut self.txs),
            ommers: self.rest.ommers.clone(),
            withdrawals: self.rest.withdrawals.clone(),
        });
        self.base.caches.keep_block(&block);
        self.cached = Some(Arc::clone(&block));
        Ok(Some(block))
    }

    /// Reads to the end.
    pub(crate) fn finish_now(mut self) -> Result<Arc<SealedBlock>, StateError> {
        loop {
            if let Some(block) = self.step()? {
                return Ok(block);
            }
        }
    }
}

/// The receipts of a block that are being read. See
/// [`ChainReader::read_receipts`](crate::ChainReader::read_receipts).
pub struct ReceiptsReading {
    base: Arc<Base>,
    /// Where they were found already.
    cached: Option<Arc<Vec<Receipt>>>,
    header: SealedHeader,
    /// Receipts in all.
    count: u64,
    receipts: Vec<Receipt>,
    /// Logs of `receipts`.
    logs: u64,
}

impl ReceiptsReading {
    pub(crate) fn new(
        base: &Arc<Base>,
        header: SealedHeader,
        count: u64,
        cached: Option<Arc<Vec<Receipt>>>,
    ) -> Self {
        Self { base: Arc::clone(base), cached, header, count, receipts: Vec::new(), logs: 0 }
    }

    /// Reads at most one chunk; the receipts, once there are no more.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails or one is missing.
    pub fn step(&mut self) -> Result<Option<Arc<Vec<Receipt>>>, StateError> {
        if let Some(receipts) = &self.cached {
            return Ok(Some(Arc::clone(receipts)));
        }
        let height = Height::new(self.header.header.number);
        let index = self.receipts.len() as u64;
        if index < self.count {
            let (key, row) = chunk(&self.base, Family::Receipts, height, index)?;
            let logs = chunks::decode_receipts(&row, &mut self.receipts, self.logs);
            let last = rows::chunk_key(height, (self.receipts.len() as u64).wrapping_sub(1));
            let logs = logs.filter(|_| key == last);
            self.logs = logs.ok_or_else(|| corrupt(Family::Receipts, &key, NOT_RECEIPTS))?;
            return Ok(None);
        }
        if index > self.count {
            let key = rows::height_key(height);
            return Err(corrupt(Family::Receipts, &key, "more receipts than transactions"));
        }
        let receipts = Arc::new(mem::take(&mut self.receipts));
        self.base.caches.keep_receipts(self.header.hash, &receipts);
        self.cached = Some(Arc::clone(&receipts));
        Ok(Some(receipts))
    }

    /// Reads to the end.
    pub(crate) fn finish_now(mut self) -> Result<Arc<Vec<Receipt>>, StateError> {
        loop {
            if let Some(receipts) = self.step()? {
                return Ok(receipts);
            }
        }
    }
}

pub(crate) const NOT_TXS: &str = "not transactions";
pub(crate) const NOT_RECEIPTS: &str = "not receipts";

/// The row that holds the item at `index` of a block; one seek.
pub(crate) fn chunk(
    base: &Base,
    family: Family,
    height: Height,
    index: u64,
) -> Result<Row, StateError> {
    let (prefix, from) = (rows::height_key(height), rows::chunk_key(height, index));
    let range = Range { prefix: &prefix, from: &from, rows_max: 1 };
    let row = base.snapshot.scan(family, range)?.pop();
    row.ok_or_else(|| corrupt(family, &from, "missing"))
}
