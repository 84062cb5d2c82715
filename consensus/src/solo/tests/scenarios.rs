//! Each mining mode and each rule by name.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use evenkeel_chain::{
    Command, CommandError, Header, Height, Outcome, SealedBlock, Timestamps,
    limits::{GENESIS_MARK, MINE_BLOCKS_MAX, REORG_BLOCKS_MAX},
};
use evenkeel_runtime::Time;

use super::world::{EPOCH_SECS, Pace, Start, World, config};
use crate::{
    engine::{Effect, Engine, Event, Now},
    limits::{COMMANDS_WAITING_MAX, INTERVAL_MIN, UNAPPLIED_MAX},
    solo::{ConfigError, Mining, Solo},
};

const MINE_ONE: Command = Command::Mine { blocks: 1, interval_secs: None };

fn world(mode: Mining) -> World {
    World::new(mode, Timestamps::Monotone, Pace::FAST)
}

fn slow(build_ms: u64, sync_ms: u64) -> Pace {
    Pace { build_ms: build_ms..build_ms + 1, sync_ms: sync_ms..sync_ms + 1, ..Pace::FAST }
}

fn millis(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

#[test]
fn automine_gathers_a_burst_into_the_next_block() {
    let mut world = World::new(Mining::Automine, Timestamps::Monotone, slow(10, 30));
    world.submit();
    world.run_for(Duration::from_millis(5));
    for _ in 0..50 {
        world.submit();
    }
    // The first block is built now and not yet durable; these share the block of the burst.
    world.run_for(Duration::from_millis(20));
    for _ in 0..50 {
        world.submit();
    }
    world.run_until_idle();
    let txs: Vec<usize> = world.chain.iter().map(|link| link.txs.len()).collect();
    assert_eq!(txs, [0, 1, 100]);
}

#[test]
fn automine_mines_on_until_a_full_pool_is_empty() {
    let pace = Pace { block_txs: 7, ..Pace::FAST };
    let mut world = World::new(Mining::Automine, Timestamps::Monotone, pace);
    for _ in 0..50 {
        world.submit();
    }
    world.run_until_idle();
    assert_eq!(world.pool.len(), 0);
    assert!(world.chain.iter().skip(1).all(|link| !link.txs.is_empty()), "no empty block");
}

#[test]
fn automine_rests_after_an_empty_round() {
    let mut world = world(Mining::Automine);
    world.tell(Event::PoolReady { pending: 1 });
    world.run_until_idle();
    assert_eq!((world.starts.len(), world.height()), (1, 0));

    world.submit();
    world.run_until_idle();
    assert_eq!(world.height(), 1);
}

#[test]
fn interval_blocks_keep_to_their_grid_when_builds_jitter() {
    let interval = Duration::from_millis(50);
    let pace = Pace { build_ms: 1..49, sync_ms: 1..200, ..Pace::FAST };
    let mut world = World::new(Mining::Interval(interval), Timestamps::Monotone, pace);
    world.run_for(Duration::from_mins(1));
    let starts: Vec<Time> = world.starts.iter().map(|start| start.at).collect();
    let grid: Vec<Time> = (1..=1_200).map(|slot| millis(50 * slot)).collect();
    assert_eq!(starts, grid);

    // Twenty blocks of a second share its number: time is not ahead of the clock.
    for start in &world.starts {
        let wall = EPOCH_SECS + start.at.as_duration().as_secs();
        assert_eq!(start.attributes.timestamp, wall);
    }
}

#[test]
fn strict_timestamps_run_ahead_of_blocks_under_a_second() {
    let mode = Mining::Interval(Duration::from_millis(100));
    let mut world = World::new(mode, Timestamps::Strict, Pace::FAST);
    world.run_for(Duration::from_secs(2));
    let expected: Vec<u64> = (1..).map(|height| EPOCH_SECS + height).take(19).collect();
    assert_eq!(world.timestamps()[..19], expected);
}

#[test]
fn slow_builds_skip_slots_and_count_them() {
    let mode = Mining::Interval(Duration::from_millis(100));
    let mut world = World::new(mode, Timestamps::Monotone, slow(250, 1));
    world.run_for(Duration::from_millis(1_120));
    let starts: Vec<Time> = world.starts.iter().map(|start| start.at).collect();
    assert_eq!(starts, [millis(100), millis(350), millis(600), millis(850), millis(1_100)]);
    assert_eq!(world.solo.slots_missed(), 6, "11 slots, 5 blocks");
}

#[test]
fn a_slow_disk_bounds_the_blocks_that_wait_for_it() {
    let mode = Mining::Interval(Duration::from_millis(50));
    let mut world = World::new(mode, Timestamps::Monotone, slow(1, 10_000));
    world.run_for(Duration::from_secs(9));
    assert_eq!(world.starts.len(), UNAPPLIED_MAX);
}

#[test]
fn without_mining_only_mine_makes_blocks() {
    let mut world = world(Mining::None);
    world.submit();
    world.run_for(Duration::from_secs(100));
    assert_eq!(world.height(), 0);

    assert!(matches!(world.ask(MINE_ONE), Ok(Outcome::Blocks(hashes)) if hashes.len() == 1));
    assert_eq!(world.chain[1].txs.len(), 1);
    assert_eq!(
        world.ask(Command::Mine { blocks: 0, interval_secs: None }),
        Ok(Outcome::Blocks(Vec::new()))
    );
    assert_eq!(world.height(), 1);
}

#[test]
fn automine_turned_on_mines_what_was_ready_before() {
    let mut world = world(Mining::None);
    world.submit();
    assert_eq!(world.ask(Command::SetAutomine(true)), Ok(Outcome::Done));
    world.run_until_idle();
    assert_eq!(world.chain[1].txs.len(), 1);
}

#[test]
fn mixed_mining_does_both() {
    let mut world = world(Mining::Mixed(Duration::from_secs(1)));
    world.run_for(Duration::from_millis(500));
    world.submit();
    world.run_for(Duration::from_secs(2));
    let starts: Vec<Time> = world.starts.iter().map(|start| start.at).collect();
    assert_eq!(starts, [millis(500), millis(1_000), millis(2_000)]);
    assert_eq!(world.chain[1].txs.len(), 1);
}

#[test]
fn modes_replace_each_other() {
    let second = Some(Duration::from_secs(1));
    let mut world = world(Mining::Automine);
    let mut after = |command| {
        assert_eq!(world.ask(command), Ok(Outcome::Done));
        let status = world.status();
        (status.automine, status.interval)
    };
    assert_eq!(after(Command::SetInterval(second)), (false, second));
    assert_eq!(after(Command::SetAutomine(false)), (false, second));
    assert_eq!(after(Command::SetAutomine(true)), (true, None));
    assert_eq!(after(Command::SetInterval(None)), (false, None));
}

#[test]
fn an_interval_below_the_minimum_is_refused_at_the_start_and_later() {
    let min = INTERVAL_MIN;
    let mut world = world(Mining::Interval(min));
    let almost = min.saturating_sub(Duration::from_nanos(1));
    for found in [Duration::ZERO, Duration::from_nanos(1), almost] {
        let refused = world.ask(Command::SetInterval(Some(found)));
        assert_eq!(refused, Err(CommandError::IntervalTooShort { found, min }));
        assert_eq!(world.status().interval, Some(min), "it goes on as before");
        for mode in [Mining::Interval(found), Mining::Mixed(found)] {
            let refused = Solo::new(config(mode, Timestamps::Strict), Time::ZERO);
            assert_eq!(refused.err(), Some(ConfigError::IntervalTooShort { found, min }));
        }
    }
    assert_eq!(world.ask(Command::SetInterval(Some(min))), Ok(Outcome::Done));
}

#[test]
fn mined_blocks_are_an_interval_apart_and_the_clock_stays_moved() {
    let mut world = world(Mining::None);
    let mine = Command::Mine { blocks: 3, interval_secs: Some(60) };
    assert!(world.ask(mine).is_ok());
    assert!(world.ask(MINE_ONE).is_ok());
    let timestamps: Vec<u64> = world.timestamps().iter().map(|at| at - EPOCH_SECS).collect();
    assert_eq!(timestamps, [60, 120, 180, 180]);
}

#[test]
fn a_great_mine_holds_up_neither_a_small_one_nor_the_interval() {
    let mut world = world(Mining::Interval(Duration::from_secs(1)));
    let great = world.order(Command::Mine { blocks: 3_000, interval_secs: None });
    world.run_for(Duration::from_millis(100));
    assert!(world.ask(MINE_ONE).is_ok());
    assert_eq!(world.ask(Command::Snapshot), Ok(Outcome::Snapshot(0)));
    assert!(world.now < millis(200), "answered at {:?}", world.now);
    assert!(!world.answers.contains_key(&great));

    world.run_for(Duration::from_secs(20));
    assert!(matches!(&world.answers[&great], Ok(Outcome::Blocks(all)) if all.len() == 3_000));
    assert_eq!(world.solo.slots_missed(), 0);
    assert_eq!(world.height(), 3_000 + 1 + 20);

    let found = MINE_BLOCKS_MAX + 1;
    let too_many = Command::Mine { blocks: found, interval_secs: None };
    let error = CommandError::TooManyBlocks { found, limit: MINE_BLOCKS_MAX };
    assert_eq!(world.ask(too_many), Err(error));
}

#[test]
fn the_clock_can_be_moved() {
    let mut world = World::new(Mining::None, Timestamps::Strict, Pace::FAST);
    let mut stamp = |command: Command| {
        let outcome = world.ask(command);
        world.ask(MINE_ONE).expect("nothing fails here");
        (outcome, world.timestamps().last().expect("one was mined") - EPOCH_SECS)
    };
    // The whole test takes less than a second of the real clock.
    let seconds = |secs| Ok(Outcome::Seconds(secs));
    assert_eq!(stamp(Command::IncreaseTime(100)), (seconds(100), 100));
    assert_eq!(stamp(Command::IncreaseTime(50)), (seconds(150), 150));
    let next = |at| Command::SetNextTimestamp(EPOCH_SECS + at);
    assert_eq!(stamp(next(1_000)), (Ok(Outcome::Done), 1_000));
    // The clock goes on from there, and C1 adds a second.
    assert_eq!(stamp(Command::SetAutomine(false)), (Ok(Outcome::Done), 1_001));
    let low = CommandError::TimestampTooLow { found: EPOCH_SECS + 1_001, head: EPOCH_SECS + 1_001 };
    assert_eq!(stamp(next(1_001)), (Err(low), 1_002));
    assert_eq!(stamp(Command::SetTime(EPOCH_SECS + 2_000)), (seconds(1_000), 2_000));
    // Set behind the chain, the clock does not take the chain with it.
    assert_eq!(stamp(Command::SetTime(EPOCH_SECS)), (seconds(-2_000), 2_001));
    assert_eq!(stamp(Command::SetTimestampInterval(Some(7))), (Ok(Outcome::Done), 2_008));
    assert_eq!(stamp(Command::SetNextTimestamp(EPOCH_SECS + 3_000)).1, 3_000);
    assert_eq!(stamp(Command::SetAutomine(false)).1, 3_007, "the spacing goes on");
    let error = CommandError::TimeOutOfRange { found: i64::MAX };
    assert_eq!(stamp(Command::IncreaseTime(i64::MAX)), (Err(error.clone()), 3_014));
    assert_eq!(stamp(Command::SetTime(u64::MAX)), (Err(error), 3_021));
}

#[test]
fn what_was_ordered_for_the_next_block_is_for_that_alone() {
    let mut world = world(Mining::None);
    let randao = B256::repeat_byte(9);
    assert_eq!(world.ask(Command::SetNextPrevRandao(randao)), Ok(Outcome::Done));
    assert_eq!(world.ask(Command::SetNextBaseFee(5)), Ok(Outcome::Done));
    assert!(world.ask(MINE_ONE).is_ok());
    assert!(world.ask(MINE_ONE).is_ok());
    let [first, second] = &world.starts[..] else { panic!("two builds") };
    assert_eq!((first.attributes.prev_randao, first.attributes.base_fee), (randao, Some(5)));
    assert_ne!(second.attributes.prev_randao, randao);
    assert_eq!(second.attributes.base_fee, None);
}

#[test]
fn a_revert_takes_the_clock_and_the_block_in_flight_with_it() {
    let mut world = World::new(Mining::Automine, Timestamps::Monotone, slow(50, 50));
    assert!(world.ask(MINE_ONE).is_ok());
    assert_eq!(world.ask(Command::Snapshot), Ok(Outcome::Snapshot(0)));
    assert!(world.ask(Command::IncreaseTime(9_000)).is_ok());
    assert!(world.ask(MINE_ONE).is_ok());
    world.submit();
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.ask(Command::Revert(0)), Ok(Outcome::Reverted(true)));
    assert_eq!((world.height(), world.discarded), (1, 1));
    // The transaction of the discarded block is still ready, and mined.
    world.run_until_idle();
    assert_eq!(world.chain[2].txs.len(), 1);
    assert!(world.timestamps()[1] < EPOCH_SECS + 10, "the 9,000 seconds are gone");
}

