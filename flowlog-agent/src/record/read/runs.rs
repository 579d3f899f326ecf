//! Which lines of which run were read, by their `seq`: a line that is there twice counts once, one that is missing is told.
//!
//! Each output of a run numbers its own lines. Lines of one number that tell of different things are those of two outputs, which
//! are kept apart from then on; what both have counts once. What a line tells of is known by a hash of how it begins, which is
//! kept for so many lines as there is room for.

use super::parts::Whose;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use memchr::memmem::Finder;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;

/// Stretches of numbers of one output that are kept apart. Where there are more, the lines were chosen (by class, say) and
/// not lost, and the first gaps are closed: what stands in them is counted as missing, and taken for read when it comes.
const MOST_STRETCHES: usize = 65_536;

/// Outputs of one run that are told apart: as many as an agent has.
const MOST_OUTPUTS: usize = 64;

/// Lines whose marks are kept side by side.
const MARKS: u64 = 256;

/// So often that, in all: 32 MiB, some four million lines. Of lines beyond these the number alone is known.
const MOST_MARKS: usize = 16_384;

/// The mark of a line of which nothing but its number is known.
const NO_MARK: u64 = 0;

/// A line that this build could have written begins with this and its number.
const BEGIN: &[u8] = br#"{"v":1,"seq":"#;

/// What a flow's line tells it apart by ends with this and a moment; and so many bytes in it is there, if at all.
const LAST: &[u8] = br#","last":""#;
const FRONT_BYTES: usize = 640;
const MOMENT_BYTES: usize = 30;

static LAST_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(LAST));
/// Nobody who writes logs knows it.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// What tells a line from another of its number: a hash of what stands between its number and, of a flow, what an output may
/// leave out (time, node, run, id, count, first and last). Where a line is written in any other way it is not known.
pub fn mark_of(line: &[u8]) -> u64 {
    let Some(rest) = line.strip_prefix(BEGIN) else { return NO_MARK };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let body = rest.get(digits..).unwrap_or_default();
    let front = body.get(..FRONT_BYTES).unwrap_or(body);
    let end = LAST_FINDER.find(front).map(|at| at + LAST.len() + MOMENT_BYTES);
    let told = end.and_then(|end| body.get(..end)).unwrap_or(body);
    HASHER.hash_one(told).max(NO_MARK + 1)
}

/// A run's lines.
#[derive(Clone, Debug)]
struct Run {
    whose: Whose,
    outputs: Vec<Output>,
    /// The output of the lines that were read last.
    latest: usize,
    /// What was read of all outputs, where there are several.
    told: Option<HashSet<u64, RandomState>>,
}

/// Lines that were numbered together.
#[derive(Clone, Debug, Default)]
struct Output {
    /// First and last number of what was read without a gap, in order.
    stretches: Vec<(u64, u64)>,
    /// Lines that are missing in gaps that were closed.
    closed: u64,
    marks: HashMap<u64, Box<[u64]>, RandomState>,
}

/// How lines go with those of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It has none of their numbers.
    Apart,
    /// It has some of them.
    Same,
    /// It has one of their numbers for something else.
    Clash,
}

/// What is found out about lines that are about to be read.
struct Claimed {
    /// Those that were read before, by their numbers.
    repeated: Vec<(u64, u64)>,
    /// The last line of their output before.
    last: Option<u64>,
    /// Theirs is an output of the run that was not known yet, and another is.
    another: bool,
}

/// Runs by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    numbers: HashMap<(String, String), usize, RandomState>,
    runs: Vec<Run>,
    /// Lines that were read before.
    pub(super) repeated: u64,
    /// Numbers were forgotten, since there were too many gaps.
    pub(super) crowded: bool,
    /// Lines of several outputs of one run were read.
    pub(super) mixed: bool,
    /// Of some lines the number alone is known.
    pub(super) unmarked: bool,
    /// How many times `MARKS` marks are kept.
    kept: usize,
}

impl Runs {
    /// The run's number here.
    pub(super) fn number(&mut self, whose: &Whose) -> usize {
        let next = self.runs.len();
        let number = *self.numbers.entry((whose.node.clone(), whose.run.clone())).or_insert(next);
        if number == next {
            let whose = whose.clone();
            self.runs.push(Run { whose, outputs: vec![Output::default()], latest: 0, told: None });
        }
        number
    }

    /// The lines from `first` on, with these marks, are about to be read. Gives those that were read before.
    pub(super) fn claim(&mut self, number: usize, first: u64, marks: &[u64]) -> Vec<(u64, u64)> {
        self.claim_of(number, first, marks).repeated
    }

