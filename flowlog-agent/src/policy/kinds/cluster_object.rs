//! The objects of group policy.networking.k8s.io as they are written, and what their kinds read alike.
//!
//! One form holds the fields of all of them; which of them a kind has is checked before it is read.

use super::cluster_rules::{Action, ClusterPolicy, ClusterRule, Subject};
use super::reader::{Reader, number};
use crate::model::{PolicyKind, Tier};
use crate::policy::{Block, Namespaces, Peer, Port, Selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;

/// An object of one of the kinds.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ClusterObject {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: Spec,
}

/// What an object says.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Spec {
    /// `Admin` or `Baseline`; ClusterNetworkPolicy alone.
    pub tier: Option<String>,
    /// Its place in the tier; not BaselineAdminNetworkPolicy.
    pub priority: Option<i32>,
    /// Whom it selects.
    pub subject: WrittenSubject,
    /// About connections to them.
    pub ingress: Option<Vec<WrittenRule>>,
    /// About connections from them.
    pub egress: Option<Vec<WrittenRule>>,
}

/// Whom a policy selects: one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WrittenSubject {
    /// All pods of these namespaces.
    pub namespaces: Option<LabelSelector>,
    /// These pods.
    pub pods: Option<NamespacedPods>,
}

/// Pods by the labels of their namespace and their own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPods {
    /// In which namespaces.
    pub namespace_selector: Option<LabelSelector>,
    /// Which of their pods.
    pub pod_selector: Option<LabelSelector>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WrittenRule {
    /// A name for people.
    pub name: Option<String>,
    /// `Allow` or `Accept`, `Deny`, `Pass`.
    pub action: String,
    /// Openers, for a rule of ingress.
    pub from: Option<Vec<WrittenPeer>>,
    /// Listeners, for a rule of egress.
    pub to: Option<Vec<WrittenPeer>>,
    /// Ports, v1alpha1.
    pub ports: Option<Vec<WrittenPort>>,
    /// Ports, v1alpha2.
    pub protocols: Option<Vec<WrittenProtocol>>,
}

/// With whom: one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenPeer {
    /// All pods of these namespaces.
    pub namespaces: Option<LabelSelector>,
    /// These pods.
    pub pods: Option<NamespacedPods>,
    /// These nodes.
    pub nodes: Option<LabelSelector>,
    /// These blocks of addresses.
    pub networks: Option<Vec<String>>,
    /// Whoever has these names.
    pub domain_names: Option<Vec<String>>,
}

/// Ports of v1alpha1: one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenPort {
    /// One port.
    pub port_number: Option<PortNumber>,
    /// A name that the destination pod declares.
    pub named_port: Option<String>,
    /// A range.
    pub port_range: Option<PortRange>,
}

/// One port of a protocol.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PortNumber {
    /// TCP where absent.
    pub protocol: Option<String>,
    /// Its number.
    pub port: i32,
}

/// A range of ports, both ends included.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PortRange {
    /// TCP where absent; v1alpha1 alone.
    pub protocol: Option<String>,
    /// The first.
    pub start: i32,
    /// The last.
    pub end: i32,
}

/// Ports of v1alpha2: one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrittenProtocol {
    /// Of TCP.
    pub tcp: Option<PortsOfProtocol>,
    /// Of UDP.
    pub udp: Option<PortsOfProtocol>,
    /// Of SCTP.
    pub sctp: Option<PortsOfProtocol>,
    /// A name that the destination pod declares, of any protocol.
    pub destination_named_port: Option<String>,
}

/// Ports of one protocol.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortsOfProtocol {
    /// Which; all where absent.
    pub destination_port: Option<DestinationPort>,
}

/// A port or a range: one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DestinationPort {
    /// One port.
    pub number: Option<i32>,
    /// A range.
    pub range: Option<PortRange>,
}

/// What tells the kinds apart.
pub(super) struct Kind {
    pub(super) kind: PolicyKind,
    pub(super) tier: Tier,
    /// What the kind calls its actions.
    pub(super) action: fn(&str) -> Option<Action>,
    /// The ports of a rule: a field, and what was read of each of its items.
    pub(super) ports: fn(&RuleReader<'_>, &WrittenRule) -> Option<Vec<Port>>,
}

/// Reads one rule.
pub(super) struct RuleReader<'a> {
    pub(super) reader: &'a Reader,
    /// `ingress[0]`.
    pub(super) field: String,
}

