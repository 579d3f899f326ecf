//! Attribute and resolve: an attempt's addresses and cgroup become its two ends.

use super::correlate::{Origin, Surroundings, Tried};
use super::repeats::Repeats;
use crate::capture::{Cgroups, Owner};
use crate::cluster::Snapshot;
use crate::inventory::{self, AddressOwner, Found};
use crate::model::{Attribution, Dialed, Direction, Endpoint, Names, Node, Party, Pod, Protocol, Target};
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the ends are looked up in.
pub(super) struct View<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) cgroups: &'a Cgroups,
    /// This node.
    pub(super) node: &'a Arc<Node>,
    /// Processes outside pods are recorded.
    pub(super) host_processes: bool,
    pub(super) now: Timestamp,
    /// What is counted in the kernel.
    pub(super) repeats: &'a Repeats,
    /// Names by which pods know addresses.
    pub(super) names: &'a inventory::Names,
}

/// Both ends of an attempt.
pub(super) struct Ends {
    pub(super) direction: Direction,
    pub(super) source: Party,
    pub(super) destination: Party,
    pub(super) dialed: Option<Dialed>,
    /// What was dialed, for the verdict.
    pub(super) target: Target,
    /// Name of the local container.
    pub(super) container: Option<Arc<str>>,
    pub(super) attribution: Option<Attribution>,
    /// The far end is outside the cluster, as far as is known, and may turn out to be a new pod in a moment.
    pub(super) may_change: bool,
}

/// The answer about one attempt.
pub(super) enum Attributed {
    /// Both ends, as far as they will ever be known.
    Ends(Box<Ends>),
    /// An end is not known yet, and may be in a moment; what is known now goes along.
    NotYet(Box<Ends>),
    /// Left out by configuration, or not of this node.
    OutOfScope,
}

/// The local end.
enum Local {
    Known { endpoint: Endpoint, container: Option<Arc<str>>, attribution: Option<Attribution> },
    Missing { endpoint: Endpoint, reason: String },
    OutOfScope,
}

