//! A node out of network namespaces, cgroups and nftables, built from cluster manifests.
//!
//! Nothing of the machine is touched: namespaces live by open files (`netns`), cgroups in a subtree of
//! our own (`cgroup`). Dropping a world ends its processes, then removes its cgroups.
//!
//! Every pod has single addresses (/32, /128) and reaches all others by way of the node, through its
//! forward chain, as with a real network plugin; that chain is empty until `enforce` loads one.

mod layout;

use crate::cgroup::{self, Naming, Subtree};
use crate::manifests::{Cluster, PodPlan};
use crate::netns::Netns;
use crate::traffic::step::Seat;
use crate::traffic::{Actor, Answer, Listen, Server, Step, process};
use crate::{services, wait};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where a traffic process may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the first container of a pod: `namespace/name`; the name's beginning will do where it is unique.
    Pod(String),
    /// A process of the node itself, outside any pod (`system.slice/kubelet.service`).
    Node,
    /// Beyond the node: hosts of 198.51.100.0/24 and 2001:db8::/32, other nodes and their pods.
    Outside,
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "node" => Self::Node,
            "outside" => Self::Outside,
            pod => Self::Pod(pod.to_owned()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => to.write_str(name),
            Self::Node => to.write_str("node"),
            Self::Outside => to.write_str("outside"),
        }
    }
}

/// How a world is to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    cluster: Cluster,
    node: String,
    naming: Naming,
    pods_start: bool,
}

impl Plan {
    /// The pods of `node` in this cluster; kubelet's cgroupfs naming, all pods started.
    pub fn new(cluster: Cluster, node: &str) -> Self {
        Self { cluster, node: node.to_owned(), naming: Naming::default(), pods_start: true }
    }

    /// Another naming of cgroups.
    pub fn naming(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    /// Pods have their network but no cgroups until `start_pod`.
    pub fn pods_not_started(self) -> Self {
        Self { pods_start: false, ..self }
    }

    /// Build it.
    pub fn build(self) -> Result<World> {
        World::build(&self)
    }
}

/// A pod's place in the world.
#[derive(Debug)]
struct PodPlace {
    plan: PodPlan,
    /// `None`: a host-network pod is in the node's.
    netns: Option<Netns>,
}

/// A node, its pods, and what lies beyond.
#[derive(Debug)]
pub struct World {
    pods: BTreeMap<String, PodPlace>,
    node: Netns,
    outside: Netns,
    outside_addresses: BTreeSet<IpAddr>,
    subtree: Subtree,
    naming: Naming,
}

/// The agent's `--cgroup-root` within the subtree; what lies beyond the node is beside it.
const NODE_CGROUP: &str = "node";
const NODE_PROCESS_CGROUP: &str = "node/system.slice/kubelet.service";
const OUTSIDE_CGROUP: &str = "outside";

/// How long a bridge may take to forward on all its ports.
const SETTLE: Duration = Duration::from_secs(10);

impl World {
    /// The manifests of a folder, with the defaults of `Plan`.
    pub fn from_manifests(folder: &Path, node: &str) -> Result<Self> {
        Plan::new(Cluster::read(folder)?, node).build()
    }

    fn build(plan: &Plan) -> Result<Self> {
        let nodes = plan.cluster.nodes()?;
        let node_plan = nodes
            .iter()
            .find(|node| node.name == plan.node)
            .with_context(|| format!("no Node `{}` in the manifests", plan.node))?;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            plan.cluster.pods()?.into_iter().partition(|pod| pod.node == plan.node);
        let subtree = Subtree::create()?;
        for path in [NODE_CGROUP, NODE_PROCESS_CGROUP, OUTSIDE_CGROUP] {
            subtree.make(path)?;
        }
        let (node, outside) = (layout::namespace("the node")?, layout::namespace("the outside")?);
        let layout = layout::Layout::of(node_plan)?;
        layout.build_outside(&outside)?;
        layout.build_node(&node, &outside)?;
        let mut world = Self {
            pods: place_pods(here, &layout, &node)?,
            node,
            outside,
            outside_addresses: BTreeSet::new(),
            subtree,
            naming: plan.naming,
        };
        let others = nodes.iter().filter(|other| other.name != plan.node).flat_map(|other| other.ips.clone());
        world.add_outside(others.chain(elsewhere.into_iter().flat_map(|pod| pod.ips)))?;
        world.node.nft(&services::ruleset(&plan.cluster.service_ports()?, layout::UPLINK))?;
        world.await_bridge()?;
        if plan.pods_start {
            let names: Vec<String> = world.pods.keys().cloned().collect();
            names.iter().try_for_each(|name| world.start_pod(name).map(drop))?;
        }
        Ok(world)
    }

