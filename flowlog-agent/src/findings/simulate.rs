//! What changed policies would do to what was observed: each connection put to the engine as it is declared and as it
//! would be.
//!
//! Without the cluster's objects, what records say is taken for what was declared. A record names every policy that allows
//! a connection, or every one that isolates a pod; whatever else is declared it does not name, and an answer that hangs
//! on that is unknown.

mod reach;

pub use reach::{Moved, Ports, ReachChange, ReachSums, Stretch, reach_change};

use crate::model::{
    Basis, Class, Decision, Direction, Edge, Party, Place, PolicyKind, PolicyRef, Protocol, State, Told,
};
use crate::policy::observed::{self, Cast};
use crate::policy::{Policy, PolicySet, Query, Ruling, combine};
use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Version of the schema of a simulation, `v`.
pub const SIMULATION_VERSION: u32 = 1;

/// Policies that would be there, and those that would not.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New, or in the place of the declared ones of their names.
    pub put: Vec<Arc<Policy>>,
    /// Gone.
    pub removed: Vec<PolicyRef>,
}

impl Change {
    /// The set as it would be.
    pub fn applied(&self, declared: &PolicySet) -> PolicySet {
        let mut set = declared.clone();
        self.removed.iter().for_each(|policy| set.remove_policy(policy));
        self.put.iter().for_each(|policy| set.put_policy(policy));
        set
    }

    /// Whether a declared policy would be another one, or none.
    fn touches(&self, policy: &PolicyRef) -> bool {
        let named = PolicyRef { rule: None, ..policy.clone() };
        self.removed.contains(&named) || self.put.iter().any(|policy| policy.reference() == named)
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It would be denied, or to or from some of the pods.
    Denied,
    /// It would be allowed, or to or from some of the pods.
    Allowed,
    /// It is not known before, or it would not be after.
    Unsure,
}

/// What was observed of one kind of connection, and what would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Altered {
    /// What becomes of it.
    pub effect: Effect,
    /// Opener.
    pub source: Place,
    /// Listener.
    pub destination: Place,
    /// The service that was dialed, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is declared says so.
    pub before: Decision,
    /// What would be declared says so.
    pub after: Decision,
    /// What records said, where that is something else than `before`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub recorded: BTreeSet<Decision>,
    /// The direction that decides it after, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Policies that take part in what is said after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRef>,
    /// Why it is unknown, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Classes of the records.
    pub classes: BTreeSet<Class>,
    /// What became of the attempts.
    pub states: BTreeSet<State>,
    /// Attempts; where both ends' nodes told, those of the end that told more.
    pub count: u64,
    /// First attempt.
    pub first: Timestamp,
    /// Last attempt.
    pub last: Timestamp,
}

/// Connections that cannot be judged, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unjudged {
    /// Why.
    pub reason: String,
    /// Kinds of connections.
    pub flows: u64,
    /// Attempts.
    pub count: u64,
}

/// How many kinds of connections there are, by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sums {
    /// All.
    pub flows: u64,
    /// Allowed before and after.
    pub still_allowed: u64,
    /// Denied before and after.
    pub still_denied: u64,
    /// Denied after.
    pub denied: u64,
    /// Allowed after.
    pub allowed: u64,
    /// Known only before or only after, or neither.
    pub unknown: u64,
    /// Where endpoints differ in what they are, before and after.
    pub still_mixed: u64,
}

/// What changed policies would do to what was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Simulation {
    /// Version of this schema.
    pub v: u32,
    /// `objects` where the cluster's objects told what is declared, `records` where only records did.
    pub declared_by: DeclaredBy,
    /// Policies that would be new.
    pub added: Vec<PolicyRef>,
    /// Policies that would be others under their names.
    pub replaced: Vec<PolicyRef>,
    /// Policies that would be gone.
    pub removed: Vec<PolicyRef>,
    /// Counts.
    pub sums: Sums,
    /// Connections that would be denied or allowed, or of which that is not sure; denied ones first.
    pub changes: Vec<Altered>,
    /// Connections that are judged neither before nor after.
    pub unjudged: Vec<Unjudged>,
    /// How far third parties could reach; absent where no objects tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub possible_reach: Option<ReachChange>,
}

/// What tells what is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredBy {
    /// The cluster's objects.
    Objects,
    /// Records alone.
    Records,
}

/// One direction's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    decision: Decision,
    policies: Vec<PolicyRef>,
    reason: Option<String>,
}

impl Said {
    fn allowed() -> Self {
        Self { decision: Decision::Allow, policies: Vec::new(), reason: None }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Unknown, policies: Vec::new(), reason: Some(reason.into()) }
    }
}

