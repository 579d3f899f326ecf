//! What must hold for any changes: the inventory that followed them is one built from what is there now.

use super::{Inventory, ServicePort, ServiceSpec, Settings, Slice, SliceEndpoint, SlicePort};
use crate::model::{Endpoint, Labels, Node, Pod, Protocol, Target};
use crate::testkit::{at, ip};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const ADDRESSES: [&str; 6] = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.0.0.1", "10.0.0.2", "fd00::1"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];

#[derive(Clone, Debug)]
enum Change {
    Pod(Box<Pod>),
    NoPod(usize),
    Node(Box<Node>),
    NoNode(usize),
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    proptest::collection::vec(select(&ADDRESSES[..]), 0..3).prop_map(|ips| {
        let mut ips: Vec<IpAddr> = ips.into_iter().map(ip).collect();
        ips.dedup();
        ips
    })
}

fn change() -> impl Strategy<Value = Change> {
    let flags =
        (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    let pod = (0..4_usize, addresses(), flags, 0..3_usize).prop_map(
        |(number, ips, (is_second, terminated, host_network, unnamed), node)| {
            // A pod of the same name may be another one.
            let uid = if unnamed { "".into() } else { format!("uid-{number}-{is_second}").into() };
            let (namespace, name) = ("a".into(), format!("p{number}").into());
            let node = Some(NODES[node].into());
            let labels = Arc::new(Labels::from([("second".to_owned(), is_second.to_string())]));
            Change::Pod(Box::new(Pod {
                namespace,
                name,
                uid,
                ips,
                labels,
                terminated,
                host_network,
                node,
                ..Pod::default()
            }))
        },
    );
    let node = (0..3_usize, addresses()).prop_map(|(number, ips)| {
        let pod_cidrs = vec![format!("10.{number}.0.0/16").parse().unwrap()];
        Change::Node(Box::new(Node { name: NODES[number].to_owned(), ips, pod_cidrs, ..Node::default() }))
    });
    prop_oneof![
        8 => pod,
        3 => (0..4_usize).prop_map(Change::NoPod),
        2 => node,
        1 => (0..3_usize).prop_map(Change::NoNode),
    ]
}

fn services() -> (ServiceSpec, Slice) {
    let port =
        |number| ServicePort { name: None, port: number, protocol: Protocol::Tcp, node_port: Some(30_000) };
    let spec = ServiceSpec {
        namespace: "a".to_owned(),
        name: "s".to_owned(),
        addresses: vec![ip("10.96.0.1")],
        ports: vec![port(80)],
    };
    let endpoint = |(number, address): (usize, &&str)| SliceEndpoint {
        ip: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        pod_uid: (number % 2 == 0).then(|| format!("uid-{}-true", number % 4).into()),
    };
    let slice = Slice {
        namespace: "a".to_owned(),
        name: "s-1".to_owned(),
        service: "s".to_owned(),
        ports: vec![SlicePort { name: None, port: 8080, protocol: Protocol::Tcp }],
        endpoints: ADDRESSES.iter().enumerate().map(endpoint).collect(),
    };
    (spec, slice)
}

/// Who is who, in words; a pod by its name, uid and labels.
fn who(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Pod(pod) => format!("pod {} {} {:?}", pod.name, pod.uid, pod.labels),
        Endpoint::Node(node) => format!("node {} {:?}", node.name, node.ips),
        other => format!("{other:?}"),
    }
}