    fn claim_of(&mut self, number: usize, first: u64, marks: &[u64]) -> Claimed {
        let mut claimed = Claimed { repeated: Vec::new(), last: None, another: false };
        let count = u64::try_from(marks.len()).unwrap_or(u64::MAX);
        let (Some(run), Some(more)) = (self.runs.get_mut(number), count.checked_sub(1)) else {
            return claimed;
        };
        let last = first.saturating_add(more);
        let place = run.place(first, last, marks).or_else(|| {
            claimed.another = true;
            self.mixed = true;
            run.begin_output()
        });
        let Some(output) = place.and_then(|place| run.outputs.get_mut(place)) else {
            // More than any agent has: whatever these are, nothing is passed over for their numbers.
            self.crowded = true;
            return claimed;
        };
        claimed.last = output.stretches.last().map(|(_, end)| *end);
        match output.stretches.last_mut() {
            // Nearly always: the next lines of the same file.
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            Some((_, end)) if *end >= first => claimed.repeated = output.add(first, last),
            _ => output.stretches.push((first, last)),
        }
        self.crowded |= output.close_gaps();
        self.unmarked |= !output.note(first, marks, &mut self.kept);
        run.latest = place.unwrap_or_default();
        run.pass_shared(first, marks, &mut claimed.repeated);
        self.repeated += claimed.repeated.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        claimed
    }

    /// Lines that are missing between two of a run.
    pub(super) fn missing(&self) -> u64 {
        self.runs.iter().map(Run::missing).sum()
    }

    /// Nodes that told, in order.
    pub(super) fn nodes(&self) -> Vec<String> {
        let mut nodes: Vec<String> = self.runs.iter().map(|run| run.whose.node.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The cluster, where every run that names one names the same.
    pub(super) fn cluster(&self) -> Option<String> {
        let mut named = self.runs.iter().filter_map(|run| run.whose.cluster.as_ref());
        let first = named.next()?;
        named.all(|other| other == first).then(|| first.clone())
    }
}

/// What a line's number says of the lines before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It follows the line before.
    Next,
    /// It is the first of its run that is read; so many come before it.
    First {
        /// Lines of the run that were not read.
        before: u64,
    },
    /// Lines are missing before it.
    Gap {
        /// How many.
        missing: u64,
    },
    /// It was missing, and comes late.
    Late,
    /// It was read before.
    Repeated,
}

/// The numbers of lines that are looked at one by one.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Runs);

impl Numbers {
    /// The run's number here.
    pub fn run(&mut self, node: &str, cluster: Option<&str>, run: &str) -> usize {
        let cluster = cluster.map(str::to_owned);
        self.0.number(&Whose { node: node.to_owned(), cluster, run: run.to_owned() })
    }

    /// A line of a run is about to be read; `mark` is what `mark_of` makes of it.
    pub fn see(&mut self, run: usize, seq: u64, mark: u64) -> Seen {
        let Claimed { repeated, last, another } = self.0.claim_of(run, seq, &[mark]);
        let is_new = repeated.is_empty();
        match last {
            // What it had in common with the other is before it.
            None if another => {
                if is_new {
                    Seen::Next
                } else {
                    Seen::Repeated
                }
            }
            None => Seen::First { before: seq.saturating_sub(1) },
            Some(_) if !is_new => Seen::Repeated,
            Some(last) if last.checked_add(1) == Some(seq) => Seen::Next,
            Some(last) if last < seq => Seen::Gap { missing: seq - last - 1 },
            Some(_) => Seen::Late,
        }
    }

    /// Lines that are missing between two of a run.
    pub fn missing(&self) -> u64 {
        self.0.missing()
    }

    /// Lines that were read before.
    pub fn repeated(&self) -> u64 {
        self.0.repeated
    }
}

impl Run {
    /// The output that lines with these numbers and marks are of; none where each has one of the numbers for something else.
    fn place(&self, first: u64, last: u64, marks: &[u64]) -> Option<usize> {
        let continues = |output: &Output| {
            output.stretches.last().is_some_and(|(_, end)| end.checked_add(1) == Some(first))
        };
        if self.outputs.get(self.latest).is_some_and(continues) {
            return Some(self.latest);
        }
        let mut apart = None;
        // What goes on where it ended is the likeliest of those that have none of the numbers, then the latest.
        let likely = |place: usize, output: &Output| (continues(output), place == self.latest);
        for (place, output) in self.outputs.iter().enumerate() {
            match output.fit(first, last, marks) {
                Fit::Same => return Some(place),
                Fit::Clash => {}
                Fit::Apart => apart = apart.max(Some((likely(place, output), place))),
            }
        }
        apart.map(|(_, place)| place)
    }

