//! The folder of a database: a label that says whose it is, and a lock.
//!
//! The label lets a foreign, newer or used datadir be refused before RocksDB touches anything. The
//! rows inside the database are the authority; they are compared again once it is open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use alloy_primitives::B256;
use evenkeel_chain::ChainSpec;

use crate::{error::OpenError, rows::FORMAT};

const LABEL_FILE: &str = "evenkeel.datadir";
/// Last line of a label once the genesis is in the store: from then on a store that is gone is a
/// loss, before it is a first start that a crash cut off.
const COMPLETE: &str = "genesis written";
/// The chain's spec, so that the database can be opened without the flags that made it. Written
/// before the label: a folder with a label has it.
const SPEC_FILE: &str = "spec.json";
const STORE_FOLDER: &str = "state";
/// RocksDB has this file in every database.
const ROCKS_FILE: &str = "CURRENT";
/// A label is four short lines; anything longer is not one.
const LABEL_BYTES_MAX: u64 = 1_024;

/// A datadir that this process has locked. Dropping it lets go.
pub(super) struct Datadir {
    path: PathBuf,
    label: File,
    is_complete: bool,
    /// Whether the folder was made for it now.
    is_new: bool,
}

/// What a label says.
struct Label {
    format: u32,
    spec: B256,
    is_complete: bool,
}

impl Datadir {
    /// Locks the folder for the chain with `spec`, making it if it is not there.
    pub(super) fn open(path: &Path, chain: &ChainSpec) -> Result<Self, OpenError> {
        let spec = chain.hash();
        let io = |source| OpenError::Io { path: path.to_path_buf(), source };
        let unusable = |source| OpenError::Unusable { path: path.to_path_buf(), source };
        let label_path = path.join(LABEL_FILE);
        let is_labelled = label_path.try_exists().map_err(unusable)?;
        if !is_labelled && is_foreign(path).map_err(unusable)? {
            return Err(OpenError::NotDatadir { path: path.to_path_buf() });
        }
        let is_new = !path.try_exists().map_err(unusable)?;
        fs::create_dir_all(path).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut label = options.open(&label_path).map_err(unusable)?;
        lock(&label, path)?;
        let text = read_label(&label).map_err(io)?;
        let mut is_complete = false;
        if let Some(read) = parse(&text) {
            check(path, read.format, read.spec, spec)?;
            is_complete = read.is_complete;
            if is_complete && !has_store(path).map_err(io)? {
                return Err(store_missing(path));
            }
        } else if is_labelled && has_store(path).map_err(io)? {
            return Err(OpenError::Label { path: label_path });
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
        Ok(Self { path: path.to_path_buf(), label, is_complete, is_new })
    }

    /// Locks a folder that holds a database, to read it; writes nothing.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let label_path = path.join(LABEL_FILE);
        let label = File::open(&label_path)
            .map_err(|source| OpenError::Io { path: label_path.clone(), source })?;
        lock(&label, path)?;
        let io = |source| OpenError::Io { path: path.to_path_buf(), source };
        if !has_store(path).map_err(io)? {
            return Err(store_missing(path));
        }
        Ok(Self { path: path.to_path_buf(), label, is_complete: true, is_new: false })
    }

    /// Notes that the store holds a chain. Not synced: where a crash takes the line, the next start
    /// writes it.
    pub(super) fn complete(&mut self) -> Result<(), OpenError> {
        if self.is_complete {
            return Ok(());
        }
        let io = |source| OpenError::Io { path: self.path.join(LABEL_FILE), source };
        self.label.seek(SeekFrom::End(0)).map_err(io)?;
        self.label.write_all(format!("{COMPLETE}\n").as_bytes()).map_err(io)?;
        self.is_complete = true;
        Ok(())
    }

    /// Removes what a database consists of, and lets go. Cut off by a crash, it is one that was
    /// never complete.
    pub(super) fn remove(self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { path: self.path.clone(), source };
        let text =
            read_label(&File::open(self.path.join(LABEL_FILE)).map_err(failed)?).map_err(failed)?;
        let kept = text.find(COMPLETE).unwrap_or(text.len());
        self.label.set_len(kept as u64).and_then(|()| self.label.sync_all()).map_err(failed)?;
        fs::remove_dir_all(self.store()).map_err(failed)?;
        for file in [SPEC_FILE, LABEL_FILE] {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Removes what was made here, of a database that never came to be. The next start deletes what
    /// this fails to (G1), so nothing depends on it.
    pub(super) fn discard(self) {
        assert!(!self.is_complete, "it held a chain");
        let folder = self.is_new.then(|| self.path.clone());
        let _may_fail = self.remove();
        let _may_fail = folder.map(fs::remove_dir);
    }

    /// Whether the store held a chain when the datadir was opened before.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE_FOLDER)
    }
}

fn lock(label: &File, path: &Path) -> Result<(), OpenError> {
    match label.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path: path.to_path_buf(), source }),
    }
}

/// The spec of the chain in a datadir; `None` if the folder holds no database.
pub(super) fn stored_spec(path: &Path) -> Result<Option<ChainSpec>, OpenError> {
    let io = |source| OpenError::Io { path: path.to_path_buf(), source };
    let label_path = path.join(LABEL_FILE);
    let has_store = has_store(path).map_err(io)?;
    let text = match File::open(&label_path) {
        Ok(label) => read_label(&label).map_err(io)?,
        // Without a label the rows decide, once they are open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if has_store { read_spec(path).map(Some) } else { Ok(None) };
        }
        Err(source) => return Err(OpenError::Io { path: label_path, source }),
    };
    let Some(label) = parse(&text) else {
        return if has_store { Err(OpenError::Label { path: label_path }) } else { Ok(None) };
    };
    // A newer format may keep its spec otherwise: say so before reading it.
    check(path, label.format, label.spec, label.spec)?;
    let spec = read_spec(path)?;
    if spec.hash() != label.spec {
        let reason = format!("it has the hash {}, the label says {}", spec.hash(), label.spec);
        return Err(OpenError::Spec { path: path.join(SPEC_FILE), reason });
    }
    Ok(Some(spec))
}

fn read_spec(path: &Path) -> Result<ChainSpec, OpenError> {
    let path = path.join(SPEC_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => ChainSpec::from_json(&text)
            .map_err(|error| OpenError::Spec { path, reason: error.to_string() }),
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

/// The first bytes of a label as text; what is not text is no label.
fn read_label(label: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    label.take(LABEL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns true if the datadir has a store of RocksDB's.
fn has_store(path: &Path) -> io::Result<bool> {
    path.join(STORE_FOLDER).join(ROCKS_FILE).try_exists()
}

/// Names what is missing of the store.
fn store_missing(path: &Path) -> OpenError {
    let store = path.join(STORE_FOLDER);
    OpenError::StoreMissing { path: if store.is_dir() { store.join(ROCKS_FILE) } else { store } }
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

fn parse(text: &str) -> Option<Label> {
    let mut lines = text.lines();
    if lines.next()? != "evenkeel datadir" {
        return None;
    }
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    // A newer format may say more, or it otherwise.
    let spec = lines.next().and_then(|line| line.strip_prefix("spec ")?.parse().ok());
    let spec = spec.or((format > FORMAT).then_some(B256::ZERO))?;
    // A crash may have left a part of the line before it.
    Some(Label { format, spec, is_complete: lines.any(|line| line.ends_with(COMPLETE)) })
}
