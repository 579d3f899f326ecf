//! Numbers for what is equal, and sets of them.

use crate::model::shared::{Paged, Sharded};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

/// Numbers for what is equal, counted, and given out again when nobody uses them.
#[derive(Debug)]
pub(super) struct Interned<K, R> {
    numbers: Sharded<K, u32>,
    rows: Paged<Option<Row<K, R>>>,
    free: Vec<u32>,
}

impl<K: Clone, R> Clone for Interned<K, R> {
    fn clone(&self) -> Self {
        Self { numbers: self.numbers.clone(), rows: self.rows.clone(), free: self.free.clone() }
    }
}

#[derive(Debug)]
struct Row<K, R> {
    key: K,
    users: u32,
    value: Arc<R>,
}

impl<K: Clone, R> Clone for Row<K, R> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), users: self.users, value: Arc::clone(&self.value) }
    }
}

impl<K, R> Default for Interned<K, R> {
    fn default() -> Self {
        Self { numbers: Sharded::default(), rows: Paged::default(), free: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone, R> Interned<K, R> {
    pub(super) fn find<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.numbers.get(key).copied()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<R>> {
        Some(&self.rows.get(place(number))?.as_ref()?.value)
    }

    pub(super) fn key(&self, number: u32) -> Option<&K> {
        Some(&self.rows.get(place(number))?.as_ref()?.key)
    }

    pub(super) fn set(&mut self, number: u32, value: Arc<R>) {
        if let Some(Some(row)) = self.rows.get_mut(place(number)) {
            row.value = value;
        }
    }

    /// One more user of a number that is given out.
    pub(super) fn take(&mut self, number: u32) {
        if let Some(Some(row)) = self.rows.get_mut(place(number)) {
            row.users += 1;
        }
    }

    /// A number for what has none yet, with its first user. Absent where there are no more numbers.
    pub(super) fn add(&mut self, key: K, value: R) -> Option<u32> {
        let row = Some(Row { key: key.clone(), users: 1, value: Arc::new(value) });
        let number = match self.free.pop() {
            Some(number) => {
                *self.rows.get_mut(place(number))? = row;
                number
            }
            None => {
                let number = u32::try_from(self.rows.len()).ok()?;
                self.rows.push(row);
                number
            }
        };
        self.numbers.insert(key, number);
        Some(number)
    }

    /// One user less; what it was, where it was the last.
    pub(super) fn release(&mut self, number: u32) -> Option<(K, Arc<R>)> {
        let slot = self.rows.get_mut(place(number))?;
        let row = slot.as_mut()?;
        row.users -= 1;
        if row.users > 0 {
            return None;
        }
        let Row { key, value, .. } = slot.take()?;
        self.numbers.remove(&key);
        self.free.push(number);
        Some((key, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &K, &Arc<R>)> {
        let rows = self.rows.iter().zip(0_u32..);
        rows.filter_map(|(row, number)| row.as_ref().map(|row| (number, &row.key, &row.value)))
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A set of small numbers. The lowest lie in it, so that asking for one takes no further step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    low: [u64; LOW_WORDS],
    high: Vec<u64>,
}

const LOW_WORDS: usize = 2;

impl Bits {
    pub(super) fn has(&self, number: u32) -> bool {
        let word = place(number / 64);
        let word = match word.checked_sub(LOW_WORDS) {
            None => self.low.get(word),
            Some(high) => self.high.get(high),
        };
        word.is_some_and(|word| (word >> (number % 64)) & 1 == 1)
    }

    pub(super) fn set(&mut self, number: u32, holds: bool) {
        let word = place(number / 64);
        let word = match word.checked_sub(LOW_WORDS) {
            None => self.low.get_mut(word),
            Some(high) => {
                if holds && high >= self.high.len() {
                    self.high.resize(high + 1, 0);
                }
                self.high.get_mut(high)
            }
        };
        if let Some(word) = word {
            let bit = 1 << (number % 64);
            *word = if holds { *word | bit } else { *word & !bit };
        }
    }

    /// Whether some number is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let low = self.low.iter().zip(&other.low).any(|(one, other)| one & other != 0);
        low || self.high.iter().zip(&other.high).any(|(one, other)| one & other != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_out_again_when_its_last_user_went() {
        let mut rows: Interned<&str, u8> = Interned::default();
        let (one, two) = (rows.add("one", 1).unwrap(), rows.add("two", 2).unwrap());
        rows.take(one);
        assert!(rows.release(one).is_none(), "it has a user left");
        assert_eq!(rows.find("one"), Some(one));
        assert_eq!(rows.release(one).map(|(key, _)| key), Some("one"));
        assert_eq!((rows.find("one"), rows.get(one)), (None, None));
        assert_eq!(rows.add("three", 3), Some(one));
        assert_eq!((rows.len(), rows.get(two).map(|row| **row), rows.key(one)), (2, Some(2), Some(&"three")));
    }

    #[test]
    fn bits_are_set_and_met_wherever_they_lie() {
        for number in [0, 1, 63, 64, 127, 128, 200, 5000] {
            let (mut bits, mut other) = (Bits::default(), Bits::default());
            assert!(!bits.has(number));
            bits.set(number, false);
            bits.set(number, true);
            bits.set(number, true);
            assert!(bits.has(number) && !bits.has(number + 1) && !bits.meets(&other), "{number}");
            other.set(number + 1, true);
            assert!(!bits.meets(&other), "{number}");
            other.set(number, true);
            assert!(bits.meets(&other) && other.meets(&bits), "{number}");
            bits.set(number, false);
            assert!(!bits.has(number), "{number}");
        }
        let mut bits = Bits::default();
        let numbers = [5000, 200, 1];
        numbers.iter().for_each(|number| bits.set(*number, true));
        assert!(numbers.iter().all(|number| bits.has(*number)), "{bits:?}");
    }
}
