//! The one executable: arguments, exit codes, printing.
#![expect(clippy::print_stdout, reason = "the command line prints")]

mod args;
mod banner;
mod db;
mod dev;
mod layers;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use args::{Cli, Command, DbCommand};
use clap::{CommandFactory, FromArgMatches};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the depth: `what: why: why`.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = layers::with_file(layers::with_environment(Cli::command()), &arguments)?;
    // clap prints help, version and wrong flags itself, and exits with 0 or 2.
    let matches = command.get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        None => dev::run(&cli.dev),
        Some(Command::Dev(args)) => dev::run(&args),
        Some(Command::Db { command: DbCommand::Verify { datadir } }) => db::verify(&datadir),
    }
}
