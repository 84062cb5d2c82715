//! Keys and values of the store's rows: how the state lies on disk. Pure.
//!
//! Format [`FORMAT`]; any change here needs a new number. All integers are big-endian, so rows sort
//! by height.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use evenkeel_chain::Height;

use crate::change::{Account, ChangeSet, StorageChange};

/// Number of the on-disk format.
pub(crate) const FORMAT: u32 = 3;

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_SPEC: &[u8] = b"spec";
pub(crate) const META_GENESIS: &[u8] = b"genesis";
pub(crate) const META_HEAD: &[u8] = b"head";
pub(crate) const META_GENERATION: &[u8] = b"generation";
pub(crate) const META_NEXT_MARK: &[u8] = b"next_mark";
/// Height of the block that a state file was put under, and root of that state. Only a chain from
/// such a file has it.
pub(crate) const META_RESTORED: &[u8] = b"restored";
/// A genesis that is not whole yet, or never will be.
pub(crate) const META_BEGUN: &[u8] = b"begun";
/// Prefix of marks; the number follows.
pub(crate) const META_MARK: &[u8] = b"mark/";

const HEIGHT_BYTES: usize = 8;
const ADDRESS_BYTES: usize = 20;
const WORD_BYTES: usize = 32;

pub(crate) fn height_key(height: Height) -> [u8; HEIGHT_BYTES] {
    height.get().to_be_bytes()
}

pub(crate) fn storage_key(address: Address, slot: U256) -> Vec<u8> {
    [address.as_slice(), &slot.to_be_bytes::<WORD_BYTES>()].concat()
}

/// Key of a history row: the key of the flat row, and the height of the block that changed it.
pub(crate) fn history_key(key: &[u8], height: Height) -> Vec<u8> {
    [key, &height_key(height)].concat()
}

pub(crate) fn mark_key(mark: u64) -> Vec<u8> {
    [META_MARK, &mark.to_be_bytes()].concat()
}

pub(crate) fn diff_key(height: Height, number: u64) -> Vec<u8> {
    [height_key(height), number.to_be_bytes()].concat()
}

/// Key of a chunk of transactions or receipts: height, index of the last item.
pub(crate) fn chunk_key(height: Height, last: u64) -> Vec<u8> {
    [height_key(height), last.to_be_bytes()].concat()
}

/// Slot of a key of the storage family.
pub(crate) fn slot_of_key(key: &[u8]) -> Option<U256> {
    let slot = key.get(ADDRESS_BYTES..).filter(|slot| slot.len() == WORD_BYTES)?;
    Some(U256::from_be_slice(slot))
}

/// Nonce length and a code flag, nonce, balance length, balance, code hash if there is code.
pub(crate) fn encode_account(account: &Account) -> Vec<u8> {
    let nonce = account.nonce.to_be_bytes();
    let nonce = &nonce[(account.nonce.leading_zeros() / 8) as usize..];
    let balance = account.balance.to_be_bytes_trimmed_vec();
    let mut out = Vec::with_capacity(2 + nonce.len() + balance.len() + WORD_BYTES);
    let code_flag = if account.has_code() { CODE_FLAG } else { 0 };
    out.push(small(nonce.len()) | code_flag);
    out.extend_from_slice(nonce);
    out.push(small(balance.len()));
    out.extend_from_slice(&balance);
    if account.has_code() {
        out.extend_from_slice(account.code_hash.as_slice());
    }
    out
}

const CODE_FLAG: u8 = 0x80;

fn small(length: usize) -> u8 {
    u8::try_from(length).expect("an integer has at most 32 bytes")
}

pub(crate) fn decode_account(bytes: &[u8]) -> Option<Account> {
    let mut input = Input(bytes);
    let account = input.account()?;
    input.is_empty().then_some(account)
}

/// The value of an account's history row: empty if there was no account.
pub(crate) fn encode_former_account(account: Option<&Account>) -> Vec<u8> {
    account.map(encode_account).unwrap_or_default()
}

/// What an account was before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Former(pub(crate) Option<Account>);

pub(crate) fn decode_former_account(bytes: &[u8]) -> Option<Former> {
    if bytes.is_empty() {
        return Some(Former(None));
    }
    decode_account(bytes).map(|account| Former(Some(account)))
}

