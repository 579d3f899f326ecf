//! Lines read again: what records say of connections, summed up to edges, in memory that hangs on how many kinds of
//! connection there are and not on how many records.
//!
//! A line as this build writes it is split, not parsed (`split.rs`); any other is parsed whole, with the same result. Files are
//! opened elsewhere.

mod edges;
mod open;
mod parts;
mod runs;
mod split;
mod wide;

use crate::model::{InputProblem, Observations, RecordsRead};
use edges::{Edges, Kind, Known, Sums};
use jiff::Timestamp;
use open::{Open, is_open};
pub(super) use parts::id_of;
use parts::{Attempts, DialedFields, Ending, Envelope, FlowFields, HeadFields, LossFields, Said};
use runs::Runs;
pub use runs::{Numbers, Seen, mark_of};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use split::{Split, Splitter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Problems that are listed; those beyond are counted.
const MOST_PROBLEMS: usize = 100;

/// Kinds of lines that are not known and counted by name.
const MOST_KINDS: usize = 32;

/// Characters of a text from a file that a problem shows.
const SHOWN_CHARS: usize = 160;

/// Kind of a line that sums up records: it has the shape of a flow's, but no `seq`, `time`, `node` and `run`.
const EDGE: &str = "edge";

/// A version of the schema, and what makes its lines lines of the newest one, where that is another.
struct Version {
    v: u32,
    translate: Option<fn(&mut Map<String, Value>)>,
}

/// The versions that are read.
const VERSIONS: [Version; 1] = [Version { v: super::SCHEMA_VERSION, translate: None }];

/// The time that is asked for: a record counts where it overlaps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// From when on.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
}

impl Window {
    fn overlaps(&self, first: Timestamp, last: Timestamp) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first <= until)
    }
}

/// A file that is read.
#[derive(Clone, Debug)]
struct File {
    name: Arc<str>,
    lines: u64,
    /// Its lines are counted from where another stopped reading.
    goes_on: bool,
}

/// Sums up lines. Several can read beside each other, each a part of the files; merged in the order of the parts, they give what
/// one would have.
#[derive(Clone, Debug)]
pub struct Summing {
    window: Window,
    runs: Arc<Mutex<Runs>>,
    files: Vec<File>,
    edges: Edges,
    open: Open,
    read: RecordsRead,
    replayed: u64,
    problems: Vec<(u32, Option<u64>, String)>,
    more_problems: u64,
    /// Absent where all lines are to be parsed whole.
    splitter: Option<Box<Splitter>>,
    /// Flows that were split, and those that were not.
    flows: u64,
    parsed_whole: u64,
}

/// A line that is a record.
struct Line<'a> {
    number: u64,
    /// Number of its run, and its own in that.
    seq: Option<(usize, u64)>,
    /// What tells it from another of that number.
    mark: u64,
    content: Content<'a>,
}

/// What is known of a record so far.
enum Content<'a> {
    /// A flow.
    Split(Split),
    /// Any other.
    Whole(Whole<'a>),
}

/// A record that is to be parsed whole.
struct Whole<'a> {
    text: &'a [u8],
    version: &'static Version,
    kind: String,
}

