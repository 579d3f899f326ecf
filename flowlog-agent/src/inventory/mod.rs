//! Who is who: pods, nodes and services by uid, name and address, as of one moment.
//!
//! An `Inventory` never changes; a new one is built from the objects and takes over what is kept of pods
//! that went. It leaves reading objects to the cluster room, and verdicts to the policy room. Where an
//! address could mean two things, the answer is unknown with the reason, never a guess.

mod address;
mod builder;
mod departed;
mod services;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use departed::Keep;
pub use services::{ServicePort, ServiceSpec, Slice, SliceEndpoint, SlicePort};

use crate::model::{Endpoint, External, Node, Pod, Protocol, Target, normalise};
use address::{AddressIndex, Holder};
use departed::Departed;
use foldhash::HashMap;
use ipnet::IpNet;
use jiff::Timestamp;
use services::ServiceIndex;
use std::net::IpAddr;
use std::sync::Arc;

/// What the objects do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Ranges of pod and service addresses, beside those that Node and ServiceCIDR objects tell.
    pub cluster_ranges: Vec<IpNet>,
    /// Names of address blocks outside the cluster; the longest prefix wins.
    pub networks: Vec<(IpNet, String)>,
    /// Addresses that a node has beside those of its Node object (bridges, tunnels), by node name.
    pub node_addresses: Vec<(String, Vec<IpAddr>)>,
    /// How much is kept of pods that went.
    pub keep: Keep,
}

/// A pod that was found, and whether it still is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    /// In the cluster now.
    Live(&'a Arc<Pod>),
    /// It went.
    Departed {
        /// The pod as it was last seen.
        pod: &'a Arc<Pod>,
        /// When it was found missing.
        since: Timestamp,
    },
}

impl<'a> Found<'a> {
    /// The pod, live or not.
    pub fn pod(self) -> &'a Arc<Pod> {
        match self {
            Self::Live(pod) | Self::Departed { pod, .. } => pod,
        }
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressOwner<'a> {
    /// A pod, live or departed.
    Pod(Found<'a>),
    /// A node (its host-network pods cannot be told from it by address).
    Node(&'a Arc<Node>),
    /// More than one has it; the reason names them.
    Ambiguous(&'a str),
    /// In a range of the cluster, and nobody has it.
    Unassigned(&'a Range),
    /// Nobody in the cluster has it.
    Nobody,
}

/// A range of addresses that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The block, host bits masked.
    pub block: IpNet,
    /// The node that gives addresses out of it, where that is told.
    pub node: Option<String>,
}

/// The pods, nodes and services of one moment.
#[derive(Debug, Default)]
pub struct Inventory {
    pods: Vec<Arc<Pod>>,
    by_uid: HashMap<String, Arc<Pod>>,
    nodes: HashMap<String, Arc<Node>>,
    addresses: AddressIndex,
    services: ServiceIndex,
    departed: Departed,
    ranges: Vec<Range>,
    networks: Vec<(IpNet, String)>,
}

impl Inventory {
    /// Starts an empty one.
    pub fn builder(settings: &Settings) -> Builder {
        Builder::new(settings.clone())
    }

    /// All live pods, terminated ones included, in namespace and name order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// How many pods that went are kept.
    pub fn departed_count(&self) -> usize {
        self.departed.len()
    }

    /// The pod with this uid, at `at`: one that went too long before is not found.
    pub fn find_pod_by_uid(&self, uid: &str, at: Timestamp) -> Option<Found<'_>> {
        if let Some(pod) = self.by_uid.get(uid) {
            return Some(Found::Live(pod));
        }
        self.departed.find_by_uid(uid, at).map(|(pod, since)| Found::Departed { pod, since })
    }

    /// The node with this name.
    pub fn find_node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Who has this address, at `at`. Pods that went are asked last, and only where nobody live has it.
    pub fn find_owner(&self, ip: IpAddr, at: Timestamp) -> AddressOwner<'_> {
        let ip = normalise(ip);
        match self.addresses.find(ip) {
            Some(Holder::Pod(pod)) => return AddressOwner::Pod(Found::Live(pod)),
            Some(Holder::Node(node)) => return AddressOwner::Node(node),
            Some(Holder::Ambiguous(reason)) => return AddressOwner::Ambiguous(reason),
            None => {}
        }
        if let Some((pod, since)) = self.departed.find_by_address(ip, at) {
            return AddressOwner::Pod(Found::Departed { pod, since });
        }
        self.find_range(ip).map_or(AddressOwner::Nobody, AddressOwner::Unassigned)
    }

    /// The pod with this address, if a pod and nobody else has it.
    pub fn find_pod_by_address(&self, ip: IpAddr, at: Timestamp) -> Option<Found<'_>> {
        match self.find_owner(ip, at) {
            AddressOwner::Pod(found) => Some(found),
            _ => None,
        }
    }

    /// The narrowest range of the cluster that holds this address.
    pub fn find_range(&self, ip: IpAddr) -> Option<&Range> {
        let ip = normalise(ip);
        let holding = self.ranges.iter().filter(|range| range.block.contains(&ip));
        holding.max_by_key(|range| range.block.prefix_len())
    }

    /// The endpoint at an address, for an opener's side: service addresses do not open connections.
    pub fn resolve_address(&self, ip: IpAddr, at: Timestamp) -> Endpoint {
        let ip = normalise(ip);
        // Linux takes the unspecified address for the loopback.
        if ip.is_loopback() || ip.is_unspecified() {
            return Endpoint::Local;
        }
        match self.find_owner(ip, at) {
            AddressOwner::Pod(found) => Endpoint::Pod(Arc::clone(found.pod())),
            AddressOwner::Node(node) => Endpoint::Node(Arc::clone(node)),
            AddressOwner::Ambiguous(reason) => unknown(reason.to_owned()),
            AddressOwner::Unassigned(range) => {
                unknown(format!("{ip} lies in {}, a range of the cluster, and nobody has it", range.block))
            }
            AddressOwner::Nobody => Endpoint::External(External { network: self.find_network(ip) }),
        }
    }

    /// What stands behind an address and port that were dialed.
    pub fn resolve(&self, ip: IpAddr, port: u16, protocol: Protocol, at: Timestamp) -> Target {
        let ip = normalise(ip);
        if let Some(target) = self.services.find(ip, port, protocol) {
            return target;
        }
        match self.addresses.find(ip) {
            Some(Holder::Node(_)) => self.services.find_node_port(ip, port, protocol),
            Some(Holder::Pod(_) | Holder::Ambiguous(_)) => None,
            None => self.services.find_by_address(ip),
        }
        .unwrap_or_else(|| Target::Endpoint(self.resolve_address(ip, at)))
    }

    /// The addresses of a service, in order; none where it is not there or has none.
    pub fn service_addresses(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        self.services.addresses_of(namespace, name)
    }

    /// Namespace and name of every service that has an address, in no order, once an address.
    pub fn service_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.names()
    }

    fn find_network(&self, ip: IpAddr) -> Option<String> {
        let holding = self.networks.iter().filter(|(block, _)| block.contains(&ip));
        holding.max_by_key(|(block, _)| block.prefix_len()).map(|(_, name)| name.clone())
    }
}

fn unknown(reason: String) -> Endpoint {
    Endpoint::Unknown { reason, pod_uid: None }
}
