//! Reads the `genesis.json` of geth and of Besu.
//!
//! Pure. Forks are switched on by block, by total difficulty (Paris) and by time, as geth does;
//! what this node does not know is refused by name instead of ignored. Besu's format differs in two
//! names and in that forks may be left out: a later one has the rules of all before it.

use std::collections::BTreeMap;

use alloy_eips::{
    eip7594::MAX_BLOBS_PER_TX_FUSAKA,
    eip7840::{BLOB_BASE_COST, BlobParams},
};
use alloy_genesis::ChainConfig;
use alloy_primitives::U256;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    chain_id::ChainIds,
    dao::DaoFork,
    fork::Fork,
    genesis_file::{BLOB_FORKS, EXTENSION, Extension},
    limits::{
        BLOBS_MAX, EXTRA_DATA_BYTES_MAX, GAS_LIMIT_MAX, GAS_LIMIT_MIN, GENESIS_NUMBER_MAX,
        GENESIS_TIMESTAMP_MAX,
    },
    spec::{Activation, ChainSpec, Genesis, Timestamps},
};

/// Keys of `config` by which a file is known to be Besu's.
const BESU_KEYS: [&str; 11] = [
    "qbft",
    "ibft2",
    "transitions",
    "discovery",
    "checkpoint",
    "contractSizeLimit",
    "evmStackSize",
    "zeroBaseFee",
    "fixedBaseFee",
    "ecCurve",
    "constantinopleFixBlock",
];

/// Why a genesis file makes no chain.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// Not JSON, or not a genesis.
    #[error("genesis is not valid JSON of geth's or Besu's format: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that must be there.
    #[error("genesis: missing required field '{0}'")]
    Missing(&'static str),
    /// Blocks would exceed what a header can say, or hold no transaction.
    #[error("genesis: gasLimit {found} is not within {min}..={max}")]
    GasLimit {
        /// Gas in the file.
        found: u64,
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
    /// A header field is too big for its type, or leaves no room for the blocks to come.
    #[error("genesis: {field} {found} is above {max}")]
    TooBig {
        /// Name in the file.
        field: &'static str,
        /// Value in the file.
        found: u128,
        /// Highest.
        max: u128,
    },
    /// A later fork before an earlier one, or without it.
    #[error(
        "genesis: unsupported fork ordering: {earlier} not enabled, but {later} enabled at {at}"
    )]
    MissingFork {
        /// The fork that is not there.
        earlier: Fork,
        /// The fork that needs it.
        later: Fork,
        /// Height or time of the latter.
        at: u64,
    },
    /// A later fork before an earlier one.
    #[error(
        "genesis: unsupported fork ordering: {earlier} enabled at {earlier_at}, \
         but {later} enabled at {later_at}"
    )]
    ForkOrder {
        /// The earlier fork.
        earlier: Fork,
        /// Its height or time.
        earlier_at: u64,
        /// The later fork.
        later: Fork,
        /// Its height or time, which is before.
        later_at: u64,
    },
    /// A later blob-parameter fork before an earlier fork.
    #[error(
        "genesis: unsupported fork ordering: {earlier} enabled at {earlier_at}, \
         but {later} enabled at {later_at}"
    )]
    BlobForkOrder {
        /// The earlier fork.
        earlier: &'static str,
        /// Its time.
        earlier_at: u64,
        /// The later fork.
        later: &'static str,
        /// Its time, which is before.
        later_at: u64,
    },
    /// A blob-parameter fork without what it builds on.
    #[error("genesis: unsupported fork ordering: osaka not enabled, but {later} enabled at {at}")]
    BlobForkAlone {
        /// The fork.
        later: &'static str,
        /// Its time.
        at: u64,
    },
    /// Something else where the height of a fork should be.
    #[error("genesis: '{0}' is not a block number")]
    NotHeight(&'static str),
    /// What only this node knows is not what it writes.
    #[error("genesis: config.{EXTENSION}: {0}")]
    Extension(String),
    /// A fork of which this node does not know the rules.
    #[error("genesis: {0} is set, but this fork is not supported")]
    UnsupportedFork(String),
    /// Proof of stake would never start.
    #[error(
        "genesis: terminalTotalDifficulty {ttd} is never reached from difficulty 0; \
         set mergeNetsplitBlock to the first proof-of-stake block, or the difficulty of the first"
    )]
    TerminalDifficulty {
        /// Difficulty in the file.
        ttd: U256,
    },
    /// A blob-parameter fork without its parameters.
    #[error("genesis: missing entry for fork \"{0}\" in blobSchedule")]
    BlobScheduleMissing(String),
    /// Blob parameters that make no sense.
    #[error(
        "genesis: blobSchedule \"{fork}\": target {target}, max {max}, \
         baseFeeUpdateFraction {fraction}: need 0 < target <= max <= 4096 and a positive fraction"
    )]
    BlobSchedule {
        /// Name in the file.
        fork: String,
        /// Blobs per block on average.
        target: u64,
        /// Blobs per block at most.
        max: u64,
        /// Speed of the blob base fee.
        fraction: u128,
    },
}

