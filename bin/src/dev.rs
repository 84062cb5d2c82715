//! Runs a devnet node: settings in, banner out, until a signal ends it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    time::Duration,
};

use alloy_primitives::{Address, U256, keccak256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, bail, ensure};
use evenkeel_chain::{DERIVATION_PATH, DevAccounts, MNEMONIC};
use evenkeel_node::{
    AdmissionConfig, Api, Config, Limits, LogConfig, LogForm, Mining, Node, Noting, Order,
    PoolConfig, RpcConfig, bind, log_blocks, serve_on, start,
};
use evenkeel_runtime::{Class, Reply, Spawn, StopReason, System, ThreadsConfig, reply};
use evenkeel_state::Options;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{DevArgs, MiningArgs, OrderArg, WalletArgs},
    banner::Banner,
    genesis, keystore, log,
    state_file::{self, Target},
};

/// How long the processes may take to end once asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// A time that no request reaches, for `--rpc.evmtimeout 0`.
const NO_TIMEOUT: Duration = Duration::from_hours(100 * 365 * 24);
/// Largest request body under `--no-request-size-limit`.
const REQUEST_BYTES_UNLIMITED: usize = 1 << 30;
/// Dev accounts when their number is not given, as on anvil.
const ACCOUNTS_DEFAULT: usize = 10;
/// How long lines of the log gather between two writes: at 20,000 requests a second a write for
/// each would cost more than the requests.
const LOG_REST: Duration = Duration::from_millis(20);

/// Runs until SIGTERM, Ctrl-C or a failure of the node.
///
/// # Errors
///
/// What is wrong with the settings, the genesis, the database or the port; nothing is written then.
pub(crate) fn run(args: &DevArgs) -> Result<()> {
    let _flushed_when_dropped = log::start(&args.display)?;
    let system = System::threads(threads(args)).context("cannot start the scheduler")?;
    let signals = signals(&system)?;
    let accounts = dev_accounts(&args.wallet, args.node.seed)?;
    let keys = keystore::unlock(&args.wallet)?;
    let of_files: Vec<_> = keys.iter().map(PrivateKeySigner::address).collect();
    state_file::check(&args.state)?;
    let options = Options { path: args.node.datadir.clone(), ..Options::default() };
    let spec = genesis::chain_spec(args, &accounts, &options, system.wall_clock())?;
    let addresses: Vec<_> =
        args.server.host.iter().map(|ip| SocketAddr::new(*ip, args.server.port)).collect();

    // The port before the database: a busy one must leave nothing behind.
    let mut listeners = bind(&addresses)?;
    if let Some(path) = &args.server.ipc {
        listeners = listeners.with_ipc(path)?;
    }
    let database = state_file::open(&args.state, &options, &spec)?;
    let node = start(&system, config(args, &accounts, keys), spec, database)?;
    let listening = serve_on(&system, Arc::clone(&node.api), listeners)?.local;
    if let Some(path) = &args.node.config_out {
        let text = config_out(args, (&accounts, &of_files), &node).to_string();
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // Before anybody is told where to send transactions.
    let logging = log_blocks(Arc::clone(&node.api));
    if !args.display.quiet {
        let banner = banner(args, (&accounts, &of_files), &node, &listening)?;
        let text = if args.display.json { banner.json() } else { banner.text() };
        // A closed pipe is no reason to end a node.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    let spawn = |name| Spawn::new(name, Class::Rpc);
    drop(system.spawn_future(spawn("log blocks"), logging));
    let printing = print_log(system.clone(), Arc::clone(&node.api));
    drop(system.spawn_future(spawn("log"), printing));
    let target = Target::new(&args.state, &node.spec);
    if let Some(target) = target.clone() {
        let writing = target.write_often(system.clone(), node.durable.clone());
        drop(system.spawn_future(Spawn::new("state file", Class::Prove), writing));
    }

    stop_on(&system, signals);
    match system.wait_stopped() {
        StopReason::Asked => {
            system.stop(STOP_MAX);
            // Nothing is made durable any more.
            target.map_or(Ok(()), |target| target.write(&node.durable.get()))
        }
        reason => bail!("the node stopped: {reason}"),
    }
}

fn threads(args: &DevArgs) -> ThreadsConfig {
    let config = ThreadsConfig { seed: args.node.seed, ..ThreadsConfig::default() };
    match args.node.threads {
        0 => config,
        workers => ThreadsConfig { workers, compute_threads: workers, ..config },
    }
}

/// Listens for SIGTERM and Ctrl-C. From here on they do not end the process by themselves: one that
/// comes during the start is obeyed at the end of it.
fn signals(system: &System) -> Result<[Signal; 2]> {
    let reactor = system.reactor().context("a system on threads has a reactor")?;
    let _inside = reactor.enter();
    let listen = |kind| signal(kind).context("cannot listen for signals");
    Ok([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?])
}

/// Ends the system when one of the signals comes.
fn stop_on(system: &System, signals: [Signal; 2]) {
    for mut arrivals in signals {
        let stopping = system.clone();
        let waiting = async move {
            arrivals.recv().await;
            stopping.request_stop(StopReason::Asked);
        };
        drop(system.spawn_future(Spawn::new("signals", Class::System), waiting));
    }
}

/// Writes the request log to stdout, for as long as somebody takes it.
async fn print_log(system: System, api: Arc<Api>) {
    let printer = printer();
    loop {
        let text = api.log.next().await;
        let (written, is_written) = reply();
        let is_sent = printer.send((text, written)).is_ok();
        if !is_sent || !is_written.await.unwrap_or(false) {
            api.log.set_on(false);
            return;
        }
        system.sleep(LOG_REST).await;
    }
}

/// Starts the thread that prints; it says of each text whether it was taken. There is never more
/// than one on its way, so the channel needs no bound.
fn printer() -> mpsc::Sender<(String, Reply<bool>)> {
    let (sender, texts) = mpsc::channel::<(String, Reply<bool>)>();
    #[expect(
        clippy::disallowed_methods,
        reason = "a write to a pipe that nobody reads does not return: on the system's own threads \
                  it would hold up a worker, or the end of the node"
    )]
    std::thread::spawn(move || {
        for (text, written) in texts {
            let mut stdout = std::io::stdout().lock();
            let result = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            written.send(result.is_ok());
        }
    });
    sender
}

