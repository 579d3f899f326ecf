//! One log on its way: where in it we are, and what came of its lines and was not shown yet.

use super::super::show::Out;
use crate::record::row::LineHead;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Instant;

/// What is to be shown, and when it was.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Item {
    /// Its place among those of other logs.
    pub(in crate::commands) place: Timestamp,
    /// Its time.
    pub(in crate::commands) time: Timestamp,
    /// When it was read.
    pub(in crate::commands) read: Instant,
    pub(in crate::commands) out: Out,
}

/// A log.
#[derive(Debug)]
pub(in crate::commands) struct Trail {
    /// As a person knows the file in hand.
    pub(in crate::commands) file: String,
    /// Lines of it that were read.
    pub(in crate::commands) line: u64,
    /// The agent's own log comes between its records.
    pub(in crate::commands) is_mixed: bool,
    /// What was told of a line that comes in parts.
    pub(super) part: Vec<u8>,
    /// No line that comes is shown at an earlier place.
    pub(in crate::commands) place: Timestamp,
    pub(in crate::commands) items: VecDeque<Item>,
    /// The last line's cluster, node and run, as they are written, and the run's number.
    run: (Option<String>, String, String, usize),
    /// The last line's time, as it is written.
    last: String,
    /// That of the last line that was at hand.
    pub(in crate::commands) last_time: Option<Timestamp>,
    read: Instant,
}

impl Trail {
    /// A log that has nothing before this time.
    pub(in crate::commands) fn from(place: Timestamp) -> Self {
        let (file, part, items, run, last, last_time) = Default::default();
        Self {
            file,
            line: 0,
            is_mixed: false,
            part,
            place,
            items,
            run,
            last,
            last_time,
            read: Instant::now(),
        }
    }

    /// Another file of the same log.
    pub(in crate::commands) fn begin(&mut self, file: &str) {
        self.part.clear();
        (self.file, self.line) = (file.to_owned(), 0);
    }

    /// The number of the line's run; most lines have that of the line before.
    pub(super) fn run_of(
        &mut self,
        head: &LineHead<'_>,
        number: impl FnOnce(&LineHead<'_>) -> usize,
    ) -> usize {
        let (cluster, node, run, known) = &self.run;
        if *node == *head.node && *run == *head.run && cluster.as_deref() == head.cluster.as_deref() {
            return *known;
        }
        let number = number(head);
        let cluster = head.cluster.as_deref().map(str::to_owned);
        self.run = (cluster, head.node.to_string(), head.run.to_string(), number);
        number
    }

    pub(super) fn at_line(&mut self, head: &LineHead<'_>) {
        self.last.clear();
        self.last.push_str(head.written_time());
    }

    /// When the last line was written.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last.parse().ok()
    }

    /// Lines are about to be read.
    pub(in crate::commands) fn look(&mut self, now: Instant) {
        self.read = now;
    }

    /// The lines at hand are all read.
    pub(super) fn pass(&mut self) {
        if let Ok(time) = self.last.parse() {
            self.place = self.place.max(time);
            self.last_time = Some(time);
        }
    }

    pub(super) fn push(&mut self, time: Timestamp, out: Out) {
        self.place = self.place.max(time);
        self.items.push_back(Item { place: self.place, time, read: self.read, out });
    }
}
