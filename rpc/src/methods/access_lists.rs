//! Block access lists (EIP-7928): no fork that this node knows has them.
//!
//! Source: execution-apis, `eth_getBlockAccessList` and `debug_getRawBlockAccessList`: of a block
//! before Amsterdam there is no such resource. An unknown block, or the pending one, is null, and
//! to who asks for the encoding no resource either.

use alloy_eips::BlockId;

use super::chain_reads::By;
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{HexBlock, Params},
    position::{self, At},
    render::{Answered, null},
};

/// `eth_getBlockAccessList`
pub(super) fn of_any(api: &Api, request: Request<'_>) -> Answered {
    let id = Params::new(request.params, 1)?.required::<BlockId>(0)?;
    shown(api, id)
}

/// `eth_getBlockAccessListByBlockNumber`, `eth_getBlockAccessListByBlockHash`
pub(super) fn of_block(api: &Api, request: Request<'_>, by: By) -> Answered {
    let id = by.block(&Params::new(request.params, 1)?, 0)?;
    shown(api, id)
}

/// `debug_getRawBlockAccessList`, `eth_getBlockAccessListRaw`
pub(super) fn raw(request: Request<'_>) -> Answered {
    let HexBlock(_) = Params::new(request.params, 1)?.required(0)?;
    Err(not_found())
}

fn shown(api: &Api, id: BlockId) -> Answered {
    let durable = api.durable.get();
    match position::locate(api, &durable, id)? {
        Some(At::Block(height)) if position::header_at(&durable, height)?.is_some() => {
            Err(not_found())
        }
        Some(At::Block(_) | At::Pending) | None => null(),
    }
}

fn not_found() -> RpcError {
    RpcError::resource_not_found("Resource not found")
}
