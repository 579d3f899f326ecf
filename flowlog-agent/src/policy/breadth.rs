//! What a rule lets through, in words, and where it is wide.
//!
//! Told from what is written alone: whether a wide rule is wider than it has to be, who looks at traffic can say.

use super::explain::port_words;
use super::kinds::cluster_rules::Action;
use super::{Block, Namespaces, Numbers, Peer, Policy, Port, Requirement, Selector};
use crate::model::{Direction, PolicyRef, Protocol};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// A block of so many addresses is large: an IPv4 `/8`, an IPv6 `/32`, which a whole organisation gets.
const LARGE_BLOCK: (u8, u8) = (8, 32);

/// A range of so many ports is large.
const LARGE_RANGE: u32 = 1_000;

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breadth {
    /// The policy, with the rule's place in its direction.
    pub policy: PolicyRef,
    /// Of connections from the policy's pods, or to them.
    pub direction: Direction,
    /// What it does: `allow`, `deny`, `pass`, `unknown`.
    pub action: &'static str,
    /// With whom, each in words (`pods app=api of namespace shop`).
    pub peers: Vec<String>,
    /// On which ports, each in words (`5432/TCP`).
    pub ports: Vec<String>,
    /// Where it is wide.
    pub wide: BTreeSet<Wide>,
}

/// How a rule is wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wide {
    /// No peer is named.
    EveryPeer,
    /// `0.0.0.0/0` or `::/0`, with nothing left out.
    EveryAddress,
    /// Pods of every namespace.
    EveryNamespace,
    /// All pods of the namespaces that are named.
    EveryPod,
    /// A block of very many addresses.
    LargeBlock,
    /// No port is named, or every one of a protocol.
    EveryPort,
    /// A range of very many ports.
    LargeRange,
}

impl Wide {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EveryPeer => "every peer",
            Self::EveryAddress => "every address",
            Self::EveryNamespace => "every namespace",
            Self::EveryPod => "every pod of a namespace",
            Self::LargeBlock => "a large block of addresses",
            Self::EveryPort => "every port",
            Self::LargeRange => "a large range of ports",
        }
    }
}

impl Breadth {
    /// Whether it allows something.
    pub fn allows(&self) -> bool {
        self.action == "allow"
    }

    /// Whether it allows every port of every peer, or of every address.
    pub fn allows_everything(&self) -> bool {
        let everybody = self.wide.contains(&Wide::EveryPeer) || self.wide.contains(&Wide::EveryAddress);
        self.allows() && everybody && self.ports.is_empty()
    }

    /// In words: `to pods app=api of namespace shop, on 8080/TCP`.
    pub fn words(&self) -> String {
        let way = match self.direction {
            Direction::Egress => "to",
            Direction::Ingress => "from",
        };
        let all = |items: &[String], every: &str| match items {
            [] => every.to_owned(),
            items => items.join(" or "),
        };
        format!("{way} {}, on {}", all(&self.peers, "everybody"), all(&self.ports, "every port"))
    }
}

/// A rule's parts, of whatever kind.
struct Parts<'a> {
    action: &'static str,
    peers: Option<&'a [Peer]>,
    ports: Option<&'a [Port]>,
}

fn rules(policy: &Policy, direction: Direction) -> Vec<Parts<'_>> {
    match policy {
        Policy::NetworkPolicy(policy) => {
            let parts = policy.rules(direction).iter().map(|rule| Parts {
                action: "allow",
                peers: rule.peers.as_deref(),
                ports: rule.ports.as_deref(),
            });
            parts.collect()
        }
        Policy::Cluster(policy) => {
            let parts = policy.rules(direction).iter().map(|rule| Parts {
                action: match rule.action {
                    Action::Allow => "allow",
                    Action::Deny => "deny",
                    Action::Pass => "pass",
                    Action::Undetermined(_) => "unknown",
                },
                peers: Some(&rule.peers),
                ports: rule.ports.as_deref(),
            });
            parts.collect()
        }
        Policy::NotUnderstood(_) => Vec::new(),
    }
}

