//! Which branch is the chain, and which blocks have a place.

use std::{slice, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::{ChainSpec, Header, OmmerError, limits::DIFFICULTY_MIN};

use super::{BlockTree, Placed, TreeError};
use crate::limits::{TREE_BLOCKS_MAX, TREE_DEPTH};

const FRONTIER: &str = r#"{"chainId":1}"#;

fn tree(config: &str) -> (BlockTree<()>, Header) {
    let text = format!(
        r#"{{"config":{config},"gasLimit":"0x1000000","difficulty":"0x20000","alloc":{{}}}}"#
    );
    let spec = Arc::new(ChainSpec::from_genesis_json(&text).expect("a genesis"));
    let first = spec.genesis_header(B256::ZERO);
    (BlockTree::new(spec, Arc::new(first.clone()), first.hash_slow(), ()), first)
}

/// The child that is mined `seconds` after its parent; `name` tells it from its brothers.
fn child(tree: &BlockTree<()>, parent: &Header, seconds: u64, name: u8) -> Header {
    let timestamp = parent.timestamp + seconds;
    Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        timestamp,
        difficulty: tree.spec.next_difficulty(parent, timestamp),
        beneficiary: Address::with_last_byte(name),
        ..parent.clone()
    }
}

fn insert(tree: &mut BlockTree<()>, header: &Header) -> Placed {
    tree.check(header, &[]).expect("it has a place");
    tree.insert(Arc::new(header.clone()), header.hash_slow(), &[], ())
}

/// Goal: the heavier branch is the chain, also if it is the shorter one; of equal ones the first.
/// What changes sides is named in the order in which it is undone and done.
#[test]
fn the_heaviest_branch_is_the_chain() {
    let (mut tree, first) = tree(FRONTIER);
    let a = child(&tree, &first, 20, 1);
    let b = child(&tree, &first, 20, 2);
    assert_eq!(
        insert(&mut tree, &a),
        Placed::Head { abandoned: vec![], adopted: vec![a.hash_slow()] }
    );
    assert_eq!(insert(&mut tree, &b), Placed::Side);
    assert_eq!(tree.head(), a.hash_slow());

    let b2 = child(&tree, &b, 5, 2);
    let reorg = Placed::Head {
        abandoned: vec![a.hash_slow()],
        adopted: vec![b.hash_slow(), b2.hash_slow()],
    };
    assert_eq!(insert(&mut tree, &b2), reorg);
    assert_eq!(insert(&mut tree, &b2), Placed::Side, "it is there already");
    assert_eq!(tree.head(), b2.hash_slow());

    // One block that is worth more than two: found at once, after a parent that is heavier.
    let far = Header { number: 40, ..b2.clone() };
    let error = tree.check(&Header { parent_hash: far.hash_slow(), ..far }, &[]);
    assert!(matches!(error, Err(TreeError::UnknownParent { number: 40, .. })));
}

/// Goal: proof of work ends with the block that reaches the terminal total difficulty; from then on
/// the last block brought is the head, and no mined one.
#[test]
fn proof_of_stake_begins_at_the_terminal_difficulty() {
    let (mut tree, first) = tree(
        r#"{"chainId":1,"homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0,"londonBlock":0,
        "terminalTotalDifficulty":"0x40000"}"#,
    );
    let terminal = U256::from(0x40000);
    let staked = |parent: &Header, name| Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        difficulty: U256::ZERO,
        beneficiary: Address::with_last_byte(name),
        ..parent.clone()
    };
    let early = tree.check(&staked(&first, 1), &[]);
    let parent = DIFFICULTY_MIN;
    assert_eq!(early, Err(TreeError::StakedBeforeTerminal { terminal, parent }));

    let last = child(&tree, &first, 20, 1);
    let rival = child(&tree, &first, 20, 2);
    insert(&mut tree, &last);
    insert(&mut tree, &rival);
    let late = tree.check(&child(&tree, &last, 20, 1), &[]);
    assert!(matches!(late, Err(TreeError::MinedAfterTerminal { .. })));
    let (one, two) = (staked(&last, 1), staked(&rival, 2));
    insert(&mut tree, &one);
    let moved = Placed::Head {
        abandoned: vec![one.hash_slow(), last.hash_slow()],
        adopted: vec![rival.hash_slow(), two.hash_slow()],
    };
    assert_eq!(insert(&mut tree, &two), moved);
    // Heavier than all before it, but mined.
    let heavy = Header { difficulty: U256::from(1_u64 << 40), ..child(&tree, &first, 1, 3) };
    assert_eq!(insert(&mut tree, &heavy), Placed::Side);
    assert_eq!(tree.head(), two.hash_slow());
}