impl View<'_> {
    /// Find both ends of an attempt, as they were then: an address may have been another's since.
    pub(super) fn attribute(&self, tried: &Tried) -> Attributed {
        self.attribute_at(tried, tried.time)
    }

    /// The same, as if it were made at `at`: what stands for attempts still to come.
    pub(super) fn attribute_at(&self, tried: &Tried, at: Timestamp) -> Attributed {
        match tried.origin {
            Origin::Opener => self.as_opener(tried, at),
            Origin::Listener => self.as_listener(tried, at),
            Origin::Packet => self.as_packet(tried, at),
        }
    }

    /// Both ends, without asking whose the local one is.
    pub(super) fn with_unknown(&self, tried: &Tried) -> Box<Ends> {
        let local = unknown("left out by configuration".to_owned(), None);
        Box::new(match tried.origin {
            Origin::Opener | Origin::Packet => self.egress((tried, tried.time), local, None, None),
            Origin::Listener => self.ingress((tried, tried.time), local, None, None),
        })
    }

    fn as_opener(&self, tried: &Tried, at: Timestamp) -> Attributed {
        self.with_local((tried, at), Direction::Egress, self.local_by_cgroup(tried.cgroup_id))
    }

    fn as_listener(&self, tried: &Tried, at: Timestamp) -> Attributed {
        self.with_local((tried, at), Direction::Ingress, self.local_by_cgroup(tried.cgroup_id))
    }

    /// Outside of the watched cgroup.
    pub(super) fn is_elsewhere(&self, cgroup_id: Option<u64>) -> bool {
        cgroup_id.and_then(|id| self.cgroups.find(id)) == Some(&Owner::OutOfScope)
    }

    /// By the packet's addresses: a pod of this node opened it, or one was to receive it.
    fn as_packet(&self, tried: &Tried, at: Timestamp) -> Attributed {
        if tried.cgroup_id.is_some() {
            return self.as_opener(tried, at);
        }
        let destination = tried.taken.unwrap_or(tried.requested);
        let opener = tried.opener.and_then(|opener| self.find_local_at(opener, at));
        let (direction, local) = match (opener, self.find_local_at(destination, at)) {
            (Some(local), _) => (Direction::Egress, local),
            (None, Some(local)) => (Direction::Ingress, local),
            (None, None) => return Attributed::OutOfScope,
        };
        self.with_local((tried, at), direction, local)
    }

    /// Whether a pod of this node opened it, so that its attempt passed the hooks.
    pub(super) fn is_opened_here(&self, tried: &Tried) -> bool {
        match tried.origin {
            Origin::Opener => true,
            Origin::Packet if tried.cgroup_id.is_some() => true,
            Origin::Packet | Origin::Listener => {
                tried.opener.is_some_and(|opener| self.find_local_at(opener, tried.time).is_some())
            }
        }
    }

    /// The pod of this node that had this address then. Where that is not sure, one that has it now or had it last
    /// makes it of this node: it is told all the same.
    fn find_local_at(&self, address: SocketAddr, at: Timestamp) -> Option<Local> {
        let inventory = &self.snapshot.inventory;
        let is_here = |pod: &Pod| pod.node.as_deref() == Some(self.node.name.as_str());
        match inventory.find_owner(address.ip(), at) {
            AddressOwner::Pod(found) => is_here(found.pod()).then(|| Local::Known {
                endpoint: Endpoint::Pod(Arc::clone(found.pod())),
                container: None,
                attribution: Some(Attribution::ByAddress),
            }),
            AddressOwner::Unsure(reason) => {
                let last = inventory.find_last_pod(address.ip(), self.now)?;
                is_here(last.pod())
                    .then(|| Local::Missing { endpoint: unknown(reason.clone(), None), reason })
            }
            _ => None,
        }
    }

    fn with_local(&self, (tried, at): (&Tried, Timestamp), direction: Direction, local: Local) -> Attributed {
        let (endpoint, container, attribution, missing) = match local {
            Local::OutOfScope => return Attributed::OutOfScope,
            Local::Known { endpoint, container, attribution } => (endpoint, container, attribution, false),
            Local::Missing { endpoint, reason } => (endpoint, None, Some(Attribution::Failed(reason)), true),
        };
        let mut ends = match direction {
            Direction::Egress => self.egress((tried, at), endpoint, container, attribution),
            Direction::Ingress => self.ingress((tried, at), endpoint, container, attribution),
        };
        if tried.protocol.is_icmp() {
            // What stands there says which message it was (`IcmpMessage`).
            (ends.source.port, ends.destination.port) = (None, None);
        }
        let peer = match direction {
            Direction::Egress => &ends.destination,
            Direction::Ingress => &ends.source,
        };
        ends.may_change = matches!(peer.endpoint, Endpoint::External(_))
            && peer.ip.is_some_and(|ip| self.snapshot.inventory.may_be_a_pods(ip));
        let elsewhere = || peer.ip.is_some_and(|ip| self.snapshot.inventory.is_elsewhere(ip, at));
        let unknown = matches!(peer.endpoint, Endpoint::Unknown { .. }) && !elsewhere();
        // Rules, and a service's endpoints, that were not read yet may be in a moment.
        let unread = self.snapshot.unread.is_some()
            || (tried.taken.is_none() && leads_nobody_knows_where(&ends.target));
        let waits = missing || unknown || unread;
        if waits { Attributed::NotYet(Box::new(ends)) } else { Attributed::Ends(Box::new(ends)) }
    }

    fn egress(
        &self,
        (tried, at): (&Tried, Timestamp),
        endpoint: Endpoint,
        container: Option<Arc<str>>,
        attribution: Option<Attribution>,
    ) -> Ends {
        let requested = tried.requested;
        let inventory = &self.snapshot.inventory;
        let mut target = inventory.resolve(requested.ip(), requested.port(), tried.protocol, at);
        if let (true, Target::Service { service, .. }) = (tried.protocol.is_icmp(), &target) {
            // Whether it answers, and who in its place, is left to the network plugin.
            let reason = format!("the address of service {}/{}", service.namespace, service.name);
            target = Target::Endpoint(unknown(reason, None));
        }
        let (service, note) = match &target {
            Target::Service { service, note, .. } => (Some(Arc::clone(service)), *note),
            Target::Endpoint(_) => (None, None),
        };
        let taken = tried.taken.filter(|taken| *taken != requested);
        let destination = match taken {
            Some(taken) => party(inventory.resolve_address(taken.ip(), at), Some(taken)),
            None => party(target.endpoint(), Some(requested)),
        };
        let dialed = (taken.is_some() || note.is_some()).then(|| Dialed {
            ip: requested.ip(),
            port: requested.port(),
            service,
            note,
        });
        let source = party(endpoint, tried.opener);
        Ends {
            direction: Direction::Egress,
            source,
            destination,
            dialed,
            target,
            container,
            attribution,
            may_change: false,
        }
    }

    fn ingress(
        &self,
        (tried, at): (&Tried, Timestamp),
        endpoint: Endpoint,
        container: Option<Arc<str>>,
        attribution: Option<Attribution>,
    ) -> Ends {
        let listener = tried.taken.unwrap_or(tried.requested);
        let opener = match tried.opener {
            Some(opener) => self.snapshot.inventory.resolve_address(opener.ip(), at),
            None => unknown("the opener's address was not seen".to_owned(), None),
        };
        Ends {
            direction: Direction::Ingress,
            source: party(opener, tried.opener),
            target: Target::Endpoint(endpoint.clone()),
            destination: party(endpoint, Some(listener)),
            dialed: None,
            container,
            attribution,
            may_change: false,
        }
    }

    fn local_by_cgroup(&self, cgroup_id: Option<u64>) -> Local {
        let Some(id) = cgroup_id else {
            let reason = "the socket's cgroup could not be read".to_owned();
            return Local::Missing { endpoint: unknown(reason.clone(), None), reason };
        };
        match self.cgroups.find(id) {
            None => {
                let reason = format!("cgroup {id} was never seen");
                Local::Missing { endpoint: unknown(reason.clone(), None), reason }
            }
            Some(Owner::OutOfScope) => Local::OutOfScope,
            Some(Owner::Host) if self.host_processes => Local::Known {
                endpoint: Endpoint::Node(Arc::clone(self.node)),
                container: None,
                attribution: None,
            },
            Some(Owner::Host) => Local::OutOfScope,
            Some(Owner::Pod { uid, container }) => self.local_pod(uid, container.as_deref()),
        }
    }

    fn local_pod(&self, uid: &str, container: Option<&str>) -> Local {
        let found = self.snapshot.inventory.find_pod_by_uid(uid, self.now);
        let Some(found) = found else {
            let reason = match self.snapshot.inventory.incomplete() {
                Some(why) => format!("no pod with uid {uid}, which the cgroup names, is known: {why}"),
                None => format!("the snapshot has no pod with uid {uid}, which the cgroup names"),
            };
            return Local::Missing { endpoint: unknown(reason.clone(), Some(uid.to_owned())), reason };
        };
        let attribution = matches!(found, Found::Departed { .. }).then_some(Attribution::Departed);
        let pod = found.pod();
        Local::Known {
            endpoint: Endpoint::Pod(Arc::clone(pod)),
            container: container.and_then(|id| container_name(pod, id)),
            attribution,
        }
    }
}

