//! Creation where there is storage already fails as an address collision (EIP-7610). revm looks at
//! nonce and code only.
//!
//! Pure. revm makes the frame, with all its other checks; before its first instruction this looks
//! for storage, and if there is some the frame ends as a collision does: what it did is undone, its
//! gas is gone, its creator's nonce stays raised.
//!
//! # Invariants
//!
//! - C1: a creation runs code only at an address without storage, in the state at that time.
//! - C2: the state is asked only if the account was there before, without nonce and code: there is
//!   no storage without an account.

use alloy_primitives::{Address, Bytes, U256};
use evenkeel_state::SlotSearch;
use revm::{
    Database, DatabaseRef, JournalEntry,
    context::ContextTr,
    database::CacheDB,
    handler::{EthFrame, FrameData},
    inspector::JournalExt,
    interpreter::{InstructionResult, InterpreterAction, interpreter::EthInterpreter},
};

use crate::{limits::SEARCH_FUEL, slice::VmContext};

/// A database that can say whether an account has storage.
pub trait StorageSearch: Database {
    /// Looks for a slot of `address`, from `from` on, whose value is not zero; a bounded number of
    /// reads.
    ///
    /// # Errors
    ///
    /// Those of the database.
    fn search_storage(&mut self, address: Address, from: U256) -> Result<SlotSearch, Self::Error>;
}

/// revm's own database in memory. O(slots of the account).
impl<D: DatabaseRef> StorageSearch for CacheDB<D> {
    fn search_storage(&mut self, address: Address, from: U256) -> Result<SlotSearch, Self::Error> {
        let account = self.cache.accounts.get(&address);
        let slots = account.into_iter().flat_map(|account| &account.storage);
        let mut set = slots.filter(|(slot, value)| **slot >= from && !value.is_zero());
        Ok(set.next().map_or(SlotSearch::Nothing, |(slot, _)| SlotSearch::Found(*slot)))
    }
}

/// A search in the account that the frame on top creates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    address: Address,
    from: U256,
}

impl Search {
    /// The search that `frame`, pushed just now, has to wait for.
    #[inline]
    pub(crate) fn before<DB: Database>(
        frame: &EthFrame<EthInterpreter>,
        context: &VmContext<DB>,
    ) -> Option<Self> {
        let FrameData::Create(create) = &frame.data else { return None };
        let address = create.created_address;
        let account = context.journaled_state.state.get(&address)?;
        // C2, and what a transaction before this one in the journal created or destroyed has no
        // storage from before.
        let journal = context.journaled_state.journal();
        let is_new = matches!(
            journal.get(frame.checkpoint.journal_i),
            Some(JournalEntry::AccountCreated { is_created_globally: true, .. })
        );
        let has_past = !account.is_loaded_as_not_existing() && !account.is_selfdestructed();
        (is_new && has_past).then_some(Self { address, from: U256::ZERO })
    }

    /// Goes on with the search for which the frame on top waits, if there is one.
    pub(crate) fn go_on<DB: StorageSearch>(
        self,
        frame: &EthFrame<EthInterpreter>,
        context: &mut VmContext<DB>,
        fuel: &mut u64,
    ) -> Result<(), DB::Error> {
        match context.db_mut().search_storage(self.address, self.from)? {
            SlotSearch::Nothing => context.chain.search = None,
            SlotSearch::Found(_) => {
                context.chain.search = None;
                let gas = frame.interpreter.gas;
                let result = InstructionResult::CreateCollision;
                let end = InterpreterAction::new_return(result, Bytes::new(), gas);
                context.chain.ending = Some(end);
            }
            SlotSearch::Unfinished(from) => {
                context.chain.search = Some(Self { from, ..self });
                *fuel = fuel.saturating_sub(SEARCH_FUEL);
            }
        }
        Ok(())
    }
}
