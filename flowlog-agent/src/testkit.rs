//! Builders for tests: one line each, naming only what the case is about.

mod flow;

pub use crate::cluster::Snapshot;
pub use flow::flow;

use crate::cluster::{Loaded, Settings, Store, defaults};
use crate::model::{
    Basis, Class, ContainerPort, Decision, Direction, Edge, Endpoint, External, Labels, Node, Party, Place,
    Pod, Protocol, RecordRef, State, Told, Traits, Workload,
};
use crate::policy::kinds::{
    admin_network_policy, baseline_admin_network_policy, cluster_network_policy, network_policy,
};
use crate::policy::{Policy, PolicySet};
use jiff::Timestamp;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// So many seconds after the tests' own zero.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// An address.
pub fn ip(written: &str) -> IpAddr {
    written.parse().unwrap_or_else(|error| panic!("{written}: {error}"))
}

/// A pod `namespace/name`, whose namespace has only its name as a label.
pub fn pod(path: &str) -> PodBuilder {
    let (namespace, name) = path.split_once('/').expect("namespace/name");
    let labels = [("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())];
    PodBuilder(Pod {
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("uid-{namespace}-{name}").into(),
        namespace_labels: Arc::new(Labels::from(labels)),
        ..Pod::default()
    })
}

/// A pod in the making.
#[derive(Clone)]
pub struct PodBuilder(Pod);

impl PodBuilder {
    /// Adds an address.
    pub fn ip(mut self, written: &str) -> Self {
        self.0.ips.push(ip(written));
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        Arc::make_mut(&mut self.0.labels).insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a label of its namespace.
    pub fn namespace_label(mut self, key: &str, value: &str) -> Self {
        Arc::make_mut(&mut self.0.namespace_labels).insert(key.to_owned(), value.to_owned());
        self
    }

    /// Its namespace was never seen.
    pub fn unseen_namespace(mut self) -> Self {
        self.0.namespace_labels = Arc::default();
        self
    }

    /// Another uid.
    pub fn uid(mut self, uid: &str) -> Self {
        self.0.uid = uid.into();
        self
    }

    /// Runs on this node.
    pub fn node(mut self, name: &str) -> Self {
        self.0.node = Some(name.into());
        self
    }

    /// Declares a port.
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        let port = ContainerPort { name: Some(name.to_owned()), port, protocol };
        self.0.ports = self.0.ports.iter().cloned().chain([port]).collect();
        self
    }

    /// Owned by a workload `Kind/name`.
    pub fn owner(mut self, path: &str) -> Self {
        let (kind, name) = path.split_once('/').expect("Kind/name");
        let workload = Workload { kind: kind.to_owned(), name: name.to_owned(), group: String::new() };
        self.0.workload = Some(Arc::new(workload));
        self
    }

    /// In the node's own network.
    pub fn host_network(mut self) -> Self {
        self.0.host_network = true;
        self
    }

    /// Succeeded or failed.
    pub fn terminated(mut self) -> Self {
        self.0.terminated = true;
        self
    }

    /// The pod.
    pub fn build(self) -> Arc<Pod> {
        Arc::new(self.0)
    }

    /// The pod as an end of a connection, with its first address.
    pub fn party(self) -> Party {
        let ip = self.0.ips.first().copied();
        Party { ip, endpoint: Endpoint::Pod(self.build()), port: None }
    }
}

/// A node with one address.
pub fn node(name: &str, address: &str) -> Node {
    Node { name: name.to_owned(), ips: vec![ip(address)], ..Node::default() }
}

/// A node as an end of a connection.
pub fn node_party(name: &str, address: &str) -> Party {
    Party { endpoint: Endpoint::Node(Arc::new(node(name, address))), ip: Some(ip(address)), port: None }
}

/// An address outside the cluster, as an end.
pub fn external(address: &str) -> Party {
    Party { endpoint: Endpoint::External(External::default()), ip: Some(ip(address)), port: None }
}

/// An end that is not known.
pub fn unknown(address: Option<&str>) -> Party {
    let endpoint = Endpoint::Unknown { reason: "nobody knows it".to_owned(), pod_uid: None };
    Party { endpoint, ip: address.map(ip), port: None }
}

/// The pods of a workload, `namespace/Kind/name`.
pub fn workload(path: &str) -> Place {
    let parts: Vec<Arc<str>> = path.split('/').map(Into::into).collect();
    let [namespace, owner, name] = parts.try_into().expect("namespace/Kind/name");
    Place::Workload { namespace, owner, name }
}

/// An address outside the cluster, as a place.
pub fn outside(address: &str) -> Place {
    Place::External { ip: Some(ip(address)), name: None, network: None }
}

/// One connection by TCP that no policy restricted and that was established, told by the opener's node.
pub fn edge(source: Place, destination: Place, port: u16) -> EdgeBuilder {
    let told = || Told { decision: Decision::Allow, basis: Basis::Unselected, policies: Arc::from([]) };
    EdgeBuilder(Edge {
        source,
        destination,
        source_traits: Arc::default(),
        destination_traits: Arc::default(),
        service: None,
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        port: Some(port),
        class: Class::Unrestricted,
        state: State::Established,
        decision: Decision::Allow,
        egress: told(),
        ingress: told(),
        count: 1,
        first: at(0),
        last: at(0),
        bytes_sent: 0,
        bytes_received: 0,
        example: RecordRef { file: "flows.json".into(), line: Some(1) },
    })
}

/// An edge in the making.
#[derive(Clone)]
pub struct EdgeBuilder(Edge);

impl EdgeBuilder {
    /// Over UDP, answered.
    pub fn udp(mut self) -> Self {
        (self.0.protocol, self.0.state) = (Protocol::Udp, State::Answered);
        self
    }

    /// So many attempts, from the tests' own zero to so many seconds after it.
    pub fn times(mut self, count: u64, seconds: i64) -> Self {
        (self.0.count, self.0.last) = (count, at(seconds));
        self
    }

    /// Of another class.
    pub fn class(mut self, class: Class) -> Self {
        self.0.class = class;
        self
    }

    /// Dialed by a service `namespace/name`.
    pub fn service(mut self, path: &str) -> Self {
        let (namespace, name) = path.split_once('/').expect("namespace/name");
        self.0.service = Some((namespace.into(), name.into()));
        self
    }

    /// Told by the listener's node.
    pub fn ingress(mut self) -> Self {
        self.0.direction = Direction::Ingress;
        self
    }

    /// Labels of the ends, as records tell them.
    pub fn labels(mut self, source: &[(&str, &str)], destination: &[(&str, &str)]) -> Self {
        let traits = |place: &Place, labels: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let namespace = place.namespace().map(ToString::to_string);
            let of_namespace = namespace.map(|name| ("kubernetes.io/metadata.name".to_owned(), name));
            Arc::new(Traits {
                labels: Arc::new(labels.iter().map(own).collect()),
                namespace_labels: Arc::new(of_namespace.into_iter().collect()),
                ..Traits::default()
            })
        };
        self.0.source_traits = traits(&self.0.source, source);
        self.0.destination_traits = traits(&self.0.destination, destination);
        self
    }

    /// What was said in both directions.
    pub fn told(mut self, egress: Told, ingress: Told) -> Self {
        self.0.decision = crate::policy::combine(egress.decision, ingress.decision);
        (self.0.egress, self.0.ingress) = (egress, ingress);
        self
    }

    /// Anything else.
    pub fn with(mut self, change: impl FnOnce(&mut Edge)) -> Self {
        change(&mut self.0);
        self
    }

    /// The edge.
    pub fn build(self) -> Edge {
        self.0
    }
}

/// A NetworkPolicy `namespace/name` with this `spec`, defaulted but not validated.
pub fn network_policy(path: &str, spec: &str) -> Arc<Policy> {
    let (namespace, name) = path.split_once('/').expect("namespace/name");
    let spec: serde_json::Value =
        serde_saphyr::from_str(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let metadata = serde_json::json!({"namespace": namespace, "name": name});
    let mut object = serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap();
    defaults::network_policy(&mut object);
    Arc::new(Policy::NetworkPolicy(network_policy::read(&object)))
}

/// A policy of the cluster, `kind name` by its short kind (`anp`, `banp`, `cnp`), with this `spec`.
pub fn cluster_policy(title: &str, spec: &str) -> Arc<Policy> {
    let (kind, name) = title.split_once(' ').expect("kind name");
    let spec: serde_json::Value =
        serde_saphyr::from_str(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let object = serde_json::json!({"metadata": {"name": name}, "spec": spec});
    let mut object = serde_json::from_value(object).unwrap();
    defaults::cluster_policy(&mut object);
    Arc::new(Policy::Cluster(match kind {
        "anp" => admin_network_policy::read(&object),
        "banp" => baseline_admin_network_policy::read(&object),
        "cnp" => {
            let tier = cluster_network_policy::tier(object.spec.tier.as_deref().expect("tier")).unwrap();
            cluster_network_policy::read(&object, tier)
        }
        other => panic!("{other}"),
    }))
}

/// NetworkPolicies `p0`, `p1`, … of one namespace, by their specs.
pub fn policies(namespace: &str, specs: &[&str]) -> PolicySet {
    let numbered = specs.iter().enumerate();
    let read = numbered.map(|(number, spec)| network_policy(&format!("{namespace}/p{number}"), spec));
    PolicySet::new(read, crate::policy::BlockScope::default())
}

/// Manifests, as a folder with one file would hold them.
pub fn loaded(manifests: &str) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.add_text(Path::new("cluster.yaml"), manifests);
    loaded
}

/// A snapshot of manifests, taken at the tests' own zero.
pub fn snapshot(manifests: &str) -> Arc<Snapshot> {
    let store = Store::start(Settings::default(), loaded(manifests), at(0));
    store.unwrap_or_else(|error| panic!("{error}")).snapshot()
}
