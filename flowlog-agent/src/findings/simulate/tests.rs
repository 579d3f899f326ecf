//! Changed policies against what was observed: with objects, and with records alone.

use super::{Change, DeclaredBy, Effect, Simulation, simulate};
use crate::model::{Basis, Class, Decision, Edge, Pod, PolicyKind, PolicyRef, Protocol, Told};
use crate::policy::observed::Cast;
use crate::policy::{BlockScope, Policy, PolicySet};
use crate::testkit::{cluster_policy, edge, ip, network_policy, outside, pod, workload};
use std::sync::Arc;

const SHUT: &str = "{podSelector: {}, policyTypes: [Ingress]}";
const OPEN: &str = "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}";
const BY_NAME: &str = "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: sql}]}]}";

fn pods() -> Vec<Arc<Pod>> {
    let web = pod("shop/web-1").owner("Deployment/web").ip("10.1.0.1").label("app", "web");
    let db = pod("data/db-0").owner("StatefulSet/db").ip("10.1.0.2").label("app", "db");
    vec![web.build(), db.port("sql", 5432, Protocol::Tcp).build()]
}

fn to_db() -> Edge {
    let one = edge(workload("shop/Deployment/web"), workload("data/StatefulSet/db"), 5432);
    one.labels(&[("app", "web")], &[("app", "db")]).times(3, 60).build()
}

fn judged(pods: &[Arc<Pod>], edges: &[Edge], declared: Option<&PolicySet>, change: &Change) -> Simulation {
    let nobody = |_: &str, _: &str, _: Protocol, _: u16| Vec::new();
    let nothing = PolicySet::default();
    let after = change.applied(declared.unwrap_or(&nothing));
    let cast = Cast::new(pods, &[], Box::new(nobody), edges, &[declared.unwrap_or(&nothing), &after]);
    simulate(edges, &cast, declared, change)
}

fn set(policies: impl IntoIterator<Item = Arc<Policy>>) -> PolicySet {
    PolicySet::new(policies, BlockScope::default())
}

fn put(policies: impl IntoIterator<Item = Arc<Policy>>) -> Change {
    Change { put: policies.into_iter().collect(), removed: Vec::new() }
}

fn named(namespace: &str, name: &str) -> PolicyRef {
    let namespace = Some(namespace.to_owned());
    PolicyRef { kind: PolicyKind::NetworkPolicy, namespace, name: name.to_owned(), rule: None }
}

#[test]
fn a_policy_that_shuts_the_listener_denies_what_was_allowed() {
    let told = judged(&pods(), &[to_db()], Some(&set([])), &put([network_policy("data/shut", SHUT)]));
    let [one] = &told.changes[..] else { panic!("{told:#?}") };
    assert_eq!((one.effect, one.before, one.after), (Effect::Denied, Decision::Allow, Decision::Deny));
    assert_eq!(one.policies, [named("data", "shut")]);
    assert_eq!((one.count, told.sums.denied, told.added.len()), (3, 1, 1));
    assert!(one.recorded.is_empty(), "records said the same as before");
}

#[test]
fn a_policy_of_the_same_name_takes_the_place_of_the_declared_one() {
    let declared = set([network_policy("data/p", SHUT)]);
    let told = judged(&pods(), &[to_db()], Some(&declared), &put([network_policy("data/p", OPEN)]));
    let [one] = &told.changes[..] else { panic!("{told:#?}") };
    assert_eq!((one.effect, one.before, one.after), (Effect::Allowed, Decision::Deny, Decision::Allow));
    assert_eq!(one.recorded, [Decision::Allow].into(), "records said otherwise");
    assert_eq!((told.replaced.len(), told.added.len()), (1, 0));
    let beside = judged(&pods(), &[to_db()], Some(&declared), &put([network_policy("data/other", SHUT)]));
    assert_eq!((beside.changes.len(), beside.sums.still_denied), (0, 1));
    let removed = Change { put: Vec::new(), removed: vec![named("data", "p")] };
    assert_eq!(judged(&pods(), &[to_db()], Some(&declared), &removed).changes[0].effect, Effect::Allowed);
}

#[test]
fn what_cannot_be_judged_is_told_with_its_reason() {
    let unknown = crate::model::Place::Unknown { ip: Some(ip("10.9.9.9")) };
    let edges = [edge(unknown, workload("data/StatefulSet/db"), 5432).build()];
    let told = judged(&pods(), &edges, Some(&set([])), &put([network_policy("data/shut", SHUT)]));
    let [one] = &told.changes[..] else { panic!("{told:#?}") };
    assert_eq!((one.effect, one.after), (Effect::Unsure, Decision::Unknown));
    assert!(one.reason.as_deref().unwrap().contains("10.9.9.9"), "{one:#?}");
    let both = set([network_policy("data/shut", SHUT)]);
    let told = judged(&pods(), &edges, Some(&both), &put([network_policy("data/other", SHUT)]));
    assert_eq!((told.changes.len(), told.sums.unknown, told.unjudged.len()), (0, 1, 1), "{told:#?}");
}

