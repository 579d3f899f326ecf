//! Pods, nodes and who owns them.

use super::defaults;
use super::objects::{FieldError, Key};
use crate::model::{Container, ContainerPort, Labels, Node, Pod, Protocol, Workload, normalise};
use foldhash::HashMap;
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// The labels by which an owner of ReplicaSets tells their pods apart, and what it is: it names a ReplicaSet by its own
/// name and that label's value.
const TEMPLATE_HASHES: [(&str, &str); 2] =
    [("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")];

/// A pod, before its namespace and its owner's owner are looked up.
#[derive(Debug)]
pub(super) struct ReadPod {
    pub(super) pod: Pod,
    pub(super) controller: Option<Arc<Workload>>,
}

impl ReadPod {
    /// The owner that its object names.
    pub(super) fn owner(&self) -> Option<&Workload> {
        self.controller.as_deref()
    }

    /// Its owner as people name it.
    pub(super) fn workload(&self, owners: &HashMap<Key, Option<Arc<Workload>>>) -> Option<Arc<Workload>> {
        self.controller.clone().and_then(|owner| workload(owner, &self.pod, owners))
    }

    /// Keeps its name and its namespace's once with those that are equal.
    pub(super) fn share_name(&mut self, (namespace, name): &(Arc<str>, Arc<str>)) {
        if (&self.pod.namespace, &self.pod.name) == (namespace, name) {
            (self.pod.namespace, self.pod.name) = (Arc::clone(namespace), Arc::clone(name));
        }
    }

    /// Fills in what other objects tell.
    pub(super) fn complete(
        self,
        namespaces: &HashMap<String, Arc<Labels>>,
        owners: &HashMap<Key, Option<Arc<Workload>>>,
    ) -> Pod {
        let Self { mut pod, controller } = self;
        // Without the Namespace object its labels stay empty: not even the name that every one has.
        pod.namespace_labels = namespaces.get(&*pod.namespace).cloned().unwrap_or_default();
        pod.workload = controller.and_then(|owner| workload(owner, &pod, owners));
        pod
    }
}

/// Whether its own owner is what people name. Of kinds of these names there are others: Volcano has a Job of its own.
pub(super) fn is_between(owner: &Workload) -> bool {
    matches!((&*owner.kind, &*owner.group), ("ReplicaSet", "apps") | ("Job", "batch"))
}

/// The owner as people name it: a ReplicaSet's Deployment, a Job's CronJob.
fn workload(
    owner: Arc<Workload>,
    pod: &Pod,
    owners: &HashMap<Key, Option<Arc<Workload>>>,
) -> Option<Arc<Workload>> {
    // A static pod's mirror is owned by its node.
    if owner.kind == "Node" {
        return None;
    }
    if !is_between(&owner) {
        return Some(owner);
    }
    let (kind, name) = (owner.kind.clone(), owner.name.clone());
    match owners.get(&Key { kind, namespace: pod.namespace.to_string(), name, trial: false }) {
        Some(Some(above)) => Some(Arc::clone(above)),
        Some(None) => Some(owner),
        None => Some(find_above(&owner, pod).map_or(owner, Arc::new)),
    }
}

/// The ReplicaSet is not known: its name tells who made it.
fn find_above(owner: &Workload, pod: &Pod) -> Option<Workload> {
    if owner.kind != "ReplicaSet" {
        return None;
    }
    TEMPLATE_HASHES.iter().find_map(|(label, kind)| {
        let name = owner.name.strip_suffix(pod.labels.get(*label)?.as_str())?.strip_suffix('-')?;
        let group = owner.group.clone();
        (!name.is_empty()).then(|| Workload { kind: (*kind).to_owned(), name: name.to_owned(), group })
    })
}

pub(super) fn owner_key(kind: &str, metadata: &ObjectMeta) -> Key {
    Key {
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone().unwrap_or_else(|| defaults::NAMESPACE.to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
        trial: false,
    }
}

/// The owner that controls an object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<Arc<Workload>> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    Some(Arc::new(Workload { kind: owner.kind.clone(), name: owner.name.clone(), group }))
}

/// Where the API's mirror of a static pod tells the uid that the kubelet runs it under.
pub(super) const STATIC_UID: &str = "kubernetes.io/config.hash";
/// What makes it a mirror.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The uid of a static pod. Who may write annotations may write any: it is believed of a mirror that its node controls, as
/// kubelets make them.
fn static_uid(metadata: &ObjectMeta, controller: Option<&Workload>, node: Option<&str>) -> Option<Arc<str>> {
    let annotations = metadata.annotations.as_ref().filter(|all| all.contains_key(MIRROR))?;
    let owner = controller.filter(|owner| owner.kind == "Node" && Some(&*owner.name) == node);
    owner.and_then(|_| annotations.get(STATIC_UID)).map(|uid| uid.as_str().into())
}

