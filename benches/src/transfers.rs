//! Signs plain transfers from the accounts every devnet starts with.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use std::{num::NonZero, thread};

/// The mnemonic of anvil, hardhat and ours.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// The devnet's chain id.
const CHAIN_ID: u64 = 31_337;
/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Fee cap, 100 gwei: above the base fee as long as blocks stay under half their limit.
const FEE_MAX: u128 = 100_000_000_000;
/// Tip, 1 gwei.
const TIP: u128 = 1_000_000_000;

/// The devnet's accounts, in the order of `eth_accounts`.
#[derive(Clone, Debug)]
pub struct Wallet(Vec<PrivateKeySigner>);

/// What a transfer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Position of the sender in the wallet.
    pub sender: usize,
    /// The sender's nonce.
    pub nonce: u64,
    /// Who gets 1 wei.
    pub to: Address,
}

/// A signed transfer, ready for `eth_sendRawTransaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The encoded transaction, `0x..`.
    pub raw: String,
    /// Its hash.
    pub hash: B256,
}

impl Wallet {
    /// Derives the first `accounts` accounts; about 1 ms each.
    pub fn test(accounts: u32) -> Self {
        let derive = |index| {
            MnemonicBuilder::english()
                .phrase(MNEMONIC)
                .index(index)
                .and_then(|builder| builder.build())
                .expect("the test mnemonic and a path index are valid")
        };
        Self((0..accounts).map(derive).collect())
    }

    /// Accounts held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if it holds no account.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address of account `index`.
    pub fn address(&self, index: usize) -> Address {
        self.0[index].address()
    }

    /// Signs one transfer.
    pub fn sign(&self, transfer: Transfer) -> Signed {
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: transfer.nonce,
            gas_limit: TRANSFER_GAS,
            max_fee_per_gas: FEE_MAX,
            max_priority_fee_per_gas: TIP,
            to: TxKind::Call(transfer.to),
            value: U256::ONE,
            ..Default::default()
        };
        let signature = self.0[transfer.sender]
            .sign_hash_sync(&tx.signature_hash())
            .expect("a local key signs any hash");
        let tx = TxEnvelope::from(tx.into_signed(signature));
        Signed { raw: hex::encode_prefixed(tx.encoded_2718()), hash: *tx.tx_hash() }
    }

    /// Signs `transfers` on every core and keeps their order.
    pub fn sign_all(&self, transfers: &[Transfer]) -> Vec<Signed> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = transfers.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let signing = |part: &'_ [Transfer]| part.iter().map(|&t| self.sign(t)).collect();
            let parts: Vec<_> = transfers
                .chunks(share)
                .map(|part| scope.spawn(move || -> Vec<Signed> { signing(part) }))
                .collect();
            let join = |part: thread::ScopedJoinHandle<'_, Vec<Signed>>| {
                part.join().expect("signing does not panic")
            };
            parts.into_iter().flat_map(join).collect()
        })
    }
}

/// The `index`th address nobody has a key of; transfers to distinct ones create accounts.
pub fn stranger(index: u64) -> Address {
    let mut bytes = [0xee; 20];
    bytes[12..].copy_from_slice(&index.to_be_bytes());
    Address::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{Transaction, transaction::SignerRecoverable};
    use alloy_eips::eip2718::Decodable2718;
    use alloy_primitives::address;

    /// Goal: what is sent decodes to what was asked, from the sender that was asked.
    #[test]
    fn signed_transfers_recover_to_their_senders_in_order() {
        let wallet = Wallet::test(3);
        assert_eq!(wallet.address(0), address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
        let transfers: Vec<_> = (0..3)
            .flat_map(|nonce| (0..3).map(move |sender| (sender, nonce)))
            .map(|(sender, nonce)| Transfer { sender, nonce, to: stranger(nonce) })
            .collect();
        let signed = wallet.sign_all(&transfers);
        assert_eq!(signed.len(), transfers.len());
        for (signed, transfer) in signed.iter().zip(&transfers) {
            let raw = hex::decode(&signed.raw).expect("it is hex");
            let tx = TxEnvelope::decode_2718(&mut raw.as_slice()).expect("it decodes");
            assert_eq!(tx.recover_signer().expect("signed"), wallet.address(transfer.sender));
            assert_eq!((tx.nonce(), tx.to()), (transfer.nonce, Some(transfer.to)));
            assert_eq!(*tx.tx_hash(), signed.hash);
        }
    }
}
