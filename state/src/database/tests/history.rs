//! Reads at the head and at every height, ahead of the store and behind it.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use evenkeel_chain::Height;
use proptest::prelude::*;

use crate::{
    ChangeSet, Database, Tip,
    store::{Memory, Rocks, Store},
    testing::{Folder, Model, addresses, changes, execute, open, spec},
};

/// What happens next to a chain.
#[derive(Clone, Debug)]
enum Event {
    /// A block is executed, and waits.
    Block(ChangeSet),
    /// All blocks that wait are written in one batch.
    Commit,
    /// A cheat, once nothing waits.
    Diff(ChangeSet),
    /// The tip reads from the newest snapshot.
    Rebase,
    /// The process starts again, once nothing waits.
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => changes().prop_map(Event::Block),
        2 => Just(Event::Commit),
        2 => changes().prop_map(Event::Diff),
        2 => Just(Event::Rebase),
        1 => Just(Event::Reopen),
    ]
}

/// A run of events, with the model beside it.
struct Run {
    store: Arc<dyn Store>,
    database: Database,
    tip: Tip,
    waiting: Vec<Arc<crate::ExecutedBlock>>,
    /// State after each block, from the first.
    models: Vec<Model>,
    /// What each block but the first was executed on.
    befores: Vec<Model>,
    /// The last of them with the cheats since.
    now: Model,
    /// Views taken on the way, with what they must always say.
    pinned: Vec<(crate::View, Model)>,
}

impl Run {
    fn new(store: Arc<dyn Store>) -> Self {
        let database = open(&store);
        let tip = database.tip();
        let now = Model::genesis(&spec(1));
        let models = vec![now.clone()];
        let (waiting, befores, pinned) = (Vec::new(), Vec::new(), Vec::new());
        Self { store, database, tip, waiting, models, befores, now, pinned }
    }

    fn event(&mut self, number: usize, event: Event) {
        match event {
            Event::Block(mut changes) => {
                self.tip.view.complete(&mut changes).expect("it works");
                self.befores.push(self.now.clone());
                self.now.apply(&changes);
                let executed = execute(&self.tip, &changes, number as u64);
                assert_eq!(executed.block.header.state_root, self.now.root());
                self.tip = self.tip.extend(&executed);
                self.waiting.push(executed);
                self.models.push(self.now.clone());
            }
            Event::Commit => {
                let blocks = std::mem::take(&mut self.waiting);
                self.database.commit(&blocks).expect("in order");
            }
            Event::Diff(mut changes) => {
                self.tip.view.complete(&mut changes).expect("it works");
                self.event(number, Event::Commit);
                self.now.apply(&changes);
                let changes = Arc::new(changes);
                self.tip = self.tip.with_diff(Arc::clone(&changes));
                let durable = self.database.commit_diff(&changes).expect("it works");
                assert_eq!(durable.diffs, self.tip.diffs.len() as u64);
            }
            Event::Rebase => self.tip = self.tip.rebase(&self.database.durable()),
            Event::Reopen => {
                self.event(number, Event::Commit);
                self.database = open(&self.store);
                self.tip = self.database.tip();
            }
        }
        self.pinned.push((self.tip.view.clone(), self.now.clone()));
        if self.waiting.is_empty() {
            let durable = self.database.durable();
            self.pinned.push((durable.view, self.now.clone()));
            assert_eq!(durable.hash, self.tip.hash);
        }
    }