/// Goal: an ommer is a brother of one of the last six blocks, named once, and a valid header.
#[test]
fn ommers_are_recent_and_named_once() {
    let (mut tree, first) = tree(FRONTIER);
    let mut chain = vec![first.clone()];
    for _ in 0..8 {
        let next = child(&tree, &chain[chain.len() - 1], 10, 0);
        insert(&mut tree, &next);
        chain.push(next);
    }
    let ommer = |tree: &BlockTree<()>, of: usize, name| child(tree, &chain[of], 10, name);
    let block = child(&tree, &chain[8], 10, 0);
    let check = |tree: &BlockTree<()>, ommers: &[Header]| tree.check(&block, ommers).err();
    let hash = |header: &Header| header.hash_slow();

    // Brothers of blocks 3 to 8 are recent enough.
    for parent in 2..8 {
        assert_eq!(check(&tree, &[ommer(&tree, parent, 1)]), None, "child of {parent}");
    }
    let old = ommer(&tree, 1, 1);
    let parent = OmmerError::Parent { ommer: hash(&old), parent: hash(&chain[1]), depth: 6 };
    assert_eq!(check(&tree, &[old]), Some(parent.into()));
    let brother = ommer(&tree, 8, 1);
    let error = Some(OmmerError::IsBrother(hash(&brother)).into());
    assert_eq!(check(&tree, &[brother]), error);
    let ancestor = chain[5].clone();
    assert_eq!(
        check(&tree, slice::from_ref(&ancestor)),
        Some(OmmerError::IsAncestor(hash(&ancestor)).into())
    );
    let good = ommer(&tree, 6, 1);
    let twice = [good.clone(), good.clone()];
    assert_eq!(check(&tree, &twice), Some(OmmerError::Named(hash(&good)).into()));
    let too_many = [4, 5, 6].map(|parent| ommer(&tree, parent, 1));
    assert_eq!(check(&tree, &too_many), Some(OmmerError::TooMany { found: 3, limit: 2 }.into()));
    let easy = Header { difficulty: U256::ONE, ..good.clone() };
    assert!(matches!(check(&tree, &[easy]), Some(TreeError::Ommers(OmmerError::Header { .. }))));

    // Named by a block before.
    tree.insert(Arc::new(block.clone()), block.hash_slow(), slice::from_ref(&good), ());
    let next = child(&tree, &block, 10, 0);
    let named = OmmerError::Named(hash(&good));
    assert_eq!(tree.check(&next, &[good]), Err(named.into()));
}

/// Goal: the tree stays bounded on an endless chain, and refuses a flood of side branches.
#[test]
fn the_tree_is_bounded() {
    let (mut tree, first) = tree(FRONTIER);
    let mut last = first.clone();
    for _ in 0..TREE_BLOCKS_MAX {
        last = child(&tree, &last, 10, 0);
        insert(&mut tree, &last);
        assert!(tree.len() <= TREE_BLOCKS_MAX / 2);
    }
    assert!(!tree.contains(first.hash_slow()));
    let depth = usize::try_from(TREE_DEPTH).expect("small");
    assert!(tree.len() > depth);
    let flood = (1..).map_while(|name: u64| {
        let mut side = child(&tree, &last, 30, 0);
        side.beneficiary = Address::left_padding_from(&name.to_be_bytes());
        tree.check(&side, &[]).ok()?;
        tree.insert(Arc::new(side.clone()), side.hash_slow(), &[], ());
        Some(())
    });
    assert!(flood.count() < TREE_BLOCKS_MAX);
    let error = tree.check(&child(&tree, &last, 20, 0), &[]);
    assert_eq!(error, Err(TreeError::Full(TREE_BLOCKS_MAX)));
}
