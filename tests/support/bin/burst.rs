//! Many connections as fast as the machine can.

use crate::steps::{Failure, abort_on_close, begin, name_of, open};
use anyhow::{Result, anyhow};
use nix::sys::socket::SockType;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connect `count` times by `threads` threads; how many ended how.
pub(crate) fn burst(
    to: SocketAddr,
    count: u64,
    threads: usize,
    timeout_ms: u64,
) -> Result<BTreeMap<String, u64>> {
    let left = AtomicU64::new(count);
    let work = || -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        while take(&left) {
            *counts.entry(one(to, timeout_ms)?).or_default() += 1;
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

fn one(to: SocketAddr, timeout_ms: u64) -> Result<String> {
    let socket = open(to, SockType::Stream)?;
    abort_on_close(&socket)?;
    Ok(match begin(&socket, to, Instant::now() + Duration::from_millis(timeout_ms)) {
        Ok(()) => "established".to_owned(),
        Err(Failure::Timeout) => "timeout".to_owned(),
        Err(Failure::Errno(errno)) => name_of(errno),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn every_connection_of_a_burst_is_counted_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let counts = burst(to, 100, 3, 2_000).unwrap();
        assert_eq!(counts, BTreeMap::from([("established".to_owned(), 100)]));
    }
}
