//! From the log to what is counted, a bunch of records at a time. What is as it should be and was written before is counted
//! by its class alone, and not read.

use super::log::{Reach, Sums};
use super::told::Told;
use crate::commands::observing::{Choice, Next, Out, Reading, Sieve, Taker};
use crate::model::Class;
use crate::record::row::{LineHead, Row};
use hashbrown::HashMap;
use jiff::Timestamp;
use memchr::memmem;
use std::cell::RefCell;
use std::rc::Rc;

/// Records of a bunch.
const MOST: usize = 512;

/// What came of some lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) told: Vec<Told>,
    /// Attempts by class alone, of five seconds each.
    pub(super) plain: HashMap<(Class, i64), u64, foldhash::fast::RandomState>,
    /// Nodes, and when each wrote its last line.
    pub(super) seen: HashMap<String, Timestamp, foldhash::fast::RandomState>,
    pub(super) states: Vec<(String, State)>,
    pub(super) notices: Vec<(Timestamp, String)>,
    pub(super) lost: u64,
    pub(super) lost_events: u64,
    pub(super) sums: Sums,
    pub(super) reach: Reach,
    lines: usize,
}

/// What an agent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Started,
    Stopped,
    /// Since when its policies lag behind, if they do.
    Stale(Option<Timestamp>),
}

/// What the reader tells.
pub(super) enum News {
    Batch(Box<Batch>),
    /// Something could not be read, and reading goes on.
    Trouble(String),
}

/// How it is read.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Of these, ordinary attempts are read whole: all, or those from this time on, as it is written.
    pub(super) whole_from: Option<String>,
    /// More is written while it is read.
    pub(super) follows: bool,
}

/// Takes what was chosen.
struct Counting {
    batch: Rc<RefCell<Batch>>,
    whole_from: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    stale: HashMap<String, Option<Timestamp>, foldhash::fast::RandomState>,
}

impl Counting {
    fn is_in_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    fn stale(&mut self, node: &str, since: Option<Timestamp>) {
        if self.stale.get(node) != Some(&since) {
            self.stale.insert(node.to_owned(), since);
            self.batch.borrow_mut().states.push((node.to_owned(), State::Stale(since)));
        }
    }
}

