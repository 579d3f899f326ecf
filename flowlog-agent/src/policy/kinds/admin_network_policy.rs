//! policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy, and the rules of that version.

use super::cluster_object::{self, ClusterObject, Kind, RuleReader, WrittenPort, WrittenRule, range};
use super::cluster_rules::{Action, ClusterPolicy};
use crate::model::{PolicyKind, Protocol, Tier};
use crate::policy::{Numbers, Port};

const KIND: Kind = Kind { kind: PolicyKind::AdminNetworkPolicy, tier: Tier::Admin, action, ports };

/// Reads an object that has its defaults.
pub fn read(object: &ClusterObject) -> ClusterPolicy {
    cluster_object::read(&KIND, object)
}

fn action(written: &str) -> Option<Action> {
    match written {
        "Allow" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" => Some(Action::Pass),
        _ => None,
    }
}

/// The ports of a rule of v1alpha1.
pub(super) fn ports(reader: &RuleReader<'_>, rule: &WrittenRule) -> Option<Vec<Port>> {
    let ports = rule.ports.as_ref().filter(|ports| !ports.is_empty())?;
    let read = |(place, port)| self::port(reader, &format!("ports[{place}]"), port);
    Some(ports.iter().enumerate().map(read).collect())
}

fn port(reader: &RuleReader<'_>, field: &str, port: &WrittenPort) -> Port {
    let (protocol, (first, last)) = match (&port.port_number, &port.named_port, &port.port_range) {
        (Some(one), None, None) => (&one.protocol, (one.port, one.port)),
        (None, Some(name), None) => return Port::Named(name.clone()),
        (None, None, Some(range)) => (&range.protocol, (range.start, range.end)),
        _ => return reader.undetermined(field, "must name one kind of port"),
    };
    let protocol = match protocol.as_deref() {
        Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => return reader.undetermined(field, &format!("protocol `{other}` is not known")),
        None => return reader.undetermined(field, "protocol is missing"),
    };
    match range(first, last) {
        Some((first, last)) => Port::Of { protocol, numbers: Numbers::Range(first, last) },
        None => reader.undetermined(field, &format!("{first}–{last} is no range of ports")),
    }
}
