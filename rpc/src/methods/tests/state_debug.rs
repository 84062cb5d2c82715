//! The state as debuggers look at it: in pages, between transactions, from block to block.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use evenkeel_state::{Account, ChangeSet, StorageChange};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::world::{World, sender};
use crate::RpcConfig;

/// Whom the transactions of a world go to.
const CALLEE: Address = Address::repeat_byte(0x42);
const OTHER: Address = Address::repeat_byte(0x77);

/// PUSH1 1, PUSH0, SLOAD, ADD, PUSH0, SSTORE
const COUNTING: [u8; 7] = [0x60, 1, 0x5f, 0x54, 0x01, 0x5f, 0x55];
/// What the counter begins with.
const COUNT: u64 = 5;
/// Slots of the counter, from 0 on; each holds its own number, and `COUNT` at least.
const SLOTS: u64 = 40;

fn read<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).expect("what its name says")
}

/// A world whose transactions count.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, RpcConfig::default());
    let code = Bytes::from_static(&COUNTING);
    let account = Account { nonce: 1, balance: U256::from(1_000), code_hash: keccak256(&code) };
    let mut changes = ChangeSet::default();
    changes.codes.insert(account.code_hash, code);
    changes.accounts.insert(CALLEE, Some(account));
    let slots = (0..SLOTS).map(|slot| (U256::from(slot), U256::from(slot.max(COUNT))));
    let slots = StorageChange { is_wiped: false, slots: slots.collect() };
    changes.storage.insert(CALLEE, slots);
    world.cheat(changes);
    world.mine(&[]);
    world
}

fn rich(wei: u64) -> Account {
    Account { balance: U256::from(wei), ..Account::default() }
}

/// Goal: all slots come in pages by hashed key, with the values they have before a transaction.
#[test]
fn storage_comes_in_pages() {
    let mut world = world(81);
    let block = world.mine(&[vec![], vec![]]);
    let page = |world: &mut World, index: u64, start: &Value, limit: u64| {
        let params = json!([block.hash, index, CALLEE, start, limit]).to_string();
        world.ok("debug_storageRangeAt", &params)
    };
    for index in 0..=2 {
        let (mut start, mut found) = (json!("0x"), BTreeMap::new());
        while !start.is_null() {
            let mut answer = page(&mut world, index, &start, 7);
            let storage: BTreeMap<B256, Value> = read(&answer["storage"]);
            assert!(found.keys().next_back() < storage.keys().next(), "pages ascend");
            assert!(answer["nextKey"].is_null() || storage.len() == 7);
            found.extend(storage);
            start = answer["nextKey"].take();
        }
        assert_eq!(found.len() as u64, SLOTS);
        for (hashed, entry) in found {
            let (key, value): (B256, B256) = (read(&entry["key"]), read(&entry["value"]));
            assert_eq!(hashed, keccak256(key));
            let key: u64 = U256::from_be_bytes(key.0).to();
            let expected = if key == 0 { COUNT + index } else { key.max(COUNT) };
            assert_eq!(U256::from_be_bytes(value.0), U256::from(expected), "{key} before {index}");
        }
    }
    assert_eq!(page(&mut world, 0, &json!("0xff"), 0)["storage"], json!({}));
    let beyond = json!([block.hash, 3, CALLEE, "0x", 7]).to_string();
    assert!(world.err("debug_storageRangeAt", &beyond).1.contains("out of range"));
    let genesis = json!(["0x0", 0, CALLEE, "0x", 7]).to_string();
    assert_eq!(world.err("debug_storageRangeAt", &genesis).1, "no transaction in genesis");

    for index in 0..=2 {
        let params = json!([block.hash, index, CALLEE]).to_string();
        let account = world.ok("debug_accountAt", &params);
        assert_eq!(account["balance"], format!("{:#x}", 1_000 + index));
        assert_eq!(account["code"], json!(Bytes::from_static(&COUNTING)));
    }
    let code = json!([keccak256(COUNTING)]).to_string();
    assert_eq!(world.ok("debug_codeByHash", &code), json!(Bytes::from_static(&COUNTING)));
    assert_eq!(world.ok("debug_codeByHash", &json!([B256::ZERO]).to_string()), Value::Null);
}

/// All accounts of a block, page by page, and the root they are said to have.
fn dump(world: &mut World, block: &str, limit: u64) -> (B256, BTreeMap<Address, Value>) {
    let (mut start, mut found, mut seen) = (json!("0x"), BTreeMap::new(), B256::ZERO);
    loop {
        let params = json!([block, start, limit, false, false, false]).to_string();
        let mut page = world.ok("debug_accountRange", &params);
        let accounts: BTreeMap<Address, Value> = read(&page["accounts"]);
        assert!(accounts.len() as u64 <= limit);
        let keys = accounts.values().map(|account| read::<B256>(&account["key"]));
        let (least, most) = (keys.clone().min(), keys.max());
        assert!(least >= Some(seen), "pages ascend");
        seen = most.unwrap_or_default();
        found.extend(accounts);
        start = page["next"].take();
        if start.is_null() {
            return (page["root"].as_str().expect("a root").parse().expect("hex"), found);
        }
    }
}

