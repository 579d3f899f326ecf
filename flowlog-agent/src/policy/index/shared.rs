//! Containers whose copies share what did not change: a copy costs its spine, a change one page or shard.
//!
//! While nobody shares a page it is changed in place, so that loading copies nothing.

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Entries of a page. Larger ones make a change dearer, smaller ones the copy of the spine.
const PAGE: usize = 64;

/// A list by number.
#[derive(Clone, Debug)]
pub(super) struct Paged<T> {
    pages: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Paged<T> {
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.pages.get(place / PAGE)?.get(place % PAGE)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        Arc::make_mut(self.pages.get_mut(place / PAGE)?).get_mut(place % PAGE)
    }

    pub(super) fn push(&mut self, item: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        if let Some(last) = self.pages.last_mut() {
            Arc::make_mut(last).push(item);
            self.len += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter())
    }
}

/// Shards of a map: with 50,000 entries some 200 each.
const SHARDS: usize = 256;

type Shard<K, V> = Option<Arc<HashMap<K, V>>>;

/// A map by key.
#[derive(Clone, Debug)]
pub(super) struct Sharded<K, V> {
    hasher: RandomState,
    shards: Arc<[Shard<K, V>]>,
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

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(self.place(key))?.as_ref()?.get(key)
    }

    fn shard(&mut self, place: usize) -> Option<&mut HashMap<K, V>> {
        let slot = Arc::make_mut(&mut self.shards).get_mut(place)?;
        Some(Arc::make_mut(slot.get_or_insert_with(|| Arc::new(HashMap::new()))))
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        let before = self.shard(place)?.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// What is there, or what is put there.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V> {
        let place = self.place(&key);
        self.len +=
            usize::from(!self.shards.get(place)?.as_ref().is_some_and(|shard| shard.contains_key(&key)));
        Some(self.shard(place)?.entry(key).or_insert_with(make))
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let place = self.place(key);
        self.shard(place)?.get_mut(key)
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let place = self.place(key);
        let gone = self.shard(place)?.remove(key);
        self.len -= usize::from(gone.is_some());
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }
}

/// Numbers for what is equal, counted, and given out again when nobody uses them.
#[derive(Clone, Debug)]
pub(super) struct Interned<K, R> {
    numbers: Sharded<K, u32>,
    rows: Paged<Option<Row<K, R>>>,
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Row<K, R> {
    key: K,
    users: u32,
    value: Arc<R>,
}

impl<K, R> Default for Interned<K, R> {
    fn default() -> Self {
        Self { numbers: Sharded::default(), rows: Paged::default(), free: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone, R: Clone> Interned<K, R> {
    pub(super) fn find(&self, key: &K) -> Option<u32> {
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

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn has(&self, number: u32) -> bool {
        self.0.get(place(number / 64)).is_some_and(|word| (word >> (number % 64)) & 1 == 1)
    }

    pub(super) fn set(&mut self, number: u32, holds: bool) {
        let word = place(number / 64);
        if word >= self.0.len() {
            if !holds {
                return;
            }
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            let bit = 1 << (number % 64);
            *word = if holds { *word | bit } else { *word & !bit };
        }
    }
}