/// Goal: a reset leaves the first block alone, whatever marks there were, and is not to be had by
/// the number that stands for it.
#[test]
fn a_reset_returns_to_the_first_block() {
    let mut world = world(Mining::None);
    assert_eq!(world.ask(Command::Snapshot), Ok(Outcome::Snapshot(0)));
    assert!(world.ask(MINE_ONE).is_ok());
    assert!(world.ask(Command::IncreaseTime(9_000)).is_ok());
    assert_eq!(world.ask(Command::Revert(GENESIS_MARK)), Ok(Outcome::Reverted(false)));
    assert_eq!(world.height(), 1);
    assert_eq!(world.ask(Command::Reset), Ok(Outcome::Reverted(true)));
    assert_eq!((world.height(), world.status().time_offset_secs), (0, 0));
    assert_eq!(world.ask(Command::Revert(0)), Ok(Outcome::Reverted(false)), "all marks are gone");
    assert!(world.ask(MINE_ONE).is_ok());
}

/// Goal: a rollback needs no mark, takes the clock along and the marks above, and changes nothing
/// where there is no such block.
#[test]
fn a_rollback_returns_to_a_height() {
    let mut world = world(Mining::None);
    assert!(world.ask(MINE_ONE).is_ok());
    assert_eq!(world.ask(Command::Snapshot), Ok(Outcome::Snapshot(0)));
    assert!(world.ask(Command::IncreaseTime(9_000)).is_ok());
    assert!(world.ask(Command::Mine { blocks: 3, interval_secs: None }).is_ok());
    assert_eq!(world.ask(Command::Snapshot), Ok(Outcome::Snapshot(1)));
    let rollback = |height| Command::Rollback(Height::new(height));
    assert_eq!(world.ask(rollback(5)), Ok(Outcome::Reverted(false)));
    assert_eq!(world.height(), 4);
    assert_eq!(world.ask(rollback(1)), Ok(Outcome::Reverted(true)));
    assert_eq!((world.height(), world.status().time_offset_secs), (1, 0));
    assert_eq!(world.ask(Command::Revert(1)), Ok(Outcome::Reverted(false)), "it was above");
    assert_eq!(world.ask(Command::Revert(0)), Ok(Outcome::Reverted(true)), "it was not");
}

