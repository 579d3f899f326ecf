//! Policies of every kind, as a person writes them: defaults left out, lists empty or absent, selectors that nearly match.

use super::blocks::{block, inside, mapped};
use super::dice::Dice;
use super::objects::{LABELS, PORT_NAMES, PORTS, PROTOCOLS};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What policies are written about.
pub(super) struct Subject<'a> {
    pub(super) nodes: &'a [Value],
    pub(super) namespaces: &'a [Value],
    pub(super) pods: &'a [Value],
    /// Addresses that blocks are laid around.
    pub(super) addresses: &'a [IpAddr],
}

pub(super) fn network_policy(dice: &mut Dice, about: &Subject, number: usize) -> Value {
    let mut spec = json!({});
    if dice.chance(92) {
        spec["podSelector"] = selector(dice, about.pods);
    }
    let types: &[&[&str]] = &[&[], &["Ingress"], &["Egress"], &["Ingress", "Egress"], &["Egress", "Ingress"]];
    if dice.chance(60) {
        spec["policyTypes"] = json!(dice.pick(types));
    }
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        match dice.below(10) {
            0..2 => {}
            2 => spec[rules] = json!([]),
            3 => spec[rules] = json!([{}]),
            _ => {
                let count = dice.between(1, 2);
                spec[rules] =
                    (0..count).map(|_| network_policy_rule(dice, about, peers)).collect::<Vec<_>>().into();
            }
        }
    }
    let namespace = dice.pick(about.namespaces)["metadata"]["name"].clone();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("np{number}"), "namespace": namespace}, "spec": spec,
    })
}

fn network_policy_rule(dice: &mut Dice, about: &Subject, peers: &str) -> Value {
    let mut rule = json!({});
    match dice.below(10) {
        0 => {}
        1 => rule[peers] = json!([]),
        _ => rule[peers] = several(dice, 3, |dice| network_policy_peer(dice, about)),
    }
    match dice.below(10) {
        0..4 => {}
        4 => rule["ports"] = json!([]),
        _ => rule["ports"] = several(dice, 3, network_policy_port),
    }
    rule
}

fn several(dice: &mut Dice, most: usize, mut one: impl FnMut(&mut Dice) -> Value) -> Value {
    let count = dice.between(1, most);
    (0..count).map(|_| one(dice)).collect::<Vec<_>>().into()
}

fn network_policy_peer(dice: &mut Dice, about: &Subject) -> Value {
    match dice.below(5) {
        0 => json!({"podSelector": selector(dice, about.pods)}),
        1 => json!({"namespaceSelector": selector(dice, about.namespaces)}),
        2 => json!({
            "namespaceSelector": selector(dice, about.namespaces), "podSelector": selector(dice, about.pods),
        }),
        _ => json!({"ipBlock": ip_block(dice, about)}),
    }
}

fn ip_block(dice: &mut Dice, about: &Subject) -> Value {
    let (cidr, net) = block(dice, about.addresses);
    if let Some(mapped) = mapped(net).filter(|_| dice.chance(5)) {
        return json!({"cidr": mapped});
    }
    let except: Vec<String> = (0..dice.below(4)).filter_map(|_| inside(dice, net, about.addresses)).collect();
    match dice.below(4) {
        0 => json!({"cidr": cidr}),
        _ => json!({"cidr": cidr, "except": except}),
    }
}

fn network_policy_port(dice: &mut Dice) -> Value {
    let mut port = json!({});
    if dice.chance(70) {
        port["protocol"] = dice.pick(&PROTOCOLS).into();
    }
    match dice.below(10) {
        0 => {}
        1..6 => port["port"] = name(dice).into(),
        6..8 => port["port"] = dice.pick(&PORTS).into(),
        _ => {
            let (first, last) = range(dice);
            port["port"] = first.into();
            port["endPort"] = last.into();
        }
    }
    port
}

fn name(dice: &mut Dice) -> &'static str {
    if dice.chance(10) { "nobody-has-it" } else { dice.pick(&PORT_NAMES) }
}

fn range(dice: &mut Dice) -> (u16, u16) {
    let (one, other) = (dice.pick(&PORTS), dice.pick(&PORTS));
    (one.min(other), one.max(other))
}

/// A range of the cluster kinds: its end is more than its start.
fn wide_range(dice: &mut Dice) -> (u16, u16) {
    let (first, last) = range(dice);
    if first < last { (first, last) } else { (first - 1 + u16::from(first == 1), first.max(2)) }
}

/// Often the labels of something that exists, sometimes with one requirement that spoils it.
pub(super) fn selector(dice: &mut Dice, objects: &[Value]) -> Value {
    let labels = dice.find(objects).map(|object| object["metadata"]["labels"].clone()).unwrap_or_default();
    match dice.below(10) {
        0..2 => json!({}),
        2 => json!({"matchLabels": {}}),
        3 => json!({"matchExpressions": []}),
        4..6 => json!({"matchLabels": some_of(dice, &labels)}),
        6 => json!({"matchLabels": some_of(dice, &labels), "matchExpressions": [requirement(dice)]}),
        _ => json!({"matchExpressions": several(dice, 2, requirement)}),
    }
}

