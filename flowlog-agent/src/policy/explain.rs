//! Why the policies say what they say: each tier asked, each policy tried, each rule and what of it matched.
//!
//! Built from the policies as they were read, by the matches that decide; the words are for people, the
//! fields beside them for programs.

use super::answer::{self, Answer};
use super::kinds::cluster_rules::{Action, ClusterPolicy};
use super::kinds::network_policy::{Isolation, NetworkPolicy};
use super::matching::Match;
use super::peer::describe;
use super::relation::{self, Relation};
use super::ruling::Ruling;
use super::{
    Block, Namespaces, Numbers, Peer, Policy, PolicySet, Port, Query, Requirement, Selector, Side, TIERS,
    Trial, combine,
};
use crate::model::{Basis, Decision, Direction, Endpoint, Labels, Party, Pod, PolicyRef, Tier};
use serde::Serialize;
use std::sync::Arc;

/// A question's answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Both directions together.
    pub decision: Decision,
    /// At the opener.
    pub egress: SideTrace,
    /// At the listener.
    pub ingress: SideTrace,
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideTrace {
    /// Allow, deny or unknown.
    pub decision: Decision,
    /// What it rests on.
    pub basis: Basis,
    /// Where it was decided, if a tier was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The policies that decide, or that the answer hangs on.
    pub policies: Vec<PolicyRef>,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tiers that were asked, in order.
    pub tiers: Vec<TierTrace>,
}

/// One tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierTrace {
    /// Which.
    pub tier: Tier,
    /// `allow`, `deny`, `pass`, or `unknown` where it could be more than one of these.
    pub says: &'static str,
    /// The policies that could have a say, in the order in which they do.
    pub policies: Vec<PolicyTrace>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyTrace {
    /// Which.
    pub policy: PolicyRef,
    /// It is in trial, not declared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_trial: bool,
    /// Its place in the tier, where its kind has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Whether it selects the pod.
    pub selects: Tried,
    /// Its rules of the direction; none were tried where it does not select the pod.
    pub rules: Vec<RuleTrace>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleTrace {
    /// Its place in the list, from 0.
    pub rule: u32,
    /// `allow`, `deny`, `pass`, or `unknown`.
    pub action: &'static str,
    /// `yes`, `no`, or `unknown`.
    pub matches: &'static str,
    /// Its ports.
    pub ports: Tried,
    /// Its peers: one that matches is enough.
    pub peers: Vec<Tried>,
}

/// Something that was held against an end, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// `yes`, `no`, or `unknown`.
    pub matches: &'static str,
    /// Why, in words.
    pub why: String,
    /// The labels that would have to differ for it to match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<WantedLabel>,
}

/// A label that is not as a selector wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WantedLabel {
    /// Whose (`pod shop/web`, `namespace shop`).
    pub of: String,
    /// Its key.
    pub key: String,
    /// What is wanted, in words.
    pub wanted: String,
    /// What it is; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Trial {
    /// The answer as it would be, with everything that was tried for it.
    pub fn explain(&self, query: &Query<'_>) -> Trace {
        let mut trace = self.policies().explain(query);
        let tiers = trace.egress.tiers.iter_mut().chain(&mut trace.ingress.tiers);
        for policy in tiers.flat_map(|tier| &mut tier.policies) {
            policy.in_trial = self.holds(&policy.policy);
        }
        trace
    }
}

impl PolicySet {
    /// The answer to a question, with everything that was tried for it.
    pub fn explain(&self, query: &Query<'_>) -> Trace {
        let relation = relation::between(query);
        let side = |direction| self.explain_side(&Side { direction, query }, &relation);
        let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
        Trace { decision: combine(egress.decision, ingress.decision), egress, ingress }
    }

    fn explain_side(&self, side: &Side<'_>, relation: &Relation) -> SideTrace {
        match relation {
            Relation::Same => return told(&Ruling::exempt(Basis::SelfTraffic), Vec::new()),
            Relation::OwnNode => return told(&Ruling::exempt(Basis::Node), Vec::new()),
            Relation::Apart | Relation::Perhaps(_) => {}
        }
        let pod = side.own().endpoint.as_pod().filter(|pod| !pod.host_network);
        let (ruling, tiers) = match pod {
            Some(pod) => self.explain_tiers(side, pod),
            None => (self.read_side(side), Vec::new()),
        };
        match relation {
            Relation::Perhaps(reason) => told(&ruling.doubted(reason), tiers),
            _ => told(&ruling, tiers),
        }
    }

