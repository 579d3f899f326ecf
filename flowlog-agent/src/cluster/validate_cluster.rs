//! What the API server refuses of the policies of group policy.networking.k8s.io.
//!
//! Follows the schemas of v1alpha1 and v1alpha2, experimental fields included. The server does not look
//! into selectors of these kinds; what cannot be read of one makes its rule undetermined.

use super::objects::FieldError;
use super::validate::{Shape, cidr, is_word, known};
use crate::model::{PolicyKind, Tier};
use crate::policy::kinds::cluster_network_policy::tier;
use crate::policy::kinds::cluster_object::{
    ClusterObject, DestinationPort, NamespacedPods, PortRange, WrittenPeer, WrittenPort, WrittenProtocol,
    WrittenRule, WrittenSubject,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::validate::SELECTOR;
use Shape::{Any, List, Object};

const PODS: Shape = Object(&[("namespaceSelector", SELECTOR), ("podSelector", SELECTOR)]);
const SUBJECT: Shape = Object(&[("namespaces", SELECTOR), ("pods", PODS)]);
const FROM: Shape = Object(&[("namespaces", SELECTOR), ("pods", PODS)]);
const TO: Shape = Object(&[
    ("namespaces", SELECTOR),
    ("pods", PODS),
    ("nodes", SELECTOR),
    ("networks", Any),
    ("domainNames", Any),
]);
const RANGE: Shape = Object(&[("start", Any), ("end", Any)]);
const PORT: Shape = Object(&[
    ("portNumber", Object(&[("protocol", Any), ("port", Any)])),
    ("namedPort", Any),
    ("portRange", Object(&[("protocol", Any), ("start", Any), ("end", Any)])),
]);
const DESTINATION: Shape = Object(&[("destinationPort", Object(&[("number", Any), ("range", RANGE)]))]);
const PROTOCOL: Shape = Object(&[
    ("tcp", DESTINATION),
    ("udp", DESTINATION),
    ("sctp", DESTINATION),
    ("destinationNamedPort", Any),
]);
const ADMIN_IN: Shape =
    Object(&[("name", Any), ("action", Any), ("from", List(&FROM)), ("ports", List(&PORT))]);
const ADMIN_OUT: Shape = Object(&[("name", Any), ("action", Any), ("to", List(&TO)), ("ports", List(&PORT))]);
const CLUSTER_IN: Shape =
    Object(&[("name", Any), ("action", Any), ("from", List(&FROM)), ("protocols", List(&PROTOCOL))]);
const CLUSTER_OUT: Shape =
    Object(&[("name", Any), ("action", Any), ("to", List(&TO)), ("protocols", List(&PROTOCOL))]);
const ADMIN: Shape = Object(&[
    ("priority", Any),
    ("subject", SUBJECT),
    ("ingress", List(&ADMIN_IN)),
    ("egress", List(&ADMIN_OUT)),
]);
const BASELINE: Shape =
    Object(&[("subject", SUBJECT), ("ingress", List(&ADMIN_IN)), ("egress", List(&ADMIN_OUT))]);
const CLUSTER: Shape = Object(&[
    ("tier", Any),
    ("priority", Any),
    ("subject", SUBJECT),
    ("ingress", List(&CLUSTER_IN)),
    ("egress", List(&CLUSTER_OUT)),
]);

/// What a kind allows.
struct Rules {
    spec: &'static Shape,
    actions: &'static [&'static str],
    /// Rules of a direction, at most.
    rules: usize,
    /// Peers, ports of a rule, at most.
    items: usize,
}

fn rules_of(kind: PolicyKind) -> Option<Rules> {
    match kind {
        PolicyKind::AdminNetworkPolicy => {
            Some(Rules { spec: &ADMIN, actions: &["Allow", "Deny", "Pass"], rules: 100, items: 100 })
        }
        PolicyKind::BaselineAdminNetworkPolicy => {
            Some(Rules { spec: &BASELINE, actions: &["Allow", "Deny"], rules: 100, items: 100 })
        }
        PolicyKind::ClusterNetworkPolicy => {
            Some(Rules { spec: &CLUSTER, actions: &["Accept", "Deny", "Pass"], rules: 25, items: 25 })
        }
        PolicyKind::NetworkPolicy => None,
    }
}

/// Refuses a field that the kind does not have in the version that is read.
pub(super) fn known_fields(kind: PolicyKind, policy: &Value) -> Result<(), FieldError> {
    let Some(rules) = rules_of(kind) else { return Ok(()) };
    policy.get("spec").map_or(Ok(()), |spec| known(rules.spec, spec, "spec", kind))
}

