//! NetworkPolicy (networking.k8s.io/v1).

use super::matching::{in_cidr, in_range, is_named_port, is_protocol, labels, namespace_labels, selects};
use super::written::{Told, all, any, any_or_all, has_only, is_version, list, named, namespace, set};
use super::{Act, Basis, Connection, End, Endpoint, Named, Possible, Way, possible};
use serde_json::Value;
use std::net::IpAddr;

const KIND: &str = "NetworkPolicy";
const VERSION: &str = "networking.k8s.io/v1";
const FIELDS: &[&str] = &["podSelector", "policyTypes", "ingress", "egress"];

/// A policy, held against one connection.
struct Read<'a> {
    policy: &'a Value,
    isolates: Told,
    rules: Vec<(Option<usize>, Told)>,
}

impl Read<'_> {
    /// The rules of which this is told.
    fn rules_told(&self, wanted: Told) -> Vec<Named> {
        let wanted = self.rules.iter().filter(|(_, told)| *told == wanted);
        wanted.map(|(place, _)| named(KIND, self.policy, *place)).collect()
    }
}

/// Policies add up: a direction allows what any of its policies allows.
pub(super) fn namespace_tier(connection: &Connection, way: Way, subject: &Value) -> Vec<Possible> {
    let read: Vec<Read> = (connection.case.network_policies.iter())
        .map(|policy| Read {
            policy,
            isolates: isolates(policy, way, subject),
            rules: rules_told(policy, way, connection),
        })
        .filter(|read| read.isolates != Some(false))
        .collect();
    let (sure, unsure): (Vec<&Read>, Vec<&Read>) = read.iter().partition(|read| read.isolates == Some(true));
    let allowing: Vec<Named> = sure.iter().flat_map(|read| read.rules_told(Some(true))).collect();
    if !allowing.is_empty() {
        return vec![possible(Act::Allow, Basis::Policy, allowing)];
    }
    let mut ends = Vec::new();
    let perhaps = (read.iter().flat_map(|read| read.rules_told(None)))
        .chain(unsure.iter().flat_map(|read| read.rules_told(Some(true))));
    let perhaps: Vec<Named> = perhaps.collect();
    if !perhaps.is_empty() {
        ends.push(possible(Act::Allow, Basis::Policy, perhaps));
    }
    if read.iter().any(|read| read.rules_told(Some(true)).is_empty()) {
        let by = read.iter().map(|read| named(KIND, read.policy, None)).collect();
        ends.push(possible(Act::Deny, Basis::Isolated, by));
    }
    if sure.is_empty() {
        ends.push(possible(Act::Silent, Basis::Unselected, Vec::new()));
    }
    ends
}

/// A policy isolates the pods that `podSelector` selects in its own namespace, in the directions of `policyTypes`.
fn isolates(policy: &Value, way: Way, subject: &Value) -> Told {
    let spec = &policy["spec"];
    let own_namespace = Some(namespace(policy) == namespace(subject));
    if !is_version(policy, VERSION) || !spec.is_object() {
        return all([own_namespace, None]);
    }
    all([
        own_namespace,
        // A missing `podSelector` selects all.
        set(spec, "podSelector").map_or(Some(true), |selector| selects(selector, &labels(subject))),
        if has_only(spec, FIELDS) { has_policy_type(spec, way) } else { None },
    ])
}

/// Without `policyTypes`: ingress always, egress only where the policy has egress rules.
fn has_policy_type(spec: &Value, way: Way) -> Told {
    let types = list(spec, "policyTypes")?;
    if types.is_empty() {
        return match way {
            Way::Ingress => Some(true),
            Way::Egress => list(spec, "egress").map(|rules| !rules.is_empty()),
        };
    }
    any(types.iter().map(|each| match each.as_str()? {
        known @ ("Ingress" | "Egress") => Some(known == way.policy_type()),
        _ => None,
    }))
}

/// `ingress: []` allows nothing, `ingress: [{}]` everything. What is not understood is told as one rule without a place.
fn rules_told(policy: &Value, way: Way, connection: &Connection) -> Vec<(Option<usize>, Told)> {
    let spec = &policy["spec"];
    match list(spec, way.rules()).filter(|_| is_version(policy, VERSION) && has_only(spec, FIELDS)) {
        Some(rules) => {
            let told = rules.iter().map(|rule| network_policy_rule(rule, policy, way, connection));
            told.enumerate().map(|(place, told)| (Some(place), told)).collect()
        }
        None => vec![(None, None)],
    }
}

/// A rule matches when its peers and its ports do.
fn network_policy_rule(rule: &Value, policy: &Value, way: Way, connection: &Connection) -> Told {
    if !rule.is_object() || !has_only(rule, &[way.peers(), "ports"]) {
        return None;
    }
    let (peers, ports) = (list(rule, way.peers()), list(rule, "ports"));
    all([
        // An absent `from`/`to` matches every endpoint, an empty list as well.
        peers.and_then(|peers| {
            any_or_all(peers, |peer| network_policy_peer(peer, policy, way.peer(connection), connection))
        }),
        // An absent or empty `ports`: every port of every protocol.
        ports.and_then(|ports| any_or_all(ports, |port| network_policy_port(port, connection))),
    ])
}

/// `podSelector` with `namespaceSelector` is the conjunction; `podSelector` alone looks in the policy's own namespace.
fn network_policy_peer(peer: &Value, policy: &Value, far: &End, connection: &Connection) -> Told {
    if !has_only(peer, &["ipBlock", "podSelector", "namespaceSelector"]) {
        return None;
    }
    match (set(peer, "ipBlock"), set(peer, "namespaceSelector"), set(peer, "podSelector"), &far.is) {
        (Some(block), None, None, _) => ip_block(block, far.ip),
        // The API server refuses a peer without any, and a block beside selectors.
        (Some(_), _, _, _) | (None, None, None, _) => None,
        // No pod or namespace selector matches what is no pod.
        (None, namespaces, pods, Endpoint::Pod(pod)) => all([
            namespaces.map_or(Some(namespace(pod) == namespace(policy)), |selector| {
                selects(selector, &namespace_labels(connection.case, namespace(pod)))
            }),
            pods.map_or(Some(true), |selector| selects(selector, &labels(pod))),
        ]),
        _ => Some(false),
    }
}

/// `ipBlock` matches the address as the enforcing point sees it, pods' addresses included; `except` subtracts.
fn ip_block(block: &Value, ip: IpAddr) -> Told {
    if !has_only(block, &["cidr", "except"]) {
        return None;
    }
    let excepted = any(list(block, "except")?.iter().map(|cidr| in_cidr(cidr, ip)));
    all([in_cidr(set(block, "cidr")?, ip), excepted.map(|excepted| !excepted)])
}

/// `protocol` defaults to TCP; `port` absent means every port of that protocol.
fn network_policy_port(port: &Value, connection: &Connection) -> Told {
    if !port.is_object() || !has_only(port, &["protocol", "port", "endPort"]) {
        return None;
    }
    let number = match (set(port, "port"), set(port, "endPort")) {
        (None, None) => Some(true),
        (Some(Value::String(name)), None) => Some(is_named_port(name, connection)),
        (Some(first), None) => in_range(first, first, connection.port),
        (Some(first), Some(last)) => in_range(first, last, connection.port),
        (None, Some(_)) => None,
    };
    all([is_protocol(port, connection.protocol), number])
}