    fn explain_tiers(&self, side: &Side<'_>, pod: &Arc<Pod>) -> (Ruling, Vec<TierTrace>) {
        let (mut answers, mut traces) = (Vec::new(), Vec::new());
        for row in TIERS {
            let answer = (row.decide)(self, side);
            let (tier, says, goes_on) = (row.tier, says(&answer), answer.may.pass);
            traces.push(TierTrace { tier, says, policies: self.explain_tier(side, pod, tier) });
            answers.push((tier, answer));
            if !goes_on {
                break;
            }
        }
        (answer::ruling(answers.into_iter()), traces)
    }

    fn explain_tier(&self, side: &Side<'_>, pod: &Pod, tier: Tier) -> Vec<PolicyTrace> {
        let mut found: Vec<PolicyTrace> = self
            .policies()
            .filter_map(|policy| match &**policy {
                Policy::NetworkPolicy(policy) => (tier == Tier::Namespace
                    && policy.namespace == *pod.namespace)
                    .then(|| self.explain_network_policy(policy, side, pod)),
                Policy::Cluster(policy) => {
                    (policy.tier == tier).then(|| self.explain_cluster_policy(policy, side, pod))
                }
                Policy::NotUnderstood(policy) => {
                    let could = policy.tier.is_none_or(|own| own == tier) && policy.may_select(pod);
                    could.then(|| PolicyTrace {
                        policy: policy.reference(),
                        in_trial: false,
                        priority: None,
                        selects: tried(&policy.selects(pod), policy.reason().to_string(), Vec::new()),
                        rules: Vec::new(),
                    })
                }
            })
            .collect();
        found.sort_by(|one, other| (one.priority, &one.policy).cmp(&(other.priority, &other.policy)));
        found
    }

    fn explain_network_policy(&self, policy: &NetworkPolicy, side: &Side<'_>, pod: &Pod) -> PolicyTrace {
        let matches = policy.isolates(pod, side.direction);
        let (labels, name) = (wanted(&policy.subject, &pod.labels, &pod_name(pod)), pod_name(pod));
        let selects = match policy.direction(side.direction) {
            Isolation::None => tried(&matches, format!("says nothing about {}", word(side)), Vec::new()),
            Isolation::Undetermined(reason) => tried(&matches, reason.to_string(), labels),
            Isolation::Rules(_) => selection(&matches, &name, labels),
        };
        let rules = policy.rules(side.direction).iter().zip(0_u32..).map(|(rule, place)| RuleTrace {
            rule: place,
            action: "allow",
            matches: yes_no(&rule.matches(side, self.scope)),
            ports: explain_ports(rule.ports.as_deref(), side.query),
            peers: self.explain_peers(rule.peers.as_deref(), side),
        });
        let rules = if matches == Match::No { Vec::new() } else { rules.collect() };
        PolicyTrace { policy: policy.reference(), in_trial: false, priority: None, selects, rules }
    }

    fn explain_cluster_policy(&self, policy: &ClusterPolicy, side: &Side<'_>, pod: &Pod) -> PolicyTrace {
        let matches = policy.selects(pod, side.direction);
        let selects = match &policy.subject {
            _ if !policy.names(side.direction) => {
                tried(&matches, format!("has no rules about {}", word(side)), Vec::new())
            }
            super::kinds::cluster_rules::Subject::Undetermined(reason) => {
                tried(&matches, reason.to_string(), Vec::new())
            }
            super::kinds::cluster_rules::Subject::Pods { namespaces, pods } => {
                let mut labels = wanted(namespaces, &pod.namespace_labels, &space_name(pod));
                labels.extend(wanted(pods, &pod.labels, &pod_name(pod)));
                selection(&matches, &pod_name(pod), labels)
            }
        };
        let rules = policy.rules(side.direction).iter().zip(0_u32..).map(|(rule, place)| RuleTrace {
            rule: place,
            action: match rule.action {
                Action::Allow => "allow",
                Action::Deny => "deny",
                Action::Pass => "pass",
                Action::Undetermined(_) => "unknown",
            },
            matches: yes_no(&rule.matches(side, self.scope)),
            ports: explain_ports(rule.ports.as_deref(), side.query),
            peers: self.explain_peers(Some(&rule.peers), side),
        });
        let rules = if matches == Match::No { Vec::new() } else { rules.collect() };
        PolicyTrace { policy: policy.reference(), in_trial: false, priority: policy.priority, selects, rules }
    }

