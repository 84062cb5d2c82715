//! `evenkeel import` and `evenkeel export`: blocks in files, as geth has them: the RLP of one after
//! that of the other.
//!
//! Imported blocks are checked and executed as those of a peer, but for the seals of proof of work,
//! which are trusted. Blocks are read and their senders found on all cores, a batch ahead of the
//! one that executes. In memory are those two batches, and of the chain what lies less than
//! [`DEPTH`] blocks below the head, for a branch may begin there, and up to [`BATCH`] more that
//! await being written.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use alloy_primitives::B256;
use alloy_rlp::Decodable as _;
use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_chain::{BlockDecodeError, ChainSpec, Header, Height, limits::BLOCK_DECODE_BYTES_MAX};
use evenkeel_node::{BlockImport, Limits, ReadBlock};
use evenkeel_state::{Database, Options};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Blocks below the head that are kept in memory until the last file ends. Deeper branches are
/// refused, as nodes do that call older blocks final.
const DEPTH: u64 = 64;
/// Blocks that become durable together, with one sync.
const BATCH: u64 = 256;
/// Blocks that are read before the ones before them are executed.
const AHEAD_BLOCKS: usize = 256;
/// Bytes after which no more are read ahead. A block may be as long again.
const AHEAD_BYTES: usize = 8 << 20;
/// Gas of a slice: nobody waits between two.
const SLICE_GAS: u64 = u64::MAX;
/// How often a long import says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(8);

/// Puts the blocks of `files` into the chain in `datadir`, which is made from the genesis file
/// `chain` if it is not there.
///
/// # Errors
///
/// The first block that cannot be read or breaks a rule, by number and hash; what came before it is
/// in the database. A genesis that is not that of the database; a signal.
pub(crate) fn import(files: &[PathBuf], chain: Option<&Path>, datadir: &Path) -> Result<()> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&is_stopped)).context("cannot listen for signals")?;
    }
    let options = Options { path: Some(datadir.to_owned()), ..Options::default() };
    let spec = Arc::new(chain_spec(chain, &options)?);
    let mut database = Database::open(&options, &spec)?;
    ensure!(
        database.tip().diffs.is_empty(),
        "the state of {} was changed on top of its head (anvil_setBalance and the like): no block \
         from elsewhere can follow",
        datadir.display()
    );
    let mut blocks = BlockImport::new(spec, database.tip(), Limits::consensus(), SLICE_GAS);
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
    let kept = importing.settle(0);
    importing.tell();
    read.and(kept)
}

/// The chain of the database, which is to be that of the genesis file if both are there.
fn chain_spec(file: Option<&Path>, options: &Options) -> Result<ChainSpec> {
    let asked = file.map(|path| {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let spec = ChainSpec::from_genesis_json(&text);
        spec.with_context(|| format!("{shown} is not a genesis file"))
    });
    match (asked.transpose()?, Database::stored_spec(options)?) {
        (Some(asked), Some(stored)) => {
            if let Some(found) = asked.difference(&stored) {
                bail!("--chain is not the genesis of the database: there {found}");
            }
            Ok(stored)
        }
        (Some(spec), None) | (None, Some(spec)) => Ok(spec),
        (None, None) => bail!("there is no database yet: --chain has to say what genesis it has"),
    }
}

