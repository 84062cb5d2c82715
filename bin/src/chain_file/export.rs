//! Exports the blocks and the genesis of a chain to files.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_chain::{ChainSpec, Height};
use evenkeel_state::{Database, Options};

/// Writes the blocks from `first` to `last` of the chain in `datadir` to `file`, and its genesis to
/// the file `genesis`.
///
/// # Errors
///
/// There is no such block, or a file cannot be written; then it is as it was.
pub(crate) fn export(
    file: &Path,
    datadir: &Path,
    (first, last): (Option<u64>, Option<u64>),
    genesis_file: Option<&Path>,
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
    if let Some(path) = genesis_file {
        let text = spec.to_genesis_json();
        let read = ChainSpec::from_genesis_json(&text)?;
        if let Some(lost) = spec.difference(&read) {
            bail!("geth's format has no way to say that {} is {}", lost.field, lost.ours);
        }
        whole(path, |to| Ok(to.write_all(text.as_bytes())?))?;
    }
    let mut cheated = None;
    whole(file, |to| {
        for number in first..=last {
            let height = Height::new(number);
            let block = chain.block(height)?.context("the chain has no gap")?;
            let begins = number > genesis && chain.has_cheats(height.prev().expect("above"))?;
            cheated = cheated.or(begins.then_some(number));
            to.write_all(&block.encode_rlp())?;
        }
        Ok(())
    })?;
    println!("exported {} blocks, #{first} to #{last}", last - first + 1);
    let came = chain.oldest_state().get();
    if came > genesis {
        println!(
            "blocks up to {came} came with a state file: no import follows, since nobody has the \
             state that they begin with"
        );
    } else if let Some(number) = cheated {
        println!(
            "block {number} begins with what the cheats before it changed (anvil_setBalance and \
             the like): no import follows from there, only --dump-state takes that along"
        );
    }
    Ok(())
}

/// Writes a file that is whole under its own name, or not there.
fn whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let part = path.with_extension("part");
    let shown = part.display();
    let to = File::create(&part).with_context(|| format!("cannot write {shown}"))?;
    let mut to = BufWriter::new(to);
    write(&mut to).with_context(|| format!("cannot write {shown}"))?;
    let to = to.into_inner().map_err(io::IntoInnerError::into_error);
    let synced = to.and_then(|to| to.sync_all());
    synced
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
