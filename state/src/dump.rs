//! The durable chain as a state file, made piece by piece from one pinned instant.

use std::{mem, ops::Bound, sync::Arc};

use alloy_primitives::{Address, U256};
use evenkeel_chain::{ChainSpec, Height, Receipt, SealedBlock, state_file as file};

use crate::{
    base::corrupt,
    contents::{self, Contents, Item},
    error::StateError,
    limits::{DUMP_STEP_BYTES, DUMP_STEP_ITEMS},
    reading::{BlockReading, ReceiptsReading},
    rows,
    store::Family,
    tip::Durable,
};

/// A state file on its way. See [`Durable::dump`].
pub struct StateDump {
    durable: Durable,
    spec: Arc<ChainSpec>,
    phase: Phase,
}

/// What comes next. `is_first`: nothing of its kind is written yet.
enum Phase {
    Start,
    Accounts {
        contents: Contents,
        account: Account,
    },
    /// Accounts of the genesis that are gone: who loads the file may have them.
    Gone {
        after: Option<Address>,
        is_first: bool,
    },
    Blocks {
        height: Height,
        is_first: bool,
    },
    ReadBlock {
        reading: BlockReading,
        is_first: bool,
    },
    Txs {
        block: Arc<SealedBlock>,
        index: usize,
    },
    Receipts {
        height: Height,
        is_first: bool,
    },
    ReadTxs {
        reading: BlockReading,
        is_first: bool,
    },
    ReadReceipts {
        block: Arc<SealedBlock>,
        reading: ReceiptsReading,
        is_first: bool,
    },
    Outcomes {
        block: Arc<SealedBlock>,
        receipts: Arc<Vec<Receipt>>,
        index: usize,
        is_first: bool,
    },
    Over,
}

/// How far the list of accounts is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Account {
    None,
    /// Open, without a slot.
    Empty,
    /// Open, with slots.
    Slots,
}

impl Durable {
    /// Starts to write the chain with its state at the head, cheats included, as anvil's state
    /// file. Earlier states are not in it.
    #[must_use]
    pub fn dump(&self, spec: &Arc<ChainSpec>) -> StateDump {
        StateDump { durable: self.clone(), spec: Arc::clone(spec), phase: Phase::Start }
    }
}