#[test]
fn what_no_policy_has_a_say_in_stays() {
    let exempt = || Told { decision: Decision::Allow, basis: Basis::Node, policies: Arc::from([]) };
    let kubelet = crate::model::Place::Node { name: Some("n1".into()) };
    let edges = [edge(kubelet, workload("data/StatefulSet/db"), 5432).told(exempt(), exempt()).build()];
    let told = judged(&pods(), &edges, Some(&set([])), &put([network_policy("data/shut", SHUT)]));
    assert_eq!((told.changes.len(), told.sums.still_allowed), (0, 1), "{told:#?}");
}

#[test]
fn pods_of_a_workload_that_differ_make_an_answer_mixed() {
    let more = pod("data/db-1").owner("StatefulSet/db").label("app", "db").label("role", "leader").build();
    let pods: Vec<_> = pods().into_iter().chain([more]).collect();
    let leader = "{podSelector: {matchLabels: {role: leader}}, policyTypes: [Ingress]}";
    let told = judged(&pods, &[to_db()], Some(&set([])), &put([network_policy("data/leader", leader)]));
    let [one] = &told.changes[..] else { panic!("{told:#?}") };
    assert_eq!((one.effect, one.after), (Effect::Denied, Decision::Mixed));
}

fn recorded(decision: Decision, basis: Basis, policies: &[(&str, &str, Option<u32>)]) -> Told {
    let policies =
        policies.iter().map(|(namespace, name, rule)| PolicyRef { rule: *rule, ..named(namespace, name) });
    Told { decision, basis, policies: policies.collect() }
}

/// What was declared is what records say, and nothing is claimed that they do not.
#[test]
fn records_alone_tell_what_they_tell() {
    let free = || recorded(Decision::Allow, Basis::Unselected, &[]);
    let by = |name| recorded(Decision::Allow, Basis::Policy, &[("data", name, Some(0))]);
    let shut_by = |name| recorded(Decision::Deny, Basis::Isolated, &[("data", name, None)]);
    let other = "{podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress]}";
    let shut = |name: &str| put([network_policy(&format!("data/{name}"), SHUT)]);
    let open = |name: &str| put([network_policy(&format!("data/{name}"), OPEN)]);
    let rows = [
        ("nothing selected it", free(), shut("new"), Decision::Deny),
        ("nothing selected it, and it is open", free(), open("new"), Decision::Allow),
        ("another one still allows it", by("old"), shut("new"), Decision::Allow),
        ("the one that allowed it shuts it", by("old"), shut("old"), Decision::Deny),
        ("the one that allowed it allows it", by("old"), open("old"), Decision::Allow),
        (
            "the one that allowed it selects others",
            by("old"),
            put([network_policy("data/old", other)]),
            Decision::Unknown,
        ),
        (
            "another one still shuts it",
            shut_by("old"),
            put([network_policy("data/new", other)]),
            Decision::Deny,
        ),
        ("a new one opens it", shut_by("old"), open("new"), Decision::Allow),
        (
            "the one that shut it selects others",
            shut_by("old"),
            put([network_policy("data/old", other)]),
            Decision::Allow,
        ),
        (
            "the one that shut it is gone",
            shut_by("old"),
            Change { put: Vec::new(), removed: vec![named("data", "old")] },
            Decision::Allow,
        ),
        (
            "policies above are not told",
            by("old"),
            put([cluster_policy(
                "anp shut",
                "{priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            )]),
            Decision::Unknown,
        ),
        (
            "what was declared is not known",
            recorded(Decision::Unknown, Basis::Unknown, &[]),
            open("new"),
            Decision::Unknown,
        ),
        ("ports by name are not told", free(), put([network_policy("data/new", BY_NAME)]), Decision::Unknown),
    ];
    for (name, told, change, after) in rows {
        let mut one = to_db();
        (one.decision, one.ingress) = (told.decision, told);
        one.class = if one.decision == Decision::Deny { Class::DeniedAttempt } else { Class::Allowed };
        let before = one.decision;
        let simulation = judged(&[], &[one], None, &change);
        assert_eq!(simulation.declared_by, DeclaredBy::Records, "{name}");
        let found = simulation.changes.first().map_or(before, |change| change.after);
        let is_same = simulation.changes.is_empty() && before == after;
        assert!(found == after && (is_same || !simulation.changes.is_empty()), "{name}: {simulation:#?}");
    }
}

#[test]
fn both_ends_tell_of_one_connection() {
    let mut seen_there = to_db();
    seen_there.direction = crate::model::Direction::Ingress;
    let told =
        judged(&pods(), &[to_db(), seen_there], Some(&set([])), &put([network_policy("data/shut", SHUT)]));
    assert_eq!((told.changes.len(), told.changes[0].count), (1, 3), "{told:#?}");
}

#[test]
fn an_address_outside_is_judged_by_blocks() {
    let edges = [edge(workload("shop/Deployment/web"), outside("198.51.100.7"), 443).build()];
    let only =
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 198.51.100.0/29}}]}]}";
    let told = judged(&pods(), &edges, Some(&set([])), &put([network_policy("shop/only", only)]));
    assert_eq!((told.changes.len(), told.sums.still_allowed), (0, 1), "{told:#?}");
    let other = only.replace("100.0/29", "100.8/29");
    let told = judged(&pods(), &edges, Some(&set([])), &put([network_policy("shop/only", &other)]));
    assert_eq!(told.sums.denied, 1, "{told:#?}");
}
