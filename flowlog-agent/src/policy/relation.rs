//! Traffic that no policy can deny: a pod to itself, and between a pod and the node that runs it.

use super::matching::Reason;
use super::{Query, peer};
use crate::model::{Endpoint, Party, Pod};

/// How the two ends of a connection stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// The same pod, or the loopback.
    Same,
    /// A pod and the node that runs it.
    OwnNode,
    /// Neither.
    Apart,
    /// It cannot be excluded that it is one of the two, and why.
    Perhaps(Reason),
}

pub(super) fn between(query: &Query<'_>) -> Relation {
    match (&query.source.endpoint, &query.destination.endpoint) {
        (Endpoint::Local, _) | (_, Endpoint::Local) => Relation::Same,
        (Endpoint::Pod(one), Endpoint::Pod(other)) if is_same(one, other) => {
            // A host-network pod is its node, and no policy selects a node.
            if one.host_network { Relation::Apart } else { Relation::Same }
        }
        (Endpoint::Pod(pod), other) if !pod.host_network => to_other(pod, other, query.destination, query),
        (other, Endpoint::Pod(pod)) if !pod.host_network => to_other(pod, other, query.source, query),
        _ => Relation::Apart,
    }
}

fn is_same(one: &Pod, other: &Pod) -> bool {
    (&one.uid, &one.namespace, &one.name) == (&other.uid, &other.namespace, &other.name)
}

fn to_other(pod: &Pod, other: &Endpoint, party: &Party, query: &Query<'_>) -> Relation {
    match other {
        Endpoint::Node(node) => to_node(pod, Some(&node.name)),
        Endpoint::Pod(other) if other.host_network => to_node(pod, other.node.as_deref()),
        Endpoint::Pod(_) | Endpoint::External(_) | Endpoint::Local => Relation::Apart,
        Endpoint::Service(_) => Relation::Perhaps(peer::why_unknown(party)),
        Endpoint::Unknown { .. } => {
            let own_address = party.ip.is_none_or(|ip| pod.ips.contains(&ip.to_canonical()));
            let own_range =
                query.range_of.is_some_and(|node| pod.node.as_deref().is_none_or(|own| own == node));
            if own_address || own_range {
                Relation::Perhaps(peer::why_unknown(party))
            } else {
                Relation::Apart
            }
        }
    }
}

fn to_node(pod: &Pod, node: Option<&str>) -> Relation {
    match (pod.node.as_deref(), node) {
        (Some(own), Some(node)) if own == node => Relation::OwnNode,
        (Some(_), Some(_)) => Relation::Apart,
        _ => Relation::Perhaps(
            format!("which node runs pod {}/{} is not known", pod.namespace, pod.name).into(),
        ),
    }
}
