//! How the errors of the crates below look to a client.

use alloy_primitives::Bytes;
use evenkeel_chain::CommandError;
use evenkeel_mempool::PoolError;
use evenkeel_state::StateError;
use evenkeel_vm::CallError;
use serde_json::value::to_raw_value;

use crate::error::RpcError;

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        let plain = Self::new(error.code(), error.to_string());
        match error.data() {
            Some(data) => plain.with_hex(&data),
            None => plain,
        }
    }
}

impl From<PoolError> for RpcError {
    fn from(error: PoolError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<CommandError> for RpcError {
    fn from(error: CommandError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// geth has no code of its own for a broken database either.
impl From<StateError> for RpcError {
    fn from(error: StateError) -> Self {
        Self::server(error.to_string())
    }
}

impl RpcError {
    /// Adds revert data, in hex.
    fn with_hex(self, data: &Bytes) -> Self {
        self.with_data(to_raw_value(data).expect("bytes are a JSON string"))
    }
}
