//! The executor between an engine and the writer, on the simulated driver.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use alloy_primitives::{Address, B256, TxKind, U256};
use chain::{account, attributes, built, database, legacy, list, spec, transfer};
use common::Code;
use evenkeel_chain::{
    BlockPlan, ChainSpec, Cheat, Fork, Height, Loaded, RecoveredTx, RevertTo, SealedBlock,
    state_file::FileAccount,
};
use evenkeel_runtime::{
    Address as Process, Class, Faults, MailboxSpec, Overflow, Port, Published, Simulation, Spawn,
    System, published, reply,
};
use evenkeel_state::{Durable, Writer};
use evenkeel_vm::{
    BuildRequest, CandidateSource, Candidates, ExecError, Executor, ExecutorConfig, ExecutorEvent,
    ExecutorMessage, ExecutorPorts, Limits, Writing,
};
use revm::bytecode::opcode as op;

/// What the pool offers, build by build.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<VecDeque<Vec<Arc<RecoveredTx>>>>>);

impl CandidateSource for Pool {
    fn open(&mut self) -> Box<dyn Candidates + Send> {
        list(self.0.lock().expect("no panic under it").pop_front().unwrap_or_default())
    }
}

/// An executor with its writer; the test is the engine.
struct Node {
    simulation: Simulation,
    spec: Arc<ChainSpec>,
    executor: Process<ExecutorMessage>,
    durable: Published<Durable>,
    pool: Pool,
    events: Arc<Mutex<Vec<ExecutorEvent>>>,
    reported: Arc<Mutex<Vec<(B256, String)>>>,
}

const MAILBOX: MailboxSpec =
    MailboxSpec { name: "test", items_max: 64, bytes_max: 1 << 26, overflow: Overflow::Reject };

impl Node {
    fn new(seed: u64) -> Self {
        let mut simulation = System::simulated(seed, Faults::default());
        let system = simulation.system().clone();
        let spec = spec(Fork::Osaka);
        let database = database(&spec);
        let tip = database.tip();
        let (publisher, durable) = published(database.durable());
        let (writer, writer_mailbox) = system.mailbox(MAILBOX);
        let (executor, executor_mailbox) = system.mailbox(MAILBOX);
        let mut database = Some(database);
        let mut publisher = Some(publisher);
        system.spawn(Spawn::new("writer", Class::Exec), writer_mailbox, move || {
            let database = database.take().expect("it is not restarted");
            Writer::new(database, publisher.take().expect("it is not restarted"), Port::null())
        });
        let (pool, events) = (Pool::default(), Arc::new(Mutex::new(Vec::new())));
        let reported = Arc::new(Mutex::new(Vec::new()));
        let (sink, complaints) = (Arc::clone(&events), Arc::clone(&reported));
        let mut config = Some(ExecutorConfig {
            spec: Arc::clone(&spec),
            limits: Limits::default(),
            tip: Some(tip),
            durable: durable.clone(),
            ports: ExecutorPorts {
                events: Port::new(move |event| {
                    sink.lock().expect("no panic under it").push(event);
                    Ok(())
                }),
                writer: Writing::new(writer),
                unexecutable: Port::new(move |report| {
                    complaints.lock().expect("no panic under it").extend::<Vec<_>>(report);
                    Ok(())
                }),
                candidates: Box::new(pool.clone()),
                shadow: None,
                notes: None,
            },
        });
        system.spawn(Spawn::new("executor", Class::Exec), executor_mailbox, move || {
            Executor::new(config.take().expect("it is not restarted"))
        });
        simulation.run_until_idle();
        let world = Self { simulation, spec, executor, durable, pool, events, reported };
        let genesis = world.durable.get().header.hash_slow();
        assert!(matches!(world.event(), ExecutorEvent::Begun { hash, .. } if hash == genesis));
        world
    }

    fn send(&mut self, message: ExecutorMessage) {
        assert!(self.executor.send(message).is_ok());
        self.simulation.run_until_idle();
    }

