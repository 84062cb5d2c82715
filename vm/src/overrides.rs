//! State overrides of a call or a simulated block, put on the state some slots at a time.
//!
//! Pure. Source: geth `internal/ethapi/override`: the order of its checks decides which of several
//! faults is named. An overridden precompile is none any more, unless it is moved.

use alloy_primitives::{Address, B256, map::AddressSet};
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use revm::primitives::hardfork::SpecId;

use crate::{
    error::{CallError, InvalidCall},
    heavy::MovedPrecompiles,
    limits::OVERRIDE_SLOTS_PER_STEP,
    overlay::Overlay,
};

/// Overrides on their way into an overlay.
pub(crate) struct Overrides {
    accounts: std::vec::IntoIter<(Address, AccountOverride)>,
    /// Slots of the account before.
    slots: Vec<(B256, B256)>,
    address: Address,
}

impl Overrides {
    /// Checks them; nothing is changed yet. O(accounts · log).
    ///
    /// # Errors
    ///
    /// They contradict each other, or move what is no precompile.
    pub(crate) fn new(
        state: StateOverride,
        spec: SpecId,
    ) -> Result<(Self, MovedPrecompiles), CallError> {
        let mut accounts: Vec<_> = state.into_iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| *address);
        let mut precompiles = MovedPrecompiles::of(spec);
        let mut filled = AddressSet::default();
        for (address, change) in &accounts {
            let address = *address;
            if filled.contains(&address) {
                return Err(invalid(InvalidCall::MovedHere(address)));
            }
            let precompile = precompiles.take(address);
            if let Some(to) = change.move_precompile_to {
                let precompile =
                    precompile.ok_or_else(|| invalid(InvalidCall::NotPrecompile(address)))?;
                if accounts.binary_search_by_key(&to, |(address, _)| *address).is_ok() {
                    return Err(invalid(InvalidCall::AlreadyOverridden(to)));
                }
                precompiles.put(to, precompile);
                filled.insert(to);
            }
            if change.state.is_some() && change.state_diff.is_some() {
                return Err(invalid(InvalidCall::BothStates(address)));
            }
        }
        let overrides =
            Self { accounts: accounts.into_iter(), slots: Vec::new(), address: Address::ZERO };
        Ok((overrides, precompiles))
    }

    /// Applies one account, or some slots of it; false: all is applied.
    ///
    /// # Errors
    ///
    /// The state cannot be read.
    pub(crate) fn step(&mut self, overlay: &mut Overlay) -> Result<bool, CallError> {
        if self.slots.is_empty() {
            let Some((address, change)) = self.accounts.next() else { return Ok(false) };
            overlay.pretend(address, &change).map_err(|error| CallError::State(error.0))?;
            self.address = address;
            self.slots = change.state.into_iter().chain(change.state_diff).flatten().collect();
            return Ok(true);
        }
        let rest = self.slots.len().saturating_sub(OVERRIDE_SLOTS_PER_STEP);
        for (slot, value) in self.slots.drain(rest..) {
            let set = overlay.pretend_slot(self.address, slot.into(), value.into());
            set.map_err(|error| CallError::State(error.0))?;
        }
        Ok(true)
    }

    /// Applies all that is left.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub(crate) fn finish(mut self, overlay: &mut Overlay) -> Result<(), CallError> {
        while self.step(overlay)? {}
        Ok(())
    }
}

fn invalid(fault: InvalidCall) -> CallError {
    CallError::Invalid(fault)
}
