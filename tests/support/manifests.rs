//! Cluster manifests as the world needs them: what is to run on a node, and what stands behind a service.
//!
//! A reading of its own, on purpose: the agent under test reads the same files by other code.

use crate::cgroup::Qos;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A pod that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`.
    pub node: String,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.qosClass`.
    pub qos: Qos,
    /// Containers of the status.
    pub containers: Vec<ContainerPlan>,
}

impl PodPlan {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A container that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlan {
    /// Name in the pod.
    pub name: String,
    /// Scheme of `containerID`.
    pub runtime: String,
    /// The id without its scheme.
    pub id: String,
}

/// One port of a service, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name:port name`, for comments in the ruleset.
    pub title: String,
    /// `spec.clusterIPs`.
    pub addresses: Vec<IpAddr>,
    /// Port of the service.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Ready endpoints of both families with their ports.
    pub backends: Vec<(IpAddr, u16)>,
}

/// A node, cut down to its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// Name.
    pub name: String,
    /// `InternalIP`s of its status.
    pub ips: Vec<IpAddr>,
    /// `spec.podCIDRs` as written.
    pub pod_cidrs: Vec<String>,
}

/// All objects of a folder.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: Vec<Value>,
}

impl Cluster {
    /// Read every `.yaml`, `.yml` and `.json` file of a folder, in name order; lists are taken apart.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = fs::read_dir(folder)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
            })
            .with_context(|| format!("read the manifests in {}", folder.display()))?;
        files.retain(|path| is_manifest(path));
        files.sort();
        let mut cluster = Self::default();
        for path in &files {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            cluster.add_text(&text).with_context(|| format!("parse {}", path.display()))?;
        }
        Ok(cluster)
    }

    /// Objects made by a test itself.
    pub fn from_objects(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut cluster = Self::default();
        objects.into_iter().for_each(|object| cluster.add(object));
        cluster
    }

    /// Write all objects as one manifest file, for the agent to read.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("cluster.json");
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": self.objects });
        fs::write(&path, list.to_string()).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn add_text(&mut self, text: &str) -> Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
        documents.into_iter().for_each(|document| self.add(document));
        Ok(())
    }

    fn add(&mut self, mut object: Value) {
        match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().for_each(|item| self.add(item)),
            _ if object.is_null() => {}
            _ => self.objects.push(object),
        }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Every pod that has an address, on whatever node.
    pub fn pods(&self) -> Result<Vec<PodPlan>> {
        self.of_kind("Pod")
            .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
            .map(|pod| pod_plan(pod).with_context(|| format!("pod {}", name_of(pod))))
            .collect()
    }

    /// Every node.
    pub fn nodes(&self) -> Result<Vec<NodePlan>> {
        self.of_kind("Node")
            .map(|node| node_plan(node).with_context(|| format!("node {}", name_of(node))))
            .collect()
    }

    /// Every port of every service that has an address, with its backends.
    pub fn service_ports(&self) -> Result<Vec<ServicePort>> {
        let mut ports = Vec::new();
        for service in self.of_kind("Service") {
            let name = name_of(service);
            let addresses = service_addresses(service).with_context(|| format!("service {name}"))?;
            for port in list(&service["spec"]["ports"]).filter(|_| !addresses.is_empty()) {
                let port_name = port["name"].as_str().unwrap_or_default();
                let backends =
                    self.backends(service, port_name).with_context(|| format!("service {name}"))?;
                ports.push(ServicePort {
                    title: format!("{name}:{port_name}"),
                    addresses: addresses.clone(),
                    port: port_of(port).with_context(|| format!("service {name}"))?,
                    protocol: port["protocol"].as_str().unwrap_or("TCP").to_lowercase(),
                    backends,
                });
            }
        }
        Ok(ports)
    }

    fn backends(&self, service: &Value, port_name: &str) -> Result<Vec<(IpAddr, u16)>> {
        let mut backends = Vec::new();
        let slices = self.of_kind("EndpointSlice").filter(|slice| {
            slice["metadata"]["namespace"] == service["metadata"]["namespace"]
                && slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
        });
        for slice in slices {
            let number = list(&slice["ports"])
                .find(|port| port["name"].as_str().unwrap_or_default() == port_name)
                .map(port_of)
                .transpose()?;
            let ready =
                list(&slice["endpoints"]).filter(|end| end["conditions"]["ready"] != Value::Bool(false));
            for address in ready.flat_map(|end| list(&end["addresses"])) {
                backends.extend(number.map(|number| address_of(address).map(|ip| (ip, number))).transpose()?);
            }
        }
        Ok(backends)
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().and_then(|end| end.to_str()).is_some_and(|end| ["yaml", "yml", "json"].contains(&end))
}

