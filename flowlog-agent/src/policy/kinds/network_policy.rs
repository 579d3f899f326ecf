//! networking.k8s.io/v1 NetworkPolicy: the object, read into plain rules, and how the kind decides.
//!
//! `read` expects the object in the form that the API server stores. What it cannot read stays as a marker
//! in its place: a list never becomes shorter, since an empty list would match everything.

use super::not_understood::in_tier;
use super::reader::{Reader, number};
use crate::model::{Basis, Direction, Pod, PolicyKind, PolicyRef, Protocol, Tier};
use crate::policy::answer::{Answer, Doubt, May, Plain};
use crate::policy::{
    Block, BlockScope, Match, Namespaces, Numbers, Peer, PolicySet, Port, Reason, Selector, Side,
};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A NetworkPolicy, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pods that it selects.
    pub subject: Selector,
    /// What it says about connections to them.
    pub ingress: Isolation,
    /// What it says about connections from them.
    pub egress: Isolation,
}

/// What a policy says about one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: it does not isolate in this direction.
    None,
    /// Only what one of these rules matches is allowed.
    Rules(Vec<Rule>),
    /// Whether it isolates cannot be told.
    Undetermined(Reason),
}

/// One rule: who, and which ports; absent means all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(in crate::policy) peers: Option<Vec<Peer>>,
    pub(in crate::policy) ports: Option<Vec<Port>>,
}

impl Rule {
    pub(in crate::policy) fn matches(&self, side: &Side<'_>, scope: BlockScope) -> Match {
        side.matches(self.ports.as_deref(), self.peers.as_deref(), scope)
    }
}

impl NetworkPolicy {
    pub(crate) fn reference(&self) -> PolicyRef {
        PolicyRef {
            kind: PolicyKind::NetworkPolicy,
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
            rule: None,
        }
    }

    pub(in crate::policy) fn direction(&self, direction: Direction) -> &Isolation {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    pub(in crate::policy) fn rules(&self, direction: Direction) -> &[Rule] {
        match self.direction(direction) {
            Isolation::Rules(rules) => rules,
            Isolation::None | Isolation::Undetermined(_) => &[],
        }
    }

    /// Whether it isolates this pod in this direction.
    pub(crate) fn isolates(&self, pod: &Pod, direction: Direction) -> Match {
        let named = match self.direction(direction) {
            Isolation::None => return Match::No,
            Isolation::Rules(_) => Match::Yes,
            Isolation::Undetermined(reason) => Match::Unknown(reason.clone()),
        };
        Match::from(*pod.namespace == self.namespace).and(|| self.subject.matches(&pod.labels)).and(|| named)
    }
}

/// What the NetworkPolicies that may isolate a pod say, gathered.
#[derive(Default)]
struct Tally {
    allowing: Vec<PolicyRef>,
    isolating: Vec<PolicyRef>,
    doubt: Doubt,
    /// A rule in doubt may allow it.
    may_allow: bool,
    /// A policy that may isolate has no rule that surely allows it.
    may_isolate: bool,
}

impl Tally {
    fn add(&mut self, policy: &NetworkPolicy, set: &PolicySet, side: &Side<'_>, pod: &Pod) {
        match policy.isolates(pod, side.direction) {
            Match::No => {}
            Match::Yes => {
                self.isolating.push(policy.reference());
                self.add_rules(policy, set, side);
            }
            Match::Unknown(reason) => self.add_doubtful(policy, &reason, set, side),
        }
    }

    fn add_rules(&mut self, policy: &NetworkPolicy, set: &PolicySet, side: &Side<'_>) {
        for (rule, index) in policy.rules(side.direction).iter().zip(0_u32..) {
            let named = || PolicyRef { rule: Some(index), ..policy.reference() };
            match rule.matches(side, set.scope) {
                Match::Yes => self.allowing.push(named()),
                Match::No => {}
                Match::Unknown(reason) => {
                    self.may_allow = true;
                    self.doubt.add(&reason, [named()]);
                }
            }
        }
    }

