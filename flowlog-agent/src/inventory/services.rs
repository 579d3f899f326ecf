//! Service addresses and what stands behind them, read as kube-proxy reads them.
//!
//! Traffic policies and topology hints are not applied: which backends remain after them depends on the
//! node that asks, and every backend named here is one that some node would use.

use crate::model::shared::Sharded;
use crate::model::{Backend, Endpoint, Protocol, Service, ServiceNote, Target};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// A service that has addresses, cut down to what flowlog reads. Headless and ExternalName services have
/// none and are left out by whoever reads the objects, as kube-proxy leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Cluster addresses, external addresses and those of its load balancer.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, if it has one; EndpointSlices refer to it.
    pub name: Option<String>,
    /// Number at the service's addresses.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Number at every node's addresses, if any.
    pub node_port: Option<u16>,
}

/// One EndpointSlice of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name of the service (label `kubernetes.io/service-name`).
    pub service: String,
    /// Ports that its endpoints listen on, by the service port's name.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the service port that it serves, if that has one.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address; of several only the first counts, as in kube-proxy.
    pub ip: IpAddr,
    /// Takes new connections; absent in the object counts as true.
    pub ready: bool,
    /// Serves, whether or not it terminates; absent counts as true.
    pub serving: bool,
    /// Terminates; absent counts as false.
    pub terminating: bool,
    /// Uid of the pod that it refers to, if any.
    pub pod_uid: Option<Arc<str>>,
}

/// The dialed port of a service, with its backends of each family.
#[derive(Clone, Debug, Default)]
struct Frontend {
    service: Arc<Service>,
    v4: Backends,
    v6: Backends,
}

/// Backends, and the uids of the pods that the slices refer to.
#[derive(Clone, Debug)]
struct Backends {
    list: Arc<[Backend]>,
    uids: Arc<[Option<Arc<str>>]>,
}

impl Default for Backends {
    fn default() -> Self {
        Self { list: Arc::from([]), uids: Arc::from([]) }
    }
}

impl Backends {
    /// The same, with whoever has the address now.
    fn asked_again(&self, ip: IpAddr, who: &Who<'_>) -> Self {
        let ask = |(backend, uid): (&Backend, &Option<Arc<str>>)| match backend.ip == ip {
            true => Backend { endpoint: who(ip, uid.as_deref()), ..backend.clone() },
            false => backend.clone(),
        };
        Self { list: self.list.iter().zip(self.uids.iter()).map(ask).collect(), uids: Arc::clone(&self.uids) }
    }
}

impl Frontend {
    fn of(spec: &ServiceSpec, port: &ServicePort, slices: &[&Slice], who: &Who<'_>) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) =
            backends(port, slices, who).into_iter().partition(|backend| backend.ip.is_ipv4());
        Self { service: Arc::new(named(spec, port.name.clone())), v4: usable(v4), v6: usable(v6) }
    }

    fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.v4.list.iter().chain(self.v6.list.iter())
    }

    fn asked_again(&self, ip: IpAddr, who: &Who<'_>) -> Self {
        let mut asked = self.clone();
        let backends = if ip.is_ipv4() { &mut asked.v4 } else { &mut asked.v6 };
        if backends.list.iter().any(|backend| backend.ip == ip) {
            *backends = backends.asked_again(ip, who);
        }
        asked
    }

    fn target(&self, ip: IpAddr) -> Target {
        let backends = if ip.is_ipv4() { &self.v4.list } else { &self.v6.list };
        Target::Service {
            service: Arc::clone(&self.service),
            backends: Arc::clone(backends),
            note: backends.is_empty().then_some(ServiceNote::NoEndpoints),
        }
    }
}

/// Tells who has a backend's address, given the uid that the slice refers to.
type Who<'a> = dyn Fn(IpAddr, Option<&str>) -> Endpoint + 'a;

/// Namespace and name.
type Name = (String, String);

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    name: Arc<Name>,
    port: usize,
}

