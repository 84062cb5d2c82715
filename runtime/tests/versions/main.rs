//! Versions of a behaviour: actors on several side by side, upgrades at message boundaries.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod chosen;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Address, Behaviour, Class, Code, Ctx, Entropy, Faults, Flow, Lost, Mailbox, MailboxSpec,
    Message, MigrateFrom, NoVersion, Overflow, PublishError, Reply, Restart, Simulation, Spawn,
    System, Unmigrated, UpgradeError, Version, VersionReq, VersionedHandle, reply,
};

/// A slice of `AddSlowly` takes a quantum.
const TWO_SLICES: Duration = Duration::from_micros(200);

/// Counts what it is told, and says who counted.
enum Tally {
    Add(u64),
    /// Adds in this many slices.
    AddSlowly(u64),
    Ask(Reply<(u64, &'static str)>),
    Panic,
}

impl Message for Tally {}

struct Config {
    first: u64,
    /// Alive versions of code, to see that they go.
    lives: Arc<AtomicUsize>,
}

struct One {
    sum: u64,
    left: u64,
}

/// Keeps the sum doubled: a state that is not the old one.
struct Two {
    doubled: u64,
    left: u64,
}

/// Takes over from `Two`, but not from everything, and not always whole.
struct Three(Two);

impl Actor for One {
    type Message = Tally;

    fn handle(&mut self, message: Tally, _ctx: &mut Ctx<'_, Tally>) -> Flow {
        match message {
            Tally::Add(more) => self.sum += more,
            Tally::AddSlowly(more) => {
                self.left = more;
                return Flow::More;
            }
            Tally::Ask(reply) => reply.send((self.sum, "one")),
            Tally::Panic => panic!("told to"),
        }
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Tally>) -> Flow {
        ctx.consume(ctx.left());
        self.sum += 1;
        self.left -= 1;
        if self.left == 0 { Flow::Next } else { Flow::More }
    }
}

impl Actor for Two {
    type Message = Tally;

    fn handle(&mut self, message: Tally, _ctx: &mut Ctx<'_, Tally>) -> Flow {
        match message {
            Tally::Add(more) => self.doubled += 2 * more,
            Tally::AddSlowly(more) => {
                self.left = more;
                return Flow::More;
            }
            Tally::Ask(reply) => reply.send((self.doubled / 2, "two")),
            Tally::Panic => panic!("told to"),
        }
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Tally>) -> Flow {
        ctx.consume(ctx.left());
        self.doubled += 2;
        self.left -= 1;
        if self.left == 0 { Flow::Next } else { Flow::More }
    }
}

impl Actor for Three {
    type Message = Tally;

    fn handle(&mut self, message: Tally, ctx: &mut Ctx<'_, Tally>) -> Flow {
        match message {
            Tally::Ask(reply) => {
                reply.send((self.0.doubled / 2, "three"));
                Flow::Next
            }
            other => self.0.handle(other, ctx),
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Tally>) -> Flow {
        self.0.resume(ctx)
    }
}

impl MigrateFrom<One> for Two {
    fn migrate(old: &One) -> Result<Self, Unmigrated> {
        assert_eq!(old.left, 0, "between two messages nothing is left to do");
        Ok(Self { doubled: 2 * old.sum, left: 0 })
    }
}

impl MigrateFrom<Two> for One {
    fn migrate(old: &Two) -> Result<Self, Unmigrated> {
        assert_eq!(old.left, 0, "between two messages nothing is left to do");
        Ok(Self { sum: old.doubled / 2, left: 0 })
    }
}

impl MigrateFrom<Two> for Three {
    fn migrate(old: &Two) -> Result<Self, Unmigrated> {
        match old.doubled % 8 {
            0 => Err(Unmigrated(format!("{} is no sum for me", old.doubled))),
            2 => panic!("cannot read {}", old.doubled),
            _ => Ok(Self(Two { doubled: old.doubled, left: 0 })),
        }
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn requires(text: &str) -> VersionReq {
    text.parse().unwrap()
}

/// Counts itself while the version that holds it lives.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(lives: &Arc<AtomicUsize>) -> Self {
        lives.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(lives))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn publish_one_and_two(tallies: &Behaviour<Tally, Config>, lives: &Arc<AtomicUsize>) {
    let live = Live::new(lives);
    let one = Code::new(version("1.0.0"), move |config: &Config| {
        assert!(Arc::ptr_eq(&live.0, &config.lives), "made for this test");
        One { sum: config.first, left: 0 }
    });
    tallies.publish(one.takes_over::<Two>()).unwrap();
    let two =
        Code::new(version("2.1.0"), |config: &Config| Two { doubled: 2 * config.first, left: 0 });
    tallies.publish(two.takes_over::<One>()).unwrap();
}

fn publish_three(tallies: &Behaviour<Tally, Config>) {
    let three = Code::new(version("3.0.0"), |config: &Config| {
        Three(Two { doubled: 2 * config.first, left: 0 })
    });
    tallies.publish(three.takes_over::<Two>()).unwrap();
}

struct World {
    simulation: Simulation,
    tallies: Behaviour<Tally, Config>,
    lives: Arc<AtomicUsize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let lives = Arc::new(AtomicUsize::new(0));
        let tallies = Behaviour::new("tally");
        publish_one_and_two(&tallies, &lives);
        Self { simulation: System::simulated(seed, Faults::none()), tallies, lives }
    }

    fn spawn(&self, requirement: &str) -> (Address<Tally>, VersionedHandle<Tally, Config>) {
        let overflow = Overflow::Reject;
        let spec = MailboxSpec { name: "tally", items_max: 1_000, bytes_max: 1 << 20, overflow };
        let system = self.simulation.system();
        let (address, mailbox): (_, Mailbox<Tally>) = system.mailbox(spec);
        let restart =
            Restart::Always { max: 100, window: Duration::from_secs(1), backoff: Duration::ZERO };
        let spawn = Spawn::new("tally", Class::Rpc).restart(restart);
        let config = Config { first: 10, lives: Arc::clone(&self.lives) };
        let handle =
            self.tallies.spawn(system, spawn, mailbox, &requires(requirement), config).unwrap();
        (address, handle)
    }

    fn ask(&mut self, address: &Address<Tally>) -> (u64, &'static str) {
        let (asking, mut answer) = reply();
        address.send(Tally::Ask(asking)).unwrap_or_else(|_| panic!("there is room"));
        self.simulation.run_until_idle();
        answer.try_take().expect("idle").unwrap()
    }

    fn upgrade(
        &mut self,
        handle: &VersionedHandle<Tally, Config>,
        requirement: &str,
    ) -> Result<Result<Version, UpgradeError>, Lost> {
        let mut answer = handle.upgrade(&requires(requirement)).unwrap();
        self.simulation.run_until_idle();
        answer.try_take().expect("idle")
    }
}

fn add(address: &Address<Tally>, message: Tally) {
    address.send(message).unwrap_or_else(|_| panic!("there is room"));
}

/// Goal: V1 to V5 one by one: two versions side by side, a third published meanwhile, upgrades that
/// succeed, have no way, refuse and panic, a restart on the upgraded version, and the old code gone
/// with its last actor.
#[test]
fn actors_of_several_versions_live_side_by_side_and_move_on() {
    let mut world = World::new(1);
    let (old, old_handle) = world.spawn("^1");
    let (new, new_handle) = world.spawn(">=1");
    assert_eq!((world.ask(&old), world.ask(&new)), ((10, "one"), (10, "two")));

    let refused = new_handle.upgrade(&requires("^3")).unwrap_err();
    let text = "no version of tally is ^3; published: 1.0.0, 2.1.0";
    assert_eq!(refused.to_string(), text);
    assert!(matches!(refused, NoVersion { behaviour: "tally", .. }));
    publish_three(&world.tallies);
    let again = Code::new(version("3.0.0"), |_: &Config| One { sum: 0, left: 0 });
    let taken = PublishError::Taken { behaviour: "tally", version: version("3.0.0") };
    assert_eq!(world.tallies.publish(again), Err(taken));
    assert_eq!((world.ask(&old), world.ask(&new)), ((10, "one"), (10, "two")));

    let (from, to) = (version("1.0.0"), version("3.0.0"));
    let no_way = UpgradeError::NoMigration { from, to };
    assert_eq!(world.upgrade(&old_handle, "^3"), Ok(Err(no_way)));
    assert_eq!(world.ask(&old), (10, "one"));

    // 2 * 13 is 2 modulo 8, and 2 * 16 is 0.
    for (sum, reason) in [(13, "cannot read 26"), (16, "32 is no sum for me")] {
        add(&new, Tally::Add(3));
        assert_eq!(world.ask(&new), (sum, "two"));
        let error = world.upgrade(&new_handle, "^3").unwrap().unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
        assert_eq!(world.ask(&new), (sum, "two"));
        assert_eq!(new_handle.version(), version("2.1.0"));
    }

    // In the middle of a message it waits for the end of it, and a second upgrade is refused.
    add(&old, Tally::AddSlowly(5));
    world.simulation.run_for(TWO_SLICES);
    let mut first = old_handle.upgrade(&requires("^2")).unwrap();
    let mut second = old_handle.upgrade(&requires("^2")).unwrap();
    world.simulation.run_for(TWO_SLICES);
    assert_eq!((first.try_take(), old_handle.version()), (None, version("1.0.0")));
    assert_eq!(second.try_take(), Some(Ok(Err(UpgradeError::Busy(version("2.1.0"))))));
    assert_eq!(world.ask(&old), (15, "two"));
    assert_eq!(first.try_take(), Some(Ok(Ok(version("2.1.0")))));

    // V4
    add(&old, Tally::Panic);
    assert_eq!(world.ask(&old), (10, "two"));

    // V5
    assert_eq!(world.lives.load(Ordering::SeqCst), 1);
    assert!(world.tallies.retire(&version("1.0.0")));
    assert!(!world.tallies.retire(&version("1.0.0")));
    assert_eq!(world.lives.load(Ordering::SeqCst), 0, "no actor runs it any more");
    let users: Vec<usize> = world.tallies.versions().into_iter().map(|(_, users)| users).collect();
    assert_eq!(users, [2, 0]);
    old_handle.kill();
    assert_eq!(world.upgrade(&old_handle, "^2"), Err(Lost));
}

/// Goal: under random upgrades and downgrades, in the middle of long messages too, no message is
/// lost or counted twice, and each upgrade has an outcome.
#[test]
fn upgrades_lose_nothing() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        publish_three(&world.tallies);
        let mut entropy = Entropy::from_seed(seed);
        let mut actors: Vec<_> =
            ["^1", "^2", "^3", "*"].into_iter().map(|req| (world.spawn(req), 10)).collect();
        let mut outcomes = Vec::new();
        for _ in 0..200 {
            let index = usize::try_from(entropy.below(actors.len() as u64)).unwrap();
            let ((address, handle), sum) = &mut actors[index];
            let amount = 1 + entropy.below(5);
            match entropy.below(4) {
                0 => {
                    add(address, Tally::Add(amount));
                    *sum += amount;
                }
                1 => {
                    add(address, Tally::AddSlowly(amount));
                    *sum += amount;
                }
                2 => {
                    let requirement =
                        ["^1", "^2", "^3"][usize::try_from(entropy.below(3)).unwrap()];
                    outcomes.push(handle.upgrade(&requires(requirement)).unwrap());
                }
                _ => world.simulation.run_for(TWO_SLICES),
            }
        }
        world.simulation.run_until_idle();
        let mut upgraded = 0;
        for mut outcome in outcomes {
            let outcome = outcome.try_take().expect("idle").expect("all live");
            upgraded += u32::from(outcome.is_ok());
        }
        assert!(upgraded > 0, "seed {seed}");
        for ((address, _), sum) in &actors {
            assert_eq!(world.ask(address).0, *sum, "seed {seed}");
        }
    }
}
