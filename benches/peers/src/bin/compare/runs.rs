//! Runs the programs, each in a process of its own, and keeps what they print.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use evenkeel_peers::programs::{
    EQUAL, FAN, PAIRS, PROBED, Program, RING_LONG, RING_SHORT, Sizes, TOKENS,
};
use serde_json::{Map, Value};

use crate::{options::Options, warm};

/// All runtimes, ours first.
pub(crate) const RUNTIMES: [&str; 7] =
    ["ours", "tokio", "tokio-unbounded", "ractor", "kameo", "actix", "beam"];

/// A program that takes longer counts as not ended, and is not run again in later rounds.
const RUN_MAX: Duration = Duration::from_mins(1);

type Key = (String, usize, &'static str);

/// A line that a program printed.
type Line = Map<String, Value>;

/// The figures of every run.
pub(crate) struct Samples {
    /// What they were taken on.
    pub(crate) machine: String,
    lines: BTreeMap<Key, Vec<Line>>,
}

impl Samples {
    /// Runs everything `options.rounds` times. Within a round each program meets all runtimes one
    /// after the other, and each round begins with another runtime.
    pub(crate) fn take(options: &Options, machine: String) -> Self {
        let programs = Binaries::find();
        let mut json = options.json.as_ref().map(|path| {
            fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        let mut keep = |line: &Line| {
            if let Some(file) = &mut json {
                writeln!(file, "{}", Value::Object(line.clone())).expect("it can be written");
            }
        };
        keep(&Line::from_iter([("machine".to_owned(), machine.clone().into())]));
        let mut samples = Self { machine, lines: BTreeMap::new() };
        for round in 0..options.rounds {
            for &workers in &options.workers {
                for &program in &options.programs {
                    let runtimes = options.runtimes.len();
                    for place in 0..runtimes {
                        let runtime = options.runtimes[(round + place) % runtimes];
                        let line = if samples.did_not_end(program, workers, runtime) {
                            Some(failed(runtime, program, workers))
                        } else {
                            if program.takes_memory() {
                                warm::touch();
                            }
                            programs.run(runtime, program, workers, options)
                        };
                        if let Some(line) = line {
                            keep(&line);
                            samples.add((program.name(), workers, runtime), line);
                        }
                    }
                }
                eprintln!("round {} of {}, {workers} workers: done", round + 1, options.rounds);
            }
        }
        samples
    }

    /// Reads what an earlier run wrote.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut samples = Self { machine: String::new(), lines: BTreeMap::new() };
        for (number, text) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(text)
                .map_err(|error| format!("line {}: {error}", number + 1))?;
            let text = |name: &str| line.get(name).and_then(Value::as_str);
            if let Some(machine) = text("machine") {
                machine.clone_into(&mut samples.machine);
                continue;
            }
            let runtime = RUNTIMES.into_iter().find(|known| text("runtime") == Some(known));
            let workers = line.get("workers").and_then(Value::as_u64);
            let (Some(program), Some(runtime), Some(workers)) = (text("program"), runtime, workers)
            else {
                return Err(format!("line {}: program, runtime and workers expected", number + 1));
            };
            let workers = usize::try_from(workers).map_err(|error| error.to_string())?;
            samples.add((program.to_owned(), workers, runtime), line.clone());
        }
        Ok(samples)
    }

    /// Rounds, as a number or from that of the program that ran least often to the most.
    pub(crate) fn rounds(&self) -> String {
        let rounds = || self.lines.values().map(Vec::len);
        match (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0)) {
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} to {most}"),
        }
    }

    fn add(&mut self, key: Key, line: Line) {
        self.lines.entry(key).or_default().push(line);
    }

    /// True if a run of this had no figure.
    fn did_not_end(&self, program: Program, workers: usize, runtime: &'static str) -> bool {
        let lines = self.lines.get(&(program.name(), workers, runtime));
        let figures = failed(runtime, program, workers).len();
        lines.into_iter().flatten().any(|line| line.len() == figures)
    }

    /// The median over the rounds; `None` if most rounds have no such figure.
    pub(crate) fn median(
        &self,
        program: &str,
        workers: usize,
        runtime: &'static str,
        figure: &str,
    ) -> Option<f64> {
        let lines = self.lines.get(&(program.to_owned(), workers, runtime))?;
        let figure = |line: &Line| line.get(figure).and_then(Value::as_f64);
        // What was never answered took for ever.
        let mut values: Vec<_> =
            lines.iter().map(|line| figure(line).unwrap_or(f64::INFINITY)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values[(values.len() - 1) / 2];
        middle.is_finite().then_some(middle)
    }

    /// True if the runtime ran the program at all.
    pub(crate) fn has(&self, program: &str, workers: usize, runtime: &'static str) -> bool {
        self.lines.contains_key(&(program.to_owned(), workers, runtime))
    }
}

