//! The Web3 Secret Storage, version 3: a private key in JSON that a password opens.
//!
//! Source: "Web3 Secret Storage Definition" of ethereum.org. What it leaves open is read as geth
//! does (`accounts/keystore/passphrase.go`): names of fields and hex in any case, and keys whose
//! leading zeros were cut off. Beyond geth, hex may begin with 0x, and `id` and `address`, which
//! nobody needs to open it, may be anything or missing. Version 1 is refused (geth reads it).

use std::ops::RangeInclusive;

use aes::{
    Aes128,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use alloy_primitives::{B256, hex, keccak256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context as _, Result, anyhow, ensure};
use ctr::Ctr128BE;
use pbkdf2::{pbkdf2_hmac_array, sha2::Sha256};
use serde_json::Value;

/// Bytes that are derived from the password: half for AES, half for the check.
const KEYS_BYTES: usize = 32;
/// What a file may say of that. Bytes after the first 32 are used for nothing, and change none of
/// these: PBKDF2, which scrypt ends with too, makes each 32 on their own (RFC 8018, 5.2).
const DKLEN: RangeInclusive<u32> = 32..=u32::MAX;
/// A block of AES.
const IV_BYTES: usize = 16;
/// Memory for the larger array of scrypt. The files of geth (n = 262144, r = 8) want 256 MiB.
///
/// So 128 r p is bounded too, as the library needs: it multiplies r by p in 32 bits.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
const _: () = assert!(SCRYPT_BYTES_MAX / 128 < 1 << 30);
/// How often scrypt may go through that memory. Known files want 8 times at most (guess).
const SCRYPT_P_MAX: u32 = 64;

/// A key that a password opens.
#[derive(Debug)]
pub(crate) struct Keystore {
    derivation: Derivation,
    salt: Vec<u8>,
    iv: [u8; IV_BYTES],
    /// As long as the key, which has 32 bytes or, without leading zeros, fewer.
    ciphertext: Vec<u8>,
    mac: B256,
}

/// How keys are made of the password.
#[derive(Debug)]
enum Derivation {
    Scrypt(scrypt::Params),
    Pbkdf2 { rounds: u32 },
}

impl Keystore {
    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// A field is missing, wrong, or asks for too much memory: which, and what was expected.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let file: Value = serde_json::from_str(text).context("expected JSON")?;
        let at = |place| Field::at(&file, place);
        let version = at("version");
        ensure!(*version.value == 3, version.expected("3"));
        at("crypto.cipher").is("aes-128-ctr")?;
        let iv = at("crypto.cipherparams.iv").bytes(IV_BYTES..=IV_BYTES)?;
        let mac = at("crypto.mac").bytes(B256::len_bytes()..=B256::len_bytes())?;
        at("crypto.kdfparams.dklen").number(DKLEN)?;
        Ok(Self {
            derivation: Derivation::read(&file)?,
            salt: at("crypto.kdfparams.salt").bytes(0..=usize::MAX)?,
            iv: iv.try_into().expect("its length was asked for"),
            ciphertext: at("crypto.ciphertext").bytes(1..=B256::len_bytes())?,
            mac: B256::from_slice(&mac),
        })
    }

    /// The key; none if `password` is not the file's, or the file was changed. Takes time by design
    /// of the file.
    ///
    /// # Errors
    ///
    /// What the password opens is no private key.
    pub(crate) fn open(&self, password: &str) -> Result<Option<PrivateKeySigner>> {
        let keys = self.derivation.keys(password.as_bytes(), &self.salt);
        let (cipher_key, mac_key) = keys.split_first_chunk::<16>().expect("they are 32 bytes");
        if keccak256([mac_key, &self.ciphertext].concat()) != self.mac {
            return Ok(None);
        }
        let mut key = self.ciphertext.clone();
        Ctr128BE::<Aes128>::new(cipher_key.into(), &self.iv.into()).apply_keystream(&mut key);
        let signer = PrivateKeySigner::from_bytes(&B256::left_padding_from(&key));
        signer.map(Some).context("what is in it is no private key")
    }
}

