//! Attempts of one kind: how many, when, and the last records that tell of them.

use super::super::told::{Key, Told};
use super::Series;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records of one kind that can be looked at.
pub(super) const MOST_LINES: usize = 50;

/// What is counted together.
#[derive(Clone, Debug)]
pub(in super::super) struct Edge {
    pub(in super::super) key: Key,
    pub(super) series: Series,
    pub(super) total: u64,
    /// When it was told of last.
    pub(super) last: Timestamp,
    /// When a record was told last that counts nothing, and is there to be seen.
    pub(super) noted: Option<Timestamp>,
    /// When it was told last that a policy had just changed.
    pub(super) settling: Option<Timestamp>,
    /// The last records, the newest last.
    pub(in super::super) lines: VecDeque<(Timestamp, Arc<[u8]>)>,
}

impl Edge {
    pub(super) fn new(key: Key) -> Self {
        let (series, lines) = Default::default();
        Self { key, series, total: 0, last: Timestamp::MIN, noted: None, settling: None, lines }
    }

    pub(super) fn add(&mut self, bucket: i64, count: u64, now: i64) {
        self.series.add(bucket, count, now);
        self.total = self.total.saturating_add(count);
    }

    pub(super) fn take(&mut self, bucket: i64, count: u64) {
        self.series.take(bucket, count);
        self.total = self.total.saturating_sub(count);
    }

    /// Whether there is something to be seen from a bucket on.
    pub(super) fn is_seen(&self, from: Option<i64>) -> bool {
        match from {
            Some(from) => self.series.newest().max(self.noted.map(super::bucket)) >= Some(from),
            None => self.total > 0 || self.noted.is_some(),
        }
    }

    /// Keep a record; how many more are kept now.
    pub(super) fn show(&mut self, told: Told) -> isize {
        self.last = self.last.max(told.time);
        if told.settling {
            self.settling = self.settling.max(Some(told.time));
        }
        self.lines.push_back((told.time, told.line));
        if self.lines.len() <= MOST_LINES {
            return 1;
        }
        self.lines.pop_front();
        0
    }

    /// Keep but the last record; how many went.
    pub(super) fn forget(&mut self) -> usize {
        let more = self.lines.len().saturating_sub(1);
        self.lines.drain(..more);
        more
    }

    /// Count what another counted; its records are not kept.
    pub(super) fn join(&mut self, other: &Self, now: i64) {
        self.series.join(&other.series, now);
        self.total = self.total.saturating_add(other.total);
        self.last = self.last.max(other.last);
        self.noted = self.noted.max(other.noted);
    }
}