impl StateDump {
    /// Appends some text to `out`, about [`DUMP_STEP_BYTES`] unless one contract, transaction or
    /// receipt is longer; false if that was the last.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails; the file is lost.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, StateError> {
        let end = out.len() + DUMP_STEP_BYTES;
        for _ in 0..DUMP_STEP_ITEMS {
            if out.len() >= end {
                return Ok(true);
            }
            self.phase = match mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => return Ok(false),
                Phase::Start => self.start(out),
                Phase::Accounts { contents, account } => self.account(contents, account, out)?,
                Phase::Gone { after, is_first } => self.gone(after, is_first, out)?,
                chain => self.chain(chain, out)?,
            };
        }
        Ok(!matches!(self.phase, Phase::Over))
    }

    fn start(&self, out: &mut Vec<u8>) -> Phase {
        let head = &self.durable.header;
        let params = self.spec.blob_params(head.timestamp);
        file::put_start(out, head, params.calc_blob_fee(head.excess_blob_gas.unwrap_or_default()));
        let contents = Contents::new(self.durable.view.clone());
        Phase::Accounts { contents, account: Account::None }
    }

    fn account(
        &self,
        mut contents: Contents,
        account: Account,
        out: &mut Vec<u8>,
    ) -> Result<Phase, StateError> {
        let account = match contents.next()? {
            Some(Item::Account(address, found)) => {
                if account != Account::None {
                    file::put_account_end(out);
                    file::put_comma(out);
                }
                let code = self.durable.view.code(found.code_hash)?;
                file::put_account(out, address, found.nonce, found.balance, &code);
                Account::Empty
            }
            Some(Item::Slot(slot, value)) => {
                if account == Account::Slots {
                    file::put_comma(out);
                }
                file::put_slot(out, slot, value);
                Account::Slots
            }
            None => {
                if account != Account::None {
                    file::put_account_end(out);
                }
                return Ok(Phase::Gone { after: None, is_first: account == Account::None });
            }
        };
        Ok(Phase::Accounts { contents, account })
    }

    fn gone(
        &self,
        after: Option<Address>,
        is_first: bool,
        out: &mut Vec<u8>,
    ) -> Result<Phase, StateError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.spec.genesis_alloc().range((from, Bound::Unbounded));
        let Some((&address, _)) = rest.next() else {
            file::put_blocks(out, self.durable.header.number);
            let height = self.durable.chain.genesis();
            return Ok(Phase::Blocks { height, is_first: true });
        };
        let is_written = contents::is_listed(&self.durable.view, address)?;
        if !is_written {
            if !is_first {
                file::put_comma(out);
            }
            file::put_account(out, address, 0, U256::ZERO, &[]);
            file::put_account_end(out);
        }
        Ok(Phase::Gone { after: Some(address), is_first: is_first && is_written })
    }

    fn chain(&self, phase: Phase, out: &mut Vec<u8>) -> Result<Phase, StateError> {
        let head = self.durable.chain.head();
        Ok(match phase {
            Phase::Blocks { height, .. } if height > head => {
                file::put_transactions(out);
                let height = self.durable.chain.genesis();
                Phase::Receipts { height, is_first: true }
            }
            Phase::Blocks { height, is_first } => {
                Phase::ReadBlock { reading: self.block(height)?, is_first }
            }
            Phase::ReadBlock { mut reading, is_first } => match reading.step()? {
                None => Phase::ReadBlock { reading, is_first },
                Some(block) => {
                    if !is_first {
                        file::put_comma(out);
                    }
                    file::put_block(out, &block.header);
                    Phase::Txs { block, index: 0 }
                }
            },
            Phase::Txs { block, index } => {
                if let Some(tx) = block.txs.get(index) {
                    if index > 0 {
                        file::put_comma(out);
                    }
                    file::put_tx(out, tx);
                    Phase::Txs { block, index: index + 1 }
                } else {
                    file::put_block_end(out, &block.ommers);
                    Phase::Blocks { height: block.height().next(), is_first: false }
                }
            }
            Phase::Receipts { height, .. } if height > head => {
                file::put_end(out);
                Phase::Over
            }
            other => self.receipts(other, out)?,
        })
    }

    fn receipts(&self, phase: Phase, out: &mut Vec<u8>) -> Result<Phase, StateError> {
        Ok(match phase {
            Phase::Receipts { height, is_first } => {
                Phase::ReadTxs { reading: self.block(height)?, is_first }
            }
            Phase::ReadTxs { mut reading, is_first } => match reading.step()? {
                None => Phase::ReadTxs { reading, is_first },
                Some(block) if block.txs.is_empty() => {
                    Phase::Receipts { height: block.height().next(), is_first }
                }
                Some(block) => {
                    let reading = self.durable.chain.read_receipts(block.height())?;
                    let reading = reading.ok_or_else(|| missing(block.height()))?;
                    Phase::ReadReceipts { block, reading, is_first }
                }
            },
            Phase::ReadReceipts { block, mut reading, is_first } => match reading.step()? {
                None => Phase::ReadReceipts { block, reading, is_first },
                Some(receipts) => Phase::Outcomes { block, receipts, index: 0, is_first },
            },
            Phase::Outcomes { block, receipts, index, is_first } => {
                let Some((tx, receipt)) = block.txs.get(index).zip(receipts.get(index)) else {
                    return Ok(Phase::Receipts { height: block.height().next(), is_first });
                };
                if !is_first {
                    file::put_comma(out);
                }
                let before = index.checked_sub(1).map_or(0, |at| receipts[at].cumulative_gas_used);
                let place = file::TxPlace {
                    block_hash: block.hash,
                    block_number: block.header.number,
                    index: index as u64,
                    gas_used: receipt.cumulative_gas_used.saturating_sub(before),
                };
                file::put_receipt(out, tx, place, receipt);
                Phase::Outcomes { block, receipts, index: index + 1, is_first: false }
            }
            _ => unreachable!("the phases before are stepped elsewhere"),
        })
    }

    fn block(&self, height: Height) -> Result<BlockReading, StateError> {
        self.durable.chain.read_block(height)?.ok_or_else(|| missing(height))
    }
}

fn missing(height: Height) -> StateError {
    corrupt(Family::Headers, &rows::height_key(height), "missing below the head")
}
