//! Which chain to run: that of the datadir, of a genesis file, or of the flags.
//!
//! A flag that would make another chain than the one there is a mistake, not a wish: it is refused
//! by its name.

use std::{fs, path::Path, time::Duration};

use alloy_primitives::{Address, B256, U256, map::HashSet, utils::format_ether};
use anyhow::{Context, Result, bail, ensure};
use evenkeel_chain::{CREATE2_FACTORY, ChainSpec, DevAccounts, DevOptions, Fork};
use evenkeel_state::{Database, Options};

use crate::{
    args::{ChainArgs, DevArgs, Funds, WalletArgs},
    dev::gas_limit,
};

const WEI_PER_ETHER: u64 = 1_000_000_000_000_000_000;
/// Balance of a dev account in ether when none is given, as on anvil.
const ETHER_DEFAULT: u64 = 10_000;

/// The chain to run: the datadir's own if it has one, else that of the genesis file, else that of
/// the flags.
///
/// # Errors
///
/// A file that is no genesis, or not that of the datadir; a flag that cannot take effect.
pub(crate) fn chain_spec(
    args: &DevArgs,
    accounts: &DevAccounts,
    options: &Options,
    now: Duration,
) -> Result<ChainSpec> {
    let file = args.chain.init.as_deref();
    // anvil takes it.
    ensure!(
        args.chain.chain_id != Some(0),
        "--chain-id 0: expected 1 or more (0 means no chain, and to EIP-7702 every chain)"
    );
    let asked = file.map(|path| genesis_file(path, args.chain.chain_id)).transpose()?;
    let stored = Database::stored_spec(options)?;
    let Some(stored) = stored else {
        let (Some(mut spec), Some(path)) = (asked, file) else {
            return dev_chain(args, accounts, now);
        };
        ensure!(
            spec.terminal_total_difficulty().is_none(),
            "{}: terminalTotalDifficulty is above the difficulty of the genesis, and a devnet does \
             not mine up to it; set mergeNetsplitBlock to the first proof-of-stake block, or \
             import the blocks up to it",
            path.display()
        );
        let whose = format!("the genesis in {}", path.display());
        refuse_other_chain(&args.chain, &spec, &whose)?;
        fund(&args.wallet, accounts, &mut spec, &whose)?;
        return Ok(spec);
    };
    let datadir = options.path.as_deref().context("a chain is only kept in a datadir")?;
    let whose = format!("the chain in {}", datadir.display());
    refuse_other_chain(&args.chain, &stored, &whose)?;
    if let (Some(mut asked), Some(path)) = (asked, file) {
        asked.fund_as(&stored);
        if let Some(found) = asked.difference(&stored) {
            bail!(
                "{} is not the genesis of {whose}: {} is {} in the file, expected {} as there",
                path.display(),
                found.field,
                found.ours,
                found.theirs
            );
        }
    }
    refuse_other_accounts(&args.wallet, accounts, &stored, &whose)?;
    Ok(stored)
}

/// Reads a genesis file; `chain_id` goes before that of the file, as on anvil.
fn genesis_file(path: &Path, chain_id: Option<u64>) -> Result<ChainSpec> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let spec = ChainSpec::from_genesis_json(&text);
    let mut spec = spec.with_context(|| format!("{shown} is not a genesis file"))?;
    spec.chain_id = chain_id.unwrap_or(spec.chain_id);
    Ok(spec)
}

/// Refuses flags that say otherwise than `spec`, which is that of `whose`.
fn refuse_other_chain(asked: &ChainArgs, spec: &ChainSpec, whose: &str) -> Result<()> {
    let genesis = &spec.genesis;
    let header = spec.genesis_header(B256::ZERO);
    let conflicts = [
        ("--chain-id", asked.chain_id, Some(spec.chain_id)),
        ("--timestamp", asked.timestamp, Some(genesis.timestamp)),
        ("--number", asked.number, Some(genesis.number)),
        ("--block-base-fee-per-gas", asked.block_base_fee_per_gas, header.base_fee_per_gas),
    ];
    for (flag, asked, found) in conflicts {
        if let Some(asked) = asked.filter(|asked| Some(*asked) != found) {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            bail!("{flag} {asked}, but {whose} has {found}");
        }
    }
    let fork = asked.hardfork.as_deref().map(str::parse::<Fork>).transpose()?;
    let found = spec.genesis_fork();
    if let Some(asked) = fork.filter(|asked| *asked != found) {
        bail!("--hardfork {asked}, but {whose} has {found}");
    }
    let has_factory = spec.genesis_alloc().contains_key(&CREATE2_FACTORY);
    ensure!(
        !asked.disable_default_create2_deployer || !has_factory,
        "--disable-default-create2-deployer, but {whose} has it"
    );
    Ok(())
}