impl ChainSpec {
    /// Reads a genesis in geth's or Besu's format.
    ///
    /// # Errors
    ///
    /// [`GenesisError`], which names the field at fault.
    pub fn from_genesis_json(text: &str) -> Result<Self, GenesisError> {
        // First: alloy's errors name types where this one says what is expected.
        serde_json::from_str::<Presence>(text)?.check()?;
        Self::from_genesis(serde_json::from_str(text)?)
    }

    /// The chain of a genesis file that was read already.
    ///
    /// # Errors
    ///
    /// [`GenesisError`], which names the field at fault.
    pub fn from_genesis(file: alloy_genesis::Genesis) -> Result<Self, GenesisError> {
        if !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&file.gas_limit) {
            return Err(GenesisError::GasLimit {
                found: file.gas_limit,
                min: GAS_LIMIT_MIN,
                max: GAS_LIMIT_MAX,
            });
        }
        let number = bounded("number", file.number.unwrap_or(0).into(), GENESIS_NUMBER_MAX)?;
        let timestamp = bounded("timestamp", file.timestamp.into(), GENESIS_TIMESTAMP_MAX)?;
        let base_fee = file.base_fee_per_gas.map(|fee| bounded("baseFeePerGas", fee, u64::MAX));
        let forks = fork_schedule(&file.config, file.difficulty)?;
        let times = blob_times(&forks, &file.config);
        check_blob_order(&times)?;
        let blobs = blob_schedule(&times, &file.config.blob_schedule)?;
        Ok(Self {
            chain_id: file.config.chain_id,
            ids: ChainIds::default(),
            timestamps: timestamps(&file.config)?,
            // The bound is for children: Clique keeps its signers in a longer genesis field.
            extra_data_max: EXTRA_DATA_BYTES_MAX,
            genesis: Genesis {
                number,
                timestamp,
                gas_limit: file.gas_limit,
                base_fee: base_fee.transpose()?,
                extra_data: file.extra_data,
                coinbase: file.coinbase,
                difficulty: file.difficulty,
                mix_hash: file.mix_hash,
                nonce: file.nonce,
                parent_hash: file.parent_hash.unwrap_or_default(),
                blob_gas_used: file.blob_gas_used.unwrap_or(0),
                excess_blob_gas: file.excess_blob_gas.unwrap_or(0),
            },
            deposit_contract: file.config.deposit_contract_address,
            dao: file
                .config
                .dao_fork_block
                .map(|height| DaoFork { height, is_supported: file.config.dao_fork_support }),
            forks,
            blobs,
            alloc: file.alloc,
        })
    }
}

