//! Who is who: pods, nodes and services by uid, name and address, as of one moment.
//!
//! An `Inventory` is copied and the copy changed: the two share whatever did not change. What is kept of pods
//! that went goes along. It leaves reading objects to the cluster room, and verdicts to the policy room. Where an
//! address could mean two things, the answer is unknown with the reason, never a guess.

mod address;
mod answer;
mod builder;
#[cfg(test)]
mod change_tests;
mod departed;
mod keys;
mod names;
mod neighbours;
mod ranges;
mod scope;
mod services;
#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerError, read as read_answer};
pub use builder::Builder;
pub use departed::Keep;
pub use names::Names;
pub use scope::Scope;
pub use services::{ServicePort, ServiceSpec, Slice, SliceEndpoint, SlicePort};

use crate::model::shared::Sharded;
use crate::model::{
    Backend, Endpoint, External, Node, Pod, Protocol, ServiceNote, Target, normalise, normalise_block,
};
use address::{AddressIndex, Holder, Owner};
use departed::{Departed, addresses, identity};
use foldhash::HashSet;
use ipnet::IpNet;
use jiff::Timestamp;
use keys::{ByName, ByUid, Named};
use neighbours::Neighbours;
use ranges::Blocks;
use services::ServiceIndex;
use smallvec::SmallVec;
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
    /// Who is read of the cluster.
    pub scope: Scope,
    /// How much is kept of pods that went.
    pub keep: Keep,
}

/// A pod that was found, and whether it still is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    /// In the cluster now.
    Live(&'a Arc<Pod>),
    /// It went, or left the address that was asked for.
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
    /// It changed hands, and whose it was then cannot be told; the reason names who comes into question.
    Unsure(String),
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
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    settings: Arc<Settings>,
    pods: Sharded<ByName, ()>,
    by_uid: Sharded<ByUid, ()>,
    /// Mirrors of static pods, by the uid that they tell.
    by_static_uid: Sharded<Arc<str>, SmallVec<[Arc<Pod>; 1]>>,
    nodes: Sharded<String, KnownNode>,
    addresses: AddressIndex,
    services: ServiceIndex,
    departed: Departed,
    ranges: Arc<Blocks<Range>>,
    /// Those that no node tells.
    told_ranges: Arc<[IpNet]>,
    /// Nodes or ranges have changed since the ranges were put together.
    outdated: bool,
    /// Where pods are that no range holds.
    neighbours: Arc<Neighbours>,
    networks: Arc<Blocks<Arc<str>>>,
    /// Addresses that changed hands since services were last asked about theirs.
    changed: HashSet<IpAddr>,
    /// Why it may lack somebody: an address that nobody here has is then unknown.
    incomplete: Option<Arc<str>>,
}

/// A node, and what is told of it beside its object.
#[derive(Clone, Debug, Default)]
struct KnownNode {
    /// As its object has it; absent where it was only heard of.
    object: Option<Arc<Node>>,
    /// Its pods that use its network, by namespace and name.
    hosted: Arc<Vec<Arc<Pod>>>,
    /// The node with all its addresses.
    node: Arc<Node>,
}

impl Inventory {
    /// Starts an empty one.
    pub fn builder(settings: &Settings) -> Builder {
        Builder::new(settings.clone())
    }

    /// One with nobody in it.
    fn empty(settings: &Arc<Settings>, now: Timestamp) -> Self {
        let mut inventory = Self {
            networks: Arc::new(
                settings.networks.iter().map(|(block, name)| (*block, Arc::from(&**name))).collect(),
            ),
            addresses: AddressIndex::new(settings.keep),
            departed: Departed::new(settings.keep),
            settings: Arc::clone(settings),
            ..Self::default()
        };
        settings.node_addresses.iter().for_each(|(name, _)| inventory.show_node(name, now));
        inventory
    }

    /// Puts a pod in the place of the one of its name, if there is one: another one by its uid departed at
    /// `now`.
    pub fn put_pod(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        self.set_pod(pod, now);
        self.settle(now);
    }

    /// Removes the pod of this name: it departed at `now`.
    pub fn remove_pod(&mut self, namespace: &str, name: &str, now: Timestamp) {
        if let Some(pod) = self.find_pod(namespace, name).cloned() {
            self.take_pod_out(&pod, None, now);
            self.settle(now);
        }
    }

