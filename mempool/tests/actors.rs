//! Admission and pool as actors on the simulated system, over a database in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{B256, Bytes, TxKind, U256, keccak256};
use alloy_signer::SignerSync;
use evenkeel_chain::{
    ChainSpec, DERIVATION_PATH, DevAccounts, DevOptions, Header, MNEMONIC, RecoveredTx,
    SealedBlock, TypedTransaction,
};
use evenkeel_mempool::{
    Admission, AdmissionConfig, AdmissionMessage, Admissions, BestTxs, PendingFeed, PoolActor,
    PoolBoards, PoolConfig, PoolError, PoolMessage, PoolPorts, PoolReady, Query, Remove,
};
use evenkeel_runtime::{
    Address, Class, Faults, MailboxSpec, Overflow, Port, Published, Publisher, Simulation, Spawn,
    System, Undelivered, published, reply,
};
use evenkeel_state::{
    Account, ChangeSet, Committed, Database, Durable, ExecutedBlock, Options, TrieStep,
};

const ACCOUNTS: usize = 5;

struct House {
    simulation: Simulation,
    accounts: DevAccounts,
    database: Database,
    durable: Publisher<Durable>,
    gas_limit: Publisher<u64>,
    admissions: Admissions,
    pool: Address<PoolMessage>,
    best: Published<BestTxs>,
    feed: Published<PendingFeed>,
    signals: Arc<Mutex<Vec<PoolReady>>>,
}

fn dev_accounts() -> DevAccounts {
    DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, ACCOUNTS).expect("dev accounts")
}

/// Two admission actors and a pool; the first `deaf` signals find no room at the engine.
fn house(seed: u64, deaf: usize) -> House {
    let ether = U256::from(10).pow(U256::from(18));
    let funds = dev_accounts().addresses().into_iter().map(|a| (a, ether)).collect();
    house_on(ChainSpec::dev(&DevOptions { accounts: funds, ..DevOptions::default() }), seed, deaf)
}

/// The same on a chain with other rules.
fn house_on(spec: ChainSpec, seed: u64, deaf: usize) -> House {
    let (accounts, spec) = (dev_accounts(), Arc::new(spec));
    let options = Options { path: None, cache_bytes: 0, fsync: false };
    let database = Database::open(&options, &spec).expect("a database in memory");
    let (durable, durable_reader) = published(database.durable());

    let simulation = System::simulated(seed, Faults::default());
    let system = simulation.system().clone();
    let mailbox = |name, items_max| MailboxSpec {
        name,
        items_max,
        bytes_max: 1 << 20,
        overflow: Overflow::Reject,
    };
    let (pool, pool_mailbox) = system.mailbox(mailbox("pool", 1_024));
    let (best_board, best) = published(BestTxs::default());
    let (feed_board, feed) = published(PendingFeed::default());
    let signals = Arc::new(Mutex::new(Vec::new()));
    let ears = (Arc::clone(&signals), Mutex::new(deaf));
    let ready = Port::new(move |signal| {
        let mut deaf = ears.1.lock().expect("no test panics with it");
        if *deaf > 0 {
            *deaf -= 1;
            return Err(Undelivered::Full);
        }
        ears.0.lock().expect("no test panics with it").push(signal);
        Ok(())
    });
    let mut actor = Some(PoolActor::new(
        PoolConfig::default(),
        Arc::clone(&spec),
        durable_reader.clone(),
        PoolBoards::new(best_board, feed_board),
        PoolPorts { ready, announce: Port::null() },
    ));
    let make = move || actor.take().expect("it does not panic");
    system.spawn(Spawn::new("pool", Class::Mempool), pool_mailbox, make);
    let (gas_limit, gas_limits) = published(30_000_000);
    let admissions = (0..2).map(|_| {
        let (address, inbox) = system.mailbox::<AdmissionMessage>(mailbox("admission", 512));
        let parts = (Arc::clone(&spec), durable_reader.clone(), gas_limits.clone(), pool.clone());
        system.spawn(Spawn::new("admission", Class::Mempool), inbox, move || {
            let (spec, durable, gas_limits, pool) = parts.clone();
            Admission::new(AdmissionConfig::default(), spec, durable, gas_limits, pool)
        });
        address
    });
    let admissions = Admissions::new(admissions.collect());
    House {
        simulation,
        accounts,
        database,
        durable,
        gas_limit,
        admissions,
        pool,
        best,
        feed,
        signals,
    }
}

