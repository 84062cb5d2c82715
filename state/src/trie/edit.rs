//! Reads and changes one key of one trie: insertion splits leaves and extensions, removal
//! collapses them again. Whatever is on the way is loaded and becomes dirty.

use std::sync::Arc;

use alloy_trie::Nibbles;

use super::{
    node::{Branch, Kind, Link, Node},
    source::{self, Space},
    witness::Seen,
};
use crate::{error::StateError, store::Snapshot};

/// Changed rows with their keys; `None` deletes. Of two with one key the later holds.
pub(super) type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What an update needs while it works on one trie.
pub(super) struct Edit<'a> {
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) space: Space,
    /// Version of the trie that is being made.
    pub(super) version: u64,
    pub(super) rows: &'a mut Rows,
    /// Nodes worked on; what a slice is charged for.
    pub(super) work: &'a mut usize,
    /// Nodes in memory; a count that is only near, and set right by each trim.
    pub(super) nodes: &'a mut usize,
    /// Keeps the nodes of the trie as it was; nobody asks for them but a witness.
    pub(super) seen: Option<&'a mut Seen>,
}

/// Where two keys part.
struct Fork {
    /// The new key, from the node on.
    rest: Nibbles,
    /// Nibbles that both have in common.
    at: usize,
    /// Whether the node that makes way has a row.
    has_row: bool,
}

/// What became of a link under which a key was removed.
enum Removed {
    /// Nothing is left of it.
    Gone,
    /// It has other keys, and may be another kind of node now.
    Kept,
}

/// How far setting a value came at one node.
enum Set {
    /// It is set.
    Done,
    /// It is set once this replaces the node.
    Replaced(Link),
    /// It belongs below the node, which is dirty now.
    Below,
}

