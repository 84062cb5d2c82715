//! State files of the devnet, in anvil's format: loaded before it starts, written when it ends and
//! meanwhile.
//!
//! Neither way holds a file in memory, and no name ever means half of one.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use evenkeel_chain::{ChainSpec, state_file};
use evenkeel_runtime::{Published, System, checkpoint, consume};
use evenkeel_state::{Database, Durable, Options, RestoreError, RestoreReport};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{args::StateArgs, whole_file::WholeFile};

/// The file in a folder that is given in place of a file, as on anvil.
const NAME_IN_FOLDER: &str = "state.json";
/// How often the state is written unless `--state-interval` says so, as on anvil.
const INTERVAL_DEFAULT: Duration = Duration::from_mins(1);
/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// Reductions (25 ns) charged for one step of a dump, some 100 us (guess).
const STEP_REDUCTIONS: u32 = 4_000;

/// A file to be loaded, by the flag that names it.
struct Source {
    flag: &'static str,
    path: PathBuf,
}

/// The database of the devnet, made from a state file if one is named. Its clock is the machine's,
/// unless the file's head is from the future, as on anvil.
///
/// # Errors
///
/// The file is missing or no state file; a signal came; the datadir has a chain already, which
/// `--load-state` must not replace. Under `--state` it goes on instead: the file is from before its
/// last end.
pub(crate) fn open(args: &StateArgs, options: &Options, spec: &ChainSpec) -> Result<Database> {
    let Some(Source { flag, path }) = source(args) else {
        return Ok(Database::open(options, spec)?);
    };
    let named = || format!("{flag} {}", path.display());
    let file = File::open(&path).context("cannot be opened").with_context(named)?;
    let text = state_file::open(file).context("cannot be read").with_context(named)?;
    // The node listens already, and obeys at the end of its start: that may be far.
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&is_stopped)).context("cannot listen for signals")?;
    }
    match Database::restore(options, spec, text, &is_stopped) {
        Ok((database, report)) => {
            tell(&path, &report);
            Ok(database)
        }
        Err(RestoreError::NotEmpty) if args.state.is_some() => {
            tracing::warn!("{} is not loaded: the datadir holds a chain already", named());
            Ok(Database::open(options, spec)?)
        }
        Err(RestoreError::NotEmpty) => bail!(
            "{}: the datadir holds a chain already; start without the flag to go on with it, or \
             with a new --datadir",
            named()
        ),
        Err(error) => Err(error).with_context(named),
    }
}

/// Refuses to write a state file where there is no folder for it: else that would only be found out
/// when the node ends.
///
/// # Errors
///
/// Names the folder.
pub(crate) fn check(args: &StateArgs) -> Result<()> {
    let Some(path) = args.dump_state.as_ref().or(args.state.as_ref()) else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let (path, folder) = (path.display(), folder.display());
        bail!("cannot write the state to {path}: there is no folder {folder}");
    }
    Ok(())
}

fn source(args: &StateArgs) -> Option<Source> {
    if let Some(path) = &args.load_state {
        return Some(Source { flag: "--load-state", path: in_folder(path) });
    }
    let path = in_folder(args.state.as_ref()?);
    path.exists().then_some(Source { flag: "--state", path })
}

fn in_folder(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(NAME_IN_FOLDER) } else { path.to_owned() }
}

/// Says what is not as it was in the file.
fn tell(path: &Path, report: &RestoreReport) {
    let path = path.display();
    let RestoreReport { accounts, slots, blocks, head, .. } = report;
    tracing::info!("{path}: {accounts} accounts, {slots} slots, {blocks} blocks, head #{head}");
    if !report.fields_left_out.is_empty() {
        let fields = report.fields_left_out.join(", ");
        tracing::warn!("{path}: not loaded: {fields}; there is no state before block {head}");
    }
    if report.blocks_left_out > 0 {
        let count = report.blocks_left_out;
        tracing::warn!("{path}: {count} blocks are left out: above the head or below a gap");
    }
    if report.blocks_without_receipts > 0 {
        let count = report.blocks_without_receipts;
        tracing::warn!("{path}: {count} blocks are without transactions: it lacks their receipts");
    }
}

