//! The accounts that a transaction touched, one after another: geth's `prestateTracer` and Parity's
//! `stateDiff`, written when it has ended. Pure.
//!
//! Of what it touched execution keeps accounts and slots anyway; of their text there is one piece
//! at a time, and code is shared until it is written. Source: geth's
//! `eth/tracers/native/prestate.go` and `OpenEthereum`'s `StateDiff`, as revm-inspectors reads
//! them, but for what geth says since: `codeHash`, nothing of what was empty before, all slots of
//! what is no more.

use std::{borrow::Cow, mem};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_rpc_types_trace::geth::PreStateConfig;
use revm::{
    DatabaseRef,
    state::{Account, AccountInfo, EvmState, EvmStorageSlot},
};

use super::text::{Part, Text};
use crate::overlay::{Overlay, ReadError};

/// What is shown of the accounts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Show {
    /// geth's: as they were before, or both sides of the difference.
    Prestate(PreStateConfig),
    /// The same as they were before, those that were empty too.
    PrestateOfAll(PreStateConfig),
    /// Parity's difference.
    Diff,
}

/// The accounts in the middle of being written.
pub(crate) struct Touched {
    show: Show,
    /// The side of geth's difference under way: after, then before.
    is_after: bool,
    /// All of them, in order, and which are next.
    addresses: Box<[Address]>,
    next: usize,
    has_some: bool,
}

/// What is shown of one account.
enum Shown {
    Before(PreStateConfig),
    After(PreStateConfig),
    Diff(Change),
}

/// How Parity says that an account changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    Changed,
}

/// An account before and after the transaction.
struct Sides<'a> {
    touched: &'a Account,
    existed: bool,
    before: AccountInfo,
    overlay: &'a Overlay,
}

/// A slot, with its value before and after.
type Slot = (U256, U256, U256);

