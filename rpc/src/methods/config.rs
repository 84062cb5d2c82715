//! `eth_config` (EIP-7910): the rules that hold, come next, and come last.

use std::collections::BTreeMap;

use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, FixedBytes, address};
use evenkeel_chain::{BlobParams, ChainSpec, Era, Fork};
use serde::Serialize;

use crate::{
    api::{Api, Request},
    params::Params,
    position::header_not_found,
    render::{Answered, answer},
};

/// Precompiles with the fork that brought each, under the names of their EIPs.
const PRECOMPILES: [(Fork, &str, Address); 18] = [
    (Fork::Frontier, "ECREC", address!("0000000000000000000000000000000000000001")),
    (Fork::Frontier, "SHA256", address!("0000000000000000000000000000000000000002")),
    (Fork::Frontier, "RIPEMD160", address!("0000000000000000000000000000000000000003")),
    (Fork::Frontier, "ID", address!("0000000000000000000000000000000000000004")),
    (Fork::Byzantium, "MODEXP", address!("0000000000000000000000000000000000000005")),
    (Fork::Byzantium, "BN254_ADD", address!("0000000000000000000000000000000000000006")),
    (Fork::Byzantium, "BN254_MUL", address!("0000000000000000000000000000000000000007")),
    (Fork::Byzantium, "BN254_PAIRING", address!("0000000000000000000000000000000000000008")),
    (Fork::Istanbul, "BLAKE2F", address!("0000000000000000000000000000000000000009")),
    (Fork::Cancun, "KZG_POINT_EVALUATION", address!("000000000000000000000000000000000000000a")),
    (Fork::Prague, "BLS12_G1ADD", address!("000000000000000000000000000000000000000b")),
    (Fork::Prague, "BLS12_G1MSM", address!("000000000000000000000000000000000000000c")),
    (Fork::Prague, "BLS12_G2ADD", address!("000000000000000000000000000000000000000d")),
    (Fork::Prague, "BLS12_G2MSM", address!("000000000000000000000000000000000000000e")),
    (Fork::Prague, "BLS12_PAIRING_CHECK", address!("000000000000000000000000000000000000000f")),
    (Fork::Prague, "BLS12_MAP_FP_TO_G1", address!("0000000000000000000000000000000000000010")),
    (Fork::Prague, "BLS12_MAP_FP2_TO_G2", address!("0000000000000000000000000000000000000011")),
    (Fork::Osaka, "P256VERIFY", address!("0000000000000000000000000000000000000100")),
];

#[derive(Serialize)]
struct Config {
    current: Rules,
    next: Option<Rules>,
    last: Option<Rules>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    activation_time: u64,
    blob_schedule: Option<BlobParams>,
    chain_id: String,
    fork_id: FixedBytes<4>,
    precompiles: BTreeMap<&'static str, Address>,
    system_contracts: BTreeMap<&'static str, Address>,
}

/// `eth_config`
pub(super) fn config(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let durable = api.durable.get();
    let genesis = durable.chain.header(durable.chain.genesis())?.ok_or_else(header_not_found)?;
    answer(&at(&api.spec, &api.spec.eras(genesis.hash), durable.header.timestamp))
}

/// What holds at `timestamp`, and what comes after it.
fn at(spec: &ChainSpec, eras: &[Era], timestamp: u64) -> Config {
    // The first era begins with the chain.
    let begun = eras.partition_point(|era| era.activation_time <= timestamp).max(1);
    let (past, future) = eras.split_at(begun);
    let rules = |era: &Era| rules(spec, era);
    Config {
        current: rules(past.last().expect("a chain has rules")),
        next: future.first().map(rules),
        last: future.last().map(rules),
    }
}

fn rules(spec: &ChainSpec, era: &Era) -> Rules {
    let precompiles = PRECOMPILES.iter().filter(|(since, ..)| *since <= era.fork);
    let withdrawals = eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS;
    let consolidations = eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS;
    let contracts = [
        (Fork::Cancun, "BEACON_ROOTS_ADDRESS", Some(eip4788::BEACON_ROOTS_ADDRESS)),
        (Fork::Prague, "HISTORY_STORAGE_ADDRESS", Some(eip2935::HISTORY_STORAGE_ADDRESS)),
        (Fork::Prague, "WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", Some(withdrawals)),
        (Fork::Prague, "CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS", Some(consolidations)),
        // A chain without one looks for no deposits.
        (Fork::Prague, "DEPOSIT_CONTRACT_ADDRESS", spec.deposit_contract),
    ];
    let contracts = contracts.into_iter().filter(|(since, ..)| *since <= era.fork);
    Rules {
        activation_time: era.activation_time,
        blob_schedule: era.blobs,
        chain_id: format!("{:#x}", spec.chain_id_now()),
        fork_id: era.fork_hash,
        precompiles: precompiles.map(|(_, name, address)| (*name, *address)).collect(),
        system_contracts: contracts.filter_map(|(_, name, at)| Some((name, at?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use serde_json::json;

    use super::*;

    const GENESIS: &str = r#"{"config":{"chainId":7,"homesteadBlock":0,"eip150Block":0,
        "eip155Block":0,"eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0,
        "petersburgBlock":0,"istanbulBlock":0,"berlinBlock":0,"londonBlock":0,
        "terminalTotalDifficulty":0,"shanghaiTime":0,"cancunTime":100,"pragueTime":200,
        "osakaTime":300,"bpo1Time":400,
        "depositContractAddress":"0x00000000219ab540356cbb839cbe05303d7705fa"},
        "gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{}}"#;

    /// Goal: what holds is that of the head's time, what comes is null when nothing does, and each
    /// has what its fork brought and no more.
    #[test]
    fn rules_follow_the_time_of_the_head() {
        let spec = ChainSpec::from_genesis_json(GENESIS).expect("a good file");
        let eras = spec.eras(B256::ZERO);
        let times = |timestamp| {
            let Config { current, next, last } = at(&spec, &eras, timestamp);
            let time = |rules: Rules| rules.activation_time;
            (time(current), next.map(time), last.map(time))
        };
        assert_eq!(times(0), (0, Some(100), Some(400)));
        assert_eq!(times(199), (100, Some(200), Some(400)));
        assert_eq!(times(399), (300, Some(400), Some(400)));
        assert_eq!(times(400), (400, None, None));

        let shown = serde_json::to_value(at(&spec, &eras, 250)).expect("it is JSON");
        let current = &shown["current"];
        let blobs = json!({ "baseFeeUpdateFraction": 5_007_716, "max": 9, "target": 6 });
        assert_eq!((&current["chainId"], &current["blobSchedule"]), (&json!("0x7"), &blobs));
        assert_eq!(current["precompiles"].as_object().map(serde_json::Map::len), Some(17));
        assert_eq!(current["systemContracts"].as_object().map(serde_json::Map::len), Some(5));
        let p256 = "0x0000000000000000000000000000000000000100";
        assert_eq!(shown["next"]["precompiles"]["P256VERIFY"], p256);
        let first = serde_json::to_value(at(&spec, &eras, 0)).expect("it is JSON");
        assert_eq!(first["current"]["blobSchedule"], json!(null));
        assert_eq!(first["current"]["systemContracts"], json!({}));
        assert_eq!(first["current"]["precompiles"].as_object().map(serde_json::Map::len), Some(9));
    }
}
