//! What `policy suggest` makes of random estates, held against the oracle: what was observed stays allowed, and nothing else
//! becomes so. What `simulate` tells of random changes, held against the answers to the same questions before and after.

use flowlog::cluster::{self, Loaded, Settings, Store};
use flowlog::findings::simulate::{Change, Effect, simulate};
use flowlog::model::{
    Basis, Class, Decision as Said, Direction, Edge, Endpoint, Place, Pod, PolicyKind, PolicyRef,
    Protocol as Wire, RecordRef, State, Told,
};
use flowlog::policy::observed::{Cast, place_of};
use flowlog::policy::suggest::{Choice, Dns, Input, Suggester};
use flowlog::policy::{Policy, PolicySet};
use flowlog_tests::case::{Case, Decision, Protocol, Query};
use flowlog_tests::{oracle, random};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

const SPACES: [&str; 2] = ["red", "green"];
const KEYS: [&str; 3] = ["app", "tier", "track"];
const PORTS: [u16; 2] = [80, 81];

/// A workload in the making: namespace, bits of labels, pods, the port that it names.
type Made = (u8, u8, u8, Option<bool>);
/// A connection: from, to, port, outside.
type Seen = (u8, u8, bool, bool);

struct Workload {
    namespace: &'static str,
    name: String,
    /// Labels that stay.
    labels: BTreeMap<&'static str, &'static str>,
    ips: Vec<IpAddr>,
}

impl Workload {
    /// No label tells one from the other.
    fn is_like(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.labels == other.labels
    }

    fn place(&self) -> Place {
        let name = self.name.as_str().into();
        Place::Workload { namespace: self.namespace.into(), owner: "Deployment".into(), name }
    }
}

fn workloads(made: &[Made]) -> (Vec<Workload>, Vec<Value>) {
    let (mut workloads, mut pods) = (Vec::new(), Vec::new());
    for (number, (space, bits, count, port)) in made.iter().enumerate() {
        let namespace = SPACES[usize::from(space % 2)];
        let name = format!("w{number}");
        let own = KEYS.into_iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
        let labels: BTreeMap<&str, &str> =
            own.map(|(bit, key)| (key, if bits & (8 << bit) != 0 { "x" } else { "y" })).collect();
        let mut ips = Vec::new();
        for replica in 0..=count % 2 {
            let ip = format!("10.1.{number}.{}", replica + 1);
            let mut all = json!(labels);
            all["pod-template-hash"] = format!("h{replica}").into();
            let ports = port.map(|high| json!([{"name": "main", "containerPort": PORTS[usize::from(high)]}]));
            pods.push(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{name}-{replica}"), "namespace": namespace, "labels": all,
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-rs"), "uid": "u", "controller": true}],
                },
                "spec": {"nodeName": format!("n{number}{replica}"), "containers": [{"name": "c", "ports": ports.unwrap_or_default()}]},
                "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
            }));
            ips.push(ip.parse().unwrap());
        }
        pods.push(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("{name}-rs"), "namespace": namespace, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "d", "controller": true},
            ]},
        }));
        workloads.push(Workload { namespace, name, labels, ips });
    }
    (workloads, pods)
}

/// Policies that may be there before.
fn declared(choices: &[u8]) -> Vec<Value> {
    let specs = [
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"protocol": "TCP", "port": 80}]}]}),
        json!({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {}}]}]}),
        json!({"podSelector": {"matchLabels": {"tier": "x"}}, "policyTypes": ["Ingress", "Egress"]}),
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "198.51.100.0/25"}}]}]}),
    ];
    let numbered = choices.iter().enumerate();
    let policies = numbered.map(|(number, choice)| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("p{number}"), "namespace": SPACES[usize::from(choice / 4 % 2)]},
            "spec": specs[usize::from(choice % 4)],
        })
    });
    policies.collect()
}

fn case(pods: &[Value], policies: Vec<Value>) -> Case {
    let pods = pods.iter().filter(|object| object["kind"] == "Pod").cloned().collect();
    let namespaces = SPACES
        .map(|name| json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}));
    Case {
        id: "estate".to_owned(),
        namespaces: namespaces.into(),
        pods,
        network_policies: policies,
        ..Case::default()
    }
}

fn asked(case: &Case, source: IpAddr, destination: IpAddr, port: u16) -> Decision {
    let query =
        Query { id: 0, src_ip: source, dst_ip: destination, port, protocol: Protocol::Tcp, tags: Vec::new() };
    oracle::evaluate(case, &query).combined
}

/// Whether all pods of one may reach all of the other, but itself.
fn all_allowed(case: &Case, from: &[IpAddr], to: &[IpAddr], port: u16) -> bool {
    from.iter().all(|from| {
        to.iter().filter(|to| *to != from).all(|to| asked(case, *from, *to, port) == Decision::Allow)
    })
}

