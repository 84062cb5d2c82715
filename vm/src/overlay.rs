//! The state that transactions run on: a [`View`], what was read of it, and what earlier
//! transactions of the block changed.
//!
//! # Invariants
//!
//! - O1: the change set holds exactly the values that differ from the view.
//! - O2: a failed read surfaces as [`StateError`], with its kind.

mod differences;

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256,
    map::{AddressMap, HashMap, hash_map::Entry},
};
use alloy_rpc_types_eth::{BlockOverrides, state::AccountOverride};
use evenkeel_chain::Height;
use evenkeel_state::{Account, ChangeSet, SlotSearch, StateError, StorageChange, View};
use revm::{
    Database, DatabaseRef,
    bytecode::Bytecode,
    database_interface::DBErrorMarker,
    state::{AccountInfo, EvmState},
};

use crate::collision::StorageSearch;
pub(crate) use differences::{Differences, Reads, Slots};

/// A failed read, as revm carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ReadError(#[from] pub StateError);

impl DBErrorMarker for ReadError {}

/// A view with the changes of the transactions so far on top.
pub struct Overlay {
    view: View,
    accounts: AddressMap<Cached>,
    codes: HashMap<B256, Bytecode>,
    /// Code that was deployed here.
    deployed: HashMap<B256, Bytes>,
    /// Hashes that the caller made up for some heights, and those that were read: 256 at most, at
    /// a price (20 gas) that does not pay for reading them again.
    block_hashes: BTreeMap<u64, B256>,
    /// Go before the chain's.
    pretended: Option<Arc<BlockOverrides>>,
    /// What changed since it was last asked for; None: nobody asks.
    recorded: Option<ChangeSet>,
}

struct Cached {
    before: Option<Account>,
    now: Option<Account>,
    /// No slot of the view is to be seen any more.
    is_wiped: bool,
    /// Some slot was set, so that not all of them are as read.
    is_written: bool,
    slots: HashMap<U256, Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    before: U256,
    now: U256,
}

