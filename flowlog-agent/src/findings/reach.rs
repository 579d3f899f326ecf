//! How far pods could reach by the declared policies, whether or not they did.
//!
//! Nothing is sampled. Of pods that no rule tells apart one is asked for. Blocks of addresses either nest or are apart, so
//! that the narrowest block tells all those that an address lies in: one address of each stands for the rest of it, and
//! one that lies in none for everywhere else. Of ports, one stands for all up to the next that a rule names. What is asked
//! for a target that declares ports is those, and what was observed.

use crate::inventory::Inventory;
use crate::model::{
    Basis, Decision, Direction, DirectionVerdict, Endpoint, External, Node, Party, Place, Pod, PolicyRef,
    Protocol, ReachPort, Role, Target as Behind,
};
use crate::policy::{self, BlockScope, PodClass, PolicySet, Query};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A workload, as an end.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Its pods.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Ports at which it was seen to listen, declared or not.
    pub(super) seen: BTreeSet<(Protocol, u16)>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) sides: &'a [Side],
    /// Whose reach, by place among `sides`.
    pub(super) sources: &'a [usize],
    pub(super) inventory: &'a Inventory,
    pub(super) policies: &'a PolicySet,
    /// Policies whose answers these will be held against: what they tell apart is told apart, too, and each block of
    /// addresses is told by itself. Asked the other way round, the same is asked.
    pub(super) beside: Option<&'a PolicySet>,
    /// Addresses where clouds tell about the machine.
    pub(super) metadata: &'a [IpAddr],
    pub(super) now: Timestamp,
}

/// Whom something could reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// A workload, by its place among the sides.
    Side(usize),
    /// Something else.
    Other(Place, Option<Role>),
}

/// Ports of a target that have one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) source: usize,
    pub(super) target: Target,
    pub(super) ports: Vec<ReachPort>,
    pub(super) answer: Answer,
}

/// What the policies say; what is denied is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    /// No policy selects either end.
    pub(super) unrestricted: bool,
    pub(super) policies: Vec<Arc<PolicyRef>>,
    pub(super) reason: Option<String>,
}

/// Everything that the sources could reach.
pub(super) fn reaches(asking: &Asking<'_>) -> Vec<Reached> {
    let stands: Vec<Vec<Stand>> = asking.sides.iter().map(|side| asking.stands(side)).collect();
    let mut found = Vec::new();
    for source in asking.sources {
        let Some(from) = stands.get(*source) else { continue };
        for (place, side) in asking.sides.iter().enumerate().filter(|(place, _)| place != source) {
            let Some(to) = stands.get(place) else { continue };
            collect(&mut found, *source, &Target::Side(place), asking.side(from, side, to));
        }
        let others = asking.elsewhere(from);
        others.into_iter().for_each(|(target, answers)| collect(&mut found, *source, &target, answers));
    }
    found
}

/// The blocks outside the cluster that one of the sources is asked about, each without what a narrower one holds.
pub(super) fn blocks(asking: &Asking<'_>, source: usize) -> Vec<IpNet> {
    let Some(side) = asking.sides.get(source) else { return Vec::new() };
    asking.outside(&asking.stands(side)).into_iter().map(|(block, _)| block).collect()
}

/// Whether it can be told who answers for the Kubernetes API.
pub(super) fn knows_api(inventory: &Inventory, now: Timestamp) -> bool {
    !api(inventory, now).is_empty()
}

type Answers = Vec<(ReachPort, Answer)>;

/// Ports with one answer are told together.
fn collect(found: &mut Vec<Reached>, source: usize, target: &Target, answers: Answers) {
    let first = found.len();
    for (port, answer) in answers.into_iter().filter(|(_, answer)| answer.decision != Decision::Deny) {
        match found.iter_mut().skip(first).find(|reached| reached.answer == answer) {
            Some(reached) => reached.ports.push(port),
            None => found.push(Reached { source, target: target.clone(), ports: vec![port], answer }),
        }
    }
}

