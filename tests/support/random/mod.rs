//! Clusters at random, made to be hard: what implementations of policy are known to err on, often and together.
//!
//! The same seed gives the same case. Objects are as a person writes them; `stored` brings them into the form that the
//! API server keeps. Services are left out. Expectations are not given: `oracle` answers.

mod blocks;
mod damage;
mod dice;
mod objects;
mod policies;
mod queries;
mod stored;

use crate::case::Case;
use dice::Dice;
use policies::{Kind, Subject, cluster_policy, network_policy};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use damage::damaged;
pub use stored::stored;

/// How many connections are asked about.
const QUERIES: usize = 40;

/// A cluster with queries; all of it can be read.
pub fn cluster(seed: u64) -> Case {
    let dice = &mut Dice::new(seed);
    let nodes = objects::nodes(dice);
    let namespaces = objects::namespaces(dice);
    let pods = objects::pods(dice, &nodes, &namespaces);
    let addresses = known_addresses(&nodes, &pods);
    let about = Subject { nodes: &nodes, namespaces: &namespaces, pods: &pods, addresses: &addresses };
    let network_policies = (0..dice.below(6)).map(|number| network_policy(dice, &about, number)).collect();
    let mut case = Case { id: format!("random-{seed}"), network_policies, ..Case::default() };
    let (admin, cluster) = match dice.below(10) {
        0..3 => (false, false),
        3..6 => (true, false),
        6..9 => (false, true),
        _ => (true, true),
    };
    if admin {
        case.admin_network_policies = several(dice, &about, Kind::Admin, 4);
        case.baseline_admin_network_policies = several(dice, &about, Kind::Baseline, 1);
    }
    if cluster {
        case.cluster_network_policies = several(dice, &about, Kind::Cluster, 6);
    }
    case.queries = queries::queries(dice, &case, &about, QUERIES);
    Case { nodes, namespaces, pods, ..case }
}

/// The same case with every list of NetworkPolicies, rules, peers and ports in another order: its answers stay, but
/// for the rules of cluster policies, whose order counts and is kept.
pub fn reordered(case: &Case, seed: u64) -> Case {
    let (mut case, dice) = (case.clone(), &mut Dice::new(seed));
    for policy in &mut case.network_policies {
        shuffle_all(dice, policy);
    }
    let lists =
        [&mut case.network_policies, &mut case.admin_network_policies, &mut case.cluster_network_policies];
    for list in lists.into_iter().chain([&mut case.pods, &mut case.namespaces, &mut case.nodes]) {
        dice.shuffle(list);
    }
    case
}

fn shuffle_all(dice: &mut Dice, value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| shuffle_all(dice, item));
            dice.shuffle(items);
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| shuffle_all(dice, field)),
        _ => {}
    }
}

fn several(dice: &mut Dice, about: &Subject, kind: Kind, most: usize) -> Vec<Value> {
    (0..=dice.below(most)).map(|number| cluster_policy(dice, about, kind, number)).collect()
}

/// Addresses of pods and nodes, of the outside, and some that nobody has.
fn known_addresses(nodes: &[Value], pods: &[Value]) -> Vec<IpAddr> {
    let of_nodes = nodes.iter().flat_map(|node| node["status"]["addresses"].as_array().into_iter().flatten());
    let of_nodes = of_nodes.map(|each| &each["address"]);
    let of_pods = pods.iter().flat_map(|pod| pod["status"]["podIPs"].as_array().into_iter().flatten());
    let of_pods = of_pods.map(|each| &each["ip"]).chain(pods.iter().map(|pod| &pod["status"]["podIP"]));
    let mut addresses: Vec<IpAddr> =
        of_nodes.chain(of_pods).filter_map(|written| written.as_str()?.parse().ok()).collect();
    addresses.extend(outside());
    addresses
}

fn outside() -> [IpAddr; 6] {
    [
        Ipv4Addr::new(8, 8, 8, 8).into(),
        Ipv4Addr::new(203, 0, 113, 7).into(),
        Ipv4Addr::new(169, 254, 169, 254).into(),
        Ipv4Addr::new(10, 244, 9, 9).into(),
        Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111).into(),
        Ipv6Addr::new(0xfd00, 0x10, 0x244, 9, 0, 0, 0, 9).into(),
    ]
}
