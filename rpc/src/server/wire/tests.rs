//! A connection that stalls is dropped, one that works is not.

use std::{net, time::Duration};

use evenkeel_runtime::{Class, Spawn, ThreadsConfig, reply};
use futures_util::future::poll_fn;

use super::*;

/// Goal: a peer that takes nothing is given up, and one that takes something is not.
/// Method: write into a socket until the kernel takes no more; first with a peer that reads, which
/// must see every byte, then with one that never does. The end is reported, not waited for.
#[test]
fn a_peer_that_never_reads_is_given_up() {
    const MEGABYTE: usize = 1 << 20;
    let config =
        ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    let system = System::threads(config).expect("threads can be started");
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    for is_reading in [true, false] {
        let mut peer = net::TcpStream::connect(address).expect("it listens");
        let (ours, _) = listener.accept().expect("it has connected");
        ours.set_nonblocking(true).expect("a socket can be");
        let reactor = system.reactor().expect("real systems have one");
        let ours = {
            let _entered = reactor.enter();
            TcpStream::from_std(ours).expect("it is not blocking")
        };
        let stall_max = Duration::from_millis(if is_reading { 20_000 } else { 50 });
        let patience = Patience { write_stall_max: stall_max, ..Patience::default() };
        let mut wire = Wire::new(ours, system.clone(), patience, Gauge::new());

        let write = async move {
            let megabyte = vec![0; MEGABYTE];
            let mut left = 64 * MEGABYTE;
            while left > 0 {
                let chunk = &megabyte[..left.min(MEGABYTE)];
                match poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, chunk)).await {
                    Ok(written) => left -= written,
                    Err(error) => return (left, Some(error.kind())),
                }
            }
            (left, None)
        };
        let (ended, end) = reply();
        let spawn = Spawn::new("writer", Class::Rpc);
        let writing = system.spawn_future(spawn, async move { ended.send(write.await) });
        if is_reading {
            let read = io::copy(&mut peer, &mut io::sink()).expect("it ends with an end");
            assert_eq!(read, 64 * MEGABYTE as u64);
        }
        let (left, error) = end.wait().expect("it reports");
        assert_eq!(error, (!is_reading).then_some(io::ErrorKind::TimedOut));
        assert_eq!(left == 0, is_reading);
        drop(writing);
    }
    system.stop(Duration::from_secs(5));
}