/// Pods of a workload that get the same answers.
#[derive(Debug)]
struct Stand {
    /// One of them.
    pod: Arc<Pod>,
    /// As an end, by each of its addresses; nothing where it has none yet.
    parties: Vec<Party>,
    /// The nodes that run them.
    nodes: BTreeSet<Arc<str>>,
    /// What the policies about connections from them name.
    egress: Named,
    /// The same about connections to them.
    ingress: Named,
}

/// Blocks of addresses and ranges of ports.
#[derive(Clone, Debug, Default)]
struct Named {
    blocks: Vec<IpNet>,
    ports: Vec<(Protocol, u16, u16)>,
    /// Some peer is nodes.
    nodes: bool,
}

/// What tells stands apart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Alike {
    /// Pods that no rule tells apart, of either set.
    Class(Vec<PodClass>),
    /// On the network of a node, at these addresses.
    OfNode(Vec<IpAddr>),
}

impl Answer {
    fn of((egress, ingress): (DirectionVerdict, DirectionVerdict)) -> Self {
        let decision = policy::combine(egress.decision, ingress.decision);
        let is_free = |side: &DirectionVerdict| side.basis == Basis::Unselected;
        let unrestricted = decision == Decision::Allow && is_free(&egress) && is_free(&ingress);
        let mut policies: Vec<Arc<PolicyRef>> = Vec::new();
        if decision != Decision::Deny {
            policies.extend(egress.policies.iter().chain(ingress.policies.iter()).cloned());
            policies.sort();
            policies.dedup();
        }
        let reason = Some(decision).filter(|decision| *decision == Decision::Unknown);
        let reason = reason.and_then(|_| egress.reason.or(ingress.reason));
        Self { decision, unrestricted, policies, reason }
    }

    fn denied() -> Self {
        Self { decision: Decision::Deny, unrestricted: false, policies: Vec::new(), reason: None }
    }

    /// A pod and what runs on its own node: no policy has a say.
    fn exempt() -> Self {
        Self { decision: Decision::Allow, ..Self::denied() }
    }

    fn is_final(&self) -> bool {
        self.decision == Decision::Allow && self.unrestricted
    }

    fn join(mut self, other: Self) -> Self {
        self.policies.extend(other.policies);
        self.policies.sort();
        self.policies.dedup();
        self
    }

    /// It is one or the other, as the opener likes.
    fn or(self, other: Self) -> Self {
        let rank = |one: &Self| match one.decision {
            Decision::Allow => 2,
            Decision::Unknown | Decision::Mixed => 1,
            Decision::Deny => 0,
        };
        let unrestricted = self.unrestricted || other.unrestricted;
        match rank(&self).cmp(&rank(&other)) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self { unrestricted, ..self.join(other) },
        }
    }

    /// It is one or the other, and nobody knows which.
    fn either(self, other: Self, pod: &Pod) -> Self {
        if self.decision == other.decision {
            let unrestricted = self.unrestricted && other.unrestricted;
            return Self { unrestricted, ..self.join(other) };
        }
        let reason = format!("it hangs on the address that pod {}/{} will have", pod.namespace, pod.name);
        Self {
            decision: Decision::Unknown,
            unrestricted: false,
            reason: self.reason.clone().or(other.reason.clone()).or(Some(reason)),
            ..self.join(other)
        }
    }
}

/// The best that one of these allows; denied where there are none.
fn any(answers: impl IntoIterator<Item = Answer>) -> Answer {
    let mut best = Answer::denied();
    for answer in answers {
        best = best.or(answer);
        if best.is_final() {
            break;
        }
    }
    best
}

