//! What would be newly open to third parties and what closed, row by row.

use super::{ReachChange, Stretch, reach_change};
use crate::findings::simulate::Change;
use crate::findings::{Cluster, Input, Settings};
use crate::model::{Decision, ObjectsRead, PolicyKind, PolicyRef};
use crate::policy::Policy;
use crate::testkit::{Snapshot, at, network_policy, snapshot};
use crate::vendor::Catalog;
use serde_json::{Value, json};
use std::sync::Arc;

/// A third party, a database and something of one's own, which could reach all that the third party can.
fn pods(addresses: bool) -> Vec<Value> {
    let pod = |namespace: &str, name: &str, image: &str, ports: &[u16], ip: &str| {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"containerPort": port})).collect();
        let status = if addresses { json!({"podIP": ip, "podIPs": [{"ip": ip}]}) } else { json!({}) };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {"nodeName": format!("of-{name}"), "containers": [{"name": "main", "image": image, "ports": ports}]},
            "status": status,
        })
    };
    vec![
        pod("ops", "grafana", "grafana/grafana:11.1.0", &[3000], "10.1.0.1"),
        pod("shop", "db", "postgres:16", &[5432, 9187], "10.1.0.2"),
        pod("shop", "api", "registry.example.com/own/api:1", &[], "10.1.0.3"),
    ]
}

fn cluster(addresses: bool, policies: &[(&str, &str)]) -> Arc<Snapshot> {
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let mut items: Vec<Value> = ["ops", "shop"].map(namespace).to_vec();
    items.extend(pods(addresses));
    items.extend(policies.iter().map(|(path, spec)| {
        let (namespace, name) = path.split_once('/').unwrap();
        let spec: Value = serde_saphyr::from_str(spec).unwrap();
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec})
    }));
    snapshot(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

fn change(snapshot: &Snapshot, change: &Change) -> ReachChange {
    let mut catalog = Catalog::built_in().unwrap();
    // A database of one's own, and so no third party.
    catalog.extend("first_party: {images: [registry.example.com/own/, docker.io/library/postgres]}").unwrap();
    let (settings, read) = (Settings::default(), ObjectsRead::default());
    let (inventory, policies) = (&snapshot.inventory, &*snapshot.policies);
    let cluster = Some(Cluster { inventory, policies, read: &read, faults: None });
    let input = Input { cluster, ..Input::new(&catalog, &settings, at(0)) };
    let without = Input { cluster: None, ..input };
    let after = change.applied(policies);
    assert_eq!(reach_change(without, &after), None, "nothing is told where no objects tell");
    let told = reach_change(input, &after).unwrap();
    let back = Input { cluster: Some(Cluster { policies: &after, ..input.cluster.unwrap() }), ..input };
    let back = reach_change(back, policies).unwrap();
    let turned = |told: &ReachChange| (told.sums.opened, told.sums.closed);
    assert_eq!(turned(&told), (back.sums.closed, back.sums.opened), "the way back is the same way");
    told
}

fn words(stretch: &Stretch) -> String {
    let ports = stretch.ports.iter().map(|ports| {
        let protocol = ports.protocol.as_kubernetes();
        match (ports.port, ports.last) {
            (None, _) => protocol.to_owned(),
            (Some(first), Some(last)) => format!("{protocol}/{first}-{last}"),
            (Some(port), None) => format!("{protocol}/{port}"),
        }
    });
    let ports: Vec<String> = ports.collect();
    let except: Vec<&str> = stretch.except.iter().map(String::as_str).collect();
    let except = if except.is_empty() { String::new() } else { format!(" but {}", except.join("+")) };
    let policies: Vec<String> =
        stretch.policies.iter().map(|one| format!(" {}.{:?}", one.name, one.rule)).collect();
    let free = if stretch.unrestricted { " unrestricted" } else { "" };
    format!("{}{except} {}{free}{}", stretch.destination, ports.join(","), policies.concat())
}

/// What is opened (`+`), closed (`-`) and not sure (`?`) to the only third party.
fn told(change: &ReachChange) -> Vec<String> {
    let [moved] = &change.workloads[..] else {
        assert_eq!(change.workloads, [], "there is one third party");
        return Vec::new();
    };
    assert_eq!(
        (moved.workload.to_string(), moved.vendor.as_deref()),
        ("ops/Pod/grafana".to_owned(), Some("Grafana Labs"))
    );
    let lists = [("+", &moved.opened), ("-", &moved.closed), ("?", &moved.unsure)];
    lists
        .iter()
        .flat_map(|(mark, list)| list.iter().map(move |one| format!("{mark} {}", words(one))))
        .collect()
}

fn put(policies: &[(&str, &str)]) -> Change {
    let put: Vec<Arc<Policy>> = policies.iter().map(|(path, spec)| network_policy(path, spec)).collect();
    Change { put, removed: Vec::new() }
}

/// What the first policy of grafana's egress becomes.
fn egress(before: &str, after: &str) -> Vec<String> {
    let spec = |rules: &str| format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}");
    let snapshot = cluster(true, &[("ops/p", &spec(before))]);
    told(&change(&snapshot, &put(&[("ops/p", &spec(after))])))
}