    fn event(&self) -> ExecutorEvent {
        let mut events = self.events.lock().expect("no panic under it");
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    fn build(&mut self, txs: Vec<Arc<RecoveredTx>>) -> Arc<SealedBlock> {
        self.pool.0.lock().expect("no panic under it").push_back(txs);
        let attributes = self.attributes();
        self.send(ExecutorMessage::Build(BuildRequest { id: 9, attributes }));
        match self.event() {
            ExecutorEvent::Built { id: 9, block } => block,
            _ => panic!("it can be built"),
        }
    }

    fn attributes(&self) -> evenkeel_chain::BlockAttributes {
        let spec = spec(Fork::Osaka);
        let mut attributes = attributes(&database(&spec).tip());
        attributes.timestamp = self.durable.get().header.timestamp + 1;
        attributes
    }

    fn verdict(&mut self, block: &Arc<SealedBlock>) -> Result<(), ExecError> {
        self.send(ExecutorMessage::Validate { block: Arc::clone(block) });
        match self.event() {
            ExecutorEvent::Verdict { hash, result } if hash == block.hash => result,
            _ => panic!("a verdict on the block"),
        }
    }

    fn cheat(&mut self, cheat: Cheat) -> Result<(), ExecError> {
        let (reply, mut answer) = reply();
        self.send(ExecutorMessage::Cheat { cheat, reply });
        answer.try_take().expect("the system is idle").expect("it was answered")
    }

    fn balance(&self, address: Address) -> U256 {
        let account = self.durable.get().view.account(address).expect("memory");
        account.unwrap_or_default().balance
    }
}

#[test]
fn blocks_become_durable_and_are_reverted() {
    let mut node = Node::new(1);
    let target = Address::repeat_byte(0x31);
    let first = node.build(vec![transfer(account(0), 0, target, 5)]);
    assert_eq!(node.durable.get().hash, first.header.parent_hash, "nothing is final yet");
    node.send(ExecutorMessage::Finalize { hash: first.hash });
    assert_eq!(node.durable.get().hash, first.hash);
    assert_eq!(node.balance(target), U256::from(5));

    let (mark_reply, mut mark) = reply();
    node.send(ExecutorMessage::Mark { reply: mark_reply });
    let mark = mark.try_take().expect("idle").expect("answered").expect("it is marked");

    assert_eq!(node.cheat(Cheat::SetBalance(target, U256::from(70))), Ok(()));
    assert_eq!(node.balance(target), U256::from(70));
    let second = node.build(vec![transfer(account(0), 1, target, 5)]);
    assert_eq!(node.cheat(Cheat::SetNonce(target, 1)), Err(ExecError::Busy));
    node.send(ExecutorMessage::Finalize { hash: second.hash });
    assert_eq!(node.balance(target), U256::from(75));

    let (revert_reply, mut reverted) = reply();
    node.send(ExecutorMessage::Revert { to: RevertTo::Mark(mark), reply: revert_reply });
    let reverted = reverted.try_take().expect("idle").expect("answered").expect("no failure");
    assert_eq!(reverted.expect("the mark is there").hash, first.hash);
    assert_eq!(node.balance(target), U256::from(5));
    let (revert_reply, mut again) = reply();
    node.send(ExecutorMessage::Revert { to: RevertTo::Mark(mark), reply: revert_reply });
    assert!(again.try_take().expect("idle").expect("answered").expect("no failure").is_none());

    let other = node.build(vec![transfer(account(0), 1, target, 6)]);
    assert_eq!(other.header.parent_hash, first.hash);
    node.send(ExecutorMessage::Finalize { hash: other.hash });
    assert_eq!(node.balance(target), U256::from(11));
}

/// Blocks are put in the place of others together or not at all; cheats made on the block that is
/// kept are in the first of them.
#[test]
fn blocks_are_replaced() {
    let mut node = Node::new(5);
    let (target, rich) = (Address::repeat_byte(0x31), Address::repeat_byte(0x32));
    let pay = |nonce, wei| transfer(account(0), nonce, target, wei);
    for nonce in 0..3 {
        let block = node.build(vec![pay(nonce, 1)]);
        node.send(ExecutorMessage::Finalize { hash: block.hash });
        if nonce == 0 {
            assert_eq!(node.cheat(Cheat::SetBalance(rich, U256::from(9))), Ok(()));
        }
    }
    let former = node.durable.get().hash;
    let branch = |node: &mut Node, kept| {
        let (replying, mut answer) = reply();
        node.send(ExecutorMessage::Branch { kept: Height::new(kept), reply: replying });
        let found = answer.try_take().expect("idle").expect("answered").expect("no failure");
        found.map(|found| found.header.number)
    };
    let reorg = |node: &mut Node, blocks| {
        let (replying, mut answer) = reply();
        node.send(ExecutorMessage::Reorg { blocks, reply: replying });
        answer.try_take().expect("idle").expect("answered").map(|reverted| reverted.hash)
    };
    let plan =
        |node: &Node, txs: Vec<Arc<RecoveredTx>>| BlockPlan { attributes: node.attributes(), txs };
    let plans = vec![plan(&node, vec![pay(1, 5), pay(1, 7), pay(2, 10)]), plan(&node, Vec::new())];
    assert_eq!(branch(&mut node, 4), None);
    assert!(matches!(reorg(&mut node, plans.clone()), Err(ExecError::Internal(_))), "no branch");
    assert_eq!(branch(&mut node, 1), Some(1));
    let mut odd = plans.clone();
    odd[1].attributes.extra_data = vec![0; 1_000].into();
    assert!(matches!(reorg(&mut node, odd), Err(ExecError::ExtraData { .. })));
    assert_eq!((node.durable.get().hash, node.balance(target)), (former, U256::from(3)));

    assert_eq!(branch(&mut node, 1), Some(1));
    let head = reorg(&mut node, plans).expect("all can be built");
    let durable = node.durable.get();
    assert_eq!((durable.hash, durable.header.number, durable.generation), (head, 3, 1));
    assert_eq!(node.balance(target), U256::from(1 + 5 + 10), "the second nonce 1 is left out");
    assert_eq!(node.balance(rich), U256::from(9));
    let next = node.build(vec![pay(3, 1)]);
    assert_eq!(next.header.parent_hash, head);
    assert!(node.reported.lock().expect("no panic under it").is_empty());
}

/// Goal: a cheat on the head that is kept is in the new blocks, wherever the writer is with it.
/// Method: the way back is ordered right behind the cheat, under seeds that let the one or the
/// other go first; then what the block was built on is what the database says.
#[test]
fn a_cheat_on_its_way_to_the_writer_is_kept() {
    let rich = Address::repeat_byte(0x32);
    for seed in 0..16 {
        let mut node = Node::new(seed);
        let ((told, mut cheated), (replying, mut branched)) = (reply(), reply());
        let cheat = Cheat::SetBalance(rich, U256::from(9));
        assert!(node.executor.send(ExecutorMessage::Cheat { cheat, reply: told }).is_ok());
        node.send(ExecutorMessage::Branch { kept: Height::new(0), reply: replying });
        assert_eq!(cheated.try_take().expect("idle").expect("answered"), Ok(()));
        let kept = branched.try_take().expect("idle").expect("answered").expect("no failure");
        assert_eq!(kept.expect("it is there").header.number, 0);

        let spend = transfer(rich, 0, account(1), 0);
        let blocks = vec![BlockPlan { attributes: node.attributes(), txs: vec![spend] }];
        let (replying, mut answer) = reply();
        node.send(ExecutorMessage::Reorg { blocks, reply: replying });
        let head = answer.try_take().expect("idle").expect("answered").expect("it can be built");
        assert_eq!(node.durable.get().hash, head.hash);
        assert_eq!(node.balance(rich), U256::from(9), "seed {seed}");
    }
}

/// A peer's blocks: children of the tip and of blocks not yet final; siblings die with finality.
#[test]
fn peers_blocks_are_validated_on_their_parents() {
    let mut node = Node::new(2);
    let tip = database(&node.spec).tip();
    let ours = built(&tip, &node.spec, vec![transfer(account(0), 0, account(1), 1)]);
    let sibling = built(&tip, &node.spec, vec![transfer(account(2), 0, account(1), 1)]);
    let child = built(&tip.extend(&ours), &node.spec, vec![transfer(account(0), 1, account(1), 1)]);

    let unknown = node.verdict(&child.block).expect_err("its parent is not executed");
    assert!(matches!(unknown, ExecError::UnknownParent { .. }) && !unknown.is_offence());
    assert_eq!(node.verdict(&ours.block), Ok(()));
    assert_eq!(node.verdict(&sibling.block), Ok(()));
    assert_eq!(node.verdict(&child.block), Ok(()));
    node.send(ExecutorMessage::Finalize { hash: ours.block.hash });
    node.send(ExecutorMessage::Finalize { hash: child.block.hash });
    assert_eq!(node.durable.get().hash, child.block.hash);
    let late = built(&tip.extend(&sibling), &node.spec, Vec::new());
    assert!(matches!(node.verdict(&late.block), Err(ExecError::UnknownParent { .. })));
}

/// A block with a heavy precompile parks the executor, and is the same block.
#[test]
fn heavy_precompile_in_a_block() {
    let mut node = Node::new(3);
    let contract = Address::repeat_byte(0x61);
    let rounds = 150_000_u64;
    let code = Code::default().push(rounds << 32).push(0).op(op::MSTORE);
    let code = code.push(64).push(0).push(213).push(24).address(Address::with_last_byte(9));
    let code = code.op(op::GAS).op(op::STATICCALL).push(0).op(op::MLOAD).push(1).op(op::SSTORE);
    assert_eq!(node.cheat(Cheat::SetCode(contract, code.0.into())), Ok(()));
    let call = legacy(account(0), 0, TxKind::Call(contract), (400_000, 0), Vec::new().into());
    let block = node.build(vec![call]);
    assert!(block.header.gas_used > rounds);
    assert_eq!(node.verdict(&block), Ok(()));
    node.send(ExecutorMessage::Finalize { hash: block.hash });
    let stored = node.durable.get().view.storage(contract, U256::ONE).expect("memory");
    assert_ne!(stored, U256::ZERO);
}

#[test]
fn refused_candidates_reach_the_pool() {
    let mut node = Node::new(4);
    let poor = transfer(Address::repeat_byte(0x98), 0, account(1), 1);
    let block = node.build(vec![poor.clone(), transfer(account(0), 0, account(1), 1)]);
    assert_eq!(block.txs.len(), 1);
    let reported = node.reported.lock().expect("no panic under it");
    assert_eq!(reported.len(), 1);
    assert_eq!(reported[0].0, *poor.hash());
}

/// Goal: a state file larger than one change of the state is taken as a whole: it is durable at
/// once, later parts see earlier ones, and the next block has it.
#[test]
fn a_state_file_is_taken_as_a_whole() {
    let mut node = Node::new(1);
    let address = |number: u64| Address::left_padding_from(&(1 << 32 | number).to_be_bytes());
    let loaded = |number: u64, nonce| {
        let (balance, code) = (U256::from(number), alloy_primitives::Bytes::new());
        let account = FileAccount { nonce, balance, code, has_slots: false };
        Loaded::Account(address(number), account)
    };
    let mut parts: Vec<Loaded> = (1..=2_500).map(|number| loaded(number, 5)).collect();
    parts.push(loaded(1, 3));
    assert_eq!(node.cheat(Cheat::Load(parts.into())), Ok(()));
    assert_eq!(node.durable.get().diffs, 3);
    let block = node.build(Vec::new());
    node.send(ExecutorMessage::Finalize { hash: block.hash });
    assert_eq!(node.durable.get().diffs, 0);
    for number in 1..=2_500 {
        let account = node.durable.get().view.account(address(number)).expect("memory");
        let account = account.map(|account| (account.nonce, account.balance));
        assert_eq!(account, Some((5, U256::from(number))));
    }
    assert_eq!(node.cheat(Cheat::Load(Arc::new([]))), Ok(()));
    assert_eq!(node.durable.get().diffs, 0);
}
