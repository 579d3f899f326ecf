//! Repeats into one: the first flow of a key is written at once, the rest are added up and written every interval. What is
//! ordinary waits from the first on. A connection's sums come when it closes, and are added to its key's.

use crate::model::{
    Attribution, Class, Decision, Direction, DirectionVerdict, DropPlace, Endpoint, Flow, FlowId,
    IcmpMessage, Origin, Party, PolicyRefs, Protocol, Receipts, RoundTrip, State, Whose,
};
use foldhash::{HashSet, HashSetExt};
use jiff::Timestamp;
use lru::LruCache;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::correlate::Totals;

/// A second.
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// Keys held at a time; when there are more, the one that was quiet longest is written and forgotten.
const MOST_KEYS: usize = 16_384;
/// Connections whose close is awaited.
const MOST_OPEN: usize = 65_536;

/// How often repeats are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intervals {
    /// Denied and not enforced.
    pub(super) denied: Duration,
    /// The rest.
    pub(super) other: Duration,
    /// Write every flow on its own.
    pub(super) each: bool,
    /// Write the first of each key at once, ordinary ones, too.
    pub(super) own_at_once: bool,
}

/// Who stands at an end, as far as folding tells ends apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum End {
    /// By uid; a pod's two addresses are told apart by family.
    Pod(Arc<str>, bool),
    Service(String, String, bool),
    Address(Option<IpAddr>),
}

/// What flows must have in common to become one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    source: End,
    container: Option<Arc<str>>,
    destination: End,
    port: Option<u16>,
    protocol: Protocol,
    icmp: Option<IcmpMessage>,
    class: Class,
    state: State,
    errno: Option<u16>,
    drop: Option<(Arc<str>, DropPlace)>,
    policies: [PolicyRefs; 2],
    trial: Option<(Decision, [PolicyRefs; 2])>,
    settling: bool,
    existing: bool,
    attribution: Option<Attribution>,
}

struct Folded {
    /// Stands for all that were folded since the last writing.
    flow: Flow,
    /// Those whose close is awaited.
    open: HashSet<FlowId>,
    /// Something was folded since then.
    changed: bool,
    /// Nothing was, for an interval: the key is held for closes alone, and its next flow is written at once.
    quiet: bool,
    due_ns: u64,
}

/// The stage.
pub(super) struct Folder {
    intervals: Intervals,
    keys: LruCache<Arc<Key>, Folded>,
    open: LruCache<FlowId, Arc<Key>>,
    /// No event that a flow here stands for, and that the ring keeps, is older.
    oldest: Option<u64>,
    /// Flows that went into one written before.
    pub(super) folded: u64,
    /// Sums of connections whose key was forgotten.
    pub(super) closes_unmatched: u64,
}

/// A flow that stands for nothing yet, to tell repeats by. Which process opened them is not known.
pub(super) fn template(flow: &Flow) -> Flow {
    let mut template = flow.clone();
    clear(&mut template);
    template.source.port = None;
    if let Some(process) = &mut template.process {
        process.pid = None;
        process.comm = None;
        process.exe = None;
    }
    template
}

/// Whether one is told as a repeat of the other.
pub(super) fn are_one(one: &Flow, other: &Flow) -> bool {
    key_of(one) == key_of(other)
}

impl Folder {
    pub(super) fn new(intervals: Intervals) -> Self {
        let bound = |most| NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Self {
            intervals,
            keys: LruCache::new(bound(MOST_KEYS)),
            open: LruCache::new(bound(MOST_OPEN)),
            oldest: None,
            folded: 0,
            closes_unmatched: 0,
        }
    }

    /// Whether it is written as it is, and nothing of it is still to come.
    pub(super) fn passes(&self, flow: &Flow) -> bool {
        self.intervals.each && !is_open(flow)
    }

