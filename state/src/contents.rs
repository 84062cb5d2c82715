//! Everything in the state at the head, account by account, read some rows at a time.

use std::collections::VecDeque;

use alloy_primitives::{Address, U256};

use crate::{
    base::{NOT_ACCOUNT, NOT_WORD, corrupt},
    change::Account,
    error::StateError,
    limits::CONTENTS_ROWS,
    rows,
    store::{Family, Range, Row},
    view::View,
};

/// A part of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An account; its slots follow.
    Account(Address, Account),
    /// A slot of the account before that is not zero.
    Slot(U256, U256),
}

/// A state that is being listed: accounts by address, each with its slots in order.
pub(crate) struct Contents {
    view: View,
    accounts: Rows,
    /// Where to look for the next account; `None` after the last address.
    next: Option<Address>,
    /// Of the last account.
    slots: Option<Slots>,
}

/// The slots of an account.
struct Slots {
    address: Address,
    /// Those of the store, unless cheats have wiped them.
    rows: Option<Rows>,
    /// Where to look for the next slot; `None` after the last one.
    next: Option<U256>,
}

/// Rows that were read ahead.
#[derive(Default)]
struct Rows {
    ahead: VecDeque<Row>,
    is_last: bool,
}

impl Rows {
    /// The first row with `prefix` from `from` on; rows before it are let go.
    fn first(
        &mut self,
        view: &View,
        family: Family,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Option<&Row>, StateError> {
        while self.ahead.front().is_some_and(|(key, _)| key.as_slice() < from) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() && !self.is_last {
            let range = Range { prefix, from, rows_max: CONTENTS_ROWS };
            let rows = view.rows(family, range)?;
            self.is_last = rows.len() < CONTENTS_ROWS;
            self.ahead = rows.into();
        }
        Ok(self.ahead.front())
    }
}

impl Contents {
    /// Of `view`, which is that of a head.
    pub(crate) fn new(view: View) -> Self {
        assert!(view.is_at_head(), "only the head is kept row by row");
        Self { view, accounts: Rows::default(), next: Some(Address::ZERO), slots: None }
    }

    /// The next item; `None` at the end. Some reads, now and then one of [`CONTENTS_ROWS`] rows.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, StateError> {
        if let Some(mut slots) = self.slots.take()
            && let Some((slot, value)) = slots.next(&self.view)?
        {
            self.slots = Some(slots);
            return Ok(Some(Item::Slot(slot, value)));
        }
        loop {
            let Some(from) = self.next else { return Ok(None) };
            let row = self.accounts.first(&self.view, Family::Accounts, &[], from.as_slice())?;
            let below = row.filter(|(key, _)| key.len() == Address::len_bytes());
            let below = below.map(|(key, value)| (Address::from_slice(key), value.as_slice()));
            let above = self.view.next_address_above(from);
            let Some(address) = below.map(|(address, _)| address).into_iter().chain(above).min()
            else {
                self.next = None;
                return Ok(None);
            };
            let stored = below.filter(|(found, _)| *found == address).map(|(_, row)| row);
            let account = match (self.view.account_above(address), stored) {
                (Some(account), _) => *account,
                (None, Some(row)) => {
                    let account = rows::decode_account(row);
                    let corrupt = || corrupt(Family::Accounts, address.as_slice(), NOT_ACCOUNT);
                    Some(account.ok_or_else(corrupt)?)
                }
                (None, None) => None,
            };
            self.next = after(address);
            if let Some(account) = account {
                self.slots = Some(Slots::new(&self.view, address));
                return Ok(Some(Item::Account(address, account)));
            }
            // A cheat may set a slot where there is no account: the next block makes one.
            if has_slots(&self.view, address)? {
                self.slots = Some(Slots::new(&self.view, address));
                return Ok(Some(Item::Account(address, Account::default())));
            }
        }
    }
}

/// Whether [`Contents`] of `view` has this address.
pub(crate) fn is_listed(view: &View, address: Address) -> Result<bool, StateError> {
    Ok(view.account(address)?.is_some() || has_slots(view, address)?)
}

/// Whether there are slots of an address without account.
fn has_slots(view: &View, address: Address) -> Result<bool, StateError> {
    let is_dead = matches!(view.account_above(address), Some(None));
    Ok(!is_dead && Slots::new(view, address).next(view)?.is_some())
}

impl Slots {
    fn new(view: &View, address: Address) -> Self {
        let rows = (!view.is_wiped_above(address)).then(Rows::default);
        Self { address, rows, next: Some(U256::ZERO) }
    }

    /// The next slot that is not zero.
    fn next(&mut self, view: &View) -> Result<Option<(U256, U256)>, StateError> {
        let address = self.address;
        while let Some(from) = self.next.take() {
            let key = rows::storage_key(address, from);
            let row = match &mut self.rows {
                Some(rows) => rows.first(view, Family::Storage, address.as_slice(), &key)?,
                None => None,
            };
            let below = match row {
                Some((key, row)) => {
                    let slot = rows::slot_of_key(key);
                    let slot = slot.ok_or_else(|| corrupt(Family::Storage, key, "not a slot"))?;
                    let value = rows::decode_value(row);
                    Some((slot, value.ok_or_else(|| corrupt(Family::Storage, key, NOT_WORD))?))
                }
                None => None,
            };
            let above = view.next_slot_above(address, from);
            let Some(slot) = below.map(|(slot, _)| slot).into_iter().chain(above).min() else {
                return Ok(None);
            };
            self.next = slot.checked_add(U256::ONE);
            let stored = below.filter(|(found, _)| *found == slot).map(|(_, value)| value);
            let value = view.slot_above(address, slot).or(stored).unwrap_or_default();
            if !value.is_zero() {
                return Ok(Some((slot, value)));
            }
        }
        Ok(None)
    }
}

fn after(address: Address) -> Option<Address> {
    let mut bytes = address.0.0;
    for byte in bytes.iter_mut().rev() {
        let (next, is_carried) = byte.overflowing_add(1);
        *byte = next;
        if !is_carried {
            return Some(bytes.into());
        }
    }
    None
}
