//! Proofs of accounts and slots.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use evenkeel_state::{Account, ChangeSet};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::world::World;
use crate::RpcConfig;

const ADDRESS: Address = Address::repeat_byte(0x77);
const NOBODY: Address = Address::repeat_byte(0x78);

fn read<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).expect("what its name says")
}

fn key(bytes: &[u8]) -> Nibbles {
    Nibbles::unpack(keccak256(bytes))
}

fn changed(nonce: u64, slots: impl IntoIterator<Item = (u64, u64)>) -> ChangeSet {
    let mut changes = ChangeSet::default();
    let slots = slots.into_iter().map(|(slot, value)| (U256::from(slot), U256::from(value)));
    changes.storage.entry(ADDRESS).or_default().slots.extend(slots);
    changes.accounts.insert(ADDRESS, Some(Account { nonce, ..Account::default() }));
    changes
}

/// Checks the proofs at `block` of an account with this nonce, whose slot 7 is `seventh` and slot
/// 99 is empty, and of one that is not there; returns the root they lead to.
fn check(world: &mut World, block: &str, (nonce, seventh): (u64, u64)) -> B256 {
    let params = json!([ADDRESS, ["0x7", "0x63"], block]).to_string();
    let proof = world.ok("eth_getProof", &params);
    assert_eq!(proof["nonce"], format!("{nonce:#x}"), "{block}");
    assert_eq!(proof["storageProof"][0]["value"], format!("{seventh:#x}"), "{block}");
    let storage_root: B256 = read(&proof["storageHash"]);
    let account = (nonce > 0).then(|| {
        let code_hash = KECCAK256_EMPTY;
        alloy_rlp::encode(TrieAccount { nonce, balance: U256::ZERO, storage_root, code_hash })
    });
    let nodes: Vec<Bytes> = read(&proof["accountProof"]);
    let root = keccak256(&nodes[0]);
    verify_proof(root, key(ADDRESS.as_slice()), account, &nodes).expect(block);
    for (index, slot, value) in [(0, 7_u64, seventh), (1, 0x63, 0)] {
        let nodes: Vec<Bytes> = read(&proof["storageProof"][index]["proof"]);
        if storage_root.is_zero() {
            assert!(nodes.is_empty() && value == 0, "there is no storage");
            continue;
        }
        let value = (value > 0).then(|| alloy_rlp::encode(U256::from(value)));
        let slot = key(&U256::from(slot).to_be_bytes::<32>());
        verify_proof(storage_root, slot, value, &nodes).expect(block);
    }
    let absent = world.ok("eth_getProof", &json!([NOBODY, [], block]).to_string());
    assert_eq!(absent["codeHash"], json!(B256::ZERO));
    let nodes: Vec<Bytes> = read(&absent["accountProof"]);
    verify_proof(root, key(NOBODY.as_slice()), None, &nodes).expect(block);
    root
}

/// Goal: proofs of accounts and slots, present and absent, lead to the state root of their block:
/// at the head, below it, and at a head that a cheat has changed, whose root the next block has.
/// Method: alloy-trie verifies them.
#[test]
fn proofs_lead_to_the_state_root() {
    let mut world = World::new(47, RpcConfig::default());
    world.cheat(changed(2, (1..40).map(|slot| (slot, slot * slot))));
    world.mine(&[]);
    world.cheat(changed(3, [(7, 0)]));
    let root_of = |world: &mut World, block: &str| -> B256 {
        let header = world.ok("eth_getBlockByNumber", &json!([block, false]).to_string());
        read(&header["stateRoot"])
    };
    let cheated = check(&mut world, "latest", (3, 0));
    assert_ne!(cheated, root_of(&mut world, "latest"));
    world.mine(&[]);
    assert_eq!(cheated, root_of(&mut world, "latest"));
    for (block, expected) in [("0x0", (0, 0)), ("0x1", (2, 49)), ("0x2", (3, 0))] {
        let root = check(&mut world, block, expected);
        assert_eq!(root, root_of(&mut world, block), "{block}");
    }
}

/// Goal: slots of several accounts come in one answer; how many is bounded.
#[test]
fn slots_are_read_together() {
    let mut world = World::new(48, RpcConfig::default());
    world.cheat(changed(1, [(1, 5), (2, 6)]));
    let asked = json!({ ADDRESS.to_string(): ["0x1", "0x2"], NOBODY.to_string(): ["0x1"] });
    let found = world.ok("eth_getStorageValues", &json!([asked]).to_string());
    let filled = |value: u64| json!(format!("0x{value:064x}"));
    let of = |address: Address| found[address.to_string().to_lowercase()].clone();
    assert_eq!(of(ADDRESS), json!([filled(5), filled(6)]));
    assert_eq!(of(NOBODY), json!([filled(0)]));
    assert_eq!(world.err("eth_getStorageValues", "[{}]"), (-32_602, "empty request".to_owned()));
    let many = json!([{ ADDRESS.to_string(): vec!["0x1"; 1_025] }]).to_string();
    assert_eq!(world.err("eth_getStorageValues", &many).0, -38_026);
    let many = json!([ADDRESS, vec!["0x1"; 1_025]]).to_string();
    assert_eq!(world.err("eth_getProof", &many).1, "too many slots (max 1024)");
}
