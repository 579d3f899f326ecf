//! The quick way to an answer: compiled rules over classes, and answers kept for what was asked before.
//!
//! Whatever is in doubt, an end that is not known above all, is left to the direct reading.

use super::compile::{Compiled, Declared, Dialed, Does, Rule};
use super::ends::{End, PodEnd};
use super::{Index, Lists, place_of};
use crate::model::{Basis, Decision, Direction, Endpoint, Party, PolicyRefs, Protocol, Tier};
use crate::policy::ruling::{Ruling, in_order};
use crate::policy::{BlockScope, Query};
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

/// How much an answer is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Want {
    /// The decision alone: the first rule that allows ends it.
    Decision,
    /// The policies too.
    Policies,
}

/// A question whose ends were found.
pub(in crate::policy) struct Found<'a> {
    index: &'a Index,
    source: End<'a>,
    destination: End<'a>,
    dialed: Dialed<'a>,
}

impl Index {
    /// Finds the ends; absent where the direct reading has to answer.
    pub(in crate::policy) fn find<'a>(&'a self, query: &Query<'_>, scope: BlockScope) -> Option<Found<'a>> {
        let (source, destination) = (self.end(query.source)?, self.end(query.destination)?);
        let port = query.port?;
        let declared: &[Declared] = match &destination.pod {
            Some(pod) => self.ports.key(pod.subject.key.ports)?,
            None => &[],
        };
        let dialed = Dialed { protocol: query.protocol, port, declared, scope };
        let found = Found { index: self, source, destination, dialed };
        (!found.is_odd(Direction::Egress) && !found.is_odd(Direction::Ingress)).then_some(found)
    }

    fn end<'a>(&'a self, party: &Party) -> Option<End<'a>> {
        let ip = party.ip?.to_canonical();
        let pod = match &party.endpoint {
            Endpoint::Pod(pod) => match self.pods.get(&place_of(pod)) {
                Some(known) => {
                    let (identity, subject) = (known.identity, self.subjects.get(known.subject)?);
                    let space = self.spaces.get(subject.key.space)?;
                    let labels = self.labels.get(subject.key.labels)?;
                    // What selects a namespace that was never seen is in doubt.
                    Some(PodEnd { identity, subject, space, labels }).filter(|pod| pod.space.seen)?.into()
                }
                // None of those is added.
                None if pod.host_network => None,
                None => return None,
            },
            Endpoint::Node(_) | Endpoint::External(_) => None,
            Endpoint::Service(_) | Endpoint::Local | Endpoint::Unknown { .. } => return None,
        };
        Some(End { ip, pod })
    }

    /// The same, for ends that are neither one pod nor a pod and its node, as their kinds tell: who they are
    /// need not be looked at.
    pub(in crate::policy) fn find_apart<'a>(
        &'a self,
        query: &Query<'_>,
        scope: BlockScope,
    ) -> Option<Found<'a>> {
        let outside = |party: &Party| matches!(party.endpoint, Endpoint::External(_));
        let found = self.find(query, scope)?;
        let apart = match (&found.source.pod, &found.destination.pod) {
            (Some(source), Some(destination)) => source.identity != destination.identity,
            _ => outside(query.source) || outside(query.destination),
        };
        apart.then_some(found)
    }

    /// The answer of both directions; absent where it is in doubt.
    pub(in crate::policy) fn judge(&self, found: &Found<'_>, want: Want) -> Option<(Ruling, Ruling)> {
        Some((found.judge(Direction::Egress, want)?, found.judge(Direction::Ingress, want)?))
    }
}

impl Found<'_> {
    /// Whether all pods of the question were added: one on its node's network never is.
    pub(in crate::policy) fn has_pods_of(&self, query: &Query<'_>) -> bool {
        let added = |party: &Party, end: &End<'_>| party.endpoint.as_pod().is_some() == end.pod.is_some();
        added(query.source, &self.source) && added(query.destination, &self.destination)
    }

    fn ends(&self, direction: Direction) -> (&End<'_>, &End<'_>) {
        match direction {
            Direction::Egress => (&self.source, &self.destination),
            Direction::Ingress => (&self.destination, &self.source),
        }
    }

    /// Absent for an end that no policy selects.
    fn lists(&self, direction: Direction) -> Option<&Lists> {
        let pod = self.ends(direction).0.pod.as_ref()?;
        Some(pod.subject.lists(direction, self.index))
    }

    fn is_odd(&self, direction: Direction) -> bool {
        let to_address = self.ends(direction).1.pod.is_none();
        self.lists(direction).is_some_and(|lists| lists.odd || (lists.odd_addresses && to_address))
    }

    fn judge(&self, direction: Direction, want: Want) -> Option<Ruling> {
        let Some(lists) = self.lists(direction) else { return Some(Ruling::unselected()) };
        if let Some(ruling) = self.cluster(&lists.admin, direction, Tier::Admin)? {
            return Some(ruling);
        }
        if !lists.namespace.is_empty() {
            return Some(self.namespace(lists, direction, want));
        }
        let baseline = self.cluster(&lists.baseline, direction, Tier::Baseline)?;
        Some(baseline.unwrap_or_else(Ruling::unselected))
    }

    /// Policies add up: what one allows is allowed.
    fn namespace(&self, lists: &Lists, direction: Direction, want: Want) -> Ruling {
        let other = self.ends(direction).1;
        let mut groups = lists.groups.iter().filter(|group| group.matches(other, &self.dialed));
        let Some(first) = groups.next() else {
            let isolating = Some(&lists.isolating).filter(|_| want == Want::Policies);
            return Ruling::decided(Decision::Deny, Basis::Isolated, Tier::Namespace, isolating.cloned());
        };
        let named = (want == Want::Policies).then(|| {
            let groups = std::iter::once(first).chain(groups);
            let scope = self.dialed.scope;
            let mut rules: Vec<_> =
                groups.flat_map(|group| group.matching(&lists.namespace, direction, other, scope)).collect();
            // Policies lie by name: no name has to be compared.
            rules.sort_unstable_by_key(|(at, _)| *at);
            match &*rules {
                [(_, one)] => Arc::clone(&one.named),
                rules => rules.iter().flat_map(|(_, rule)| rule.named.iter().cloned()).collect(),
            }
        });
        Ruling::decided(Decision::Allow, Basis::Policy, Tier::Namespace, named)
    }

    /// The first rule that matches decides. Equal priorities that contradict each other are in doubt.
    fn cluster(&self, list: &[Arc<Compiled>], direction: Direction, tier: Tier) -> Option<Option<Ruling>> {
        for equal in list.chunk_by(|one, other| one.priority == other.priority) {
            let mut first: Option<&Rule> = None;
            let mut others = Vec::new();
            for policy in equal {
                let Some(rule) = self.first(policy, direction) else { continue };
                match first {
                    None => first = Some(rule),
                    Some(first) if first.does == rule.does => others.push(rule),
                    Some(_) => return None,
                }
            }
            let Some(first) = first else { continue };
            let named = Some(joined(std::iter::once(first).chain(others)));
            return Some(match first.does {
                Does::Allow => Some(Ruling::decided(Decision::Allow, Basis::Policy, tier, named)),
                Does::Deny => Some(Ruling::decided(Decision::Deny, Basis::Policy, tier, named)),
                Does::Pass => None,
            });
        }
        Some(None)
    }

    fn first<'a>(&self, policy: &'a Compiled, direction: Direction) -> Option<&'a Rule> {
        let other = self.ends(direction).1;
        policy.rules(direction).list.iter().find(|rule| rule.matches(other, &self.dialed))
    }
}