/// A service, what its slices say, and what comes of both.
#[derive(Clone, Debug)]
struct Known {
    /// Absent where slices came before it, or stayed behind it.
    spec: Option<Arc<ServiceSpec>>,
    /// By name; of two without one each counts.
    slices: Arc<BTreeMap<SliceName, Arc<Slice>>>,
    /// One for each port.
    frontends: Arc<[Frontend]>,
}

impl Default for Known {
    fn default() -> Self {
        Self { spec: None, slices: Arc::default(), frontends: Arc::from([]) }
    }
}

/// The object's name, and a number that tells those without one apart.
type SliceName = (String, usize);

/// Few claim one thing: mostly one.
type Few<T> = SmallVec<[T; 1]>;

/// Address and port → service. A service or slice that changes costs what it concerns.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceIndex {
    known: Sharded<Arc<Name>, Known>,
    /// The service that a slice belongs to, by the slice's namespace and name.
    of_slice: Sharded<Name, Arc<Name>>,
    by_socket: Sharded<(IpAddr, u16, Protocol), Few<Place>>,
    by_node_port: Sharded<(u16, Protocol), Few<Place>>,
    by_backend: Sharded<IpAddr, Few<Arc<Name>>>,
    by_address: Sharded<IpAddr, Few<Arc<Name>>>,
}

impl ServiceIndex {
    /// From all there are.
    pub(super) fn of(specs: Vec<ServiceSpec>, slices: Vec<Slice>, who: &Who<'_>) -> Self {
        let mut index = Self::default();
        for (number, slice) in slices.into_iter().enumerate() {
            index.add_slice((slice.name.clone(), number), Arc::new(slice));
        }
        for spec in specs {
            index.put_service(Arc::new(spec), who);
        }
        index
    }

    /// Puts a service in the place of the one of its name.
    pub(super) fn put_service(&mut self, spec: Arc<ServiceSpec>, who: &Who<'_>) {
        let name = self.name_of(&spec.namespace, &spec.name);
        self.make(&name, Some(who), |known| known.spec = Some(spec));
    }

    /// Removes the service of this name.
    pub(super) fn remove_service(&mut self, namespace: &str, name: &str) {
        let name = self.name_of(namespace, name);
        self.make(&name, None, |known| known.spec = None);
    }

    /// Puts a slice in the place of the one of its name.
    pub(super) fn put_slice(&mut self, slice: Arc<Slice>, who: &Who<'_>) {
        let service = self.name_of(&slice.namespace, &slice.service);
        let id = (slice.namespace.clone(), slice.name.clone());
        if self.of_slice.get(&id).is_some_and(|before| *before != service) {
            self.remove_slice(&id.0, &id.1, who);
        }
        self.of_slice.insert(id, Arc::clone(&service));
        self.make(&service, Some(who), |known| {
            Arc::make_mut(&mut known.slices).insert((slice.name.clone(), 0), slice);
        });
    }

    /// Removes the slice of this name.
    pub(super) fn remove_slice(&mut self, namespace: &str, name: &str, who: &Who<'_>) {
        if let Some(service) = self.of_slice.remove(&(namespace.to_owned(), name.to_owned())) {
            self.make(&service, Some(who), |known| {
                Arc::make_mut(&mut known.slices).retain(|(other, _), _| other != name);
            });
        }
    }

    fn add_slice(&mut self, name: SliceName, slice: Arc<Slice>) {
        let service = self.name_of(&slice.namespace, &slice.service);
        if let Some(known) = self.known.entry(service, Known::default) {
            Arc::make_mut(&mut known.slices).insert(name, slice);
        }
    }

    /// An address changed hands.
    pub(super) fn ask_again(&mut self, ip: IpAddr, who: &Who<'_>) {
        for name in self.by_backend.get(&ip).cloned().into_iter().flatten() {
            if let Some(known) = self.known.get_mut(&name) {
                let asked = known.frontends.iter().map(|frontend| frontend.asked_again(ip, who));
                known.frontends = asked.collect();
            }
        }
    }

