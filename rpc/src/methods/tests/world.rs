//! A chain of hand-made blocks behind an [`Api`], on a simulated system.
//!
//! Blocks are made without an EVM: their receipts say what the test wants them to say.

use std::{
    mem,
    sync::{Arc, LazyLock},
};

use crate::{
    Accounts, Answer, Api, Client, ClientId, EngineCall, Filters, Flags, LogConfig, Member,
    PlaceLimits, Places, Request, RequestLog, RpcConfig, RpcError, Session,
};
use alloy_consensus::{TxEip1559, TxType};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, TxKind, U256};
use evenkeel_chain::{
    ChainSpec, Command, CommandError, DERIVATION_PATH, DevAccounts, DevOptions, EngineStatus, Fork,
    Header, Height, MNEMONIC, Outcome, Receipt, RecoveredTx, RevertTo, SealedBlock,
    TypedTransaction, logs_bloom, receipts_root, transactions_root,
};
use evenkeel_mempool::Order;
use evenkeel_runtime::{
    Class, Faults, MailboxSpec, Overflow, Port, Publisher, Share, Simulation, Spawn, System,
    TaskHandle, published,
};
use evenkeel_state::{
    Account, ChangeSet, Database, Durable, ExecutedBlock, Options, Tip, TrieStep,
};
use evenkeel_vm::{Limits, LiveBlock, Shadow, ShadowAim};
use serde_json::{Value, value::RawValue};

/// What the tests hold of the node.
pub(super) struct World {
    pub(super) sim: Simulation,
    pub(super) api: Arc<Api>,
    pub(super) database: Database,
    publisher: Publisher<Durable>,
    live_blocks: Option<evenkeel_runtime::Address<LiveBlock>>,
    tip: Tip,
    nonce: u64,
}

/// One event of a hand-made transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) address: Address,
    pub(super) topics: Vec<B256>,
}

/// The first dev account.
pub(super) fn sender() -> Address {
    dev_accounts().addresses()[0]
}

/// Made once: a mnemonic's seed takes thousands of hashes.
fn dev_accounts() -> &'static DevAccounts {
    static DEV: LazyLock<DevAccounts> = LazyLock::new(|| {
        DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 2).expect("the usual mnemonic")
    });
    &DEV
}

