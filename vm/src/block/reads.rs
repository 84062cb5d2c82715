//! A block of the chain executed again, for who asks what it read. Pure.

use std::sync::Arc;

use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::Tip;

use super::run::{BlockRun, Source};
use crate::{limits::Limits, overlay::Reads};

impl BlockRun {
    /// A block of the chain on its parent; executes nothing yet. Its header was checked when it
    /// came into the chain, or made by the operator's commands, which no rule allows; what
    /// execution says of it is compared again.
    ///
    /// # Panics
    ///
    /// If `tip` is not its parent.
    pub(crate) fn again(
        tip: Tip,
        spec: Arc<ChainSpec>,
        block: Arc<SealedBlock>,
        limits: &Limits,
    ) -> Self {
        assert_eq!(block.header.parent_hash, tip.hash, "a block is executed on its parent");
        let header = block.header.clone();
        let mut run = Self::new((tip, spec), Source::Validate { block }, header, limits);
        run.reads = Some(Reads::default());
        run
    }

    /// What the block read, once it is over, if somebody asked.
    pub(crate) fn take_reads(&mut self) -> Option<Reads> {
        self.reads.take()
    }
}
