//! Runs every program on every runtime, in turns, and prints one table: medians, what ours is of
//! each peer, and whether the goals are reached.

mod machine;
mod options;
mod plot;
mod rows;
mod runs;
mod table;
mod warm;

use std::{fs, process::exit};

use self::{options::Options, runs::Samples};

/// The worker count whose probe latencies are drawn.
const PLOT_WORKERS: usize = 2;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [option, bytes] = &arguments[..]
        && option == warm::OPTION
    {
        return warm::touch_here(bytes.parse().expect("this program says how many"));
    }
    let options = match Options::parse(arguments.into_iter()) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", options::USAGE);
            exit(2);
        }
    };
    let samples = match &options.from {
        None => Samples::take(&options, machine::describe()),
        Some(path) => match Samples::read(path) {
            Ok(samples) => samples,
            Err(wrong) => {
                eprintln!("{}: {wrong}", path.display());
                exit(1);
            }
        },
    };
    let table = table::render(&samples, &options);
    print!("{table}");
    let Some(folder) = &options.docs else { return };
    let workers = options.workers.iter().find(|workers| **workers == PLOT_WORKERS);
    let workers = workers.copied().unwrap_or(options.workers[0]);
    let written = fs::write(folder.join("bench-runtime.md"), table).and_then(|()| {
        fs::write(folder.join("probe-latency.svg"), plot::render(&samples, workers))
    });
    if let Err(error) = written {
        eprintln!("{}: {error}", folder.display());
        exit(1);
    }
}
