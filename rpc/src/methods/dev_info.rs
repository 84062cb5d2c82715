//! What the dev methods say of the node and its chain.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use evenkeel_chain::Height;
use serde::Serialize;

use super::fees::gas_price_now;
use crate::{
    api::{Api, Request},
    params::Params,
    position::{next_base_fee, status},
    render::{Answered, answer},
};

/// `anvil_nodeInfo`
pub(super) async fn node(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Info<'a> {
        current_block_number: String,
        current_block_timestamp: u64,
        current_block_hash: B256,
        hard_fork: &'a str,
        transaction_order: String,
        environment: Environment,
        fork_config: ForkConfig,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Environment {
        base_fee: String,
        chain_id: u64,
        gas_limit: String,
        gas_price: String,
    }
    #[derive(Serialize)]
    struct ForkConfig {
        #[serde(rename = "forkUrl")]
        url: Option<String>,
        #[serde(rename = "forkBlockNumber")]
        block_number: Option<u64>,
        #[serde(rename = "forkRetryBackoff")]
        retry_backoff: Option<u64>,
    }
    Params::none(request.params)?;
    let status = status(api).await?;
    let durable = api.durable.get();
    let head = &durable.header;
    let height = Height::new(head.number);
    answer(&Info {
        current_block_number: format!("{:#x}", head.number),
        current_block_timestamp: head.timestamp,
        current_block_hash: durable.hash,
        hard_fork: api.spec.fork_at(height, head.timestamp).name(),
        transaction_order: api.order.to_string(),
        environment: Environment {
            base_fee: format!("{:#x}", next_base_fee(api, head).unwrap_or(0)),
            chain_id: api.spec.chain_id_now(),
            gas_limit: format!("{:#x}", status.gas_limit),
            gas_price: format!("{:#x}", gas_price_now(api)),
        },
        fork_config: ForkConfig { url: None, block_number: None, retry_backoff: None },
    })
}

/// `anvil_metadata`, `hardhat_metadata`
pub(super) fn metadata(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        client_version: &'a str,
        client_semver: &'a str,
        client_commit_sha: &'a str,
        chain_id: u64,
        instance_id: B256,
        latest_block_number: u64,
        latest_block_hash: B256,
        /// Never one: this node copies no other chain.
        forked_network: Option<()>,
        /// Number and hash of the head by the snapshot's number, of those taken by this process.
        snapshots: BTreeMap<String, (u64, B256)>,
    }
    Params::none(request.params)?;
    let durable = api.durable.get();
    answer(&Metadata {
        client_version: &api.config.client_version,
        client_semver: env!("CARGO_PKG_VERSION"),
        client_commit_sha: option_env!("EVENKEEL_COMMIT_SHA").unwrap_or("unknown"),
        chain_id: api.spec.chain_id_now(),
        instance_id: api.flags.instance(),
        latest_block_number: durable.header.number,
        latest_block_hash: durable.hash,
        forked_network: None,
        snapshots: api.flags.snapshots(),
    })
}

/// `anvil_getGenesisTime`
pub(super) fn genesis_time(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&api.spec.genesis.timestamp)
}

/// `anvil_getLastBlockWallTime`: milliseconds since the Unix epoch at which this process came to
/// have its head; no order to the chain's clock changes it.
pub(super) fn head_time(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&api.durable.get().head_since.as_millis())
}
