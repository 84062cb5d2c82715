//! The chain of a dev node: all forks from the start, money for the dev accounts.

use std::collections::BTreeMap;

use alloy_eips::{eip2935, eip4788, eip7002, eip7251, eip7840::BlobParams};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, Bytes, U256, address, bytes};

use crate::{
    chain_id::ChainIds,
    fork::Fork,
    genesis::blob_schedule,
    genesis_file::BLOB_FORKS,
    limits::{BASE_FEE_INITIAL, EXTRA_DATA_BYTES_MAX},
    spec::{Activation, ChainSpec, Genesis, Timestamps},
};

/// The deterministic deployment proxy, which tools expect on every chain at this address.
pub const CREATE2_FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
/// Its code: takes a salt and init code, does CREATE2, returns the address.
static CREATE2_FACTORY_CODE: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// How a dev chain differs from the default one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DevOptions {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Active from the first block on.
    pub fork: Fork,
    /// Gas limit of the first block.
    pub gas_limit: u64,
    /// Base fee of the first block, in wei per gas.
    pub base_fee: u64,
    /// Timestamp of the first block, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Number of the first block.
    pub number: u64,
    /// Balances at the start, in wei.
    pub accounts: Vec<(Address, U256)>,
    /// Whether [`CREATE2_FACTORY`] is there.
    pub create2_factory: bool,
    /// Whether the contracts of EIP-4788, 2935, 7002 and 7251 are there, if the fork has them.
    pub system_contracts: bool,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            fork: Fork::default(),
            gas_limit: 30_000_000,
            base_fee: BASE_FEE_INITIAL,
            timestamp: 0,
            number: 0,
            accounts: Vec::new(),
            create2_factory: true,
            system_contracts: true,
        }
    }
}

impl ChainSpec {
    /// The chain of a dev node.
    #[must_use]
    pub fn dev(options: &DevOptions) -> Self {
        let mut alloc = BTreeMap::new();
        if options.system_contracts {
            for (_, address, code) in
                system_contracts().into_iter().filter(|(since, ..)| *since <= options.fork)
            {
                alloc.insert(address, contract(code));
            }
        }
        // CREATE2 came with Constantinople.
        if options.create2_factory && options.fork >= Fork::Constantinople {
            alloc.insert(CREATE2_FACTORY, contract(&CREATE2_FACTORY_CODE));
        }
        for (address, balance) in &options.accounts {
            alloc.entry(*address).or_default().balance = *balance;
        }

        let (forks, blobs) = all_from_the_start(options.fork);
        Self {
            chain_id: options.chain_id,
            ids: ChainIds::default(),
            timestamps: Timestamps::Monotone,
            extra_data_max: EXTRA_DATA_BYTES_MAX,
            genesis: Genesis {
                number: options.number,
                timestamp: options.timestamp,
                gas_limit: options.gas_limit,
                base_fee: Some(options.base_fee),
                ..Genesis::default()
            },
            deposit_contract: None,
            dao: None,
            forks,
            blobs,
            alloc,
        }
    }
}

impl ChainSpec {
    /// Gives `address` a balance in wei at the start, unless the genesis names it.
    pub fn fund(&mut self, address: Address, balance: U256) {
        let funded = GenesisAccount { balance, ..GenesisAccount::default() };
        self.alloc.entry(address).or_insert(funded);
    }
}

/// The schedule in which `last` and every fork before it is active from the first block on, and no
/// later one is; with its blob parameters.
pub(crate) fn all_from_the_start(
    last: Fork,
) -> (BTreeMap<Fork, Activation>, Vec<(u64, BlobParams)>) {
    let known = || Fork::ALL.into_iter().filter(|fork| *fork <= last);
    let forks = known().map(|fork| {
        let is_by_time = fork >= Fork::Shanghai;
        (fork, if is_by_time { Activation::Timestamp(0) } else { Activation::Height(0) })
    });
    let times: Vec<_> =
        known().filter(|fork| BLOB_FORKS.contains(fork)).map(|fork| (fork.name(), 0)).collect();
    let blobs = blob_schedule(&times, &BTreeMap::new())
        .expect("the built-in parameters of the known forks are complete");
    (forks.collect(), blobs)
}

/// The contracts that blocks call by themselves, each with the fork that brought it.
fn system_contracts() -> [(Fork, Address, &'static Bytes); 4] {
    [
        (Fork::Cancun, eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
        (Fork::Prague, eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
        (
            Fork::Prague,
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE,
        ),
        (
            Fork::Prague,
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE,
        ),
    ]
}

/// A deployed contract has nonce 1 (EIP-161).
fn contract(code: &Bytes) -> GenesisAccount {
    GenesisAccount { nonce: Some(1), code: Some(code.clone()), ..GenesisAccount::default() }
}