fn any_allowed(case: &Case, from: &[IpAddr], to: &[IpAddr], port: u16) -> bool {
    from.iter().any(|from| {
        to.iter().filter(|to| *to != from).any(|to| asked(case, *from, *to, port) == Decision::Allow)
    })
}

fn edge(source: Place, destination: Place, port: u16) -> Edge {
    let told = || Told { decision: Said::Allow, basis: Basis::Unselected, policies: Arc::from([]) };
    Edge {
        source,
        destination,
        source_traits: Arc::default(),
        destination_traits: Arc::default(),
        service: None,
        direction: Direction::Egress,
        protocol: Wire::Tcp,
        port: Some(port),
        class: Class::Unrestricted,
        state: State::Established,
        decision: Said::Allow,
        egress: told(),
        ingress: told(),
        count: 1,
        first: Timestamp::UNIX_EPOCH,
        last: Timestamp::UNIX_EPOCH,
        bytes_sent: 0,
        bytes_received: 0,
        example: RecordRef { file: "flows.json".into(), line: Some(1) },
    }
}

fn snapshot(objects: &[Value]) -> Arc<cluster::Snapshot> {
    let mut loaded = Loaded::default();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    loaded.add_text(Path::new("cluster.json"), &list.to_string());
    assert_eq!(loaded.problems, []);
    Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH).unwrap().snapshot()
}

fn nobody(_: &str, _: &str, _: Wire, _: u16) -> Vec<flowlog::model::Backend> {
    Vec::new()
}

/// What an estate was seen to do: ends by number or address, and port.
struct Flow {
    from: usize,
    to: Result<usize, IpAddr>,
    port: u16,
}

fn flows(seen: &[Seen], workloads: &[Workload]) -> Vec<Flow> {
    let count = workloads.len();
    let flow = |(from, to, port, outside): &Seen| Flow {
        from: usize::from(*from) % count,
        to: if *outside { Err(IpAddr::from([198, 51, 100, *to])) } else { Ok(usize::from(*to) % count) },
        port: PORTS[usize::from(*port)],
    };
    seen.iter().map(flow).collect()
}

fn suggested(objects: &[Value], edges: &[Edge], choice: &Choice) -> Vec<Value> {
    let snapshot = snapshot(objects);
    let mut pods: Vec<Arc<Pod>> = snapshot.inventory.pods().cloned().collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    let suggester = Suggester::new(Input {
        edges,
        pods,
        nodes: Vec::new(),
        backing: Box::new(nobody),
        declared: &snapshot.policies,
        networks: &[],
        ranges: &[],
    });
    let suggestion = suggester.suggest(choice).unwrap_or_else(|error| panic!("{error}"));
    suggestion.documents.iter().map(|document| serde_saphyr::from_str(&document.text).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_observed_stays_allowed_and_with_a_default_deny_nothing_else_is(
        made in vec(any::<Made>(), 1..6),
        seen in vec(any::<Seen>(), 1..8),
        before in vec(any::<u8>(), 0..4),
        default_deny in any::<bool>(),
        merge in any::<bool>(),
    ) {
        let (workloads, objects) = workloads(&made);
        let existing = declared(&before);
        let declared = case(&objects, existing.clone());
        let all = flows(&seen, &workloads);
        let ips = |flow: &Flow| match flow.to {
            Ok(to) => workloads[to].ips.clone(),
            Err(ip) => vec![ip],
        };
        // What the declared policies let happen, and so could be observed.
        let can = |flow: &&Flow| {
            let ends = [Some(flow.from), flow.to.ok()];
            let can_be_selected = ends.into_iter().flatten().all(|end| !workloads[end].labels.is_empty());
            can_be_selected && all_allowed(&declared, &workloads[flow.from].ips, &ips(flow), flow.port)
        };
        let observed: Vec<&Flow> = all.iter().filter(can).collect();
        let edges: Vec<Edge> = observed.iter().map(|flow| {
            let to = match flow.to {
                Ok(to) => workloads[to].place(),
                Err(ip) => Place::External { ip: Some(ip), name: None, network: None },
            };
            edge(workloads[flow.from].place(), to, flow.port)
        }).collect();
        let choice = Choice { default_deny, merge, dns: Dns::None, ..Choice::default() };
        let policies = suggested(&[objects.clone(), existing.clone()].concat(), &edges, &choice);
        let after = case(&objects, [existing.clone(), policies.clone()].concat());
        for flow in &observed {
            prop_assert!(
                all_allowed(&after, &workloads[flow.from].ips, &ips(flow), flow.port),
                "{} to {:?} at {} is denied\n{policies:#?}", workloads[flow.from].name, ips(flow), flow.port
            );
        }
        if default_deny && existing.is_empty() {
            let shut: BTreeSet<&str> = policies.iter()
                .filter(|policy| policy["metadata"]["name"] == "flowlog-default-deny")
                .filter_map(|policy| policy["metadata"]["namespace"].as_str())
                .collect();
            let inside = || workloads.iter().filter(|one| shut.contains(one.namespace));
            for (one, other) in inside().flat_map(|one| inside().map(move |other| (one, other))) {
                for port in PORTS {
                    let was_seen = observed.iter().any(|flow| {
                        let to = flow.to.ok().map(|to| &workloads[to]);
                        flow.port == port && workloads[flow.from].is_like(one) && to.is_some_and(|to| to.is_like(other))
                    });
                    prop_assert_eq!(
                        any_allowed(&after, &one.ips, &other.ips, port) && !was_seen, false,
                        "{} to {} at {} was never observed\n{:#?}", one.name, other.name, port, policies
                    );
                }
            }
        }
    }
}

/// Whoever alone has this address.
fn place_at(snapshot: &cluster::Snapshot, ip: IpAddr) -> Option<Place> {
    match snapshot.inventory.resolve_address(ip, snapshot.as_of) {
        Endpoint::Pod(pod) if !pod.host_network && !pod.terminated => Some(place_of(&pod)),
        Endpoint::External(_) => Some(Place::External { ip: Some(ip), name: None, network: None }),
        _ => None,
    }
}

/// The case with its first policy gone, its second one shut and another one added; and the same as a change.
pub(crate) fn changed(case: &Case) -> (Case, Change) {
    let mut after = case.clone();
    let added = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "added", "namespace": case.pods[0]["metadata"]["namespace"]},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"protocol": "TCP", "port": "http"}]}]},
    });
    let removed = (!after.network_policies.is_empty()).then(|| after.network_policies.remove(0));
    if let Some(shut) = after.network_policies.first_mut() {
        shut["spec"] = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    }
    let put: Vec<Value> =
        after.network_policies.first().cloned().into_iter().chain([added.clone()]).collect();
    after.network_policies.push(added);
    let named = |policy: &Value| PolicyRef {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some(policy["metadata"]["namespace"].as_str().unwrap_or("default").to_owned()),
        name: policy["metadata"]["name"].as_str().unwrap().to_owned(),
        rule: None,
    };
    let only = Case { network_policies: put, ..Case::default() };
    let mut loaded = Loaded::default();
    loaded.add_text(Path::new("policies.json"), &only.manifest().to_string());
    let put: Vec<Arc<Policy>> = loaded.into_trial().unwrap();
    (after, Change { put, removed: removed.iter().map(named).collect() })
}

