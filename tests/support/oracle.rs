//! The direct reading of declared policy, to hold the engine against: slow, obvious, and sharing no code with it.
//!
//! It reads raw objects, stored or as written, in the order of the specification: endpoints, directions, tiers,
//! then each kind. Sources: the NetworkPolicy page and API reference of Kubernetes, and the API types of
//! network-policy-api (`v1alpha1`, `v1alpha2`).
//!
//! What cannot be read is `None`: neither yes nor no. A tier then has several possible ends, and an answer is given
//! only where they all agree. Services are left out: a query names the address behind them.

mod cluster_policy;
mod matching;
mod network_policy;
mod written;

use crate::case::{Case, Decision, Expected, Protocol, Query};
use cluster_policy::{admin_tier, baseline_tier};
use network_policy::namespace_tier;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use written::{name, node_name};

/// The answer to one query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What the destination's policies say.
    pub ingress: Direction,
    /// What the source's policies say.
    pub egress: Direction,
    /// What both say together.
    pub combined: Decision,
}

/// What one direction says, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Direction {
    /// Allowed, denied, or not to be told.
    pub decision: Decision,
    /// What the decision rests on.
    pub basis: Basis,
    /// The tier that decided; none where no tier was asked.
    pub tier: Option<Tier>,
    /// The policies that decided; where the decision is unknown, those that it hangs on.
    pub policies: Vec<Named>,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Named rules allow or deny it.
    Policy,
    /// A policy isolates the pod and none of its rules matches.
    Isolated,
    /// No policy decides.
    Unselected,
    /// A pod to itself.
    #[serde(rename = "self")]
    Itself,
    /// Between a pod and the node that runs it.
    Node,
    /// Something that cannot be read would decide.
    Unknown,
}

/// The tiers, in the order in which they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// AdminNetworkPolicy, ClusterNetworkPolicy of tier Admin.
    Admin,
    /// NetworkPolicy.
    Namespace,
    /// BaselineAdminNetworkPolicy, ClusterNetworkPolicy of tier Baseline.
    Baseline,
    /// What holds where no policy decides.
    Default,
}

/// A policy, and the rule of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Named {
    /// Kind of the policy.
    pub kind: &'static str,
    /// Namespace; none for cluster policies.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Place of the rule in its list; none where no rule matched.
    pub rule: Option<usize>,
}

/// Does the declared policy let this connection open?
pub fn evaluate(case: &Case, query: &Query) -> Answer {
    let (source_ip, destination_ip) = (query.src_ip.to_canonical(), query.dst_ip.to_canonical());
    let connection = Connection {
        case,
        source: End { ip: source_ip, is: endpoint(case, source_ip) },
        destination: End { ip: destination_ip, is: endpoint(case, destination_ip) },
        protocol: query.protocol,
        port: query.port,
    };
    if let Some(basis) = always_allowed(&connection) {
        return answer(settled(Decision::Allow, basis), settled(Decision::Allow, basis));
    }
    if matches!(connection.source.is, Endpoint::Ambiguous)
        || matches!(connection.destination.is, Endpoint::Ambiguous)
    {
        return answer(
            settled(Decision::Unknown, Basis::Unknown),
            settled(Decision::Unknown, Basis::Unknown),
        );
    }
    answer(direction(&connection, Way::Ingress), direction(&connection, Way::Egress))
}

/// The answers to all queries of a case, in the form of a case's expectations.
pub fn expect(case: &Case) -> Vec<Expected> {
    let answers = case.queries.iter().map(|query| (query.id, evaluate(case, query)));
    answers
        .map(|(id, answer)| Expected {
            id,
            ingress: Some(answer.ingress.decision),
            egress: Some(answer.egress.decision),
            combined: answer.combined,
        })
        .collect()
}

/// A connection is allowed when both directions allow it.
fn answer(ingress: Direction, egress: Direction) -> Answer {
    let both = [ingress.decision, egress.decision];
    let combined = match both {
        _ if both.contains(&Decision::Deny) => Decision::Deny,
        _ if both.contains(&Decision::Unknown) => Decision::Unknown,
        _ => Decision::Allow,
    };
    Answer { ingress, egress, combined }
}

fn settled(decision: Decision, basis: Basis) -> Direction {
    Direction { decision, basis, tier: None, policies: Vec::new() }
}

// Endpoints.

/// Opener to listener, protocol, destination port.
struct Connection<'a> {
    case: &'a Case,
    source: End<'a>,
    destination: End<'a>,
    protocol: Protocol,
    port: u16,
}

struct End<'a> {
    ip: IpAddr,
    is: Endpoint<'a>,
}

/// A pod, a node, or an external address.
enum Endpoint<'a> {
    Pod(&'a Value),
    Node(&'a str),
    External,
    /// Two pods claim the address.
    Ambiguous,
}

fn endpoint(case: &Case, ip: IpAddr) -> Endpoint<'_> {
    let holds = |pod: &&Value| !has_ended(pod) && pod_addresses(pod).contains(&ip);
    let (host, own): (Vec<&Value>, Vec<&Value>) =
        case.pods.iter().filter(holds).partition(|pod| is_host_network(pod));
    match (own.as_slice(), find_node(case, ip), host.first()) {
        ([pod], _, _) => Endpoint::Pod(pod),
        ([], Some(node), _) => Endpoint::Node(name(node)),
        ([], None, Some(pod)) => Endpoint::Node(node_name(pod)),
        ([], None, None) => Endpoint::External,
        _ => Endpoint::Ambiguous,
    }
}

