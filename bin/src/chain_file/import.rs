//! Imports files of blocks.
//!
//! Imported blocks are checked and executed as those of a peer, but for the seals of proof of work,
//! which are trusted. Blocks are read and their senders found on all cores, a batch ahead of the
//! one that executes. In memory are those two batches, and of the chain what lies less than
//! [`DEPTH`] blocks below the head, for a branch may begin there, and up to [`BATCH`] more that
//! await being written.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use evenkeel_chain::{BlockDecodeError, ChainSpec, header_difference};
use evenkeel_consensus::TreeError;
use evenkeel_node::{BlockImport, ImportError, Limits, ReadBlock};
use evenkeel_runtime::System;
use evenkeel_state::{Database, Options};
use evenkeel_vm::limits::SLICE_GAS;
use rustix::time::{ClockId, clock_gettime};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use super::blocks::{Batch, BlockId, Items, Taken};
use crate::one_line;

/// Blocks below the head that are kept in memory until the last file ends. Deeper branches are
/// refused, as nodes do that call older blocks final.
const DEPTH: u64 = 64;
/// Blocks that become durable together, with one sync.
const BATCH: u64 = 256;
/// How often a long import says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(8);

/// Puts the blocks of `files` into the chain in `datadir`, which is made from the genesis file
/// `chain` if it is not there.
///
/// # Errors
///
/// The first block that cannot be read or breaks a rule, by file, place, number and hash; what came
/// before it is in the database. If nothing did and the database was made for it, there is none
/// then. A genesis that is not that of the database; a signal.
pub(crate) fn import(files: &[PathBuf], chain: Option<&Path>, datadir: &Path) -> Result<()> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&is_stopped)).context("cannot listen for signals")?;
    }
    let options = Options { path: Some(datadir.to_owned()), ..Options::default() };
    let stored = Database::stored_spec(&options)?;
    let is_new = stored.is_none();
    let had_folder = datadir.exists();
    let spec = Arc::new(chain_spec(chain, stored, datadir)?);
    let mut database = Database::open(&options, &spec)?;
    ensure!(
        database.tip().diffs.is_empty(),
        "the state of {} was changed on top of its head (anvil_setBalance and the like): no block \
         from elsewhere can follow",
        datadir.display()
    );
    let mut inline = System::inline()?;
    let limits = Limits::consensus();
    let mut blocks = BlockImport::new(spec, database.tip(), &mut inline, limits, SLICE_GAS);
    blocks.resume(&database.durable().chain)?;
    let mut importing = Importing {
        blocks,
        database: &mut database,
        is_stopped,
        count: 0,
        since: now(),
        told: now(),
    };
    let read = files.iter().try_for_each(|path| importing.file(path));
    let kept = importing.settle(0).context("the last blocks cannot be written");
    let ended = both(read, kept);
    let is_empty = importing.blocks.durable() == importing.blocks.spec().genesis.number;
    if is_new && is_empty && ended.is_err() {
        drop(importing);
        let removed = remove(database, (!had_folder).then_some(datadir));
        if removed.is_ok() {
            println!("imported 0 blocks; no database was made in {}", datadir.display());
        }
        return both(ended, removed);
    }
    importing.tell();
    ended
}

/// Takes the database off the disk, and the folder that was made for it.
fn remove(database: Database, folder: Option<&Path>) -> Result<()> {
    database.remove().context("the database of the genesis alone cannot be removed")?;
    let Some(folder) = folder else { return Ok(()) };
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// What failed first, with what failed after it and because of it.
fn both(first: Result<()>, then: Result<()>) -> Result<()> {
    match (first, then) {
        (Err(first), Err(then)) => Err(anyhow!("{}; then {}", one_line(&first), one_line(&then))),
        (first, then) => first.and(then),
    }
}

/// The chain of the database, which is to be that of the genesis file if both are there.
fn chain_spec(file: Option<&Path>, stored: Option<ChainSpec>, datadir: &Path) -> Result<ChainSpec> {
    let asked = file.map(|path| {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let spec = ChainSpec::from_genesis_json(&text);
        let spec = spec.with_context(|| format!("{shown} is not a genesis file"))?;
        anyhow::Ok((shown, spec))
    });
    match (asked.transpose()?, stored) {
        (Some((file, asked)), Some(stored)) => match asked.difference(&stored) {
            None => Ok(stored),
            Some(found) => bail!(
                "{file} is not the genesis of the database in {}: {} is {} in the file, expected \
                 {} as in the database",
                datadir.display(),
                found.field,
                found.ours,
                found.theirs
            ),
        },
        (Some((_, spec)), None) | (None, Some(spec)) => Ok(spec),
        (None, None) => bail!(
            "there is no database in {} yet: --chain has to say what genesis it has",
            datadir.display()
        ),
    }
}

struct Importing<'a> {
    blocks: BlockImport<'a>,
    database: &'a mut Database,
    is_stopped: Arc<AtomicBool>,
    /// Blocks that were executed.
    count: u64,
    since: Duration,
    told: Duration,
}

