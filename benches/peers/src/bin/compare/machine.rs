//! What the figures were taken on.

use std::{fs, process::Command};

pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let value = text.lines().find(|line| line.starts_with(name));
        value.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cpus = read("/proc/cpuinfo");
    let model = field(&cpus, "model name").unwrap_or_else(|| "an unknown processor".into());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let is_busy = load.parse::<f64>().is_ok_and(|load| load > processors as f64 / 2.0);
    let busy = if is_busy {
        " (busy with other work: wall times and waits are its neighbours' as well)"
    } else {
        ""
    };
    let commit = said(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    let compiler = said(Command::new("rustc").arg("--version"));
    format!(
        "{processors} processors ({model}), {:.0} GiB, Linux {}, {compiler}, mimalloc for \
         all but the BEAM; load {load} before the first run{busy}; commit {commit}",
        kib / 1_048_576.0,
        kernel.trim(),
    )
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
