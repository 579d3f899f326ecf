//! Service addresses and what stands behind them, read as kube-proxy reads them.
//!
//! Traffic policies and topology hints are not applied: which backends remain after them depends on the
//! node that asks, and every backend named here is one that some node would use.

use crate::model::shared::Paged;
use crate::model::{Backend, Endpoint, Protocol, Service, ServiceNote, Target};
use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeMap;
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
    pub pod_uid: Option<String>,
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
    uids: Arc<[Option<String>]>,
}

impl Default for Backends {
    fn default() -> Self {
        Self { list: Arc::from([]), uids: Arc::from([]) }
    }
}

impl Backends {
    /// The same, with whoever has the address now.
    fn asked_again(&self, ip: IpAddr, who: &impl Fn(IpAddr, Option<&str>) -> Endpoint) -> Self {
        let ask = |(backend, uid): (&Backend, &Option<String>)| match backend.ip == ip {
            true => Backend { endpoint: who(ip, uid.as_deref()), ..backend.clone() },
            false => backend.clone(),
        };
        Self { list: self.list.iter().zip(self.uids.iter()).map(ask).collect(), uids: Arc::clone(&self.uids) }
    }
}

impl Frontend {
    fn target(&self, ip: IpAddr) -> Target {
        let backends = if ip.is_ipv4() { &self.v4.list } else { &self.v6.list };
        Target::Service {
            service: Arc::clone(&self.service),
            backends: Arc::clone(backends),
            note: backends.is_empty().then_some(ServiceNote::NoEndpoints),
        }
    }
}

/// Address and port → service. What changes with pods is the frontends alone.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceIndex {
    frontends: Paged<Frontend>,
    places: Arc<Places>,
}

/// Where frontends lie.
#[derive(Clone, Debug, Default)]
struct Places {
    by_socket: HashMap<(IpAddr, u16, Protocol), Vec<usize>>,
    by_node_port: HashMap<(u16, Protocol), Vec<usize>>,
    by_backend: HashMap<IpAddr, Vec<usize>>,
    by_address: HashMap<IpAddr, Arc<Service>>,
}

impl ServiceIndex {
    /// `who` tells who has a backend's address, given the uid that the slice refers to.
    pub(super) fn of(
        specs: &[ServiceSpec],
        slices: &[Slice],
        who: impl Fn(IpAddr, Option<&str>) -> Endpoint,
    ) -> Self {
        let mut of_service: HashMap<(&str, &str), Vec<&Slice>> = HashMap::new();
        for slice in slices {
            of_service.entry((&slice.namespace, &slice.service)).or_default().push(slice);
        }
        let (mut frontends, mut places) = (Paged::default(), Places::default());
        for spec in specs {
            let slices = of_service.get(&(&*spec.namespace, &*spec.name)).map_or(&[][..], Vec::as_slice);
            places.add(&mut frontends, spec, slices, &who);
        }
        Self { frontends, places: Arc::new(places) }
    }

    /// An address changed hands.
    pub(super) fn ask_again(&mut self, ip: IpAddr, who: impl Fn(IpAddr, Option<&str>) -> Endpoint) {
        for place in self.places.by_backend.get(&ip).into_iter().flatten() {
            if let Some(frontend) = self.frontends.get_mut(*place) {
                let backends = if ip.is_ipv4() { &mut frontend.v4 } else { &mut frontend.v6 };
                *backends = backends.asked_again(ip, &who);
            }
        }
    }

    /// The service that listens at exactly this address and port.
    pub(super) fn find(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        self.target(ip, port, self.places.by_socket.get(&(ip, port, protocol))?)
    }

    /// The service that listens at this port of every node.
    pub(super) fn find_node_port(&self, ip: IpAddr, port: u16, protocol: Protocol) -> Option<Target> {
        self.target(ip, port, self.places.by_node_port.get(&(port, protocol))?)
    }

    /// The service that has this address, whatever its ports.
    pub(super) fn find_by_address(&self, ip: IpAddr) -> Option<Target> {
        let service = Arc::clone(self.places.by_address.get(&ip)?);
        Some(Target::Service { service, backends: Arc::from([]), note: Some(ServiceNote::NoSuchPort) })
    }

    /// The addresses of the services of this name.
    pub(super) fn addresses_of(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        let named = |service: &Service| service.namespace == namespace && service.name == name;
        let mut found: Vec<IpAddr> =
            self.places.by_address.iter().filter(|(_, service)| named(service)).map(|(ip, _)| *ip).collect();
        found.sort_unstable();
        found
    }

    /// Namespace and name of every service that has an address.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.by_address.values().map(|service| (&*service.namespace, &*service.name))
    }

    fn target(&self, ip: IpAddr, port: u16, places: &[usize]) -> Option<Target> {
        let mut found = places.iter().filter_map(|place| self.frontends.get(*place));
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
}

impl Places {
    fn add(
        &mut self,
        frontends: &mut Paged<Frontend>,
        spec: &ServiceSpec,
        slices: &[&Slice],
        who: &impl Fn(IpAddr, Option<&str>) -> Endpoint,
    ) {
        for ip in &spec.addresses {
            self.by_address.entry(*ip).or_insert_with(|| Arc::new(named(spec, None)));
        }
        for port in &spec.ports {
            let (v4, v6): (Vec<_>, Vec<_>) =
                backends(port, slices, who).into_iter().partition(|backend| backend.ip.is_ipv4());
            let place = frontends.len();
            let service = Arc::new(named(spec, port.name.clone()));
            let (v4, v6) = (usable(v4), usable(v6));
            for backend in v4.list.iter().chain(v6.list.iter()) {
                self.by_backend.entry(backend.ip).or_default().push(place);
            }
            frontends.push(Frontend { service, v4, v6 });
            for ip in &spec.addresses {
                self.by_socket.entry((*ip, port.port, port.protocol)).or_default().push(place);
            }
            if let Some(node_port) = port.node_port {
                self.by_node_port.entry((node_port, port.protocol)).or_default().push(place);
            }
        }
    }
}

fn named(spec: &ServiceSpec, port_name: Option<String>) -> Service {
    Service { namespace: spec.namespace.clone(), name: spec.name.clone(), port_name }
}

/// An endpoint with what decides whether kube-proxy uses it.
struct Candidate {
    ip: IpAddr,
    backend: Backend,
    uid: Option<String>,
    ready: bool,
    last_resort: bool,
}

fn backends(
    port: &ServicePort,
    slices: &[&Slice],
    who: &impl Fn(IpAddr, Option<&str>) -> Endpoint,
) -> Vec<Candidate> {
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
