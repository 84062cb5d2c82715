//! What the threads driver costs: CPU per message and per spawn, and how long a probe waits beside
//! actors that never stop computing. Prints, judges nothing: wall times depend on the machine.
//!
//! `cargo run --release -p evenkeel-runtime --example pingpong [workers]`
#![allow(clippy::print_stdout, reason = "a program whose result is what it prints")]
#![allow(clippy::cast_precision_loss, reason = "averages of nanoseconds")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use evenkeel_runtime::{
    Actor, Address, Class, Ctx, Flow, MailboxSpec, Message, Overflow, Reply, Spawn, System,
    ThreadsConfig, reply,
};

const fn mailbox(items_max: usize) -> MailboxSpec {
    MailboxSpec { name: "box", items_max, bytes_max: usize::MAX, overflow: Overflow::Reject }
}

enum Ball {
    Play { peer: Address<Ball>, rounds: u64, done: Reply<()> },
    Ping(Address<Ball>),
    Pong,
}

impl Message for Ball {}

#[derive(Default)]
struct Player {
    game: Option<(Address<Ball>, u64, Reply<()>)>,
}

impl Actor for Player {
    type Message = Ball;

    fn handle(&mut self, ball: Ball, ctx: &mut Ctx<'_, Ball>) -> Flow {
        let sent = match ball {
            Ball::Ping(from) => from.send(Ball::Pong),
            Ball::Play { peer, rounds, done } => {
                let sent = peer.send(Ball::Ping(ctx.me().clone()));
                self.game = Some((peer, rounds, done));
                sent
            }
            Ball::Pong => {
                let (peer, rounds, _) = self.game.as_mut().expect("a pong answers a ping");
                *rounds -= 1;
                if *rounds == 0 {
                    let (.., done) = self.game.take().expect("seen above");
                    done.send(());
                    return Flow::Next;
                }
                peer.send(Ball::Ping(ctx.me().clone()))
            }
        };
        sent.expect("one ball is in the air");
        Flow::Next
    }
}

enum Drip {
    One,
}

impl Message for Drip {}

struct Sink {
    left: u64,
    done: Option<Reply<()>>,
}

impl Actor for Sink {
    type Message = Drip;

    fn handle(&mut self, _drip: Drip, _ctx: &mut Ctx<'_, Drip>) -> Flow {
        self.left -= 1;
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            done.send(());
        }
        Flow::Next
    }
}

struct Source {
    to: Address<Drip>,
    left: u64,
}

impl Actor for Source {
    type Message = Drip;

    fn handle(&mut self, _go: Drip, ctx: &mut Ctx<'_, Drip>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Drip>) -> Flow {
        for _ in 0..100.min(self.left) {
            if self.to.send(Drip::One).is_err() {
                return Flow::More;
            }
            self.left -= 1;
            ctx.consume(1);
        }
        if self.left > 0 { Flow::More } else { Flow::Stop }
    }
}

struct Busy;

impl Actor for Busy {
    type Message = Drip;

    fn handle(&mut self, _go: Drip, _ctx: &mut Ctx<'_, Drip>) -> Flow {
        Flow::More
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Drip>) -> Flow {
        while ctx.left() > 0 {
            for step in 0..500_u64 {
                black_box(step);
            }
            ctx.consume(20);
        }
        Flow::More
    }
}

fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn bench(name: &str, operations: u64, run: impl FnOnce()) {
    let (cpu, began) = (cpu_ns(), Instant::now());
    run();
    let (wall, cpu) = (began.elapsed().as_nanos() as f64, cpu_ns() - cpu);
    let each = operations as f64;
    println!("{name:32} cpu {:8.1} ns   wall {:8.1} ns", cpu / each, wall / each);
}

fn play(system: &System, pairs: u64, rounds: u64) {
    let answers: Vec<_> = (0..pairs)
        .map(|_| {
            let spawn = || Spawn::new("player", Class::Net);
            let first = system.spawn_once(spawn(), mailbox(4), Player::default());
            let peer = system.spawn_once(spawn(), mailbox(4), Player::default());
            let (done, answer) = reply();
            first.send(Ball::Play { peer, rounds, done }).expect("its mailbox is empty");
            answer
        })
        .collect();
    for answer in answers {
        answer.wait().expect("the game ends");
    }
}

fn fan_in(system: &System, messages: u64) {
    let (done, answer) = reply();
    let sink = Sink { left: messages, done: Some(done) };
    let to = system.spawn_once(Spawn::new("sink", Class::Net), mailbox(4_096), sink);
    let sources: Vec<_> = (0..8)
        .map(|_| {
            let source = Source { to: to.clone(), left: messages / 8 };
            system.spawn_once(Spawn::new("source", Class::Net), mailbox(1), source)
        })
        .collect();
    for source in &sources {
        source.send(Drip::One).expect("its mailbox is empty");
    }
    answer.wait().expect("all arrive");
}

fn rss_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn spawn_many(system: &System, count: u64) {
    let before = rss_bytes();
    let mut held = Vec::with_capacity(usize::try_from(count).expect("a count of actors"));
    bench("spawn, first turn included", count, || {
        for _ in 0..count {
            let idle = Sink { left: 1, done: None };
            held.push(system.spawn_once(Spawn::new("idle", Class::Net), mailbox(16), idle));
        }
        while system.status().class(Class::Net).queued > 0 {
            std::thread::yield_now();
        }
    });
    println!("{:32} {} bytes", "idle actor", (rss_bytes() - before) / count);
}

fn probe_beside(system: &System, busy: usize) {
    let held: Vec<_> = (0..busy)
        .map(|_| system.spawn_once(Spawn::new("busy", Class::Call), mailbox(1), Busy))
        .collect();
    for address in &held {
        address.send(Drip::One).expect("its mailbox is empty");
    }
    std::thread::sleep(Duration::from_millis(300));
    for class in [Class::Rpc, Class::Call] {
        let mut waits: Vec<Duration> = (0..500)
            .map(|_| {
                std::thread::sleep(Duration::from_micros(700));
                let (done, answer) = reply();
                let sink = Sink { left: 1, done: Some(done) };
                let probe = system.spawn_once(Spawn::new("probe", class), mailbox(1), sink);
                let began = Instant::now();
                probe.send(Drip::One).expect("its mailbox is empty");
                answer.wait().expect("it answers");
                began.elapsed()
            })
            .collect();
        waits.sort_unstable();
        let name = format!("probe in {} beside {busy} busy", class.name());
        println!("{name:32} p50 {:?}   p99 {:?}", waits[250], waits[495]);
    }
}

fn main() {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let config = ThreadsConfig { workers, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    let start = || System::threads(config).expect("threads can be started");
    let system = start();
    for _ in 0..3 {
        bench("ping-pong round trip", 1_000_000, || play(&system, 1, 1_000_000));
    }
    for _ in 0..2 {
        bench("64 pairs, per message", 64 * 20_000 * 2, || play(&system, 64, 20_000));
        bench("fan-in 8 to 1, per message", 4_000_000, || fan_in(&system, 4_000_000));
    }
    spawn_many(&system, 500_000);
    system.stop(Duration::from_secs(10));
    for busy in [0, 64, 1_000] {
        let system = start();
        probe_beside(&system, busy);
        system.stop(Duration::from_secs(10));
        let status = system.status();
        println!(
            "{:32} {} over 1 ms, the longest {:?}",
            "turns", status.turns_slow, status.slowest_turn
        );
    }
}