    fn explain_peers(&self, peers: Option<&[Peer]>, side: &Side<'_>) -> Vec<Tried> {
        let Some(peers) = peers else { return vec![tried(&Match::Yes, "any peer".to_owned(), Vec::new())] };
        let explain = |peer: &Peer| {
            let matches = peer.matches(side.other(), side.own(), self.scope);
            let (why, labels) = explain_peer(peer, side.other(), &matches);
            tried(&matches, why, labels)
        };
        peers.iter().map(explain).collect()
    }
}

fn told(ruling: &Ruling, tiers: Vec<TierTrace>) -> SideTrace {
    let verdict = ruling.verdict();
    SideTrace {
        decision: verdict.decision,
        basis: verdict.basis,
        tier: verdict.tier,
        policies: verdict.policies.iter().map(|policy| PolicyRef::clone(policy)).collect(),
        reason: verdict.reason,
        tiers,
    }
}

fn says(answer: &Answer) -> &'static str {
    match (answer.may.allow, answer.may.deny, answer.may.pass) {
        (true, false, false) => "allow",
        (false, true, false) => "deny",
        (false, false, true) => "pass",
        _ => "unknown",
    }
}

fn yes_no(matches: &Match) -> &'static str {
    match matches {
        Match::Yes => "yes",
        Match::No => "no",
        Match::Unknown(_) => "unknown",
    }
}

/// Where it cannot be told, the reason is the better word.
fn tried(matches: &Match, why: String, labels: Vec<WantedLabel>) -> Tried {
    match matches {
        Match::Unknown(reason) => Tried { matches: "unknown", why: reason.to_string(), labels },
        Match::Yes => Tried { matches: "yes", why, labels: Vec::new() },
        Match::No => Tried { matches: "no", why, labels },
    }
}

fn selection(matches: &Match, name: &str, labels: Vec<WantedLabel>) -> Tried {
    let why = if *matches == Match::No { "does not select" } else { "selects" };
    tried(matches, format!("{why} {name}"), labels)
}

