//! The chain after a rollback or a reorg, row by row beside one that never had the other blocks.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_chain::{Height, RevertTo};
use proptest::prelude::*;

use crate::{
    ChangeSet, Database, ExecutedBlock, StateError, Tip, rows,
    store::{Family, Memory, Rocks, Store, for_each},
    testing::{Folder, changes, execute, open, spec},
};

/// A block, after the cheats made before it.
pub(super) type Step = (Vec<ChangeSet>, ChangeSet);

fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let cheats = proptest::collection::vec(changes(), 0..3);
    proptest::collection::vec((cheats, changes()), 0..max)
}

/// A chain over a store, with what its next block is executed on.
struct Chain {
    store: Arc<dyn Store>,
    database: Database,
    tip: Tip,
}

impl Chain {
    fn new(store: Arc<dyn Store>) -> Self {
        let database = open(&store);
        let tip = database.tip();
        Self { store, database, tip }
    }

    fn cheat(&mut self, mut changes: ChangeSet) {
        self.tip.view.complete(&mut changes).expect("it works");
        let changes = Arc::new(changes);
        self.tip = self.tip.with_diff(Arc::clone(&changes));
        self.database.commit_diff(&changes).expect("it works");
    }

    fn extend(&mut self, steps: &[Step], salt: u64) {
        for ((cheats, changes), number) in steps.iter().zip(0..) {
            for changes in cheats {
                self.cheat(changes.clone());
            }
            let executed = block_on(&self.tip, changes, salt + number);
            self.tip = self.tip.extend(&executed);
            let durable = self.database.commit(&[executed]).expect("in order");
            self.tip = self.tip.rebase(&durable);
        }
    }

    fn height(&self) -> Height {
        self.tip.height()
    }

    /// All rows but those that count for ever (generations, marks, codes ever seen), and marks.
    fn rows(&self) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
        let mut all = BTreeMap::new();
        let snapshot = self.store.snapshot();
        for family in Family::ALL.into_iter().filter(|family| *family != Family::Codes) {
            for_each(snapshot.as_ref(), family, &[], |key, value| {
                let counts = [rows::META_GENERATION, rows::META_NEXT_MARK];
                let is_left_out = counts.contains(&key) || key.starts_with(rows::META_MARK);
                if family != Family::Meta || !is_left_out {
                    all.insert((family, key.to_vec()), value.to_vec());
                }
                Ok::<(), StateError>(())
            })
            .expect("it works");
        }
        all
    }
}

fn block_on(tip: &Tip, changes: &ChangeSet, salt: u64) -> Arc<ExecutedBlock> {
    let mut changes = changes.clone();
    tip.view.complete(&mut changes).expect("it works");
    execute(tip, &changes, salt)
}

/// Blocks beside the chain, on the block at `kept` with its cheats.
pub(super) fn branch(database: &Database, kept: Height, steps: &[Step]) -> Vec<Arc<ExecutedBlock>> {
    let mut rewind = database.durable().rewind(kept).expect("inside the chain").with_cheats();
    let mut tip = loop {
        if let Some(tip) = rewind.step(7).expect("the history is whole") {
            break tip;
        }
    };
    let blocks = steps.iter().zip(1_000..).map(|((_, changes), salt)| {
        let executed = block_on(&tip, changes, salt);
        tip = tip.extend(&executed);
        executed
    });
    blocks.collect()
}

fn run(stores: [Arc<dyn Store>; 2], shared: &[Step], gone: &[Step], new: &[Step]) {
    let [mut chain, mut other] = stores.map(Chain::new);
    chain.extend(shared, 0);
    other.extend(shared, 0);
    let kept = chain.height();
    // Cheats on the last shared block are made before its child: they stay.
    let cheats = gone.first().map_or(&[][..], |(cheats, _)| cheats);
    for changes in cheats {
        other.cheat(changes.clone());
    }
    chain.extend(gone, 100);
    let mark = RevertTo::Mark(chain.database.mark().expect("it works"));
    let new: Vec<Step> = new.iter().map(|(_, changes)| (Vec::new(), changes.clone())).collect();

    let (durable, tip) = if new.is_empty() {
        let reverted = chain.database.revert(RevertTo::Height(kept)).expect("it works");
        reverted.expect("the block is there")
    } else {
        let blocks = branch(&chain.database, kept, &new);
        let before = chain.rows();
        let odd = [Arc::clone(&blocks[0]), Arc::clone(&blocks[0])];
        assert!(chain.database.reorg(kept, &odd).is_err(), "not a chain");
        assert_eq!(chain.rows(), before);
        let reverted = chain.database.reorg(kept, &blocks).expect("it works");
        reverted.expect("the block is there")
    };
    chain.tip = tip;
    other.extend(&new, 1_000);
    assert_eq!((durable.hash, durable.header.state_root), (other.tip.hash, other.tip.trie.root()));
    if !gone.is_empty() {
        assert!(chain.database.revert(mark).expect("it works").is_none(), "it was above");
    }
    assert_eq!(chain.rows(), other.rows());

    // In memory it is the same chain too, also after a restart.
    let more = [(vec![ChangeSet::default()], ChangeSet::default())];
    chain.extend(shared, 2_000);
    other.extend(shared, 2_000);
    chain.database = open(&chain.store);
    chain.tip = chain.database.tip();
    chain.extend(&more, 3_000);
    other.extend(&more, 3_000);
    assert_eq!(chain.tip.hash, other.tip.hash);
    let report = chain.database.verify(&mut |_| {}).expect("the store works");
    assert_eq!(report.faults, []);
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Goal: after a way back to a height, with other blocks on it or none, there is no trace of
    /// those that were there: every row is that of a chain that never had them.
    #[test]
    fn a_chain_forgets_what_was_dropped(
        shared in steps(5), gone in steps(5), new in steps(4),
    ) {
        run([memory(), memory()], &shared, &gone, &new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same on disk.
    #[test]
    fn a_chain_on_disk_forgets_what_was_dropped(
        shared in steps(5), gone in steps(5), new in steps(4),
    ) {
        let folder = Folder::new();
        let rocks = Rocks::open(folder.path(), 0).expect("it opens");
        run([Arc::new(rocks), memory()], &shared, &gone, &new);
    }
}

/// Goal: readers find what a revert took: the blocks above, with their logs, by generation.
#[test]
fn dropped_blocks_are_told() {
    let mut chain = Chain::new(memory());
    let first = spec(1).genesis.number;
    chain.extend(&vec![Step::default(); 4], 0);
    let last = chain.tip.hash;
    let before = chain.database.durable();
    let kept = Height::new(first + 1);
    chain.database.revert(RevertTo::Height(kept)).expect("it works").expect("it is there");
    let durable = chain.database.durable();
    assert!(before.dropped.after(before.generation).is_none(), "what is pinned stays");
    let revert = durable.dropped.after(before.generation).expect("it is told");
    assert_eq!((revert.generation, revert.kept), (durable.generation, kept));
    assert_eq!(revert.lost_to, None);
    let heights: Vec<u64> = (first..first + 6)
        .map(|from| revert.block_from(Height::new(from)).map_or(0, |block| block.height.get()))
        .collect();
    assert_eq!(heights, [2, 2, 2, 3, 4, 0].map(|n| if n == 0 { 0 } else { first + n }));
    let block = revert.block_from(Height::new(first + 4)).expect("it has a log");
    assert_eq!((block.hash, block.logs.len(), block.logs[0].tx_index), (last, 1, 0));
    assert!(durable.dropped.after(durable.generation).is_none());
}