/// Ethereum's rule, unless a devnet of ours wrote the file.
fn timestamps(config: &ChainConfig) -> Result<Timestamps, GenesisError> {
    let Some(extension) = config.extra_fields.get(EXTENSION) else {
        return Ok(Timestamps::Strict);
    };
    let read = Extension::deserialize(extension);
    read.map(|it| it.timestamps).map_err(|error| GenesisError::Extension(error.to_string()))
}

fn bounded(field: &'static str, found: u128, max: u64) -> Result<u64, GenesisError> {
    let value = u64::try_from(found).ok().filter(|value| *value <= max);
    value.ok_or(GenesisError::TooBig { field, found, max: max.into() })
}

/// What geth insists on; `alloy-genesis` would fill it in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with config, gasLimit, difficulty, alloc")]
struct Presence {
    config: Option<ConfigPresence>,
    gas_limit: Option<IgnoredAny>,
    difficulty: Option<IgnoredAny>,
    alloc: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with chainId and the forks")]
struct ConfigPresence {
    chain_id: Option<IgnoredAny>,
}

impl Presence {
    fn check(&self) -> Result<(), GenesisError> {
        let Some(config) = &self.config else { return Err(GenesisError::Missing("config")) };
        let required = [
            (config.chain_id.is_some(), "config.chainId"),
            (self.gas_limit.is_some(), "gasLimit"),
            (self.difficulty.is_some(), "difficulty"),
            (self.alloc.is_some(), "alloc"),
        ];
        match required.into_iter().find(|(is_there, _)| !is_there) {
            Some((_, name)) => Err(GenesisError::Missing(name)),
            None => Ok(()),
        }
    }
}

/// A fork may be left out (glaciers only move the difficulty bomb), or later ones need it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Optional,
    Required,
}

fn fork_schedule(
    config: &ChainConfig,
    difficulty: U256,
) -> Result<BTreeMap<Fork, Activation>, GenesisError> {
    check_supported(config)?;
    let netsplit = config.merge_netsplit_block.or(besu_height(config, "mergeNetSplitBlock")?);
    let terminal = match config.terminal_total_difficulty {
        Some(_) if netsplit.is_some() || config.terminal_total_difficulty_passed => None,
        Some(ttd) if ttd > difficulty && difficulty.is_zero() => {
            return Err(GenesisError::TerminalDifficulty { ttd });
        }
        terminal => terminal.filter(|ttd| *ttd > difficulty),
    };
    let paris = match terminal {
        // Known by then: no fork needs it to have a height.
        Some(_) => (Fork::Paris, None, Need::Optional),
        None => (Fork::Paris, netsplit.or(paris_height(config)), Need::Required),
    };
    let petersburg = config.petersburg_block.or(besu_height(config, "constantinopleFixBlock")?);
    let mut heights = [
        (Fork::Frontier, Some(0), Need::Required),
        (Fork::Homestead, config.homestead_block, Need::Required),
        (Fork::Tangerine, config.eip150_block, Need::Required),
        (Fork::SpuriousDragon, config.eip158_block, Need::Required),
        (Fork::Byzantium, config.byzantium_block, Need::Required),
        (Fork::Constantinople, config.constantinople_block, Need::Required),
        // geth: without a block of its own it comes with Constantinople.
        (Fork::Petersburg, petersburg.or(config.constantinople_block), Need::Required),
        (Fork::Istanbul, config.istanbul_block, Need::Required),
        (Fork::MuirGlacier, config.muir_glacier_block, Need::Optional),
        (Fork::Berlin, config.berlin_block, Need::Required),
        (Fork::London, config.london_block, Need::Required),
        (Fork::ArrowGlacier, config.arrow_glacier_block, Need::Optional),
        (Fork::GrayGlacier, config.gray_glacier_block, Need::Optional),
        paris,
    ];
    let mut times = [
        (Fork::Shanghai, config.shanghai_time, Need::Required),
        (Fork::Cancun, config.cancun_time, Need::Required),
        (Fork::Prague, config.prague_time, Need::Required),
        (Fork::Osaka, config.osaka_time, Need::Required),
        (Fork::Bpo1, config.bpo1_time, Need::Optional),
        (Fork::Bpo2, config.bpo2_time, Need::Optional),
    ];
    if is_besu(config) {
        fill_gaps(&mut times, None);
        let first_time = times.iter().find_map(|(_, at, _)| *at);
        fill_gaps(&mut heights, first_time.map(|_| config.london_block.unwrap_or(0)));
    }
    let first_time = times.iter().find_map(|(fork, at, _)| Some((*fork, (*at)?)));
    check_order(&heights, first_time)?;
    check_order(&times, None)?;

    let by_height = heights.into_iter().map(|(fork, at, _)| (fork, at.map(Activation::Height)));
    let by_time = times.into_iter().map(|(fork, at, _)| (fork, at.map(Activation::Timestamp)));
    let by_difficulty = [(Fork::Paris, terminal.map(Activation::TotalDifficulty))];
    let all = by_height.chain(by_difficulty).chain(by_time);
    Ok(all.filter_map(|(fork, at)| Some((fork, at?))).collect())
}

