//! The canary: executes final blocks under another fork, and reports what differs.
//!
//! | message | from | does |
//! |---|---|---|
//! | `LiveBlock` | executor | executes it once more, in slices, and publishes the report |
//!
//! Each fork is a version of the behaviour `evm-rules`: a canary is spawned on the one that is
//! asked for, and can be moved to another while it runs, between two blocks. It runs in the class
//! of proofs, so it costs the chain nothing; when it falls behind, its mailbox drops the oldest
//! block and the report counts it.

use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::B256;
use evenkeel_chain::{ChainSpec, Fork};
use evenkeel_runtime::{
    Actor, Answer, Behaviour, Class, Code, Ctx, Flow, Mailbox, Message, NoVersion, Published,
    Publisher, Restart, Spawn, System, UpgradeError, Version, VersionReq, VersionedHandle,
    published,
};

use super::{
    block_work::{BlockWork, Worked},
    slot::Fill,
};
use crate::{
    block::{BlockOutcome, ExecError},
    heavy::{HeavyCall, HeavyResult},
    limits::Limits,
    shadow::{self, LiveBlock, ShadowReport},
};

impl Message for LiveBlock {
    fn size_bytes(&self) -> usize {
        self.executed.block.size_bytes()
    }

    fn kind(&self) -> &'static str {
        "live block"
    }
}

/// What every version is made from.
struct Rules {
    spec: Arc<ChainSpec>,
    limits: Limits,
    board: Arc<Mutex<Publisher<ShadowReport>>>,
}

/// A canary that runs.
pub struct Shadow {
    handle: VersionedHandle<LiveBlock, Rules>,
    report: Published<ShadowReport>,
}

impl Shadow {
    /// Spawns a canary that executes what comes into `mailbox` under `fork`.
    #[must_use]
    pub fn spawn(
        system: &System,
        name: &'static str,
        mailbox: Mailbox<LiveBlock>,
        fork: Fork,
        (spec, limits): (Arc<ChainSpec>, Limits),
    ) -> Self {
        let (board, report) = published(ShadowReport::new(fork));
        let rules = Rules { spec, limits, board: Arc::new(Mutex::new(board)) };
        let spawn = Spawn::new(name, Class::Prove).restart(Restart::DEFAULT);
        let handle = forks()
            .spawn(system, spawn, mailbox, &requirement(fork), rules)
            .expect("every fork is published");
        Self { handle, report }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn report(&self) -> Arc<ShadowReport> {
        self.report.get()
    }

    /// Moves it to another fork, with a new report, when the block at hand is done.
    ///
    /// # Errors
    ///
    /// [`NoVersion`] never, while every fork is published.
    pub fn upgrade(&self, fork: Fork) -> Result<Answer<Result<Version, UpgradeError>>, NoVersion> {
        self.handle.upgrade(&requirement(fork))
    }
}

/// The EVM's rules, each fork a version: its place among the forks, and its name.
fn forks() -> Behaviour<LiveBlock, Rules> {
    let behaviour = Behaviour::new("evm-rules");
    for fork in Fork::ALL {
        let code = Code::new(version(fork), move |rules: &Rules| {
            let spec = Arc::new(rules.spec.under(fork));
            let (limits, board) = (rules.limits.clone(), Arc::clone(&rules.board));
            Canary::new(fork, (Arc::clone(&rules.spec), spec), limits, board)
        });
        let code = code.takes_over_by(move |old: &Canary| {
            let spec = Arc::new(old.live.under(fork));
            let (limits, board) = (old.limits.clone(), Arc::clone(&old.board));
            Ok(Canary::new(fork, (Arc::clone(&old.live), spec), limits, board))
        });
        behaviour.publish(code).expect("each fork once");
    }
    behaviour
}

/// Forks in the order of [`Fork::ALL`], from 1 on.
fn number(fork: Fork) -> u64 {
    1 + Fork::ALL.iter().take_while(|other| **other < fork).count() as u64
}

fn version(fork: Fork) -> Version {
    Version::new(number(fork), 0, 0)
}

fn requirement(fork: Fork) -> VersionReq {
    format!("={}.0.0", number(fork)).parse().expect("a version that is met exactly")
}

/// The actor of any fork.
struct Canary {
    /// The chain's own rules.
    live: Arc<ChainSpec>,
    /// The same under the canary's fork.
    spec: Arc<ChainSpec>,
    limits: Limits,
    board: Arc<Mutex<Publisher<ShadowReport>>>,
    report: ShadowReport,
    /// The block at hand, also while the pool runs a precompile of it.
    work: Option<BlockWork<LiveBlock>>,
}

impl Canary {
    fn new(
        fork: Fork,
        (live, spec): (Arc<ChainSpec>, Arc<ChainSpec>),
        limits: Limits,
        board: Arc<Mutex<Publisher<ShadowReport>>>,
    ) -> Self {
        let report = ShadowReport::new(fork);
        let canary = Self { live, spec, limits, board, report, work: None };
        canary.publish();
        canary
    }

    fn publish(&self) {
        // One life writes at a time; a report is set whole.
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.set(self.report.clone());
    }

    fn run(&mut self, work: BlockWork<LiveBlock>, ctx: &mut Ctx<'_, LiveBlock>) -> Flow {
        match work.turn(ctx, offload) {
            Worked::Again(work, flow) => {
                self.work = Some(work);
                flow
            }
            Worked::Done(mut run, live, result) => {
                let refused = run.take_unexecutable();
                self.finish(&live, result, &refused);
                Flow::Next
            }
        }
    }

    fn finish(
        &mut self,
        live: &LiveBlock,
        result: Result<BlockOutcome, ExecError>,
        refused: &[(B256, String)],
    ) {
        match result {
            Ok(BlockOutcome::Executed(shadow)) => {
                let divergences = shadow::compare(&live.executed, &shadow, refused);
                self.report.add(live.executed.block.txs.len(), divergences);
            }
            Ok(BlockOutcome::Empty) => self.report.add(0, Vec::new()),
            Err(error) => self.report.fail(error.to_string()),
        }
        self.publish();
    }
}

impl Actor for Canary {
    type Message = LiveBlock;

    fn handle(&mut self, live: LiveBlock, _ctx: &mut Ctx<'_, LiveBlock>) -> Flow {
        self.report.comes(live.executed.block.header.number);
        match shadow::begin(&live, Arc::clone(&self.spec), self.limits.clone()) {
            Ok(run) => {
                self.work = Some(BlockWork::new(run, live));
                Flow::More
            }
            Err(error) => {
                self.finish(&live, Err(error), &[]);
                Flow::Next
            }
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, LiveBlock>) -> Flow {
        match self.work.take() {
            Some(work) => self.run(work, ctx),
            None => Flow::Next,
        }
    }
}

/// Runs a precompile of a block on the compute pool, where it gives way.
fn offload(system: &System, call: HeavyCall, fill: Fill<HeavyResult>) {
    let pool = system.clone();
    let run = async move {
        let job = pool.compute_async(move |yielder| {
            fill.fill(call.run(&|| yielder.should_stop()));
        });
        if let Err(error) = job.await {
            tracing::error!(%error, "a precompile failed on the pool");
        }
    };
    drop(system.spawn_future(Spawn::new("shadow-offload", Class::Prove), run));
}