    /// One of which it is not known whether it isolates the pod.
    fn add_doubtful(&mut self, policy: &NetworkPolicy, reason: &Reason, set: &PolicySet, side: &Side<'_>) {
        self.doubt.add(reason, [policy.reference()]);
        let rules = match policy.direction(side.direction) {
            Isolation::Rules(rules) => rules,
            Isolation::None | Isolation::Undetermined(_) => {
                (self.may_allow, self.may_isolate) = (true, true);
                return;
            }
        };
        let allows = Match::any(rules.iter().map(|rule| rule.matches(side, set.scope)));
        self.may_allow |= allows != Match::No;
        self.may_isolate |= allows != Match::Yes;
    }

    /// Policies add up: an allow stands whatever else there is, a deny only where nothing in doubt allows.
    fn answer(self) -> Answer {
        if !self.allowing.is_empty() {
            return Answer::sure(Plain::Allow(self.allowing));
        }
        let isolated = !self.isolating.is_empty();
        let may = May { allow: self.may_allow, deny: isolated || self.may_isolate, pass: !isolated };
        let plain = if isolated { Plain::Deny(Basis::Isolated, self.isolating) } else { Plain::Pass };
        Answer { plain, may, doubt: self.doubt }
    }
}

/// How the NetworkPolicies decide about one end.
pub(in crate::policy) fn decide(set: &PolicySet, side: &Side<'_>) -> Answer {
    let Some(pod) = side.own().endpoint.as_pod() else { return Answer::sure(Plain::Pass) };
    let mut tally = Tally::default();
    for policy in set.network_policies(pod, side.direction) {
        tally.add(policy, set, side, pod);
    }
    for policy in in_tier(set, Tier::Namespace).filter(|policy| policy.may_select(pod)) {
        (tally.may_allow, tally.may_isolate) = (true, true);
        tally.doubt.add(&policy.reason(), [policy.reference()]);
    }
    tally.answer()
}

/// Reads a text in which nothing is left to defaults.
///
/// # Errors
/// It is no NetworkPolicy, and why.
pub(in crate::policy) fn read_text(text: &str) -> Result<NetworkPolicy, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let object = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(read(&object))
}

/// Reads an object that has its defaults.
pub fn read(object: &k8s_openapi::api::networking::v1::NetworkPolicy) -> NetworkPolicy {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let shared = Reader::new(PolicyKind::NetworkPolicy, Some(&namespace), &name);
    let reader = PolicyReader { namespace: &namespace, shared };
    let spec = object.spec.clone().unwrap_or_default();
    let rules_in = spec.ingress.unwrap_or_default();
    let rules_in = rules_in.iter().zip(0_u32..).map(|(rule, index)| {
        reader.rule(&format!("ingress[{index}]"), "from", rule.from.as_deref(), rule.ports.as_deref())
    });
    let rules_out = spec.egress.unwrap_or_default();
    let rules_out = rules_out.iter().zip(0_u32..).map(|(rule, index)| {
        reader.rule(&format!("egress[{index}]"), "to", rule.to.as_deref(), rule.ports.as_deref())
    });
    let types = spec.policy_types.as_deref();
    NetworkPolicy {
        ingress: reader.isolation(types, "Ingress", rules_in.collect()),
        egress: reader.isolation(types, "Egress", rules_out.collect()),
        subject: spec
            .pod_selector
            .map_or_else(Selector::default, |selector| reader.shared.selector("podSelector", &selector)),
        namespace,
        name,
    }
}

/// Reads the parts of one policy.
struct PolicyReader<'a> {
    namespace: &'a str,
    shared: Reader,
}

