//! Names of forks and of changes from one to another, as tests have them, as genesis files.

use alloy_genesis::ChainConfig;
use alloy_primitives::{U256, address};

use super::fixture::FixtureConfig;

/// The forks that have names in tests, in order. Glaciers that have none come with the next.
const FORKS: [&str; 24] = [
    "Frontier",
    "Homestead",
    "EIP150",
    "EIP158",
    "Byzantium",
    "Constantinople",
    "ConstantinopleFix",
    "Istanbul",
    "MuirGlacier",
    "Berlin",
    "London",
    "ArrowGlacier",
    "GrayGlacier",
    "Paris",
    "Shanghai",
    "Cancun",
    "Prague",
    "Osaka",
    "BPO1",
    "BPO2",
    "BPO3",
    "BPO4",
    "BPO5",
    // Not a step like the others: balances are moved at one height.
    "Dao",
];

/// When a fork begins.
#[derive(Clone, Copy)]
enum Start {
    Height(u64),
    Time(u64),
    TotalDifficulty(U256),
}

/// The fork schedule of the network `name`: a fork that holds from the first block on, or
/// `OneToOtherAt5`, `OneToOtherAtTime15k`, `OneToOtherAtDiffC0000`.
///
/// # Errors
///
/// There is no such network.
pub(super) fn config(name: &str, fixture: &FixtureConfig) -> Result<ChainConfig, String> {
    let unknown = || format!("unknown network '{name}'");
    let mut config = ChainConfig {
        chain_id: fixture.chain_id(),
        blob_schedule: fixture.blobs(),
        // That of mainnet, on every network of tests.
        deposit_contract_address: Some(address!("00000000219ab540356cbb839cbe05303d7705fa")),
        ..ChainConfig::default()
    };
    let (from, change) = match name.split_once("To") {
        Some((from, change)) => (from, Some(change.split_once("At").ok_or_else(unknown)?)),
        None => (name, None),
    };
    let from = position(from).ok_or_else(unknown)?;
    for fork in &FORKS[..=from] {
        let is_timed = position(fork) >= position("Shanghai");
        set(&mut config, fork, if is_timed { Start::Time(0) } else { Start::Height(0) });
    }
    let Some((to, at)) = change else { return Ok(config) };
    let start = start(at).ok_or_else(unknown)?;
    if to == "Dao" {
        set(&mut config, to, start);
        return Ok(config);
    }
    let to = position(to).filter(|to| *to > from).ok_or_else(unknown)?;
    for fork in &FORKS[from + 1..=to] {
        set(&mut config, fork, start);
    }
    Ok(config)
}

fn position(name: &str) -> Option<usize> {
    let name = match name {
        "TangerineWhistle" => "EIP150",
        "SpuriousDragon" => "EIP158",
        "Petersburg" => "ConstantinopleFix",
        "Merge" => "Paris",
        name => name,
    };
    FORKS.iter().position(|fork| fork.eq_ignore_ascii_case(name))
}

fn start(at: &str) -> Option<Start> {
    if let Some(time) = at.strip_prefix("Time") {
        let (number, scale) = time.strip_suffix('k').map_or((time, 1), |number| (number, 1_000));
        return Some(Start::Time(number.parse::<u64>().ok()?.checked_mul(scale)?));
    }
    if let Some(difficulty) = at.strip_prefix("Diff") {
        return U256::from_str_radix(difficulty, 16).ok().map(Start::TotalDifficulty);
    }
    at.parse().ok().map(Start::Height)
}

fn set(config: &mut ChainConfig, fork: &str, start: Start) {
    let at = match start {
        Start::Height(at) | Start::Time(at) => Some(at),
        Start::TotalDifficulty(_) => None,
    };
    let field = match fork {
        "Homestead" => &mut config.homestead_block,
        "EIP150" => &mut config.eip150_block,
        "EIP158" => {
            config.eip155_block = at;
            &mut config.eip158_block
        }
        "Byzantium" => &mut config.byzantium_block,
        // Without a height of its own Petersburg would come along.
        "Constantinople" => {
            config.petersburg_block = Some(u64::MAX);
            &mut config.constantinople_block
        }
        "ConstantinopleFix" => &mut config.petersburg_block,
        "Istanbul" => &mut config.istanbul_block,
        "MuirGlacier" => &mut config.muir_glacier_block,
        "Berlin" => &mut config.berlin_block,
        "London" => &mut config.london_block,
        "ArrowGlacier" => &mut config.arrow_glacier_block,
        "GrayGlacier" => &mut config.gray_glacier_block,
        "Paris" => {
            config.terminal_total_difficulty = match start {
                Start::TotalDifficulty(terminal) => Some(terminal),
                Start::Height(_) | Start::Time(_) => Some(U256::ZERO),
            };
            &mut config.merge_netsplit_block
        }
        "Shanghai" => &mut config.shanghai_time,
        "Cancun" => &mut config.cancun_time,
        "Prague" => &mut config.prague_time,
        "Osaka" => &mut config.osaka_time,
        "BPO1" => &mut config.bpo1_time,
        "BPO2" => &mut config.bpo2_time,
        "BPO3" => &mut config.bpo3_time,
        "BPO4" => &mut config.bpo4_time,
        "BPO5" => &mut config.bpo5_time,
        "Dao" => {
            config.dao_fork_support = true;
            &mut config.dao_fork_block
        }
        _ => return,
    };
    *field = at;
}
