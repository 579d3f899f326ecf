//! A flow's line as this build writes it, split into its parts without parsing them all: those that many lines have in
//! common are parsed once and known by their bytes from then on; what differs from line to line is read by hand.
//!
//! What is told apart here is only whether a line can be read so. Nothing is taken for granted of it: every byte is either part of
//! a text that serde has read, or held against what the encoder writes. A quote within a JSON string is escaped, so `,"source":{`
//! stands for a member wherever it is found; were it one of something else, the parts around it would be no JSON. A line that is
//! otherwise is parsed whole.

use super::edges::{Edges, Known};
use super::parts::{
    Attempts, DialedFields, EndFields, Ending, EndingFields, Said, VerdictFields, Whose, id_of,
};
use super::wide::Side;
use super::{Runs, Told, lock};
use crate::model::{Direction, Protocol};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use jiff::Timestamp;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;

/// Bytes of parts of a kind that are known; with one more, all are forgotten. What is made of them takes some three times as much.
const MOST_BYTES: usize = 6 << 20;

/// Parts by their bytes. A part can be in two pieces, since something between them was taken out.
#[derive(Clone, Debug)]
struct Parts<T> {
    hasher: RandomState,
    numbers: HashTable<usize>,
    bytes: Vec<u8>,
    parts: Vec<Part<T>>,
}

#[derive(Clone, Debug)]
struct Part<T> {
    hash: u64,
    begin: usize,
    end: usize,
    value: T,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        let (numbers, bytes, parts) = (HashTable::new(), Vec::new(), Vec::new());
        Self { hasher: RandomState::default(), numbers, bytes, parts }
    }
}

impl<T> Parts<T> {
    /// Nothing that is known is in use. Whether all was forgotten.
    fn rest(&mut self) -> bool {
        let full = self.bytes.len() > MOST_BYTES;
        if full {
            *self = Self::default();
        }
        full
    }

    /// The number of the part; one that is new is read.
    fn number(&mut self, pieces: [&[u8]; 2], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<usize> {
        let Self { hasher, numbers, bytes, parts } = self;
        let [front, back] = pieces;
        let mut state = hasher.build_hasher();
        state.write(front);
        state.write(back);
        let hash = state.finish();
        let is_it = |number: &usize| {
            parts.get(*number).is_some_and(|part| {
                let known = bytes.get(part.begin..part.end).unwrap_or_default();
                known.len() == front.len() + back.len() && known.starts_with(front) && known.ends_with(back)
            })
        };
        if let Some(number) = numbers.find(hash, is_it) {
            return Some(*number);
        }
        let begin = bytes.len();
        bytes.extend_from_slice(front);
        bytes.extend_from_slice(back);
        let Some(value) = read(bytes.get(begin..).unwrap_or_default()) else {
            bytes.truncate(begin);
            return None;
        };
        let number = parts.len();
        parts.push(Part { hash, begin, end: bytes.len(), value });
        numbers.insert_unique(hash, number, |number| parts.get(*number).map_or(0, |part| part.hash));
        Some(number)
    }

    fn get(&self, number: usize) -> Option<&T> {
        Some(&self.parts.get(number)?.value)
    }

    fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        Some(&mut self.parts.get_mut(number)?.value)
    }

    /// Its bytes.
    fn text(&self, number: usize) -> Option<&[u8]> {
        let part = self.parts.get(number)?;
        self.bytes.get(part.begin..part.end)
    }
}

/// Where a part is likely to be found, by how it begins: numbers of parts, which are held against the text and may be wrong.
#[derive(Clone, Debug)]
struct Likely {
    hasher: RandomState,
    numbers: Vec<u32>,
}

/// A power of two. 64 KiB stay in a processor's nearer caches.
const LIKELY: usize = 1 << 14;

impl Default for Likely {
    fn default() -> Self {
        Self { hasher: RandomState::default(), numbers: vec![u32::MAX; LIKELY] }
    }
}

impl Likely {
    fn number(&mut self, front: &[u8]) -> Option<&mut u32> {
        let place = usize::try_from(self.hasher.hash_one(front) >> 32).ok()? % LIKELY;
        self.numbers.get_mut(place)
    }
}

