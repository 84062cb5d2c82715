//! The genesis in parts, and what is left of one that was cut off.

use std::{fmt::Write, sync::Arc};

use evenkeel_chain::ChainSpec;

use crate::{
    Database, OpenError,
    database::genesis::write_in_parts,
    limits::GENESIS_VALUE_BYTES,
    store::{Faults, Faulty, Memory, Store, Sync},
    testing::Model,
};

/// A genesis of 12 accounts, some with code, some with up to 15 slots; `salt` is in all of it.
fn spec(salt: u64) -> ChainSpec {
    let mut alloc = String::new();
    for number in 0..12_u64 {
        let separator = if number == 0 { "" } else { "," };
        let slots: Vec<String> = (0..number * 3 % 16)
            .map(|slot| format!("\"{slot:#066x}\": \"{:#066x}\"", slot * number % 5 + salt % 3))
            .collect();
        let code = if number % 4 == 0 { format!("0x{number:02x}{salt:02x}") } else { "0x".into() };
        write!(
            alloc,
            "{separator}\"{number:#042x}\": {{\"balance\": \"{:#x}\", \"nonce\": \"{:#x}\", \
             \"code\": \"{code}\", \"storage\": {{{}}}}}",
            number + salt,
            number % 3,
            slots.join(",")
        )
        .expect("a string takes it");
    }
    let text = format!(
        "{{\"config\": {{\"chainId\": {salt}, \"homesteadBlock\": 0}}, \"difficulty\": \"0x1\", \
         \"gasLimit\": \"0x1c9c380\", \"alloc\": {{{alloc}}}}}"
    );
    ChainSpec::from_genesis_json(&text).expect("a genesis file")
}

/// Opens the database and compares all of it with the spec.
fn check(store: &Arc<dyn Store>, spec: &ChainSpec) {
    let database = Database::open_store(Arc::clone(store), spec, Sync::Yes).expect("it opens");
    let model = Model::genesis(spec);
    let durable = database.durable();
    assert_eq!(durable.header.state_root, model.root());
    model.check(&durable.view);
    let report = database.verify(&mut |_| {}).expect("the store works");
    assert_eq!(report.faults, []);
    assert_eq!(report.accounts, model.accounts.len() as u64);
}

/// Goal: the size of the parts, down to a value each, changes nothing of the genesis.
#[test]
fn parts_of_any_size_make_the_same_genesis() {
    let spec = spec(1);
    for values in [1, 2, 7, 50, 10_000] {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        write_in_parts(store.as_ref(), &spec, Sync::Yes, values * GENESIS_VALUE_BYTES)
            .expect("memory works");
        check(&store, &spec);
    }
}

/// Goal: G1. Whichever write of a genesis fails, also of one that cleans up after another, the
/// store holds a whole genesis of what was tried, or takes that of any chain.
#[test]
fn a_genesis_that_was_cut_off_leaves_nothing() {
    let specs = [spec(1), spec(2), spec(3)];
    let part_bytes = 12 * GENESIS_VALUE_BYTES;
    let begin = |store: &Faulty, spec| write_in_parts(store, spec, Sync::Yes, part_bytes);
    let unbroken = Faulty::new(Faults::default());
    begin(&unbroken, &specs[0]).expect("no fault");
    let writes = unbroken.writes();
    assert!(writes > 4, "{writes} writes are too few to test anything");

    let mut whole = [0; 3];
    for first in 0..writes {
        // Every second index, with some of the first.
        for second in (first % 4..2 * writes).step_by(4) {
            let seed = first * 100 + second;
            let store = Faulty::new(Faults { seed, fail_at_write: Some(first) });
            begin(&store, &specs[0]).expect_err("it fails at a write");
            let store = store.crash(Faults { seed: seed ^ 1, fail_at_write: Some(second) });
            // Of the first, if its last write reached the disk nevertheless.
            let is_there = |store: &dyn Store| {
                let snapshot = store.snapshot();
                let row = snapshot.get(crate::store::Family::Meta, crate::rows::META_FORMAT);
                row.expect("reads do not fail").is_some()
            };
            if is_there(&store) {
                whole[0] += 1;
                check(&(Arc::new(store) as _), &specs[0]);
                continue;
            }
            let done = begin(&store, &specs[1]);
            let store = store.crash(Faults { seed: seed ^ 2, fail_at_write: None });
            assert!(done.is_err() || is_there(&store), "what is acknowledged is there");
            let spec = if is_there(&store) { &specs[1] } else { &specs[2] };
            whole[if is_there(&store) { 1 } else { 2 }] += 1;
            let store: Arc<dyn Store> = Arc::new(store);
            check(&store, spec);
            let error = Database::open_store(store, &specs[0], Sync::Yes).err();
            assert!(matches!(error, Some(OpenError::Foreign { .. })), "{error:?}");
        }
    }
    assert!(whole[1] > 0 && whole[2] > 0, "{whole:?}");
}