/// Gives the dev accounts that a genesis file does not name their balance, as anvil does, and
/// those of `--fund-accounts`.
fn fund(
    args: &WalletArgs,
    accounts: &DevAccounts,
    spec: &mut ChainSpec,
    whose: &str,
) -> Result<()> {
    for funds in &args.fund_accounts {
        spec.fund(funds.address, wei_of(args, funds));
        check_funds(args, funds, spec, whose)?;
    }
    for address in accounts.addresses() {
        spec.fund(address, wei(args.balance.unwrap_or(ETHER_DEFAULT)));
    }
    Ok(())
}

/// Refuses flags about accounts that the chain, which is there already, was not made with.
fn refuse_other_accounts(
    args: &WalletArgs,
    accounts: &DevAccounts,
    stored: &ChainSpec,
    whose: &str,
) -> Result<()> {
    for funds in &args.fund_accounts {
        check_funds(args, funds, stored, whose)?;
    }
    let which = [
        (args.mnemonic.is_some(), "--mnemonic"),
        (args.mnemonic_random.is_some(), "--mnemonic-random"),
        (args.mnemonic_seed_unsafe.is_some(), "--mnemonic-seed-unsafe"),
        (args.derivation_path.is_some(), "--derivation-path"),
        (args.accounts.is_some(), "--accounts"),
    ];
    let which = which.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag));
    let funded: HashSet<Address> = args.fund_accounts.iter().map(|funds| funds.address).collect();
    for address in accounts.addresses() {
        let found = stored.genesis_alloc().get(&address).map(|account| account.balance);
        if let (Some(flag), None) = (which, found) {
            bail!("{flag}: {whose} was made without money for {address}");
        }
        let asked = args.balance.filter(|_| !funded.contains(&address));
        if let Some(ether) = asked.filter(|ether| found != Some(wei(*ether))) {
            let found = format_ether(found.unwrap_or_default());
            bail!("--balance {ether}, but {whose} was made with {found} ether for {address}");
        }
    }
    Ok(())
}

fn check_funds(args: &WalletArgs, funds: &Funds, spec: &ChainSpec, whose: &str) -> Result<()> {
    let (address, asked) = (funds.address, wei_of(args, funds));
    let found = spec.genesis_alloc().get(&address).map(|account| account.balance);
    let found = found.unwrap_or_default();
    ensure!(
        found == asked,
        "--fund-accounts {address}:{}, but {whose} has {} ether for it",
        asked / U256::from(WEI_PER_ETHER),
        format_ether(found)
    );
    Ok(())
}

fn wei(ether: u64) -> U256 {
    U256::from(ether) * U256::from(WEI_PER_ETHER)
}

fn wei_of(args: &WalletArgs, funds: &Funds) -> U256 {
    wei(funds.ether.or(args.balance).unwrap_or(ETHER_DEFAULT))
}

fn dev_chain(args: &DevArgs, accounts: &DevAccounts, now: Duration) -> Result<ChainSpec> {
    let (chain, wallet) = (&args.chain, &args.wallet);
    let defaults = DevOptions::default();
    let each = wei(wallet.balance.unwrap_or(ETHER_DEFAULT));
    let dev = accounts.addresses().into_iter().map(|address| (address, each));
    let funded = wallet.fund_accounts.iter().map(|funds| (funds.address, wei_of(wallet, funds)));
    Ok(ChainSpec::dev(&DevOptions {
        chain_id: chain.chain_id.unwrap_or(defaults.chain_id),
        fork: chain.hardfork.as_deref().map_or(Ok(defaults.fork), str::parse)?,
        gas_limit: gas_limit(args).unwrap_or(defaults.gas_limit),
        base_fee: chain.block_base_fee_per_gas.unwrap_or(defaults.base_fee),
        timestamp: chain.timestamp.unwrap_or(now.as_secs()),
        number: chain.number.unwrap_or(defaults.number),
        accounts: dev.chain(funded).collect(),
        create2_factory: !chain.disable_default_create2_deployer,
        ..defaults
    }))
}
