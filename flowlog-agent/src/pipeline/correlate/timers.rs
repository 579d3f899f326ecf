//! When to look at what again. Times come by the million, nearly all of them a little later than the last, and few are still
//! waited for when they come: they lie in slots of some milliseconds, and a slot is put in order when its time has come.

use std::collections::BTreeMap;

/// Nanoseconds of a slot, as a power of two: 8 ms.
const SLOT_BITS: u32 = 23;

/// Emptied slots whose room is kept.
const SPARE: usize = 8;

/// Keys by the time at which each is due.
pub(super) struct Timers<K> {
    slots: BTreeMap<u64, Vec<(u64, K)>>,
    len: usize,
    /// Room of slots that were emptied.
    spare: Vec<Vec<(u64, K)>>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(super) fn new() -> Self {
        Self { slots: BTreeMap::new(), len: 0, spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, due_ns: u64, key: K) {
        let spare = &mut self.spare;
        let slot = self.slots.entry(due_ns >> SLOT_BITS).or_insert_with(|| spare.pop().unwrap_or_default());
        slot.push((due_ns, key));
        self.len += 1;
    }

    /// What is due by now, in order.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<(u64, K)> {
        let mut out = Vec::new();
        while let Some(mut first) = self.slots.first_entry() {
            let (number, begin) = (*first.key(), out.len());
            if number > now_ns >> SLOT_BITS {
                break;
            }
            if number < now_ns >> SLOT_BITS {
                out.append(first.get_mut());
            } else {
                out.extend(first.get_mut().extract_if(.., |(due_ns, _)| *due_ns <= now_ns));
            }
            self.len -= out.len() - begin;
            if let Some(taken) = out.get_mut(begin..) {
                taken.sort_unstable();
            }
            if !first.get().is_empty() {
                break;
            }
            self.spare.push(first.remove());
            self.spare.truncate(SPARE);
        }
        out
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn retain(&mut self, is_awaited: impl Fn(u64, &K) -> bool) {
        self.slots.retain(|_, slot| {
            slot.retain(|(due_ns, key)| is_awaited(*due_ns, key));
            !slot.is_empty()
        });
        self.len = self.slots.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn taken(timers: &mut Timers<u64>, now_ns: u64) -> Vec<u64> {
        timers.take_due(now_ns).into_iter().map(|(_, key)| key).collect()
    }

    #[test]
    fn what_is_due_comes_in_order_and_what_is_not_stays() {
        let mut timers = Timers::new();
        // Two of one slot, out of order; one much later, one of the slot that begins at 8.39 ms.
        for (due_ns, key) in [(5 * MS, 2), (3 * MS, 1), (900 * MS, 4), (9 * MS, 3)] {
            timers.push(due_ns, key);
        }
        assert!(taken(&mut timers, 2 * MS).is_empty());
        assert_eq!(taken(&mut timers, 4 * MS), [1]);
        assert_eq!(timers.len(), 3);
        assert_eq!(taken(&mut timers, 20 * MS), [2, 3]);
        assert!(taken(&mut timers, 899 * MS).is_empty());
        assert_eq!(taken(&mut timers, u64::MAX), [4]);
        assert_eq!(timers.len(), 0);
        // The room is used again.
        timers.push(1, 9);
        assert_eq!(taken(&mut timers, 1), [9]);
    }

    #[test]
    fn what_nobody_waits_for_is_forgotten() {
        let mut timers = Timers::new();
        for key in 0..1_000 {
            timers.push(key * MS, key);
        }
        timers.retain(|_, key| key.is_multiple_of(100));
        assert_eq!(timers.len(), 10);
        assert_eq!(taken(&mut timers, 500 * MS), [0, 100, 200, 300, 400, 500]);
    }
}
