//! Many connections, or exchanges of datagrams, as fast as the machine can.

use crate::steps::{Attempt, Failure, abort_on_close, begin, name_of, open, receive_all, send_all};
use anyhow::{Result, anyhow};
use nix::sys::socket::SockType;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Do it `count` times by `threads` threads; how many ended how.
pub(crate) fn burst(
    count: u64,
    threads: usize,
    once: impl Fn() -> Result<String> + Sync,
) -> Result<BTreeMap<String, u64>> {
    let left = AtomicU64::new(count);
    let work = || -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        while take(&left) {
            *counts.entry(once()?).or_default() += 1;
        }
        Ok(counts)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            let counts = worker.join().map_err(|_| anyhow!("a burst thread panicked"))??;
            counts.into_iter().for_each(|(end, number)| *all.entry(end).or_default() += number);
        }
        Ok(all)
    })
}

fn take(left: &AtomicU64) -> bool {
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A TCP connection, closed by RST.
pub(crate) fn connect(to: SocketAddr, timeout_ms: u64) -> Result<String> {
    let socket = open(to, SockType::Stream)?;
    abort_on_close(&socket)?;
    Ok(end_of(begin(&socket, to, deadline(timeout_ms)), "established"))
}

/// A datagram of a connected socket and its answer, or only the socket.
pub(crate) fn exchange(to: SocketAddr, send: bool, timeout_ms: u64) -> Result<String> {
    let socket = open(to, SockType::Datagram)?;
    let deadline = deadline(timeout_ms);
    let connected = begin(&socket, to, deadline);
    if !send {
        return Ok(end_of(connected, "connected"));
    }
    let exchanged = connected
        .and_then(|()| send_all(&socket, 1, deadline))
        .and_then(|()| receive_all(&socket, 1, deadline));
    Ok(end_of(exchanged, "answered"))
}

fn end_of(attempt: Attempt, success: &str) -> String {
    match attempt {
        Ok(()) => success.to_owned(),
        Err(Failure::Timeout) => "timeout".to_owned(),
        Err(Failure::Errno(errno)) => name_of(errno),
    }
}

fn deadline(timeout_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn every_connection_of_a_burst_is_counted_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let counts = burst(100, 3, || connect(to, 2_000)).unwrap();
        assert_eq!(counts, BTreeMap::from([("established".to_owned(), 100)]));
    }
}
