//! Signatures over data with the dev accounts' keys, and the list of these accounts.

use alloy_primitives::{Address, Bytes, Signature};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;

use super::send::unknown_account;
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, refuse},
    render::{Answered, answer},
    typed_data::BoundedTypedData,
};

/// `eth_accounts`, `eth_requestAccounts`
pub(super) fn accounts(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&api.accounts.addresses())
}

/// `eth_sign`: address, then data.
pub(super) fn sign(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    sign_message(api, params.required(0)?, &params.required(1)?)
}

/// `personal_sign`: data, then address, then a password nobody needs here.
pub(super) fn personal_sign(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    sign_message(api, params.required(1)?, &params.required(0)?)
}

/// `eth_signTypedData_v4` (EIP-712): address, then the typed data as an object or as its text.
pub(super) fn sign_typed_data(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let signer = signer(api, params.required(0)?)?;
    let BoundedTypedData(typed) = params.required(1)?;
    let hash = typed.eip712_signing_hash().map_err(|error| refuse(1, &error.to_string()))?;
    show(signer.sign_hash_sync(&hash))
}

fn sign_message(api: &Api, address: Address, message: &Bytes) -> Answered {
    show(signer(api, address)?.sign_message_sync(message))
}

fn signer(api: &Api, address: Address) -> Result<&PrivateKeySigner, RpcError> {
    api.accounts.signer(address).ok_or_else(unknown_account)
}

fn show(signature: Result<Signature, alloy_signer::Error>) -> Answered {
    let signature = signature.map_err(|error| RpcError::internal(format!("signing: {error}")))?;
    answer(&Bytes::from(signature.as_bytes()))
}