/// Goal: a reorg is one step: the build in flight goes, the new blocks follow the kept one with
/// times of their own and another `PREVRANDAO`, and automine goes on from there.
#[test]
fn a_reorg_replaces_blocks() {
    let mut world = World::new(Mining::Automine, Timestamps::Strict, slow(50, 50));
    let mine = Command::Mine { blocks: 4, interval_secs: Some(100) };
    assert!(world.ask(mine).is_ok());
    let before: Vec<B256> = world.chain.iter().map(|link| link.head.hash).collect();
    world.submit();
    world.run_for(Duration::from_millis(10));
    let reorg =
        |kept, count| Command::Reorg { kept: Height::new(kept), blocks: vec![Vec::new(); count] };
    assert_eq!(world.ask(reorg(2, 2)), Ok(Outcome::Reverted(true)));
    assert_eq!((world.height(), world.discarded), (4, 1));
    let after: Vec<B256> = world.chain.iter().map(|link| link.head.hash).collect();
    assert_eq!(after[..3], before[..3]);
    assert!(after[3..].iter().all(|hash| !before.contains(hash)));
    let timestamps: Vec<u64> = world.timestamps().iter().map(|at| at - EPOCH_SECS).collect();
    assert_eq!(timestamps, [100, 200, 201, 202]);
    let randao = |start: &Start| start.attributes.prev_randao;
    let former: Vec<B256> = world.starts.iter().map(randao).collect();
    let plans = &world.reorgs[0];
    assert!(plans.iter().all(|plan| !former.contains(&plan.attributes.prev_randao)));
    assert!(plans.iter().all(|plan| !plan.attributes.must_have_txs));

    // The transaction of the discarded block is still ready, and mined on the new branch.
    world.run_until_idle();
    assert_eq!((world.height(), world.chain[5].txs.len()), (5, 1));
    let again = world.timestamps()[4] - EPOCH_SECS;
    assert!((203..210).contains(&again), "the clock goes on from the branch: {again}");

    assert_eq!(world.ask(reorg(9, 1)), Ok(Outcome::Reverted(false)), "no such block");
    let found = REORG_BLOCKS_MAX + 1;
    let (limit, many) = (REORG_BLOCKS_MAX as u64, found as u64);
    let error = CommandError::TooManyBlocks { found: many, limit };
    assert_eq!(world.ask(reorg(0, found)), Err(error));
    assert_eq!(world.ask(reorg(1, 0)), Ok(Outcome::Reverted(true)), "a mere rollback");
    assert_eq!(world.height(), 1);
}