fn word(side: &Side<'_>) -> &'static str {
    match side.direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

fn pod_name(pod: &Pod) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}

fn space_name(pod: &Pod) -> String {
    format!("namespace {}", pod.namespace)
}

/// The requirements that these labels do not fulfil.
fn wanted(selector: &Selector, labels: &Labels, of: &str) -> Vec<WantedLabel> {
    let missing = selector.0.iter().filter_map(|requirement| {
        let (key, wanted) = match requirement {
            Requirement::In(key, values) if values.len() == 1 => (key, values.concat()),
            Requirement::In(key, values) => (key, format!("one of {}", values.join(", "))),
            Requirement::NotIn(key, values) => (key, format!("none of {}", values.join(", "))),
            Requirement::Exists(key) => (key, "any value".to_owned()),
            Requirement::DoesNotExist(key) => (key, "no such label".to_owned()),
            Requirement::Undetermined(_) => return None,
        };
        let fails = Selector(vec![requirement.clone()]).matches(labels) == Match::No;
        let found = labels.get(key).cloned();
        fails.then(|| WantedLabel { of: of.to_owned(), key: key.clone(), wanted, found })
    });
    missing.collect()
}

fn explain_peer(peer: &Peer, party: &Party, matches: &Match) -> (String, Vec<WantedLabel>) {
    let who = describe(party);
    match (peer, &party.endpoint) {
        (Peer::Pods { namespaces, pods }, Endpoint::Pod(pod)) if !pod.host_network => {
            explain_pods(namespaces, pods, pod, matches)
        }
        (Peer::Pods { .. }, Endpoint::Pod(_)) => {
            (format!("selects pods; {who} uses its node's network and counts as the node"), Vec::new())
        }
        (Peer::Pods { .. }, _) => (format!("selects pods, and {who} is none"), Vec::new()),
        (Peer::Block(block), _) => (explain_block(block, party), Vec::new()),
        (Peer::Nodes(selector), Endpoint::Node(node)) => match matches {
            Match::Yes => (format!("selects {who}"), Vec::new()),
            _ => (format!("does not select {who}"), wanted(selector, &node.labels, &who)),
        },
        (Peer::Nodes(_), _) => (format!("selects nodes, and {who} is none"), Vec::new()),
        (Peer::Names(_), _) => (format!("names hosts in the DNS, and {who} is in the cluster"), Vec::new()),
        (Peer::Undetermined(reason), _) => (reason.to_string(), Vec::new()),
    }
}

fn explain_pods(
    namespaces: &Namespaces,
    pods: &Selector,
    pod: &Pod,
    matches: &Match,
) -> (String, Vec<WantedLabel>) {
    let name = pod_name(pod);
    if *matches == Match::Yes {
        return (format!("selects {name}"), Vec::new());
    }
    let mut labels = match namespaces {
        Namespaces::Own(own) if *own != *pod.namespace => {
            let why = format!("looks in namespace {own} alone, and {name} is in {}", pod.namespace);
            return (why, wanted(pods, &pod.labels, &name));
        }
        Namespaces::Own(_) => Vec::new(),
        Namespaces::Selected(selector) => wanted(selector, &pod.namespace_labels, &space_name(pod)),
    };
    labels.extend(wanted(pods, &pod.labels, &name));
    (format!("does not select {name}"), labels)
}

fn explain_block(block: &Block, party: &Party) -> String {
    let who = party.ip.map_or_else(|| describe(party), |ip| ip.to_canonical().to_string());
    let Some(ip) = party.ip.map(|ip| ip.to_canonical()) else {
        return format!("block {} and {who}", block.block);
    };
    match block.except.iter().find(|except| except.contains(&ip)) {
        _ if !block.block.contains(&ip) => format!("block {} does not hold {who}", block.block),
        Some(except) => format!("block {} leaves out {except}, which holds {who}", block.block),
        None => format!("block {} holds {who}", block.block),
    }
}

fn explain_ports(ports: Option<&[Port]>, query: &Query<'_>) -> Tried {
    let Some(ports) = ports else { return tried(&Match::Yes, "any port".to_owned(), Vec::new()) };
    let one = |port: &Port| port.matches(query.destination, query.protocol, query.port);
    let matches = Match::any(ports.iter().map(one));
    let shown: Vec<String> = match matches {
        Match::Yes => ports.iter().filter(|port| one(port) == Match::Yes).take(1).map(port_words).collect(),
        _ => ports.iter().map(port_words).collect(),
    };
    let number = query.port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    let dialed = format!("{number}/{}", query.protocol.as_kubernetes());
    let why = match matches {
        Match::Yes => format!("{} opens {dialed}", shown.join(", ")),
        _ => format!("{dialed} is not among {}", shown.join(", ")),
    };
    let named =
        ports.iter().any(|port| matches!(port, Port::Named(_) | Port::Of { numbers: Numbers::Named(_), .. }));
    let why = match (&matches, named) {
        (Match::No, true) => format!("{why} ({})", declared(query)),
        _ => why,
    };
    tried(&matches, why, Vec::new())
}

/// What the listener declares: names of ports are looked up there.
fn declared(query: &Query<'_>) -> String {
    let who = describe(query.destination);
    let Some(pod) = query.destination.endpoint.as_pod() else {
        return format!("{who} is no pod and declares no names");
    };
    let names = pod.ports.iter().filter_map(|port| {
        let name = port.name.as_ref()?;
        Some(format!("{name} = {}/{}", port.port, port.protocol.as_kubernetes()))
    });
    match names.collect::<Vec<_>>() {
        names if names.is_empty() => format!("{who} declares no named port"),
        names => format!("{who} declares {}", names.join(", ")),
    }
}

/// A port as a reader knows it.
pub(super) fn port_words(port: &Port) -> String {
    match port {
        Port::Of { protocol, numbers } => {
            let protocol = protocol.as_kubernetes();
            match numbers {
                Numbers::Every => format!("every {protocol} port"),
                Numbers::Range(first, last) if first == last => format!("{first}/{protocol}"),
                Numbers::Range(first, last) => format!("{first}-{last}/{protocol}"),
                Numbers::Named(name) => format!("port name `{name}`/{protocol}"),
            }
        }
        Port::Named(name) => format!("port name `{name}`"),
        Port::Undetermined(reason) => reason.to_string(),
    }
}
