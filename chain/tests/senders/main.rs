//! Sender recovery and decoding against the other backend, the signer, and hostile bytes.

use alloy_consensus::{SignableTransaction, TxEip4844, TxType, crypto::SECP256K1N_HALF};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use evenkeel_chain::{
    BlobError, Header, RecoveredTx, SealedBlock, SignatureError, TxDecodeError, TxEnvelope,
    UnrecoveredTx, Withdrawal, limits::TX_SIZE_MAX, recover, recover_all, transactions_root,
    withdrawals_root,
};
use proptest::{collection::vec, prelude::*};

mod generate;
use generate::{address, encode, sign, signer, unsigned, word};

/// Order of the curve.
fn order() -> U256 {
    SECP256K1N_HALF * U256::from(2) + U256::ONE
}

fn both(signature: &Signature, hash: &B256) -> Result<Address, SignatureError> {
    let fast = recover::secp256k1(signature, hash);
    assert_eq!(fast, recover::k256(signature, hash), "{signature:?} {hash}");
    fast
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Goal: what a wallet signs has that wallet as its sender, by both backends, after a trip
    /// through the wire form (C1); the other half of the signature space does not.
    #[test]
    fn the_signer_is_the_sender(unsigned in unsigned(), signer in signer()) {
        let tx = sign(unsigned, &signer);
        let raw = encode(&tx);
        let decoded = RecoveredTx::decode(&raw).expect("a signed transaction decodes");
        prop_assert_eq!(decoded.hash(), &keccak256(&raw));
        prop_assert_eq!(decoded.size_bytes(), raw.len());

        let hash = tx.signature_hash();
        prop_assert_eq!(both(tx.signature(), &hash), Ok(signer.address()));
        let recovered = recover_all(vec![decoded]).pop().expect("one in, one out");
        let recovered = recovered.expect("both backends recovered it");
        prop_assert_eq!(recovered.sender(), signer.address());
        prop_assert_eq!(recovered.encoded(), Bytes::from(raw));
        prop_assert!(!recovered.is_impersonated());

        // EIP-2: n - s with the other parity is as good to the curve.
        let signature = tx.signature();
        let twin = Signature::new(signature.r(), order() - signature.s(), !signature.v());
        prop_assert_eq!(both(&twin, &hash), Err(SignatureError::HighS));
    }

    /// Goal: both backends agree on any numbers at all, mostly by refusing them.
    #[test]
    fn backends_agree_on_any_signature(
        r in word(), s in word(), parity in any::<bool>(), hash in any::<[u8; 32]>(),
        edge in 0_u8..6,
    ) {
        let (r, s) = match edge {
            0 => (order(), s % SECP256K1N_HALF),
            1 => (order() - U256::ONE, U256::ONE),
            2 => (U256::MAX, U256::ONE),
            3 => (r, SECP256K1N_HALF),
            4 => (r, SECP256K1N_HALF + U256::ONE),
            _ => (r, s),
        };
        let result = both(&Signature::new(r, s, parity), &B256::from(hash));
        if s > SECP256K1N_HALF {
            prop_assert_eq!(result, Err(SignatureError::HighS));
        } else if r.is_zero() || s.is_zero() || r >= order() {
            prop_assert_eq!(result, Err(SignatureError::OutOfRange));
        }
    }

    /// Goal: C1 and C2 under bytes made to hurt: a valid transaction cut, grown and changed.
    #[test]
    fn mutated_bytes_decode_to_themselves_or_not_at_all(
        unsigned in unsigned(), signer in signer(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..4),
    ) {
        let mut raw = encode(&sign(unsigned, &signer));
        for (at, byte, kind) in edits {
            let at = at.index(raw.len().max(1));
            match kind {
                0 if !raw.is_empty() => raw[at] = byte,
                1 => raw.truncate(at),
                2 => raw.insert(at.min(raw.len()), byte),
                _ => raw.push(byte),
            }
        }
        check_decode(&raw);
    }

    /// Goal: the same for bytes that were never a transaction.
    #[test]
    fn random_bytes_decode_to_themselves_or_not_at_all(
        first in 0_u8..=0xff, rest in vec(any::<u8>(), 0..300),
    ) {
        let mut raw = vec![first];
        raw.extend(rest);
        check_decode(&raw);
    }

    /// Goal: C1 and C2 for blocks: one of any transactions comes back from its bytes, body and
    /// senders with it; changed bytes decode to themselves or not at all.
    #[test]
    fn blocks_decode_to_themselves_or_not_at_all(
        unsigned in vec(unsigned(), 0..5),
        signer in signer(),
        withdrawals in vec(any::<u64>(), 0..3),
        is_shanghai in any::<bool>(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let sign = |unsigned| RecoveredTx::from_parts(sign(unsigned, &signer), signer.address());
        let txs: Vec<_> = unsigned.into_iter().map(sign).collect();
        let withdrawals = withdrawals.into_iter().map(|amount| Withdrawal {
            amount, ..Withdrawal::default()
        });
        let withdrawals: Option<Vec<_>> = is_shanghai.then(|| withdrawals.collect());
        let header = Header {
            transactions_root: transactions_root(&txs),
            withdrawals_root: withdrawals.as_deref().map(withdrawals_root),
            base_fee_per_gas: is_shanghai.then_some(1),
            ..Header::default()
        };
        let block = SealedBlock::seal(header, txs, Vec::new(), withdrawals);
        prop_assert_eq!(block.check_body(), Ok(()));
        let mut raw = block.encode_rlp();
        prop_assert_eq!(raw.len(), block.size_bytes());
        let decoded = SealedBlock::decode_rlp(&raw).expect("a block's own bytes");
        prop_assert_eq!(decoded.recover(), Ok(block));

        for (at, byte) in edits {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Ok(decoded) = SealedBlock::decode_rlp(&raw) {
            let senders = vec![Address::ZERO; decoded.txs.len()];
            prop_assert_eq!(decoded.with_senders(&senders).encode_rlp(), raw);
        }
    }

    /// Goal: C3: an impersonated transaction is known as such after a trip through the database,
    /// differs by sender, and is nobody's by its signature.
    #[test]
    fn impersonation_is_told_from_signing(unsigned in unsigned(), a in address()) {
        let tx = RecoveredTx::impersonated(unsigned.clone(), a);
        let again = RecoveredTx::decode(&tx.encoded()).expect("it has the common form");
        prop_assert_eq!(again.hash(), tx.hash());
        let again = again.with_sender(a);
        prop_assert!(again.is_impersonated() && again == tx);

        let other = RecoveredTx::impersonated(unsigned, Address::repeat_byte(7));
        prop_assert_ne!(other.hash(), tx.hash());
        let signer = both(tx.tx().signature(), &tx.tx().signature_hash());
        prop_assert_ne!(signer, Ok(a));
    }
}

/// C1, and that recovery of whatever decodes ends in a value too.
fn check_decode(raw: &[u8]) {
    // One with blobs has the hash of what is in blocks.
    if let Ok(tx) = RecoveredTx::decode(raw)
        && raw[0] != TxType::Eip4844 as u8
    {
        assert_eq!(tx.hash(), &keccak256(raw));
        assert_eq!(encode(tx.tx()), raw);
        let _signed_or_not = both(tx.tx().signature(), &tx.tx().signature_hash());
    }
}

/// Goal: what is refused by rule is refused by name, with numbers.
#[test]
fn refusals_say_what_was_found() {
    let blob: TxEnvelope = TxEip4844::default().into_signed(Signature::test_signature()).into();
    let blob = UnrecoveredTx::new(blob);
    let decode = |raw: &[u8]| RecoveredTx::decode(raw).expect_err("not a transaction we take");

    assert_eq!(decode(&encode(blob.tx())), TxDecodeError::Blobs(BlobError::Missing));
    assert_eq!(decode(&[]), TxDecodeError::Empty);
    assert_eq!(decode(&[0, 0xc0]), TxDecodeError::UnknownType { found: 0 });
    assert_eq!(decode(&[5, 0xc0]), TxDecodeError::UnknownType { found: 5 });
    let found = TX_SIZE_MAX + 1;
    let error = decode(&vec![0xf8; found]);
    assert_eq!(error, TxDecodeError::TooLarge { found, limit: TX_SIZE_MAX });
    assert_eq!(error.to_string(), "oversized data: transaction size 131073, limit 131072");
}