    /// From now on lines are told apart by what they tell, too. None where there are too many outputs.
    fn begin_output(&mut self) -> Option<usize> {
        let Self { outputs, told, .. } = self;
        told.get_or_insert_with(|| {
            let marks = outputs.iter().flat_map(|output| output.marks.values());
            marks.flat_map(|marks| marks.iter().copied()).filter(|mark| *mark != NO_MARK).collect()
        });
        let place = outputs.len();
        (place < MOST_OUTPUTS).then(|| {
            outputs.push(Output::default());
            place
        })
    }

    /// What another output had, too, was read before.
    fn pass_shared(&mut self, first: u64, marks: &[u64], repeated: &mut Vec<(u64, u64)>) {
        let Some(told) = &mut self.told else { return };
        let is_repeated = repeated.clone();
        for (seq, mark) in (first..).zip(marks) {
            if *mark == NO_MARK || is_repeated.iter().any(|(first, last)| (*first..=*last).contains(&seq)) {
                continue;
            }
            let is_full = told.len() >= MOST_MARKS.saturating_mul(256);
            let was_told = if is_full { told.contains(mark) } else { !told.insert(*mark) };
            if was_told {
                repeated.push((seq, seq));
            }
        }
    }

    fn missing(&self) -> u64 {
        self.outputs.iter().map(Output::missing).sum()
    }
}

impl Output {
    fn fit(&self, first: u64, last: u64, marks: &[u64]) -> Fit {
        let begin = self.stretches.partition_point(|(_, end)| *end < first);
        if self.stretches.get(begin).is_none_or(|(start, _)| *start > last) {
            return Fit::Apart;
        }
        let clash = |(seq, mark): (u64, &u64)| {
            let known = self.mark(seq);
            known != NO_MARK && *mark != NO_MARK && known != *mark
        };
        if (first..).zip(marks).any(clash) { Fit::Clash } else { Fit::Same }
    }

    fn mark(&self, seq: u64) -> u64 {
        let marks = self.marks.get(&(seq / MARKS));
        let place = usize::try_from(seq % MARKS).ok();
        marks.zip(place).and_then(|(marks, place)| marks.get(place).copied()).unwrap_or(NO_MARK)
    }

    /// Keep marks; false where there is no more room for them.
    fn note(&mut self, first: u64, marks: &[u64], kept: &mut usize) -> bool {
        let (mut first, mut marks) = (first, marks);
        while !marks.is_empty() {
            let begin = usize::try_from(first % MARKS).unwrap_or_default();
            let room = usize::try_from(MARKS).unwrap_or_default().saturating_sub(begin);
            let (now, later) = marks.split_at(room.min(marks.len()));
            if *kept >= MOST_MARKS && !self.marks.contains_key(&(first / MARKS)) {
                return false;
            }
            let side_by_side = self.marks.entry(first / MARKS).or_insert_with(|| {
                *kept += 1;
                vec![NO_MARK; begin + room].into_boxed_slice()
            });
            for (kept, mark) in side_by_side.iter_mut().skip(begin).zip(now) {
                *kept = *mark;
            }
            first = first.saturating_add(u64::try_from(now.len()).unwrap_or(u64::MAX));
            marks = later;
        }
        true
    }

    /// Add numbers somewhere among those that are there. Gives those that were there.
    fn add(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        // Those that overlap, or that it touches.
        let begin = self.stretches.partition_point(|(_, end)| end.saturating_add(1) < first);
        let end = self.stretches.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = self.stretches.get(begin..end).unwrap_or_default();
        let overlaps = touched
            .iter()
            .map(|(start, end)| ((*start).max(first), (*end).min(last)))
            .filter(|(start, end)| start <= end);
        let repeated = overlaps.collect();
        let whole = touched
            .iter()
            .fold((first, last), |(first, last), (start, end)| (first.min(*start), last.max(*end)));
        self.stretches.splice(begin..end, [whole]);
        repeated
    }

    fn close_gaps(&mut self) -> bool {
        if self.stretches.len() <= MOST_STRETCHES {
            return false;
        }
        let half = self.stretches.len() / 2;
        self.closed += gaps(self.stretches.get(..half).unwrap_or_default());
        let ends = (self.stretches.first().copied(), self.stretches.get(half - 1).copied());
        if let (Some((first, _)), Some((_, last))) = ends {
            self.stretches.splice(..half, [(first, last)]);
        }
        true
    }

