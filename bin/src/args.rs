//! The flags of `evenkeel`: anvil's names, meanings and defaults, and our own.
//!
//! Each flag is also an `EVENKEEL_*` variable and a key of `evenkeel.toml`; [`crate::layers`] reads
//! both as flags, so a flag is declared once, here.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use alloy_primitives::Address;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::styling};
use clap_complete::Shell;
use evenkeel_chain::limits::{GENESIS_NUMBER_MAX, GENESIS_TIMESTAMP_MAX};
use evenkeel_node::{INTERVAL_MIN, ShadowAim};
use tracing_subscriber::filter::Targets;

use crate::test::TestArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about = "An Ethereum node on fair async actors. Bare `evenkeel` runs a devnet.",
    args_conflicts_with_subcommands = true,
    styles = styling::Styles::styled()
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) dev: DevArgs,
}

/// What to do, when it is not the devnet.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a devnet node (the default).
    Dev(Box<DevArgs>),
    /// Look into a database.
    Db {
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Put the blocks of files into a database: their RLP, one after the other, as geth exports it.
    Import {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The genesis file (geth's or Besu's format); to be given if there is no database yet.
        #[arg(long, value_name = "FILE", visible_alias = "init")]
        chain: Option<PathBuf>,
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        datadir: PathBuf,
    },
    /// Write the blocks of a database that no node has open to a file, as `import` reads them.
    Export {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The first block; the genesis unless given.
        #[arg(value_name = "FIRST")]
        first: Option<u64>,
        /// The last block; the head unless given.
        #[arg(value_name = "LAST")]
        last: Option<u64>,
        /// Write the genesis to this file too, in geth's format, as `import --chain` reads it.
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        datadir: PathBuf,
    },
    /// Run third-party tests: Ethereum's own, in JSON files.
    Test(TestArgs),
    /// Show what a running node's scheduler does.
    Top {
        /// Where the node listens.
        #[arg(value_name = "URL", default_value = "http://127.0.0.1:8545")]
        url: String,
        /// The same as a flag.
        #[arg(long = "url", value_name = "URL", conflicts_with = "url")]
        url_flag: Option<String>,
        /// Print one snapshot and end.
        #[arg(long)]
        once: bool,
    },
    /// Write a script to stdout with which a shell completes commands and flags.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// What to do with a database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Check every block, root and index of a database that no node has open.
    Verify {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        datadir: PathBuf,
    },
}

/// How transactions are sorted in the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderArg {
    /// By what they pay the block's producer.
    Fees,
    /// By arrival.
    Fifo,
}

/// Flags of the devnet.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Read more settings from this file instead of ./evenkeel.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) wallet: WalletArgs,
    #[command(flatten)]
    pub(crate) mining: MiningArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    #[command(flatten)]
    pub(crate) evm: EvmArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) display: DisplayArgs,
}

/// Who has money at the start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accounts")]
pub(crate) struct WalletArgs {
    /// Number of dev accounts [default: 10].
    #[arg(short, long, value_name = "NUM")]
    pub(crate) accounts: Option<usize>,
    /// Balance of every dev account that a genesis file does not name, in ether [default: 10000].
    #[arg(long, value_name = "NUM")]
    pub(crate) balance: Option<u64>,
    /// BIP-39 phrase the dev accounts are derived from.
    #[arg(short, long, value_name = "PHRASE", conflicts_with_all = ["mnemonic_random", "mnemonic_seed_unsafe"])]
    pub(crate) mnemonic: Option<String>,
    /// Make up a BIP-39 phrase of this many words: 12, 15, 18, 21 or 24.
    #[arg(long, value_name = "WORDS", num_args = 0..=1, default_missing_value = "12", conflicts_with = "mnemonic_seed_unsafe")]
    pub(crate) mnemonic_random: Option<usize>,
    /// Make a BIP-39 phrase from a number. Never use its keys outside tests.
    #[arg(long, value_name = "SEED", visible_alias = "mnemonic-seed")]
    pub(crate) mnemonic_seed_unsafe: Option<u64>,
    /// Derivation path of the dev keys; the account's index is appended [default: m/44'/60'/0'/0/].
    #[arg(long, value_name = "PATH")]
    pub(crate) derivation_path: Option<String>,
    /// Sign for the keys in these files too (Web3 Secret Storage, as geth and cast write it).
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "password_file")]
    pub(crate) keystore: Vec<PathBuf>,
    /// Passwords of the keystores, one a line; the last one is for all that follow.
    #[arg(long, value_name = "FILE", requires = "keystore")]
    pub(crate) password_file: Option<PathBuf>,
    /// Give these accounts money at the start: ADDRESS, or ADDRESS:ETHER.
    #[arg(long, value_name = "ADDRESS[:ETHER]", value_delimiter = ',', num_args = 1.., value_parser = parse_funds)]
    pub(crate) fund_accounts: Vec<Funds>,
    /// Accept transactions from any sender, unsigned.
    #[arg(long, visible_alias = "auto-unlock")]
    pub(crate) auto_impersonate: bool,
}