struct Importing<'a> {
    blocks: BlockImport,
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
        let mut items = Items { from: BufReader::new(file), at: 0 };
        let spec = Arc::clone(self.blocks.spec());
        let mut batch = Batch::read(&mut items, &spec);
        loop {
            let Batch { blocks, end } = batch;
            let (next, imported) = thread::scope(|scope| {
                let more = end.is_none();
                let ahead = more.then(|| scope.spawn(|| Batch::read(&mut items, &spec)));
                let imported = blocks.into_iter().try_for_each(|block| self.block(block));
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

    fn block(&mut self, (block, read): Read) -> Result<()> {
        ensure!(!self.is_stopped.load(Ordering::Relaxed), "stopped by a signal");
        self.import(&block, read).with_context(|| block.to_string())
    }

    fn import(&mut self, block: &BlockId, read: Result<ReadBlock, BlockDecodeError>) -> Result<()> {
        if block.number <= self.blocks.durable()
            && self.database.durable().chain.height_of(block.hash)?.is_some()
        {
            return Ok(());
        }
        self.count += u64::from(self.blocks.import_read(read?)?.executed.is_some());
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

/// A block as it was read.
type Read = (BlockId, Result<ReadBlock, BlockDecodeError>);

/// Blocks that lie in a row in a file.
struct Batch {
    blocks: Vec<Read>,
    /// How the file ends behind them, if it does.
    end: Option<Result<()>>,
}

impl Batch {
    /// Reads the next ones, at most [`AHEAD_BLOCKS`] and about [`AHEAD_BYTES`], on all cores.
    fn read<R: io::Read>(items: &mut Items<R>, spec: &ChainSpec) -> Self {
        let (mut texts, mut bytes, mut end) = (Vec::new(), 0, None);
        while end.is_none() && texts.len() < AHEAD_BLOCKS && bytes < AHEAD_BYTES {
            let at = items.at;
            let item = items.next().and_then(|item| {
                item.map(|item| BlockId::of(&item).map(|block| (block, item))).transpose()
            });
            match item.with_context(|| format!("byte {at}")) {
                Ok(Some((block, item))) => {
                    bytes += item.len();
                    texts.push((block, item));
                }
                Ok(None) => end = Some(Ok(())),
                Err(error) => end = Some(Err(error)),
            }
        }
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let share = texts.len().div_ceil(cores).max(1);
        let mut blocks = Vec::with_capacity(texts.len());
        thread::scope(|scope| {
            let mut texts = texts.into_iter();
            let mut parts = Vec::new();
            loop {
                let part: Vec<_> = texts.by_ref().take(share).collect();
                if part.is_empty() {
                    break;
                }
                let read = |(block, rlp): (BlockId, Vec<u8>)| (block, ReadBlock::new(&rlp, spec));
                parts.push(scope.spawn(move || part.into_iter().map(read).collect::<Vec<_>>()));
            }
            for part in parts {
                blocks.extend(part.join().expect("reading does not panic"));
            }
        });
        Self { blocks, end }
    }
}

/// What a block is called before it is known to be one.
struct BlockId {
    number: u64,
    hash: B256,
}

impl BlockId {
    /// Reads the header of the block with this RLP.
    fn of(mut rlp: &[u8]) -> Result<Self> {
        let mut payload = alloy_rlp::Header::decode_bytes(&mut rlp, true)?;
        let header = Header::decode(&mut payload).context("not a block: its header")?;
        Ok(Self { number: header.number, hash: header.hash_slow() })
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} {}", self.number, self.hash)
    }
}

/// The lists of a file, one after the other.
struct Items<R> {
    from: R,
    /// Bytes read so far.
    at: u64,
}

impl<R: io::Read> Items<R> {
    /// The next list with its head; none at the end of the file.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut item = vec![0];
        if self.from.read(&mut item)? == 0 {
            return Ok(None);
        }
        // Of a long list, the first byte says how long its length is.
        let length_bytes = usize::from(item[0].saturating_sub(0xf7));
        self.read(&mut item, length_bytes)?;
        let length = match item[0] {
            0xc0..=0xf7 => usize::from(item[0] - 0xc0),
            0xf8.. => {
                let mut bytes = [0; 8];
                bytes[8 - length_bytes..].copy_from_slice(&item[1..]);
                usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)
            }
            _ => bail!("expected a list (a block), found byte {:#04x}", item[0]),
        };
        ensure!(
            length <= BLOCK_DECODE_BYTES_MAX,
            "a block of {length} bytes, limit {BLOCK_DECODE_BYTES_MAX}"
        );
        self.read(&mut item, length)?;
        self.at += item.len() as u64;
        Ok(Some(item))
    }

    fn read(&mut self, item: &mut Vec<u8>, count: usize) -> Result<()> {
        let expected = item.len() + count;
        let wanted = u64::try_from(count).context("more than can be read")?;
        self.from.by_ref().take(wanted).read_to_end(item)?;
        let found = item.len();
        ensure!(found == expected, "the file ends within a block: {found} of {expected} bytes");
        Ok(())
    }
}

/// Writes the blocks from `first` to `last` of the chain in `datadir` to `file`.
///
/// # Errors
///
/// There is no such block, or the file cannot be written; then it is as it was.
pub(crate) fn export(
    file: &Path,
    datadir: &Path,
    (first, last): (Option<u64>, Option<u64>),
) -> Result<()> {
    let options = Options { path: Some(datadir.to_owned()), ..Options::default() };
    let spec = Database::stored_spec(&options)?;
    let spec = spec.with_context(|| format!("{} holds no database", datadir.display()))?;
    let chain = Database::open_read_only(datadir, &spec)?.durable().chain;
    let (genesis, head) = (chain.genesis().get(), chain.head().get());
    let (first, last) = (first.unwrap_or(genesis), last.unwrap_or(head));
    ensure!(
        genesis <= first && first <= last && last <= head,
        "blocks {first} to {last} were asked for, the chain has {genesis} to {head}"
    );
    // Whole under its own name, or not there.
    let part = file.with_extension("part");
    let shown = part.display();
    let to = File::create(&part).with_context(|| format!("cannot write {shown}"))?;
    let mut to = BufWriter::new(to);
    for number in first..=last {
        let block = chain.block(Height::new(number))?.context("the chain has no gap")?;
        to.write_all(&block.encode_rlp()).with_context(|| format!("cannot write {shown}"))?;
    }
    let to = to.into_inner().map_err(io::IntoInnerError::into_error);
    let synced = to.and_then(|to| to.sync_all());
    synced
        .and_then(|()| std::fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("exported {} blocks, #{first} to #{last}", last - first + 1);
    Ok(())
}

/// Time since some moment.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("it begins at zero");
    Duration::new(seconds, u32::try_from(now.tv_nsec).expect("below a billion"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut items = Items { from: bytes, at: 0 };
        std::iter::from_fn(|| items.next().transpose()).collect()
    }

    /// Goal: lists of every length are found whole; what is cut, too long or no list is an error.
    #[test]
    fn lists_are_taken_one_by_one() {
        let list = |length: usize| alloy_rlp::encode(vec![7_u8; length]);
        let lists = [0, 1, 55, 56, 255, 256, 70_000].map(list);
        assert_eq!(items(&lists.concat()).expect("lists"), lists);
        assert_eq!(items(&[]).expect("an empty file"), Vec::<Vec<u8>>::new());
        for (bytes, expected) in [
            (&lists[6][..100], "the file ends within a block: 100 of 70004 bytes"),
            (&[0xf9, 1][..], "the file ends within a block: 2 of 3 bytes"),
            (&[0x83, 1, 2, 3][..], "expected a list (a block), found byte 0x83"),
            (&[0xff; 9][..], "limit 67108864"),
        ] {
            let error = items(bytes).expect_err("no list").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
