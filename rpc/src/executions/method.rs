//! What executions are of: the methods that execute something.

/// Names what is executed for a request, each with its JSON-RPC method.
macro_rules! executing {
    ($($variant:ident = $name:literal;)+) => {
        /// What is executed for a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Method {
            /// All of them.
            pub(crate) const ALL: [Self; [$($name),+].len()] = [$(Self::$variant,)+];

            /// The one with this JSON-RPC method.
            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|method| method.name() == name)
            }

            /// The JSON-RPC method.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

executing! {
    Call = "eth_call";
    EstimateGas = "eth_estimateGas";
    TraceCall = "debug_traceCall";
    TraceTransaction = "debug_traceTransaction";
    TraceCallMany = "debug_traceCallMany";
    CreateAccessList = "eth_createAccessList";
    TraceChain = "debug_subscribe";
    TraceBlock = "debug_traceBlock";
    TraceBlockByNumber = "debug_traceBlockByNumber";
    TraceBlockByHash = "debug_traceBlockByHash";
    StandardTrace = "debug_standardTraceBlockToFile";
    ParityBlock = "trace_block";
    ParityTransaction = "trace_transaction";
    ParityGet = "trace_get";
    ParityFilter = "trace_filter";
    ParityCall = "trace_call";
    ParityCallMany = "trace_callMany";
    ParityRawTransaction = "trace_rawTransaction";
    ParityReplayTransaction = "trace_replayTransaction";
    ParityReplayBlock = "trace_replayBlockTransactions";
    ParityTransactionOpcodeGas = "trace_transactionOpcodeGas";
    ParityBlockOpcodeGas = "trace_blockOpcodeGas";
    OtsInternalOperations = "ots_getInternalOperations";
    OtsTraceTransaction = "ots_traceTransaction";
    OtsTransactionError = "ots_getTransactionError";
    OtsContractCreator = "ots_getContractCreator";
    OtsSearchBefore = "ots_searchTransactionsBefore";
    OtsSearchAfter = "ots_searchTransactionsAfter";
    Simulate = "eth_simulateV1";
    CallMany = "eth_callMany";
    BuildPayload = "testing_buildBlockV1";
    Witness = "debug_executionWitness";
    StorageRange = "debug_storageRangeAt";
    AccountAt = "debug_accountAt";
    WitnessByHash = "debug_executionWitnessByBlockHash";
}

impl Method {
    /// Whether it can be held: all that it executes is one call, or one trace, and the answer is
    /// that of a request.
    pub(crate) const fn can_be_held(self) -> bool {
        match self {
            Self::Call
            | Self::CallMany
            | Self::EstimateGas
            | Self::CreateAccessList
            | Self::TraceCall
            | Self::TraceCallMany
            | Self::TraceTransaction
            | Self::TraceBlock
            | Self::TraceBlockByNumber
            | Self::TraceBlockByHash
            | Self::ParityBlock
            | Self::ParityTransaction
            | Self::ParityGet
            | Self::ParityCall
            | Self::ParityCallMany
            | Self::ParityRawTransaction
            | Self::ParityReplayTransaction
            | Self::ParityReplayBlock
            | Self::ParityTransactionOpcodeGas
            | Self::ParityBlockOpcodeGas => true,
            Self::TraceChain
            | Self::StandardTrace
            | Self::ParityFilter
            | Self::OtsInternalOperations
            | Self::OtsTraceTransaction
            | Self::OtsTransactionError
            | Self::OtsContractCreator
            | Self::OtsSearchBefore
            | Self::OtsSearchAfter
            | Self::Simulate
            | Self::BuildPayload
            | Self::Witness
            | Self::StorageRange
            | Self::AccountAt
            | Self::WitnessByHash => false,
        }
    }
}