impl Overlay {
    /// Nothing changed yet.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self {
            view,
            accounts: AddressMap::default(),
            codes: HashMap::default(),
            deployed: HashMap::default(),
            block_hashes: BTreeMap::new(),
            pretended: None,
            recorded: None,
        }
    }

    /// From now on, what changes between two calls of [`take_recorded`](Self::take_recorded) is
    /// kept beside what changes in all.
    pub(crate) fn record(&mut self) {
        self.recorded = Some(ChangeSet::default());
    }

    /// What changed since the last time, without code; nothing unless it is recorded.
    pub(crate) fn take_recorded(&mut self) -> ChangeSet {
        self.recorded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The account as it is now.
    pub(crate) fn account(&mut self, address: Address) -> Result<Option<Account>, ReadError> {
        Ok(self.cached(address)?.now)
    }

    /// The account's code as it is now.
    pub(crate) fn code_of(&mut self, address: Address) -> Result<Bytecode, ReadError> {
        match self.account(address)? {
            Some(account) if account.has_code() => self.code_by_hash(account.code_hash),
            _ => Ok(Bytecode::default()),
        }
    }

    fn cached(&mut self, address: Address) -> Result<&mut Cached, ReadError> {
        match self.accounts.entry(address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let before = self.view.account(address)?;
                let slots = HashMap::default();
                let (is_wiped, is_written) = (false, false);
                Ok(entry.insert(Cached { before, now: before, is_wiped, is_written, slots }))
            }
        }
    }

    /// Adds to the balance; makes the account if need be.
    pub(crate) fn credit(&mut self, address: Address, wei: U256) -> Result<(), ReadError> {
        let cached = self.cached(address)?;
        // Nothing is credited to nobody: an account that exists only by name is none (EIP-161). It
        // was looked at all the same, and others look at it too.
        if wei.is_zero() {
            return Ok(());
        }
        let account = cached.now.get_or_insert_default();
        account.balance = account.balance.saturating_add(wei);
        let now = *account;
        if let Some(recorded) = &mut self.recorded {
            recorded.accounts.insert(address, Some(now));
        }
        Ok(())
    }

    /// Moves all wei of one account to another (the DAO fork); both exist afterwards.
    pub(crate) fn move_balance(&mut self, from: Address, to: Address) -> Result<(), ReadError> {
        let account = self.cached(from)?.now.get_or_insert_default();
        let wei = std::mem::take(&mut account.balance);
        let emptied = *account;
        let account = self.cached(to)?.now.get_or_insert_default();
        account.balance = account.balance.saturating_add(wei);
        let filled = *account;
        if let Some(recorded) = &mut self.recorded {
            recorded.accounts.extend([(from, Some(emptied)), (to, Some(filled))]);
        }
        Ok(())
    }

    /// Takes over what transactions changed, as revm's `finalize` reports it.
    pub(crate) fn commit(&mut self, state: EvmState) -> Result<(), ReadError> {
        if let Some(recorded) = &mut self.recorded {
            recorded.merge(&changes_of(&state));
        }
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            let info = &account.info;
            let cached = self.cached(address)?;
            if is_dead(&account) {
                cached.now = None;
                cached.wipe();
                continue;
            }
            if account.is_created() {
                cached.wipe();
            }
            let old_code = cached.now.map_or(KECCAK256_EMPTY, |account| account.code_hash);
            cached.now = Some(Account {
                nonce: info.nonce,
                balance: info.balance,
                code_hash: info.code_hash,
            });
            for (slot, value) in &account.storage {
                cached.is_written |= value.is_changed();
                cached
                    .slots
                    .entry(*slot)
                    .or_insert(Slot { before: U256::ZERO, now: value.original_value })
                    .now = value.present_value;
            }
            if info.code_hash != old_code
                && info.code_hash != KECCAK256_EMPTY
                && let Some(code) = &info.code
            {
                self.deployed.insert(info.code_hash, code.original_bytes());
                self.codes.insert(info.code_hash, code.clone());
            }
        }
        Ok(())
    }

    /// From now on `BLOCKHASH` says at some heights what these say.
    pub(crate) fn override_block_hashes(&mut self, pretended: Option<Arc<BlockOverrides>>) {
        self.pretended = pretended;
    }

    fn pretended_hash(&self, number: u64) -> Option<B256> {
        self.pretended.as_ref()?.block_hash.as_ref()?.get(&number).copied()
    }

    /// Sets an account to what the caller pretends; storage aside. One of which nothing is
    /// pretended (its precompile moves) stays as it is, also absent.
    pub(crate) fn pretend(
        &mut self,
        address: Address,
        change: &AccountOverride,
    ) -> Result<(), ReadError> {
        let untouched =
            AccountOverride { move_precompile_to: change.move_precompile_to, ..Default::default() };
        if *change == untouched {
            return Ok(());
        }
        let code = change.code.clone().map(|bytes| {
            let code = code_of_bytes(bytes);
            (code.hash_slow(), code)
        });
        let cached = self.cached(address)?;
        let account = cached.now.get_or_insert_default();
        account.balance = change.balance.unwrap_or(account.balance);
        account.nonce = change.nonce.unwrap_or(account.nonce);
        if let Some((hash, _)) = &code {
            account.code_hash = *hash;
        }
        let now = *account;
        if change.state.is_some() {
            cached.wipe();
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.accounts.insert(address, Some(now));
            if change.state.is_some() {
                let wiped = StorageChange { is_wiped: true, slots: BTreeMap::new() };
                recorded.storage.insert(address, wiped);
            }
        }
        if let Some((hash, code)) = code {
            if hash != KECCAK256_EMPTY {
                self.deployed.insert(hash, code.original_bytes());
            }
            self.codes.insert(hash, code);
        }
        Ok(())
    }

    /// Sets a slot of an account that is there to what the caller pretends.
    pub(crate) fn pretend_slot(
        &mut self,
        address: Address,
        slot: U256,
        value: U256,
    ) -> Result<(), ReadError> {
        // O1: what it was is read first.
        self.storage(address, slot)?;
        let cached = self.cached(address)?;
        cached.is_written = true;
        if let Some(slot) = cached.slots.get_mut(&slot) {
            slot.now = value;
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.storage.entry(address).or_default().slots.insert(slot, value);
        }
        Ok(())
    }

    /// Sets the nonce of an account that is there.
    pub(crate) fn set_nonce(&mut self, address: Address, nonce: u64) -> Result<(), ReadError> {
        let cached = self.cached(address)?;
        if let Some(account) = &mut cached.now {
            account.nonce = nonce;
            let now = *account;
            if let Some(recorded) = &mut self.recorded {
                recorded.accounts.insert(address, Some(now));
            }
        }
        Ok(())
    }
}

