//! The one executable: arguments, exit codes, printing.
#![expect(clippy::print_stdout, reason = "the command line prints")]

mod args;
#[cfg(test)]
mod bad_disk;
mod banner;
mod chain_file;
mod db;
mod dev;
mod genesis;
mod keystore;
mod later;
mod layers;
mod log;
mod otlp;
mod state_file;
mod test;
mod top;
mod whole_file;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use anyhow::{Context as _, Error, Result};
use args::{Cli, Command, DbCommand};
use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

/// Gives freed memory back after a burst, which glibc does not (docs/adr/0006-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = with_negative_numbers(later::with_later_flags(Cli::command()));
    let command = layers::with_environment(command);
    let arguments = layers::merged(&command, arguments)?;
    let matches =
        command.try_get_matches_from(arguments).unwrap_or_else(|error| wrong_flag(&error));
    later::refuse(&matches)?;
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| wrong_flag(&error));
    match cli.command {
        None => dev::run(&cli.dev),
        Some(Command::Dev(args)) => dev::run(&args),
        Some(Command::Db { command: DbCommand::Verify { datadir } }) => db::verify(&datadir),
        Some(Command::Import { files, chain, datadir }) => {
            chain_file::import(&files, chain.as_deref(), &datadir)
        }
        Some(Command::Export { file, first, last, genesis, datadir }) => {
            chain_file::export(&file, &datadir, (first, last), genesis.as_deref())
        }
        Some(Command::Test(args)) => test::run(args),
        Some(Command::Top { url, url_flag, once }) => top::run(&url_flag.unwrap_or(url), once),
        Some(Command::Completions { shell }) => completions(shell),
    }
}

/// Writes what `shell` reads to complete the flags that are there: not those that are refused.
fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "evenkeel", &mut script);
    std::io::stdout().write_all(&script).context("cannot write to stdout")
}

/// Takes `-1` after a flag as its value, so that the answer is that it is out of range, and not
/// that there is no flag `-1`.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let allow = |command: clap::Command| {
        command.mut_args(|arg| {
            let takes_one = arg.get_action().takes_values();
            if takes_one { arg.allow_negative_numbers(true) } else { arg }
        })
    };
    allow(command).mut_subcommand(layers::DEVNET, allow)
}

/// The error and its causes, `what: why: why`. Some name their cause already: it is said once.
fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Ends with what clap has to say: help and version as they are, a wrong flag in one line.
fn wrong_flag(error: &clap::Error) -> ! {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.exit();
    }
    eprintln!("error: {}; see --help", clap_line(error));
    std::process::exit(error.exit_code())
}

/// What clap has against the arguments, in one line without usage.
fn clap_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let (mut said, mut is_usage) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        is_usage |= line.starts_with("Usage:") || line.starts_with("For more information");
        if !line.is_empty() && !is_usage {
            said.push(line);
        }
    }
    let mut line = said.join("; ").replace(":; ", ": ");
    // What std says of a number does not say what was expected.
    for (said, expected) in [
        ("invalid digit found in string", "expected a whole number, 0 or more"),
        ("number would be zero for non-zero type", "expected 1 or more"),
    ] {
        line = line.replace(said, expected);
    }
    line.strip_prefix("error: ").map(str::to_owned).unwrap_or(line)
}
