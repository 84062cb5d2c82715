//! A system on the caller's thread, with the machine's clock.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Class, Ctx, Flow, MailboxSpec, Message, Overflow, Panicked, Reply, Share, Spawn, System,
    consume, reply, yield_now,
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 64, bytes_max: 1 << 20, overflow: Overflow::Reject };

enum Work {
    Run(Reply<Vec<u32>>),
    Timer(u32),
    Done(Result<u32, Panicked>),
}

impl Message for Work {}

/// Sets timers and starts jobs, and answers with all that came back.
#[derive(Default)]
struct Worker {
    came: Vec<u32>,
    done: Option<Reply<Vec<u32>>>,
}

impl Actor for Worker {
    type Message = Work;

    fn handle(&mut self, work: Work, ctx: &mut Ctx<'_, Work>) -> Flow {
        match work {
            Work::Run(done) => {
                self.done = Some(done);
                ctx.send_after(Duration::from_millis(2), Work::Timer(3));
                ctx.send_after(Duration::from_millis(1), Work::Timer(2));
                let own = thread::current().id();
                ctx.compute(move |_| u32::from(thread::current().id() == own), Work::Done).detach();
                ctx.blocking(move || u32::from(thread::current().id() == own), Work::Done);
                return Flow::Next;
            }
            Work::Timer(number) | Work::Done(Ok(number)) => self.came.push(number),
            Work::Done(Err(error)) => panic!("{error}"),
        }
        if self.came.len() == 4 {
            self.done.take().unwrap().send(self.came.clone());
        }
        Flow::Next
    }
}

/// Goal: the code of any driver runs: messages, timers in order, jobs on the same thread, answers.
#[test]
fn timers_and_jobs_run_on_the_callers_thread() {
    let mut inline = System::inline().unwrap();
    let worker =
        inline.system().spawn_once(Spawn::new("worker", Class::Rpc), BOX, Worker::default());
    let (telling, answer) = reply();
    assert!(worker.send(Work::Run(telling)).is_ok());
    assert_eq!(inline.run_until(answer), Ok(vec![1, 1, 2, 3]));
    assert_eq!(inline.run_until_idle(), None);
    assert!(inline.system().now().as_duration() >= Duration::from_millis(2));
}

/// Goal: first in, first out within a class, heavier classes first, idle when nothing is runnable,
/// and a share's jobs as elsewhere.
#[test]
fn a_class_is_first_in_first_out() {
    let mut inline = System::inline().unwrap();
    let system = inline.system().clone();
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..20 {
        let class = if number % 2 == 0 { Class::Prove } else { Class::Consensus };
        let order = Arc::clone(&order);
        let spawn = Spawn::new("process", class).share(Share::new());
        drop(system.spawn_future(spawn, async move {
            order.lock().unwrap().push(number);
            yield_now().await;
            order.lock().unwrap().push(number + 100);
        }));
    }
    let timer = system.clone();
    let hour = Duration::from_hours(1);
    let sleeper = system
        .spawn_future(Spawn::new("sleeper", Class::Net), async move { timer.sleep(hour).await });
    let next = inline.run_until_idle().unwrap();
    assert!(next.as_duration() >= hour, "{next:?}");
    let order = order.lock().unwrap();
    for parity in [0, 1] {
        let of_class: Vec<u32> = order.iter().copied().filter(|n| n % 2 == parity).collect();
        let expected: Vec<u32> = (0..20).chain(100..120).filter(|n| n % 2 == parity).collect();
        assert_eq!(of_class, expected);
    }
    let place = |number| order.iter().position(|&n| n == number).unwrap();
    assert!(place(1) < place(2), "the heavier class first, once both wait: {order:?}");
    sleeper.abort();
    inline.run_until_idle();
    assert_eq!(inline.system().status().actors_live, 0);
}

/// Goal: what another thread completes wakes the thread that sleeps in `run_until`.
#[test]
fn another_thread_wakes_it() {
    let mut inline = System::inline().unwrap();
    let (to_thread, asked) = mpsc::channel::<Reply<u32>>();
    let other = thread::spawn(move || {
        for telling in asked {
            telling.send(5);
        }
    });
    for _ in 0..200 {
        let to_thread = to_thread.clone();
        let process = inline.system().spawn_future(Spawn::new("asker", Class::Rpc), async move {
            let (telling, answer) = reply();
            to_thread.send(telling).unwrap();
            consume(1);
            answer.await.unwrap()
        });
        assert_eq!(inline.run_until(process), Ok(5));
    }
    drop(to_thread);
    other.join().unwrap();
}