/// A line that was split. It holds as long as no block after it was begun.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) attempts: Attempts,
    source: usize,
    destination: usize,
    pub(super) told: Told,
}

/// Parts that are known.
#[derive(Clone, Debug)]
pub(super) struct Splitter {
    runs: Parts<(Whose, Option<usize>)>,
    /// The last one: most lines have the run of the line before.
    run: (Vec<u8>, usize),
    seconds: Seconds,
    /// Both ends: pods are one now and the other then. With each the number of its service.
    ends: Parts<(Known, Option<u32>)>,
    likely: [Likely; 2],
    /// The one end where both are the same.
    same: Option<Known>,
    dialed: Parts<Option<u32>>,
    verdicts: Parts<u32>,
    trials: Parts<()>,
    endings: Parts<Ending>,
    scratch: Vec<u8>,
    anchors: Anchors,
}

/// Where parts begin.
#[derive(Clone, Debug)]
struct Anchors {
    flow: Finder<'static>,
    destination: Finder<'static>,
    dialed: Finder<'static>,
    process: Finder<'static>,
    verdict: Finder<'static>,
    snapshot: Finder<'static>,
    outcome: Finder<'static>,
    age: Finder<'static>,
}

const FLOW: &[u8] = br#","flow":{"#;
const SOURCE: &[u8] = br#","source":"#;
const DESTINATION: &[u8] = br#","destination":{"#;
const DIALED: &[u8] = br#","dialed":{"#;
const PROCESS: &[u8] = br#","process":{"#;
const VERDICT: &[u8] = br#","verdict":{"#;
const SNAPSHOT: &[u8] = br#","snapshot":"#;
const OUTCOME: &[u8] = br#","outcome":{"#;
const AGE: &[u8] = br#""age_ms":"#;

impl Default for Splitter {
    fn default() -> Self {
        Self {
            runs: Parts::default(),
            run: (Vec::new(), 0),
            seconds: Seconds::default(),
            ends: Parts::default(),
            likely: Default::default(),
            same: None,
            dialed: Parts::default(),
            verdicts: Parts::default(),
            trials: Parts::default(),
            endings: Parts::default(),
            scratch: Vec::new(),
            anchors: Anchors {
                flow: Finder::new(FLOW),
                destination: Finder::new(DESTINATION),
                dialed: Finder::new(DIALED),
                process: Finder::new(PROCESS),
                verdict: Finder::new(VERDICT),
                snapshot: Finder::new(SNAPSHOT),
                outcome: Finder::new(OUTCOME),
                age: Finder::new(AGE),
            },
        }
    }
}

impl Side {
    fn place(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 1,
        }
    }

    /// What can follow the end.
    fn is_followed_by(self) -> &'static [&'static [u8]] {
        match self {
            Self::Source => &[DESTINATION],
            Self::Destination => &[PROCESS, VERDICT, DIALED],
        }
    }
}

impl Splitter {
    /// A block begins: what was split before is not needed any more.
    pub(super) fn begin(&mut self) {
        if self.runs.rest() {
            self.run.0.clear();
        }
        self.ends.rest();
        self.dialed.rest();
        self.verdicts.rest();
        self.trials.rest();
        self.endings.rest();
    }

    /// Both ends of a line.
    pub(super) fn ends(&mut self, split: &Split) -> Option<(&mut Known, &mut Known)> {
        let Split { source, destination, .. } = *split;
        if source == destination {
            self.same = Some(self.ends.get(source)?.0.clone());
            return Some((self.same.as_mut()?, &mut self.ends.get_mut(destination)?.0));
        }
        let [source, destination] = self.ends.parts.get_disjoint_mut([source, destination]).ok()?;
        Some((&mut source.value.0, &mut destination.value.0))
    }