    /// Take a flow; what is to be written goes to `out`. Returns how many its next record stands for so far.
    pub(super) fn fold(&mut self, flow: Flow, now_ns: u64, out: &mut Vec<Flow>) -> u64 {
        let key = Arc::new(key_of(&flow));
        let open = is_open(&flow).then_some(flow.id);
        let due_ns = now_ns.saturating_add(self.interval(flow.class));
        let waits = !self.intervals.each && !self.intervals.own_at_once && is_ordinary(&flow);
        match self.keys.get_mut(&key).filter(|folded| !self.intervals.each && !folded.quiet) {
            None if waits => {
                self.remember(Arc::clone(&key), &flow, due_ns, out);
                self.oldest = older(self.oldest, flow.receipts.oldest());
                if let Some(folded) = self.keys.get_mut(&key) {
                    add(folded, flow);
                }
            }
            Some(folded) => {
                // An update that says what was said of others already adds no more than its sums.
                if flow.count > 0 || totals_of(&flow).is_some() || flow.datagrams_sent.is_some() {
                    self.folded += flow.count;
                    self.oldest = older(self.oldest, flow.receipts.oldest());
                    add(folded, flow);
                }
            }
            None => {
                // Kept without a count, so that its close can be told.
                self.remember(Arc::clone(&key), &flow, due_ns, out);
                out.push(flow);
            }
        }
        let Some(folded) = self.keys.get_mut(&key) else { return 0 };
        if let Some(id) = open {
            folded.open.insert(id);
        }
        let count = folded.flow.count;
        if let Some(id) = open {
            self.await_close(id, key);
        }
        count
    }

    /// The one that is awaited longest gives way; its close will find nothing.
    fn await_close(&mut self, id: FlowId, key: Arc<Key>) {
        if let Some((evicted, key)) = self.open.push(id, key)
            && evicted != id
            && let Some(folded) = self.keys.peek_mut(&key)
        {
            folded.open.remove(&evicted);
        }
    }

