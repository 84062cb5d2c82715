//! What tokens hold for somebody.

use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, Bytes, U256, keccak256};
use evenkeel_chain::{Cheat, Command, Outcome};
use evenkeel_runtime::Port;
use evenkeel_state::{Account, ChangeSet};
use serde_json::json;

use super::world::{Setup, World};
use crate::EngineCall;

/// A token that first reads a slot which has no say in its answer, then the slot numbered as the
/// sum of its arguments. PUSH0, SLOAD, POP; PUSH1 0x24, CALLDATALOAD, PUSH1 4, CALLDATALOAD, ADD,
/// SLOAD, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
const TOKEN: [u8; 17] = [
    0x5f, 0x54, 0x50, 0x60, 0x24, 0x35, 0x60, 0x04, 0x35, 0x01, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f,
    0xf3,
];

/// Goal: the slot that holds the number is set, and no other, also where the token answers that
/// number already; without such a slot nothing is.
#[test]
fn the_slot_behind_the_answer_is_set() {
    let ordered = Arc::new(Mutex::new(Vec::new()));
    let orders = Arc::clone(&ordered);
    let engine = Port::new(move |EngineCall { command, reply }: EngineCall| {
        let Command::Cheat(Cheat::SetStorageAt(at, slot, value)) = command else {
            panic!("{command:?} was not asked for")
        };
        orders.lock().expect("one thread").push((at, slot, U256::from_be_bytes(value.0)));
        reply.send(Ok(Outcome::Done));
        Ok(())
    });
    let mut world = World::with(81, Setup { engine, ..Setup::default() });
    world.mine(&[]);
    let (token, constant) = (Address::repeat_byte(0x42), Address::repeat_byte(0x43));
    let mut changes = ChangeSet::default();
    // The second one answers 7, whatever its slot 0 has: PUSH0, SLOAD, POP, PUSH1 7, PUSH0, ...
    let sevens = [0x5f, 0x54, 0x50, 0x60, 7, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    for (at, code) in [(token, &TOKEN[..]), (constant, &sevens)] {
        let code = Bytes::copy_from_slice(code);
        let account = Account { code_hash: keccak256(&code), ..Account::default() };
        changes.codes.insert(account.code_hash, code);
        changes.accounts.insert(at, Some(account));
    }
    world.cheat(changes);

    let (owner, spender) = (Address::with_last_byte(5), Address::with_last_byte(6));
    for amount in ["0x7b", "0x0"] {
        world.ok("anvil_dealERC20", &json!([owner, token, amount]).to_string());
    }
    world.ok("anvil_setERC20Allowance", &json!([owner, spender, token, "9"]).to_string());
    let set = std::mem::take(&mut *ordered.lock().expect("one thread"));
    let [balance, allowance] = [5, 11].map(U256::from);
    let amounts = [0x7b, 0, 9].map(U256::from);
    assert_eq!(
        set,
        [
            (token, balance, amounts[0]),
            (token, balance, amounts[1]),
            (token, allowance, amounts[2])
        ]
    );

    for at in [constant, Address::repeat_byte(0x44)] {
        let (_, text) = world.err("anvil_setERC20Balance", &json!([owner, at, 7]).to_string());
        assert_eq!(text, "Unable to set ERC20 balance, no slot found");
    }
    assert!(ordered.lock().expect("one thread").is_empty());
}