impl House {
    fn raw(&self, from: usize, nonce: u64) -> Bytes {
        let tx: TypedTransaction = TxEip1559 {
            chain_id: 31_337,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 3_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(self.accounts.addresses()[0]),
            ..TxEip1559::default()
        }
        .into();
        let signer = self.accounts.signer(from);
        let signature = signer.sign_hash_sync(&tx.signature_hash()).expect("a key signs");
        RecoveredTx::from_parts(tx.into_envelope(signature), signer.address()).encoded()
    }

    fn ask<T: Send>(&mut self, query: impl FnOnce(evenkeel_runtime::Reply<T>) -> PoolMessage) -> T {
        let (reply, mut answer) = reply();
        assert!(self.pool.send(query(reply)).is_ok(), "the mailbox has room");
        self.simulation.run_until_idle();
        answer.try_take().expect("the pool answers").expect("and lives")
    }

    fn offer(&mut self, raw: Bytes) -> Result<B256, PoolError> {
        let mut answer = self.admissions.raw(raw);
        self.simulation.run_until_idle();
        answer.try_take().expect("answered").expect("by a live pool")
    }

    fn status(&mut self) -> (usize, usize) {
        self.ask(|reply| PoolMessage::Query(Query::Status { reply }))
    }
}

/// Goal: what may be asked of the next block is what the engine says of it, not what the head has.
#[test]
fn the_engine_sets_the_gas_a_transaction_may_ask_for() {
    let mut house = house(1, 0);
    house.gas_limit.set(20_000);
    let refused = house.offer(house.raw(0, 0)).expect_err("21,000 are too much");
    assert_eq!(refused, PoolError::ExceedsBlockGasLimit { found: 21_000, limit: 20_000 });
    house.gas_limit.set(21_000);
    house.offer(house.raw(0, 0)).expect("it fits");
}

/// Goal: by a new head's rules is judged what comes next, though rules are remembered meanwhile.
#[test]
fn a_new_head_brings_its_rules() {
    let sender = dev_accounts().addresses()[0];
    let genesis = format!(
        r#"{{ "config": {{ "chainId": 31337, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0,
            "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0,
            "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 2 }},
            "alloc": {{ "{sender:#x}": {{ "balance": "0xde0b6b3a7640000" }} }},
            "gasLimit": "0x1c9c380", "difficulty": "0x1", "timestamp": "0x0", "nonce": "0x0",
            "extraData": "0x" }}"#
    );
    let spec = ChainSpec::from_genesis_json(&genesis).expect("a genesis");
    let mut house = house_on(spec, 1, 0);
    let early = PoolError::TypeNotYet { tx_type: 2, since: "London" };
    for _ in 0..2 {
        assert_eq!(house.offer(house.raw(0, 0)), Err(early.clone()));
    }
    let mut durable = house.database.durable();
    durable.header = Arc::new(Header { number: 1, ..Header::clone(&durable.header) });
    house.durable.set(durable);
    house.offer(house.raw(0, 0)).expect("London is next");
}

/// Goal: a burst from all senders, nonces out of order, over two admission actors: every one is
/// answered with its hash, all become ready and are signalled, the builder sees each sender's in
/// order.
#[test]
fn a_burst_is_admitted_in_any_order() {
    for seed in 0..5 {
        let mut house = house(seed, 0);
        let count = ACCOUNTS * 40;
        let mut answers = Vec::new();
        for nonce in (0..40).rev() {
            for from in 0..ACCOUNTS {
                answers.push(house.admissions.raw(house.raw(from, nonce)));
            }
        }
        house.simulation.run_until_idle();
        for answer in &mut answers {
            let answer = answer.try_take().expect("all are answered").expect("by a live pool");
            answer.expect("all are good");
        }
        assert_eq!(house.status(), (count, 0));
        let mut next = [0; ACCOUNTS];
        for tx in house.best.get().iter() {
            let from = house.accounts.addresses().iter().position(|a| *a == tx.sender());
            let next = &mut next[from.expect("one of ours")];
            assert_eq!(tx.nonce(), *next);
            *next += 1;
        }
        assert_eq!(next, [40; ACCOUNTS]);
        assert_eq!(house.feed.get().since(0).0.len(), count);
        let signals = house.signals.lock().expect("not poisoned").clone();
        assert_eq!(signals.iter().map(|signal| signal.arrived).sum::<usize>(), count);
        assert_eq!(signals.last().map(|signal| signal.pending), Some(count));
    }
}

