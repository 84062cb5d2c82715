//! Supervision trees under fire: a thousand seeds of three levels of supervisors whose actors send
//! each other numbered letters while they panic and are killed.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel_runtime::{
    Actor, ActorHandle, Address, AtRestart, Backoff, Child, Class, Ctx, Entropy, Faults, Flow,
    MailboxSpec, Message, Order, Overflow, Simulation, StopReason, Strategy, Supervisor,
    SupervisorSpec, System,
};

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Under,
    Handled,
    /// The runtime counted it as a dead letter.
    Buried,
    /// The sender got it back.
    Refused,
}

#[derive(Default)]
struct Book {
    fates: Vec<Fate>,
    /// The last letter that one actor sent directly to another and that was handled.
    last: BTreeMap<(usize, usize), usize>,
    lives: usize,
    /// What went wrong: a panic in an actor would only be its restart.
    wrong: Vec<String>,
}

/// Writes down every letter's fate, once.
#[derive(Default)]
struct Post(Mutex<Book>);

impl Post {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: usize, fate: Fate) {
        let before = std::mem::replace(&mut self.book().fates[number], fate);
        let is_first = before == Fate::Under;
        self.check(is_first, || format!("letter {number} is {fate:?} after it was {before:?}"));
    }

    fn check(&self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            let what = what();
            self.book().wrong.push(what);
        }
    }
}

#[derive(Clone, Copy)]
enum From {
    /// An actor, or the world outside, that sent it directly.
    Sender(usize),
    /// A life of the receiver that ordered it.
    Life(usize),
}

struct Letter {
    number: usize,
    from: From,
    hops: u32,
    post: Arc<Post>,
}

impl Letter {
    fn new(from: From, hops: u32, post: &Arc<Post>) -> Self {
        let fates = &mut post.book().fates;
        fates.push(Fate::Under);
        Self { number: fates.len() - 1, from, hops, post: Arc::clone(post) }
    }
}

impl Message for Letter {
    /// The runtime asks for it when it counts a dead letter, and at no other time.
    fn kind(&self) -> &'static str {
        self.post.note(self.number, Fate::Buried);
        "letter"
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        let fate = self.post.book().fates[self.number];
        self.post.check(fate != Fate::Under, || format!("letter {} vanished", self.number));
    }
}

struct Tree {
    addresses: Mutex<Vec<Address<Letter>>>,
    post: Arc<Post>,
    panics_once_in: u64,
}

struct Clerk {
    index: usize,
    /// Different for every life of every clerk.
    life: usize,
    tree: Arc<Tree>,
}

impl Actor for Clerk {
    type Message = Letter;

    fn start(&mut self, ctx: &mut Ctx<'_, Letter>) -> Flow {
        if ctx.entropy().once_in(40) {
            fail();
        }
        Flow::Next
    }

    fn handle(&mut self, letter: Letter, ctx: &mut Ctx<'_, Letter>) -> Flow {
        let post = &self.tree.post;
        post.note(letter.number, Fate::Handled);
        match letter.from {
            From::Sender(from) => {
                let before = post.book().last.insert((from, self.index), letter.number);
                let is_in_order = before < Some(letter.number);
                post.check(is_in_order, || format!("letter {} is out of order", letter.number));
            }
            From::Life(life) => {
                post.check(life == self.life, || {
                    format!("life {life} ordered it, not {}", self.life)
                });
            }
        }
        let work = ctx.entropy().below(3_000);
        ctx.consume(u32::try_from(work).unwrap());
        let copies = if letter.hops == 0 { 0 } else { ctx.entropy().below(3) };
        for _ in 0..copies {
            self.send(letter.hops - 1, ctx);
        }
        if ctx.entropy().once_in(self.tree.panics_once_in) {
            fail();
        }
        if ctx.entropy().once_in(10) { Flow::More } else { Flow::Next }
    }
}

impl Clerk {
    /// Directly, through a timer of its own, or through a job.
    fn send(&self, hops: u32, ctx: &mut Ctx<'_, Letter>) {
        let post = &self.tree.post;
        match ctx.entropy().below(6) {
            0 => {
                let delay = Duration::from_micros(ctx.entropy().below(2_000));
                ctx.send_after(delay, Letter::new(From::Life(self.life), hops, post));
            }
            1 => {
                let letter = Letter::new(From::Life(self.life), hops, post);
                ctx.compute(move |_| letter, |letter| letter.expect("the job does not panic"));
            }
            _ => {
                let addresses = self.tree.addresses.lock().unwrap();
                let to = ctx.entropy().below(addresses.len() as u64);
                let letter = Letter::new(From::Sender(self.index), hops, post);
                if let Err(refused) = addresses[usize::try_from(to).unwrap()].send(letter) {
                    post.note(refused.into_inner().number, Fate::Refused);
                }
            }
        }
    }
}

