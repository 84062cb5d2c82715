//! Crashes and failing disks.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    ChangeSet, Database,
    store::{Faults, Faulty, Store, Sync},
    testing::{Model, changes, execute, spec},
};

fn open(store: &Arc<Faulty>) -> Result<Database, crate::OpenError> {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Database::open_store(store, &spec(1), Sync::Yes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Goal: D1 and D4. Whichever write fails, and whatever of it reached the disk, the database
    /// opens with the last acknowledged head or the one in flight, whole; and goes on from there.
    /// Method: commits, cheats, marks and reverts on a disk that fails at a random write and loses
    /// a random part of what was not synced; then the power goes.
    #[test]
    fn a_crash_leaves_the_last_commit_or_the_one_before(
        steps in proptest::collection::vec((changes(), 0..8_u8), 1..12),
        fail_at in 0..14_u64,
        seed in any::<u64>(),
    ) {
        let faults = Faults { seed, fail_at_write: Some(fail_at) };
        let store = Arc::new(Faulty::new(faults));
        // The states that may be there after the crash: acknowledged, and in flight.
        let genesis = Model::genesis(&spec(1));
        let mut acknowledged = (genesis.clone(), None);
        let mut in_flight = acknowledged.clone();
        let mut marked = None;
        if let Ok(mut database) = open(&store) {
            let mut tip = database.tip();
            acknowledged.1 = Some(tip.hash);
            in_flight.1 = Some(tip.hash);
            for (salt, (mut changes, kind)) in steps.into_iter().enumerate() {
                tip.view.complete(&mut changes).expect("reads do not fail");
                let changed = |changes| {
                    let mut model = acknowledged.0.clone();
                    model.apply(changes);
                    model
                };
                let result = match kind {
                    0 => {
                        in_flight = (changed(&changes), acknowledged.1);
                        let changes = Arc::new(changes);
                        tip = tip.with_diff(Arc::clone(&changes));
                        database.commit_diff(&changes).map(|_| ())
                    }
                    1 => database.mark().map(|mark| marked = Some((mark, acknowledged.clone()))),
                    2 => match marked.take() {
                        Some((mark, place)) => {
                            in_flight = place;
                            database.revert(mark).map(|done| tip = done.expect("a mark").1)
                        }
                        None => Ok(()),
                    },
                    _ => {
                        let executed = execute(&tip, &changes, salt as u64);
                        in_flight = (changed(&changes), Some(executed.block.hash));
                        tip = tip.extend(&executed);
                        database.commit(&[executed]).map(|_| ())
                    }
                };
                match result {
                    Ok(()) => acknowledged = in_flight.clone(),
                    Err(error) => {
                        prop_assert!(error.is_fatal());
                        // D4: nothing more is written.
                        let writes = store.writes();
                        prop_assert!(database.mark().is_err());
                        prop_assert_eq!(store.writes(), writes);
                        break;
                    }
                }
            }
        }

        let store = Arc::new(store.crash(Faults { seed: seed ^ 1, fail_at_write: None }));
        let mut database = open(&store).expect("what is on the disk is whole");
        let durable = database.durable();
        let is_one_of = [&acknowledged, &in_flight].into_iter().any(|(model, hash)| {
            hash.is_none_or(|hash| hash == durable.hash)
                && model.difference(&durable.view).is_none()
        });
        prop_assert!(is_one_of, "a mix of two states");
        let report = database.verify(&mut |_| {}).expect("the store works");
        prop_assert_eq!(report.faults, []);
        let executed = execute(&database.tip(), &ChangeSet::default(), 99);
        database.commit(&[executed]).expect("it goes on");
    }
}
