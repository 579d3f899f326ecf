//! What was counted, put together to rows: by one of its names, of all or of a part.

use super::super::told::{Key, Name};
use super::{Edge, Model, Sum, Window, bucket, first_of, is_news};
use crate::model::{Class, Direction};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::Timestamp;
use std::sync::Arc;

/// Parts of a row's trend.
pub(in super::super) const PARTS: usize = 8;

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(in super::super) enum By {
    /// Who opens.
    Source,
    /// Who listens.
    Destination,
    /// Both.
    Pair,
    /// Whose software stands at the ends.
    Vendor,
    /// The policies that deny.
    Policy,
    /// Verdict × outcome.
    Class,
}

impl By {
    pub(in super::super) const ALL: [Self; 6] =
        [Self::Source, Self::Destination, Self::Pair, Self::Vendor, Self::Policy, Self::Class];

    pub(in super::super) fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Pair => "pair",
            Self::Vendor => "vendor",
            Self::Policy => "policy",
            Self::Class => "class",
        }
    }

    fn key(self, key: &Key) -> RowKey {
        match self {
            Self::Source => RowKey(key.source.clone(), None),
            Self::Destination => RowKey(key.destination.clone(), None),
            Self::Pair => RowKey(key.source.clone(), Some(key.destination.clone())),
            Self::Vendor => RowKey(key.vendor.clone(), None),
            Self::Policy => RowKey(key.policy.clone(), None),
            Self::Class => RowKey(Some(Arc::from(key.class.as_str())), None),
        }
    }
}

/// What tells a row from others: one name, or two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct RowKey(pub(super) Name, pub(super) Option<Name>);

impl RowKey {
    /// As it is shown.
    pub(in super::super) fn text(&self) -> String {
        let one = |name: &Name| name.as_deref().unwrap_or("(others)").to_owned();
        match &self.1 {
            None => one(&self.0),
            Some(other) => format!("{} → {}", one(&self.0), one(other)),
        }
    }
}

/// A part that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Step {
    pub(in super::super) by: By,
    pub(in super::super) key: RowKey,
}

/// Of what rows are.
pub(in super::super) struct Scope<'a> {
    pub(in super::super) window: Window,
    pub(in super::super) now: Timestamp,
    /// Parts of parts.
    pub(in super::super) path: &'a [Step],
    /// What is as it should be, too.
    pub(in super::super) all: bool,
    /// Whether what is counted together is asked for.
    pub(in super::super) picks: &'a dyn Fn(&Edge) -> bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Row {
    pub(in super::super) key: RowKey,
    pub(in super::super) not_enforced: u64,
    pub(in super::super) denied: u64,
    pub(in super::super) blocked: u64,
    pub(in super::super) unknown: u64,
    pub(in super::super) other: u64,
    /// Attempts of the last minute.
    pub(in super::super) minute: u64,
    pub(in super::super) last: Timestamp,
    pub(in super::super) trend: [u64; PARTS],
    /// A policy of it had just changed.
    pub(in super::super) settling: bool,
}

impl Row {
    fn new(key: RowKey) -> Self {
        let (not_enforced, denied, blocked, unknown, other, minute) = Default::default();
        let (last, trend, settling) = (Timestamp::MIN, [0; PARTS], false);
        Self { key, not_enforced, denied, blocked, unknown, other, minute, last, trend, settling }
    }

    fn add(&mut self, class: Class, count: u64) {
        let sum = match class {
            Class::PolicyNotEnforced => &mut self.not_enforced,
            Class::DeniedAttempt => &mut self.denied,
            Class::BlockedThoughAllowed | Class::BlockedUnexplained => &mut self.blocked,
            Class::Undetermined => &mut self.unknown,
            Class::Allowed | Class::Unrestricted | Class::Refused | Class::Failed => &mut self.other,
        };
        *sum = sum.saturating_add(count);
    }

    /// Is it news, and how much does it matter.
    pub(in super::super) fn weight(&self) -> [u64; 5] {
        [self.not_enforced, self.denied, self.blocked, self.unknown, self.other]
    }
}

impl Scope<'_> {
    /// None is from the beginning.
    fn begins(&self) -> Option<i64> {
        self.window.begins(self.now)
    }

    fn holds(&self, edge: &Edge) -> bool {
        (self.all || is_news(edge.key.class))
            && edge.is_seen(self.begins())
            && self.path.iter().all(|step| step.by.key(&edge.key) == step.key)
            && (self.picks)(edge)
    }
}

impl Model {
    /// Rows, in no order.
    pub(in super::super) fn rows(&self, by: By, scope: &Scope<'_>) -> Vec<Row> {
        let mut numbers: HashMap<RowKey, usize, RandomState> = HashMap::default();
        let mut rows: Vec<Row> = Vec::new();
        let (begins, now) = (scope.begins(), bucket(scope.now));
        let trend_begins = first_of(scope.window.seconds().unwrap_or(900), now);
        for (edge, Sum { count, minute }) in self.counted(begins, now, |edge| scope.holds(edge)) {
            let key = by.key(&edge.key);
            let number = *numbers.entry(key.clone()).or_insert(rows.len());
            if number == rows.len() {
                rows.push(Row::new(key));
            }
            let Some(row) = rows.get_mut(number) else { continue };
            row.add(edge.key.class, count);
            row.minute = row.minute.saturating_add(minute);
            row.last = row.last.max(edge.last);
            row.settling |= edge.settling.is_some_and(|time| Some(bucket(time)) >= begins);
            if count > 0 {
                edge.series.spread(trend_begins, now, &mut row.trend);
            }
        }
        rows
    }

    /// What is counted of each that is asked for. What both ends' nodes told counts once: of what the listener's told as well,
    /// what is beyond the opener's. They fold it each by itself, so that no line of one is a line of the other.
    pub(super) fn counted(
        &self,
        begins: Option<i64>,
        now: i64,
        holds: impl Fn(&Edge) -> bool,
    ) -> Vec<(&Edge, Sum)> {
        let minute = first_of(60, now);
        let sum = |edge: &Edge| Sum {
            count: begins.map_or(edge.total, |begins| edge.series.sum(begins)),
            minute: edge.series.sum(minute),
        };
        let mut counted: Vec<(&Edge, Sum)> =
            self.edges.iter().filter(|edge| holds(edge)).map(|edge| (edge, sum(edge))).collect();
        if counted.iter().any(|(edge, _)| edge.key.second) {
            let ends = |edge: &Edge| (edge.key.source.clone(), edge.key.destination.clone(), edge.key.class);
            let mut openers: HashMap<_, Sum, RandomState> = HashMap::default();
            for (edge, sum) in counted.iter().filter(|(edge, _)| !edge.key.second) {
                if edge.key.direction == Direction::Egress {
                    openers.entry(ends(edge)).or_default().add(*sum);
                }
            }
            for (edge, sum) in counted.iter_mut().filter(|(edge, _)| edge.key.second) {
                if let Some(told) = openers.get_mut(&ends(edge)) {
                    sum.give(told);
                }
            }
        }
        counted
    }

    /// The last records of a part, the newest first.
    pub(in super::super) fn lines(&self, scope: &Scope<'_>) -> Vec<(Timestamp, Arc<[u8]>)> {
        let begins = scope.begins();
        let edges = self.edges.iter().filter(|edge| scope.holds(edge));
        let lines =
            edges.flat_map(|edge| edge.lines.iter().filter(|(time, _)| Some(bucket(*time)) >= begins));
        let mut lines: Vec<(Timestamp, Arc<[u8]>)> = lines.cloned().collect();
        lines.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        lines
    }
}
