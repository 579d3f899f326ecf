//! AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), ClusterNetworkPolicy (v1alpha2).

use super::matching::{
    in_cidr, in_range, is_named_port, is_protocol, labels, namespace_labels, protocol_named, selects,
};
use super::written::{
    Told, all, any, any_or_all, has_only, is_version, list, name, named, namespace, only_key, set,
};
use super::{ANYTHING, Act, Basis, Connection, End, Endpoint, Possible, Way, possible};
use crate::case::Case;
use serde_json::Value;
use std::collections::BTreeMap;

const V1ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";
const V1ALPHA2: &str = "policy.networking.k8s.io/v1alpha2";

const ADMIN: Kind = Kind {
    name: "AdminNetworkPolicy",
    version: V1ALPHA1,
    spec: &["priority", "subject", "ingress", "egress"],
    actions: &[("Allow", Act::Allow), ("Deny", Act::Deny), ("Pass", Act::Pass)],
    ports: ("ports", admin_port),
};
const BASELINE: Kind = Kind {
    name: "BaselineAdminNetworkPolicy",
    version: V1ALPHA1,
    spec: &["subject", "ingress", "egress"],
    actions: &[("Allow", Act::Allow), ("Deny", Act::Deny)],
    ports: ("ports", admin_port),
};
const CLUSTER: Kind = Kind {
    name: "ClusterNetworkPolicy",
    version: V1ALPHA2,
    spec: &["tier", "priority", "subject", "ingress", "egress"],
    actions: &[("Accept", Act::Allow), ("Deny", Act::Deny), ("Pass", Act::Pass)],
    ports: ("protocols", cluster_port),
};

/// Wherein the three kinds differ.
struct Kind {
    name: &'static str,
    version: &'static str,
    spec: &'static [&'static str],
    actions: &'static [(&'static str, Act)],
    ports: (&'static str, fn(&Value, &Connection) -> Told),
}

/// AdminNetworkPolicy and ClusterNetworkPolicy of tier Admin, by priority. A cluster policy whose tier cannot be read
/// may stand here.
pub(super) fn admin_tier(connection: &Connection, way: Way, subject: &Value) -> Vec<Possible> {
    let admin = connection.case.admin_network_policies.iter().map(|policy| (&ADMIN, policy));
    let cluster = connection.case.cluster_network_policies.iter().map(|policy| (&CLUSTER, policy));
    let cluster = cluster.filter(|(kind, policy)| !is_plain_baseline(kind, policy));
    by_priority(admin.chain(cluster).collect(), connection, way, subject)
}

/// BaselineAdminNetworkPolicy has no priority: against a ClusterNetworkPolicy of tier Baseline either may come first.
pub(super) fn baseline_tier(connection: &Connection, way: Way, subject: &Value) -> Vec<Possible> {
    let baseline = &connection.case.baseline_admin_network_policies;
    let baseline = baseline.iter().map(|policy| policy_acts(&BASELINE, policy, connection, way, subject));
    let cluster = connection.case.cluster_network_policies.iter().map(|policy| (&CLUSTER, policy));
    let cluster = cluster.filter(|(kind, policy)| is_plain_baseline(kind, policy)).collect();
    whichever_first(baseline.chain([by_priority(cluster, connection, way, subject)]))
}

fn is_plain_baseline(kind: &Kind, policy: &Value) -> bool {
    is_version(policy, kind.version) && policy["spec"]["tier"] == "Baseline"
}

/// Rules go by priority, the lower number first. Without a priority that can be read, in a version that is known, a
/// policy may stand anywhere.
fn by_priority(
    policies: Vec<(&Kind, &Value)>,
    connection: &Connection,
    way: Way,
    subject: &Value,
) -> Vec<Possible> {
    let mut placed: BTreeMap<u64, Vec<Vec<Possible>>> = BTreeMap::new();
    let mut anywhere = Vec::new();
    for (kind, policy) in policies {
        let acts = policy_acts(kind, policy, connection, way, subject);
        let known = is_version(policy, kind.version);
        match policy["spec"]["priority"].as_u64().filter(|priority| known && *priority <= 1000) {
            Some(priority) => placed.entry(priority).or_default().push(acts),
            None => anywhere.push(acts),
        }
    }
    let in_order = one_after_another(placed.into_values().map(|same| whichever_first(same.into_iter())));
    whichever_first(anywhere.into_iter().chain([in_order]))
}

