//! State tests of execution-spec-tests through sliced execution: every transaction is cut into
//! slices, its heavy precompile calls are taken out and put back.
//!
//! A case passes if the root of the state after it and the hash of its logs are the fixture's; if
//! the fixture expects a refusal, that refusal must come and the state be untouched. `--plain` runs
//! each case on revm's own loop too: result and changes must be identical, unless a creation was
//! refused for storage at its address, which revm does not do (EIP-7610; such cases are counted);
//! what both cost is printed. There is no list of files to skip.
//!
//! `cargo run --release -p evenkeel-vm --example state_tests -- DIR --slice 1 --jobs 2`
#![allow(clippy::print_stdout, reason = "the report is the program's output")]
#![allow(clippy::print_stderr, reason = "as any program, it says there why it cannot start")]

use std::{
    env, fs, io,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use alloy_primitives::{Address, B256, Log, U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, root::storage_root_unhashed};
use evenkeel_state::SlotSearch;
use evenkeel_vm::{ExecutionError, Setup, Slice, StorageSearch, Suspended, limits::HEAVY_GAS};
use revm::{
    Database, DatabaseCommit, ExecuteEvm, MainBuilder, MainContext,
    context::{
        CfgEnv, Context, TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
    database::{CacheState, EmptyDB, PlainAccount, State},
    precompile::kzg_point_evaluation::verify_kzg_proof,
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode, EvmState},
};
use revm_statetest_types::{SpecName, Test, TestSuite, TestUnit};
use rustix::time::{ClockId, clock_gettime};

const USAGE: &str = "usage: state_tests DIR [--slice GAS] [--heavy GAS] [--jobs N] \
    [--filter TEXT] [--plain]
  DIR            folder with the JSON files
  --slice GAS    fuel of a slice; 1 cuts after every instruction (default 1)
  --heavy GAS    precompile calls priced above this are offloaded (default: the node's)
  --jobs N       files at a time (default: one per processor)
  --filter TEXT  only cases whose file or name contains it; the others count as skipped
  --plain        run each case on revm's own loop too and compare";

#[derive(Debug)]
struct Options {
    folder: PathBuf,
    fuel: u64,
    heavy_gas: u64,
    jobs: usize,
    filter: String,
    is_compared: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        let mut options = Self {
            folder: PathBuf::new(),
            fuel: 1,
            heavy_gas: HEAVY_GAS,
            jobs,
            filter: String::new(),
            is_compared: false,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--slice" => options.fuel = words.next()?.parse().ok().filter(|&gas| gas > 0)?,
                "--heavy" => options.heavy_gas = words.next()?.parse().ok()?,
                "--jobs" => options.jobs = words.next()?.parse().ok().filter(|&jobs| jobs > 0)?,
                "--filter" => options.filter = words.next()?,
                "--plain" => options.is_compared = true,
                folder if !folder.starts_with('-') => options.folder = folder.into(),
                _ => return None,
            }
        }
        (!options.folder.as_os_str().is_empty()).then_some(options)
    }
}

/// What came out so far.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Cases that differ from revm's own loop, which lacks EIP-7610.
    refused: u64,
    slices: u64,
    offloads: u64,
    sliced_cpu: Duration,
    plain_cpu: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.refused += other.refused;
        self.slices += other.slices;
        self.offloads += other.offloads;
        self.sliced_cpu += other.sliced_cpu;
        self.plain_cpu += other.plain_cpu;
    }

    fn fail(&mut self, what: &str, why: &str) {
        self.failed += 1;
        println!("FAIL {what}: {why}");
    }
}

fn cpu(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::from_nanos((now.tv_sec * 1_000_000_000 + now.tv_nsec).unsigned_abs())
}

/// The JSON files below `folder`, in order of their names.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(())
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let mut paths = vec![];
    if let Err(error) = files(&options.folder, &mut paths) {
        eprintln!("state_tests: {}: {error}", options.folder.display());
        return ExitCode::FAILURE;
    }
    if options.is_compared {
        load_trusted_setup();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tally = Tally::default();
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            run_file(path, &options, &mut tally);
        }
        tally
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            tally.add(&worker.join().expect("panics of cases are caught"));
        }
    });
    report(&options, &tally, paths.len());
    // A folder without tests passes nothing.
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has the trusted setup of KZG loaded, which takes seconds of CPU time once per process: whoever
/// runs first would be charged with it.
fn load_trusted_setup() {
    let is_valid = verify_kzg_proof(&[0; 48], &[0; 32], &[0; 32], &[0; 48]);
    assert!(!is_valid, "zeros encode no point");
}