impl Summing {
    /// Of records of this time.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            runs: Arc::default(),
            files: Vec::new(),
            edges: Edges::default(),
            open: Open::default(),
            read: RecordsRead::default(),
            replayed: 0,
            problems: Vec::new(),
            more_problems: 0,
            splitter: Some(Box::default()),
            flows: 0,
            parsed_whole: 0,
        }
    }

    /// The same with every line parsed whole.
    #[must_use]
    pub fn parsing_all(self) -> Self {
        Self { splitter: None, ..self }
    }

    /// Flows that were parsed whole, since they are not as this build writes them.
    pub fn parsed_whole(&self) -> u64 {
        self.parsed_whole
    }

    /// Another one, empty, that knows which lines this one has read.
    #[must_use]
    pub fn beside(&self) -> Self {
        let splitter = self.splitter.as_ref().map(|_| Box::default());
        Self { runs: Arc::clone(&self.runs), splitter, ..Self::new(self.window) }
    }

    /// What follows is from this file: from its beginning, or from where the one before stops that this is merged into.
    pub fn file(&mut self, name: &str, goes_on: bool) {
        self.files.push(File { name: name.into(), lines: 0, goes_on });
    }

    /// Something about the file in hand.
    pub fn problem(&mut self, what: &str) {
        self.add_problem(None, what.to_owned());
    }

    /// A line of the file in hand that is too long to be handed over.
    pub fn too_long(&mut self, limit: usize) {
        let number = self.next_line();
        self.refuse(number, format!("longer than {limit} bytes: no record is"));
    }

    /// Lines of the file in hand. All are whole but perhaps the last of the file, which has no newline then.
    pub fn block(&mut self, block: &[u8]) {
        self.read.bytes = self.read.bytes.saturating_add(length(block));
        if let Some(splitter) = &mut self.splitter {
            splitter.begin();
        }
        let mut lines = Vec::new();
        let mut begin = 0;
        // A last line without a newline ends with the block.
        let rest = (!block.is_empty() && !block.ends_with(b"\n")).then_some(block.len());
        for end in memchr::memchr_iter(b'\n', block).map(|place| place + 1).chain(rest) {
            let text = block.get(begin..end).unwrap_or_default();
            begin = end;
            let number = self.next_line();
            let whole = text.ends_with(b"\n");
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match self.look(number, text, whole) {
                Ok(line) => lines.push(line),
                Err(what) => self.refuse(number, what),
            }
        }
        for line in self.claim(&lines) {
            self.line(line);
        }
    }

    /// Those lines that were not read before.
    fn claim<'a, 'b>(&self, lines: &'b [Line<'a>]) -> Vec<&'b Line<'a>> {
        let mut runs = lock(&self.runs);
        let (mut new, mut marks) = (Vec::with_capacity(lines.len()), Vec::new());
        for stretch in lines.chunk_by(Line::is_followed_by) {
            marks.clear();
            marks.extend(stretch.iter().map(|line| line.mark));
            let seq = stretch.first().and_then(|line| line.seq);
            let repeated = seq.map(|(run, first)| runs.claim(run, first, &marks));
            let repeated = repeated.unwrap_or_default();
            let is_new = |line: &&Line<'_>| {
                !line.seq.is_some_and(|(_, seq)| {
                    repeated.iter().any(|(first, last)| (*first..=*last).contains(&seq))
                })
            };
            new.extend(stretch.iter().filter(is_new));
        }
        new
    }

    fn next_line(&mut self) -> u64 {
        let Some(file) = self.files.last_mut() else { return 0 };
        file.lines = file.lines.saturating_add(1);
        file.lines
    }

    /// What a line is; the error says why it is not one of ours.
    fn look<'a>(&mut self, number: u64, text: &'a [u8], whole: bool) -> Result<Line<'a>, String> {
        let Self { splitter, edges, runs, .. } = self;
        if let Some((seq, split)) = splitter.as_mut().and_then(|splitter| splitter.split(text, edges, runs)) {
            let mark = mark_of(text);
            return Ok(Line { number, seq: Some(seq), mark, content: Content::Split(split) });
        }
        let envelope: Envelope = serde_json::from_slice(text).map_err(|error| {
            if error.is_eof() && !whole {
                return "the last line is torn: its writer was cut short, or is still writing".to_owned();
            }
            let what = if error.is_data() { "no record of flowlog" } else { "not JSON" };
            format!("{what}: {}", shown(&error))
        })?;
        let Envelope { v: Some(v), kind: Some(kind) } = envelope else {
            return Err(
                "no record of flowlog: it has no `v` and `kind` (is it flowlog's own format?)".to_owned()
            );
        };
        let Some(version) = VERSIONS.iter().find(|version| version.v == v) else {
            let newest = super::SCHEMA_VERSION;
            return Err(if v > newest {
                format!("of schema version {v}: this flowlog reads up to {newest}, a newer one is needed")
            } else {
                format!("of schema version {v}, which there never was")
            });
        };
        let whole = Whole { text, version, kind };
        let seq = if whole.kind == EDGE {
            None
        } else {
            let head: HeadFields = whole.parse()?;
            let seq = head.seq;
            Some((lock(&self.runs).number(&head.whose()), seq))
        };
        let mark = mark_of(text);
        Ok(Line { number, seq, mark, content: Content::Whole(whole) })
    }

    fn line(&mut self, line: &Line<'_>) {
        let whole = match &line.content {
            Content::Split(split) => return self.add_split(line.number, split),
            Content::Whole(whole) => whole,
        };
        let done = match &*whole.kind {
            "flow" | EDGE => whole.parse().and_then(|flow| self.flow(line.number, whole, flow)),
            "loss" => whole.parse().map(|loss| self.loss(&loss)),
            _ => Ok(()),
        };
        match done {
            Ok(()) => self.count(&whole.kind),
            Err(what) => self.refuse(line.number, what),
        }
    }

    fn add_split(&mut self, number: u64, split: &Split) {
        // It is put back at once: nothing in between leaves.
        let Some(mut splitter) = self.splitter.take() else { return };
        if let Some((source, destination)) = splitter.ends(split) {
            self.attempts(number, super::SCHEMA_VERSION, &split.attempts, (source, destination), split.told);
        }
        self.splitter = Some(splitter);
        self.flows += 1;
    }

    fn flow(&mut self, number: u64, whole: &Whole<'_>, flow: FlowFields) -> Result<(), String> {
        self.parsed_whole += 1;
        let ending = flow.ending();
        let port = flow.destination.port;
        let mut source = Known::of(flow.source.end().map_err(|what| format!("`source` is {what}"))?);
        let destination = flow.destination.end().map_err(|what| format!("`destination` is {what}"))?;
        let mut destination = Known::of(destination);
        let dialed = flow.dialed.and_then(DialedFields::service);
        let service = dialed.or_else(|| destination.service()).map(|service| self.edges.service(&service));
        let said = self.edges.said(&Said::from(flow.verdict));
        let told = Told { port, service, said, ending };
        self.attempts(number, whole.version.v, &flow.flow, (&mut source, &mut destination), told);
        Ok(())
    }

    /// Add what a line tells.
    fn attempts(
        &mut self,
        number: u64,
        version: u32,
        attempts: &Attempts,
        (source, destination): (&mut Known, &mut Known),
        told: Told,
    ) {
        *self.read.versions.entry(version).or_default() += 1;
        if !self.window.overlaps(attempts.first, attempts.last) {
            return;
        }
        self.read.first = Some(self.read.first.map_or(attempts.first, |first| first.min(attempts.first)));
        self.read.last = Some(self.read.last.map_or(attempts.last, |last| last.max(attempts.last)));
        self.replayed += u64::from(attempts.replayed);
        let Attempts { direction, protocol, .. } = *attempts;
        let Told { port, service, said, ending: Ending { class, state, unlabelled } } = told;
        let kind = Kind { service, said, direction, protocol, port, class, state };
        let sums = Sums {
            count: attempts.count,
            first: attempts.first,
            last: attempts.last,
            bytes_sent: attempts.bytes_sent.unwrap_or_default(),
            bytes_received: attempts.bytes_received.unwrap_or_default(),
            lines: 1,
            example: (number_of(self.files.len().saturating_sub(1)), number),
        };
        let Some(edge) = self.edges.add(source, destination, kind, sums, !unlabelled) else { return };
        let Some(id) = attempts.id else { return };
        if attempts.update {
            match self.open.take(id) {
                Some(from) => {
                    self.edges.move_one(from, edge);
                    if is_open(state) {
                        self.open.keep(id, edge);
                    }
                }
                None if attempts.adds_sums() => {}
                None => self.open.wait(id, edge),
            }
        } else if attempts.count > 0 && is_open(state) {
            self.open.keep(id, edge);
        }
    }

    fn loss(&mut self, fields: &LossFields) {
        let loss = &fields.loss;
        if self.window.overlaps(loss.first, loss.last) {
            self.read.lost = self.read.lost.saturating_add(loss.attempts());
        }
    }

    fn count(&mut self, kind: &str) {
        if let Some(count) = self.read.lines.get_mut(kind) {
            *count += 1;
        } else {
            let kind = if self.read.lines.len() < MOST_KINDS { shown(&kind) } else { "(others)".to_owned() };
            *self.read.lines.entry(kind).or_default() += 1;
        }
    }

    fn refuse(&mut self, number: u64, what: String) {
        self.read.unreadable += 1;
        self.add_problem(Some(number), what);
    }

    fn add_problem(&mut self, line: Option<u64>, what: String) {
        let file = number_of(self.files.len().saturating_sub(1));
        self.problems.push((file, line, what));
        self.limit_problems();
    }

    fn limit_problems(&mut self) {
        // Those of a block may come out of order.
        if self.problems.len() >= 2 * MOST_PROBLEMS {
            self.cut_problems();
        }
    }

    fn cut_problems(&mut self) {
        self.problems.sort();
        let more = self.problems.len().saturating_sub(MOST_PROBLEMS);
        self.more_problems += length(self.problems.get(MOST_PROBLEMS..).unwrap_or_default());
        self.problems.truncate(self.problems.len() - more);
    }

    /// Take over what another read that was made beside this one, and that reads what comes next.
    pub fn merge(&mut self, later: Self) {
        let Self { files, edges, open, read, replayed, problems, more_problems, flows, parsed_whole, .. } =
            later;
        self.flows += flows;
        self.parsed_whole += parsed_whole;
        let continued = files.first().is_some_and(|file| file.goes_on) && !self.files.is_empty();
        let before = number_of(self.files.len() - usize::from(continued));
        let lines = self.files.last().filter(|_| continued).map_or(0, |file| file.lines);
        let place = |file: u32| before.saturating_add(file);
        let here = |(file, line): (u32, u64)| {
            (place(file), if file == 0 { line.saturating_add(lines) } else { line })
        };
        let mut files = files.into_iter();
        if continued && let (Some(part), Some(whole)) = (files.next(), self.files.last_mut()) {
            whole.lines += part.lines;
        }
        self.files.extend(files);
        let numbers = self.edges.merge(edges, here);
        let number = |edge: u32| numbers.get(usize::try_from(edge).ok()?).copied().flatten();
        for (from, to) in self.open.merge(open, number) {
            self.edges.move_one(from, to);
        }
        self.replayed += replayed;
        self.more_problems += more_problems;
        self.problems.extend(problems.into_iter().map(|(file, line, what)| match line {
            Some(line) => {
                let (file, line) = here((file, line));
                (file, Some(line), what)
            }
            None => (place(file), None, what),
        }));
        self.limit_problems();
        self.add_read(read);
    }

    fn add_read(&mut self, other: RecordsRead) {
        let read = &mut self.read;
        read.bytes += other.bytes;
        read.unreadable += other.unreadable;
        read.lost = read.lost.saturating_add(other.lost);
        read.first = [read.first, other.first].into_iter().flatten().min();
        read.last = [read.last, other.last].into_iter().flatten().max();
        other.versions.into_iter().for_each(|(v, count)| *read.versions.entry(v).or_default() += count);
        other.lines.into_iter().for_each(|(kind, count)| *read.lines.entry(kind).or_default() += count);
    }

    /// All that was read.
    pub fn finish(mut self) -> Observations {
        self.cut_problems();
        if self.flows > 0 {
            *self.read.lines.entry("flow".to_owned()).or_default() += self.flows;
        }
        let files: Vec<Arc<str>> = self.files.iter().map(|file| Arc::clone(&file.name)).collect();
        let name = |file: u32| {
            let place = usize::try_from(file).ok();
            place.and_then(|place| files.get(place)).map_or_else(|| "-".into(), Arc::clone)
        };
        let (edges, mut limits) = self.edges.finish(name);
        let runs = lock(&self.runs);
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                limits.push(format!("{count} {what}"));
            }
        };
        say(
            runs.repeated,
            "lines were given more than once (a copy, or what two outputs of one run both have) and are counted once",
        );
        say(
            self.open.unknown(),
            "records tell what became of attempts whose own record was not read, came long before, or was lost: their edges \
             stand for no attempts beyond those that were read",
        );
        say(
            self.replayed,
            "records may repeat what the run before had written when it was killed (`flow.replayed`): they are counted",
        );
        if runs.crowded {
            limits.push(
                "lines were chosen from a log before they were read, it seems: their numbers have more gaps than are kept \
                 apart, so a line that is given twice may count twice"
                    .to_owned(),
            );
        }
        if runs.mixed && runs.unmarked {
            limits.push(
                "lines of several outputs of one run were read, more than can be told apart by what they tell: where two have \
                 the same number, one may be taken for the other; give one output of a run"
                    .to_owned(),
            );
        }
        let read =
            RecordsRead { files: length(&files), missing: runs.missing(), nodes: runs.nodes(), ..self.read };
        let problems = self.problems.into_iter().map(|(file, line, what)| InputProblem {
            file: name(file).to_string(),
            line,
            what,
        });
        Observations {
            edges,
            cluster: runs.cluster(),
            read,
            problems: problems.collect(),
            more_problems: self.more_problems,
            limits,
        }
    }
}

