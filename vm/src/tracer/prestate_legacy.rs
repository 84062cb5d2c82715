//! geth's `prestateTracerLegacy`: accounts and slots as they were when an instruction first named
//! them. Pure.
//!
//! Source: `eth/tracers/js/internal/tracers/prestate_tracer_legacy.js`, oddities included: what
//! sender and receiver had is computed back from what they have, with the tip for the price.

use std::fmt::Write as _;

use alloy_primitives::{
    Address, B256, Bytes, U256, hex, keccak256,
    map::{HashMap, HashSet},
};
use revm::{
    Database, DatabaseRef,
    bytecode::opcode as op,
    context::JournalTr,
    interpreter::{
        Interpreter,
        interpreter_types::{InputsTr, Jumps},
    },
    primitives::TxKind,
    state::AccountInfo,
};

use super::script::{self, Ended};
use crate::{overlay::Overlay, slice::VmContext};

/// Bytes of an account beside its code, and of a slot, with what finds them (guesses).
const ACCOUNT_BYTES: usize = 256;
const SLOT_BYTES: usize = 128;
/// Init code that is hashed before it is known whether it is paid for: half a millisecond. From
/// Shanghai on (EIP-3860) no contract is made of more than a fifth of it.
const INIT_CODE_HASHED_MAX: usize = 256 * 1024;

/// What one transaction named, in order.
#[derive(Default)]
pub(super) struct Prestate {
    accounts: Vec<(Address, Account)>,
    places: HashMap<Address, usize>,
}

#[derive(Default)]
struct Account {
    balance: U256,
    nonce: u64,
    code: Bytes,
    slots: Vec<(B256, B256)>,
    seen: HashSet<B256>,
}

impl Account {
    fn new(info: Option<AccountInfo>, code: impl FnOnce(B256) -> Bytes) -> Self {
        let info = info.unwrap_or_default();
        let code = match &info.code {
            Some(code) => code.original_bytes(),
            None => code(info.code_hash),
        };
        Self { balance: info.balance, nonce: info.nonce, code, ..Self::default() }
    }
}

impl Prestate {
    /// Before an instruction; returns the bytes recorded.
    pub(super) fn step<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> usize {
        let mut bytes = 0;
        if self.accounts.is_empty() {
            bytes += self.look(interpreter.input.target_address(), context);
        }
        // One with too few operands names nothing.
        bytes + self.look_at_named(interpreter, context).unwrap_or(0)
    }

    fn look_at_named<DB: Database>(
        &mut self,
        interpreter: &Interpreter,
        context: &mut VmContext<DB>,
    ) -> Option<usize> {
        let here = interpreter.input.target_address();
        let operand = |nth| interpreter.stack.peek(nth).ok();
        let address = |nth| Some(Address::from_word(operand(nth)?.into()));
        Some(match interpreter.bytecode.opcode() {
            op::EXTCODECOPY | op::EXTCODESIZE | op::EXTCODEHASH | op::BALANCE => {
                self.look(address(0)?, context)
            }
            op::CREATE => {
                let account = context.journaled_state.state.get(&here);
                let nonce = account.map_or(0, |account| account.info.nonce);
                self.look(here.create(nonce), context)
            }
            op::CREATE2 => {
                let len = operand(2)?;
                if len > U256::from(INIT_CODE_HASHED_MAX) {
                    return None;
                }
                let init = script::memory(interpreter, operand(1)?, len);
                let made = here.create2(B256::from(operand(3)?), keccak256(&init));
                // What was hashed is charged as if it were kept.
                init.len() + self.look(made, context)
            }
            op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL => {
                self.look(address(1)?, context)
            }
            op::SSTORE | op::SLOAD => self.look_at_slot(here, operand(0)?, context),
            _ => 0,
        })
    }

    /// Keeps an account as it is now, unless it was named before.
    fn look<DB: Database>(&mut self, address: Address, context: &mut VmContext<DB>) -> usize {
        if self.places.contains_key(&address) {
            return 0;
        }
        // An error of the store is met again by the instruction itself.
        let info = script::account(context, address).ok().flatten();
        let db = context.journaled_state.db_mut();
        let mut code = |hash| db.code_by_hash(hash).map(|code| code.original_bytes());
        self.keep(address, Account::new(info, |hash| code(hash).unwrap_or_default()))
    }

