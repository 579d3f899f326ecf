//! What of the ring of events is told: a mark an event, where it outlives the agent, and what holds the duty to tell.
//!
//! Events are known by their sequence: their place in all that was ever written to the ring. The ring keeps the latest of
//! them (the window) after they were read, so that the next agent can read them again: what is told it takes for
//! knowledge, the rest it tells. Marks hold the parity of the ring's lap, so that those of the lap before mean nothing
//! and nothing has to be wiped.

use super::tally::{Part, Tally};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Lines that may be on their way to an output in one write.
pub const MOST_WRITING: usize = 120;

/// Words before the marks.
pub const WORDS: usize = 256;

/// Layout of the words and marks; another one is not understood.
pub const FORMAT: u64 = 0x666c_6f77_6c6f_6701;

// Places of the words.
const FORMAT_AT: usize = 0;
const AT_RISK: usize = 1;
const ALIVE_NS: usize = 2;
const ENDED: usize = 3;
const GENERATION: usize = 4;
const COMPLETE: usize = 5;
const RUNS: usize = 6;
const BUILD: usize = 8;
const INTENT: usize = 128;

/// Words that say which build and settings the kernel half is of.
pub const BUILD_WORDS: usize = 8;

// A mark: the lap's parity above, how far it is below.
const LAP: u8 = 0x80;
const STATE: u8 = 0x7f;
const OPEN: u8 = 0;
const SOMEWHERE: u8 = 0x7d;
const TOLD_MARK: u8 = 0x7f;

/// How far one event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Not told.
    Open,
    /// In a line that is being written, the one of this number among those of one write.
    Writing(usize),
    /// In a line that some of several outputs may have.
    Somewhere,
    /// Told, or there was nothing to tell of it.
    Told,
}

/// What the lines of one write end at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing is being written.
    None,
    /// To where nobody can look whether they came through.
    Stream,
    /// To the end of this file.
    File(Place),
}

/// The end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Its length.
    pub bytes: u64,
}

/// Words and marks of a ring.
#[derive(Debug)]
pub struct Ledger {
    words: &'static [AtomicU64],
    marks: &'static [AtomicU8],
    /// The first event of the window.
    window: AtomicU64,
    /// Nothing is marked any more: what is not told is left to the next agent.
    closed: AtomicBool,
    /// What was told of that which is counted and no event.
    tally: OnceLock<Tally>,
}

impl Ledger {
    /// Over words and marks that outlive the agent; the first event of the ring's window is `window`. `None` where there
    /// are too few of them, or marks are not a power of two.
    pub fn new(words: &'static [AtomicU64], marks: &'static [AtomicU8], window: u64) -> Option<Self> {
        (words.len() >= WORDS && marks.len().is_power_of_two()).then(|| Self {
            words,
            marks,
            window: AtomicU64::new(window),
            closed: AtomicBool::new(false),
            tally: OnceLock::new(),
        })
    }

    /// What was told of that which is counted is kept here, unless it is kept already.
    pub fn keep_tally(&self, tally: Tally) {
        let _ = self.tally.set(tally);
    }

