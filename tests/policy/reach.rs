//! Possible reach, as an assessment tells it, and what changed policies make of it, against the oracle asked about every pair of
//! pods, address and port.

use flowlog::cluster;
use flowlog::findings::simulate::{Moved, ReachChange, Stretch, reach_change};
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

/// Each is asked about twice.
const CHANGES: u64 = 30;

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

/// Puts the cluster to a question.
fn ask<T>(snapshot: &cluster::Snapshot, question: impl FnOnce(Input<'_>) -> T) -> T {
    let (catalog, settings, read) =
        (Catalog::built_in().unwrap(), Settings::default(), ObjectsRead::default());
    let (inventory, policies) = (&snapshot.inventory, &*snapshot.policies);
    let cluster = Some(Cluster { inventory, policies, read: &read, faults: None });
    question(Input { cluster, ..Input::new(&catalog, &settings, Timestamp::UNIX_EPOCH) })
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
    let assessment = ask(read.snapshot(), assess);
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

const METADATA: &str = "169.254.169.254";

fn is_outside(inventory: &Inventory, ip: IpAddr) -> bool {
    let endpoint = inventory.resolve_address(ip, Timestamp::UNIX_EPOCH);
    matches!(endpoint, flowlog::model::Endpoint::External(_)) && inventory.find_range(ip).is_none()
}

/// Addresses outside: some that no policy names, and of each block the first two and the last.
fn probes(inventory: &Inventory, blocks: &BTreeSet<IpNet>) -> BTreeSet<IpAddr> {
    let mut probes: BTreeSet<IpAddr> =
        ["8.8.8.8", "1.2.3.4", "2606:4700::1111"].map(|ip| ip.parse().unwrap()).into();
    for block in blocks {
        probes.extend([block.network(), block.broadcast(), next(block.network())]);
    }
    // A block of mapped addresses is one of IPv4.
    let mut probes: BTreeSet<IpAddr> = probes.into_iter().map(|ip| ip.to_canonical()).collect();
    probes.retain(|ip| is_outside(inventory, *ip) && ip.to_string() != METADATA);
    probes
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
    let metadata: IpAddr = METADATA.parse().unwrap();
    let probes = probes(inventory, blocks);
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
            if is_outside(inventory, metadata) && right != got {
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

/// What a change says of one destination and port: before and after, where that differs.
fn turned(
    moved: Option<&Moved>,
    is_there: impl Fn(&Stretch) -> bool,
    protocol: Protocol,
    port: u16,
) -> Option<(u8, u8)> {
    let moved = moved?;
    let rank = |decision| match decision {
        Decision::Deny => 0,
        Decision::Allow => 2,
        _ => 1,
    };
    let lists = [(&moved.opened, Some((0, 2))), (&moved.closed, Some((2, 0))), (&moved.unsure, None)];
    let mut found = Vec::new();
    for (list, kind) in lists {
        for stretch in list.iter().filter(|one| is_there(one)) {
            let holds = stretch.ports.iter().any(|one| {
                let range = one.port.map_or(1..=u16::MAX, |first| first..=one.last.unwrap_or(first));
                one.protocol == protocol && range.contains(&port)
            });
            let turn = (rank(stretch.before), rank(stretch.after));
            assert!(kind.is_none_or(|kind| kind == turn), "{stretch:#?} is in the wrong list");
            found.extend(holds.then_some(turn));
        }
    }
    assert!(found.len() < 2, "told twice: {found:?} of {protocol:?} {port} in {moved:#?}");
    found.pop()
}

/// A block holds what none of its exceptions does.
fn holds(stretch: &Stretch, ip: IpAddr) -> bool {
    let block = |text: &str| text.parse::<IpNet>().unwrap();
    match (&stretch.destination, stretch.role) {
        (Place::External { ip: None, network: Some(network), .. }, None) => {
            block(network).contains(&ip) && !stretch.except.iter().any(|one| block(one).contains(&ip))
        }
        _ => false,
    }
}

/// What was asked of a change: the same before and after, opened, closed, not sure.
#[derive(Default)]
struct Turns {
    inside: [usize; 4],
    outside: [usize; 4],
    wrong: Vec<String>,
}

impl Turns {
    fn compare(&mut self, what: &str, outside: bool, right: (u8, u8), told: Option<(u8, u8)>) {
        let sums = if outside { &mut self.outside } else { &mut self.inside };
        sums[match right {
            (before, after) if before == after => 0,
            (0, 2) => 1,
            (2, 0) => 2,
            _ => 3,
        }] += 1;
        if told != Some(right).filter(|(before, after)| before != after) {
            self.wrong.push(format!("{what}: right {right:?}, told {told:?}"));
        }
    }
}

/// A cluster, what is changed of it, and both held against the oracle at every pair, address and port.
fn compare_change(seed: u64, turns: &mut Turns) {
    let before = cluster(seed);
    let (after, change) = super::suggest::changed(&before);
    let read = cluster::Case::read(&serde_json::to_vec(&before).unwrap()).unwrap();
    let inventory = &read.snapshot().inventory;
    let changed = change.applied(&read.snapshot().policies);
    let told: ReachChange = ask(read.snapshot(), |input| reach_change(input, &changed)).unwrap();
    let workloads = workloads(inventory);
    let probes = probes(inventory, &blocks(&before).into_iter().chain(blocks(&after)).collect());
    let metadata: IpAddr = METADATA.parse().unwrap();
    for (source, pods) in &workloads {
        let from = addresses(pods);
        let moved = told.workloads.iter().find(|one| one.workload == *source);
        let both = |to: &[IpAddr], protocol, port| {
            (brute(&before, &from, to, protocol, port), brute(&after, &from, to, protocol, port))
        };
        for (target, others) in workloads.iter().filter(|(target, _)| *target != source) {
            let to = addresses(others);
            for (protocol, port) in ports(others) {
                let told = turned(moved, |one| one.destination == *target, protocol, port);
                let what = format!("seed {seed}: {source} → {target} {port}/{protocol:?}");
                turns.compare(&what, false, both(&to, protocol, port), told);
            }
        }
        for (protocol, port) in
            [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(|one| PORTS.map(|port| (one, port)))
        {
            for ip in &probes {
                let told = turned(moved, |one| holds(one, *ip), protocol, port);
                let what = format!("seed {seed}: {source} → {ip} {port}/{protocol:?}");
                turns.compare(&what, true, both(&[*ip], protocol, port), told);
            }
            if is_outside(inventory, metadata) {
                let told = turned(moved, |one| one.role == Some(Role::Metadata), protocol, port);
                let what = format!("seed {seed}: {source} → metadata {port}/{protocol:?}");
                turns.compare(&what, true, both(&[metadata], protocol, port), told);
            }
        }
    }
}

#[test]
fn a_change_of_possible_reach_is_the_difference_of_the_oracles_two_answers() {
    let halves = [0..CHANGES / 2, CHANGES / 2..CHANGES];
    let all: Vec<Turns> = thread::scope(|scope| {
        let run = halves.map(|seeds| {
            scope.spawn(move || {
                let mut turns = Turns::default();
                seeds.for_each(|seed| compare_change(seed, &mut turns));
                turns
            })
        });
        run.into_iter().map(|half| half.join().unwrap()).collect()
    });
    let wrong: Vec<&String> = all.iter().flat_map(|turns| &turns.wrong).collect();
    let sum = |of: fn(&Turns) -> [usize; 4]| {
        [0, 1, 2, 3].map(|kind| all.iter().map(|one| of(one)[kind]).sum::<usize>())
    };
    let (inside, outside) = (sum(|one| one.inside), sum(|one| one.outside));
    println!(
        "same, opened, closed, not sure: inside {inside:?}, outside {outside:?}; wrong: {}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    // Changes that are too small would prove nothing.
    assert!(inside.iter().chain(&outside[..3]).all(|count| *count > 10), "{inside:?}, {outside:?}");
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
