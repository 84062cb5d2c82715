//! The command line of `compare`.

use std::path::PathBuf;

use evenkeel_peers::programs::{Program, Sizes};

use crate::runs::RUNTIMES;

pub(crate) const USAGE: &str = "\
usage: compare [OPTION..]
  --quick             small sizes, one round: shows that all runs, not how fast
  --rounds N          rounds of everything, in turns [5; quick: 1]
  --workers N,N,..    worker threads [1,2; quick: 2]
  --only NAME,..      these programs
  --runtimes NAME,..  these runtimes: ours tokio tokio-unbounded ractor kameo actix beam
  --json FILE         writes every line that a program printed
  --from FILE         runs nothing: makes table and plot of what --json wrote
  --docs FOLDER       writes bench-runtime.md and probe-latency.svg there";

/// More would be other machines than this program is for.
const WORKERS_MAX: usize = 64;

pub(crate) struct Options {
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    pub(crate) workers: Vec<usize>,
    pub(crate) programs: Vec<Program>,
    pub(crate) runtimes: Vec<&'static str>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) docs: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut is_quick, mut rounds, mut workers) = (false, None, None);
        let (mut programs, mut runtimes) = (Program::all(), RUNTIMES.to_vec());
        let (mut json, mut from, mut docs) = (None, None, None);
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                is_quick = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} what?"))?;
            match name.as_str() {
                "--rounds" => rounds = Some(number(&value)?),
                "--workers" => {
                    let list: Result<Vec<_>, _> = value.split(',').map(number).collect();
                    workers = Some(list?);
                }
                "--only" => programs = chosen(&value, Program::named)?,
                "--runtimes" => {
                    let named = |name: &str| RUNTIMES.into_iter().find(|known| *known == name);
                    runtimes = chosen(&value, named)?;
                }
                "--json" => json = Some(PathBuf::from(value)),
                "--from" => from = Some(PathBuf::from(value)),
                "--docs" => docs = Some(PathBuf::from(value)),
                _ => return Err(format!("{name} is no option")),
            }
        }
        let rounds = rounds.unwrap_or(if is_quick { 1 } else { 5 });
        let workers = workers.unwrap_or_else(|| if is_quick { vec![2] } else { vec![1, 2] });
        Ok(Self { is_quick, rounds, workers, programs, runtimes, json, from, docs })
    }

    pub(crate) const fn sizes(&self) -> &'static Sizes {
        if self.is_quick { &Sizes::QUICK } else { &Sizes::FULL }
    }
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=WORKERS_MAX).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("{text}: a number from 1 to {WORKERS_MAX} was expected")),
    }
}

fn chosen<T>(list: &str, named: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let one = |name: &str| named(name).ok_or_else(|| format!("{name} is not known"));
    list.split(',').map(one).collect()
}
