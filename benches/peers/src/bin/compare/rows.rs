//! The rows of the table, and the goals of the runtime.

use crate::runs::Samples;

/// What ours should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Where a row's figure comes from.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// As the program says it, divided by this.
    Figure { program: &'static str, figure: &'static str, divisor: f64 },
    /// One figure of two programs, the first divided by the second.
    Quotient { figure: &'static str, of: &'static str, by: &'static str },
    /// One figure of a program divided by another of it.
    Part { program: &'static str, figure: &'static str, of: &'static str },
}

#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) source: Source,
    pub(crate) goal: Option<Goal>,
    /// The only worker count that the goal speaks of.
    pub(crate) goal_workers: Option<usize>,
}

impl Row {
    pub(crate) fn value(
        &self,
        samples: &Samples,
        workers: usize,
        runtime: &'static str,
    ) -> Option<f64> {
        let median =
            |program: &str, figure: &str| samples.median(program, workers, runtime, figure);
        match self.source {
            Source::Figure { program, figure, divisor } => {
                median(program, figure).map(|value| value / divisor)
            }
            Source::Quotient { figure, of, by } => Some(median(of, figure)? / median(by, figure)?),
            Source::Part { program, figure, of } => {
                Some(median(program, figure)? / median(program, of)?)
            }
        }
    }

    /// True if the runtime ran what the row is about.
    pub(crate) fn is_run(&self, samples: &Samples, workers: usize, runtime: &'static str) -> bool {
        let program = match self.source {
            Source::Figure { program, .. } | Source::Part { program, .. } => program,
            Source::Quotient { of, .. } => of,
        };
        samples.has(program, workers, runtime)
    }

    /// The goal for that many workers, and whether `value` reaches it.
    pub(crate) fn judge(&self, workers: usize, value: Option<f64>) -> Option<(String, bool)> {
        if self.goal_workers.is_some_and(|only| only != workers) {
            return None;
        }
        Some(match self.goal? {
            Goal::AtMost(bound) => (format!("<= {bound}"), value.is_some_and(|it| it <= bound)),
            Goal::AtLeast(bound) => (format!(">= {bound}"), value.is_some_and(|it| it >= bound)),
        })
    }

    const fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    const fn on(mut self, workers: usize) -> Self {
        self.goal_workers = Some(workers);
        self
    }
}

const fn row(title: &'static str, unit: &'static str, source: Source) -> Row {
    Row { title, unit, source, goal: None, goal_workers: None }
}

const fn of(program: &'static str, figure: &'static str) -> Source {
    Source::Figure { program, figure, divisor: 1.0 }
}

const fn cpu(title: &'static str, program: &'static str) -> Row {
    row(title, "CPU ns", of(program, "cpu_ns_per_op"))
}

const fn wall(title: &'static str, program: &'static str) -> Row {
    row(title, "wall ns", of(program, "wall_ns_per_op"))
}

const fn p50(title: &'static str, program: &'static str) -> Row {
    row(title, "p50 us", of(program, "p50_us"))
}

const fn p99(title: &'static str, program: &'static str) -> Row {
    row(title, "p99 us", of(program, "p99_us"))
}

const MIB: f64 = 1_048_576.0;

/// All rows. The goals are those of the runtime's design.
pub(crate) fn all() -> Vec<Row> {
    let flat = Source::Quotient { figure: "p99_us", of: "fair_1000", by: "fair_64" };
    let answered = Source::Part { program: "loop10k", figure: "answered", of: "probes" };
    let peak = Source::Figure { program: "backpressure", figure: "peak_bytes", divisor: MIB };
    let block = Source::Figure { program: "backpressure", figure: "cpu_ns_per_op", divisor: 1e3 };
    let longest = Source::Figure { program: "loop10k", figure: "max_us", divisor: 1e3 };
    vec![
        cpu("ping-pong, round trip", "pingpong").goal(Goal::AtMost(240.0)),
        wall("ping-pong, round trip", "pingpong"),
        cpu("64 pairs, message", "pairs64"),
        wall("64 pairs, message", "pairs64"),
        cpu("ring of 1,000, one token, hop", "ring1k_1"),
        cpu("ring of 10,000, 200 tokens, hop", "ring10k_200"),
        cpu("fan-in 8 to 1, message", "fanin8").goal(Goal::AtMost(140.0)),
        wall("fan-in 8 to 1, message (100 ns are 10 M/s)", "fanin8")
            .goal(Goal::AtMost(100.0))
            .on(2),
        cpu("fan-out 1 to 8, message", "fanout8"),
        cpu("tree of 1.1 M actors, actor", "skynet"),
        // The goal is that of an idle actor, which is how the design measured spawning.
        cpu("spawn with first turn", "spawn"),
        row("the same, what of it the kernel spent", "CPU ns", of("spawn", "kernel_ns_per_op")),
        cpu("spawn of an idle actor, no turn", "spawn_idle").goal(Goal::AtMost(200.0)),
        row(
            "the same, what of it the kernel spent",
            "CPU ns",
            of("spawn_idle", "kernel_ns_per_op"),
        ),
        row("idle actor with address", "bytes", of("spawn", "bytes_per_actor"))
            .goal(Goal::AtMost(400.0)),
        p50("probe, nobody busy", "fair_0"),
        p99("probe, nobody busy", "fair_0"),
        p50("probe beside 4 busy", "fair_4"),
        p99("probe beside 4 busy", "fair_4"),
        p50("probe beside 16 busy", "fair_16"),
        p99("probe beside 16 busy", "fair_16"),
        p50("probe beside 64 busy", "fair_64"),
        p99("probe beside 64 busy", "fair_64").goal(Goal::AtMost(300.0)).on(2),
        p50("probe beside 1,000 busy", "fair_1000"),
        p99("probe beside 1,000 busy", "fair_1000").goal(Goal::AtMost(300.0)).on(2),
        row("p99 beside 1,000 to p99 beside 64", "ratio", flat).goal(Goal::AtMost(2.0)).on(2),
        p99("probe beside 64 in steps of 100 us", "fair100us_64"),
        p99("probe beside 1,000 in steps of 100 us", "fair100us_1000"),
        row("Jain index of 64 equal actors *", "index", of("jain", "jain"))
            .goal(Goal::AtLeast(0.99)),
        row("class shares, farthest from weight", "%", of("classes", "off_percent_max"))
            .goal(Goal::AtMost(5.0)),
        row("blocks of 64 KiB through 1 MiB *", "MB/s", of("backpressure", "mb_per_s")),
        row("the same, a block", "CPU us", block),
        row("the same, peak memory beyond start", "MiB", peak),
        row("10,000 actors, one endless, one overruns: answered *", "part", answered)
            .goal(Goal::AtLeast(1.0)),
        p99("the same, burst to 9,998, wait", "loop10k"),
        row("the same, longest wait", "ms", longest),
    ]
}
