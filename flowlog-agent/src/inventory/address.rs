//! Addresses as keys: who holds them.

use crate::model::{Node, Pod, normalise};
use foldhash::{HashMap, HashMapExt};
use std::net::IpAddr;
use std::sync::Arc;

/// Who holds an address.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    /// A pod with an address of its own.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// More than one: naming either could be wrong.
    Ambiguous(Arc<str>),
}

/// Address → holder, for what lives now.
#[derive(Debug, Default)]
pub(super) struct AddressIndex {
    holders: HashMap<IpAddr, Holder>,
}

impl AddressIndex {
    pub(super) fn of(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Self {
        let mut index = Self { holders: HashMap::with_capacity(nodes.len() + pods.len()) };
        for node in nodes {
            for ip in &node.ips {
                index.claim(*ip, Holder::Node(Arc::clone(node)));
            }
        }
        for pod in pods.iter().filter(|pod| !pod.host_network && !pod.terminated) {
            for ip in &pod.ips {
                index.claim(*ip, Holder::Pod(Arc::clone(pod)));
            }
        }
        index
    }

    fn claim(&mut self, ip: IpAddr, holder: Holder) {
        let ip = normalise(ip);
        let settled = match self.holders.remove(&ip) {
            Some(other) if !same(&other, &holder) => Holder::Ambiguous(both(ip, &other, &holder)),
            _ => holder,
        };
        self.holders.insert(ip, settled);
    }

    pub(super) fn find(&self, ip: IpAddr) -> Option<&Holder> {
        self.holders.get(&ip)
    }
}

fn same(one: &Holder, other: &Holder) -> bool {
    match (one, other) {
        (Holder::Pod(one), Holder::Pod(other)) => Arc::ptr_eq(one, other),
        (Holder::Node(one), Holder::Node(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

fn both(ip: IpAddr, one: &Holder, other: &Holder) -> Arc<str> {
    match one {
        Holder::Ambiguous(reason) => format!("{reason} and {}", describe(other)).into(),
        _ => format!("{ip} is held by {} and {}", describe(one), describe(other)).into(),
    }
}

fn describe(holder: &Holder) -> String {
    match holder {
        Holder::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Holder::Node(node) => format!("node {}", node.name),
        Holder::Ambiguous(reason) => reason.to_string(),
    }
}