impl Asking<'_> {
    fn sets(&self) -> impl Iterator<Item = &PolicySet> {
        std::iter::once(self.policies).chain(self.beside)
    }

    fn stands(&self, side: &Side) -> Vec<Stand> {
        // Those that ended stand for the workload where it has no others.
        let is_live = side.pods.iter().any(|pod| !pod.terminated);
        let pods = side.pods.iter().filter(|pod| !(is_live && pod.terminated));
        let mut found: BTreeMap<Alike, Stand> = BTreeMap::new();
        for pod in pods {
            let classes: Option<Vec<PodClass>> = self.sets().map(|set| set.find_class(pod)).collect();
            let alike = match classes {
                Some(classes) => Alike::Class(classes),
                None => Alike::OfNode(pod.ips.clone()),
            };
            let stand = found.entry(alike).or_insert_with(|| self.stand(pod));
            stand.nodes.extend(pod.node.clone());
        }
        found.into_values().collect()
    }

    fn stand(&self, pod: &Arc<Pod>) -> Stand {
        // One on its node's network is the node, of which more is known than of the pod: its labels.
        let node = pod.node.as_deref().filter(|_| pod.host_network);
        let endpoint = match node.and_then(|name| self.inventory.find_node(name)) {
            Some(node) => Endpoint::Node(Arc::clone(node)),
            None => Endpoint::Pod(Arc::clone(pod)),
        };
        let party = |ip: &IpAddr| Party { endpoint: endpoint.clone(), ip: Some(*ip), port: None };
        let named = |direction| {
            let mut named = Named::default();
            for policy in self.sets().flat_map(|set| set.find_selecting(pod, direction)) {
                named.blocks.extend(policy.blocks(direction));
                named.ports.extend(policy.port_ranges(direction));
                named.nodes |= policy.names_nodes(direction);
            }
            named
        };
        Stand {
            parties: pod.ips.iter().map(party).collect(),
            nodes: BTreeSet::new(),
            egress: named(Direction::Egress),
            ingress: named(Direction::Ingress),
            pod: Arc::clone(pod),
        }
    }

    /// Pods to those of a workload.
    fn side(&self, from: &[Stand], side: &Side, to: &[Stand]) -> Answers {
        let pairs: Vec<Pair<'_>> =
            from.iter().flat_map(|from| to.iter().map(|to| self.pair(from, to))).collect();
        let mut ports: BTreeMap<(Protocol, u16), Option<&str>> =
            side.seen.iter().map(|port| (*port, None)).collect();
        for port in side.pods.iter().flat_map(|pod| pod.ports.iter()) {
            let name = ports.entry((port.protocol, port.port)).or_default();
            *name = name.or(port.name.as_deref());
        }
        let ask = |protocol, port| any(pairs.iter().map(|pair| self.ask(pair, protocol, port)));
        if ports.is_empty() {
            let egress = from.iter().flat_map(|stand| &stand.egress.ports);
            let named = egress.chain(to.iter().flat_map(|stand| &stand.ingress.ports));
            return spans(named, ask);
        }
        let answers = ports.into_iter().map(|((protocol, port), name)| {
            let told = ReachPort {
                protocol,
                port: Some(port),
                last: None,
                name: name.map(str::to_owned),
                observed: false,
            };
            (told, ask(protocol, port))
        });
        answers.collect()
    }

    fn pair<'s>(&self, from: &'s Stand, to: &'s Stand) -> Pair<'s> {
        let of_node = from.pod.host_network != to.pod.host_network;
        let same_node = of_node && from.nodes.intersection(&to.nodes).next().is_some();
        Pair {
            from,
            to,
            same_node,
            sources: self.parties(from, &to.ingress.blocks),
            destinations: self.parties(to, &from.egress.blocks),
        }
    }

    fn ask(&self, pair: &Pair<'_>, protocol: Protocol, port: u16) -> Answer {
        let mut ways = pair
            .sources
            .iter()
            .flat_map(|source| {
                let fits = |other: &&Vec<Party>| family(source) == family(other);
                pair.destinations.iter().filter(fits).map(move |destination| (source, destination))
            })
            .peekable();
        // Those whose addresses are of other families do not meet, whatever policies say.
        if pair.same_node && ways.peek().is_some() {
            return Answer::exempt();
        }
        any(ways.map(|(sources, destinations)| {
            let questions = sources.iter().flat_map(|source| destinations.iter().map(move |to| (source, to)));
            let answers = questions.map(|(source, to)| self.question(source, to, protocol, port));
            // Whose address is not known, in words: the listener's where both are.
            let nameless = if pair.to.parties.is_empty() { &pair.to.pod } else { &pair.from.pod };
            answers.reduce(|one, other| one.either(other, nameless)).unwrap_or_else(Answer::denied)
        }))
    }

    fn question(&self, source: &Party, destination: &Party, protocol: Protocol, port: u16) -> Answer {
        let query = Query { source, destination, protocol, port: Some(port), range_of: None };
        Answer::of(self.policies.evaluate(&query))
    }

    /// The ends that a pod may be, one list for each address; where it has none yet, one for each block that it may get
    /// one of.
    fn parties(&self, stand: &Stand, blocks: &[IpNet]) -> Vec<Vec<Party>> {
        if !stand.parties.is_empty() {
            return stand.parties.iter().map(|party| vec![party.clone()]).collect();
        }
        let party = |ip| Party { endpoint: Endpoint::Pod(Arc::clone(&stand.pod)), ip: Some(ip), port: None };
        if self.policies.block_scope() == BlockScope::OutsidePods && !stand.pod.host_network {
            return vec![vec![party(NOWHERE)]];
        }
        let ranges: Vec<IpNet> = self.inventory.ranges().filter(|range| range.addr().is_ipv4()).collect();
        let space = if ranges.is_empty() { vec![EVERYWHERE[0]] } else { ranges };
        let all: BTreeSet<IpNet> = space.iter().chain(blocks).copied().collect();
        let inside = all.iter().filter(|block| space.iter().any(|range| range.contains(*block)));
        vec![inside.filter_map(|block| rest_of(*block, &all)).map(party).collect()]
    }

    /// What is no workload.
    fn elsewhere(&self, from: &[Stand]) -> Vec<(Target, Answers)> {
        let mut targets: BTreeMap<Target, Vec<Party>> = BTreeMap::new();
        let mut add = |target: Target, party: Party| targets.entry(target).or_default().push(party);
        for (block, ip) in self.outside(from) {
            let is_told = block.prefix_len() > 0 || self.beside.is_some();
            let network = is_told.then(|| Arc::from(block.to_string()));
            add(Target::Other(Place::External { ip: None, name: None, network }, None), external(ip));
        }
        for ip in self.metadata {
            let place = Place::External { ip: Some(*ip), name: None, network: None };
            add(Target::Other(place, Some(Role::Metadata)), external(*ip));
        }
        for node in self.nodes(from) {
            let party =
                |ip: &IpAddr| Party { endpoint: Endpoint::Node(Arc::clone(node)), ip: Some(*ip), port: None };
            let target = Target::Other(Place::Node { name: None }, Some(Role::Node));
            node.ips.iter().map(party).for_each(|party| add(target.clone(), party));
        }
        let sources: Vec<Party> = from.iter().flat_map(openers).collect();
        let ask = |destinations: &[Party], protocol, port| {
            let pairs = sources.iter().flat_map(|source| destinations.iter().map(move |to| (source, to)));
            let fitting =
                pairs.filter(|(source, to)| family(&[(*source).clone()]) == family(&[(*to).clone()]));
            any(fitting.map(|(source, to)| self.question(source, to, protocol, port)))
        };
        let mut found: Vec<(Target, Answers)> = Vec::new();
        for (target, destinations) in &targets {
            let named = from.iter().flat_map(|stand| &stand.egress.ports);
            found.push((target.clone(), spans(named, |protocol, port| ask(destinations, protocol, port))));
        }
        let mut ports: BTreeMap<u16, Vec<Party>> = BTreeMap::new();
        api(self.inventory, self.now)
            .into_iter()
            .for_each(|(to, port)| ports.entry(port).or_default().push(to));
        let answers = ports.iter().map(|(port, destinations)| {
            let told = ReachPort {
                protocol: Protocol::Tcp,
                port: Some(*port),
                last: None,
                name: None,
                observed: false,
            };
            (told, ask(destinations, Protocol::Tcp, *port))
        });
        let place = Place::Service { namespace: "default".into(), name: "kubernetes".into() };
        found.push((Target::Other(place, Some(Role::KubernetesApi)), answers.collect()));
        found
    }

    /// Blocks outside the cluster that the policies about connections from these tell apart, and an address of each that
    /// lies in no narrower one.
    fn outside(&self, from: &[Stand]) -> Vec<(IpNet, IpAddr)> {
        let ranges: Vec<IpNet> = self.inventory.ranges().collect();
        let named = from.iter().flat_map(|stand| stand.egress.blocks.iter().copied());
        let all: BTreeSet<IpNet> = named.chain(ranges.iter().copied()).chain(EVERYWHERE).collect();
        let single = |block: &IpNet| block.prefix_len() == block.max_prefix_len();
        let is_inside = |block: &IpNet| {
            let of_one = single(block)
                && !matches!(self.inventory.resolve_address(block.addr(), self.now), Endpoint::External(_));
            let of_metadata = single(block) && self.metadata.contains(&block.addr());
            of_one || of_metadata || ranges.iter().any(|range| range.contains(block))
        };
        let outside = all.iter().filter(|block| !is_inside(block));
        outside.filter_map(|block| Some((*block, rest_of(*block, &all)?))).collect()
    }

    /// Of nodes that the policies about connections from these do not tell apart, one.
    fn nodes(&self, from: &[Stand]) -> Vec<&Arc<Node>> {
        let by_labels = from.iter().any(|stand| stand.egress.nodes);
        let blocks: BTreeSet<IpNet> =
            from.iter().flat_map(|stand| stand.egress.blocks.iter().copied()).collect();
        let narrowest = |ip: &IpAddr| {
            let holding = blocks.iter().filter(|block| block.contains(ip));
            (ip.is_ipv4(), holding.max_by_key(|block| block.prefix_len()).copied())
        };
        let mut found: BTreeMap<_, &Arc<Node>> = BTreeMap::new();
        for node in self.inventory.nodes().filter(|node| !node.ips.is_empty()) {
            let mut lies: Vec<_> = node.ips.iter().map(narrowest).collect();
            lies.sort_unstable();
            let one = found.entry((by_labels.then_some(&node.labels), lies)).or_insert(node);
            if node.name < one.name {
                *one = node;
            }
        }
        found.into_values().collect()
    }
}

