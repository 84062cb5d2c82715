//! The actor with `Solo` on the simulated system: commands, timers and replies end to end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_primitives::{Address as Account, B256, Bytes, U256};
use evenkeel_chain::{
    Cheat, Command, CommandError, Header, Outcome, RevertTo, SealedBlock, Timestamps,
};
use evenkeel_consensus::{
    Consensus, ConsensusMessage, ConsensusPorts, Event, Head, Mining, Solo, SoloConfig,
    command_port,
    limits::{MAILBOX_BYTES_MAX, MAILBOX_ITEMS_MAX},
};
use evenkeel_runtime::{
    Address, Answer, Class, Faults, MailboxSpec, Overflow, Port, Simulation, Spawn, System, Time,
    Undelivered, reply,
};

/// An executor that builds at once and whose disk is as fast; it refuses every third message.
struct Executor {
    head: Head,
    built: Option<Head>,
    sends: u32,
    built_at: Vec<Time>,
    /// What the pool was told.
    base_fees: Vec<u64>,
}

impl Executor {
    fn has_room(&mut self) -> Result<(), Undelivered> {
        self.sends += 1;
        if self.sends.is_multiple_of(3) { Err(Undelivered::Full) } else { Ok(()) }
    }
}

fn genesis() -> Head {
    let header = Header { base_fee_per_gas: Some(7), ..Header::default() };
    let block = SealedBlock::seal(header.clone(), Vec::new(), Vec::new(), None);
    Head { header: Arc::new(header), hash: block.hash }
}

fn ports(
    system: &System,
    consensus: &Address<ConsensusMessage>,
    executor: &Arc<Mutex<Executor>>,
) -> ConsensusPorts {
    let lock = |executor: &Arc<Mutex<Executor>>| Arc::clone(executor);
    let (build, finalize, cheat) = (lock(executor), lock(executor), lock(executor));
    let base_fees = lock(executor);
    let (to_build, to_finalize) = (consensus.clone(), consensus.clone());
    let clock = system.clone();
    ConsensusPorts {
        build: Port::new(move |(id, attributes): (u64, evenkeel_chain::BlockAttributes)| {
            let mut executor = build.lock().expect("no test panics with it");
            executor.has_room()?;
            executor.built_at.push(clock.now());
            let header = Header {
                parent_hash: executor.head.hash,
                number: executor.head.header.number + 1,
                timestamp: attributes.timestamp,
                ..Header::default()
            };
            let block = SealedBlock::seal(header.clone(), Vec::new(), Vec::new(), None);
            executor.built = Some(Head { header: Arc::new(header), hash: block.hash });
            let event = Event::Built { id, block: Arc::new(block) };
            to_build.send(ConsensusMessage::Event(event)).map_err(|_| Undelivered::Closed)
        }),
        finalize: Port::new(move |hash: B256| {
            let mut executor = finalize.lock().expect("no test panics with it");
            executor.has_room()?;
            let head = executor.built.take().expect("a built block is finalized once");
            assert_eq!(head.hash, hash);
            executor.head = head.clone();
            let event = Event::Applied { header: head.header, hash };
            to_finalize.send(ConsensusMessage::Event(event)).map_err(|_| Undelivered::Closed)
        }),
        discard: Port::null(),
        cheat: Port::new(move |(_, reply): (Cheat, evenkeel_consensus::OrderReply<()>)| {
            cheat.lock().expect("no test panics with it").has_room()?;
            reply.send(Ok(()));
            Ok(())
        }),
        // It goes away without an answer.
        mark: Port::new(|reply| {
            drop(reply);
            Ok(())
        }),
        revert: Port::new(
            |(_, reply): (RevertTo, evenkeel_consensus::OrderReply<Option<Head>>)| {
                reply.send(Ok(None));
                Ok(())
            },
        ),
        branch: Port::null(),
        reorg: Port::null(),
        next_base_fee: Port::new(move |base_fee: u64| {
            base_fees.lock().expect("no test panics with it").base_fees.push(base_fee);
            Ok(())
        }),
        gas_limit: Port::null(),
    }
}

struct Node {
    simulation: Simulation,
    executor: Arc<Mutex<Executor>>,
    commands: Port<(Command, evenkeel_runtime::Reply<Result<Outcome, CommandError>>)>,
}