/// What a world may be made of.
pub(super) struct Setup {
    pub(super) config: RpcConfig,
    /// Bounds on what runs at once.
    pub(super) places: PlaceLimits,
    /// Number of the first block.
    pub(super) first_block: u64,
    /// Active from the first block on.
    pub(super) fork: Fork,
    pub(super) engine: Port<EngineCall>,
    /// What a canary looks at, if there is one.
    pub(super) shadow: Option<ShadowAim>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: RpcConfig::default(),
            places: PlaceLimits::default(),
            first_block: 0,
            fork: Fork::default(),
            engine: engine(),
            shadow: None,
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, config: RpcConfig) -> Self {
        Self::with(seed, Setup { config, ..Setup::default() })
    }

    pub(super) fn with(seed: u64, setup: Setup) -> Self {
        let Setup { config, places, first_block, fork, engine, shadow } = setup;
        let sim = System::simulated(seed, Faults::default());
        let system = sim.system().clone();
        let dev = dev_accounts();
        let accounts = dev.addresses().into_iter().map(|address| (address, ether(10_000)));
        let spec = Arc::new(ChainSpec::dev(&DevOptions {
            accounts: accounts.collect(),
            timestamp: 1_000,
            number: first_block,
            fork,
            ..DevOptions::default()
        }));
        let database =
            Database::open(&Options { path: None, ..Options::default() }, &spec).expect("memory");
        let (publisher, durable) = published(database.durable());
        let tip = database.tip();
        let pool = super::pool::spawn(&system, &spec, &durable);
        let (live_blocks, shadow) = shadow.map(|aim| canary(&system, &spec, aim)).unzip();
        let api = Arc::new(Api {
            spec,
            durable,
            best: pool.best,
            feed: pool.feed,
            admissions: pool.admissions,
            pool: pool.address,
            engine,
            order: Order::Fifo,
            places: Places::new(&system, places),
            executions: Arc::default(),
            shadow,
            accounts: Accounts::new(dev, &[]),
            filters: Filters::new(&system),
            flags: Arc::new(Flags::new(&system)),
            log: Arc::new(RequestLog::new(LogConfig::default())),
            config,
            system,
        });
        Self { sim, api, database, publisher, live_blocks, tip, nonce: 0 }
    }

    /// Calls a method and waits.
    pub(super) fn call(&mut self, method: &str, params: &str) -> Result<Value, RpcError> {
        self.call_on(None, method, params)
    }

    /// Calls a method over a connection that can be notified.
    pub(super) fn call_on(
        &mut self,
        session: Option<&Session>,
        method: &str,
        params: &str,
    ) -> Result<Value, RpcError> {
        let member = Member { share: Share::new(), id: ClientId::default() };
        let task = self.start(&member, session, method, params);
        let answer = self.sim.run_until(task).expect("no method panics")?;
        Ok(serde_json::from_str(answer.get()).expect("answers are JSON"))
    }

    /// Starts a call of a method for a client.
    pub(super) fn start(
        &self,
        member: &Member,
        session: Option<&Session>,
        method: &str,
        params: &str,
    ) -> TaskHandle<Result<Box<RawValue>, RpcError>> {
        let api = Arc::clone(&self.api);
        let client = Client::new(member, self.api.system.now());
        let method = method.to_owned();
        let params = RawValue::from_string(params.to_owned()).expect("the test's JSON");
        let session = session.cloned();
        self.api.system.spawn_future(Spawn::new("test call", Class::Rpc), async move {
            let request = Request {
                method: &method,
                params: Some(&params),
                client: &client,
                session: session.as_ref(),
            };
            crate::dispatch(&api, request).await?.into_json().await
        })
    }

    /// Calls a method whose answer may be streamed.
    pub(super) fn begin(&mut self, method: &str, params: &str) -> Result<Answer, RpcError> {
        let api = Arc::clone(&self.api);
        let member = Member { share: Share::new(), id: ClientId::default() };
        let client = Client::new(&member, self.sim.now());
        let method = method.to_owned();
        let params = RawValue::from_string(params.to_owned()).expect("the test's JSON");
        let begun = self.sim.system().spawn_future(Spawn::new("test", Class::Rpc), async move {
            let (params, session) = (Some(&*params), None);
            let request = Request { method: &method, params, client: &client, session };
            crate::dispatch(&api, request).await
        });
        self.sim.run_until(begun).expect("no method panics")
    }

    /// Calls a method that must succeed.
    pub(super) fn ok(&mut self, method: &str, params: &str) -> Value {
        self.call(method, params).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Calls a method that must fail; code and text.
    pub(super) fn err(&mut self, method: &str, params: &str) -> (i64, String) {
        match self.call(method, params) {
            Ok(answer) => panic!("{method} {params} answers {answer}"),
            Err(error) => (error.code, error.message.into_owned()),
        }
    }

    /// Adds a block with one transaction for each item, which emits its events.
    pub(super) fn mine(&mut self, txs: &[Vec<Event>]) -> Arc<SealedBlock> {
        self.mine_with(txs, true)
    }

    /// Adds a block with one transaction, which has failed.
    pub(super) fn mine_failing(&mut self) -> Arc<SealedBlock> {
        self.mine_with(&[vec![]], false)
    }

    fn mine_with(&mut self, txs: &[Vec<Event>], success: bool) -> Arc<SealedBlock> {
        let mut recovered = Vec::new();
        let mut receipts = Vec::new();
        for events in txs {
            recovered.push(transfer(self.nonce));
            self.nonce += 1;
            receipts.push(Receipt {
                tx_type: TxType::Eip1559,
                success,
                post_state: None,
                cumulative_gas_used: 21_000 * recovered.len() as u64,
                logs: events.iter().map(log_of).collect(),
            });
        }
        let mut account = self.tip.view.account(sender()).expect("memory").expect("funded");
        account.nonce = self.nonce;
        let mut changes = ChangeSet::default();
        changes.accounts.insert(sender(), Some(account));
        let executed = self.executed(recovered, receipts, &changes);
        let durable = self.database.commit(std::slice::from_ref(&executed)).expect("memory");
        let parent = mem::replace(&mut self.tip, self.database.tip());
        self.publisher.set(durable);
        let block = Arc::clone(&executed.block);
        if let Some(live_blocks) = &self.live_blocks {
            assert!(live_blocks.send(LiveBlock { parent, executed }).is_ok());
        }
        block
    }

    /// Puts one empty block in the place of those above `kept`.
    pub(super) fn reorg(&mut self, kept: u64) -> Arc<SealedBlock> {
        let rewind = self.database.durable().rewind(Height::new(kept)).expect("inside the chain");
        let mut rewind = rewind.with_cheats();
        self.tip = loop {
            if let Some(tip) = rewind.step(1_000).expect("memory") {
                break tip;
            }
        };
        let executed = self.executed(Vec::new(), Vec::new(), &ChangeSet::default());
        let blocks = std::slice::from_ref(&executed);
        let reverted = self.database.reorg(Height::new(kept), blocks).expect("memory");
        self.went_back(reverted.expect("it is there"));
        Arc::clone(&executed.block)
    }

    /// A block on the tip.
    fn executed(
        &self,
        txs: Vec<Arc<RecoveredTx>>,
        receipts: Vec<Receipt>,
        changes: &ChangeSet,
    ) -> Arc<ExecutedBlock> {
        let mut all = ChangeSet::default();
        self.tip.diffs.iter().for_each(|diff| all.merge(diff));
        all.merge(changes);
        let changes = Arc::new(all);
        let mut update = self.tip.trie.update(&changes);
        let (root, trie, nodes) = loop {
            match update.step(1_000).expect("memory") {
                TrieStep::More => {}
                TrieStep::Done { root, trie, nodes } => break (root, trie, nodes),
            }
        };
        let parent = Arc::clone(&self.tip.header);
        let spec = &self.api.spec;
        let header = Header {
            parent_hash: self.tip.hash,
            number: parent.number + 1,
            timestamp: parent.timestamp + 1,
            gas_limit: parent.gas_limit,
            gas_used: receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used),
            base_fee_per_gas: spec.next_base_fee(&parent),
            excess_blob_gas: spec.next_excess_blob_gas(&parent, parent.timestamp + 1),
            blob_gas_used: Some(0),
            state_root: root,
            transactions_root: transactions_root(&txs),
            receipts_root: receipts_root(&receipts),
            logs_bloom: logs_bloom(&receipts),
            // Reverted chains differ from their successors.
            extra_data: Bytes::from(self.database.durable().generation.to_be_bytes().to_vec()),
            ..Header::clone(&parent)
        };
        let block = Arc::new(SealedBlock::seal(header, txs, Vec::new(), Some(Vec::new())));
        Arc::new(ExecutedBlock { block, receipts: Arc::new(receipts), changes, trie, nodes })
    }

    /// Takes a snapshot.
    pub(super) fn mark(&mut self) -> u64 {
        self.database.mark().expect("memory")
    }

    /// Goes back to a snapshot.
    pub(super) fn revert(&mut self, mark: u64) {
        self.go_back(RevertTo::Mark(mark));
    }

    /// Drops the blocks above `kept`.
    pub(super) fn rollback(&mut self, kept: u64) {
        self.go_back(RevertTo::Height(Height::new(kept)));
    }

    fn go_back(&mut self, to: RevertTo) {
        let reverted = self.database.revert(to).expect("memory");
        self.went_back(reverted.expect("it is there"));
    }

    fn went_back(&mut self, (durable, tip): (Durable, Tip)) {
        let account = tip.view.account(sender()).expect("memory").expect("funded");
        self.nonce = account.nonce;
        self.tip = tip;
        self.publisher.set(durable);
    }

    /// Sets a balance on top of the head, as `anvil_setBalance` does.
    pub(super) fn cheat_balance(&mut self, address: Address, balance: U256) {
        let mut changes = ChangeSet::default();
        changes.accounts.insert(address, Some(Account { balance, ..Account::default() }));
        self.cheat(changes);
    }

    /// Changes the state on top of the head.
    pub(super) fn cheat(&mut self, changes: ChangeSet) {
        let durable = self.database.commit_diff(&Arc::new(changes)).expect("memory");
        self.tip = self.database.tip();
        self.publisher.set(durable);
    }
}