    /// What was told of that which is counted, where it is kept.
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.get()
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at]
    }

    fn mark_of(&self, sequence: u64) -> (&AtomicU8, u8) {
        let laps = sequence / self.events();
        // The remainder is less than the length, which is a usize.
        let index = usize::try_from(sequence % self.events()).unwrap_or(0);
        (&self.marks[index], if laps.is_multiple_of(2) { 0 } else { LAP })
    }

    /// Events that the ring holds.
    pub fn events(&self) -> u64 {
        u64::try_from(self.marks.len()).unwrap_or(u64::MAX)
    }

    /// How far an event is.
    pub fn mark(&self, sequence: u64) -> Mark {
        let (mark, lap) = self.mark_of(sequence);
        let mark = mark.load(Ordering::Acquire);
        if mark & LAP != lap {
            return Mark::Open;
        }
        match mark & STATE {
            OPEN => Mark::Open,
            TOLD_MARK => Mark::Told,
            SOMEWHERE => Mark::Somewhere,
            line => Mark::Writing(usize::from(line) - 1),
        }
    }

    /// Set how far it is, unless it is told.
    fn set(&self, sequence: u64, state: u8) -> bool {
        let (mark, lap) = self.mark_of(sequence);
        let told = |found: u8| found == lap | TOLD_MARK;
        mark.fetch_update(Ordering::AcqRel, Ordering::Acquire, |found| (!told(found)).then_some(lap | state))
            .is_ok()
    }

    /// It is told, or there is nothing to tell of it.
    pub fn settle(&self, sequence: u64) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        if sequence < self.window.load(Ordering::Acquire) || !self.set(sequence, TOLD_MARK) {
            // It had left the window before.
            self.word(AT_RISK).fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// It leaves the window: the kernel may write over it. What is not told by now would be lost with the agent.
    pub fn pass(&self, sequence: u64) {
        if self.set(sequence, TOLD_MARK) {
            self.word(AT_RISK).fetch_add(1, Ordering::AcqRel);
        }
        self.window.store(sequence + 1, Ordering::Release);
    }

    /// From now on nothing is marked: what is still held is left to the next agent.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.word(ENDED).store(1, Ordering::Release);
    }

    /// These lines go out, ending so many bytes behind the beginning.
    pub fn intend<'a>(&self, intent: Intent, lines: impl Iterator<Item = (&'a Receipts, u64)>) {
        let state = |lines: usize| {
            // As many as there are numbers for; callers keep below.
            u8::try_from(lines + 1).unwrap_or(SOMEWHERE).min(SOMEWHERE)
        };
        let mut count = 0;
        let mut parts = Vec::new();
        for (receipts, end) in lines {
            for sequence in receipts.sequences() {
                self.set(sequence, state(count));
            }
            parts.extend(receipts.parts().iter().map(|part| (count, part)));
            if let Some(word) = self.words.get(INTENT + 5 + count) {
                word.store(end, Ordering::Relaxed);
            }
            count += 1;
        }
        if let Some(tally) = self.tally() {
            tally.note(parts.into_iter());
        }
        let (kind, place) = match intent {
            Intent::None => (0, None),
            Intent::Stream => (1, None),
            Intent::File(place) => (2, Some(place)),
        };
        let place = place.unwrap_or(Place { identity: (0, 0), bytes: 0 });
        self.word(INTENT + 1).store(place.identity.0, Ordering::Relaxed);
        self.word(INTENT + 2).store(place.identity.1, Ordering::Relaxed);
        self.word(INTENT + 3).store(place.bytes, Ordering::Relaxed);
        self.word(INTENT + 4).store(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        // Marks mean something from here on.
        self.word(INTENT).store(kind, Ordering::Release);
    }

    /// What was intended is done, or was not begun.
    pub fn intend_nothing(&self) {
        self.word(INTENT).store(0, Ordering::Release);
    }

    /// The first of the lines that were intended are written: what they tell of is told.
    pub fn settle_written(&self, lines: impl Iterator<Item = Receipts>) {
        let mut order = 0;
        for mut receipts in lines {
            let parts = receipts.rest.as_mut().map(|rest| std::mem::take(&mut rest.counted.parts));
            let Some(tally) = self.tally().filter(|_| !self.closed.load(Ordering::Acquire)) else { continue };
            for part in &parts.unwrap_or_default() {
                tally.settle_noted(part, order);
                order += 1;
            }
        }
    }

    /// These lines go to several outputs, one of which is about to write.
    pub fn spread(&self, receipts: &Receipts) {
        for sequence in receipts.sequences() {
            self.set(sequence, SOMEWHERE);
        }
        if let (Some(rest), Some(tally)) = (&receipts.rest, self.tally())
            && !rest.counted.spread.swap(true, Ordering::AcqRel)
        {
            rest.counted.parts.iter().for_each(|part| tally.spread(part));
        }
    }

    /// What the agent before was writing when it ended, and how far each line was to reach.
    pub fn intent(&self) -> (Intent, Vec<u64>) {
        let get = |at: usize| self.word(INTENT + at).load(Ordering::Acquire);
        let lines = usize::try_from(get(4)).unwrap_or(0).min(MOST_WRITING);
        let ends = (0..lines).map(|line| get(5 + line)).collect();
        let place = Place { identity: (get(1), get(2)), bytes: get(3) };
        match get(0) {
            1 => (Intent::Stream, ends),
            2 => (Intent::File(place), ends),
            _ => (Intent::None, Vec::new()),
        }
    }

    /// What the agent before left: settle which events its last write told. `length` looks up how long a file is.
    pub fn resolve(
        &self,
        events: impl Iterator<Item = u64>,
        length: impl Fn((u64, u64)) -> Option<u64>,
    ) -> Left {
        let (intent, ends) = self.intent();
        // Whether a line of the last write is in its output; `None` where that cannot be told.
        let is_written = |line: usize| match intent {
            Intent::None => Some(false),
            Intent::Stream => None,
            // A line that lacks its newline alone gets it before the next one.
            Intent::File(place) => Some(length(place.identity)? + 1 >= place.bytes + ends.get(line)?),
        };
        let lines: Vec<Option<bool>> = (0..MOST_WRITING).map(is_written).collect();
        if let Some(tally) = self.tally() {
            tally.resolve(|line| lines.get(line).copied().flatten());
        }
        let mut left = Left { at_risk: self.word(AT_RISK).load(Ordering::Acquire), ..Left::default() };
        for sequence in events {
            let written = match self.mark(sequence) {
                Mark::Open => Some(false),
                Mark::Told => Some(true),
                Mark::Writing(line) => lines.get(line).copied().flatten(),
                Mark::Somewhere => None,
            };
            match written {
                Some(true) => {
                    self.set(sequence, TOLD_MARK);
                    left.told += 1;
                }
                Some(false) => {
                    self.set(sequence, OPEN);
                    left.open += 1;
                }
                None => {
                    self.set(sequence, SOMEWHERE);
                    left.open += 1;
                    left.doubtful += 1;
                }
            }
        }
        self.intend_nothing();
        left.alive_ns = self.word(ALIVE_NS).load(Ordering::Acquire);
        left.ended = self.word(ENDED).swap(0, Ordering::AcqRel) != 0;
        left
    }

    /// The agent is alive at this boot time.
    pub fn beat(&self, now_ns: u64) {
        self.word(ALIVE_NS).store(now_ns, Ordering::Release);
    }

    /// When an agent was last alive, boot time, and whether it ended in order; 0 where none was.
    pub fn last_alive(&self) -> (u64, bool) {
        (self.word(ALIVE_NS).load(Ordering::Acquire), self.word(ENDED).load(Ordering::Acquire) != 0)
    }

    /// Make it one that nothing was marked in yet, of this build and settings.
    pub fn begin(&self, build: &[u64; BUILD_WORDS]) {
        for (at, part) in build.iter().enumerate() {
            self.word(BUILD + at).store(*part, Ordering::Relaxed);
        }
        self.word(FORMAT_AT).store(FORMAT, Ordering::Release);
    }

    /// Of which build and settings the kernel half is; `None` where the words are not understood.
    pub fn build(&self) -> Option<[u64; BUILD_WORDS]> {
        let mut build = [0; BUILD_WORDS];
        for (at, part) in build.iter_mut().enumerate() {
            *part = self.word(BUILD + at).load(Ordering::Acquire);
        }
        (self.word(FORMAT_AT).load(Ordering::Acquire) == FORMAT).then_some(build)
    }

    /// Everything is in its place.
    pub fn set_complete(&self, complete: bool) {
        self.word(COMPLETE).store(u64::from(complete), Ordering::Release);
    }

    /// Whether everything was in its place.
    pub fn is_complete(&self) -> bool {
        self.word(COMPLETE).load(Ordering::Acquire) != 0
    }

    /// Count one more agent at this ring; how many there were before.
    pub fn count_run(&self) -> u64 {
        self.word(RUNS).fetch_add(1, Ordering::AcqRel)
    }

    /// Of programs of several generations at one ring, whose events count: those of the latest from its beginning on, and
    /// those of others until then.
    pub fn counts(&self, generation: u16, time_ns: u64) -> bool {
        let (latest, from_us) = self.generation();
        (generation == latest) == (time_ns / 1_000 >= from_us)
    }

    /// The latest generation of programs, and from when on its events count, microseconds since boot.
    pub fn generation(&self) -> (u16, u64) {
        let word = self.word(GENERATION).load(Ordering::Acquire);
        // The upper 16 bits of 64 fit.
        (u16::try_from(word >> 48).unwrap_or(u16::MAX), word & ((1 << 48) - 1))
    }

    /// Events of this generation count from now on, others no longer: at once for both.
    pub fn set_generation(&self, generation: u16, now_ns: u64) {
        let from_us = (now_ns / 1_000) & ((1 << 48) - 1);
        self.word(GENERATION).store((u64::from(generation) << 48) | from_us, Ordering::Release);
    }
}