/// What is the same for all edges that get one answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: Place,
    destination: Place,
    service: Option<String>,
    protocol: Protocol,
    port: Option<u16>,
    /// What no policy has a say in, at the opener and at the listener.
    exempt: [bool; 2],
    /// What was said, by number, where records tell what is declared.
    verdict: Option<usize>,
}

/// Put every edge to both sets; possible reach is another question ([`reach_change`]). `declared` is absent where only records tell what is declared.
pub fn simulate(
    edges: &[Edge],
    cast: &Cast<'_>,
    declared: Option<&PolicySet>,
    change: &Change,
) -> Simulation {
    let nothing = PolicySet::default();
    let before = declared.unwrap_or(&nothing);
    let after = change.applied(before);
    let judge = Judge { cast, after: &after, change, names: observed::port_names(&[before, &after]) };
    let mut simulation = start(declared, change);
    let mut unjudged: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (key, edges) in group(edges, declared.is_some()) {
        let (before, after) = match declared {
            Some(_) => (judge.say(&key, before), judge.say(&key, &after)),
            None => judge.by_record(&key, &edges),
        };
        simulation.add(&key, &edges, &before, &after, &mut unjudged);
    }
    let unjudged = unjudged.into_iter();
    simulation.unjudged =
        unjudged.map(|(reason, (flows, count))| Unjudged { reason, flows, count }).collect();
    let order = |one: &Altered| {
        (one.effect, one.source.clone(), one.destination.clone(), one.protocol, one.port, one.service.clone())
    };
    simulation.changes.sort_by_cached_key(order);
    simulation
}

fn start(declared: Option<&PolicySet>, change: &Change) -> Simulation {
    let is_there = |policy: &PolicyRef| declared.is_some_and(|set| set.find_policy(policy).is_some());
    let mut put: Vec<PolicyRef> = change.put.iter().map(|policy| policy.reference()).collect();
    put.sort();
    let (replaced, added) = put.into_iter().partition(is_there);
    Simulation {
        v: SIMULATION_VERSION,
        declared_by: if declared.is_some() { DeclaredBy::Objects } else { DeclaredBy::Records },
        added,
        replaced,
        removed: change.removed.clone(),
        sums: Sums::default(),
        changes: Vec::new(),
        unjudged: Vec::new(),
        possible_reach: None,
    }
}

/// Edges that get one answer, together.
fn group(edges: &[Edge], by_objects: bool) -> BTreeMap<Key, Vec<&Edge>> {
    let mut verdicts: HashMap<(&Told, &Told), usize> = HashMap::new();
    let mut groups: BTreeMap<Key, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        let is_exempt = |told: &Told| matches!(told.basis, Basis::Node | Basis::SelfTraffic);
        let told = (&edge.egress, &edge.ingress);
        let next = verdicts.len();
        let number = (!by_objects).then(|| *verdicts.entry(told).or_insert(next));
        let key = Key {
            source: edge.source.clone(),
            destination: edge.destination.clone(),
            service: edge.service.as_ref().map(|(namespace, name)| format!("{namespace}/{name}")),
            protocol: edge.protocol,
            port: edge.port,
            exempt: [is_exempt(&edge.egress), is_exempt(&edge.ingress)],
            verdict: number,
        };
        groups.entry(key).or_default().push(edge);
    }
    groups
}

struct Judge<'j, 'a> {
    cast: &'j Cast<'a>,
    after: &'j PolicySet,
    change: &'j Change,
    /// Names of ports that rules open.
    names: BTreeSet<String>,
}

impl Judge<'_, '_> {
    /// What a set says in both directions, whichever pods take part.
    fn say(&self, key: &Key, set: &PolicySet) -> Both {
        let mut both: Option<Both> = None;
        for source in self.cast.openers(&key.source) {
            for destination in self.cast.listeners(&key.destination, key.protocol, key.port) {
                let one = self.one(key, set, &source, &destination);
                both = Some(match both {
                    None => one,
                    Some(other) => other.with(one),
                });
            }
        }
        both.unwrap_or_else(|| {
            let said = Said::unknown("no pod is known that could take part");
            Both::new(said.clone(), said)
        })
    }

    fn one(&self, key: &Key, set: &PolicySet, source: &Party, destination: &Party) -> Both {
        let rulings = self.rule(key, set, source, destination);
        let [egress, ingress] = key.exempt;
        let side = |ruling: &Ruling, is_exempt: bool| {
            if is_exempt { Said::allowed() } else { said(ruling, key.protocol) }
        };
        let both = Both::new(side(&rulings.0, egress), side(&rulings.1, ingress));
        // Which ports a pod names is not told by records.
        let is_made = !self.cast.find(&key.destination).is_some_and(|member| member.declared);
        let port = destination.port.or(key.port);
        let named = port.filter(|_| is_made && !self.names.is_empty());
        let Some(other) =
            named.and_then(|port| observed::naming(destination, &self.names, key.protocol, port))
        else {
            return both;
        };
        let rulings = self.rule(key, set, source, &other);
        let named = Both::new(side(&rulings.0, egress), side(&rulings.1, ingress));
        if named.decision == both.decision {
            return both;
        }
        let why = Said::unknown(
            "a rule opens a port by its name, and which ports pods name only the cluster's objects tell",
        );
        Both::new(why.clone(), why)
    }