/// Whether the account is none any more: it destroyed itself, or is empty (EIP-161; before it, revm
/// marks empty accounts that stay).
fn is_dead(account: &revm::state::Account) -> bool {
    account.is_selfdestructed() || (account.is_empty() && !account.is_created())
}

/// What one transaction changed, without code.
fn changes_of(state: &EvmState) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for (&address, account) in state.iter().filter(|(_, account)| account.is_touched()) {
        if is_dead(account) {
            changes.accounts.insert(address, None);
            continue;
        }
        let AccountInfo { nonce, balance, code_hash, .. } = account.info;
        changes.accounts.insert(address, Some(Account { nonce, balance, code_hash }));
        let set = account.storage.iter().filter(|(_, value)| value.is_changed());
        let slots: BTreeMap<_, _> = set.map(|(slot, value)| (*slot, value.present_value)).collect();
        let is_wiped = account.is_created();
        if is_wiped || !slots.is_empty() {
            changes.storage.insert(address, StorageChange { is_wiped, slots });
        }
    }
    changes
}

impl StorageSearch for Overlay {
    /// O(slots) for an account whose slots were set here; else only the view is asked.
    fn search_storage(&mut self, address: Address, from: U256) -> Result<SlotSearch, ReadError> {
        self.cached(address)?;
        let cached = &self.accounts[&address];
        let mut slots = cached.slots.iter();
        if cached.is_written
            && let Some((slot, _)) = slots.find(|(at, slot)| **at >= from && !slot.now.is_zero())
        {
            return Ok(SlotSearch::Found(*slot));
        }
        if cached.is_wiped {
            return Ok(SlotSearch::Nothing);
        }
        let found = self.view.search_storage(address, from)?;
        let SlotSearch::Found(slot) = found else { return Ok(found) };
        let is_cleared = cached.slots.get(&slot).is_some_and(|value| value.now.is_zero());
        Ok(match slot.checked_add(U256::ONE) {
            _ if !is_cleared => found,
            Some(next) => SlotSearch::Unfinished(next),
            None => SlotSearch::Nothing,
        })
    }
}

impl Cached {
    fn wipe(&mut self) {
        self.is_wiped = true;
        for slot in self.slots.values_mut() {
            slot.now = U256::ZERO;
        }
    }
}

/// Reads that are not remembered: for who looks at what transactions did.
impl DatabaseRef for Overlay {
    type Error = ReadError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        let account = match self.accounts.get(&address) {
            Some(cached) => cached.now,
            None => self.view.account(address)?,
        };
        Ok(account.map(info_of))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ReadError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        match self.codes.get(&hash) {
            Some(code) => Ok(code.clone()),
            None => Ok(code_of_bytes(self.view.code(hash)?)),
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ReadError> {
        match self.accounts.get(&address) {
            Some(cached) => match cached.slots.get(&slot) {
                Some(slot) => Ok(slot.now),
                None if cached.is_wiped => Ok(U256::ZERO),
                None => Ok(self.view.storage(address, slot)?),
            },
            None => Ok(self.view.storage(address, slot)?),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ReadError> {
        match self.pretended_hash(number).or_else(|| self.block_hashes.get(&number).copied()) {
            Some(hash) => Ok(hash),
            None => Ok(self.view.block_hash(Height::new(number))?.unwrap_or_default()),
        }
    }
}

fn info_of(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        code: None,
        ..AccountInfo::default()
    }
}

/// Code that looks like a delegation but is none was deployed before EIP-3541.
fn code_of_bytes(bytes: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes))
}

impl Database for Overlay {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        Ok(self.cached(address)?.now.map(info_of))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ReadError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        match self.codes.entry(hash) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let code = code_of_bytes(self.view.code(hash)?);
                Ok(entry.insert(code).clone())
            }
        }
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, ReadError> {
        let view = self.view.clone();
        let cached = self.cached(address)?;
        if let Some(slot) = cached.slots.get(&slot) {
            return Ok(slot.now);
        }
        let value = if cached.is_wiped { U256::ZERO } else { view.storage(address, slot)? };
        cached.slots.insert(slot, Slot { before: value, now: value });
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        if let Some(hash) = self.pretended_hash(number) {
            return Ok(hash);
        }
        if let Some(hash) = self.block_hashes.get(&number) {
            return Ok(*hash);
        }
        let hash = self.view.block_hash(Height::new(number))?.unwrap_or_default();
        self.block_hashes.insert(number, hash);
        Ok(hash)
    }
}