    /// The agent's `--cgroup-root`: the node's own root of cgroups.
    pub fn cgroup_root(&self) -> PathBuf {
        self.subtree.top().join(NODE_CGROUP)
    }

    /// Load an nftables ruleset on the node, as a network plugin would.
    pub fn enforce(&self, ruleset: &str) -> Result<()> {
        self.node.nft(ruleset)
    }

    /// The same from a file.
    pub fn enforce_file(&self, path: &Path) -> Result<()> {
        let ruleset = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        self.enforce(&ruleset).with_context(|| format!("load {}", path.display()))
    }

    /// The network namespace of a place.
    pub fn netns(&self, place: &Place) -> Result<&Netns> {
        Ok(match place {
            Place::Pod(name) => self.find(name)?.netns.as_ref().unwrap_or(&self.node),
            Place::Node => &self.node,
            Place::Outside => &self.outside,
        })
    }

    /// Addresses of a pod.
    pub fn pod_ips(&self, name: &str) -> Result<&[IpAddr]> {
        Ok(&self.find(name)?.plan.ips)
    }

    /// Make the cgroups of a pod: its own, the pause container's, and one for each container.
    pub fn start_pod(&self, name: &str) -> Result<()> {
        let plan = &self.find(name)?.plan;
        let pod = Path::new(NODE_CGROUP).join(cgroup::pod_path(self.naming, plan.qos, &plan.uid));
        let runtime = plan.containers.first().map_or("containerd", |first| first.runtime.as_str());
        self.subtree.make(pod.join(cgroup::container_name(self.naming, runtime, &pause_id(&plan.uid))))?;
        for container in &plan.containers {
            let name = cgroup::container_name(self.naming, &container.runtime, &container.id);
            self.subtree.make(pod.join(name))?;
        }
        Ok(())
    }

    /// Remove the cgroups of a pod; its processes must have ended.
    pub fn stop_pod(&self, name: &str) -> Result<()> {
        let plan = &self.find(name)?.plan;
        cgroup::remove(&self.cgroup_root().join(cgroup::pod_path(self.naming, plan.qos, &plan.uid)))
    }

    /// A pod's whole life: its cgroups are made, one process does one step, all goes again.
    pub fn live_once(&self, name: &str, step: &Step) -> Result<Answer> {
        self.start_pod(name)?;
        let answer = process::run_once(&self.seat(&Place::Pod(name.to_owned()), None)?, step, name);
        self.stop_pod(name)?;
        answer
    }

    /// Cgroup of a place; of a pod, that of its first container.
    pub fn cgroup(&self, place: &Place) -> Result<PathBuf> {
        let path = match place {
            Place::Node => PathBuf::from(NODE_PROCESS_CGROUP),
            Place::Outside => PathBuf::from(OUTSIDE_CGROUP),
            Place::Pod(name) => {
                let plan = &self.find(name)?.plan;
                let first =
                    plan.containers.first().with_context(|| format!("pod {name} has no container id"))?;
                Path::new(NODE_CGROUP)
                    .join(cgroup::pod_path(self.naming, plan.qos, &plan.uid))
                    .join(cgroup::container_name(self.naming, &first.runtime, &first.id))
            }
        };
        Ok(self.subtree.top().join(path))
    }

