//! The threads driver: tokio's types, shutdown, wake-ups from everywhere.

use std::{
    future::Future as _,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use evenkeel_runtime::{
    Actor, Class, Ctx, Flow, MailboxSpec, Message, Overflow, Reply, Spawn, StopReason, System,
    SystemStatus, TaskError, TaskHandle, ThreadsConfig, Time, Yielder, limits, reply,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 1_024, bytes_max: 1 << 20, overflow: Overflow::Reject };

fn system(workers: usize) -> System {
    let config = ThreadsConfig { workers, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    System::threads(config).expect("threads can be started")
}

/// Goal: async processes can use tokio's sockets and timers, and ours, while the workers are busy.
#[test]
fn sockets_and_timers_of_tokio_work_in_processes() {
    let system = system(2);
    let spawning = system.clone();
    let server = system.spawn_future(Spawn::new("server", Class::Net), async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let accepting = spawning.clone();
        spawning.spawn_future(Spawn::new("accept", Class::Net), async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                accepting.spawn_future(Spawn::new("echo", Class::Rpc), async move {
                    let mut byte = [0];
                    while socket.read_exact(&mut byte).await.is_ok() {
                        tokio::time::sleep(Duration::from_micros(100)).await;
                        socket.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        at
    });
    let at = server.wait().expect("the port is free");
    let clients: Vec<_> = (0..16_u8)
        .map(|number| {
            let timer = system.clone();
            system.spawn_future(Spawn::new("client", Class::Call), async move {
                let mut socket = TcpStream::connect(at).await.unwrap();
                let mut sum = 0_u32;
                for _ in 0..10 {
                    socket.write_all(&[number]).await.unwrap();
                    sum += u32::from(socket.read_u8().await.unwrap());
                    timer.sleep(Duration::from_micros(50)).await;
                }
                sum
            })
        })
        .collect();
    for (number, client) in (0_u32..).zip(clients) {
        assert_eq!(client.wait(), Ok(number * 10));
    }
    let late = system.spawn_future(Spawn::new("late", Class::Rpc), async {
        let slow = tokio::time::sleep(Duration::from_hours(1));
        tokio::time::timeout(Duration::from_millis(1), slow).await.is_err()
    });
    assert_eq!(late.wait(), Ok(true));
    system.stop(Duration::from_secs(10));
    assert_eq!(system.status().actors_live, 0);
}

struct Ping {
    left: u32,
    back: Option<Reply<Time>>,
}

impl Message for Ping {}

struct Player {
    other: Option<evenkeel_runtime::Address<Ping>>,
}

impl Actor for Player {
    type Message = Ping;

    fn handle(&mut self, mut ping: Ping, ctx: &mut Ctx<'_, Ping>) -> Flow {
        if ping.left == 0 {
            ping.back.take().expect("every ball is played to its end once").send(ctx.now());
            return Flow::Next;
        }
        ping.left -= 1;
        match &self.other {
            Some(other) => other.send(ping).expect("each ball is in one mailbox"),
            // Alone: plays with itself, over a timer, which sleeping workers must wake up for.
            None => {
                ctx.send_after(Duration::from_micros(u64::from(ping.left % 7) * 20), ping);
            }
        }
        Flow::Next
    }
}

/// Goal: no wake-up is lost while workers park and unpark all the time.
/// Method: few balls on many workers, so that most of them sleep, played from an outside thread
/// one after the other, so that every one begins on an idle system.
#[test]
fn no_wake_up_is_lost_between_sleeping_workers() {
    let system = system(4);
    let (first, first_box) = system.mailbox(BOX);
    let (second, second_box) = system.mailbox(BOX);
    let (alone, alone_box) = system.mailbox(BOX);
    let other = second.clone();
    system.spawn(Spawn::new("first", Class::Rpc), first_box, move || Player {
        other: Some(other.clone()),
    });
    let other = first.clone();
    system.spawn(Spawn::new("second", Class::Net), second_box, move || Player {
        other: Some(other.clone()),
    });
    system.spawn(Spawn::new("alone", Class::Exec), alone_box, || Player { other: None });
    for round in 0..2_000_u32 {
        let (back, answer) = reply();
        let to = [&first, &second, &alone][(round % 3) as usize];
        to.send(Ping { left: round % 11, back: Some(back) }).unwrap();
        assert!(answer.wait().is_ok());
    }
    system.stop(Duration::from_secs(10));
}

struct Endless;

impl Actor for Endless {
    type Message = Ping;

    fn handle(&mut self, _ping: Ping, _ctx: &mut Ctx<'_, Ping>) -> Flow {
        Flow::More
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Ping>) -> Flow {
        ctx.consume(ctx.left());
        Flow::More
    }
}

/// Goal: a stop ends endless work, futures that wait, and async actors, drops their state, and
/// answers whoever waits for them; `wait_stopped` gives the first reason.
#[test]
fn a_stop_ends_everything_and_gives_its_reason() {
    let system = system(2);
    let held = Arc::new(());
    let guard = Arc::clone(&held);
    let waiting = system.spawn_future(Spawn::new("waiting", Class::Rpc), async move {
        std::future::pending::<()>().await;
        drop(guard);
    });
    let endless: Vec<_> = (0..20)
        .map(|_| system.spawn_once(Spawn::new("endless", Class::Call), BOX, Endless))
        .collect();
    for address in &endless {
        address.send(Ping { left: 0, back: None }).unwrap();
    }
    let (address, mailbox) = system.mailbox::<Ping>(BOX);
    let guard = Arc::clone(&held);
    let (farewell, ended) = reply();
    let handle =
        system.spawn_async(Spawn::new("async", Class::Net), mailbox, |mut inbox| async move {
            while let Some(ping) = inbox.recv().await {
                ping.back.expect("it is asked").send(Time::ZERO);
            }
            farewell.send(());
            drop(guard);
        });
    let (back, answer) = reply();
    address.send(Ping { left: 0, back: Some(back) }).unwrap();
    assert_eq!(answer.wait(), Ok(Time::ZERO));

    system.request_stop(StopReason::Fatal("the disk is gone".to_owned()));
    system.request_stop(StopReason::Asked);
    assert_eq!(system.wait_stopped(), StopReason::Fatal("the disk is gone".to_owned()));
    assert!(handle.is_finished());
    assert_eq!(ended.wait(), Ok(()));
    assert_eq!(waiting.wait(), Err(TaskError::Cancelled));
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(system.status().actors_live, 0);
}

/// Goal: a panic in a future is its own affair, and is told to who waits for it.
#[test]
fn a_panic_in_a_future_is_told() {
    let system = system(1);
    let broken = system.spawn_future(Spawn::new("broken", Class::Rpc), async { panic!("no") });
    let result: Result<(), _> = broken.wait();
    assert_eq!(result, Err(TaskError::Panicked("no".to_owned())));
    assert_eq!(system.spawn_future(Spawn::new("fine", Class::Rpc), async { 1 }).wait(), Ok(1));
    assert_eq!(system.status().panics, 1);
    system.stop(Duration::from_secs(10));
}

/// Goal: a compute job gives way at the end of its slice while an actor of class net waits for the
/// one worker, and not for ever; with nobody waiting it does not.
/// Method: the worker is held by a turn that ends when the job says so, so the other actor waits
/// through exactly one end of a slice. Only a lower bound is timed.
#[test]
fn a_compute_job_gives_way_to_urgent_actors_and_goes_on() {
    let system = system(1);
    let release = Arc::new(AtomicBool::new(false));
    let (held, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (computing, start, done) = (system.clone(), Arc::clone(&go), Arc::clone(&release));
    let job = system.spawn_future(Spawn::new("asker", Class::Call), async move {
        let job = move |yielder: &Yielder| {
            start.wait();
            let began = Instant::now();
            assert!(!yielder.should_stop());
            let gave_way = began.elapsed();
            done.store(true, Ordering::Release);
            gave_way
        };
        computing.compute_async(job).await.expect("the job ends")
    });
    let at_work = Arc::clone(&held);
    system.spawn_future(Spawn::new("holder", Class::Call), async move {
        at_work.wait();
        while !release.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    });
    held.wait();
    let waiting = system.spawn_future(Spawn::new("urgent", Class::Net), async {});
    go.wait();
    let gave_way = job.wait().expect("nothing panics");
    assert!(gave_way >= limits::GIVE_WAY_MAX, "{gave_way:?}");
    waiting.wait().expect("it runs once the worker is free");
    system.stop(Duration::from_secs(10));
}

/// Goal: a timer fires at its time, or a look of another worker later, though the worker that it
/// was set on is in a turn that does not end.
/// Method: that turn waits for the timer; another process keeps the other worker awake, or that
/// one sleeps.
/// Found by review: one that slept was not woken by a turn that said nothing any more.
#[test]
fn a_timer_fires_while_its_worker_is_in_a_long_turn() {
    for is_other_awake in [true, false] {
        fires_in_a_long_turn(is_other_awake);
    }
}

fn fires_in_a_long_turn(is_other_awake: bool) {
    struct Tells(mpsc::Sender<()>);
    impl std::task::Wake for Tells {
        fn wake(self: Arc<Self>) {
            self.0.send(()).expect("the turn waits");
        }
    }
    let system = system(2);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let busy = system.spawn_future(Spawn::new("busy", Class::Net), async move {
        while is_other_awake && !over.load(Ordering::Relaxed) {
            evenkeel_runtime::yield_now().await;
        }
    });
    let inside = system.clone();
    let long = system.spawn_future(Spawn::new("long", Class::Rpc), async move {
        let (tells, told) = mpsc::channel();
        let_others_park();
        let waker = std::task::Waker::from(Arc::new(Tells(tells)));
        let mut sleep = Box::pin(inside.sleep(Duration::from_millis(5)));
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        told.recv().expect("it fires");
        sleep.as_mut().poll(&mut cx).is_ready()
    });
    assert_eq!(long.wait(), Ok(true));
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(busy.wait(), Ok(()));
    system.stop(Duration::from_secs(10));
}

/// As long as no worker looks for work before it parks.
fn let_others_park() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
}

/// Goal: what a turn that does not end has made runnable, and what waits behind it, runs on the
/// other worker, be that one never idle, or asleep.
/// Method: that turn waits for a process that it has spawned; endless ones of its class and of the
/// last one keep the other worker busy.
/// Found by review: a spent process was taken before the one that was to run next, and the last
/// one that waits never; and a worker that slept was not woken by a turn that said nothing any
/// more.
#[test]
fn what_waits_behind_a_long_turn_runs_elsewhere() {
    let cases = [
        (Class::Call, Class::Call, 4),
        (Class::Consensus, Class::Prove, 4),
        (Class::Call, Class::Call, 0),
    ];
    for (child, spinners, count) in cases {
        let system = system(2);
        let is_over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..count)
            .map(|_| {
                let over = Arc::clone(&is_over);
                system.spawn_future(Spawn::new("busy", spinners), async move {
                    while !over.load(Ordering::Relaxed) {
                        evenkeel_runtime::consume(1_000);
                        evenkeel_runtime::yield_now().await;
                    }
                })
            })
            .collect();
        let inside = system.clone();
        let long = system.spawn_future(Spawn::new("long", Class::Call), async move {
            let (tells, told) = mpsc::channel();
            let_others_park();
            drop(inside.spawn_future(Spawn::new("child", child), async move {
                tells.send(()).expect("the turn waits");
            }));
            told.recv()
        });
        assert_eq!(long.wait(), Ok(Ok(())));
        is_over.store(true, Ordering::Relaxed);
        assert!(busy.into_iter().all(|busy| busy.wait() == Ok(())));
        system.stop(Duration::from_secs(10));
    }
}

/// Goal: timers that several workers and other threads set, cancel and let fire are each over once.
/// Method: 20 processes with 50 sleeps each, half of which are given up.
#[test]
fn timers_of_all_workers_fire_once_or_never() {
    let system = system(4);
    let sleepers: Vec<_> = (0..20_u64)
        .map(|number| {
            let inside = system.clone();
            system.spawn_future(Spawn::new("sleeper", Class::Net), async move {
                let mut slept = 0;
                for round in 0..50 {
                    let time = Duration::from_micros((number * 37 + round * 101) % 3_000);
                    let before = inside.now();
                    if round % 2 == 0 {
                        inside.sleep(time).await;
                        assert!(inside.now() - before >= time, "early");
                        slept += 1;
                    } else {
                        // Set, perhaps on another worker than the one that drops it.
                        let mut given_up = Box::pin(inside.sleep(Duration::from_hours(1)));
                        std::future::poll_fn(|cx| {
                            assert!(given_up.as_mut().poll(cx).is_pending());
                            std::task::Poll::Ready(())
                        })
                        .await;
                        evenkeel_runtime::yield_now().await;
                        drop(given_up);
                    }
                }
                slept
            })
        })
        .collect();
    for sleeper in sleepers {
        assert_eq!(sleeper.wait(), Ok(25));
    }
    system.stop(Duration::from_secs(10));
    assert_eq!(system.status().actors_live, 0);
}

enum Chore {
    /// Waits for this, and then starts a process that says how many chores are done.
    Watch(mpsc::Receiver<()>, mpsc::Sender<TaskHandle<u32>>),
    Toil,
}

impl Message for Chore {}

struct Toiler {
    system: System,
    done: Arc<AtomicU32>,
}

impl Toiler {
    /// A chore takes three quanta, and is counted as one reduction.
    fn toil(&self, chore: Chore) {
        if let Chore::Watch(go, tells) = chore {
            go.recv().expect("it is told");
            let done = Arc::clone(&self.done);
            let look = async move { done.load(Ordering::Relaxed) };
            let spawn = Spawn::new("watcher", Class::Call);
            tells.send(self.system.spawn_future(spawn, look)).expect("it is waited for");
            return;
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_nanos(3 * limits::QUANTUM_NS) {
            std::hint::spin_loop();
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Actor for Toiler {
    type Message = Chore;

    fn handle(&mut self, chore: Chore, _ctx: &mut Ctx<'_, Chore>) -> Flow {
        self.toil(chore);
        Flow::Next
    }
}

/// Goal: messages that take longer than they are counted for do not add up to one turn, in actors
/// and in async ones: whoever waits runs after a few.
/// Found by `loop10k` of benches/peers: a process with a message for itself in each handler of 10
/// ms had turns of five seconds.
#[test]
fn a_turn_ends_between_slow_messages() {
    for is_async in [false, true] {
        let system = system(1);
        let done = Arc::new(AtomicU32::new(0));
        let toiler = Toiler { system: system.clone(), done: Arc::clone(&done) };
        let (address, mailbox) = system.mailbox(BOX);
        let spawn = Spawn::new("toiler", Class::Call);
        if is_async {
            system.spawn_async(spawn, mailbox, move |mut inbox| async move {
                while let Some(chore) = inbox.recv().await {
                    toiler.toil(chore);
                }
            });
        } else {
            let mut toiler = Some(toiler);
            system.spawn(spawn, mailbox, move || toiler.take().expect("it is made once"));
        }
        let ((goes, go), (tells, told)) = (mpsc::channel(), mpsc::channel());
        address.send(Chore::Watch(go, tells)).expect("there is room");
        for _ in 0..50 {
            address.send(Chore::Toil).expect("there is room");
        }
        goes.send(()).expect("it waits");
        let seen = told.recv().expect("it tells").wait().expect("it looks");
        // The clock is looked at before the second message and before the fifth.
        assert!(seen <= 4, "{seen} chores done before");
        // The queue is first come, first served: the last chore is not dropped with the system.
        while done.load(Ordering::Relaxed) < 50 {
            std::thread::yield_now();
        }
        system.stop(Duration::from_secs(10));
    }
}

/// Uses all that it gets; when its class has used so much, tells what all had used when it began,
/// and now.
struct Witness {
    class: Class,
    until: u64,
    first: Option<SystemStatus>,
    telling: Option<Reply<[SystemStatus; 2]>>,
}

impl Actor for Witness {
    type Message = Ping;

    fn start(&mut self, ctx: &mut Ctx<'_, Ping>) -> Flow {
        self.first = Some(ctx.system().status());
        self.resume(ctx)
    }

    fn handle(&mut self, _ping: Ping, _ctx: &mut Ctx<'_, Ping>) -> Flow {
        Flow::More
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Ping>) -> Flow {
        ctx.consume(ctx.left());
        let (now, first) = (ctx.system().status(), self.first.as_ref().expect("it has started"));
        let used = now.class(self.class).reductions - first.class(self.class).reductions;
        if used < self.until {
            return Flow::More;
        }
        let first = self.first.take().expect("it has started");
        self.telling.take().expect("it tells once").send([first, now]);
        Flow::Stop
    }
}

/// Goal: on a worker, too, busy classes share what is charged as their weights say, within 5 %.
/// Method: reductions are counted, by one that is of the lightest class, in its own turns, so that
/// nothing else runs meanwhile: no clock is asked. Two turns of the lightest class are 5 % of what
/// it uses only if they take 600 us each of the processor's time. On two workers each of them
/// shares so by itself, and who of a class is where changes: that is measured (`make
/// bench-runtime`).
#[test]
fn busy_classes_share_a_worker_by_weight() {
    let system = system(1);
    let classes = &Class::ALL[1..];
    let busy = classes.iter().flat_map(|&class| [class; 3]);
    let busy: Vec<_> = busy
        .map(|class| {
            let address = system.spawn_once(Spawn::new("busy", class), BOX, Endless);
            address.send(Ping { left: 0, back: None }).expect("there is room");
            address
        })
        .collect();
    let (telling, answer) = reply();
    let class = Class::Prove;
    let witness = Witness { class, until: 1_000_000, first: None, telling: Some(telling) };
    // Behind all others in the inbox: they run or wait when it begins.
    let witness = system.spawn_once(Spawn::new("witness", class), BOX, witness);
    let [first, last] = answer.wait().expect("it is no starver");
    let used = |class| last.class(class).reductions - first.class(class).reductions;
    let total: u64 = classes.iter().map(|&class| used(class)).sum();
    let weight = |class: Class| u64::from(class.weight().expect("not strict"));
    let weights: u64 = classes.iter().map(|&class| weight(class)).sum();
    for &class in classes {
        let (got, fair) = (used(class) * weights, total * weight(class));
        assert!(got.abs_diff(fair) * 20 <= fair, "{class:?}: {} of {total}", used(class));
    }
    drop((busy, witness));
    system.stop(Duration::from_secs(10));
}