/// A host-network pod is its node.
fn is_host_network(pod: &Value) -> bool {
    pod["spec"]["hostNetwork"] == true
}

/// A pod in phase Succeeded or Failed has no address any more.
fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn pod_addresses(pod: &Value) -> Vec<IpAddr> {
    let status = &pod["status"];
    let all = status["podIPs"].as_array().into_iter().flatten().map(|each| &each["ip"]);
    all.chain([&status["podIP"]]).filter_map(address).collect()
}

fn find_node(case: &Case, ip: IpAddr) -> Option<&Value> {
    let holds = |node: &&Value| {
        let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        addresses.filter_map(|each| address(&each["address"])).any(|each| each == ip)
    };
    case.nodes.iter().find(holds)
}

/// An IPv4-mapped IPv6 address is its IPv4 address.
fn address(written: &Value) -> Option<IpAddr> {
    written.as_str()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Always allowed: a pod to itself, by any of its addresses; the node that runs a pod ↔ that pod.
fn always_allowed(connection: &Connection) -> Option<Basis> {
    // Linux opens a connection to the unspecified address to the loopback, which is the opener itself.
    let is_local = |end: &End| end.ip.is_loopback() || end.ip.is_unspecified();
    if is_local(&connection.source) || is_local(&connection.destination) {
        return Some(Basis::Itself);
    }
    match (&connection.source.is, &connection.destination.is) {
        (Endpoint::Pod(one), Endpoint::Pod(other)) if std::ptr::eq(*one, *other) => Some(Basis::Itself),
        (Endpoint::Pod(pod), Endpoint::Node(node)) | (Endpoint::Node(node), Endpoint::Pod(pod))
            if node_name(pod) == *node && !node.is_empty() =>
        {
            Some(Basis::Node)
        }
        _ => None,
    }
}

// Directions and tiers.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ingress,
    Egress,
}

impl Way {
    /// The list of rules of a policy.
    fn rules(self) -> &'static str {
        if self == Way::Ingress { "ingress" } else { "egress" }
    }

    /// The list of peers of a rule.
    fn peers(self) -> &'static str {
        if self == Way::Ingress { "from" } else { "to" }
    }

    /// The name in `policyTypes`.
    fn policy_type(self) -> &'static str {
        if self == Way::Ingress { "Ingress" } else { "Egress" }
    }

    /// Egress is judged by the policies that select the source, ingress by those that select the destination.
    fn subject<'a, 'b>(self, connection: &'b Connection<'a>) -> &'b End<'a> {
        if self == Way::Ingress { &connection.destination } else { &connection.source }
    }

    fn peer<'a, 'b>(self, connection: &'b Connection<'a>) -> &'b End<'a> {
        if self == Way::Ingress { &connection.source } else { &connection.destination }
    }
}

/// What a policy or a tier may do with the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Allow,
    Deny,
    Pass,
    /// No rule of it matches.
    Silent,
}

const ANYTHING: [Act; 4] = [Act::Allow, Act::Deny, Act::Pass, Act::Silent];

/// One end that is possible. What is read without doubt has one alone.
#[derive(Clone)]
struct Possible {
    act: Act,
    basis: Basis,
    by: Vec<Named>,
}

fn possible(act: Act, basis: Basis, by: Vec<Named>) -> Possible {
    Possible { act, basis, by }
}

/// Admin, then namespace, then Baseline, then default allow. No policy selects what is no pod.
fn direction(connection: &Connection, way: Way) -> Direction {
    let mut ends = Vec::new();
    if let Endpoint::Pod(subject) = way.subject(connection).is {
        for (tier, read) in TIERS {
            let (goes_on, decides): (Vec<_>, Vec<_>) = read(connection, way, subject)
                .into_iter()
                .partition(|end| matches!(end.act, Act::Pass | Act::Silent));
            ends.extend(decides.into_iter().map(|end| (tier, end)));
            if goes_on.is_empty() {
                return settle(ends);
            }
        }
    }
    ends.push((Tier::Default, possible(Act::Allow, Basis::Unselected, Vec::new())));
    settle(ends)
}

type ReadTier = fn(&Connection, Way, &Value) -> Vec<Possible>;

const TIERS: [(Tier, ReadTier); 3] =
    [(Tier::Admin, admin_tier), (Tier::Namespace, namespace_tier), (Tier::Baseline, baseline_tier)];

/// A decision is given where all possible ends agree on it. Its basis is that of the last one: the one that stands
/// when nothing of what could not be read matches.
fn settle(ends: Vec<(Tier, Possible)>) -> Direction {
    let agree = ends.iter().all(|(_, end)| Some(end.act) == ends.first().map(|(_, first)| first.act));
    let Some((tier, last)) = ends.last().cloned().filter(|_| agree) else {
        let policies = names(ends.into_iter().map(|(_, end)| end));
        return Direction { decision: Decision::Unknown, basis: Basis::Unknown, tier: None, policies };
    };
    let decision = if last.act == Act::Allow { Decision::Allow } else { Decision::Deny };
    let same = ends.into_iter().filter(|(one, end)| *one == tier && end.basis == last.basis);
    Direction { decision, basis: last.basis, tier: Some(tier), policies: names(same.map(|(_, end)| end)) }
}

fn names(ends: impl Iterator<Item = Possible>) -> Vec<Named> {
    ends.flat_map(|end| end.by).collect::<BTreeSet<_>>().into_iter().collect()
}
