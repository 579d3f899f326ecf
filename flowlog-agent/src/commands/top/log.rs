//! What is known of the log itself: who tells, what is missing from it, how far it was read. It is shown whatever is asked for.

use super::model::{Tally, Window};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Nodes that are known by name.
const MOST_NODES: usize = 5_000;

/// Notices that can be read again.
const MOST_NOTICES: usize = 500;

/// A node is quiet that told nothing for so many seconds.
const QUIET_S: i64 = 120;

/// How far it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// What was written before is still being read.
    #[default]
    Before,
    /// What is written is read as it comes.
    Live,
    /// There is no more.
    Ended,
}

/// A node that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) last: Timestamp,
    /// Since when its policies lag behind.
    pub(super) stale_since: Option<Timestamp>,
    /// Its agent was stopped.
    pub(super) stopped: bool,
}

/// Sums of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) lines: u64,
    /// Lines that are no records; nobody knows when they were written.
    pub(super) refused: u64,
}

/// What a log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Attempts that an agent lost.
    Attempts(u64),
    /// What else it lost.
    Events(u64),
    /// Lines before this one.
    Lines(u64),
    /// A line that was missing has come.
    Late,
    /// A time without capture.
    Uncaptured,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) reach: Reach,
    pub(super) sums: Sums,
    /// Attempts, and what else the agents lost.
    pub(super) lost: Tally,
    pub(super) lost_events: Tally,
    /// Lines that are missing between two of a run.
    pub(super) missing: Tally,
    /// Times without capture.
    pub(super) uncaptured: Tally,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) newest: Option<Timestamp>,
    pub(super) notices: VecDeque<(Timestamp, String)>,
    /// What could not be read, last.
    pub(super) trouble: Option<String>,
    /// Why it cannot go on.
    pub(super) failed: Option<String>,
}

impl Log {
    /// A node wrote a line.
    pub(super) fn see(&mut self, node: &str, time: Timestamp) {
        self.newest = self.newest.max(Some(time));
        if let Some(known) = self.nodes.get_mut(node) {
            known.last = known.last.max(time);
        } else if self.nodes.len() < MOST_NODES {
            self.nodes.insert(node.to_owned(), Node { last: time, stale_since: None, stopped: false });
        }
    }

    pub(super) fn node(&mut self, node: &str) -> Option<&mut Node> {
        self.nodes.get_mut(node)
    }

    /// Something is missing, by when that was told.
    pub(super) fn lack(&mut self, time: Timestamp, what: Lack, now: Timestamp) {
        match what {
            Lack::Attempts(count) => self.lost.add(time, count, now),
            Lack::Events(count) => self.lost_events.add(time, count, now),
            Lack::Lines(count) => self.missing.add(time, count, now),
            Lack::Late => self.missing.take_one(time),
            Lack::Uncaptured => self.uncaptured.add(time, 1, now),
        }
    }

    /// All that the agents lost.
    pub(super) fn lost(&self, window: Window, now: Timestamp) -> u64 {
        self.lost.of(window, now).saturating_add(self.lost_events.of(window, now))
    }

    pub(super) fn note(&mut self, time: Timestamp, text: String) {
        if self.notices.len() >= MOST_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back((time, text));
    }

    /// Those that told nothing for a while, and since when.
    pub(super) fn quiet(&self, now: Timestamp) -> Vec<(&str, i64)> {
        let age = |node: &Node| now.duration_since(node.last).as_secs();
        let quiet = self.nodes.iter().filter(|(_, node)| age(node) > QUIET_S && !node.stopped);
        let mut quiet: Vec<(&str, i64)> = quiet.map(|(name, node)| (&**name, age(node))).collect();
        quiet.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
        quiet
    }

    /// Those whose policies lag behind.
    pub(super) fn stale(&self) -> Option<(&str, Timestamp, usize)> {
        let mut stale =
            self.nodes.iter().filter_map(|(name, node)| node.stale_since.map(|since| (&**name, since)));
        let first = stale.next()?;
        Some((first.0, first.1, 1 + stale.count()))
    }

    pub(super) fn stopped(&self) -> usize {
        self.nodes.values().filter(|node| node.stopped).count()
    }
}
