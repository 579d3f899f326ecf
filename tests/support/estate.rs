//! The estate with known defects (`fixtures/clusters/estate`): manifests, policies, filter and traffic made from its table.

use crate::traffic::{Listen, Step};
use crate::world::Place;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The node on which all of it runs.
pub const NODE: &str = "estate-node";

const NODE_IP: Ipv4Addr = Ipv4Addr::new(172, 18, 243, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The table, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    networks: BTreeMap<String, String>,
    flows: Vec<String>,
    defects: Vec<Defect>,
}

/// Something that is wrong, and what must be found of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// What is wrong.
    pub about: String,
    /// Connections that a policy allows at both ends.
    #[serde(default)]
    allowed: Vec<String>,
    /// Connections of which no policy says that they may be.
    #[serde(default)]
    undeclared: Vec<String>,
    /// Workloads without a policy.
    #[serde(default)]
    unrestricted: Vec<String>,
    network: Option<Network>,
    /// A policy, as YAML.
    policy: Option<String>,
    scan: Option<Scan>,
    /// `severity id subject → object`, at medium and above.
    #[serde(default)]
    pub findings: Vec<String>,
    /// `id subject`.
    #[serde(default)]
    pub suppressed: Vec<String>,
}

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Network {
    Open,
    Dropped,
    Closed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    image: String,
    critical: usize,
    high: usize,
}

/// A workload of one pod.
#[derive(Clone, Debug)]
struct Workload {
    namespace: String,
    kind: String,
    name: String,
    image: String,
    port: Option<u16>,
    number: u8,
}

impl Workload {
    fn pod(&self) -> String {
        match self.kind.as_str() {
            "Deployment" => format!("{}-7d9c5b6f4d-{:05x}", self.name, 0xb_0000 + u32::from(self.number)),
            "StatefulSet" => format!("{}-0", self.name),
            "DaemonSet" => format!("{}-{:05x}", self.name, 0xa_0000 + u32::from(self.number)),
            _ => self.name.clone(),
        }
    }

    fn place(&self) -> Place {
        Place::Pod(format!("{}/{}", self.namespace, self.pod()))
    }

    fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 243, 1, self.number)
    }

    fn object(&self) -> Value {
        let hash = (self.kind == "Deployment").then_some("7d9c5b6f4d");
        let owner = match self.kind.as_str() {
            "Deployment" => Some(("ReplicaSet", format!("{}-7d9c5b6f4d", self.name))),
            "Pod" => None,
            kind => Some((kind, self.name.clone())),
        };
        let owners: Vec<Value> = owner
            .map(|(kind, name)| {
                json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true,
                    "uid": format!("0a7e0000-0000-4000-9000-0000000000{:02x}", self.number)})
            })
            .into_iter()
            .collect();
        let mut labels = json!({"app": self.name});
        if let Some(hash) = hash {
            labels["pod-template-hash"] = hash.into();
        }
        let ports: Vec<Value> =
            self.port.map(|port| json!({"name": "main", "containerPort": port})).into_iter().collect();
        let digest = self.image.split_once('@').map(|(_, digest)| digest.to_owned());
        let digest = digest.unwrap_or_else(|| digest_of(usize::from(self.number)));
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.pod(), "labels": labels, "ownerReferences": owners,
                "uid": format!("e57a0000-0000-4000-8000-0000000000{:02x}", self.number)},
            "spec": {"nodeName": NODE, "serviceAccountName": self.name,
                "containers": [{"name": "main", "image": self.image, "ports": ports}]},
            "status": {"phase": "Running", "qosClass": "Burstable", "podIP": self.ip(), "podIPs": [{"ip": self.ip()}],
                "containerStatuses": [{"name": "main", "image": self.image,
                    "imageID": format!("{}@{digest}", self.image.split(['@', ':']).next().unwrap_or_default()),
                    "containerID": format!("containerd://{:064x}", 0xe57a_0000_u32 + u32::from(self.number))}]},
        })
    }
}

/// Something that looks like the digest of an image.
fn digest_of(number: usize) -> String {
    format!("sha256:{:064x}", 0xd16e_5700_0000_usize + number)
}

