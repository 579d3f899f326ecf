//! From what was observed to what a policy has to allow: whom it selects, which peers, which ports, and for what reason.

use super::labels::{Selectors, is_dns_label};
use super::{Choice, Dns, LeftOut, Outside, Per};
use crate::model::{Basis, Class, Decision, Direction, Edge, Endpoint, Place, Pod, Protocol};
use crate::policy::observed::{Cast, place_of};
use crate::policy::{PolicySet, Query};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Where clusters have their DNS.
const DNS: (&str, &str) = ("kube-system", "kube-dns");
/// The label of its pods, which CoreDNS kept.
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
const DNS_PORT: u16 = 53;

/// Whom a policy selects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The pods of a workload.
    Workload(Place),
    /// Every pod of a namespace.
    Namespace(Arc<str>),
}

/// Whom a rule lets talk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// The pods of a workload.
    Workload(Place),
    /// Every pod of a namespace.
    Namespace(Arc<str>),
    /// A block of addresses, but for these parts.
    Block(IpNet, Vec<IpNet>),
    /// Everyone.
    Everyone,
}

/// One way of a connection that counts: its ends behind any service.
#[derive(Clone, Debug)]
pub(super) struct Flow<'a> {
    pub(super) source: Place,
    pub(super) destination: Place,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) edge: &'a Edge,
}

impl Flow<'_> {
    /// Whether no policy has a say in this direction: to itself, or to the node that runs it.
    pub(super) fn is_exempt(&self, direction: Direction) -> bool {
        let told = match direction {
            Direction::Egress => &self.edge.egress,
            Direction::Ingress => &self.edge.ingress,
        };
        matches!(told.basis, Basis::Node | Basis::SelfTraffic)
            || [&self.source, &self.destination].contains(&&Place::Local)
    }

    /// The end that a policy of this direction selects.
    pub(super) fn own(&self, direction: Direction) -> &Place {
        match direction {
            Direction::Egress => &self.source,
            Direction::Ingress => &self.destination,
        }
    }

    pub(super) fn other(&self, direction: Direction) -> &Place {
        match direction {
            Direction::Egress => &self.destination,
            Direction::Ingress => &self.source,
        }
    }
}

/// What was seen of connections that a rule stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Told by the openers' nodes, and by the listeners'.
    counts: [u64; 2],
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) classes: BTreeSet<Class>,
}

impl Seen {
    fn of(edge: &Edge) -> Self {
        let mut seen = Self {
            counts: [0; 2],
            first: edge.first,
            last: edge.last,
            classes: BTreeSet::from([edge.class]),
        };
        seen.add(edge);
        seen
    }

    fn add(&mut self, edge: &Edge) {
        let [opener, listener] = &mut self.counts;
        let count = if edge.direction == Direction::Egress { opener } else { listener };
        *count = count.saturating_add(edge.count);
        (self.first, self.last) = (self.first.min(edge.first), self.last.max(edge.last));
        self.classes.insert(edge.class);
    }

    /// Connections: both ends' nodes tell of one, where both have an agent.
    pub(super) fn count(&self) -> u64 {
        self.counts.into_iter().max().unwrap_or_default()
    }
}

/// A port, and what was seen of it, in words by ends.
pub(super) type Ports = BTreeMap<(Protocol, u16), BTreeMap<String, Seen>>;

/// What a direction of a policy has to allow.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    pub(super) peers: BTreeMap<Peer, Ports>,
    /// Peers and ports for the cluster's DNS.
    pub(super) dns: BTreeSet<Peer>,
    /// Flows that declared policies allow already, and that are not repeated.
    pub(super) covered: usize,
    /// Connections that cannot be allowed: what, and why.
    pub(super) left_out: BTreeMap<(String, String), u64>,
}

/// What a policy has to allow.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) egress: Option<Wants>,
    pub(super) ingress: Option<Wants>,
}

impl Plan {
    pub(super) fn wants(&self, direction: Direction) -> Option<&Wants> {
        match direction {
            Direction::Egress => self.egress.as_ref(),
            Direction::Ingress => self.ingress.as_ref(),
        }
    }

    pub(super) fn wants_mut(&mut self, direction: Direction) -> Option<&mut Wants> {
        match direction {
            Direction::Egress => self.egress.as_mut(),
            Direction::Ingress => self.ingress.as_mut(),
        }
    }
}

/// Everything that plans are made with.
pub(super) struct Planner<'p, 'a> {
    pub(super) cast: &'p Cast<'a>,
    pub(super) selectors: &'p Selectors,
    pub(super) networks: &'p [(IpNet, String)],
    pub(super) ranges: &'p [IpNet],
    pub(super) choice: &'p Choice,
    /// What is declared, where it is not to be repeated.
    pub(super) declared: Option<&'p PolicySet>,
}