/// A pod as the opener of a connection to what is no workload: one of another node, whichever that is.
fn openers(stand: &Stand) -> Vec<Party> {
    let pod = match stand.pod.host_network {
        true => Arc::clone(&stand.pod),
        false => Arc::new(Pod { node: Some("".into()), ..Pod::clone(&stand.pod) }),
    };
    let own: Vec<IpAddr> = stand.parties.iter().filter_map(|party| party.ip).collect();
    // No rule looks at the opener's address where the listener is no pod.
    let ips = if own.is_empty() { vec![NOWHERE, IpAddr::V6(Ipv6Addr::UNSPECIFIED)] } else { own };
    let party = |ip| Party { endpoint: Endpoint::Pod(Arc::clone(&pod)), ip: Some(ip), port: None };
    ips.into_iter().map(party).collect()
}

fn external(ip: IpAddr) -> Party {
    Party { endpoint: Endpoint::External(External::default()), ip: Some(ip), port: None }
}

/// Who answers for the Kubernetes API, and at which port.
fn api(inventory: &Inventory, now: Timestamp) -> Vec<(Party, u16)> {
    let addresses = inventory.service_addresses("default", "kubernetes");
    let behind = addresses.into_iter().map(|ip| inventory.resolve(ip, 443, Protocol::Tcp, now));
    let backends = behind.flat_map(|target| match target {
        Behind::Service { backends, .. } => backends.to_vec(),
        Behind::Endpoint(_) => Vec::new(),
    });
    let ends = backends.map(|backend| {
        let party = Party { endpoint: backend.endpoint, ip: Some(backend.ip), port: None };
        (party, backend.port)
    });
    ends.collect()
}