fn told(inventory: &Inventory) -> Vec<String> {
    let mut lines: Vec<String> = inventory.pods().map(|pod| format!("{pod:?}")).collect();
    lines.extend(inventory.nodes().map(|node| format!("{node:?}")));
    lines.sort();
    for address in ADDRESSES.iter().chain(&["10.96.0.1", "10.2.9.9", "10.9.9.9"]) {
        lines.push(format!("{address}: {}", who(&inventory.resolve_address(ip(address), at(1)))));
        for port in [80, 30_000] {
            lines.push(match inventory.resolve(ip(address), port, Protocol::Tcp, at(1)) {
                Target::Endpoint(endpoint) => who(&endpoint),
                Target::Service { backends, .. } => {
                    let backend = |one: &crate::model::Backend| format!("{} {}", one.ip, who(&one.endpoint));
                    format!("{:?}", backends.iter().map(backend).collect::<Vec<_>>())
                }
            });
        }
    }
    for uid in (0..4).flat_map(|number| [format!("uid-{number}-true"), format!("uid-{number}-false")]) {
        let found = inventory.find_pod_by_uid(&uid, at(1));
        lines.push(format!("{uid}: {:?}", found.map(|found| format!("{found:?}"))));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_that_followed_changes_is_one_built_from_what_is_there(
        changes in proptest::collection::vec(change(), 1..30), together in 1..4_usize,
    ) {
        let settings = Settings {
            node_addresses: vec![("n1".to_owned(), vec![ip("10.1.0.3")])],
            cluster_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            ..Settings::default()
        };
        let (spec, slice) = services();
        let (mut pods, mut nodes) = (BTreeMap::<usize, Arc<Pod>>::new(), BTreeMap::<String, Node>::new());
        let build = |pods: &BTreeMap<usize, Arc<Pod>>, nodes: &BTreeMap<String, Node>, before: Option<&Inventory>| {
            let builder = Inventory::builder(&settings).service(spec.clone()).slice(slice.clone());
            let builder = pods.values().fold(builder, |builder, pod| builder.pod(Arc::clone(pod)));
            nodes.values().fold(builder, |builder, node| builder.node(node.clone())).build(before, at(0))
        };
        // Nobody is forgotten between, so that a fresh one does not know fewer of those that went.
        let (mut one_by_one, mut in_batches) = (build(&pods, &nodes, None), build(&pods, &nodes, None));
        for (turn, change) in changes.iter().enumerate() {
            let mut by_nodes = false;
            match change {
                Change::Pod(pod) => {
                    let number = usize::from(pod.name.as_bytes()[1] - b'0');
                    let pod = Arc::new(Pod::clone(pod));
                    pods.insert(number, Arc::clone(&pod));
                    one_by_one = one_by_one.clone();
                    one_by_one.put_pod(&pod, at(0));
                }
                Change::NoPod(number) => {
                    pods.remove(number);
                    one_by_one = one_by_one.clone();
                    one_by_one.remove_pod("a", &format!("p{number}"), at(0));
                }
                Change::Node(node) => {
                    nodes.insert(node.name.clone(), Node::clone(node));
                    by_nodes = true;
                }
                Change::NoNode(number) => {
                    nodes.remove(NODES[*number]);
                    by_nodes = true;
                }
            }
            if by_nodes {
                one_by_one = build(&pods, &nodes, Some(&one_by_one));
            }
            if turn % together == 0 || turn + 1 == changes.len() {
                in_batches = build(&pods, &nodes, Some(&in_batches));
                let fresh = build(&pods, &nodes, None);
                // What went is known to those alone that saw it: it is asked for where nobody lives.
                let live = |line: &String| {
                    !line.contains("Departed") && !line.contains("'s until ") && !is_of_departed(&fresh, line)
                };
                let expected: Vec<String> = told(&fresh);
                for (name, other) in [("one by one", &one_by_one), ("in batches", &in_batches)] {
                    let got = told(other);
                    let differing: Vec<_> = got.iter().zip(&expected)
                        .filter(|(got, expected)| got != expected && live(got))
                        .collect();
                    prop_assert!(got.len() == expected.len() && differing.is_empty(), "{name}, after {change:?}: {differing:#?}");
                }
            }
        }
    }
}

/// Whether a line names a pod that lives no more.
fn is_of_departed(fresh: &Inventory, line: &str) -> bool {
    let named = |pod: &Arc<Pod>| line.contains(&who(&Endpoint::Pod(Arc::clone(pod))));
    line.contains("pod p") && !fresh.pods().any(named)
}
