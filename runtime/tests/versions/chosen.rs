//! Messages that choose the version that handles them.

use evenkeel_runtime::{
    Actor, Address, Behaviour, Class, Code, Ctx, DeadReason, Entropy, Faults, Flow, MailboxSpec,
    Message, Overflow, Reply, Spawn, System, Unmigrated, Version, VersionedHandle, reply,
};

use crate::{TWO_SLICES, requires, version};

/// What a ledger is told.
enum Entry {
    /// For this version of the rules; takes so many slices.
    Write(u64, u64),
    /// What was written: which rules each entry was for, and which have handled it.
    Read(Reply<Vec<(u64, u64)>>),
}

impl Message for Entry {}

/// The rules of any version.
struct Ledger {
    rules: u64,
    written: Vec<(u64, u64)>,
    /// The entry at hand: its rules, and slices left.
    at_hand: (u64, u64),
}

impl Ledger {
    const fn new(rules: u64, written: Vec<(u64, u64)>) -> Self {
        Self { rules, written, at_hand: (0, 0) }
    }

    /// The rules that `entry` is for, as a version.
    fn chooses(&self, entry: &Entry) -> Version {
        let rules = match entry {
            Entry::Write(rules, _) => *rules,
            Entry::Read(_) => self.rules,
        };
        Version::new(rules, 0, 0)
    }
}

impl Actor for Ledger {
    type Message = Entry;

    fn handle(&mut self, entry: Entry, ctx: &mut Ctx<'_, Entry>) -> Flow {
        match entry {
            Entry::Write(rules, slices) => {
                self.at_hand = (rules, slices);
                return self.resume(ctx);
            }
            Entry::Read(reply) => reply.send(self.written.clone()),
        }
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Entry>) -> Flow {
        if self.at_hand.1 > 0 {
            self.at_hand.1 -= 1;
            ctx.consume(ctx.left());
            return Flow::More;
        }
        self.written.push((self.at_hand.0, self.rules));
        Flow::Next
    }
}

/// Whether rules 3 take over after so many entries; they refuse or panic otherwise.
const fn are_taken_over(written: usize) -> bool {
    written % 3 == 2
}

/// Rules 1, 2, 3 and 5, chosen by the entry; 3 does not always take over, 5 never does, and 4 is
/// not published. Version 1.1 is rules 1 for every entry.
fn ledgers() -> Behaviour<Entry, ()> {
    let ledgers = Behaviour::new("ledger");
    for rules in [1, 2, 3, 5] {
        let code =
            Code::new(Version::new(rules, 0, 0), move |&(): &()| Ledger::new(rules, Vec::new()));
        let code = code.chosen_by(Ledger::chooses);
        ledgers
            .publish(if rules == 5 { code } else { code.takes_over_by(taking_over(rules)) })
            .unwrap();
    }
    let one = Code::new(version("1.1.0"), |&(): &()| Ledger::new(1, Vec::new()));
    ledgers.publish(one.takes_over_by(taking_over(1))).unwrap();
    ledgers
}

fn taking_over(rules: u64) -> impl Fn(&Ledger) -> Result<Ledger, Unmigrated> {
    move |old| {
        assert_eq!(old.at_hand.1, 0, "between two entries nothing is left to do");
        match old.written.len() {
            count if rules != 3 || are_taken_over(count) => {}
            count if count % 3 == 0 => return Err(Unmigrated(format!("not after {count}"))),
            count => panic!("cannot read {count}"),
        }
        Ok(Ledger::new(rules, old.written.clone()))
    }
}

/// What a ledger should be: its rules, what is written, what it could not take.
struct Model(u64, Vec<(u64, u64)>, u64);

impl Model {
    fn write(&mut self, rules: u64) {
        let Self(current, written, lost) = self;
        let moves = matches!(rules, 1 | 2) || rules == 3 && are_taken_over(written.len());
        if rules == *current || moves {
            *current = rules;
            written.push((rules, rules));
        } else {
            *lost += 1;
        }
    }
}

/// Goal: V6: of two actors on two versions each is upgraded exactly before the message that says
/// so, which one that takes long does not change; no message is handled by another version than its
/// own; where the migration refuses, panics or is not there the actor goes on as it was, and the
/// message is a dead letter.
/// Method: entries at random, against a model that has no actors.
#[test]
fn messages_choose_the_version_that_handles_them() {
    for seed in 0..20 {
        let mut simulation = System::simulated(seed, Faults::none());
        let ledgers = ledgers();
        let spawn = |rules: u64, minor: u64| {
            let overflow = Overflow::Reject;
            let spec =
                MailboxSpec { name: "ledger", items_max: 1_000, bytes_max: 1 << 20, overflow };
            let (address, mailbox) = simulation.system().mailbox(spec);
            let (system, spawn) = (simulation.system(), Spawn::new("ledger", Class::Rpc));
            let requirement = requires(&format!("={rules}.{minor}.0"));
            let handle = ledgers.spawn(system, spawn, mailbox, &requirement, ()).unwrap();
            (address, handle, Model(rules, Vec::new(), 0))
        };
        let mut actors = [spawn(1, 0), spawn(2, 0)];
        let (fixed, fixed_handle, _) = spawn(1, 1);
        let mut entropy = Entropy::from_seed(seed);
        for _ in 0..200 {
            let (rules, slices) = (1 + entropy.below(5), entropy.below(3));
            let (address, _, model) = &mut actors[usize::try_from(entropy.below(2)).unwrap()];
            assert!(address.send(Entry::Write(rules, slices)).is_ok());
            model.write(rules);
            assert!(fixed.send(Entry::Write(rules, slices)).is_ok());
            if entropy.below(4) == 0 {
                simulation.run_for(TWO_SLICES);
            }
        }
        let mut read = |address: &Address<Entry>| {
            let (asking, mut answer) = reply();
            assert!(address.send(Entry::Read(asking)).is_ok());
            simulation.run_until_idle();
            answer.try_take().expect("idle").unwrap()
        };
        for (address, handle, Model(rules, written, _)) in &actors {
            assert_eq!(&read(address), written, "seed {seed}");
            assert_eq!(handle.version(), Version::new(*rules, 0, 0), "seed {seed}");
        }
        // Whether messages are asked is a matter of the version.
        assert_eq!(fixed_handle.version(), version("1.1.0"));
        let mut moves = |from: &(Address<Entry>, VersionedHandle<Entry, ()>), to| {
            let mut moved = from.1.upgrade(&requires(to)).unwrap();
            assert!(from.0.send(Entry::Write(2, 0)).is_ok());
            let written = read(&from.0);
            assert_eq!(moved.try_take().map(|moved| moved.unwrap().is_ok()), Some(true));
            written
        };
        let written = moves(&(fixed, fixed_handle), "=1.0.0");
        let (last, before) = written.split_last().unwrap();
        assert!(before.len() == 200 && before.iter().all(|(_, handled)| *handled == 1));
        assert_eq!(*last, (2, 2));
        let [(address, handle, _), _] = &actors;
        let written = moves(&(address.clone(), handle.clone()), "=1.1.0");
        assert_eq!(written.last(), Some(&(2, 1)));
        let unmoved = actors.iter().map(|(.., model)| model.2).sum::<u64>();
        assert_eq!(
            simulation.system().status().dead(DeadReason::NoVersion),
            unmoved,
            "seed {seed}"
        );
    }
}