fn some_of(dice: &mut Dice, labels: &Value) -> Value {
    let mut some = json!({});
    for (key, value) in labels.as_object().into_iter().flatten() {
        if dice.chance(50) {
            some[key] = value.clone();
        }
    }
    if dice.chance(15) {
        let (key, values) = dice.pick(&LABELS);
        some[key] = dice.pick(values).into();
    }
    some
}

fn requirement(dice: &mut Dice) -> Value {
    let (key, values) = dice.pick(&LABELS);
    let key = if dice.chance(8) { "kubernetes.io/metadata.name" } else { key };
    let operator = dice.pick(&["In", "NotIn", "Exists", "DoesNotExist"]);
    if matches!(operator, "Exists" | "DoesNotExist") {
        return json!({"key": key, "operator": operator});
    }
    let mut wanted: Vec<&str> = vec![dice.pick(values)];
    if dice.chance(40) {
        wanted.push(dice.pick(&["web", "a", "", "default", "nothing"]));
    }
    json!({"key": key, "operator": operator, "values": wanted})
}

/// One of the three cluster kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Admin,
    Baseline,
    Cluster,
}

pub(super) fn cluster_policy(dice: &mut Dice, about: &Subject, kind: Kind, number: usize) -> Value {
    let subject = if dice.chance(30) { json!({"namespaces": {}}) } else { pods_of(dice, about) };
    let mut spec = json!({"subject": subject});
    if kind != Kind::Baseline {
        // Few numbers, so that some are equal.
        spec["priority"] = dice.pick(&[0, 5, 5, 5, 5, 10, 1000]).into();
    }
    if kind == Kind::Cluster {
        spec["tier"] = dice.pick(&["Admin", "Baseline"]).into();
    }
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        if dice.chance(70) {
            spec[rules] = several(dice, 3, |dice| cluster_rule(dice, about, kind, peers));
        }
    }
    let (version, name, kind) = match kind {
        Kind::Admin => ("v1alpha1", format!("anp{number}"), "AdminNetworkPolicy"),
        Kind::Baseline => ("v1alpha1", "default".to_owned(), "BaselineAdminNetworkPolicy"),
        Kind::Cluster => ("v1alpha2", format!("cnp{number}"), "ClusterNetworkPolicy"),
    };
    json!({
        "apiVersion": format!("policy.networking.k8s.io/{version}"), "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

fn cluster_rule(dice: &mut Dice, about: &Subject, kind: Kind, peers: &str) -> Value {
    let actions: &[&str] = match kind {
        Kind::Admin => &["Allow", "Deny", "Pass"],
        Kind::Baseline => &["Allow", "Deny"],
        Kind::Cluster => &["Accept", "Deny", "Pass"],
    };
    let mut rule = json!({
        "action": dice.pick(actions), peers: several(dice, 2, |dice| cluster_peer(dice, about, peers)),
    });
    if dice.chance(50) {
        // Names are for pods: the API server refuses them beside nodes and networks.
        let of_pods = (rule[peers].as_array().into_iter().flatten())
            .all(|peer| peer.get("nodes").is_none() && peer.get("networks").is_none());
        let field = if kind == Kind::Cluster { "protocols" } else { "ports" };
        rule[field] = several(dice, 2, |dice| cluster_port(dice, kind, of_pods));
    }
    rule
}

fn pods_of(dice: &mut Dice, about: &Subject) -> Value {
    if dice.chance(50) {
        return json!({"namespaces": selector(dice, about.namespaces)});
    }
    let (namespaces, pods) = (selector(dice, about.namespaces), selector(dice, about.pods));
    json!({"pods": {"namespaceSelector": namespaces, "podSelector": pods}})
}

fn cluster_peer(dice: &mut Dice, about: &Subject, peers: &str) -> Value {
    match dice.below(6) {
        0 if peers == "to" => json!({"nodes": selector(dice, about.nodes)}),
        1..3 if peers == "to" => {
            let networks: BTreeSet<String> =
                (0..dice.between(1, 2)).map(|_| block(dice, about.addresses).0).collect();
            json!({"networks": networks})
        }
        _ => pods_of(dice, about),
    }
}

fn cluster_port(dice: &mut Dice, kind: Kind, of_pods: bool) -> Value {
    let protocol = dice.pick(&PROTOCOLS);
    let (port, (first, last)) = (dice.pick(&PORTS), wide_range(dice));
    match (dice.below(3), kind) {
        (0, Kind::Cluster) if of_pods => json!({"destinationNamedPort": name(dice)}),
        (0, _) if of_pods => json!({"namedPort": name(dice)}),
        (1, Kind::Cluster) => {
            json!({protocol.to_lowercase(): {"destinationPort": {"range": {"start": first, "end": last}}}})
        }
        (1, _) => json!({"portRange": {"protocol": protocol, "start": first, "end": last}}),
        (_, Kind::Cluster) => json!({protocol.to_lowercase(): {"destinationPort": {"number": port}}}),
        _ => json!({"portNumber": {"protocol": protocol, "port": port}}),
    }
}
