//! Connections to ask about: between what exists, at the edges of blocks and port ranges, and one beside them.

use super::blocks::{edges, neighbour};
use super::dice::Dice;
use super::objects::PORTS;
use super::policies::Subject;
use crate::case::{Case, Protocol, Query};
use serde_json::Value;
use std::net::IpAddr;

pub(super) fn queries(dice: &mut Dice, case: &Case, about: &Subject, count: usize) -> Vec<Query> {
    let policies = [
        &case.network_policies,
        &case.admin_network_policies,
        &case.baseline_admin_network_policies,
        &case.cluster_network_policies,
    ];
    let mut seen = Seen::default();
    policies.into_iter().flatten().for_each(|policy| seen.look(policy));
    about.pods.iter().for_each(|pod| seen.look(pod));
    let pods: Vec<IpAddr> = about.pods.iter().flat_map(|pod| addresses_of(&pod["status"])).collect();
    (0..count)
        .map(|id| Query { id: u64::try_from(id).unwrap_or_default(), ..query(dice, about, &pods, &seen) })
        .collect()
}

fn addresses_of(status: &Value) -> Vec<IpAddr> {
    let listed = status["podIPs"].as_array().into_iter().flatten().map(|each| &each["ip"]);
    listed.chain([&status["podIP"]]).filter_map(|written| written.as_str()?.parse().ok()).collect()
}

fn query(dice: &mut Dice, about: &Subject, pods: &[IpAddr], seen: &Seen) -> Query {
    let one = dice.find(pods).unwrap_or_else(|| dice.pick(about.addresses));
    let to_itself = dice.chance(5);
    let same_family = |ips: &[IpAddr]| -> Vec<IpAddr> {
        let fits = |ip: &IpAddr| ip.is_ipv4() == one.is_ipv4() && (*ip == one) == to_itself;
        ips.iter().copied().filter(fits).collect()
    };
    let (from, tag) = match dice.below(10) {
        0..5 => (same_family(pods), "pod"),
        5..8 => (same_family(about.addresses), "known"),
        _ => (same_family(&seen.edges), "edge"),
    };
    let other = dice.find(&from).unwrap_or(one);
    let other = if dice.chance(8) { neighbour(other, dice.chance(50)).unwrap_or(other) } else { other };
    let (source, destination) = if dice.chance(50) { (one, other) } else { (other, one) };
    let (port, protocol) = listener(dice, about, destination, seen);
    Query {
        id: 0,
        src_ip: perhaps_mapped(dice, source),
        dst_ip: perhaps_mapped(dice, destination),
        port,
        protocol,
        tags: vec![tag.to_owned()],
    }
}

/// What a policy names, or the pod declares; sometimes the port beside it, or the same of another protocol.
fn listener(dice: &mut Dice, about: &Subject, destination: IpAddr, seen: &Seen) -> (u16, Protocol) {
    let mut declared = Seen::default();
    let holds = |pod: &&Value| addresses_of(&pod["status"]).contains(&destination);
    about.pods.iter().filter(holds).for_each(|pod| declared.look(&pod["spec"]));
    let from = if dice.chance(45) { &declared.ports } else { &seen.ports };
    let protocols = [Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let (port, protocol) = dice.find(from).unwrap_or_else(|| (dice.pick(&PORTS), Protocol::Tcp));
    let port = match dice.below(6) {
        0 => port.saturating_sub(1).max(1),
        1 => port.saturating_add(1),
        _ => port,
    };
    (port, if dice.chance(30) { dice.pick(&protocols) } else { protocol })
}

/// How a dual-stack socket shows an IPv4 address.
fn perhaps_mapped(dice: &mut Dice, ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if dice.chance(10) => IpAddr::V6(ip.to_ipv6_mapped()),
        _ => ip,
    }
}

const PORT_FIELDS: [&str; 6] = ["port", "endPort", "containerPort", "start", "end", "number"];

/// Port numbers and edges of blocks that objects name.
#[derive(Default)]
struct Seen {
    ports: Vec<(u16, Protocol)>,
    edges: Vec<IpAddr>,
}

impl Seen {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                let protocol = match fields.get("protocol").and_then(Value::as_str) {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                };
                for (key, value) in fields {
                    let port = value.as_u64().filter(|_| PORT_FIELDS.contains(&key.as_str()));
                    self.ports
                        .extend(port.and_then(|port| u16::try_from(port).ok()).map(|port| (port, protocol)));
                    self.look(value);
                }
            }
            Value::String(written) => self.edges.extend(edges(written).into_iter().flatten()),
            _ => {}
        }
    }
}