/// Goal: a reorg that fails leaves the chain, the clock and what was ordered for the next block.
#[test]
fn a_reorg_that_fails_changes_nothing() {
    let mut world = world(Mining::None);
    let mine = Command::Mine { blocks: 4, interval_secs: Some(100) };
    assert!(world.ask(mine).is_ok());
    assert!(world.ask(Command::SetNextBaseFee(5)).is_ok());
    let before = (world.height(), world.status());
    for fails_late in [false, true] {
        let reorg = Command::Reorg { kept: Height::new(2), blocks: vec![Vec::new(); 2] };
        let ticket = world.order(reorg);
        while fails_late && world.reorgs.is_empty() {
            world.run_for(Duration::from_millis(1));
        }
        world.set_pace(Pace { failures_percent: 100, ..Pace::FAST });
        world.run_for(Duration::from_millis(100));
        let reason = "chance".to_owned();
        assert_eq!(world.answers[&ticket], Err(CommandError::Failed { reason }));
        world.set_pace(Pace::FAST);
        assert_eq!((world.height(), world.status()), before);
    }
    assert!(world.ask(MINE_ONE).is_ok());
    assert_eq!(world.starts.last().and_then(|start| start.attributes.base_fee), Some(5));
}

/// Goal: the pool hears of a gas limit before whoever ordered it does.
#[test]
fn a_new_gas_limit_is_told() {
    let mut world = world(Mining::None);
    assert_eq!(world.ask(Command::SetGasLimit(90_000_000)), Ok(Outcome::Done));
    assert!(world.ask(Command::SetGasLimit(1)).is_err());
    assert_eq!(world.gas_limits, [90_000_000]);
    assert_eq!(world.status().gas_limit, 90_000_000);
}