/// Refuses what the API server refuses.
pub(super) fn cluster_policy(kind: PolicyKind, policy: &ClusterObject) -> Result<(), FieldError> {
    let Some(rules) = rules_of(kind) else { return Ok(()) };
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    if kind == PolicyKind::BaselineAdminNetworkPolicy && name != "default" {
        return Err(FieldError::new("metadata.name", "must be `default`: there is one for the cluster"));
    }
    let spec = &policy.spec;
    if kind != PolicyKind::BaselineAdminNetworkPolicy {
        match spec.priority {
            Some(0..=1000) => {}
            Some(other) => {
                return Err(FieldError::new("spec.priority", format!("{other} is not between 0 and 1000")));
            }
            None => return Err(FieldError::new("spec.priority", "is missing")),
        }
    }
    if kind == PolicyKind::ClusterNetworkPolicy {
        tier_of(policy)?;
    }
    subject(&spec.subject)?;
    for (direction, list) in [("ingress", &spec.ingress), ("egress", &spec.egress)] {
        let field = format!("spec.{direction}");
        count(list.as_deref(), &field, 0..=rules.rules)?;
        each(list, &field, |written, field| rule(written, field, direction == "egress", &rules))?;
    }
    Ok(())
}

/// The tier that a ClusterNetworkPolicy names.
pub(super) fn tier_of(policy: &ClusterObject) -> Result<Tier, FieldError> {
    match policy.spec.tier.as_deref() {
        None => Err(FieldError::new("spec.tier", "is missing")),
        Some(written) => tier(written).ok_or_else(|| {
            FieldError::new("spec.tier", format!("`{written}` is not supported: must be Admin or Baseline"))
        }),
    }
}

fn each<T>(
    items: &Option<Vec<T>>,
    field: &str,
    mut check: impl FnMut(&T, &str) -> Result<(), FieldError>,
) -> Result<(), FieldError> {
    let mut items = items.iter().flatten().enumerate();
    items.try_for_each(|(place, item)| check(item, &format!("{field}[{place}]")))
}

fn count<T>(items: Option<&[T]>, field: &str, allowed: RangeInclusive<usize>) -> Result<(), FieldError> {
    match items {
        Some(items) if !allowed.contains(&items.len()) => {
            let what = format!("must have {} to {} items", allowed.start(), allowed.end());
            Err(FieldError::new(field, what))
        }
        _ => Ok(()),
    }
}

/// Exactly one of these fields.
fn exactly_one(present: &[bool], field: &str, names: &str) -> Result<(), FieldError> {
    match present.iter().filter(|present| **present).count() {
        1 => Ok(()),
        _ => Err(FieldError::new(field, format!("must have exactly one of {names}"))),
    }
}

fn subject(subject: &WrittenSubject) -> Result<(), FieldError> {
    let field = "spec.subject";
    exactly_one(&[subject.namespaces.is_some(), subject.pods.is_some()], field, "namespaces and pods")?;
    pods(&subject.pods, field)
}

/// v1alpha1 asks for both selectors, v1alpha2 fills in the first.
fn pods(pods: &Option<NamespacedPods>, field: &str) -> Result<(), FieldError> {
    match pods {
        Some(NamespacedPods { pod_selector: None, .. }) => {
            Err(FieldError::new(format!("{field}.pods.podSelector"), "is missing"))
        }
        _ => Ok(()),
    }
}

fn rule(rule: &WrittenRule, field: &str, egress: bool, rules: &Rules) -> Result<(), FieldError> {
    if !rules.actions.contains(&rule.action.as_str()) {
        let what = format!("`{}` is not supported: must be {}", rule.action, rules.actions.join(", "));
        return Err(FieldError::new(format!("{field}.action"), what));
    }
    if rule.name.as_ref().is_some_and(|name| name.chars().count() > 100) {
        return Err(FieldError::new(format!("{field}.name"), "must have at most 100 characters"));
    }
    let (list, peers) = if egress { ("to", &rule.to) } else { ("from", &rule.from) };
    let peers_field = format!("{field}.{list}");
    if peers.is_none() {
        return Err(FieldError::new(peers_field, "is missing"));
    }
    count(peers.as_deref(), &peers_field, 1..=rules.items)?;
    each(peers, &peers_field, peer)?;
    count(rule.ports.as_deref(), &format!("{field}.ports"), 1..=rules.items)?;
    each(&rule.ports, &format!("{field}.ports"), port)?;
    count(rule.protocols.as_deref(), &format!("{field}.protocols"), 1..=rules.items)?;
    each(&rule.protocols, &format!("{field}.protocols"), protocol)?;
    names_where_none_are(rule, field)
}

