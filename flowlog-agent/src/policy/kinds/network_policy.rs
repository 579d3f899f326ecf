//! networking.k8s.io/v1 NetworkPolicy: the object, read into plain rules, and how the kind decides.
//!
//! `read` expects the object in the form that the API server stores. What it cannot read stays as a marker
//! in its place: a list never becomes shorter, since an empty list would match everything.

use super::not_understood::in_tier;
use crate::model::{Direction, Party, Pod, PolicyKind, PolicyRef, Protocol, Tier, normalise_block};
use crate::policy::answer::Answer;
use crate::policy::{
    Block, BlockScope, Match, Namespaces, Numbers, Peer, Policy, PolicySet, Port, Query, Reason, Requirement,
    Selector, Side,
};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
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
    peers: Option<Vec<Peer>>,
    ports: Option<Vec<Port>>,
}

impl Rule {
    fn matches(&self, query: &Query<'_>, other: &Party, own: &Party, scope: BlockScope) -> Match {
        let peers = || match &self.peers {
            None => Match::Yes,
            Some(peers) => Match::any(peers.iter().map(|peer| peer.matches(other, own, scope))),
        };
        let ports = match &self.ports {
            None => Match::Yes,
            Some(ports) => {
                let open = |port: &Port| port.matches(query.destination, query.protocol, query.port);
                Match::any(ports.iter().map(open))
            }
        };
        ports.and(peers)
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

    fn direction(&self, direction: Direction) -> &Isolation {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// Whether it isolates any pod in this direction.
    pub(crate) fn names(&self, direction: Direction) -> bool {
        !matches!(self.direction(direction), Isolation::None)
    }

    /// Whether it isolates this pod in this direction.
    pub(crate) fn isolates(&self, pod: &Pod, direction: Direction) -> Match {
        let named = match self.direction(direction) {
            Isolation::None => return Match::No,
            Isolation::Rules(_) => Match::Yes,
            Isolation::Undetermined(reason) => Match::Unknown(reason.clone()),
        };
        Match::from(pod.namespace == self.namespace).and(|| self.subject.matches(&pod.labels)).and(|| named)
    }
}

/// What the NetworkPolicies that may isolate a pod say, gathered.
#[derive(Default)]
struct Tally {
    allowing: Vec<PolicyRef>,
    isolating: Vec<PolicyRef>,
    doubt: Option<Reason>,
    doubtful: Vec<PolicyRef>,
}

impl Tally {
    fn doubt(&mut self, reason: &Reason, policy: PolicyRef) {
        self.doubt.get_or_insert_with(|| reason.clone());
        self.doubtful.push(policy);
    }

    fn add(&mut self, policy: &NetworkPolicy, set: &PolicySet, side: &Side<'_>, pod: &Pod) {
        let selects = policy.isolates(pod, side.direction);
        match &selects {
            Match::No => return,
            Match::Yes => self.isolating.push(policy.reference()),
            Match::Unknown(reason) => self.doubt(reason, policy.reference()),
        }
        let Isolation::Rules(rules) = policy.direction(side.direction) else { return };
        for (rule, index) in rules.iter().zip(0_u32..) {
            let named = || PolicyRef { rule: Some(index), ..policy.reference() };
            match rule.matches(side.query, side.other(), side.own(), set.scope) {
                Match::Yes if selects == Match::Yes => self.allowing.push(named()),
                Match::Unknown(reason) if selects == Match::Yes => self.doubt(&reason, named()),
                _ => {}
            }
        }
    }

    /// Policies add up: an allow stands whatever else there is, a deny only where nothing is in doubt.
    fn answer(self) -> Answer {
        if !self.allowing.is_empty() {
            return Answer::Allow(self.allowing);
        }
        match self.doubt {
            Some(reason) => Answer::Unknown(reason, self.doubtful),
            None if self.isolating.is_empty() => Answer::Pass,
            None => Answer::Isolated(self.isolating),
        }
    }
}

/// How the NetworkPolicies decide about one end.
pub(in crate::policy) fn decide(set: &PolicySet, side: &Side<'_>) -> Answer {
    let Some(pod) = side.own().endpoint.as_pod() else { return Answer::Pass };
    let mut tally = Tally::default();
    for policy in set.by_namespace.get(&pod.namespace).into_iter().flatten() {
        if let Policy::NetworkPolicy(policy) = &**policy {
            tally.add(policy, set, side, pod);
        }
    }
    for policy in in_tier(set, Tier::Namespace).filter(|policy| policy.may_select(pod)) {
        tally.doubt(&policy.reason(), policy.reference());
    }
    tally.answer()
}

/// Reads an object that has its defaults.
pub fn read(object: &k8s_openapi::api::networking::v1::NetworkPolicy) -> NetworkPolicy {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let reader = Reader { namespace: &namespace, name: &name };
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
            .map_or_else(Selector::default, |selector| reader.selector("podSelector", &selector)),
        namespace,
        name,
    }
}

/// Reads the parts of one policy, which it names where it cannot.
struct Reader<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Reader<'_> {
    fn reason(&self, field: &str, what: &str) -> Reason {
        format!("NetworkPolicy {}/{}: spec.{field}: {what}", self.namespace, self.name).into()
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
            |name: &str, selector: &LabelSelector| self.selector(&format!("{field}.{name}"), selector);
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
        let bad = |field: String, written: &str| self.reason(&field, &format!("`{written}` is no CIDR"));
        let Some(read) = read_block(&block.cidr) else {
            return Peer::Undetermined(bad(format!("{field}.cidr"), &block.cidr));
        };
        let (mut except, mut unread) = (Vec::new(), None);
        for (place, written) in block.except.iter().flatten().enumerate() {
            match read_block(written) {
                Some(part) => except.push(part),
                None => unread = Some(bad(format!("{field}.except[{place}]"), written)),
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

    fn selector(&self, field: &str, selector: &LabelSelector) -> Selector {
        let labels = selector.match_labels.iter().flatten();
        let equal = labels.map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]));
        let expressions = selector.match_expressions.iter().flatten().enumerate();
        let expressions = expressions.map(|(place, expression)| {
            self.requirement(&format!("{field}.matchExpressions[{place}]"), expression)
        });
        Selector(equal.chain(expressions).collect())
    }

    fn requirement(&self, field: &str, written: &LabelSelectorRequirement) -> Requirement {
        let key = written.key.clone();
        let values = written.values.clone().unwrap_or_default();
        match (written.operator.as_str(), values.is_empty()) {
            ("In", false) => Requirement::In(key, values),
            ("NotIn", false) => Requirement::NotIn(key, values),
            ("Exists", true) => Requirement::Exists(key),
            ("DoesNotExist", true) => Requirement::DoesNotExist(key),
            ("In" | "NotIn", true) => Requirement::Undetermined(self.reason(field, "has no values")),
            ("Exists" | "DoesNotExist", false) => {
                Requirement::Undetermined(self.reason(field, "has values that its operator does not take"))
            }
            (other, _) => {
                Requirement::Undetermined(self.reason(field, &format!("operator `{other}` is not known")))
            }
        }
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn read_block(written: &str) -> Option<IpNet> {
    written.parse().ok().map(normalise_block)
}