/// The first that is not silent decides.
fn one_after_another(steps: impl Iterator<Item = Vec<Possible>>) -> Vec<Possible> {
    let mut ends = Vec::new();
    for step in steps {
        let (silent, speaks): (Vec<_>, Vec<_>) = step.into_iter().partition(|end| end.act == Act::Silent);
        ends.extend(speaks);
        if silent.is_empty() {
            return ends;
        }
    }
    ends.push(possible(Act::Silent, Basis::Unselected, Vec::new()));
    ends
}

/// Of policies of one priority any that matches may be applied, and nobody can tell which.
fn whichever_first(policies: impl Iterator<Item = Vec<Possible>>) -> Vec<Possible> {
    let (mut ends, mut all_silent) = (Vec::new(), true);
    for policy in policies {
        all_silent &= policy.iter().any(|end| end.act == Act::Silent);
        ends.extend(policy.into_iter().filter(|end| end.act != Act::Silent));
    }
    if all_silent {
        ends.push(possible(Act::Silent, Basis::Unselected, Vec::new()));
    }
    ends
}

/// What one policy may do: nothing to what it does not select; anything where version, field or tier is not known.
fn policy_acts(
    kind: &Kind,
    policy: &Value,
    connection: &Connection,
    way: Way,
    subject: &Value,
) -> Vec<Possible> {
    let spec = &policy["spec"];
    if !is_version(policy, kind.version) {
        return acts(&ANYTHING, kind, policy, None);
    }
    let selected = set(spec, "subject")
        .and_then(|written| select_pod(written, &["namespaces", "pods"], Some(subject), connection.case));
    if selected == Some(false) {
        return acts(&[Act::Silent], kind, policy, None);
    }
    let tier_known = kind.name != CLUSTER.name || matches!(spec["tier"].as_str(), Some("Admin" | "Baseline"));
    let Some(rules) = list(spec, way.rules()).filter(|_| tier_known && has_only(spec, kind.spec)) else {
        return acts(&ANYTHING, kind, policy, None);
    };
    let mut ends = one_after_another(
        rules.iter().enumerate().map(|(place, rule)| rule_acts(kind, policy, place, rule, connection, way)),
    );
    if selected.is_none() {
        ends.extend(acts(&[Act::Silent], kind, policy, None));
    }
    ends
}

/// A rule that matches does what its action says: `Pass` hands over to the next tier, the others end it.
fn rule_acts(
    kind: &Kind,
    policy: &Value,
    place: usize,
    rule: &Value,
    connection: &Connection,
    way: Way,
) -> Vec<Possible> {
    let action = kind.actions.iter().find(|(word, _)| rule["action"] == *word).map(|(_, act)| *act);
    match (cluster_rule(kind, rule, connection, way), action) {
        (Some(false), _) => acts(&[Act::Silent], kind, policy, Some(place)),
        (_, None) => acts(&ANYTHING, kind, policy, Some(place)),
        (Some(true), Some(act)) => acts(&[act], kind, policy, Some(place)),
        (None, Some(act)) => acts(&[act, Act::Silent], kind, policy, Some(place)),
    }
}

fn acts(acts: &[Act], kind: &Kind, policy: &Value, rule: Option<usize>) -> Vec<Possible> {
    acts.iter().map(|act| possible(*act, Basis::Policy, vec![named(kind.name, policy, rule)])).collect()
}

