//! Supervision trees under fire: a thousand seeds of three levels of supervisors whose actors and
//! async actors send each other numbered letters, and bind themselves to each other, while they
//! panic and are killed, and so do supervisors.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod clerk;
mod post;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_runtime::{
    ActorHandle, AtRestart, Backoff, Child, Class, DeadReason, Entropy, Faults, MailboxSpec, Order,
    Overflow, Simulation, Spawn, StopReason, Strategy, Supervisor, SupervisorSpec, System,
    cells_live, link,
};

use crate::{
    clerk::{Clerk, Tree, fail, is_async, items_max, overflow},
    post::{Fate, From, Letter, Life},
};

fn strategy(entropy: &mut Entropy) -> Strategy {
    match entropy.below(12) {
        0..4 => Strategy::Restart,
        4..7 => Strategy::RestartAll,
        7..9 => Strategy::RestartRest,
        9 => Strategy::Stop,
        10 => Strategy::StopAll,
        _ => Strategy::Escalate,
    }
}

fn spec(entropy: &mut Entropy) -> SupervisorSpec {
    let max = u32::try_from(entropy.below(6)).unwrap();
    let backoff = Backoff { base: Duration::from_micros(500), ..Backoff::DEFAULT };
    SupervisorSpec::new("middle", strategy(entropy))
        .intensity(max, Duration::from_millis(20))
        .backoff(backoff)
}