/// A height under a name that only Besu has.
fn besu_height(config: &ChainConfig, name: &'static str) -> Result<Option<u64>, GenesisError> {
    match config.extra_fields.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(GenesisError::NotHeight(name)),
    }
}

/// Whether the file is Besu's: it names one of the engines and limits that only Besu has.
fn is_besu(config: &ChainConfig) -> bool {
    BESU_KEYS.iter().any(|key| config.extra_fields.contains_key(*key))
}

/// Besu's reading of forks that are left out: they begin with the next one that is there, or with
/// what comes after all of `forks`.
fn fill_gaps(forks: &mut [(Fork, Option<u64>, Need)], after: Option<u64>) {
    let mut next = after;
    for (_, at, need) in forks.iter_mut().rev() {
        if *need == Need::Required {
            *at = at.or(next);
        }
        next = at.or(next);
    }
}

/// Names what would change the rules and is not known here.
fn check_supported(config: &ChainConfig) -> Result<(), GenesisError> {
    if config.amsterdam_time.is_some() {
        return Err(GenesisError::UnsupportedFork("amsterdamTime".to_owned()));
    }
    if config.bogota_time.is_some() {
        return Err(GenesisError::UnsupportedFork("bogotaTime".to_owned()));
    }
    let unknown =
        config.extra_fields.iter().find(|(name, value)| name.ends_with("Time") && !value.is_null());
    match unknown {
        Some((name, _)) => Err(GenesisError::UnsupportedFork(name.clone())),
        None => Ok(()),
    }
}

/// First height under proof of stake, if that is the whole chain.
fn paris_height(config: &ChainConfig) -> Option<u64> {
    let is_merged_at_start = config.terminal_total_difficulty.is_some()
        || config.terminal_total_difficulty_passed
        || config.shanghai_time.is_some();
    // From the first block on; but never before the forks it builds on.
    let latest = [config.london_block, config.arrow_glacier_block, config.gray_glacier_block];
    is_merged_at_start.then(|| latest.into_iter().flatten().max().unwrap_or(0))
}

/// Checks that every fork comes after those it builds on; `next` is the first of the other kind.
fn check_order(
    forks: &[(Fork, Option<u64>, Need)],
    next: Option<(Fork, u64)>,
) -> Result<(), GenesisError> {
    let mut last: Option<(Fork, u64)> = None;
    let mut missing: Option<Fork> = None;
    for (fork, at, need) in forks {
        let Some(at) = *at else {
            if *need == Need::Required {
                missing = missing.or(Some(*fork));
            }
            continue;
        };
        if let Some(earlier) = missing {
            return Err(GenesisError::MissingFork { earlier, later: *fork, at });
        }
        if let Some((earlier, earlier_at)) = last.filter(|(_, last_at)| *last_at > at) {
            return Err(GenesisError::ForkOrder {
                earlier,
                earlier_at,
                later: *fork,
                later_at: at,
            });
        }
        last = Some((*fork, at));
    }
    match (missing, next) {
        (Some(earlier), Some((later, at))) => Err(GenesisError::MissingFork { earlier, later, at }),
        _ => Ok(()),
    }
}