/// Under what the names of whoever has this cgroup are kept: a pod's uid, or nothing for the node's own processes.
/// `None` where they are not told of.
pub(super) fn asker_of(cgroups: &Cgroups, cgroup_id: u64, host_processes: bool) -> Option<&str> {
    match cgroups.find(cgroup_id)? {
        Owner::Pod { uid, .. } => Some(uid),
        Owner::Host => host_processes.then_some(""),
        Owner::OutOfScope => None,
    }
}

impl Surroundings for View<'_> {
    fn owns(&self, cgroup_id: u64, address: IpAddr) -> Option<bool> {
        let inventory = &self.snapshot.inventory;
        match self.cgroups.find(cgroup_id)? {
            Owner::OutOfScope => Some(false),
            Owner::Host => Some(inventory.find_last_pod(address, self.now).is_none()),
            Owner::Pod { uid, .. } => {
                let pod = inventory.find_pod_by_uid(uid, self.now)?.pod();
                Some(pod.host_network || pod.ips.contains(&address))
            }
        }
    }

    fn leads_to(&self, dialed: SocketAddr, backend: SocketAddr, protocol: Protocol) -> bool {
        match self.snapshot.inventory.resolve(dialed.ip(), dialed.port(), protocol, self.now) {
            Target::Service { backends, .. } => {
                backends.iter().any(|known| known.ip == backend.ip() && known.port == backend.port())
            }
            Target::Endpoint(_) => false,
        }
    }

    fn is_counted(&self, opener: IpAddr, listener: SocketAddr) -> bool {
        self.repeats.is_counted(opener, listener)
    }

    fn counts(&self, cgroup_id: u64, listener: SocketAddr, protocol: Protocol) -> bool {
        self.repeats.counts(cgroup_id, listener, protocol)
    }

    fn is_service(&self, dialed: SocketAddr, protocol: Protocol) -> bool {
        self.snapshot.inventory.is_service(dialed.ip(), dialed.port(), protocol)
    }

    fn backends_of(&self, dialed: SocketAddr, protocol: Protocol) -> Vec<SocketAddr> {
        match self.snapshot.inventory.resolve(dialed.ip(), dialed.port(), protocol, self.now) {
            Target::Service { backends, .. } => {
                backends.iter().map(|backend| SocketAddr::new(backend.ip, backend.port)).collect()
            }
            Target::Endpoint(_) => Vec::new(),
        }
    }

    fn addresses_of(&self, cgroup_id: u64) -> Vec<IpAddr> {
        let Some(Owner::Pod { uid, .. }) = self.cgroups.find(cgroup_id) else { return Vec::new() };
        let found = self.snapshot.inventory.find_pod_by_uid(uid, self.now);
        let own = found.map(|found| found.pod()).filter(|pod| !pod.host_network);
        own.map_or_else(Vec::new, |pod| pod.ips.clone())
    }

    fn names_of(&self, cgroup_id: u64, address: IpAddr, at_ns: u64) -> Names {
        let asker = asker_of(self.cgroups, cgroup_id, self.host_processes);
        asker.map_or_else(Names::default, |asker| self.names.find(asker, address, at_ns))
    }

    fn serves(&self, address: SocketAddr, protocol: Protocol) -> bool {
        let found = self.snapshot.inventory.find_last_pod(address.ip(), self.now);
        found.is_some_and(|found| {
            found.pod().ports.iter().any(|port| port.port == address.port() && port.protocol == protocol)
        })
    }
}