impl Node {
    fn start(seed: u64, mode: Mining) -> Self {
        let simulation = System::simulated(seed, Faults::default());
        let system = simulation.system().clone();
        let head = genesis();
        let executor = Executor {
            head: head.clone(),
            built: None,
            sends: 0,
            built_at: Vec::new(),
            base_fees: Vec::new(),
        };
        let executor = Arc::new(Mutex::new(executor));
        let (address, mailbox) = system.mailbox(MailboxSpec {
            name: "consensus",
            items_max: MAILBOX_ITEMS_MAX,
            bytes_max: MAILBOX_BYTES_MAX,
            overflow: Overflow::Reject,
        });
        let ports = ports(&system, &address, &executor);
        let clock = system.clone();
        let spawn = Spawn::new("consensus", Class::Consensus);
        system.spawn(spawn, mailbox, move || {
            let config = SoloConfig {
                mode,
                head: head.clone(),
                timestamps: Timestamps::Strict,
                gas_limit: 30_000_000,
                coinbase: Account::ZERO,
                prev_randao_seed: B256::ZERO,
                txs_max: None,
                time_offset_secs: 0,
                extra_data: Bytes::new(),
            };
            let solo = Solo::new(config, clock.now()).expect("the interval is positive");
            Consensus::new(solo, ports.clone())
        });
        Self { simulation, executor, commands: command_port(&address) }
    }

    fn order(&self, command: Command) -> Answer<Result<Outcome, CommandError>> {
        let (reply, answer) = reply();
        self.commands.send((command, reply)).expect("this port never refuses");
        answer
    }

    fn ask(&mut self, command: Command) -> Result<Outcome, CommandError> {
        let answer = self.order(command);
        self.simulation.run_until(answer).expect("commands are answered")
    }
}

/// Goal: the pool learns an ordered base fee once, and before who ordered it does, so that a
/// transaction sent after the answer is measured by it.
#[test]
fn the_pool_learns_an_ordered_base_fee_before_the_answer() {
    let mut node = Node::start(3, Mining::None);
    for base_fee in [0, 5, u64::MAX] {
        assert_eq!(node.ask(Command::SetNextBaseFee(base_fee)), Ok(Outcome::Done));
        let mut executor = node.executor.lock().expect("no test panics with it");
        assert_eq!(std::mem::take(&mut executor.base_fees), [base_fee]);
    }
}

#[test]
fn commands_are_answered_through_a_crowded_executor() {
    let mut node = Node::start(1, Mining::None);
    let mine = Command::Mine { blocks: 100, interval_secs: None };
    let Ok(Outcome::Blocks(hashes)) = node.ask(mine) else { panic!("blocks are mined") };
    assert_eq!(hashes.len(), 100);
    let head = node.executor.lock().expect("no test panics with it").head.clone();
    assert_eq!((head.header.number, head.hash), (100, hashes[99]));

    let cheat = Command::Cheat(Cheat::SetBalance(Account::ZERO, U256::ZERO));
    let answers: Vec<_> = (0..10).map(|_| node.order(cheat.clone())).collect();
    for answer in answers {
        assert_eq!(node.simulation.run_until(answer).ok(), Some(Ok(Outcome::Done)));
    }
    let snapshot = node.ask(Command::Snapshot);
    assert!(matches!(snapshot, Err(CommandError::Failed { .. })), "the reply was lost");
    assert_eq!(node.ask(Command::Revert(7)), Ok(Outcome::Reverted(false)));
}

#[test]
fn the_timer_follows_the_interval() {
    let mut node = Node::start(2, Mining::Interval(Duration::from_millis(500)));
    // A little more than twenty slots: the last may be late as the others.
    node.simulation.run_for(Duration::from_millis(10_100));
    let status = node.ask(Command::Status);
    assert!(matches!(status, Ok(Outcome::Status(status)) if status.interval.is_some()));
    let executor = Arc::clone(&node.executor);
    let built_at = executor.lock().expect("no test panics with it").built_at.clone();
    assert_eq!(built_at.len(), 20);
    for (slot, at) in (1..).zip(&built_at) {
        // A full mailbox costs a millisecond; it is not added up.
        let late = *at - (Time::ZERO + Duration::from_millis(500) * slot);
        assert!(late < Duration::from_millis(3), "slot {slot} is {late:?} late");
    }

    // With the interval gone no timer is left, and the system comes to rest.
    assert_eq!(node.ask(Command::SetInterval(None)), Ok(Outcome::Done));
    node.simulation.run_until_idle();
    assert_eq!(executor.lock().expect("no test panics with it").built_at.len(), 20);
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let mut node = Node::start(seed, Mining::Mixed(Duration::from_millis(70)));
        let answers: Vec<_> = (1..20)
            .map(|blocks| node.order(Command::Mine { blocks, interval_secs: None }))
            .collect();
        node.simulation.run_for(Duration::from_secs(3));
        drop(answers);
        let head = node.executor.lock().expect("no test panics with it").head.hash;
        (node.simulation.event_hash(), head)
    };
    assert_eq!(run(3), run(3));
}