impl Edit<'_> {
    /// The value of `key`. Loads nodes, changes nothing.
    pub(super) fn get(
        &mut self,
        root: &mut Option<Link>,
        key: &Nibbles,
    ) -> Result<Option<Box<[u8]>>, StateError> {
        *self.work += 1;
        let Some(mut link) = root.as_mut() else { return Ok(None) };
        let mut depth = 0;
        loop {
            let node = self.loaded(link, &key.slice(..depth))?;
            if let Kind::Leaf { key: end, value } = &node.kind {
                return Ok((*end == key.slice(depth..)).then(|| value.clone()));
            }
            // A copy of the way down: its child may become a loaded one. Nothing is dirty.
            match &mut Arc::make_mut(node).kind {
                Kind::Leaf { .. } => unreachable!("returned above"),
                Kind::Extension { key: stretch, child } => {
                    if !key.slice(depth..).starts_with(stretch) {
                        return Ok(None);
                    }
                    depth += stretch.len();
                    link = child;
                }
                Kind::Branch(branch) => {
                    let Some(child) = branch.child_mut(key.get_unchecked(depth)) else {
                        return Ok(None);
                    };
                    depth += 1;
                    link = child;
                }
            }
        }
    }

    /// Sets the value of `key`, which must not have it already.
    pub(super) fn set(
        &mut self,
        root: &mut Option<Link>,
        key: &Nibbles,
        value: Box<[u8]>,
    ) -> Result<(), StateError> {
        *self.work += 1;
        let Some(mut link) = root.as_mut() else {
            *self.nodes += 1;
            *root = Some(Link::new(Kind::Leaf { key: *key, value }, self.version));
            return Ok(());
        };
        let mut depth = 0;
        let mut value = Some(value);
        loop {
            match self.set_here(link, key, depth, &mut value)? {
                Set::Done => return Ok(()),
                Set::Replaced(new) => {
                    *link = new;
                    return Ok(());
                }
                Set::Below => (link, depth) = below(link, key, depth),
            }
        }
    }

    /// Sets the value at this node, if this is where the path of `key` ends or leaves the tree.
    fn set_here(
        &mut self,
        link: &mut Link,
        key: &Nibbles,
        depth: usize,
        value: &mut Option<Box<[u8]>>,
    ) -> Result<Set, StateError> {
        const ONCE: &str = "the value is taken once, where the way ends";
        let path = key.slice(..depth);
        let rest = key.slice(depth..);
        let node = self.loaded(link, &path)?;
        if let Kind::Leaf { key: end, .. } = &node.kind {
            let end = *end;
            let has_row = self.has_row(node);
            let value = value.take().expect(ONCE);
            if end == rest {
                let leaf = Kind::Leaf { key: rest, value };
                return Ok(Set::Replaced(Link::instead(leaf, self.version, has_row)));
            }
            let old = self.split_leaf(node, &end, &rest);
            let fork = Fork { rest, at: end.common_prefix_length(&rest), has_row };
            return Ok(Set::Replaced(self.fork(&fork, old, value)));
        }
        let version = self.version;
        let node = self.dirty(node);
        match &mut node.kind {
            Kind::Leaf { .. } => unreachable!("returned above"),
            Kind::Extension { key: stretch, child } => {
                let fork = stretch.common_prefix_length(&rest);
                if fork == stretch.len() {
                    return Ok(Set::Below);
                }
                let nibble = stretch.get_unchecked(fork);
                let tail = stretch.slice(fork + 1..);
                let mut below = child.clone();
                if !tail.is_empty() {
                    below = Link::new(Kind::Extension { key: tail, child: below }, version);
                }
                let value = value.take().expect(ONCE);
                let fork = Fork { rest, at: fork, has_row: node.has_row };
                Ok(Set::Replaced(self.fork(&fork, (nibble, below), value)))
            }
            Kind::Branch(branch) => {
                let nibble = rest.get_unchecked(0);
                if branch.child_mut(nibble).is_some() {
                    return Ok(Set::Below);
                }
                *self.nodes += 1;
                let leaf = Kind::Leaf { key: rest.slice(1..), value: value.take().expect(ONCE) };
                branch.insert(nibble, Link::new(leaf, version));
                Ok(Set::Done)
            }
        }
    }

    /// Removes `key`, which must be there.
    pub(super) fn remove(
        &mut self,
        root: &mut Option<Link>,
        key: &Nibbles,
    ) -> Result<(), StateError> {
        *self.work += 1;
        let link = root.as_mut().expect("the caller saw the key");
        if let Removed::Gone = self.remove_below(link, key, 0)? {
            *root = None;
        }
        Ok(())
    }

    /// Depth of the recursion: at most 64, the nibbles of a key.
    fn remove_below(
        &mut self,
        link: &mut Link,
        key: &Nibbles,
        depth: usize,
    ) -> Result<Removed, StateError> {
        let path = key.slice(..depth);
        let node = self.loaded(link, &path)?;
        if let Kind::Leaf { key: end, .. } = &node.kind {
            assert_eq!(*end, key.slice(depth..), "the caller saw the key");
            self.delete_row(node, &path);
            *self.nodes = self.nodes.saturating_sub(1);
            return Ok(Removed::Gone);
        }
        let node = self.dirty(node);
        let (version, has_row) = (self.version, node.has_row);
        match &mut node.kind {
            Kind::Leaf { .. } => unreachable!("returned above"),
            Kind::Extension { key: stretch, child } => {
                let stretch = *stretch;
                match self.remove_below(child, key, depth + stretch.len())? {
                    Removed::Gone => unreachable!("the child is a branch, which has two keys"),
                    Removed::Kept => {}
                }
                if let Some(merged) = self.merged(&stretch, child, &path)? {
                    *link = Link::instead(merged, version, has_row);
                }
            }
            Kind::Branch(branch) => {
                let nibble = key.get_unchecked(depth);
                let child = branch.child_mut(nibble).expect("the caller saw the key");
                match self.remove_below(child, key, depth + 1)? {
                    Removed::Kept => return Ok(Removed::Kept),
                    Removed::Gone => branch.remove(nibble),
                };
                if branch.len() == 1 {
                    let (nibble, mut only) = branch.take_only();
                    let stretch = Nibbles::from_nibbles([nibble]);
                    let merged = self.merged(&stretch, &mut only, &path)?;
                    let kind = merged.unwrap_or(Kind::Extension { key: stretch, child: only });
                    *link = Link::instead(kind, version, has_row);
                }
            }
        }
        Ok(Removed::Kept)
    }

    /// What replaces `stretch` with `child` at its end, if the child cannot stay as it is: only a
    /// branch may follow a stretch; a leaf or an extension takes the stretch into its own key.
    fn merged(
        &mut self,
        stretch: &Nibbles,
        child: &mut Link,
        path: &Nibbles,
    ) -> Result<Option<Kind>, StateError> {
        let child_path = path.join(stretch);
        let node = self.loaded(child, &child_path)?;
        let kind = match &node.kind {
            Kind::Branch(_) => return Ok(None),
            Kind::Leaf { key, value } => {
                Kind::Leaf { key: stretch.join(key), value: value.clone() }
            }
            Kind::Extension { key, child } => {
                Kind::Extension { key: stretch.join(key), child: child.clone() }
            }
        };
        self.delete_row(node, &child_path);
        *self.nodes = self.nodes.saturating_sub(1);
        Ok(Some(kind))
    }

    /// A branch with the old child and a leaf for the new value; an extension leads to it if
    /// needed.
    fn fork(&mut self, fork: &Fork, old: (u8, Link), value: Box<[u8]>) -> Link {
        *self.nodes += 2;
        let Fork { rest, at, has_row } = fork;
        let leaf = Kind::Leaf { key: rest.slice(at + 1..), value };
        let mut branch = Branch::default();
        branch.insert(old.0, old.1);
        branch.insert(rest.get_unchecked(*at), Link::new(leaf, self.version));
        let branch = Kind::Branch(branch);
        if *at == 0 {
            return Link::instead(branch, self.version, *has_row);
        }
        let child = Link::new(branch, self.version);
        let stretch = Kind::Extension { key: rest.slice(..*at), child };
        Link::instead(stretch, self.version, *has_row)
    }

    /// The leaf that was at `end`, shortened to hang below the fork with `rest`.
    fn split_leaf(&self, node: &Node, end: &Nibbles, rest: &Nibbles) -> (u8, Link) {
        let Kind::Leaf { value, .. } = &node.kind else { unreachable!("called for leaves") };
        let fork = end.common_prefix_length(rest);
        let leaf = Kind::Leaf { key: end.slice(fork + 1..), value: value.clone() };
        (end.get_unchecked(fork), Link::new(leaf, self.version))
    }

    /// The node behind `link`, read from the store if it is not in memory.
    fn loaded<'l>(
        &mut self,
        link: &'l mut Link,
        path: &Nibbles,
    ) -> Result<&'l mut Arc<Node>, StateError> {
        if let Link::Stored(hash) = link {
            let node = source::load(self.snapshot, self.space, path, *hash)?;
            *self.work += 1;
            *self.nodes += 1;
            *link = Link::Node(Arc::new(node));
        }
        match link {
            Link::Node(node) => {
                if let Some(seen) = &mut self.seen {
                    seen.note(node);
                }
                Ok(node)
            }
            Link::Stored(_) => unreachable!("loaded above"),
        }
    }

    /// Makes the node one of this update (T4).
    fn dirty<'n>(&self, node: &'n mut Arc<Node>) -> &'n mut Node {
        let has_row = self.has_row(node);
        let node = Arc::make_mut(node);
        node.version = self.version;
        node.reference = None;
        node.has_row = has_row;
        node
    }

    /// Returns true if the store has a row at the path of the node.
    fn has_row(&self, node: &Node) -> bool {
        if node.version == self.version { node.has_row } else { node.hash().is_some() }
    }

    /// Notes that nothing is at `path` any more, where `node` was; hashing may still write another
    /// one there, which holds then (T3).
    fn delete_row(&mut self, node: &Node, path: &Nibbles) {
        if self.has_row(node) {
            self.rows.push((self.space.key(path), None));
        }
    }
}

/// The child of a dirty node on the way of `key`, which is there, and its depth.
fn below<'l>(link: &'l mut Link, key: &Nibbles, depth: usize) -> (&'l mut Link, usize) {
    let Link::Node(node) = link else { unreachable!("it is loaded") };
    match &mut Arc::get_mut(node).expect("T4: dirty nodes belong to one update").kind {
        Kind::Leaf { .. } => unreachable!("a way ends at a leaf"),
        Kind::Extension { key: stretch, child } => (child, depth + stretch.len()),
        Kind::Branch(branch) => {
            let child = branch.child_mut(key.get_unchecked(depth));
            (child.expect("the caller saw it"), depth + 1)
        }
    }
}