/// Two stands, and the ends that they may be.
struct Pair<'s> {
    from: &'s Stand,
    to: &'s Stand,
    /// A pod, and one on the network of the node that runs it.
    same_node: bool,
    sources: Vec<Vec<Party>>,
    destinations: Vec<Vec<Party>>,
}

/// IPv4 or not; those of one list are of one family.
fn family(parties: &[Party]) -> Option<bool> {
    parties.first().and_then(|party| party.ip).map(|ip| ip.to_canonical().is_ipv4())
}

/// All ports, parted where a rule begins or ends to open some.
fn spans<'n>(
    named: impl Iterator<Item = &'n (Protocol, u16, u16)>,
    ask: impl Fn(Protocol, u16) -> Answer,
) -> Answers {
    let named: Vec<&(Protocol, u16, u16)> = named.collect();
    let mut found = Answers::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let own = named.iter().filter(|(of, ..)| *of == protocol);
        if protocol == Protocol::Sctp && own.clone().next().is_none() {
            continue;
        }
        let edges = own.flat_map(|(_, first, last)| [Some(*first), last.checked_add(1)]);
        let edges: BTreeSet<u16> = edges.flatten().chain([1]).collect();
        let ends = edges.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
        let mut own: Vec<(u16, u16, Answer)> = Vec::new();
        for (first, last) in edges.iter().copied().zip(ends) {
            let answer = ask(protocol, first);
            match own.last_mut().filter(|(.., before)| *before == answer) {
                Some((_, end, _)) => *end = last,
                None => own.push((first, last, answer)),
            }
        }
        found.extend(own.into_iter().map(|(first, last, answer)| {
            let is_all = (first, last) == (1, u16::MAX);
            let port = (!is_all).then_some(first);
            let last = (!is_all && first != last).then_some(last);
            (ReachPort { protocol, port, last, name: None, observed: false }, answer)
        }));
    }
    found
}

