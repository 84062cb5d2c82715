//! `evenkeel test`: third-party tests through the node's own code.
//!
//! Every kind of suite has a module that runs the tests of one file; this one finds the files and
//! splits them over threads, each with an inline system, on which blocks are executed by actors.
//! There is no list of tests to skip: what is not run is left out by `--fork`, and counted.

mod abi;
mod basic;
mod block;
mod difficulty;
mod exception;
mod fixture;
mod genesis;
mod groups;
mod keystore;
mod kzg;
mod network;
mod payload;
mod precompile;
mod rlp;
mod state;
mod tally;
mod transaction;
mod trie;

use std::{
    fs, io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use evenkeel_runtime::{Inline, System};
use evenkeel_vm::limits::SLICE_GAS;
use groups::{FOLDER, Groups};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tally::{Cases, Tally};

/// Flags of `evenkeel test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// What kind of tests the files hold.
    #[arg(value_enum)]
    kind: Kind,
    /// Files, and folders that are searched for files that end in `.json` (`kzg`: `.yaml`).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Run only tests of this fork, by its name in the files; the others are counted as skipped.
    #[arg(long, value_name = "FORK")]
    fork: Option<String>,
    /// Gas of a slice of execution, at most a node's, the default; 1 cuts after every instruction.
    #[arg(long, value_name = "GAS", default_value_t = SLICE_GAS, value_parser = clap::value_parser!(u64).range(1..=SLICE_GAS))]
    slice: u64,
    /// Files at a time; 0 means one per core.
    #[arg(short, long, value_name = "NUM", default_value_t = 0)]
    jobs: usize,
    /// Print failures and the sum as one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Write every instruction of state tests to stderr, a line of JSON each (EIP-3155), and the
    /// state root after each transaction; one file at a time.
    #[arg(long)]
    trace: bool,
}

/// A kind of suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One transaction on a state: `state_tests`, `GeneralStateTests`.
    State,
    /// Blocks on a genesis, valid and not: `blockchain_tests`, `blockchain_tests_engine`,
    /// `blockchain_tests_engine_x` with its `pre_alloc`, `BlockchainTests`.
    Block,
    /// Encoded transactions: `TransactionTests`.
    Transaction,
    /// Keys, values and the root: `TrieTests`.
    Trie,
    /// Encoded items: `RLPTests`.
    Rlp,
    /// Difficulty after a parent: `BasicTests/difficulty*.json`.
    Difficulty,
    /// Keys, ciphers, old transactions, paths, first blocks: the rest of `BasicTests`.
    Basic,
    /// Arguments of calls and their encoding: `ABITests`.
    Abi,
    /// Encrypted keys: `KeyStoreTests`.
    Keystore,
    /// First blocks: `GenesisTests`.
    Genesis,
    /// Calls of the precompiles of EIP-2537, in geth's format.
    Precompile,
    /// Commitments and proofs of blobs: `verify_kzg_proof` and the others of consensus-specs.
    Kzg,
}

/// What the runners of all kinds may be told.
struct Options {
    fork: Option<String>,
    slice: u64,
    trace: bool,
    groups: Groups,
}

impl Options {
    /// Whether tests of `fork` were not asked for.
    fn leaves_out(&self, fork: &str) -> bool {
        self.fork.as_deref().is_some_and(|asked| !asked.eq_ignore_ascii_case(fork))
    }
}