/// Whether rules of these policies allow it in a direction, whichever of the workloads' pods take part.
fn allows(
    set: &PolicySet,
    cast: &Cast<'_>,
    (source, destination): (&Place, &Place),
    (protocol, port): (Protocol, u16),
    direction: Direction,
) -> bool {
    let listeners = cast.listeners(destination, protocol, Some(port));
    cast.openers(source).iter().all(|source| {
        listeners.iter().all(|destination| {
            let range_of = Cast::range_of(source, destination);
            let (egress, ingress) =
                set.rule(&Query { source, destination, protocol, port: Some(port), range_of });
            let ruling = if direction == Direction::Egress { egress } else { ingress };
            (ruling.decision, ruling.basis) == (Decision::Allow, Basis::Policy)
        })
    })
}

/// The ways of an edge, or why it has none that a policy could name.
pub(super) fn ways<'a>(edge: &'a Edge, cast: &Cast<'_>) -> Result<Vec<Flow<'a>>, String> {
    if edge.protocol.is_icmp() {
        return Err("policies do not speak of ICMP: it is left to the network plugin".to_owned());
    }
    let Some(port) = edge.port else { return Err("its port is not known".to_owned()) };
    let flow = |destination: Place, port: u16| Flow {
        source: edge.source.clone(),
        destination,
        protocol: edge.protocol,
        port,
        edge,
    };
    let Place::Service { namespace, name } = &edge.destination else {
        return Ok(vec![flow(edge.destination.clone(), port)]);
    };
    let backends = cast.backends(namespace, name, edge.protocol, port);
    if backends.is_empty() {
        return Err(format!(
            "what stands behind service {namespace}/{name} is not known: give the cluster's objects, or records of the nodes \
             that run its pods"
        ));
    }
    let mut places: BTreeSet<(Place, u16)> = BTreeSet::new();
    for backend in backends {
        let place = match &backend.endpoint {
            Endpoint::Pod(pod) => place_of(pod),
            Endpoint::Node(node) => Place::Node { name: Some(node.name.as_str().into()) },
            Endpoint::External(_) => Place::External { ip: Some(backend.ip), name: None, network: None },
            _ => {
                return Err(format!(
                    "who has {}, behind service {namespace}/{name}, is not known",
                    backend.ip
                ));
            }
        };
        places.insert((place, backend.port));
    }
    Ok(places.into_iter().map(|(place, port)| flow(place, port)).collect())
}

/// A connection in words.
pub(super) fn told(flow: &Flow<'_>) -> String {
    format!("{} → {} {}/{}", flow.source, flow.destination, flow.protocol.as_kubernetes(), flow.port)
}