/// Goal: what waits in the mailbox together is published and signalled together.
#[test]
fn a_burst_is_published_once() {
    let mut house = house(4, 0);
    for nonce in 0..200 {
        let tx = RecoveredTx::decode(&house.raw(2, nonce)).expect("our own bytes");
        let tx = tx.recover().expect("our own signature");
        assert!(house.pool.send(PoolMessage::Admit { tx, reply: None }).is_ok());
    }
    assert_eq!(house.best.version(), 0);
    house.simulation.run_until_idle();
    assert_eq!(house.best.version(), 2, "empty at the start, and then all of them");
    let signals = house.signals.lock().expect("not poisoned").clone();
    assert_eq!(signals, [PoolReady { pending: 200, arrived: 200 }]);
    assert_eq!(house.status(), (200, 0));
}

/// Goal: a block that changed thousands of accounts drops what it mined of two senders, leaves the
/// others alone, and moves the base fee; all of it in slices.
#[test]
fn a_block_takes_its_transactions_out() {
    let mut house = house(5, 0);
    for nonce in 0..5 {
        for from in 0..3 {
            drop(house.admissions.raw(house.raw(from, nonce)));
        }
    }
    house.simulation.run_until_idle();
    assert_eq!(house.status(), (15, 0));

    let tip = house.database.tip();
    let mut changes = ChangeSet::default();
    let funds = Account { balance: U256::ONE, ..Account::default() };
    for index in 0..3_000_u32 {
        let stranger = alloy_primitives::Address::from_word(keccak256(index.to_be_bytes()));
        changes.accounts.insert(stranger, Some(funds));
    }
    for (from, mined) in [(0, 5), (1, 2)] {
        let sender = house.accounts.addresses()[from];
        let old = tip.view.account(sender).expect("readable").expect("funded");
        changes.accounts.insert(sender, Some(Account { nonce: mined, ..old }));
    }
    let changes = Arc::new(changes);
    let mut update = tip.trie.update(&changes);
    let (root, trie, nodes) = loop {
        if let TrieStep::Done { root, trie, nodes } = update.step(1_000).expect("in memory") {
            break (root, trie, nodes);
        }
    };
    let header = Header {
        parent_hash: tip.hash,
        number: 1,
        state_root: root,
        base_fee_per_gas: Some(1_000_000_000),
        gas_limit: 30_000_000,
        ..Header::default()
    };
    let block = Arc::new(SealedBlock::seal(header, Vec::new(), Vec::new(), None));
    let executed =
        Arc::new(ExecutedBlock { block, receipts: Arc::default(), changes, trie, nodes });
    let blocks = vec![executed];
    let durable = house.database.commit(&blocks).expect("memory does not fail");
    house.durable.set(durable.clone());
    let committed = Committed { blocks, durable: Arc::new(durable), reverted: false };
    assert!(house.pool.send(PoolMessage::Committed(Arc::new(committed))).is_ok());
    assert_eq!(house.status(), (8, 0));
    let best: Vec<_> = house.best.get().iter().map(|tx| (tx.sender(), tx.nonce())).collect();
    let expected = |from: usize, nonces: std::ops::Range<u64>| {
        let sender = house.accounts.addresses()[from];
        nonces.map(move |nonce| (sender, nonce)).collect::<Vec<_>>()
    };
    let of = |from: usize| {
        let sender = house.accounts.addresses()[from];
        best.iter().copied().filter(|(a, _)| *a == sender).collect::<Vec<_>>()
    };
    assert_eq!((of(0), of(1), of(2)), (Vec::new(), expected(1, 2..5), expected(2, 0..5)));
    // An empty parent block lowers the base fee by an eighth.
    assert_eq!(house.best.get().base_fee(), 875_000_000);
}