fn leads_nobody_knows_where(target: &Target) -> bool {
    matches!(target, Target::Service { backends, note: None, .. } if backends.is_empty())
}

fn container_name(pod: &Pod, id: &str) -> Option<Arc<str>> {
    pod.containers
        .iter()
        .find(|container| container.id.as_deref() == Some(id))
        .map(|found| found.name.clone())
}

fn unknown(reason: String, pod_uid: Option<String>) -> Endpoint {
    Endpoint::Unknown { reason, pod_uid }
}

fn party(endpoint: Endpoint, address: Option<SocketAddr>) -> Party {
    Party { endpoint, ip: address.map(|address| address.ip()), port: address.map(|address| address.port()) }
}

#[cfg(test)]
mod tests {
    use super::{Attributed, View};
    use crate::capture::{Cgroups, Kind, Repeat};
    use crate::cluster::Snapshot;
    use crate::inventory::{Inventory, Names, Scope, Settings};
    use crate::model::{Direction, Endpoint, Protocol};
    use crate::pipeline::correlate::{Origin, Tried};
    use crate::pipeline::repeats::Repeats;
    use crate::testkit::{at, node, pod, snapshot};
    use jiff::Timestamp;
    use std::sync::Arc;

    /// A packet from a pod of this node to an address that changes hands.
    fn tried(time: Timestamp) -> Tried {
        let far = "10.1.0.7:80".parse().unwrap();
        let repeat = Repeat { cgroup_id: 0, direction: Direction::Egress, protocol: Protocol::Tcp, far };
        let kind = Kind { repeat, near: Some("10.1.0.2:0".parse().unwrap()), accepted: false };
        Tried { origin: Origin::Packet, cgroup_id: None, ..Tried::of_kind(&kind, 0, time) }
    }

    fn told(inventory: &Inventory, tried: &Tried, from: Option<Timestamp>) -> String {
        let mount = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::scan(mount.path(), mount.path()).unwrap();
        let mut snapshot = Snapshot::clone(&snapshot(""));
        snapshot.inventory = Arc::new(inventory.clone());
        let (repeats, names) = (Repeats::new(false), Names::default());
        let node = Arc::new(node("n1", "10.0.0.1"));
        let (snapshot, cgroups, node) = (&snapshot, &cgroups, &node);
        let view = View {
            snapshot,
            cgroups,
            node,
            host_processes: false,
            now: at(600),
            repeats: &repeats,
            names: &names,
        };
        let (waits, ends) = match view.attribute_at(tried, from.unwrap_or(tried.time)) {
            Attributed::Ends(ends) if ends.may_change => ("may change: ", ends),
            Attributed::Ends(ends) => ("", ends),
            Attributed::NotYet(ends) => ("waits: ", ends),
            Attributed::OutOfScope => return "out of scope".to_owned(),
        };
        let name = |endpoint: &Endpoint| match endpoint {
            Endpoint::Pod(pod) => pod.name.to_string(),
            Endpoint::Unknown { .. } => "unknown".to_owned(),
            other => format!("{other:?}"),
        };
        format!("{waits}{} to {}", name(&ends.source.endpoint), name(&ends.destination.endpoint))
    }

