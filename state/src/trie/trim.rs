//! Keeps the in-memory tree bounded: deep clean subtrees become hashes again.

use std::sync::Arc;

use super::{
    node::{Kind, Link, Node},
    update::Trie,
};

/// Nodes above a key of 64 nibbles.
const LEVELS: usize = 65;
/// A storage root counts as deep as the account it belongs to usually lies.
const STORAGE_LEVEL: usize = 4;

/// Cuts the trie so that about `nodes_kept` nodes remain. What is newer than the version `durable`
/// stays, however deep.
pub(super) fn trim(trie: &mut Trie, durable: u64, nodes_kept: usize) {
    let mut counts = [0_usize; LEVELS + STORAGE_LEVEL];
    if let Some(link) = &trie.accounts {
        count(link, 0, &mut counts);
    }
    for link in trie.storages.values() {
        count(link, STORAGE_LEVEL, &mut counts);
    }
    let mut level_max = 0;
    let mut kept = counts[0];
    while level_max + 1 < counts.len() && kept + counts[level_max + 1] <= nodes_kept {
        level_max += 1;
        kept += counts[level_max];
    }

    let mut cut = Cut { durable, level_max, nodes: 0 };
    if let Some(link) = &mut trie.accounts {
        cut.run(link, 0);
    }
    let storages = std::mem::take(&mut trie.storages);
    for (hashed, mut link) in storages {
        cut.run(&mut link, STORAGE_LEVEL);
        // A storage trie of which nothing is loaded is known by the root in its account.
        if let Link::Node(_) = link {
            trie.storages.insert(hashed, link);
        }
    }
    trie.nodes = cut.nodes;
}

/// Depth of the recursion: at most 64, the nibbles of a key.
fn count(link: &Link, level: usize, counts: &mut [usize; LEVELS + STORAGE_LEVEL]) {
    let Link::Node(node) = link else { return };
    counts[level] += 1;
    match &node.kind {
        Kind::Leaf { .. } => {}
        Kind::Extension { child, .. } => count(child, level + 1, counts),
        Kind::Branch(branch) => {
            for (_, child) in branch.iter() {
                count(child, level + 1, counts);
            }
        }
    }
}

struct Cut {
    durable: u64,
    level_max: usize,
    /// Nodes left.
    nodes: usize,
}

impl Cut {
    /// Depth of the recursion: at most 64, the nibbles of a key.
    fn run(&mut self, link: &mut Link, level: usize) {
        let Link::Node(node) = link else { return };
        if level > self.level_max
            && node.version <= self.durable
            && let Some(hash) = node.hash()
        {
            *link = Link::Stored(hash);
            return;
        }
        self.nodes += 1;
        if !has_loaded_children(node) {
            return;
        }
        match &mut Arc::make_mut(node).kind {
            Kind::Leaf { .. } => {}
            Kind::Extension { child, .. } => self.run(child, level + 1),
            Kind::Branch(branch) => {
                for (_, child) in branch.iter_mut() {
                    self.run(child, level + 1);
                }
            }
        }
    }
}

fn has_loaded_children(node: &Node) -> bool {
    match &node.kind {
        Kind::Leaf { .. } => false,
        Kind::Extension { child, .. } => matches!(child, Link::Node(_)),
        Kind::Branch(branch) => branch.iter().any(|(_, child)| matches!(child, Link::Node(_))),
    }
}