impl Policy {
    /// Its rules of a direction, in order; none of one that is not understood.
    pub fn breadths(&self, direction: Direction) -> Vec<Breadth> {
        let reference = self.reference();
        let told = rules(self, direction).into_iter().zip(0_u32..).map(|(rule, place)| {
            let mut wide = BTreeSet::new();
            match rule.peers {
                None => drop(wide.insert(Wide::EveryPeer)),
                Some(peers) => wide.extend(peers.iter().filter_map(wide_peer)),
            }
            match rule.ports {
                None => drop(wide.insert(Wide::EveryPort)),
                Some(ports) => wide.extend(ports.iter().filter_map(wide_port)),
            }
            Breadth {
                policy: PolicyRef { rule: Some(place), ..reference.clone() },
                direction,
                action: rule.action,
                peers: rule.peers.into_iter().flatten().map(peer_words).collect(),
                ports: rule.ports.into_iter().flatten().map(port_words).collect(),
                wide,
            }
        });
        told.collect()
    }

    /// The blocks of addresses that its rules of a direction name, those that they leave out among them.
    pub fn blocks(&self, direction: Direction) -> impl Iterator<Item = IpNet> {
        let peers = rules(self, direction).into_iter().filter_map(|rule| rule.peers).flatten();
        peers.flat_map(|peer| match peer {
            Peer::Block(block) => std::iter::once(block.block).chain(block.except.clone()).collect(),
            _ => Vec::new(),
        })
    }

    /// Whether a rule of a direction names nodes.
    pub fn names_nodes(&self, direction: Direction) -> bool {
        let mut peers = rules(self, direction).into_iter().filter_map(|rule| rule.peers).flatten();
        peers.any(|peer| matches!(peer, Peer::Nodes(_)))
    }

    /// The ports by number that its rules of a direction name: protocol, the first and the last of each range.
    pub fn port_ranges(&self, direction: Direction) -> impl Iterator<Item = (Protocol, u16, u16)> {
        let ports = rules(self, direction).into_iter().filter_map(|rule| rule.ports).flatten();
        ports.filter_map(|port| match port {
            Port::Of { protocol, numbers: Numbers::Range(first, last) } => Some((*protocol, *first, *last)),
            _ => None,
        })
    }
}

fn wide_peer(peer: &Peer) -> Option<Wide> {
    match peer {
        Peer::Pods { namespaces: Namespaces::Selected(spaces), .. } if spaces.0.is_empty() => {
            Some(Wide::EveryNamespace)
        }
        Peer::Pods { pods, .. } if pods.0.is_empty() => Some(Wide::EveryPod),
        Peer::Block(Block { block, except, .. }) if block.prefix_len() == 0 && except.is_empty() => {
            Some(Wide::EveryAddress)
        }
        Peer::Block(Block { block: IpNet::V4(block), .. }) if block.prefix_len() <= LARGE_BLOCK.0 => {
            Some(Wide::LargeBlock)
        }
        Peer::Block(Block { block: IpNet::V6(block), .. }) if block.prefix_len() <= LARGE_BLOCK.1 => {
            Some(Wide::LargeBlock)
        }
        _ => None,
    }
}

fn wide_port(port: &Port) -> Option<Wide> {
    match port {
        Port::Of { numbers: Numbers::Every, .. } | Port::Of { numbers: Numbers::Range(1, u16::MAX), .. } => {
            Some(Wide::EveryPort)
        }
        Port::Of { numbers: Numbers::Range(first, last), .. } => {
            let count = u32::from(*last) - u32::from(*first) + 1;
            (count >= LARGE_RANGE).then_some(Wide::LargeRange)
        }
        _ => None,
    }
}

fn peer_words(peer: &Peer) -> String {
    match peer {
        Peer::Pods { namespaces, pods } => {
            let whose = match namespaces {
                Namespaces::Own(name) => format!("namespace {name}"),
                Namespaces::Selected(selector) => spaces_words(selector),
            };
            match pods.0.is_empty() {
                true => format!("every pod of {whose}"),
                false => format!("pods {} of {whose}", selector_words(pods)),
            }
        }
        Peer::Block(block) => block_words(block),
        Peer::Nodes(selector) if selector.0.is_empty() => "every node".to_owned(),
        Peer::Nodes(selector) => format!("nodes {}", selector_words(selector)),
        Peer::Names(_) => "names in the DNS".to_owned(),
        Peer::Undetermined(_) => "a peer that cannot be read".to_owned(),
    }
}

fn spaces_words(selector: &Selector) -> String {
    match &*selector.0 {
        [] => "every namespace".to_owned(),
        [Requirement::In(key, values)] if key == super::peer::NAMESPACE_NAME => match &**values {
            [one] => format!("namespace {one}"),
            many => format!("namespaces {}", many.join(", ")),
        },
        _ => format!("namespaces {}", selector_words(selector)),
    }
}

