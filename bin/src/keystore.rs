//! Keys from files of the Web3 Secret Storage (version 3), as geth and cast write them.

mod file;

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context as _, Result, ensure};

pub(crate) use file::Keystore;

use crate::args::WalletArgs;

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
fn decrypt(path: &Path, password: &str, which: &str) -> Result<PrivateKeySigner> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let keystore = Keystore::read(&text).with_context(|| format!("{shown} is not a keystore"))?;
    let key = keystore.open(password).with_context(|| format!("cannot unlock {shown}"))?;
    key.with_context(|| {
        format!(
            "cannot unlock {shown}: the password in {which} is not its own, or the file was changed"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
