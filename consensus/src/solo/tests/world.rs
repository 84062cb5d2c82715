//! The world around an engine: it keeps the promises of executor, writer and pool, and checks
//! those of the engine at every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use alloy_primitives::{Address, B256};
use evenkeel_chain::{
    BlockAttributes, BlockPlan, Command, CommandError, EngineStatus, Header, Outcome, RevertTo,
    SealedBlock, Timestamps, limits::GENESIS_MARK,
};
use evenkeel_runtime::Time;

use crate::{
    engine::{Effect, Engine, Event, Head, Now},
    solo::{Mining, Solo, SoloConfig},
};

/// What the wall clock says at time zero, in seconds.
pub(super) const EPOCH_SECS: u64 = 1_000_000;

/// Times in milliseconds that the executor and the disk need.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) build_ms: Range<u64>,
    pub(super) sync_ms: Range<u64>,
    pub(super) failures_percent: u64,
    /// Transactions that fit a block.
    pub(super) block_txs: usize,
    pub(super) seed: u64,
}

impl Pace {
    /// Nothing takes longer than a few milliseconds or fails.
    pub(super) const FAST: Self =
        Self { build_ms: 1..3, sync_ms: 1..4, failures_percent: 0, block_txs: 1_000, seed: 1 };
}

/// A finalized block.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) head: Head,
    pub(super) txs: BTreeSet<u32>,
}

/// A build that the executor was asked for.
pub(super) struct Start {
    pub(super) at: Time,
    pub(super) attributes: BlockAttributes,
}

enum Happening {
    Tell(Event),
    BuildDone,
    /// The block at this index is durable.
    Synced(usize),
    Marked(u64),
    Reverted {
        to: RevertTo,
        ticket: u64,
    },
    /// The executor stands on the block at this height, or there is none.
    Branched {
        kept: u64,
        ticket: u64,
    },
    Reorged(u64),
}

/// New blocks beside the chain.
struct Branch {
    kept: usize,
    blocks: Vec<BlockPlan>,
}

struct Building {
    id: u64,
    attributes: BlockAttributes,
    txs: BTreeSet<u32>,
}

pub(super) struct World {
    pub(super) solo: Solo,
    pub(super) now: Time,
    /// Added to what the wall clock would say.
    pub(super) wall_skew_secs: i64,
    rule: Timestamps,
    pace: Pace,
    random: u64,
    agenda: BTreeMap<(Time, u64), Happening>,
    stamps: u64,

    building: Option<Building>,
    built: Option<Link>,
    is_barrier: bool,
    branch: Option<Branch>,
    /// Genesis first; the first `durable` of them are.
    pub(super) chain: Vec<Link>,
    durable: usize,
    synced_at: Time,
    ever_durable: BTreeSet<B256>,
    marks: Vec<usize>,
    /// What the pool was told.
    pub(super) gas_limits: Vec<u64>,
    pub(super) pool: BTreeSet<u32>,
    txs_made: u32,
    pub(super) starts: Vec<Start>,
    pub(super) reorgs: Vec<Vec<BlockPlan>>,
    pub(super) discarded: usize,
    asked: Vec<Command>,
    pub(super) answers: BTreeMap<u64, Result<Outcome, CommandError>>,
}

/// An engine on a first block.
pub(super) fn config(mode: Mining, rule: Timestamps) -> SoloConfig {
    let header = Header { timestamp: EPOCH_SECS, base_fee_per_gas: Some(7), ..Header::default() };
    let genesis = SealedBlock::seal(header.clone(), Vec::new(), Vec::new(), None);
    SoloConfig {
        mode,
        head: Head { header: Arc::new(header), hash: genesis.hash },
        timestamps: rule,
        gas_limit: 30_000_000,
        coinbase: Address::ZERO,
        prev_randao_seed: B256::ZERO,
        txs_max: None,
        time_offset_secs: 0,
        extra_data: alloy_primitives::Bytes::new(),
    }
}

