//! The set as a whole: what it holds, when the index answers, and what a cache finds again.

use super::cluster_policies::{Written, set};
use super::{ask, db, host, party, probe, web};
use crate::model::{Direction, Endpoint, Party, Pod, PolicyKind, Protocol::Tcp, Tier};
use crate::policy::kinds::network_policy as np;
use crate::policy::kinds::not_understood::NotUnderstood;
use crate::policy::{BlockScope, Cache, Match, Policy, PolicySet, Query};
use crate::testkit::{cluster_policy, ip, network_policy, pod};
use std::sync::Arc;

fn query<'a>(source: &'a Party, destination: &'a Party) -> Query<'a> {
    Query { source, destination, protocol: Tcp, port: Some(80), range_of: None }
}

fn put(set: &mut PolicySet, parties: &[&Party]) {
    parties.iter().filter_map(|party| party.endpoint.as_pod()).for_each(|pod| set.put_pod(pod));
}

#[test]
fn a_set_tells_what_it_holds() {
    let mut set =
        set(&[("np one", "{podSelector: {matchLabels: {app: db}}}"), ("np two", "{podSelector: {}}")]);
    let one = set.policies().find(|policy| policy.reference().name == "one").cloned().unwrap();
    assert_eq!((set.policy_count(), set.policies().count()), (2, 2));
    assert_eq!(set.find_policy(&one.reference()), Some(&one));
    let (first, alike, other) = (web().build(), web().uid("another").build(), db().build());
    assert_eq!(set.sizes(), (0, 0));
    for pod in [&first, &alike, &other, &host().build()] {
        set.put_pod(pod);
        // Twice is once.
        set.put_pod(pod);
    }
    assert_eq!(set.sizes(), (3, 2), "no rule tells the first two apart; one is on its node's network");
    assert!(set.has_pod(&first) && set.has_pod(&other) && !set.has_pod(&web().build()));
    set.remove_pod(&first);
    assert_eq!((set.sizes(), set.has_pod(&first)), ((2, 2), false));
    set.remove_pod(&alike);
    assert_eq!(set.sizes(), (1, 1));
    set.remove_policy(&one.reference());
    assert_eq!((set.policy_count(), set.find_policy(&one.reference())), (1, None));
}

const SELECTORS: Written = (
    "np selectors",
    "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress],
    ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: http}, {port: 80}]}],
    egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/28]}}]}]}",
);
const SUBJECT: Written = (
    "anp subject",
    "{priority: 1, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}},
    ingress: [{action: Pass, from: [{namespaces: {}}]}]}",
);
const NODES: Written =
    ("anp nodes", "{priority: 2, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}");
const ODD: Written = ("np odd", "{podSelector: {matchExpressions: [{key: app, operator: Near}]}}");

/// What is declared, from where to where, and how often a second asking is found, and is not.
type Asked = (&'static str, &'static [Written], &'static str, &'static str, (u64, u64));

/// Only what is in doubt is left to the direct reading: of the rest a second asking finds the answer.
#[test]
fn the_index_answers_whatever_is_not_in_doubt() {
    let rows: &[Asked] = &[
        ("nothing is declared", &[], "web", "db", (1, 1)),
        ("selectors", &[SELECTORS], "probe", "db", (1, 1)),
        ("blocks", &[SELECTORS], "db", "outside", (1, 1)),
        ("a subject of the cluster", &[SUBJECT, SELECTORS], "probe", "db", (1, 1)),
        ("equal ones that agree", &[SUBJECT, ("anp same", SUBJECT.1)], "probe", "db", (1, 1)),
        ("a node that is not the pod's own", &[SELECTORS], "n1", "db", (1, 1)),
        ("a host-network pod", &[SELECTORS], "host", "db", (1, 1)),
        ("peers that are nodes, and a pod", &[NODES], "web", "db", (1, 1)),
        ("peers that are nodes, and an address", &[NODES], "web", "outside", (0, 0)),
        ("an unknown end", &[SELECTORS], "unknown", "db", (0, 0)),
        ("a namespace that was never seen", &[SELECTORS], "stray", "db", (0, 0)),
        ("a selector that cannot be read", &[ODD], "probe", "db", (0, 0)),
        ("one that cannot be read elsewhere", &[ODD], "outside", "probe", (1, 1)),
    ];
    for (name, written, from, to, counts) in rows {
        let (source, destination) = (party(from), party(to));
        let mut set = set(written);
        put(&mut set, &[&source, &destination]);
        let mut cache = Cache::new(8);
        for _ in 0..2 {
            set.rule_with(&query(&source, &destination), &mut cache);
        }
        assert_eq!(cache.counts(), *counts, "{name}");
    }
}

