//! Block tests: blocks on a genesis, one after the other, on all their branches.
//!
//! They come encoded, or as a consensus client sends them (`blockchain_tests_engine`, and
//! `blockchain_tests_engine_x`, where the state before is in a file of its own).

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use alloy_consensus::Block;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::Decodable as _;
use anyhow::Result;
use evenkeel_chain::{BlockDecodeError, BodyError, ChainSpec, TxEnvelope};
use evenkeel_node::{BlockImport, ImportError, Imported, Limits};
use evenkeel_runtime::Inline;
use evenkeel_state::Tip;
use evenkeel_vm::ExecError;
use serde::Deserialize;

use super::{
    Options,
    exception::{self, Fault},
    fixture::{
        Accounts, FirstHeader, FixtureAccount, FixtureConfig, check_account, check_accounts,
        check_gone, first_block,
    },
    network,
    payload::NewPayload,
    tally::{Cases, expect},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockTest {
    network: String,
    #[serde(default)]
    config: FixtureConfig,
    /// With `pre`; for either of them there may be a group instead.
    genesis_block_header: Option<FirstHeader>,
    pre: Option<Accounts>,
    /// Name of the group that the state before is in.
    pre_hash: Option<String>,
    /// The blocks, in one of two forms.
    blocks: Option<Vec<FixtureBlock>>,
    engine_new_payloads: Option<Vec<NewPayload>>,
    /// One more block, valid, after all is checked.
    sync_payload: Option<NewPayload>,
    #[serde(rename = "lastblockhash")]
    last_block_hash: B256,
    post_state: Option<Accounts>,
    post_state_hash: Option<B256>,
    /// Accounts that changed; none where one is gone.
    post_state_diff: Option<BTreeMap<Address, Option<FixtureAccount>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FixtureBlock {
    rlp: Bytes,
    expect_exception: Option<String>,
    block_header: Option<BlockHeader>,
}

#[derive(Deserialize)]
struct BlockHeader {
    hash: B256,
}

pub(super) fn run(
    options: &Options,
    bytes: &[u8],
    inline: &mut Inline,
    cases: &mut Cases<'_>,
) -> Result<()> {
    let tests: HashMap<String, BlockTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        let network = test.network.clone();
        if options.leaves_out(&network) {
            cases.skip();
            continue;
        }
        let file = cases.file();
        cases.run(&name, Some(&network), || test.check(options, file, inline));
    }
    Ok(())
}

impl BlockTest {
    fn check(mut self, options: &Options, file: &Path, inline: &mut Inline) -> Result<(), String> {
        let (spec, first) = self.first(options, file)?;
        let limits = Limits::consensus();
        let mut chain = BlockImport::new(spec, first, inline, limits, options.slice);
        match (&self.blocks, &self.engine_new_payloads) {
            (Some(blocks), None) => {
                for (nth, block) in blocks.iter().enumerate() {
                    let checked = block.check(&mut chain);
                    checked.map_err(|reason| format!("block {nth}: {reason}"))?;
                }
            }
            (None, Some(payloads)) => {
                for (nth, payload) in payloads.iter().enumerate() {
                    let checked = deliver(&mut chain, payload);
                    checked.map_err(|reason| format!("payload {nth}: {reason}"))?;
                }
            }
            _ => return Err("expected blocks or engineNewPayloads, one of them".to_owned()),
        }
        self.check_head(chain.head())?;
        let Some(payload) = &self.sync_payload else { return Ok(()) };
        deliver(&mut chain, payload).map_err(|reason| format!("sync payload: {reason}"))
    }

    /// The rules and the first block.
    fn first(&mut self, options: &Options, file: &Path) -> Result<(Arc<ChainSpec>, Tip), String> {
        let config = network::config(&self.network, &self.config)?;
        match (&self.genesis_block_header, self.pre.take(), self.pre_hash.as_deref()) {
            (Some(header), Some(pre), None) => first_block(config, header, pre),
            (header, None, Some(name)) => {
                let (spec, first) = options.groups.get(file, name, &self.network, config)?;
                let hash = header.as_ref().and_then(|header| header.hash);
                hash.map_or(Ok(()), |hash| expect("genesis hash", first.hash, hash))?;
                Ok((spec, first))
            }
            _ => Err("expected genesisBlockHeader and pre, or preHash".to_owned()),
        }
    }

    fn check_head(&self, head: &Tip) -> Result<(), String> {
        expect("last block", head.hash, self.last_block_hash)?;
        if let Some(expected) = self.post_state_hash {
            expect("state root", head.header.state_root, expected)?;
        }
        // Of the accounts that did not change, the state root speaks.
        for (address, expected) in self.post_state_diff.iter().flatten() {
            match expected {
                Some(expected) => check_account(*address, expected, head)?,
                None => check_gone(*address, head)?,
            }
        }
        self.post_state.as_ref().map_or(Ok(()), |expected| check_accounts(expected, head))
    }
}

impl FixtureBlock {
    fn check(&self, chain: &mut BlockImport<'_>) -> Result<(), String> {
        let expected = self.expect_exception.as_deref();
        let imported = import(chain, &self.rlp, expected);
        exception::check(imported.as_ref().err(), expected)?;
        match (&imported, &self.block_header) {
            (Ok(imported), Some(header)) => expect("hash", imported.hash, header.hash),
            _ => Ok(()),
        }
    }
}

/// Calls `engine_newPayload`, and compares what comes of it: the answer is an error with a code, or
/// the block is refused for a reason, or it is the head.
fn deliver(chain: &mut BlockImport<'_>, payload: &NewPayload) -> Result<(), String> {
    let rlp = payload.block_rlp(chain.spec()).map_err(Fault::from);
    let imported = rlp.and_then(|rlp| Ok(chain.import(&rlp)?));
    let code = imported.as_ref().err().and_then(Fault::code);
    match (&imported, payload.error_code.as_deref()) {
        (Err(_), Some(expected)) if code == Some(expected) => Ok(()),
        (Err(fault), Some(expected)) => Err(format!("refused: {fault}; expected error {expected}")),
        (Ok(_), Some(expected)) => Err(format!("valid, expected error {expected}")),
        (_, None) => exception::check(imported.as_ref().err(), payload.validation_error.as_deref()),
    }
}

/// Imports a block. Where tests were filled with a transaction that a block cannot have, its header
/// is often that of the block without it: two rules are broken, and the test names one. Then the
/// header is mended, to see whether the other is found too.
fn import(
    chain: &mut BlockImport<'_>,
    rlp: &[u8],
    expected: Option<&str>,
) -> Result<Imported, Fault> {
    let imported = chain.import(rlp);
    match (&imported, expected) {
        (
            Err(ImportError::Execution(ExecError::Body(BodyError::Transactions { found, .. }))),
            Some(names),
        ) if names.contains("TransactionException.") => {
            let mut mended = Block::<TxEnvelope>::decode(&mut &rlp[..])
                .map_err(|error| BlockDecodeError::Rlp { part: "fields", error })
                .map_err(ImportError::from)?;
            mended.header.transactions_root = *found;
            Ok(chain.import(&alloy_rlp::encode(mended))?)
        }
        _ => Ok(imported?),
    }
}