#[test]
fn a_revert_to_no_mark_changes_nothing() {
    let mut world = world(Mining::None);
    assert!(world.ask(MINE_ONE).is_ok());
    assert!(world.ask(Command::IncreaseTime(100)).is_ok());
    assert_eq!(world.ask(Command::Revert(3)), Ok(Outcome::Reverted(false)));
    assert_eq!((world.height(), world.status().time_offset_secs), (1, 100));
}

#[test]
fn a_flood_of_barriers_leaves_room_for_blocks() {
    let mut world = world(Mining::Interval(Duration::from_millis(100)));
    for _ in 0..COMMANDS_WAITING_MAX {
        world.order(Command::Snapshot);
    }
    world.run_for(Duration::from_millis(2_050));
    assert!(world.unanswered() > 0, "the flood is still on");
    assert_eq!(world.starts.len(), 20);
    assert_eq!(world.solo.slots_missed(), 0);
}

#[test]
fn a_failing_executor_is_asked_ever_more_rarely() {
    let mut world = world(Mining::Mixed(Duration::from_millis(50)));
    world.set_pace(Pace { failures_percent: 100, ..Pace::FAST });
    world.submit();
    let mine = world.order(MINE_ONE);
    world.run_for(Duration::from_mins(1));
    let reason = "chance".to_owned();
    assert_eq!(world.answers[&mine], Err(CommandError::Failed { reason }));
    assert!((10..30).contains(&world.starts.len()), "{} builds", world.starts.len());

    world.set_pace(Pace::FAST);
    world.run_for(Duration::from_secs(6));
    assert_eq!(world.pool.len(), 0);
    assert!(world.height() > 10, "the interval is kept again");
}

