//! The pool against a slow model that recomputes everything from a plain list.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256};
use evenkeel_chain::RecoveredTx;
use evenkeel_mempool::{AccountState, Accounts, Order, Pool, PoolConfig, PoolError, Unreadable};
use proptest::{collection::vec, prelude::*};

const SENDERS: u8 = 4;
const GAS: u64 = 21_000;

#[derive(Clone, Default)]
struct Head(BTreeMap<Address, AccountState>);

impl Accounts for Head {
    fn account(&self, address: Address) -> Result<AccountState, Unreadable> {
        Ok(self.0.get(&address).copied().unwrap_or_default())
    }
}

fn sender(index: u8) -> Address {
    Address::repeat_byte(index + 1)
}

/// Funds are counted in units of what a transfer at a fee cap of 1 costs.
fn balance(units: u64) -> U256 {
    U256::from(units) * U256::from(GAS)
}

fn tx(from: u8, nonce: u64, fee: u128, tip: u128, size: usize) -> Arc<RecoveredTx> {
    let tx = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: GAS,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::ZERO),
        input: vec![1; size].into(),
        ..TxEip1559::default()
    };
    RecoveredTx::impersonated(tx.into(), sender(from))
}

#[derive(Clone, Debug)]
enum Step {
    Admit {
        from: u8,
        ahead: u64,
        fee: u128,
        tip: u128,
        size: usize,
    },
    /// Nonces go on (as mined), funds and base fee change.
    Commit {
        moves: Vec<(u8, u64, u64)>,
        base_fee: u64,
    },
    Drop {
        index: usize,
    },
    DropSender {
        from: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let admit = (0..SENDERS, 0_u64..6, 1_u128..30, 0_u128..30, 0_usize..60);
    let moves = vec((0..SENDERS, 0_u64..3, 0_u64..60), 0..4);
    prop_oneof![
        8 => admit.prop_map(|(from, ahead, fee, tip, size)| {
            Step::Admit { from, ahead, fee: fee.max(tip), tip, size }
        }),
        4 => (moves, 0_u64..20).prop_map(|(moves, base_fee)| Step::Commit { moves, base_fee }),
        1 => any::<usize>().prop_map(|index| Step::Drop { index }),
        1 => (0..SENDERS).prop_map(|from| Step::DropSender { from }),
    ]
}

/// Everything in one list; every question is answered by looking through all of it.
struct Model {
    config: PoolConfig,
    base_fee: u64,
    txs: Vec<(u64, Arc<RecoveredTx>)>,
    stamp: u64,
}

impl Model {
    fn worth(&self, tx: &RecoveredTx) -> i128 {
        let [fee, tip] = [tx.max_fee_per_gas(), tx.max_priority_fee_per_gas()]
            .map(|price| i128::try_from(price).expect("small prices"));
        tip.min(fee - i128::from(self.base_fee))
    }

    fn find(&self, from: Address, nonce: u64) -> Option<&Arc<RecoveredTx>> {
        let mut txs = self.txs.iter().map(|(_, tx)| tx);
        txs.find(|tx| tx.sender() == from && tx.nonce() == nonce)
    }

    fn is_ready(&self, head: &Head, tx: &RecoveredTx) -> bool {
        let next = head.0[&tx.sender()].nonce;
        tx.nonce() >= next && (next..tx.nonce()).all(|n| self.find(tx.sender(), n).is_some())
    }

    fn cost(tx: &RecoveredTx) -> U256 {
        tx.cost_max().expect("small costs")
    }

