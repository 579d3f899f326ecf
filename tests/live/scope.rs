//! One node and its pods, of a cluster that has more: what is asked for, and that whoever is elsewhere is never taken for
//! somebody else.

use crate::scene::{
    DB, NODE, Scene, WEB, closed, name_at, namespace, node, pod, policy, quick, service, slice, small,
    verdict,
};
use flowlog::cluster::{Settings, Snapshot};
use flowlog::inventory::{self, Scope};
use flowlog::model::Decision;
use flowlog_tests::apiserver::{ApiServer, Drop};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::str::FromStr;

/// A pod, its node, and a third party.
const FAR: &str = "10.2.0.9";
const N2: &str = "10.0.0.2";
const OUTSIDE: &str = "198.51.100.1";

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn server() -> ApiServer {
    let server = ApiServer::start().unwrap();
    small().into_iter().for_each(|object| server.apply(object));
    for object in [
        namespace("other", "b"),
        node("n2", N2, "10.2.0.0/24"),
        on("n2", pod("other/far", FAR)),
        service("other/far", "10.96.0.9"),
        slice("other/far-1", "far", &[FAR]),
    ] {
        server.apply(object);
    }
    server
}

fn parsed<T: FromStr<Err: Debug>>(written: &[&str]) -> Vec<T> {
    written.iter().map(|block| block.parse().unwrap()).collect()
}

/// As `--cluster-scope node` with these blocks of pods and nodes.
fn of_node(pods: &[&str], nodes: &[&str]) -> Settings {
    let blocks = parsed(&[pods, nodes].concat());
    let (pods, nodes) = blocks.split_at(pods.len());
    let inventory = inventory::Settings {
        scope: Scope::of_node(pods, nodes),
        cluster_ranges: blocks.clone(),
        ..inventory::Settings::default()
    };
    Settings { inventory, ..Settings::default() }
}

fn of(server: ApiServer, settings: Settings) -> Scene {
    let scene = Scene::within(server, quick(), settings);
    scene.synced();
    scene
}

#[track_caller]
fn is_out_of_scope(snapshot: &Snapshot, address: &str) {
    let name = name_at(snapshot, address);
    assert!(name.starts_with("unknown: out_of_scope"), "{address}: {name}");
}

#[test]
fn one_node_s_pods_alone_are_asked_for_however_they_are_listed() {
    for streams in [true, false] {
        let server = server();
        server.stream(streams);
        // More than a page of them.
        for number in 0..600 {
            let ip = format!("10.1.{}.{}", 1 + number / 200, 1 + number % 200);
            server.apply(pod(&format!("shop/many-{number}"), &ip));
        }
        let scene = of(server, of_node(&[], &[]));
        assert_eq!(scene.snapshot().inventory.pod_count(), 602, "{streams}");
        scene.server.drop_watches(Drop::Clean);
        scene.server.apply(pod("shop/new", "10.1.0.3"));
        scene.until("it is followed on", |snapshot| name_at(snapshot, "10.1.0.3") == "pod shop/new");
        for (plural, fields) in [
            ("pods", Some("spec.nodeName=n1")),
            ("nodes", Some("metadata.name=n1")),
            ("namespaces", None),
            ("endpointslices", None),
        ] {
            let asked = scene.server.requests().into_iter().filter(|request| request.plural == plural);
            let asked: Vec<Option<String>> =
                asked.map(|mut request| request.query.remove("fieldSelector")).collect();
            assert!(asked.len() >= 2, "{plural}: {asked:?}");
            assert!(asked.iter().all(|asked| asked.as_deref() == fields), "{plural}: {asked:?}");
        }
    }
}

#[test]
fn who_is_elsewhere_is_unknown_and_never_external() {
    let scene = of(server(), of_node(&[], &[]));
    let snapshot = scene.snapshot();
    assert_eq!(name_at(&snapshot, WEB), "pod shop/web");
    for address in [FAR, N2, OUTSIDE, "fd00::9"] {
        is_out_of_scope(&snapshot, address);
    }
    assert!(
        name_at(&snapshot, FAR).ends_with("endpoint of service other/far"),
        "{}",
        name_at(&snapshot, FAR)
    );
    // In the own node's range it is nobody of another node.
    let own = name_at(&snapshot, "10.1.0.77");
    assert!(own.contains("lies in 10.1.0.0/24"), "{own}");
}

#[test]
fn what_lies_outside_of_all_blocks_that_are_told_is_external() {
    let scene = of(server(), of_node(&["10.0.0.0/9"], &["10.0.0.0/24"]));
    let snapshot = scene.snapshot();
    assert_eq!(name_at(&snapshot, OUTSIDE), "external");
    is_out_of_scope(&snapshot, FAR);
    is_out_of_scope(&snapshot, N2);
    // Nothing is told of the other family.
    is_out_of_scope(&snapshot, "2001:db8::1");
    // Pods alone are not everybody.
    let scene = of(server(), of_node(&["10.0.0.0/9"], &[]));
    is_out_of_scope(&scene.snapshot(), OUTSIDE);
}