/// An address of a block that lies in no narrower one of these, if there is one.
fn rest_of(block: IpNet, all: &BTreeSet<IpNet>) -> Option<IpAddr> {
    let mut ip = block.network();
    // By their first address, the widest first.
    for part in all.iter().filter(|part| **part != block && block.contains(*part)) {
        if part.network() > ip {
            break;
        }
        if part.contains(&ip) {
            ip = after(part.broadcast())?;
        }
    }
    block.contains(&ip).then_some(ip)
}

fn after(ip: IpAddr) -> Option<IpAddr> {
    Some(match ip {
        IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).checked_add(1)?.into()),
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).checked_add(1)?.into()),
    })
}

/// An address that no block is asked about.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// All addresses.
const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::testkit::{at, cluster_policy, ip, network_policy, node, pod};

    /// Pods, policies and nodes; each pod is a workload, and the first is asked for.
    fn told(pods: &[Arc<Pod>], policies: &[Arc<Policy>], nodes: &[Node]) -> Vec<String> {
        let mut set = PolicySet::new(policies.iter().cloned(), BlockScope::default());
        pods.iter().for_each(|pod| set.put_pod(pod));
        let builder = Inventory::builder(&crate::inventory::Settings::default());
        let builder = nodes.iter().cloned().fold(builder, crate::inventory::Builder::node);
        let inventory = pods.iter().cloned().fold(builder, crate::inventory::Builder::pod).build(None, at(0));
        let sides: Vec<Side> =
            pods.iter().map(|pod| Side { pods: vec![Arc::clone(pod)], seen: BTreeSet::new() }).collect();
        let asking = Asking {
            sides: &sides,
            sources: &[0],
            inventory: &inventory,
            policies: &set,
            beside: None,
            metadata: &[ip("169.254.169.254")],
            now: at(0),
        };
        reaches(&asking).iter().map(|reached| words(reached, pods)).collect()
    }

    fn words(Reached { target, ports, answer, .. }: &Reached, pods: &[Arc<Pod>]) -> String {
        let target = match target {
            Target::Side(place) => pods[*place].name.to_string(),
            Target::Other(place, _) => place.to_string(),
        };
        let port = |port: &ReachPort| {
            let number = match (port.port, port.last) {
                (Some(first), Some(last)) => format!("{first}-{last}"),
                (Some(port), None) => port.to_string(),
                (None, _) => "all".to_owned(),
            };
            format!("{number}/{}", port.protocol.as_kubernetes())
        };
        let ports: Vec<String> = ports.iter().map(port).collect();
        let policies: Vec<String> =
            answer.policies.iter().map(|one| format!("{}.{:?}", one.name, one.rule)).collect();
        let free = if answer.unrestricted { " unrestricted" } else { "" };
        let why = answer.reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        format!("{target} {} {}{free} {}{why}", ports.join(","), answer.decision.as_str(), policies.join("+"))
            .trim_end()
            .to_owned()
    }

    fn three() -> [Arc<Pod>; 3] {
        [
            pod("shop/agent").ip("10.1.0.1").label("app", "agent").node("n1").build(),
            pod("shop/db").ip("10.1.0.2").label("app", "db").port("pg", 5432, Protocol::Tcp).build(),
            pod("ops/bare").ip("10.1.0.3").label("app", "bare").build(),
        ]
    }

    #[test]
    fn where_no_policy_is_everything_can_be_reached() {
        assert_eq!(
            told(&three(), &[], &[node("n1", "192.168.0.1")]),
            [
                "db 5432/TCP allow unrestricted",
                "bare all/TCP,all/UDP allow unrestricted",
                "a node all/TCP,all/UDP allow unrestricted",
                "outside the cluster all/TCP,all/UDP allow unrestricted",
                "169.254.169.254 all/TCP,all/UDP allow unrestricted",
            ]
        );
    }

    #[test]
    fn the_addresses_outside_are_parted_by_the_blocks_and_the_ports_by_the_rules() {
        let spec = "{podSelector: {matchLabels: {app: agent}}, policyTypes: [Egress], egress: [
            {to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 198.51.100.0/24]}}], ports: [{port: 443}, {port: 8000, endPort: 8999}]},
            {to: [{ipBlock: {cidr: 198.51.100.128/25}}], ports: [{protocol: UDP, port: 53}]}]}";
        assert_eq!(
            told(&three(), &[network_policy("shop/p", spec)], &[]),
            [
                "outside the cluster 443/TCP,8000-8999/TCP allow p.Some(0)",
                "198.51.100.128/25 53/UDP allow p.Some(1)",
                "169.254.169.254 443/TCP,8000-8999/TCP allow p.Some(0)",
            ]
        );
    }

    #[test]
    fn a_target_is_reached_where_both_sides_allow_it() {
        let egress = "{podSelector: {matchLabels: {app: agent}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}";
        let ingress = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: pg}]}]}";
        let nobody = "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}";
        let policies = [
            network_policy("shop/out", egress),
            network_policy("shop/in", ingress),
            network_policy("ops/in80", nobody),
        ];
        assert_eq!(
            told(&three(), &policies, &[]),
            ["db 5432/TCP allow in.Some(0)+out.Some(0)", "bare 80/TCP allow in80.Some(0)+out.Some(0)",]
        );
        let deny = "{priority: 1, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}, egress: [{action: Deny,
            to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: ops}}}]}]}";
        let policies = [policies[0].clone(), policies[2].clone(), cluster_policy("anp deny", deny)];
        assert_eq!(told(&three(), &policies, &[]), ["db 5432/TCP allow out.Some(0)"]);
    }

    #[test]
    fn what_hangs_on_an_address_that_nobody_has_yet_is_unknown() {
        let made =
            |name: &str| pod(&format!("shop/{name}")).label("app", name).port("p", 80, Protocol::Tcp).build();
        let pods = [made("agent"), made("web")];
        let rows = [
            ("0.0.0.0/0", "web 80/TCP allow p.Some(0)"),
            (
                "10.0.0.0/8",
                "web 80/TCP unknown p.Some(0) (it hangs on the address that pod shop/web will have)",
            ),
        ];
        for (block, expected) in rows {
            let spec = format!(
                "{{podSelector: {{matchLabels: {{app: agent}}}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {block}}}}}]}}]}}"
            );
            let told = told(&pods, &[network_policy("shop/p", &spec)], &[]);
            assert_eq!(told.first().map(String::as_str), Some(expected), "{block}");
        }
        // The cluster's ranges tell which addresses there are.
        let mut ranged = node("n1", "192.168.0.1");
        ranged.pod_cidrs = vec!["10.1.0.0/16".parse().unwrap()];
        let spec = "{podSelector: {matchLabels: {app: agent}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}";
        let told = told(&pods, &[network_policy("shop/p", spec)], &[ranged]);
        assert_eq!(told, ["web 80/TCP allow p.Some(0)", "10.0.0.0/8 all/TCP,all/UDP allow p.Some(0)"]);
    }

    #[test]
    fn pods_of_a_workload_that_differ_are_asked_for_each() {
        let agent = pod("shop/agent").ip("10.1.0.1").build();
        let db = |name: &str, role: &str| {
            pod(&format!("shop/{name}"))
                .ip("10.1.0.2")
                .label("role", role)
                .port("pg", 5432, Protocol::Tcp)
                .build()
        };
        let deny = "{podSelector: {matchLabels: {role: replica}}, policyTypes: [Ingress]}";
        let set_of = |pods: &[Arc<Pod>]| {
            let mut set = PolicySet::new([network_policy("shop/p", deny)], BlockScope::default());
            pods.iter().for_each(|pod| set.put_pod(pod));
            set
        };
        let rows = [(&["primary", "replica"][..], 1), (&["replica", "replica"][..], 0)];
        for (roles, expected) in rows {
            let pods: Vec<Arc<Pod>> =
                roles.iter().zip(0..).map(|(role, place)| db(&format!("db-{place}"), role)).collect();
            let mut all = pods.clone();
            all.push(Arc::clone(&agent));
            let set = set_of(&all);
            let sides = [
                Side { pods: vec![Arc::clone(&agent)], seen: BTreeSet::new() },
                Side { pods, seen: BTreeSet::new() },
            ];
            let inventory = Inventory::builder(&crate::inventory::Settings::default()).build(None, at(0));
            let asking = Asking {
                sides: &sides,
                sources: &[0],
                inventory: &inventory,
                policies: &set,
                beside: None,
                metadata: &[],
                now: at(0),
            };
            let found = reaches(&asking).into_iter().filter(|one| one.target == Target::Side(1)).count();
            assert_eq!(found, expected, "{roles:?}");
        }
    }

    #[test]
    fn on_its_own_node_no_policy_holds_a_pod_back() {
        let deny = "{podSelector: {}, policyTypes: [Egress]}";
        let host = |node: &str| {
            pod("ops/exporter")
                .ip("192.168.0.1")
                .node(node)
                .host_network()
                .port("m", 9100, Protocol::Tcp)
                .build()
        };
        for (node, expected) in [("n1", &["exporter 9100/TCP allow"][..]), ("n2", &[])] {
            let agent = pod("shop/agent").ip("10.1.0.1").node("n1").build();
            assert_eq!(
                told(&[agent, host(node)], &[network_policy("shop/p", deny)], &[]),
                expected,
                "{node}"
            );
        }
    }

    #[test]
    fn the_rest_of_a_block_is_what_no_narrower_one_holds() {
        let rows = [
            ("10.0.0.0/8", &["10.0.0.0/16", "10.1.0.0/16"][..], Some("10.2.0.0")),
            ("10.0.0.0/8", &["10.0.0.0/9", "10.0.0.0/24", "10.128.0.0/9"], None),
            ("10.0.0.0/8", &["9.0.0.0/8"], Some("10.0.0.0")),
            ("255.0.0.0/8", &["255.0.0.0/9", "255.128.0.0/9"], None),
            ("2001:db8::/32", &["2001:db8::/64"], Some("2001:db8:0:1::")),
        ];
        for (block, others, expected) in rows {
            let all = others.iter().map(|one| one.parse().unwrap()).collect();
            assert_eq!(rest_of(block.parse().unwrap(), &all), expected.map(ip), "{block}");
        }
    }
}