fn report(options: &Options, tally: &Tally, files: usize) {
    let Options { fuel, heavy_gas, .. } = options;
    let Tally { passed, failed, skipped, slices, offloads, .. } = tally;
    println!(
        "{files} files, slices of {fuel} gas: {slices} cuts; {offloads} precompile calls above \
         {heavy_gas} gas offloaded; {:.1} CPU-s in all",
        cpu(ClockId::ProcessCPUTime).as_secs_f64()
    );
    let (sliced, plain) = (tally.sliced_cpu.as_secs_f64(), tally.plain_cpu.as_secs_f64());
    print!("execution alone: sliced {sliced:.2} CPU-s");
    if options.is_compared {
        print!(
            ", revm's own loop {plain:.2} CPU-s; results and changes are its own but in {} cases of \
             EIP-7610",
            tally.refused
        );
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
}

fn run_file(path: &Path, options: &Options, tally: &mut Tally) {
    let file = path.strip_prefix(&options.folder).unwrap_or(path).display();
    let suite = fs::read(path).map_err(|error| error.to_string()).and_then(|bytes| {
        serde_json::from_slice::<TestSuite>(&bytes).map_err(|error| error.to_string())
    });
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => return tally.fail(&file.to_string(), &format!("cannot be read: {error}")),
    };
    for (name, unit) in suite.0 {
        let cache = unit.state();
        for (fork, tests) in &unit.post {
            for test in tests {
                let place = &test.indexes;
                let what = format!(
                    "{file} {name} {fork:?} data {} gas {} value {}",
                    place.data, place.gas, place.value
                );
                if !what.contains(&options.filter) {
                    tally.skipped += 1;
                    continue;
                }
                let case = Case { unit: &unit, fork, test, cache: &cache, options };
                let checked = catch_unwind(AssertUnwindSafe(|| case.check(tally)));
                match checked.unwrap_or_else(|_| Err("panicked".to_owned())) {
                    Ok(()) => tally.passed += 1,
                    Err(why) => tally.fail(&what, &why),
                }
            }
        }
    }
}

type DbError = <State<EmptyDB> as Database>::Error;

/// The state before a case.
#[derive(Debug)]
struct Db {
    state: State<EmptyDB>,
    /// Some account was found to have storage, so its creation was refused.
    has_refused: bool,
}