    /// Where a process of this place is to be.
    pub fn seat(&self, place: &Place, comm: Option<&str>) -> Result<Seat> {
        Ok(Seat {
            cgroup: Some(self.cgroup(place)?),
            netns: Some(self.netns(place)?.path()),
            comm: comm.map(str::to_owned),
            cpu: None,
        })
    }

    /// A process there that does steps.
    pub fn actor(&self, place: &Place, comm: Option<&str>) -> Result<Actor> {
        Actor::start(&self.seat(place, comm)?, &place.to_string())
    }

    /// A process there that listens; outside, the addresses are made as needed.
    pub fn serve(&mut self, place: &Place, comm: Option<&str>, listen: &Listen) -> Result<Server> {
        let server = Server::start(&self.seat(place, comm)?, listen, &place.to_string())?;
        if *place == Place::Outside {
            self.add_outside(listen.tcp.iter().chain(&listen.udp).map(SocketAddr::ip))?;
        }
        Ok(server)
    }

    /// A name server there; outside, its address is made as needed.
    pub fn serve_dns(
        &mut self,
        place: &Place,
        at: SocketAddr,
        ttl_s: u32,
        records: &[String],
    ) -> Result<Server> {
        if *place == Place::Outside {
            self.add_outside([at.ip()])?;
        }
        Server::start_dns(&self.seat(place, Some("dns"))?, at, ttl_s, records)
    }

    /// Hosts beyond the node that exist, whether or not they listen. All other addresses of
    /// 198.51.100.0/24 and 2001:db8::/32 swallow what is sent to them.
    pub fn add_outside(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let new: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|ip| !ip.is_unspecified() && self.outside_addresses.insert(*ip))
            .collect();
        self.outside.ip(&new.iter().map(|ip| layout::add_address(ip, "lo")).collect::<Vec<_>>())
    }

    fn find(&self, name: &str) -> Result<&PodPlace> {
        if let Some(place) = self.pods.get(name) {
            return Ok(place);
        }
        let mut found = self.pods.iter().filter(|(full, _)| full.starts_with(&format!("{name}-")));
        match (found.next(), found.next()) {
            (Some((_, place)), None) => Ok(place),
            (None, _) => bail!("no pod `{name}` on this node; there are {:?}", self.pods.keys()),
            (Some((one, _)), Some((other, _))) => bail!("`{name}` may be {one} or {other}: name it whole"),
        }
    }

    /// The kernel brings bridge ports up in its own time.
    fn await_bridge(&self) -> Result<()> {
        let expected = self.pods.values().filter(|pod| pod.netns.is_some()).count();
        wait::until("every pod's port of the bridge forwards", SETTLE, || {
            let shown = self.node.ip_shows(&["-d", "-o", "link", "show", "master", layout::BRIDGE])?;
            Ok(shown.lines().filter(|line| line.contains("state forwarding")).count() == expected)
        })
    }
}

fn place_pods(
    plans: Vec<PodPlan>,
    layout: &layout::Layout,
    node: &Netns,
) -> Result<BTreeMap<String, PodPlace>> {
    let mut pods = BTreeMap::new();
    let mut ports = Vec::new();
    for (at, plan) in plans.into_iter().enumerate() {
        let netns = if plan.host_network { None } else { Some(layout::namespace(&plan.full_name())?) };
        ports.extend(netns.iter().flat_map(|netns| layout::pod_port(at, netns)));
        pods.insert(plan.full_name(), PodPlace { plan, netns });
    }
    node.ip(&ports)?;
    for PodPlace { plan, netns } in pods.values() {
        netns.iter().try_for_each(|netns| layout.build_pod(netns, &plan.ips))?;
    }
    Ok(pods)
}

/// The pause container has a cgroup of its own and stands in no status; its id only has to look like one.
fn pause_id(uid: &str) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chars().cycle().take(if digits.is_empty() { 0 } else { 64 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["node", "outside", "shop/api"] {
            let Ok(place) = text.parse::<Place>();
            assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn a_pause_id_looks_like_a_container_id() {
        let id = pause_id("0c6f-11");
        assert_eq!((id.len(), &id[..6]), (64, "0c6f11"));
    }
}