impl Touched {
    /// Those of `state`, and the `authorities` that signed for it, which geth looks up also where
    /// what they signed is for another chain or nonce; after `before` in `text`. O(n log n).
    pub(super) fn new(
        show: Show,
        (state, authorities): (&EvmState, &[Address]),
        (before, text): (&str, &mut Text),
    ) -> Self {
        let mut addresses: Vec<_> = state.keys().chain(authorities).copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        text.push_text(before);
        let is_after = matches!(show, Show::Prestate(config) if config.is_diff_mode());
        text.push_text(if is_after { r#"{"post":{"# } else { "{" });
        Self { show, is_after, addresses: addresses.into(), next: 0, has_some: false }
    }

    /// Writes the next account, if it is shown; returns false at the end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn write(
        &mut self,
        state: &EvmState,
        overlay: &Overlay,
        text: &mut Text,
    ) -> Result<bool, ReadError> {
        let Some(&address) = self.addresses.get(self.next) else {
            if !self.is_after {
                let is_diff = matches!(self.show, Show::Prestate(config) if config.is_diff_mode());
                text.push_text(if is_diff { "}}" } else { "}" });
                return Ok(false);
            }
            (self.is_after, self.next, self.has_some) = (false, 0, false);
            text.push_text(r#"},"pre":{"#);
            return Ok(true);
        };
        self.next += 1;
        let before = overlay.basic_ref(address)?;
        let (existed, before) = (before.is_some(), before.unwrap_or_default());
        // Execution has not loaded who signed for another chain.
        let touched = state
            .get(&address)
            .map_or_else(|| Cow::Owned(Account::from(before.clone())), Cow::Borrowed);
        let touched = &*touched;
        let sides = Sides { touched, existed, before, overlay };
        let shown = match self.show {
            Show::PrestateOfAll(config) => Some(Shown::Before(config)),
            Show::Prestate(config) if !config.is_diff_mode() => {
                (!sides.was_empty()).then_some(Shown::Before(config))
            }
            Show::Prestate(config) if !sides.differs(config) => None,
            Show::Prestate(config) if self.is_after => {
                (!touched.is_selfdestructed()).then_some(Shown::After(config))
            }
            Show::Prestate(config) => (!sides.was_empty()).then_some(Shown::Before(config)),
            Show::Diff => sides.change().map(Shown::Diff),
        };
        let Some(shown) = shown else { return Ok(true) };
        let comma = if mem::replace(&mut self.has_some, true) { "," } else { "" };
        text.push_text(&format!(r#"{comma}"{address:#x}":{{"#));
        match shown {
            Shown::Before(config) => sides.show_before(config, text)?,
            Shown::After(config) => sides.show_after(config, text)?,
            Shown::Diff(change) => sides.show_diff(change, text)?,
        }
        text.push_text("}");
        Ok(true)
    }
}

impl Sides<'_> {
    fn was_empty(&self) -> bool {
        let AccountInfo { balance, nonce, code_hash, .. } = &self.before;
        balance.is_zero() && *nonce == 0 && *code_hash == KECCAK256_EMPTY
    }

    fn has_changed_slots(&self) -> bool {
        self.touched.storage.values().any(EvmStorageSlot::is_changed)
    }

    /// The slots, or those that changed, in order.
    fn slots(&self, of_all: bool) -> Vec<Slot> {
        let slots = self.touched.storage.iter().filter(|(_, slot)| of_all || slot.is_changed());
        let values = slots.map(|(key, slot)| (*key, slot.original_value, slot.present_value));
        let mut slots: Vec<_> = values.collect();
        slots.sort_unstable();
        slots
    }

    fn code(&self, info: &AccountInfo) -> Result<Bytes, ReadError> {
        if info.code_hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        match &info.code {
            Some(code) => Ok(code.original_bytes()),
            None => Ok(self.overlay.code_by_hash_ref(info.code_hash)?.original_bytes()),
        }
    }

    /// Whether geth's difference has it: it has changed, or is no more.
    fn differs(&self, config: PreStateConfig) -> bool {
        let (before, after) = (&self.before, &self.touched.info);
        self.touched.is_selfdestructed()
            || before.balance != after.balance
            || before.nonce != after.nonce
            || before.code_hash != after.code_hash
            || config.storage_enabled() && self.has_changed_slots()
    }

    /// Writes it as it was before: all that is asked of it, or what is asked of it in a difference.
    fn show_before(&self, config: PreStateConfig, text: &mut Text) -> Result<(), ReadError> {
        let AccountInfo { balance, nonce, .. } = &self.before;
        text.push_text(&format!(r#""balance":"{balance:#x}""#));
        if *nonce > 0 {
            text.push_text(&format!(r#","nonce":{nonce}"#));
        }
        if self.before.code_hash != KECCAK256_EMPTY {
            text.push_text(&format!(r#","codeHash":"{}""#, self.before.code_hash));
            if config.code_enabled() {
                show_code(self.code(&self.before)?, text);
            }
        }
        if config.storage_enabled() {
            // Of one that is no more all is shown.
            let is_diff = config.is_diff_mode() && !self.touched.is_selfdestructed();
            let values = self.slots(!is_diff).into_iter().map(|(key, before, _)| (key, before));
            show_slots(
                values.filter(|(_, value)| !is_diff || !value.is_zero()).collect(),
                ",",
                text,
            );
        }
        Ok(())
    }

    /// Writes what is another than before.
    fn show_after(&self, config: PreStateConfig, text: &mut Text) -> Result<(), ReadError> {
        let (before, after) = (&self.before, &self.touched.info);
        let mut comma = "";
        if before.balance != after.balance {
            text.push_text(&format!(r#""balance":"{:#x}""#, after.balance));
            comma = ",";
        }
        if before.nonce != after.nonce && after.nonce > 0 {
            text.push_text(&format!(r#"{comma}"nonce":{}"#, after.nonce));
            comma = ",";
        }
        if before.code_hash != after.code_hash {
            text.push_text(&format!(r#"{comma}"codeHash":"{}""#, after.code_hash));
            comma = ",";
            // Also that there is none any more.
            if config.code_enabled() {
                show_code(self.code(after)?, text);
            }
        }
        if config.storage_enabled() {
            let values = self.slots(false).into_iter().map(|(key, _, after)| (key, after));
            show_slots(values.filter(|(_, value)| !value.is_zero()).collect(), comma, text);
        }
        Ok(())
    }

    /// How Parity's difference has it, if it does.
    fn change(&self) -> Option<Change> {
        let Self { touched, before, existed, .. } = self;
        if touched.is_selfdestructed() {
            return existed.then_some(Change::Removed);
        }
        if !existed && (touched.is_created() || !touched.is_empty()) {
            return Some(Change::Added);
        }
        let has_changed = *before != touched.info || self.has_changed_slots();
        has_changed.then_some(Change::Changed)
    }

    fn show_diff(&self, change: Change, text: &mut Text) -> Result<(), ReadError> {
        let (before, after) = (&self.before, &self.touched.info);
        let number = |before: U256, after: U256| match change {
            Change::Added => format!(r#"{{"+":"{after:#x}"}}"#),
            Change::Removed => format!(r#"{{"-":"{before:#x}"}}"#),
            Change::Changed if before == after => r#""=""#.to_owned(),
            Change::Changed => format!(r#"{{"*":{{"from":"{before:#x}","to":"{after:#x}"}}}}"#),
        };
        let balance = number(before.balance, after.balance);
        let nonce = number(U256::from(before.nonce), U256::from(after.nonce));
        text.push_text(&format!(r#""balance":{balance},"nonce":{nonce},"code":"#));
        match change {
            Change::Added => self.show_sided_code(('+', after), text)?,
            Change::Removed => self.show_sided_code(('-', before), text)?,
            Change::Changed if before.code_hash == after.code_hash => text.push_text(r#""=""#),
            Change::Changed => {
                text.push_text(r#"{"*":{"from":"0x"#);
                text.push(Part::Hex(self.code(before)?));
                text.push_text(r#"","to":"0x"#);
                text.push(Part::Hex(self.code(after)?));
                text.push_text(r#""}}"#);
            }
        }
        // What is removed has no slots any more, whichever they were.
        let slots = if change == Change::Removed { Vec::new() } else { self.slots(false) };
        text.push_text(r#","storage":{"#);
        text.push(Part::each(slots.into_iter().map(move |(key, before, after)| {
            let (key, before, after) = (word(key), word(before), word(after));
            if change == Change::Added {
                format!(r#""{key}":{{"+":"{after}"}}"#)
            } else {
                format!(r#""{key}":{{"*":{{"from":"{before}","to":"{after}"}}}}"#)
            }
        })));
        text.push_text("}");
        Ok(())
    }

    fn show_sided_code(
        &self,
        (side, info): (char, &AccountInfo),
        text: &mut Text,
    ) -> Result<(), ReadError> {
        text.push_text(&format!(r#"{{"{side}":"0x"#));
        text.push(Part::Hex(self.code(info)?));
        text.push_text(r#""}"#);
        Ok(())
    }
}

/// All of its digits are shown.
fn word(number: U256) -> B256 {
    number.into()
}

/// Writes code, after something else.
fn show_code(code: Bytes, text: &mut Text) {
    text.push_text(r#","code":"0x"#);
    text.push(Part::Hex(code));
    text.push_text("\"");
}

/// Writes slots after `comma`, if there are any.
fn show_slots(slots: Vec<(U256, U256)>, comma: &str, text: &mut Text) {
    if slots.is_empty() {
        return;
    }
    text.push_text(&format!(r#"{comma}"storage":{{"#));
    let slots =
        slots.into_iter().map(|(key, value)| format!(r#""{}":"{}""#, word(key), word(value)));
    text.push(Part::each(slots));
    text.push_text("}");
}