    #[cfg(test)]
    pub(super) fn keys_held(&self) -> usize {
        self.keys.len()
    }

    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.keys.iter().map(|(_, folded)| folded.open.len()).sum()
    }

    /// Take a flow that an agent before has written: what closes later is told by it.
    pub(super) fn remember_told(&mut self, flow: &Flow, now_ns: u64, out: &mut Vec<Flow>) {
        if !is_open(flow) {
            return;
        }
        let key = Arc::new(key_of(flow));
        if !self.keys.contains(&key) {
            let due_ns = now_ns.saturating_add(self.interval(flow.class));
            self.remember(Arc::clone(&key), flow, due_ns, out);
        }
        if let Some(folded) = self.keys.get_mut(&key) {
            folded.open.insert(flow.id);
            self.open.put(flow.id, key);
        }
    }

    /// Take repeats that were counted in the kernel, or one whose close is: they are awaited by nobody here.
    pub(super) fn fold_counted(&mut self, flow: Flow, now_ns: u64, out: &mut Vec<Flow>) {
        let id = flow.id;
        let key = Arc::new(key_of(&flow));
        self.fold(flow, now_ns, out);
        self.open.pop(&id);
        if let Some(folded) = self.keys.get_mut(&key) {
            folded.open.remove(&id);
        }
    }

    /// The flows of this one's key whose close is awaited, existing ones of the same kind with them; from now on it is
    /// awaited elsewhere.
    pub(super) fn take_open(&mut self, flow: &Flow) -> HashSet<FlowId> {
        let mut open = HashSet::new();
        for existing in [false, true] {
            let key = Key { existing, ..key_of(flow) };
            open.extend(self.keys.get_mut(&key).into_iter().flat_map(|folded| folded.open.drain()));
        }
        for id in &open {
            self.open.pop(id);
        }
        open
    }

    /// A connection that was folded before has closed.
    pub(super) fn close(&mut self, id: FlowId, time: Timestamp, totals: &Totals, receipts: Receipts) {
        let folded = self.open.pop(&id).and_then(|key| self.keys.get_mut(&key));
        let Some(folded) = folded else {
            self.closes_unmatched += u64::from(receipts.are_news());
            return;
        };
        folded.open.remove(&id);
        if !receipts.are_news() {
            return;
        }
        self.oldest = older(self.oldest, receipts.oldest());
        folded.flow.receipts.add(receipts);
        let totals = totals.as_opener(folded.flow.direction);
        add_totals(&mut folded.flow, &totals);
        folded.flow.last = folded.flow.last.max(time);
        folded.changed = true;
        if folded.quiet {
            folded.due_ns = 0;
        }
    }

    /// Write what is due at `now_ns`; forget keys that were quiet for an interval, unless a close is awaited.
    pub(super) fn tick(&mut self, now_ns: u64, out: &mut Vec<Flow>) {
        let due: Vec<Arc<Key>> = self
            .keys
            .iter()
            .filter(|(_, folded)| folded.due_ns <= now_ns)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in due {
            let interval = self.interval(key.class);
            let Some(folded) = self.keys.peek_mut(&key) else { continue };
            if folded.changed {
                folded.due_ns = now_ns.saturating_add(interval);
                out.push(take(folded));
            } else if folded.open.is_empty() {
                self.keys.pop(&key);
            } else {
                folded.quiet = true;
                folded.due_ns = u64::MAX;
            }
        }
    }

    /// Write what stands for events from before `sequence`, whatever its time: the ring cannot keep them much longer.
    pub(super) fn write_before(&mut self, sequence: u64, out: &mut Vec<Flow>) {
        if self.oldest.is_none_or(|oldest| oldest >= sequence) {
            return;
        }
        self.oldest = None;
        for (_, folded) in &mut self.keys {
            let oldest = folded.flow.receipts.oldest().filter(|_| folded.changed);
            if oldest.is_some_and(|oldest| oldest < sequence) {
                out.push(take(folded));
            } else {
                self.oldest = older(self.oldest, oldest);
            }
        }
    }

    /// The end: write everything that was folded and not written.
    pub(super) fn finish(&mut self, out: &mut Vec<Flow>) {
        while let Some((_, mut folded)) = self.keys.pop_lru() {
            if folded.changed {
                out.push(take(&mut folded));
            }
        }
    }

    fn remember(&mut self, key: Arc<Key>, flow: &Flow, due_ns: u64, out: &mut Vec<Flow>) {
        let open = self.keys.peek_mut(&key).map(|before| std::mem::take(&mut before.open));
        let open = open.unwrap_or_default();
        let mut folded = Folded { flow: flow.clone(), open, changed: false, quiet: false, due_ns };
        take(&mut folded);
        if let Some((_, mut evicted)) = self.keys.push(key, folded)
            && evicted.changed
        {
            out.push(take(&mut evicted));
        }
    }

    fn interval(&self, class: Class) -> u64 {
        let interval = match class {
            Class::DeniedAttempt | Class::PolicyNotEnforced => self.intervals.denied,
            _ => self.intervals.other,
        };
        u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Allowed, between the user's own pods of one namespace: nobody waits for its first.
fn is_ordinary(flow: &Flow) -> bool {
    let is_own = |whose: &Whose| whose.origin == Some(Origin::FirstParty);
    let pods = (flow.source.endpoint.as_pod(), flow.destination.endpoint.as_pod());
    flow.class == Class::Allowed
        && is_own(&flow.source_whose)
        && is_own(&flow.destination_whose)
        && matches!(pods, (Some(source), Some(destination)) if source.namespace == destination.namespace)
}

/// Whether its close is to come.
fn is_open(flow: &Flow) -> bool {
    flow.outcome.state == State::Established && totals_of(flow).is_none()
}

/// What was folded since the last writing; what stays stands for nothing yet.
fn take(folded: &mut Folded) -> Flow {
    let receipts = folded.flow.receipts.take();
    let mut flow = Flow { receipts, ..folded.flow.clone() };
    flow.update = flow.count == 0;
    folded.changed = false;
    clear(&mut folded.flow);
    flow
}

pub(super) fn clear(flow: &mut Flow) {
    flow.count = 0;
    flow.duration_ns = None;
    flow.bytes_sent = None;
    flow.bytes_received = None;
    flow.datagrams_sent = None;
    flow.datagrams_received = None;
    flow.retransmits = None;
    flow.srtt = RoundTrip::default();
    flow.connect_ns = None;
}

fn older(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

fn add(folded: &mut Folded, mut flow: Flow) {
    let sum = &mut folded.flow;
    let totals = totals_of(&flow);
    sum.receipts.add(flow.receipts.take());
    if sum.count == 0 {
        sum.id = flow.id;
        sum.first = flow.first;
        sum.last = flow.last;
        sum.connect_ns = flow.connect_ns;
        sum.source.port = flow.source.port;
        sum.names = flow.names;
        // What the names tell, outside the cluster.
        sum.destination_whose = flow.destination_whose;
        // Not part of every key.
        sum.destination.port = flow.destination.port;
        sum.process = flow.process;
        sum.verdict = flow.verdict;
        sum.outcome = flow.outcome;
    }
    for (sum, more) in [
        (&mut sum.datagrams_sent, flow.datagrams_sent),
        (&mut sum.datagrams_received, flow.datagrams_received),
    ] {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    }
    sum.count += flow.count;
    sum.first = sum.first.min(flow.first);
    sum.last = sum.last.max(flow.last);
    if let Some(totals) = totals {
        add_totals(sum, &totals);
    }
    folded.changed = true;
}

/// The sums of a flow that has closed, or of such as have.
pub(super) fn totals_of(flow: &Flow) -> Option<Totals> {
    Some(Totals {
        duration_ns: flow.duration_ns,
        bytes_sent: flow.bytes_sent?,
        bytes_received: flow.bytes_received?,
        retransmits: flow.retransmits?,
        srtt: flow.srtt,
    })
}

fn add_totals(flow: &mut Flow, totals: &Totals) {
    let add = |sum: &mut Option<u64>, more: u64| *sum = Some(sum.unwrap_or(0).saturating_add(more));
    if let Some(duration_ns) = totals.duration_ns {
        add(&mut flow.duration_ns, duration_ns);
    }
    add(&mut flow.bytes_sent, totals.bytes_sent);
    add(&mut flow.bytes_received, totals.bytes_received);
    add(&mut flow.retransmits, totals.retransmits);
    flow.srtt.add(totals.srtt);
}

fn key_of(flow: &Flow) -> Key {
    let verdict = &flow.verdict;
    Key {
        direction: flow.direction,
        source: end_of(&flow.source),
        container: flow.process.as_ref().and_then(|process| process.container.clone()),
        destination: end_of(&flow.destination),
        // A scan is one flow, not as many as there are ports.
        port: flow.destination.port.filter(|_| !flow.is_probe()),
        protocol: flow.protocol,
        icmp: flow.icmp,
        class: flow.class,
        state: flow.outcome.state,
        errno: flow.outcome.errno,
        drop: flow.outcome.drop.as_ref().map(|drop| (drop.reason.clone(), drop.place)),
        policies: named(&verdict.egress, &verdict.ingress),
        trial: verdict.trial.as_ref().map(|trial| (trial.decision, named(&trial.egress, &trial.ingress))),
        settling: verdict.settling,
        existing: flow.existing,
        attribution: flow.attribution.clone(),
    }
}

fn named(egress: &DirectionVerdict, ingress: &DirectionVerdict) -> [PolicyRefs; 2] {
    [egress, ingress].map(|side| side.policies.clone())
}

fn end_of(party: &Party) -> End {
    let v6 = party.ip.is_some_and(|ip| ip.is_ipv6());
    match &party.endpoint {
        Endpoint::Pod(pod) => End::Pod(pod.uid.clone(), v6),
        Endpoint::Service(service) => End::Service(service.namespace.clone(), service.name.clone(), v6),
        Endpoint::Unknown { pod_uid: Some(uid), .. } => End::Pod(uid.as_str().into(), v6),
        Endpoint::Node(_) | Endpoint::External(_) | Endpoint::Local | Endpoint::Unknown { .. } => {
            End::Address(party.ip)
        }
    }
}
