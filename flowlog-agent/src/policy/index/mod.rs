//! Pods and policies by class: what is equal to every rule is looked at once.
//!
//! Namespaces, label sets (less what only numbers the pods of a workload) and declared ports get numbers; a
//! selector is evaluated once for each of them. Pods alike in all three are one subject, with the list of
//! policies that select it. A change touches the classes that it concerns and leaves the rest shared with
//! the copy before; a subject whose list changes gets a new stamp.

mod blocks;
mod cache;
mod compile;
mod ends;
mod group;
mod judge;
mod shared;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub(super) use cache::Question;
pub(super) use compile::Compiled;
pub(super) use judge::{Found, Want};

use super::matching::Match;
use super::peer::NAMESPACE_NAME;
use super::ruling::in_order;
use super::{Policy, Selector};
use crate::model::shared::Sharded;
use crate::model::{Direction, Labels, NOISE_LABELS, Pod, PolicyRef, PolicyRefs, Tier};
use blocks::Edges;
use compile::{Declared, Selects, Use};
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashSet};
use group::Group;
use shared::{Bits, Interned};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The next stamp. One row for all indexes, so that no two ever give out the same; 0 is no subject's.
static STAMPS: AtomicU64 = AtomicU64::new(1);

/// What policies and pods are looked up in.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Pods by the place in memory where they are kept: they are kept here, so that no other can come there.
    pods: Sharded<usize, Known>,
    spaces: Interned<SpaceKey, Space>,
    last_space: Option<(SpaceKey, u32)>,
    labels: Interned<Arc<Labels>, Bits>,
    ports: Interned<Arc<[Declared]>, ()>,
    subjects: Interned<SubjectKey, Subject>,
    in_namespace: Sharded<Arc<str>, Arc<Vec<u32>>>,
    /// Those of [`NOISE_LABELS`] that some pod selector names, or named: by these pods are told apart, too.
    keys: Arc<HashSet<String>>,
    /// Names of namespaces and ports, by number.
    words: Arc<HashMap<String, u32>>,
    pod_selectors: Interned<Arc<Selector>, ()>,
    space_selectors: Interned<Arc<Selector>, ()>,
    edges: Edges,
    policies: Sharded<PolicyRef, Held>,
    by_namespace: Sharded<String, Arc<Vec<Arc<Compiled>>>>,
    /// By tier, priority and name.
    cluster: Arc<Vec<Arc<Compiled>>>,
    /// How many say something about egress, and about ingress.
    saying: (usize, usize),
}

#[derive(Clone, Debug)]
struct Known {
    pod: Arc<Pod>,
    subject: u32,
    /// Of uid, namespace and name: where it differs, the pods do.
    identity: u32,
}

impl Known {
    fn new(pod: &Arc<Pod>, subject: u32) -> Self {
        let identity = FixedState::default().hash_one((&pod.uid, &pod.namespace, &pod.name));
        Self { pod: Arc::clone(pod), subject, identity: u32::try_from(identity >> 32).unwrap_or_default() }
    }
}

/// What no rule tells apart: labels, namespace and named ports as far as some selector sees them, and between which edges of
/// blocks the addresses lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodClass {
    subject: u32,
    addresses: Vec<(bool, u128)>,
}

/// A policy, compiled where it could be read.
#[derive(Clone, Debug)]
struct Held {
    policy: Arc<Policy>,
    compiled: Option<Arc<Compiled>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SpaceKey {
    name: Arc<str>,
    labels: Arc<Labels>,
}

/// A namespace.
#[derive(Clone, Debug)]
struct Space {
    /// Its name, by number.
    name: u32,
    /// Its object was seen, so that its labels are known.
    seen: bool,
    /// The selectors that select it.
    bits: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SubjectKey {
    space: u32,
    labels: u32,
    ports: u32,
}

/// Pods that are alike to every rule.
#[derive(Debug)]
struct Subject {
    key: SubjectKey,
    /// New whenever the lists change, and never given twice.
    stamp: u64,
    /// Made when they are first asked for: a node asks about few subjects of the cluster. Whoever changes
    /// them makes another subject, so that it does not matter in which copy of the index that is.
    egress: OnceLock<Lists>,
    ingress: OnceLock<Lists>,
}

/// The policies that select a subject in one direction, by tier.
#[derive(Debug, Default)]
struct Lists {
    admin: Box<[Arc<Compiled>]>,
    namespace: Box<[Arc<Compiled>]>,
    baseline: Box<[Arc<Compiled>]>,
    /// Those of the namespace, as an answer tells them.
    isolating: PolicyRefs,
    /// Their rules.
    groups: Box<[Group]>,
    /// Some of it could not be read: the direct reading is asked.
    odd: bool,
    odd_addresses: bool,
    /// Some rule has blocks: the other end's address matters.
    blocks: bool,
}

impl Subject {
    fn new(key: SubjectKey) -> Self {
        Self { key, stamp: stamp(), egress: OnceLock::new(), ingress: OnceLock::new() }
    }