    /// As with a network plugin that takes pods' addresses from the network's own subnets.
    #[test]
    fn an_address_near_pods_in_no_range_may_be_a_new_pods() {
        let mut inventory = Inventory::builder(&Settings::default()).build(None, at(0));
        inventory.put_pod(&pod("a/client").ip("10.1.0.2").node("n1").build(), at(0));
        let database = "client to External(External { network: None })";
        assert_eq!(told(&inventory, &tried(at(5)), None), format!("may change: {database}"));
        inventory.put_pod(&pod("a/new").ip("10.1.0.7").build(), at(6));
        assert_eq!(told(&inventory, &tried(at(5)), None), "client to new");
        inventory.remove_pod("a", "new", at(7));
        // Where the range is told, an address in it is nobody's, and one beside it is outside.
        inventory.set_ranges(vec!["10.1.0.0/29".parse().unwrap()]);
        inventory.settle_ranges(at(8));
        assert_eq!(told(&inventory, &tried(at(4_000)), None), "waits: client to unknown");
        inventory.set_ranges(vec!["10.1.0.0/30".parse().unwrap()]);
        inventory.settle_ranges(at(8));
        assert_eq!(told(&inventory, &tried(at(4_000)), None), database);
        inventory.put_pod(&pod("a/beyond").ip("10.1.9.9").build(), at(9));
        assert_eq!(told(&inventory, &tried(at(4_000)), None), format!("may change: {database}"));
        inventory.remove_pod("a", "beyond", at(10));
        assert_eq!(told(&inventory, &tried(at(4_000)), None), database, "nobody is near any more");
    }

    #[test]
    fn nobody_waits_for_whom_nobody_here_is_told_of() {
        let client = pod("a/client").ip("10.1.0.2").node("n1").build();
        let of = |scope| {
            let settings = Settings { scope, ..Settings::default() };
            let mut inventory = Inventory::builder(&settings).build(None, at(0));
            inventory.put_pod(&client, at(0));
            inventory
        };
        let mut inventory = of(Scope::of_node(&[], &[]));
        assert_eq!(told(&inventory, &tried(at(5)), None), "client to unknown");
        // While that may be for want of what is not read yet, it waits.
        inventory.set_incomplete(Some("not read".into()), at(6));
        assert_eq!(told(&inventory, &tried(at(7)), None), "waits: client to unknown");
        // And so it does for a new pod of this node: its address is in the node's range.
        inventory.set_incomplete(None, at(8));
        let mut own = node("n1", "10.0.0.1");
        own.pod_cidrs = vec!["10.1.0.0/24".parse().unwrap()];
        inventory.put_node(own, at(8));
        inventory.settle_ranges(at(8));
        assert_eq!(told(&inventory, &tried(at(9)), None), "waits: client to unknown");
        let external = told(&of(Scope::Cluster), &tried(at(5)), None);
        assert!(external.contains("client to External"), "{external}");
    }

    #[test]
    fn both_ends_are_who_they_were_when_it_was_tried() {
        let mut inventory = Inventory::builder(&Settings::default()).build(None, at(0));
        let client = |name: &str| pod(&format!("a/{name}")).ip("10.1.0.2").node("n1").build();
        inventory.put_pod(&client("first"), at(0));
        inventory.put_pod(&pod("a/old").ip("10.1.0.7").build(), at(0));
        inventory.remove_pod("a", "old", at(10));
        inventory.remove_pod("a", "first", at(30));
        assert_eq!(told(&inventory, &tried(at(5)), None), "first to old");
        assert_eq!(told(&inventory, &tried(at(15)), None), "waits: first to unknown");
        assert_eq!(
            told(&inventory, &tried(at(35)), None),
            "waits: unknown to unknown",
            "of this node, whose ever"
        );
        inventory.put_pod(&pod("a/new").ip("10.1.0.7").build(), at(20));
        inventory.put_pod(&client("second"), at(40));
        for (second, expected) in [
            (5, "first to old"),
            (15, "waits: first to unknown"),
            (25, "first to new"),
            (35, "waits: unknown to new"),
            (45, "second to new"),
        ] {
            assert_eq!(told(&inventory, &tried(at(second)), None), expected, "at {second}");
        }
        assert_eq!(
            told(&inventory, &tried(at(5)), Some(at(50))),
            "second to new",
            "of what is still to come"
        );
    }
}