    /// What addresses that nobody has are taken for has changed.
    pub(super) fn ask_all(&mut self, who: &Who<'_>) {
        let names: Vec<Arc<Name>> = self.known.iter().map(|(name, _)| Arc::clone(name)).collect();
        names.iter().for_each(|name| self.make(name, Some(who), |_| ()));
    }

    /// The service that listens at exactly this address and port.
    pub(super) fn find(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        self.target(ip, port, self.by_socket.get(&(ip, port, protocol))?)
    }

    /// The service that listens at this port of every node.
    pub(super) fn find_node_port(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        self.target(ip, port, self.by_node_port.get(&(port, protocol))?)
    }

    /// The service that has this address, whatever its ports.
    pub(super) fn find_by_address(&self, ip: IpAddr) -> Option<Target> {
        let (namespace, name) = &**self.by_address.get(&ip)?.first()?;
        let service = Service { namespace: namespace.clone(), name: name.clone(), port_name: None };
        let note = Some(ServiceNote::NoSuchPort);
        Some(Target::Service { service: Arc::new(service), backends: Arc::from([]), note })
    }

    /// Namespace and name of the services that have this address for an endpoint.
    pub(super) fn behind(&self, ip: IpAddr) -> impl Iterator<Item = (&str, &str)> {
        let names = self.by_backend.get(&ip).into_iter().flatten();
        names.map(|name| (&*name.0, &*name.1))
    }

    /// The addresses of the service of this name.
    pub(super) fn addresses_of(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        let known = self.known.get(&(namespace.to_owned(), name.to_owned()));
        let spec = known.and_then(|known| known.spec.as_ref());
        let mut found = spec.map_or_else(Vec::new, |spec| spec.addresses.clone());
        found.sort_unstable();
        found
    }

    /// Namespace and name of every service that has an address, once an address.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let specs = self.known.iter().filter_map(|(_, known)| known.spec.as_ref());
        specs.flat_map(|spec| spec.addresses.iter().map(|_| (&*spec.namespace, &*spec.name)))
    }

    fn target(&self, ip: IpAddr, port: u16, places: &[Place]) -> Option<Target> {
        let mut found = places.iter().filter_map(|place| {
            self.known.get(&*place.name).and_then(|known| known.frontends.get(place.port))
        });
        let first = found.next()?;
        Some(match found.next() {
            None => first.target(ip),
            Some(second) => Target::Endpoint(Endpoint::Unknown {
                reason: format!(
                    "{ip} port {port} is claimed by service {}/{} and service {}/{}",
                    first.service.namespace,
                    first.service.name,
                    second.service.namespace,
                    second.service.name
                ),
                pod_uid: None,
            }),
        })
    }

    /// The name as it is shared already.
    fn name_of(&self, namespace: &str, name: &str) -> Arc<Name> {
        let name = (namespace.to_owned(), name.to_owned());
        self.known.get_key(&name).cloned().unwrap_or_else(|| Arc::new(name))
    }

    /// Changes a service, and makes anew what comes of it.
    fn make(&mut self, name: &Arc<Name>, who: Option<&Who<'_>>, change: impl FnOnce(&mut Known)) {
        let before = self.known.remove(name).unwrap_or_default();
        self.take_out(name, &before);
        let mut known = before;
        change(&mut known);
        let slices: Vec<&Slice> = known.slices.values().map(|slice| &**slice).collect();
        known.frontends = match (&known.spec, who) {
            (Some(spec), Some(who)) => {
                spec.ports.iter().map(|port| Frontend::of(spec, port, &slices, who)).collect()
            }
            _ => Arc::from([]),
        };
        if known.spec.is_some() || !known.slices.is_empty() {
            self.put_in(name, &known);
            self.known.insert(Arc::clone(name), known);
        }
    }

    fn put_in(&mut self, name: &Arc<Name>, known: &Known) {
        let Some(spec) = &known.spec else { return };
        for ip in &spec.addresses {
            claim(&mut self.by_address, *ip, name);
        }
        for (number, port) in spec.ports.iter().enumerate() {
            let place = Place { name: Arc::clone(name), port: number };
            for ip in &spec.addresses {
                claim(&mut self.by_socket, (*ip, port.port, port.protocol), &place);
            }
            if let Some(node_port) = port.node_port {
                claim(&mut self.by_node_port, (node_port, port.protocol), &place);
            }
        }
        for backend in known.frontends.iter().flat_map(Frontend::backends) {
            claim(&mut self.by_backend, backend.ip, name);
        }
    }

    fn take_out(&mut self, name: &Arc<Name>, known: &Known) {
        let Some(spec) = &known.spec else { return };
        for ip in &spec.addresses {
            release(&mut self.by_address, ip, |other| other == name);
            for port in &spec.ports {
                let socket = (*ip, port.port, port.protocol);
                release(&mut self.by_socket, &socket, |place| place.name == *name);
            }
        }
        for port in &spec.ports {
            if let Some(node_port) = port.node_port {
                release(&mut self.by_node_port, &(node_port, port.protocol), |place| place.name == *name);
            }
        }
        for backend in known.frontends.iter().flat_map(Frontend::backends) {
            release(&mut self.by_backend, &backend.ip, |other| other == name);
        }
    }
}