/// When each entry of `blobSchedule` begins to hold: those of `forks`, with what was filled in for
/// Besu, and those that are no forks here.
fn blob_times(
    forks: &BTreeMap<Fork, Activation>,
    config: &ChainConfig,
) -> Vec<(&'static str, u64)> {
    let known = BLOB_FORKS.into_iter().map(|fork| match forks.get(&fork) {
        Some(Activation::Timestamp(time)) => (fork.name(), Some(*time)),
        _ => (fork.name(), None),
    });
    let later =
        [("bpo3", config.bpo3_time), ("bpo4", config.bpo4_time), ("bpo5", config.bpo5_time)];
    known.chain(later).filter_map(|(name, time)| Some((name, time?))).collect()
}

/// Checks the order of those that are no forks here; that of the forks is checked already.
fn check_blob_order(times: &[(&'static str, u64)]) -> Result<(), GenesisError> {
    let is_there = |wanted: &str| times.iter().any(|(name, _)| *name == wanted);
    let parameters_only = times.iter().find(|(name, _)| name.starts_with("bpo"));
    if let Some(&(later, at)) = parameters_only.filter(|_| !is_there(Fork::Osaka.name())) {
        return Err(GenesisError::BlobForkAlone { later, at });
    }
    match times.windows(2).find(|pair| pair[0].1 > pair[1].1) {
        Some(&[(earlier, earlier_at), (later, later_at)]) => {
            Err(GenesisError::BlobForkOrder { earlier, earlier_at, later, later_at })
        }
        _ => Ok(()),
    }
}

/// Blob parameters by time, of the forks in `times` and the entries of the file.
///
/// Entries left out are Ethereum's, as far as Ethereum has such a fork.
pub(crate) fn blob_schedule(
    times: &[(&str, u64)],
    entries: &BTreeMap<String, BlobParams>,
) -> Result<Vec<(u64, BlobParams)>, GenesisError> {
    let mut schedule: Vec<(u64, BlobParams)> = Vec::new();
    for (name, time) in times {
        let before = schedule.last().map(|(_, params)| *params);
        let params = match (entries.get(*name), *name) {
            (Some(params), _) => *params,
            (None, "cancun") => BlobParams::cancun(),
            (None, "prague") => BlobParams::prague(),
            // EIP-7594 left the counts as they were.
            (None, "osaka") => before.unwrap_or_else(BlobParams::osaka),
            (None, "bpo1") => BlobParams::bpo1(),
            (None, "bpo2") => BlobParams::bpo2(),
            (None, name) => return Err(GenesisError::BlobScheduleMissing(name.to_owned())),
        };
        // S2
        if params.target_blob_count == 0
            || params.target_blob_count > params.max_blob_count
            || params.max_blob_count > BLOBS_MAX
            || params.update_fraction == 0
        {
            return Err(GenesisError::BlobSchedule {
                fork: (*name).to_owned(),
                target: params.target_blob_count,
                max: params.max_blob_count,
                fraction: params.update_fraction,
            });
        }
        let params = match *name {
            "cancun" | "prague" => params.with_max_blobs_per_tx(params.max_blob_count),
            _ => params
                .with_max_blobs_per_tx(MAX_BLOBS_PER_TX_FUSAKA)
                .with_blob_base_cost(BLOB_BASE_COST),
        };
        schedule.push((*time, params));
    }
    Ok(schedule)
}