/// Where a flow goes.
#[derive(Clone, Debug)]
enum Target {
    Pod(usize),
    /// An address outside, or the node's.
    Address(IpAddr, Place),
}

/// Connections of one kind.
#[derive(Clone, Debug)]
struct Flow {
    source: usize,
    target: Target,
    ports: RangeInclusive<u16>,
    declared: bool,
    network: Network,
    /// One of what is wrong, not of what all do all day.
    is_defect: bool,
}

/// The estate, made ready.
#[derive(Debug)]
pub struct Estate {
    folder: PathBuf,
    workloads: Vec<Workload>,
    networks: BTreeMap<String, String>,
    flows: Vec<Flow>,
    /// What is wrong in it.
    pub defects: Vec<Defect>,
}

impl Estate {
    /// Reads the table.
    pub fn read() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clusters/estate");
        let path = folder.join("estate.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let written: Written =
            serde_saphyr::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        let mut estate = Self {
            folder,
            workloads: Vec::new(),
            networks: written.networks,
            flows: Vec::new(),
            defects: written.defects,
        };
        let workloads = written
            .namespaces
            .iter()
            .flat_map(|(namespace, all)| all.iter().map(move |one| (namespace, one)));
        for (number, (namespace, (title, what))) in workloads.enumerate() {
            estate.add(namespace, title, what, number)?;
        }
        for flow in &written.flows {
            let flow = estate.flow(flow, true, Network::Open, false)?;
            estate.flows.push(flow);
        }
        for defect in estate.defects.clone() {
            let network = defect.network.unwrap_or(Network::Open);
            for (flows, declared) in [(&defect.allowed, true), (&defect.undeclared, false)] {
                for flow in flows {
                    let flow = estate.flow(flow, declared, network, true)?;
                    estate.flows.push(flow);
                }
            }
        }
        Ok(estate)
    }

    fn add(&mut self, namespace: &str, title: &str, what: &str, number: usize) -> Result<()> {
        let (kind, name) = title.split_once('/').with_context(|| format!("`{title}` is no kind/name"))?;
        let (image, port) = match what.split_once(' ') {
            Some((image, port)) => {
                (image, Some(port.parse().with_context(|| format!("the port of {title}"))?))
            }
            None => (what, None),
        };
        let image = match image {
            "own" => format!("registry.example.com/{namespace}/{name}:1.0@{}", digest_of(number)),
            // One image has one digest, whoever runs it.
            image if image.ends_with('@') => {
                format!("{image}{}", digest_of(image.bytes().map(usize::from).sum::<usize>() * 1_000))
            }
            image => image.to_owned(),
        };
        let number = u8::try_from(number + 10).context("more workloads than addresses")?;
        let (namespace, kind, name) = (namespace.to_owned(), kind.to_owned(), name.to_owned());
        self.workloads.push(Workload { namespace, kind, name, image, port, number });
        Ok(())
    }

    fn flow(&self, written: &str, declared: bool, network: Network, is_defect: bool) -> Result<Flow> {
        let refuse = || format!("`{written}` is no `source -> destination:port`");
        let (source, target) = written.split_once(" -> ").with_context(refuse)?;
        let (target, ports) = target.rsplit_once(':').with_context(refuse)?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let ports = first.parse().with_context(refuse)?..=last.parse().with_context(refuse)?;
        let target = match target {
            "kubelet" => Target::Address(NODE_IP.into(), Place::Node),
            "metadata" => Target::Address(METADATA.into(), Place::Outside),
            network if self.networks.contains_key(network) => {
                let address = self
                    .networks
                    .get(network)
                    .and_then(|block| block.split('/').next())
                    .with_context(refuse)?;
                Target::Address(address.parse().with_context(refuse)?, Place::Outside)
            }
            pod => Target::Pod(self.find(pod)?),
        };
        Ok(Flow { source: self.find(source)?, target, ports, declared, network, is_defect })
    }

    fn find(&self, name: &str) -> Result<usize> {
        let found = self.workloads.iter().position(|one| format!("{}/{}", one.namespace, one.name) == name);
        found.with_context(|| format!("no workload `{name}`"))
    }

