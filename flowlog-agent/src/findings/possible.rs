//! What third parties could reach, put beside what they did reach.

use super::Cluster;
use super::estate::{Estate, METADATA, is_foreign, went_through};
use super::reach::{self, Asking, Reached, Side, Target};
use crate::model::{
    Actor, Decision, FindingId, Limit, Link, Place, PolicyRef, Protocol, Reach, ReachPort, Role, Traits,
};
use crate::policy::PolicySet;
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Why nothing is told of the Kubernetes API.
pub(super) const API_UNKNOWN: &str = "whether third parties could reach the Kubernetes API is not known: the service default/kubernetes \
    and its endpoints are not among the objects";

/// Whom possible reach is asked of.
pub(super) struct ReachEnds {
    /// The sides' places among the estate's members.
    pub(super) workloads: Vec<usize>,
    pub(super) sides: Vec<Side>,
    /// The third parties among the sides.
    pub(super) sources: Vec<usize>,
}

impl ReachEnds {
    pub(super) fn asking<'e>(
        &'e self,
        cluster: Cluster<'e>,
        policies: &'e PolicySet,
        beside: Option<&'e PolicySet>,
        now: Timestamp,
    ) -> Asking<'e> {
        Asking {
            sides: &self.sides,
            sources: &self.sources,
            inventory: cluster.inventory,
            policies,
            beside,
            metadata: &METADATA[..1],
            now,
        }
    }
}

impl Estate<'_> {
    /// Asks the policies how far each third party could reach; what that would be without policies is nothing to tell.
    pub(super) fn take_reaches(&mut self) {
        let Some(cluster) = self.input.cluster.filter(|cluster| cluster.read.unread.is_none()) else {
            return;
        };
        let ends = self.reach_ends();
        let asking = ends.asking(cluster, cluster.policies, None, self.input.now);
        let reached = reach::reaches(&asking);
        if !ends.sources.is_empty() && !reach::knows_api(cluster.inventory, self.input.now) {
            self.limits.push(Limit { ids: vec![FindingId::FL503], what: API_UNKNOWN.to_owned() });
        }
        let observed = Observed::of(self);
        for Reached { source, target, ports, answer } in reached {
            let Some(source) = ends.workloads.get(source).copied() else { continue };
            let target = match target {
                Target::Side(place) => ends.workloads.get(place).copied(),
                Target::Other(place, role) => Some(self.member_of(&place, &Traits::default(), role)),
            };
            let Some(target) = target else { continue };
            let mut told = Reach {
                source,
                target,
                ports,
                decision: answer.decision,
                reason: answer.reason,
                unrestricted: answer.unrestricted,
                policies: answer.policies.iter().map(|policy| PolicyRef::clone(policy)).collect(),
            };
            if let Some(actor) = self.actor(target) {
                told.ports
                    .iter_mut()
                    .for_each(|port| port.observed = observed.has(source, target, actor, port));
            }
            self.reaches.push(told);
        }
    }

    /// The workloads that the objects tell of, as ends.
    pub(super) fn reach_ends(&self) -> ReachEnds {
        let workloads: Vec<usize> = self
            .workloads()
            .filter(|(_, member)| member.actor.pods.is_some())
            .map(|(index, _)| index)
            .collect();
        let seen = self.seen_ports();
        let sides = (workloads.iter())
            .filter_map(|index| {
                let pods = self.member(*index)?.pods.clone();
                Some(Side { pods, seen: seen.get(index).cloned().unwrap_or_default() })
            })
            .collect();
        let sources = (workloads.iter().zip(0..))
            .filter(|(index, _)| self.actor(**index).is_some_and(is_foreign))
            .map(|(_, place)| place)
            .collect();
        ReachEnds { workloads, sides, sources }
    }

    /// The ports at which each was seen to listen.
    fn seen_ports(&self) -> BTreeMap<usize, BTreeSet<(Protocol, u16)>> {
        let mut seen: BTreeMap<usize, BTreeSet<(Protocol, u16)>> = BTreeMap::new();
        for link in self.links.iter().filter(|link| went_through(link)) {
            if let Some(port) = link.port {
                seen.entry(link.destination).or_default().insert((link.protocol, port));
            }
        }
        seen
    }

    /// How far one could reach, and what of that it did: pairs of target and port, and of those the ones that it did not use.
    pub(super) fn gap(&self, is_its: impl Fn(usize) -> bool) -> Option<(u64, u64)> {
        self.input.cluster.filter(|cluster| cluster.read.unread.is_none())?;
        let mut pairs: BTreeMap<(usize, Protocol, Option<u16>, Option<u16>), bool> = BTreeMap::new();
        let own =
            self.reaches.iter().filter(|reach| is_its(reach.source) && reach.decision == Decision::Allow);
        for (target, port) in own.flat_map(|reach| reach.ports.iter().map(|port| (reach.target, port))) {
            *pairs.entry((target, port.protocol, port.port, port.last)).or_default() |= port.observed;
        }
        let unused = pairs.values().filter(|observed| !**observed).count();
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        Some((number(pairs.len()), number(unused)))
    }
}

/// What was observed of third parties.
struct Observed {
    /// By source: where to, and at which port.
    links: BTreeMap<usize, Vec<Seen>>,
}

struct Seen {
    target: usize,
    /// Outside the cluster, and no interface of the cluster's own: at which addresses.
    outside: Option<BTreeSet<IpAddr>>,
    /// A node, or an interface of one.
    node: bool,
    protocol: Protocol,
    port: Option<u16>,
}

impl Observed {
    fn of(estate: &Estate<'_>) -> Self {
        let mut links: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
        let through = estate.links.iter().filter(|link| went_through(link));
        for link in through {
            let Some((source, destination)) = estate.ends(link) else { continue };
            if is_foreign(source) {
                let at = estate.outside.get(&(link.source, link.destination)).cloned();
                links.entry(link.source).or_default().push(seen(link, destination, at.unwrap_or_default()));
            }
        }
        Self { links }
    }

    fn has(&self, source: usize, target: usize, actor: &Actor, port: &ReachPort) -> bool {
        self.links.get(&source).into_iter().flatten().any(|seen| {
            let is_there = match (&actor.place, actor.role) {
                (Place::External { network, .. }, None) => {
                    seen.outside.as_ref().is_some_and(|at| lie_in(at, network.as_deref()))
                }
                (Place::Node { .. }, _) => seen.node,
                _ => seen.target == target,
            };
            is_there && seen.protocol == port.protocol && holds(port, seen.port)
        })
    }
}

fn seen(link: &Link, destination: &Actor, at: BTreeSet<IpAddr>) -> Seen {
    let is_outside = matches!(destination.place, Place::External { .. }) && destination.role.is_none();
    Seen {
        target: link.destination,
        outside: is_outside.then_some(at),
        node: matches!(destination.role, Some(Role::Node | Role::Kubelet)),
        protocol: link.protocol,
        port: link.port,
    }
}

/// Whether one of these addresses is in a block; anything outside is where no block is named.
fn lie_in(at: &BTreeSet<IpAddr>, block: Option<&str>) -> bool {
    match block.map(str::parse::<IpNet>) {
        None => true,
        Some(block) => block.is_ok_and(|block| at.iter().any(|ip| block.contains(ip))),
    }
}

/// Whether a port is among these.
pub(super) fn holds(ports: &ReachPort, port: Option<u16>) -> bool {
    match (ports.port, port) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(port)) => (first..=ports.last.unwrap_or(first)).contains(&port),
    }
}
