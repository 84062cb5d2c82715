//! The real pool and one admission, with nobody who builds from them.

use std::sync::Arc;

use evenkeel_chain::ChainSpec;
use evenkeel_mempool::{
    Admission, AdmissionConfig, Admissions, BestTxs, PendingFeed, Pool, PoolActor, PoolBoards,
    PoolConfig, PoolMessage, PoolPorts,
};
use evenkeel_runtime::{
    Address, Class, MailboxSpec, Overflow, Port, Published, Spawn, System, published,
};
use evenkeel_state::Durable;

pub(super) struct Pooling {
    pub(super) address: Address<PoolMessage>,
    pub(super) admissions: Admissions,
    pub(super) best: Published<BestTxs>,
    pub(super) feed: Published<PendingFeed>,
}

fn mailbox(name: &'static str) -> MailboxSpec {
    MailboxSpec { name, items_max: 10_000, bytes_max: 1 << 26, overflow: Overflow::Reject }
}

pub(super) fn spawn(
    system: &System,
    spec: &Arc<ChainSpec>,
    durable: &Published<Durable>,
) -> Pooling {
    let (best_board, best) = published(Pool::new(PoolConfig::default(), 0).best());
    let (feed_board, feed) = published(PendingFeed::default());
    let boards = PoolBoards::new(best_board, feed_board);
    let ports = PoolPorts { ready: Port::null(), announce: Port::null() };
    let actor =
        PoolActor::new(PoolConfig::default(), Arc::clone(spec), durable.clone(), boards, ports);
    let address = system.spawn_once(Spawn::new("pool", Class::Mempool), mailbox("pool"), actor);
    let admission = Admission::new(
        AdmissionConfig::default(),
        Arc::clone(spec),
        durable.clone(),
        published(30_000_000).1,
        address.clone(),
    );
    let spawn = Spawn::new("admission", Class::Mempool);
    let admissions =
        Admissions::new(vec![system.spawn_once(spawn, mailbox("admission"), admission)]);
    Pooling { address, admissions, best, feed }
}