pub(super) fn read(kind: &Kind, object: &ClusterObject) -> ClusterPolicy {
    let name = object.metadata.name.clone().unwrap_or_default();
    let reader = Reader::new(kind.kind, None, &name);
    let rules = |direction: &str, written: &Option<Vec<WrittenRule>>| -> Vec<ClusterRule> {
        let written = written.iter().flatten().enumerate();
        let read = |(place, rule): (usize, &WrittenRule)| {
            let field = format!("{direction}[{place}]");
            RuleReader { reader: &reader, field }.rule(kind, rule)
        };
        written.map(read).collect()
    };
    let spec = &object.spec;
    ClusterPolicy {
        kind: kind.kind,
        tier: kind.tier,
        priority: spec.priority,
        subject: subject(&reader, &spec.subject),
        ingress: rules("ingress", &spec.ingress),
        egress: rules("egress", &spec.egress),
        name,
    }
}

fn subject(reader: &Reader, written: &WrittenSubject) -> Subject {
    match (&written.namespaces, &written.pods) {
        (Some(namespaces), None) => Subject::Pods {
            namespaces: reader.selector("subject.namespaces", namespaces),
            pods: Selector::default(),
        },
        (None, Some(both)) => {
            let (namespaces, pods) = selectors(reader, "subject.pods", both);
            Subject::Pods { namespaces, pods }
        }
        _ => Subject::Undetermined(reader.reason("subject", "must name one of namespaces and pods")),
    }
}

/// An absent selector selects all.
fn selectors(reader: &Reader, field: &str, written: &NamespacedPods) -> (Selector, Selector) {
    let read = |name: &str, selector: &Option<LabelSelector>| {
        let read = |selector| reader.selector(&format!("{field}.{name}"), selector);
        selector.as_ref().map_or_else(Selector::default, read)
    };
    let namespaces = read("namespaceSelector", &written.namespace_selector);
    (namespaces, read("podSelector", &written.pod_selector))
}

impl RuleReader<'_> {
    fn rule(&self, kind: &Kind, rule: &WrittenRule) -> ClusterRule {
        let action = (kind.action)(&rule.action).unwrap_or_else(|| {
            let what = format!("`{}` is no action", rule.action);
            Action::Undetermined(self.reader.reason(&format!("{}.action", self.field), &what))
        });
        let from = rule.from.iter().flatten().map(|peer| ("from", peer));
        let to = rule.to.iter().flatten().map(|peer| ("to", peer));
        let peers = from.chain(to).enumerate();
        let mut peers: Vec<Peer> = peers
            .flat_map(|(place, (list, peer))| self.peer(&format!("{}.{list}[{place}]", self.field), peer))
            .collect();
        // The API server asks for one at least: an empty list is a list whose items this form does not have.
        if peers.is_empty() {
            peers.push(Peer::Undetermined(self.reader.reason(&self.field, "names no peer")));
        }
        ClusterRule { action, peers, ports: (kind.ports)(self, rule) }
    }

    fn peer(&self, field: &str, peer: &WrittenPeer) -> Vec<Peer> {
        let reader = self.reader;
        let pods = |namespaces, pods| vec![Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods }];
        match (&peer.namespaces, &peer.pods, &peer.nodes, &peer.networks, &peer.domain_names) {
            (Some(namespaces), None, None, None, None) => {
                pods(reader.selector(&format!("{field}.namespaces"), namespaces), Selector::default())
            }
            (None, Some(both), None, None, None) => {
                let (namespaces, selected) = selectors(reader, &format!("{field}.pods"), both);
                pods(namespaces, selected)
            }
            (None, None, Some(nodes), None, None) => {
                vec![Peer::Nodes(reader.selector(&format!("{field}.nodes"), nodes))]
            }
            (None, None, None, Some(networks), None) => {
                let read = |(place, written): (usize, &String)| {
                    self.network(&format!("{field}.networks[{place}]"), written)
                };
                networks.iter().enumerate().map(read).collect()
            }
            (None, None, None, None, Some(_)) => {
                let what = "which addresses these names have is not known";
                vec![Peer::Names(reader.reason(&format!("{field}.domainNames"), what))]
            }
            _ => vec![Peer::Undetermined(reader.reason(field, "must name one kind of peer"))],
        }
    }

    fn network(&self, field: &str, written: &str) -> Peer {
        match self.reader.block(field, written) {
            Ok(block) => Peer::Block(Block { block, except: Vec::new(), unread: None }),
            Err(reason) => Peer::Undetermined(reason),
        }
    }

    pub(super) fn undetermined(&self, field: &str, what: &str) -> Port {
        Port::Undetermined(self.reader.reason(&format!("{}.{field}", self.field), what))
    }
}

/// A range of ports that can be dialed.
pub(super) fn range(first: i32, last: i32) -> Option<(u16, u16)> {
    Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
}