/// The node's settings from the flags.
fn config(args: &DevArgs, accounts: &DevAccounts, keys: Vec<PrivateKeySigner>) -> Config {
    let evm = &args.evm;
    let order = match args.mining.order {
        OrderArg::Fees => Order::Fees,
        OrderArg::Fifo => Order::Fifo,
    };
    let pool = PoolConfig {
        order,
        min_gas_price: args.chain.gas_price,
        check_balance: !evm.disable_pool_balance_checks,
        ..PoolConfig::default()
    };
    let code_size_max =
        if evm.disable_code_size_limit { Some(usize::MAX) } else { evm.code_size_limit };
    let limits = Limits {
        memory_bytes_max: evm.memory_limit,
        code_size_max,
        tx_gas_cap: evm.enable_tx_gas_limit,
        ..Limits::default()
    };
    let admission = AdmissionConfig {
        check_block_gas_limit: !evm.disable_block_gas_limit,
        check_tx_gas_limit: limits.tx_gas_cap,
        // EIP-3860: twice the limit on code.
        init_code_bytes_max: code_size_max
            .map_or(AdmissionConfig::default().init_code_bytes_max, |limit| limit.checked_mul(2)),
    };
    Config {
        mining: mining(&args.mining),
        txs_per_block_max: args.mining.max_transactions.map(NonZeroUsize::get),
        gas_limit: gas_limit(args),
        pool,
        admission,
        rpc: rpc_config(args, &limits),
        limits,
        accounts: accounts.clone(),
        keys,
        log: LogConfig {
            form: if args.display.json { LogForm::Json } else { LogForm::Text },
            is_on: !args.display.quiet,
            noting: Noting { has_console: !evm.disable_console_log, has_calls: evm.print_traces },
        },
        auto_impersonate: args.wallet.auto_impersonate,
        is_clock_from_head: args.chain.timestamp.is_some(),
        shadow: args.node.shadow,
    }
}

/// JSON-RPC's settings; a call or an estimate has the limits of a block's transactions.
fn rpc_config(args: &DevArgs, limits: &Limits) -> RpcConfig {
    let (server, evm) = (&args.server, &args.evm);
    let defaults = RpcConfig::default();
    let timeout = if server.evm_timeout.is_zero() { NO_TIMEOUT } else { server.evm_timeout };
    RpcConfig {
        evm_timeout: timeout,
        gas_cap: server.gas_cap,
        memory_bytes_max: limits.memory_bytes_max,
        code_size_max: limits.code_size_max,
        tx_gas_cap: limits.tx_gas_cap,
        cors: (!server.no_cors).then(|| vec![server.allow_origin.clone()]),
        request_bytes_max: if server.no_request_size_limit {
            REQUEST_BYTES_UNLIMITED
        } else {
            defaults.request_bytes_max
        },
        slots_in_an_epoch: args.mining.slots_in_an_epoch,
        is_persistent: args.node.datadir.is_some(),
        priority_fee: if evm.disable_min_priority_fee { 0 } else { defaults.priority_fee },
        ..defaults
    }
}