/// Goal: bad bytes are answered by name, never by silence, and nothing of them stays.
#[test]
fn bad_bytes_are_refused_by_name() {
    let mut house = house(1, 0);
    let good = house.raw(0, 0);
    let mut forged = good.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let gossip = vec![Bytes::from_static(b"\x02"), good.clone(), Bytes::new()];
    house.admissions.send(AdmissionMessage::Gossip { raws: gossip });
    house.simulation.run_until_idle();
    assert_eq!(house.offer(good), Err(PoolError::AlreadyKnown));
    assert!(matches!(house.offer(Bytes::from_static(b"\x03\xc0")), Err(PoolError::Decode(_))));
    // Another signature, so another sender, who has nothing; or nobody at all.
    let error = house.offer(forged.into()).expect_err("nobody signed it").to_string();
    assert!(
        error.starts_with("insufficient funds") || error.contains("recovery failed"),
        "{error}"
    );
    assert_eq!(house.status(), (1, 0));
}

/// Goal: a full mailbox refuses at once with an error instead of growing or falling silent.
#[test]
fn a_flood_is_refused_not_kept() {
    let mut house = house(2, 0);
    let raws: Vec<Bytes> = (0..2_000).map(|nonce| house.raw(1, nonce % 3)).collect();
    let mut answers: Vec<_> = raws.into_iter().map(|raw| house.admissions.raw(raw)).collect();
    house.simulation.run_until_idle();
    let answers: Vec<Result<B256, PoolError>> = answers
        .iter_mut()
        .map(|answer| answer.try_take().expect("answered").expect("by a live pool"))
        .collect();
    let busy = answers.iter().filter(|answer| **answer == Err(PoolError::Busy)).count();
    assert!(busy > 0 && answers.iter().any(Result::is_ok), "{busy} of 2000 refused");
    assert_eq!(house.status(), (3, 0));
}

/// Goal: a new head drops what is mined and wakes the engine for what is left; a signal that the
/// engine had no room for comes again.
#[test]
fn a_new_head_moves_the_pool_and_signals_are_not_lost() {
    let mut house = house(3, 2);
    let answers: Vec<_> = (0..6).map(|nonce| house.admissions.raw(house.raw(0, nonce))).collect();
    house.simulation.run_for(Duration::from_secs(1));
    drop(answers);
    assert_eq!(house.status(), (6, 0));
    let last = house.signals.lock().expect("not poisoned").last().copied();
    assert_eq!(last.map(|signal| signal.pending), Some(6));

    // As if four were mined: a cheat that moves the nonce is a head like any other.
    let sender = house.accounts.addresses()[0];
    let old = house.database.durable().view.account(sender).expect("readable").expect("funded");
    let mut changes = ChangeSet::default();
    changes.accounts.insert(sender, Some(Account { nonce: 4, ..old }));
    let durable = house.database.commit_diff(&Arc::new(changes)).expect("memory does not fail");
    house.durable.set(durable.clone());
    house.signals.lock().expect("not poisoned").clear();
    let committed = Committed { blocks: Vec::new(), durable: Arc::new(durable), reverted: false };
    assert!(house.pool.send(PoolMessage::Committed(Arc::new(committed))).is_ok());
    house.simulation.run_for(Duration::from_secs(1));
    assert_eq!(house.status(), (2, 0));
    let signals = house.signals.lock().expect("not poisoned").clone();
    assert_eq!(signals, [PoolReady { pending: 2, arrived: 0 }]);
    let nonces: Vec<u64> = house.best.get().iter().map(|tx| tx.nonce()).collect();
    assert_eq!(nonces, [4, 5]);

    let hash = *house.best.get().iter().next().expect("one is left").hash();
    let dropped = PoolMessage::Unexecutable(vec![(hash, "nonce too low".to_owned())]);
    assert!(house.pool.send(dropped).is_ok());
    assert_eq!(house.status(), (0, 1));
    let reason = house.ask(|reply| PoolMessage::Query(Query::Dropped { hash, reply }));
    assert_eq!(reason.as_deref(), Some("nonce too low"));
    let nonce = house.ask(|reply| PoolMessage::Query(Query::PendingNonce { sender, reply }));
    assert_eq!(nonce, Some(4));
    let all = Remove::All;
    let count = house.ask(|reply| PoolMessage::Remove { which: all, reply: Some(reply) });
    assert_eq!((count, house.status()), (1, (0, 0)));
    assert!(house.best.get().is_empty());
}
