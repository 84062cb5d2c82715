//! Reads a state file as it comes: each account, slot, block and receipt is handed on at once.

use std::{
    fmt::{self, Write as _},
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    error::{FormatError, ReadError},
    json::{self, BlockJson, EnvJson, Number, RecordJson},
};
use crate::{
    Header, Receipt, RecoveredTx, UnrecoveredTx,
    limits::{GENESIS_NUMBER_MAX, GENESIS_TIMESTAMP_MAX},
};

/// First bytes of gzip (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Bytes read from the file at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Takes what is in a state file, in the order of the file, which may be any.
pub trait Contents {
    /// Why something is not taken.
    type Error;

    /// Whether it takes blocks and receipts; else they are skipped unread, and left out.
    fn takes_blocks(&self) -> bool {
        true
    }
    /// The environment of the last block.
    ///
    /// # Errors
    ///
    /// As it likes; reading ends then. Likewise below.
    fn env(&mut self, env: FileEnv) -> Result<(), Self::Error>;
    /// A slot of an account, also one that is zero.
    ///
    /// # Errors
    ///
    /// See [`Contents::env`].
    fn slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), Self::Error>;
    /// An account, after its slots.
    ///
    /// # Errors
    ///
    /// See [`Contents::env`].
    fn account(&mut self, address: Address, account: FileAccount) -> Result<(), Self::Error>;
    /// The number of the head.
    ///
    /// # Errors
    ///
    /// See [`Contents::env`].
    fn best_block(&mut self, number: u64) -> Result<(), Self::Error>;
    /// A block.
    ///
    /// # Errors
    ///
    /// See [`Contents::env`].
    fn block(&mut self, block: FileBlock) -> Result<(), Self::Error>;
    /// The receipt of a transaction, whose block may come later.
    ///
    /// # Errors
    ///
    /// See [`Contents::env`].
    fn receipt(&mut self, receipt: FileReceipt) -> Result<(), Self::Error>;
    /// A field that is not read, for whoever wants to know.
    fn left_out(&mut self, field: &str);
}

/// The environment of the last block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEnv {
    /// Its number.
    pub number: u64,
    /// Who got its fees.
    pub beneficiary: Address,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Its gas limit.
    pub gas_limit: u64,
    /// Its base fee, in wei per gas.
    pub base_fee: u64,
    /// Its difficulty.
    pub difficulty: U256,
    /// Its `PREVRANDAO`.
    pub prev_randao: B256,
    /// Its excess blob gas.
    pub excess_blob_gas: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAccount {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Its code; empty if it has none.
    pub code: Bytes,
    /// Whether a slot of it is not zero.
    pub has_slots: bool,
}

/// A block, without its withdrawals, which the format has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBlock {
    /// The header.
    pub header: Header,
    /// The transactions, in order.
    pub txs: Vec<Arc<RecoveredTx>>,
    /// Uncles.
    pub ommers: Vec<Header>,
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReceipt {
    /// The transaction, by the hash its node knew it under.
    pub hash: B256,
    /// Number of its block.
    pub block_number: u64,
    /// Position in the block, from 0.
    pub index: u64,
    /// The receipt.
    pub receipt: Receipt,
}

/// A reader of the text of a state file that is plain or packed with gzip.
///
/// # Errors
///
/// That of the first read.
pub fn open<'a>(file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    if file.fill_buf()?.starts_with(&GZIP_MAGIC) {
        let unpacked = MultiGzDecoder::new(file);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
    }
    Ok(Box::new(file))
}

/// Reads the text of a state file to its end. Memory: one block, or one receipt, or the code of one
/// contract, whatever is longest.
///
/// # Errors
///
/// [`ReadError`]; what was taken until then is taken.
pub fn read<C: Contents>(text: impl Read, to: &mut C) -> Result<(), ReadError<C::Error>> {
    let mut reading = Reading { to, at: String::new(), failed: None };
    let mut json = serde_json::Deserializer::from_reader(text);
    let read = Root(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    let Reading { at, failed, .. } = reading;
    match (failed, read) {
        (Some(error), _) => Err(ReadError::Taken(error)),
        (None, Err(error)) => Err(FormatError::new(&error, at).into()),
        (None, Ok(())) => Ok(()),
    }
}

/// What all levels share.
struct Reading<'a, C: Contents> {
    to: &'a mut C,
    /// The field that is being read.
    at: String,
    /// Why the receiver took no more.
    failed: Option<C::Error>,
}

