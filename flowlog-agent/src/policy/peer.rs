//! Who a rule lets talk: peers by selectors, and address blocks.

use super::BlockScope;
use super::matching::{Match, Reason};
use super::selector::Selector;
use crate::model::{Endpoint, Party, Pod};
use ipnet::IpNet;
use std::net::IpAddr;

/// The label that every namespace has; where it is missing, the namespace itself was never seen.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One item of a rule's `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods, by namespace and labels.
    Pods {
        /// In which namespaces.
        namespaces: Namespaces,
        /// Which of their pods.
        pods: Selector,
    },
    /// Addresses.
    Block(Block),
    /// Nodes, by labels.
    Nodes(Selector),
    /// Whoever has a name in the DNS: which addresses that are is not known here.
    Names(Reason),
    /// Could not be read, and why.
    Undetermined(Reason),
}

/// Namespaces that a peer looks in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The policy's own.
    Own(String),
    /// Those with these labels.
    Selected(Selector),
}

/// A block of addresses, less parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The block, normalised.
    pub block: IpNet,
    /// Parts that do not belong to it, normalised.
    pub except: Vec<IpNet>,
    /// Why a part that does not belong to it could not be read.
    pub unread: Option<Reason>,
}

impl Peer {
    /// Whether this end is meant; `family_of` is the other end, which tells the family on the wire.
    pub(super) fn matches(&self, party: &Party, family_of: &Party, scope: BlockScope) -> Match {
        match self {
            Self::Pods { namespaces, pods } => match &party.endpoint {
                Endpoint::Pod(pod) if !pod.host_network => {
                    namespaces.matches(pod).and(|| pods.matches(&pod.labels))
                }
                // A host-network pod is its node, and no selector matches a node.
                Endpoint::Pod(_) | Endpoint::Node(_) | Endpoint::External(_) | Endpoint::Local => Match::No,
                Endpoint::Service(_) | Endpoint::Unknown { .. } => Match::Unknown(why_unknown(party)),
            },
            Self::Block(block) => block.matches(party, family_of, scope),
            Self::Nodes(selector) => node_matches(selector, party),
            Self::Names(reason) => match &party.endpoint {
                Endpoint::Local => Match::No,
                Endpoint::Pod(pod) if !pod.host_network => Match::No,
                // Names of nodes stand in the DNS as well, the API server's above all.
                Endpoint::Pod(_) | Endpoint::Node(_) | Endpoint::External(_) => {
                    Match::Unknown(reason.clone())
                }
                Endpoint::Service(_) | Endpoint::Unknown { .. } => Match::Unknown(why_unknown(party)),
            },
            Self::Undetermined(reason) => Match::Unknown(reason.clone()),
        }
    }
}

/// A node by its labels; a host-network pod is its node, whose labels are not told with the pod.
fn node_matches(selector: &Selector, party: &Party) -> Match {
    let unseen = |name: &str| match selector.0.is_empty() {
        true => Match::Yes,
        false => Match::Unknown(format!("the labels of node {name} are not known").into()),
    };
    match &party.endpoint {
        // Every Node object has labels: one without was only heard of.
        Endpoint::Node(node) if node.labels.is_empty() => unseen(&node.name),
        Endpoint::Node(node) => selector.matches(&node.labels),
        Endpoint::Pod(pod) if pod.host_network => unseen(pod.node.as_deref().unwrap_or_default()),
        Endpoint::Pod(_) | Endpoint::External(_) | Endpoint::Local => Match::No,
        Endpoint::Service(_) | Endpoint::Unknown { .. } => Match::Unknown(why_unknown(party)),
    }
}

impl Namespaces {
    pub(super) fn matches(&self, pod: &Pod) -> Match {
        match self {
            Self::Own(name) => (*pod.namespace == **name).into(),
            Self::Selected(selector) if pod.namespace_labels.contains_key(NAMESPACE_NAME) => {
                selector.matches(&pod.namespace_labels)
            }
            Self::Selected(selector) => selector.matches_unseen_namespace(&pod.namespace),
        }
    }
}

impl Block {
    fn matches(&self, party: &Party, family_of: &Party, scope: BlockScope) -> Match {
        if scope == BlockScope::OutsidePods {
            match &party.endpoint {
                Endpoint::Pod(pod) if !pod.host_network => return Match::No,
                Endpoint::Service(_) | Endpoint::Unknown { .. } => return Match::Unknown(why_unknown(party)),
                _ => {}
            }
        }
        let mut answers = addresses(party, family_of).into_iter().map(|ip| self.holds(ip));
        let Some(first) = answers.next() else {
            return Match::Unknown(format!("the address of {} is not known", describe(party)).into());
        };
        if answers.all(|answer| answer == first) {
            return first;
        }
        Match::Unknown(format!("which address {} used is not known", describe(party)).into())
    }

    fn holds(&self, ip: IpAddr) -> Match {
        if !self.block.contains(&ip) || self.except.iter().any(|part| part.contains(&ip)) {
            return Match::No;
        }
        self.unread.clone().map_or(Match::Yes, Match::Unknown)
    }
}

/// The address on the wire; where it was never seen, those that the endpoint may have used.
fn addresses(party: &Party, family_of: &Party) -> Vec<IpAddr> {
    // Behind a service address stands another one, and policies see that.
    if let Endpoint::Service(_) = party.endpoint {
        return Vec::new();
    }
    if let Some(ip) = party.ip {
        return vec![ip.to_canonical()];
    }
    let own = match &party.endpoint {
        Endpoint::Pod(pod) => &pod.ips,
        Endpoint::Node(node) => &node.ips,
        _ => return Vec::new(),
    };
    let family = family_of.ip.map(|ip| ip.to_canonical().is_ipv4());
    own.iter().copied().filter(|ip| family.is_none_or(|v4| ip.is_ipv4() == v4)).collect()
}

/// Why a party is not known.
pub(super) fn why_unknown(party: &Party) -> Reason {
    match &party.endpoint {
        Endpoint::Unknown { reason, .. } => reason.as_str().into(),
        _ => format!("which endpoint of {} was taken is not known", describe(party)).into(),
    }
}

pub(super) fn describe(party: &Party) -> String {
    match &party.endpoint {
        Endpoint::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Endpoint::Service(service) => format!("service {}/{}", service.namespace, service.name),
        Endpoint::Node(node) => format!("node {}", node.name),
        Endpoint::External(_) => "the external endpoint".to_owned(),
        Endpoint::Local => "the loopback".to_owned(),
        Endpoint::Unknown { .. } => "the unknown endpoint".to_owned(),
    }
}