    /// The line's run and number, and the rest; nothing where it is to be parsed whole.
    pub(super) fn split(
        &mut self,
        text: &[u8],
        edges: &mut Edges,
        runs: &Mutex<Runs>,
    ) -> Option<((usize, u64), Split)> {
        let mut line = Cursor(text);
        line.eat(br#"{"v":1,"seq":"#)?;
        let seq = line.number()?;
        line.eat(br#","kind":"flow","time":"#)?;
        line.string()?;
        line.eat(b",")?;
        let run = self.run(&mut line)?;
        line.eat(FLOW)?;
        let attempts = self.attempts(&mut line)?;
        line.eat(SOURCE)?;
        let (source, _) = match self.likely_end(&mut line, Side::Source) {
            Some(found) => found,
            None => {
                let text = line.until(&self.anchors.destination)?;
                self.end(text, Side::Source, edges)?
            }
        };
        line.eat(b",\"destination\":")?;
        let (destination, port) = match self.likely_end(&mut line, Side::Destination) {
            Some(found) => found,
            None => {
                let text = self.destination(&mut line)?;
                self.end(text, Side::Destination, edges)?
            }
        };
        let service = if line.0.starts_with(DIALED) {
            let text = self.before_process(line.0)?;
            line.0 = line.0.get(text.len()..)?;
            self.dialed(text, edges)?
        } else {
            None
        };
        process(&mut line)?;
        line.eat(b",\"verdict\":")?;
        let verdict = line.until(&self.anchors.outcome)?;
        let service = service.or(self.ends.get(destination)?.1);
        let said = self.verdict(verdict, edges)?;
        let ending = self.ending(line.0)?;
        let run = self.run_number(run, runs)?;
        Some((
            (run, seq),
            Split { attempts, source, destination, told: Told { port, service, said, ending } },
        ))
    }

    /// The number here of what is said of the run.
    fn run(&mut self, line: &mut Cursor<'_>) -> Option<usize> {
        if let Some(rest) = line.0.strip_prefix(&*self.run.0).filter(|rest| rest.starts_with(FLOW)) {
            line.0 = rest;
            return Some(self.run.1);
        }
        let whose = line.until(&self.anchors.flow)?;
        let number = self.runs.number([b"{", whose], |text| {
            let mut whole = text.to_vec();
            whole.push(b'}');
            Some((serde_json::from_slice(&whole).ok()?, None))
        })?;
        self.run = (whose.to_vec(), number);
        Some(number)
    }

    /// The run's number; one that is new is known from now on.
    fn run_number(&mut self, run: usize, runs: &Mutex<Runs>) -> Option<usize> {
        let (whose, number) = self.runs.get_mut(run)?;
        Some(*number.get_or_insert_with(|| lock(runs).number(whose)))
    }

    /// An end as one that was there before; what follows it must be what can follow an end.
    ///
    /// What is known as an end has nothing in it that a part begins with: it ends here where it would end if it was looked for.
    fn likely_end(&mut self, line: &mut Cursor<'_>, side: Side) -> Option<(usize, Option<u16>)> {
        let (front, port, back) = without_port(line.0)?;
        let likely = self.likely.get_mut(side.place())?;
        let number = usize::try_from(*likely.number(front)?).ok()?;
        let rest = back.strip_prefix(self.ends.text(number)?.strip_prefix(front)?)?;
        if !side.is_followed_by().iter().any(|next| rest.starts_with(next)) {
            return None;
        }
        line.0 = rest;
        Some((number, port))
    }

    /// The text of the destination.
    fn destination<'a>(&self, line: &mut Cursor<'a>) -> Option<&'a [u8]> {
        let mut before = Cursor(self.before_process(line.0)?);
        let text = before.until(&self.anchors.dialed).unwrap_or_else(|| before.take_all());
        line.0 = line.0.get(text.len()..)?;
        Some(text)
    }

