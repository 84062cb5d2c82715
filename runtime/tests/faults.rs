//! Networks, disks, crashes and clocks that fail, from a seed.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Address, Class, ClockFaults, Ctx, Disk, DiskFaults, Endpoint, Entropy, Faults, Flow,
    MailboxSpec, Message, Network, NetworkFaults, Node, Order, Overflow, Panicked, Simulation,
    Spawn, System, Time, limits, yield_now,
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 64, bytes_max: 1 << 20, overflow: Overflow::DropNew };
const NODES: [&str; 3] = ["a", "b", "c"];

fn below(entropy: &mut Entropy, most: usize) -> usize {
    usize::try_from(entropy.below(most as u64)).unwrap()
}

/// Everything goes wrong now and then.
fn all_faults(order: Order) -> Faults {
    let millis = Duration::from_millis;
    Faults {
        order,
        clock: ClockFaults { skew_max: millis(700), jump_max: millis(900), jump_every: millis(20) },
        network: NetworkFaults {
            delay_min: Duration::from_micros(100),
            delay_max: millis(3),
            loss_in: 10,
            duplicate_in: 10,
            reorder_in: 5,
        },
        disk: DiskFaults {
            is_torn: true,
            write_error_in: 150,
            sync_error_in: 100,
            read_error_in: 50,
        },
        ..Faults::none()
    }
}

// --- the network ---------------------------------------------------------------------------

/// What arrived, by sender and receiver.
type Arrived = BTreeMap<(&'static str, &'static str), Vec<u32>>;

