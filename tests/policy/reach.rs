//! Possible reach, as an assessment tells it, against the oracle asked about every pair of pods, address and port.

use flowlog::cluster;
use flowlog::findings::{Cluster, Input, Settings, assess};
use flowlog::inventory::Inventory;
use flowlog::model::{Assessment, Decision, ObjectsRead, Place, Pod, Protocol, Reach, Role};
use flowlog::vendor::Catalog;
use flowlog_tests::case::{self, Case, Query};
use flowlog_tests::{oracle, random};
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

const SEEDS: u64 = 60;

/// Numbers that rules name, and their neighbours.
const PORTS: [u16; 20] =
    [1, 2, 52, 53, 54, 79, 80, 81, 82, 442, 443, 444, 8079, 8080, 8081, 9089, 9090, 9091, 65_534, 65_535];

/// A random cluster in which every other pod of a namespace belongs to one workload.
fn cluster(seed: u64) -> Case {
    let mut case = random::cluster(seed);
    for pod in case.pods.iter_mut().step_by(2) {
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "all", "uid": "u", "controller": true}]);
    }
    case
}

fn assessed(inventory: &Inventory, snapshot: &cluster::Snapshot) -> Assessment {
    let (catalog, settings, read) =
        (Catalog::built_in().unwrap(), Settings::default(), ObjectsRead::default());
    assess(Input {
        observed: None,
        cluster: Some(Cluster { inventory, policies: &snapshot.policies, read: &read, faults: &[] }),
        catalog: &catalog,
        scans: &[],
        scans_read: &[],
        baseline: None,
        problems: &[],
        settings: &settings,
        now: Timestamp::UNIX_EPOCH,
        version: "0",
    })
}

/// The pods of each workload; nothing where one of them has no address, or all have ended.
fn workloads(inventory: &Inventory) -> BTreeMap<Place, Vec<Arc<Pod>>> {
    let mut found: BTreeMap<Place, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in inventory.pods() {
        let (owner, name) = match &pod.workload {
            Some(owner) => (Arc::from(&*owner.kind), Arc::from(&*owner.name)),
            None => (Arc::from("Pod"), pod.name.clone()),
        };
        let place = Place::Workload { namespace: pod.namespace.clone(), owner, name };
        found.entry(place).or_default().push(Arc::clone(pod));
    }
    for pods in found.values_mut() {
        pods.retain(|pod| !pod.terminated);
    }
    found.retain(|_, pods| !pods.is_empty() && pods.iter().all(|pod| !pod.ips.is_empty()));
    found
}

fn rank(decision: case::Decision) -> u8 {
    match decision {
        case::Decision::Deny => 0,
        case::Decision::Unknown => 1,
        case::Decision::Allow => 2,
    }
}

/// The best that the oracle allows between any of these.
fn brute(case: &Case, from: &[IpAddr], to: &[IpAddr], protocol: Protocol, port: u16) -> u8 {
    let protocol = match protocol {
        Protocol::Udp => case::Protocol::Udp,
        Protocol::Sctp => case::Protocol::Sctp,
        _ => case::Protocol::Tcp,
    };
    let pairs = from.iter().flat_map(|src| to.iter().map(move |dst| (*src, *dst)));
    let pairs = pairs.filter(|(src, dst)| src.is_ipv4() == dst.is_ipv4());
    let ask = |(src_ip, dst_ip)| {
        let query = Query { id: 0, src_ip, dst_ip, port, protocol, tags: Vec::new() };
        rank(oracle::evaluate(case, &query).combined)
    };
    pairs.map(ask).max().unwrap_or(0)
}

/// What the assessment says, in the same ranks.
fn told<'r>(reaches: impl Iterator<Item = &'r Reach>, protocol: Protocol, port: u16) -> u8 {
    let holding = reaches.filter(|reach| {
        reach.ports.iter().any(|one| {
            let range = one.port.map_or(1..=u16::MAX, |first| first..=one.last.unwrap_or(first));
            one.protocol == protocol && range.contains(&port)
        })
    });
    holding.map(|reach| if reach.decision == Decision::Allow { 2 } else { 1 }).max().unwrap_or(0)
}

fn addresses(pods: &[Arc<Pod>]) -> Vec<IpAddr> {
    pods.iter().flat_map(|pod| pod.ips.iter().copied()).collect()
}

/// What was asked, and what of it is told otherwise than the oracle answers.
#[derive(Default)]
struct Sum {
    asked: [usize; 3],
    outside: usize,
    wrong: Vec<String>,
}

fn compare(seed: u64, sum: &mut Sum) {
    let case = cluster(seed);
    let read = cluster::Case::read(&serde_json::to_vec(&case).unwrap()).unwrap();
    let inventory = &read.snapshot().inventory;
    let assessment = assessed(inventory, read.snapshot());
    let workloads = workloads(inventory);
    let place = |index: usize| &assessment.actors[index].place;
    let blocks = blocks(&case);
    for (source, pods) in &workloads {
        let from = addresses(pods);
        let own = || assessment.reaches.iter().filter(|reach| place(reach.source) == source);
        for (target, others) in workloads.iter().filter(|(target, _)| *target != source) {
            let to = addresses(others);
            for (protocol, port) in ports(others) {
                let right = brute(&case, &from, &to, protocol, port);
                let got = told(own().filter(|reach| place(reach.target) == target), protocol, port);
                sum.asked[usize::from(right)] += 1;
                if right != got {
                    sum.wrong.push(format!(
                        "seed {seed}: {source} → {target} {port}/{protocol:?}: right {right}, told {got}"
                    ));
                }
            }
        }
        outside(seed, &case, inventory, &assessment, (source, pods), &blocks, sum);
    }
}