#[test]
fn a_simulation_is_the_answer_before_and_the_answer_after() {
    let (mut compared, mut differing, mut unknown) = (0, 0, 0);
    for seed in 0..150 {
        let before = random::cluster(seed);
        let (after, change) = changed(&before);
        let read =
            |case: &Case| cluster::Case::read(serde_json::to_string(case).unwrap().as_bytes()).unwrap();
        let (read_before, read_after) = (read(&before), read(&after));
        let items = before.manifest()["items"].as_array().unwrap().clone();
        let snapshot = snapshot(&items);
        let pods: Vec<Arc<Pod>> = snapshot.inventory.pods().cloned().collect();
        let changed: PolicySet = change.applied(&snapshot.policies);
        let cache = &mut flowlog::policy::Cache::new(64);
        for query in &read_before.queries {
            let ends = (place_at(&snapshot, query.source), place_at(&snapshot, query.destination));
            let (Some(source), Some(destination)) = ends else { continue };
            if source == destination {
                continue;
            }
            let first = read_before.answer(query, cache);
            let mut edge = edge(source, destination, query.port);
            edge.protocol = query.protocol;
            for (told, side) in [(&mut edge.egress, &first.egress), (&mut edge.ingress, &first.ingress)] {
                (told.decision, told.basis) = (side.decision, side.basis);
            }
            edge.decision = first.combined;
            let edges = [edge];
            let cast = Cast::new(&pods, &[], Box::new(nobody), &edges, &[&snapshot.policies, &changed]);
            let simulation = simulate(&edges, &cast, Some(&snapshot.policies), &change);
            let then = read_after.answer(query, cache).combined;
            compared += 1;
            let found = simulation.changes.first().map(|change| (change.before, change.after, change.effect));
            match found {
                // The family that was spoken, and so the address, is not told by an edge.
                Some((.., Effect::Unsure)) => unknown += 1,
                None if simulation.sums.unknown > 0 => unknown += 1,
                None => assert_eq!(first.combined, then, "{seed}: {query:?}\n{simulation:#?}"),
                Some((was, is, _)) => {
                    differing += 1;
                    assert_eq!((was, is), (first.combined, then), "{seed}: {query:?}\n{simulation:#?}");
                }
            }
        }
    }
    assert!(
        compared > 1000 && differing > 100 && unknown * 4 < compared,
        "{compared}, {differing} differ, {unknown} unknown"
    );
}