/// The rules as the policies of an answer; one alone is kept as that.
fn joined<'a>(mut rules: impl Iterator<Item = &'a Rule>) -> PolicyRefs {
    match (rules.next(), rules.next()) {
        (Some(one), None) => Arc::clone(&one.named),
        (first, second) => {
            let rules = first.into_iter().chain(second).chain(rules);
            in_order(rules.flat_map(|rule| rule.named.iter().cloned()).collect())
        }
    }
}

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

#[derive(Debug)]
struct Kept<K> {
    key: K,
    answer: (Ruling, Ruling),
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

/// Answers to what was asked before: at most so many, a new one takes the place of an old one.
///
/// It belongs to whoever asks, so that asking takes no lock, and outlives the set of policies that it was
/// filled from: what an update changed is not found in it any more, all else still is.
#[derive(Debug)]
pub struct Cache {
    hasher: RandomState,
    /// Until anything changes.
    questions: Box<[Option<Kept<Question>>]>,
    /// Until what they are about changes.
    places: Box<[Option<Kept<Key>>]>,
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
            hasher: RandomState::default(),
            questions: std::iter::repeat_with(|| None).take(places.max(1)).collect(),
            places: std::iter::repeat_with(|| None).take(places.max(1)).collect(),
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
        let number = self.number(question);
        let kept = self.questions.get(number)?.as_ref()?;
        (kept.key == *question).then(|| {
            self.hits += 1;
            number
        })
    }

    /// The answer in a place that was found.
    pub(in crate::policy) fn found(&self, place: usize) -> &(Ruling, Ruling) {
        self.questions.get(place).and_then(Option::as_ref).map_or(&self.last, |kept| &kept.answer)
    }

    /// Keeps the answer of a place for this very question.
    pub(in crate::policy) fn keep(&mut self, question: Question, place: usize) {
        let (number, answer) = (self.number(question), self.kept(place).clone());
        if let Some(slot) = self.questions.get_mut(number) {
            *slot = Some(Kept { key: question, answer });
        }
    }

    fn number(&self, key: impl Hash) -> usize {
        let places = u64::try_from(self.places.len()).unwrap_or(u64::MAX);
        usize::try_from(self.hasher.hash_one(key) % places).unwrap_or_default()
    }

    /// Where the answer to a question is, from before or since now; absent where it is in doubt.
    pub(in crate::policy) fn place(&mut self, index: &Index, found: &Found<'_>) -> Option<usize> {
        let key = index.key(found);
        let number = self.number(key);
        let place = self.places.get_mut(number)?;
        if place.as_ref().is_some_and(|kept| kept.key == key) {
            self.hits += 1;
        } else {
            self.misses += 1;
            *place = Some(Kept { key, answer: index.judge(found, Want::Policies)? });
        }
        Some(number)
    }

    /// The answer in a place that was told.
    pub(in crate::policy) fn kept(&self, place: usize) -> &(Ruling, Ruling) {
        self.places.get(place).and_then(Option::as_ref).map_or(&self.last, |kept| &kept.answer)
    }
}

impl Index {
    fn key(&self, found: &Found<'_>) -> Key {
        let stamp = |end: &End<'_>| end.pod.as_ref().map_or(0, |pod| pod.subject.stamp);
        // An address matters where the other end's policies have blocks.
        let edge = |direction, end: &End<'_>| match found.lists(direction) {
            Some(lists) if lists.blocks => self.edges.before(end.ip),
            _ => 0,
        };
        Key {
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
            assert_eq!(cache.questions.iter().flatten().count(), usize::from(is_kept), "{name}");
            assert_eq!(cache.counts(), (0, 1), "{name}");
            // The question alone is enough where it was kept.
            cache.places = Box::new([None]);
            asked(&set, source, destination, &mut cache);
            assert_eq!(cache.counts(), if is_kept { (1, 1) } else { (0, 2) }, "{name}, again");
        }
    }
}