/// What an agent found of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Events that it told, kept as knowledge.
    pub told: u64,
    /// Events that are to be told.
    pub open: u64,
    /// Of these, such as may be in an output already.
    pub doubtful: u64,
    /// Events that had left the window and were not told: lost with it.
    pub at_risk: u64,
    /// When it was last alive, boot time.
    pub alive_ns: u64,
    /// It ended in order.
    pub ended: bool,
}

/// The duty to tell of some events. When the last line that tells of them is written, or it is decided that there is
/// nothing to tell, this goes out of being, and the events are marked.
///
/// A copy of what holds it holds none: the duty is with one value at a time.
#[derive(Debug, Default)]
pub struct Receipts {
    ledger: Option<&'static Ledger>,
    first: Option<u64>,
    /// Most have none: each event has its receipts moved from stage to stage.
    rest: Option<Box<Rest>>,
    news: bool,
    doubtful: bool,
}

/// What only some have.
#[derive(Debug, Default)]
struct Rest {
    /// Events beside the first.
    more: Vec<u64>,
    /// Events that left the window while this waited, of which no more is kept than how many.
    passed: u64,
    counted: Counted,
}

/// What it has of that which is counted, one part an account.
#[derive(Debug, Default)]
struct Counted {
    parts: Vec<Part>,
    /// It is on its way to one of several outputs.
    spread: AtomicBool,
}