#[test]
fn a_slot_whose_build_failed_does_not_wait_for_the_next_slot() {
    let mut world = world(Mining::Interval(Duration::from_secs(10)));
    world.set_pace(Pace { failures_percent: 100, ..Pace::FAST });
    world.run_for(Duration::from_millis(10_010));
    assert_eq!((world.starts.len(), world.height()), (1, 0));
    world.set_pace(Pace::FAST);
    world.run_for(Duration::from_millis(100));
    assert_eq!((world.starts.len(), world.height()), (2, 1));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.starts[2].at, millis(20_000), "L1");
}

#[test]
fn slots_that_are_always_due_leave_every_second_build_to_mine() {
    let mode = Mining::Interval(Duration::from_millis(50));
    let mut world = World::new(mode, Timestamps::Monotone, slow(100, 1));
    world.run_for(Duration::from_millis(60));
    world.order(Command::Mine { blocks: 10, interval_secs: None });
    world.run_for(Duration::from_millis(2_200));
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn blocks_that_do_not_fit_are_discarded() {
    let now = Now { at: Time::ZERO, wall: Duration::from_secs(EPOCH_SECS) };
    let mut solo = world(Mining::None).solo;
    let mut step = |event| {
        let mut effects = Vec::new();
        solo.step(now, event, &mut effects);
        effects
    };
    step(Event::Command { command: MINE_ONE, ticket: 0 });
    let header = Header { number: 1, timestamp: EPOCH_SECS, ..Header::default() };
    let orphan = Arc::new(SealedBlock::seal(header, Vec::new(), Vec::new(), None));
    let discard = [Effect::Discard { hash: orphan.hash }];
    // Of no build, and then of ours but without our parent.
    assert_eq!(step(Event::Built { id: 77, block: Arc::clone(&orphan) }), discard);
    assert_eq!(step(Event::Built { id: 0, block: orphan }), discard);
    assert!(solo.next_deadline().is_some_and(|at| at > now.at), "it is tried again");
}

#[test]
fn too_many_waiting_commands_are_refused_and_status_is_not() {
    let mut world = World::new(Mining::None, Timestamps::Monotone, slow(1_000, 1));
    world.order(MINE_ONE);
    let tickets: Vec<u64> = (0..=COMMANDS_WAITING_MAX as u64)
        .map(|gas| world.order(Command::SetGasLimit(10_000 + gas)))
        .collect();
    assert_eq!(world.unanswered(), COMMANDS_WAITING_MAX + 1);
    let (refused, queued) = tickets.split_last().expect("they were just made");
    assert_eq!(world.answers[refused], Err(CommandError::Busy));
    assert_eq!(world.status().gas_limit, 30_000_000, "the build in flight has the old one");

    world.run_until_idle();
    assert!(queued.iter().all(|ticket| world.answers[ticket] == Ok(Outcome::Done)));
    assert_eq!(world.status().gas_limit, 10_000 + COMMANDS_WAITING_MAX as u64 - 1, "in order");
}
