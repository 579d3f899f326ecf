//! The ends of what was observed, as the policies can be asked about them: pods as the cluster's objects have them, else as
//! the records do.
//!
//! Of a workload one pod stands for all that no policy tells apart. Which node ran which end is not told by an edge: pods
//! stand on a node that no other end is, the farthest that they can be from each other.

use super::peer::NAMESPACE_NAME;
use super::{Numbers, Peer, Policy, PolicySet, Port};
use crate::model::{
    Backend, ContainerPort, Direction, Edge, Endpoint, External, Labels, NOISE_LABELS, Node, Party, Place,
    Pod, Protocol, Traits, Workload,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A node that is none of the cluster's.
const ELSEWHERE: &str = "(another node)";

/// Kind of a workload that is a pod which nobody owns.
pub(super) const BARE: &str = "Pod";

/// Finds what stands behind the port of a service: namespace, name, protocol, port.
pub type Backing<'a> = Box<dyn Fn(&str, &str, Protocol, u16) -> Vec<Backend> + 'a>;

/// The pods of a workload.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// All that are known.
    pub pods: Vec<Arc<Pod>>,
    /// The cluster's objects have them; else they were made of what records say.
    pub declared: bool,
    openers: Vec<Arc<Pod>>,
    listeners: Vec<Arc<Pod>>,
}

impl Member {
    /// Whether its pods use their nodes' networks: no policy selects them.
    pub fn is_on_host(&self) -> bool {
        self.pods.iter().all(|pod| pod.host_network)
    }

    /// One of each kind of its pods.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.openers.iter()
    }

    /// The same, as openers.
    pub fn openers(&self) -> impl Iterator<Item = Party> {
        self.openers.iter().map(party)
    }

    /// The same as listeners: never the opener itself.
    pub fn listeners(&self) -> impl Iterator<Item = Party> {
        self.listeners.iter().map(party)
    }
}

/// Everybody who takes part.
pub struct Cast<'a> {
    members: BTreeMap<Place, Member>,
    nodes: BTreeMap<String, Arc<Node>>,
    backing: Backing<'a>,
}

