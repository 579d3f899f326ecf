//! What is wrong, or surely not meant, in declared policies.
//!
//! Pure checks over policies as they were read, the pods, nodes and namespaces that are known, and what of
//! the written objects the reading does not keep. Few findings, and certain ones: where what is known does
//! not suffice to tell, a check says so and finds nothing. What could not be read at all is found by whoever
//! reads (`rejected`, `unread`); the rules of both stand in one table here.

mod clash;
mod cover;
#[cfg(test)]
mod cover_tests;
mod near;
mod ports;
mod reach;
mod shadow;
#[cfg(test)]
mod tests;
mod traps;

use super::Policy;
use crate::model::{ContainerPort, Direction, Labels, Node, Pod, PolicyKind, PolicyRef};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look, and often meant so.
    Info,
    /// Does not do what it seems to do.
    Warning,
    /// Cannot work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its stable name.
    pub id: &'static str,
    /// What a finding of it weighs.
    pub severity: Severity,
    /// What it finds, in a line.
    pub meaning: &'static str,
}

const fn rule(id: &'static str, severity: Severity, meaning: &'static str) -> Rule {
    Rule { id, severity, meaning }
}

/// What the API server would reject of a policy, or what cannot be understood of it.
pub const REJECTED: Rule = rule(
    "rejected",
    Severity::Error,
    "the API server would reject the policy, or it cannot be understood: what it could decide is not known",
);
/// What cannot be read and is no policy, or nobody knows.
pub const UNREAD: Rule = rule(
    "unread",
    Severity::Error,
    "an object that is no policy, or a whole document, cannot be read: checks over pods are not sure any more",
);
pub(super) const SELECTS_NOTHING: Rule = rule(
    "selects-nothing",
    Severity::Warning,
    "the policy selects no pod, so that it does nothing; a label that nearly fits is named",
);
pub(super) const PEER_MATCHES_NOTHING: Rule = rule(
    "peer-matches-nothing",
    Severity::Warning,
    "a peer matches no pod, no node, or an `ipBlock` leaves nothing; which half of it fails is told",
);
pub(super) const NAMED_PORT: Rule = rule(
    "named-port-undeclared",
    Severity::Warning,
    "a named port that no pod it could apply to declares with that protocol",
);
pub(super) const SHADOWED: Rule = rule(
    "shadowed-rule",
    Severity::Warning,
    "a rule that others cover wholly, so that it never changes an answer; info where other policies do so",
);
pub(super) const EQUAL_PRIORITY: Rule = rule(
    "equal-priority",
    Severity::Warning,
    "two policies of the cluster contradict each other, and nothing defines which goes first",
);
pub(super) const RULES_WITHOUT_EFFECT: Rule =
    rule("rules-without-effect", Severity::Warning, "rules of a direction that `policyTypes` does not name");
pub(super) const NO_DNS: Rule = rule(
    "no-dns",
    Severity::Info,
    "the selected pods may reach others by egress rules, and nothing lets them ask the DNS (port 53)",
);
pub(super) const EMPTY_PEERS: Rule = rule(
    "empty-peers-allow-all",
    Severity::Info,
    "an empty `from` or `to`, which means everybody, not nobody",
);
pub(super) const UNKNOWN_IGNORE: Rule = rule(
    "unknown-ignore",
    Severity::Warning,
    "the annotation `flowlog.dev/lint-ignore` names a rule that does not exist",
);

/// All of them, the gravest first. The docs' table is made of it.
pub const RULES: &[Rule] = &[
    REJECTED,
    UNREAD,
    SELECTS_NOTHING,
    PEER_MATCHES_NOTHING,
    NAMED_PORT,
    SHADOWED,
    EQUAL_PRIORITY,
    RULES_WITHOUT_EFFECT,
    UNKNOWN_IGNORE,
    NO_DNS,
    EMPTY_PEERS,
];

/// The table of rules for `docs/policy.md`.
pub fn rule_table() -> String {
    let row = |rule: &Rule| format!("| `{}` | {} | {} |\n", rule.id, rule.severity, rule.meaning);
    let rows: String = RULES.iter().map(row).collect();
    format!("| rule | severity | finds |\n|---|---|---|\n{rows}")
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub rule: Rule,
    /// What it weighs here.
    pub severity: Severity,
    /// The policy.
    pub policy: PolicyRef,
    /// Path of the field, as the API writes it; absent where it is about the whole object.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    fn new(rule: Rule, policy: PolicyRef, field: impl Into<String>, message: String, help: String) -> Self {
        Self { rule, severity: rule.severity, policy, field: Some(field.into()), message, help }
    }
}

/// A check that was not made, or not wholly, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Unchecked {
    /// Which.
    pub rule: &'static str,
    /// Why.
    pub why: String,
}

/// What came of all checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In no order.
    pub findings: Vec<Finding>,
    /// Sorted.
    pub unchecked: Vec<Unchecked>,
}

/// A policy, and what of it as it was written the reading does not keep.
#[derive(Clone, Debug)]
pub struct Linted {
    /// As it was read.
    pub policy: Arc<Policy>,
    /// As it was written.
    pub written: Written,
}

/// What of a written policy cannot be told from what was read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Names in the annotation `flowlog.dev/lint-ignore`.
    pub ignored: Vec<String>,
    /// How many rules of ingress are written, whether they have effect or not.
    pub ingress_rules: usize,
    /// The same of egress.
    pub egress_rules: usize,
    /// Fields of lists of peers that are written and empty.
    pub empty_peers: Vec<String>,
    /// The field of each peer, by its rule and its place, for ingress.
    pub ingress_peers: Vec<Vec<String>>,
    /// The same for egress.
    pub egress_peers: Vec<Vec<String>>,
}