impl Receipts {
    /// Of an event that no agent before has told; none is kept.
    pub fn untracked() -> Self {
        Self { ledger: None, first: None, rest: None, news: true, doubtful: false }
    }

    /// Of so much that was counted, `doubtful` where an agent before may have told some of it.
    pub fn of_part(ledger: &'static Ledger, part: Part, doubtful: bool) -> Self {
        let counted = Counted { parts: vec![part], spread: AtomicBool::new(false) };
        let rest = Some(Box::new(Rest { counted, ..Rest::default() }));
        Self { ledger: Some(ledger), first: None, rest, news: true, doubtful }
    }

    /// Of this event, `doubtful` where an agent before may have told it.
    pub fn of(ledger: &'static Ledger, sequence: u64, doubtful: bool) -> Self {
        Self { ledger: Some(ledger), first: Some(sequence), rest: None, news: true, doubtful }
    }

    /// Of an event that an agent before has told: none, but for its place.
    pub fn told(sequence: u64) -> Self {
        Self { ledger: None, first: Some(sequence), rest: None, news: false, doubtful: false }
    }

    /// Whether anything in it was not told by an agent before.
    pub fn are_news(&self) -> bool {
        self.news
    }

    /// Whether an agent before may have told some of it.
    pub fn are_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The event that came first.
    pub fn oldest(&self) -> Option<u64> {
        self.first
    }

