//! The folder of a database: a label that says whose it is, and a lock.
//!
//! The label lets a foreign, newer or used datadir be refused before RocksDB touches anything. The
//! rows inside the database are the authority; they are compared again once it is open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use alloy_primitives::B256;
use evenkeel_chain::ChainSpec;

use crate::{error::OpenError, rows::FORMAT};

const LABEL_FILE: &str = "evenkeel.datadir";
/// The chain's spec, so that the database can be opened without the flags that made it. Written
/// before the label: a folder with a label has it.
const SPEC_FILE: &str = "spec.json";
const STORE_FOLDER: &str = "state";
/// RocksDB has this file in every database.
const ROCKS_FILE: &str = "CURRENT";
/// A label is three short lines; anything longer is not one.
const LABEL_BYTES_MAX: u64 = 1_024;

/// A datadir that this process has locked. Dropping it lets go.
pub(super) struct Datadir {
    path: PathBuf,
    _label: File,
}

impl Datadir {
    /// Locks the folder for the chain with `spec`, making it if it is not there.
    pub(super) fn open(path: &Path, chain: &ChainSpec) -> Result<Self, OpenError> {
        let spec = chain.hash();
        let io = |source| OpenError::Io { path: path.to_path_buf(), source };
        let label_path = path.join(LABEL_FILE);
        if !label_path.try_exists().map_err(io)? && is_foreign(path).map_err(io)? {
            return Err(OpenError::NotDatadir { path: path.to_path_buf() });
        }
        fs::create_dir_all(path).map_err(io)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut label = options.open(&label_path).map_err(io)?;
        match label.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.to_path_buf() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut text = String::new();
        (&mut label).take(LABEL_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        if let Some((format, found)) = parse(&text) {
            check(path, format, found, spec)?;
        } else {
            // Cut off by a crash at the first start, or not there yet.
            let mut file = File::create(path.join(SPEC_FILE)).map_err(io)?;
            file.write_all(chain.to_json().as_bytes()).map_err(io)?;
            file.sync_all().map_err(io)?;
            label.set_len(0).map_err(io)?;
            label.rewind().map_err(io)?;
            let text = format!("evenkeel datadir\nformat {FORMAT}\nspec {spec}\n");
            label.write_all(text.as_bytes()).map_err(io)?;
            label.sync_all().map_err(io)?;
        }
        Ok(Self { path: path.to_path_buf(), _label: label })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE_FOLDER)
    }
}

/// The spec of the chain in a datadir; `None` if the folder holds no database.
pub(super) fn stored_spec(path: &Path) -> Result<Option<ChainSpec>, OpenError> {
    let io = |source| OpenError::Io { path: path.to_path_buf(), source };
    let mut text = String::new();
    match File::open(path.join(LABEL_FILE)) {
        Ok(label) => label.take(LABEL_BYTES_MAX).read_to_string(&mut text).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let Some((format, hash)) = parse(&text) else { return Ok(None) };
    // A newer format may keep its spec otherwise: say so before reading it.
    check(path, format, hash, hash)?;
    let text = fs::read_to_string(path.join(SPEC_FILE)).map_err(io)?;
    let spec = ChainSpec::from_json(&text).map_err(|error| io(io::Error::other(error)))?;
    check(path, format, spec.hash(), hash)?;
    Ok(Some(spec))
}

/// Refuses what another version or another chain wrote.
pub(super) fn check(
    path: &Path,
    format: u32,
    found: B256,
    expected: B256,
) -> Result<(), OpenError> {
    let path = || path.to_path_buf();
    if format > FORMAT {
        return Err(OpenError::Newer { path: path(), found: format, known: FORMAT });
    }
    if format < FORMAT {
        return Err(OpenError::Older { path: path(), found: format, known: FORMAT });
    }
    if found != expected {
        return Err(OpenError::Foreign { path: path(), found, expected });
    }
    Ok(())
}

/// Returns true if a folder without a label holds anything but what is left of a database of ours,
/// whose rows are compared once it is open.
fn is_foreign(path: &Path) -> io::Result<bool> {
    if !path.try_exists()? {
        return Ok(false);
    }
    if !path.is_dir() {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // The root of a fresh volume is as good as an empty folder.
        if name != "lost+found" && name != SPEC_FILE && name != STORE_FOLDER {
            return Ok(true);
        }
    }
    let store = path.join(STORE_FOLDER);
    if !store.try_exists()? || store.join(ROCKS_FILE).try_exists()? {
        return Ok(false);
    }
    Ok(!store.is_dir() || fs::read_dir(store)?.next().is_some())
}

fn parse(text: &str) -> Option<(u32, B256)> {
    let mut lines = text.lines();
    if lines.next()? != "evenkeel datadir" {
        return None;
    }
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    // A newer format may say more, or it otherwise.
    let spec = lines.next().and_then(|line| line.strip_prefix("spec ")?.parse().ok());
    match spec {
        Some(spec) => Some((format, spec)),
        None if format > FORMAT => Some((format, B256::ZERO)),
        None => None,
    }
}