impl World {
    pub(super) fn new(mode: Mining, rule: Timestamps, pace: Pace) -> Self {
        let config = config(mode, rule);
        let head = config.head.clone();
        let ever_durable = BTreeSet::from([head.hash]);
        Self {
            solo: Solo::new(config, Time::ZERO).expect("intervals of the tests are positive"),
            now: Time::ZERO,
            wall_skew_secs: 0,
            rule,
            random: pace.seed,
            pace,
            agenda: BTreeMap::new(),
            stamps: 0,
            building: None,
            built: None,
            is_barrier: false,
            branch: None,
            chain: vec![Link { head, txs: BTreeSet::new() }],
            durable: 1,
            synced_at: Time::ZERO,
            ever_durable,
            marks: Vec::new(),
            gas_limits: Vec::new(),
            pool: BTreeSet::new(),
            txs_made: 0,
            starts: Vec::new(),
            reorgs: Vec::new(),
            discarded: 0,
            asked: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    pub(super) fn height(&self) -> u64 {
        self.tip().head.header.number
    }

    pub(super) fn timestamps(&self) -> Vec<u64> {
        self.chain.iter().skip(1).map(|link| link.head.header.timestamp).collect()
    }

    fn tip(&self) -> &Link {
        self.chain.last().expect("genesis stays")
    }

    /// A transaction becomes ready.
    pub(super) fn submit(&mut self) {
        self.txs_made += 1;
        self.pool.insert(self.txs_made);
        self.tell(Event::PoolReady { pending: self.pool.len() });
    }

    /// Gives an order; returns its ticket.
    pub(super) fn order(&mut self, command: Command) -> u64 {
        let ticket = self.asked.len() as u64;
        self.asked.push(command.clone());
        self.tell(Event::Command { command, ticket });
        ticket
    }

    /// Gives an order and runs until it is answered.
    pub(super) fn ask(&mut self, command: Command) -> Result<Outcome, CommandError> {
        let ticket = self.order(command);
        while !self.answers.contains_key(&ticket) {
            assert!(self.happen(Time::MAX), "ticket {ticket} was forgotten");
        }
        self.answers[&ticket].clone()
    }

    pub(super) fn status(&mut self) -> EngineStatus {
        match self.ask(Command::Status) {
            Ok(Outcome::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.happen(until) {}
        self.now = until;
    }

    /// Runs until nothing is under way and nothing is planned.
    pub(super) fn run_until_idle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.happen(Time::MAX) {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    pub(super) fn unanswered(&self) -> usize {
        self.asked.len() - self.answers.len()
    }

    /// The next thing happens, unless it is after `until`.
    fn happen(&mut self, until: Time) -> bool {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.solo.next_deadline();
        let Some(at) = planned.into_iter().chain(deadline).min().filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(at);
        if planned == Some(at) {
            let (_, happening) = self.agenda.pop_first().expect("it was just seen");
            self.take_place(happening);
        } else {
            self.tell(Event::Deadline);
        }
        true
    }

    fn take_place(&mut self, happening: Happening) {
        match happening {
            Happening::Tell(event) => self.tell(event),
            Happening::BuildDone => self.finish_build(),
            Happening::Synced(index) => {
                let Link { head, txs } = self.chain[index].clone();
                assert_eq!(index, self.durable, "the disk keeps the order");
                self.durable += 1;
                self.ever_durable.insert(head.hash);
                self.pool.retain(|tx| !txs.contains(tx));
                self.tell(Event::Applied { header: head.header, hash: head.hash });
                if !self.pool.is_empty() {
                    let pending = self.pool.len();
                    self.plan(0..3, Happening::Tell(Event::PoolReady { pending }));
                }
            }
            Happening::Marked(ticket) => {
                self.is_barrier = false;
                self.marks.push(self.chain.len());
                let result = Ok(self.marks.len() as u64 - 1);
                self.tell(Event::Marked { ticket, result });
            }
            Happening::Reverted { to, ticket } => {
                self.is_barrier = false;
                let length = self.length_at(to);
                if let Some(length) = length {
                    self.go_back(length);
                }
                let head = length.map(|_| self.tip().head.clone());
                self.tell(Event::Reverted { ticket, result: Ok(head) });
            }
            Happening::Branched { kept, ticket } => {
                let kept = usize::try_from(kept).expect("heights of the tests are small");
                let head = self.chain.get(kept).map(|link| link.head.clone());
                let has_failed = self.has_failed();
                self.is_barrier = head.is_some() && !has_failed;
                self.branch = self.is_barrier.then_some(Branch { kept, blocks: Vec::new() });
                let result = if has_failed { Err("chance".to_owned()) } else { Ok(head) };
                self.tell(Event::Branched { ticket, result });
            }
            Happening::Reorged(ticket) => self.finish_reorg(ticket),
        }
    }

    /// How much of the chain a way back keeps; None if there is no such place.
    fn length_at(&mut self, to: RevertTo) -> Option<usize> {
        match to {
            RevertTo::Mark(GENESIS_MARK) => {
                self.marks.clear();
                Some(1)
            }
            RevertTo::Mark(mark) => {
                let mark = usize::try_from(mark).expect("marks of the tests are small");
                let length = self.marks.get(mark).copied()?;
                self.marks.truncate(mark);
                Some(length)
            }
            RevertTo::Height(height) => {
                let height = usize::try_from(height.get()).expect("heights are small");
                (height < self.chain.len()).then_some(height + 1)
            }
        }
    }

    fn go_back(&mut self, length: usize) {
        self.marks.retain(|mark| *mark <= length);
        self.chain.truncate(length);
        self.durable = length;
    }

    fn finish_reorg(&mut self, ticket: u64) {
        self.is_barrier = false;
        let Branch { kept, blocks } = self.branch.take().expect("it was ordered");
        if self.has_failed() {
            return self.tell(Event::Reorged { ticket, result: Err("chance".to_owned()) });
        }
        self.go_back(kept + 1);
        for BlockPlan { attributes, .. } in blocks {
            self.check_time(&attributes);
            let (head, _) = self.next_block(&attributes);
            self.ever_durable.insert(head.hash);
            self.chain.push(Link { head, txs: BTreeSet::new() });
        }
        self.durable = self.chain.len();
        let result = Ok(self.tip().head.clone());
        self.tell(Event::Reorged { ticket, result });
    }

    fn has_failed(&mut self) -> bool {
        self.random() % 100 < self.pace.failures_percent
    }

    /// C1.
    fn check_time(&self, attributes: &BlockAttributes) {
        let parent = self.tip().head.header.timestamp;
        let is_later = match self.rule {
            Timestamps::Strict => attributes.timestamp > parent,
            Timestamps::Monotone => attributes.timestamp >= parent,
        };
        assert!(is_later, "C1: {} after {parent}", attributes.timestamp);
    }

    fn finish_build(&mut self) {
        let Building { id, attributes, txs } = self.building.take().expect("a build ends once");
        if self.has_failed() {
            return self.tell(Event::BuildFailed { id, reason: "chance".to_owned() });
        }
        if attributes.must_have_txs && txs.is_empty() {
            return self.tell(Event::Empty { id });
        }
        let (head, block) = self.next_block(&attributes);
        assert!(self.built.replace(Link { head, txs }).is_none(), "one build at a time");
        self.tell(Event::Built { id, block: Arc::new(block) });
        assert!(self.built.is_none(), "a built block is finalized or discarded at once");
    }

    /// A block on the tip.
    fn next_block(&mut self, attributes: &BlockAttributes) -> (Head, SealedBlock) {
        self.stamps += 1;
        let parent = &self.tip().head;
        let header = Header {
            parent_hash: parent.hash,
            number: parent.header.number + 1,
            timestamp: attributes.timestamp,
            mix_hash: attributes.prev_randao,
            base_fee_per_gas: Some(7),
            // Blocks that are built twice differ.
            gas_used: self.stamps,
            ..Header::default()
        };
        let block = SealedBlock::seal(header.clone(), Vec::new(), Vec::new(), None);
        (Head { header: Arc::new(header), hash: block.hash }, block)
    }

    pub(super) fn tell(&mut self, event: Event) {
        let wall = (EPOCH_SECS + self.now.as_duration().as_secs())
            .saturating_add_signed(self.wall_skew_secs);
        let now = Now { at: self.now, wall: Duration::from_secs(wall) };
        let mut effects = Vec::new();
        self.solo.step(now, event, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
        let deadline = self.solo.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "S5: {deadline:?} at {:?}", self.now);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Build { id, attributes } => self.start_build(id, attributes),
            Effect::Finalize { hash } => {
                let link = self.built.take().expect("only a built block is finalized");
                assert_eq!(link.head.hash, hash);
                assert!(self.building.is_none(), "finalized before the next build");
                let sync_ms = self.pace.sync_ms.clone();
                self.synced_at = self.synced_at.max(self.now + self.delay(sync_ms));
                self.chain.push(link);
                self.plan_at(self.synced_at, Happening::Synced(self.chain.len() - 1));
            }
            Effect::Discard { hash } => {
                let link = self.built.take().expect("only a built block is discarded");
                assert_eq!(link.head.hash, hash);
                self.discarded += 1;
            }
            Effect::Cheat { cheat: _, ticket } => {
                assert!(self.building.is_none() && !self.is_barrier, "S1: cheat beside a build");
                self.plan(0..9, Happening::Tell(Event::CheatDone { ticket, result: Ok(()) }));
            }
            Effect::Mark { ticket } => {
                self.start_barrier();
                self.plan(0..9, Happening::Marked(ticket));
            }
            Effect::Revert { to, ticket } => {
                self.start_barrier();
                self.plan(0..9, Happening::Reverted { to, ticket });
            }
            Effect::Branch { kept, ticket } => {
                self.start_barrier();
                self.plan(0..9, Happening::Branched { kept: kept.get(), ticket });
            }
            Effect::Reorg { blocks, ticket } => {
                let branch = self.branch.as_mut().expect("a branch was begun");
                branch.blocks.clone_from(&blocks);
                self.reorgs.push(blocks);
                self.plan(9..19, Happening::Reorged(ticket));
            }
            Effect::Answer { ticket, outcome } => self.take_answer(ticket, outcome),
            Effect::SetNextBaseFee(_) => {}
            Effect::SetGasLimit(gas_limit) => self.gas_limits.push(gas_limit),
        }
    }

    fn start_build(&mut self, id: u64, attributes: BlockAttributes) {
        assert!(self.building.is_none() && self.built.is_none(), "S1: two builds");
        assert!(!self.is_barrier, "S1: a build beside a barrier");
        self.check_time(&attributes);
        self.starts.push(Start { at: self.now, attributes: attributes.clone() });
        let unapplied = &self.chain[self.durable..];
        let is_free = |tx: &u32| !unapplied.iter().any(|link| link.txs.contains(tx));
        let txs = self.pool.iter().copied().filter(is_free).take(self.pace.block_txs).collect();
        self.building = Some(Building { id, attributes, txs });
        let build_ms = self.pace.build_ms.clone();
        self.plan(build_ms, Happening::BuildDone);
    }

    fn start_barrier(&mut self) {
        assert!(self.building.is_none(), "S1: a barrier beside a build");
        assert_eq!(self.durable, self.chain.len(), "a barrier waits for the disk");
        assert!(!self.is_barrier, "one barrier at a time");
        self.is_barrier = true;
    }

    fn take_answer(&mut self, ticket: u64, outcome: Result<Outcome, CommandError>) {
        let command = &self.asked[usize::try_from(ticket).expect("tickets are small")];
        if let (Command::Mine { blocks, .. }, Ok(outcome)) = (command, &outcome) {
            let Outcome::Blocks(hashes) = outcome else { panic!("{outcome:?}") };
            assert_eq!(hashes.len() as u64, *blocks, "M1");
            assert!(hashes.iter().all(|hash| self.ever_durable.contains(hash)), "S4");
        }
        assert!(self.answers.insert(ticket, outcome).is_none(), "S4: {ticket} answered twice");
    }

    fn plan(&mut self, delay_ms: Range<u64>, happening: Happening) {
        let at = self.now + self.delay(delay_ms);
        self.plan_at(at, happening);
    }

    fn plan_at(&mut self, at: Time, happening: Happening) {
        self.stamps += 1;
        self.agenda.insert((at, self.stamps), happening);
    }

    fn delay(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.random() % (range.end - range.start))
    }

    /// splitmix64 of a counter.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
