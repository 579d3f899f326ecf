//! The next `Inventory`, from all objects of a moment: what differs from the one before is changed in it.

use super::services::{ServiceIndex, ServiceSpec, Slice};
use super::{Inventory, Settings};
use crate::model::{Node, Pod};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
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
        let mut next = match before {
            Some(before) => before.clone(),
            None => Inventory::empty(&Arc::new(self.settings), now),
        };
        next.told_ranges = self.ranges.into();
        let names: BTreeSet<&str> = self.nodes.keys().map(String::as_str).collect();
        let gone = before.into_iter().flat_map(Inventory::nodes).map(|node| node.name.clone());
        let gone: Vec<String> = gone.filter(|name| !names.contains(&**name)).collect();
        gone.iter().for_each(|name| next.set_node(name, None, now));
        self.nodes.into_iter().for_each(|(name, node)| next.set_node(&name, Some(node), now));
        let names: BTreeSet<(&str, &str)> =
            self.pods.iter().map(|pod| (&*pod.namespace, &*pod.name)).collect();
        let mut gone: Vec<&Arc<Pod>> = (before.into_iter().flat_map(Inventory::pods))
            .filter(|pod| !names.contains(&(&*pod.namespace, &*pod.name)))
            .collect();
        gone.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        for pod in gone {
            next.take_pod_out(pod, None, now);
        }
        self.pods.iter().for_each(|pod| next.set_pod(pod, now));
        next.expire(now);
        next.outdated = false;
        next.put_ranges_together();
        next.services = ServiceIndex::of(self.services, self.slices, &|ip, uid| next.backend(ip, uid, now));
        next.changed.clear();
        next
    }
}