fn pod_plan(pod: &Value) -> Result<PodPlan> {
    Ok(PodPlan {
        namespace: pod["metadata"]["namespace"].as_str().unwrap_or("default").to_owned(),
        name: text(&pod["metadata"]["name"], "metadata.name")?,
        uid: text(&pod["metadata"]["uid"], "metadata.uid")?,
        node: text(&pod["spec"]["nodeName"], "spec.nodeName")?,
        ips: list(&pod["status"]["podIPs"]).map(|ip| address_of(&ip["ip"])).collect::<Result<_>>()?,
        host_network: pod["spec"]["hostNetwork"] == Value::Bool(true),
        qos: match pod["status"]["qosClass"].as_str() {
            Some("Guaranteed") => Qos::Guaranteed,
            Some("Burstable") => Qos::Burstable,
            Some("BestEffort") | None => Qos::BestEffort,
            Some(other) => bail!("unknown status.qosClass `{other}`"),
        },
        containers: list(&pod["status"]["containerStatuses"]).map(container_plan).collect::<Result<_>>()?,
    })
}

fn container_plan(status: &Value) -> Result<ContainerPlan> {
    let full = text(&status["containerID"], "containerID")?;
    let (runtime, id) =
        full.split_once("://").with_context(|| format!("containerID `{full}` has no scheme"))?;
    Ok(ContainerPlan { name: text(&status["name"], "name")?, runtime: runtime.to_owned(), id: id.to_owned() })
}

fn node_plan(node: &Value) -> Result<NodePlan> {
    let ips = list(&node["status"]["addresses"])
        .filter(|address| address["type"] == "InternalIP")
        .map(|address| address_of(&address["address"]))
        .collect::<Result<_>>()?;
    let pod_cidrs = list(&node["spec"]["podCIDRs"]).filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(NodePlan { name: text(&node["metadata"]["name"], "metadata.name")?, ips, pod_cidrs })
}

/// `clusterIPs`, or `clusterIP` where the list is left out; none for a headless service.
fn service_addresses(service: &Value) -> Result<Vec<IpAddr>> {
    let spec = &service["spec"];
    let one = [spec["clusterIP"].clone()];
    let all = spec["clusterIPs"].as_array().map_or(&one[..], Vec::as_slice);
    all.iter().filter(|ip| ip.as_str().is_some_and(|ip| ip != "None")).map(address_of).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn address_of(value: &Value) -> Result<IpAddr> {
    let text = value.as_str().with_context(|| format!("`{value}` is no address"))?;
    text.parse().with_context(|| format!("`{text}` is no address"))
}

fn port_of(port: &Value) -> Result<u16> {
    port["port"]
        .as_u64()
        .and_then(|number| number.try_into().ok())
        .with_context(|| format!("`{port}` has no port"))
}

fn text(value: &Value, field: &str) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{field} is missing"))
}

fn name_of(object: &Value) -> String {
    let part = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
    [part("namespace"), part("name")].into_iter().flatten().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: api}
spec: {clusterIPs: [10.96.0.10, 'fd00:10:96::10'], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: List
items:
- kind: EndpointSlice
  metadata: {namespace: shop, name: api-v4, labels: {kubernetes.io/service-name: api}}
  ports: [{name: http, port: 8080}]
  endpoints:
  - {addresses: [10.244.1.12]}
  - {addresses: [10.244.1.13], conditions: {ready: false}}
- kind: EndpointSlice
  metadata: {namespace: other, name: api-v4, labels: {kubernetes.io/service-name: api}}
  ports: [{name: http, port: 8080}]
  endpoints: [{addresses: [10.244.1.99]}]
---
kind: Service
metadata: {namespace: shop, name: headless}
spec: {clusterIP: None, ports: [{port: 80}]}
";

    #[test]
    fn a_service_leads_to_its_ready_endpoints() {
        let mut cluster = Cluster::default();
        cluster.add_text(TEXT).unwrap();
        let ports = cluster.service_ports().unwrap();
        assert_eq!(ports.len(), 1, "a headless service has no address: {ports:?}");
        assert_eq!(ports[0].addresses.len(), 2);
        assert_eq!(ports[0].backends, [("10.244.1.12".parse().unwrap(), 8080)]);
        assert_eq!((ports[0].port, ports[0].protocol.as_str()), (80, "tcp"));
    }

    #[test]
    fn a_pod_without_uid_is_named_in_the_error() {
        let pod = serde_json::json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "b"}});
        let error = Cluster::from_objects([pod]).pods().unwrap_err();
        assert_eq!(format!("{error:#}"), "pod a/b: metadata.uid is missing");
    }

    #[test]
    fn pods_that_ended_have_no_place() {
        let pod = serde_json::json!({"kind": "Pod", "status": {"phase": "Succeeded"}});
        assert_eq!(Cluster::from_objects([pod]).pods().unwrap(), []);
    }
}