/// When blocks are made and what goes in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mining")]
pub(crate) struct MiningArgs {
    /// Make a block every so many seconds (0.05 and more) instead of one per burst of transactions.
    #[arg(short, long, value_name = "SECONDS", visible_alias = "blockTime", value_parser = parse_block_time)]
    pub(crate) block_time: Option<Duration>,
    /// Make blocks only when asked (`evm_mine`).
    #[arg(long, visible_alias = "no-mine", conflicts_with = "block_time")]
    pub(crate) no_mining: bool,
    /// Make a block at every interval and for every transaction.
    #[arg(long, requires = "block_time", conflicts_with = "no_mining")]
    pub(crate) mixed_mining: bool,
    /// How transactions are sorted in the mempool.
    #[arg(long, value_enum, default_value_t = OrderArg::Fees)]
    pub(crate) order: OrderArg,
    /// Most transactions in a block.
    #[arg(long, value_name = "NUM")]
    pub(crate) max_transactions: Option<NonZeroUsize>,
    /// Feign epochs: `safe` is so many blocks behind the head and `finalized` twice as many.
    /// Without it both are the head, as nothing can undo a block here.
    #[arg(long, value_name = "NUM")]
    pub(crate) slots_in_an_epoch: Option<u64>,
}

/// Where and how JSON-RPC is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Port of HTTP and WebSocket; 0 takes a free one.
    #[arg(short, long, value_name = "NUM", default_value_t = 8545)]
    pub(crate) port: u16,
    /// Addresses to listen on.
    #[arg(long, value_name = "IP", value_delimiter = ',', default_value = "127.0.0.1")]
    pub(crate) host: Vec<IpAddr>,
    /// The CORS `allow_origin` header.
    #[arg(long, value_name = "ORIGIN", default_value = "*")]
    pub(crate) allow_origin: String,
    /// Send no CORS headers.
    #[arg(long, conflicts_with = "allow_origin")]
    pub(crate) no_cors: bool,
    /// Accept request bodies of any size (up to 1 GiB).
    #[arg(long)]
    pub(crate) no_request_size_limit: bool,
    /// Listen on this Unix socket too.
    #[arg(
        long,
        visible_alias = "ipcpath",
        value_name = "PATH",
        num_args = 0..=1,
        default_missing_value = "/tmp/anvil.ipc"
    )]
    pub(crate) ipc: Option<PathBuf>,
    /// Longest a call, estimate or trace may take from its arrival: 5s, 500ms, 0 for no limit.
    #[arg(long = "rpc.evmtimeout", id = "rpc.evmtimeout", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) evm_timeout: Duration,
    /// Most gas a call may use; no cap unless given.
    #[arg(long = "rpc.gascap", id = "rpc.gascap", value_name = "GAS")]
    pub(crate) gas_cap: Option<u64>,
}

