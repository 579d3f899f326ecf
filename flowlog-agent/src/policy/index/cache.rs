//! Answers kept for what was asked before.

use super::ends::End;
use super::judge::{Found, Want};
use super::{Index, place_of};
use crate::model::{Direction, Endpoint, Party, Protocol};
use crate::policy::Query;
use crate::policy::ruling::Ruling;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

/// How many answers whose questions fall together are kept: with one alone, of 10,000 questions in 16,384 places half
/// would push each other out.
const WAYS: usize = 4;

/// Questions that are alike to every rule: the subjects by their stamps, which are never given twice, so
/// that an answer from before a change is not found any more; the addresses by the edge before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: u64,
    destination: u64,
    source_edge: u128,
    destination_edge: u128,
    port: u16,
    protocol: Protocol,
    /// Of source and destination.
    is_v4: (bool, bool),
}

impl Key {
    fn of(found: &Found<'_>) -> Self {
        let stamp = |end: &End<'_>| end.pod.as_ref().map_or(0, |pod| pod.subject.stamp);
        // An address matters where the other end's policies have blocks.
        let edge = |direction, end: &End<'_>| match found.lists(direction) {
            Some(lists) if lists.blocks => found.index.edges.before(end.ip),
            _ => 0,
        };
        Self {
            source: stamp(&found.source),
            destination: stamp(&found.destination),
            source_edge: edge(Direction::Ingress, &found.source),
            destination_edge: edge(Direction::Egress, &found.destination),
            port: found.dialed.port,
            protocol: found.dialed.protocol,
            is_v4: (found.source.ip.is_ipv4(), found.destination.ip.is_ipv4()),
        }
    }
}

/// One very question, put to a set as it is at one moment: found without a look at what the ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Question {
    /// Never given twice, but to sets that are alike.
    moment: u64,
    /// Where the pods are kept; 0 for an address outside. A pod whose answer is kept was added to the set, so
    /// that no other comes to its place as long as there is a set of this moment.
    source: usize,
    destination: usize,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    port: u16,
    protocol: Protocol,
}

impl Question {
    /// Absent where the ends have to be looked at.
    pub(in crate::policy) fn of(moment: u64, query: &Query<'_>) -> Option<Self> {
        let place = |party: &Party| match &party.endpoint {
            Endpoint::Pod(pod) => Some(place_of(pod)),
            Endpoint::External(_) => Some(0),
            _ => None,
        };
        Some(Self {
            moment,
            source: place(query.source)?,
            destination: place(query.destination)?,
            source_ip: query.source.ip?,
            destination_ip: query.destination.ip?,
            port: query.port?,
            protocol: query.protocol,
        })
    }
}

/// A piece of a question's hash, so that a set is looked through without a look at the answers, and the number of what is
/// kept. All zero where it is free, so that memory comes only with its use.
type Place = (u32, u32);

/// A question and its answer.
#[derive(Debug)]
struct Kept<K> {
    key: K,
    answer: (Ruling, Ruling),
}

/// Answers by question, in sets of [`WAYS`]; what comes takes a free place of its set, or that of any other.
#[derive(Debug)]
struct Table<K> {
    hasher: RandomState,
    places: Box<[Place]>,
    /// In the order in which they came: a table takes memory as it fills.
    kept: Vec<Kept<K>>,
    ways: usize,
    /// Whose turn it is to give way.
    turn: usize,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(places: usize) -> Self {
        let ways = places.clamp(1, WAYS);
        let places = (places / ways).max(1) * ways;
        Self {
            hasher: RandomState::default(),
            places: vec![(0, 0); places].into(),
            kept: Vec::new(),
            ways,
            turn: 0,
        }
    }

    /// The first place of its set, and its tag: never 0, which is that of a free place.
    fn set_of(&self, key: &K) -> (usize, u32) {
        let hash = self.hasher.hash_one(key);
        let sets = u64::try_from(self.places.len() / self.ways).unwrap_or(u64::MAX);
        let set = usize::try_from(hash % sets).unwrap_or_default();
        (set * self.ways, u32::try_from(hash >> 32).unwrap_or_default() | 1)
    }

    /// The number of what is kept.
    fn find(&self, key: &K) -> Option<usize> {
        let (first, tag) = self.set_of(key);
        let set = self.places.get(first..first + self.ways)?;
        let mut alike = set.iter().filter(|(other, _)| *other == tag).map(|(_, number)| index(*number));
        alike.find(|number| self.kept.get(*number).is_some_and(|kept| kept.key == *key))
    }

    /// Keeps the answer of a question that has none; tells its number.
    fn keep(&mut self, key: K, answer: (Ruling, Ruling)) -> usize {
        let (first, tag) = self.set_of(&key);
        let set = self.places.iter().skip(first).take(self.ways);
        let way = set.take_while(|(tag, _)| *tag != 0).count();
        let way = if way < self.ways { way } else { self.turn % self.ways };
        self.turn = self.turn.wrapping_add(1);
        let Some((slot, number)) = self.places.get_mut(first + way) else { return usize::MAX };
        if *slot == 0 {
            // There are no more than places.
            *number = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        }
        *slot = tag;
        let (number, kept) = (index(*number), Kept { key, answer });
        match self.kept.get_mut(number) {
            Some(before) => *before = kept,
            None => self.kept.push(kept),
        }
        number
    }

