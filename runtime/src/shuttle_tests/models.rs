//! The models.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shuttle::{sync as drawn, thread};

use super::world::{
    Item, Log, Receiver, SPAWN, Sent, check, check_loosely, join, sender, spec, stop, system,
};
use crate::{
    Actor, Address, AtRestart, Backoff, Child, Class, Credit, Ctx, DeadReason, Down, Exit, Flow,
    Message, Overflow, Share, Spawn, Strategy, SupervisorSpec, TaskError, consume,
    limits::{BALANCE_NS, NUDGE_REDUCTIONS},
    reply, stream,
    sync::pass,
    watch, yield_now,
};

const MS: Duration = Duration::from_millis(1);

/// Goal: each message is handled once and those of a sender in order, whether it comes from outside
/// or from another process; nobody who waits is forgotten.
/// Method: two threads and a process send to two receivers, on two workers.
#[test]
fn every_message_is_handled_once_and_in_order() {
    check(|| {
        let system = system(2);
        let (sent, share) = (Arc::new(Sent::default()), Share::new());
        let mut threads = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..2 {
            let (log, (done, answer)) = (Log::default(), reply());
            let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
            let mut made = Some(Receiver::new(&log).until(6, done));
            let spawn = SPAWN.share(share.clone());
            system.spawn(spawn, mailbox, move || made.take().expect("one life"));
            threads.extend((0..2).map(|number| sender(number, 2, &address, &sent)));
            receivers.push((address, log, answer));
        }
        let to: Vec<_> = receivers.iter().map(|(address, ..)| address.clone()).collect();
        let inside = system.spawn_future(SPAWN, async move {
            for number in 0..2 {
                let item = Item { sender: 2, number };
                assert!(to.iter().all(|to| to.send(item).is_ok()));
                yield_now().await;
            }
        });
        join(threads);
        assert_eq!(inside.wait(), Ok(()));
        for (_address, log, answer) in receivers {
            answer.wait().expect("all six come");
            log.assert_in_order();
            assert_eq!(log.len(), 6);
        }
        stop(&system);
        assert_eq!(share.active(), 0, "who waits is not counted");
    });
}

/// Goal: whoever waits for room gets it, in whatever order the others come and go, and never more
/// waits than the mailbox holds.
#[test]
fn all_who_wait_for_room_get_it() {
    check(|| {
        let system = system(2);
        let (log, (done, answer)) = (Log::default(), reply());
        let (address, mailbox) = system.mailbox(spec(1, Overflow::Await));
        let receiver = Receiver { waiting_max: 1, ..Receiver::new(&log).until(6, done) };
        let mut made = Some(receiver);
        system.spawn(SPAWN, mailbox, move || made.take().expect("one life"));
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let address = address.clone();
                system.spawn_future(SPAWN, async move {
                    for number in 0..2 {
                        address
                            .send_when_room(Item { sender, number })
                            .await
                            .is_ok()
                            .then_some(())?;
                    }
                    Some(())
                })
            })
            .collect();
        for sender in senders {
            assert_eq!(sender.wait(), Ok(Some(())));
        }
        answer.wait().expect("all six come");
        log.assert_in_order();
        stop(&system);
    });
}

/// Goal: by every rule what was sent is handled, given back or counted as dead, and the bound holds
/// (but for senders that are turning back).
#[test]
fn each_overflow_rule_accounts_for_every_message() {
    let overflows = [Overflow::Reject, Overflow::DropNew, Overflow::DropOld, Overflow::Coalesce];
    for overflow in overflows {
        check(move || {
            let system = system(2);
            let (log, sent) = (Log::default(), Arc::new(Sent::default()));
            let (address, mailbox) = system.mailbox(spec(1, overflow));
            let turning_back =
                if matches!(overflow, Overflow::Reject | Overflow::DropNew) { 3 } else { 0 };
            let receiver = Receiver { waiting_max: 1 + turning_back, ..Receiver::new(&log) };
            let mut made = Some(receiver);
            let handle = system.spawn(SPAWN, mailbox, move || made.take().expect("one life"));
            join((0..3).map(|number| sender(number, 2, &address, &sent)).collect());
            let exit = handle.exited();
            handle.stop();
            assert_eq!(exit.wait(), Ok(Exit::Stopped));
            let status = system.status();
            let dead = status.dead(DeadReason::Full) + status.dead(DeadReason::Displaced);
            log.assert_in_order();
            assert_eq!(
                (log.len() + dead as usize, sent.all()),
                (sent.accepted(), 6),
                "{overflow:?}"
            );
            assert_eq!(status.dead(DeadReason::Ended), 0, "a stop handles what waits");
            stop(&system);
        });
    }
}

