//! A policy as the index judges with it: selectors by number, ports as ranges, blocks as intervals.
//!
//! What could not be read of it is not compiled: a mark sends the question to the direct reading.

use super::Index;
use super::blocks::Blocks;
use super::ends::End;
use crate::model::{Direction, PolicyRef, PolicyRefs, Protocol, Tier};
use crate::policy::kinds::cluster_rules::{Action, ClusterPolicy, Subject};
use crate::policy::kinds::network_policy::{Isolation, NetworkPolicy};
use crate::policy::{Block, BlockScope, Namespaces, Numbers, Peer, Policy, Port, Requirement, Selector};
use std::sync::Arc;

/// A policy, compiled.
#[derive(Debug)]
pub(in crate::policy) struct Compiled {
    pub(in crate::policy) policy: Arc<Policy>,
    pub(super) whole: Arc<PolicyRef>,
    pub(super) tier: Tier,
    pub(super) priority: Option<i32>,
    pub(super) selects: Selects,
    egress: Rules,
    ingress: Rules,
    /// The selectors that it uses, once for each use.
    pub(super) uses: Vec<Use>,
    pub(super) blocks: Vec<Block>,
}

/// A selector by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Pods(u32),
    Spaces(u32),
}

/// Whom it selects.
#[derive(Debug)]
pub(super) enum Selects {
    /// Pods of its own namespace.
    Own(u32),
    /// Pods by namespace and labels.
    Any { spaces: u32, pods: u32 },
    /// It cannot be told here.
    Odd,
}

/// What it says in one direction.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether it says anything.
    pub(super) acts: bool,
    pub(super) list: Box<[Rule]>,
    /// Something in it could not be read.
    pub(super) odd: bool,
    /// It has peers that are nodes or names: for another end that is no pod the direct reading is asked.
    pub(super) odd_addresses: bool,
    /// It has peers that are blocks.
    pub(super) blocks: bool,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Allow,
    Deny,
    Pass,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) does: Does,
    /// Itself, as the policies of an answer.
    pub(super) named: PolicyRefs,
    pub(super) ports: Option<Ports>,
    pub(super) peers: Option<Peers>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports(Box<[Opened]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    /// From the first to the last.
    Range(Protocol, u16, u16),
    /// Those of a name, by number, of one protocol or any.
    Name(Option<Protocol>, u32),
}

#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The policy's own namespace by number, and pods of it.
    pub(super) own: Option<(u32, Box<[u32]>)>,
    /// Namespaces and pods.
    pub(super) pods: Box<[(u32, u32)]>,
    pub(super) blocks: Option<Blocks>,
}

/// A connection, as rules are asked about it.
#[derive(Clone, Copy)]
pub(super) struct Dialed<'a> {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// The ports that the destination declares, where it is a pod.
    pub(super) declared: &'a [Declared],
    pub(super) scope: BlockScope,
}

/// A port that a pod declares with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Declared {
    pub(super) name: u32,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl Rule {
    pub(super) fn matches(&self, other: &End<'_>, dialed: &Dialed<'_>) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.open(dialed))
            && self.peers.as_ref().is_none_or(|peers| peers.hold(other, dialed.scope))
    }
}

impl Ports {
    pub(super) fn open(&self, dialed: &Dialed<'_>) -> bool {
        let is_it = |port: &Declared| port.port == dialed.port && port.protocol == dialed.protocol;
        self.0.iter().any(|opened| match opened {
            Opened::Range(protocol, first, last) => {
                *protocol == dialed.protocol && (*first..=*last).contains(&dialed.port)
            }
            Opened::Name(protocol, name) => {
                protocol.is_none_or(|protocol| protocol == dialed.protocol)
                    && dialed.declared.iter().any(|port| port.name == *name && is_it(port))
            }
        })
    }
}

impl Peers {
    pub(super) fn hold(&self, other: &End<'_>, scope: BlockScope) -> bool {
        if let Some(pod) = &other.pod {
            let own = self.own.as_ref().is_some_and(|(name, pods)| {
                pod.space.name == *name && pods.iter().any(|pods| pod.labels.has(*pods))
            });
            let selected = |(spaces, pods): &(u32, u32)| pod.labels.has(*pods) && pod.space.bits.has(*spaces);
            if own || self.pods.iter().any(selected) {
                return true;
            }
            if scope == BlockScope::OutsidePods {
                return false;
            }
        }
        self.blocks.as_ref().is_some_and(|blocks| blocks.hold(other.ip))
    }
}

impl Compiled {
    pub(super) fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }
}

/// Compiles a policy; its selectors get their numbers from the index.
pub(super) fn compile(policy: &Arc<Policy>, index: &mut Index) -> Option<Compiled> {
    let mut compiler = Compiler { index, whole: policy.reference(), uses: Vec::new(), blocks: Vec::new() };
    let ((tier, priority), selects, egress, ingress) = match &**policy {
        Policy::NetworkPolicy(read) => (
            (Tier::Namespace, None),
            compiler.pods(&read.subject).map_or(Selects::Odd, Selects::Own),
            compiler.isolation(read, &read.egress),
            compiler.isolation(read, &read.ingress),
        ),
        Policy::Cluster(read) => (
            (read.tier, read.priority),
            compiler.subject(read),
            compiler.cluster_rules(read, Direction::Egress),
            compiler.cluster_rules(read, Direction::Ingress),
        ),
        Policy::NotUnderstood(_) => return None,
    };
    let Compiler { whole, uses, blocks, .. } = compiler;
    let (policy, whole) = (Arc::clone(policy), Arc::new(whole));
    Some(Compiled { policy, whole, tier, priority, selects, egress, ingress, uses, blocks })
}

