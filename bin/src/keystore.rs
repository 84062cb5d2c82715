//! Keys from files of the Web3 Secret Storage (version 3), as geth and cast write them.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use alloy_primitives::hex;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::args::WalletArgs;

/// How the library says that the password is not the file's; the tests would notice another way.
const WRONG_PASSWORD: &str = "Mac Mismatch";
/// Bytes to be derived from the password, of which 32 are used; more than 255 the library refuses.
const KEY_BYTES: RangeInclusive<u64> = 32..=255;
/// A block of AES.
const IV_BYTES: usize = 16;
/// Memory that scrypt may take. The files of geth (n = 262144, r = 8) want 256 MiB.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// How often scrypt may go through that memory. Known files want 8 times at most (guess).
const SCRYPT_P_MAX: u64 = 64;

/// The keys of `--keystore`, in its order. Each takes time by design of its file: some
/// 100 ms as geth writes them (guess).
///
/// # Errors
///
/// A file cannot be read, is no keystore, or its password is wrong: which, and what was expected.
pub(crate) fn unlock(args: &WalletArgs) -> Result<Vec<PrivateKeySigner>> {
    if args.keystore.is_empty() {
        return Ok(Vec::new());
    }
    let path = args.password_file.as_deref();
    let path = path.context("--keystore needs --password-file")?;
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let passwords = passwords(&text, args.keystore.len())
        .with_context(|| format!("{shown} does not hold the passwords"))?;
    let key = |(nth, path): (usize, &PathBuf)| {
        let line = nth.min(passwords.len() - 1);
        let which = format!("line {} of {shown}", line + 1);
        decrypt(path, passwords[line], &which)
    };
    args.keystore.iter().enumerate().map(key).collect()
}

/// The lines of `text` that are passwords for `count` keystores: one at least, and no more than
/// there are keystores. Empty lines at the end are one only where a keystore is left for it.
fn passwords(text: &str, count: usize) -> Result<Vec<&str>> {
    let mut lines: Vec<&str> = text.lines().collect();
    while lines.len() > count && lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    ensure!(!lines.is_empty(), "it is empty: expected one a line");
    ensure!(
        lines.len() <= count,
        "expected one line for each of {count} keystores, found {}",
        lines.len()
    );
    Ok(lines)
}

/// The key in a keystore; `which` is what an error calls the password.
///
/// # Errors
///
/// What is wrong with the file or the password.
pub(crate) fn decrypt(path: &Path, password: &str, which: &str) -> Result<PrivateKeySigner> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    check(&text).with_context(|| format!("{shown} is not a keystore"))?;
    PrivateKeySigner::decrypt_keystore(path, password).map_err(|error| {
        let text = error.to_string();
        if text.contains(WRONG_PASSWORD) {
            return anyhow!("cannot unlock {shown}: the password in {which} is not its own");
        }
        anyhow!("cannot unlock {shown}: {text}")
    })
}

/// Checks what the file says of itself, which the library tells less clearly.
fn check(text: &str) -> Result<()> {
    let file: Value = serde_json::from_str(text).context("expected JSON")?;
    let version = &file["version"];
    ensure!(*version == 3, "expected version 3, found {version}");
    ensure!(file["id"].is_string(), "expected an id, found {}", file["id"]);
    let crypto = file.get("crypto").context("expected an object crypto")?;
    let cipher = &crypto["cipher"];
    ensure!(*cipher == "aes-128-ctr", "crypto.cipher: expected aes-128-ctr, found {cipher}");
    let iv = &crypto["cipherparams"]["iv"];
    let iv_bytes = iv.as_str().and_then(|iv| hex::decode(iv).ok());
    ensure!(
        iv_bytes.is_some_and(|iv| iv.len() == IV_BYTES),
        "crypto.cipherparams.iv: expected {IV_BYTES} bytes in hex, found {iv}"
    );
    check_derivation(&crypto["kdf"], &crypto["kdfparams"])
}

