//! What is happening, counted: attempts by who opens, who listens, vendor, policy and class, over the last minutes.
//!
//! Pure: the time is an argument. What it takes hangs on how many kinds of attempts there are, and has an upper end: beyond it
//! they are counted together, as others, and none is left out.

mod edge;
mod ids;
mod rows;
mod series;

pub(super) use edge::Edge;
pub(super) use rows::{By, Row, RowKey, Scope, Step};
pub(super) use series::Tally;

use super::told::{Key, Name, Told};
use crate::model::{Class, Decision, Direction, State};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ids::{Counted, Ids};
use jiff::Timestamp;
use series::{MOST, Series, bucket, first_of};

/// What is kept apart at most. Each rank has room of its own: what is ordinary cannot displace what is news.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Names of one kind, sources, say, of what is news. Half as many of what is not enforced, and of what is ordinary.
    pub(super) names: usize,
    /// Kinds of attempts, likewise.
    pub(super) edges: usize,
    /// Records that can be looked at beside the last of each kind of attempts.
    pub(super) lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 2_048, edges: 8_192, lines: 8_000 }
    }
}

/// Buckets of the log between two looks for what is idle: a minute.
const BETWEEN_SWEEPS: i64 = 12;

/// How far back is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Window {
    /// The last minute.
    #[value(name = "1m")]
    One,
    /// The last five minutes.
    #[value(name = "5m")]
    Five,
    /// The last fifteen minutes.
    #[value(name = "15m")]
    Fifteen,
    /// All that was read.
    All,
}

impl Window {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::One => "1m",
            Self::Five => "5m",
            Self::Fifteen => "15m",
            Self::All => "all",
        }
    }

    /// None is all.
    pub(super) fn seconds(self) -> Option<i64> {
        match self {
            Self::One => Some(60),
            Self::Five => Some(300),
            Self::Fifteen => Some(900),
            Self::All => None,
        }
    }

    /// The first bucket that is in it.
    fn begins(self, now: Timestamp) -> Option<i64> {
        self.seconds().map(|seconds| first_of(seconds, bucket(now)))
    }

    /// Whether a moment is in it.
    pub(super) fn holds(self, time: Timestamp, now: Timestamp) -> bool {
        Some(bucket(time)) >= self.begins(now)
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::One => Self::Five,
            Self::Five => Self::Fifteen,
            Self::Fifteen => Self::All,
            Self::All => Self::One,
        }
    }
}

/// What shares room with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    NotEnforced,
    /// Denied, blocked, unknown.
    News,
    Ordinary,
}

impl Rank {
    fn of(class: Class) -> Self {
        match class {
            Class::PolicyNotEnforced => Self::NotEnforced,
            class if is_news(class) => Self::News,
            _ => Self::Ordinary,
        }
    }

    /// Of what there is room for.
    fn share(self, of: usize) -> usize {
        if self == Self::News { of } else { of.div_ceil(2) }
    }
}

/// What is kept apart of a rank.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Sources, destinations, vendors, policies.
    names: [HashMap<Name, (), RandomState>; 4],
    edges: usize,
    /// When it was looked last for what is idle.
    swept: Option<i64>,
}

/// Attempts of a class: in the window, and in its last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) minute: u64,
}

impl Sum {
    fn add(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.count);
        self.minute = self.minute.saturating_add(more.minute);
    }

    /// What another has as well is its.
    fn give(&mut self, other: &mut Self) {
        for (own, other) in [(&mut self.count, &mut other.count), (&mut self.minute, &mut other.minute)] {
            let both = (*own).min(*other);
            (*own, *other) = (*own - both, *other - both);
        }
    }
}

/// All that was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    limits: Limits,
    edges: Vec<Edge>,
    numbers: HashMap<Key, usize, RandomState>,
    kept: [Kept; 3],
    /// The bucket of the newest record: what is idle is so beside the others, also in a log that is over.
    newest: Option<i64>,
    /// Records that are kept.
    lines: usize,
    ids: Ids,
    /// What is counted by its class alone.
    plain: HashMap<Class, Tally, RandomState>,
    /// Records that were counted.
    pub(super) told: u64,
    /// Updates of attempts that were not read.
    pub(super) unmatched: u64,
    /// Attempts that the run before may have told, and of which that is not known.
    pub(super) replayed: u64,
}