/// Goal: a stop of the system beside senders ends, and what they were told was accepted has been
/// handled.
#[test]
fn a_system_stops_while_others_send_and_handles_what_it_took() {
    check(|| {
        let system = system(2);
        let (log, sent) = (Log::default(), Arc::new(Sent::default()));
        let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
        let mut made = Some(Receiver::new(&log));
        system.spawn(SPAWN, mailbox, move || made.take().expect("one life"));
        let threads = (0..2).map(|number| sender(number, 3, &address, &sent)).collect();
        stop(&system);
        join(threads);
        log.assert_in_order();
        let dead = system.status().dead(DeadReason::Ended) as usize;
        assert_eq!((log.len() + dead, sent.all()), (sent.accepted(), 6));
    });
}

/// Goal: a system that is given no time to stop ends all the same, without its processes' help.
#[test]
fn a_system_without_time_to_stop_leaves_nobody_waiting() {
    check_loosely(|| {
        let system = system(2);
        let (log, sent) = (Log::default(), Arc::new(Sent::default()));
        let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
        let mut made = Some(Receiver::new(&log));
        system.spawn(SPAWN, mailbox, move || made.take().expect("one life"));
        let threads = (0..2).map(|number| sender(number, 2, &address, &sent)).collect();
        system.stop(Duration::ZERO);
        join(threads);
        log.assert_in_order();
        assert!(log.len() <= sent.accepted());
    });
}

/// Goal: a kill in the middle ends the process once, and what it did not handle is counted.
#[test]
fn a_kill_in_the_middle_loses_nothing_uncounted() {
    check(|| {
        let system = system(2);
        let (log, sent) = (Log::default(), Arc::new(Sent::default()));
        let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
        let mut made = Some(Receiver::new(&log));
        let handle = system.spawn(SPAWN, mailbox, move || made.take().expect("one life"));
        let exit = handle.exited();
        let threads = (0..2).map(|number| sender(number, 3, &address, &sent)).collect();
        // Asks for the end of a process that may have ended.
        let asked = handle.clone();
        let asking = thread::spawn(move || drop(asked.exited().wait().expect("it is told")));
        handle.kill();
        handle.stop();
        join(threads);
        join(vec![asking]);
        assert!(matches!(exit.wait(), Ok(Exit::Killed | Exit::Stopped)));
        log.assert_in_order();
        let dead = system.status().dead(DeadReason::Ended) as usize;
        assert_eq!((log.len() + dead, sent.all()), (sent.accepted(), 6));
        stop(&system);
    });
}

/// Goal: a killed child begins anew after its wait, and the next life handles all that waits and
/// comes; suspending and resuming it meanwhile loses nothing.
#[test]
fn a_child_that_is_killed_begins_anew_and_misses_nothing() {
    check(|| {
        let system = system(2);
        let (log, sent) = (Log::default(), Arc::new(Sent::default()));
        let backoff = Backoff { base: MS, max: MS, reset_after: 1_000 * MS };
        let rules = SupervisorSpec::new("root", Strategy::RestartAll).backoff(backoff);
        let supervisor = system.supervisor(rules);
        let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
        let (done, answer) = reply();
        let done = Arc::new(Mutex::new(Some(done)));
        let lives = Arc::new(AtomicUsize::new(0));
        let (for_lives, counted) = (log.clone(), Arc::clone(&lives));
        let child = Child::new("child", Class::Net).at_restart(AtRestart::Keep);
        let child = supervisor.spawn(child, mailbox, move || {
            counted.fetch_add(1, SeqCst);
            Kept { log: for_lives.clone(), done: Arc::clone(&done) }
        });
        let child = child.expect("there is room");
        let threads = (0..2).map(|number| sender(number, 2, &address, &sent)).collect();
        child.suspend();
        child.kill();
        child.resume();
        join(threads);
        answer.wait().expect("all four come");
        log.assert_in_order();
        assert_eq!((log.len(), sent.accepted()), (4, 4));
        stop(&system);
        assert!((1..=2).contains(&lives.load(SeqCst)));
    });
}

