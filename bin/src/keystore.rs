//! Keys from files of the Web3 Secret Storage (version 3), as geth and cast write them.

use std::{fs, path::Path};

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context as _, Result, ensure};

use crate::args::WalletArgs;

/// The keys of `--keystore`, in its order. Each takes time by design of its file: some
/// 100 ms as geth writes them (guess).
///
/// # Errors
///
/// A file cannot be read, is no keystore, or its password is wrong.
pub(crate) fn unlock(args: &WalletArgs) -> Result<Vec<PrivateKeySigner>> {
    if args.keystore.is_empty() {
        return Ok(Vec::new());
    }
    let path = args.password_file.as_deref();
    let path = path.context("--keystore needs --password-file")?;
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let passwords: Vec<&str> = text.lines().collect();
    let last = *passwords.last().with_context(|| format!("{shown} holds no password"))?;
    ensure!(
        passwords.len() <= args.keystore.len().max(1),
        "{shown} holds {} passwords for {} keystores",
        passwords.len(),
        args.keystore.len()
    );
    let key = |(nth, path): (usize, &std::path::PathBuf)| {
        decrypt(path, passwords.get(nth).copied().unwrap_or(last))
    };
    args.keystore.iter().enumerate().map(key).collect()
}

/// The key in a keystore.
///
/// # Errors
///
/// What is wrong with the file or the password.
pub(crate) fn decrypt(path: &Path, password: &str) -> Result<PrivateKeySigner> {
    let key = PrivateKeySigner::decrypt_keystore(path, password);
    key.with_context(|| format!("cannot unlock {}", path.display()))
}