    fn missing(&self) -> u64 {
        self.closed + gaps(&self.stretches)
    }
}

fn gaps(stretches: &[(u64, u64)]) -> u64 {
    let pairs = stretches.iter().zip(stretches.iter().skip(1));
    pairs.map(|((_, end), (start, _))| start.saturating_sub(*end).saturating_sub(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(run: &str) -> Whose {
        Whose { node: "n1".into(), cluster: None, run: run.into() }
    }

    /// Of lines of which nothing is known but their numbers.
    fn claim(runs: &mut Runs, run: usize, first: u64, last: u64) -> Vec<(u64, u64)> {
        runs.claim(run, first, &vec![NO_MARK; usize::try_from(last - first + 1).unwrap()])
    }

    /// Claims in order; what was there before, and what is missing at the end.
    fn claimed(claims: &[(u64, u64)]) -> (Vec<(u64, u64)>, u64, usize) {
        let mut runs = Runs::default();
        let number = runs.number(&whose("a"));
        let repeated =
            claims.iter().flat_map(|(first, last)| claim(&mut runs, number, *first, *last)).collect();
        (repeated, runs.missing(), runs.runs[0].outputs[0].stretches.len())
    }

    #[test]
    fn a_line_counts_once_and_a_gap_is_told() {
        type Case<'a> = (&'a str, &'a [(u64, u64)], &'a [(u64, u64)], u64, usize);
        let cases: [Case<'_>; 9] = [
            ("one after the other", &[(1, 10), (11, 20)], &[], 0, 1),
            ("a gap", &[(1, 10), (13, 20)], &[], 2, 2),
            ("not from the beginning: nothing is known to be missing", &[(500, 510)], &[], 0, 1),
            ("the same twice", &[(1, 10), (1, 10)], &[(1, 10)], 0, 1),
            ("the copy goes on where the original ended", &[(1, 10), (5, 15)], &[(5, 10)], 0, 1),
            ("the older file comes last", &[(11, 20), (1, 10)], &[], 0, 1),
            ("a gap is filled", &[(1, 3), (7, 9), (4, 6)], &[], 0, 1),
            ("it covers several", &[(1, 3), (7, 9), (12, 12), (2, 20)], &[(2, 3), (7, 9), (12, 12)], 0, 1),
            ("the largest numbers there are", &[(u64::MAX, u64::MAX), (1, 1)], &[], u64::MAX - 2, 2),
        ];
        for (name, claims, repeated, missing, stretches) in cases {
            assert_eq!(claimed(claims), (repeated.to_vec(), missing, stretches), "{name}");
        }
    }

    #[test]
    fn runs_do_not_mix_and_those_of_two_nodes_neither() {
        let mut runs = Runs::default();
        let other_node = Whose { node: "n2".into(), cluster: Some("prod".into()), run: "a".into() };
        let numbers = [whose("a"), whose("b"), other_node, whose("a")].map(|whose| runs.number(&whose));
        assert_eq!(numbers, [0, 1, 2, 0]);
        assert!(numbers[..3].iter().all(|number| claim(&mut runs, *number, 1, 5).is_empty()));
        assert_eq!(claim(&mut runs, 0, 5, 6), [(5, 5)]);
        assert_eq!((runs.repeated, runs.nodes()), (1, vec!["n1".to_owned(), "n2".to_owned()]));
        assert_eq!(runs.cluster().as_deref(), Some("prod"));
    }

    #[test]
    fn each_line_says_what_is_missing_before_it() {
        let mut numbers = Numbers::default();
        let run = numbers.run("n1", None, "a");
        let other = numbers.run("n2", Some("prod"), "a");
        assert_eq!((run, other, numbers.run("n1", None, "a")), (0, 1, 0));
        for (of, seq, expected) in [
            (run, 5, Seen::First { before: 4 }),
            (run, 6, Seen::Next),
            (other, 1, Seen::First { before: 0 }),
            (run, 9, Seen::Gap { missing: 2 }),
            (run, 10, Seen::Next),
            (run, 8, Seen::Late),
            (run, 8, Seen::Repeated),
            (run, 10, Seen::Repeated),
            (run, 11, Seen::Next),
            (other, 2, Seen::Next),
            (other, u64::MAX, Seen::Gap { missing: u64::MAX - 3 }),
        ] {
            assert_eq!(numbers.see(of, seq, NO_MARK), expected, "{of}:{seq}");
        }
        assert_eq!((numbers.missing(), numbers.repeated()), (u64::MAX - 2, 2));
    }

    #[test]
    fn what_was_chosen_from_a_log_takes_no_more_memory_than_so_much() {
        let mut runs = Runs::default();
        let number = runs.number(&whose("a"));
        let lines = u64::try_from(MOST_STRETCHES).unwrap() * 3;
        for line in 1..=lines {
            assert!(claim(&mut runs, number, line * 2, line * 2).is_empty());
        }
        assert!(runs.runs[0].outputs[0].stretches.len() <= MOST_STRETCHES && runs.crowded);
        assert_eq!(runs.missing(), lines - 1);
    }

    #[test]
    fn lines_of_one_number_that_tell_of_other_things_are_those_of_another_output() {
        let mut runs = Runs::default();
        let run = runs.number(&whose("a"));
        // The first line is the same in both, then each has its own, and the sixth is in both under other numbers.
        assert!(runs.claim(run, 1, &[10, 21, 22, 23, 24, 60, 25]).is_empty());
        assert!(!runs.mixed);
        assert_eq!(runs.claim(run, 1, &[10, 31, 32, 60, 33]), [(1, 1), (4, 4)]);
        assert!(runs.claim(run, 6, &[34]).is_empty(), "it goes on where that one ended");
        assert!(runs.claim(run, 8, &[26]).is_empty());
        assert_eq!((runs.missing(), runs.repeated, runs.mixed), (0, 2, true));
        assert_eq!(runs.claim(run, 2, &[31, 32]), [(2, 3)], "a copy of one of them");
        assert_eq!(runs.claim(run, 2, &[21, 22]), [(2, 3)]);
        assert!(runs.claim(run, 8, &[35]).is_empty());
        assert_eq!(runs.missing(), 1, "of one of them a line is missing");
    }

    #[test]
    fn lines_of_two_outputs_are_seen_one_by_one_in_any_order() {
        let mut numbers = Numbers::default();
        let run = numbers.run("n1", None, "a");
        for (seq, mark, expected) in [
            (1, 10, Seen::First { before: 0 }),
            (2, 21, Seen::Next),
            (3, 22, Seen::Next),
            (1, 10, Seen::Repeated),
            (2, 31, Seen::Next),
            (3, 32, Seen::Next),
            (4, 22, Seen::Repeated),
            (5, 33, Seen::Next),
            (7, 34, Seen::Gap { missing: 1 }),
            (4, 23, Seen::Next),
            (5, 24, Seen::Next),
            (5, 33, Seen::Repeated),
        ] {
            assert_eq!(numbers.see(run, seq, mark), expected, "{seq}: {mark}");
        }
        assert_eq!((numbers.missing(), numbers.repeated()), (1, 3));
    }

    #[test]
    fn no_more_marks_are_kept_than_so_many() {
        let mut runs = Runs::default();
        let run = runs.number(&whose("a"));
        let marks: Vec<u64> = (1..=MARKS).collect();
        for stretch in 0..=u64::try_from(MOST_MARKS).unwrap() {
            assert!(runs.claim(run, stretch * MARKS, &marks).is_empty());
        }
        assert!(runs.unmarked && runs.kept == MOST_MARKS);
        assert_eq!(runs.runs[0].outputs[0].mark(3), 4);
    }

    #[test]
    fn a_line_is_marked_by_what_it_tells_and_not_by_its_number() {
        let line = |seq: u64, id: &str, rest: &str| {
            mark_of(
                format!(
                    r#"{{"v":1,"seq":{seq},"kind":"flow","time":"2026-11-30T08:00:10.000000000Z","node":"n1","run":"r","flow":{{"id":"{id}","count":1,"first":"2026-11-30T08:00:09.000000000Z","last":"2026-11-30T08:00:10.000000000Z"{rest}}}"#
                )
                .as_bytes(),
            )
        };
        assert_eq!(
            line(1, "a", r#","bytes_sent":7}"#),
            line(12_345, "a", "}"),
            "what may be left out is not looked at"
        );
        assert_ne!(line(1, "a", "}"), line(1, "b", "}"));
        assert_eq!(mark_of(br#"{ "v": 1, "seq": 7 }"#), NO_MARK);
        assert_ne!(
            mark_of(br#"{"v":1,"seq":7,"kind":"agent","b":1}"#),
            mark_of(br#"{"v":1,"seq":7,"kind":"agent","b":2}"#)
        );
    }
}
