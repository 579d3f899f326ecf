//! What the declared rules say: policies compiled once, one connection judged at a time.
//!
//! Two ways lead to an answer, and to the same one. The direct reading (`kinds`) tries every policy that may
//! select an end as it was read, and knows doubt: what could not be read of a policy stays in it as a
//! marker, and an answer that it could change is unknown. Where nothing is in doubt the index answers, with
//! selectors that were evaluated beforehand. Reading the objects' text and bringing them into the form that
//! the API server stores is the cluster room's part.

mod answer;
mod breadth;
mod explain;
mod index;
pub mod kinds;
pub mod lint;
mod matching;
pub mod observed;
mod peer;
mod port;
mod relation;
mod ruling;
mod selector;
pub mod suggest;
#[cfg(test)]
mod tests;
mod trial;

pub use breadth::{Breadth, Wide};
pub use explain::{PolicyTrace, RuleTrace, SideTrace, TierTrace, Trace, Tried, WantedLabel};
pub use index::{Cache, PodClass};
pub use matching::{Match, Reason};
pub use peer::{Block, Namespaces, Peer};
pub use port::{Numbers, Port};
pub use ruling::Ruling;
pub use selector::{Requirement, Selector};
pub use trial::Trial;

use crate::model::{
    Basis, Decision, Direction, DirectionVerdict, Endpoint, Party, Pod, PolicyKind, PolicyRef, Protocol, Tier,
};
use answer::Answer;
use index::{Found, Index, Question, Want};
use kinds::cluster_rules::{self, ClusterPolicy};
use kinds::network_policy::{self, NetworkPolicy};
use kinds::not_understood::NotUnderstood;
use relation::Relation;
use std::sync::Arc;

/// Which endpoints an address block can match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockScope {
    /// Every address, pods' own included, as the upstream tests want it.
    #[default]
    Everything,
    /// Only addresses outside the cluster and nodes, as some network plugins have it.
    OutsidePods,
}

/// One question: may this connection open?
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Opener.
    pub source: &'a Party,
    /// Listener, behind any service address.
    pub destination: &'a Party,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the listener, where the protocol has one and it is known.
    pub port: Option<u16>,
    /// Where an end is unknown: the node out of whose range its address is, since nodes use addresses of
    /// that range themselves (the bridge that pods hang on).
    pub range_of: Option<&'a str>,
}

/// A question, seen from one of its ends.
struct Side<'a> {
    direction: Direction,
    query: &'a Query<'a>,
}

impl<'a> Side<'a> {
    fn own(&self) -> &'a Party {
        match self.direction {
            Direction::Egress => self.query.source,
            Direction::Ingress => self.query.destination,
        }
    }

    fn other(&self) -> &'a Party {
        match self.direction {
            Direction::Egress => self.query.destination,
            Direction::Ingress => self.query.source,
        }
    }

    /// Whether a rule of these ports and peers matches; what is absent matches all.
    fn matches(&self, ports: Option<&[Port]>, peers: Option<&[Peer]>, scope: BlockScope) -> Match {
        let Query { destination, protocol, port, .. } = *self.query;
        let ports = ports.map_or(Match::Yes, |ports| {
            Match::any(ports.iter().map(|opened| opened.matches(destination, protocol, port)))
        });
        let peer = |peer: &Peer| peer.matches(self.other(), self.own(), scope);
        ports.and(|| peers.map_or(Match::Yes, |peers| Match::any(peers.iter().map(peer))))
    }
}

/// A policy of any kind, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// A policy of the whole cluster.
    Cluster(ClusterPolicy),
    /// A policy that this build cannot read as a whole.
    NotUnderstood(NotUnderstood),
}

impl Policy {
    /// Its kind, namespace and name.
    pub fn reference(&self) -> PolicyRef {
        match self {
            Self::NetworkPolicy(policy) => policy.reference(),
            Self::Cluster(policy) => policy.reference(),
            Self::NotUnderstood(policy) => policy.reference(),
        }
    }

    /// Whether it has a say in this direction of this end.
    pub fn selects(&self, party: &Party, direction: Direction) -> Match {
        let pod = match &party.endpoint {
            Endpoint::Pod(pod) if !pod.host_network => pod,
            Endpoint::Unknown { .. } | Endpoint::Service(_) => {
                return Match::Unknown(peer::why_unknown(party));
            }
            _ => return Match::No,
        };
        match self {
            Self::NetworkPolicy(policy) => policy.isolates(pod, direction),
            Self::Cluster(policy) => policy.selects(pod, direction),
            Self::NotUnderstood(policy) => policy.selects(pod),
        }
    }
}

