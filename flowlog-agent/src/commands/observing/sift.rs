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

    /// Nodes of several clusters are read.
    pub(in crate::commands) fn of_several_clusters(&mut self) {
        self.clusters.are_several();
    }

    /// Lines that are missing between two of a run, in the time that is asked for.
    pub(in crate::commands) fn missing(&self) -> u64 {
        if self.choice.is_of_all_time() { self.numbers.missing() } else { self.summary.missing }
    }

    /// What is to be said at the end.
    pub(in crate::commands) fn finish(&mut self) -> Vec<String> {
        self.summary.finish(self.missing(), self.numbers.repeated())
    }
}

impl crate::commands::logs::Lines for Sifting<'_> {
    fn block(&mut self, block: &[u8]) {
        let mut begin = 0;
        let rest = (!block.ends_with(b"\n")).then_some(block.len());
        for end in memchr::memchr_iter(b'\n', block).map(|place| place + 1).chain(rest) {
            let line = block.get(begin..end).unwrap_or_default();
            begin = end;
            self.trail.line += 1;
            self.unwrapped(line);
        }
        self.trail.pass();
    }

    fn too_long(&mut self, limit: usize) {
        self.trail.line += 1;
        self.refuse(&format!("longer than {limit} bytes: no record is"));
    }

    fn problem(&mut self, what: &str) {
        self.sieve.summary.problem(format!("{}: {what}", self.trail.file));
    }
}