    fn answer(&self, number: usize) -> Option<&(Ruling, Ruling)> {
        Some(&self.kept.get(number)?.answer)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Answers to what was asked before: at most so many, a new one takes the place of an old one.
///
/// It belongs to whoever asks, so that asking takes no lock, and outlives the set of policies that it was
/// filled from: what an update changed is not found in it any more, all else still is.
#[derive(Debug)]
pub struct Cache {
    /// Until anything changes.
    questions: Table<Question>,
    /// Until what they are about changes.
    alike: Table<Key>,
    /// Where answers are put that cannot be kept.
    last: (Ruling, Ruling),
    hits: u64,
    misses: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(16_384)
    }
}

impl Cache {
    /// One of so many places, at least one.
    pub fn new(places: usize) -> Self {
        Self {
            questions: Table::new(places),
            alike: Table::new(places),
            last: (Ruling::unselected(), Ruling::unselected()),
            hits: 0,
            misses: 0,
        }
    }

    /// How many answers were found here, and how many were not.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    pub(in crate::policy) fn once(&mut self, answer: (Ruling, Ruling)) -> &(Ruling, Ruling) {
        self.last = answer;
        &self.last
    }

    /// Where the answer to this very question is.
    pub(in crate::policy) fn find(&mut self, question: &Question) -> Option<usize> {
        let place = self.questions.find(question)?;
        self.hits += 1;
        Some(place)
    }

    /// The answer in a place that was found.
    pub(in crate::policy) fn found(&self, place: usize) -> &(Ruling, Ruling) {
        self.questions.answer(place).unwrap_or(&self.last)
    }

    /// Keeps the answer of a place for this very question.
    pub(in crate::policy) fn keep(&mut self, question: Question, place: usize) {
        self.questions.keep(question, self.kept(place).clone());
    }

    /// Where the answer to a question is, from before or since now; absent where it is in doubt.
    pub(in crate::policy) fn place(&mut self, index: &Index, found: &Found<'_>) -> Option<usize> {
        let key = Key::of(found);
        if let Some(place) = self.alike.find(&key) {
            self.hits += 1;
            return Some(place);
        }
        self.misses += 1;
        Some(self.alike.keep(key, index.judge(found, Want::Policies)?))
    }

    /// The answer in a place that was told.
    pub(in crate::policy) fn kept(&self, place: usize) -> &(Ruling, Ruling) {
        self.alike.answer(place).unwrap_or(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicySet;
    use crate::testkit::{external, node_party, pod, policies};

    fn asked(set: &PolicySet, source: &Party, destination: &Party, cache: &mut Cache) {
        let (protocol, port, range_of) = (Protocol::Tcp, Some(80), None);
        set.rule_with(&Query { source, destination, protocol, port, range_of }, cache);
    }

    /// What is kept for the very question is found without a look at the ends.
    #[test]
    fn questions_are_kept_for_pods_that_were_added_and_addresses_outside() {
        let mut set = policies("shop", &["{podSelector: {}}"]);
        let (web, db) = (pod("shop/web").ip("10.1.0.1").party(), pod("shop/db").ip("10.1.0.2").party());
        let host = pod("shop/host").ip("10.0.0.1").host_network().node("n1").party();
        for party in [&web, &db, &host] {
            set.put_pod(party.endpoint.as_pod().unwrap());
        }
        let (outside, node) = (external("198.51.100.7"), node_party("n1", "10.0.0.1"));
        let rows = [
            ("two pods", &web, &db, true),
            ("from outside", &outside, &db, true),
            ("to the outside", &web, &outside, true),
            ("outside alone", &outside, &outside, true),
            ("from a pod on its node's network", &host, &outside, false),
            ("to a pod on its node's network", &outside, &host, false),
            ("from a node", &node, &outside, false),
        ];
        for (name, source, destination, is_kept) in rows {
            let mut cache = Cache::new(1);
            asked(&set, source, destination, &mut cache);
            assert_eq!(cache.questions.kept.len(), usize::from(is_kept), "{name}");
            assert_eq!(cache.counts(), (0, 1), "{name}");
            // The question alone is enough where it was kept.
            cache.alike = Table::new(1);
            asked(&set, source, destination, &mut cache);
            assert_eq!(cache.counts(), if is_kept { (1, 1) } else { (0, 2) }, "{name}, again");
        }
    }

    /// Of questions that all have room, those that fall together must not push each other out for ever.
    #[test]
    fn questions_that_fall_together_are_kept_beside_each_other() {
        let mut table = Table::new(16_384);
        let answer = || (Ruling::unselected(), Ruling::unselected());
        let mut missed = 0;
        for round in 0..3 {
            missed = 0;
            for number in 0..10_000_u64 {
                if table.find(&number).is_none() {
                    missed += 1;
                    table.keep(number, answer());
                }
            }
            assert!(round > 0 || missed == 10_000, "{missed}");
        }
        // One place each: 4,600. Sets of four that hold more than four: 2,300, and each is looked for in vain now and then.
        assert!(missed < 3_000, "{missed} of 10,000 in the third round");
    }

    #[test]
    fn a_table_of_one_place_keeps_the_last() {
        let mut table = Table::new(1);
        let answer = || (Ruling::unselected(), Ruling::unselected());
        assert_eq!(table.keep(1, answer()), 0);
        assert_eq!(table.find(&1), Some(0));
        table.keep(2, answer());
        assert_eq!((table.find(&1), table.find(&2)), (None, Some(0)));
        assert_eq!(table.kept.len(), 1, "what gave way is gone");
    }
}
