//! Replies, streams and published values.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_runtime::{
    Class, Credit, Entropy, Faults, Lost, NoCredit, Spawn, StreamError, StreamEvent, System,
    published, reply, stream,
};

fn below(entropy: &mut Entropy, bound: u64) -> usize {
    usize::try_from(entropy.below(bound)).expect("a small number")
}

/// Goal: an answer gives the value once, tells of a lost replier, and its drop is seen.
#[test]
fn a_reply_is_given_once_lost_or_cancelled() {
    let (telling, mut answer) = reply();
    assert_eq!(answer.try_take(), None);
    assert!(!telling.is_cancelled());
    telling.send(5);
    assert_eq!(answer.try_take(), Some(Ok(5)));
    assert_eq!(answer.try_take(), Some(Err(Lost)));

    let (telling, answer) = reply::<u8>();
    drop(telling);
    assert_eq!(answer.wait(), Err(Lost));

    let (telling, answer) = reply::<u8>();
    drop(answer);
    assert!(telling.is_cancelled());
    telling.send(1);

    let (telling, answer) = reply();
    let sender = std::thread::scope(|scope| {
        scope.spawn(|| telling.send(7));
        answer.wait()
    });
    assert_eq!(sender, Ok(7));
}

/// Goal: a producer is never ahead by more than its credit of items and bytes, nothing is lost or
/// reordered, and one item bigger than the credit still passes.
/// Method: 100 random series in simulation; the reader counts what waits at each step.
#[test]
fn a_stream_stays_within_its_credit() {
    for seed in 0..100 {
        let mut entropy = Entropy::from_seed(seed);
        let credit =
            Credit { items: 1 + below(&mut entropy, 5), bytes: 10 + below(&mut entropy, 100) };
        let sizes: Vec<usize> = (0..50).map(|_| below(&mut entropy, 150)).collect();
        let mut simulation = System::simulated(seed, Faults::default());
        let system = simulation.system().clone();
        let (mut sink, mut reader) = stream::<usize, String>(credit);
        let ahead = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let (counted, to_send) = (Arc::clone(&ahead), sizes.clone());
        let producer = system.spawn_future(Spawn::new("producer", Class::Call), async move {
            for (index, &bytes) in to_send.iter().enumerate() {
                sink.item_sized(index, bytes).await.expect("the reader is there");
                let items = counted.0.fetch_add(1, Ordering::Relaxed) + 1;
                let waiting = counted.1.fetch_add(bytes, Ordering::Relaxed) + bytes;
                assert!(items <= credit.items && (items == 1 || waiting <= credit.bytes));
            }
            sink.fail("enough".to_owned());
        });
        let timer = system.clone();
        let mut pace = system.entropy("pace");
        let reader = system.spawn_future(Spawn::new("reader", Class::Rpc), async move {
            let mut events = Vec::new();
            loop {
                timer.sleep(Duration::from_nanos(pace.below(50_000))).await;
                match reader.next().await {
                    StreamEvent::Item(index) => {
                        ahead.0.fetch_sub(1, Ordering::Relaxed);
                        ahead.1.fetch_sub(sizes[index], Ordering::Relaxed);
                        events.push(index);
                    }
                    end => return (events, end),
                }
            }
        });
        let (events, end) = simulation.run_until(reader).expect("nothing panicked");
        assert_eq!(events, (0..50).collect::<Vec<_>>());
        assert_eq!(end, StreamEvent::Failed { error: "enough".to_owned(), items_sent: 50 });
        assert_eq!(simulation.run_until(producer), Ok(()));
    }
}

/// Goal: dropping the reader cancels the producer, dropping the sink tells the reader.
#[test]
fn both_ends_of_a_stream_see_the_other_go() {
    let mut simulation = System::simulated(1, Faults::default());
    let credit = Credit { items: 1, bytes: 100 };
    let (mut sink, reader) = stream::<u8, ()>(credit);
    assert_eq!(sink.try_item(1), Ok(()));
    assert_eq!(sink.try_item(2), Err(NoCredit(2)));
    drop(reader);
    assert!(sink.is_cancelled());
    assert_eq!(simulation.run_until(sink.item(3)), Err(NoCredit(3)));

    let (mut sink, reader) = stream::<u8, &str>(credit);
    sink.try_item(1).unwrap();
    drop(sink);
    let collected = simulation.run_until(reader.collect());
    assert_eq!(collected, Err(StreamError::Lost { items_sent: 1 }));

    let (mut sink, reader) = stream::<u8, &str>(credit);
    sink.try_item(9).unwrap();
    sink.finish();
    assert_eq!(simulation.run_until(reader.collect()), Ok(vec![9]));
}

/// Goal: a stream says in order that it has begun, its items, its result, that it is done; and a
/// reader that waits too long is told after how many items, once per wait, and may read on.
#[test]
fn a_stream_tells_its_whole_life_and_a_stall() {
    let mut simulation = System::simulated(1, Faults::default());
    let system = simulation.system().clone();
    let (mut sink, reader) = stream::<u8, &str>(Credit { items: 4, bytes: 100 });
    let mut reader = reader.stall_after(&system, Duration::from_secs(1));
    sink.pending();
    let timer = system.clone();
    system.spawn_future(Spawn::new("producer", Class::Call), async move {
        sink.item(1).await.unwrap();
        timer.sleep(Duration::from_millis(1_500)).await;
        sink.item(2).await.unwrap();
        sink.finish_with(3);
    });
    let began = simulation.now();
    let mut events = Vec::new();
    while events.last() != Some(&StreamEvent::Done) {
        events.push(simulation.run_until(reader.next()));
    }
    let stalled = StreamEvent::Stalled { items_sent: 1 };
    let [one, two] = [1, 2].map(StreamEvent::Item);
    let expected = [StreamEvent::Pending, one, stalled, two, StreamEvent::Ok(3), StreamEvent::Done];
    assert_eq!(events, expected);
    assert!(simulation.now() - began >= Duration::from_millis(1_500));

    let (mut sink, reader) = stream::<u8, &str>(Credit { items: 4, bytes: 100 });
    let reader = reader.stall_after(&system, Duration::from_secs(1));
    sink.try_item(7).unwrap();
    let mut seen = Vec::new();
    let run = simulation.run_until(reader.run(|item| seen.push(item)));
    assert_eq!((run, seen), (Err(StreamError::Stalled { items_sent: 1 }), vec![7]));
    assert!(sink.is_cancelled());
}

/// Goal: a reader that waits is woken by the next version and may skip some; old values stay whole.
#[test]
fn a_published_value_wakes_its_readers() {
    let mut simulation = System::simulated(1, Faults::default());
    let system = simulation.system().clone();
    let (mut publisher, head) = published(0_u64);
    let first = head.get();
    let reading = head.clone();
    let reader = system.spawn_future(Spawn::new("reader", Class::Rpc), async move {
        let (mut seen, mut version) = (Vec::new(), 0);
        while seen.last() != Some(&3) {
            version = reading.changed_since(version).await;
            seen.push(*reading.get());
        }
        seen
    });
    let timer = system.clone();
    system.spawn_future(Spawn::new("writer", Class::Exec), async move {
        publisher.set(1);
        timer.sleep(Duration::from_millis(1)).await;
        publisher.set(2);
        publisher.set(Arc::new(3));
        // Held until the reader has seen the last one.
        timer.sleep(Duration::from_millis(1)).await;
    });
    assert_eq!(simulation.run_until(reader), Ok(vec![1, 3]));
    assert_eq!((*first, *head.get(), head.version()), (0, 3, 3));
}
