//! Crashes and failing disks.

use std::sync::Arc;

use evenkeel_chain::{Height, RevertTo};
use proptest::prelude::*;

use super::reorg::branch;
use crate::{
    ChangeSet, Database,
    store::{Faults, Faulty, Store, Sync},
    testing::{Model, changes, execute, spec},
};

fn open(store: &Arc<Faulty>) -> Result<Database, crate::OpenError> {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Database::open_store(store, &spec(1), Sync::Yes)
}

/// Runs the steps on a disk that fails at a write and loses a random part of what was not synced;
/// then the power goes. Returns false if no write was as late as that.
fn crash_at(steps: &[(ChangeSet, u8)], fail_at: u64, seed: u64) -> bool {
    let faults = Faults { seed, fail_at_write: Some(fail_at) };
    let store = Arc::new(Faulty::new(faults));
    // The states that may be there after the crash: acknowledged, and in flight.
    let genesis = Model::genesis(&spec(1));
    let mut acknowledged = (genesis.clone(), None);
    let mut in_flight = acknowledged.clone();
    let mut marked = None;
    // What the last block was executed on, and where.
    let mut ground: Option<(Model, Height)> = None;
    if let Ok(mut database) = open(&store) {
        let mut tip = database.tip();
        acknowledged.1 = Some(tip.hash);
        in_flight.1 = Some(tip.hash);
        for (salt, (changes, kind)) in steps.iter().enumerate() {
            let mut changes = changes.clone();
            tip.view.complete(&mut changes).expect("reads do not fail");
            let after = |changes| {
                let mut model = acknowledged.0.clone();
                model.apply(changes);
                model
            };
            let result = match kind {
                0 => {
                    in_flight = (after(&changes), acknowledged.1);
                    let changes = Arc::new(changes);
                    tip = tip.with_diff(Arc::clone(&changes));
                    database.commit_diff(&changes).map(|_| ())
                }
                1 => database
                    .mark()
                    .map(|mark| marked = Some((mark, tip.height(), acknowledged.clone()))),
                2 => match marked.take() {
                    Some((mark, _, place)) => {
                        (in_flight, ground) = (place, None);
                        let reverted = database.revert(RevertTo::Mark(mark));
                        reverted.map(|done| tip = done.expect("a mark").1)
                    }
                    None => Ok(()),
                },
                3 => match &ground {
                    Some((model, kept)) => {
                        let blocks = branch(&database, *kept, &[(Vec::new(), changes.clone())]);
                        let mut model = model.clone();
                        model.apply(&changes);
                        in_flight = (model, Some(blocks[0].block.hash));
                        marked = marked.filter(|(_, height, _)| height <= kept);
                        let reverted = database.reorg(*kept, &blocks);
                        reverted.map(|done| tip = done.expect("a block").1)
                    }
                    None => Ok(()),
                },
                _ => {
                    let executed = execute(&tip, &changes, salt as u64);
                    ground = Some((acknowledged.0.clone(), tip.height()));
                    in_flight = (after(&changes), Some(executed.block.hash));
                    tip = tip.extend(&executed);
                    database.commit(&[executed]).map(|_| ())
                }
            };
            match result {
                Ok(()) => acknowledged = in_flight.clone(),
                Err(error) => {
                    assert!(error.is_fatal());
                    // D4: nothing more is written.
                    let writes = store.writes();
                    assert!(database.mark().is_err());
                    assert_eq!(store.writes(), writes);
                    break;
                }
            }
        }
    }

    let has_failed = store.writes() > fail_at;
    let store = Arc::new(store.crash(Faults { seed: seed ^ 1, fail_at_write: None }));
    let mut database = open(&store).expect("what is on the disk is whole");
    let durable = database.durable();
    let is_one_of = [&acknowledged, &in_flight].into_iter().any(|(model, hash)| {
        hash.is_none_or(|hash| hash == durable.hash) && model.difference(&durable.view).is_none()
    });
    assert!(is_one_of, "a mix of two states");
    let report = database.verify(&mut |_| {}).expect("the store works");
    assert_eq!(report.faults, []);
    let executed = execute(&database.tip(), &ChangeSet::default(), 99);
    database.commit(&[executed]).expect("it goes on");
    has_failed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Goal: D1 and D4. Whichever write fails, and whatever of it reached the disk, the database
    /// opens with the last acknowledged head or the one in flight, whole; and goes on from there.
    /// Method: genesis, commits, cheats, marks, reverts and reorgs; each of their writes fails in
    /// turn.
    #[test]
    fn a_crash_leaves_the_last_commit_or_the_one_before(
        steps in proptest::collection::vec((changes(), 0..8_u8), 1..12),
        seed in any::<u64>(),
    ) {
        let mut fail_at = 0;
        while crash_at(&steps, fail_at, seed.wrapping_add(fail_at)) {
            fail_at += 1;
        }
        prop_assert!(fail_at >= 1, "the genesis is a write");
    }
}
