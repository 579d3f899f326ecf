//! From a log's lines to what is shown of them: each is looked at for its number, those that may be asked for are read.
//!
//! No filter keeps a gap or a loss from being told.

mod notices;
mod trail;

pub(in crate::commands) use notices::Summary;
pub(in crate::commands) use trail::{Item, Trail};

use super::choice::Choice;
use super::show::{Out, loss_text};
use crate::record::read::{Numbers, Seen, mark_of};
use crate::record::row::{AgentRow, LineHead, Row};
use crate::record::{Wrapped, unwrap_line};
use jiff::Timestamp;
use notices::{Clusters, Gaps};
use serde::de::IgnoredAny;

/// Who takes what was chosen.
pub(in crate::commands) trait Taker {
    /// A new line, whatever is asked for.
    fn see(&mut self, _head: &LineHead<'_>) {}

    /// Whether a line that may be asked for is to be read. One that is not is passed.
    fn reads(&self, _head: &LineHead<'_>, _line: &[u8]) -> bool {
        true
    }

    /// A new line that was not to be read.
    fn pass(&mut self, _head: &LineHead<'_>, _line: &[u8]) {}

    /// Lines are missing before this one, whatever is asked for; none: it was missing itself, and comes late.
    fn gap(&mut self, _head: &LineHead<'_>, _missing: u64) {}

    /// Between two runs of a node nothing was captured, whatever is asked for.
    fn cut(&mut self, _row: &Row<'_>) {}

    /// A new record that was read, whatever is asked for.
    fn meet(&mut self, _row: &Row<'_>) {}

    /// A record that is asked for; what is to be shown of it in its place.
    fn record(&mut self, row: &Row<'_>, line: &[u8]) -> Option<Out>;

    /// Something about the log; likewise.
    fn notice(&mut self, time: Timestamp, what: &str, text: &str) -> Option<Out>;
}

/// What is asked for, who takes it, and what was read so far of all logs.
pub(in crate::commands) struct Sieve {
    pub(in crate::commands) choice: Choice,
    taker: Box<dyn Taker>,
    numbers: Numbers,
    gaps: Gaps,
    clusters: Clusters,
    pub(in crate::commands) summary: Summary,
}

/// Lines of one log go through it.
pub(in crate::commands) struct Sifting<'a> {
    pub(in crate::commands) sieve: &'a mut Sieve,
    pub(in crate::commands) trail: &'a mut Trail,
}

impl Sieve {
    pub(in crate::commands) fn new(choice: Choice, taker: Box<dyn Taker>) -> Self {
        let (numbers, gaps, clusters, summary) = Default::default();
        Self { choice, taker, numbers, gaps, clusters, summary }
    }

        let cut = self.sieve.gaps.turn(row, agent, (&name, before));
        if cut.is_some() {
            self.sieve.taker.cut(row);
        }
        if let Some(cut) = cut.filter(|cut| self.sieve.choice.overlaps(cut.from, row.time)) {
            self.sieve.summary.cut_short += 1;
            self.notice(row.time, "gap", &cut.text);
        }
    }

    /// It is of the time that is asked for.
    fn notice(&mut self, time: Timestamp, what: &str, text: &str) {
        if let Some(out) = self.sieve.taker.notice(time, what, text) {
            self.trail.push(time, out);
        }
    }

    fn refuse_line(&mut self, text: &[u8], whole: bool, what: &str) {
        let is_torn = !whole && serde_json::from_slice::<IgnoredAny>(text).is_err();
        self.refuse(if is_torn {
            "the last line is torn: its writer was cut short, or is still writing"
        } else {
            what
        });
    }

    fn refuse(&mut self, what: &str) {
        let Trail { file, line, .. } = &*self.trail;
        self.sieve.summary.refuse(format!("{file}:{line}: {what}"));
    }
}

/// What tells of losses is always read.
fn tells_of_losses(head: &LineHead<'_>) -> bool {
    matches!(&*head.kind, "loss" | "agent")
}