pub(super) fn read_pod(pod: core::Pod) -> Result<ReadPod, FieldError> {
    let core::Pod { metadata, spec, status } = pod;
    let controller = controller(&metadata);
    let spec = spec.unwrap_or_default();
    let status = status.unwrap_or_default();
    let static_uid = static_uid(&metadata, controller.as_deref(), spec.node_name.as_deref());
    let pod = Pod {
        ips: pod_ips(&status)?,
        containers: containers(&spec, &status).into(),
        ports: ports(&spec)?.into(),
        namespace: metadata.namespace.as_deref().unwrap_or(defaults::NAMESPACE).into(),
        name: metadata.name.unwrap_or_default().into(),
        uid: metadata.uid.unwrap_or_default().into(),
        static_uid,
        labels: Arc::new(metadata.labels.unwrap_or_default()),
        namespace_labels: Arc::default(),
        workload: None,
        service_account: spec.service_account_name.map(Arc::from),
        node: spec.node_name.filter(|name| !name.is_empty()).map(Arc::from),
        host_network: spec.host_network.unwrap_or_default(),
        terminated: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    };
    Ok(ReadPod { pod, controller })
}

fn pod_ips(status: &core::PodStatus) -> Result<Vec<IpAddr>, FieldError> {
    let listed = status.pod_ips.iter().flatten().filter(|listed| !listed.ip.is_empty());
    let listed =
        listed.enumerate().map(|(place, listed)| ip(&listed.ip, &format!("status.podIPs[{place}].ip")));
    let listed = listed.collect::<Result<Vec<_>, _>>()?;
    match status.pod_ip.as_deref() {
        Some(single) if listed.is_empty() && !single.is_empty() => Ok(vec![ip(single, "status.podIP")?]),
        _ => Ok(listed),
    }
}

fn containers(spec: &core::PodSpec, status: &core::PodStatus) -> Vec<Container> {
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let written = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let written = written.map(|container| (container.name.clone(), container.image.clone()));
    let written = written.chain(ephemeral.map(|container| (container.name.clone(), container.image.clone())));
    let told =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let told: Vec<_> = told.into_iter().flatten().flatten().collect();
    let complete = |(name, image): (String, Option<String>)| {
        let status = told.iter().find(|status| status.name == name);
        Container {
            id: status.and_then(|status| container_id(status.container_id.as_deref()?)),
            image_digest: status.and_then(|status| image_digest(&status.image_id)),
            image: image.unwrap_or_default(),
            name: name.into(),
        }
    };
    written.map(complete).collect()
}

/// `containerd://0123…`
fn container_id(written: &str) -> Option<String> {
    let id = written.rsplit_once("://").map_or(written, |(_, id)| id);
    Some(id.to_owned()).filter(|id| !id.is_empty())
}

/// `docker.io/library/nginx@sha256:0123…`, or the digest alone where the image has no name.
fn image_digest(written: &str) -> Option<String> {
    let digest = written.rsplit_once('@').map_or(written, |(_, digest)| digest);
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// The ports of the containers that stay: an ordinary init container is gone before anyone connects.
fn ports(spec: &core::PodSpec) -> Result<Vec<ContainerPort>, FieldError> {
    let sidecar = |init: &core::Container| init.restart_policy.as_deref() == Some("Always");
    let app = spec.containers.iter().enumerate().map(|(place, app)| ("containers", place, app));
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.filter(|(_, init)| sidecar(init)).map(|(place, init)| ("initContainers", place, init));
    let mut ports = Vec::new();
    for (list, place, container) in app.chain(init) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("spec.{list}[{place}].ports[{index}]");
            ports.push(ContainerPort {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: number(port.container_port, &format!("{field}.containerPort"))?,
                protocol: protocol(port.protocol.as_deref(), &format!("{field}.protocol"))?,
            });
        }
    }
    Ok(ports)
}

pub(super) fn read_node(node: core::Node) -> Result<Node, FieldError> {
    let core::Node { metadata, spec, status } = node;
    let spec = spec.unwrap_or_default();
    let addresses = status.and_then(|status| status.addresses).unwrap_or_default();
    let mut ips = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
            ips.push(ip(&address.address, &format!("status.addresses[{place}].address"))?);
        }
    }
    let listed = spec.pod_cidrs.unwrap_or_default();
    let single = spec.pod_cidr.filter(|cidr| listed.is_empty() && !cidr.is_empty());
    let cidrs = listed.iter().chain(&single).enumerate();
    let pod_cidrs = cidrs.map(|(place, cidr)| block(cidr, &format!("spec.podCIDRs[{place}]")));
    Ok(Node {
        name: metadata.name.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        ips,
        pod_cidrs: pod_cidrs.collect::<Result<_, _>>()?,
    })
}

