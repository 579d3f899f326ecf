//! Policies of the cluster that contradict each other where nothing defines which goes first.
//!
//! Told only with an example: a connection between known ends that the one, if it goes first, allows and the
//! other denies. Ends that look alike are tried once, and no more than some of them.

use super::cover::views;
use super::{DIRECTIONS, EQUAL_PRIORITY, Estate, Finding, Linted, Report, Sight, Unchecked, blind, word};
use crate::model::{Decision, Direction, Endpoint, External, Labels, Party, Pod, PolicyRef, Protocol, Tier};
use crate::policy::kinds::cluster_rules::{Action, ClusterPolicy};
use crate::policy::{BlockScope, Match, Numbers, Peer, Policy, PolicySet, Port, Query, Side, peer, title};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Ends that are tried, at most.
const ENDS: usize = 64;

pub(super) fn check(policies: &[Linted], estate: &Estate, report: &mut Report) {
    let of_cluster: Vec<(&Linted, &ClusterPolicy)> = (policies.iter())
        .filter_map(|one| match &*one.policy {
            Policy::Cluster(policy) => Some((one, policy)),
            _ => None,
        })
        .collect();
    let pairs: Vec<_> = (of_cluster.iter().enumerate())
        .flat_map(|(place, one)| of_cluster.iter().skip(place + 1).map(move |other| (one, other)))
        .filter(|(one, other)| is_unordered(one.1, other.1))
        .collect();
    if pairs.is_empty() {
        return;
    }
    if estate.sight() != Sight::Pods {
        return blind(estate, &[EQUAL_PRIORITY], report);
    }
    let may_go_before = |one: &&Linted| matches!(&*one.policy, Policy::NotUnderstood(policy) if policy.tier != Some(Tier::Namespace));
    if let Some(odd) = policies.iter().find(may_go_before) {
        let PolicyRef { kind, name, .. } = odd.reference();
        let why = format!("{kind:?} {name} is not understood and may decide before others");
        report.unchecked.push(Unchecked { rule: EQUAL_PRIORITY.id, why });
    }
    let pods = ends(estate);
    let known =
        estate.pods.iter().flat_map(|one| &one.pod.ips).chain(estate.nodes.iter().flat_map(|node| &node.ips));
    let known: BTreeSet<IpAddr> = known.copied().collect();
    for ((one, first), (other, second)) in pairs {
        let pair = Pair::new(policies, first, second);
        for direction in DIRECTIONS {
            let Some(example) = pair.example(direction, &pods, &known) else { continue };
            // Told once, of the one that comes later by its name.
            let (told, also, example) = match one.reference() < other.reference() {
                true => (other, first, Example { says: (example.says.1, example.says.0), ..example }),
                false => (one, second, example),
            };
            report.findings.push(finding(told, also, direction, &example));
        }
    }
}

/// `example` begins with what the told one says.
fn finding(told: &Linted, also: &ClusterPolicy, direction: Direction, example: &Example) -> Finding {
    let name = title(also.kind, None, &also.name);
    let Example { connection, says: (own, other) } = example;
    let message = format!(
        "contradicts {name} about {}, and nothing says which goes first: {connection} is `{own}` here, `{other}` there",
        word(direction),
    );
    let (field, help) = match also.priority {
        Some(_) => ("spec.priority", "give them different priorities: the lower number goes first"),
        None => ("spec", "nothing defines which of these kinds goes first: keep one of them"),
    };
    Finding::new(EQUAL_PRIORITY, told.reference(), field, message, help.to_owned())
}

/// Whether nothing defines which of two goes first.
fn is_unordered(one: &ClusterPolicy, other: &ClusterPolicy) -> bool {
    let same = match (one.priority, other.priority) {
        (Some(one), Some(other)) => one == other,
        // Two without priorities would be two of one name.
        _ => one.priority.is_some() != other.priority.is_some(),
    };
    one.tier == other.tier && same
}

/// A connection about which two policies say different things.
struct Example {
    connection: String,
    says: (&'static str, &'static str),
}

/// One pod of each kind that no policy tells apart.
fn ends(estate: &Estate) -> Vec<Party> {
    type Seen<'a> = BTreeMap<(&'a str, &'a Labels, Vec<(Option<&'a str>, u16)>), &'a Arc<Pod>>;
    let mut seen = Seen::new();
    for one in estate.pods.iter().filter(|one| !one.pod.host_network && !one.pod.terminated) {
        let ports = one.pod.ports.iter().map(|port| (port.name.as_deref(), port.port)).collect();
        seen.entry((&one.pod.namespace, &one.pod.labels, ports)).or_insert(&one.pod);
    }
    let party = |pod: &&Arc<Pod>| Party {
        endpoint: Endpoint::Pod(Arc::clone(pod)),
        ip: pod.ips.first().copied(),
        port: None,
    };
    seen.values().filter(|pod| !pod.ips.is_empty()).map(party).take(ENDS).collect()
}

/// Two policies of which nothing defines which goes first.
struct Pair<'a> {
    one: &'a ClusterPolicy,
    other: &'a ClusterPolicy,
    all: &'a [Linted],
    /// All policies, but of those that stand beside the two only the one, and only the other. Made when needed.
    sets: OnceCell<[PolicySet; 2]>,
}

