//! `anvil_dealERC20`, `anvil_setERC20Allowance`: what a token holds for somebody, set without
//! asking the token.
//!
//! The slot is found as anvil finds it: of those that the token reads to answer, the one that makes
//! it answer what is put there. Two values are tried, so that no slot is taken whose change the
//! answer does not show.

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    state::{AccountOverride, EvmOverrides, StateOverride},
};
use evenkeel_chain::{Cheat, Command};
use evenkeel_vm::{AccessListed, CallKind, CallOutcome};

use super::call::{self, Asked};
use crate::{
    api::{Api, Request},
    client::Client,
    error::RpcError,
    params::{Number, Params},
    position::order,
    render::{Answered, null},
};

/// `balanceOf(address)`
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];
/// `allowance(address,address)`
const ALLOWANCE: [u8; 4] = [0xdd, 0x62, 0xed, 0x3e];

/// `anvil_dealERC20`, `hardhat_dealERC20`, `anvil_setERC20Balance`: who, token, amount.
pub(super) async fn deal(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let (holder, token) = (params.required::<Address>(0)?, params.required(1)?);
    let Number(amount) = params.required(2)?;
    let asked = Question { token, input: input(BALANCE_OF, &[holder]) };
    asked.set(api, request.client, amount, "balance").await
}

/// `anvil_setERC20Allowance`: owner, spender, token, amount.
pub(super) async fn allow(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 4)?;
    let owners = [params.required::<Address>(0)?, params.required(1)?];
    let token = params.required(2)?;
    let Number(amount) = params.required(3)?;
    let asked = Question { token, input: input(ALLOWANCE, &owners) };
    asked.set(api, request.client, amount, "allowance").await
}

fn input(selector: [u8; 4], addresses: &[Address]) -> Bytes {
    let words = addresses.iter().flat_map(|address| address.into_word().0);
    selector.into_iter().chain(words).collect()
}

/// A view function of a token, which answers with a number.
struct Question {
    token: Address,
    input: Bytes,
}

impl Question {
    /// Lets the token answer `amount`.
    async fn set(&self, api: &Api, client: &Client, amount: U256, what: &str) -> Answered {
        for slot in self.slots(api, client).await? {
            let other = amount ^ U256::ONE;
            if self.shows(api, client, slot, amount).await?
                && self.shows(api, client, slot, other).await?
            {
                let cheat = Cheat::SetStorageAt(self.token, slot.into(), amount.into());
                order(api, Command::Cheat(cheat)).await?;
                return null();
            }
        }
        Err(RpcError::server(format!("Unable to set ERC20 {what}, no slot found")))
    }

    fn asked(&self, state: Option<StateOverride>) -> Asked {
        let call = TransactionRequest::default().to(self.token).input(self.input.clone().into());
        let overrides = EvmOverrides { state, block: None };
        Asked { call, block: BlockId::latest(), overrides }
    }

    /// The slots of the token that it reads to answer.
    async fn slots(&self, api: &Api, client: &Client) -> Result<Vec<B256>, RpcError> {
        let kind = (CallKind::AccessList, false);
        let outcome = self.asked(None).ended_as(api, client, kind).await??;
        let CallOutcome::AccessList(AccessListed { list, .. }) = outcome else {
            return Err(call::wrong_kind());
        };
        let own = list.0.into_iter().filter(|item| item.address == self.token);
        Ok(own.flat_map(|item| item.storage_keys).collect())
    }

    /// Whether the token would answer `amount` if it was in the slot.
    async fn shows(
        &self,
        api: &Api,
        client: &Client,
        slot: B256,
        amount: U256,
    ) -> Result<bool, RpcError> {
        let change = [(slot, B256::from(amount))].into_iter().collect();
        let pretended = AccountOverride { state_diff: Some(change), ..AccountOverride::default() };
        let state = [(self.token, pretended)].into_iter().collect();
        match self.asked(Some(state)).ended_as(api, client, (CallKind::Call, false)).await? {
            Ok(CallOutcome::Output(output)) => Ok(output[..] == amount.to_be_bytes::<32>()),
            Ok(_) => Err(call::wrong_kind()),
            // With that in the slot the token does not answer: it is another one.
            Err(error) if error.is_of_call() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