/// Declared ports; where there are none, many.
fn ports(pods: &[Arc<Pod>]) -> BTreeSet<(Protocol, u16)> {
    let declared: BTreeSet<(Protocol, u16)> =
        pods.iter().flat_map(|pod| pod.ports.iter()).map(|port| (port.protocol, port.port)).collect();
    if !declared.is_empty() {
        return declared;
    }
    PORTS.iter().flat_map(|port| [(Protocol::Tcp, *port), (Protocol::Udp, *port)]).collect()
}

/// All that looks like a block in the policies.
fn blocks(case: &Case) -> BTreeSet<IpNet> {
    let text = case.manifest().to_string();
    text.split('"').filter(|word| word.contains('/')).filter_map(|word| word.parse::<IpNet>().ok()).collect()
}

/// What is outside must be told wherever the oracle allows an address of it, and nowhere else.
fn outside(
    seed: u64,
    case: &Case,
    inventory: &Inventory,
    assessment: &Assessment,
    (source, pods): (&Place, &[Arc<Pod>]),
    blocks: &BTreeSet<IpNet>,
    sum: &mut Sum,
) {
    let from = addresses(pods);
    let mut probes: BTreeSet<IpAddr> =
        ["8.8.8.8", "1.2.3.4", "2606:4700::1111"].map(|ip| ip.parse().unwrap()).into();
    for block in blocks {
        probes.extend([block.network(), block.broadcast(), next(block.network())]);
    }
    let is_outside = |ip: &IpAddr| {
        let endpoint = inventory.resolve_address(*ip, Timestamp::UNIX_EPOCH);
        matches!(endpoint, flowlog::model::Endpoint::External(_)) && inventory.find_range(*ip).is_none()
    };
    let metadata: IpAddr = "169.254.169.254".parse().unwrap();
    // A block of mapped addresses is one of IPv4.
    let mut probes: BTreeSet<IpAddr> = probes.into_iter().map(|ip| ip.to_canonical()).collect();
    probes.retain(|ip| is_outside(ip) && *ip != metadata);
    let network = |reach: &Reach| match &assessment.actors[reach.target] {
        actor if actor.role.is_some() => None,
        actor => match &actor.place {
            Place::External { ip: None, network, .. } => {
                Some(network.as_ref().map(|network| network.parse::<IpNet>().unwrap()))
            }
            _ => None,
        },
    };
    let own = || assessment.reaches.iter().filter(|reach| assessment.actors[reach.source].place == *source);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for port in PORTS {
            let found = own().filter(|reach| network(reach).is_some());
            let whole = told(found, protocol, port);
            let best = probes.iter().map(|ip| brute(case, &from, &[*ip], protocol, port)).max().unwrap_or(0);
            sum.outside += 1;
            if whole != best {
                sum.wrong.push(format!(
                    "seed {seed}: {source} outside {port}/{protocol:?}: right {best}, told {whole}"
                ));
            }
            for ip in &probes {
                let right = brute(case, &from, &[*ip], protocol, port);
                let covering = own().filter(|reach| {
                    network(reach).is_some_and(|block| block.is_none_or(|block| block.contains(ip)))
                });
                if right > told(covering, protocol, port) {
                    sum.wrong.push(format!(
                        "seed {seed}: {source} → {ip} {port}/{protocol:?} is allowed and not told"
                    ));
                }
            }
            let metadata_told =
                own().filter(|reach| assessment.actors[reach.target].role == Some(Role::Metadata));
            let (right, got) =
                (brute(case, &from, &[metadata], protocol, port), told(metadata_told, protocol, port));
            if is_outside(&metadata) && right != got {
                sum.wrong.push(format!(
                    "seed {seed}: {source} → metadata {port}/{protocol:?}: right {right}, told {got}"
                ));
            }
        }
    }
}

fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).wrapping_add(1).into()),
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add(1).into()),
    }
}

#[test]
fn possible_reach_is_what_the_oracle_allows_between_any_two_pods() {
    let halves = [0..SEEDS / 2, SEEDS / 2..SEEDS];
    let sums: Vec<Sum> = thread::scope(|scope| {
        let run = halves.map(|seeds| {
            scope.spawn(move || {
                let mut sum = Sum::default();
                seeds.for_each(|seed| compare(seed, &mut sum));
                sum
            })
        });
        run.into_iter().map(|half| half.join().unwrap()).collect()
    });
    let wrong: Vec<&String> = sums.iter().flat_map(|sum| &sum.wrong).collect();
    let asked = [0, 1, 2].map(|rank| sums.iter().map(|sum| sum.asked[rank]).sum::<usize>());
    let outside: usize = sums.iter().map(|sum| sum.outside).sum();
    println!("deny, unknown, allow: {asked:?}; outside: {outside}; wrong: {}", wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    // Clusters that are too easy would prove nothing.
    assert!(asked.iter().all(|count| *count > 10), "{asked:?}");
}