/// A rule matches when one of its peers and, where it names ports, one of its ports does.
fn cluster_rule(kind: &Kind, rule: &Value, connection: &Connection, way: Way) -> Told {
    let (ports, port) = kind.ports;
    if !has_only(rule, &["name", "action", way.peers(), ports]) {
        return None;
    }
    let peers = list(rule, way.peers()).filter(|peers| !peers.is_empty());
    all([
        peers.and_then(|peers| any(peers.iter().map(|peer| cluster_peer(peer, connection, way)))),
        list(rule, ports).and_then(|ports| any_or_all(ports, |written| port(written, connection))),
    ])
}

/// Peers by namespaces and pods; for egress by nodes, networks and domain names too. Exactly one is set.
fn cluster_peer(peer: &Value, connection: &Connection, way: Way) -> Told {
    let far = way.peer(connection);
    let pod = if let Endpoint::Pod(pod) = far.is { Some(pod) } else { None };
    match (only_key(peer)?, way) {
        ("namespaces" | "pods", _) => select_pod(peer, &["namespaces", "pods"], pod, connection.case),
        ("nodes", Way::Egress) => select_node(&peer["nodes"], far, connection.case),
        ("networks", Way::Egress) => any(list(peer, "networks")?.iter().map(|cidr| in_cidr(cidr, far.ip))),
        // An address does not tell by which name it was found, and what is not known matches nobody knows what.
        _ => None,
    }
}

/// By `namespaces`: all pods of them; by `pods`: both selectors. Host-network pods are not included.
fn select_pod(by: &Value, known: &[&str], pod: Option<&Value>, case: &Case) -> Told {
    let key = only_key(by).filter(|key| known.contains(key))?;
    let Some(pod) = pod else { return Some(false) };
    let namespace_labels = namespace_labels(case, namespace(pod));
    let written = &by[key];
    if key == "namespaces" {
        return selects(written, &namespace_labels);
    }
    if !has_only(written, &["namespaceSelector", "podSelector"]) {
        return None;
    }
    // Both are values, not pointers, in the Go types: absent is empty, and empty selects all.
    let both = [("namespaceSelector", namespace_labels), ("podSelector", labels(pod))];
    all(both
        .map(|(field, labels)| set(written, field).map_or(Some(true), |selector| selects(selector, &labels))))
}

/// Nodes are selected by their labels and matched by their addresses.
fn select_node(selector: &Value, far: &End, case: &Case) -> Told {
    let Endpoint::Node(wanted) = far.is else { return Some(false) };
    selects(selector, &labels(case.nodes.iter().find(|node| name(node) == wanted)?))
}

/// `portNumber`, `portRange` or `namedPort`.
fn admin_port(port: &Value, connection: &Connection) -> Told {
    let key = only_key(port)?;
    let written = &port[key];
    let number = match key {
        "portNumber" if has_only(written, &["protocol", "port"]) => {
            in_range(&written["port"], &written["port"], connection.port)
        }
        "portRange" if has_only(written, &["protocol", "start", "end"]) => {
            in_range(&written["start"], &written["end"], connection.port)
        }
        "namedPort" => return Some(is_named_port(written.as_str()?, connection)),
        _ => return None,
    };
    all([is_protocol(written, connection.protocol), number])
}

/// `tcp`, `udp` or `sctp` with a destination port, or `destinationNamedPort`.
fn cluster_port(port: &Value, connection: &Connection) -> Told {
    let key = only_key(port)?;
    let written = &port[key];
    if key == "destinationNamedPort" {
        return Some(is_named_port(written.as_str()?, connection));
    }
    let protocol = match key {
        "tcp" | "udp" | "sctp" => protocol_named(&key.to_uppercase())?,
        _ => return None,
    };
    let number = only_key(written).filter(|key| *key == "destinationPort").and_then(|_| {
        let port = &written["destinationPort"];
        match only_key(port)? {
            "number" => in_range(&port["number"], &port["number"], connection.port),
            "range" if has_only(&port["range"], &["start", "end"]) => {
                in_range(&port["range"]["start"], &port["range"]["end"], connection.port)
            }
            _ => None,
        }
    });
    all([Some(protocol == connection.protocol), number])
}