/// What the chain is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chain")]
pub(crate) struct ChainArgs {
    /// Start from this genesis file (geth's format) instead of the dev genesis.
    #[arg(long, value_name = "FILE", visible_alias = "chain")]
    pub(crate) init: Option<PathBuf>,
    /// The chain id [default: 31337].
    #[arg(long, value_name = "ID")]
    pub(crate) chain_id: Option<u64>,
    /// The EVM's rules: frontier .. osaka, bpo1, bpo2; latest, the last of these [default: osaka].
    #[arg(long, value_name = "FORK")]
    pub(crate) hardfork: Option<String>,
    /// Gas limit of a block [default: 30000000].
    #[arg(long, value_name = "GAS", value_parser = clap::value_parser!(u64).range(5_000..))]
    pub(crate) gas_limit: Option<u64>,
    /// Base fee of the first block, in wei [default: 1000000000].
    #[arg(long, value_name = "WEI", visible_alias = "base-fee")]
    pub(crate) block_base_fee_per_gas: Option<u64>,
    /// Lowest gas price that is accepted, in wei.
    #[arg(long, value_name = "WEI")]
    pub(crate) gas_price: Option<u128>,
    /// Timestamp of the genesis block, from which the clock of the chain goes on [default: now].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=GENESIS_TIMESTAMP_MAX))]
    pub(crate) timestamp: Option<u64>,
    /// Number of the genesis block.
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u64).range(..=GENESIS_NUMBER_MAX))]
    pub(crate) number: Option<u64>,
    /// Do not predeploy the deterministic CREATE2 factory.
    #[arg(long, visible_alias = "no-create2")]
    pub(crate) disable_default_create2_deployer: bool,
}

/// What an execution may do.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of anvil's")]
#[derive(Debug, Args)]
#[command(next_help_heading = "EVM")]
pub(crate) struct EvmArgs {
    /// Largest contract code, in bytes (EIP-170).
    #[arg(long, value_name = "BYTES", conflicts_with = "disable_code_size_limit")]
    pub(crate) code_size_limit: Option<usize>,
    /// No limit on contract code (EIP-170).
    #[arg(long)]
    pub(crate) disable_code_size_limit: bool,
    /// Let a transaction or call ask for more gas than a block has.
    #[arg(long, conflicts_with = "gas_limit")]
    pub(crate) disable_block_gas_limit: bool,
    /// Enforce EIP-7825's limit on a transaction's gas.
    #[arg(long, visible_alias = "tx-gas-limit")]
    pub(crate) enable_tx_gas_limit: bool,
    /// Suggest no priority fee.
    #[arg(long, visible_alias = "no-priority-fee")]
    pub(crate) disable_min_priority_fee: bool,
    /// Let transactions into the mempool that their sender cannot pay now.
    #[arg(long)]
    pub(crate) disable_pool_balance_checks: bool,
    /// Memory an execution may use, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub(crate) memory_limit: usize,
    /// Changes nothing: any transaction can be traced.
    #[arg(long, visible_alias = "tracing")]
    pub(crate) steps_tracing: bool,
    /// Do not print what contracts say with `console.log`.
    #[arg(long, visible_alias = "no-console-log")]
    pub(crate) disable_console_log: bool,
    /// Print the calls of each mined transaction and of each call, as a tree.
    #[arg(long, visible_alias = "enable-trace-printing")]
    pub(crate) print_traces: bool,
    /// The family of networks to be like.
    #[arg(short, long, value_enum, default_value_t = NetworkArg::Ethereum)]
    pub(crate) network: NetworkArg,
}

/// State files in anvil's format.
#[derive(Debug, Args)]
#[command(next_help_heading = "State files")]
pub(crate) struct StateArgs {
    /// Begin with the chain in this state file; a folder means `state.json` in it. A datadir that
    /// has a chain is refused.
    #[arg(long, value_name = "PATH", conflicts_with = "init")]
    pub(crate) load_state: Option<PathBuf>,
    /// Write the chain to this state file at the end, and every --state-interval.
    #[arg(long, value_name = "PATH", conflicts_with = "init")]
    pub(crate) dump_state: Option<PathBuf>,
    /// Both: load the file if it is there (and the datadir has no chain), write it at the end.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["init", "load_state", "dump_state"])]
    pub(crate) state: Option<PathBuf>,
    /// Seconds between two writes of the state file while it changes [default: 60].
    #[arg(short = 's', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) state_interval: Option<u64>,
    /// Changes nothing: a state file has the last state only; --datadir keeps all.
    #[arg(long, conflicts_with = "init")]
    pub(crate) preserve_historical_states: bool,
}

