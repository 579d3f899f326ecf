//! Which attempts were counted, and where: an update moves one, a line that is told again counts once.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Attempts that are remembered at least, twice as many at most, some 50 bytes each.
const MOST: usize = 65_536;

/// Where an attempt is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Number of what it is counted in.
    pub(super) edge: usize,
    pub(super) bucket: i64,
}

/// The latest attempts by their id.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    recent: HashMap<u128, Counted, RandomState>,
    before: HashMap<u128, Counted, RandomState>,
}

impl Ids {
    pub(super) fn keep(&mut self, id: u128, counted: Counted) {
        if self.recent.len() >= MOST {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id, counted);
    }

    pub(super) fn find(&self, id: u128) -> Option<Counted> {
        self.recent.get(&id).or_else(|| self.before.get(&id)).copied()
    }

    /// What things are counted in has other numbers now.
    pub(super) fn renumber(&mut self, numbers: &[usize]) {
        for counted in self.recent.values_mut().chain(self.before.values_mut()) {
            counted.edge = numbers.get(counted.edge).copied().unwrap_or(counted.edge);
        }
    }
}