impl Planner<'_, '_> {
    /// What the policies of these flows have to allow.
    pub(super) fn plan(&self, flows: &[Flow<'_>]) -> BTreeMap<Subject, Plan> {
        let mut plans: BTreeMap<Subject, Plan> = BTreeMap::new();
        for flow in flows {
            for direction in [Direction::Egress, Direction::Ingress] {
                for subject in self.subjects(flow.own(direction)) {
                    let plan = plans.entry(subject).or_insert_with(|| self.start());
                    if let Some(wants) = plan.wants_mut(direction)
                        && !flow.is_exempt(direction)
                    {
                        self.add(wants, flow, direction);
                    }
                }
            }
        }
        for (subject, plan) in &mut plans {
            if let Some(wants) = &mut plan.egress {
                self.add_dns(subject, wants);
            }
        }
        plans
    }

    fn start(&self) -> Plan {
        let wants = |direction| self.choice.directions.contains(&direction).then(Wants::default);
        Plan { egress: wants(Direction::Egress), ingress: wants(Direction::Ingress) }
    }

    /// Whose policies select the pods of this place: its own, and those whose labels do not tell it apart.
    fn subjects(&self, place: &Place) -> Vec<Subject> {
        let (Place::Workload { namespace, .. }, Some(member)) = (place, self.cast.find(place)) else {
            return Vec::new();
        };
        if self.choice.per == Per::Namespace {
            let wanted = self.choice.is_wanted(place) && is_dns_label(namespace) && !member.is_on_host();
            return if wanted { vec![Subject::Namespace(Arc::clone(namespace))] } else { Vec::new() };
        }
        let wanted = self.selectors.selecting(place).iter().filter(|other| self.choice.is_wanted(other));
        wanted.map(|other| Subject::Workload(other.clone())).collect()
    }

    fn add(&self, wants: &mut Wants, flow: &Flow<'_>, direction: Direction) {
        let other = flow.other(direction);
        let ends = (&flow.source, &flow.destination);
        let at = (flow.protocol, flow.port);
        if self.declared.is_some_and(|declared| allows(declared, self.cast, ends, at, direction)) {
            wants.covered += 1;
            return;
        }
        let mut words = match direction {
            Direction::Egress => format!("{} to {other}", flow.source),
            Direction::Ingress => format!("from {other}, to {}", flow.destination),
        };
        if let Place::External { ip: Some(ip), name: Some(_), .. } = other {
            words.push_str(&format!(" ({ip})"));
        }
        if let Some((namespace, name)) = service_of(flow.edge) {
            words.push_str(&format!(", by service {namespace}/{name}"));
        }
        match self.peers(other) {
            Ok(peers) => {
                for peer in peers {
                    let ports = wants.peers.entry(peer).or_default();
                    let lines = ports.entry((flow.protocol, flow.port)).or_default();
                    lines
                        .entry(words.clone())
                        .and_modify(|seen| seen.add(flow.edge))
                        .or_insert_with(|| Seen::of(flow.edge));
                }
            }
            Err(why) => {
                let count = wants.left_out.entry((told(flow), why)).or_default();
                *count = count.saturating_add(flow.edge.count);
            }
        }
    }

    /// The peers that stand for a place, or why none can.
    pub(super) fn peers(&self, place: &Place) -> Result<Vec<Peer>, String> {
        match place {
            Place::Workload { namespace, .. } => {
                let Some(member) = self.cast.find(place) else {
                    return Err(format!("no pod of {place} is known"));
                };
                let on_host: Vec<_> = member.pods.iter().filter(|pod| pod.host_network).collect();
                let mut peers = Vec::new();
                if !on_host.is_empty() {
                    let ips = on_host.iter().flat_map(|pod| pod.ips.iter().copied());
                    peers = addresses(
                        ips,
                        "its pods use their nodes' network, and the addresses of these are not known",
                    )?;
                }
                if member.is_on_host() {
                    return Ok(peers);
                }
                peers.push(match (self.choice.per, self.selectors.find(place)) {
                    (Per::Namespace, _) if is_dns_label(namespace) => Peer::Namespace(Arc::clone(namespace)),
                    (Per::Workload, Some(Ok(_))) => Peer::Workload(place.clone()),
                    (_, Some(Err(why))) => return Err(format!("{place}: {why}")),
                    _ => return Err(format!("no pod of {place} is known")),
                });
                Ok(peers)
            }
            Place::Node { name: Some(name) } => {
                let ips = self.cast.find_node(name).into_iter().flat_map(|node| node.ips.iter().copied());
                addresses(ips, "the addresses of the node are not known")
            }
            Place::Node { name: None } => Err("which node it was is not known".to_owned()),
            Place::External { ip, network, .. } => self.outside(*ip, network.as_deref()),
            Place::Service { .. } => Err("a service opens no connections".to_owned()),
            Place::Local => Ok(Vec::new()),
            Place::Unknown { ip: Some(ip) } => Err(format!("who has {ip} is not known")),
            Place::Unknown { ip: None } => Err("who it was is not known".to_owned()),
        }
    }

    fn outside(&self, ip: Option<IpAddr>, network: Option<&str>) -> Result<Vec<Peer>, String> {
        let narrow = |ip: IpAddr| vec![Peer::Block(IpNet::from(ip), Vec::new())];
        match (self.choice.outside, ip) {
            (Outside::Cidr, Some(ip)) => Ok(narrow(ip)),
            (Outside::Network, _) => {
                let holds = |block: &IpNet| ip.is_none_or(|ip| block.contains(&ip));
                let named = self
                    .networks
                    .iter()
                    .filter(|(block, name)| network.is_none_or(|network| network == name) && holds(block));
                let named = named.map(|(block, _)| *block);
                match (ip, network) {
                    (Some(ip), _) => {
                        let narrowest = named.max_by_key(IpNet::prefix_len);
                        Ok(narrowest.map_or_else(|| narrow(ip), |block| vec![Peer::Block(block, Vec::new())]))
                    }
                    (None, Some(network)) => {
                        let blocks: Vec<Peer> = named.map(|block| Peer::Block(block, Vec::new())).collect();
                        if blocks.is_empty() {
                            Err(format!("no block of network {network} is known"))
                        } else {
                            Ok(blocks)
                        }
                    }
                    (None, None) => Err(NO_ADDRESS.to_owned()),
                }
            }
            (Outside::Any, ip) => {
                let families = [ip.is_none_or(|ip| ip.is_ipv4()), ip.is_none_or(|ip| ip.is_ipv6())];
                let blocks = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
                let chosen = blocks.into_iter().zip(families).filter(|(_, wanted)| *wanted);
                Ok(chosen.map(|(block, _)| self.everything(block)).collect())
            }
            (Outside::Cidr, None) => Err(NO_ADDRESS.to_owned()),
        }
    }

    /// All addresses of a family but the cluster's own, as far as known.
    fn everything(&self, of: IpNet) -> Peer {
        let ranges = self.ranges.iter().filter(|range| range.addr().is_ipv4() == of.addr().is_ipv4());
        let ranges: Vec<IpNet> = ranges.copied().collect();
        Peer::Block(of, IpNet::aggregate(&ranges))
    }

    fn add_dns(&self, subject: &Subject, wants: &mut Wants) {
        if self.choice.dns == Dns::None {
            return;
        }
        let places = if self.choice.dns == Dns::Cluster { self.dns_places() } else { BTreeSet::new() };
        let mut is_known = false;
        for (place, port) in &places {
            for peer in self.peers(place).unwrap_or_default() {
                is_known = true;
                if self.is_of(subject, place) {
                    continue;
                }
                let open = [Protocol::Udp, Protocol::Tcp].map(|protocol| (protocol, *port));
                let wanted = open.into_iter().filter(|at| !self.has_dns(subject, place, *at));
                for at in wanted.collect::<Vec<_>>() {
                    wants.peers.entry(peer.clone()).or_default().entry(at).or_default();
                    wants.dns.insert(peer.clone());
                }
            }
        }
        if !is_known {
            let ports = wants.peers.entry(Peer::Everyone).or_default();
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                ports.entry((protocol, DNS_PORT)).or_default();
            }
            wants.dns.insert(Peer::Everyone);
        }
    }