/// What is news: what should not be, or may be.
pub(super) fn is_news(class: Class) -> bool {
    match class {
        Class::PolicyNotEnforced
        | Class::DeniedAttempt
        | Class::BlockedThoughAllowed
        | Class::BlockedUnexplained
        | Class::Undetermined => true,
        Class::Allowed | Class::Unrestricted | Class::Refused | Class::Failed => false,
    }
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Count attempts by their class alone.
    pub(super) fn add_plain(&mut self, class: Class, time: Timestamp, count: u64, now: Timestamp) {
        self.plain.entry(class).or_default().add(time, count, now);
    }

    /// Count what a record tells.
    pub(super) fn take(&mut self, told: Told, now: Timestamp) {
        let now = bucket(now);
        self.newest = self.newest.max(Some(bucket(told.time)));
        let known = told.id.and_then(|id| self.ids.find(id));
        if told.replayed && !told.update && known.is_some() {
            return;
        }
        self.told += 1;
        match (told.update && told.count == 0, known) {
            (true, Some(counted)) => self.turn(told, counted, now),
            // Sums of connections of which nothing was read.
            (true, None) if told.sums => {}
            (true, None) => {
                self.unmatched += 1;
                let edge = self.edge(&told.key, now);
                self.note(edge, told.time);
                self.show(edge, told);
            }
            (false, _) => self.count(told, now),
        }
    }

    fn count(&mut self, told: Told, now: i64) {
        let place = Series::place(bucket(told.time), now);
        let (edge, count, id) = (self.edge(&told.key, now), told.count, told.id);
        if told.replayed {
            self.replayed = self.replayed.saturating_add(count);
        }
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.add(place, count, now);
        }
        if count == 0 {
            self.note(edge, told.time);
        }
        if let Some(id) = id.filter(|_| count > 0) {
            self.ids.keep(id, Counted { edge, bucket: place });
        }
        self.show(edge, told);
    }

    /// One attempt has become another: it is counted where it is now, in the time when it was.
    fn turn(&mut self, told: Told, from: Counted, now: i64) {
        let to = self.edge(&told.key, now);
        // Making room may have given the other one another number.
        let from = told.id.and_then(|id| self.ids.find(id)).unwrap_or(from);
        if from.edge != to {
            if let Some(edge) = self.edges.get_mut(from.edge) {
                edge.take(from.bucket, 1);
            }
            if let Some(edge) = self.edges.get_mut(to) {
                edge.add(from.bucket, 1, now);
            }
            if let Some(id) = told.id {
                self.ids.keep(id, Counted { edge: to, ..from });
            }
        }
        self.show(to, told);
    }

    /// A record that counts nothing is seen all the same.
    fn note(&mut self, edge: usize, time: Timestamp) {
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.noted = edge.noted.max(Some(time));
        }
    }

    /// Keep the record, to be looked at.
    fn show(&mut self, edge: usize, told: Told) {
        if let Some(edge) = self.edges.get_mut(edge) {
            self.lines = self.lines.saturating_add_signed(edge.show(told));
        }
        if self.more_lines() > self.limits.lines {
            self.forget_lines();
        }
    }

    /// Records beside the last of each kind of attempts, which stays.
    fn more_lines(&self) -> usize {
        self.lines.saturating_sub(self.edges.len())
    }

    /// Of what was told of longest ago the last record alone is kept, until a quarter is free again.
    fn forget_lines(&mut self) {
        let mut order: Vec<usize> = (0..self.edges.len()).collect();
        order.sort_by_key(|edge| self.edges.get(*edge).map(|edge| edge.last));
        for edge in order {
            if self.more_lines() <= self.limits.lines / 4 * 3 {
                break;
            }
            if let Some(edge) = self.edges.get_mut(edge) {
                self.lines = self.lines.saturating_sub(edge.forget());
            }
        }
    }

    /// Where these attempts are counted; made where there is room, else with others.
    fn edge(&mut self, key: &Key, now: i64) -> usize {
        if let Some(edge) = self.numbers.get(key) {
            return *edge;
        }
        let rank = Rank::of(key.class);
        self.make_room(rank, now);
        let limit = rank.share(self.limits.edges);
        let mut key = key.clone();
        let parts = [&mut key.source, &mut key.destination, &mut key.vendor, &mut key.policy];
        for (place, part) in parts.into_iter().enumerate() {
            if !self.may_have(rank, place, part) {
                *part = None;
            }
        }
        let taken = self.kept(rank).edges;
        if !self.numbers.contains_key(&key) && taken >= limit {
            // Who opens is what a scan is known by.
            let source = key.source.take();
            key = Key { source, ..others(&key) };
            if !self.numbers.contains_key(&key) && taken >= limit / 4 * 5 {
                key.source = None;
            }
        }
        if let Some(edge) = self.numbers.get(&key) {
            return *edge;
        }
        self.push(Edge::new(key))
    }

    fn kept(&self, rank: Rank) -> &Kept {
        let [not_enforced, news, ordinary] = &self.kept;
        match rank {
            Rank::NotEnforced => not_enforced,
            Rank::News => news,
            Rank::Ordinary => ordinary,
        }
    }

    fn kept_mut(&mut self, rank: Rank) -> &mut Kept {
        let [not_enforced, news, ordinary] = &mut self.kept;
        match rank {
            Rank::NotEnforced => not_enforced,
            Rank::News => news,
            Rank::Ordinary => ordinary,
        }
    }

    /// A name is there in any rank, or its own has room for it.
    fn may_have(&self, rank: Rank, place: usize, name: &Name) -> bool {
        let of = |kept: &Kept| kept.names.get(place).is_some_and(|names| names.contains_key(name));
        let count = self.kept(rank).names.get(place).map_or(0, HashMap::len);
        count < rank.share(self.limits.names) || self.kept.iter().any(of)
    }

    fn push(&mut self, edge: Edge) -> usize {
        let number = self.edges.len();
        let kept = self.kept_mut(Rank::of(edge.key.class));
        kept.edges += 1;
        let Key { source, destination, vendor, policy, .. } = &edge.key;
        for (names, part) in kept.names.iter_mut().zip([source, destination, vendor, policy]) {
            names.insert(part.clone(), ());
        }
        self.numbers.insert(edge.key.clone(), number);
        self.edges.push(edge);
        number
    }

    /// Where a rank has no room any more, what is idle of it gives way.
    fn make_room(&mut self, rank: Rank, now: i64) {
        let (names, edges) = (rank.share(self.limits.names), rank.share(self.limits.edges));
        let kept = self.kept(rank);
        let is_crowded = kept.edges >= edges || kept.names.iter().any(|kept| kept.len() >= names);
        let newest = self.newest.map_or(now, |newest| newest.min(now));
        if is_crowded && kept.swept.is_none_or(|swept| swept + BETWEEN_SWEEPS <= newest) {
            self.sweep(rank, newest, now);
            self.kept_mut(rank).swept = Some(newest);
        }
    }

    /// What of a rank no window but the longest has any more is counted with others.
    fn sweep(&mut self, rank: Rank, newest: i64, now: i64) {
        let edges = std::mem::take(&mut self.edges);
        self.numbers.clear();
        for kept in &mut self.kept {
            *kept = Kept { swept: kept.swept, ..Kept::default() };
        }
        let mut numbers = Vec::with_capacity(edges.len());
        let mut idle = Vec::new();
        for (old, edge) in edges.into_iter().enumerate() {
            let is_idle = Rank::of(edge.key.class) == rank
                && bucket(edge.last) <= newest - MOST
                && edge.key != others(&edge.key);
            if is_idle {
                numbers.push(usize::MAX);
                idle.push((old, edge));
            } else {
                numbers.push(self.push(edge));
            }
        }
        for (old, edge) in idle {
            let key = others(&edge.key);
            let to = match self.numbers.get(&key) {
                Some(to) => *to,
                None => self.push(Edge::new(key)),
            };
            if let (Some(number), Some(others)) = (numbers.get_mut(old), self.edges.get_mut(to)) {
                *number = to;
                others.join(&edge, now);
            }
        }
        self.lines = self.edges.iter().map(|edge| edge.lines.len()).sum();
        self.ids.renumber(&numbers);
    }

    /// Attempts of a class.
    pub(super) fn of_class(&self, class: Class, window: Window, now: Timestamp) -> Sum {
        let mut sum = Sum::default();
        if let Some(plain) = self.plain.get(&class) {
            sum = Sum { count: plain.of(window, now), minute: plain.of(Window::One, now) };
        }
        let counted = self.counted(window.begins(now), bucket(now), |edge| edge.key.class == class);
        counted.into_iter().for_each(|(_, more)| sum.add(more));
        sum
    }
}

/// All of a class, as one end tells it, that is not kept apart.
fn others(of: &Key) -> Key {
    Key {
        source: None,
        destination: None,
        vendor: None,
        policy: None,
        class: of.class,
        state: State::Unknown,
        decision: Decision::Unknown,
        direction: Direction::Egress,
        second: of.second,
    }
}

#[cfg(test)]
mod tests;