#[test]
fn a_rule_by_address_decides_and_one_by_labels_cannot() {
    let to = |peer: &Value| json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]});
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let rows = [
        ("a block that holds it", to(&block("10.2.0.0/16")), Decision::Allow),
        ("a block that does not", to(&block("192.168.0.0/16")), Decision::Deny),
        ("labels", to(&json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})), Decision::Unknown),
    ];
    let scene = of(server(), of_node(&[], &[]));
    for (what, spec, expected) in rows {
        scene.server.apply(policy("shop/db", &spec));
        let judged = |snapshot: &Snapshot| verdict(snapshot, FAR, DB).ingress;
        let snapshot = scene.until(what, |snapshot| judged(snapshot).decision == expected);
        let said = judged(&snapshot);
        let reason = said.reason.as_deref().unwrap_or_default();
        assert_eq!(expected == Decision::Unknown, reason.starts_with("out_of_scope"), "{what}: {reason}");
        // Nothing in the cluster could keep it in at its own end.
        assert_eq!(verdict(&snapshot, FAR, DB).decision, expected, "{what}");
        scene.server.delete("networkpolicies", "shop", "db");
        scene.until("it went", |snapshot| snapshot.policies.policy_count() == 0);
    }
    let keeps_in = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []});
    scene.server.apply(policy("other/in", &keeps_in));
    let snapshot = scene.until("it is read", |snapshot| snapshot.policies.policy_count() == 1);
    let judged = verdict(&snapshot, FAR, DB);
    assert_eq!((judged.egress.decision, judged.decision), (Decision::Unknown, Decision::Unknown));
}

#[test]
fn a_service_of_pods_elsewhere_is_named_and_its_verdict_rests_on_this_end_alone() {
    let scene = of(server(), of_node(&[], &[]));
    scene.server.apply(closed("other/far", "far"));
    let snapshot = scene.until("it is read", |snapshot| snapshot.policies.policy_count() == 1);
    let target = snapshot.inventory.resolve(
        "10.96.0.9".parse().unwrap(),
        80,
        flowlog::model::Protocol::Tcp,
        jiff::Timestamp::now(),
    );
    assert!(format!("{target:?}").contains("out_of_scope"), "{target:?}");
    let judged = verdict(&snapshot, WEB, "10.96.0.9");
    assert_eq!((judged.egress.decision, judged.ingress.decision), (Decision::Allow, Decision::Unknown));
    assert_eq!(judged.decision, Decision::Unknown);
    // Kept in at this end, whoever is at the other.
    scene.server.apply(policy(
        "shop/web",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": []}),
    ));
    let snapshot = scene.until("it is read, too", |snapshot| snapshot.policies.policy_count() == 2);
    assert_eq!(verdict(&snapshot, WEB, "10.96.0.9").decision, Decision::Deny);
}

#[test]
fn a_pod_comes_into_scope_when_it_is_bound_and_goes_out_of_it() {
    let scene = of(server(), of_node(&[], &[]));
    let unbound = on("", pod("shop/late", "10.1.0.9"));
    scene.server.apply(unbound);
    scene.server.apply(pod("shop/mark", "10.1.0.8"));
    let snapshot =
        scene.until("one that came after it", |snapshot| name_at(snapshot, "10.1.0.8") == "pod shop/mark");
    assert!(snapshot.inventory.find_pod("shop", "late").is_none());
    scene.server.apply(on(NODE, pod("shop/late", "10.1.0.9")));
    scene.until("it is bound", |snapshot| name_at(snapshot, "10.1.0.9") == "pod shop/late");
    // No API server moves a pod; whatever is not selected any more is gone.
    scene.server.apply(on("n2", pod("shop/late", "10.1.0.9")));
    scene.until("it left", |snapshot| snapshot.inventory.find_pod("shop", "late").is_none());
}

#[test]
fn a_node_that_is_not_there_is_a_wrong_name() {
    let server = server();
    server.delete("nodes", "", NODE);
    let scene = Scene::within(server, quick(), of_node(&["10.0.0.0/9"], &["10.0.0.0/24"]));
    let told = |snapshot: &Snapshot| name_at(snapshot, OUTSIDE);
    let lost = scene.until("it is said", |snapshot| told(snapshot).contains("there is no node of this name"));
    assert!(
        lost.problems.iter().any(|problem| problem.to_string().contains("Node n1")),
        "{:?}",
        lost.problems
    );
    scene.server.apply(node(NODE, "10.0.0.1", "10.1.0.0/24"));
    scene.until("it came", |snapshot| told(snapshot) == "external" && snapshot.problems.is_empty());
}