    /// What stands before `process`, or where there is none before `verdict`, which must be there.
    fn before_process<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut before = Cursor(Cursor(text).until(&self.anchors.verdict)?);
        Some(before.until(&self.anchors.process).unwrap_or_else(|| before.take_all()))
    }

    fn end(&mut self, text: &[u8], side: Side, edges: &mut Edges) -> Option<(usize, Option<u16>)> {
        let (front, port, back) = without_port(text)?;
        let outside = !front.starts_with(br#"{"kind":"pod""#);
        let back = if outside && without_ages(back, &self.anchors.age, &mut self.scratch)? {
            &self.scratch
        } else {
            back
        };
        let number = self.ends.number([front, back], |text| {
            let known = known(text)?;
            let service = known.service().map(|service| edges.service(&service));
            Some((known, service))
        })?;
        if let Some(likely) = self.likely.get_mut(side.place()).and_then(|likely| likely.number(front)) {
            *likely = u32::try_from(number).unwrap_or(u32::MAX);
        }
        Some((number, port))
    }

    fn dialed(&mut self, text: &[u8], edges: &mut Edges) -> Option<Option<u32>> {
        let text = text.strip_prefix(b",\"dialed\":")?;
        let number = self.dialed.number([text, b""], |text| {
            let dialed: DialedFields = serde_json::from_slice(text).ok()?;
            Some(dialed.service().map(|service| edges.service(&service)))
        })?;
        self.dialed.get(number).copied()
    }

    fn verdict(&mut self, text: &[u8], edges: &mut Edges) -> Option<u32> {
        let mut rest = Cursor(text);
        let said = rest.until(&self.anchors.snapshot)?;
        rest.eat(SNAPSHOT)?;
        rest.number()?;
        rest.eat(br#","as_of":"#)?;
        rest.string()?;
        if rest.eat(br#","stale_since":"#).is_some() {
            rest.string()?;
        }
        let _ = rest.eat(br#","settling":true"#);
        if rest.eat(br#","trial":"#).is_some() {
            let trial = rest.0.strip_suffix(b"}")?;
            self.trials
                .number([trial, b""], |text| serde_json::from_slice::<IgnoredAny>(text).ok().map(drop))?;
        } else if rest.0 != b"}" {
            return None;
        }
        let number = self.verdicts.number([said, b"}"], |text| {
            let verdict: VerdictFields = serde_json::from_slice(text).ok()?;
            Some(edges.said(&Said::from(verdict)))
        })?;
        self.verdicts.get(number).copied()
    }

    /// From `,"outcome":` to the end.
    fn ending(&mut self, text: &[u8]) -> Option<Ending> {
        let members = text.strip_prefix(b",")?;
        let number = self.endings.number([b"{", members], |text| {
            let ending: EndingFields = serde_json::from_slice(text).ok()?;
            Some(Ending::from(ending))
        })?;
        self.endings.get(number).copied()
    }

    /// What stands in `flow`, after its brace.
    fn attempts(&mut self, line: &mut Cursor<'_>) -> Option<Attempts> {
        let mut found = Found::default();
        let mut rest = Cursor(line.0);
        if let Some(usual) = self.usual(&mut rest) {
            (found, line.0) = (usual, rest.0);
            if line.eat(b"}").is_some() {
                return found.attempts();
            }
            line.eat(b",")?;
        }
        loop {
            line.eat(b"\"")?;
            let key = line.plain()?;
            line.eat(b":")?;
            match key {
                b"id" => once(&mut found.id, id_of(line.string()?)?)?,
                b"direction" => once(&mut found.direction, direction(line.string()?)?)?,
                b"protocol" => once(&mut found.protocol, protocol(line.string()?)?)?,
                b"count" => once(&mut found.count, line.number()?)?,
                b"first" => once(&mut found.first, self.seconds.moment(line.string()?)?)?,
                b"last" => once(&mut found.last, self.seconds.moment(line.string()?)?)?,
                b"existing" => once(&mut found.existing, line.bool()?)?,
                b"update" => once(&mut found.update, line.bool()?)?,
                b"replayed" => once(&mut found.replayed, line.bool()?)?,
                b"duration_ms" => once(&mut found.duration_ms, line.number()?)?,
                b"bytes_sent" => once(&mut found.bytes_sent, line.number()?)?,
                b"bytes_received" => once(&mut found.bytes_received, line.number()?)?,
                b"datagrams_sent" => once(&mut found.datagrams_sent, line.number()?)?,
                b"datagrams_received" => once(&mut found.datagrams_received, line.number()?)?,
                b"icmp" => {
                    line.eat(br#"{"type":"#)?;
                    line.number()?;
                    line.eat(br#","code":"#)?;
                    line.number()?;
                    line.eat(b"}")?;
                }
                // What else is there is not needed, if it is plain.
                _ if key.is_ascii() => line.scalar()?,
                _ => return None,
            }
            if line.eat(b"}").is_some() {
                return found.attempts();
            }
            line.eat(b",")?;
        }
    }

    /// The members that nearly every line begins with, in the order in which they are written.
    fn usual(&mut self, line: &mut Cursor<'_>) -> Option<Found> {
        line.eat(br#""id":""#)?;
        let id = id_of(line.take(32)?)?;
        line.eat(br#"","community_id":"#)?;
        line.string()?;
        line.eat(br#","direction":"#)?;
        let direction = direction(line.string()?)?;
        line.eat(br#","protocol":"#)?;
        let protocol = protocol(line.string()?)?;
        line.eat(br#","family":"#)?;
        line.string()?;
        line.eat(br#","count":"#)?;
        let count = line.number()?;
        line.eat(br#","first":""#)?;
        let text = line.take(MOMENT)?;
        let first = self.seconds.moment(text)?;
        line.eat(br#"","last":""#)?;
        let last = match line.eat(text) {
            Some(()) => first,
            None => self.seconds.moment(line.take(MOMENT)?)?,
        };
        line.eat(b"\"")?;
        let mut optional = |name: &[u8]| match line.eat(name) {
            Some(()) => line.number().map(Some),
            None => Some(None),
        };
        Some(Found {
            id: Some(id),
            direction: Some(direction),
            protocol: Some(protocol),
            count: Some(count),
            first: Some(first),
            last: Some(last),
            duration_ms: optional(br#","duration_ms":"#)?,
            bytes_sent: optional(br#","bytes_sent":"#)?,
            bytes_received: optional(br#","bytes_received":"#)?,
            ..Found::default()
        })
    }
}

fn direction(text: &[u8]) -> Option<Direction> {
    match text {
        b"egress" => Some(Direction::Egress),
        b"ingress" => Some(Direction::Ingress),
        _ => None,
    }
}

fn protocol(text: &[u8]) -> Option<Protocol> {
    match text {
        b"tcp" => Some(Protocol::Tcp),
        b"udp" => Some(Protocol::Udp),
        b"sctp" => Some(Protocol::Sctp),
        b"icmp" => Some(Protocol::Icmp),
        b"icmpv6" => Some(Protocol::Icmpv6),
        _ => None,
    }
}

/// Members of `flow` so far.
#[derive(Default)]
struct Found {
    id: Option<u128>,
    direction: Option<Direction>,
    protocol: Option<Protocol>,
    existing: Option<bool>,
    count: Option<u64>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    update: Option<bool>,
    replayed: Option<bool>,
    duration_ms: Option<u64>,
    bytes_sent: Option<u64>,
    bytes_received: Option<u64>,
    datagrams_sent: Option<u64>,
    datagrams_received: Option<u64>,
}

impl Found {
    fn attempts(self) -> Option<Attempts> {
        Some(Attempts {
            id: Some(self.id?),
            direction: self.direction?,
            protocol: self.protocol?,
            existing: self.existing.unwrap_or_default(),
            count: self.count?,
            first: self.first?,
            last: self.last?,
            update: self.update.unwrap_or_default(),
            replayed: self.replayed.unwrap_or_default(),
            duration_ms: self.duration_ms,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            datagrams_sent: self.datagrams_sent,
            datagrams_received: self.datagrams_received,
        })
    }
}

/// A member that is there twice is an error to serde.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn known(text: &[u8]) -> Option<Known> {
    let fields: EndFields = serde_json::from_slice(text).ok()?;
    // It was taken out: this is another one.
    let once = fields.port.is_none();
    fields.end().ok().filter(|_| once).map(Known::of)
}

/// An end's text before its port, the port, and what follows.
fn without_port(text: &[u8]) -> Option<(&[u8], Option<u16>, &[u8])> {
    let mut rest = Cursor(text);
    rest.eat(br#"{"kind":"#)?;
    rest.string()?;
    if rest.eat(br#","ip":"#).is_some() {
        rest.string()?;
    }
    let front = text.get(..text.len() - rest.0.len())?;
    let port = match rest.eat(br#","port":"#) {
        Some(()) => Some(u16::try_from(rest.number()?).ok()?),
        None => None,
    };
    Some((front, port, rest.0))
}

/// The text with all ages and lifetimes of names set to 0, in `out`; false where there are none.
fn without_ages(text: &[u8], age: &Finder<'_>, out: &mut Vec<u8>) -> Option<bool> {
    let mut rest = Cursor(text);
    let Some(mut before) = rest.until(age) else { return Some(false) };
    out.clear();
    loop {
        out.extend_from_slice(before);
        rest.eat(AGE)?;
        rest.number()?;
        out.extend_from_slice(br#""age_ms":0"#);
        if rest.eat(br#","ttl_s":"#).is_some() {
            rest.number()?;
            out.extend_from_slice(br#","ttl_s":0"#);
        }
        match rest.until(age) {
            Some(next) => before = next,
            None => break,
        }
    }
    out.extend_from_slice(rest.0);
    Some(true)
}

/// `process`, where it is there: nothing of it is needed, if it is plain.
fn process(text: &mut Cursor<'_>) -> Option<()> {
    if text.eat(PROCESS).is_none() {
        return Some(());
    }
    loop {
        text.eat(b"\"")?;
        if !text.plain()?.is_ascii() {
            return None;
        }
        text.eat(b":")?;
        text.scalar()?;
        if text.eat(b"}").is_some() {
            return Some(());
        }
        text.eat(b",")?;
    }
}

/// What is left of a text. Whatever is not found leaves it as it is, or makes the line one to be parsed whole.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// What stands before this.
    fn until(&mut self, anchor: &Finder<'_>) -> Option<&'a [u8]> {
        let (before, rest) = self.0.split_at_checked(anchor.find(self.0)?)?;
        self.0 = rest;
        Some(before)
    }

    /// So many bytes, whatever they are.
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn take_all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A whole number as serde_json writes it: without a sign, without zeros before it, and nothing that makes it another.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().position(|byte| !byte.is_ascii_digit())?;
        let (text, rest) = self.0.split_at_checked(digits)?;
        // Numbers of 20 digits may be too large.
        if !(1..=19).contains(&digits) || (digits > 1 && text.first() == Some(&b'0')) {
            return None;
        }
        if !matches!(rest.first(), Some(b',' | b'}' | b']')) {
            return None;
        }
        self.0 = rest;
        Some(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// A string without escapes, and what is in it.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.eat(b"\"")?;
        self.plain()
    }

    /// The rest of one.
    fn plain(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.eat(b"true") {
            Some(()) => Some(true),
            None => self.eat(b"false").map(|()| false),
        }
    }

    /// A value that is not needed.
    fn scalar(&mut self) -> Option<()> {
        match self.0.first()? {
            b'"' => self.string().map(drop),
            b'0'..=b'9' => self.number().map(drop),
            _ => self.bool().map(drop),
        }
    }
}

/// Bytes of a moment as records have it: `2026-11-23T13:53:52.123456789Z`.
const MOMENT: usize = 30;

/// Seconds that were read: a log has thousands of lines of each.
#[derive(Clone, Debug)]
struct Seconds([Option<([u8; 20], i64)>; 60]);

impl Default for Seconds {
    fn default() -> Self {
        Self([None; 60])
    }
}

impl Seconds {
    /// A moment; whatever else it is, it is not one.
    fn moment(&mut self, text: &[u8]) -> Option<Timestamp> {
        let text: &[u8; MOMENT] = text.try_into().ok()?;
        let (second, nanos): (&[u8; 20], _) = text.split_first_chunk()?;
        let mut nanos = nanos.strip_suffix(b"Z")?.iter();
        let nanos = nanos.try_fold(0_i32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i32::from(digit - b'0'))
        })?;
        let [tens, ones] = [second[17], second[18]].map(|digit| usize::from(digit.wrapping_sub(b'0')));
        // A leap second is none of these.
        let known = self.0.get_mut(tens.checked_mul(10)?.checked_add(ones)?)?;
        let number = match known {
            Some((text, number)) if text == second => *number,
            _ => {
                let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
                let plain = marks.iter().all(|(place, mark)| second.get(*place) == Some(mark));
                let whole = second.strip_suffix(b".").filter(|_| plain)?;
                let written = format!("{}Z", std::str::from_utf8(whole).ok()?);
                let number = written.parse::<Timestamp>().ok()?.as_second();
                *known = Some((*second, number));
                number
            }
        };
        // Before 1970 a second's part counts backwards.
        if number < 0 {
            return None;
        }
        Timestamp::new(number, nanos).ok()
    }
}
