//! `evenkeel db`: looks into a database that no node has open.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use evenkeel_state::{Database, Options};

/// How often a long verification says how far it is, in blocks.
const PROGRESS_EVERY: u64 = 10_000;

/// Checks every block, root and index, and prints what was checked. Writes nothing.
///
/// # Errors
///
/// The first fault that was found, or why the database cannot be opened.
pub(crate) fn verify(datadir: &Path) -> Result<()> {
    let options = Options { path: Some(datadir.to_path_buf()), ..Options::default() };
    let spec = Database::stored_spec(&options)?;
    let spec = spec.with_context(|| format!("{} holds no database", datadir.display()))?;
    let database = Database::open_read_only(datadir, &spec)?;
    let report = database.verify(&mut |height| {
        if height.get() > 0 && height.get().is_multiple_of(PROGRESS_EVERY) {
            eprintln!("verified to block {height}");
        }
    })?;
    println!(
        "{} blocks, {} transactions, {} accounts, {} slots, {} trie nodes, {} history rows",
        report.blocks,
        report.transactions,
        report.accounts,
        report.slots,
        report.nodes,
        report.history_rows
    );
    for fault in &report.faults {
        println!("fault: {fault}");
    }
    ensure!(report.faults.is_empty(), "the database is damaged: {} faults", report.faults.len());
    println!("ok");
    Ok(())
}
