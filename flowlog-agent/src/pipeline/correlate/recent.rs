//! The latest of many keys: when there are too many, the one that came first is forgotten.

use foldhash::{HashSet, HashSetExt};
use std::collections::VecDeque;

/// A set that holds no more than so many.
pub(super) struct Recent {
    keys: HashSet<u64>,
    /// In the order in which they came, with such as were removed.
    order: VecDeque<u64>,
    most: usize,
}

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self { keys: HashSet::new(), order: VecDeque::new(), most }
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.keys.contains(&key)
    }

    pub(super) fn insert(&mut self, key: u64) {
        if !self.keys.insert(key) {
            return;
        }
        self.order.push_back(key);
        while self.keys.len() > self.most
            && let Some(first) = self.order.pop_front()
        {
            self.keys.remove(&first);
        }
        if self.order.len() > 2 * self.most {
            let keys = &self.keys;
            self.order.retain(|key| keys.contains(key));
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        self.keys.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_came_first_gives_way() {
        let mut recent = Recent::new(3);
        (1..=4).for_each(|key| recent.insert(key));
        assert_eq!((1..=4).map(|key| recent.contains(key)).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(recent.remove(2) && !recent.remove(2));
        recent.insert(5);
        assert!(recent.contains(3), "there was room");
    }

    #[test]
    fn what_was_removed_takes_no_room() {
        let mut recent = Recent::new(8);
        for key in 0..1_000 {
            recent.insert(key);
            assert!(recent.remove(key));
        }
        assert!(recent.order.len() <= 16, "{}", recent.order.len());
    }
}