/// A canary and its mailbox.
fn canary(
    system: &System,
    spec: &Arc<ChainSpec>,
    aim: ShadowAim,
) -> (evenkeel_runtime::Address<LiveBlock>, Shadow) {
    let (items_max, bytes_max, overflow) = (8, 1 << 20, Overflow::DropOld);
    let (address, mailbox) =
        system.mailbox(MailboxSpec { name: "shadow", items_max, bytes_max, overflow });
    let rules = (Arc::clone(spec), Limits::default());
    (address, Shadow::spawn(system, "shadow", mailbox, aim, rules))
}

pub(super) fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_000_000_000_u64)
}

pub(super) fn log_of(event: &Event) -> Log {
    let data = LogData::new_unchecked(event.topics.clone(), Bytes::from_static(b"data"));
    Log { address: event.address, data }
}

/// A transaction of the first dev account; nobody checks its signature here.
fn transfer(nonce: u64) -> Arc<RecoveredTx> {
    let tx = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000 + u128::from(nonce % 3) * 100_000_000,
        to: TxKind::Call(Address::repeat_byte(0x42)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    RecoveredTx::impersonated(TypedTransaction::Eip1559(tx), sender())
}

/// An engine that knows its status and obeys nothing.
fn engine() -> Port<EngineCall> {
    let status = EngineStatus { automine: true, gas_limit: 30_000_000, ..EngineStatus::default() };
    Port::new(move |EngineCall { command, reply }: EngineCall| {
        reply.send(match command {
            Command::Status => Ok(Outcome::Status(status.clone())),
            _ => Err(CommandError::Unsupported),
        });
        Ok(())
    })
}
