//! Drives one program on one runtime, and prints what it measured. The main thread, which is no
//! worker, starts, waits and measures; so no runtime is measured in a shape of its own.

use std::{sync::mpsc::channel, thread, time::Duration};

use crate::{
    Done, Sum,
    born::Births,
    command::Run,
    measure::{Meter, peak_rss_bytes, rss_bytes},
    probe::{self, Probe, WARM_UP},
    programs::{
        CHILDREN, EQUAL, FAN, PAIRS, PROBED, Program, RING_ITEMS_MAX, RING_LONG, RING_SHORT, Sizes,
        TOKENS, UNITS, UNITS_COARSE,
    },
    report::Line,
    work::{BLOCK_BYTES, Counts},
};

/// What a class of actors should get and got, each as a part of the whole.
#[derive(Clone, Copy, Debug)]
pub struct ClassShare {
    /// The class.
    pub name: &'static str,
    /// What its weight says.
    pub due: f64,
    /// What it got.
    pub got: f64,
}

/// A runtime: it starts what the programs are made of. Nothing here waits for the end.
///
/// Mailboxes are bounded as `programs` says wherever the runtime has bounds, and a sender that
/// finds one full tries again or waits.
pub trait Peer {
    /// Bounds of its mailboxes, for the report.
    fn mailboxes(&self) -> &'static str;

    /// Two players each, who throw one ball `rounds` times to and fro; each pair says `done` once.
    fn pairs(&self, pairs: u64, rounds: u64, done: &Done);

    /// A ring of actors. The result sends a token with so many hops to the first; the actor that
    /// gets it with 0 says `done`.
    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64);

    /// Eight actors send `each` messages to one, which says `done` after the last.
    fn fan_in(&self, each: u64, done: &Done);

    /// One actor sends `each` messages to each of eight, in turn; each says `done` after its last.
    fn fan_out(&self, each: u64, done: &Done);

    /// A tree whose leaves are numbered and send their numbers up, where they are added.
    fn skynet(&self, leaves: u64, sum: &Sum);

    /// Idle actors, spawned by actors or tasks of the runtime, which report to [`Births`] in their
    /// first turn and live on.
    fn idle(&self, count: u64);

    /// The same for actors that get no first turn: who spawns one reports it. False if every actor
    /// of the runtime gets one.
    fn idle_unstarted(&self, _count: u64) -> bool {
        false
    }

    /// Actors that never stop: each computes so many units, counts them and goes on, with whatever
    /// the runtime asks of a fair actor.
    fn spinners(&self, counts: &Counts, units: u32);

    /// An actor that computes 10 ms in each handler, without an end.
    fn overrunner(&self);

    /// An actor that answers probes; the result sends it one.
    fn echo(&self) -> impl Fn(Probe);

    /// One actor makes blocks, another reads them through a mailbox of 1 MiB and says the sum in
    /// the end. False if mailboxes of this runtime have no bound.
    fn blocks(&self, _count: u64, _sum: &Sum) -> bool {
        false
    }

    /// What classes of busy actors got in `time`, if the runtime has classes.
    fn class_shares(&self, _time: Duration) -> Vec<ClassShare> {
        Vec::new()
    }
}

/// False if the runtime has no such thing.
pub(crate) fn drive<P: Peer>(peer: &P, run: &Run) -> bool {
    let sizes = &run.sizes;
    match run.program {
        Program::PingPong => pairs(peer, run, 1, sizes.rounds, sizes.rounds),
        Program::Pairs64 => {
            pairs(peer, run, PAIRS, sizes.pair_rounds, PAIRS * sizes.pair_rounds * 2);
        }
        Program::Ring1k => ring(peer, run, RING_SHORT, 1, sizes.ring_hops),
        Program::Ring10k => ring(peer, run, RING_LONG, TOKENS, sizes.ring_token_hops),
        Program::FanIn8 => fan_in(peer, run),
        Program::FanOut8 => fan_out(peer, run),
        Program::Skynet => skynet(peer, run),
        Program::Spawn | Program::SpawnIdle => return idle(peer, run),
        Program::Fair(busy) => fair(peer, run, busy, UNITS),
        Program::FairCoarse(busy) => fair(peer, run, busy, UNITS_COARSE),
        Program::Jain => jain(peer, run),
        Program::Classes => return classes(peer, run),
        Program::Backpressure => return backpressure(peer, run),
        Program::Loop10k => loop10k(peer, run),
    }
    true
}

fn line<P: Peer>(peer: &P, run: &Run) -> Line {
    Line::new(run).remark("mailboxes", peer.mailboxes())
}

fn pairs<P: Peer>(peer: &P, run: &Run, pairs: u64, rounds: u64, operations: u64) {
    let (done, wait) = channel();
    let meter = Meter::start();
    peer.pairs(pairs, rounds, &done);
    for _ in 0..pairs {
        wait.recv().expect("each pair ends");
    }
    line(peer, run).cost(operations, meter).print();
}