#[test]
fn what_is_not_understood_in_one_namespace_is_no_doubt_in_another() {
    let odd = |namespace: &str| {
        let namespace = Some(namespace.to_owned());
        let (kind, name, why) = (PolicyKind::NetworkPolicy, "odd".to_owned(), "is odd".into());
        Arc::new(Policy::NotUnderstood(NotUnderstood { kind, namespace, name, tier: None, why }))
    };
    for (namespace, counts) in [("lost", (1, 1)), ("shop", (0, 0))] {
        let mut set = PolicySet::new([odd(namespace)], BlockScope::default());
        let (source, destination) = (party("outside"), party("db"));
        put(&mut set, &[&destination]);
        let mut cache = Cache::new(8);
        for _ in 0..2 {
            set.rule_with(&query(&source, &destination), &mut cache);
        }
        assert_eq!(cache.counts(), counts, "{namespace}");
    }
}

#[test]
fn answers_have_a_place_each_and_addresses_that_no_block_parts_share_one() {
    let mut open = set(&[("np a", "{podSelector: {}}")]);
    let (one, other, db) =
        (party("outside"), Party { ip: Some(ip("203.0.113.1")), ..party("outside") }, party("db"));
    put(&mut open, &[&db]);
    let mut cache = Cache::new(1 << 20);
    open.rule_with(&query(&one, &db), &mut cache);
    open.rule_with(&query(&other, &db), &mut cache);
    assert_eq!(cache.counts(), (1, 1), "the second is alike to the first");
    // Another port is another question: both stay.
    for port in [81, 81, 80] {
        open.rule_with(&Query { port: Some(port), ..query(&one, &db) }, &mut cache);
    }
    assert_eq!(cache.counts(), (3, 2));
}

/// One set follows the changes, pods first, and one cache is asked all along.
#[test]
fn what_is_put_and_removed_later_counts_at_once() {
    let odd = |name: &str| {
        let (kind, namespace, why) = (PolicyKind::NetworkPolicy, Some("shop".to_owned()), "is odd".into());
        let (name, tier) = (name.to_owned(), Some(Tier::Namespace));
        Arc::new(Policy::NotUnderstood(NotUnderstood { kind, namespace, name, tier, why }))
    };
    let from =
        |peer: &str| format!("{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{peer}]}}]}}");
    let np = |spec: &str| network_policy("shop/a", spec);
    let (shut, block) =
        ("{podSelector: {matchLabels: {app: db}}}", from("{ipBlock: {cidr: 198.51.100.0/24}}"));
    let (space, pods) = (
        from("{namespaceSelector: {matchLabels: {team: b}}}"),
        from("{podSelector: {matchLabels: {app: web}}}"),
    );
    // From outside, from outside the block, from `probe` of another namespace, from `web`.
    let steps = [
        ("a policy", np(shut), "Isolated Isolated Isolated Isolated"),
        ("a block", np(&block), "Policy Isolated Isolated Isolated"),
        ("a selector of namespaces", np(&space), "Isolated Isolated Policy Isolated"),
        ("a selector of pods", np(&pods), "Isolated Isolated Isolated Policy"),
        ("one that is not understood, in its place", odd("a"), "Unknown Unknown Unknown Unknown"),
        ("one that is", np(&block), "Policy Isolated Isolated Isolated"),
        ("one beside it that is not", odd("b"), "Policy Unknown Unknown Unknown"),
    ];
    let beyond = Party { ip: Some(ip("203.0.113.1")), ..party("outside") };
    let (sources, db) = ([party("outside"), beyond, party("probe"), party("web")], party("db"));
    let (mut set, mut cache) = (PolicySet::default(), Cache::default());
    put(&mut set, &[&db, &sources[2], &sources[3]]);
    let told = |set: &PolicySet, cache: &mut Cache| {
        let basis = |source| format!("{:?}", set.rule_with(&query(source, &db), cache).1.basis);
        sources.each_ref().map(basis).join(" ")
    };
    assert_eq!(told(&set, &mut cache), "Unselected Unselected Unselected Unselected");
    for (name, policy, expected) in steps {
        set.put_policy(&policy);
        assert_eq!(told(&set, &mut cache), expected, "{name}");
    }
    set.remove_policy(&odd("b").reference());
    assert_eq!(told(&set, &mut cache), "Policy Isolated Isolated Isolated");
    set.remove_policy(&odd("a").reference());
    assert_eq!(told(&set, &mut cache), "Unselected Unselected Unselected Unselected");
}

