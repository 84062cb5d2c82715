//! What execution-spec-tests call the rules that a transaction can break. Pure.

use revm::context::result::InvalidTransaction as E;

use crate::error::Refusal;

impl Refusal {
    /// Whether no balance could pay for it: gas and value together cost 2^256 wei or more.
    #[must_use]
    pub const fn is_unpayable(&self) -> bool {
        matches!(self.error, E::OverflowPaymentInTransaction)
    }

    /// Whether this is the fault that execution-spec-tests call `TransactionException.{name}`.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let error = &self.error;
        match name {
            "GASLIMIT_PRICE_PRODUCT_OVERFLOW" => matches!(error, E::OverflowPaymentInTransaction),
            "GAS_ALLOWANCE_EXCEEDED" => matches!(error, E::CallerGasLimitMoreThanBlock),
            "GAS_LIMIT_EXCEEDS_MAXIMUM" => matches!(error, E::TxGasLimitGreaterThanCap { .. }),
            "INITCODE_SIZE_EXCEEDED" => matches!(error, E::CreateInitCodeSizeLimit),
            "INSUFFICIENT_ACCOUNT_FUNDS" => matches!(error, E::LackOfFundForMaxFee { .. }),
            "INSUFFICIENT_MAX_FEE_PER_BLOB_GAS" => {
                matches!(error, E::BlobGasPriceGreaterThanMax { .. })
            }
            "INSUFFICIENT_MAX_FEE_PER_GAS" => matches!(error, E::GasPriceLessThanBasefee),
            "INTRINSIC_GAS_BELOW_FLOOR_GAS_COST" => {
                matches!(error, E::GasFloorMoreThanGasLimit { .. })
            }
            "INTRINSIC_GAS_TOO_LOW" => matches!(error, E::CallGasCostMoreThanGasLimit { .. }),
            "INVALID_CHAINID" => matches!(error, E::InvalidChainId | E::MissingChainId),
            "NONCE_IS_MAX" | "NONCE_TOO_BIG" => matches!(error, E::NonceOverflowInTransaction),
            "NONCE_MISMATCH_TOO_HIGH" => matches!(error, E::NonceTooHigh { .. }),
            "NONCE_MISMATCH_TOO_LOW" => matches!(error, E::NonceTooLow { .. }),
            "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS" => {
                matches!(error, E::PriorityFeeGreaterThanMaxFee)
            }
            "SENDER_NOT_EOA" => matches!(error, E::RejectCallerWithCode),
            "TYPE_NOT_SUPPORTED" => matches!(
                error,
                E::Eip2930NotSupported
                    | E::Eip1559NotSupported
                    | E::Eip4844NotSupported
                    | E::Eip7702NotSupported
            ),
            "TYPE_1_TX_PRE_FORK" => matches!(error, E::Eip2930NotSupported),
            "TYPE_2_TX_PRE_FORK" => matches!(error, E::Eip1559NotSupported),
            "TYPE_3_TX_PRE_FORK" | "TYPE_3_TX_ZERO_BLOBS_PRE_FORK" => {
                matches!(error, E::Eip4844NotSupported)
            }
            "TYPE_4_TX_PRE_FORK" => matches!(error, E::Eip7702NotSupported),
            "TYPE_3_TX_BLOB_COUNT_EXCEEDED" | "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED" => {
                matches!(error, E::TooManyBlobs { .. })
            }
            "TYPE_3_TX_CONTRACT_CREATION" => matches!(error, E::BlobCreateTransaction),
            "TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH" => matches!(error, E::BlobVersionNotSupported),
            "TYPE_3_TX_ZERO_BLOBS" => matches!(error, E::EmptyBlobs),
            "TYPE_4_EMPTY_AUTHORIZATION_LIST" => matches!(error, E::EmptyAuthorizationList),
            _ => false,
        }
    }
}