fn ring<P: Peer>(peer: &P, run: &Run, nodes: usize, tokens: u64, hops: u64) {
    assert!(tokens <= RING_ITEMS_MAX as u64, "all tokens may meet in one mailbox");
    let (done, wait) = channel();
    let throw = peer.ring(nodes, &done);
    throw(nodes as u64);
    wait.recv().expect("the token that opens the ring comes round");
    let meter = Meter::start();
    for _ in 0..tokens {
        throw(hops / tokens);
    }
    for _ in 0..tokens {
        wait.recv().expect("each token comes to its end");
    }
    line(peer, run).cost(hops, meter).print();
}

fn fan_in<P: Peer>(peer: &P, run: &Run) {
    let (done, wait) = channel();
    let meter = Meter::start();
    peer.fan_in(run.sizes.fan_messages / FAN, &done);
    wait.recv().expect("all messages arrive");
    line(peer, run).cost(run.sizes.fan_messages, meter).print();
}

fn fan_out<P: Peer>(peer: &P, run: &Run) {
    let (done, wait) = channel();
    let meter = Meter::start();
    peer.fan_out(run.sizes.fan_messages / FAN, &done);
    for _ in 0..FAN {
        wait.recv().expect("all messages arrive");
    }
    line(peer, run).cost(run.sizes.fan_messages, meter).print();
}

fn skynet<P: Peer>(peer: &P, run: &Run) {
    let leaves = run.sizes.leaves;
    let (sum, wait) = channel();
    let meter = Meter::start();
    peer.skynet(leaves, &sum);
    let total = wait.recv().expect("the root hears all leaves");
    assert_eq!(total, leaves * (leaves - 1) / 2, "the leaves are numbered from 0");
    let actors = (leaves * CHILDREN - 1) / (CHILDREN - 1);
    line(peer, run).cost(actors, meter).print();
}

fn idle<P: Peer>(peer: &P, run: &Run) -> bool {
    let count = run.sizes.idle;
    let wait = Births::expect(count);
    let before = rss_bytes();
    let meter = Meter::start();
    if run.program == Program::Spawn {
        peer.idle(count);
    } else if !peer.idle_unstarted(count) {
        return false;
    }
    wait.recv().expect("each is born");
    let line = line(peer, run).cost(count, meter);
    thread::sleep(Duration::from_millis(100));
    let grown = rss_bytes().saturating_sub(before) as f64;
    line.with("bytes_per_actor", grown / count as f64).print();
    true
}

fn fair<P: Peer>(peer: &P, run: &Run, busy: usize, units: u32) {
    let Sizes { probes, probe_ms_max, .. } = run.sizes;
    let counts = Counts::new(busy);
    peer.spinners(&counts, units);
    let echo = peer.echo();
    counts.wait_started();
    thread::sleep(WARM_UP);
    let waits = probe::probe(probes, Duration::from_millis(probe_ms_max), echo);
    line(peer, run).waits(&waits).print();
}

fn jain<P: Peer>(peer: &P, run: &Run) {
    let counts = Counts::new(EQUAL);
    peer.spinners(&counts, UNITS);
    counts.wait_started();
    thread::sleep(WARM_UP);
    let shares = counts.during(Duration::from_millis(run.sizes.share_ms));
    let units = shares.iter().sum::<u64>() as f64;
    line(peer, run).with("jain", probe::jain_index(&shares)).with("units", units).print();
}

fn classes<P: Peer>(peer: &P, run: &Run) -> bool {
    let shares = peer.class_shares(Duration::from_millis(run.sizes.class_ms));
    let off = |share: &ClassShare| (share.got / share.due - 1.0) * 100.0;
    let Some(worst) = shares.iter().map(|share| off(share).abs()).reduce(f64::max) else {
        return false;
    };
    let mut line = line(peer, run).with("off_percent_max", worst);
    for share in &shares {
        line = line.with(&format!("{}_off_percent", share.name), off(share));
    }
    line.print();
    true
}

fn backpressure<P: Peer>(peer: &P, run: &Run) -> bool {
    let count = run.sizes.blocks;
    let (sum, wait) = channel();
    let before = rss_bytes();
    let meter = Meter::start();
    if !peer.blocks(count, &sum) {
        return false;
    }
    wait.recv().expect("all blocks are read");
    let line = line(peer, run).cost(count, meter);
    let seconds = line.figure("wall_ns_per_op") * count as f64 / 1e9;
    let megabytes = count as f64 * BLOCK_BYTES as f64 / 1e6;
    line.with("mb_per_s", megabytes / seconds)
        .with("peak_bytes", peak_rss_bytes().saturating_sub(before) as f64)
        .print();
    true
}

fn loop10k<P: Peer>(peer: &P, run: &Run) {
    let echoes: Vec<_> = (0..PROBED).map(|_| peer.echo()).collect();
    peer.spinners(&Counts::new(1), UNITS);
    peer.overrunner();
    thread::sleep(WARM_UP);
    line(peer, run).waits(&probe::bursts(run.sizes.bursts, &echoes)).print();
}