#[test]
fn a_policy_that_shuts_closes_what_was_open_and_one_that_is_gone_opens_it() {
    let shut = ("shop/shut", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}");
    let all = ["shop/Pod/db TCP/5432,TCP/9187 unrestricted"];
    let closed = change(&cluster(true, &[]), &put(&[shut]));
    assert_eq!(told(&closed), all.map(|one| format!("- {one}")));
    assert_eq!((closed.sums.workloads, closed.sums.narrower, closed.sums.wider), (1, 1, 0));
    let gone = PolicyRef {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some("shop".to_owned()),
        name: "shut".to_owned(),
        rule: None,
    };
    let opened = change(&cluster(true, &[shut]), &Change { put: Vec::new(), removed: vec![gone] });
    assert_eq!(told(&opened), all.map(|one| format!("+ {one}")));
    assert!(opened.workloads[0].opened[0].sensitive.is_some(), "a database is");
    let same = change(&cluster(true, &[shut]), &put(&[shut]));
    assert_eq!((told(&same), same.sums.workloads), (Vec::new(), 1));
}

#[test]
fn one_port_of_two_is_told_with_the_policies_of_either_side() {
    let of = |ports: &str| {
        format!(
            "{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{ports: [{{port: 80}}]}}, {{ports: [{ports}]}}]}}"
        )
    };
    let snapshot = cluster(true, &[("shop/p", &of("{port: 5432}"))]);
    let rows = [
        ("{port: 9187}", &["+ shop/Pod/db TCP/9187 p.Some(1)", "- shop/Pod/db TCP/5432 p.Some(1)"][..]),
        ("{port: 5432}, {port: 9187}", &["+ shop/Pod/db TCP/9187 p.Some(1)"]),
        ("{port: 5432}, {port: 5432, protocol: UDP}", &["+ shop/Pod/api UDP/5432 p.Some(1)"]),
    ];
    for (after, expected) in rows {
        let told = told(&change(&snapshot, &put(&[("shop/p", &of(after))])));
        let told: Vec<&String> = told.iter().filter(|one| !one.contains("api TCP")).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{after}");
    }
}

#[test]
fn ranges_of_ports_are_told_where_they_differ() {
    let of = |ports: &str| format!("{{to: [{{ipBlock: {{cidr: 198.51.100.0/24}}}}], ports: [{{{ports}}}]}}");
    let rows = [
        (
            "port: 8000, endPort: 8999",
            "port: 8500, endPort: 9499",
            &["+ 198.51.100.0/24 TCP/9000-9499 p.Some(0)", "- 198.51.100.0/24 TCP/8000-8499 p.Some(0)"][..],
        ),
        ("port: 8000, endPort: 8999", "port: 8000, endPort: 8999", &[]),
        ("port: 80", "protocol: TCP", &["+ 198.51.100.0/24 TCP/1-79,TCP/81-65535 p.Some(0)"]),
        (
            "port: 80",
            "port: 80, protocol: SCTP",
            &["+ 198.51.100.0/24 SCTP/80 p.Some(0)", "- 198.51.100.0/24 TCP/80 p.Some(0)"],
        ),
    ];
    for (before, after, expected) in rows {
        assert_eq!(egress(&of(before), &of(after)), expected, "{before} to {after}");
    }
}