impl Kind {
    /// What its files end in.
    const fn extension(self) -> &'static str {
        match self {
            Self::Kzg => "yaml",
            _ => "json",
        }
    }

    /// Its name, and what its files hold.
    fn described(self) -> String {
        let value = self.to_possible_value().expect("no kind is hidden");
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        format!("`{}`: {help}", value.get_name())
    }

    /// What kind of tests a file holds, if that can be told by the members of the first one.
    fn looks_like(bytes: &[u8]) -> Option<Self> {
        let file: Value = serde_json::from_slice(bytes).ok()?;
        let test = match &file {
            Value::Object(tests) => tests.values().next()?,
            Value::Array(tests) => tests.first()?,
            _ => return None,
        };
        let marks: [(Self, &[&str]); 10] = [
            (Self::State, &["env", "pre", "post"]),
            (Self::Block, &["lastblockhash"]),
            (Self::Transaction, &["txbytes", "result"]),
            (Self::Trie, &["in", "root"]),
            (Self::Rlp, &["in", "out"]),
            (Self::Difficulty, &["parentDifficulty", "currentDifficulty"]),
            (Self::Abi, &["types", "args"]),
            (Self::Keystore, &["json", "password"]),
            (Self::Genesis, &["alloc", "result"]),
            (Self::Precompile, &["Input", "Name"]),
        ];
        let is_of = |marks: &[&str]| marks.iter().all(|mark| test.get(mark).is_some());
        marks.into_iter().find(|(_, marks)| is_of(marks)).map(|(kind, _)| kind)
    }

    /// Runs the tests of one file; what is executed for them, on `inline`.
    fn run(
        self,
        options: &Options,
        bytes: &[u8],
        inline: &mut Inline,
        cases: &mut Cases<'_>,
    ) -> Result<()> {
        match self {
            Self::State => state::run(options, bytes, inline, cases),
            Self::Block => block::run(options, bytes, inline, cases),
            Self::Transaction => transaction::run(options, bytes, cases),
            Self::Trie => trie::run(bytes, cases),
            Self::Rlp => rlp::run(bytes, cases),
            Self::Difficulty => difficulty::run(bytes, cases),
            Self::Basic => basic::run(bytes, cases),
            Self::Abi => abi::run(bytes, cases),
            Self::Keystore => keystore::run(bytes, cases),
            Self::Genesis => genesis::run(bytes, cases),
            Self::Precompile => precompile::run(options, bytes, inline, cases),
            Self::Kzg => kzg::run(options, bytes, inline, cases),
        }
    }
}

/// Runs all tests; ends with the sum.
///
/// # Errors
///
/// A path cannot be read, no test was run, or some failed.
pub(crate) fn run(args: TestArgs) -> Result<()> {
    let mut files = Vec::new();
    for path in &args.paths {
        find(path, args.kind.extension(), &mut files)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    files.sort();
    let extension = args.kind.extension();
    ensure!(!files.is_empty(), "no .{extension} file in {}", shown(&args.paths));

    let TestArgs { fork, slice, trace, .. } = args;
    ensure!(!trace || args.kind == Kind::State, "--trace: only `state` tests are traced");
    let options = Options { fork, slice, trace, groups: Groups::default() };
    let jobs = match args.jobs {
        _ if trace => 1,
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        jobs => jobs,
    };
    let jobs = jobs.min(files.len());
    let inlines = (0..jobs).map(|_| System::inline()).collect::<Result<Vec<_>, _>>()?;
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::new(args.json));
    let work = |mut inline: Inline| {
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut cases = Cases::new(path, &total);
            let wrong = match fs::read(path) {
                Err(error) => Some(format!("cannot be read: {error}")),
                Ok(bytes) => {
                    args.kind.run(&options, &bytes, &mut inline, &mut cases).err().map(|error| {
                        format!("cannot be read: {error:#}{}", hint(args.kind, &bytes))
                    })
                }
            };
            if let Some(wrong) = wrong {
                cases.fail("", None, &wrong);
            }
        }
    };
    thread::scope(|scope| {
        for inline in inlines {
            let work = &work;
            scope.spawn(move || work(inline));
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    // Exact to the nanosecond below 100 days.
    #[expect(clippy::cast_precision_loss, reason = "shown to a tenth of a second")]
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    total.print(files.len(), cpu_seconds);
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    if total.passed == 0 {
        bail!("{}", nothing_ran(args.kind, &args.paths, options.fork.as_deref(), total.skipped));
    }
    Ok(())
}

/// Says why no test was run: a wrong path or fork must not look like success.
fn nothing_ran(kind: Kind, paths: &[PathBuf], fork: Option<&str>, skipped: u64) -> String {
    let shown = shown(paths);
    if let (Some(fork), 1..) = (fork, skipped) {
        return format!("no test of fork {fork} under {shown}: {skipped} are of other forks");
    }
    format!("no test found under {shown}: expected {}", kind.described())
}

/// What a file should have been, and what it looks like.
fn hint(kind: Kind, bytes: &[u8]) -> String {
    let looks = Kind::looks_like(bytes);
    let looks = looks.filter(|looks| *looks != kind);
    let looks = looks.map(|looks| format!("; it looks like {}", looks.described()));
    format!("; expected {}{}", kind.described(), looks.unwrap_or_default())
}

/// The files to run: `path` itself, or all below it that end in `extension`.
fn find(path: &Path, extension: &str, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            // The index of a suite of execution-spec-tests lies beside the tests, and so do the
            // states that they name.
            let is_beside = |folder: &Path| folder.ends_with(".meta") || folder.ends_with(FOLDER);
            if path.is_dir() {
                folders.push(path);
            } else if !path.parent().is_some_and(is_beside)
                && path.extension().is_some_and(|ending| ending == extension)
            {
                files.push(path);
            }
        }
    }
    Ok(())
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