pub(super) fn ip(written: &str, field: &str) -> Result<IpAddr, FieldError> {
    let read = decimal(written).parse().map(normalise);
    read.map_err(|_| FieldError::new(field, format!("`{written}` is no address")))
}

pub(super) fn block(written: &str, field: &str) -> Result<IpNet, FieldError> {
    decimal(written).parse().map_err(|_| FieldError::new(field, format!("`{written}` is no CIDR")))
}

/// API servers take leading zeros of an IPv4 address for decimal (`ParseIPSloppy` of k8s.io/utils/net), where they were
/// written before that was refused, or still are.
fn decimal(written: &str) -> Cow<'_, str> {
    let (address, length) = written.split_at(written.find('/').unwrap_or(written.len()));
    let (v6, v4) = address.split_at(address.rfind(':').map_or(0, |colon| colon + 1));
    if !v4.contains('.') {
        return Cow::Borrowed(written);
    }
    let digits = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let parts: Vec<String> = v4.split('.').map(digits).collect();
    Cow::Owned(format!("{v6}{}{length}", parts.join(".")))
}

pub(super) fn number(port: i32, field: &str) -> Result<u16, FieldError> {
    let read = u16::try_from(port).ok().filter(|port| *port != 0);
    read.ok_or_else(|| FieldError::new(field, format!("{port} is not between 1 and 65535")))
}

pub(super) fn protocol(written: Option<&str>, field: &str) -> Result<Protocol, FieldError> {
    match written.unwrap_or(defaults::PROTOCOL) {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(FieldError::new(field, format!("`{other}` is not supported: must be TCP, UDP or SCTP"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, block, ip, read_pod};
    use crate::model::Workload;
    use foldhash::HashMap;
    use serde_json::{from_value, json};
    use std::sync::Arc;

    #[test]
    fn leading_zeros_are_decimal_as_for_an_api_server() {
        let rows = [
            ("010.0.0.01", Some("10.0.0.1")),
            ("0.0.0.0", Some("0.0.0.0")),
            ("::ffff:010.000.0.1", Some("10.0.0.1")),
            ("fd00::01", Some("fd00::1")),
            ("010.0.0.0256", None),
            ("10..0.1", None),
            ("10.0.0.0x1", None),
        ];
        for (written, expected) in rows {
            let read = ip(written, "f").ok().map(|ip| ip.to_string());
            assert_eq!(read.as_deref(), expected, "{written}");
        }
        assert_eq!(block("010.0.0.0/8", "f").unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn a_static_uid_is_believed_of_a_nodes_mirror_alone() {
        let rows = [
            ("a mirror", "kubernetes.io/config.mirror", "Node", "n1", Some("h")),
            ("no mirror", "other", "Node", "n1", None),
            ("another node's", "kubernetes.io/config.mirror", "Node", "n2", None),
            ("no node's", "kubernetes.io/config.mirror", "ReplicaSet", "n1", None),
        ];
        for (name, mirror, kind, owner, expected) in rows {
            let pod = json!({
                "metadata": {
                    "name": "etcd-n1", "uid": "u", "annotations": {"kubernetes.io/config.hash": "h", mirror: "h"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": owner, "uid": "o", "controller": true}],
                },
                "spec": {"nodeName": "n1", "containers": []},
            });
            let read = read_pod(from_value(pod).unwrap()).unwrap();
            assert_eq!(read.pod.static_uid.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_job_of_another_group_is_not_taken_for_one_of_the_same_name() {
        let (kind, namespace, name) = ("Job".to_owned(), "shop".to_owned(), "tidy".to_owned());
        let group = "batch".to_owned();
        let cron = Arc::new(Workload { kind: "CronJob".to_owned(), name: "nightly".to_owned(), group });
        let key = Key { kind, namespace, name, trial: false };
        let owners: HashMap<_, _> = [(key, Some(cron))].into_iter().collect();
        for (version, expected) in
            [("batch/v1", ("CronJob", "nightly")), ("batch.volcano.sh/v1alpha1", ("Job", "tidy"))]
        {
            let pod = json!({
                "metadata": {
                    "name": "tidy-0", "namespace": "shop", "uid": "u",
                    "ownerReferences": [
                        {"apiVersion": version, "kind": "Job", "name": "tidy", "uid": "o", "controller": true}
                    ],
                },
                "spec": {"containers": []},
            });
            let read = read_pod(from_value(pod).unwrap()).unwrap();
            let whose = read.complete(&HashMap::default(), &owners).workload.unwrap();
            assert_eq!((&*whose.kind, &*whose.name), expected, "{version}");
        }
    }
}