impl Database for Db {
    type Error = DbError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        self.state.basic(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, DbError> {
        self.state.code_by_hash(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, DbError> {
        self.state.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DbError> {
        self.state.block_hash(number)
    }
}

impl StorageSearch for Db {
    fn search_storage(&mut self, address: Address, from: U256) -> Result<SlotSearch, DbError> {
        let Ok(cached) = self.state.load_cache_account(address);
        let slots = cached.account.iter().flat_map(|account| &account.storage);
        let mut set = slots.filter(|(slot, value)| **slot >= from && !value.is_zero());
        let found = set.next().map(|(slot, _)| *slot);
        self.has_refused |= found.is_some();
        Ok(found.map_or(SlotSearch::Nothing, SlotSearch::Found))
    }
}

type Outcome = Result<ExecutionResult, ExecutionError<Db>>;

/// One transaction at one fork.
struct Case<'a> {
    unit: &'a TestUnit,
    fork: &'a SpecName,
    test: &'a Test,
    cache: &'a CacheState,
    options: &'a Options,
}

impl Case<'_> {
    fn check(&self, tally: &mut Tally) -> Result<(), String> {
        let tx = self.test.tx_env(self.unit).map_err(|error| error.to_string())?;
        let setup = self.setup();
        let start = cpu(ClockId::ThreadCPUTime);
        let (sliced, has_refused) = self.run_sliced(setup.clone(), tx.clone(), tally);
        tally.sliced_cpu += cpu(ClockId::ThreadCPUTime).saturating_sub(start);
        if self.options.is_compared {
            let start = cpu(ClockId::ThreadCPUTime);
            let plain = self.run_plain(setup, tx);
            tally.plain_cpu += cpu(ClockId::ThreadCPUTime).saturating_sub(start);
            let differs = sliced != plain;
            if differs && !has_refused {
                return Err(format!("{:?}, expected revm's own {:?}", sliced.0, plain.0));
            }
            tally.refused += u64::from(differs);
        }
        self.verify(sliced)
    }

    /// Whether this is what the fixture says.
    fn verify(&self, (outcome, changes): (Outcome, EvmState)) -> Result<(), String> {
        self.check_refusal(outcome.as_ref().err())?;
        let logs = outcome.as_ref().map_or(&[][..], ExecutionResult::logs);
        let found = logs_hash(logs);
        if found != self.test.logs {
            return Err(format!("logs hash {found}, expected {}", self.test.logs));
        }
        let mut state = self.state().state;
        state.commit(changes);
        let found = state_root(state.cache.trie_account());
        if found != self.test.hash {
            return Err(format!("state root {found}, expected {}", self.test.hash));
        }
        Ok(())
    }

    fn setup(&self) -> Setup {
        let mut cfg = CfgEnv::new_with_spec(self.fork.to_spec_id());
        cfg.chain_id = self.unit.env.current_chain_id.map_or(1, |id| id.saturating_to());
        // EIP-7691 raised the blobs per block, EIP-7594 limits those per transaction.
        let is_at_least = |fork| cfg.spec.is_enabled_in(fork);
        let has_nine_blobs = is_at_least(SpecId::PRAGUE) && !is_at_least(SpecId::OSAKA);
        cfg.set_max_blobs_per_tx(if has_nine_blobs { 9 } else { 6 });
        let block = self.unit.block_env(&mut cfg);
        Setup { cfg, block, heavy_gas: self.options.heavy_gas, is_net_metered: false }
    }

    fn state(&self) -> Db {
        let state = State::builder().with_cached_prestate(self.cache.clone()).build();
        Db { state, has_refused: false }
    }

    /// Also whether a creation was refused.
    fn run_sliced(
        &self,
        setup: Setup,
        tx: TxEnv,
        tally: &mut Tally,
    ) -> ((Outcome, EvmState), bool) {
        let mut evm = Suspended::new(setup, self.state(), ());
        let outcome = match evm.begin(tx) {
            Err(error) => Err(error),
            Ok(Some(result)) => Ok(result),
            Ok(None) => loop {
                let mut fuel = self.options.fuel;
                match evm.resume(&mut fuel) {
                    Ok(Slice::More) => tally.slices += 1,
                    Ok(Slice::Offload(call)) => {
                        tally.offloads += 1;
                        evm.provide(call.run(&|| false));
                    }
                    Ok(Slice::Done(result)) => break Ok(result),
                    Err(error) => break Err(error),
                }
            },
        };
        let changes = evm.finalize();
        ((outcome, changes), evm.into_parts().0.has_refused)
    }

    fn run_plain(&self, setup: Setup, tx: TxEnv) -> (Outcome, EvmState) {
        let context = Context::mainnet().with_db(self.state());
        let mut evm = context.with_cfg(setup.cfg).with_block(setup.block).build_mainnet();
        (evm.transact_one(tx), evm.finalize())
    }

    /// The transaction is refused if, and for the reason that, the fixture says so.
    fn check_refusal(&self, error: Option<&ExecutionError<Db>>) -> Result<(), String> {
        match (error, &self.test.expect_exception) {
            (None, None) => Ok(()),
            (Some(EVMError::Transaction(error)), Some(names)) => {
                let is_expected = names.split('|').any(|name| {
                    is_named(error, name.strip_prefix("TransactionException.").unwrap_or(name))
                });
                if is_expected {
                    return Ok(());
                }
                Err(format!("refused by {error:?}, expected {names}"))
            }
            (Some(error), Some(names)) => Err(format!("failed by {error}, expected {names}")),
            (Some(error), None) => Err(format!("failed by {error}, expected a result")),
            (None, Some(names)) => Err(format!("executed, expected {names}")),
        }
    }
}

/// Whether `error` is what execution-spec-tests call `name`.
fn is_named(error: &InvalidTransaction, name: &str) -> bool {
    use InvalidTransaction as E;
    match name {
        "GASLIMIT_PRICE_PRODUCT_OVERFLOW" => matches!(error, E::OverflowPaymentInTransaction),
        "GAS_ALLOWANCE_EXCEEDED" => matches!(error, E::CallerGasLimitMoreThanBlock),
        "GAS_LIMIT_EXCEEDS_MAXIMUM" => matches!(error, E::TxGasLimitGreaterThanCap { .. }),
        "INITCODE_SIZE_EXCEEDED" => matches!(error, E::CreateInitCodeSizeLimit),
        "INSUFFICIENT_ACCOUNT_FUNDS" => matches!(error, E::LackOfFundForMaxFee { .. }),
        "INSUFFICIENT_MAX_FEE_PER_BLOB_GAS" => {
            matches!(error, E::BlobGasPriceGreaterThanMax { .. })
        }
        "INSUFFICIENT_MAX_FEE_PER_GAS" => matches!(error, E::GasPriceLessThanBasefee),
        "INTRINSIC_GAS_BELOW_FLOOR_GAS_COST" => matches!(error, E::GasFloorMoreThanGasLimit { .. }),
        "INTRINSIC_GAS_TOO_LOW" => matches!(error, E::CallGasCostMoreThanGasLimit { .. }),
        "INVALID_CHAINID" => matches!(error, E::InvalidChainId),
        "NONCE_IS_MAX" => matches!(error, E::NonceOverflowInTransaction),
        "NONCE_MISMATCH_TOO_HIGH" => matches!(error, E::NonceTooHigh { .. }),
        "NONCE_MISMATCH_TOO_LOW" => matches!(error, E::NonceTooLow { .. }),
        "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS" => matches!(error, E::PriorityFeeGreaterThanMaxFee),
        "SENDER_NOT_EOA" => matches!(error, E::RejectCallerWithCode),
        "TYPE_1_TX_PRE_FORK" => matches!(error, E::Eip2930NotSupported),
        "TYPE_2_TX_PRE_FORK" => matches!(error, E::Eip1559NotSupported),
        "TYPE_3_TX_BLOB_COUNT_EXCEEDED" | "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED" => {
            matches!(error, E::TooManyBlobs { .. })
        }
        "TYPE_3_TX_CONTRACT_CREATION" => matches!(error, E::BlobCreateTransaction),
        "TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH" => matches!(error, E::BlobVersionNotSupported),
        "TYPE_3_TX_PRE_FORK" => matches!(error, E::Eip4844NotSupported),
        "TYPE_3_TX_ZERO_BLOBS" => matches!(error, E::EmptyBlobs),
        "TYPE_4_EMPTY_AUTHORIZATION_LIST" => matches!(error, E::EmptyAuthorizationList),
        "TYPE_4_TX_PRE_FORK" => matches!(error, E::Eip7702NotSupported),
        _ => false,
    }
}

fn logs_hash(logs: &[Log]) -> B256 {
    let mut encoded = vec![];
    alloy_rlp::encode_list(logs, &mut encoded);
    keccak256(encoded)
}

/// Root of the Merkle Patricia trie of these accounts, by alloy-trie.
fn state_root<'a>(accounts: impl IntoIterator<Item = (Address, &'a PlainAccount)>) -> B256 {
    let leaf = |(address, account): (Address, &PlainAccount)| {
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let storage_root =
            storage_root_unhashed(slots.map(|(slot, value)| (B256::from(*slot), *value)));
        let leaf = TrieAccount {
            nonce: account.info.nonce,
            balance: account.info.balance,
            storage_root,
            code_hash: account.info.code_hash,
        };
        (keccak256(address), leaf)
    };
    let mut leaves: Vec<_> = accounts.into_iter().map(leaf).collect();
    leaves.sort_unstable_by_key(|(key, _)| *key);
    let mut builder = HashBuilder::default();
    for (key, account) in leaves {
        builder.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(account));
    }
    builder.root()
}
