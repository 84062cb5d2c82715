//! The canary: executes final blocks under other rules, and reports what differs.
//!
//! | message | from | does |
//! |---|---|---|
//! | `LiveBlock` | executor | executes it once more, in slices, and publishes the report |
//!
//! Each fork is a version of the behaviour `evm-rules`: a canary is spawned on the one that is
//! asked for, and can be moved to another while it runs, between two blocks. One that follows the
//! chain is on a version whose blocks choose: it moves before the first block of a fork, and back
//! where a reorg goes back before it. A block whose own rules they are is not executed. It runs in
//! the class of proofs, so it costs the chain nothing; when it falls behind, its mailbox drops the
//! oldest block and the report counts it.

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
    shadow::{self, LiveBlock, ShadowAim, ShadowReport},
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
#[derive(Clone)]
struct Rules {
    /// The chain's own.
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
    /// Spawns a canary that executes what comes into `mailbox` under the rules of `aim`.
    #[must_use]
    pub fn spawn(
        system: &System,
        name: &'static str,
        mailbox: Mailbox<LiveBlock>,
        aim: ShadowAim,
        (spec, limits): (Arc<ChainSpec>, Limits),
    ) -> Self {
        let course = Course::begin(aim);
        let (board, report) = published(ShadowReport::new(aim, course.fork));
        let rules = Rules { spec, limits, board: Arc::new(Mutex::new(board)) };
        let spawn = Spawn::new(name, Class::Prove).restart(Restart::DEFAULT);
        let handle = courses()
            .spawn(system, spawn, mailbox, &course.requirement(), rules)
            .expect("every course is published");
        Self { handle, report }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn report(&self) -> Arc<ShadowReport> {
        self.report.get()
    }

    /// Gives it another aim, with a new report, when the block at hand is done. To follow the
    /// chain it waits for the next block, which says what comes after it. Nothing changes if it has
    /// that aim.
    ///
    /// # Errors
    ///
    /// [`NoVersion`] never, while every course is published.
    pub fn upgrade(
        &self,
        aim: ShadowAim,
    ) -> Result<Answer<Result<Version, UpgradeError>>, NoVersion> {
        self.handle.upgrade(&Course::begin(aim).requirement())
    }
}

/// One version of the canary: its aim, and the rules that it runs, if there are any.
#[derive(Clone, Copy)]
struct Course {
    aim: ShadowAim,
    fork: Option<Fork>,
    /// It begins to follow the chain: the next block says what rules there are, if any.
    is_new: bool,
}

impl Course {
    /// Where a canary with this aim begins.
    const fn begin(aim: ShadowAim) -> Self {
        match aim {
            ShadowAim::Fork(fork) => Self { aim, fork: Some(fork), is_new: false },
            ShadowAim::Next => Self { aim, fork: None, is_new: true },
        }
    }

    /// That of one that follows the chain, where this comes next.
    const fn next(fork: Option<Fork>) -> Self {
        Self { aim: ShadowAim::Next, fork, is_new: false }
    }

    fn all() -> impl Iterator<Item = Self> {
        let named = Fork::ALL.map(|fork| Self::begin(ShadowAim::Fork(fork)));
        let next = Fork::ALL.map(|fork| Self::next(Some(fork)));
        let begun = [Self::begin(ShadowAim::Next), Self::next(None)];
        named.into_iter().chain(next).chain(begun)
    }

    /// The place of the fork in [`Fork::ALL`], from 1 on, 0 for none; then 1 if it follows the
    /// chain, then 1 if it begins to.
    fn version(self) -> Version {
        let place = |fork| 1 + Fork::ALL.iter().take_while(|other| **other < fork).count() as u64;
        let follows = self.aim == ShadowAim::Next;
        Version::new(self.fork.map_or(0, place), follows.into(), self.is_new.into())
    }

    fn requirement(self) -> VersionReq {
        format!("={}", self.version()).parse().expect("a version that is met exactly")
    }
}

/// The EVM's rules as a canary may run them.
fn courses() -> Behaviour<LiveBlock, Rules> {
    let behaviour = Behaviour::new("evm-rules");
    for course in Course::all() {
        let Course { aim, fork, is_new } = course;
        let code = Code::new(course.version(), move |rules: &Rules| {
            Canary::new(rules.clone(), ShadowReport::new(aim, fork))
        });
        let code = code.takes_over_by(move |old: &Canary| {
            // What follows the chain already knows what is next.
            let fork = if is_new && old.report.aim == aim { old.report.fork } else { fork };
            Ok(Canary::new(old.rules.clone(), old.report.moved(aim, fork)))
        });
        let code = match aim {
            ShadowAim::Fork(_) => code,
            ShadowAim::Next => code.chosen_by(Canary::next),
        };
        behaviour.publish(code).expect("each course once");
    }
    behaviour
}

/// The actor of any course.
struct Canary {
    rules: Rules,
    /// The chain's rules under the canary's fork; none if there is nothing to run.
    spec: Option<Arc<ChainSpec>>,
    report: ShadowReport,
    /// The block at hand, also while the pool runs a precompile of it.
    work: Option<BlockWork<LiveBlock>>,
}

impl Canary {
    fn new(rules: Rules, report: ShadowReport) -> Self {
        let spec = report.fork.map(|fork| Arc::new(rules.spec.under(fork)));
        let canary = Self { rules, spec, report, work: None };
        canary.publish();
        canary
    }

    /// The version of one that follows the chain, for this block.
    fn next(&self, live: &LiveBlock) -> Version {
        let fork = self.rules.spec.fork_after(&live.executed.block.header);
        Course::next(fork).version()
    }

    fn publish(&self) {
        // One life writes at a time; a report is set whole.
        let mut board = self.rules.board.lock().unwrap_or_else(PoisonError::into_inner);
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
        let header = &live.executed.block.header;
        let own = self.rules.spec.fork_of(header);
        self.report.comes(header.number, own);
        let Some(spec) = self.spec.as_ref().filter(|_| self.report.fork != Some(own)) else {
            self.publish();
            return Flow::Next;
        };
        match shadow::begin(&live, Arc::clone(spec), self.rules.limits.clone()) {
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