/// How the node runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeArgs {
    /// Keep the chain in this folder; without it, in memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,
    /// Seed of everything random in the node: keys, ids, jitter.
    #[arg(long, value_name = "NUM")]
    pub(crate) seed: Option<u64>,
    /// Worker threads; 0 means one per core.
    #[arg(short = 'j', long, value_name = "NUM", visible_alias = "jobs", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Execute every block once more under this hardfork and report what differs, see
    /// `shadow_report`; `next`: under the one after the chain's own.
    #[arg(long, value_name = "FORK")]
    pub(crate) shadow: Option<ShadowAim>,
    /// Write accounts, keys and fees to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) config_out: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub(crate) struct DisplayArgs {
    /// Print nothing.
    #[arg(short, long, visible_alias = "silent")]
    pub(crate) quiet: bool,
    /// Print the start, the requests and the blocks as one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// What of the node's own log goes to stderr: a level, or `target=level` with commas between.
    /// `evenkeel_runtime=trace` shows every turn and message with its time.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log: Targets,
    /// Send spans to this OpenTelemetry collector, as OTLP over HTTP.
    #[arg(
        long = "tracing-otlp",
        id = "tracing-otlp",
        value_name = "URL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "http://127.0.0.1:4318/v1/traces"
    )]
    pub(crate) tracing_otlp: Option<String>,
    /// Which spans are sent, as for --log; the default is every turn and message.
    #[arg(
        long = "tracing-otlp.filter",
        id = "tracing-otlp.filter",
        requires = "tracing-otlp",
        value_name = "FILTER",
        default_value = "evenkeel_runtime=trace"
    )]
    pub(crate) tracing_otlp_filter: Targets,
    /// Part of all traces that is sent, 0 to 1.
    #[arg(
        long = "tracing-otlp.sample-ratio",
        id = "tracing-otlp.sample-ratio",
        requires = "tracing-otlp",
        value_name = "RATIO",
        default_value_t = 1.0
    )]
    pub(crate) tracing_otlp_sample_ratio: f64,
    /// Changes nothing: only tables would be Markdown, and there are none.
    #[arg(long, conflicts_with = "json")]
    pub(crate) md: bool,
    /// Changes nothing: what is printed has no colors.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub(crate) color: ColorArg,
    /// Changes nothing: only printed traces have levels of detail.
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbosity: u8,
}

/// The networks that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkArg {
    Ethereum,
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    Auto,
    Always,
    Never,
}

/// An account and its balance at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Funds {
    pub(crate) address: Address,
    /// In ether; `None`: as much as a dev account.
    pub(crate) ether: Option<u64>,
}

fn parse_funds(text: &str) -> Result<Funds, String> {
    let expected = || format!("expected ADDRESS or ADDRESS:ETHER, found {text:?}");
    let (address, ether) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
    Ok(Funds {
        address: address.parse().map_err(|_| expected())?,
        ether: ether.map(str::parse).transpose().map_err(|_| expected())?,
    })
}

/// Seconds with a fraction, [`INTERVAL_MIN`] and more.
fn parse_block_time(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("expected seconds, found {text:?}"))?;
    let min = INTERVAL_MIN.as_secs_f64();
    if !(min..=1e9).contains(&seconds) {
        return Err(format!("expected {min} to 1e9 seconds, found {text}"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// geth's way to write a time: `5s`, `500ms`, `1m30s`, or `0`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as 5s, 500ms or 1m, found {text:?}");
    evenkeel_rpc::parse_duration(text).ok_or_else(expected)
}