    /// Every key at every height, and blocks by number, hash and transaction.
    fn check(&self) {
        let durable = self.database.durable();
        let chain = &durable.chain;
        let first = chain.genesis().get();
        for (height, model) in (first..=chain.head().get()).zip(&self.models) {
            let height = Height::new(height);
            let view = chain.view_at(height).expect("it works").expect("inside the chain");
            assert_eq!(view.height(), height);
            model.check(&view);
            let header = chain.header(height).expect("it works").expect("inside the chain");
            assert_eq!(header.header.state_root, model.root());
            assert_eq!(chain.height_of(header.hash).expect("it works"), Some(height));
            let tip = rewound(&durable, height);
            assert_eq!((tip.hash, tip.trie.root()), (header.hash, model.root()));
            model.check(&tip.view);
            assert_eq!(durable.view.block_hash(height).expect("it works"), Some(header.hash));
            let block = chain.block(height).expect("it works").expect("inside the chain");
            block.check_body().expect("senders and all are kept");
            let receipts = chain.receipts(height).expect("it works").expect("inside the chain");
            assert_eq!(evenkeel_chain::receipts_root(&receipts), header.header.receipts_root);
            for (index, tx) in block.txs.iter().enumerate() {
                let at = chain.transaction(*tx.hash()).expect("it works").expect("it is indexed");
                assert_eq!((at.height, at.index), (height, index as u64));
                assert!(tx.is_impersonated());
            }
        }
        for (height, model) in (first + 1..=chain.head().get()).zip(&self.befores) {
            let view = chain.view_before(Height::new(height)).expect("it works");
            model.check(&view.expect("above the first block"));
        }
        assert!(chain.view_before(chain.genesis()).expect("it works").is_none());
        assert!(chain.view_before(chain.head().next()).expect("it works").is_none());
        let head = durable.tip();
        self.now.check(&head.view);
        let all = head.diffs.iter().fold(ChangeSet::default(), |mut all, diff| {
            all.merge(diff);
            all
        });
        let (root, trie, _) = head.trie.update(&Arc::new(all)).finish_now().expect("it works");
        assert_eq!(root, self.now.root(), "the head's trie and the cheats made on it");
        for address in addresses() {
            let account = trie.prove_account(address).expect("it works").account;
            let root = account.map(|account| account.storage_root);
            let expected = self.now.accounts.contains_key(&address);
            let expected = expected.then(|| self.now.storage_root(address));
            assert_eq!(root, expected, "storage of {address}");
        }
        for outside in [chain.genesis().prev().expect("it starts at 7"), chain.head().next()] {
            assert!(chain.view_at(outside).expect("it works").is_none());
            assert!(durable.rewind(outside).is_none());
            assert!(chain.block(outside).expect("it works").is_none());
            assert!(chain.receipts(outside).expect("it works").is_none());
            assert_eq!(durable.view.block_hash(outside).expect("it works"), None);
        }
        for (view, model) in &self.pinned {
            model.check(view);
        }
        let report = self.database.verify(&mut |_| {}).expect("the store works");
        assert_eq!(report.faults, []);
    }
}

fn rewound(durable: &crate::Durable, height: Height) -> Tip {
    let mut rewind = durable.rewind(height).expect("inside the chain");
    loop {
        if let Some(tip) = rewind.step(1).expect("the history is whole") {
            return tip;
        }
    }
}

fn run(store: Arc<dyn Store>, events: Vec<Event>) {
    let mut run = Run::new(store);
    for (number, event) in events.into_iter().enumerate() {
        run.event(number, event);
    }
    run.event(usize::MAX, Event::Reopen);
    run.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Goal: D2, D3 and V1: every height says what the model says, cheats are seen at the head and
    /// not at its height, views never change, whatever order blocks, commits, cheats, rebases and
    /// restarts come in; every block's own beginning is known, cheats included; `verify` finds
    /// nothing wrong.
    #[test]
    fn every_height_is_readable_in_memory(
        events in proptest::collection::vec(event(), 0..24),
    ) {
        run(Arc::new(Memory::new()), events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same on disk.
    #[test]
    fn every_height_is_readable_on_disk(
        events in proptest::collection::vec(event(), 0..24),
    ) {
        let folder = Folder::new();
        run(Arc::new(Rocks::open(folder.path(), 0).expect("it opens")), events);
    }
}

/// Goal: V2. A thousand cheats without a block leave a view that is read in a few steps.
#[test]
fn cheats_pile_up_in_few_layers() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut tip = open(&store).tip();
    let mut model = Model::genesis(&spec(1));
    for number in 0..1_000_u64 {
        let address = Address::from_word(U256::from(number).into());
        let mut changes = ChangeSet::default();
        let account = crate::Account { nonce: number, ..Default::default() };
        changes.accounts.insert(address, Some(account));
        model.apply(&changes);
        tip = tip.with_diff(Arc::new(changes));
    }
    assert!(tip.view.layer_count() <= 10, "{} layers", tip.view.layer_count());
    model.check(&tip.view);
}