impl Sifting<'_> {
    fn unwrapped(&mut self, line: &[u8]) {
        let whole = line.ends_with(b"\n");
        match unwrap_line(line) {
            Wrapped::Bare(text) => self.line(text, whole),
            Wrapped::Whole(text) if self.trail.part.is_empty() => self.line(text, whole),
            Wrapped::Whole(text) => {
                let mut joined = std::mem::take(&mut self.trail.part);
                joined.extend_from_slice(text);
                self.line(&joined, whole);
            }
            Wrapped::Part(text) if self.trail.part.len() + text.len() <= crate::commands::logs::LONGEST => {
                self.trail.part.extend_from_slice(text);
            }
            Wrapped::Part(_) => {
                self.trail.part.clear();
                self.refuse("its parts are longer than any record");
            }
            Wrapped::Other => self.sieve.summary.own_log += 1,
        }
    }

    fn line(&mut self, text: &[u8], whole: bool) {
        let text = text.trim_ascii();
        if text.is_empty() {
            return;
        }
        let Some(head) = LineHead::read(text) else {
            if self.trail.is_mixed && !text.starts_with(br#"{"v":"#) {
                self.sieve.summary.own_log += 1;
                return;
            }
            // It says what is wrong with it; a line without a number is none of an agent's.
            let what =
                Row::read(text).err().unwrap_or_else(|| "no record of an agent: it has no `seq`".to_owned());
            return self.refuse_line(text, whole, &what);
        };
        let asked = self.is_asked_for(&head, text);
        let reads = asked && (tells_of_losses(&head) || self.sieve.taker.reads(&head, text));
        // A line that cannot be read leaves its number to a copy that can.
        let row = match reads.then(|| Row::read(text)) {
            Some(Err(what)) => return self.refuse_line(text, whole, &what),
            None if !text.ends_with(b"}") => return self.refuse_line(text, whole, "not JSON: it has no end"),
            Some(Ok(row)) => Some(row),
            None => None,
        };
        self.sieve.summary.lines += 1;
        let before = if *head.kind == *"agent" { self.trail.last() } else { None };
        if !self.is_new(&head, text) {
            return;
        }
        self.sieve.taker.see(&head);
        match row {
            Some(row) => self.row(&row, text, before),
            None if asked => self.sieve.taker.pass(&head, text),
            None => {}
        }
    }

    /// Whether it is to be read: what tells of losses always is.
    fn is_asked_for(&self, head: &LineHead<'_>, text: &[u8]) -> bool {
        let choice = &self.sieve.choice;
        tells_of_losses(head) || (!choice.is_too_early(head.written_time()) && choice.may_pick(text))
    }

    /// By its number; what is missing before it is told.
    fn is_new(&mut self, head: &LineHead<'_>, text: &[u8]) -> bool {
        let Self { sieve, trail } = self;
        let number =
            trail.run_of(head, |head| sieve.numbers.run(&head.node, head.cluster.as_deref(), &head.run));
        let seen = sieve.numbers.see(number, head.seq, mark_of(text));
        if let Seen::First { .. } = seen {
            sieve.gaps.meet(head);
            sieve.clusters.see(head.cluster.as_deref());
        }
        let name = || sieve.clusters.name(head.cluster.as_deref(), &head.node);
        // What is missing before it was written since the line before.
        let time = head.time();
        let is_in_time = |from: Option<Timestamp>| {
            time.is_none_or(|time| sieve.choice.overlaps(from.unwrap_or(time), time))
        };
        match seen {
            Seen::Gap { missing } => sieve.taker.gap(head, missing),
            Seen::Late => sieve.taker.gap(head, 0),
            _ => {}
        }
        let told = match seen {
            Seen::Late => {
                if is_in_time(None) {
                    sieve.summary.find();
                }
                None
            }
            Seen::Next | Seen::First { before: 0 } => None,
            Seen::Repeated => return false,
            // Nobody asked for what is before.
            Seen::First { .. } if sieve.choice.since().is_some() || !is_in_time(None) => None,
            Seen::First { before } => Some((
                "begins",
                format!("{}: its log begins here, {before} lines of run {} come before", name(), &*head.run),
            )),
            Seen::Gap { .. } if !is_in_time(trail.last()) => None,
            Seen::Gap { missing } => {
                sieve.summary.miss(missing);
                let lines = if missing == 1 { "line is" } else { "lines are" };
                sieve.gaps.find(number).map(|note| {
                    (
                        "gap",
                        format!(
                            "{}: {missing} {lines} missing before line {} of run {}{note}",
                            name(),
                            head.seq,
                            &*head.run
                        ),
                    )
                })
            }
        };
        if let (Some((what, text)), Some(time)) = (told, time) {
            self.notice(time, what, &text);
        }
        self.trail.at_line(head);
        true
    }

    fn row(&mut self, row: &Row<'_>, text: &[u8], before: Option<Timestamp>) {
        if let Some(loss) = row.loss.as_ref().filter(|_| self.sieve.choice.is_in_time(row)) {
            self.sieve.summary.lose(loss);
        }
        if let Some(agent) = &row.agent {
            self.agent(row, agent, before);
        }
        self.sieve.taker.meet(row);
        let choice = &self.sieve.choice;
        if choice.picks(row) {
            self.sieve.summary.shown += 1;
            if let Some(out) = self.sieve.taker.record(row, text) {
                self.trail.push(row.time, out);
            }
        } else if let Some(loss) = row.loss.as_ref().filter(|_| choice.is_in_time(row)) {
            let text = loss_text(&self.sieve.clusters.name(row.cluster.as_deref(), &row.node), loss);
            self.notice(row.time, "loss", &text);
        }
    }

    /// What the agent says of how complete the log is.
    fn agent(&mut self, row: &Row<'_>, agent: &AgentRow<'_>, before: Option<Timestamp>) {
        let name = self.sieve.clusters.name(row.cluster.as_deref(), &row.node);
        if let Some(gap) = agent.gap.as_ref().filter(|_| self.sieve.choice.is_in_time(row)) {
            self.sieve.summary.uncaptured += 1;
            let text =
                format!("{name}: nothing was captured from {} to {}: {}", gap.from, gap.to, &*gap.reason);
            if !self.sieve.choice.picks(row) {
                self.notice(row.time, "gap", &text);
            }
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