impl PolicyReader<'_> {
    fn reason(&self, field: &str, what: &str) -> Reason {
        self.shared.reason(field, what)
    }

    fn isolation(&self, types: Option<&[String]>, direction: &str, rules: Vec<Rule>) -> Isolation {
        let types = types.unwrap_or_default();
        if types.iter().any(|named| named == direction) {
            return Isolation::Rules(rules);
        }
        let odd = types.iter().find(|named| !["Ingress", "Egress"].contains(&named.as_str()));
        match odd {
            Some(odd) => {
                Isolation::Undetermined(self.reason("policyTypes", &format!("`{odd}` is no direction")))
            }
            None if types.is_empty() => Isolation::Undetermined(self.reason("policyTypes", "is missing")),
            None => Isolation::None,
        }
    }

    fn rule(
        &self,
        field: &str,
        peers_field: &str,
        peers: Option<&[NetworkPolicyPeer]>,
        ports: Option<&[NetworkPolicyPort]>,
    ) -> Rule {
        // An empty list means the same as an absent one.
        let peers = peers.filter(|peers| !peers.is_empty()).map(|peers| {
            let read = |(place, peer)| self.peer(&format!("{field}.{peers_field}[{place}]"), peer);
            peers.iter().enumerate().map(read).collect()
        });
        let ports = ports.filter(|ports| !ports.is_empty()).map(|ports| {
            let read = |(place, port)| self.port(&format!("{field}.ports[{place}]"), port);
            ports.iter().enumerate().map(read).collect()
        });
        Rule { peers, ports }
    }

    fn peer(&self, field: &str, peer: &NetworkPolicyPeer) -> Peer {
        let selector =
            |name: &str, selector: &LabelSelector| self.shared.selector(&format!("{field}.{name}"), selector);
        match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
            (Some(block), None, None) => self.block(&format!("{field}.ipBlock"), block),
            (None, None, Some(pods)) => Peer::Pods {
                namespaces: Namespaces::Own(self.namespace.to_owned()),
                pods: selector("podSelector", pods),
            },
            (None, Some(namespaces), pods) => Peer::Pods {
                namespaces: Namespaces::Selected(selector("namespaceSelector", namespaces)),
                pods: pods.as_ref().map_or_else(Selector::default, |pods| selector("podSelector", pods)),
            },
            (None, None, None) => Peer::Undetermined(self.reason(field, "names no peer")),
            (Some(_), ..) => Peer::Undetermined(self.reason(field, "has selectors beside ipBlock")),
        }
    }

    fn block(&self, field: &str, block: &IPBlock) -> Peer {
        let read = match self.shared.block(&format!("{field}.cidr"), &block.cidr) {
            Ok(read) => read,
            Err(reason) => return Peer::Undetermined(reason),
        };
        let (mut except, mut unread) = (Vec::new(), None);
        for (place, written) in block.except.iter().flatten().enumerate() {
            match self.shared.block(&format!("{field}.except[{place}]"), written) {
                Ok(part) => except.push(part),
                Err(reason) => unread = Some(reason),
            }
        }
        Peer::Block(Block { block: read, except, unread })
    }

    fn port(&self, field: &str, port: &NetworkPolicyPort) -> Port {
        let undetermined = |what: &str| Port::Undetermined(self.reason(field, what));
        let protocol = match port.protocol.as_deref() {
            Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => return undetermined(&format!("protocol `{other}` is not known")),
            None => return undetermined("protocol is missing"),
        };
        let numbers = match (&port.port, port.end_port) {
            (None, None) => Numbers::Every,
            (Some(IntOrString::String(name)), None) => Numbers::Named(name.clone()),
            (Some(IntOrString::Int(first)), last) => {
                let last = last.unwrap_or(*first);
                match (number(*first), number(last)) {
                    (Some(first), Some(last)) if first <= last => Numbers::Range(first, last),
                    _ => return undetermined(&format!("{first}–{last} is no range of ports")),
                }
            }
            (_, Some(_)) => return undetermined("endPort without a port number"),
        };
        Port::Of { protocol, numbers }
    }
}