    fn admit(&mut self, tx: &Arc<RecoveredTx>, head: &Head) -> Result<Vec<B256>, &'static str> {
        if self.txs.iter().any(|(_, other)| other.hash() == tx.hash()) {
            return Err("already known");
        }
        if self.config.check_base_fee && tx.max_fee_per_gas() < u128::from(self.base_fee) {
            return Err("max fee per gas less than block base fee");
        }
        let account = head.0[&tx.sender()];
        if tx.nonce() < account.nonce {
            return Err("nonce too low");
        }
        let old = self.find(tx.sender(), tx.nonce()).cloned();
        let mine = || self.txs.iter().filter(|(_, other)| other.sender() == tx.sender());
        let ready = mine().filter(|(_, other)| self.is_ready(head, other));
        let queued: U256 = ready.map(|(_, other)| Self::cost(other)).sum();
        let bump = Self::cost(tx).saturating_sub(old.as_deref().map_or(U256::ZERO, Self::cost));
        if Self::cost(tx) > account.balance || queued + bump > account.balance {
            return Err("insufficient funds for gas * price + value");
        }
        if old.is_none() && mine().count() >= self.config.per_sender_max {
            return Err("account limit exceeded");
        }
        if let Some(old) = &old {
            let enough = |old: u128, new: u128| new > old && new >= old * 110 / 100;
            if !enough(old.max_fee_per_gas(), tx.max_fee_per_gas())
                || !enough(old.max_priority_fee_per_gas(), tx.max_priority_fee_per_gas())
            {
                return Err("replacement transaction underpriced");
            }
        }
        let evicted = self.make_room(tx, old.as_deref(), head)?;
        let gone = |other: &RecoveredTx| {
            evicted.contains(other.hash()) || Some(other.hash()) == old.as_ref().map(|o| o.hash())
        };
        self.txs.retain(|(_, other)| !gone(other));
        self.txs.push((self.stamp, Arc::clone(tx)));
        self.stamp += 1;
        Ok(evicted)
    }

    fn make_room(
        &self,
        tx: &Arc<RecoveredTx>,
        old: Option<&RecoveredTx>,
        head: &Head,
    ) -> Result<Vec<B256>, &'static str> {
        let mut left: Vec<_> = self
            .txs
            .iter()
            .filter(|(_, other)| Some(other.hash()) != old.map(RecoveredTx::hash))
            .collect();
        let mut with_tx = Model { txs: self.txs.clone(), config: self.config.clone(), ..*self };
        with_tx.txs.push((self.stamp, Arc::clone(tx)));
        let is_pending = with_tx.is_ready(head, tx);
        let mut evicted = Vec::new();
        // The one to be replaced is still there when the worst is looked for.
        let mut all: Vec<_> = self.txs.iter().collect();
        all.sort_by_key(|(stamp, other)| (self.worth(other), u64::MAX - stamp));
        let mut worst = all.into_iter();
        let bytes = |left: &Vec<&(u64, Arc<RecoveredTx>)>| -> usize {
            left.iter().map(|(_, other)| other.size_bytes()).sum()
        };
        while left.len() + 1 > self.config.count_max
            || bytes(&left) + tx.size_bytes() > self.config.bytes_max
        {
            let Some((stamp, victim)) = worst.next() else { return Err("txpool is full") };
            if self.config.order == Order::Fifo {
                return Err("txpool is full");
            }
            if self.worth(tx) <= self.worth(victim) {
                return Err("transaction underpriced");
            }
            if victim.sender() == tx.sender() {
                return Err("txpool is full");
            }
            if !is_pending && self.is_ready(head, victim) {
                return Err("future transaction tries to replace pending");
            }
            left.retain(|(other, _)| other != stamp);
            evicted.push(*victim.hash());
        }
        Ok(evicted)
    }

    fn settle(&mut self, head: &Head) {
        self.txs.retain(|(_, tx)| {
            let account = head.0[&tx.sender()];
            tx.nonce() >= account.nonce && Self::cost(tx) <= account.balance
        });
    }

    /// The ready list, by the words of the contract: best effective tip first among those whose
    /// predecessors are in, ties by arrival.
    fn best(&self, head: &Head) -> Vec<B256> {
        let mut next: BTreeMap<Address, u64> =
            head.0.iter().map(|(a, account)| (*a, account.nonce)).collect();
        let mut list = Vec::new();
        loop {
            let heads = self.txs.iter().filter(|(_, tx)| next[&tx.sender()] == tx.nonce());
            let payable = heads.filter(|(_, tx)| self.worth(tx) >= 0);
            let best = payable.min_by_key(|(stamp, tx)| match self.config.order {
                Order::Fees => (-self.worth(tx), *stamp),
                Order::Fifo => (0, *stamp),
            });
            let Some((_, tx)) = best else { return list };
            list.push(*tx.hash());
            *next.get_mut(&tx.sender()).expect("all senders have an account") += 1;
        }
    }
}