/// Goal: the same of a child that is a future, beside one that watches its lives: it hears of the
/// end of each life that it saw, once.
#[test]
fn a_future_that_is_killed_begins_anew_and_misses_nothing() {
    check(|| {
        let system = system(2);
        let (log, sent) = (Log::default(), Arc::new(Sent::default()));
        let backoff = Backoff { base: MS, max: MS, reset_after: 1_000 * MS };
        let rules = SupervisorSpec::new("root", Strategy::Restart).backoff(backoff);
        let supervisor = system.supervisor(rules);
        let (address, mailbox) = system.mailbox(spec(100, Overflow::Reject));
        let (done, answer) = reply();
        let done = Arc::new(Mutex::new(Some(done)));
        let for_lives = log.clone();
        let child =
            supervisor.spawn_async(Child::new("child", Class::Net), mailbox, move |inbox| {
                let (log, done, mut inbox) = (for_lives.clone(), Arc::clone(&done), inbox);
                async move {
                    while let Some(item) = inbox.recv().await {
                        if log.add(item) == 4
                            && let Some(done) = done.lock().unwrap().take()
                        {
                            done.send(());
                        }
                    }
                }
            });
        let child = child.expect("there is room");
        let watched = address.clone();
        let watcher = system.spawn_future(SPAWN, async move { watch(&watched).unwrap().await });
        let threads = (0..2).map(|number| sender(number, 2, &address, &sent)).collect();
        child.kill();
        join(threads);
        answer.wait().expect("all four come");
        log.assert_in_order();
        assert_eq!((log.len(), sent.accepted()), (4, 4));
        stop(&system);
        let down = watcher.wait();
        assert!(
            matches!(
                down,
                Ok(Down { exit: Exit::Killed | Exit::Stopped, .. }) | Err(TaskError::Cancelled)
            ),
            "{down:?}"
        );
    });
}

/// A child whose lives share a log and the answer.
struct Kept {
    log: Log,
    done: Arc<Mutex<Option<crate::Reply<()>>>>,
}

impl Actor for Kept {
    type Message = Item;

    fn handle(&mut self, item: Item, _ctx: &mut Ctx<'_, Item>) -> Flow {
        if self.log.add(item) == 4
            && let Some(done) = self.done.lock().unwrap().take()
        {
            done.send(());
        }
        Flow::Next
    }
}

/// Goal: a timer that is set from outside wakes a worker that parks without one, whoever parks.
#[test]
fn timers_fire_whoever_parks() {
    check(|| {
        let system = system(2);
        let sleepers: Vec<_> = [3, 1, 2]
            .into_iter()
            .map(|ms| {
                let inside = system.clone();
                system.spawn_future(SPAWN, async move {
                    let before = inside.now();
                    inside.sleep(ms * MS).await;
                    inside.now() - before
                })
            })
            .collect();
        for (sleeper, ms) in sleepers.into_iter().zip([3, 1, 2]) {
            assert!(sleeper.wait().expect("it wakes") >= ms * MS);
        }
        stop(&system);
    });
}

/// Goal: a timer that the main thread sets is looked at even if all workers park for good.
#[test]
fn a_timer_from_outside_wakes_a_parked_worker() {
    check(|| {
        let system = system(2);
        let (fires, fired) = reply();
        system.set_timer(system.now() + MS, Box::new(move || fires.send(())));
        fired.wait().expect("it fires");
        stop(&system);
    });
}

/// Goal: what a timer wakes has waited since the timer fired, and not since the worker's last turn.
#[test]
fn a_wait_begins_when_the_timer_fires() {
    check(|| {
        let system = system(1);
        let inside = system.clone();
        let hour = Duration::from_hours(1);
        let sleeper = system.spawn_future(SPAWN, async move { inside.sleep(hour).await });
        assert_eq!(sleeper.wait(), Ok(()));
        let waits = system.status().class(Class::Net).waits.clone();
        assert!(waits.max_ns() < 60_000_000_000, "{waits:?}");
        stop(&system);
    });
}

struct Go;

impl Message for Go {}

/// Goes on only when its friend has run, on another worker.
struct Waits {
    friend: Address<Go>,
    has_run: Arc<(drawn::Mutex<bool>, drawn::Condvar)>,
}

impl Actor for Waits {
    type Message = Go;

    const HAS_START: bool = false;

    fn handle(&mut self, _go: Go, _ctx: &mut Ctx<'_, Go>) -> Flow {
        let sent = self.friend.send(Go);
        // A long turn: by now another worker is asked to take the friend over.
        consume(2 * NUDGE_REDUCTIONS);
        let (has_run, changed) = &*self.has_run;
        let mut guard = has_run.lock().unwrap();
        while sent.is_ok() && !*guard {
            guard = changed.wait(guard).unwrap();
        }
        drop(guard);
        Flow::Stop
    }
}

struct Runs(Arc<(drawn::Mutex<bool>, drawn::Condvar)>);

impl Actor for Runs {
    type Message = Go;

    const HAS_START: bool = false;

    fn handle(&mut self, _go: Go, _ctx: &mut Ctx<'_, Go>) -> Flow {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
        Flow::Stop
    }
}

/// Goal: what a long turn has made runnable is taken over by another worker.
/// Method: the turn does not end before that.
#[test]
fn a_long_turn_hands_over_what_it_has_woken() {
    check(|| {
        let system = system(2);
        let has_run = Arc::<(drawn::Mutex<bool>, drawn::Condvar)>::default();
        let runs = Runs(Arc::clone(&has_run));
        let friend = system.spawn_once(SPAWN, spec(1, Overflow::Reject), runs);
        let waits = Waits { friend, has_run };
        let waits = system.spawn_once(SPAWN, spec(1, Overflow::Reject), waits);
        assert!(waits.send(Go).is_ok());
        stop(&system);
    });
}