/// What a line tells of its attempts.
#[derive(Clone, Copy, Debug)]
struct Told {
    port: Option<u16>,
    service: Option<u32>,
    said: u32,
    ending: Ending,
}

impl Line<'_> {
    /// Whether the next line of its run is this.
    fn is_followed_by(&self, next: &Self) -> bool {
        match (self.seq, next.seq) {
            (Some((run, seq)), Some((next_run, next))) => run == next_run && seq.checked_add(1) == Some(next),
            _ => false,
        }
    }
}

impl Whole<'_> {
    /// As a line of the newest version.
    fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        let read = match self.version.translate {
            None => serde_json::from_slice(self.text),
            Some(translate) => serde_json::from_slice(self.text).and_then(|mut line: Map<String, Value>| {
                translate(&mut line);
                serde_json::from_value(Value::Object(line))
            }),
        };
        read.map_err(|error| format!("a `{}` that cannot be read: {}", shown(&self.kind), shown(&error)))
    }
}

/// A text from a file, or about one, as it may be shown.
fn shown(text: &impl ToString) -> String {
    let text = text.to_string();
    let shown = text.chars().take(SHOWN_CHARS);
    // A line is one of a file: what serde says of lines is of no use.
    let shown: String = shown.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    shown.replace(" at line 1 column ", " at column ")
}

fn lock(runs: &Mutex<Runs>) -> MutexGuard<'_, Runs> {
    // Whoever panicked left numbers, which are whole at any moment.
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
