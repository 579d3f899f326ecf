//! A pod, cut down while it is parsed: of 7.5 kB, of which managed fields are 44 %, a few hundred bytes are kept.
//!
//! The other kinds are rare or small, and are read whole.

use super::super::pods::{MIRROR, STATIC_UID};
use super::read::{Head, HeadMeta};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is read of a pod.
#[derive(Debug, Deserialize)]
pub(super) struct CutPod {
    #[serde(default)]
    metadata: CutMeta,
    #[serde(default)]
    spec: Option<CutSpec>,
    #[serde(default)]
    status: Option<CutStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CutMeta {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<CutAnnotations>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
}

/// What tells of a static pod's mirror; no other is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CutAnnotations {
    #[serde(rename = "kubernetes.io/config.hash")]
    config_hash: Option<String>,
    #[serde(rename = "kubernetes.io/config.mirror")]
    config_mirror: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CutSpec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    host_network: Option<bool>,
    containers: Option<Vec<CutContainer>>,
    init_containers: Option<Vec<CutContainer>>,
    ephemeral_containers: Option<Vec<CutContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CutContainer {
    name: String,
    image: Option<String>,
    ports: Option<Vec<core::ContainerPort>>,
    restart_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CutStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<CutIp>>,
    container_statuses: Option<Vec<CutContainerStatus>>,
    init_container_statuses: Option<Vec<CutContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<CutContainerStatus>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CutIp {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CutContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    #[serde(rename = "imageID")]
    image_id: String,
}

impl CutPod {
    /// What every object has.
    pub(super) fn take_head(&mut self) -> Head {
        let CutMeta { namespace, name, resource_version, .. } = &mut self.metadata;
        let (namespace, name, resource_version) = (namespace.clone(), name.clone(), resource_version.take());
        Head { metadata: HeadMeta { name, namespace, resource_version } }
    }
}

impl From<CutPod> for core::Pod {
    fn from(cut: CutPod) -> Self {
        let CutMeta { namespace, name, uid, labels, annotations, owner_references, .. } = cut.metadata;
        let annotations = annotations.map(|CutAnnotations { config_hash, config_mirror }| {
            let read = [(STATIC_UID, config_hash), (MIRROR, config_mirror)];
            read.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
        });
        Self {
            metadata: ObjectMeta {
                namespace,
                name,
                uid,
                labels,
                annotations,
                owner_references,
                ..ObjectMeta::default()
            },
            spec: cut.spec.map(spec),
            status: cut.status.map(status),
        }
    }
}

fn spec(cut: CutSpec) -> core::PodSpec {
    let list = |containers: Vec<CutContainer>| containers.into_iter().map(container).collect();
    let ephemeral = |cut: CutContainer| core::EphemeralContainer {
        name: cut.name,
        image: cut.image,
        ..core::EphemeralContainer::default()
    };
    core::PodSpec {
        node_name: cut.node_name,
        service_account_name: cut.service_account_name,
        host_network: cut.host_network,
        containers: list(cut.containers.unwrap_or_default()),
        init_containers: cut.init_containers.map(list),
        ephemeral_containers: cut.ephemeral_containers.map(|list| list.into_iter().map(ephemeral).collect()),
        ..core::PodSpec::default()
    }
}

fn container(cut: CutContainer) -> core::Container {
    let CutContainer { name, image, ports, restart_policy } = cut;
    core::Container { name, image, ports, restart_policy, ..core::Container::default() }
}

fn status(cut: CutStatus) -> core::PodStatus {
    let list = |statuses: Vec<CutContainerStatus>| {
        let status = |cut: CutContainerStatus| core::ContainerStatus {
            name: cut.name,
            container_id: cut.container_id,
            image_id: cut.image_id,
            ..core::ContainerStatus::default()
        };
        statuses.into_iter().map(status).collect()
    };
    let ips = |ips: Vec<CutIp>| ips.into_iter().map(|cut| core::PodIP { ip: cut.ip }).collect();
    core::PodStatus {
        phase: cut.phase,
        pod_ip: cut.pod_ip,
        pod_ips: cut.pod_ips.map(ips),
        container_statuses: cut.container_statuses.map(list),
        init_container_statuses: cut.init_container_statuses.map(list),
        ephemeral_container_statuses: cut.ephemeral_container_statuses.map(list),
        ..core::PodStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pods::read_pod;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_cut_off_is_not_missed() {
        let container = |name: &str| {
            json!({"name": name, "image": format!("registry/{name}:1"), "env": [{"name": "A"}],
            "restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 80, "protocol": "UDP"}]})
        };
        let state = |name: &str| {
            json!({"name": name, "containerID": format!("containerd://{name}"), "imageID": "sha", "image": "x",
            "ready": true, "restartCount": 0})
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": "shop", "name": "web", "uid": "u1", "labels": {"app": "web"},
                "annotations": {"kubernetes.io/config.hash": "h", "kubernetes.io/config.mirror": "h", "other": "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u2", "controller": true}],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "web", "hostNetwork": true, "volumes": [],
                "containers": [container("app")], "initContainers": [container("sidecar")],
                "ephemeralContainers": [{"name": "debug", "image": "registry/debug:1"}]
            },
            "status": {
                "phase": "Succeeded", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}],
                "containerStatuses": [state("app")], "initContainerStatuses": [state("sidecar")],
                "ephemeralContainerStatuses": [state("debug")]
            }
        });
        let whole: core::Pod = serde_json::from_value(pod.clone()).unwrap();
        let cut: CutPod = serde_json::from_value(pod).unwrap();
        let (whole, cut) = (read_pod(whole).unwrap(), read_pod(cut.into()).unwrap());
        assert_eq!(format!("{cut:?}"), format!("{whole:?}"));
        assert!(format!("{cut:?}").contains(r#"static_uid: Some("h")"#), "{cut:?}");
        let bare: CutPod =
            serde_json::from_str(r#"{"metadata":{"name":"a"},"spec":null,"status":{"podIPs":null}}"#)
                .unwrap();
        assert!(read_pod(bare.into()).is_ok());
    }
}
