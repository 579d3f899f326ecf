//! Reads a ring of the kernel, and gives room back apart from it: what was read can stay a while for the next agent.
//!
//! The protocol is that of kernel/bpf/ringbuf.c. The consumer's position is on the first page, which is ours to write; the
//! producer's on the second, and behind it the data. The kernel shows the data twice in a row so that nothing wraps; here
//! it is mapped once, which halves what counts as this process's memory, and what wraps is put together.

use super::pages::{Pages, page_bytes};
use aya::maps::{MapData, MapError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// `BPF_RINGBUF_BUSY_BIT`, `BPF_RINGBUF_DISCARD_BIT`, `BPF_RINGBUF_HDR_SZ` (include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: u64 = 8;

/// A ring.
pub(super) struct Reader {
    map: MapData,
    data: Pages,
    consumer: &'static AtomicU64,
    producer: &'static AtomicU64,
    bytes: u64,
    /// Bytes of a page: behind the first is the data.
    page: usize,
    /// Where the next record to read begins, in all that was ever written.
    at: u64,
    /// Where what was written ended at the last look: each look takes the line from the programs that write it.
    end: u64,
    /// The first record that is kept; the consumer's position.
    kept: u64,
    /// A record that wraps.
    whole: Vec<u8>,
    /// The most that waited to be read.
    peak: u64,
}

impl Reader {
    /// Read from where the consumer's position stands.
    pub(super) fn open(map: MapData) -> Result<Self, MapError> {
        let bytes = u64::from(map.info()?.max_entries());
        let page = page_bytes();
        let length = usize::try_from(bytes).map_err(|error| MapError::IoError(io::Error::other(error)))?;
        let fd = map.fd().as_fd();
        let consumer = Pages::map(fd, 0, page, true).map_err(MapError::IoError)?.number(0);
        let data = Pages::map(fd, page, page + length, false).map_err(MapError::IoError)?;
        let kept = consumer.load(Ordering::Acquire);
        Ok(Self {
            consumer,
            producer: data.number(0),
            data,
            bytes,
            page,
            at: kept,
            end: kept,
            kept,
            whole: Vec::new(),
            peak: 0,
            map,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next record to read begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Where the first record that is kept begins.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Where what the kernel has written ends.
    pub(super) fn written(&self) -> u64 {
        self.producer.load(Ordering::Acquire)
    }

    /// Remember how much waits now, where it is the most so far.
    pub(super) fn note_fill(&mut self) {
        self.peak = self.peak.max(self.written().saturating_sub(self.at));
    }

    /// The most that waited since the last call.
    pub(super) fn take_peak(&mut self) -> u64 {
        std::mem::take(&mut self.peak)
    }

    fn place(&self, at: u64) -> usize {
        // Less than the ring's bytes, which fit.
        self.page + usize::try_from(at & (self.bytes - 1)).unwrap_or(0)
    }

    /// The header of a record: absent while it is being written. With its length, where the next one begins.
    fn header(&self, at: u64) -> Option<(u32, u64, u64)> {
        // Acquire, so that the record is read as it was committed.
        let header = self.data.short(self.place(at)).load(Ordering::Acquire);
        let length = u64::from(header & !(BUSY | DISCARDED));
        (header & BUSY == 0).then(|| (header, length, at + (HEADER + length).next_multiple_of(8)))
    }

    /// Hand the next record to `take`, with where it begins; `None` where there is none yet.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(u64, &[u8]) -> T) -> Option<T> {
        loop {
            if self.at >= self.end {
                self.end = self.written();
            }
            let at = self.at;
            if at >= self.end {
                return None;
            }
            let (header, length, next) = self.header(at)?;
            self.at = next;
            if header & DISCARDED != 0 {
                continue;
            }
            let start = self.place(at + HEADER);
            let length = usize::try_from(length).unwrap_or(0);
            let end = self.page + usize::try_from(self.bytes).unwrap_or(usize::MAX);
            let first = length.min(end - start);
            if first == length {
                return Some(take(at, self.data.bytes(start, length)));
            }
            self.whole.clear();
            self.whole.extend_from_slice(self.data.bytes(start, first));
            self.whole.extend_from_slice(self.data.bytes(self.page, length - first));
            return Some(take(at, &self.whole));
        }
    }

    /// Give back the room of all that was read but the last `keep` bytes; `passed` is told each record that goes.
    pub(super) fn give_back(&mut self, keep: u64, mut passed: impl FnMut(u64)) {
        let before = self.kept;
        while self.kept < self.at && self.at - self.kept > keep {
            let Some((_, _, next)) = self.header(self.kept) else { break };
            passed(self.kept);
            self.kept = next;
        }
        if self.kept != before {
            // Release: nothing of it is read after this, and the kernel may write over it.
            self.consumer.store(self.kept, Ordering::Release);
        }
    }

    /// Where each record begins that is kept or was not read.
    pub(super) fn records(&self) -> Vec<u64> {
        let mut records = Vec::new();
        let (mut at, end) = (self.kept, self.written());
        while at < end
            && let Some((_, _, next)) = self.header(at)
        {
            records.push(at);
            at = next;
        }
        records
    }
}