impl Linted {
    fn reference(&self) -> PolicyRef {
        self.policy.reference()
    }

    /// Where a peer is written: several may stand in one item of a list.
    fn peer_field(&self, direction: Direction, rule: usize, peer: usize) -> String {
        let (written, rules, list) = match direction {
            Direction::Ingress => (&self.written.ingress_peers, "ingress", "from"),
            Direction::Egress => (&self.written.egress_peers, "egress", "to"),
        };
        let told = written.get(rule).and_then(|peers| peers.get(peer)).cloned();
        told.unwrap_or_else(|| format!("spec.{rules}[{rule}].{list}[{peer}]"))
    }

    fn port_field(&self, direction: Direction, rule: usize, port: usize) -> String {
        let (list, name) = match self.reference().kind {
            PolicyKind::NetworkPolicy => ("ports", "port"),
            PolicyKind::AdminNetworkPolicy | PolicyKind::BaselineAdminNetworkPolicy => ("ports", "namedPort"),
            PolicyKind::ClusterNetworkPolicy => ("protocols", "destinationNamedPort"),
        };
        format!("{}.{list}[{port}].{name}", rule_field(direction, rule))
    }
}

fn rule_field(direction: Direction, rule: usize) -> String {
    format!("spec.{}[{rule}]", word(direction))
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// A pod that is there, or that a workload would make.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The pod; a workload's has no address.
    pub pod: Arc<Pod>,
    /// What it is, in words (`pod shop/web-0`, `Deployment shop/web`).
    pub title: String,
    /// Named ports of its ordinary init containers, which no rule opens.
    pub init_ports: Vec<ContainerPort>,
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Estate {
    /// Pods.
    pub pods: Vec<Candidate>,
    /// Pods that workloads would make.
    pub templates: Vec<Candidate>,
    /// Nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Namespaces with their labels; empty where the source holds none.
    pub namespaces: BTreeMap<String, Arc<Labels>>,
    /// Why not all pods, namespaces and nodes may be known, if so.
    pub unsure: Option<String>,
}

/// How much may be claimed over pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Pods are known: what matches none of them matches nothing.
    Pods,
    /// Workloads alone, and who else makes pods is not known: only what nearly fits one is told.
    Workloads,
    /// Nothing.
    Blind,
}

impl Estate {
    fn sight(&self) -> Sight {
        match (self.unsure.is_some(), self.pods.is_empty(), self.templates.is_empty()) {
            (true, ..) | (_, true, true) => Sight::Blind,
            (_, false, _) => Sight::Pods,
            (_, true, false) => Sight::Workloads,
        }
    }

    /// Pods and those that workloads would make.
    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.pods.iter().chain(&self.templates)
    }

    /// Whether these are the pods of the whole cluster: each has pods in `kube-system`.
    fn is_whole(&self) -> bool {
        self.pods.iter().any(|one| *one.pod.namespace == *SYSTEM)
    }

    /// Whether these are all namespaces: each cluster has `kube-system`.
    fn has_all_namespaces(&self) -> bool {
        self.namespaces.contains_key(SYSTEM)
    }

    /// Whether some pod of this namespace is known.
    fn knows(&self, namespace: &str) -> bool {
        self.candidates().any(|one| *one.pod.namespace == *namespace)
    }
}

const SYSTEM: &str = "kube-system";

/// All checks over these policies.
pub fn lint(policies: &[Linted], estate: &Estate) -> Report {
    let mut report = Report::default();
    reach::check(policies, estate, &mut report);
    ports::check(policies, estate, &mut report);
    shadow::check(policies, &mut report);
    clash::check(policies, estate, &mut report);
    traps::check(policies, estate, &mut report);
    report
        .findings
        .extend(policies.iter().flat_map(|one| unknown_ignores(&one.reference(), &one.written.ignored)));
    report.unchecked.sort();
    report.unchecked.dedup();
    report
}

/// Names in the annotation that are no rule.
pub fn unknown_ignores(policy: &PolicyRef, ignored: &[String]) -> Vec<Finding> {
    let ids = || RULES.iter().map(|rule| rule.id);
    let unknown = ignored.iter().filter(|id| !ids().any(|known| known == **id));
    let told = unknown.map(|id| {
        let help = match near::name(id, ids()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the rules are listed in docs/policy.md".to_owned(),
        };
        let message = format!("`{id}` is no rule, so that nothing is ignored by it");
        Finding::new(UNKNOWN_IGNORE, policy.clone(), IGNORE_FIELD, message, help)
    });
    told.collect()
}

/// The annotation on a policy that silences rules for it.
pub const IGNORE: &str = "flowlog.dev/lint-ignore";

const IGNORE_FIELD: &str = "metadata.annotations";

/// The rules of a set of checks that could not be made.
fn blind(estate: &Estate, rules: &[Rule], report: &mut Report) {
    let why = match (&estate.unsure, estate.sight()) {
        (Some(why), _) => why.clone(),
        (_, Sight::Blind) => "there are no pods in the manifests".to_owned(),
        (_, Sight::Workloads) => {
            "there are workloads and no pods in the manifests: only what nearly fits a workload is told"
                .to_owned()
        }
        (_, Sight::Pods) => return,
    };
    report.unchecked.extend(rules.iter().map(|rule| Unchecked { rule: rule.id, why: why.clone() }));
}

/// `one`, `one and two`, `one, two and three`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}