struct Run {
    simulation: Simulation,
    entropy: Entropy,
    tree: Arc<Tree>,
    clerks: Vec<ActorHandle>,
    /// Those that may be killed.
    supervisors: Vec<Supervisor>,
    cells_before: Option<usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let cells_before = cells_live();
        let mut entropy = Entropy::from_seed(seed);
        let order = if seed.is_multiple_of(2) { Order::Fair } else { Order::Chaos };
        let simulation = System::simulated(seed, Faults { order, ..Faults::none() });
        let tree = Arc::new(Tree {
            addresses: Mutex::default(),
            post: Arc::default(),
            panics_once_in: 10 + entropy.below(60),
        });
        let root_max = if seed.is_multiple_of(3) { 4 } else { 100_000 };
        let root = SupervisorSpec::new("root", Strategy::Restart)
            .intensity(root_max, Duration::from_secs(1))
            .backoff(Backoff { base: Duration::from_millis(1), ..Backoff::DEFAULT });
        let root = simulation.system().supervisor(root);
        let (clerks, supervisors) = (Vec::new(), Vec::new());
        let mut run = Self { simulation, entropy, tree, clerks, supervisors, cells_before };
        run.hire(&root, 2);
        for _ in 0..3 {
            let middle = root.supervisor(spec(&mut run.entropy), Duration::from_millis(50));
            let middle = middle.unwrap();
            run.hire(&middle, 3);
            let low = middle.supervisor(spec(&mut run.entropy), Duration::from_millis(20));
            let low = low.unwrap();
            run.hire(&low, 3);
            run.supervisors.extend([middle, low]);
        }
        if seed.is_multiple_of(3) {
            run.supervisors.push(root);
        }
        run
    }

    fn hire(&mut self, supervisor: &Supervisor, clerks: usize) {
        let system = self.simulation.system().clone();
        for _ in 0..clerks {
            let index = self.clerks.len();
            let overflow = overflow(index);
            let items_max = items_max(overflow);
            let mailbox = MailboxSpec { name: "desk", items_max, bytes_max: 1 << 20, overflow };
            let (address, mailbox) = system.mailbox(mailbox);
            self.tree.addresses.lock().unwrap().push(address);
            let at_restart =
                if self.entropy.once_in(2) { AtRestart::Keep } else { AtRestart::Drop };
            let class = Class::ALL[index % Class::COUNT];
            let child = Child::new("clerk", class)
                .at_restart(at_restart)
                .stop_within(Duration::from_micros(self.entropy.below(3_000)));
            let (tree, coalesces) = (Arc::clone(&self.tree), overflow == Overflow::Coalesce);
            let clerk = if is_async(index) {
                let (system, mut lives) = (system.clone(), system.entropy("clerk"));
                supervisor.spawn_async(child, mailbox, move |inbox| {
                    let life = Life::begin(index, &tree.post);
                    let entropy = Entropy::from_seed(lives.below(u64::MAX) ^ index as u64);
                    clerk::work(life, coalesces, Arc::clone(&tree), system.clone(), entropy, inbox)
                })
            } else {
                supervisor.spawn(child, mailbox, move || {
                    let life = Life::begin(index, &tree.post);
                    Clerk { life, coalesces, tree: Arc::clone(&tree), watch: None }
                })
            };
            self.clerks.push(clerk.unwrap());
        }
    }

    /// Letters come from outside, and whoever the seed picks is killed.
    fn work(&mut self) {
        for _ in 0..8 {
            let outside = usize::MAX;
            for address in self.tree.addresses.lock().unwrap().iter() {
                let letter = Letter::new(From::Sender(outside), 3, &self.tree.post);
                if let Err(refused) = address.send(letter) {
                    self.tree.post.note(refused.into_inner().number, Fate::Refused);
                }
            }
            match self.entropy.below(16) {
                0..8 => {
                    let victim = self.entropy.below(self.clerks.len() as u64);
                    self.clerks[usize::try_from(victim).unwrap()].kill();
                }
                8..10 => self.kill_supervisor(),
                _ => {}
            }
            self.simulation.run_for(Duration::from_micros(500 + self.entropy.below(3_000)));
        }
    }

    /// A supervisor has no handle that kills: it fails with a process that it is linked to.
    fn kill_supervisor(&mut self) {
        let victim = self.entropy.below(self.supervisors.len() as u64);
        let victim = self.supervisors[usize::try_from(victim).unwrap()].clone();
        let system = self.simulation.system();
        system.spawn_future::<()>(Spawn::new("beside", Class::System), async move {
            link(&victim).unwrap();
            fail();
        });
    }

    /// Nobody waits for room that is there, or for news that is over.
    fn check_at_rest(&self, seed: u64) {
        let post = &self.tree.post;
        post.check_watches(|index| self.clerks[index].is_finished());
        let waiting = post.book().fates.iter().position(|&fate| fate == Fate::Waiting);
        assert_eq!(waiting, None, "seed {seed}: a letter waits for room for ever");
    }

    /// Stops the system, at rest or in full swing, and counts.
    fn finish(mut self, seed: u64) -> Counts {
        if seed.is_multiple_of(2) {
            self.simulation.run_until_idle();
            self.check_at_rest(seed);
        }
        let system = self.simulation.system().clone();
        system.request_stop(StopReason::Asked);
        // Fires what timers there are: of a process that has ended, as dead letters.
        self.simulation.run_until_idle();
        let status = system.status();
        assert_eq!(status.actors_live, 0, "seed {seed}: all have ended");
        self.tree.addresses.lock().unwrap().clear();
        drop((self.clerks, self.supervisors));
        let tree = Arc::downgrade(&self.tree);
        let post = Arc::clone(&self.tree.post);
        drop(self.tree);
        drop(system);
        drop(self.simulation);
        assert_eq!(tree.strong_count(), 0, "seed {seed}: a factory or an actor leaks");
        assert_eq!(Arc::strong_count(&post), 1, "seed {seed}: a letter leaks");
        assert_eq!(cells_live(), self.cells_before, "seed {seed}: a cell leaks");
        let book = post.book();
        assert_eq!(book.wrong, Vec::<String>::new(), "seed {seed}");
        let count = |fate| book.fates.iter().filter(|&&other| other == fate).count();
        assert_eq!(count(Fate::Under), 0, "seed {seed}: a letter is lost");
        let buried = count(Fate::Buried) as u64;
        assert_eq!(buried, status.dead_letters, "seed {seed}: dead letters are counted");
        Counts {
            letters: book.fates.len(),
            handled: count(Fate::Handled),
            lives: book.lives,
            waits: book.waits,
            watches: book.watches.len(),
            displaced: usize::try_from(status.dead(DeadReason::Displaced)).unwrap(),
        }
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Counts {
    letters: usize,
    handled: usize,
    lives: usize,
    waits: usize,
    watches: usize,
    displaced: usize,
}

/// Goal: under panics, kills and broken links of actors, async actors and supervisors in trees of
/// three levels, with mailboxes of every rule, each letter is handled once, given back, or counted
/// as dead; letters of one sender stay in order over restarts; monitors tell once and at last; who
/// waits for room gets it; nothing is alive or held in memory after the stop, and no cell is left.
#[test]
fn every_letter_has_one_fate_and_nothing_outlives_the_tree() {
    let mut sum = Counts::default();
    for seed in 0..1_000 {
        let mut run = Run::new(seed);
        run.work();
        let counts = run.finish(seed);
        sum.letters += counts.letters;
        sum.handled += counts.handled;
        sum.lives += counts.lives;
        sum.waits += counts.waits;
        sum.watches += counts.watches;
        sum.displaced += counts.displaced;
    }
    // The test would be worth little if nearly nobody worked, or nearly nobody got up again.
    assert!(sum.letters > 300_000 && sum.handled > sum.letters / 2, "{sum:?}");
    assert!(sum.lives > 40_000, "of 20,000 actors: {sum:?}");
    assert!(sum.waits > 300 && sum.watches > 10_000 && sum.displaced > 3_000, "{sum:?}");
}
