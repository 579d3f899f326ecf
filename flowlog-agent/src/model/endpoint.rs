//! Who stands at an end of a flow.

use super::Protocol;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Labels of a Kubernetes object, in key order.
pub type Labels = BTreeMap<String, String>;

/// Label keys whose values only tell one roll-out, or one pod of a workload, from the next.
pub const NOISE_LABELS: [&str; 7] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "apps.kubernetes.io/pod-index",
    "statefulset.kubernetes.io/pod-name",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
];

/// The owner of a pod as people name it: the Deployment, not its ReplicaSet; the CronJob, not its Job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Kind of the owner, as the API writes it (`Deployment`).
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// API group of the kind (`apps`); empty for the core group.
    pub group: String,
}

/// One container of a pod, as spec and status tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Container {
    /// Name in the pod.
    pub name: Arc<str>,
    /// Runtime id without its scheme (`containerd://` removed); absent until the status has it.
    pub id: Option<String>,
    /// Image as the spec names it.
    pub image: String,
    /// `sha256:…` of the image that runs, where the status tells it.
    pub image_digest: Option<String>,
}

/// A port that a container declares; only containers that stay (app containers and sidecars) are listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// The port's name, if it has one.
    pub name: Option<String>,
    /// Number, 1–65535.
    pub port: u16,
    /// Protocol; the API server's default is TCP.
    pub protocol: Protocol,
}

/// A pod, cut down to what flowlog reads. What the pods of one workload have alike they can share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Annotation `kubernetes.io/config.hash` of a mirror that its node controls: the uid under which the kubelet runs a
    /// static pod, and names its cgroups; the API's mirror of it has another.
    pub static_uid: Option<Arc<str>>,
    /// The pod's labels.
    pub labels: Arc<Labels>,
    /// Labels of its namespace, `kubernetes.io/metadata.name` included.
    pub namespace_labels: Arc<Labels>,
    /// Who owns it; absent for a pod that nobody owns.
    pub workload: Option<Arc<Workload>>,
    /// `status.podIPs`, IPv4-mapped addresses normalised.
    pub ips: Vec<IpAddr>,
    /// App containers, init containers and ephemeral containers.
    pub containers: Arc<[Container]>,
    /// Ports of app containers and of sidecars (init containers with `restartPolicy: Always`).
    pub ports: Arc<[ContainerPort]>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<Arc<str>>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// `spec.hostNetwork`: the pod is its node, no policy selects it.
    pub host_network: bool,
    /// Phase Succeeded or Failed: its address may belong to another pod by now.
    pub terminated: bool,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Internal and external addresses of its status.
    pub ips: Vec<IpAddr>,
    /// `spec.podCIDRs`: an address in here that no pod has is unknown, not external.
    pub pod_cidrs: Vec<IpNet>,
}

/// A service port that was dialed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name of the port that was dialed, if it has one.
    pub port_name: Option<String>,
}

/// Why a service address leads to no backend that could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceNote {
    /// No ready endpoint behind the dialed port.
    NoEndpoints,
    /// The service has no such port (kube-proxy rejects or drops it).
    NoSuchPort,
}

/// What stands behind an address and port that were dialed.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The endpoint itself has the address.
    Endpoint(Endpoint),
    /// A service address.
    Service {
        /// The service and the port that was dialed.
        service: Arc<Service>,
        /// What kube-proxy would choose from, of the family that was dialed; empty where `note` says why, or where they
        /// may not be read yet.
        backends: Arc<[Backend]>,
        /// Why it leads nowhere, if so.
        note: Option<ServiceNote>,
    },
}

/// One endpoint behind a service address.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its address.
    pub ip: IpAddr,
    /// The port that it listens on.
    pub port: u16,
    /// Who has the address.
    pub endpoint: Endpoint,
}

impl Target {
    /// The endpoint as a record shows it, while no backend is known.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Endpoint(endpoint) => endpoint.clone(),
            Self::Service { service, .. } => Endpoint::Service(Arc::clone(service)),
        }
    }
}

/// An address outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// Name of the block that the address lies in, if any: one that is configured, or one that a cloud publishes.
    pub network: Option<Arc<str>>,
}

/// Who stands at an end of a flow.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// A pod with an address of its own, or a host-network pod that was recognised by its cgroup.
    Pod(Arc<Pod>),
    /// A service address whose backend is not known.
    Service(Arc<Service>),
    /// A node, or a process outside any pod on this node.
    Node(Arc<Node>),
    /// Outside the cluster.
    External(External),
    /// The loopback of the opener's own network namespace.
    Local,
    /// Not known, and why, in words for a reader of the log.
    Unknown {
        /// Why the endpoint is not known.
        reason: String,
        /// The pod's uid where at least the cgroup told it.
        pod_uid: Option<String>,
    },
}

/// One end of a flow: who it is, and the address it used.
#[derive(Clone, Debug, PartialEq)]
pub struct Party {
    /// Who.
    pub endpoint: Endpoint,
    /// Address on the wire; absent for an opener whose address was never seen.
    pub ip: Option<IpAddr>,
    /// Port; absent where the protocol has none or it was never seen.
    pub port: Option<u16>,
}

impl Endpoint {
    /// The pod, if this is one.
    pub fn as_pod(&self) -> Option<&Arc<Pod>> {
        match self {
            Self::Pod(pod) => Some(pod),
            _ => None,
        }
    }
}
