//! anvil's flags that this node does not have yet: each is refused by its name, in one line.
//!
//! They are declared so that the answer is better than "unexpected argument", and hidden, so that
//! `--help` lists only what works.

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::layers::DEVNET;

const FORK: &str = "forking from another chain";
const PRUNING: &str = "forgetting old states (every state is kept; in --datadir, on disk)";

struct Later {
    long: &'static str,
    aliases: &'static [&'static str],
    short: Option<char>,
    what: &'static str,
}

const fn later(long: &'static str, what: &'static str) -> Later {
    Later { long, aliases: &[], short: None, what }
}

const LATER: &[Later] = &[
    Later { aliases: &["rpc-url"], short: Some('f'), ..later("fork-url", FORK) },
    later("fork-block-number", FORK),
    later("fork-chain-id", FORK),
    later("fork-header", FORK),
    later("fork-retry-backoff", FORK),
    later("fork-transaction-hash", FORK),
    later("compute-units-per-second", FORK),
    Later { aliases: &["no-rpc-rate-limit"], ..later("no-rate-limit", FORK) },
    later("no-storage-caching", FORK),
    later("retries", FORK),
    later("timeout", FORK),
    later("cache-path", PRUNING),
    later("max-persisted-states", PRUNING),
    later("prune-history", PRUNING),
    later("transaction-block-keeper", PRUNING),
    later("celo", "Celo"),
];

/// Adds the flags to the bare command and to `dev`.
pub(crate) fn with_later_flags(command: Command) -> Command {
    let declare = |command: Command| {
        command.args(LATER.iter().map(|flag| {
            let arg = Arg::new(flag.long)
                .long(flag.long)
                .aliases(flag.aliases)
                .hide(true)
                .action(ArgAction::Append)
                .num_args(0..=1);
            flag.short.into_iter().fold(arg, Arg::short)
        }))
    };
    declare(command).mut_subcommand(DEVNET, declare)
}

/// Refuses the first flag of the table that is set.
///
/// # Errors
///
/// What is not there yet.
pub(crate) fn refuse(matches: &ArgMatches) -> Result<()> {
    let matches = matches.subcommand_matches(DEVNET).unwrap_or(matches);
    for Later { long, what, .. } in LATER {
        // `db` has none of them.
        if matches.try_contains_id(long).is_ok_and(|is_set| is_set) {
            bail!("--{long} is not supported yet: {what}");
        }
    }
    Ok(())
}
