//! Containers whose copies share what did not change: a copy costs its spine, a change one page or shard.
//!
//! While nobody shares a page it is changed in place, so that loading copies nothing.

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Entries of a page. Larger ones make a change dearer, smaller ones the copy of the spine.
const PAGE: usize = 64;

/// A list by number.
#[derive(Clone, Debug)]
pub(crate) struct Paged<T> {
    pages: Vec<Arc<[T]>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T: Clone + Default> Paged<T> {
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        // What lies beyond the last item of the last page is no item.
        self.pages.get(place / PAGE)?.get(place % PAGE).filter(|_| place < self.len)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        let page = self.pages.get_mut(place / PAGE).filter(|_| place < self.len)?;
        Arc::make_mut(page).get_mut(place % PAGE)
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(std::iter::repeat_with(T::default).take(PAGE).collect());
        }
        self.len += 1;
        if let Some(place) = self.get_mut(self.len - 1) {
            *place = item;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).take(self.len)
    }
}

/// Shards of a map: with 50,000 entries some 200 each.
const SHARDS: usize = 256;

type Shard<K, V> = HashMap<K, V, RandomState>;

/// None for a shard that is empty still.
type Slot<K, V> = Option<Arc<Shard<K, V>>>;

/// A map by key.
#[derive(Clone, Debug)]
pub(crate) struct Sharded<K, V> {
    hasher: RandomState,
    shards: Arc<[Slot<K, V>]>,
    len: usize,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        let shards = std::iter::repeat_with(|| None).take(SHARDS).collect();
        Self { hasher: RandomState::default(), shards, len: 0 }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Sharded<K, V> {
    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = self.hasher.hash_one(key);
        usize::try_from(hash >> 56).unwrap_or_default()
    }

    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.shards.get(self.place(key))?.as_ref()?.get(key)
    }

    /// The key as it is kept: what it shares can be shared further.
    pub(crate) fn get_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&K> {
        Some(self.shards.get(self.place(key))?.as_ref()?.get_key_value(key)?.0)
    }

    fn shard(&mut self, place: usize) -> Option<&mut Shard<K, V>> {
        let slot = Arc::make_mut(&mut self.shards).get_mut(place)?;
        Some(Arc::make_mut(slot.get_or_insert_with(Arc::default)))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        let before = self.shard(place)?.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// What is there, or what is put there.
    pub(crate) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V> {
        let place = self.place(&key);
        self.len +=
            usize::from(!self.shards.get(place)?.as_ref().is_some_and(|shard| shard.contains_key(&key)));
        Some(self.shard(place)?.entry(key).or_insert_with(make))
    }

    pub(crate) fn get_mut<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        self.get(key)?;
        let place = self.place(key);
        self.shard(place)?.get_mut(key)
    }

    pub(crate) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        self.get(key)?;
        let place = self.place(key);
        let gone = self.shard(place)?.remove(key);
        self.len -= usize::from(gone.is_some());
        gone
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut numbers = Paged::default();
        (0..200).for_each(|number| numbers.push(number));
        let copy = numbers.clone();
        *numbers.get_mut(130).unwrap() = 7;
        numbers.push(200);
        assert_eq!((copy.get(130), copy.len(), copy.get(200)), (Some(&130), 200, None));
        assert_eq!((numbers.get(130), numbers.len(), numbers.get(200)), (Some(&7), 201, Some(&200)));
        assert_eq!(numbers.get(201), None, "beyond the last, on its page");
        assert_eq!(numbers.get_mut(201), None, "beyond the last, on its page");
        let mut names = Sharded::default();
        for number in 0..500 {
            names.insert(number, number);
        }
        let filled = names.shards.iter().flatten().count();
        assert!(filled > SHARDS / 32, "500 names in {filled} shards");
        let copy = names.clone();
        names.remove(&3);
        names.insert(4, 5);
        assert_eq!((copy.get(&3), copy.get(&4), copy.len()), (Some(&3), Some(&4), 500));
        assert_eq!((names.get(&3), names.get(&4), names.len()), (None, Some(&5), 499));
        assert_eq!((copy.iter().count(), names.iter().count()), (500, 499));
    }
}