/// Where the state is written to.
#[derive(Clone)]
pub(crate) struct Target {
    /// As it was asked for.
    path: PathBuf,
    place: WholeFile,
    interval: Duration,
    spec: Arc<ChainSpec>,
}

impl Target {
    /// As the flags say, for the chain with `spec`.
    pub(crate) fn new(args: &StateArgs, spec: &Arc<ChainSpec>) -> Option<Self> {
        let path = in_folder(args.dump_state.as_ref().or(args.state.as_ref())?);
        if args.preserve_historical_states {
            tracing::warn!(
                "--preserve-historical-states: only the last state is written; --datadir keeps all"
            );
        }
        let interval = args.state_interval.map_or(INTERVAL_DEFAULT, Duration::from_secs);
        let place = WholeFile::at(&path);
        Some(Self { path, place, interval, spec: Arc::clone(spec) })
    }

    /// Writes the state, on this thread.
    ///
    /// # Errors
    ///
    /// The file cannot be written, and is as it was; the database fails.
    pub(crate) fn write(&self, durable: &Durable) -> Result<()> {
        let written = self.write_and_keep(durable);
        if written.is_err() {
            self.place.discard();
        }
        written
    }

    fn write_and_keep(&self, durable: &Durable) -> Result<()> {
        let mut file = self.create()?;
        let mut dump = durable.dump(&self.spec);
        let (mut text, mut is_more) = (Vec::with_capacity(2 * WRITE_BYTES), true);
        while is_more {
            is_more = dump.step(&mut text)?;
            if text.len() >= WRITE_BYTES || !is_more {
                file.write_all(&text).with_context(|| self.cannot())?;
                text.clear();
            }
        }
        self.keep(&file)
    }

    /// Writes the state every so often, where it has changed, for as long as the node runs.
    pub(crate) async fn write_often(self, system: System, durable: Published<Durable>) {
        let mut written = None;
        loop {
            system.sleep(self.interval).await;
            let durable = durable.get();
            let instant = (durable.hash, durable.diffs, durable.generation);
            if written == Some(instant) {
                continue;
            }
            match self.write_in_slices(&system, &durable).await {
                Ok(()) => written = Some(instant),
                Err(error) => tracing::error!("{}", crate::one_line(&error)),
            }
        }
    }

    async fn write_in_slices(&self, system: &System, durable: &Durable) -> Result<()> {
        let mut dump = durable.dump(&self.spec);
        let target = self.clone();
        let mut file = system.blocking_async(move || target.create()).await??;
        let (mut text, mut is_more) = (Vec::with_capacity(2 * WRITE_BYTES), true);
        while is_more {
            is_more = dump.step(&mut text)?;
            consume(STEP_REDUCTIONS);
            checkpoint().await;
            if text.len() >= WRITE_BYTES || !is_more {
                let writing = move || {
                    let written = file.write_all(&text);
                    text.clear();
                    (file, text, written)
                };
                let written;
                (file, text, written) = system.blocking_async(writing).await?;
                written.with_context(|| self.cannot())?;
            }
        }
        let target = self.clone();
        system.blocking_async(move || target.keep(&file)).await?
    }

    fn create(&self) -> Result<File> {
        self.place.create().with_context(|| self.cannot())
    }

    /// Gives the whole file its name.
    fn keep(&self, file: &File) -> Result<()> {
        let synced = self.place.sync(file);
        synced.and_then(|()| self.place.publish()).with_context(|| self.cannot())
    }

    fn cannot(&self) -> String {
        format!("cannot write the state to {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bad_disk::BadDisk;

    /// Goal: a state that cannot be written leaves the file as it was, and no part of itself.
    #[test]
    fn a_state_that_cannot_be_written_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("evenkeel-dump-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(NAME_IN_FOLDER);
        fs::write(&path, "old").expect("it can be written");
        let (disk, database, spec) = BadDisk::database();
        let target = Target { place: WholeFile::at(&path), path, interval: INTERVAL_DEFAULT, spec };
        disk.break_down(true);
        let error = target.write(&database.durable()).expect_err("a bad disk");
        assert_eq!(crate::one_line(&error), "injected fault at write 7");
        assert_eq!(fs::read_to_string(&target.path).expect("it stays"), "old");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1);
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
