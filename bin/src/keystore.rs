//! Keys from files of the Web3 Secret Storage (version 3), as geth and cast write them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::args::WalletArgs;

/// How the library says that the password is not the file's; the tests would notice another way.
const WRONG_PASSWORD: &str = "Mac Mismatch";

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
    let passwords: Vec<&str> = text.lines().collect();
    let last = passwords.len().checked_sub(1);
    let last = last.with_context(|| format!("{shown} holds no password: expected one a line"))?;
    ensure!(
        passwords.len() <= args.keystore.len().max(1),
        "{shown} holds {} passwords for {} keystores",
        passwords.len(),
        args.keystore.len()
    );
    let key = |(nth, path): (usize, &PathBuf)| {
        let line = nth.min(last);
        let which = format!("line {} of {shown}", line + 1);
        decrypt(path, passwords[line], &which)
    };
    args.keystore.iter().enumerate().map(key).collect()
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
    let (kdf, params) = (&crypto["kdf"], &crypto["kdfparams"]);
    let number = |name: &str| {
        let found = &params[name];
        found.as_u64().with_context(|| {
            format!("crypto.kdfparams.{name}: expected a whole number, found {found}")
        })
    };
    match kdf.as_str() {
        Some("pbkdf2") => drop((number("c")?, number("dklen")?)),
        Some("scrypt") => {
            let (n, r, p) = (number("n")?, number("r")?, number("p")?);
            ensure!(
                n.is_power_of_two() && r > 0 && p > 0,
                "crypto.kdfparams: expected n a power of two, r and p above 0, found {n}, {r}, {p}"
            );
            ensure!(
                u64::from(n.ilog2()) < r.saturating_mul(16),
                "crypto.kdfparams: RFC 7914 wants n below 2^(16 r), found n = {n} with r = {r}"
            );
        }
        _ => return Err(anyhow!("crypto.kdf: expected scrypt or pbkdf2, found {kdf}")),
    }
    Ok(())
}
