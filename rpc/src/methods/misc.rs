//! Methods that say what this node is: `net_*`, `web3_*`, `rpc_modules`, and constants tools probe.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, keccak256};
use evenkeel_chain::Height;
use serde::Serialize;

use crate::{
    api::{Api, Request},
    params::Params,
    position::status,
    render::{Answered, answer, quantity},
};

/// Version geth gives for every namespace.
const NAMESPACE_VERSION: &str = "1.0";

/// `web3_clientVersion`
pub(super) fn client_version(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&api.config.client_version)
}

/// `web3_sha3`
pub(super) fn sha3(_: &Api, request: Request<'_>) -> Answered {
    let data = Params::new(request.params, 1)?.required::<Bytes>(0)?;
    answer(&keccak256(data))
}

/// `net_version`, `eth_networkId`: the chain id in decimal.
pub(super) fn network(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&format_args!("{}", api.spec.chain_id_now()))
}

/// `net_listening`
pub(super) fn is_listening(_: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&true)
}

/// `net_peerCount`: a dev node has none.
pub(super) fn peer_count(_: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(0_u8)
}

/// `rpc_modules`
pub(super) fn modules(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let name = |method: &'static str| method.split_once('_').map_or(method, |(name, _)| name);
    let is_there = |name: &&'static str| api.config.is_dev || !super::is_dev_namespace(name);
    let names = super::METHODS.iter().map(|method| name(method)).filter(is_there);
    answer(&names.map(|name| (name, NAMESPACE_VERSION)).collect::<BTreeMap<_, _>>())
}

/// `eth_syncing`: this node serves only what it has.
pub(super) fn is_syncing(_: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&false)
}

/// `eth_protocolVersion`: eth/68.
pub(super) fn protocol_version(_: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(68_u8)
}

/// `eth_mining`: whether blocks come without an order.
pub(super) async fn is_mining(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let status = status(api).await?;
    answer(&(status.automine || status.interval.is_some()))
}

/// `eth_hashrate`
pub(super) fn hash_rate(_: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(0_u8)
}

/// `eth_coinbase`
pub(super) async fn coinbase(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&status(api).await?.coinbase)
}

/// `eth_capabilities`: what this node can answer about; an archive of all but trie proofs.
pub(super) fn capabilities(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    struct Head {
        number: String,
        hash: B256,
    }
    #[derive(Clone, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Resource {
        disabled: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        oldest_block: Option<String>,
    }
    #[derive(Serialize)]
    struct Capabilities {
        head: Head,
        state: Resource,
        tx: Resource,
        logs: Resource,
        receipts: Resource,
        blocks: Resource,
        stateproofs: Resource,
    }
    Params::none(request.params)?;
    let durable = api.durable.get();
    let kept = |oldest: Height| Resource {
        disabled: false,
        oldest_block: Some(format!("{:#x}", oldest.get())),
    };
    let (first, oldest) = (durable.chain.genesis(), durable.chain.oldest_state());
    answer(&Capabilities {
        head: Head { number: format!("{:#x}", durable.header.number), hash: durable.hash },
        state: kept(oldest),
        tx: kept(first),
        logs: kept(first),
        receipts: kept(first),
        blocks: kept(first),
        stateproofs: Resource { disabled: true, oldest_block: None },
    })
}
