//! What `verify` finds.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::{
    Database,
    store::{Batch, Family, Memory, Range, Store, Sync},
    testing::{changes, execute, open, spec},
};

/// Goal: one changed byte, or one lost row, in any family that the chain is read from is found.
/// Method: a chain of 12 random blocks; for each family, some rows in turn.
#[test]
fn any_corruption_is_found() {
    let store = Arc::new(Memory::new());
    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let mut database = open(&shared);
    let mut runner = TestRunner::deterministic();
    for salt in 0..12 {
        let mut changes = changes().new_tree(&mut runner).expect("no filter").current();
        // Something is always there at the end.
        let kept = changes.storage.entry(Address::with_last_byte(200)).or_default();
        kept.slots.insert(U256::from(salt), U256::from(salt + 1));
        let executed = execute(&database.tip(), &changes, salt);
        database.commit(&[executed]).expect("in order");
    }
    let report = database.verify(&mut |_| {}).expect("memory works");
    assert_eq!(report.faults, []);
    assert_eq!((report.blocks, report.transactions), (13, 24));

    let checked = [
        Family::Accounts,
        Family::Storage,
        Family::AccountHistory,
        Family::StorageHistory,
        Family::Changes,
        Family::Headers,
        Family::Bodies,
        Family::Receipts,
        Family::Heights,
        Family::Transactions,
        Family::Nodes,
        Family::LogIndex,
    ];
    for family in checked {
        let range = Range { prefix: &[], from: &[], rows_max: usize::MAX };
        let rows = store.snapshot().scan(family, range).expect("memory works");
        assert!(!rows.is_empty(), "{family:?}");
        for (number, (key, value)) in rows.iter().enumerate().step_by(rows.len().div_ceil(5)) {
            let mut changed = value.clone();
            let middle = (number * 7) % changed.len().max(1);
            match changed.get_mut(middle) {
                Some(byte) => *byte ^= 1,
                None => changed.push(1),
            }
            for (damage, row) in [("changed", Some(changed)), ("lost", None)] {
                let mut batch = Batch::default();
                match row {
                    Some(row) => batch.put(family, key.clone(), row),
                    None => batch.delete(family, key.clone()),
                }
                store.write(&batch, Sync::No).expect("memory works");
                // A damaged head is found already when the database is opened.
                let opened = Database::open_store(Arc::clone(&shared), &spec(1), Sync::Yes);
                let is_found = opened.map_or(true, |database| {
                    let report = database.verify(&mut |_| {}).expect("memory works");
                    !report.faults.is_empty()
                });
                assert!(is_found, "{damage} row {number} of {family:?}");
                let mut batch = Batch::default();
                batch.put(family, key.clone(), value.clone());
                store.write(&batch, Sync::No).expect("memory works");
            }
        }
    }
    assert_eq!(open(&shared).verify(&mut |_| {}).expect("memory works").faults, []);
}