fn mining(args: &MiningArgs) -> Mining {
    match args.block_time {
        None if args.no_mining => Mining::None,
        None => Mining::Automine,
        Some(interval) if args.mixed_mining => Mining::Mixed(interval),
        Some(interval) => Mining::Interval(interval),
    }
}

fn banner<'a>(
    args: &'a DevArgs,
    (accounts, of_files): (&'a DevAccounts, &[Address]),
    node: &Node,
    listening: &'a [SocketAddr],
) -> Result<Banner<'a>> {
    let genesis = &node.spec.genesis;
    let durable = node.durable.get();
    let balance = |address| -> Result<U256> {
        Ok(durable.view.account(address)?.unwrap_or_default().balance)
    };
    let rows = accounts
        .signers()
        .iter()
        .map(|signer| Ok((signer.address(), balance(signer.address())?, signer.to_bytes())));
    let keystore = of_files.iter().map(|address| Ok((*address, balance(*address)?)));
    let database = args.node.datadir.as_ref();
    Ok(Banner {
        accounts: rows.collect::<Result<_>>()?,
        keystore: keystore.collect::<Result<_>>()?,
        wallet: (accounts.mnemonic(), accounts.derivation_path()),
        chain_id: node.spec.chain_id,
        fork: node.spec.fork_of(&durable.header),
        shadow: args.node.shadow,
        base_fee: genesis.base_fee,
        gas_limit: gas_limit(args).unwrap_or(genesis.gas_limit),
        timestamp: genesis.timestamp,
        number: genesis.number,
        head: durable.header.number,
        database: database.map_or_else(|| "memory".to_owned(), |path| path.display().to_string()),
        listening,
        ipc: args.server.ipc.as_deref(),
    })
}

/// What `--config-out` writes: anvil's keys, and who else is signed for, in a list of its own, as
/// the keys of `private_keys` are those of `available_accounts` in their order.
fn config_out(
    args: &DevArgs,
    (accounts, of_files): (&DevAccounts, &[Address]),
    node: &Node,
) -> Value {
    let keys: Vec<_> = accounts.signers().iter().map(PrivateKeySigner::to_bytes).collect();
    let base_fee = node.spec.genesis.base_fee.unwrap_or_default();
    json!({
        "available_accounts": accounts.addresses(),
        "private_keys": keys,
        "keystore_accounts": of_files,
        "wallet": {
            "mnemonic": accounts.mnemonic(),
            "derivation_path": accounts.derivation_path(),
        },
        "base_fee": base_fee.to_string(),
        "gas_price": args.chain.gas_price.unwrap_or_else(|| u128::from(base_fee)).to_string(),
        "gas_limit": gas_limit(args).map(|limit| limit.to_string()),
        "genesis_timestamp": node.spec.genesis.timestamp.to_string(),
    })
}

fn dev_accounts(args: &WalletArgs, seed: Option<u64>) -> Result<DevAccounts> {
    let path = args.derivation_path.as_deref().unwrap_or(DERIVATION_PATH);
    let count = args.accounts.unwrap_or(ACCOUNTS_DEFAULT);
    let made_up = |entropy: &[u8]| DevAccounts::random(entropy, path, count);
    let accounts = match (&args.mnemonic, args.mnemonic_random, args.mnemonic_seed_unsafe) {
        (_, _, Some(seed)) => made_up(&keccak256(seed.to_be_bytes())[..16]),
        (_, Some(words), _) => {
            ensure!(
                (12..=24).contains(&words) && words % 3 == 0,
                "--mnemonic-random: expected 12, 15, 18, 21 or 24 words, found {words}"
            );
            let hash = |seed: u64| Ok(keccak256(seed.to_be_bytes()).0);
            // BIP-39: three words for each four bytes.
            made_up(&seed.map_or_else(random_entropy, hash)?[..words / 3 * 4])
        }
        (phrase, None, None) => {
            let phrase = phrase.as_deref().unwrap_or(MNEMONIC);
            DevAccounts::from_mnemonic(phrase, path, count)
        }
    };
    Ok(accounts?)
}

/// Keys must be unguessable, so this is the one place that asks the operating system.
fn random_entropy() -> Result<[u8; 32]> {
    let mut entropy = [0; 32];
    let mut source = fs::File::open("/dev/urandom").context("no source of entropy")?;
    std::io::Read::read_exact(&mut source, &mut entropy).context("no entropy")?;
    Ok(entropy)
}

/// The block gas limit that the flags ask for, if any.
pub(crate) fn gas_limit(args: &DevArgs) -> Option<u64> {
    // anvil's meaning of "no limit": one that nothing reaches.
    let unlimited = args.evm.disable_block_gas_limit.then_some(u64::MAX >> 1);
    args.chain.gas_limit.or(unlimited)
}