impl Derivation {
    /// Reads it, and checks what it costs.
    fn read(file: &Value) -> Result<Self> {
        let at = |place| Field::at(file, place);
        let kdf = at("crypto.kdf");
        match kdf.value.as_str() {
            Some("pbkdf2") => {
                at("crypto.kdfparams.prf").is("hmac-sha256")?;
                let rounds = at("crypto.kdfparams.c").number(1..=u32::MAX)?;
                Ok(Self::Pbkdf2 { rounds })
            }
            Some("scrypt") => {
                let r = at("crypto.kdfparams.r").number(1..=u32::MAX)?;
                let p = at("crypto.kdfparams.p").number(1..=SCRYPT_P_MAX)?;
                let field = at("crypto.kdfparams.n");
                let n = field.number(2..=1 << 31)?;
                // RFC 7914 wants n below 2^(16 r) besides, by erratum 5971 a mistake for 2^(128 r).
                ensure!(n.is_power_of_two(), field.expected("a power of two"));
                // RFC 7914: 128 r bytes for each of n, and as many for each of p.
                let bytes = (128 * u64::from(r)).saturating_mul(n.max(p).into());
                ensure!(
                    bytes <= SCRYPT_BYTES_MAX,
                    "crypto.kdfparams: n = {n}, r = {r} and p = {p} take {bytes} bytes, limit \
                     {SCRYPT_BYTES_MAX}"
                );
                let log_n = u8::try_from(n.ilog2()).expect("it is 31 at most");
                Ok(Self::Scrypt(scrypt::Params::new(log_n, r, p).expect("they are small")))
            }
            _ => Err(kdf.expected("scrypt or pbkdf2")),
        }
    }

    fn keys(&self, password: &[u8], salt: &[u8]) -> [u8; KEYS_BYTES] {
        match self {
            Self::Scrypt(params) => {
                let mut keys = [0; KEYS_BYTES];
                scrypt::scrypt(password, salt, params, &mut keys).expect("a length that it makes");
                keys
            }
            Self::Pbkdf2 { rounds } => pbkdf2_hmac_array::<Sha256, _>(password, salt, *rounds),
        }
    }
}

/// A value of the file, and its place there, by which errors call it.
struct Field<'a> {
    place: &'a str,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// What is at `place`, names with dots between them; null if nothing is.
    fn at(file: &'a Value, place: &'a str) -> Self {
        let value = place.split('.').fold(file, |value, name| {
            let alike = || {
                let mut fields = value.as_object()?.iter();
                fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
            };
            value.get(name).or_else(alike).unwrap_or(&Value::Null)
        });
        Self { place, value }
    }

    fn expected(&self, what: &str) -> anyhow::Error {
        anyhow!("{}: expected {what}, found {}", self.place, self.value)
    }

    fn is(&self, text: &str) -> Result<()> {
        ensure!(*self.value == text, self.expected(text));
        Ok(())
    }

    fn number(&self, range: RangeInclusive<u32>) -> Result<u32> {
        let number = self.value.as_u64().and_then(|number| number.try_into().ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.expected(&format!("a number from {} to {}", range.start(), range.end()))
        })
    }

    fn bytes(&self, lengths: RangeInclusive<usize>) -> Result<Vec<u8>> {
        let bytes = self.value.as_str().and_then(|text| hex::decode(text).ok());
        bytes.filter(|bytes| lengths.contains(&bytes.len())).ok_or_else(|| {
            let lengths = match (*lengths.start(), *lengths.end()) {
                (0, usize::MAX) => String::new(),
                (low, high) if low == high => format!("{low} "),
                (low, high) => format!("{low} to {high} "),
            };
            self.expected(&format!("{lengths}bytes in hex"))
        })
    }
}

#[cfg(test)]
mod tests;