struct Compiler<'a> {
    index: &'a mut Index,
    whole: PolicyRef,
    uses: Vec<Use>,
    blocks: Vec<Block>,
}

/// A part of a rule that could not be read.
struct Odd;

impl Compiler<'_> {
    /// The number of a selector; absent where it could not be read.
    fn pods(&mut self, selector: &Selector) -> Option<u32> {
        let number = is_read(selector).then(|| self.index.take_pod_selector(selector))??;
        self.uses.push(Use::Pods(number));
        Some(number)
    }

    fn spaces(&mut self, selector: &Selector) -> Option<u32> {
        let number = is_read(selector).then(|| self.index.take_space_selector(selector))??;
        self.uses.push(Use::Spaces(number));
        Some(number)
    }

    fn subject(&mut self, policy: &ClusterPolicy) -> Selects {
        let Subject::Pods { namespaces, pods } = &policy.subject else { return Selects::Odd };
        match (self.spaces(namespaces), self.pods(pods)) {
            (Some(spaces), Some(pods)) => Selects::Any { spaces, pods },
            _ => Selects::Odd,
        }
    }

    fn isolation(&mut self, policy: &NetworkPolicy, isolation: &Isolation) -> Rules {
        let rules = match isolation {
            Isolation::None => return Rules::default(),
            Isolation::Undetermined(_) => return Rules { acts: true, odd: true, ..Rules::default() },
            Isolation::Rules(rules) => rules,
        };
        let mut compiled = Rules { acts: true, ..Rules::default() };
        let mut list = Vec::with_capacity(rules.len());
        for (rule, index) in rules.iter().zip(0_u32..) {
            let (ports, peers) = (rule.ports.as_deref(), rule.peers.as_deref());
            list.extend(self.rule(Does::Allow, index, ports, peers, &mut compiled, Some(&policy.namespace)));
        }
        compiled.list = list.into();
        compiled
    }

    fn cluster_rules(&mut self, policy: &ClusterPolicy, direction: Direction) -> Rules {
        let rules = policy.rules(direction);
        let mut compiled = Rules { acts: !rules.is_empty(), ..Rules::default() };
        let mut list = Vec::with_capacity(rules.len());
        for (rule, index) in rules.iter().zip(0_u32..) {
            let does = match rule.action {
                Action::Allow => Does::Allow,
                Action::Deny => Does::Deny,
                Action::Pass => Does::Pass,
                Action::Undetermined(_) => {
                    compiled.odd = true;
                    continue;
                }
            };
            list.extend(self.rule(
                does,
                index,
                rule.ports.as_deref(),
                Some(&rule.peers),
                &mut compiled,
                None,
            ));
        }
        compiled.list = list.into();
        compiled
    }

    fn rule(
        &mut self,
        does: Does,
        index: u32,
        ports: Option<&[Port]>,
        peers: Option<&[Peer]>,
        of: &mut Rules,
        own: Option<&str>,
    ) -> Option<Rule> {
        let ports = ports.map(|ports| self.ports(ports)).transpose();
        let peers = peers.map(|peers| self.peers(peers, of, own)).transpose();
        match (ports, peers) {
            (Ok(ports), Ok(peers)) => {
                let named = [Arc::new(PolicyRef { rule: Some(index), ..self.whole.clone() })];
                Some(Rule { does, named: named.into(), ports, peers })
            }
            _ => {
                of.odd = true;
                None
            }
        }
    }

    fn ports(&mut self, ports: &[Port]) -> Result<Ports, Odd> {
        let mut opened = Vec::with_capacity(ports.len());
        for port in ports {
            match port {
                Port::Of { protocol, numbers: Numbers::Every } => {
                    opened.push(Opened::Range(*protocol, 0, u16::MAX));
                }
                Port::Of { protocol, numbers: Numbers::Range(first, last) } => {
                    opened.push(Opened::Range(*protocol, *first, *last));
                }
                Port::Of { protocol, numbers: Numbers::Named(name) } => {
                    opened.push(Opened::Name(Some(*protocol), self.index.word(name)));
                }
                Port::Named(name) => opened.push(Opened::Name(None, self.index.word(name))),
                Port::Undetermined(_) => return Err(Odd),
            }
        }
        Ok(Ports(opened.into()))
    }

    fn peers(&mut self, peers: &[Peer], of: &mut Rules, own: Option<&str>) -> Result<Peers, Odd> {
        let (mut own_pods, mut pods, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Pods { namespaces: Namespaces::Own(_), pods } => {
                    own_pods.push(self.pods(pods).ok_or(Odd)?);
                }
                Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods: selected } => {
                    let spaces = self.spaces(namespaces).ok_or(Odd)?;
                    pods.push((spaces, self.pods(selected).ok_or(Odd)?));
                }
                Peer::Block(block) if block.unread.is_none() => blocks.push(block),
                Peer::Nodes(_) | Peer::Names(_) => of.odd_addresses = true,
                Peer::Block(_) | Peer::Undetermined(_) => return Err(Odd),
            }
        }
        of.blocks |= !blocks.is_empty();
        self.blocks.extend(blocks.iter().map(|block| (*block).clone()));
        let own = own.filter(|_| !own_pods.is_empty());
        Ok(Peers {
            own: own.map(|name| (self.index.word(name), own_pods.into())),
            pods: pods.into(),
            blocks: (!blocks.is_empty()).then(|| Blocks::of(blocks.into_iter())),
        })
    }
}

fn is_read(selector: &Selector) -> bool {
    !selector.0.iter().any(|requirement| matches!(requirement, Requirement::Undetermined(_)))
}