impl<C: Contents> Reading<'_, C> {
    fn set_at(&mut self, at: fmt::Arguments<'_>) {
        self.at.clear();
        self.at.write_fmt(at).expect("writing to a string never fails");
    }

    /// Hands something on.
    fn give<E: Error>(
        &mut self,
        give: impl FnOnce(&mut C) -> Result<(), C::Error>,
    ) -> Result<(), E> {
        give(self.to).map_err(|error| {
            self.failed = Some(error);
            E::custom("not taken")
        })
    }
}

/// Makes a seed of a type that reads an object or a list as it comes.
macro_rules! seed {
    ($name:ident, $method:ident) => {
        impl<'de, C: Contents> DeserializeSeed<'de> for $name<'_, '_, C> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
                from.$method(self)
            }
        }
    };
}

/// The whole object.
struct Root<'r, 'c, C: Contents>(&'r mut Reading<'c, C>);
seed!(Root, deserialize_map);

impl<'de, C: Contents> Visitor<'de> for Root<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the accounts of a state")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let reading = self.0;
        let mut has_accounts = false;
        while let Some(key) = map.next_key::<String>()? {
            reading.set_at(format_args!("{key}"));
            match key.as_str() {
                "block" => {
                    if let Some(env) = map.next_value::<Option<EnvJson>>()? {
                        check(env.number.0, env.timestamp.0).map_err(M::Error::custom)?;
                        reading.give::<M::Error>(|to| to.env(env.into()))?;
                    }
                }
                "accounts" => {
                    has_accounts = true;
                    map.next_value_seed(Accounts(reading))?;
                }
                "best_block_number" => {
                    if let Some(Number(number)) = map.next_value()? {
                        check(number, 0).map_err(M::Error::custom)?;
                        reading.give::<M::Error>(|to| to.best_block(number))?;
                    }
                }
                "blocks" if reading.to.takes_blocks() => map.next_value_seed(Blocks(reading))?,
                "transactions" if reading.to.takes_blocks() => {
                    map.next_value_seed(Records(reading))?;
                }
                _ => {
                    if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                        reading.to.left_out(&key);
                    }
                }
            }
            reading.at.clear();
        }
        if has_accounts { Ok(()) } else { Err(M::Error::missing_field("accounts")) }
    }
}

impl From<EnvJson> for FileEnv {
    fn from(env: EnvJson) -> Self {
        Self {
            number: env.number.0,
            beneficiary: env.beneficiary,
            timestamp: env.timestamp.0,
            gas_limit: env.gas_limit.0,
            base_fee: env.basefee.0,
            difficulty: env.difficulty,
            prev_randao: env.prevrandao.unwrap_or_default(),
            excess_blob_gas: env.blob_excess_gas_and_price.unwrap_or_default().excess_blob_gas.0,
        }
    }
}

/// `accounts`: by address.
struct Accounts<'r, 'c, C: Contents>(&'r mut Reading<'c, C>);
seed!(Accounts, deserialize_map);

impl<'de, C: Contents> Visitor<'de> for Accounts<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an account for each address")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let reading = self.0;
        while let Some(address) = map.next_key::<Address>()? {
            reading.set_at(format_args!("accounts.{address}"));
            map.next_value_seed(OneAccount(reading, address))?;
        }
        reading.set_at(format_args!("accounts"));
        Ok(())
    }
}

struct OneAccount<'r, 'c, C: Contents>(&'r mut Reading<'c, C>, Address);
seed!(OneAccount, deserialize_map);