/// Sends numbered messages over links that are cut and healed, and checks what arrives (N1, N2).
fn talk(seed: u64, faults: NetworkFaults) {
    let mut simulation = System::simulated(seed, Faults { network: faults, ..Faults::none() });
    let network: Network<u32> = simulation.network();
    let (cut, arrived) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::default()));
    let mut endpoints = Vec::new();
    for name in NODES {
        let node = simulation.start(name);
        let (cut, arrived) = (Arc::clone(&cut), Arc::<Mutex<Arrived>>::clone(&arrived));
        endpoints.push(network.join(&node, move |from, number| {
            let link = (from, name);
            assert!(!cut.lock().unwrap().contains(&link), "seed {seed}: {link:?} is cut");
            arrived.lock().unwrap().entry(link).or_default().push(number);
        }));
    }
    let mut entropy = Entropy::from_seed(seed);
    for number in 0..400 {
        let (from, to) = (below(&mut entropy, 3), below(&mut entropy, 3));
        endpoints[from].send(NODES[to], number);
        match entropy.below(40) {
            0 => {
                network.partition(&NODES[..1], &NODES[1..]);
                cut.lock().unwrap().extend([("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]);
            }
            1..4 => {
                network.heal();
                cut.lock().unwrap().clear();
            }
            _ => {}
        }
        simulation.run_for(Duration::from_micros(entropy.below(2_000)));
    }
    simulation.run_until_idle();
    let status = network.status();
    assert_eq!(status.sent, 400);
    assert_eq!(status.sent + status.doubled, status.delivered + status.lost + status.cut);
    assert!(status.cut > 0 && status.delivered > 150, "seed {seed}: {status:?}");
    assert_eq!(status.lost > 0, faults.loss_in > 0);
    let (mut has_doubles, mut has_overtaken) = (false, false);
    for numbers in arrived.lock().unwrap().values() {
        let unique: BTreeSet<_> = numbers.iter().collect();
        has_doubles |= unique.len() < numbers.len();
        has_overtaken |= !numbers.is_sorted();
    }
    assert_eq!(has_doubles, faults.duplicate_in > 0, "seed {seed}");
    assert_eq!(has_overtaken, faults.reorder_in > 0, "seed {seed}");
}

/// Goal: N1, N2: nothing crosses a cut, nothing comes twice and a link keeps its order, unless the
/// faults say so, and then it happens; every message is accounted for.
#[test]
fn a_network_does_what_its_faults_say_and_nothing_else() {
    for seed in 0..60 {
        let often = |bit: u32, one_in: u64| if seed >> bit & 1 == 1 { one_in } else { 0 };
        let (loss_in, duplicate_in, reorder_in) = (often(0, 8), often(1, 8), often(2, 3));
        talk(seed, NetworkFaults { loss_in, duplicate_in, reorder_in, ..NetworkFaults::none() });
    }
}

/// Goal: a link holds what limits say; one message more is lost, and counted.
#[test]
fn a_link_is_bounded() {
    let mut simulation = System::simulated(1, Faults::none());
    let network: Network<Vec<u8>> = simulation.network();
    let (a, b) = (simulation.start("a"), simulation.start("b"));
    let endpoint = network.join(&a, |_, _| {});
    network.join(&b, |from, bytes| assert_eq!((from, bytes.len()), ("a", 3)));
    for _ in 0..limits::LINK_MESSAGES_MAX + 5 {
        endpoint.send("b", vec![1, 2, 3]);
    }
    simulation.run_until_idle();
    let status = network.status();
    assert_eq!((status.delivered, status.lost), (limits::LINK_MESSAGES_MAX as u64, 5));
}

// --- nodes ---------------------------------------------------------------------------------

/// Goal: a crash ends the processes of one node alone, with what they spawned, their jobs and
/// timers; its handles do nothing any more; what was synced is there for the next life.
#[test]
fn a_crash_ends_one_node_and_keeps_what_was_synced() {
    let mut simulation = System::simulated(3, Faults::none());
    let network: Network<u32> = simulation.network();
    let beats = Arc::new(Mutex::new(BTreeMap::<&str, u32>::new()));
    let mut nodes = Vec::new();
    for name in NODES {
        let node = simulation.start(name);
        let (system, beats) = (node.system().clone(), Arc::clone(&beats));
        let parent = Spawn::new("parent", Class::Exec);
        drop(node.system().spawn_future(parent, async move {
            let child = Spawn::new("child", Class::Exec);
            let inner = system.clone();
            drop(system.spawn_future(child, async move {
                loop {
                    inner.sleep(Duration::from_millis(1)).await;
                    let beats = Arc::clone(&beats);
                    let beat = move || *beats.lock().unwrap().entry(name).or_default() += 1;
                    inner.blocking_async(beat).await.unwrap();
                }
            }));
        }));
        nodes.push(node);
    }
    let disk = nodes[1].disk().clone();
    disk.append("file", b"synced").unwrap();
    disk.sync("file").unwrap();
    disk.append("file", b", lost").unwrap();
    let endpoint = network.join(&nodes[1], |_, _| {});
    network.join(&nodes[0], |_, _| panic!("a crashed node sends nothing"));
    // Somewhere between two beats, most likely within a job.
    simulation.run_for(Duration::from_micros(20_300));
    simulation.crash("b");
    let at_crash = beats.lock().unwrap().clone();
    assert!(at_crash["b"] > 5);
    simulation.run_for(Duration::from_millis(20));
    let later = beats.lock().unwrap().clone();
    assert_eq!(later["b"], at_crash["b"]);
    assert!(later["a"] > at_crash["a"] && later["c"] > at_crash["c"]);
    assert_eq!(nodes[1].system().status().actors_live, 0);
    assert!(disk.append("file", b"late").is_err());
    endpoint.send("a", 1);

    let again = simulation.start("b");
    assert_eq!(again.disk().read("file").unwrap(), b"synced");
    let process = again.system().spawn_future(Spawn::new("new", Class::Exec), async { 7 });
    assert_eq!(simulation.run_until(process), Ok(7));
}

// --- a replicated counter ------------------------------------------------------------------

const WAL: &str = "wal";
/// Not a divisor of the sector, so that records tear.
const RECORD_BYTES: usize = 24;

/// Entry `index` of the log: its number, a checksum, padding.
fn record(index: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0x5a; RECORD_BYTES];
    record[..8].copy_from_slice(&index.to_le_bytes());
    record[8..16].copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    record
}

/// How many entries of a log are whole, from its beginning.
fn whole_records(log: &[u8]) -> u64 {
    let records = log.chunks(RECORD_BYTES).zip(1..);
    records.take_while(|(bytes, index)| *bytes == record(*index)).count() as u64
}

#[derive(Clone, Debug)]
enum Packet {
    Increment(u32),
    Incremented(u32),
    /// The leader's log holds so many entries.
    Append(u64),
    /// So many entries are durable at the sender.
    Durable(u64),
}

enum Event {
    Packet(&'static str, Packet),
    Synced(Result<Option<u64>, Panicked>),
    Tick,
}

impl Message for Event {}

/// One of three nodes; `a` leads. An increment is acknowledged when it is durable at two of them.
struct Replica {
    name: &'static str,
    endpoint: Endpoint<Packet>,
    disk: Disk,
    has_sync: bool,
    length: u64,
    durable: u64,
    is_syncing: bool,
    /// Increments by entry.
    waiting: BTreeMap<u64, u32>,
}

impl Replica {
    /// Reads the log, and cuts off what tore.
    fn recover(&mut self) -> Option<()> {
        let log = self.disk.read(WAL).or_else(|error| match error {
            evenkeel_runtime::DiskError::NotFound => Ok(Vec::new()),
            error => Err(error),
        });
        let log = log.ok()?;
        self.length = whole_records(&log);
        self.durable = self.length;
        if log.is_empty() {
            return Some(());
        }
        let length = usize::try_from(self.length).unwrap() * RECORD_BYTES;
        self.disk.truncate(WAL, length).ok()?;
        self.disk.sync(WAL).ok()
    }

    fn append(&mut self) -> Option<()> {
        self.disk.append(WAL, &record(self.length + 1)).ok()?;
        self.length += 1;
        Some(())
    }

    fn sync(&mut self, ctx: &mut Ctx<'_, Event>) {
        if self.is_syncing || self.durable == self.length {
            return;
        }
        self.is_syncing = true;
        let (disk, length, has_sync) = (self.disk.clone(), self.length, self.has_sync);
        let sync = move || {
            let synced = if has_sync { disk.sync(WAL) } else { Ok(()) };
            synced.ok().map(|()| length)
        };
        ctx.blocking(sync, Event::Synced);
    }

    fn packet(
        &mut self,
        from: &'static str,
        packet: &Packet,
        ctx: &mut Ctx<'_, Event>,
    ) -> Option<()> {
        match *packet {
            Packet::Increment(request) => {
                self.append()?;
                self.waiting.insert(self.length, request);
                self.sync(ctx);
            }
            Packet::Append(length) => {
                while self.length < length {
                    self.append()?;
                }
                self.sync(ctx);
                self.endpoint.send(from, Packet::Durable(self.durable));
            }
            Packet::Durable(length) => {
                // Durable here as well, so at two of three.
                let later = self.waiting.split_off(&(length.min(self.durable) + 1));
                for request in std::mem::replace(&mut self.waiting, later).into_values() {
                    self.endpoint.send("client", Packet::Incremented(request));
                }
            }
            Packet::Incremented(_) => {}
        }
        Some(())
    }

    fn tell(&self) {
        if self.name == "a" {
            self.endpoint.send("b", Packet::Append(self.durable));
            self.endpoint.send("c", Packet::Append(self.durable));
        } else {
            self.endpoint.send("a", Packet::Durable(self.durable));
        }
    }
}

impl Actor for Replica {
    type Message = Event;

    fn start(&mut self, ctx: &mut Ctx<'_, Event>) -> Flow {
        ctx.send_after(Duration::from_millis(4), Event::Tick);
        // After an error of the disk a node waits for its crash.
        if self.recover().is_some() { Flow::Next } else { Flow::Stop }
    }

    fn handle(&mut self, event: Event, ctx: &mut Ctx<'_, Event>) -> Flow {
        ctx.consume(200);
        let done = match event {
            Event::Packet(from, packet) => self.packet(from, &packet, ctx),
            Event::Synced(synced) => {
                self.is_syncing = false;
                synced.expect("the job does not panic").map(|length| {
                    self.durable = length;
                    self.tell();
                    self.sync(ctx);
                })
            }
            Event::Tick => {
                self.tell();
                ctx.send_after(Duration::from_millis(4), Event::Tick);
                Some(())
            }
        };
        if done.is_some() { Flow::Next } else { Flow::Stop }
    }
}

/// A run of three replicas and a client.
struct Cluster {
    simulation: Simulation,
    network: Network<Packet>,
    has_sync: bool,
    up: BTreeMap<&'static str, (Node, Address<Event>)>,
}

impl Cluster {
    fn start(&mut self, name: &'static str) {
        let node = self.simulation.start(name);
        let (address, mailbox) = node.system().mailbox(BOX);
        let deliver = address.clone();
        let endpoint = self.network.join(&node, move |from, packet| {
            // It has stopped if its disk failed.
            let _closed = deliver.send(Event::Packet(from, packet));
        });
        let (disk, has_sync) = (node.disk().clone(), self.has_sync);
        node.system().spawn(Spawn::new("replica", Class::Exec), mailbox, move || Replica {
            name,
            endpoint: endpoint.clone(),
            disk: disk.clone(),
            has_sync,
            length: 0,
            durable: 0,
            is_syncing: false,
            waiting: BTreeMap::new(),
        });
        self.up.insert(name, (node, address));
    }

    fn crash(&mut self, name: &'static str) {
        self.up.remove(name);
        self.simulation.crash(name);
    }

    /// Crashes or starts a node, cuts or heals.
    fn disturb(&mut self, entropy: &mut Entropy) {
        let name = NODES[below(entropy, 3)];
        match entropy.below(6) {
            0..3 if self.up.contains_key(name) => self.crash(name),
            0..3 => self.start(name),
            3 => self.network.partition(&[name], &["a", "b", "c", "client"]),
            4 => self.network.heal(),
            _ => {
                for name in NODES {
                    if !self.up.contains_key(name) {
                        self.start(name);
                    }
                }
            }
        }
    }
}

/// What is left of a run: its hash, its end, wall clocks seen, increments acknowledged, and how
/// many of them every pair of nodes has after a crash of all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    hash: u64,
    end: Time,
    wall: Vec<Duration>,
    acknowledged: u64,
    kept: u64,
}

fn count(seed: u64, order: Order, has_sync: bool) -> Outcome {
    let mut simulation = System::simulated(seed, all_faults(order));
    let network = simulation.network();
    let mut cluster = Cluster { simulation, network, has_sync, up: BTreeMap::new() };
    let client = cluster.simulation.start("client");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let acknowledging = Arc::clone(&acknowledged);
    let endpoint = cluster.network.join(&client, move |_, packet| match packet {
        Packet::Incremented(request) => {
            acknowledging.lock().unwrap().insert(request);
        }
        packet => panic!("{packet:?} is not for a client"),
    });
    for name in NODES {
        cluster.start(name);
    }
    let mut entropy = Entropy::from_seed(seed);
    let mut wall = Vec::new();
    for request in 0..60 {
        endpoint.send("a", Packet::Increment(request));
        cluster.simulation.run_for(Duration::from_micros(entropy.below(6_000)));
        wall.extend(cluster.up.values().map(|(node, _)| node.system().wall_clock()));
        if entropy.once_in(3) {
            cluster.disturb(&mut entropy);
        }
    }
    let mut logs = Vec::new();
    for name in NODES {
        if cluster.up.contains_key(name) {
            cluster.crash(name);
        }
        let node = cluster.simulation.start(name);
        // Reads may fail; the disk is not worse for it.
        let mut log = (0..50).map(|_| node.disk().read(WAL)).find(Result::is_ok);
        logs.push(log.take().map_or(0, |log| whole_records(&log.unwrap())));
    }
    // Every two of three hold it: so says the second largest of them.
    logs.sort_unstable();
    let acknowledged = acknowledged.lock().unwrap().len() as u64;
    Outcome {
        hash: cluster.simulation.event_hash(),
        end: cluster.simulation.now(),
        wall,
        acknowledged,
        kept: logs[1],
    }
}

/// Goal: an acknowledged increment is never lost, with three nodes that crash and are cut off at
/// random, on disks that tear and fail: any two of them have it.
#[test]
fn a_replicated_counter_loses_no_acknowledged_increment() {
    let mut acknowledged = 0;
    for seed in 0..300 {
        let outcome = count(seed, Order::Fair, true);
        assert!(outcome.kept >= outcome.acknowledged, "seed {seed}: {outcome:?}");
        acknowledged += outcome.acknowledged;
    }
    assert!(acknowledged > 300, "only {acknowledged} increments were acknowledged");
}

/// Goal: the test above can fail: without sync increments are lost.
#[test]
fn a_counter_that_does_not_sync_loses_increments() {
    let is_lost = |outcome: Outcome| outcome.kept < outcome.acknowledged;
    let lost = (0..40).filter(|&seed| is_lost(count(seed, Order::Fair, false))).count();
    assert!(lost > 10, "{lost} of 40 seeds");
}

/// Goal: one seed is one run with all faults on, in every order; and no two seeds are the same.
#[test]
fn one_seed_is_one_run_with_all_faults() {
    let orders = [Order::Fair, Order::Chaos, Order::Priorities { steps: 50, changes: 3 }];
    let mut hashes = BTreeSet::new();
    for seed in 0..200 {
        let order = orders[usize::try_from(seed % 3).unwrap()];
        let first = count(seed, order, true);
        assert_eq!(first, count(seed, order, true), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 200);
}

// --- priorities ----------------------------------------------------------------------------

/// A lease that is taken away from a holder who is slow: who holds it works for a turn, and then
/// writes without looking again. True if it wrote after the lease was gone.
fn lease_is_broken(seed: u64, order: Order) -> bool {
    let mut simulation = System::simulated(seed, Faults { order, ..Faults::none() });
    let system = simulation.system().clone();
    let holder = Arc::new(Mutex::new(None));
    let is_broken = Arc::new(Mutex::new(false));
    let spawn = |name| Spawn::new(name, Class::Exec);
    for _ in 0..3 {
        drop(system.spawn_future(spawn("other"), async {
            for _ in 0..10 {
                yield_now().await;
            }
        }));
    }
    let (held, breaking) = (Arc::clone(&holder), Arc::clone(&is_broken));
    drop(system.spawn_future(spawn("holder"), async move {
        *held.lock().unwrap() = Some("holder");
        yield_now().await;
        *breaking.lock().unwrap() = *held.lock().unwrap() != Some("holder");
    }));
    drop(system.spawn_future(spawn("watch"), async move {
        // Fifteen turns are thought to be more than enough.
        for _ in 0..15 {
            yield_now().await;
        }
        *holder.lock().unwrap() = None;
    }));
    simulation.run_until_idle();
    *is_broken.lock().unwrap()
}

/// Goal: priorities find a bug of order, in so many runs, that neither the fair order finds, since
/// nobody starves in it, nor the uniform one, for which it is too unlikely.
#[test]
fn priorities_find_a_bug_of_order_that_fair_runs_do_not() {
    let found = |order| (0..300).filter(|&seed| lease_is_broken(seed, order)).count();
    assert_eq!(found(Order::Fair), 0);
    assert_eq!(found(Order::Chaos), 0);
    let by_priorities = found(Order::Priorities { steps: 50, changes: 2 });
    assert!(by_priorities >= 5, "{by_priorities} of 300 runs");
}
