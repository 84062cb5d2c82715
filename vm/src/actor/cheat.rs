//! Cheats as change sets. Pure.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, keccak256};
use evenkeel_chain::{Cheat, Loaded, state_file::FileAccount};
use evenkeel_state::{Account, ChangeSet, StateError, Tip, View};

use crate::limits::{LOADED_PER_CHANGE, LOADED_PER_STEP};

/// A state file's accounts on their way onto the tip, all of them or none: as several changes, each
/// of a size that a block takes in within one turn.
pub(super) struct Loading {
    parts: Arc<[Loaded]>,
    next: usize,
    changes: ChangeSet,
    /// Weight of what is in `changes`.
    weight: usize,
    /// What is whole already.
    done: Vec<Arc<ChangeSet>>,
    /// With those.
    tip: Tip,
}

impl Loading {
    pub(super) fn new(parts: Arc<[Loaded]>, tip: Tip) -> Self {
        let (changes, done) = (ChangeSet::default(), Vec::new());
        Self { parts, next: 0, changes, weight: 0, done, tip }
    }

    /// Takes in the next [`LOADED_PER_STEP`]; once there are no more, the changes in order, and the
    /// tip with them.
    pub(super) fn step(mut self: Box<Self>) -> Result<Step, StateError> {
        let end = self.parts.len().min(self.next + LOADED_PER_STEP);
        for part in &self.parts[self.next..end] {
            // A code weighs as much as the values that take as long.
            self.weight += part.size_bytes().div_ceil(size_of::<Loaded>());
            match part {
                Loaded::Slot(address, slot, value) => {
                    let change = self.changes.storage.entry(*address).or_default();
                    change.slots.insert(*slot, *value);
                }
                Loaded::Account(address, account) => {
                    load_account(&self.tip.view, &mut self.changes, *address, account)?;
                }
            }
        }
        self.next = end;
        let is_done = end == self.parts.len();
        if (is_done || self.weight >= LOADED_PER_CHANGE) && !self.changes.is_empty() {
            let changes = Arc::new(std::mem::take(&mut self.changes));
            self.tip = self.tip.with_diff(Arc::clone(&changes));
            self.done.push(changes);
            self.weight = 0;
        }
        Ok(if is_done { Step::Done(self.done, Box::new(self.tip)) } else { Step::More(self) })
    }
}

/// How far a state file is.
pub(super) enum Step {
    More(Box<Loading>),
    /// The changes, and the tip with them.
    Done(Vec<Arc<ChangeSet>>, Box<Tip>),
}

fn load_account(
    view: &View,
    changes: &mut ChangeSet,
    address: Address,
    loaded: &FileAccount,
) -> Result<(), StateError> {
    let before = match changes.accounts.get(&address) {
        Some(before) => *before,
        None => view.account(address)?,
    };
    let mut account = Account {
        nonce: loaded.nonce.max(before.map_or(0, |before| before.nonce)),
        balance: loaded.balance,
        ..Account::default()
    };
    if !loaded.code.is_empty() {
        account.code_hash = keccak256(&loaded.code);
        changes.codes.insert(account.code_hash, loaded.code.clone());
    }
    // An empty account is none (EIP-161), unless it has slots, as on anvil it may.
    let is_none = account == Account::default() && !loaded.has_slots;
    if !is_none {
        changes.accounts.insert(address, Some(account));
    } else if before.is_some() {
        changes.accounts.insert(address, None);
    }
    Ok(())
}

/// What `cheat` changes on `view`; empty if it changes nothing.
pub(super) fn change_set(view: &View, cheat: Cheat) -> Result<ChangeSet, StateError> {
    let mut changes = ChangeSet::default();
    match cheat {
        Cheat::SetBalance(address, balance) => {
            set_account(view, &mut changes, address, |account| account.balance = balance)?;
        }
        Cheat::AddBalance(address, wei) => set_account(view, &mut changes, address, |account| {
            account.balance = account.balance.saturating_add(wei);
        })?,
        Cheat::SetNonce(address, nonce) => {
            set_account(view, &mut changes, address, |account| account.nonce = nonce)?;
        }
        Cheat::SetCode(address, code) => set_code(view, &mut changes, address, code)?,
        Cheat::SetStorageAt(address, slot, value) => {
            let value = value.into();
            if view.storage(address, slot)? != value {
                changes.storage.entry(address).or_default().slots.insert(slot, value);
            }
        }
        Cheat::Load(_) => unreachable!("it is taken in step by step"),
    }
    Ok(changes)
}

fn set_code(
    view: &View,
    changes: &mut ChangeSet,
    address: Address,
    code: Bytes,
) -> Result<(), StateError> {
    let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
    set_account(view, changes, address, |account| account.code_hash = code_hash)?;
    if !code.is_empty() && !changes.is_empty() {
        changes.codes.insert(code_hash, code);
    }
    Ok(())
}

fn set_account(
    view: &View,
    changes: &mut ChangeSet,
    address: Address,
    set: impl FnOnce(&mut Account),
) -> Result<(), StateError> {
    let before = view.account(address)?;
    let mut account = before.unwrap_or_default();
    set(&mut account);
    // An empty account is none (EIP-161).
    let after = (account != Account::default()).then_some(account);
    if after != before {
        changes.accounts.insert(address, after);
    }
    Ok(())
}