/// What must hold of any pool at any time (M1, M2), and that it is the model's.
fn compare(pool: &Pool, model: &Model, head: &Head) {
    let config = &model.config;
    let content = pool.content(None);
    let count = content.pending().count() + content.queued().count();
    let bytes: usize = content.pending().chain(content.queued()).map(|t| t.size_bytes()).sum();
    assert!(count <= config.count_max && bytes <= config.bytes_max, "M2");
    assert_eq!((bytes, count), (pool.size_bytes(), model.txs.len()));
    assert_eq!(pool.status(), (content.pending().count(), content.queued().count()));

    let mut next: BTreeMap<Address, u64> = BTreeMap::new();
    for tx in content.pending() {
        let expected = next.entry(tx.sender()).or_insert(head.0[&tx.sender()].nonce);
        assert_eq!(tx.nonce(), *expected, "M1");
        *expected += 1;
    }
    for tx in content.queued() {
        assert!(!model.is_ready(head, tx), "M1: {} is ready", tx.nonce());
        assert!(pool.get(tx.hash()).is_some());
    }
    for (address, nonce) in next {
        assert_eq!(pool.pending_nonce(address), Some(nonce));
    }
    let best: Vec<B256> = pool.best().iter().map(|tx| *tx.hash()).collect();
    assert_eq!(best, model.best(head));
}