/// Attempts of a line that tells of ordinary ones, all told, as this build writes it; nothing where it may be any other.
fn plain(line: &[u8]) -> Option<(Class, u64)> {
    const ENDS: [(&[u8], Class); 2] = [
        (br#"},"class":"allowed","severity":"info"}"#, Class::Allowed),
        (br#"},"class":"unrestricted","severity":"low"}"#, Class::Unrestricted),
    ];
    let class = ENDS.iter().find(|(end, _)| line.ends_with(end)).map(|(_, class)| *class)?;
    let (_, flow) = line.split_at_checked(memmem::find(line, br#","flow":{"#)?)?;
    let (flow, _) = flow.split_at_checked(memmem::find(flow, br#","source":{"#)?)?;
    // Such as were open before, updates, what is told again.
    if memmem::find(flow, b":true").is_some() {
        return None;
    }
    let digits = flow.get(memmem::find(flow, br#","count":"#)? + 9..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let count = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    (count > 0).then_some((class, count))
}

impl Taker for Counting {
    fn see(&mut self, head: &LineHead<'_>) {
        let mut batch = self.batch.borrow_mut();
        batch.lines += 1;
        let Some(time) = head.time() else { return };
        match batch.seen.get_mut(&*head.node) {
            Some(last) => *last = (*last).max(time),
            None => {
                batch.seen.insert(head.node.to_string(), time);
            }
        }
    }

    fn reads(&self, head: &LineHead<'_>, line: &[u8]) -> bool {
        match &self.whole_from {
            Some(from) if *head.kind == *"flow" && head.written_time() < &**from => plain(line).is_none(),
            _ => *head.kind == *"flow",
        }
    }

    fn pass(&mut self, head: &LineHead<'_>, line: &[u8]) {
        if *head.kind == *"flow"
            && let (Some((class, count)), Some(time)) = (plain(line), head.time())
            && self.is_in_time(time)
        {
            let mut batch = self.batch.borrow_mut();
            let sum = batch.plain.entry((class, time.as_second().div_euclid(5) * 5)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    fn meet(&mut self, row: &Row<'_>) {
        if let Some(verdict) = &row.verdict {
            self.stale(&row.node, verdict.stale_since);
        }
        if let Some(loss) = row.loss.as_ref().filter(|_| self.is_in_time(row.time)) {
            let attempts = matches!(&*loss.what, "attempt" | "sent" | "sent_to" | "flow");
            let mut batch = self.batch.borrow_mut();
            let lost = if attempts { &mut batch.lost } else { &mut batch.lost_events };
            *lost = lost.saturating_add(loss.count);
        }
        if let Some(agent) = &row.agent {
            if let Some(snapshot) = &agent.snapshot {
                self.stale(&row.node, snapshot.stale_since);
            }
            let state = match &*agent.event {
                "stop" => State::Stopped,
                "start" => State::Started,
                _ => return,
            };
            self.batch.borrow_mut().states.push((row.node.to_string(), state));
        }
    }

    fn record(&mut self, row: &Row<'_>, line: &[u8]) -> Option<Out> {
        self.batch.borrow_mut().told.extend(Told::of(row, line));
        None
    }

    fn notice(&mut self, time: Timestamp, what: &str, text: &str) -> Option<Out> {
        let text = format!("{what}: {}", crate::report::shown::line(text));
        self.batch.borrow_mut().notices.push((time, text));
        None
    }
}

/// Read to its end, telling what came; `tell` is false where nobody listens any more. Whether all of it could be read.
pub(super) fn read(
    mut reading: Reading,
    choice: Choice,
    manner: Manner,
    mut tell: impl FnMut(News) -> bool,
) -> anyhow::Result<bool> {
    let batch = Rc::new(RefCell::new(Batch::default()));
    let (since, until) = (choice.since(), choice.until());
    let taker = Counting {
        batch: Rc::clone(&batch),
        whole_from: manner.whole_from,
        since,
        until,
        stale: HashMap::default(),
    };
    let mut sieve = Sieve::new(choice, Box::new(taker));
    let (mut items, mut reach, mut told) = (Vec::new(), Reach::Before, Sums::default());
    loop {
        let mut troubles = Vec::new();
        let next = reading.next(&mut sieve, &mut items, &mut |what| troubles.push(what.to_owned()))?;
        items.clear();
        let waits = matches!(next, Next::Wait(_) | Next::MayWait | Next::End);
        let is_full = batch.borrow().told.len() >= MOST || batch.borrow().lines >= 8 * MOST;
        let before = reach;
        if waits && manner.follows {
            reach = Reach::Live;
        }
        // A line that is no record is told, too.
        let is_news = waits && (batch.borrow().lines > 0 || reach != before || sums(&sieve) != told);
        let mut goes_on = troubles.into_iter().all(|trouble| tell(News::Trouble(trouble)));
        if is_full || is_news {
            told = sums(&sieve);
            goes_on &= tell(News::Batch(Box::new(full(&batch, &sieve, reach))));
        }
        if !goes_on {
            return Ok(true);
        }
        if !reading.goes_on(&next) {
            break;
        }
    }
    let troubles = sieve.finish();
    tell(News::Batch(Box::new(full(&batch, &sieve, Reach::Ended))));
    let failed = sieve.summary.is_foreign() || (sieve.summary.is_empty() && reading.has_failed());
    if failed {
        troubles.into_iter().take(1).for_each(|trouble| {
            tell(News::Trouble(trouble));
        });
    }
    Ok(!failed)
}

fn full(batch: &RefCell<Batch>, sieve: &Sieve, reach: Reach) -> Batch {
    Batch { reach, sums: sums(sieve), ..batch.take() }
}

fn sums(sieve: &Sieve) -> Sums {
    let summary = &sieve.summary;
    Sums {
        lines: summary.lines,
        missing: sieve.missing(),
        refused: summary.refused,
        uncaptured: summary.uncaptured.saturating_add(summary.cut_short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"v":1,"seq":1,"kind":"flow","time":"t","node":"n","run":"r","flow":{"id":"0","direction":"egress","protocol":"tcp""#;

    #[test]
    fn only_what_is_ordinary_and_all_told_is_not_read() {
        let rest =
            r#","source":{"kind":"pod"},"destination":{"kind":"pod"},"outcome":{"state":"established"}"#;
        let allowed = r#","class":"allowed","severity":"info"}"#;
        for (name, line, expected) in [
            (
                "allowed",
                format!(r#"{HEAD},"count":12,"first":"t"}}{rest}{allowed}"#),
                Some((Class::Allowed, 12)),
            ),
            (
                "no policy",
                format!(r#"{HEAD},"count":1,"first":"t"}}{rest},"class":"unrestricted","severity":"low"}}"#),
                Some((Class::Unrestricted, 1)),
            ),
            (
                "denied",
                format!(r#"{HEAD},"count":12}}{rest},"class":"denied_attempt","severity":"medium"}}"#),
                None,
            ),
            (
                "refused may be more",
                format!(r#"{HEAD},"count":1}}{rest},"class":"refused","severity":"info"}}"#),
                None,
            ),
            ("an update", format!(r#"{HEAD},"count":0,"update":true}}{rest}{allowed}"#), None),
            ("told again", format!(r#"{HEAD},"count":1,"replayed":true}}{rest}{allowed}"#), None),
            ("open before", format!(r#"{HEAD},"existing":true,"count":1}}{rest}{allowed}"#), None),
            ("no attempt", format!(r#"{HEAD},"count":0}}{rest}{allowed}"#), None),
            ("no number", format!(r#"{HEAD},"count":"1"}}{rest}{allowed}"#), None),
            // In another order: a label may say so, too.
            (
                "a label",
                format!(
                    r#"{HEAD},"count":1}},"class":"denied_attempt","source":{{"labels":{{"a":{{}},"class":"allowed","severity":"info"}}}}}}"#
                ),
                None,
            ),
        ] {
            assert_eq!(plain(line.as_bytes()), expected, "{name}: {line}");
        }
    }
}