    fn rule(&self, key: &Key, set: &PolicySet, source: &Party, destination: &Party) -> (Ruling, Ruling) {
        let port = destination.port.or(key.port);
        let range_of = Cast::range_of(source, destination);
        set.rule(&Query { source, destination, protocol: key.protocol, port, range_of })
    }

    /// The same where records tell what is declared.
    fn by_record(&self, key: &Key, edges: &[&Edge]) -> (Both, Both) {
        let Some(edge) = edges.first() else {
            let said = || Said::unknown("no record tells of it");
            return (Both::new(said(), said()), Both::new(said(), said()));
        };
        let told = |told: &Told| Said {
            decision: told.decision,
            policies: told.policies.to_vec(),
            reason: (told.decision == Decision::Unknown)
                .then(|| "records do not tell what was declared".to_owned()),
        };
        let before = Both::new(told(&edge.egress), told(&edge.ingress));
        let changed = self.say(key, self.after);
        let bases = self.bases(key);
        let after = Both::new(
            self.after_record(&edge.egress, &changed.egress, bases[0]),
            self.after_record(&edge.ingress, &changed.ingress, bases[1]),
        );
        (before, after)
    }

    /// What the changed policies alone rest on at either end: whether they isolate anybody there.
    fn bases(&self, key: &Key) -> [Option<Basis>; 2] {
        let mut found: [BTreeSet<Basis>; 2] = Default::default();
        for source in self.cast.openers(&key.source) {
            for destination in self.cast.listeners(&key.destination, key.protocol, key.port) {
                let (egress, ingress) = self.rule(key, self.after, &source, &destination);
                found[0].insert(egress.basis);
                found[1].insert(ingress.basis);
            }
        }
        found.map(|bases| if bases.len() == 1 { bases.into_iter().next() } else { None })
    }

    /// One direction, out of what a record says was declared and what the changed policies say alone.
    fn after_record(&self, told: &Told, changed: &Said, basis: Option<Basis>) -> Said {
        let rest: Vec<PolicyRef> =
            told.policies.iter().filter(|policy| !self.change.touches(policy)).cloned().collect();
        let is_namespaced = |policy: &PolicyRef| policy.kind == PolicyKind::NetworkPolicy;
        let changes_cluster =
            self.change.put.iter().map(|policy| policy.reference()).any(|policy| !is_namespaced(&policy))
                || self.change.removed.iter().any(|policy| !is_namespaced(policy));
        let kept = || Said { decision: told.decision, policies: told.policies.to_vec(), reason: None };
        let needs = |what: &str| {
            Said::unknown(format!("{what}: give the cluster's objects (--manifests DIR or --live)"))
        };
        match told.basis {
            Basis::Node | Basis::SelfTraffic => Said::allowed(),
            Basis::Unselected => changed.clone(),
            Basis::Unknown => needs("records do not tell what was declared"),
            _ if changes_cluster || !told.policies.iter().all(is_namespaced) => {
                needs("which policies of the cluster stand above and below is not told by records")
            }
            _ if changed.decision == Decision::Unknown => changed.clone(),
            // Policies add up: one that allows it is enough.
            Basis::Policy if !rest.is_empty() => Said { policies: rest, ..kept() },
            Basis::Policy | Basis::Isolated
                if changed.decision == Decision::Allow && basis == Some(Basis::Policy) =>
            {
                changed.clone()
            }
            // Every policy that allowed it is gone, and the pod is isolated.
            Basis::Policy if changed.decision == Decision::Deny => changed.clone(),
            Basis::Policy => needs("whether another policy isolates the pod is not told by records"),
            // Every policy that isolates the pod is told.
            Basis::Isolated if !rest.is_empty() => Said { policies: rest, ..kept() },
            Basis::Isolated => changed.clone(),
        }
    }
}

/// What is said in both directions, and together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Both {
    egress: Said,
    ingress: Said,
    decision: Decision,
}

impl Both {
    fn new(egress: Said, ingress: Said) -> Self {
        Self { decision: combine(egress.decision, ingress.decision), egress, ingress }
    }

    /// One answer for both pairs of pods: theirs where they agree.
    fn with(self, other: Self) -> Self {
        let decision = together(self.decision, other.decision);
        Self { egress: join(self.egress, other.egress), ingress: join(self.ingress, other.ingress), decision }
    }

