//! Which lines of which run were read, by their `seq`: a line that is there twice counts once, one that is missing is told.

use super::parts::Whose;
use hashbrown::HashMap;

/// Stretches of numbers of one run that are kept apart. Where there are more, the lines were chosen (by class, say) and
/// not lost, and the first gaps are closed: what stands in them is counted as missing, and taken for read when it comes.
const MOST_STRETCHES: usize = 65_536;

/// A run's lines.
#[derive(Clone, Debug)]
struct Run {
    whose: Whose,
    /// First and last number of what was read without a gap, in order.
    stretches: Vec<(u64, u64)>,
    /// Lines that are missing in gaps that were closed.
    closed: u64,
}

/// Runs by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    numbers: HashMap<(String, String), usize, foldhash::fast::RandomState>,
    runs: Vec<Run>,
    /// Lines that were read before.
    pub(super) repeated: u64,
    /// Numbers were forgotten, since there were too many gaps.
    pub(super) crowded: bool,
}

impl Runs {
    /// The run's number here.
    pub(super) fn number(&mut self, whose: &Whose) -> usize {
        let next = self.runs.len();
        let number = *self.numbers.entry((whose.node.clone(), whose.run.clone())).or_insert(next);
        if number == next {
            self.runs.push(Run { whose: whose.clone(), stretches: Vec::new(), closed: 0 });
        }
        number
    }

    /// The lines from `first` to `last` are about to be read. Gives those that were read before.
    pub(super) fn claim(&mut self, number: usize, first: u64, last: u64) -> Vec<(u64, u64)> {
        let Some(run) = self.runs.get_mut(number) else { return Vec::new() };
        match run.stretches.last_mut() {
            // Nearly always: the next lines of the same file.
            Some((_, end)) if end.checked_add(1) == Some(first) => {
                *end = last;
                return Vec::new();
            }
            Some((_, end)) if *end >= first => {}
            _ => {
                run.stretches.push((first, last));
                self.crowded |= run.close_gaps();
                return Vec::new();
            }
        }
        let repeated = run.add(first, last);
        let lines = |(first, last): &(u64, u64)| last - first + 1;
        self.repeated += repeated.iter().map(lines).sum::<u64>();
        self.crowded |= run.close_gaps();
        repeated
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

    /// A line of a run is about to be read.
    pub fn see(&mut self, run: usize, seq: u64) -> Seen {
        let last = self.0.runs.get(run).and_then(|run| run.stretches.last()).map(|(_, end)| *end);
        let is_new = self.0.claim(run, seq, seq).is_empty();
        match last {
            None => Seen::First { before: seq.saturating_sub(1) },
            Some(last) if last.checked_add(1) == Some(seq) => Seen::Next,
            Some(last) if last < seq => Seen::Gap { missing: seq - last - 1 },
            Some(_) if is_new => Seen::Late,
            Some(_) => Seen::Repeated,
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

    /// Claims in order; what was there before, and what is missing at the end.
    fn claimed(claims: &[(u64, u64)]) -> (Vec<(u64, u64)>, u64, usize) {
        let mut runs = Runs::default();
        let number = runs.number(&whose("a"));
        let repeated = claims.iter().flat_map(|(first, last)| runs.claim(number, *first, *last)).collect();
        (repeated, runs.missing(), runs.runs[0].stretches.len())
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
        assert!(numbers[..3].iter().all(|number| runs.claim(*number, 1, 5).is_empty()));
        assert_eq!(runs.claim(0, 5, 6), [(5, 5)]);
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
            assert_eq!(numbers.see(of, seq), expected, "{of}:{seq}");
        }
        assert_eq!((numbers.missing(), numbers.repeated()), (u64::MAX - 2, 2));
    }

    #[test]
    fn what_was_chosen_from_a_log_takes_no_more_memory_than_so_much() {
        let mut runs = Runs::default();
        let number = runs.number(&whose("a"));
        let lines = u64::try_from(MOST_STRETCHES).unwrap() * 3;
        for line in 1..=lines {
            assert!(runs.claim(number, line * 2, line * 2).is_empty());
        }
        assert!(runs.runs[0].stretches.len() <= MOST_STRETCHES && runs.crowded);
        assert_eq!(runs.missing(), lines - 1);
    }
}