    /// The pod of this name.
    pub fn find_pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.pods.get_key(&Named((namespace, name))).map(|ByName(pod)| pod)
    }

    /// Puts a node in the place of the one of its name. Its ranges count from [`Self::settle_ranges`] on.
    pub fn put_node(&mut self, node: Node, now: Timestamp) {
        let name = node.name.clone();
        self.change_node(&name, Some(node), now);
    }

    /// The node's object went: its addresses stay those that its pods and the settings tell.
    pub fn remove_node(&mut self, name: &str, now: Timestamp) {
        self.change_node(name, None, now);
    }

    fn change_node(&mut self, name: &str, node: Option<Node>, now: Timestamp) {
        let cidrs_of = |inventory: &Self| inventory.find_node(name).map(|node| node.pod_cidrs.clone());
        let before = cidrs_of(self).unwrap_or_default();
        self.set_node(name, node, now);
        self.settle(now);
        self.outdated |= cidrs_of(self).unwrap_or_default() != before;
    }

    /// The ranges of addresses that no node tells; they count from [`Self::settle_ranges`] on.
    pub fn set_ranges(&mut self, ranges: Vec<IpNet>) {
        if *self.told_ranges != *ranges {
            self.told_ranges = ranges.into();
            self.outdated = true;
        }
    }

    /// Puts the ranges together anew, where nodes or ranges have changed: once for all that changed at a time.
    pub fn settle_ranges(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.outdated) {
            self.put_ranges_together();
            self.ask_all(now);
        }
    }

    /// Puts a service that has addresses in the place of the one of its name.
    pub fn put_service(&mut self, spec: Arc<ServiceSpec>, now: Timestamp) {
        self.change_services(now, |services, who| services.put_service(spec, who));
    }

    /// Removes the service of this name.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.services.remove_service(namespace, name);
    }

    /// Puts an EndpointSlice in the place of the one of its name.
    pub fn put_slice(&mut self, slice: Arc<Slice>, now: Timestamp) {
        self.change_services(now, |services, who| services.put_slice(slice, who));
    }

    /// Removes the EndpointSlice of this name.
    pub fn remove_slice(&mut self, namespace: &str, name: &str, now: Timestamp) {
        self.change_services(now, |services, who| services.remove_slice(namespace, name, who));
    }

    /// Says why somebody may be missing in it, or that nobody is.
    pub fn set_incomplete(&mut self, why: Option<Arc<str>>, now: Timestamp) {
        if self.incomplete != why {
            self.incomplete = why;
            self.ask_all(now);
        }
    }

    /// Why somebody may be missing.
    pub fn incomplete(&self) -> Option<&Arc<str>> {
        self.incomplete.as_ref()
    }

    fn ask_all(&mut self, now: Timestamp) {
        self.change_services(now, |services, who| services.ask_all(who));
    }

    fn change_services<F>(&mut self, now: Timestamp, change: F)
    where
        F: FnOnce(&mut ServiceIndex, &dyn Fn(IpAddr, Option<&str>) -> Endpoint),
    {
        let mut services = std::mem::take(&mut self.services);
        change(&mut services, &|ip, uid| self.backend(ip, uid, now));
        self.services = services;
    }

    /// Asks again who stands behind services at the addresses that changed hands.
    fn settle(&mut self, now: Timestamp) {
        self.expire(now);
        let mut services = std::mem::take(&mut self.services);
        for ip in std::mem::take(&mut self.changed) {
            services.ask_again(ip, &|ip, uid| self.backend(ip, uid, now));
        }
        self.services = services;
    }

    /// Forgets what is beyond the bounds at `now`.
    fn expire(&mut self, now: Timestamp) {
        self.departed.expire(now, &mut self.changed);
        self.addresses.expire(now, &mut self.changed);
    }

    fn set_pod(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        let before = self.find_pod(&pod.namespace, &pod.name).cloned();
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, pod)) {
            return;
        }
        let before = before.filter(|before| {
            let is_same = identity(before) == identity(pod);
            self.take_pod_out(before, is_same.then_some(pod), now);
            is_same
        });
        self.departed.remove(pod, &mut self.changed);
        self.pods.insert(ByName(Arc::clone(pod)), ());
        if let Some(uid) = uid(pod) {
            // The key is the pod itself: that of before would stay.
            self.by_uid.remove(uid);
            self.by_uid.insert(ByUid(Arc::clone(pod)), ());
        }
        if let Some(uid) = static_uid(pod)
            && let Some(mirrors) = self.by_static_uid.entry(Arc::clone(uid), SmallVec::new)
        {
            mirrors.push(Arc::clone(pod));
        }
        if before.is_none() {
            for ip in addresses(pod) {
                self.addresses.claim(*ip, &Holder::Pod(Arc::clone(pod)), now);
            }
        }
        self.note_neighbours(pod, Neighbours::add);
        self.changed.extend(addresses(pod).iter().copied().map(normalise));
        if pod.host_network && !pod.terminated {
            self.host(pod, now, |hosted| {
                hosted.push(Arc::clone(pod));
                hosted
                    .sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
            });
        }
    }

    /// Takes a pod out, which departed at `now`, unless the same one follows: that one has its addresses then.
    fn take_pod_out(&mut self, pod: &Arc<Pod>, after: Option<&Arc<Pod>>, now: Timestamp) {
        self.pods.remove(&Named((&pod.namespace, &pod.name)));
        if let Some(uid) = uid(pod)
            && self.by_uid.get_key(uid).is_some_and(|ByUid(other)| Arc::ptr_eq(other, pod))
        {
            self.by_uid.remove(uid);
        }
        if let Some(uid) = static_uid(pod)
            && let Some(mirrors) = self.by_static_uid.get_mut(&**uid)
        {
            mirrors.retain(|other| !Arc::ptr_eq(other, pod));
            if mirrors.is_empty() {
                self.by_static_uid.remove(&**uid);
            }
        }
        self.note_neighbours(pod, Neighbours::remove);
        let holder = Holder::Pod(Arc::clone(pod));
        let held = (&holder, addresses(pod));
        match after {
            Some(after) => {
                let holder = Holder::Pod(Arc::clone(after));
                self.addresses.change(held, (&holder, addresses(after)), now);
            }
            None => {
                self.departed.put(pod, now, &mut self.changed);
                self.addresses.change(held, (&holder, &[]), now);
            }
        }
        self.changed.extend(addresses(pod).iter().copied().map(normalise));
        if pod.host_network && !pod.terminated {
            self.host(pod, now, |hosted| hosted.retain(|other| !Arc::ptr_eq(other, pod)));
        }
    }

    fn host(&mut self, pod: &Arc<Pod>, now: Timestamp, change: impl FnOnce(&mut Vec<Arc<Pod>>)) {
        let Some(name) = &pod.node else { return };
        if let Some(known) = self.nodes.entry(name.to_string(), KnownNode::default) {
            change(Arc::make_mut(&mut known.hosted));
        }
        self.show_node(name, now);
    }

    fn set_node(&mut self, name: &str, node: Option<Node>, now: Timestamp) {
        let before = self.nodes.get(name).and_then(|known| known.object.as_deref());
        if before == node.as_ref() {
            return;
        }
        if let Some(known) = self.nodes.entry(name.to_owned(), KnownNode::default) {
            known.object = node.map(Arc::new);
        }
        self.show_node(name, now);
    }

    /// A node has the addresses of its object, of its pods that use its network, and those that the settings
    /// tell.
    fn show_node(&mut self, name: &str, now: Timestamp) {
        let told = self.settings.node_addresses.iter().filter(|(of, _)| of == name);
        let told: Vec<IpAddr> = told.flat_map(|(_, ips)| ips.iter().copied()).collect();
        let is_told = self.settings.node_addresses.iter().any(|(of, _)| of == name);
        let known = self.nodes.get(name).cloned().unwrap_or_default();
        let bare = || Node { name: name.to_owned(), ..Node::default() };
        let mut node = known.object.as_deref().cloned().unwrap_or_else(bare);
        let hosted = known.hosted.iter().flat_map(|pod| pod.ips.iter().copied());
        for ip in told.into_iter().chain(hosted).map(normalise) {
            if !node.ips.contains(&ip) && !ip.is_loopback() {
                node.ips.push(ip);
            }
        }
        let is_there = known.object.is_some() || is_told || !known.hosted.is_empty();
        if is_there && *known.node == node {
            return;
        }
        let node = Arc::new(if is_there { node } else { Node::default() });
        let before = (&Holder::Node(Arc::clone(&known.node)), &*known.node.ips);
        self.addresses.change(before, (&Holder::Node(Arc::clone(&node)), &node.ips), now);
        self.changed.extend(known.node.ips.iter().chain(&node.ips).copied().map(normalise));
        match is_there {
            true => drop(self.nodes.insert(name.to_owned(), KnownNode { node, ..known })),
            false => drop(self.nodes.remove(name)),
        }
    }

    fn put_ranges_together(&mut self) {
        // Of two nodes that claim one range the last by name counts, today as tomorrow.
        let mut nodes: Vec<&Arc<Node>> = self.nodes().collect();
        nodes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let of_nodes = nodes.into_iter().flat_map(|node| {
            let range = |block| Range { block: normalise_block(block), node: Some(node.name.clone()) };
            node.pod_cidrs.iter().copied().map(range)
        });
        let told = self.told_ranges.iter().chain(&self.settings.cluster_ranges);
        let told = told.map(|block| Range { block: normalise_block(*block), node: None });
        let ranges = of_nodes.chain(told).map(|range| (range.block, range)).collect();
        self.ranges = Arc::new(ranges);
        let mut neighbours = Neighbours::default();
        let all = self.pods.iter().flat_map(|(ByName(pod), ())| addresses(pod));
        all.filter(|ip| self.ranges.find(**ip).is_none()).for_each(|ip| neighbours.add(*ip));
        self.neighbours = Arc::new(neighbours);
    }

    /// Notes that addresses of a pod came (or went).
    fn note_neighbours(&mut self, pod: &Pod, note: fn(&mut Neighbours, IpAddr)) {
        for ip in addresses(pod) {
            if self.ranges.find(*ip).is_none() {
                note(Arc::make_mut(&mut self.neighbours), *ip);
            }
        }
    }

    /// The pod that a slice refers to, if it has the address, or had it and nobody else has; else whoever has it.
    fn backend(&self, ip: IpAddr, uid: Option<&str>, now: Timestamp) -> Endpoint {
        let referred = uid.and_then(|uid| self.by_uid.get_key(uid)).map(|ByUid(pod)| pod);
        let is_its = |pod: &&Arc<Pod>| addresses(pod).contains(&ip);
        match (referred.filter(is_its), self.addresses.find(ip)) {
            (Some(pod), _) => Endpoint::Pod(Arc::clone(pod)),
            (None, Some(Holder::Ambiguous(reason))) => {
                Endpoint::Unknown { reason: reason.to_string(), pod_uid: uid.map(str::to_owned) }
            }
            (None, Some(_)) => self.resolve_address(ip, now),
            (None, None) => {
                let departed = uid.and_then(|uid| self.departed.find_by_uid(uid, now));
                match departed.map(|(pod, _)| pod).filter(is_its) {
                    Some(pod) => Endpoint::Pod(Arc::clone(pod)),
                    None => self.resolve_address(ip, now),
                }
            }
        }
    }

    /// All live pods, terminated ones included, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().map(|(ByName(pod), ())| pod)
    }

    /// How many there are.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().map(|(_, known)| &known.node)
    }

    /// How many pods that went are kept.
    pub fn departed_count(&self) -> usize {
        self.departed.len()
    }

    /// The pod with this uid, at `at`: one that went too long before is not found.
    pub fn find_pod_by_uid(&self, uid: &str, at: Timestamp) -> Option<Found<'_>> {
        if let Some(ByUid(pod)) = self.by_uid.get_key(uid) {
            return Some(Found::Live(pod));
        }
        if let Some((pod, since)) = self.departed.find_by_uid(uid, at) {
            return Some(Found::Departed { pod, since });
        }
        // Of two that tell one uid either could be wrong.
        match self.by_static_uid.get(uid).map(SmallVec::as_slice) {
            Some([mirror]) => Some(Found::Live(mirror)),
            _ => None,
        }
    }

    /// The node with this name.
    pub fn find_node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name).map(|known| &known.node)
    }

    /// Who had this address at `at`.
    pub fn find_owner(&self, ip: IpAddr, at: Timestamp) -> AddressOwner<'_> {
        let ip = normalise(ip);
        let (holder, since) = match self.addresses.find_at(ip, at) {
            Owner::Now(holder) => (holder, None),
            Owner::Then(holder, since) => (holder, Some(since)),
            Owner::Unsure(reason) => return AddressOwner::Unsure(reason),
            Owner::Nobody => {
                return self.find_range(ip).map_or(AddressOwner::Nobody, AddressOwner::Unassigned);
            }
        };
        match holder {
            Holder::Pod(pod) => AddressOwner::Pod(found(pod, since)),
            Holder::Node(node) => AddressOwner::Node(node),
            Holder::Ambiguous(reason) => AddressOwner::Ambiguous(reason),
        }
    }

    /// The pod that had this address at `at`, if a pod and nobody else had it.
    pub fn find_pod_by_address(&self, ip: IpAddr, at: Timestamp) -> Option<Found<'_>> {
        match self.find_owner(ip, at) {
            AddressOwner::Pod(found) => Some(found),
            _ => None,
        }
    }

    /// The pod that has this address at `now`, or had it last where nobody has. Not a name for it: whoever will have
    /// it may not be told yet.
    pub fn find_last_pod(&self, ip: IpAddr, now: Timestamp) -> Option<Found<'_>> {
        let ip = normalise(ip);
        let (holder, since) = match self.addresses.find(ip) {
            Some(holder) => (holder, None),
            None => self.addresses.find_last(ip, now).map(|(holder, since)| (holder, Some(since)))?,
        };
        match holder {
            Holder::Pod(pod) => Some(found(pod, since)),
            Holder::Node(_) | Holder::Ambiguous(_) => None,
        }
    }

    /// The narrowest range of the cluster that holds this address.
    pub fn find_range(&self, ip: IpAddr) -> Option<&Range> {
        self.ranges.find(ip)
    }

    /// The ranges of the cluster, in no order.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.blocks()
    }

    /// Whether an address that nobody has may be a new pod's all the same: pods are near it, in no range that is told.
    pub fn may_be_a_pods(&self, ip: IpAddr) -> bool {
        self.neighbours.are_near(ip)
    }

    /// The endpoint at an address at `at`, for an opener's side: service addresses do not open connections.
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
            AddressOwner::Unsure(reason) => unknown(reason),
            AddressOwner::Unassigned(_) | AddressOwner::Nobody if self.incomplete.is_some() => {
                unknown(self.incomplete.as_deref().unwrap_or_default().to_owned())
            }
            AddressOwner::Unassigned(_) | AddressOwner::Nobody if self.may_be_elsewhere(ip) => {
                unknown(self.out_of_scope(ip))
            }
            AddressOwner::Unassigned(range) => {
                unknown(format!("{ip} lies in {}, a range of the cluster, and nobody has it", range.block))
            }
            AddressOwner::Nobody => Endpoint::External(External { network: self.find_network(ip) }),
        }
    }

    /// What stands behind an address and port that were dialed.
    pub fn resolve(&self, ip: IpAddr, port: u16, protocol: Protocol, at: Timestamp) -> Target {
        let ip = normalise(ip);
        let service = self.find_service(ip, port, protocol);
        service.unwrap_or_else(|| Target::Endpoint(self.resolve_address(ip, at)))
    }

    /// Whether a connection there is one to a service.
    pub fn is_service(&self, ip: IpAddr, port: u16, protocol: Protocol) -> bool {
        self.find_service(normalise(ip), port, protocol).is_some()
    }

    fn find_service(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        let mut target = self.find_service_as_read(ip, port, protocol)?;
        if let (Target::Service { note, .. }, true) = (&mut target, self.incomplete.is_some()) {
            // Its endpoints may be among what was not read.
            *note = note.filter(|note| *note != ServiceNote::NoEndpoints);
        }
        Some(target)
    }

    fn find_service_as_read(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        if let Some(target) = self.services.find(ip, port, protocol) {
            return Some(target);
        }
        match self.addresses.find(ip) {
            Some(Holder::Node(_)) => self.services.find_node_port(ip, port, protocol),
            Some(Holder::Pod(_) | Holder::Ambiguous(_)) => None,
            None => self.services.find_by_address(ip),
        }
    }

    /// The addresses of a service, in order; none where it is not there or has none.
    pub fn service_addresses(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        self.services.addresses_of(namespace, name)
    }

    /// What stands behind a port of a service, of both families.
    pub fn service_backends(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
        protocol: Protocol,
        at: Timestamp,
    ) -> Vec<Backend> {
        let mut found: Vec<Backend> = Vec::new();
        for ip in self.service_addresses(namespace, name) {
            if let Target::Service { service, backends, .. } = self.resolve(ip, port, protocol, at)
                && (&*service.namespace, &*service.name) == (namespace, name)
            {
                found.extend(
                    backends.iter().filter(|backend| !found.contains(backend)).cloned().collect::<Vec<_>>(),
                );
            }
        }
        found
    }

    /// Namespace and name of every service that has an address, in no order, once an address.
    pub fn service_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.names()
    }

    fn find_network(&self, ip: IpAddr) -> Option<Arc<str>> {
        self.networks.find(ip).cloned()
    }
}

fn found(pod: &Arc<Pod>, since: Option<Timestamp>) -> Found<'_> {
    match since {
        None => Found::Live(pod),
        Some(since) => Found::Departed { pod, since },
    }
}

/// Its uid; one written by hand has none.
fn uid(pod: &Pod) -> Option<&str> {
    Some(&*pod.uid).filter(|uid| !uid.is_empty())
}

fn static_uid(pod: &Pod) -> Option<&Arc<str>> {
    uid(pod).and(pod.static_uid.as_ref())
}

fn unknown(reason: String) -> Endpoint {
    Endpoint::Unknown { reason, pod_uid: None }
}
