//! Adapts what one room says to what another understands.
//!
//! Crates of one layer never import each other; every place where two of them meet is here.

use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_chain::{BlockPlan, Cheat, Height, RecoveredTx, RevertTo};
use evenkeel_consensus::{ConsensusMessage, ConsensusPorts, Event, Head, OrderReply, command_port};
use evenkeel_mempool::{BestIter, BestTxs, PoolMessage, PoolPorts, PoolReady};
use evenkeel_rpc::{EngineCall, RequestLog};
use evenkeel_runtime::{
    Address, Class, Port, Published, Publisher, Reply, SendError, Spawn, System, Undelivered, reply,
};
use evenkeel_state::Committed;
use evenkeel_vm::{
    BlockNoting, BuildRequest, CandidateSource, Candidates, ExecError, ExecutorEvent,
    ExecutorMessage, Reverted,
};

/// The builder's view of the pool.
pub(crate) struct BestCandidates(pub(crate) Published<BestTxs>);

impl CandidateSource for BestCandidates {
    fn open(&mut self) -> Box<dyn Candidates + Send> {
        Box::new(Best(self.0.get().iter()))
    }
}

struct Best(BestIter);

impl Candidates for Best {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        self.0.next()
    }

    fn skip_sender(&mut self) {
        self.0.skip_sender();
    }
}

/// What the engine orders, as the executor and the pool take it.
pub(crate) fn of_consensus(
    system: &System,
    executor: &Address<ExecutorMessage>,
    pool: &Address<PoolMessage>,
    gas_limit: Publisher<u64>,
) -> ConsensusPorts {
    // One process sends through it, so nobody ever waits for the lock.
    let gas_limit = Mutex::new(gas_limit);
    let build = |(id, attributes)| ExecutorMessage::Build(BuildRequest { id, attributes });
    let to = Executor { system: system.clone(), address: executor.clone() };
    let (cheat, mark, revert) = (to.clone(), to.clone(), to.clone());
    let (branch, reorg) = (to.clone(), to);
    let head = |Reverted { header, hash }| Head { header, hash };
    ConsensusPorts {
        build: executor.port(build),
        finalize: executor.port(|hash| ExecutorMessage::Finalize { hash }),
        discard: executor.port(|hash| ExecutorMessage::Discard { hash }),
        cheat: Port::new(move |(order, told): (Cheat, OrderReply<()>)| {
            let message = |reply| ExecutorMessage::Cheat { cheat: order, reply };
            cheat.ask(message, told, |()| ())
        }),
        mark: Port::new(move |told: OrderReply<u64>| {
            mark.ask(|reply| ExecutorMessage::Mark { reply }, told, |mark| mark)
        }),
        revert: Port::new(move |(to, told): (RevertTo, OrderReply<Option<Head>>)| {
            let message = |reply| ExecutorMessage::Revert { to, reply };
            revert.ask(message, told, move |reverted: Option<Reverted>| reverted.map(head))
        }),
        branch: Port::new(move |(kept, told): (Height, OrderReply<Option<Head>>)| {
            let message = |reply| ExecutorMessage::Branch { kept, reply };
            branch.ask(message, told, move |found: Option<Reverted>| found.map(head))
        }),
        reorg: Port::new(move |(blocks, told): (Vec<BlockPlan>, OrderReply<Head>)| {
            reorg.ask(|reply| ExecutorMessage::Reorg { blocks, reply }, told, head)
        }),
        next_base_fee: pool.port(PoolMessage::SetNextBaseFee),
        gas_limit: Port::new(move |gas: u64| {
            gas_limit.lock().unwrap_or_else(PoisonError::into_inner).set(gas);
            Ok(())
        }),
    }
}

/// The executor, for orders whose answer is translated on its way back.
#[derive(Clone)]
struct Executor {
    system: System,
    address: Address<ExecutorMessage>,
}

