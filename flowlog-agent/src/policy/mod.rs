//! What the declared rules say: policies compiled once, one connection judged at a time.
//!
//! A direct reading: every policy of the pod's namespace is tried for every question. What could not be
//! read of a policy stays in it as a marker, and an answer that it could change is unknown. Reading the
//! objects' text and bringing them into the form that the API server stores is the cluster room's part.

mod answer;
#[cfg(test)]
mod cluster_tests;
pub mod kinds;
mod matching;
mod peer;
mod port;
mod relation;
mod selector;
#[cfg(test)]
mod tests;

pub use matching::{Match, Reason};
pub use peer::{Block, Namespaces, Peer};
pub use port::{Numbers, Port};
pub use selector::{Requirement, Selector};

use crate::model::{
    Basis, Decision, Direction, DirectionVerdict, Endpoint, Party, Pod, PolicyKind, PolicyRef, Protocol, Tier,
};
use answer::{Answer, unselected};
use foldhash::HashMap;
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

/// The policies of one moment.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    scope: BlockScope,
    all: Vec<Arc<Policy>>,
    by_namespace: HashMap<String, Vec<Arc<Policy>>>,
    /// By tier and priority.
    cluster: Vec<Arc<Policy>>,
    not_understood: Vec<Arc<Policy>>,
}

impl PolicySet {
    /// Groups the policies so that a question meets only those that may have a say.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>, scope: BlockScope) -> Self {
        let mut set = Self { scope, ..Self::default() };
        set.all = policies.into_iter().collect();
        set.all.sort_by_cached_key(|policy| policy.reference());
        for policy in &set.all {
            match &**policy {
                Policy::NetworkPolicy(read) => {
                    set.by_namespace.entry(read.namespace.clone()).or_default().push(Arc::clone(policy));
                }
                Policy::Cluster(_) => set.cluster.push(Arc::clone(policy)),
                Policy::NotUnderstood(_) => set.not_understood.push(Arc::clone(policy)),
            }
        }
        set.cluster.sort_by_key(|policy| match &**policy {
            Policy::Cluster(policy) => Some((policy.tier, policy.priority)),
            _ => None,
        });
        set
    }

    /// The NetworkPolicies that may isolate this pod.
    fn network_policies(&self, pod: &Pod) -> impl Iterator<Item = &NetworkPolicy> {
        self.by_namespace.get(&pod.namespace).into_iter().flatten().filter_map(|policy| match &**policy {
            Policy::NetworkPolicy(policy) => Some(policy),
            _ => None,
        })
    }

    /// The cluster's policies of a tier that may select this pod, by priority and name.
    fn cluster_policies(&self, _pod: &Pod, tier: Tier) -> impl Iterator<Item = &ClusterPolicy> {
        self.cluster.iter().filter_map(move |policy| match &**policy {
            Policy::Cluster(policy) if policy.tier == tier => Some(policy),
            _ => None,
        })
    }

    /// All of them, in kind, namespace and name order.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.all
    }

    /// What the policies say at the opener, and at the listener.
    pub fn evaluate(&self, query: &Query<'_>) -> (DirectionVerdict, DirectionVerdict) {
        let exempt = |basis| {
            let verdict = DirectionVerdict {
                decision: Decision::Allow,
                basis,
                tier: None,
                policies: Vec::new(),
                reason: None,
            };
            (verdict.clone(), verdict)
        };
        match relation::between(query) {
            Relation::Same => exempt(Basis::SelfTraffic),
            Relation::OwnNode => exempt(Basis::Node),
            Relation::Perhaps(reason) => {
                let doubt = |verdict: DirectionVerdict| match verdict.decision {
                    Decision::Deny => answer::unknown(&reason, verdict.policies),
                    _ => verdict,
                };
                let (egress, ingress) = self.both(query);
                (doubt(egress), doubt(ingress))
            }
            Relation::Apart => self.both(query),
        }
    }

    fn both(&self, query: &Query<'_>) -> (DirectionVerdict, DirectionVerdict) {
        let judge = |direction| self.judge(&Side { direction, query });
        (judge(Direction::Egress), judge(Direction::Ingress))
    }

    fn judge(&self, side: &Side<'_>) -> DirectionVerdict {
        match &side.own().endpoint {
            Endpoint::Pod(pod) if !pod.host_network => {}
            Endpoint::Unknown { .. } | Endpoint::Service(_) if self.may_select(side.direction) => {
                return answer::unknown(&peer::why_unknown(side.own()), Vec::new());
            }
            _ => return unselected(),
        }
        answer::verdict(TIERS.iter().map(|row| (row.tier, (row.decide)(self, side))))
    }

    /// Whether there is a policy that selects some pod in this direction.
    fn may_select(&self, direction: Direction) -> bool {
        self.all.iter().any(|policy| match &**policy {
            Policy::NetworkPolicy(policy) => policy.names(direction),
            Policy::Cluster(policy) => policy.names(direction),
            Policy::NotUnderstood(_) => true,
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
