//! Vectors of precompiles: of EIP-2537, in geth's format.
//!
//! Each is a call with just the gas that it says by a contract that logs what comes back, in a
//! transaction that goes through the node's block execution; and once more with one gas less.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use anyhow::{Context as _, Result};
use evenkeel_chain::{ChainSpec, GenesisAccount, Header, RecoveredTx, TypedTransaction};
use evenkeel_node::Limits;
use evenkeel_runtime::Inline;
use evenkeel_vm::{BlockOutcome, BlockRun, SingleJob, spawn_block};
use serde::Deserialize;

use super::{
    Options,
    fixture::{FixtureConfig, genesis},
    network,
    tally::{Cases, expect},
};

/// Gas for a call that fails whatever it has.
const GAS_ENOUGH: u64 = 10_000_000;
const CALLER: Address = Address::repeat_byte(0xca);
const CONTRACT: Address = Address::repeat_byte(0xc0);

/// A vector of geth's. A failure has no gas of its own.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vector {
    name: String,
    input: Bytes,
    expected: Option<Bytes>,
    gas: Option<u64>,
}

/// The precompile of EIP-2537 that the vectors of a file are for.
fn bls_address(file: &str) -> Option<u16> {
    let operations = [
        ("add_G1", 0x0b),
        ("msm_G1", 0x0c),
        // Of one pair.
        ("mul_G1", 0x0c),
        ("add_G2", 0x0d),
        ("msm_G2", 0x0e),
        ("mul_G2", 0x0e),
        ("pairing_check", 0x0f),
        ("map_fp_to_G1", 0x10),
        ("map_fp2_to_G2", 0x11),
    ];
    operations.into_iter().find(|(name, _)| file.contains(name)).map(|(_, address)| address)
}

pub(super) fn run(
    options: &Options,
    bytes: &[u8],
    inline: &mut Inline,
    cases: &mut Cases<'_>,
) -> Result<()> {
    let file = cases.file_name();
    let address = bls_address(file).with_context(|| format!("{file}: of which precompile?"))?;
    let vectors: Vec<Vector> = serde_json::from_slice(bytes)?;
    for vector in vectors {
        cases.run(&vector.name, None, || {
            let Vector { input, expected, gas, .. } = &vector;
            let call = Call { address, input, slice: options.slice };
            call.check(inline, expected.as_ref(), gas.unwrap_or(GAS_ENOUGH))
        });
    }
    Ok(())
}

/// A call of a precompile.
pub(super) struct Call<'a> {
    pub(super) address: u16,
    pub(super) input: &'a Bytes,
    pub(super) slice: u64,
}

impl Call<'_> {
    /// Compares what comes back; `None`: it must fail.
    pub(super) fn check(
        &self,
        inline: &mut Inline,
        expected: Option<&Bytes>,
        gas: u64,
    ) -> Result<(), String> {
        let (is_success, output) = self.execute(inline, gas)?;
        expect("success", is_success, expected.is_some())?;
        let Some(expected) = expected else { return Ok(()) };
        expect("output", &output, expected)?;
        expect("success with one gas less", self.execute(inline, gas - 1)?.0, false)
    }

    /// Whether it succeeded, and what it returned.
    fn execute(&self, inline: &mut Inline, gas: u64) -> Result<(bool, Bytes), String> {
        let (address, gas) =
            (hex::encode(self.address.to_be_bytes()), hex::encode(gas.to_be_bytes()));
        // Call data to memory; STATICCALL; LOG1 of what is returned, with its success as topic.
        let code = format!("3660006000376000600036600061{address}67{gas}fa3d600060003e3d6000a100");
        let code = hex::decode(code).map_err(|error| error.to_string())?.into();
        let contract = GenesisAccount { code: Some(code), ..GenesisAccount::default() };
        let rich = GenesisAccount { balance: U256::MAX, ..GenesisAccount::default() };
        let spec = ChainSpec::from_genesis(alloy_genesis::Genesis {
            config: network::config("Prague", &FixtureConfig::default())?,
            gas_limit: 30_000_000,
            alloc: [(CALLER, rich), (CONTRACT, contract)].into(),
            ..alloy_genesis::Genesis::default()
        })
        .map_err(|error| error.to_string())?;
        let tx = TypedTransaction::Legacy(TxLegacy {
            gas_limit: 1 << 32,
            to: TxKind::Call(CONTRACT),
            input: self.input.clone(),
            ..TxLegacy::default()
        });
        let run = BlockRun::single(SingleJob {
            tip: genesis(&spec)?,
            spec: Arc::new(spec),
            header: Header {
                number: 1,
                gas_limit: 1 << 32,
                base_fee_per_gas: Some(0),
                excess_blob_gas: Some(0),
                ..Header::default()
            },
            tx: RecoveredTx::impersonated(tx, CALLER),
            limits: Limits::consensus(),
            block_hashes: BTreeMap::new(),
        });
        let outcome = spawn_block(inline.system(), run, self.slice);
        match inline.run_until(outcome).map_err(|error| error.to_string())? {
            BlockOutcome::Executed(executed) => {
                let log = executed.receipts[0].logs.first().ok_or("the contract failed")?;
                let is_success = log.topics().iter().any(|topic| !topic.is_zero());
                Ok((is_success, log.data.data.clone()))
            }
            BlockOutcome::Empty => Err("no transaction".to_owned()),
        }
    }
}