    /// Where they are marked.
    pub fn ledger(&self) -> Option<&'static Ledger> {
        self.ledger
    }

    /// These too.
    pub fn add(&mut self, mut other: Self) {
        self.news |= other.news;
        self.doubtful |= other.doubtful;
        let Some(ledger) = other.ledger else { return };
        if self.ledger.is_none() {
            self.first = None;
        }
        self.ledger = Some(ledger);
        if let Some(theirs) = other.rest.take() {
            self.rest.get_or_insert_default().add(*theirs);
        }
        let Some(theirs) = other.first.take() else { return };
        match &mut self.first {
            None => self.first = Some(theirs),
            Some(first) => {
                self.rest.get_or_insert_default().more.push(theirs.max(*first));
                *first = theirs.min(*first);
            }
        }
    }

    /// Keep no more than the number of events that left the window: so this stays as small as the window, however long it
    /// waits.
    pub fn forget_passed(&mut self) {
        let (Some(ledger), Some(first), Some(rest)) = (self.ledger, self.first, &mut self.rest) else {
            return;
        };
        // Looked at when the list is about to grow.
        if rest.more.len() < 1_024 || rest.more.capacity() - rest.more.len() > 8 {
            return;
        }
        let window = ledger.window.load(Ordering::Acquire);
        let before = rest.more.len();
        rest.more.retain(|sequence| *sequence >= window);
        rest.passed += u64::try_from(before - rest.more.len()).unwrap_or(0);
        if first < window {
            rest.passed += 1;
            self.first = rest.more.pop();
        }
    }

    /// Take all of it.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn parts(&self) -> &[Part] {
        self.rest.as_ref().map_or(&[], |rest| &rest.counted.parts)
    }

    fn sequences(&self) -> impl Iterator<Item = u64> {
        self.first.into_iter().chain(self.rest.iter().flat_map(|rest| &rest.more).copied())
    }
}

impl Rest {
    fn add(&mut self, mut other: Self) {
        self.passed += other.passed;
        self.counted.add(other.counted);
        if self.more.is_empty() {
            self.more = other.more;
        } else {
            self.more.append(&mut other.more);
        }
    }
}

impl Counted {
    /// The parts as they are to be settled.
    fn into_parts(self) -> impl Iterator<Item = Part> {
        let spread = self.spread.into_inner();
        self.parts.into_iter().map(move |mut part| {
            if spread {
                part.doubt();
            }
            part
        })
    }

    fn add(&mut self, other: Self) {
        for theirs in other.into_parts() {
            match self.parts.iter_mut().find(|part| part.is_like(&theirs)) {
                Some(part) => part.add(&theirs),
                None => self.parts.push(theirs),
            }
        }
    }
}

impl Clone for Receipts {
    fn clone(&self) -> Self {
        Self { ledger: None, first: None, rest: None, news: self.news, doubtful: false }
    }
}

/// No part of what is told.
impl PartialEq for Receipts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Receipts {}

impl Drop for Receipts {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger {
            self.sequences().for_each(|sequence| ledger.settle(sequence));
            let Some(rest) = self.rest.take().filter(|_| !ledger.closed.load(Ordering::Acquire)) else {
                return;
            };
            if rest.passed > 0 {
                ledger.word(AT_RISK).fetch_sub(rest.passed, Ordering::AcqRel);
            }
            if let Some(tally) = ledger.tally() {
                rest.counted.into_parts().for_each(|part| tally.settle(&part));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ledger of so many events; what it stands on lives as long as the tests.
    pub(crate) fn ledger(events: usize) -> &'static Ledger {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let marks: Vec<AtomicU8> = (0..events).map(|_| AtomicU8::new(0)).collect();
        Box::leak(Box::new(Ledger::new(words.leak(), marks.leak(), 0).unwrap()))
    }

    fn of(ledger: &'static Ledger, sequences: impl IntoIterator<Item = u64>) -> Receipts {
        let mut all = Receipts::default();
        for sequence in sequences {
            all.add(Receipts::of(ledger, sequence, false));
        }
        all
    }

    #[test]
    fn an_event_is_told_when_the_last_that_holds_its_receipt_goes() {
        let ledger = ledger(8);
        let mut held = of(ledger, [1, 0]);
        assert_eq!(held.oldest(), Some(0));
        let copy = held.clone();
        drop(copy);
        assert_eq!(ledger.mark(0), Mark::Open, "a copy holds none");
        let taken = held.take();
        drop(held);
        assert_eq!(ledger.mark(1), Mark::Open);
        drop(taken);
        assert_eq!((ledger.mark(0), ledger.mark(1), ledger.mark(2)), (Mark::Told, Mark::Told, Mark::Open));
    }

