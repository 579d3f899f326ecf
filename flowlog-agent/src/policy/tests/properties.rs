//! What must hold for any cluster: the index answers as the direct reading does, also after any sequence of
//! changes; order means nothing in a NetworkPolicy; a rule more allows no less.

use crate::model::{
    ContainerPort, Decision, DirectionVerdict, Endpoint, External, Labels, Node, Party, Pod, PolicyKind,
    PolicyRef, Protocol, Tier,
};
use crate::policy::kinds::cluster_rules::{Action, ClusterPolicy, ClusterRule, Subject};
use crate::policy::kinds::network_policy::{Isolation, NetworkPolicy, Rule};
use crate::policy::kinds::not_understood::NotUnderstood;
use crate::policy::{
    Block, BlockScope, Cache, Namespaces, Numbers, Peer, Policy, PolicySet, Port, Query, Requirement,
    Selector, Trial,
};
use crate::testkit::ip;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
/// The last one is noise: pods are told apart by it only once a policy names it.
const KEYS: [&str; 3] = ["app", "tier", "pod-template-hash"];
const VALUES: [&str; 2] = ["x", "y"];
const PORTS: [u16; 3] = [53, 80, 8080];
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
const PODS: usize = 6;

fn labels() -> impl Strategy<Value = Labels> {
    let pair = (select(&KEYS[..]), select(&VALUES[..]));
    vec(pair, 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let key = || select(&KEYS[..]).prop_map(str::to_owned);
    let values = || vec(select(&VALUES[..]).prop_map(str::to_owned), 1..3);
    prop_oneof![
        8 => (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        4 => (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        4 => key().prop_map(Requirement::Exists),
        4 => key().prop_map(Requirement::DoesNotExist),
        1 => Just(Requirement::Undetermined("an odd requirement".into())),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    vec(requirement(), 0..3).prop_map(Selector)
}

fn block() -> impl Strategy<Value = Block> {
    let blocks =
        ["0.0.0.0/0", "10.1.0.0/16", "10.1.0.0/30", "10.1.0.3/32", "198.51.100.0/24", "::/0", "fd00::/16"];
    let except = ["10.1.0.0/31", "10.1.0.2/32", "198.51.100.128/25", "fd00::1/128"];
    let net = |written: &str| written.parse().unwrap();
    (select(blocks.to_vec()), vec(select(except.to_vec()), 0..3), any::<u8>()).prop_map(
        move |(block, except, odd)| {
            let except = except.into_iter().map(net).collect();
            Block { block: net(block), except, unread: (odd < 8).then(|| "an odd part".into()) }
        },
    )
}

fn pods_peer(own: Option<String>) -> impl Strategy<Value = Peer> {
    (selector(), selector(), any::<bool>()).prop_map(move |(namespaces, pods, in_own)| match &own {
        Some(own) if in_own => Peer::Pods { namespaces: Namespaces::Own(own.clone()), pods },
        _ => Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods },
    })
}

fn peer(own: Option<String>) -> impl Strategy<Value = Peer> {
    let of_cluster: u32 = if own.is_some() { 0 } else { 2 };
    prop_oneof![
        12 => pods_peer(own),
        6 => block().prop_map(Peer::Block),
        of_cluster => selector().prop_map(Peer::Nodes),
        of_cluster => Just(Peer::Names("an odd name".into())),
        1 => Just(Peer::Undetermined("an odd peer".into())),
    ]
}

fn port(of_cluster: bool) -> impl Strategy<Value = Port> {
    let numbers = prop_oneof![
        1 => Just(Numbers::Every),
        4 => (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(one, other)| Numbers::Range(one.min(other), one.max(other))),
        2 => select(vec!["web", "dns"]).prop_map(|name| Numbers::Named(name.to_owned())),
    ];
    let any_named: u32 = if of_cluster { 3 } else { 0 };
    prop_oneof![
        16 => (select(&PROTOCOLS[..]), numbers).prop_map(|(protocol, numbers)| Port::Of { protocol, numbers }),
        any_named => select(vec!["web", "dns"]).prop_map(|name| Port::Named(name.to_owned())),
        1 => Just(Port::Undetermined("an odd port".into())),
    ]
}

fn rule(own: &str) -> impl Strategy<Value = Rule> + use<> {
    let peers = option::of(vec(peer(Some(own.to_owned())), 1..3));
    (peers, option::of(vec(port(false), 1..3))).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn isolation(own: &str) -> impl Strategy<Value = Isolation> + use<> {
    prop_oneof![
        4 => Just(Isolation::None),
        12 => vec(rule(own), 0..3).prop_map(Isolation::Rules),
        1 => Just(Isolation::Undetermined("an odd direction".into())),
    ]
}

fn network_policy() -> impl Strategy<Value = NetworkPolicy> {
    (select(&NAMESPACES[..]), 0..3_u8).prop_flat_map(|(namespace, number)| {
        (selector(), isolation(namespace), isolation(namespace)).prop_map(
            move |(subject, ingress, egress)| {
                let (namespace, name) = (namespace.to_owned(), format!("p{number}"));
                NetworkPolicy { namespace, name, subject, ingress, egress }
            },
        )
    })
}

fn cluster_rule() -> impl Strategy<Value = ClusterRule> {
    let action = prop_oneof![
        6 => Just(Action::Allow),
        6 => Just(Action::Deny),
        4 => Just(Action::Pass),
        1 => Just(Action::Undetermined("an odd action".into())),
    ];
    (action, vec(peer(None), 1..3), option::of(vec(port(true), 1..3)))
        .prop_map(|(action, peers, ports)| ClusterRule { action, peers, ports })
}

fn cluster_policy() -> impl Strategy<Value = ClusterPolicy> {
    let kinds = vec![
        (PolicyKind::AdminNetworkPolicy, Tier::Admin),
        (PolicyKind::BaselineAdminNetworkPolicy, Tier::Baseline),
        (PolicyKind::ClusterNetworkPolicy, Tier::Admin),
        (PolicyKind::ClusterNetworkPolicy, Tier::Baseline),
    ];
    let subject = prop_oneof![
        12 => (selector(), selector()).prop_map(|(namespaces, pods)| Subject::Pods { namespaces, pods }),
        1 => Just(Subject::Undetermined("an odd subject".into())),
    ];
    let rules = || vec(cluster_rule(), 0..3);
    (select(kinds), 0..3_u8, 0..3_i32, subject, rules(), rules()).prop_map(
        |((kind, tier), number, priority, subject, ingress, egress)| {
            let priority = Some(priority).filter(|_| kind != PolicyKind::BaselineAdminNetworkPolicy);
            ClusterPolicy { kind, name: format!("c{number}"), tier, priority, subject, ingress, egress }
        },
    )
}

fn not_understood() -> impl Strategy<Value = NotUnderstood> {
    (
        option::of(select(&NAMESPACES[..])),
        option::of(select(vec![Tier::Admin, Tier::Namespace, Tier::Baseline])),
    )
        .prop_map(|(namespace, tier)| NotUnderstood {
            kind: PolicyKind::NetworkPolicy,
            namespace: namespace.map(str::to_owned),
            name: "odd".to_owned(),
            tier,
            why: "is odd".into(),
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        10 => network_policy().prop_map(Policy::NetworkPolicy),
        6 => cluster_policy().prop_map(Policy::Cluster),
        1 => not_understood().prop_map(Policy::NotUnderstood),
    ]
}

/// One of the pods as it may be: its number, labels, ports.
fn pod() -> impl Strategy<Value = (usize, Labels, Vec<ContainerPort>)> {
    let port = (select(vec!["web", "dns"]), select(&PORTS[..]), select(&PROTOCOLS[..]))
        .prop_map(|(name, port, protocol)| ContainerPort { name: Some(name.to_owned()), port, protocol });
    (0..PODS, labels(), vec(port, 0..3))
}

/// A change of the cluster.
#[derive(Clone, Debug)]
enum Change {
    Pod(usize, Labels, Vec<ContainerPort>),
    NoPod(usize),
    /// Labels of a namespace; absent where its object goes.
    Namespace(usize, Option<Labels>),
    Policy(Box<Policy>),
    NoPolicy(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => pod().prop_map(|(number, labels, ports)| Change::Pod(number, labels, ports)),
        2 => (0..PODS).prop_map(Change::NoPod),
        2 => (0..NAMESPACES.len(), option::weighted(0.8, labels())).prop_map(|(number, labels)| Change::Namespace(number, labels)),
        8 => policy().prop_map(|policy| Change::Policy(Box::new(policy))),
        3 => any::<Index>().prop_map(Change::NoPolicy),
    ]
}

/// The objects, beside the set that follows their changes.
#[derive(Default)]
struct Cluster {
    pods: BTreeMap<usize, Arc<Pod>>,
    namespaces: BTreeMap<usize, Arc<Labels>>,
    policies: BTreeMap<PolicyRef, Arc<Policy>>,
    set: PolicySet,
}

impl Cluster {
    fn change(&mut self, change: &Change) {
        // Snapshots before share what does not change.
        self.set = self.set.clone();
        match change {
            Change::Pod(number, labels, ports) => {
                self.put_pod(*number, Arc::new(labels.clone()), ports.clone().into());
            }
            Change::NoPod(number) => {
                if let Some(pod) = self.pods.remove(number) {
                    self.set.remove_pod(&pod);
                }
            }
            Change::Namespace(number, labels) => {
                let labels = labels.clone().map(|mut labels| {
                    labels.insert("kubernetes.io/metadata.name".to_owned(), NAMESPACES[*number].to_owned());
                    labels
                });
                self.namespaces.insert(*number, Arc::new(labels.unwrap_or_default()));
                let there: Vec<_> =
                    self.pods.iter().filter(|(pod, _)| *pod % NAMESPACES.len() == *number).collect();
                let there: Vec<_> = there
                    .into_iter()
                    .map(|(number, pod)| (*number, pod.labels.clone(), pod.ports.clone()))
                    .collect();
                there.into_iter().for_each(|(number, labels, ports)| self.put_pod(number, labels, ports));
            }
            Change::Policy(policy) => {
                let policy = Arc::new(Policy::clone(policy));
                self.policies.insert(policy.reference(), Arc::clone(&policy));
                self.set.put_policy(&policy);
            }
            Change::NoPolicy(which) => {
                if !self.policies.is_empty() {
                    let name = which.get(&self.policies.keys().cloned().collect::<Vec<_>>()).clone();
                    self.policies.remove(&name);
                    self.set.remove_policy(&name);
                }
            }
        }
    }

    fn put_pod(&mut self, number: usize, labels: Arc<Labels>, ports: Arc<[ContainerPort]>) {
        let namespace = number % NAMESPACES.len();
        let pod = Arc::new(Pod {
            namespace: NAMESPACES[namespace].into(),
            name: format!("pod-{number}").into(),
            uid: format!("uid-{number}").into(),
            labels,
            namespace_labels: self.namespaces.get(&namespace).cloned().unwrap_or_default(),
            ips: vec![ip(&format!("10.1.0.{number}")), ip(&format!("fd00::{number}"))],
            ports,
            node: Some(format!("n{}", number % 2).into()),
            ..Pod::default()
        });
        if let Some(before) = self.pods.insert(number, Arc::clone(&pod)) {
            self.set.remove_pod(&before);
        }
        self.set.put_pod(&pod);
    }

    fn all(&self) -> Vec<Arc<Policy>> {
        self.policies.values().cloned().collect()
    }

    /// Without pods every question goes to the direct reading.
    fn bare(&self) -> PolicySet {
        PolicySet::new(self.all(), BlockScope::default())
    }

    fn fresh(&self) -> PolicySet {
        let mut set = self.bare();
        self.pods.values().for_each(|pod| set.put_pod(pod));
        set
    }

    /// Every pod, on both families, and what is no pod.
    fn known(&self) -> Vec<Party> {
        let party = |pod: &Arc<Pod>, v6: bool| Party {
            endpoint: Endpoint::Pod(Arc::clone(pod)),
            ip: pod.ips.iter().copied().find(|ip| ip.is_ipv6() == v6),
            port: None,
        };
        let mut parties: Vec<Party> = self.pods.values().map(|pod| party(pod, false)).collect();
        parties.extend(self.pods.values().take(2).map(|pod| party(pod, true)));
        for outside in ["198.51.100.1", "198.51.100.200"] {
            let endpoint = Endpoint::External(External::default());
            parties.push(Party { endpoint, ip: Some(ip(outside)), port: None });
        }
        let labels = Labels::from([("app".to_owned(), "x".to_owned())]);
        let node = Node { name: "n9".to_owned(), labels, ..Node::default() };
        parties.push(Party {
            endpoint: Endpoint::Node(Arc::new(node)),
            ip: Some(ip("10.0.0.9")),
            port: None,
        });
        parties
    }

    fn parties(&self) -> Vec<Party> {
        let mut parties = self.known();
        let unknown = Endpoint::Unknown { reason: "nobody knows it".to_owned(), pod_uid: None };
        parties.push(Party { endpoint: unknown, ip: Some(ip("10.1.0.77")), port: None });
        if let Some(pod) = self.pods.values().next() {
            parties.push(Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: None, port: None });
        }
        parties
    }
}

/// Every question between these, on every port, known or not.
fn questions(parties: &[Party], mut each: impl FnMut(&Query<'_>)) {
    for source in parties {
        for destination in parties {
            for protocol in PROTOCOLS {
                for port in PORTS.into_iter().map(Some).chain([None]) {
                    each(&Query { source, destination, protocol, port, range_of: None });
                }
            }
        }
    }
}

/// What an answer says but for the places of rules and the reason, of which the first met is told.
fn gist(verdict: &DirectionVerdict) -> (Decision, String, Vec<PolicyRef>) {
    let mut policies: Vec<_> =
        verdict.policies.iter().map(|policy| PolicyRef { rule: None, ..PolicyRef::clone(policy) }).collect();
    policies.dedup();
    (verdict.decision, format!("{:?} {:?}", verdict.basis, verdict.tier), policies)
}

fn turned<T: Clone>(items: &[T], by: usize) -> Vec<T> {
    let mut items = items.to_vec();
    items.reverse();
    let middle = by % items.len().max(1);
    items.rotate_left(middle);
    items
}

fn reordered(policy: &Policy, by: usize) -> Policy {
    let rules = |isolation: &Isolation| match isolation {
        Isolation::Rules(rules) => Isolation::Rules(
            turned(rules, by)
                .into_iter()
                .map(|rule| Rule {
                    peers: rule.peers.map(|peers| turned(&peers, by)),
                    ports: rule.ports.map(|ports| turned(&ports, by)),
                })
                .collect(),
        ),
        other => other.clone(),
    };
    match policy {
        Policy::NetworkPolicy(policy) => Policy::NetworkPolicy(NetworkPolicy {
            subject: Selector(turned(&policy.subject.0, by)),
            ingress: rules(&policy.ingress),
            egress: rules(&policy.egress),
            ..policy.clone()
        }),
        other => other.clone(),
    }
}

fn cluster(changes: &[Change]) -> Cluster {
    let mut cluster = Cluster::default();
    changes.iter().for_each(|change| cluster.change(change));
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn after_any_changes_the_answers_are_those_of_a_fresh_set_and_of_the_direct_reading(
        changes in vec(change(), 1..40), places in 1..600_usize, scope in any::<bool>(),
    ) {
        let mut cluster = Cluster::default();
        if scope {
            cluster.set = PolicySet::new([], BlockScope::OutsidePods);
        }
        // One cache for all of it, small enough that places are taken over.
        let mut cache = Cache::new(places);
        for (number, change) in changes.iter().enumerate() {
            cluster.change(change);
            if number % 5 != 0 && number + 1 != changes.len() {
                continue;
            }
            let (mut bare, mut fresh) = (cluster.bare(), cluster.fresh());
            if scope {
                bare = PolicySet::new(cluster.all(), BlockScope::OutsidePods);
                fresh = bare.clone();
                cluster.pods.values().for_each(|pod| fresh.put_pod(pod));
            }
            let mut wrong = None;
            questions(&cluster.parties(), |query| {
                let read = bare.evaluate(query);
                let (egress, ingress) = cluster.set.rule_with(query, &mut cache);
                let kept = (egress.verdict(), ingress.verdict());
                let decided = (read.0.decision, read.1.decision);
                if kept != read || cluster.set.evaluate(query) != read || fresh.evaluate(query) != read
                    || cluster.set.decide(query) != decided {
                    wrong.get_or_insert(format!("{query:?}: {read:?}, kept {kept:?}"));
                }
            });
            prop_assert!(wrong.is_none(), "after {change:?}: {}", wrong.unwrap_or_default());
        }
        let (changed, fresh) = (cluster.set.sizes(), cluster.fresh().sizes());
        prop_assert_eq!(changed.0, fresh.0);
        // Keys that a policy named once go on telling pods apart.
        prop_assert!(changed.1 >= fresh.1, "{changed:?} {fresh:?}");
    }

    #[test]
    fn order_means_nothing_in_network_policies(
        changes in vec(change(), 1..30), by in 0..7_usize,
    ) {
        let cluster = cluster(&changes);
        let other: Vec<_> = turned(&cluster.all(), by).iter().map(|policy| Arc::new(reordered(policy, by))).collect();
        let mut other = PolicySet::new(other, BlockScope::default());
        cluster.pods.values().for_each(|pod| other.put_pod(pod));
        let mut wrong = None;
        questions(&cluster.parties(), |query| {
            let (one, another) = (cluster.set.evaluate(query), other.evaluate(query));
            if (gist(&one.0), gist(&one.1)) != (gist(&another.0), gist(&another.1)) {
                wrong.get_or_insert(format!("{query:?}: {one:?} {another:?}"));
            }
        });
        prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    }

    #[test]
    fn a_network_policy_that_selects_no_pod_changes_nothing(
        changes in vec(change(), 1..20), policy in network_policy(),
    ) {
        let cluster = cluster(&changes);
        let never = Requirement::In("never".to_owned(), vec!["there".to_owned()]);
        let policy = NetworkPolicy { name: "none".to_owned(), subject: Selector(vec![never]), ..policy };
        let mut other = cluster.set.clone();
        other.put_policy(&Arc::new(Policy::NetworkPolicy(policy)));
        let mut wrong = None;
        // Of an end that is not known nobody can tell that it is not selected.
        questions(&cluster.known(), |query| {
            if cluster.set.evaluate(query) != other.evaluate(query) {
                wrong.get_or_insert(format!("{query:?}"));
            }
        });
        prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    }

    #[test]
    fn a_rule_more_never_turns_an_allow_into_a_deny(
        changes in vec(change(), 1..20), policy in network_policy(), more in rule("red"), first in any::<bool>(),
    ) {
        let mut cluster = cluster(&changes);
        cluster.change(&Change::Policy(Box::new(Policy::NetworkPolicy(policy.clone()))));
        let with = |isolation: &Isolation| match isolation {
            Isolation::Rules(rules) => {
                let mut rules = rules.clone();
                rules.insert(if first { 0 } else { rules.len() }, more.clone());
                Isolation::Rules(rules)
            }
            other => other.clone(),
        };
        let policy = NetworkPolicy { ingress: with(&policy.ingress), egress: with(&policy.egress), ..policy };
        let mut other = cluster.set.clone();
        other.put_policy(&Arc::new(Policy::NetworkPolicy(policy)));
        let mut wrong = None;
        questions(&cluster.parties(), |query| {
            let (before, after) = (cluster.set.decide(query), other.decide(query));
            let lost = |before, after| before == Decision::Allow && after != Decision::Allow;
            if lost(before.0, after.0) || lost(before.1, after.1) {
                wrong.get_or_insert(format!("{query:?}: {before:?} {after:?}"));
            }
        });
        prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    }

    #[test]
    fn policies_in_trial_answer_as_if_declared_and_take_part_wherever_they_change_an_answer(
        changes in vec(change(), 1..20), trial in vec(policy(), 1..4), places in 1..600_usize,
    ) {
        let cluster = cluster(&changes);
        let mut declared = cluster.policies.clone();
        declared.extend(trial.iter().map(|policy| (policy.reference(), Arc::new(policy.clone()))));
        let names: BTreeSet<PolicyRef> = trial.iter().map(Policy::reference).collect();
        let in_trial: Vec<_> = names.iter().map(|name| Arc::clone(&declared[name])).collect();
        let as_declared = PolicySet::new(declared.into_values(), BlockScope::default());
        let trial = Trial::new(&cluster.set, &in_trial).unwrap();
        let mut cache = Cache::new(places);
        let mut wrong = None;
        questions(&cluster.known(), |query| {
            let (one, other) = cluster.set.rule_with(query, &mut cache);
            let declared = (one.verdict(), other.verdict());
            let (one, other) = trial.policies().rule_with(query, &mut cache);
            let tried = (one.verdict(), other.verdict());
            let parts = trial.takes_part(query.source, query.destination);
            if tried != as_declared.evaluate(query) || (!parts && tried != declared) {
                wrong.get_or_insert(format!("{query:?}: {tried:?} {declared:?}, takes part: {parts}"));
            }
        });
        prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    }
}
