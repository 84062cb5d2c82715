//! What a transaction comes to, found out in a run before that of a tracer which has to know it.
//! Pure.

use revm::interpreter::InstructionResult;

use super::flat::{Flat, Outcome};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(super) undone: Undone,
    /// What each call came to that a list shows, in the order in which they begin.
    pub(super) outcomes: Vec<Outcome>,
}

/// Which calls of a transaction come to nothing, in the order in which they begin: a bit for each.
#[derive(Debug, Default)]
pub(super) struct Undone(Vec<u64>);

impl Undone {
    fn set(&mut self, nth: usize) {
        if self.0.len() <= nth / 64 {
            self.0.resize(nth / 64 + 1, 0);
        }
        self.0[nth / 64] |= 1 << (nth % 64);
    }

    pub(super) fn has(&self, nth: usize) -> bool {
        self.0.get(nth / 64).is_some_and(|bits| bits >> (nth % 64) & 1 == 1)
    }
}

/// Finds it out.
pub(super) struct Survey {
    /// What finds the outcomes, if they are asked for.
    pub(super) flat: Option<Flat>,
    undone: Undone,
    began: usize,
    open: Vec<usize>,
}

impl Survey {
    pub(super) fn new(flat: Option<Flat>) -> Self {
        Self { flat, undone: Undone::default(), began: 0, open: Vec::new() }
    }

    pub(super) fn begins(&mut self) {
        self.open.push(self.began);
        self.began += 1;
    }

    pub(super) fn ends(&mut self, result: InstructionResult) {
        if let Some(nth) = self.open.pop()
            && !result.is_ok()
        {
            self.undone.set(nth);
        }
    }

    /// What was found of a transaction that took so much gas.
    pub(super) fn into_found(mut self, gas_used: u64) -> Found {
        if let Some(flat) = &mut self.flat {
            flat.survey_ends(gas_used);
        }
        let outcomes = self.flat.map(Flat::into_outcomes).unwrap_or_default();
        Found { undone: self.undone, outcomes }
    }
}
