//! What became of a transaction.
//!
//! Pure. Source: yellow paper 4.4.1, EIP-658 (a status instead of a state root), EIP-2718.

use alloy_consensus::{Eip658Value, TxReceipt, TxType};
use alloy_primitives::{B256, Bloom, Log};
use alloy_rlp::{BufMut, Encodable, Header};

/// Outcome of a transaction; encoded with its type and bloom as Ethereum does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Type of the transaction.
    pub tx_type: TxType,
    /// It did not revert and not fail.
    pub success: bool,
    /// Root of the state after it; before Byzantium only, where it stands for `success`.
    pub post_state: Option<B256>,
    /// Gas that it and those before it in the block used.
    pub cumulative_gas_used: u64,
    /// What it logged.
    pub logs: Vec<Log>,
}

impl Receipt {
    /// Its EIP-2718 encoding, as the receipts root of a block is made of. O(logs).
    pub fn encode_2718(&self, out: &mut dyn BufMut) {
        if !self.tx_type.is_legacy() {
            out.put_u8(self.tx_type as u8);
        }
        let (outcome, bloom) = (self.status_or_post_state(), self.bloom());
        let payload_length = outcome.length()
            + self.cumulative_gas_used.length()
            + bloom.length()
            + self.logs.length();
        Header { list: true, payload_length }.encode(out);
        outcome.encode(out);
        self.cumulative_gas_used.encode(out);
        bloom.encode(out);
        self.logs.encode(out);
    }
}

impl TxReceipt for Receipt {
    type Log = Log;

    fn status_or_post_state(&self) -> Eip658Value {
        self.post_state.map_or(Eip658Value::Eip658(self.success), Eip658Value::PostState)
    }

    fn status(&self) -> bool {
        self.success
    }

    fn bloom(&self) -> Bloom {
        self.logs.iter().collect()
    }

    fn cumulative_gas_used(&self) -> u64 {
        self.cumulative_gas_used
    }

    fn logs(&self) -> &[Log] {
        &self.logs
    }

    fn into_logs(self) -> Vec<Log> {
        self.logs
    }
}