/// Where the programs are.
struct Binaries {
    folder: PathBuf,
    /// The compiled Erlang module's folder, if there is an Erlang.
    beam: Option<PathBuf>,
}

impl Binaries {
    fn find() -> Self {
        let this = env::current_exe().expect("a running program has a path");
        let folder = this.parent().expect("it lies in a folder").to_path_buf();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("ab.erl");
        let compiled = Command::new("erlc").arg("-o").arg(&folder).arg(source).status();
        let has_beam = compiled.is_ok_and(|status| status.success());
        if !has_beam {
            eprintln!("erlc is not installed (Debian: erlang-base): no figures of the BEAM");
        }
        Self { beam: has_beam.then(|| folder.clone()), folder }
    }

    fn run(
        &self,
        runtime: &'static str,
        program: Program,
        workers: usize,
        options: &Options,
    ) -> Option<Line> {
        let mut command = if runtime == "beam" {
            beam_command(self.beam.as_ref()?, program, workers, options.sizes())?
        } else {
            let binary = if runtime == "tokio-unbounded" { "tokio" } else { runtime };
            let mut command = Command::new(self.folder.join(format!("peer-{binary}")));
            command.arg(program.name()).arg(workers.to_string()).arg(format!("--{runtime}"));
            if options.is_quick {
                command.arg("--quick");
            }
            command
        };
        let text = match output(&mut command) {
            Ok(Some(text)) => text,
            // It has no such program.
            Ok(None) => return None,
            Err(wrong) => {
                eprintln!("{runtime} {} with {workers} workers: {wrong}", program.name());
                return Some(failed(runtime, program, workers));
            }
        };
        Some(serde_json::from_str(text.trim()).expect("a program prints one line of JSON"))
    }
}

/// The line of a run that did not end: it has no figure.
fn failed(runtime: &str, program: Program, workers: usize) -> Line {
    let fields = [
        ("runtime", runtime.into()),
        ("program", program.name().into()),
        ("workers", workers.into()),
    ];
    fields.map(|(name, value): (_, Value)| (name.to_owned(), value)).into_iter().collect()
}

fn beam_command(folder: &Path, program: Program, workers: usize, sizes: &Sizes) -> Option<Command> {
    let probes = [sizes.probes as u64, sizes.probe_ms_max];
    let numbers = match program {
        Program::PingPong => vec![sizes.rounds],
        Program::Pairs64 => vec![PAIRS, sizes.pair_rounds],
        Program::Ring1k => vec![RING_SHORT as u64, 1, sizes.ring_hops],
        Program::Ring10k => vec![RING_LONG as u64, TOKENS, sizes.ring_token_hops],
        Program::FanIn8 | Program::FanOut8 => vec![FAN, sizes.fan_messages / FAN],
        Program::Skynet => vec![sizes.leaves],
        Program::Spawn => vec![sizes.idle],
        Program::Fair(busy) => vec![busy as u64, probes[0], probes[1]],
        Program::Jain => vec![EQUAL as u64, sizes.share_ms],
        Program::Loop10k => vec![PROBED as u64, sizes.bursts as u64],
        // Each process has a first turn, steps of a busy one are always small, and there are no
        // classes and no bounds.
        Program::SpawnIdle | Program::FairCoarse(_) | Program::Classes | Program::Backpressure => {
            return None;
        }
    };
    let schedulers = format!("{workers}:{workers}");
    let mut command = Command::new("erl");
    // More processes than the default of 262,144.
    command.args(["+S", &schedulers, "+SDcpu", &schedulers, "+P", "4000000", "-noshell", "-pa"]);
    command.arg(folder).args(["-run", "ab", "main"]);
    command.arg(program.name()).arg(workers.to_string());
    command.args(numbers.iter().map(u64::to_string));
    Some(command)
}

/// What it printed; `None` if the runtime cannot do that.
fn output(command: &mut Command) -> Result<Option<String>, String> {
    /// The exit status of a program that its runtime does not have.
    const NO_SUCH_PROGRAM: i32 = 3;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("does not start: {error}"))?;
    let mut stderr = child.stderr.take().expect("piped above");
    let mut stdout = child.stdout.take().expect("piped above");
    let (mut text, mut errors) = (String::new(), String::new());
    let status = wait(&mut child)?;
    // A line or two: less than a pipe holds, so nobody was held up by it.
    let read = stdout.read_to_string(&mut text).and_then(|_| stderr.read_to_string(&mut errors));
    read.map_err(|error| format!("prints no text: {error}"))?;
    match status {
        Some(0) => Ok(Some(text)),
        Some(NO_SUCH_PROGRAM) => Ok(None),
        Some(_) | None => Err(format!("ended with {status:?}: {}", errors.trim())),
    }
}

fn wait(child: &mut Child) -> Result<Option<i32>, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) if began.elapsed() < RUN_MAX => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let ended = child.kill().and_then(|()| child.wait());
                return Err(format!("not ended after {RUN_MAX:?} ({ended:?})"));
            }
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}