/// Goal: two wake-ups from outside run on two workers at once, if one does not end before the
/// other.
#[test]
fn two_from_outside_run_at_once() {
    check(|| {
        let system = system(2);
        let meeting = Arc::new((drawn::Mutex::new(0), drawn::Condvar::new()));
        let meets = |_| {
            let meeting = Arc::clone(&meeting);
            system.spawn_future(SPAWN, async move {
                let (count, changed) = &*meeting;
                let mut here = count.lock().unwrap();
                *here += 1;
                changed.notify_all();
                while *here < 2 {
                    here = changed.wait(here).unwrap();
                }
            })
        };
        let both: Vec<_> = (0..2).map(meets).collect();
        for one in both {
            assert_eq!(one.wait(), Ok(()));
        }
        stop(&system);
    });
}

/// Goal: many processes that one turn has woken are stolen and balanced, each runs as often as it
/// wants to, and their share counts none of them in the end. In some orders both workers run them.
#[test]
fn stolen_work_is_done_once() {
    let threads_max = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&threads_max);
    check(move || {
        let system = system(2);
        let share = Share::new();
        let spawn = Spawn::new("stolen", Class::Call).share(share.clone());
        let turns = Arc::new(AtomicUsize::new(0));
        let threads = Arc::new(Mutex::new(Vec::new()));
        let (inside, counted, ran_on) = (system.clone(), Arc::clone(&turns), Arc::clone(&threads));
        let parent = system.spawn_future(SPAWN, async move {
            for number in 0..4 {
                let (counted, ran_on) = (Arc::clone(&counted), Arc::clone(&ran_on));
                let mut spawn = spawn.clone();
                // Two with a deadline, of which one is soon over.
                spawn.deadline = match number {
                    0 => Some(inside.now() + 1_000 * MS),
                    1 => Some(inside.now() + MS),
                    _ => None,
                };
                drop(inside.spawn_future(spawn, async move {
                    for _ in 0..3 {
                        counted.fetch_add(1, SeqCst);
                        ran_on.lock().unwrap().push(thread::current().id());
                        // A turn of a quantum makes it spent; a long one lets workers balance.
                        consume(2_000 * number);
                        pass(Duration::from_nanos(BALANCE_NS));
                        yield_now().await;
                    }
                }));
            }
        });
        assert_eq!(parent.wait(), Ok(()));
        while system.status().actors_live > 0 {
            thread::yield_now();
        }
        stop(&system);
        assert_eq!((turns.load(SeqCst), share.active()), (12, 0));
        let mut threads = std::mem::take(&mut *threads.lock().unwrap());
        threads.sort_unstable_by_key(|id| usize::from(*id));
        threads.dedup();
        seen.fetch_max(threads.len(), SeqCst);
    });
    assert_eq!(threads_max.load(SeqCst), 2, "work is stolen in some order");
}

/// Goal: a future that is aborted while it is woken ends once, with its result or without.
#[test]
fn an_abort_beside_a_wake_up_ends_a_future_once() {
    check(|| {
        let system = system(2);
        let (replies, answer) = reply();
        let future = system.spawn_future(SPAWN, async move { answer.await.is_ok() });
        let waker = thread::spawn(move || replies.send(()));
        future.abort();
        assert!(matches!(future.wait(), Ok(true) | Err(TaskError::Cancelled)));
        join(vec![waker]);
        stop(&system);
    });
}

/// Goal: a stream keeps its order and its credit between two processes; a job of the blocking pool
/// and one of the compute pool answer once.
#[test]
fn streams_and_jobs_come_through() {
    check(|| {
        let system = system(2);
        let (mut sink, source) = stream::<usize, ()>(Credit { items: 1, bytes: 1_024 });
        let producer = system.spawn_future(SPAWN, async move {
            for item in 0..3 {
                sink.item(item).await.is_ok().then_some(())?;
            }
            sink.finish();
            Some(())
        });
        let reader = system.spawn_future(SPAWN, source.collect());
        let inside = system.clone();
        let jobs = system.spawn_future(SPAWN, async move {
            (inside.blocking_async(|| 1).await, inside.compute_async(|_| 2).await)
        });
        assert_eq!(producer.wait(), Ok(Some(())));
        assert_eq!(reader.wait(), Ok(Ok(vec![0, 1, 2])));
        assert_eq!(jobs.wait(), Ok((Ok(1), Ok(2))));
        stop(&system);
    });
}
