//! Attempts of which more may be told: an update under the same `id` changes what became of them.

use crate::model::State;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Attempts that are remembered, at least; twice as many at most, some 40 bytes each. What becomes of one is told within two or
/// three minutes.
const MOST: usize = 131_072;

/// Updates that may belong to what another reads.
const MOST_WAITING: usize = 65_536;

/// Attempts that are open, by their id, each with the edge that it is counted in.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    recent: HashMap<u128, u32, RandomState>,
    before: HashMap<u128, u32, RandomState>,
    /// Updates whose attempt was not read here.
    waiting: Vec<(u128, u32)>,
    /// Those beyond.
    pub(super) lost: u64,
}

/// Whether more may become of it.
pub(super) fn is_open(state: State) -> bool {
    !matches!(state, State::Established | State::Answered)
}

impl Open {
    pub(super) fn keep(&mut self, id: u128, edge: u32) {
        if self.recent.len() >= MOST {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id, edge);
    }

    pub(super) fn take(&mut self, id: u128) -> Option<u32> {
        self.recent.remove(&id).or_else(|| self.before.remove(&id))
    }

    /// An update of an attempt that is not known here.
    pub(super) fn wait(&mut self, id: u128, edge: u32) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push((id, edge));
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Updates whose attempt was not read.
    pub(super) fn unknown(&self) -> u64 {
        u64::try_from(self.waiting.len()).unwrap_or(u64::MAX).saturating_add(self.lost)
    }

    /// Take over what another left that read what comes next; `edge` gives its edges' numbers here. Gives the attempts that
    /// move: from which edge, to which.
    pub(super) fn merge(&mut self, later: Self, edge: impl Fn(u32) -> Option<u32>) -> Vec<(u32, u32)> {
        let mut moves = Vec::new();
        self.lost = self.lost.saturating_add(later.lost);
        for (id, to) in later.waiting {
            let Some(to) = edge(to) else { continue };
            match self.take(id) {
                Some(from) => moves.push((from, to)),
                None => self.wait(id, to),
            }
        }
        for (id, from) in later.before.into_iter().chain(later.recent) {
            if let Some(from) = edge(from) {
                self.keep(id, from);
            }
        }
        moves
    }
}