    fn keep(&mut self, address: Address, account: Account) -> usize {
        let bytes = ACCOUNT_BYTES + account.code.len();
        self.places.insert(address, self.accounts.len());
        self.accounts.push((address, account));
        bytes
    }

    fn look_at_slot<DB: Database>(
        &mut self,
        address: Address,
        key: U256,
        context: &mut VmContext<DB>,
    ) -> usize {
        let Some(&place) = self.places.get(&address) else { return 0 };
        let (_, account) = &mut self.accounts[place];
        if !account.seen.insert(key.into()) {
            return 0;
        }
        let value = script::slot(context, address, key).unwrap_or_default();
        account.slots.push((key.into(), value.into()));
        SLOT_BYTES
    }

    /// What the transaction found, as far as it can be told afterwards.
    pub(super) fn result(mut self, ended: &Ended<'_>) -> String {
        let Ended { tx, after, overlay, .. } = *ended;
        let result = &after.result;
        let to = match (tx.kind, result) {
            (TxKind::Call(to), _) => to,
            (TxKind::Create, _) => tx.caller.create(tx.nonce),
        };
        for address in [to, tx.caller] {
            if !self.places.contains_key(&address) {
                let now = after.state.get(&address).map(|account| account.info.clone());
                let now = now.or_else(|| overlay.basic_ref(address).ok().flatten());
                self.keep(address, Account::new(now, |hash| code_of(overlay, hash)));
            }
        }
        let at = |address| self.places[&address];
        let (to_at, from_at) = (at(to), at(tx.caller));
        let [had, has] = [to_at, from_at].map(|place| self.accounts[place].1.balance);
        let paid = has.saturating_add(tx.value).saturating_add(price(ended));
        let mut balances: Vec<_> =
            self.accounts.iter().map(|(_, one)| hex_of(one.balance)).collect();
        balances[to_at] = match had.checked_sub(tx.value) {
            Some(before) => hex_of(before),
            None => format!("0x-{:x}", tx.value - had),
        };
        balances[from_at] = hex_of(paid);
        let from = &mut self.accounts[from_at].1;
        from.nonce = from.nonce.saturating_sub(1);
        // Nothing can have been where the transaction has created.
        let left_out = tx.kind.is_create().then_some(to);
        self.text(&balances, left_out)
    }

    fn text(&self, balances: &[String], left_out: Option<Address>) -> String {
        let mut text = "{".to_owned();
        for ((address, account), balance) in self.accounts.iter().zip(balances) {
            if Some(*address) == left_out {
                continue;
            }
            let comma = if text.len() == 1 { "" } else { "," };
            let (nonce, code) = (account.nonce, hex::encode_prefixed(&account.code));
            write!(
                text,
                r#"{comma}"{address:#x}":{{"balance":"{balance}","nonce":{nonce},"code":"{code}","storage":{{"#
            )
            .expect("memory takes text");
            for (nth, (key, value)) in account.slots.iter().enumerate() {
                let comma = if nth == 0 { "" } else { "," };
                write!(text, r#"{comma}"{key}":"{value}""#).expect("memory takes text");
            }
            text.push_str("}}");
        }
        text + "}"
    }
}

fn code_of(overlay: &Overlay, hash: B256) -> Bytes {
    overlay.code_by_hash_ref(hash).map(|code| code.original_bytes()).unwrap_or_default()
}

fn hex_of(value: U256) -> String {
    format!("{value:#x}")
}

/// What the gas cost by the tip alone, as JavaScript multiplies.
fn price(ended: &Ended<'_>) -> U256 {
    let (tip, result) = (ended.tip(), &ended.after.result);
    let double = |digits: String| digits.parse::<f64>().expect("digits are a number");
    let paid = double(result.tx_gas_used().to_string()) * double(tip.to_string());
    paid.to_string().parse().unwrap_or(U256::MAX)
}