    fn is_of(&self, subject: &Subject, place: &Place) -> bool {
        match subject {
            Subject::Workload(own) => own == place,
            Subject::Namespace(_) => false,
        }
    }

    /// Whether what is declared already lets the pods of a workload ask there.
    fn has_dns(&self, subject: &Subject, place: &Place, (protocol, port): (Protocol, u16)) -> bool {
        let (Some(declared), Subject::Workload(own)) = (self.declared, subject) else { return false };
        allows(declared, self.cast, (own, place), (protocol, port), Direction::Egress)
    }

    /// Where DNS is asked: the pods behind the cluster's DNS service, else those that its label names.
    fn dns_places(&self) -> BTreeSet<(Place, u16)> {
        let mut places: BTreeSet<(Place, u16)> = BTreeSet::new();
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for backend in self.cast.backends(DNS.0, DNS.1, protocol, DNS_PORT) {
                if let Endpoint::Pod(pod) = &backend.endpoint {
                    places.insert((place_of(pod), backend.port));
                }
            }
        }
        if places.is_empty() {
            let is_dns = |pod: &Pod| {
                &*pod.namespace == DNS.0
                    && pod.labels.get(DNS_LABEL.0).is_some_and(|value| value == DNS_LABEL.1)
            };
            let members = self.cast.members().filter(|(_, member)| member.pods.iter().any(|pod| is_dns(pod)));
            places.extend(members.map(|(place, _)| (place.clone(), DNS_PORT)));
        }
        places
    }

    /// What of these flows cannot be allowed in a policy, on either side of it, and why.
    pub(super) fn left_out(&self, flow: &Flow<'_>) -> Option<LeftOut> {
        [Direction::Egress, Direction::Ingress].into_iter().find_map(|direction| {
            let is_covered = self.choice.directions.contains(&direction) && !flow.is_exempt(direction);
            let own = flow.own(direction);
            let why = if !is_covered {
                None
            } else if !self.subjects(own).is_empty() {
                self.peers(flow.other(direction)).err()
            } else if self.is_shut(own) {
                Some(match self.selectors.find(own) {
                    Some(Err(why)) => format!("{own}: {why}"),
                    _ => format!("no policy can be made for {own}"),
                })
            } else {
                None
            }?;
            Some(LeftOut { what: told(flow), why, count: flow.edge.count })
        })
    }

    /// Whether the default deny takes these pods.
    fn is_shut(&self, place: &Place) -> bool {
        let on_host = self.cast.find(place).is_none_or(|member| member.is_on_host());
        let there = place.namespace().is_some_and(|namespace| self.choice.is_wanted_namespace(namespace));
        self.choice.default_deny && there && !on_host
    }
}

const NO_ADDRESS: &str = "its address is not told: addresses of one name or network were put together";

fn addresses(ips: impl Iterator<Item = IpAddr>, why: &str) -> Result<Vec<Peer>, String> {
    let blocks: BTreeSet<IpNet> = ips.map(|ip| IpNet::from(ip.to_canonical())).collect();
    if blocks.is_empty() {
        return Err(why.to_owned());
    }
    Ok(blocks.into_iter().map(|block| Peer::Block(block, Vec::new())).collect())
}

fn service_of(edge: &Edge) -> Option<(&str, &str)> {
    match (&edge.service, &edge.destination) {
        (Some((namespace, name)), _) | (None, Place::Service { namespace, name }) => Some((namespace, name)),
        _ => None,
    }
}
