//! A reorg on disk: what was answered stays, and what was not is done wholly or not at all.

use super::{Devnet, Value, folder, json, transfer};

/// Hashes of all blocks, each the parent of the next.
fn hashes(node: &mut Devnet) -> Vec<Value> {
    let mut hashes = Vec::new();
    loop {
        let params = json!([format!("{:#x}", hashes.len()), false]);
        let block = node.call("eth_getBlockByNumber", &params);
        if block.is_null() {
            return hashes;
        }
        if let Some(parent) = hashes.last() {
            assert_eq!(block["parentHash"], *parent);
        }
        hashes.push(block["hash"].clone());
    }
}

/// Goal: kill -9 right after the answer to a reorg leaves the new chain; right after the request,
/// the former one or the new one.
#[test]
fn a_reorg_survives_kill_minus_nine() {
    let data = folder("reorg");
    let flags = ["--datadir", data.to_str().expect("a UTF-8 path")];
    let mut node = Devnet::start(&flags);
    for n in 1..=8 {
        let hash = node.call("eth_sendTransaction", &transfer(&format!("{n:#x}")));
        node.receipt(&hash);
    }
    let mut before = hashes(&mut node);
    let reorg = |value: &str| json!([6, [[transfer(value)[0], 1], [transfer(value)[0], 4]]]);
    node.call("anvil_reorg", &reorg("0x100"));
    let after = hashes(&mut node);
    assert_eq!((after.len(), &after[..3]), (9, &before[..3]));
    assert!(after[3..].iter().all(|hash| !before.contains(hash)));
    before = after;
    node.kill();
    for round in 0..6 {
        let mut node = Devnet::start(&flags);
        assert_eq!(hashes(&mut node), before);
        let _unread = node.ask_only("anvil_reorg", &reorg(&format!("{:#x}", 0x200 + round)));
        // So many answers later.
        for _ in 0..round * 4 {
            node.call("eth_blockNumber", &json!([]));
        }
        node.kill();
        let mut node = Devnet::start(&flags);
        let after = hashes(&mut node);
        let is_done = after != before;
        assert_eq!((after.len(), &after[..3]), (9, &before[..3]), "round {round}");
        assert!(!is_done || after[3..].iter().all(|hash| !before.contains(hash)));
        before = after;
        assert_eq!(node.terminate(), Some(0));
    }
}