/// A storage value without leading zeros; empty is zero.
pub(crate) fn encode_value(value: U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

pub(crate) fn decode_value(bytes: &[u8]) -> Option<U256> {
    (bytes.len() <= WORD_BYTES).then(|| U256::from_be_slice(bytes))
}

/// Height and hash of the head; also height and number of diffs of a mark, height and index of a
/// transaction.
pub(crate) fn encode_head(height: Height, hash: B256) -> Vec<u8> {
    [&height_key(height), hash.as_slice()].concat()
}

pub(crate) fn decode_head(bytes: &[u8]) -> Option<(Height, B256)> {
    let mut input = Input(bytes);
    let head = (Height::new(input.u64()?), input.word()?);
    input.is_empty().then_some(head)
}

/// Two numbers: height and diffs of a mark, height and index of a transaction.
pub(crate) fn encode_pair(first: u64, second: u64) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

pub(crate) fn decode_pair(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut input = Input(bytes);
    let pair = (input.u64()?, input.u64()?);
    input.is_empty().then_some(pair)
}

pub(crate) fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The keys of the flat state that one block changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangedKeys {
    pub(crate) accounts: Vec<Address>,
    pub(crate) slots: Vec<(Address, U256)>,
}

pub(crate) fn encode_changed_keys(keys: &ChangedKeys) -> Vec<u8> {
    let mut out = Vec::with_capacity(
        8 + keys.accounts.len() * ADDRESS_BYTES + keys.slots.len() * (ADDRESS_BYTES + WORD_BYTES),
    );
    out.extend_from_slice(&(keys.accounts.len() as u64).to_be_bytes());
    for address in &keys.accounts {
        out.extend_from_slice(address.as_slice());
    }
    for (address, slot) in &keys.slots {
        out.extend_from_slice(&storage_key(*address, *slot));
    }
    out
}

pub(crate) fn decode_changed_keys(bytes: &[u8]) -> Option<ChangedKeys> {
    let mut input = Input(bytes);
    let mut keys = ChangedKeys::default();
    for _ in 0..input.u64()? {
        keys.accounts.push(input.address()?);
    }
    while !input.is_empty() {
        keys.slots.push((input.address()?, input.u256()?));
    }
    Some(keys)
}

/// A change set as it is kept for cheats. Sections with a count each.
pub(crate) fn encode_changes(changes: &ChangeSet) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(&mut out, changes.accounts.len());
    for (address, account) in &changes.accounts {
        out.extend_from_slice(address.as_slice());
        out.push(u8::from(account.is_some()));
        if let Some(account) = account {
            out.extend_from_slice(&encode_account(account));
        }
    }
    put_count(&mut out, changes.storage.len());
    for (address, change) in &changes.storage {
        out.extend_from_slice(address.as_slice());
        out.push(u8::from(change.is_wiped));
        put_count(&mut out, change.slots.len());
        for (slot, value) in &change.slots {
            out.extend_from_slice(&slot.to_be_bytes::<WORD_BYTES>());
            out.extend_from_slice(&value.to_be_bytes::<WORD_BYTES>());
        }
    }
    put_count(&mut out, changes.codes.len());
    for (hash, code) in &changes.codes {
        out.extend_from_slice(hash.as_slice());
        put_count(&mut out, code.len());
        out.extend_from_slice(code);
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u64).to_be_bytes());
}

pub(crate) fn decode_changes(bytes: &[u8]) -> Option<ChangeSet> {
    let mut input = Input(bytes);
    let mut changes = ChangeSet::default();
    for _ in 0..input.u64()? {
        let address = input.address()?;
        let account = if input.flag()? { Some(input.account()?) } else { None };
        changes.accounts.insert(address, account);
    }
    for _ in 0..input.u64()? {
        let address = input.address()?;
        let mut change = StorageChange { is_wiped: input.flag()?, ..Default::default() };
        for _ in 0..input.u64()? {
            change.slots.insert(input.u256()?, input.u256()?);
        }
        changes.storage.insert(address, change);
    }
    for _ in 0..input.u64()? {
        let hash = input.word()?;
        let length = usize::try_from(input.u64()?).ok()?;
        changes.codes.insert(hash, Bytes::copy_from_slice(input.take(length)?));
    }
    input.is_empty().then_some(changes)
}

/// What is left to decode.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(decode_u64)
    }

    fn u256(&mut self) -> Option<U256> {
        self.take(WORD_BYTES).map(U256::from_be_slice)
    }

    fn word(&mut self) -> Option<B256> {
        self.take(WORD_BYTES).map(B256::from_slice)
    }

    fn address(&mut self) -> Option<Address> {
        self.take(ADDRESS_BYTES).map(Address::from_slice)
    }

    fn account(&mut self) -> Option<Account> {
        let first = self.byte()?;
        let nonce_bytes = usize::from(first & !CODE_FLAG);
        let nonce = U256::from_be_slice(self.take(nonce_bytes).filter(|_| nonce_bytes <= 8)?);
        let balance_bytes = usize::from(self.byte()?);
        let balance = self.take(balance_bytes).filter(|_| balance_bytes <= WORD_BYTES)?;
        let code_hash = if first & CODE_FLAG == 0 { KECCAK256_EMPTY } else { self.word()? };
        Some(Account { nonce: nonce.to(), balance: U256::from_be_slice(balance), code_hash })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accounts() -> impl Strategy<Value = Account> {
        (any::<u64>(), any::<[u64; 4]>(), any::<[u8; 32]>(), 0..5_u8).prop_map(
            |(nonce, balance, code, kind)| Account {
                nonce: if kind == 0 { 0 } else { nonce >> (nonce % 64) },
                balance: U256::from_limbs(balance) >> (nonce % 257),
                code_hash: if kind < 3 { KECCAK256_EMPTY } else { code.into() },
            },
        )
    }

    proptest! {
        /// Goal: what is written is read; no cut of it is taken for something else.
        #[test]
        fn accounts_round_trip(account in accounts()) {
            let bytes = encode_account(&account);
            prop_assert_eq!(decode_account(&bytes), Some(account));
            for end in 0..bytes.len() {
                prop_assert_eq!(decode_account(&bytes[..end]), None);
            }
        }

        /// Goal: any bytes decode without a panic, and what decodes as changes encodes the same.
        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_account(&bytes);
            let _ = decode_changed_keys(&bytes);
            if let Some(changes) = decode_changes(&bytes) {
                prop_assert_eq!(decode_changes(&encode_changes(&changes)), Some(changes));
            }
        }
    }
}
