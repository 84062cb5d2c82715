//! All stores against a plain map.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    thread,
};

use proptest::prelude::*;

use super::{Batch, Family, Faults, Faulty, Memory, Range, Rocks, Row, Snapshot, Store, Sync};
use crate::testing::Folder;

const FAMILIES: [Family; 2] = [Family::Accounts, Family::Nodes];

type Change = (bool, Vec<u8>, Option<Vec<u8>>);
type Model = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

fn change() -> impl Strategy<Value = Change> {
    let key = proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 0..4);
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..4));
    (any::<bool>(), key, value)
}

fn batch_of(changes: &[Change], model: &mut Model) -> Batch {
    let mut batch = Batch::default();
    for (second, key, value) in changes {
        let family = FAMILIES[usize::from(*second)];
        if let Some(value) = value {
            batch.put(family, key, value);
            model.insert((usize::from(*second), key.clone()), value.clone());
        } else {
            batch.delete(family, key);
            model.remove(&(usize::from(*second), key.clone()));
        }
    }
    batch
}

/// Compares everything a snapshot answers with the model.
fn check(snapshot: &dyn Snapshot, model: &Model) {
    for (number, family) in FAMILIES.into_iter().enumerate() {
        for prefix in [&[][..], &[0], &[1], &[255], &[255, 255], &[1, 0]] {
            for from in [&[][..], &[0, 1], &[1], &[255, 255, 1]] {
                let expected: Vec<Row> = model
                    .iter()
                    .filter(|((n, key), _)| *n == number && key.starts_with(prefix))
                    .filter(|((_, key), _)| key.as_slice() >= from)
                    .map(|((_, key), value)| (key.clone(), value.clone()))
                    .collect();
                for rows_max in [1, usize::MAX] {
                    let range = Range { prefix, from, rows_max };
                    let found = snapshot.scan(family, range).expect("the store works");
                    assert_eq!(found, expected[..expected.len().min(rows_max)]);
                }
            }
        }
        for key in [&[][..], &[0], &[1, 255], &[255, 255, 255]] {
            let found = snapshot.get(family, key).expect("the store works");
            assert_eq!(found.as_ref(), model.get(&(number, key.to_vec())));
        }
    }
}

fn check_store(store: &dyn Store, batches: &[Vec<Change>]) {
    let mut model = Model::new();
    let mut pinned: Vec<(Arc<dyn Snapshot>, Model)> = Vec::new();
    for changes in batches {
        pinned.push((store.snapshot(), model.clone()));
        let batch = batch_of(changes, &mut model);
        store.write(&batch, Sync::No).expect("the store works");
    }
    pinned.push((store.snapshot(), model));
    for (snapshot, model) in &pinned {
        check(snapshot.as_ref(), model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Goal: gets, scans and snapshots (S2) of every store are those of a map.
    #[test]
    fn stores_are_maps(batches in proptest::collection::vec(
        proptest::collection::vec(change(), 0..20), 1..6,
    )) {
        check_store(&Memory::new(), &batches);
        check_store(&Faulty::new(Faults::default()), &batches);
    }
}

/// Goal: S1 and S2 while a batch is being applied: a snapshot has all rows of one batch, and still
/// has them when later ones are in and have been swept.
#[test]
fn snapshots_made_during_writes_are_whole() {
    const ROWS: u8 = 100;
    let store = Memory::new();
    let set_all = |number: u16| {
        let mut batch = Batch::default();
        for row in 0..ROWS {
            batch.put(FAMILIES[usize::from(row % 2)], [row], number.to_be_bytes());
        }
        store.write(&batch, Sync::No).expect("memory");
    };
    let seen = |snapshot: &dyn Snapshot| {
        let value = |row: u8| {
            let row = snapshot.get(FAMILIES[usize::from(row % 2)], &[row]).expect("memory");
            row.map(|row| u16::from_be_bytes(row.try_into().expect("two bytes")))
        };
        let first = value(0).expect("it was set before");
        assert!((1..ROWS).all(|row| value(row) == Some(first)), "rows of several batches");
        first
    };
    set_all(0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..1_000).for_each(set_all));
        let mut pinned = VecDeque::new();
        while !writer.is_finished() {
            let snapshot = store.snapshot();
            pinned.push_back((seen(snapshot.as_ref()), snapshot));
            if pinned.len() > 5 {
                let (first, snapshot) = pinned.pop_front().expect("there are five");
                assert_eq!(seen(snapshot.as_ref()), first, "a snapshot has changed");
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Goal: of what snapshots held back nothing is left once they are gone, in whatever order they
    /// go and however much one of them held.
    #[test]
    fn versions_that_nobody_sees_go(
        batches in proptest::collection::vec(
            (proptest::collection::vec(change(), 0..20), any::<Option<u8>>()), 1..12),
    ) {
        let store = Memory::new();
        let (mut model, mut pinned) = (Model::new(), VecDeque::new());
        for (changes, end) in &batches {
            pinned.push_back((store.snapshot(), model.clone()));
            store.write(&batch_of(changes, &mut model), Sync::No).expect("memory");
            prop_assert!(store.versions().into_iter().all(|count| count <= pinned.len() + 2));
            if let Some(end) = end {
                pinned.swap_remove_back(usize::from(*end) % pinned.len());
            }
            for (snapshot, model) in &pinned {
                check(snapshot.as_ref(), model);
            }
        }
        pinned.clear();
        // As many as there are; each write sweeps some of them.
        for _ in &batches {
            store.write(&Batch::default(), Sync::No).expect("memory");
        }
        prop_assert_eq!(store.versions(), vec![1; model.len()]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same for RocksDB, which takes longer to open; and what was written is there again.
    #[test]
    fn rocks_is_a_map(batches in proptest::collection::vec(
        proptest::collection::vec(change(), 0..20), 1..6,
    )) {
        let folder = Folder::new();
        check_store(&Rocks::open(folder.path(), 0).expect("it opens"), &batches);
        let mut model = Model::new();
        for changes in &batches {
            batch_of(changes, &mut model);
        }
        let again = Rocks::open(folder.path(), 0).expect("it opens");
        check(again.snapshot().as_ref(), &model);
    }

    /// Goal: S1 and S3 on the simulated disk: after a crash the store is that of some number of
    /// batches, at least as many as were synced.
    #[test]
    fn a_crash_keeps_a_prefix_of_whole_batches(
        batches in proptest::collection::vec(
            (proptest::collection::vec(change(), 1..10), any::<bool>()), 1..10),
        seed in any::<u64>(),
    ) {
        let store = Faulty::new(Faults::default());
        let mut model = Model::new();
        let mut models = vec![model.clone()];
        let mut synced = 0;
        for (number, (changes, sync)) in batches.iter().enumerate() {
            let batch = batch_of(changes, &mut model);
            models.push(model.clone());
            store.write(&batch, if *sync { Sync::Yes } else { Sync::No }).expect("no fault yet");
            if *sync {
                synced = number + 1;
            }
        }
        let store = store.crash(Faults { seed, ..Faults::default() });
        let snapshot = store.snapshot();
        let all = |family| {
            let range = Range { prefix: &[], from: &[], rows_max: usize::MAX };
            snapshot.scan(family, range).expect("memory")
        };
        let found: Model = FAMILIES.into_iter().enumerate().flat_map(|(number, family)| {
            all(family).into_iter().map(move |(key, value)| ((number, key), value))
        }).collect();
        prop_assert!(models[synced..].contains(&found));
    }
}