    #[test]
    fn marks_of_the_lap_before_mean_nothing() {
        let ledger = ledger(4);
        for sequence in 0..4 {
            drop(Receipts::of(ledger, sequence, false));
            ledger.pass(sequence);
        }
        assert_eq!(ledger.mark(4), Mark::Open);
        drop(Receipts::of(ledger, 4, false));
        ledger.pass(4);
        assert_eq!((ledger.mark(4), ledger.mark(8)), (Mark::Told, Mark::Open));
    }

    #[test]
    fn what_leaves_the_window_untold_is_at_risk_until_it_is_told() {
        let ledger = ledger(4);
        let held = of(ledger, [0, 1]);
        ledger.pass(0);
        ledger.pass(1);
        assert_eq!(ledger.word(AT_RISK).load(Ordering::Acquire), 2);
        drop(held);
        assert_eq!(ledger.resolve(std::iter::empty(), |_| None).at_risk, 0);
    }

    #[test]
    fn what_was_being_written_is_told_apart_by_the_length_of_the_file() {
        let place = Place { identity: (1, 2), bytes: 100 };
        let rows = [
            ("nothing came through", Some(100), [Mark::Open, Mark::Open], (2, 0)),
            ("the first line and a piece", Some(115), [Mark::Told, Mark::Open], (1, 0)),
            ("both", Some(120), [Mark::Told, Mark::Told], (0, 0)),
            ("the file is gone", None, [Mark::Somewhere, Mark::Somewhere], (2, 2)),
        ];
        for (name, length, marks, (open, doubtful)) in rows {
            let ledger = ledger(4);
            let lines = [of(ledger, [0]), of(ledger, [1])];
            ledger.intend(Intent::File(place), lines.iter().zip([10, 20]));
            let left = ledger.resolve(0..2, |identity| length.filter(|_| identity == (1, 2)));
            assert_eq!([ledger.mark(0), ledger.mark(1)], marks, "{name}");
            assert_eq!((left.open, left.doubtful), (open, doubtful), "{name}");
        }
    }

    #[test]
    fn a_write_that_was_over_or_not_begun_leaves_no_doubt() {
        let ledger = ledger(4);
        let line = of(ledger, [0]);
        ledger.intend(Intent::Stream, std::iter::once((&line, 10)));
        ledger.intend_nothing();
        let left = ledger.resolve(0..1, |_| None);
        assert_eq!((left.open, left.doubtful), (1, 0));
        ledger.intend(Intent::Stream, std::iter::once((&line, 10)));
        let left = ledger.resolve(0..1, |_| None);
        assert_eq!((left.open, left.doubtful, ledger.mark(0)), (1, 1, Mark::Somewhere));
    }

    /// One of four events, with a tally of two accounts.
    pub(crate) fn counting() -> &'static Ledger {
        let ledger = ledger(4);
        ledger.keep_tally(Tally::new(crate::model::tally::tests::words(2), 2).unwrap());
        (0..2).for_each(|account| ledger.tally().unwrap().open(account, &[0; 7]));
        ledger
    }

    fn counted(ledger: &'static Ledger, account: u32, count: u64) -> Receipts {
        Receipts::of_part(ledger, Part::new(account, [count; 6]), false)
    }

    #[test]
    fn what_was_counted_is_told_when_the_last_that_holds_its_receipt_goes() {
        let ledger = counting();
        let told = |account| ledger.tally().unwrap().told(account)[0];
        let mut held = counted(ledger, 0, 3);
        held.add(counted(ledger, 1, 5));
        held.add(counted(ledger, 0, 4));
        held.add(Receipts::of(ledger, 2, false));
        assert_eq!((held.are_news(), held.oldest()), (true, Some(2)));
        drop(held.clone());
        assert_eq!(told(0), 0, "a copy holds none");
        drop(held);
        assert_eq!((told(0), told(1), ledger.mark(2)), (7, 5, Mark::Told));
        ledger.close();
        drop(counted(ledger, 0, 1));
        assert_eq!(told(0), 7, "after the end nothing is told");
    }

