//! The command line that all runtimes understand.

use std::process::exit;

use crate::{
    drive::{Peer, drive},
    programs::{Program, Sizes},
};

/// One program on one runtime.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its name in reports.
    pub runtime: &'static str,
    /// What is measured.
    pub program: Program,
    /// Worker threads.
    pub workers: usize,
    /// How much of everything.
    pub sizes: Sizes,
}

/// Runs the program that the command line asks for, `PROGRAM WORKERS [--quick] [--KIND]`, on what
/// `start` makes. `kinds` names variants of the runtime; the first is the one without a flag.
///
/// The process then ends at once: nobody measures how long a million actors take to die.
pub fn run_program<P: Peer>(kinds: &[&'static str], start: impl FnOnce(&Run) -> P) -> ! {
    let run = parse(kinds);
    let peer = start(&run);
    if !drive(&peer, &run) {
        eprintln!("{}: no program {}", run.runtime, run.program.name());
        exit(3);
    }
    exit(0);
}

fn parse(kinds: &[&'static str]) -> Run {
    let mut runtime = kinds[0];
    let mut sizes = Sizes::FULL;
    let (mut program, mut workers) = (None, 0);
    for argument in std::env::args().skip(1) {
        let kind = kinds.iter().find(|kind| argument.strip_prefix("--") == Some(**kind));
        if argument == "--quick" {
            sizes = Sizes::QUICK;
        } else if let Some(kind) = kind {
            runtime = kind;
        } else if let Some(named) = Program::named(&argument) {
            program = Some(named);
        } else if let Ok(number) = argument.parse() {
            workers = number;
        } else {
            usage(&argument);
        }
    }
    match program {
        Some(program) if workers > 0 => Run { runtime, program, workers, sizes },
        Some(_) | None => usage("too few arguments"),
    }
}

fn usage(found: &str) -> ! {
    let names: Vec<_> = Program::all().into_iter().map(Program::name).collect();
    eprintln!("{found}\nusage: PROGRAM WORKERS [--quick]; programs: {}", names.join(" "));
    exit(2);
}
