//! Addresses as keys: who holds them.

use crate::model::shared::Sharded;
use crate::model::{Node, Pod, normalise};
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

/// An address, and all who claim it.
#[derive(Clone, Debug)]
enum Held {
    One(Holder),
    /// In order; what is shown names them all.
    Several {
        claims: Vec<Holder>,
        shown: Holder,
    },
}

/// Address → holder, for what lives now.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressIndex {
    holders: Sharded<IpAddr, Held>,
}

impl AddressIndex {
    pub(super) fn claim(&mut self, ip: IpAddr, holder: Holder) {
        let ip = normalise(ip);
        let mut claims = self.claims(ip);
        if !claims.iter().any(|other| same(other, &holder)) {
            claims.push(holder);
            self.settle(ip, claims);
        }
    }

    pub(super) fn release(&mut self, ip: IpAddr, holder: &Holder) {
        let ip = normalise(ip);
        let mut claims = self.claims(ip);
        claims.retain(|other| !same(other, holder));
        self.settle(ip, claims);
    }

    fn claims(&self, ip: IpAddr) -> Vec<Holder> {
        match self.holders.get(&ip) {
            None => Vec::new(),
            Some(Held::One(holder)) => vec![holder.clone()],
            Some(Held::Several { claims, .. }) => claims.clone(),
        }
    }

    fn settle(&mut self, ip: IpAddr, mut claims: Vec<Holder>) {
        match claims.len() {
            0 => drop(self.holders.remove(&ip)),
            1 => drop(claims.pop().and_then(|holder| self.holders.insert(ip, Held::One(holder)))),
            _ => {
                claims.sort_by_cached_key(|holder| (matches!(holder, Holder::Pod(_)), describe(holder)));
                let names: Vec<String> = claims.iter().map(describe).collect();
                let shown = Holder::Ambiguous(format!("{ip} is held by {}", names.join(" and ")).into());
                self.holders.insert(ip, Held::Several { claims, shown });
            }
        }
    }

    pub(super) fn find(&self, ip: IpAddr) -> Option<&Holder> {
        match self.holders.get(&ip)? {
            Held::One(holder) | Held::Several { shown: holder, .. } => Some(holder),
        }
    }
}

fn same(one: &Holder, other: &Holder) -> bool {
    match (one, other) {
        (Holder::Pod(one), Holder::Pod(other)) => Arc::ptr_eq(one, other),
        (Holder::Node(one), Holder::Node(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

fn describe(holder: &Holder) -> String {
    match holder {
        Holder::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Holder::Node(node) => format!("node {}", node.name),
        Holder::Ambiguous(reason) => reason.to_string(),
    }
}
