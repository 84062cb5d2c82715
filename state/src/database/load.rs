//! The state of a state file, with that of the genesis below it: values in any order, the later
//! over the earlier, made into tries by one pass in the order of their hashed keys.
//!
//! So each part of the state changes one region of the tries, and no former value is looked for.

use std::{collections::BTreeMap, mem, sync::atomic::AtomicBool};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use evenkeel_chain::ChainSpec;

use super::{
    genesis::Parts,
    restore::{RestoreError, check_wanted},
    sort::{Entry, Sorter},
};
use crate::{
    base::corrupt,
    change::{Account, ChangeSet},
    error::StateError,
    limits::{GENESIS_PART_BYTES, GENESIS_VALUE_BYTES},
    rows::{self, Former},
    store::{Batch, Family, Store, Sync},
};

const PLACE_BYTES: usize = 8;
/// Follows the hashed address in the key of an account, so that it comes before its slots.
const ACCOUNT: u8 = 0;
/// The same in the key of a slot; the hashed slot follows.
const SLOT: u8 = 1;

/// Values that are not in order yet.
pub(super) struct Values<'a> {
    store: &'a dyn Store,
    sorter: Sorter<'a>,
    /// Values taken: the place of the next.
    place: u64,
    /// The last address with its hash: an account's slots come together.
    last: (Address, B256),
    codes: BTreeMap<B256, Bytes>,
    codes_bytes: usize,
}

impl<'a> Values<'a> {
    /// Begins with those of the genesis, in a store without a chain; sorts `run_bytes` at once.
    pub(super) fn of_genesis(
        store: &'a dyn Store,
        spec: &ChainSpec,
        run_bytes: usize,
    ) -> Result<Self, StateError> {
        let mut values = Self {
            store,
            sorter: Sorter::new(store, run_bytes),
            place: 0,
            last: (Address::ZERO, keccak256(Address::ZERO)),
            codes: BTreeMap::new(),
            codes_bytes: 0,
        };
        for (&address, account) in spec.genesis_alloc() {
            for (&slot, &value) in account.storage.iter().flatten() {
                values.slot(address, slot.into(), value.into())?;
            }
            let code = account.code.clone().unwrap_or_default();
            values.account(address, account.nonce.unwrap_or(0), account.balance, &code)?;
        }
        Ok(values)
    }

    /// A slot, which may be zero.
    pub(super) fn slot(
        &mut self,
        address: Address,
        slot: U256,
        value: U256,
    ) -> Result<(), StateError> {
        let slot = slot.to_be_bytes::<32>();
        let mut key = [0; 65];
        key[..32].copy_from_slice(self.hashed(address).as_slice());
        key[32] = SLOT;
        key[33..].copy_from_slice(keccak256(slot).as_slice());
        self.push(&key, &slot, &rows::encode_value(value))
    }

    /// An account.
    pub(super) fn account(
        &mut self,
        address: Address,
        nonce: u64,
        balance: U256,
        code: &Bytes,
    ) -> Result<(), StateError> {
        let mut account = Account { nonce, balance, ..Account::default() };
        if !code.is_empty() {
            account.code_hash = keccak256(code);
            if self.codes.insert(account.code_hash, code.clone()).is_none() {
                self.codes_bytes += code.len();
                self.write_codes(GENESIS_PART_BYTES)?;
            }
        }
        self.set(address, Some(&account))
    }

    /// There is no account at `address`, and no slot that was set before.
    pub(super) fn no_account(&mut self, address: Address) -> Result<(), StateError> {
        self.set(address, None)
    }

    fn set(&mut self, address: Address, account: Option<&Account>) -> Result<(), StateError> {
        let mut key = [ACCOUNT; 33];
        key[..32].copy_from_slice(self.hashed(address).as_slice());
        self.push(&key, address.as_slice(), &rows::encode_former_account(account))
    }

    fn push(&mut self, key: &[u8], of: &[u8], value: &[u8]) -> Result<(), StateError> {
        let place = self.place.to_be_bytes();
        self.place += 1;
        Ok(self.sorter.push(key, &[&place, of, value])?)
    }

    fn hashed(&mut self, address: Address) -> B256 {
        if self.last.0 != address {
            self.last = (address, keccak256(address));
        }
        self.last.1
    }

