//! Marks, and the way back to them.

use std::sync::Arc;

use evenkeel_chain::{Height, RevertTo, limits::GENESIS_MARK};
use proptest::prelude::*;

use crate::{
    ChangeSet, View,
    store::{Memory, Rocks, Store},
    testing::{Folder, Model, changes, execute, open, spec},
};

#[derive(Clone, Debug)]
enum Event {
    Block(ChangeSet),
    Diff(ChangeSet),
    Mark,
    /// Goes to the mark that is this many before the newest.
    Revert(usize),
    /// Goes to the genesis.
    Reset,
    /// Goes back by so many blocks, or one that is not there.
    Rollback(usize),
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => changes().prop_map(Event::Block),
        3 => changes().prop_map(Event::Diff),
        3 => Just(Event::Mark),
        2 => (0..4_usize).prop_map(Event::Revert),
        1 => Just(Event::Reset),
        2 => (0..5_usize).prop_map(Event::Rollback),
        1 => Just(Event::Reopen),
    ]
}

/// What a mark must bring back.
#[derive(Clone)]
struct Place {
    number: u64,
    models: Vec<Model>,
    befores: Vec<Model>,
    now: Model,
    hash: alloy_primitives::B256,
    diffs: usize,
}

fn run(store: &Arc<dyn Store>, events: Vec<Event>) {
    let mut database = open(store);
    let mut tip = database.tip();
    let mut now = Model::genesis(&spec(1));
    let mut models = vec![now.clone()];
    let mut befores: Vec<Model> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let genesis_hash = tip.hash;
    let mut pinned: Vec<(View, Model)> = Vec::new();
    let mut reverts = 0;
    let mut marks = 0;
    for (salt, event) in events.into_iter().enumerate() {
        match event {
            Event::Block(mut changes) => {
                tip.view.complete(&mut changes).expect("it works");
                befores.push(now.clone());
                now.apply(&changes);
                let executed = execute(&tip, &changes, salt as u64);
                tip = tip.extend(&executed);
                let durable = database.commit(&[executed]).expect("in order");
                tip = tip.rebase(&durable);
                models.push(now.clone());
            }
            Event::Diff(mut changes) => {
                tip.view.complete(&mut changes).expect("it works");
                now.apply(&changes);
                let changes = Arc::new(changes);
                tip = tip.with_diff(Arc::clone(&changes));
                database.commit_diff(&changes).expect("it works");
            }
            Event::Mark => {
                let number = database.mark().expect("it works");
                assert_eq!(number, marks, "numbers are never used again");
                marks += 1;
                places.push(Place {
                    number,
                    models: models.clone(),
                    befores: befores.clone(),
                    now: now.clone(),
                    hash: tip.hash,
                    diffs: tip.diffs.len(),
                });
            }
            Event::Revert(back) => {
                let Some(index) = places.len().checked_sub(back + 1) else {
                    assert!(database.revert(RevertTo::Mark(marks)).expect("it works").is_none());
                    continue;
                };
                let place = places[index].clone();
                let reverted = database.revert(RevertTo::Mark(place.number)).expect("it works");
                let (durable, new_tip) = reverted.expect("the mark is there");
                reverts += 1;
                assert_eq!(durable.generation, reverts);
                assert_eq!((durable.hash, new_tip.hash), (place.hash, place.hash));
                assert_eq!(new_tip.diffs.len(), place.diffs);
                for later in places.drain(index..) {
                    assert!(
                        database.revert(RevertTo::Mark(later.number)).expect("it works").is_none()
                    );
                }
                (tip, now, models, befores) = (new_tip, place.now, place.models, place.befores);
            }
            Event::Reset => {
                let reverted = database.revert(RevertTo::Mark(GENESIS_MARK)).expect("it works");
                let (durable, new_tip) = reverted.expect("every chain has it");
                reverts += 1;
                assert_eq!((durable.hash, durable.diffs), (genesis_hash, 0));
                for mark in places.drain(..) {
                    assert!(
                        database.revert(RevertTo::Mark(mark.number)).expect("it works").is_none()
                    );
                }
                (tip, now) = (new_tip, Model::genesis(&spec(1)));
                (models, befores) = (vec![now.clone()], Vec::new());
            }
            Event::Rollback(back) => {
                let Some(last) = (models.len() - 1).checked_sub(back) else {
                    let below = RevertTo::Height(Height::new(spec(1).genesis.number - 1));
                    assert!(database.revert(below).expect("it works").is_none());
                    continue;
                };
                let height = Height::new(spec(1).genesis.number + last as u64);
                let reverted = database.revert(RevertTo::Height(height)).expect("it works");
                let (durable, new_tip) = reverted.expect("the block is there");
                reverts += 1;
                assert_eq!(durable.height(), height);
                let above = RevertTo::Height(height.next());
                assert!(database.revert(above).expect("it works").is_none());
                // The cheats made on the block stay.
                now = befores.get(last).cloned().unwrap_or(now);
                models.truncate(last + 1);
                befores.truncate(last);
                let (kept, gone): (Vec<_>, Vec<_>) =
                    places.drain(..).partition(|place| place.models.len() <= models.len());
                for later in gone {
                    assert!(
                        database.revert(RevertTo::Mark(later.number)).expect("it works").is_none()
                    );
                }
                (tip, places) = (new_tip, kept);
            }
            Event::Reopen => {
                database = open(store);
                tip = database.tip();
            }
        }
        let durable = database.durable();
        assert_eq!(durable.generation, reverts);
        now.check(&durable.view);
        pinned.push((durable.view, now.clone()));
        pinned.push((tip.view.clone(), now.clone()));
    }
    let chain = database.durable().chain;
    assert_eq!(chain.head().get() - chain.genesis().get() + 1, models.len() as u64);
    for (height, model) in (chain.genesis().get()..).zip(&models) {
        let height = Height::new(height);
        model.check(&chain.view_at(height).expect("it works").expect("inside the chain"));
    }
    for (height, model) in (chain.genesis().get() + 1..).zip(&befores) {
        let view = chain.view_before(Height::new(height)).expect("it works");
        model.check(&view.expect("inside the chain"));
    }
    for (view, model) in &pinned {
        model.check(view);
    }
    let report = database.verify(&mut |_| {}).expect("the store works");
    assert_eq!(report.faults, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Goal: a revert brings back exactly the marked state, heights, cheats and indexes, a reset
    /// those of the genesis; each leaves no rows behind (`verify` counts them) and touches no
    /// pinned view; marks survive restarts.
    #[test]
    fn reverts_bring_back_the_mark_in_memory(
        events in proptest::collection::vec(event(), 0..30),
    ) {
        run(&(Arc::new(Memory::new()) as _), events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same on disk.
    #[test]
    fn reverts_bring_back_the_mark_on_disk(
        events in proptest::collection::vec(event(), 0..30),
    ) {
        let folder = Folder::new();
        run(&(Arc::new(Rocks::open(folder.path(), 0).expect("it opens")) as _), events);
    }
}

/// Goal: a block that is not the head's child is refused by name, and nothing is written.
#[test]
fn blocks_out_of_order_are_refused() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut database = open(&store);
    let tip = database.tip();
    let first = execute(&tip, &ChangeSet::default(), 1);
    let second = execute(&tip.extend(&first), &ChangeSet::default(), 2);
    let other = execute(&tip, &ChangeSet::default(), 3);
    for blocks in [&[Arc::clone(&second)][..], &[first.clone(), other], &[first.clone(), first]] {
        let error = database.commit(blocks).err().expect("not in order");
        assert!(matches!(error, crate::StateError::OutOfOrder { .. }) && !error.is_fatal());
    }
    assert_eq!(database.durable().hash, tip.hash);
    assert_eq!(open(&store).durable().hash, tip.hash);
}