impl Importing<'_> {
    fn file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let mut items = Items::new(BufReader::new(file));
        let spec = Arc::clone(self.blocks.spec());
        let mut batch = Batch::read(&mut items, &spec);
        loop {
            let Batch { blocks, end } = batch;
            let (next, imported) = thread::scope(|scope| {
                let more = end.is_none();
                let ahead = more.then(|| scope.spawn(|| Batch::read(&mut items, &spec)));
                let imported = blocks.into_iter().try_for_each(|block| self.block(path, block));
                // What panics there has said why.
                (ahead.map(|ahead| ahead.join().expect("reading does not panic")), imported)
            });
            imported?;
            if let Some(end) = end {
                return end.with_context(|| shown.to_string());
            }
            batch = next.expect("there is one unless the file has ended");
        }
    }

    fn block(&mut self, path: &Path, (block, read): Taken) -> Result<()> {
        ensure!(!self.is_stopped.load(Ordering::Relaxed), "stopped by a signal");
        self.import(&block, read).with_context(|| block.in_file(path))
    }

    fn import(&mut self, block: &BlockId, read: Result<ReadBlock, BlockDecodeError>) -> Result<()> {
        if block.header.number <= self.blocks.durable()
            && self.database.durable().chain.height_of(block.hash)?.is_some()
        {
            return Ok(());
        }
        let imported = self.blocks.import_read(read?);
        let imported = imported.map_err(|error| self.refusal(block, error))?;
        self.count += u64::from(imported.executed.is_some());
        let head = self.blocks.head().header.number;
        if head - self.blocks.durable() >= DEPTH + BATCH {
            self.settle(DEPTH)?;
        }
        if now() > self.told + PROGRESS_EVERY {
            self.told = now();
            eprintln!("imported {} blocks, head #{head}", self.count);
        }
        Ok(())
    }

    /// Why the chain here cannot have `block`, where its parent is not in it.
    fn refusal(&self, block: &BlockId, error: ImportError) -> Error {
        let ImportError::Tree(TreeError::UnknownParent { number, parent }) = error else {
            return error.into();
        };
        let chain = self.database.durable().chain;
        let genesis = chain.genesis();
        let first = match chain.header(genesis) {
            Ok(first) => first.context("it is not there"),
            Err(error) => Err(error.into()),
        };
        let first = match first.context("cannot read the genesis of the database") {
            Ok(first) => first,
            Err(error) => return error,
        };
        if number <= genesis.get() {
            let found = header_difference(&block.header, &first.header);
            let found = found.map_or_else(String::new, |found| {
                format!(": {} is {}, expected {}", found.field, found.ours, found.theirs)
            });
            return anyhow!("not the genesis here, block {genesis} {}{found}", first.hash);
        }
        if number == genesis.get() + 1 {
            return anyhow!(
                "a block of another chain: its parent is {parent}, expected the genesis here, \
                 block {genesis} {}",
                first.hash
            );
        }
        let head = self.blocks.head();
        anyhow!(
            "its parent, block {} {parent}, is not here: the head of the chain is block {} {}",
            number - 1,
            head.header.number,
            head.hash
        )
    }

    /// Makes durable what is `depth` below the head.
    fn settle(&mut self, depth: u64) -> Result<()> {
        let settled = self.blocks.settled(depth);
        let durable = self.database.commit(&settled)?;
        self.blocks.settle(&durable);
        Ok(())
    }

    fn tell(&self) {
        let head = self.blocks.head();
        let seconds = now().saturating_sub(self.since).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
        let rate = self.count as f64 / seconds.max(1e-9);
        println!(
            "imported {} blocks, head #{} {}, in {seconds:.1} s, {rate:.0} blocks/s",
            self.count, head.header.number, head.hash
        );
    }
}

/// Time since some moment.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("it begins at zero");
    Duration::new(seconds, u32::try_from(now.tv_nsec).expect("below a billion"))
}

#[cfg(test)]
mod tests {
    use evenkeel_chain::{Header, SealedBlock};

    use super::*;
    use crate::bad_disk::BadDisk;

    /// Goal: a disk that fails where a block is refused is told, and is no panic.
    #[test]
    fn a_disk_that_fails_is_told_where_a_block_is_refused() {
        let (disk, mut database, spec) = BadDisk::database();
        let header = Header { number: 5, ..Header::default() };
        let rlp = SealedBlock::seal(header, Vec::new(), Vec::new(), None).encode_rlp();
        let limits = Limits::consensus();
        let mut inline = System::inline().expect("the machine gives a seed");
        let (tip, inline) = (database.tip(), &mut inline);
        let blocks = BlockImport::new(Arc::clone(&spec), tip, inline, limits, SLICE_GAS);
        let mut importing = Importing {
            blocks,
            database: &mut database,
            is_stopped: Arc::default(),
            count: 0,
            since: now(),
            told: now(),
        };
        for (is_bad, expected) in [
            (false, "is not here: the head of the chain is block 0 0x"),
            (true, ": cannot read the genesis of the database: injected fault at write 7"),
        ] {
            let batch = Batch::read(&mut Items::new(&rlp[..]), &spec);
            let block = batch.blocks.into_iter().next().expect("a block");
            disk.break_down(is_bad);
            let error = importing.block(Path::new("chain.rlp"), block).expect_err("no parent");
            let said = one_line(&error);
            assert!(said.starts_with("chain.rlp: at byte 0: block 5 0x"), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }

    /// Goal: no error hides the one before it.
    #[test]
    fn what_failed_first_is_told_first() {
        let failed = |what: &'static str| Err(anyhow!("disk").context(what));
        assert_eq!(both(Ok(()), Ok(())).map_err(|error| one_line(&error)), Ok(()));
        for (first, then, expected) in [
            (failed("read"), Ok(()), "read: disk"),
            (Ok(()), failed("kept"), "kept: disk"),
            (failed("read"), failed("kept"), "read: disk; then kept: disk"),
        ] {
            let error = both(first, then).expect_err(expected);
            assert_eq!(one_line(&error), expected);
        }
    }
}
