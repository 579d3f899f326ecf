//! policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, of tier Admin or Baseline.

use super::cluster_object::{
    self, ClusterObject, Kind, PortsOfProtocol, RuleReader, WrittenProtocol, WrittenRule, range,
};
use super::cluster_rules::{Action, ClusterPolicy};
use crate::model::{PolicyKind, Protocol, Tier};
use crate::policy::{Numbers, Port};

/// Reads an object of a tier that is known.
pub fn read(object: &ClusterObject, tier: Tier) -> ClusterPolicy {
    cluster_object::read(&Kind { kind: PolicyKind::ClusterNetworkPolicy, tier, action, ports }, object)
}

/// The tier as it is written.
pub fn tier(written: &str) -> Option<Tier> {
    match written {
        "Admin" => Some(Tier::Admin),
        "Baseline" => Some(Tier::Baseline),
        _ => None,
    }
}

fn action(written: &str) -> Option<Action> {
    match written {
        "Accept" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" => Some(Action::Pass),
        _ => None,
    }
}

fn ports(reader: &RuleReader<'_>, rule: &WrittenRule) -> Option<Vec<Port>> {
    let protocols = rule.protocols.as_ref().filter(|protocols| !protocols.is_empty())?;
    let read = |(place, written)| protocol(reader, &format!("protocols[{place}]"), written);
    Some(protocols.iter().enumerate().map(read).collect())
}

fn protocol(reader: &RuleReader<'_>, field: &str, written: &WrittenProtocol) -> Port {
    match (&written.tcp, &written.udp, &written.sctp, &written.destination_named_port) {
        (Some(ports), None, None, None) => of(reader, field, Protocol::Tcp, ports),
        (None, Some(ports), None, None) => of(reader, field, Protocol::Udp, ports),
        (None, None, Some(ports), None) => of(reader, field, Protocol::Sctp, ports),
        (None, None, None, Some(name)) => Port::Named(name.clone()),
        _ => reader.undetermined(field, "must name one protocol"),
    }
}

fn of(reader: &RuleReader<'_>, field: &str, protocol: Protocol, ports: &PortsOfProtocol) -> Port {
    let Some(port) = &ports.destination_port else {
        return reader.undetermined(field, "names no destinationPort");
    };
    let (first, last) = match (port.number, &port.range) {
        (Some(number), None) => (number, number),
        (None, Some(range)) => (range.start, range.end),
        _ => return reader.undetermined(field, "must name one of number and range"),
    };
    match range(first, last) {
        Some((first, last)) => Port::Of { protocol, numbers: Numbers::Range(first, last) },
        None => reader.undetermined(field, &format!("{first}–{last} is no range of ports")),
    }
}
