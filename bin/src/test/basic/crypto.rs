//! What messages between peers of Ethereum are encrypted with: AES in counter mode, and ECIES.
//!
//! The node speaks to no peer, so that none of its code reads ECIES: it is put together here, from
//! the curve that keys are kept on and the ciphers that keystores are opened with. What passes says
//! that these are right, and nothing about a protocol.
//!
//! Source: SEC 1, version 2.0, section 5.1.4, with the key derivation of NIST SP 800-56A, on
//! secp256k1 with AES-128 and SHA-256, and altered in one point: the key of the HMAC is hashed once
//! more (devp2p, `rlpx.md`, "ECIES Encryption"; geth's `crypto/ecies`).

use aes::{
    Aes128, Aes256,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use alloy_primitives::{Bytes, hex};
use alloy_signer::k256::{
    ProjectivePoint, PublicKey, SecretKey, elliptic_curve::point::AffineCoordinates as _,
};
use ctr::Ctr128BE;
use pbkdf2::{
    hmac::{Hmac, KeyInit as _, Mac as _},
    sha2::{Digest as _, Sha256},
};
use serde::Deserialize;

use crate::test::tally::expect;

/// A point with both of its coordinates, behind a byte that says so.
const POINT_BYTES: usize = 65;
/// A block of AES.
const IV_BYTES: usize = 16;

/// Something encrypted, its key, and what was.
#[derive(Deserialize)]
pub(super) struct CryptoTest {
    decryption_type: Scheme,
    key: String,
    cipher: String,
    payload: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    /// AES-256 in counter mode, from a counter of zero.
    AesCtr,
    EciesSec1Altered,
}

impl CryptoTest {
    pub(super) fn check(&self) -> Result<(), String> {
        let bytes = |text: &str| hex::decode(text).map_err(|error| error.to_string());
        let (key, cipher) = (bytes(&self.key)?, bytes(&self.cipher)?);
        let key = <[u8; 32]>::try_from(key).map_err(|key| {
            format!("key of {} bytes, expected 32: {}", key.len(), Bytes::from(key))
        })?;
        let found = match self.decryption_type {
            Scheme::AesCtr => {
                let mut text = cipher;
                Ctr128BE::<Aes256>::new(&key.into(), &[0; IV_BYTES].into())
                    .apply_keystream(&mut text);
                text
            }
            Scheme::EciesSec1Altered => {
                // It is not opened if the last bit of any part is another.
                let (iv, tag) = (POINT_BYTES + IV_BYTES - 1, cipher.len().saturating_sub(1));
                for place in [iv, tag.saturating_sub(32), tag] {
                    let mut changed = cipher.clone();
                    *changed.get_mut(place).ok_or("it is too short")? ^= 1;
                    if decrypt(key, &changed)?.is_some() {
                        return Err(format!("opened although byte {place} is another"));
                    }
                }
                decrypt(key, &cipher)?.ok_or("its tag is not the one of its text")?
            }
        };
        expect("payload", Bytes::from(found), Bytes::from(bytes(&self.payload)?))
    }
}

/// What is in an ECIES message to the owner of `key`; none if its tag is wrong.
///
/// The message: a point, the counter to begin with, the text encrypted, and the tag of these two.
fn decrypt(key: [u8; 32], message: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let short = || format!("{} bytes are no ECIES message", message.len());
    let (point, rest) = message.split_at_checked(POINT_BYTES).ok_or_else(short)?;
    let (signed, tag) = rest.split_last_chunk::<32>().ok_or_else(short)?;
    let (iv, text) = signed.split_first_chunk::<IV_BYTES>().ok_or_else(short)?;

    let key = SecretKey::from_slice(&key).map_err(|error| format!("no private key: {error}"))?;
    let point = PublicKey::from_sec1_bytes(point).map_err(|_| "its point is not on the curve")?;
    let secret = ProjectivePoint::from(*point.as_affine()) * *key.to_nonzero_scalar();
    // One block of the derivation is as long as both keys.
    let keys = Sha256::new().chain_update([0, 0, 0, 1]).chain_update(secret.to_affine().x());
    let keys: [u8; 32] = keys.finalize().into();
    let (cipher_key, mac_key) = keys.split_first_chunk::<16>().ok_or_else(short)?;

    let mac = Hmac::<Sha256>::new_from_slice(&Sha256::digest(mac_key));
    let mac = mac.map_err(|error| error.to_string())?;
    if mac.chain_update(signed).verify_slice(tag).is_err() {
        return Ok(None);
    }
    let mut text = text.to_vec();
    Ctr128BE::<Aes128>::new(cipher_key.into(), iv.into()).apply_keystream(&mut text);
    Ok(Some(text))
}