/// A tier, and how the kinds that decide in it do.
struct TierRow {
    tier: Tier,
    decide: fn(&PolicySet, &Side<'_>) -> Answer,
}

/// The order in which tiers decide: the first that does not pass ends it; default allow comes last.
const TIERS: &[TierRow] = &[
    TierRow { tier: Tier::Admin, decide: |set, side| cluster_rules::decide(set, side, Tier::Admin) },
    TierRow { tier: Tier::Namespace, decide: network_policy::decide },
    TierRow { tier: Tier::Baseline, decide: |set, side| cluster_rules::decide(set, side, Tier::Baseline) },
];

/// The policies of one moment, and the pods that they are about.
///
/// A copy shares everything with its original until one of them changes, and then all but what changed: the
/// set of the next moment is a copy with the changes made to it. A pod that was not added is judged all the
/// same, only not as quickly.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    scope: BlockScope,
    index: Index,
    not_understood: Arc<Vec<Arc<Policy>>>,
    /// New with every change, so that sets of one moment are alike; 0 is that of the empty set.
    moment: u64,
}

impl PolicySet {
    /// A set of these.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>, scope: BlockScope) -> Self {
        let mut set = Self { scope, moment: index::stamp(), ..Self::default() };
        policies.into_iter().for_each(|policy| set.put_policy(&policy));
        set
    }

    /// All of them, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.index.policies()
    }

    /// How many there are.
    pub fn policy_count(&self) -> usize {
        self.index.policy_count()
    }

    /// The policy of this name.
    pub fn find_policy(&self, reference: &PolicyRef) -> Option<&Arc<Policy>> {
        self.index.find_policy(reference)
    }

    /// How many pods were added, and how many classes they form that no rule tells apart.
    pub fn sizes(&self) -> (usize, usize) {
        self.index.sizes()
    }

    /// Whether a policy may tell pods apart by this label, though it only numbers a roll-out.
    fn tells_apart(&self, key: &str) -> bool {
        self.index.names_noise(key)
    }

    /// Adds a policy, or takes it in place of the one of its name.
    pub fn put_policy(&mut self, policy: &Arc<Policy>) {
        self.moment = index::stamp();
        self.forget(&policy.reference());
        self.index.put_policy(policy);
        if matches!(&**policy, Policy::NotUnderstood(_)) {
            let list = Arc::make_mut(&mut self.not_understood);
            list.push(Arc::clone(policy));
            list.sort_by_cached_key(|policy| policy.reference());
        }
    }

    /// Removes the policy of this name.
    pub fn remove_policy(&mut self, reference: &PolicyRef) {
        self.moment = index::stamp();
        self.forget(reference);
        self.index.remove_policy(reference);
    }

    fn forget(&mut self, reference: &PolicyRef) {
        if self.not_understood.iter().any(|policy| policy.reference() == *reference) {
            Arc::make_mut(&mut self.not_understood).retain(|policy| policy.reference() != *reference);
        }
    }

    /// Adds a pod. One that changed is another pod: the old one is to be removed.
    pub fn put_pod(&mut self, pod: &Arc<Pod>) {
        self.moment = index::stamp();
        self.index.put_pod(pod);
    }

    /// Removes a pod, the very one that was added.
    pub fn remove_pod(&mut self, pod: &Arc<Pod>) {
        self.moment = index::stamp();
        self.index.remove_pod(pod);
    }

    /// Whether this very pod was added.
    pub fn has_pod(&self, pod: &Arc<Pod>) -> bool {
        self.index.has_pod(pod)
    }

    /// The class of a pod: pods of one class get the same answers, unless who they are themselves matters. Absent for one
    /// that was not added.
    pub fn find_class(&self, pod: &Arc<Pod>) -> Option<PodClass> {
        self.index.find_class(pod)
    }

    /// The policies that select a pod in a direction, or may.
    pub fn find_selecting<'s>(
        &'s self,
        pod: &Arc<Pod>,
        direction: Direction,
    ) -> impl Iterator<Item = &'s Arc<Policy>> + use<'s> {
        let party = Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: None, port: None };
        let compiled = self.index.of_namespace(pod, direction).iter();
        let compiled = compiled.chain(self.index.of_cluster(pod, direction, Tier::Admin));
        let compiled = compiled.chain(self.index.of_cluster(pod, direction, Tier::Baseline));
        let all = compiled.map(|compiled| &compiled.policy).chain(self.not_understood.iter());
        all.filter(move |policy| policy.selects(&party, direction) != Match::No)
    }

    /// Which endpoints an address block can match.
    pub fn block_scope(&self) -> BlockScope {
        self.scope
    }

    /// What the policies say at the opener, and at the listener, in words.
    pub fn evaluate(&self, query: &Query<'_>) -> (DirectionVerdict, DirectionVerdict) {
        let (egress, ingress) = self.rule(query);
        (egress.verdict(), ingress.verdict())
    }

    /// What the policies say at the opener, and at the listener.
    pub fn rule(&self, query: &Query<'_>) -> (Ruling, Ruling) {
        self.ask(query, Want::Policies)
    }

    /// The same, with the answers of before at hand.
    pub fn rule_with<'c>(&self, query: &Query<'_>, cache: &'c mut Cache) -> &'c (Ruling, Ruling) {
        let question = Question::of(self.moment, query);
        if let Some(place) = question.and_then(|question| cache.find(&question)) {
            return cache.found(place);
        }
        if let Some(found) = self.find_apart(query)
            && let Some(place) = cache.place(&self.index, &found)
        {
            if let Some(question) = question.filter(|_| found.has_pods_of(query)) {
                cache.keep(question, place);
            }
            return cache.kept(place);
        }
        let answer = match relation::between(query) {
            Relation::Apart => {
                if let Some(place) = self.find(query).and_then(|found| cache.place(&self.index, &found)) {
                    return cache.kept(place);
                }
                self.read(query)
            }
            relation => self.related(query, &relation),
        };
        cache.once(answer)
    }

    /// The decisions alone: quicker, since not every rule has to be looked at.
    pub fn decide(&self, query: &Query<'_>) -> (Decision, Decision) {
        let (egress, ingress) = self.ask(query, Want::Decision);
        (egress.decision, ingress.decision)
    }

    fn ask(&self, query: &Query<'_>, want: Want) -> (Ruling, Ruling) {
        if let Some(answer) = self.find_apart(query).and_then(|found| self.index.judge(&found, want)) {
            return answer;
        }
        match relation::between(query) {
            Relation::Apart => {
                let found = self.find(query);
                let quick = found.and_then(|found| self.index.judge(&found, want));
                quick.unwrap_or_else(|| self.read(query))
            }
            relation => self.related(query, &relation),
        }
    }

    fn related(&self, query: &Query<'_>, relation: &Relation) -> (Ruling, Ruling) {
        let both = |basis| (Ruling::exempt(basis), Ruling::exempt(basis));
        match relation {
            Relation::Same => both(Basis::SelfTraffic),
            Relation::OwnNode => both(Basis::Node),
            Relation::Apart => self.read(query),
            Relation::Perhaps(reason) => {
                let (egress, ingress) = self.read(query);
                (egress.doubted(reason), ingress.doubted(reason))
            }
        }
    }

    /// The ends of a question that the index can answer.
    fn find(&self, query: &Query<'_>) -> Option<Found<'_>> {
        if self.is_not_understood(query) { None } else { self.index.find(query, self.scope) }
    }

    /// The same where the ends surely stand apart.
    fn find_apart(&self, query: &Query<'_>) -> Option<Found<'_>> {
        if self.is_not_understood(query) { None } else { self.index.find_apart(query, self.scope) }
    }

    /// Whether a policy that is not understood may have a say.
    fn is_not_understood(&self, query: &Query<'_>) -> bool {
        let may_select = |pod: &Pod| {
            self.not_understood.iter().any(|policy| match &**policy {
                Policy::NotUnderstood(policy) => policy.may_select(pod),
                _ => false,
            })
        };
        let ends = [query.source, query.destination];
        !self.not_understood.is_empty()
            && ends.iter().filter_map(|party| party.endpoint.as_pod()).any(|pod| may_select(pod))
    }

    /// The direct reading: every policy that may select an end is tried as it was read.
    fn read(&self, query: &Query<'_>) -> (Ruling, Ruling) {
        let judge = |direction| self.read_side(&Side { direction, query });
        (judge(Direction::Egress), judge(Direction::Ingress))
    }

    fn read_side(&self, side: &Side<'_>) -> Ruling {
        match &side.own().endpoint {
            Endpoint::Pod(pod) if !pod.host_network => {}
            Endpoint::Unknown { .. } | Endpoint::Service(_) if self.may_select(side.direction) => {
                return Ruling::unknown(&peer::why_unknown(side.own()), None);
            }
            _ => return Ruling::unselected(),
        }
        answer::ruling(TIERS.iter().map(|row| (row.tier, (row.decide)(self, side))))
    }

    /// Whether there is a policy that selects some pod in this direction.
    fn may_select(&self, direction: Direction) -> bool {
        !self.not_understood.is_empty() || self.index.says(direction)
    }

    /// The NetworkPolicies that may isolate this pod.
    fn network_policies(&self, pod: &Arc<Pod>, direction: Direction) -> impl Iterator<Item = &NetworkPolicy> {
        self.index.of_namespace(pod, direction).iter().filter_map(|policy| match &*policy.policy {
            Policy::NetworkPolicy(policy) => Some(policy),
            _ => None,
        })
    }

    /// The cluster's policies of a tier that may select this pod, by priority and name.
    fn cluster_policies(
        &self,
        pod: &Arc<Pod>,
        direction: Direction,
        tier: Tier,
    ) -> impl Iterator<Item = &ClusterPolicy> {
        self.index.of_cluster(pod, direction, tier).iter().filter_map(|policy| match &*policy.policy {
            Policy::Cluster(policy) => Some(policy),
            _ => None,
        })
    }
}

/// The combined answer of both directions.
pub fn combine(egress: Decision, ingress: Decision) -> Decision {
    use Decision::{Allow, Deny, Mixed, Unknown};
    match (egress, ingress) {
        (Deny, _) | (_, Deny) => Deny,
        (Unknown, _) | (_, Unknown) => Unknown,
        (Mixed, _) | (_, Mixed) => Mixed,
        (Allow, Allow) => Allow,
    }
}

/// Names a policy as a reader writes it (`NetworkPolicy shop/allow-web`).
fn title(kind: PolicyKind, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind:?} {namespace}/{name}"),
        None => format!("{kind:?} {name}"),
    }
}