/// A panic without the noise of the hook.
fn fail() -> ! {
    panic::resume_unwind(Box::new("on purpose"));
}

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
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut entropy = Entropy::from_seed(seed);
        let order = if seed.is_multiple_of(2) { Order::Fair } else { Order::Chaos };
        let simulation = System::simulated(seed, Faults { order, ..Faults::none() });
        let tree = Arc::new(Tree {
            addresses: Mutex::default(),
            post: Arc::default(),
            panics_once_in: 10 + entropy.below(40),
        });
        let root_max = if seed.is_multiple_of(3) { 4 } else { 100_000 };
        let root = SupervisorSpec::new("root", Strategy::Restart)
            .intensity(root_max, Duration::from_secs(1))
            .backoff(Backoff { base: Duration::from_millis(1), ..Backoff::DEFAULT });
        let root = simulation.system().supervisor(root);
        let mut run = Self { simulation, entropy, tree, clerks: Vec::new() };
        run.hire(&root, 2);
        for _ in 0..3 {
            let middle = root.supervisor(spec(&mut run.entropy), Duration::from_millis(50));
            let middle = middle.unwrap();
            run.hire(&middle, 3);
            let low = middle.supervisor(spec(&mut run.entropy), Duration::from_millis(20));
            run.hire(&low.unwrap(), 3);
        }
        run
    }

    fn hire(&mut self, supervisor: &Supervisor, clerks: usize) {
        let system = self.simulation.system().clone();
        for _ in 0..clerks {
            let index = self.clerks.len();
            let overflow = [Overflow::Reject, Overflow::DropNew, Overflow::DropOld][index % 3];
            let mailbox = MailboxSpec { name: "desk", items_max: 8, bytes_max: 1 << 20, overflow };
            let (address, mailbox) = system.mailbox(mailbox);
            self.tree.addresses.lock().unwrap().push(address);
            let at_restart =
                if self.entropy.once_in(2) { AtRestart::Keep } else { AtRestart::Drop };
            let class = Class::ALL[index % Class::COUNT];
            let child = Child::new("clerk", class)
                .at_restart(at_restart)
                .stop_within(Duration::from_micros(self.entropy.below(3_000)));
            let tree = Arc::clone(&self.tree);
            let clerk = supervisor.spawn(child, mailbox, move || {
                let lives = &mut tree.post.book().lives;
                *lives += 1;
                Clerk { index, life: *lives, tree: Arc::clone(&tree) }
            });
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
            if self.entropy.once_in(2) {
                let victim = self.entropy.below(self.clerks.len() as u64);
                self.clerks[usize::try_from(victim).unwrap()].kill();
            }
            self.simulation.run_for(Duration::from_micros(500 + self.entropy.below(3_000)));
        }
    }

    /// Stops the system, at rest or in full swing, and counts. Says how many letters there were,
    /// how many of them were handled, and how many lives.
    fn finish(mut self, seed: u64) -> [usize; 3] {
        if seed.is_multiple_of(2) {
            self.simulation.run_until_idle();
        }
        let system = self.simulation.system().clone();
        system.request_stop(StopReason::Asked);
        // Fires what timers there are: of a process that has ended, as dead letters.
        self.simulation.run_until_idle();
        let status = system.status();
        assert_eq!(status.actors_live, 0, "seed {seed}: all have ended");
        self.tree.addresses.lock().unwrap().clear();
        drop(self.clerks);
        let tree = Arc::downgrade(&self.tree);
        let post = Arc::clone(&self.tree.post);
        drop(self.tree);
        drop(system);
        drop(self.simulation);
        assert_eq!(tree.strong_count(), 0, "seed {seed}: a factory or an actor leaks");
        assert_eq!(Arc::strong_count(&post), 1, "seed {seed}: a letter leaks");
        let book = post.book();
        assert_eq!(book.wrong, Vec::<String>::new(), "seed {seed}");
        let count = |fate| book.fates.iter().filter(|&&other| other == fate).count();
        assert_eq!(count(Fate::Under), 0, "seed {seed}: a letter is lost");
        let buried = count(Fate::Buried) as u64;
        assert_eq!(buried, status.dead_letters, "seed {seed}: dead letters are counted");
        [book.fates.len(), count(Fate::Handled), book.lives]
    }
}

/// Goal: under panics and kills in trees of three levels every letter is handled once, given back,
/// or counted as dead; letters of one sender stay in order over restarts; nothing is alive or held
/// in memory after the stop.
#[test]
fn every_letter_has_one_fate_and_nothing_outlives_the_tree() {
    let mut sums = [0; 3];
    for seed in 0..1_000 {
        let mut run = Run::new(seed);
        run.work();
        let counts = run.finish(seed);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [letters, handled, lives] = sums;
    // The test would be worth little if nearly nobody worked, or nearly nobody got up again.
    assert!(letters > 300_000 && handled > letters / 2, "{handled} of {letters} handled");
    assert!(lives > 40_000, "{lives} lives of 20,000 actors");
}
