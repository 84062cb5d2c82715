//! Who watches the transactions of a block.

use alloy_primitives::Log;

use crate::simulate::NumberedLog;

/// What a block tells of its transactions to whoever watches them.
pub(crate) trait Observer {
    /// The next transaction begins.
    fn tx_begins(&mut self) {}

    /// The transaction ended and left `logs`; what the observer makes of them.
    fn tx_ends(&mut self, _logs: &[Log]) -> Vec<NumberedLog> {
        Vec::new()
    }
}

/// Nobody.
impl Observer for () {}
