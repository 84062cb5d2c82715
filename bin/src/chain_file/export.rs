//! Exports the blocks and the genesis of a chain to files.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_chain::{ChainSpec, Height, SealedBlock};
use evenkeel_state::{ChainReader, Database, Options};

use crate::whole_file::WholeFile;

/// Writes the blocks from `first` to `last` of the chain in `datadir` to `file`, and its genesis to
/// the file `genesis`.
///
/// # Errors
///
/// There is no such block, the database cannot be read, or a file cannot be written; then both
/// files are as they were.
pub(crate) fn export(
    file: &Path,
    datadir: &Path,
    (first, last): (Option<u64>, Option<u64>),
    genesis_file: Option<&Path>,
) -> Result<()> {
    if let Some(genesis) = genesis_file {
        ensure!(
            !WholeFile::at(genesis).meets(&WholeFile::at(file)),
            "the genesis cannot go to {} and the blocks to {}: expected two files, and neither the \
             .part of the other",
            genesis.display(),
            file.display()
        );
    }
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
    let mut outputs = Vec::new();
    if let Some(path) = genesis_file {
        let text = genesis_text(&spec)?;
        let mut to = Output::create(path)?;
        to.write(text.as_bytes())?;
        outputs.push(to.finish()?);
    }
    let mut to = Output::create(file)?;
    let cheated = write_blocks(&chain, first..=last, &mut to)?;
    outputs.push(to.finish()?);
    // Only now, that neither is new without the other.
    outputs.iter().try_for_each(Output::publish)?;
    let mut said = vec![format!("exported {} blocks, #{first} to #{last}", last - first + 1)];
    let came = chain.oldest_state().get();
    if came > genesis {
        said.push(format!(
            "blocks up to {came} came with a state file: no import follows, since nobody has the \
             state that they begin with"
        ));
    } else if let Some(number) = cheated {
        said.push(format!(
            "block {number} begins with what the cheats before it changed (anvil_setBalance and \
             the like): no import follows from there, only --dump-state takes that along"
        ));
    }
    let said = said.join("\n");
    // Standard output may be what the blocks have gone to.
    if outputs.iter().any(|output| output.place.is_stream()) {
        eprintln!("{said}");
    } else {
        println!("{said}");
    }
    Ok(())
}

/// The genesis of the chain with `spec` in geth's format.
fn genesis_text(spec: &ChainSpec) -> Result<String> {
    let text = spec.to_genesis_json();
    let read = ChainSpec::from_genesis_json(&text)?;
    if let Some(lost) = spec.difference(&read) {
        bail!("geth's format has no way to say that {} is {}", lost.field, lost.ours);
    }
    Ok(text)
}

/// Writes the blocks; returns the first of them that begins with cheats.
fn write_blocks(
    chain: &ChainReader,
    numbers: RangeInclusive<u64>,
    to: &mut Output<'_>,
) -> Result<Option<u64>> {
    let mut cheated = None;
    for number in numbers {
        let read = read_block(chain, Height::new(number));
        let (block, begins_with_cheats) =
            read.with_context(|| format!("cannot read block {number} of the database"))?;
        cheated = cheated.or(begins_with_cheats.then_some(number));
        to.write(&block.encode_rlp())?;
    }
    Ok(cheated)
}

/// The block at `height`, and whether there are cheats before it.
fn read_block(chain: &ChainReader, height: Height) -> Result<(Arc<SealedBlock>, bool)> {
    let block = chain.block(height)?.context("it is not there")?;
    let parent = height.prev().filter(|_| height > chain.genesis());
    let has_cheats = parent.map_or(Ok(false), |parent| chain.has_cheats(parent))?;
    Ok((block, has_cheats))
}

/// A file that is being written, or that waits for its name. Dropped before, it was never there.
struct Output<'a> {
    /// As it was asked for.
    path: &'a Path,
    place: WholeFile,
    /// Until it is finished: who reads from a pipe waits for its end.
    to: Option<BufWriter<File>>,
}

impl<'a> Output<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let place = WholeFile::at(path);
        let to = place.create().with_context(|| cannot_write(path))?;
        Ok(Self { path, place, to: Some(BufWriter::new(to)) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let to = self.to.as_mut().expect("it is not finished");
        to.write_all(bytes).with_context(|| cannot_write(self.path))
    }

    fn finish(mut self) -> Result<Self> {
        let mut to = self.to.take().expect("it is not finished");
        let finished = to.flush().and_then(|()| self.place.sync(to.get_ref()));
        finished.with_context(|| cannot_write(self.path))?;
        Ok(self)
    }

    fn publish(&self) -> Result<()> {
        self.place.publish().with_context(|| cannot_write(self.path))
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.place.discard();
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bad_disk::BadDisk;

    /// Goal: what the disk of the database fails at is told as that, and leaves no half of a file.
    #[test]
    fn a_database_that_fails_is_not_a_file_that_fails() {
        let folder = std::env::temp_dir().join(format!("evenkeel-export-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("chain.rlp");
        let (disk, database, _) = BadDisk::database();
        let chain = database.durable().chain;
        let export = |is_bad| {
            disk.break_down(is_bad);
            let mut to = Output::create(&path)?;
            write_blocks(&chain, 0..=0, &mut to)?;
            to.finish()?.publish()
        };
        let error = export(true).expect_err("a bad disk");
        let expected = "cannot read block 0 of the database: injected fault at write 7";
        assert_eq!(crate::one_line(&error), expected);
        let count = || fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(count(), 0);
        export(false).expect("a good disk");
        assert_eq!(count(), 1);
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
