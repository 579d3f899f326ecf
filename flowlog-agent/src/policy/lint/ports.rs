//! Named ports that nobody declares.

use super::reach::{is_pod, may_be_unseen, may_match};
use super::{
    Candidate, DIRECTIONS, Estate, Finding, Linted, NAMED_PORT, Report, Sight, Unchecked, blind, count,
    cover, listed, near,
};
use crate::model::{ContainerPort, Direction, Protocol};
use crate::policy::kinds::cluster_rules::Subject;
use crate::policy::{Namespaces, Numbers, Peer, Policy, Port};
use std::collections::BTreeSet;

pub(super) fn check(policies: &[Linted], estate: &Estate, report: &mut Report) {
    let mut is_named = false;
    for one in policies {
        for direction in DIRECTIONS {
            for (place, rule) in cover::views(&one.policy, direction).iter().enumerate() {
                for (number, port) in rule.ports.unwrap_or_default().iter().enumerate() {
                    let Some((name, protocol)) = named(port) else { continue };
                    is_named = true;
                    let Some(pods) = listeners(&one.policy, direction, rule.peers, estate) else { continue };
                    let field = one.port_field(direction, place, number);
                    let Some((finding, has_reason)) = undeclared(one, field, name, protocol, &pods) else {
                        continue;
                    };
                    if has_reason || sees_all(&one.policy, direction, rule.peers, estate) {
                        report.findings.push(finding);
                    } else {
                        let why = "the pods that declare a name may not all be in the manifests".to_owned();
                        report.unchecked.push(Unchecked { rule: NAMED_PORT.id, why });
                    }
                }
            }
        }
    }
    if is_named {
        blind(estate, &[NAMED_PORT], report);
    }
}

fn named(port: &Port) -> Option<(&str, Option<Protocol>)> {
    match port {
        Port::Of { protocol, numbers: Numbers::Named(name) } => Some((name, Some(*protocol))),
        Port::Named(name) => Some((name, None)),
        Port::Of { .. } | Port::Undetermined(_) => None,
    }
}

/// The pods on which the name may be looked up; absent where that cannot be told.
fn listeners<'e>(
    policy: &Policy,
    direction: Direction,
    peers: Option<&[Peer]>,
    estate: &'e Estate,
) -> Option<Vec<&'e Candidate>> {
    if estate.sight() == Sight::Blind {
        return None;
    }
    let pods = estate.candidates().filter(|one| is_pod(one));
    let found: Vec<&Candidate> = match direction {
        Direction::Ingress => pods.filter(|one| is_subject(policy, one)).collect(),
        Direction::Egress => pods.filter(|one| is_peer(peers, one)).collect(),
    };
    // Where nobody is meant, that is what is to be told.
    Some(found).filter(|found| !found.is_empty())
}

fn is_subject(policy: &Policy, one: &Candidate) -> bool {
    match policy {
        Policy::NetworkPolicy(policy) => {
            may_match(&Namespaces::Own(policy.namespace.clone()), &policy.subject, one)
        }
        Policy::Cluster(policy) => match &policy.subject {
            Subject::Pods { namespaces, pods } => {
                may_match(&Namespaces::Selected(namespaces.clone()), pods, one)
            }
            Subject::Undetermined(_) => true,
        },
        Policy::NotUnderstood(_) => true,
    }
}

/// A block may hold any pod's address, also one that a pod will have.
fn is_peer(peers: Option<&[Peer]>, one: &Candidate) -> bool {
    peers.is_none_or(|peers| {
        peers.iter().any(|peer| match peer {
            Peer::Pods { namespaces, pods } => may_match(namespaces, pods, one),
            Peer::Block(_) | Peer::Undetermined(_) => true,
            Peer::Nodes(_) | Peer::Names(_) => false,
        })
    })
}

/// Whether all pods on which the name may be looked up are known.
fn sees_all(policy: &Policy, direction: Direction, peers: Option<&[Peer]>, estate: &Estate) -> bool {
    let of_subject = || match policy {
        Policy::Cluster(policy) => match &policy.subject {
            Subject::Pods { namespaces, .. } => {
                !may_be_unseen(&Namespaces::Selected(namespaces.clone()), estate)
            }
            Subject::Undetermined(_) => false,
        },
        Policy::NetworkPolicy(_) | Policy::NotUnderstood(_) => true,
    };
    match (direction, peers) {
        _ if estate.sight() != Sight::Pods => false,
        (Direction::Ingress, _) => of_subject(),
        (Direction::Egress, None) => estate.is_whole(),
        (Direction::Egress, Some(peers)) => peers.iter().all(|peer| match peer {
            Peer::Pods { namespaces, .. } => !may_be_unseen(namespaces, estate),
            Peer::Block(_) | Peer::Undetermined(_) => estate.is_whole(),
            Peer::Nodes(_) | Peer::Names(_) => true,
        }),
    }
}

/// What nobody declares; and whether it is seen why, by a name that nearly fits one that is known.
fn undeclared(
    one: &Linted,
    field: String,
    name: &str,
    protocol: Option<Protocol>,
    pods: &[&Candidate],
) -> Option<(Finding, bool)> {
    let has_name = |port: &ContainerPort| port.name.as_deref() == Some(name);
    let declares =
        |port: &ContainerPort| has_name(port) && protocol.is_none_or(|wanted| wanted == port.protocol);
    let declared = || pods.iter().flat_map(|one| &*one.pod.ports);
    if declared().any(declares) {
        return None;
    }
    let others: BTreeSet<&str> =
        declared().filter(|port| has_name(port)).map(|port| port.protocol.as_kubernetes()).collect();
    let initial = pods.iter().any(|one| one.init_ports.iter().any(declares));
    let names: BTreeSet<&str> = declared().filter_map(|port| port.name.as_deref()).collect();
    let near = near::name(name, names.iter().copied());
    let help = match (others.first(), initial, near) {
        (Some(other), ..) => {
            format!("it is declared for {other}: write `protocol: {other}`, or declare it anew")
        }
        (_, true, _) => {
            "only an init container declares it, which has ended before anyone connects".to_owned()
        }
        (.., Some(near)) => format!("did you mean `{near}`?"),
        _ if names.is_empty() => {
            "no port of theirs has a name: name one in the pod, or write its number".to_owned()
        }
        _ => format!("they declare {}", few(&names)),
    };
    let has_reason = !others.is_empty() || initial || near.is_some();
    let shown = protocol.map_or_else(String::new, |protocol| format!(" of {}", protocol.as_kubernetes()));
    let who = match pods {
        [only] => format!("{}, the only pod that it could apply to, declares no", only.title),
        _ => format!("none of the {} that it could apply to declares a", count(pods.len(), "pod", "pods")),
    };
    let message = format!("opens nothing: {who} port `{name}`{shown}");
    Some((Finding::new(NAMED_PORT, one.reference(), field, message, help), has_reason))
}

fn few(names: &BTreeSet<&str>) -> String {
    let shown: Vec<String> = names.iter().take(4).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => listed(&shown),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