    /// The cluster's objects, policies included.
    pub fn objects(&self) -> Result<Vec<Value>> {
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
            "spec": {"podCIDRs": ["10.243.1.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": NODE_IP}]},
        })];
        let mut namespaces: Vec<&str> = self.workloads.iter().map(|one| &*one.namespace).collect();
        namespaces.dedup();
        objects.extend(namespaces.iter().map(|name| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": {"kubernetes.io/metadata.name": name}}})
        }));
        objects.extend(self.workloads.iter().map(Workload::object));
        let unrestricted: Vec<&String> =
            self.defects.iter().flat_map(|defect| &defect.unrestricted).collect();
        for (index, workload) in self.workloads.iter().enumerate() {
            if !unrestricted.contains(&&format!("{}/{}", workload.namespace, workload.name)) {
                objects.push(self.policy(index, workload));
            }
        }
        for policy in self.defects.iter().filter_map(|defect| defect.policy.as_ref()) {
            objects.push(serde_saphyr::from_str(policy).context("a defect's policy")?);
        }
        Ok(objects)
    }

    /// What a workload may open and take, and no more.
    fn policy(&self, index: usize, workload: &Workload) -> Value {
        let peer = |index: usize| {
            self.workloads.get(index).map(|one| {
                json!({"podSelector": {"matchLabels": {"app": one.name}},
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": one.namespace}}})
            })
        };
        let declared = || self.flows.iter().filter(|flow| flow.declared);
        let ports = |flow: &Flow| json!([{"port": flow.ports.start(), "endPort": flow.ports.end(), "protocol": "TCP"}]);
        let egress: Vec<Value> = declared()
            .filter(|flow| flow.source == index)
            .map(|flow| {
                let to = match &flow.target {
                    Target::Pod(target) => peer(*target).unwrap_or_default(),
                    Target::Address(ip, _) => json!({"ipBlock": {"cidr": format!("{ip}/32")}}),
                };
                json!({"to": [to], "ports": ports(flow)})
            })
            .collect();
        let ingress: Vec<Value> = declared()
            .filter(|flow| matches!(flow.target, Target::Pod(target) if target == index))
            .map(|flow| json!({"from": [peer(flow.source)], "ports": ports(flow)}))
            .collect();
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": workload.namespace, "name": workload.name},
            "spec": {"podSelector": {"matchLabels": {"app": workload.name}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress, "egress": egress},
        })
    }

    /// The node's filter: what is dropped, and nothing else.
    pub fn ruleset(&self) -> Result<String> {
        let mut rules = String::new();
        for flow in self.flows.iter().filter(|flow| flow.network == Network::Dropped) {
            let (source, target) = (self.workload(flow.source)?, self.address(&flow.target)?);
            let ports = format!("{}-{}", flow.ports.start(), flow.ports.end());
            rules.push_str(&format!("ip saddr {} ip daddr {target} tcp dport {ports} drop\n", source.ip()));
        }
        Ok(format!(
            "table inet plugin {{\nchain forward {{\ntype filter hook forward priority filter; policy accept;\n\
             ct state established,related accept\n{rules}}}\n}}\n"
        ))
    }

    /// The agent's configuration.
    pub fn agent_config(&self) -> String {
        let networks: Vec<String> =
            self.networks.iter().map(|(name, block)| format!("  {name}: [{block}]\n")).collect();
        format!("networks:\n{}", networks.concat())
    }

    /// Who listens, and where.
    pub fn servers(&self) -> Vec<(Place, Listen)> {
        let at = |ip: IpAddr, port: u16| Listen { tcp: vec![SocketAddr::new(ip, port)], ..Listen::default() };
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let pods = self.workloads.iter().filter_map(|one| Some((one.place(), at(any, one.port?))));
        let mut others: Vec<(IpAddr, u16, Place)> = self
            .flows
            .iter()
            .filter_map(|flow| match &flow.target {
                Target::Address(ip, place) => Some((*ip, *flow.ports.start(), place.clone())),
                Target::Pod(_) => None,
            })
            .collect();
        others.sort();
        others.dedup();
        pods.chain(others.into_iter().map(|(ip, port, place)| (place, at(ip, port)))).collect()
    }

    /// What is done, by whom: about so many connections in all, and a few for each defect.
    pub fn steps(&self, connections: usize) -> Result<Vec<(Place, Step)>> {
        let ordinary = self.flows.iter().filter(|flow| !flow.is_defect).count();
        let each = connections.div_ceil(ordinary.max(1));
        let mut steps = Vec::new();
        for flow in &self.flows {
            let place = self.workload(flow.source)?.place();
            for port in flow.ports.clone() {
                let to = SocketAddr::new(self.address(&flow.target)?, port);
                let count = u64::try_from(if flow.is_defect { 3 } else { each })?;
                let step = match flow.network {
                    Network::Dropped | Network::Closed => {
                        serde_json::from_value(json!({"do": "connect", "to": to, "timeout_ms": 100}))?
                    }
                    Network::Open => Step::Burst { to, count, threads: 1, timeout_ms: 20_000 },
                };
                steps.push((place.clone(), step));
            }
        }
        Ok(steps)
    }

    /// A report of Trivy's for each image that a defect has one of: name and text.
    pub fn scans(&self) -> Result<Vec<(String, String)>> {
        let scans = self.defects.iter().filter_map(|defect| defect.scan.as_ref());
        let written = scans.enumerate().map(|(at, scan)| {
            let runs = self.workloads.iter().find(|one| one.image.starts_with(&format!("{}@", scan.image)));
            let image = &runs.with_context(|| format!("nobody runs {}", scan.image))?.image;
            let digest = image.split_once('@').map(|(_, digest)| digest).unwrap_or_default();
            let found = |count: usize, severity: &str, from: usize| -> Vec<Value> {
                (0..count)
                    .map(|at| json!({"VulnerabilityID": format!("CVE-2026-{:04}", from + at), "Severity": severity}))
                    .collect()
            };
            let all = [found(scan.critical, "CRITICAL", 100), found(scan.high, "HIGH", 200)].concat();
            let report = json!({
                "SchemaVersion": 2, "ArtifactName": scan.image,
                "Metadata": {"RepoDigests": [format!("{}@{digest}", scan.image.split(':').next().unwrap_or_default())]},
                "Results": [{"Target": "os", "Vulnerabilities": all}],
            });
            Ok((format!("scan-{at}.json"), report.to_string()))
        });
        written.collect()
    }

    /// The folder with the assessment's configuration.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    fn workload(&self, index: usize) -> Result<&Workload> {
        self.workloads.get(index).context("no such workload")
    }

    fn address(&self, target: &Target) -> Result<IpAddr> {
        Ok(match target {
            Target::Pod(index) => self.workload(*index)?.ip().into(),
            Target::Address(ip, _) => *ip,
        })
    }
}

impl Defect {
    /// Its findings, one for each port of a range.
    pub fn expected(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for finding in &self.findings {
            let range = finding.rsplit_once(" :").and_then(|(before, rest)| {
                let (ports, protocol) = rest.split_once('/')?;
                let (first, last) = ports.split_once('-')?;
                Some((before, first.parse::<u16>().ok()?, last.parse::<u16>().ok()?, protocol))
            });
            match range {
                Some((_, first, last, _)) if first > last => bail!("`{finding}`: no range of ports"),
                Some((before, first, last, protocol)) => {
                    all.extend((first..=last).map(|port| format!("{before} :{port}/{protocol}")));
                }
                None => all.push(finding.clone()),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::Estate;

    #[test]
    fn the_estate_is_of_a_realistic_size() {
        let estate = Estate::read().unwrap();
        let of_kind = |kind: &str| {
            let objects = estate.objects().unwrap();
            objects.iter().filter(|object| object["kind"] == kind).count()
        };
        assert_eq!((of_kind("Namespace"), of_kind("Pod")), (12, 80));
        assert!(estate.steps(60_000).unwrap().len() > 80);
    }
}
