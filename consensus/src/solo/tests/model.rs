//! Random inputs against a random world; [`World`] checks S1, S3 to S5, C1 and M1 at each step.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::{Cheat, Command, CommandError, Height, Outcome, Timestamps};
use proptest::prelude::*;

use super::world::{EPOCH_SECS, Pace, World};
use crate::solo::Mining;

#[derive(Clone, Debug)]
enum Input {
    Submit,
    Order(Command),
    /// The wall clock is set, by so many seconds.
    WallJump(i64),
}

fn interval() -> impl Strategy<Value = Duration> {
    (50_u64..2_000).prop_map(Duration::from_millis)
}

fn mode() -> impl Strategy<Value = Mining> {
    prop_oneof![
        Just(Mining::Automine),
        interval().prop_map(Mining::Interval),
        Just(Mining::None),
        interval().prop_map(Mining::Mixed),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let timestamp = EPOCH_SECS - 100..EPOCH_SECS + 1_000;
    prop_oneof![
        3 => (0_u64..20, proptest::option::of(0_u64..60))
            .prop_map(|(blocks, interval_secs)| Command::Mine { blocks, interval_secs }),
        1 => any::<bool>().prop_map(Command::SetAutomine),
        1 => proptest::option::of(interval()).prop_map(Command::SetInterval),
        1 => (-500_i64..500).prop_map(Command::IncreaseTime),
        1 => timestamp.clone().prop_map(Command::SetTime),
        1 => timestamp.prop_map(Command::SetNextTimestamp),
        1 => proptest::option::of(0_u64..30).prop_map(Command::SetTimestampInterval),
        1 => (0_u64..100).prop_map(Command::SetNextBaseFee),
        1 => Just(Command::SetNextPrevRandao(B256::ZERO)),
        2 => Just(Command::Cheat(Cheat::SetBalance(Address::ZERO, U256::ZERO))),
        2 => Just(Command::Snapshot),
        2 => (0_u64..4).prop_map(Command::Revert),
        1 => Just(Command::Reset),
        1 => (0_u64..30).prop_map(|height| Command::Rollback(Height::new(height))),
        2 => (0_u64..30, 0_usize..4).prop_map(|(kept, blocks)| Command::Reorg {
            kept: Height::new(kept),
            blocks: vec![Vec::new(); blocks],
        }),
        1 => (0_u64..100_000).prop_map(Command::SetGasLimit),
        1 => Just(Command::Status),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        5 => Just(Input::Submit),
        6 => command().prop_map(Input::Order),
        1 => (-100_i64..100).prop_map(Input::WallJump),
    ]
}

fn pace() -> impl Strategy<Value = Pace> {
    let block_txs = prop_oneof![Just(1_usize), Just(3), Just(1_000)];
    (1_u64..300, 1_u64..300, 0_u64..40, block_txs, any::<u64>()).prop_map(
        |(build_ms, sync_ms, failures_percent, block_txs, seed)| Pace {
            build_ms: 0..build_ms,
            sync_ms: 0..sync_ms,
            failures_percent,
            block_txs,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever comes, every command is answered once and every ready transaction is mined: in a
    /// mode with automine without a further word, else as soon as automine is turned on.
    #[test]
    fn nothing_is_forgotten(
        mode in mode(),
        is_strict in any::<bool>(),
        pace in pace(),
        inputs in proptest::collection::vec((input(), 0_u64..400), 0..60),
    ) {
        let rule = if is_strict { Timestamps::Strict } else { Timestamps::Monotone };
        let mut world = World::new(mode, rule, pace);
        for (input, wait_ms) in inputs {
            match input {
                Input::Submit => world.submit(),
                Input::Order(command) => {
                    world.order(command);
                }
                Input::WallJump(secs) => world.wall_skew_secs += secs,
            }
            // Half of the inputs come in bursts.
            world.run_for(Duration::from_millis(wait_ms.saturating_sub(200)));
        }

        world.run_for(Duration::from_mins(1));
        let status = world.status();
        if status.automine {
            // S2, while the slots of a mixed mode still run.
            world.run_for(Duration::from_mins(1));
            prop_assert!(world.pool.is_empty(), "{} ready ones were missed", world.pool.len());
        }
        if status.interval.is_some() {
            prop_assert_eq!(world.ask(Command::SetInterval(None)), Ok(Outcome::Done));
        }
        if !status.automine || status.interval.is_some() {
            prop_assert_eq!(world.ask(Command::SetAutomine(true)), Ok(Outcome::Done));
        }
        world.run_until_idle();
        prop_assert!(world.pool.is_empty(), "{} ready ones were missed", world.pool.len());
        prop_assert_eq!(world.unanswered(), 0);
        let heights: Vec<u64> = world.chain.iter().map(|link| link.head.header.number).collect();
        prop_assert_eq!(heights, (0..world.chain.len() as u64).collect::<Vec<_>>());
        let refused = world.answers.values().filter(|a| **a == Err(CommandError::Busy)).count();
        prop_assert_eq!(refused, 0, "60 commands always have room");
    }

    /// L1, L2: every slot gives a block or is counted, and a block starts at its slot or, late, at
    /// the moment the engine has room for it.
    #[test]
    fn slots_stay_on_their_grid(
        interval in interval(),
        build_ms in 1_u64..3_000,
        sync_ms in 1_u64..3_000,
        seed in any::<u64>(),
    ) {
        let pace = Pace { build_ms: 0..build_ms, sync_ms: 0..sync_ms, seed, ..Pace::FAST };
        let mut world = World::new(Mining::Interval(interval), Timestamps::Monotone, pace);
        world.run_for(interval * 50);
        let taken = world.starts.len() as u64;
        prop_assert!(taken > 0);
        // What is due and not yet taken is counted when the next one is.
        prop_assert!(taken + world.solo.slots_missed() <= 50);
        let mut slot = 0;
        for start in &world.starts {
            let passed = start.at.as_nanos() / u64::try_from(interval.as_nanos()).expect("small");
            prop_assert!(passed > slot, "a slot was used twice");
            slot = passed;
        }
    }
}