#[test]
fn a_pod_that_went_and_came_again_is_answered_by_the_index() {
    let mut set = set(&[SELECTORS]);
    let (db, outside, mut cache) = (party("db"), party("outside"), Cache::new(8));
    put(&mut set, &[&db]);
    set.remove_pod(db.endpoint.as_pod().unwrap());
    put(&mut set, &[&db]);
    for _ in 0..2 {
        set.rule_with(&query(&db, &outside), &mut cache);
    }
    assert_eq!(cache.counts(), (1, 1));
}

/// A pod on its node's network is not added, so that another may come to its place in memory.
#[test]
fn a_host_network_pod_in_the_place_of_another_gets_its_own_answer() {
    let mut set = set(&[("np shut", "{podSelector: {}, policyTypes: [Ingress, Egress]}")]);
    let db = party("db");
    put(&mut set, &[&db]);
    let mut cache = Cache::new(8);
    let mut pod = host().build();
    let decisions = |pod: &Arc<Pod>, cache: &mut Cache| {
        let host = Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: Some(ip("10.0.0.1")), port: None };
        let there = set.rule_with(&query(&host, &db), cache).1.basis;
        (there, set.rule_with(&query(&db, &host), cache).0.basis)
    };
    let before = decisions(&pod, &mut cache);
    Arc::get_mut(&mut pod).unwrap().node = Some("n2".into());
    let after = decisions(&pod, &mut cache);
    assert_eq!(
        (format!("{before:?}"), format!("{after:?}")),
        ("(Isolated, Isolated)".to_owned(), "(Node, Node)".to_owned())
    );
}

/// Labels of a namespace are shared by its pods; that two namespaces share them makes them no less two.
#[test]
fn namespaces_of_the_same_labels_are_told_apart() {
    let labels = Arc::clone(&probe().build().namespace_labels);
    let in_space = |path: &str| {
        let mut pod = Arc::unwrap_or_clone(pod(path).ip("10.1.0.9").build());
        pod.namespace_labels = Arc::clone(&labels);
        Arc::new(pod)
    };
    let mut set = set(&[("np shut", "{podSelector: {}}")]);
    let (ops, shop) = (in_space("ops/a"), in_space("shop/a"));
    set.put_pod(&ops);
    set.put_pod(&shop);
    for (pod, basis) in [(&ops, "Unselected"), (&shop, "Isolated")] {
        let party =
            Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: pod.ips.first().copied(), port: None };
        let (_, ingress) = set.rule(&query(&super::party("outside"), &party));
        assert_eq!(format!("{:?}", ingress.basis), basis, "{}", pod.namespace);
    }
}

#[test]
fn the_reason_told_is_that_of_the_first_policy_by_name() {
    let odd = "{podSelector: {matchExpressions: [{key: app, operator: Near}]}}";
    for written in [[("np a", odd), ("np b", odd)], [("np b", odd), ("np a", odd)]] {
        let reason = ask(&set(&written), "probe", "db", Tcp, 80).1.reason.unwrap();
        assert!(reason.starts_with("NetworkPolicy shop/a: "), "{reason}");
    }
}

#[test]
fn a_reason_names_the_end_that_is_not_known() {
    let block = |to: &str| format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{to}]}}]}}");
    let (v4, pods) = (block("{ipBlock: {cidr: 10.1.0.2/32}}"), block("{podSelector: {}}"));
    let rows = [
        (&v4, "web/unseen", "db/unseen", "which address pod shop/db used is not known"),
        (&pods, "web", "service", "which endpoint of service shop/db was taken is not known"),
        (&pods, "web", "unknown", "nobody knows it"),
    ];
    for (spec, from, to, expected) in rows {
        let reason = ask(&set(&[("np a", spec.as_str().to_owned().leak())]), from, to, Tcp, 80).0.reason;
        assert_eq!(reason.as_deref(), Some(expected), "{from} {to}");
    }
}

/// Whoever reads an object without its defaults must not take what is missing for nothing.
#[test]
fn policy_types_that_are_missing_leave_both_directions_open() {
    let read =
        np::read(&serde_json::from_str(r#"{"metadata": {"namespace": "shop", "name": "a"}}"#).unwrap());
    let set = PolicySet::new([Arc::new(Policy::NetworkPolicy(read))], BlockScope::default());
    let (egress, ingress) = ask(&set, "web", "db", Tcp, 80);
    let expected = "NetworkPolicy shop/a: spec.policyTypes: is missing";
    assert_eq!((egress.reason.as_deref(), ingress.reason.as_deref()), (Some(expected), Some(expected)));
}

#[test]
fn only_a_pod_on_a_network_of_its_own_is_selected() {
    let policy = cluster_policy(SUBJECT.0, SUBJECT.1);
    assert_eq!(policy.selects(&party("db"), Direction::Ingress), Match::Yes);
    assert_eq!(policy.selects(&party("web"), Direction::Ingress), Match::No);
}