/// A name of a port means nothing where the peer is no pod.
fn names_where_none_are(rule: &WrittenRule, field: &str) -> Result<(), FieldError> {
    let no_pod =
        |peer: &WrittenPeer| peer.networks.is_some() || peer.nodes.is_some() || peer.domain_names.is_some();
    let ports = rule.ports.iter().flatten().any(|port| port.named_port.is_some());
    let protocols = rule.protocols.iter().flatten().any(|port| port.destination_named_port.is_some());
    if (ports || protocols) && rule.to.iter().flatten().any(no_pod) {
        let what = "may not name ports beside peers that are networks, nodes or domain names";
        return Err(FieldError::new(field, what));
    }
    Ok(())
}

fn peer(peer: &WrittenPeer, field: &str) -> Result<(), FieldError> {
    let present = [
        peer.namespaces.is_some(),
        peer.pods.is_some(),
        peer.nodes.is_some(),
        peer.networks.is_some(),
        peer.domain_names.is_some(),
    ];
    exactly_one(&present, field, "namespaces, pods, nodes, networks and domainNames")?;
    pods(&peer.pods, field)?;
    count(peer.networks.as_deref(), &format!("{field}.networks"), 1..=25)?;
    count(peer.domain_names.as_deref(), &format!("{field}.domainNames"), 1..=25)?;
    each(&peer.networks, &format!("{field}.networks"), |written, field| cidr(written, field).map(drop))?;
    each(&peer.domain_names, &format!("{field}.domainNames"), |written, field| domain_name(written, field))?;
    each_once(&peer.networks, &format!("{field}.networks"))?;
    each_once(&peer.domain_names, &format!("{field}.domainNames"))
}

/// Two words at least, with dots between; one `*.` may stand before them, and a dot behind.
fn domain_name(written: &str, field: &str) -> Result<(), FieldError> {
    let name = written.strip_prefix("*.").unwrap_or(written);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.contains('.') && name.split('.').all(|part| is_word(part, |byte| matches!(byte, b'-' | b'_'))) {
        return Ok(());
    }
    Err(FieldError::new(field, format!("`{written}` is no domain name (example.com, *.example.com)")))
}

/// The lists are sets to the API server.
fn each_once(items: &Option<Vec<String>>, field: &str) -> Result<(), FieldError> {
    let mut seen = BTreeSet::new();
    each(items, field, |written, field| match seen.insert(written.clone()) {
        true => Ok(()),
        false => Err(FieldError::new(field, format!("`{written}` stands there twice"))),
    })
}

fn port(port: &WrittenPort, field: &str) -> Result<(), FieldError> {
    let present = [port.port_number.is_some(), port.named_port.is_some(), port.port_range.is_some()];
    exactly_one(&present, field, "portNumber, namedPort and portRange")?;
    let protocol = |written: &Option<String>, field: String| match written.as_deref() {
        None | Some("TCP" | "UDP" | "SCTP") => Ok(()),
        Some(other) => {
            Err(FieldError::new(field, format!("`{other}` is not supported: must be TCP, UDP or SCTP")))
        }
    };
    if let Some(one) = &port.port_number {
        protocol(&one.protocol, format!("{field}.portNumber.protocol"))?;
        number(one.port, &format!("{field}.portNumber.port"))?;
    }
    match &port.port_range {
        Some(written) => {
            protocol(&written.protocol, format!("{field}.portRange.protocol"))?;
            range(written, &format!("{field}.portRange"))
        }
        None => Ok(()),
    }
}

fn protocol(written: &WrittenProtocol, field: &str) -> Result<(), FieldError> {
    let named = written.destination_named_port.is_some();
    let present = [written.tcp.is_some(), written.udp.is_some(), written.sctp.is_some(), named];
    exactly_one(&present, field, "tcp, udp, sctp and destinationNamedPort")?;
    for (name, ports) in [("tcp", &written.tcp), ("udp", &written.udp), ("sctp", &written.sctp)] {
        let Some(ports) = ports else { continue };
        let field = format!("{field}.{name}.destinationPort");
        match &ports.destination_port {
            None => return Err(FieldError::new(field, "is missing")),
            Some(DestinationPort { number: Some(one), range: None }) => {
                number(*one, &format!("{field}.number"))?;
            }
            Some(DestinationPort { number: None, range: Some(written) }) => {
                range(written, &format!("{field}.range"))?;
            }
            Some(_) => return Err(FieldError::new(field, "must have exactly one of number and range")),
        }
    }
    Ok(())
}

fn number(port: i32, field: &str) -> Result<(), FieldError> {
    if (1..=65_535).contains(&port) {
        return Ok(());
    }
    Err(FieldError::new(field, format!("{port} is not between 1 and 65535")))
}

fn range(range: &PortRange, field: &str) -> Result<(), FieldError> {
    number(range.start, &format!("{field}.start"))?;
    number(range.end, &format!("{field}.end"))?;
    if range.start < range.end {
        return Ok(());
    }
    Err(FieldError::new(field, format!("start ({}) must be less than end ({})", range.start, range.end)))
}
