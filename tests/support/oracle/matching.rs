//! What rules of every kind match by: labels, addresses, ports.

use super::written::{Told, all, has_only, list, name, set};
use super::{Connection, Endpoint};
use crate::case::{Case, Protocol};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All requirements of a selector must hold; an empty one matches all.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<&str, &str>) -> Told {
    if !selector.is_object() || !has_only(selector, &["matchLabels", "matchExpressions"]) {
        return None;
    }
    let equal = match set(selector, "matchLabels") {
        None => Some(true),
        // `matchLabels: {k: ""}` wants the key to exist.
        Some(wanted) => all(wanted
            .as_object()?
            .iter()
            .map(|(key, value)| Some(labels.get(key.as_str()).copied() == Some(value.as_str()?)))),
    };
    all([equal, all(list(selector, "matchExpressions")?.iter().map(|each| requirement(each, labels)))])
}

/// In, NotIn (also true where the key is missing), Exists, DoesNotExist.
pub(super) fn requirement(written: &Value, labels: &BTreeMap<&str, &str>) -> Told {
    if !has_only(written, &["key", "operator", "values"]) {
        return None;
    }
    let value = labels.get(written["key"].as_str()?).copied();
    let values: Vec<&str> = list(written, "values")?.iter().map(Value::as_str).collect::<Option<_>>()?;
    // The API server wants values for the first two, and none for the others.
    match (written["operator"].as_str()?, values.is_empty()) {
        ("In", false) => Some(value.is_some_and(|value| values.contains(&value))),
        ("NotIn", false) => Some(value.is_none_or(|value| !values.contains(&value))),
        ("Exists", true) => Some(value.is_some()),
        ("DoesNotExist", true) => Some(value.is_none()),
        _ => None,
    }
}

/// Every namespace has `kubernetes.io/metadata.name`, also where a manifest leaves it out.
pub(super) fn namespace_labels<'a>(case: &'a Case, wanted: &'a str) -> BTreeMap<&'a str, &'a str> {
    let found = case.namespaces.iter().find(|namespace| name(namespace) == wanted);
    let mut labels = found.map(labels).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name", wanted);
    labels
}

pub(super) fn labels(object: &Value) -> BTreeMap<&str, &str> {
    let written = object["metadata"]["labels"].as_object().into_iter().flatten();
    written.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// The two families never match each other; a block with host bits set is masked.
pub(super) fn in_cidr(cidr: &Value, ip: IpAddr) -> Told {
    let (base, bits) = cidr.as_str()?.split_once('/')?;
    let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    let width = if base.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return None;
    }
    // A mapped block is the IPv4 block of the bits that are left of it.
    let (base, bits) = match base.to_canonical() {
        IpAddr::V4(mapped) if width == 128 && bits >= 96 => (IpAddr::V4(mapped), bits - 96),
        _ => (base, bits),
    };
    let same =
        |base: u128, ip: u128, width: u32| (0..bits).all(|bit| (base ^ ip) >> (width - 1 - bit) & 1 == 0);
    Some(match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => same(u32::from(base).into(), u32::from(ip).into(), 32),
        (IpAddr::V6(base), IpAddr::V6(ip)) => same(base.into(), ip.into(), 128),
        _ => false,
    })
}

pub(super) fn is_protocol(port: &Value, protocol: Protocol) -> Told {
    let written = set(port, "protocol").map_or(Some("TCP"), Value::as_str)?;
    Some(protocol_named(written)? == protocol)
}

pub(super) fn protocol_named(written: &str) -> Option<Protocol> {
    match written {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// `port`..`endPort` is inclusive.
pub(super) fn in_range(first: &Value, last: &Value, port: u16) -> Told {
    let (first, last) = (port_number(first)?, port_number(last)?);
    (first <= last).then_some(first <= port && port <= last)
}

pub(super) fn port_number(written: &Value) -> Option<u16> {
    u16::try_from(written.as_u64()?).ok().filter(|number| *number > 0)
}

/// A named port is looked up on the destination pod's containers with the same protocol; each that has the name counts.
pub(super) fn is_named_port(name: &str, connection: &Connection) -> bool {
    let Endpoint::Pod(pod) = connection.destination.is else { return false };
    let declares = |port: &Value| {
        port["name"] == name
            && port["containerPort"] == connection.port
            && is_protocol(port, connection.protocol) == Some(true)
    };
    long_running(pod).flat_map(|container| container["ports"].as_array().into_iter().flatten()).any(declares)
}

/// Containers, and init containers that keep running as sidecars.
pub(super) fn long_running(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers.chain(sidecars.filter(|init| init["restartPolicy"] == "Always"))
}