    fn lists(&self, direction: Direction, index: &Index) -> &Lists {
        let lists = match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        };
        lists.get_or_init(|| index.lists(self.key, direction))
    }
}

/// A number that was never given out before.
pub(super) fn stamp() -> u64 {
    STAMPS.fetch_add(1, Ordering::Relaxed)
}

impl Index {
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter().map(|(_, held)| &held.policy)
    }

    pub(super) fn policy_count(&self) -> usize {
        self.policies.len()
    }

    pub(super) fn find_policy(&self, reference: &PolicyRef) -> Option<&Arc<Policy>> {
        self.policies.get(reference).map(|held| &held.policy)
    }

    /// Whether some policy says something in this direction.
    pub(super) fn says(&self, direction: Direction) -> bool {
        match direction {
            Direction::Egress => self.saying.0 > 0,
            Direction::Ingress => self.saying.1 > 0,
        }
    }

    /// How many pods, and how many subjects they are.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.pods.len(), self.subjects.len())
    }

    /// The policies of a pod's namespace that may isolate it.
    pub(super) fn of_namespace(&self, pod: &Arc<Pod>, direction: Direction) -> &[Arc<Compiled>] {
        match self.find_subject(pod) {
            Some(subject) => &subject.lists(direction, self).namespace,
            None => self.by_namespace.get(&*pod.namespace).map_or(&[], |list| list.as_slice()),
        }
    }

    /// The policies of the cluster in a tier that may select a pod, by priority and name.
    pub(super) fn of_cluster(&self, pod: &Arc<Pod>, direction: Direction, tier: Tier) -> &[Arc<Compiled>] {
        match self.find_subject(pod).map(|subject| subject.lists(direction, self)) {
            Some(lists) if tier == Tier::Admin => &lists.admin,
            Some(lists) => &lists.baseline,
            None => {
                let from = self.cluster.partition_point(|policy| policy.tier < tier);
                let to = self.cluster.partition_point(|policy| policy.tier <= tier);
                self.cluster.get(from..to).unwrap_or_default()
            }
        }
    }

    pub(super) fn find_class(&self, pod: &Arc<Pod>) -> Option<PodClass> {
        let subject = self.pods.get(&place_of(pod))?.subject;
        let edge = |ip: &IpAddr| (ip.is_ipv4(), self.edges.before(*ip));
        Some(PodClass { subject, addresses: pod.ips.iter().map(edge).collect() })
    }

    fn find_subject(&self, pod: &Arc<Pod>) -> Option<&Subject> {
        let known = self.pods.get(&place_of(pod))?;
        self.subjects.get(known.subject).map(|subject| &**subject)
    }

    /// Adds a pod. One on its node's network is no pod to any policy.
    pub(super) fn put_pod(&mut self, pod: &Arc<Pod>) {
        let place = place_of(pod);
        if pod.host_network || self.pods.get(&place).is_some() {
            return;
        }
        if let Some(subject) = self.take_subject(pod) {
            self.pods.insert(place, Known::new(pod, subject));
        }
    }

    /// Removes a pod, the very one that was added.
    pub(super) fn remove_pod(&mut self, pod: &Arc<Pod>) {
        if let Some(known) = self.pods.remove(&place_of(pod)) {
            self.release_subject(known.subject);
        }
    }

    pub(super) fn has_pod(&self, pod: &Arc<Pod>) -> bool {
        self.pods.get(&place_of(pod)).is_some()
    }

    fn take_subject(&mut self, pod: &Pod) -> Option<u32> {
        let key = SubjectKey {
            space: self.take_space(pod)?,
            labels: self.take_labels(&pod.labels)?,
            ports: self.take_ports(pod)?,
        };
        if let Some(number) = self.subjects.find(&key) {
            self.subjects.take(number);
            // The subject holds one of each; its pods need no more.
            self.release_classes(key);
            return Some(number);
        }
        let number = self.subjects.add(key, Subject::new(key))?;
        let list = self.in_namespace.entry(pod.namespace.clone(), Arc::default)?;
        Arc::make_mut(list).push(number);
        Some(number)
    }

    fn release_subject(&mut self, number: u32) {
        let Some((key, _)) = self.subjects.release(number) else { return };
        if let Some(space) = self.spaces.key(key.space)
            && let Some(list) = self.in_namespace.get_mut(&space.name)
        {
            Arc::make_mut(list).retain(|other| *other != number);
            if list.is_empty() {
                let name = space.name.clone();
                self.in_namespace.remove(&name);
            }
        }
        self.release_classes(key);
    }

    fn release_classes(&mut self, key: SubjectKey) {
        self.spaces.release(key.space);
        self.labels.release(key.labels);
        self.ports.release(key.ports);
    }

    fn take_space(&mut self, pod: &Pod) -> Option<u32> {
        // Pods come by namespace, and share its labels.
        if let Some((space, number)) = &self.last_space
            && Arc::ptr_eq(&space.labels, &pod.namespace_labels)
            && space.name == pod.namespace
            && self.spaces.key(*number) == Some(space)
        {
            self.spaces.take(*number);
            return Some(*number);
        }
        let key = SpaceKey { name: pod.namespace.clone(), labels: Arc::clone(&pod.namespace_labels) };
        let number = self.take_space_of(&key)?;
        self.last_space = Some((key, number));
        Some(number)
    }

    fn take_space_of(&mut self, key: &SpaceKey) -> Option<u32> {
        if let Some(number) = self.spaces.find(key) {
            self.spaces.take(number);
            return Some(number);
        }
        let mut bits = Bits::default();
        for (number, selector, _) in self.space_selectors.iter() {
            bits.set(number, selector.matches(&key.labels) == Match::Yes);
        }
        let seen = key.labels.contains_key(NAMESPACE_NAME);
        let space = Space { name: self.word(&key.name), seen, bits };
        self.spaces.add(key.clone(), space)
    }

    fn take_labels(&mut self, labels: &Labels) -> Option<u32> {
        let telling = labels.iter().filter(|(key, _)| !is_noise(key) || self.keys.contains(*key));
        let key: Labels = telling.map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(number) = self.labels.find(&key) {
            self.labels.take(number);
            return Some(number);
        }
        let key = Arc::new(key);
        let mut bits = Bits::default();
        for (number, selector, _) in self.pod_selectors.iter() {
            bits.set(number, selector.matches(&key) == Match::Yes);
        }
        self.labels.add(key, bits)
    }

    fn take_ports(&mut self, pod: &Pod) -> Option<u32> {
        let mut declared = Vec::new();
        for port in &*pod.ports {
            if let Some(name) = &port.name {
                declared.push(Declared { name: self.word(name), protocol: port.protocol, port: port.port });
            }
        }
        declared.sort_unstable();
        declared.dedup();
        match self.ports.find(declared.as_slice()) {
            Some(number) => {
                self.ports.take(number);
                Some(number)
            }
            None => self.ports.add(declared.into(), ()),
        }
    }

    /// The number of a name. Names stay: there are few, and what they are numbers of comes again.
    fn word(&mut self, name: &str) -> u32 {
        if let Some(number) = self.words.get(name) {
            return *number;
        }
        let number = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        Arc::make_mut(&mut self.words).insert(name.to_owned(), number);
        number
    }

    fn take_pod_selector(&mut self, selector: &Selector) -> Option<u32> {
        if let Some(number) = self.pod_selectors.find(selector) {
            self.pod_selectors.take(number);
            return Some(number);
        }
        let key = Arc::new(selector.clone());
        self.name_keys(selector);
        let number = self.pod_selectors.add(Arc::clone(&key), ())?;
        let holds = |labels: &Arc<Labels>| key.matches(labels) == Match::Yes;
        let changed: Vec<_> = (self.labels.iter())
            .filter(|(_, labels, bits)| bits.has(number) != holds(labels))
            .map(|(row, labels, bits)| (row, holds(labels), Bits::clone(bits)))
            .collect();
        for (row, holds, mut bits) in changed {
            bits.set(number, holds);
            self.labels.set(row, Arc::new(bits));
        }
        Some(number)
    }

    fn take_space_selector(&mut self, selector: &Selector) -> Option<u32> {
        if let Some(number) = self.space_selectors.find(selector) {
            self.space_selectors.take(number);
            return Some(number);
        }
        let key = Arc::new(selector.clone());
        let number = self.space_selectors.add(Arc::clone(&key), ())?;
        let changed: Vec<_> = (self.spaces.iter())
            .map(|(row, space, value)| (row, key.matches(&space.labels) == Match::Yes, value))
            .filter(|(_, holds, value)| value.bits.has(number) != *holds)
            .map(|(row, holds, value)| (row, holds, Space::clone(value)))
            .collect();
        for (row, holds, mut space) in changed {
            space.bits.set(number, holds);
            self.spaces.set(row, Arc::new(space));
        }
        Some(number)
    }

    /// Whether a selector names this noise.
    pub(super) fn names_noise(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Takes in the noise that a selector names and none did before: pods that have it may be told apart now.
    /// That looks at each of them, 20 ms for 5,000 pods; a selector of any other key parts no pods.
    fn name_keys(&mut self, selector: &Selector) {
        let named = selector.0.iter().filter_map(|requirement| requirement.key());
        let new: Vec<&str> = named.filter(|key| is_noise(key) && !self.keys.contains(*key)).collect();
        if new.is_empty() {
            return;
        }
        Arc::make_mut(&mut self.keys).extend(new.iter().map(|key| (*key).to_owned()));
        let has_one = |pod: &Pod| new.iter().any(|key| pod.labels.contains_key(*key));
        let parted: Vec<Known> =
            self.pods.iter().map(|(_, known)| known).filter(|known| has_one(&known.pod)).cloned().collect();
        for known in parted {
            if let Some(now) = self.take_subject(&known.pod) {
                self.release_subject(known.subject);
                self.pods.insert(place_of(&known.pod), Known { subject: now, ..known });
            }
        }
    }

    /// Adds a policy, or takes it in place of the one of its name.
    pub(super) fn put_policy(&mut self, policy: &Arc<Policy>) {
        let reference = policy.reference();
        let before = self.policies.get(&reference).cloned();
        if before.as_ref().is_some_and(|held| held.policy == *policy) {
            return;
        }
        let compiled = compile::compile(policy, self).map(Arc::new);
        for block in compiled.iter().flat_map(|compiled| &compiled.blocks) {
            self.edges.add(block);
        }
        self.policies.insert(reference, Held { policy: Arc::clone(policy), compiled: compiled.clone() });
        let before = before.and_then(|held| held.compiled);
        self.replace(before.as_ref(), compiled.as_ref());
    }

    pub(super) fn remove_policy(&mut self, reference: &PolicyRef) {
        if let Some(held) = self.policies.remove(reference) {
            self.replace(held.compiled.as_ref(), None);
        }
    }

    fn replace(&mut self, before: Option<&Arc<Compiled>>, after: Option<&Arc<Compiled>>) {
        if let Some(before) = before {
            self.unlist(before);
        }
        if let Some(after) = after {
            self.list(after);
        }
        let forms: Vec<&Arc<Compiled>> = before.into_iter().chain(after).collect();
        for number in self.concerned(&forms) {
            let Some(key) = self.subjects.key(number).copied() else { continue };
            self.subjects.set(number, Arc::new(Subject::new(key)));
        }
        if let Some(before) = before {
            before.blocks.iter().for_each(|block| self.edges.remove(block));
            for used in &before.uses {
                match used {
                    Use::Pods(number) => drop(self.pod_selectors.release(*number)),
                    Use::Spaces(number) => drop(self.space_selectors.release(*number)),
                }
            }
        }
    }

    fn list(&mut self, policy: &Arc<Compiled>) {
        self.saying.0 += usize::from(policy.rules(Direction::Egress).acts);
        self.saying.1 += usize::from(policy.rules(Direction::Ingress).acts);
        match &policy.whole.namespace {
            Some(namespace) => {
                let Some(list) = self.by_namespace.entry(namespace.clone(), Arc::default) else { return };
                let list = Arc::make_mut(list);
                let place = list.partition_point(|other| other.whole < policy.whole);
                list.insert(place, Arc::clone(policy));
            }
            None => {
                let list = Arc::make_mut(&mut self.cluster);
                let place = list.partition_point(|other| order(other) < order(policy));
                list.insert(place, Arc::clone(policy));
            }
        }
    }

    fn unlist(&mut self, policy: &Arc<Compiled>) {
        self.saying.0 -= usize::from(policy.rules(Direction::Egress).acts);
        self.saying.1 -= usize::from(policy.rules(Direction::Ingress).acts);
        let Some(namespace) = &policy.whole.namespace else {
            return Arc::make_mut(&mut self.cluster).retain(|other| !Arc::ptr_eq(other, policy));
        };
        let Some(list) = self.by_namespace.get_mut(namespace) else { return };
        Arc::make_mut(list).retain(|other| !Arc::ptr_eq(other, policy));
        if list.is_empty() {
            self.by_namespace.remove(namespace);
        }
    }

    /// The subjects that one of these selects.
    fn concerned(&self, policies: &[&Arc<Compiled>]) -> Vec<u32> {
        let selected = |number: &u32| {
            self.subjects
                .key(*number)
                .is_some_and(|key| policies.iter().any(|policy| self.selects(policy, *key)))
        };
        match policies.first().and_then(|policy| policy.whole.namespace.as_ref()) {
            Some(namespace) => {
                let there = self.in_namespace.get(namespace.as_str());
                there.into_iter().flat_map(|list| list.iter().copied()).filter(selected).collect()
            }
            None => self.subjects.iter().map(|(number, ..)| number).filter(selected).collect(),
        }
    }

    /// Whether a policy, of the right namespace where it has one, may select a subject.
    fn selects(&self, policy: &Compiled, key: SubjectKey) -> bool {
        match policy.selects {
            Selects::Own(pods) => self.labels.get(key.labels).is_some_and(|labels| labels.has(pods)),
            Selects::Any { spaces, pods } => {
                self.spaces.get(key.space).is_some_and(|space| !space.seen || space.bits.has(spaces))
                    && self.labels.get(key.labels).is_some_and(|labels| labels.has(pods))
            }
            Selects::Odd => true,
        }
    }

    fn lists(&self, key: SubjectKey, direction: Direction) -> Lists {
        let says = |policy: &&Arc<Compiled>| policy.rules(direction).acts && self.selects(policy, key);
        let namespace = self.spaces.key(key.space).and_then(|space| self.by_namespace.get(&*space.name));
        let namespace: Box<[_]> =
            namespace.into_iter().flat_map(|list| list.iter()).filter(says).cloned().collect();
        let tier = |tier: Tier| -> Box<[Arc<Compiled>]> {
            self.cluster.iter().filter(|policy| policy.tier == tier).filter(says).cloned().collect()
        };
        let (admin, baseline) = (tier(Tier::Admin), tier(Tier::Baseline));
        let placed = baseline.iter().filter(|policy| policy.priority.is_some()).count();
        let seen = self.spaces.get(key.space).is_some_and(|space| space.seen);
        let mut lists = Lists {
            isolating: in_order(namespace.iter().map(|policy| Arc::clone(&policy.whole)).collect()),
            groups: group::groups(&namespace, direction),
            // Kinds with and without priorities in one tier have no order that is known.
            odd: ![0, baseline.len()].contains(&placed) || !(seen || admin.is_empty() && baseline.is_empty()),
            ..Lists::default()
        };
        for policy in admin.iter().chain(&namespace).chain(&baseline) {
            let rules = policy.rules(direction);
            lists.odd |= rules.odd || matches!(policy.selects, Selects::Odd);
            lists.odd_addresses |= rules.odd_addresses;
            lists.blocks |= rules.blocks;
        }
        Lists { admin, namespace, baseline, ..lists }
    }
}

fn is_noise(key: &str) -> bool {
    NOISE_LABELS.contains(&key)
}

/// Where a pod is kept.
fn place_of(pod: &Arc<Pod>) -> usize {
    Arc::as_ptr(pod).addr()
}

fn order(policy: &Compiled) -> (Tier, Option<i32>, &PolicyRef) {
    (policy.tier, policy.priority, &policy.whole)
}