#[test]
fn addresses_outside_are_parted_by_the_blocks_of_both() {
    let of = |block: &str| format!("{{to: [{{ipBlock: {{{block}}}}}], ports: [{{port: 443}}]}}");
    let everywhere = "cidr: 0.0.0.0/0, except: [10.0.0.0/8]";
    let rows = [
        // The narrower one was open before: it is no part of what is opened, nor is what stays shut.
        (
            of("cidr: 198.51.100.0/24"),
            of(everywhere),
            &[
                "+ 0.0.0.0/0 but 10.0.0.0/8+198.51.100.0/24 TCP/443 p.Some(0)",
                "+ 169.254.169.254 TCP/443 p.Some(0)",
            ][..],
        ),
        (
            of(everywhere),
            of("cidr: 198.51.100.0/24"),
            &[
                "- 0.0.0.0/0 but 10.0.0.0/8+198.51.100.0/24 TCP/443 p.Some(0)",
                "- 169.254.169.254 TCP/443 p.Some(0)",
            ],
        ),
        // To a narrower one happens the same as to the one around it.
        (
            of("cidr: 10.9.0.0/16"),
            of("cidr: 10.8.0.0/15"),
            &["+ 10.8.0.0/15 but 10.9.0.0/16 TCP/443 p.Some(0)"],
        ),
        (of(everywhere), of("cidr: 0.0.0.0/0, except: [10.0.0.0/8, 10.9.0.0/16]"), &[]),
        (
            format!("{}, {}", of("cidr: 198.51.100.0/24"), of("cidr: 198.51.100.0/28")),
            of("cidr: 192.168.7.0/24"),
            &[
                "+ 192.168.7.0/24 TCP/443 p.Some(0)",
                "- 198.51.100.0/24 but 198.51.100.0/28 TCP/443 p.Some(0)",
                "- 198.51.100.0/28 TCP/443 p.Some(0) p.Some(1)",
            ],
        ),
    ];
    for (before, after, expected) in rows {
        assert_eq!(egress(&before, &after), expected, "{before} to {after}");
    }
}

#[test]
fn a_family_is_told_by_itself() {
    // Whoever has no address yet may get one of either.
    let spec = |block: &str| {
        format!(
            "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{block}], ports: [{{port: 443}}]}}]}}"
        )
    };
    let (four, six) = ("{ipBlock: {cidr: 0.0.0.0/0}}", "{ipBlock: {cidr: '::/0'}}");
    let snapshot = cluster(false, &[("ops/p", &spec(four))]);
    let told = told(&change(&snapshot, &put(&[("ops/p", &spec(&format!("{four}, {six}")))])));
    assert_eq!(told, ["+ ::/0 TCP/443 p.Some(0)"]);
}

#[test]
fn what_hangs_on_an_address_that_nobody_has_yet_is_not_sure() {
    let block = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 5432}]}]}";
    let shut = "{podSelector: {}, policyTypes: [Egress]}";
    let change = change(&cluster(false, &[("ops/p", shut)]), &put(&[("ops/p", block)]));
    let [moved] = &change.workloads[..] else { panic!("{change:#?}") };
    let [to_api, to_db] = &moved.unsure[..] else { panic!("{change:#?}") };
    assert_eq!(words(to_api), "shop/Pod/api TCP/5432 p.Some(0)");
    assert_eq!((to_db.before, to_db.after), (Decision::Deny, Decision::Unknown));
    assert!(to_db.reason.as_ref().unwrap().contains("shop/db will have"), "{to_db:#?}");
    assert_eq!((change.sums.unsure, change.sums.wider), (1, 1), "a block outside is sure");
}
