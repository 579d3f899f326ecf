//! How long is waited for what, when an API server is watched.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The times; tests take shorter ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For an answer to a request to begin.
    pub answer: Duration,
    /// For the next bytes of a list.
    pub list: Duration,
    /// For the next event or bookmark of a watch, from an API server that sends bookmarks (each minute).
    pub bookmark: Duration,
    /// After which the API server is to end a watch: from, to.
    pub watch: (Duration, Duration),
    /// Beyond that, for a watch that has not ended and from which no bookmarks come.
    pub overdue: Duration,
    /// Before the first new try, and before the last ones.
    pub again: (Duration, Duration),
    /// How long a kind that was served is missed before it is believed not to be.
    pub unserved: Duration,
    /// Between two looks for a kind that is not served, at most, and half of that at least.
    pub look: Duration,
    /// In which a watch that was taken up again says nothing, where nothing is behind.
    pub quiet: Duration,
    /// After which a list by a stream is tried again.
    pub pages: Duration,
    /// For which changes are gathered: those that verdicts or this node's pods wait for, and others.
    pub gather: (Duration, Duration),
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            list: Duration::from_secs(60),
            bookmark: Duration::from_secs(180),
            watch: (Duration::from_secs(300), Duration::from_secs(600)),
            overdue: Duration::from_secs(30),
            again: (Duration::from_secs(1), Duration::from_secs(30)),
            unserved: Duration::from_secs(30),
            look: Duration::from_secs(120),
            quiet: Duration::from_secs(1),
            pages: Duration::from_secs(3_600),
            gather: (Duration::from_millis(20), Duration::from_millis(100)),
        }
    }
}

/// Longer after each failure, and never the same for all: agents that lost one server do not return as one.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((first, last): (Duration, Duration)) -> Self {
        Self { first, last, next: first }
    }

    /// How long to wait now: between half of it and all.
    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (self.next * 2).min(self.last);
        between(whole / 2, whole)
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Somewhere between the two, by chance.
pub(super) fn between(from: Duration, to: Duration) -> Duration {
    // Hashing nothing under fresh keys is as good as a number by chance.
    let chance = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    from + to.saturating_sub(from).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_last_and_begin_anew() {
        let (first, last) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new((first, last));
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            let (waited, whole) = (backoff.wait(), Duration::from_secs(expected));
            assert!(waited >= whole / 2 && waited <= whole, "{waited:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