impl<'a> Cast<'a> {
    /// Pods and nodes as objects have them, and who else is in the edges. `sets` are the policies that will be asked.
    pub fn new<'o>(
        pods: impl IntoIterator<Item = &'o Arc<Pod>>,
        nodes: impl IntoIterator<Item = &'o Arc<Node>>,
        backing: Backing<'a>,
        edges: &[Edge],
        sets: &[&PolicySet],
    ) -> Self {
        let mut members: BTreeMap<Place, Member> = BTreeMap::new();
        for pod in pods {
            let member = members.entry(place_of(pod)).or_default();
            member.declared = true;
            member.pods.push(Arc::clone(pod));
        }
        let ends = edges.iter().flat_map(|edge| {
            [(&edge.source, &edge.source_traits), (&edge.destination, &edge.destination_traits)]
        });
        for (place, traits) in ends {
            if let Place::Workload { .. } = place {
                let member = members.entry(place.clone()).or_default();
                if !member.declared {
                    member.add_made(place, traits);
                }
            }
        }
        let blocks = blocks(sets);
        for member in members.values_mut() {
            member.pods.sort_by(|one, other| one.name.cmp(&other.name));
            member.take_one_of_each(sets, &blocks);
        }
        let nodes = nodes.into_iter().map(|node| (node.name.clone(), Arc::clone(node))).collect();
        Self { members, nodes, backing }
    }

    /// The workloads, by place.
    pub fn members(&self) -> impl Iterator<Item = (&Place, &Member)> {
        self.members.iter()
    }

    /// The pods of this workload.
    pub fn find(&self, place: &Place) -> Option<&Member> {
        self.members.get(place)
    }

    /// The node of this name.
    pub fn find_node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// What stands behind a service.
    pub fn backends(&self, namespace: &str, name: &str, protocol: Protocol, port: u16) -> Vec<Backend> {
        (self.backing)(namespace, name, protocol, port)
    }

    /// Who may have opened a connection from there.
    pub fn openers(&self, place: &Place) -> Vec<Party> {
        match (place, self.members.get(place)) {
            (Place::Workload { .. }, Some(member)) => member.openers().collect(),
            _ => vec![self.other(place)],
        }
    }

    /// Who may have listened there, each with the port: behind a service each of its endpoints.
    pub fn listeners(&self, place: &Place, protocol: Protocol, port: Option<u16>) -> Vec<Party> {
        let with_port = |party: Party, port| Party { port, ..party };
        match (place, self.members.get(place), port) {
            (Place::Workload { .. }, Some(member), _) => {
                member.listeners().map(|party| with_port(party, port)).collect()
            }
            (Place::Service { namespace, name }, _, Some(number)) => {
                let backends = self.backends(namespace, name, protocol, number);
                let parties = backends.iter().flat_map(|backend| self.behind(backend));
                let parties: Vec<Party> = parties.collect();
                if parties.is_empty() { vec![with_port(self.other(place), port)] } else { parties }
            }
            _ => vec![with_port(self.other(place), port)],
        }
    }

    fn behind(&self, backend: &Backend) -> Vec<Party> {
        let port = Some(backend.port);
        match &backend.endpoint {
            Endpoint::Pod(pod) if !pod.host_network => match self.members.get(&place_of(pod)) {
                Some(member) => member.listeners().map(|party| Party { port, ..party }).collect(),
                None => vec![Party { port, ..party(&elsewhere(pod, "'")) }],
            },
            endpoint => vec![Party { endpoint: endpoint.clone(), ip: Some(backend.ip), port }],
        }
    }

    fn other(&self, place: &Place) -> Party {
        let unknown = |reason: String| Endpoint::Unknown { reason, pod_uid: None };
        let (endpoint, ip) = match place {
            Place::Workload { .. } => (unknown(format!("no pod of {place} is known")), None),
            Place::Service { .. } => (unknown(format!("what stands behind {place} is not known")), None),
            Place::Node { name: Some(name) } => match self.nodes.get(&**name) {
                Some(node) => (Endpoint::Node(Arc::clone(node)), None),
                None => {
                    let node = Node { name: name.to_string(), ..Node::default() };
                    (Endpoint::Node(Arc::new(node)), None)
                }
            },
            Place::Node { name: None } => (unknown("which node it was is not known".to_owned()), None),
            Place::External { ip, network, .. } => {
                (Endpoint::External(External { network: network.clone() }), *ip)
            }
            Place::Local => (Endpoint::Local, None),
            Place::Unknown { ip: Some(ip) } => (unknown(format!("who has {ip} is not known")), Some(*ip)),
            Place::Unknown { ip: None } => (unknown("who it was is not known".to_owned()), None),
        };
        Party { endpoint, ip, port: None }
    }

    /// The range that an end's address may be out of, as a question has it: an unknown end may be a pod's own node.
    pub fn range_of(one: &Party, other: &Party) -> Option<&'static str> {
        let is_unknown = |party: &Party| matches!(party.endpoint, Endpoint::Unknown { .. });
        (is_unknown(one) || is_unknown(other)).then_some(ELSEWHERE)
    }
}

impl Member {
    /// Adds a pod made of what records say, where there is none like it.
    fn add_made(&mut self, place: &Place, traits: &Traits) {
        let Place::Workload { namespace, owner, name } = place else { return };
        // Of a namespace of which nothing is told, at least the name is known.
        let is_seen = traits.namespace_labels.contains_key(NAMESPACE_NAME);
        let namespace_labels = if is_seen { Arc::clone(&traits.namespace_labels) } else { Arc::default() };
        let like = |pod: &Arc<Pod>| {
            (&pod.labels, &pod.namespace_labels, pod.host_network)
                == (&traits.labels, &namespace_labels, traits.host_network)
        };
        if self.pods.iter().any(like) {
            return;
        }
        let number = self.pods.len();
        let is_bare = &**owner == BARE;
        let workload = Workload { kind: owner.to_string(), name: name.to_string(), group: String::new() };
        self.pods.push(Arc::new(Pod {
            namespace: Arc::clone(namespace),
            name: if is_bare { Arc::clone(name) } else { format!("{name}-{number}").into() },
            uid: format!("{place} {number}").into(),
            labels: Arc::clone(&traits.labels),
            namespace_labels,
            workload: (!is_bare).then(|| Arc::new(workload)),
            host_network: traits.host_network,
            ..Pod::default()
        }));
    }

