//! Cheats as change sets. Pure.

use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, keccak256};
use evenkeel_chain::Cheat;
use evenkeel_state::{Account, ChangeSet, StateError, View};

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
