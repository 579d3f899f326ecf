//! From the log to what is counted, a bunch of records at a time. What is as it should be and was written before is counted
//! by its class alone, and not read.

use super::log::{Lack, Reach, Sums};
use super::told::Told;
use crate::commands::observing::{Choice, Next, Out, Reading, Sieve, Taker, loss_text};
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
    pub(super) lacks: Vec<(Timestamp, Lack)>,
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
    /// Of each node what was told of its policies last, and as of when.
    stale: HashMap<String, (Timestamp, Option<Timestamp>), foldhash::fast::RandomState>,
}

impl Counting {
    fn is_in_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// What was known at some time; what is told of an earlier one changes nothing.
    fn stale(&mut self, node: &str, time: Timestamp, since: Option<Timestamp>) {
        match self.stale.get_mut(node) {
            Some((known, _)) if *known > time => return,
            Some((known, before)) if *before == since => {
                *known = time;
                return;
            }
            Some(known) => *known = (time, since),
            None => {
                self.stale.insert(node.to_owned(), (time, since));
            }
        }
        self.batch.borrow_mut().states.push((node.to_owned(), State::Stale(since)));
    }

    fn lack(&mut self, time: Timestamp, what: Lack) {
        if self.is_in_time(time) {
            self.batch.borrow_mut().lacks.push((time, what));
        }
    }

    fn note(&mut self, time: Timestamp, what: &str, text: &str) {
        let text = format!("{what}: {}", crate::report::shown::line(text));
        self.batch.borrow_mut().notices.push((time, text));
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

    fn gap(&mut self, head: &LineHead<'_>, missing: u64) {
        let Some(time) = head.time() else { return };
        match missing {
            0 => self.batch.borrow_mut().lacks.push((time, Lack::Late)),
            missing => self.lack(time, Lack::Lines(missing)),
        }
    }

    fn cut(&mut self, row: &Row<'_>) {
        self.lack(row.time, Lack::Uncaptured);
    }

    fn meet(&mut self, row: &Row<'_>) {
        // The verdict is that of the first attempt that the line stands for.
        if let (Some(verdict), Some(flow)) = (&row.verdict, &row.flow) {
            self.stale(&row.node, flow.first, verdict.stale_since);
        }
        if let Some(loss) = &row.loss {
            let attempts = matches!(&*loss.what, "attempt" | "sent" | "sent_to" | "flow");
            let what = if attempts { Lack::Attempts(loss.count) } else { Lack::Events(loss.count) };
            self.lack(row.time, what);
        }
        if let Some(agent) = &row.agent {
            if let Some(snapshot) = &agent.snapshot {
                self.stale(&row.node, row.time, snapshot.stale_since);
            }
            if agent.gap.is_some() {
                self.lack(row.time, Lack::Uncaptured);
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
        // Where such records are asked for, nobody else tells what is missing.
        if let Some(loss) = &row.loss {
            self.note(row.time, "loss", &loss_text(&row.node, loss));
        }
        if let Some(gap) = row.agent.as_ref().and_then(|agent| agent.gap.as_ref()) {
            let text = format!(
                "{}: nothing was captured from {} to {}: {}",
                &*row.node, gap.from, gap.to, &*gap.reason
            );
            self.note(row.time, "gap", &text);
        }
        None
    }

    fn notice(&mut self, time: Timestamp, what: &str, text: &str) -> Option<Out> {
        self.note(time, what, text);
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
    Sums { lines: summary.lines, refused: summary.refused }
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

    fn counting() -> Counting {
        Counting {
            batch: Rc::default(),
            whole_from: None,
            since: None,
            until: None,
            stale: HashMap::default(),
        }
    }

    fn line(kind: &str, second: u64, rest: &str) -> String {
        format!(
            r#"{{"v":1,"seq":1,"kind":"{kind}","time":"2026-11-30T08:00:{second:02}Z","node":"n1","run":"r1",{rest}}}"#
        )
    }

    #[test]
    fn policies_are_as_was_known_last() {
        let since = r#""stale_since":"2026-11-30T07:00:00Z""#;
        let agent = |second, stale: &str| {
            let snapshot = format!(r#""snapshot":{{"revision":1,"state":"in_sync"{stale}}}"#);
            line("agent", second, &format!(r#""agent":{{"event":"snapshot",{snapshot}}}"#))
        };
        // The line is of its last attempt, the verdict of its first.
        let flow = |first: u64, last: u64, stale: &str| {
            let allow = r#"{"decision":"allow","basis":"unselected"}"#;
            let end = r#"{"kind":"external","ip":"192.0.2.1","port":1}"#;
            let rest = format!(
                r#""flow":{{"id":"7","direction":"egress","protocol":"tcp","count":9,"first":"2026-11-30T08:00:{first:02}Z"}},
                "source":{end},"destination":{end},"verdict":{{"decision":"allow","egress":{allow},"ingress":{allow}{stale}}},
                "outcome":{{"state":"established"}},"class":"allowed""#
            );
            line("flow", last, &rest)
        };
        let since = format!(",{since}");
        let mut counting = counting();
        let mut told = Vec::new();
        for line in [
            agent(1, &since),
            flow(2, 3, &since),
            agent(5, ""),
            flow(4, 8, &since),
            flow(6, 9, ""),
            flow(10, 11, &since),
        ] {
            counting.meet(&Row::read(line.as_bytes()).unwrap());
            let states = std::mem::take(&mut counting.batch.borrow_mut().states);
            told.push(
                states.iter().map(|(_, state)| matches!(state, State::Stale(Some(_)))).collect::<Vec<_>>(),
            );
        }
        assert_eq!(told, [vec![true], vec![], vec![false], vec![], vec![], vec![true]]);
    }

    #[test]
    fn what_is_missing_has_a_notice_where_such_records_are_asked_for() {
        let mut counting = counting();
        for line in [
            line(
                "loss",
                7,
                r#""loss":{"stage":"kernel","cause":"ring_full","what":"attempt","count":7,
                "first":"2026-11-30T08:00:01Z","last":"2026-11-30T08:00:07Z"}"#,
            ),
            line(
                "agent",
                9,
                r#""agent":{"event":"start","gap":{"from":"2026-11-30T07:00:00Z","to":"2026-11-30T08:00:00Z",
                "reason":"killed"}}"#,
            ),
        ] {
            let row = Row::read(line.as_bytes()).unwrap();
            counting.meet(&row);
            assert!(counting.record(&row, line.as_bytes()).is_none());
        }
        let batch = counting.batch.borrow();
        let lacks: Vec<Lack> = batch.lacks.iter().map(|(_, what)| *what).collect();
        assert_eq!(lacks, [Lack::Attempts(7), Lack::Uncaptured]);
        let texts: Vec<&str> = batch.notices.iter().map(|(_, text)| &**text).collect();
        assert!(texts[0].starts_with("loss: n1 lost 7 attempts (kernel, ring_full)"), "{texts:?}");
        assert!(texts[1].starts_with("gap: n1: nothing was captured from 2026-11-30T07"), "{texts:?}");
        assert_eq!(texts.len(), 2);
    }
}