    fn take_one_of_each(&mut self, sets: &[&PolicySet], blocks: &BTreeSet<IpNet>) {
        let tells = |key: &str| !NOISE_LABELS.contains(&key) || sets.iter().any(|set| set.tells_apart(key));
        let mut seen = BTreeSet::new();
        for pod in &self.pods {
            let labels: Vec<(String, String)> = (pod.labels.iter())
                .filter(|(key, _)| tells(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let ports: BTreeSet<_> =
                pod.ports.iter().map(|port| (port.name.clone(), port.port, port.protocol)).collect();
            // Blocks of addresses may tell pods apart, too.
            let within = |ip: &IpAddr| blocks.iter().map(|block| block.contains(ip)).collect::<Vec<_>>();
            let ips: BTreeSet<_> = pod.ips.iter().map(|ip| (ip.is_ipv4(), within(ip))).collect();
            if seen.insert((labels, Labels::clone(&pod.namespace_labels), ports, pod.host_network, ips)) {
                self.openers.push(elsewhere(pod, ""));
                self.listeners.push(elsewhere(pod, "'"));
            }
        }
    }
}

/// The place of a pod's workload; one that nobody owns is its own.
pub fn place_of(pod: &Pod) -> Place {
    let (owner, name) = match &pod.workload {
        Some(workload) => (workload.kind.as_str().into(), workload.name.as_str().into()),
        None => (BARE.into(), Arc::clone(&pod.name)),
    };
    Place::Workload { namespace: Arc::clone(&pod.namespace), owner, name }
}

/// The same pod on a node that no other end is; the mark makes it another one of its workload.
fn elsewhere(pod: &Arc<Pod>, mark: &str) -> Arc<Pod> {
    if pod.host_network {
        return Arc::clone(pod);
    }
    let uid = format!("{}{mark}", pod.uid).into();
    let name = format!("{}{mark}", pod.name).into();
    Arc::new(Pod { uid, name, node: Some(ELSEWHERE.into()), ..Pod::clone(pod) })
}

fn party(pod: &Arc<Pod>) -> Party {
    Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: None, port: None }
}

/// The peers and ports of every rule of these sets.
fn rules<'s>(sets: &[&'s PolicySet]) -> impl Iterator<Item = (&'s [Peer], &'s [Port])> {
    fn both<'s>(peers: Option<&'s Vec<Peer>>, ports: Option<&'s Vec<Port>>) -> (&'s [Peer], &'s [Port]) {
        (peers.map_or(&[], Vec::as_slice), ports.map_or(&[], Vec::as_slice))
    }
    let policies = sets.iter().flat_map(|set| set.policies());
    policies.flat_map(|policy| {
        let of = |direction| -> Vec<_> {
            match &**policy {
                Policy::NetworkPolicy(policy) => {
                    let rules = policy.rules(direction).iter();
                    rules.map(|rule| both(rule.peers.as_ref(), rule.ports.as_ref())).collect()
                }
                Policy::Cluster(policy) => {
                    let rules = policy.rules(direction).iter();
                    rules.map(|rule| both(Some(&rule.peers), rule.ports.as_ref())).collect()
                }
                Policy::NotUnderstood(_) => Vec::new(),
            }
        };
        [of(Direction::Egress), of(Direction::Ingress)].concat()
    })
}

/// The blocks of addresses that rules of these sets name.
fn blocks(sets: &[&PolicySet]) -> BTreeSet<IpNet> {
    let peers = rules(sets).flat_map(|(peers, _)| peers);
    let blocks = peers.filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        _ => None,
    });
    blocks.flat_map(|block| block.except.iter().chain([&block.block])).copied().collect()
}

/// The names of ports that rules of these sets open.
pub fn port_names(sets: &[&PolicySet]) -> BTreeSet<String> {
    let name = |port: &Port| match port {
        Port::Of { numbers: Numbers::Named(name), .. } | Port::Named(name) => Some(name.clone()),
        _ => None,
    };
    rules(sets).flat_map(|(_, ports)| ports).filter_map(name).collect()
}

/// The same end, as if it declared this port under all of these names: where that changes an answer about a pod of which
/// only records tell, the answer hangs on what they do not tell.
pub fn naming(party: &Party, names: &BTreeSet<String>, protocol: Protocol, port: u16) -> Option<Party> {
    let pod = party.endpoint.as_pod()?;
    let ports = names.iter().map(|name| ContainerPort { name: Some(name.clone()), port, protocol }).collect();
    let endpoint = Endpoint::Pod(Arc::new(Pod { ports, ..Pod::clone(pod) }));
    Some(Party { endpoint, ..party.clone() })
}