/// As kubectl takes selectors.
fn selector_words(selector: &Selector) -> String {
    let words = selector.0.iter().map(|requirement| match requirement {
        Requirement::In(key, values) => match &**values {
            [one] => format!("{key}={one}"),
            many => format!("{key} in ({})", many.join(",")),
        },
        Requirement::NotIn(key, values) => match &**values {
            [one] => format!("{key}!={one}"),
            many => format!("{key} notin ({})", many.join(",")),
        },
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
        Requirement::Undetermined(_) => "?".to_owned(),
    });
    words.collect::<Vec<_>>().join(",")
}

fn block_words(Block { block, except, .. }: &Block) -> String {
    let whole = match (block.prefix_len(), block) {
        (0, IpNet::V4(_)) => "every IPv4 address".to_owned(),
        (0, IpNet::V6(_)) => "every IPv6 address".to_owned(),
        _ => block.to_string(),
    };
    match &**except {
        [] => whole,
        parts => {
            format!("{whole} except {}", parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{cluster_policy, network_policy};

    #[test]
    fn a_rule_is_told_in_words_and_where_it_is_wide() {
        use Wide::*;
        let rows: &[(&str, &str, &[Wide])] = &[
            ("{}", "to everybody, on every port", &[EveryPeer, EveryPort]),
            (
                "{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 80}, {port: http, protocol: UDP}]}",
                "to pods app=api of namespace shop, on 80/TCP or port name `http`/UDP",
                &[],
            ),
            (
                "{to: [{podSelector: {}}], ports: [{port: 1, endPort: 65535}]}",
                "to every pod of namespace shop, on 1-65535/TCP",
                &[EveryPod, EveryPort],
            ),
            (
                "{to: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a, b]}]}}],
                  ports: [{protocol: UDP}]}",
                "to pods app notin (a,b) of every namespace, on every UDP port",
                &[EveryNamespace, EveryPort],
            ),
            (
                "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}}], ports: [{port: 1000, endPort: 1999}]}",
                "to every pod of namespace ops, on 1000-1999/TCP",
                &[EveryPod, LargeRange],
            ),
            ("{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}", "to every IPv4 address, on every port", &[EveryAddress, EveryPort]),
            (
                "{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}, {ipBlock: {cidr: 198.51.100.0/24}}]}",
                "to every IPv4 address except 10.0.0.0/8 or 198.51.100.0/24, on every port",
                &[LargeBlock, EveryPort],
            ),
            ("{to: [{ipBlock: {cidr: '2001:db8::/33'}}]}", "to 2001:db8::/33, on every port", &[EveryPort]),
        ];
        for (rule, words, wide) in rows {
            let policy = network_policy(
                "shop/p",
                &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]}}"),
            );
            let [told] = &policy.breadths(Direction::Egress)[..] else { panic!("{rule}") };
            assert_eq!((&*told.words(), told.policy.rule), (*words, Some(0)), "{rule}");
            assert_eq!(told.wide.iter().copied().collect::<Vec<_>>(), *wide, "{rule}");
            assert!(policy.breadths(Direction::Ingress).is_empty());
        }
    }

    #[test]
    fn everything_is_every_port_of_everybody_that_is_allowed() {
        let rows = [
            ("{}", true),
            ("{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}", true),
            ("{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}", false),
            ("{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP}]}", false),
            ("{to: [{namespaceSelector: {}}]}", false),
        ];
        for (rule, expected) in rows {
            let policy = network_policy(
                "shop/p",
                &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]}}"),
            );
            let [told] = &policy.breadths(Direction::Egress)[..] else { panic!("{rule}") };
            assert_eq!(told.allows_everything(), expected, "{rule}");
        }
        let spec = "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}";
        let denies = cluster_policy("anp p", spec);
        let told = denies.breadths(Direction::Egress);
        assert_eq!(told.first().map(|one| (one.action, one.allows_everything())), Some(("deny", false)));
    }

    #[test]
    fn blocks_and_ports_are_those_that_are_written() {
        let policy = network_policy(
            "shop/p",
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}],
              ports: [{port: 80, endPort: 90}, {port: http}]}]}",
        );
        let blocks: Vec<String> = policy.blocks(Direction::Egress).map(|block| block.to_string()).collect();
        assert_eq!(blocks, ["10.0.0.0/8", "10.1.0.0/16"]);
        assert_eq!(policy.port_ranges(Direction::Egress).collect::<Vec<_>>(), [(Protocol::Tcp, 80, 90)]);
        assert_eq!(policy.blocks(Direction::Ingress).count(), 0);
    }
}