/// Checks how a key is made of the password: that the library knows it, and what it costs.
fn check_derivation(kdf: &Value, params: &Value) -> Result<()> {
    let number = |name: &str, range: RangeInclusive<u64>| {
        let found = &params[name];
        let number = found.as_u64().filter(|number| range.contains(number));
        number.with_context(|| {
            let (low, high) = (range.start(), range.end());
            format!(
                "crypto.kdfparams.{name}: expected a number from {low} to {high}, found {found}"
            )
        })
    };
    // The library takes the function that the parameters are of, whatever the file names.
    let not_of = |other: &str| {
        ensure!(params.get(other).is_none(), "crypto.kdfparams.{other}: {kdf} has no such thing");
        Ok(())
    };
    match kdf.as_str() {
        Some("pbkdf2") => {
            not_of("n")?;
            let prf = &params["prf"];
            ensure!(
                *prf == "hmac-sha256",
                "crypto.kdfparams.prf: expected hmac-sha256, found {prf}"
            );
            number("c", 1..=u32::MAX.into())?;
        }
        Some("scrypt") => {
            not_of("c")?;
            let r = number("r", 1..=u32::MAX.into())?;
            let p = number("p", 1..=SCRYPT_P_MAX)?;
            let n = number("n", 2..=1 << 31)?;
            ensure!(n.is_power_of_two(), "crypto.kdfparams.n: expected a power of two, found {n}");
            ensure!(
                u64::from(n.ilog2()) < r * 16,
                "crypto.kdfparams: RFC 7914 wants n below 2^(16 r), found n = {n} with r = {r}"
            );
            // RFC 7914: 128 r bytes for each of n and of p.
            let bytes = (128 * r).saturating_mul(n.max(p));
            ensure!(
                bytes <= SCRYPT_BYTES_MAX,
                "crypto.kdfparams: n = {n}, r = {r} and p = {p} take {bytes} bytes, limit \
                 {SCRYPT_BYTES_MAX}"
            );
        }
        _ => return Err(anyhow!("crypto.kdf: expected scrypt or pbkdf2, found {kdf}")),
    }
    number("dklen", KEY_BYTES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../tests/devnet/keystore.json");
    /// What geth writes.
    const SCRYPT: [(&str, &str); 2] =
        [("pbkdf2", "scrypt"), ("\"c\": 1,", "\"n\": 262144, \"r\": 8, \"p\": 1,")];

    /// The keystore with each `from` as its `to`.
    fn edited(edits: &[(&str, &str)]) -> String {
        edits.iter().fold(FILE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        })
    }

    /// Goal: on what the library would panic, abort or work for hours is refused by name.
    #[test]
    fn what_the_library_cannot_take_is_named() {
        check(FILE).expect("a keystore");
        check(&edited(&SCRYPT)).expect("a keystore");
        let iv = "00000000000000000000000000000000";
        for (is_scrypt, from, to, expected) in [
            (false, "32,", "31,", "dklen: expected a number from 32 to 255, found 31"),
            (true, "32,", "31,", "dklen: expected a number from 32 to 255, found 31"),
            (true, "32,", "256,", "dklen: expected a number from 32 to 255, found 256"),
            (false, iv, &iv[2..], "iv: expected 16 bytes in hex, found \"0000"),
            (false, iv, &format!("00{iv}"), "iv: expected 16 bytes in hex, found \"0000"),
            (false, iv, &iv.replace('0', "x"), "iv: expected 16 bytes in hex, found \"xxxx"),
            (false, "\"c\": 1", "\"c\": 0", "c: expected a number from 1 to 4294967295, found 0"),
            (true, "262144", "2147483648", "p = 1 take 2199023255552 bytes, limit 1073741824"),
            (true, "262144", "1", "n: expected a number from 2 to 2147483648, found 1"),
            (true, "262144", "262143", "n: expected a power of two, found 262143"),
            (true, "\"r\": 8", "\"r\": 33", "p = 1 take 1107296256 bytes, limit 1073741824"),
            (true, "\"r\": 8", "\"r\": 1", "found n = 262144 with r = 1"),
            (true, "\"p\": 1", "\"p\": 65", "p: expected a number from 1 to 64, found 65"),
            (true, "\"p\": 1", "\"p\": 1, \"c\": 1", "c: \"scrypt\" has no such thing"),
            (false, "sha256", "sha512", "prf: expected hmac-sha256, found \"hmac-sha512\""),
            (false, "\"c\": 1", "\"c\": 1, \"n\": 2", "n: \"pbkdf2\" has no such thing"),
        ] {
            let base: &[_] = if is_scrypt { &SCRYPT } else { &[] };
            let text = edited(&[base, &[(from, to)]].concat());
            let error = check(&text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let most = edited(&[&SCRYPT[..], &[("\"r\": 8", "\"r\": 32")]].concat());
        check(&most).expect("as much as is allowed");
    }

    /// Goal: empty lines at the end are no passwords unless a keystore is left for them.
    #[test]
    fn empty_lines_at_the_end_are_no_passwords() {
        for (text, count, expected) in [
            ("pw", 1, &["pw"][..]),
            ("pw\r\n\n\n", 1, &["pw"]),
            ("pw\n\n", 2, &["pw", ""]),
            ("pw\n", 2, &["pw"]),
            ("\n\n", 1, &[""]),
            ("\npw\n", 2, &["", "pw"]),
        ] {
            assert_eq!(passwords(text, count).expect("passwords"), expected, "{text:?}");
        }
        for (text, expected) in [
            ("", "it is empty: expected one a line"),
            ("pw\n\nmarlin\n", "expected one line for each of 1 keystores, found 3"),
        ] {
            let error = passwords(text, 1).expect_err(expected).to_string();
            assert_eq!(error, expected);
        }
    }
}