impl Executor {
    fn ask<T: Send + 'static, U: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<Result<T, ExecError>>) -> ExecutorMessage,
        told: OrderReply<U>,
        translate: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<(), Undelivered> {
        let (replying, answer) = reply();
        self.address.send(message(replying)).map_err(|error| match error {
            SendError::Full(_) => Undelivered::Full,
            SendError::Closed(_) => Undelivered::Closed,
        })?;
        let relay = async move {
            // Lost: the executor stopped, which drops `told` and so says it on.
            if let Ok(result) = answer.await {
                told.send(result.map(translate).map_err(|error| error.to_string()));
            }
        };
        drop(self.system.spawn_future(Spawn::new("executor answer", Class::Consensus), relay));
        Ok(())
    }
}

/// What the executor tells the engine: answers to its orders, so beyond the bound of its mailbox.
pub(crate) fn executor_events(consensus: &Address<ConsensusMessage>) -> Port<ExecutorEvent> {
    let consensus = consensus.clone();
    Port::new(move |event| {
        let event = match event {
            ExecutorEvent::Begun { header, hash } => {
                let begin = ConsensusMessage::Begin(Head { header, hash });
                return delivered(consensus.insist(begin));
            }
            ExecutorEvent::Built { id, block } => Event::Built { id, block },
            ExecutorEvent::Empty { id } => Event::Empty { id },
            ExecutorEvent::BuildFailed { id, error } => {
                Event::BuildFailed { id, reason: error.to_string() }
            }
            ExecutorEvent::Verdict { hash, result } => {
                Event::Verdict { hash, is_valid: result.is_ok() }
            }
        };
        delivered(consensus.insist(ConsensusMessage::Event(event)))
    })
}

/// What the pool tells others. Nobody gossips on a node without peers.
pub(crate) fn of_pool(consensus: &Address<ConsensusMessage>) -> PoolPorts {
    let ready = |PoolReady { pending, .. }: PoolReady| Event::PoolReady { pending };
    PoolPorts {
        ready: consensus.port(move |told| ConsensusMessage::Event(ready(told))),
        announce: Port::null(),
    }
}

/// What has become durable, told to the pool and the engine. The engine has few blocks under way,
/// so both are told beyond the bounds of their mailboxes: neither may miss a block.
pub(crate) fn committed(
    pool: &Address<PoolMessage>,
    consensus: &Address<ConsensusMessage>,
) -> Port<Committed> {
    let (pool, consensus) = (pool.clone(), consensus.clone());
    Port::new(move |committed: Committed| {
        let committed = Arc::new(committed);
        // The pool first: what the engine builds next must not be what was just mined.
        let mut have_heard = pool.insist(PoolMessage::Committed(Arc::clone(&committed)));
        // The engine hears of a way back, and of what came in its place, by the reply.
        let applied = if committed.reverted { &[] } else { &committed.blocks[..] };
        for executed in applied {
            let block = &executed.block;
            let applied =
                Event::Applied { header: Arc::new(block.header.clone()), hash: block.hash };
            have_heard &= consensus.insist(ConsensusMessage::Event(applied));
        }
        delivered(have_heard)
    })
}

/// What the executor notes for the log; it has a bound of its own.
pub(crate) fn notes(log: &Arc<RequestLog>) -> BlockNoting {
    let noting = log.config().noting;
    let log = Arc::clone(log);
    let keep = move |notes| {
        log.keep_notes(notes);
        Ok(())
    };
    BlockNoting { to: Port::new(keep), noting }
}

/// The operator's commands, as the engine takes them.
pub(crate) fn engine(consensus: &Address<ConsensusMessage>) -> Port<EngineCall> {
    let commands = command_port(consensus);
    Port::new(move |EngineCall { command, reply }| commands.send((command, reply)))
}

const fn delivered(has_come: bool) -> Result<(), Undelivered> {
    if has_come { Ok(()) } else { Err(Undelivered::Closed) }
}
