//! States that several tests begin with: the `pre_alloc` folder beside `blockchain_tests_engine_x`.
//!
//! A group is read when the first test asks for it, and kept for the next ones; every test begins
//! on its first block.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alloy_genesis::ChainConfig;
use alloy_primitives::{B64, B256, Bytes};
use evenkeel_chain::ChainSpec;
use evenkeel_state::Tip;
use serde::Deserialize;

use super::fixture::{Accounts, Environment, FirstHeader, first_block};

/// The folder with the groups.
pub(super) const FOLDER: &str = "pre_alloc";
/// Groups kept. Tests in one folder are of one or two, and the state of one may be large.
const KEPT_MAX: usize = 2;

/// Groups that were read, the one asked for last first.
#[derive(Default)]
pub(super) struct Groups(Mutex<Vec<Group>>);

struct Group {
    path: PathBuf,
    config: ChainConfig,
    spec: Arc<ChainSpec>,
    first: Tip,
}

/// The file of a group. Which tests are of it, their files say too.
#[derive(Deserialize)]
struct GroupFile {
    network: String,
    environment: Environment,
    /// As later versions write it.
    genesis: Option<FirstHeader>,
    pre: Accounts,
}

impl Groups {
    /// The rules and the first block of a test in `file` that is of the group `name`. One thread
    /// reads at a time, so that no group is there twice.
    ///
    /// # Errors
    ///
    /// There is no such group above the file, or it is of another network.
    pub(super) fn get(
        &self,
        file: &Path,
        name: &str,
        network: &str,
        config: ChainConfig,
    ) -> Result<(Arc<ChainSpec>, Tip), String> {
        let path = find(file, name)?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |group: &Group| group.path == path && group.config == config;
        let group = if let Some(nth) = kept.iter().position(is_it) {
            kept.remove(nth)
        } else {
            kept.truncate(KEPT_MAX - 1);
            read(path, network, config)?
        };
        let found = (Arc::clone(&group.spec), group.first.clone());
        kept.insert(0, group);
        Ok(found)
    }
}

/// The file of the group, in the folder of groups that is nearest above `file`.
fn find(file: &Path, name: &str) -> Result<PathBuf, String> {
    let file = file.canonicalize().map_err(|error| error.to_string())?;
    let folder = file.ancestors().map(|above| above.join(FOLDER)).find(|folder| folder.is_dir());
    let folder =
        folder.ok_or_else(|| format!("no folder {FOLDER} above the file, expected one"))?;
    // Names of groups are numbers: none leads out of the folder.
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let path = folder.join(format!("{name}.json"));
    if is_name && path.is_file() {
        return Ok(path);
    }
    Err(format!("no group {name} in {}, expected its file there", folder.display()))
}

fn read(path: PathBuf, network: &str, config: ChainConfig) -> Result<Group, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let file = File::open(&path).map_err(|error| named(error.to_string()))?;
    // Not all of the text at once: it is as large as the state.
    let group: GroupFile = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| named(format!("cannot be read: {error}")))?;
    if group.network != network {
        return Err(named(format!("network {}, expected {network}", group.network)));
    }
    let header = group.genesis.unwrap_or_else(|| header(&group.environment));
    let (spec, first) = first_block(config.clone(), &header, group.pre).map_err(named)?;
    Ok(Group { path, config, spec, first })
}

/// The first header of execution-spec-tests: all else in it is empty, but for one byte.
fn header(environment: &Environment) -> FirstHeader {
    FirstHeader {
        hash: None,
        parent_hash: B256::ZERO,
        coinbase: environment.coinbase,
        difficulty: environment.difficulty.unwrap_or_default(),
        number: environment.number,
        gas_limit: environment.gas_limit,
        timestamp: environment.timestamp,
        extra_data: Bytes::from_static(&[0]),
        mix_hash: environment.random.unwrap_or_default().into(),
        nonce: B64::ZERO,
        base_fee_per_gas: environment.base_fee,
        blob_gas_used: environment.blob_gas_used,
        excess_blob_gas: environment.excess_blob_gas,
    }
}