/// Goal: the accounts of a dump are all there are, at every height: the state root follows from
/// them, and their storage roots from their slots. Cheats on the head are seen.
#[test]
fn accounts_come_in_pages_that_make_the_root() {
    let mut world = world(82);
    let mut changes = ChangeSet::default();
    changes.accounts.insert(OTHER, Some(rich(7)));
    changes.accounts.insert(Address::with_last_byte(4), None);
    world.cheat(changes);
    world.mine(&[]);
    let mut changes = ChangeSet::default();
    changes.accounts.insert(OTHER, None);
    changes.storage.entry(CALLEE).or_default().slots.insert(U256::from(9), U256::ZERO);
    world.cheat(changes);
    world.mine(&[]);
    world.cheat_balance(OTHER, U256::from(9));
    for (block, limit) in [("0x0", 3), ("0x1", 256), ("0x2", 1), ("latest", 4)] {
        let (root, accounts) = dump(&mut world, block, limit);
        let accounts = accounts.iter().map(|(address, account)| {
            let slots: BTreeMap<B256, String> =
                account.get("storage").map(read).unwrap_or_default();
            let slots = slots.iter().map(|(slot, value)| {
                (*slot, U256::from_be_slice(&hex::decode(value).expect("hex")))
            });
            let storage_root = storage_root_unhashed(slots);
            assert_eq!(storage_root, read::<B256>(&account["root"]), "{address}");
            let code: Bytes = account.get("code").map(read).unwrap_or_default();
            assert_eq!(keccak256(&code), read::<B256>(&account["codeHash"]));
            let balance = account["balance"].as_str().expect("decimal").parse().expect("a number");
            let nonce = account["nonce"].as_u64().expect("a number");
            (*address, TrieAccount { nonce, balance, storage_root, code_hash: keccak256(code) })
        });
        assert_eq!(state_root_unhashed(accounts), root, "{block}");
        if block != "latest" {
            let header = world.ok("eth_getBlockByNumber", &json!([block, false]).to_string());
            assert_eq!(read::<B256>(&header["stateRoot"]), root);
        }
    }
    let small = world.ok("debug_accountRange", r#"["latest", "0x", 300, true, true, false]"#);
    let callee = &small["accounts"][CALLEE.to_string()];
    assert!(callee.get("code").is_none() && callee.get("storage").is_none(), "{callee}");
}

/// Goal: what blocks changed is what differs between their states, by hashed address; what came
/// back to what it was does not, nor what is gone.
#[test]
fn modified_accounts_are_those_that_differ() {
    let mut world = world(83);
    let [first, second] = [1, 2].map(Address::repeat_byte);
    let change = |world: &mut World, accounts: &[(Address, Option<Account>)], slot: u64| {
        let mut changes = ChangeSet::default();
        changes.accounts.extend(accounts.iter().copied());
        changes.storage.entry(CALLEE).or_default().slots.insert(U256::ONE, U256::from(slot));
        world.cheat(changes);
        world.mine(&[vec![]])
    };
    change(&mut world, &[(first, Some(rich(1))), (second, Some(rich(1)))], 77);
    change(&mut world, &[(first, Some(rich(2))), (second, None)], 78);
    let last = change(&mut world, &[(first, Some(rich(1)))], 77);
    let mut ask = |method: &str, params: Value| -> Vec<Address> {
        read(&world.ok(method, &params.to_string()))
    };
    let by_hash = |mut addresses: Vec<Address>| {
        addresses.sort_by_key(|address| keccak256(address));
        addresses
    };
    let by_number = "debug_getModifiedAccountsByNumber";
    assert_eq!(ask(by_number, json!([2])), by_hash(vec![first, second, CALLEE, sender()]));
    assert_eq!(ask(by_number, json!([3])), by_hash(vec![first, CALLEE, sender()]));
    assert_eq!(ask(by_number, json!([2, 4])), [sender()]);
    let hashes = json!([last.header.parent_hash, last.hash]);
    let expected = ask(by_number, json!(["0x3", "0x4"]));
    assert_eq!(ask("debug_getModifiedAccountsByHash", hashes), expected);
    for (params, text) in [
        ("[0]", "block 0 has no parent"),
        ("[17]", "start block 11 not found"),
        ("[1, 17]", "end block 17 not found"),
        ("[3, 3]", "start block height (3) must be less than end block height (3)"),
    ] {
        assert_eq!(world.err(by_number, params), (-32_000, text.to_owned()));
    }
}
