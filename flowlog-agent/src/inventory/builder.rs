//! Builds an `Inventory`: collects the objects, then fills every index once.

use super::address::{AddressIndex, Holder};
use super::departed::Departed;
use super::services::{ServiceIndex, ServiceSpec, Slice};
use super::{Inventory, Range, Settings};
use crate::model::{Endpoint, Node, Pod, normalise, normalise_block};
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Collects what an `Inventory` is built from.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Settings,
    pods: Vec<Arc<Pod>>,
    nodes: BTreeMap<String, Node>,
    services: Vec<ServiceSpec>,
    slices: Vec<Slice>,
    ranges: Vec<IpNet>,
}

impl Builder {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Adds a pod.
    pub fn pod(mut self, pod: impl Into<Arc<Pod>>) -> Self {
        self.pods.push(pod.into());
        self
    }

    /// Adds a node.
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.insert(node.name.clone(), node);
        self
    }

    /// Adds a service that has addresses.
    pub fn service(mut self, service: ServiceSpec) -> Self {
        self.services.push(service);
        self
    }

    /// Adds an EndpointSlice.
    pub fn slice(mut self, slice: Slice) -> Self {
        self.slices.push(slice);
        self
    }

    /// Adds a range of addresses that belongs to the cluster.
    pub fn range(mut self, block: IpNet) -> Self {
        self.ranges.push(block);
        self
    }

    /// Builds it. `before` is the one that it follows: its pods that are not here any more departed at `now`.
    pub fn build(mut self, before: Option<&Inventory>, now: Timestamp) -> Inventory {
        self.pods.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        self.add_node_addresses();
        let ranges = self.ranges();
        let nodes: Vec<Arc<Node>> = self.nodes.into_values().map(Arc::new).collect();
        let by_uid = by_uid(&self.pods);
        let departed = departed(&self.pods, before, &self.settings, now);
        let addresses = AddressIndex::of(&nodes, &self.pods);
        let mut inventory = Inventory {
            by_uid,
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            addresses,
            services: ServiceIndex::default(),
            departed,
            ranges,
            networks: self.settings.networks,
            pods: self.pods,
        };
        inventory.services =
            ServiceIndex::of(&self.services, &self.slices, |ip, uid| backend(&inventory, ip, uid, now));
        inventory
    }

    /// Nodes have the addresses of their host-network pods and those that the settings tell.
    fn add_node_addresses(&mut self) {
        let told = std::mem::take(&mut self.settings.node_addresses);
        let hosted: Vec<(String, Vec<IpAddr>)> = (self.pods.iter())
            .filter(|pod| pod.host_network && !pod.terminated)
            .filter_map(|pod| Some((pod.node.clone()?, pod.ips.clone())))
            .collect();
        for (name, ips) in told.into_iter().chain(hosted) {
            let node = self
                .nodes
                .entry(name)
                .or_insert_with_key(|name| Node { name: name.clone(), ..Node::default() });
            for ip in ips.into_iter().map(normalise) {
                if !node.ips.contains(&ip) && !ip.is_loopback() {
                    node.ips.push(ip);
                }
            }
        }
    }

    fn ranges(&self) -> Vec<Range> {
        let of_nodes = self.nodes.values().flat_map(|node| {
            let range = |block| Range { block: normalise_block(block), node: Some(node.name.clone()) };
            node.pod_cidrs.iter().copied().map(range)
        });
        let told = self.ranges.iter().chain(&self.settings.cluster_ranges);
        of_nodes.chain(told.map(|block| Range { block: normalise_block(*block), node: None })).collect()
    }
}

fn by_uid(pods: &[Arc<Pod>]) -> HashMap<String, Arc<Pod>> {
    let mut by_uid = HashMap::with_capacity(pods.len());
    for pod in pods.iter().filter(|pod| !pod.uid.is_empty()) {
        by_uid.insert(pod.uid.clone(), Arc::clone(pod));
        if let Some(uid) = &pod.static_uid {
            by_uid.insert(uid.clone(), Arc::clone(pod));
        }
    }
    by_uid
}

/// A pod is its uid; one written by hand without a uid is its name.
fn identity(pod: &Pod) -> (&str, &str, &str) {
    if pod.uid.is_empty() { (&pod.namespace, &pod.name, "") } else { ("", "", &pod.uid) }
}

fn departed(pods: &[Arc<Pod>], before: Option<&Inventory>, settings: &Settings, now: Timestamp) -> Departed {
    let mut live = HashSet::with_capacity(pods.len());
    live.extend(pods.iter().map(|pod| identity(pod)));
    let is_live = |pod: &Pod| live.contains(&identity(pod));
    let went = before.into_iter().flat_map(Inventory::pods);
    Departed::carry(before.map(|before| &before.departed), went, is_live, settings.keep, now)
}

/// The pod that the slice refers to, if it has the address; else whoever has it.
fn backend(inventory: &Inventory, ip: IpAddr, uid: Option<&str>, now: Timestamp) -> Endpoint {
    let referred = uid.and_then(|uid| inventory.by_uid.get(uid));
    match referred {
        Some(pod) if !pod.host_network && !pod.terminated && pod.ips.contains(&ip) => {
            Endpoint::Pod(Arc::clone(pod))
        }
        _ => match inventory.addresses.find(ip) {
            Some(Holder::Ambiguous(reason)) => {
                Endpoint::Unknown { reason: reason.to_string(), pod_uid: uid.map(str::to_owned) }
            }
            _ => inventory.resolve_address(ip, now),
        },
    }
}