    /// The direction that decides, and what it says.
    fn deciding(&self) -> (Option<Direction>, Vec<PolicyRef>, Option<String>) {
        let sides = [(Direction::Egress, &self.egress), (Direction::Ingress, &self.ingress)];
        if self.decision == Decision::Allow {
            let policies: BTreeSet<PolicyRef> =
                sides.iter().flat_map(|(_, side)| side.policies.iter().cloned()).collect();
            return (None, policies.into_iter().collect(), None);
        }
        let side = sides.iter().find(|(_, side)| side.decision == self.decision);
        let side = side.or_else(|| sides.iter().find(|(_, side)| side.decision != Decision::Allow));
        side.map_or((None, Vec::new(), None), |(direction, side)| {
            (Some(*direction), side.policies.clone(), side.reason.clone())
        })
    }
}

fn join(one: Said, other: Said) -> Said {
    let policies: BTreeSet<PolicyRef> = one.policies.into_iter().chain(other.policies).collect();
    Said {
        decision: together(one.decision, other.decision),
        policies: policies.into_iter().collect(),
        reason: one.reason.or(other.reason),
    }
}

/// As the verdict of a service's endpoints is made.
fn together(one: Decision, other: Decision) -> Decision {
    match (one, other) {
        _ if one == other => one,
        (Decision::Mixed, _) | (_, Decision::Mixed) => Decision::Mixed,
        (Decision::Unknown, _) | (_, Decision::Unknown) => Decision::Unknown,
        _ => Decision::Mixed,
    }
}

fn said(ruling: &Ruling, protocol: Protocol) -> Said {
    let verdict = ruling.verdict();
    if protocol.is_icmp() && matches!(verdict.basis, Basis::Policy | Basis::Isolated) {
        return Said::unknown("policies do not speak of ICMP: it is left to the network plugin");
    }
    let policies = verdict.policies.iter().map(|policy| PolicyRef::clone(policy)).collect();
    Said { decision: verdict.decision, policies, reason: verdict.reason }
}

impl Simulation {
    fn add(
        &mut self,
        key: &Key,
        edges: &[&Edge],
        before: &Both,
        after: &Both,
        unjudged: &mut BTreeMap<String, (u64, u64)>,
    ) {
        use Decision::{Allow, Deny, Mixed, Unknown};
        let sums = &mut self.sums;
        sums.flows += 1;
        let (counter, effect) = match (before.decision, after.decision) {
            (Allow, Allow) => (&mut sums.still_allowed, None),
            (Deny, Deny) => (&mut sums.still_denied, None),
            (Mixed, Mixed) => (&mut sums.still_mixed, None),
            (Unknown, Unknown) => (&mut sums.unknown, None),
            (Unknown, _) | (_, Unknown) => (&mut sums.unknown, Some(Effect::Unsure)),
            (Allow, _) | (Mixed, Deny) => (&mut sums.denied, Some(Effect::Denied)),
            (Deny, _) | (Mixed, Allow) => (&mut sums.allowed, Some(Effect::Allowed)),
        };
        *counter += 1;
        let count = attempts(edges);
        let Some(effect) = effect else {
            if after.decision == Unknown {
                let reason = after.deciding().2.unwrap_or_else(|| "not known".to_owned());
                let entry = unjudged.entry(reason).or_default();
                *entry = (entry.0 + 1, entry.1.saturating_add(count));
            }
            return;
        };
        let (direction, policies, reason) = after.deciding();
        let reason = reason.or_else(|| before.deciding().2);
        let Some((first, last)) = edges
            .iter()
            .map(|edge| (edge.first, edge.last))
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        else {
            return;
        };
        self.changes.push(Altered {
            effect,
            source: key.source.clone(),
            destination: key.destination.clone(),
            service: key.service.clone(),
            protocol: key.protocol,
            port: key.port,
            before: before.decision,
            after: after.decision,
            recorded: edges
                .iter()
                .map(|edge| edge.decision)
                .filter(|told| *told != before.decision)
                .collect(),
            direction,
            policies,
            reason,
            classes: edges.iter().map(|edge| edge.class).collect(),
            states: edges.iter().map(|edge| edge.state).collect(),
            count,
            first,
            last,
        });
    }
}

/// Attempts: both ends' nodes tell of one, where both have an agent.
fn attempts(edges: &[&Edge]) -> u64 {
    let of = |direction| {
        let told = edges.iter().filter(|edge| edge.direction == direction);
        told.fold(0_u64, |sum, edge| sum.saturating_add(edge.count))
    };
    of(Direction::Egress).max(of(Direction::Ingress))
}

#[cfg(test)]
mod tests;