/// In order, each once.
fn claim<K: Eq + Hash + Clone, T: Ord + Clone>(map: &mut Sharded<K, Few<T>>, key: K, who: &T) {
    if let Some(few) = map.entry(key, SmallVec::new)
        && let Err(place) = few.binary_search(who)
    {
        few.insert(place, who.clone());
    }
}

fn release<K: Eq + Hash + Clone, T: Clone>(map: &mut Sharded<K, Few<T>>, key: &K, is: impl Fn(&T) -> bool) {
    let Some(few) = map.get_mut(key) else { return };
    few.retain(|other| !is(other));
    if few.is_empty() {
        map.remove(key);
    }
}

fn named(spec: &ServiceSpec, port_name: Option<String>) -> Service {
    Service { namespace: spec.namespace.clone(), name: spec.name.clone(), port_name }
}

/// An endpoint with what decides whether kube-proxy uses it.
struct Candidate {
    ip: IpAddr,
    backend: Backend,
    uid: Option<Arc<str>>,
    ready: bool,
    last_resort: bool,
}

fn backends(port: &ServicePort, slices: &[&Slice], who: &Who<'_>) -> Vec<Candidate> {
    // The same endpoint may stand in two slices while it moves between them.
    let mut found = BTreeMap::new();
    for slice in slices {
        let serves = |open: &&SlicePort| open.name == port.name && open.protocol == port.protocol;
        for open in slice.ports.iter().filter(serves) {
            for endpoint in &slice.endpoints {
                let (ip, port) = (endpoint.ip, open.port);
                found.entry((ip, port)).or_insert_with(|| Candidate {
                    ip,
                    backend: Backend { ip, port, endpoint: who(ip, endpoint.pod_uid.as_deref()) },
                    uid: endpoint.pod_uid.clone(),
                    ready: endpoint.ready,
                    last_resort: endpoint.serving && endpoint.terminating,
                });
            }
        }
    }
    found.into_values().collect()
}

/// The ready ones; where none is ready, those that terminate and still serve.
fn usable(candidates: Vec<Candidate>) -> Backends {
    let any_ready = candidates.iter().any(|candidate| candidate.ready);
    let used = |candidate: &Candidate| if any_ready { candidate.ready } else { candidate.last_resort };
    let used = candidates.into_iter().filter(used).map(|candidate| (candidate.backend, candidate.uid));
    let (list, uids): (Vec<_>, Vec<_>) = used.unzip();
    Backends { list: list.into(), uids: uids.into() }
}
