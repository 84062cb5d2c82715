//! Every method by name. One table makes both the dispatch and [`METHODS`], so neither can drift.

mod access_lists;
mod call;
mod call_many;
mod chain_reads;
mod config;
mod debug;
mod debug_ranges;
mod debug_state;
mod debug_trace;
mod dev;
mod dev_info;
mod dev_pool;
mod dev_tokens;
mod exec;
mod fees;
mod filters;
pub(crate) mod limits;
mod logs;
mod misc;
mod opcode_gas;
mod ots;
mod ots_search;
mod payload;
mod pending;
mod proof;
mod reorg;
mod sched;
mod send;
mod shadow;
mod sign;
mod simulate;
mod standard_trace;
mod state_file;
mod state_reads;
mod subscribe;
#[cfg(test)]
mod tests;
mod trace;
mod trace_chain;
mod traced;
mod traced_text;
mod transactions;
mod txpool;
mod whole;
mod witness;
mod written;

use std::sync::Arc;

use crate::{
    answer::Answer,
    api::{Api, Request},
    error::RpcError,
};
use chain_reads::By;
use ots_search::Way;

/// Whether the namespace exists only on dev chains.
fn is_dev_namespace(name: &str) -> bool {
    matches!(
        name,
        "evm" | "anvil" | "hardhat" | "tenderly" | "sched" | "exec" | "shadow" | "testing"
    )
}

/// Whether the method exists only on dev chains: its namespace does, it sends in the name of
/// whoever it likes, throws away what others sent, takes back what is final, or writes files.
fn is_dev_method(name: &str) -> bool {
    let namespace = name.split_once('_').map_or("", |(namespace, _)| namespace);
    is_dev_namespace(namespace)
        || matches!(
            name,
            "eth_sendUnsignedTransaction"
                | "debug_clearTxpool"
                | "debug_setHead"
                | "debug_standardTraceBlockToFile"
                | "debug_standardTraceBadBlockToFile"
        )
}

/// Names methods and how each is answered, with `$api` and `$request` at hand.
macro_rules! methods {
    ($api:ident, $request:ident: $($($name:literal)|+ => $answer:expr;)+) => {
        /// The names of all methods.
        pub const METHODS: &[&str] = &[$($($name,)+)+];

        /// Answers any method. Dropping the future cancels the work.
        ///
        /// # Errors
        ///
        /// What the method says; -32601 if there is no such method.
        pub async fn dispatch(
            $api: &Arc<Api>,
            $request: Request<'_>,
        ) -> Result<Answer, RpcError> {
            if !$api.config.is_dev && is_dev_method($request.method) {
                return Err(RpcError::method_not_found($request.method));
            }
            match $request.method {
                $($($name)|+ => $answer.map(Answer::from),)+
                other => Err(RpcError::method_not_found(other)),
            }
        }
    };
}