fn run(config: &PoolConfig, steps: Vec<Step>) {
    let start = AccountState { nonce: 0, balance: balance(200) };
    let mut head = Head((0..SENDERS).map(|index| (sender(index), start)).collect());
    let mut pool = Pool::new(config.clone(), 5);
    let mut model = Model { config: config.clone(), base_fee: 5, txs: Vec::new(), stamp: 0 };
    let mut announced = Vec::new();
    for step in steps {
        match step {
            Step::Admit { from, ahead, fee, tip, size } => {
                // One below the next nonce, too.
                let nonce = (head.0[&sender(from)].nonce + ahead).saturating_sub(1);
                let tx = tx(from, nonce, fee, tip, size);
                let before = pool.best();
                let found = pool.admit(Arc::clone(&tx), &head);
                match (found, model.admit(&tx, &head)) {
                    (Ok(found), Ok(evicted)) => {
                        assert_eq!(found.evicted, evicted, "M4");
                        assert_eq!(found.is_pending, model.is_ready(&head, &tx));
                    }
                    (Err(found), Err(expected)) => {
                        assert!(found.to_string().starts_with(expected), "{found} / {expected}");
                        // M3
                        assert!(before.iter().eq(pool.best().iter()));
                    }
                    (found, expected) => panic!("{found:?}, the model says {expected:?}"),
                }
            }
            Step::Commit { moves, base_fee } => {
                let mut changed = Vec::new();
                for (from, mined, funds) in moves {
                    let account = head.0.get_mut(&sender(from)).expect("all senders");
                    account.nonce += mined;
                    account.balance = balance(funds);
                    changed.push(sender(from));
                }
                pool.set_base_fee(base_fee);
                for sender in &changed {
                    // As the actor does it, a few at a time.
                    while !pool.recheck(*sender, &head, 2).expect("a readable head") {}
                }
                model.base_fee = base_fee;
                model.settle(&head);
            }
            Step::Drop { index } if !model.txs.is_empty() => {
                let (_, tx) = model.txs.remove(index % model.txs.len());
                assert_eq!(pool.unexecutable(*tx.hash()), Some(tx));
            }
            Step::Drop { .. } => {}
            Step::DropSender { from } => {
                let before = model.txs.len();
                model.txs.retain(|(_, tx)| tx.sender() != sender(from));
                assert_eq!(pool.remove_sender(sender(from)), before - model.txs.len());
            }
        }
        announced.extend(pool.take_arrivals().iter().map(|tx| *tx.hash()));
        compare(&pool, &model, &head);
    }
    let content = pool.content(None);
    assert!(
        content.pending().all(|tx| announced.contains(tx.hash())),
        "who is ready was announced"
    );
    let count = model.txs.len();
    assert_eq!((pool.clear(), pool.status(), pool.size_bytes()), (count, (0, 0), 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Goal: M1 to M4 and the order of the builder, in any order of events, at limits so small
    /// that they are always in the way.
    #[test]
    fn the_pool_is_the_model(
        steps in vec(step(), 1..80), is_fifo in any::<bool>(), check_base_fee in any::<bool>(),
        count_max in 3_usize..12, bytes_max in 600_usize..2_500, per_sender_max in 1_usize..6,
    ) {
        let order = if is_fifo { Order::Fifo } else { Order::Fees };
        let config = PoolConfig {
            order, count_max, bytes_max, per_sender_max, check_base_fee, ..PoolConfig::default()
        };
        run(&config, steps);
    }
}

/// Goal: the builder's iterator leaves a sender out when told to, and only that one.
#[test]
fn a_skipped_sender_gives_nothing_more() {
    let rich = AccountState { nonce: 0, balance: balance(1_000_000) };
    let head = Head((0..2).map(|index| (sender(index), rich)).collect());
    let mut pool = Pool::new(PoolConfig::default(), 1);
    for nonce in 0..3 {
        pool.admit(tx(0, nonce, 50, 20, 0), &head).expect("funds and nonce are right");
        pool.admit(tx(1, nonce, 50, 10, 0), &head).expect("funds and nonce are right");
    }
    let mut best = pool.best().iter();
    assert_eq!(best.next().map(|tx| tx.sender()), Some(sender(0)));
    best.skip_sender();
    let rest: Vec<_> = best.map(|tx| (tx.sender(), tx.nonce())).collect();
    assert_eq!(rest, [(sender(1), 0), (sender(1), 1), (sender(1), 2)]);
}

/// Goal: the texts with numbers are geth's.
#[test]
fn refusals_carry_their_numbers() {
    let head = Head([(sender(0), AccountState { nonce: 3, balance: balance(30) })].into());
    let mut pool = Pool::new(PoolConfig { check_base_fee: true, ..PoolConfig::default() }, 2);
    let mut refused = |nonce, fee, tip| {
        pool.admit(tx(0, nonce, fee, tip, 0), &head).expect_err("refused").to_string()
    };
    assert_eq!(refused(2, 5, 1), "nonce too low: next nonce 3, tx nonce 2");
    assert_eq!(
        refused(3, 31, 1),
        "insufficient funds for gas * price + value: \
         balance 630000, tx cost 651000, overshot 21000"
    );
    assert_eq!(
        refused(3, 1, 1),
        "max fee per gas less than block base fee: address \
         0x0101010101010101010101010101010101010101, maxFeePerGas: 1, baseFee: 2"
    );
    pool.admit(tx(0, 3, 20, 10, 0), &head).expect("it can be paid");
    assert_eq!(pool.admit(tx(0, 3, 20, 10, 0), &head), Err(PoolError::AlreadyKnown));
    assert_eq!(pool.admit(tx(0, 3, 21, 12, 0), &head), Err(PoolError::ReplacementUnderpriced));
    let error = pool.admit(tx(0, 4, 11, 1, 0), &head).expect_err("the sum is too high");
    assert_eq!(
        error.to_string(),
        "insufficient funds for gas * price + value: \
         balance 630000, queued cost 420000, tx cost 231000, overshot 21000"
    );
    let error = pool.admit(tx(0, 3, 31, 12, 0), &head).expect_err("more than there is");
    assert!(error.to_string().contains("balance 630000, tx cost 651000"));
    let admitted = pool.admit(tx(0, 3, 22, 11, 0), &head).expect("10 % more of both");
    assert!(admitted.replaced.is_some() && admitted.is_pending);
}
