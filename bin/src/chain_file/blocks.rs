//! Takes the blocks of a file one by one, a batch ahead of whoever executes them.

use std::{
    fmt,
    io::{self, Read as _},
    num::NonZero,
    path::Path,
    thread,
};

use alloy_primitives::B256;
use alloy_rlp::Decodable as _;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use evenkeel_chain::{BlockDecodeError, ChainSpec, Header, limits::BLOCK_DECODE_BYTES_MAX};
use evenkeel_node::ReadBlock;

/// Blocks that are read before the ones before them are executed.
const AHEAD_BLOCKS: usize = 256;
/// Bytes after which no more are read ahead. A block may be as long again.
const AHEAD_BYTES: usize = 8 << 20;

/// A block as it was read.
pub(super) type Taken = (BlockId, Result<ReadBlock, BlockDecodeError>);

/// Blocks that lie in a row in a file.
pub(super) struct Batch {
    pub(super) blocks: Vec<Taken>,
    /// How the file ends behind them, if it does.
    pub(super) end: Option<Result<()>>,
}

impl Batch {
    /// Reads the next ones, at most [`AHEAD_BLOCKS`] and about [`AHEAD_BYTES`], on all cores.
    pub(super) fn read<R: io::Read>(items: &mut Items<R>, spec: &ChainSpec) -> Self {
        let (mut texts, mut bytes, mut end) = (Vec::new(), 0, None);
        while end.is_none() && texts.len() < AHEAD_BLOCKS && bytes < AHEAD_BYTES {
            let at = items.at;
            let item = items.next().and_then(|item| {
                item.map(|item| BlockId::of(at, &item).map(|block| (block, item))).transpose()
            });
            match item.with_context(|| format!("at byte {at}")) {
                Ok(Some((block, item))) => {
                    bytes += item.len();
                    texts.push((block, item));
                }
                Ok(None) if at == 0 => {
                    end = Some(Err(anyhow!("the file is empty: expected blocks, each as its RLP")));
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
pub(super) struct BlockId {
    /// Its first byte in the file.
    at: u64,
    pub(super) header: Header,
    pub(super) hash: B256,
}

impl BlockId {
    /// Reads the header of the block with this RLP, which is a list.
    fn of(at: u64, mut rlp: &[u8]) -> Result<Self> {
        let not_a_block = |error| {
            let error = BlockDecodeError::Rlp { part: "header", error };
            anyhow!(error).context("not a block")
        };
        let mut payload = alloy_rlp::Header::decode_bytes(&mut rlp, true).map_err(not_a_block)?;
        let header = Header::decode(&mut payload).map_err(not_a_block)?;
        let hash = header.hash_slow();
        Ok(Self { at, header, hash })
    }

    /// Says which block of which file this is.
    pub(super) fn in_file(&self, path: &Path) -> String {
        format!("{}: at byte {}: {self}", path.display(), self.at)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} {}", self.header.number, self.hash)
    }
}

/// The lists of a file, one after the other.
pub(super) struct Items<R> {
    from: R,
    /// Bytes read so far.
    at: u64,
}

impl<R: io::Read> Items<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, at: 0 }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut items = Items::new(bytes);
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