impl<'a> Pair<'a> {
    fn new(all: &'a [Linted], one: &'a ClusterPolicy, other: &'a ClusterPolicy) -> Self {
        Self { one, other, all, sets: OnceCell::new() }
    }

    fn sets(&self) -> &[PolicySet; 2] {
        let with = |own: &ClusterPolicy| {
            let stays = |policy: &&Arc<Policy>| match &***policy {
                Policy::Cluster(policy) => {
                    policy == own || !(is_unordered(policy, self.one) || is_unordered(policy, self.other))
                }
                _ => true,
            };
            let staying = self.all.iter().map(|one| &one.policy).filter(stays).map(Arc::clone);
            PolicySet::new(staying, BlockScope::default())
        };
        self.sets.get_or_init(|| [with(self.one), with(self.other)])
    }

    fn example(&self, direction: Direction, pods: &[Party], known: &BTreeSet<IpAddr>) -> Option<Example> {
        let policies = [Policy::Cluster(self.one.clone()), Policy::Cluster(self.other.clone())];
        let outside = outside(&policies, direction, known);
        let selects = |party: &&Party| {
            let pod = party.endpoint.as_pod();
            pod.is_some_and(|pod| {
                [self.one, self.other].iter().all(|policy| policy.selects(pod, direction) == Match::Yes)
            })
        };
        for own in pods.iter().filter(selects) {
            for far in pods.iter().chain(&outside) {
                let (source, destination) = match direction {
                    Direction::Egress => (own, far),
                    Direction::Ingress => (far, own),
                };
                for (protocol, port) in dialed(&policies, direction, destination) {
                    let query = Query { source, destination, protocol, port: Some(port), range_of: None };
                    if let Some(says) = self.contradict(&Side { direction, query: &query }) {
                        let (from, to) = (peer::describe(source), at(destination));
                        let connection = format!("{from} to {to}, port {port}/{},", protocol.as_kubernetes());
                        return Some(Example { connection, says });
                    }
                }
            }
        }
        None
    }

    /// What the two say, where it changes the answer which of them goes first.
    fn contradict(&self, side: &Side<'_>) -> Option<(&'static str, &'static str)> {
        let (first, second) = (says(self.one, side)?, says(self.other, side)?);
        if first == second {
            return None;
        }
        let decided = self.sets().each_ref().map(|set| {
            let (egress, ingress) = set.decide(side.query);
            match side.direction {
                Direction::Egress => egress,
                Direction::Ingress => ingress,
            }
        });
        let is_one = matches!(decided, [Decision::Allow, Decision::Deny] | [Decision::Deny, Decision::Allow]);
        is_one.then_some((word_of(first), word_of(second)))
    }
}

fn at(party: &Party) -> String {
    match (&party.endpoint, party.ip) {
        (Endpoint::External(_), Some(ip)) => ip.to_string(),
        _ => peer::describe(party),
    }
}

/// The first addresses of blocks, where nobody of the cluster has them.
fn outside(policies: &[Policy], direction: Direction, known: &BTreeSet<IpAddr>) -> Vec<Party> {
    let views = policies.iter().flat_map(|policy| views(policy, direction));
    let peers = views.flat_map(|view| view.peers.unwrap_or_default());
    let blocks = peers.filter_map(|peer| match peer {
        Peer::Block(block) => Some(block.block.addr()),
        _ => None,
    });
    let addresses: BTreeSet<IpAddr> = blocks.filter(|ip| !known.contains(ip)).collect();
    let party = |ip| Party { endpoint: Endpoint::External(External::default()), ip: Some(ip), port: None };
    addresses.into_iter().map(party).take(ENDS).collect()
}

/// Ports that the two name, and one that they need not name.
fn dialed(policies: &[Policy], direction: Direction, destination: &Party) -> BTreeSet<(Protocol, u16)> {
    let views = policies.iter().flat_map(|policy| views(policy, direction));
    let ports = views.flat_map(|view| view.ports.unwrap_or_default());
    let ranges = ports.filter_map(|port| match port {
        Port::Of { protocol, numbers: Numbers::Range(first, _) } => Some((*protocol, *first)),
        _ => None,
    });
    let declared = destination.endpoint.as_pod().into_iter().flat_map(|pod| &*pod.ports);
    let declared = declared.filter(|port| port.name.is_some()).map(|port| (port.protocol, port.port));
    ranges.chain(declared).chain([(Protocol::Tcp, 80)]).collect()
}

/// The action of the first rule that matches; absent where none does or it cannot be told.
fn says<'a>(policy: &'a ClusterPolicy, side: &Side<'_>) -> Option<&'a Action> {
    for rule in policy.rules(side.direction) {
        match rule.matches(side, BlockScope::default()) {
            Match::Yes => {
                return Some(&rule.action).filter(|action| !matches!(action, Action::Undetermined(_)));
            }
            Match::No => {}
            Match::Unknown(_) => return None,
        }
    }
    None
}

fn word_of(action: &Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass | Action::Undetermined(_) => "pass",
    }
}