methods! { api, request:
    "eth_blockNumber" => chain_reads::block_number(api, request);
    "eth_chainId" => chain_reads::chain_id(api, request);
    "eth_getBalance" => state_reads::balance(api, request);
    "eth_getTransactionCount" => state_reads::transaction_count(api, request).await;
    "eth_getCode" => state_reads::code(api, request);
    "eth_getStorageAt" => state_reads::storage(api, request);
    "eth_getAccount" => proof::account(api, request).await;
    "eth_getProof" => proof::proof(api, request).await;
    "eth_getStorageValues" => proof::storage_values(api, request).await;
    "eth_getAccountInfo" => state_reads::account_info(api, request);

    "eth_call" => call::call(api, request).await;
    "eth_estimateGas" => call::estimate_gas(api, request).await;
    "eth_createAccessList" => call::create_access_list(api, request).await;
    "eth_callMany" => call_many::call_many(api, request).await;
    "eth_simulateV1" => simulate::simulate(api, request).await;
    "testing_buildBlockV1" => payload::build(api, request).await;
    "eth_sendRawTransaction" => send::send_raw(api, request).await;
    "eth_sendTransaction" => send::send(api, request).await;
    "eth_sendRawTransactionSync" => send::send_raw_sync(api, request).await;
    "eth_sendTransactionSync" => send::send_sync(api, request).await;
    "eth_resend" => send::resend(api, request).await;
    "eth_fillTransaction" => send::fill_in(api, request).await;
    "eth_sendUnsignedTransaction" => send::send_unsigned(api, request).await;

    "eth_getBlockByNumber" => chain_reads::block(api, request, By::Number).await;
    "eth_getBlockByHash" => chain_reads::block(api, request, By::Hash).await;
    "eth_getHeaderByNumber" | "erigon_getHeaderByNumber" =>
        chain_reads::header(api, request, By::Number).await;
    "eth_getHeaderByHash" => chain_reads::header(api, request, By::Hash).await;
    "eth_getBlockReceipts" => chain_reads::block_receipts(api, request).await;
    "eth_getBlockTransactionCountByNumber" =>
        chain_reads::transaction_count(api, request, By::Number).await;
    "eth_getBlockTransactionCountByHash" =>
        chain_reads::transaction_count(api, request, By::Hash).await;
    "eth_getBlockAccessList" => access_lists::of_any(api, request);
    "eth_getBlockAccessListByBlockNumber" => access_lists::of_block(api, request, By::Number);
    "eth_getBlockAccessListByBlockHash" => access_lists::of_block(api, request, By::Hash);
    "eth_getBlockAccessListRaw" | "debug_getRawBlockAccessList" => access_lists::raw(request);
    "eth_getUncleCountByBlockNumber" => chain_reads::uncle_count(api, request, By::Number).await;
    "eth_getUncleCountByBlockHash" => chain_reads::uncle_count(api, request, By::Hash).await;
    "eth_getUncleByBlockNumberAndIndex" => chain_reads::uncle(api, request, By::Number).await;
    "eth_getUncleByBlockHashAndIndex" => chain_reads::uncle(api, request, By::Hash).await;

    "eth_getTransactionByHash" => transactions::by_hash(api, request).await;
    "eth_getTransactionReceipt" => transactions::receipt(api, request);
    "eth_getRawTransactionByHash" | "debug_getRawTransaction" =>
        transactions::raw_by_hash(api, request).await;
    "eth_getTransactionByBlockNumberAndIndex" =>
        transactions::by_index(api, request, By::Number).await;
    "eth_getTransactionByBlockHashAndIndex" =>
        transactions::by_index(api, request, By::Hash).await;
    "eth_getRawTransactionByBlockNumberAndIndex" =>
        transactions::raw_by_index(api, request, By::Number).await;
    "eth_getRawTransactionByBlockHashAndIndex" =>
        transactions::raw_by_index(api, request, By::Hash).await;
    "eth_getTransactionBySenderAndNonce" =>
        transactions::by_sender_and_nonce(api, request).await;
    "eth_pendingTransactions" => transactions::pending(api, request).await;

    "eth_getLogs" => logs::logs(api, request).await;
    "eth_newFilter" => filters::new_logs(api, request);
    "eth_newBlockFilter" => filters::new_blocks(api, request);
    "eth_newPendingTransactionFilter" => filters::new_pending(api, request);
    "eth_getFilterChanges" => filters::changes(api, request).await;
    "eth_getFilterLogs" => filters::filter_logs(api, request).await;
    "eth_uninstallFilter" => filters::uninstall(api, request);
    "eth_subscribe" => subscribe::subscribe(api, request);
    "eth_unsubscribe" => subscribe::unsubscribe(api, request);

    "eth_gasPrice" => fees::gas_price(api, request);
    "eth_maxPriorityFeePerGas" => fees::priority_fee(api, request);
    "eth_baseFee" => fees::base_fee(api, request);
    "eth_blobBaseFee" => fees::blob_base_fee(api, request);
    "eth_feeHistory" => fees::history(api, request).await;

    "eth_accounts" | "eth_requestAccounts" => sign::accounts(api, request);
    "eth_sign" => sign::sign(api, request);
    "personal_sign" => sign::personal_sign(api, request);
    "eth_signTransaction" => send::sign(api, request).await;
    "eth_signTypedData" | "eth_signTypedData_v3" | "eth_signTypedData_v4" =>
        sign::sign_typed_data(api, request);

    "eth_config" => config::config(api, request);
    "eth_capabilities" => misc::capabilities(api, request);
    "eth_syncing" => misc::is_syncing(api, request);
    "eth_coinbase" => misc::coinbase(api, request).await;
    "eth_protocolVersion" => misc::protocol_version(api, request);
    "eth_mining" => misc::is_mining(api, request).await;
    "eth_hashrate" => misc::hash_rate(api, request);
    "net_version" | "eth_networkId" => misc::network(api, request);
    "net_listening" => misc::is_listening(api, request);
    "net_peerCount" => misc::peer_count(api, request);
    "web3_clientVersion" => misc::client_version(api, request);
    "web3_sha3" => misc::sha3(api, request);
    "rpc_modules" => misc::modules(api, request);

    "txpool_status" => txpool::status(api, request).await;
    "txpool_content" => txpool::content(api, request).await;
    "txpool_contentFrom" => txpool::content_from(api, request).await;
    "txpool_inspect" => txpool::inspect(api, request).await;

    "debug_traceTransaction" => debug_trace::transaction(api, request).await;
    "debug_traceCall" => debug_trace::call(api, request).await;
    "debug_traceCallMany" => debug_trace::call_many(api, request).await;
    "debug_traceBlock" => debug_trace::raw_block(api, request).await;
    "debug_traceBlockByNumber" => debug_trace::block(api, request, By::Number).await;
    "debug_traceBlockByHash" => debug_trace::block(api, request, By::Hash).await;
    "debug_traceBadBlock" => debug::trace_bad_block(request);
    "debug_standardTraceBlockToFile" => standard_trace::block(api, request).await;
    "debug_standardTraceBadBlockToFile" => standard_trace::bad_block(request);
    "debug_subscribe" => trace_chain::subscribe(api, request);
    "debug_unsubscribe" => subscribe::unsubscribe(api, request);
    "debug_getRawBlock" => debug::raw_block(api, request).await;
    "debug_getRawHeader" => debug::raw_header(api, request);
    "debug_getRawTransactions" => debug::raw_transactions(api, request).await;
    "debug_getRawReceipts" => debug::raw_receipts(api, request).await;
    "debug_getBadBlocks" => debug::bad_blocks(request);
    "debug_clearTxpool" => dev_pool::drop_all(api, request).await;
    "debug_codeByHash" => debug_state::code_by_hash(api, request);
    "debug_accountAt" => debug_state::account_at(api, request).await;
    "debug_getModifiedAccountsByNumber" =>
        debug_state::modified_accounts(api, request, By::Number).await;
    "debug_getModifiedAccountsByHash" =>
        debug_state::modified_accounts(api, request, By::Hash).await;
    "debug_storageRangeAt" => debug_ranges::storage_range(api, request).await;
    "debug_accountRange" => debug_ranges::account_range(api, request).await;
    "debug_executionWitness" => witness::witness(api, request, false).await;
    "debug_executionWitnessByBlockHash" => witness::witness(api, request, true).await;

    "trace_block" => trace::block(api, request).await;
    "trace_transactionOpcodeGas" => opcode_gas::transaction(api, request).await;
    "trace_blockOpcodeGas" => opcode_gas::block(api, request).await;
    "trace_transaction" => trace::transaction(api, request).await;
    "trace_get" => trace::get(api, request).await;
    "trace_filter" => trace::filter(api, request).await;
    "trace_call" => trace::call(api, request).await;
    "trace_callMany" => trace::call_many(api, request).await;
    "trace_rawTransaction" => trace::raw_transaction(api, request).await;
    "trace_replayTransaction" => trace::replay_transaction(api, request).await;
    "trace_replayBlockTransactions" => trace::replay_block(api, request).await;

    "ots_getApiLevel" => ots::api_level(request);
    "ots_hasCode" => ots::has_code(api, request);
    "ots_getInternalOperations" => ots::internal_operations(api, request).await;
    "ots_traceTransaction" => ots::trace_transaction(api, request).await;
    "ots_getTransactionError" => ots::transaction_error(api, request).await;
    "ots_getTransactionBySenderAndNonce" => ots::by_sender_and_nonce(api, request).await;
    "ots_getContractCreator" => ots::contract_creator(api, request).await;
    "ots_getBlockDetails" => ots::block_details(api, request, By::Number).await;
    "ots_getBlockDetailsByHash" => ots::block_details(api, request, By::Hash).await;
    "ots_getBlockTransactions" => ots::block_transactions(api, request).await;
    "ots_searchTransactionsBefore" => ots_search::search(api, request, Way::Before).await;
    "ots_searchTransactionsAfter" => ots_search::search(api, request, Way::After).await;

    "sched_status" => sched::status(api, request);
    "sched_queues" => sched::queues(api, request).await;
    "sched_deadLetters" => sched::dead_letters(api, request);
    "sched_executions" => sched::executions(api, request);
    "sched_kill" => sched::kill(api, request);
    "sched_setWeight" => sched::set_weight(api, request);
    "exec_start" => exec::start(api, request).await;
    "exec_status" => exec::status(api, request);
    "exec_pause" => exec::pause(api, request).await;
    "exec_resume" => exec::resume(api, request);
    "exec_step" => exec::step(api, request).await;
    "exec_cancel" => exec::cancel(api, request);
    "exec_subscribe" => exec::subscribe(api, request);

    "shadow_report" => shadow::report(api, request);
    "shadow_upgrade" => shadow::upgrade(api, request).await;

    "anvil_mine" | "hardhat_mine" => dev::mine(api, request).await;
    "evm_mine" => dev::evm_mine(api, request).await;
    "evm_mine_detailed" | "anvil_mine_detailed" => dev::mine_detailed(api, request).await;
    "evm_snapshot" | "anvil_snapshot" => dev::snapshot(api, request).await;
    "evm_revert" | "anvil_revert" => dev::revert(api, request).await;
    "evm_setAutomine" | "anvil_setAutomine" => dev::set_automine(api, request).await;
    "anvil_getAutomine" | "hardhat_getAutomine" => dev::automine(api, request).await;
    "evm_setIntervalMining" | "anvil_setIntervalMining" => dev::set_interval(api, request).await;
    "anvil_getIntervalMining" => dev::interval(api, request).await;
    "evm_increaseTime" | "anvil_increaseTime" => dev::increase_time(api, request).await;
    "evm_setTime" | "anvil_setTime" => dev::set_time(api, request).await;
    "evm_setNextBlockTimestamp" | "anvil_setNextBlockTimestamp" =>
        dev::set_next_timestamp(api, request).await;
    "anvil_setBlockTimestampInterval" => dev::set_timestamp_interval(api, request).await;
    "anvil_removeBlockTimestampInterval" => dev::remove_timestamp_interval(api, request).await;
    "evm_setBlockGasLimit" | "anvil_setBlockGasLimit" => dev::set_gas_limit(api, request).await;
    "anvil_setNextBlockBaseFeePerGas" | "hardhat_setNextBlockBaseFeePerGas" =>
        dev::set_base_fee(api, request).await;
    "anvil_setNextBlockPrevRandao" | "hardhat_setPrevRandao" =>
        dev::set_prev_randao(api, request).await;
    "anvil_setCoinbase" | "hardhat_setCoinbase" => dev::set_coinbase(api, request).await;

    "anvil_setBalance" | "hardhat_setBalance" | "tenderly_setBalance" | "evm_setAccountBalance" =>
        dev::set_balance(api, request).await;
    "anvil_addBalance" | "hardhat_addBalance" | "tenderly_addBalance" =>
        dev::add_balance(api, request).await;
    "anvil_setNonce" | "hardhat_setNonce" | "evm_setAccountNonce" =>
        dev::set_nonce(api, request).await;
    "anvil_setCode" | "hardhat_setCode" | "evm_setAccountCode" =>
        dev::set_code(api, request).await;
    "anvil_setStorageAt" | "hardhat_setStorageAt" | "evm_setAccountStorageAt" =>
        dev::set_storage_at(api, request).await;
    "anvil_dealERC20" | "hardhat_dealERC20" | "anvil_setERC20Balance" =>
        dev_tokens::deal(api, request).await;
    "anvil_setERC20Allowance" => dev_tokens::allow(api, request).await;

    "anvil_impersonateAccount" | "hardhat_impersonateAccount" => dev::impersonate(api, request);
    "anvil_stopImpersonatingAccount" | "hardhat_stopImpersonatingAccount" =>
        dev::stop_impersonating(api, request);
    "anvil_autoImpersonateAccount" | "hardhat_autoImpersonateAccount" =>
        dev::auto_impersonate(api, request);
    "anvil_dropTransaction" | "hardhat_dropTransaction" => dev_pool::drop_one(api, request).await;
    "anvil_dropAllTransactions" | "hardhat_dropAllTransactions" =>
        dev_pool::drop_all(api, request).await;
    "anvil_removePoolTransactions" => dev_pool::drop_sender(api, request).await;
    "anvil_getBlobByHash" => dev_pool::blob(api, request).await;
    "anvil_getBlobsByTransactionHash" => dev_pool::blobs(api, request).await;
    "anvil_setMinGasPrice" | "hardhat_setMinGasPrice" => dev::set_min_gas_price(api, request);
    "anvil_setLoggingEnabled" | "hardhat_setLoggingEnabled" => dev::set_logging(api, request);
    "anvil_setChainId" => dev::set_chain_id(api, request);
    "anvil_rollback" => reorg::rollback(api, request).await;
    "anvil_reorg" => reorg::reorg(api, request).await;
    "debug_setHead" => reorg::set_head(api, request).await;
    "anvil_reset" | "hardhat_reset" => dev::reset(api, request).await;
    "anvil_dumpState" | "hardhat_dumpState" => state_file::dump(api, request).await;
    "anvil_loadState" | "hardhat_loadState" => state_file::load(api, request).await;
    "anvil_nodeInfo" => dev_info::node(api, request).await;
    "anvil_metadata" | "hardhat_metadata" => dev_info::metadata(api, request);
    "anvil_getGenesisTime" => dev_info::genesis_time(api, request);
    "anvil_getLastBlockWallTime" => dev_info::head_time(api, request);
}
