//! Cheats as change sets. Pure.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, keccak256};
use evenkeel_chain::{Cheat, Loaded, state_file::FileAccount};
use evenkeel_state::{Account, ChangeSet, StateError, View};

use crate::limits::LOADED_PER_STEP;

/// A state file's accounts on their way into a change set.
pub(super) struct Loading {
    parts: Arc<[Loaded]>,
    next: usize,
    changes: ChangeSet,
}

impl Loading {
    pub(super) fn new(parts: Arc<[Loaded]>) -> Self {
        Self { parts, next: 0, changes: ChangeSet::default() }
    }

    /// Takes in the next [`LOADED_PER_STEP`]; all changes on `view`, once there are no more.
    pub(super) fn step(&mut self, view: &View) -> Result<Option<ChangeSet>, StateError> {
        let end = self.parts.len().min(self.next + LOADED_PER_STEP);
        for part in &self.parts[self.next..end] {
            match part {
                Loaded::Slot(address, slot, value) => {
                    let change = self.changes.storage.entry(*address).or_default();
                    change.slots.insert(*slot, *value);
                }
                Loaded::Account(address, account) => {
                    load_account(view, &mut self.changes, *address, account)?;
                }
            }
        }
        self.next = end;
        Ok((end == self.parts.len()).then(|| std::mem::take(&mut self.changes)))
    }
}

fn load_account(
    view: &View,
    changes: &mut ChangeSet,
    address: Address,
    loaded: &FileAccount,
) -> Result<(), StateError> {
    let before = view.account(address)?;
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
        Cheat::Load(parts) => {
            let mut loading = Loading::new(parts);
            loop {
                if let Some(changes) = loading.step(view)? {
                    return Ok(changes);
                }
            }
        }
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