    /// Writes the codes at hand if they are above `bytes_max`.
    fn write_codes(&mut self, bytes_max: usize) -> Result<(), StateError> {
        if self.codes_bytes <= bytes_max {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (hash, code) in mem::take(&mut self.codes) {
            batch.put(Family::Codes, hash, code);
        }
        self.codes_bytes = 0;
        Ok(self.store.write(&batch, Sync::No)?)
    }

    /// Puts all of them into a store without state. O(n log n); memory: a part.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Stopped`] once `is_stopped`; [`RestoreError::Open`] if the store fails.
    pub(super) fn write(
        mut self,
        parts: &mut Parts<'_>,
        is_stopped: &AtomicBool,
    ) -> Result<(), RestoreError> {
        self.write_codes(0)?;
        let mut sorted = self.sorter.finish()?;
        let mut writing = Writing { parts, part: ChangeSet::default(), bytes: 0, owner: None };
        let mut next = sorted.next()?;
        while let Some(entry) = next {
            next = sorted.next()?;
            let is_last = next.as_ref().is_none_or(|(key, _)| *key != entry.0);
            check_wanted(is_stopped)?;
            writing.take(&entry, is_last)?;
        }
        Ok(writing.write_part()?)
    }
}

/// The account whose slots come.
struct Owner {
    hashed: B256,
    address: Address,
    account: Option<Account>,
    /// What was set at an earlier place is gone.
    since: u64,
}

/// Values in order, being written.
struct Writing<'p, 'a> {
    parts: &'p mut Parts<'a>,
    part: ChangeSet,
    bytes: usize,
    owner: Option<Owner>,
}

impl Writing<'_, '_> {
    /// Takes the next entry, the last of its key or not.
    fn take(&mut self, (key, value): &Entry, is_last: bool) -> Result<(), StateError> {
        let wrong = || corrupt(Family::Sorting, key, "not a value that was put there");
        let (place, value) = value.split_first_chunk::<PLACE_BYTES>().ok_or_else(wrong)?;
        let place = u64::from_be_bytes(*place);
        let (hashed, kind) = key.split_first_chunk::<32>().ok_or_else(wrong)?;
        let hashed = B256::from(hashed);
        if kind == [ACCOUNT] {
            let (address, account) = value.split_first_chunk::<20>().ok_or_else(wrong)?;
            let Former(account) = rows::decode_former_account(account).ok_or_else(wrong)?;
            self.account((hashed, address.into()), account, place);
            let account = self.owner.as_ref().and_then(|owner| owner.account);
            if let Some(account) = account.filter(|_| is_last) {
                self.part.accounts.insert(address.into(), Some(account));
                return self.grow();
            }
        } else if is_last {
            let (slot, value) = value.split_first_chunk::<32>().ok_or_else(wrong)?;
            let value = rows::decode_value(value).ok_or_else(wrong)?;
            let owner = self.owner.as_ref().filter(|owner| owner.hashed == hashed);
            let owner = owner.ok_or_else(wrong)?;
            if !value.is_zero() && owner.account.is_some() && place >= owner.since {
                let slots = &mut self.part.storage.entry(owner.address).or_default().slots;
                slots.insert(U256::from_be_bytes(*slot), value);
                return self.grow();
            }
        }
        Ok(())
    }

    fn account(
        &mut self,
        (hashed, address): (B256, Address),
        account: Option<Account>,
        place: u64,
    ) {
        let former = self.owner.take().filter(|owner| owner.hashed == hashed);
        let since = match (&account, &former) {
            (None, _) => place,
            (Some(_), former) => former.as_ref().map_or(0, |former| former.since),
        };
        let account = account.map(|account| {
            // A contract's address would be used twice if a nonce went back.
            let former = former.and_then(|former| former.account);
            let nonce = former.map_or(0, |former| former.nonce);
            Account { nonce: account.nonce.max(nonce), ..account }
        });
        self.owner = Some(Owner { hashed, address, account, since });
    }

    fn grow(&mut self) -> Result<(), StateError> {
        self.bytes += GENESIS_VALUE_BYTES;
        if self.bytes < GENESIS_PART_BYTES { Ok(()) } else { self.write_part() }
    }

    fn write_part(&mut self) -> Result<(), StateError> {
        self.bytes = 0;
        self.parts.add(mem::take(&mut self.part), Sync::No, |_, _| {})
    }
}