impl<'de, C: Contents> Visitor<'de> for OneAccount<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with nonce, balance, code and storage")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self(reading, address) = self;
        let (mut nonce, mut balance, mut code, mut has_slots) = (None, None, Bytes::new(), false);
        while let Some(key) = map.next_key::<String>()? {
            reading.set_at(format_args!("accounts.{address}.{key}"));
            match key.as_str() {
                "nonce" => nonce = Some(map.next_value::<Number>()?.0),
                "balance" => balance = Some(map.next_value::<U256>()?),
                "code" => code = map.next_value()?,
                "storage" => {
                    map.next_value_seed(Storage(reading, address, &mut has_slots))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        reading.set_at(format_args!("accounts.{address}"));
        let missing = M::Error::missing_field;
        let account = FileAccount {
            nonce: nonce.ok_or_else(|| missing("nonce"))?,
            balance: balance.ok_or_else(|| missing("balance"))?,
            code,
            has_slots,
        };
        reading.give::<M::Error>(|to| to.account(address, account))
    }
}

struct Storage<'r, 'c, C: Contents>(&'r mut Reading<'c, C>, Address, &'r mut bool);
seed!(Storage, deserialize_map);

impl<'de, C: Contents> Visitor<'de> for Storage<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a value for each slot")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self(reading, address, has_slots) = self;
        while let Some((slot, value)) = map.next_entry::<U256, U256>()? {
            *has_slots |= !value.is_zero();
            reading.give::<M::Error>(|to| to.slot(address, slot, value))?;
        }
        Ok(())
    }
}

/// `blocks`, in any order.
struct Blocks<'r, 'c, C: Contents>(&'r mut Reading<'c, C>);
seed!(Blocks, deserialize_seq);

impl<'de, C: Contents> Visitor<'de> for Blocks<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blocks")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut blocks: S) -> Result<(), S::Error> {
        let reading = self.0;
        for number in 0_u64.. {
            reading.set_at(format_args!("blocks[{number}]"));
            let Some(block) = blocks.next_element::<BlockJson>()? else { break };
            check(block.header.number, block.header.timestamp).map_err(S::Error::custom)?;
            let mut txs = Vec::with_capacity(block.transactions.len());
            for (index, tx) in block.transactions.into_iter().enumerate() {
                reading.set_at(format_args!("blocks[{number}].transactions[{index}]"));
                txs.push(transaction(tx).map_err(S::Error::custom)?);
            }
            let block = FileBlock { header: block.header, txs, ommers: block.ommers };
            reading.give::<S::Error>(|to| to.block(block))?;
        }
        Ok(())
    }
}

/// Refuses a block after which there is no room for others.
fn check(number: u64, timestamp: u64) -> Result<(), String> {
    for (what, found, max) in [
        ("block number", number, GENESIS_NUMBER_MAX),
        ("timestamp", timestamp, GENESIS_TIMESTAMP_MAX),
    ] {
        if found > max {
            return Err(format!("{what} {found} is above {max}"));
        }
    }
    Ok(())
}

fn transaction(value: serde_json::Value) -> Result<Arc<RecoveredTx>, String> {
    match json::transaction(value)? {
        // Marked as ours are, so that nobody looks for a signer.
        (tx, Some(sender)) => Ok(RecoveredTx::impersonated(tx.into(), sender)),
        (tx, None) => UnrecoveredTx::new(tx).recover().map_err(|error| error.to_string()),
    }
}

/// `transactions`, in any order.
struct Records<'r, 'c, C: Contents>(&'r mut Reading<'c, C>);
seed!(Records, deserialize_seq);

impl<'de, C: Contents> Visitor<'de> for Records<'_, '_, C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of transactions with their receipts")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut records: S) -> Result<(), S::Error> {
        let reading = self.0;
        for number in 0_u64.. {
            reading.set_at(format_args!("transactions[{number}]"));
            let Some(record) = records.next_element::<RecordJson>()? else { break };
            let RecordJson { info, receipt, block_number } = record;
            check(block_number.0, 0).map_err(S::Error::custom)?;
            let receipt = FileReceipt {
                hash: info.transaction_hash,
                block_number: block_number.0,
                index: info.transaction_index.0,
                receipt: receipt.receipt().map_err(S::Error::custom)?,
            };
            reading.give::<S::Error>(|to| to.receipt(receipt))?;
        }
        Ok(())
    }
}