    #[test]
    fn what_was_counted_is_told_by_the_lines_that_came_through() {
        let place = Place { identity: (1, 2), bytes: 100 };
        for (length, expected) in [(100, (0, 0)), (115, (3, 0)), (120, (3, 5))] {
            let ledger = counting();
            let lines = [counted(ledger, 0, 3), counted(ledger, 1, 5)];
            ledger.intend(Intent::File(place), lines.iter().zip([10, 20]));
            // Killed before it could settle.
            ledger.resolve(0..0, |_| Some(length));
            let told = |account| ledger.tally().unwrap().told(account)[0];
            assert_eq!((told(0), told(1)), expected, "{length} bytes");
            lines.into_iter().for_each(std::mem::forget);
        }
        let ledger = counting();
        let lines = [counted(ledger, 0, 3), counted(ledger, 1, 5)];
        ledger.intend(Intent::File(place), lines.iter().zip([10, 20]));
        ledger.settle_written(lines.into_iter());
        ledger.resolve(0..0, |_| Some(120));
        let told = |account| ledger.tally().unwrap().told(account)[0];
        assert_eq!((told(0), told(1)), (3, 5), "settled once");
    }

    #[test]
    fn what_was_counted_and_goes_to_several_outputs_is_in_doubt_meanwhile() {
        let ledger = counting();
        let tally = ledger.tally().unwrap();
        let mut line = counted(ledger, 0, 3);
        ledger.spread(&line);
        ledger.spread(&line);
        assert!(tally.is_doubtful(0));
        let other = counted(ledger, 0, 4);
        ledger.spread(&other);
        line.add(other);
        drop(line);
        assert_eq!((tally.is_doubtful(0), tally.told(0)[0]), (false, 7));
    }

    #[test]
    fn after_the_end_nothing_is_marked() {
        let ledger = ledger(4);
        let held = of(ledger, [0]);
        ledger.close();
        drop(held);
        let left = ledger.resolve(0..1, |_| None);
        assert!(left.ended);
        assert_eq!(left.open, 1);
    }

    #[test]
    fn each_event_counts_for_one_generation() {
        let ledger = ledger(4);
        ledger.set_generation(1, 0);
        assert!(ledger.counts(1, 5_000));
        assert!(!ledger.counts(2, 5_000), "one that is being attached sees the same events");
        ledger.set_generation(2, 9_000);
        assert!(ledger.counts(1, 8_999) && !ledger.counts(2, 8_999));
        assert!(!ledger.counts(1, 9_000) && ledger.counts(2, 9_000));
    }

    proptest! {
        /// In whatever order events are told, and wherever the agent ends: what the next one is to tell is what was not
        /// told, and nothing of it has left the window uncounted.
        #[test]
        fn what_is_left_is_what_was_not_told(
            steps in prop::collection::vec((0_u64..6, any::<bool>()), 1..200),
        ) {
            let (events, window) = (16, 8);
            let ledger = ledger(events);
            let (mut read, mut passed) = (0_u64, 0_u64);
            let mut held: Vec<(u64, Receipts)> = Vec::new();
            let mut told = std::collections::BTreeSet::new();
            for (which, reads) in steps {
                if reads || held.is_empty() {
                    prop_assert_eq!(ledger.mark(read), Mark::Open, "sequence {}", read);
                    held.push((read, Receipts::of(ledger, read, false)));
                    read += 1;
                    while read - passed > window {
                        ledger.pass(passed);
                        passed += 1;
                    }
                } else {
                    let (sequence, receipt) = held.swap_remove(usize::try_from(which).unwrap() % held.len());
                    drop(receipt);
                    told.insert(sequence);
                }
            }
            let open: Vec<u64> = (passed..read).filter(|one| ledger.mark(*one) != Mark::Told).collect();
            let expected: Vec<u64> = (passed..read).filter(|one| !told.contains(one)).collect();
            prop_assert_eq!(open, expected);
            let lost = (0..passed).filter(|one| !told.contains(one)).count();
            let left = ledger.resolve(passed..read, |_| None);
            prop_assert_eq!(left.at_risk, u64::try_from(lost).unwrap());
            held.into_iter().for_each(|(_, receipt)| std::mem::forget(receipt));
        }
    }
}
