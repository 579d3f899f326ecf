//! The least that policies have to allow so that what was observed goes on: NetworkPolicies out of flows.
//!
//! Each is for the pods of a workload, or of a namespace. What is suggested was read again and put to the engine before
//! it is given out: a connection that it was made for and that it would deny is an error, never a suggestion.

mod check;
mod labels;
mod plan;
#[cfg(test)]
mod tests;
mod write;

use super::observed::{Backing, Cast, place_of};
use super::{Match, Policy, PolicySet};
use crate::model::{Class, Direction, Edge, Node, Place, Pod, PolicyKind, PolicyRef, Protocol};
use check::Check;
use ipnet::IpNet;
use jiff::Timestamp;
use labels::Selectors;
use plan::{Flow, Plan, Planner, Subject, Wants};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use write::{Head, Naming};

/// The two directions, in the order in which they are written.
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
/// So many connections that are left out stand in a policy's comment.
const MOST_LEFT_OUT: usize = 10;

/// What policies are suggested from.
pub struct Input<'a> {
    /// What was observed.
    pub edges: &'a [Edge],
    /// Pods as the cluster's objects have them; none where there are only records.
    pub pods: Vec<Arc<Pod>>,
    /// Nodes, likewise.
    pub nodes: Vec<Arc<Node>>,
    /// Finds what stands behind a service.
    pub backing: Backing<'a>,
    /// What is declared.
    pub declared: &'a PolicySet,
    /// Networks outside the cluster, by name.
    pub networks: &'a [(IpNet, String)],
    /// The cluster's own ranges of addresses.
    pub ranges: &'a [IpNet],
}

/// Whom a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// The pods of a workload.
    #[default]
    Workload,
    /// All pods of a namespace.
    Namespace,
}

/// How peers outside the cluster are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// By their addresses.
    #[default]
    Cidr,
    /// By the block of the configured network that they lie in, where there is one.
    Network,
    /// Not at all: everything but the cluster's own ranges.
    Any,
}

/// Where DNS may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dns {
    /// At the cluster's DNS pods where they are known, else anywhere.
    #[default]
    Cluster,
    /// Anywhere.
    Any,
    /// Only where it was observed.
    None,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Whom each policy is for.
    pub per: Per,
    /// Which directions are restricted.
    pub directions: BTreeSet<Direction>,
    /// How peers outside the cluster are named.
    pub outside: Outside,
    /// Where DNS may be asked.
    pub dns: Dns,
    /// A policy for each namespace that denies everything else.
    pub default_deny: bool,
    /// Leave out what declared policies allow already.
    pub merge: bool,
    /// Classes that count beside `allowed` and `unrestricted`.
    pub include: BTreeSet<Class>,
    /// These namespaces alone; all where there are none.
    pub namespaces: BTreeSet<String>,
    /// These workloads alone, by kind and name; all where there are none.
    pub workloads: BTreeSet<(String, String)>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            per: Per::default(),
            directions: DIRECTIONS.into(),
            outside: Outside::default(),
            dns: Dns::default(),
            default_deny: false,
            merge: false,
            include: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            workloads: BTreeSet::new(),
        }
    }
}

impl Choice {
    fn counts(&self, class: Class) -> bool {
        matches!(class, Class::Allowed | Class::Unrestricted) || self.include.contains(&class)
    }

    fn is_wanted_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    fn is_wanted(&self, place: &Place) -> bool {
        let Place::Workload { namespace, owner, name } = place else { return false };
        let is_named = |(kind, of): &(String, String)| kind.eq_ignore_ascii_case(owner) && **of == **name;
        self.is_wanted_namespace(namespace)
            && (self.workloads.is_empty() || self.workloads.iter().any(is_named))
    }
}

/// A policy that is suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The policy as YAML, with comments.
    pub text: String,
}

/// A connection that no policy which is suggested allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Which.
    pub what: String,
    /// Why not.
    pub why: String,
    /// Attempts.
    pub count: u64,
}

/// How many (workload, workload, port) are allowed, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triples {
    /// Those that were looked at: ports that pods declare or that were observed.
    pub asked: u64,
    /// Allowed before and after.
    pub kept: u64,
    /// Allowed before, denied after.
    pub lost: u64,
    /// Denied before, allowed after.
    pub opened: u64,
    /// Not to be told, before or after.
    pub unknown: u64,
}

/// What is suggested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// Policies, by namespace and name.
    pub documents: Vec<Document>,
    /// Connections that counted.
    pub flows: usize,
    /// Those that would be denied, since a policy cannot name them.
    pub left_out: Vec<LeftOut>,
    /// Attempts of classes that did not count.
    pub not_counted: BTreeMap<Class, u64>,
    /// Connections that other policies deny, or may, whatever is added: which, and why.
    pub conflicts: BTreeMap<String, String>,
    /// Workloads for which no policy can be made, and why.
    pub without: BTreeMap<String, String>,
    /// Workloads for which declared policies are enough.
    pub covered: Vec<String>,
    /// What becomes of connections between workloads; absent where there are too many to ask.
    pub triples: Option<Triples>,
}

/// What was suggested was wrong, and is not given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuggestError {
    /// It denies a connection that it was made for.
    #[error("this is a fault of flowlog: what it would suggest denies {flow} ({why}); nothing is suggested")]
    Lost {
        /// Which.
        flow: String,
        /// By what.
        why: String,
    },
    /// It cannot be read.
    #[error(
        "this is a fault of flowlog: what it would suggest cannot be read ({why}); nothing is suggested:\n{text}"
    )]
    Unreadable {
        /// The policy.
        text: String,
        /// Why not.
        why: String,
    },
    /// Two have one name.
    #[error(
        "this is a fault of flowlog: two policies that it would suggest are both named {name}; nothing is suggested"
    )]
    Twice {
        /// The name.
        name: String,
    },
}

/// Suggests policies out of one look.
pub struct Suggester<'a> {
    edges: &'a [Edge],
    declared: &'a PolicySet,
    networks: &'a [(IpNet, String)],
    ranges: &'a [IpNet],
    cast: Cast<'a>,
    selectors: Selectors,
    /// What is declared but for what suggestions take the place of.
    base: PolicySet,
    /// Edges by the workloads at their ends, those behind services among them.
    by_place: BTreeMap<Place, Vec<usize>>,
}

impl<'a> Suggester<'a> {
    /// With everybody who takes part.
    pub fn new(input: Input<'a>) -> Self {
        let Input { edges, pods, nodes, backing, declared, networks, ranges } = input;
        let cast = Cast::new(&pods, &nodes, backing, edges, &[declared]);
        let selectors = labels::choose_all(&cast);
        let (base, by_place) = (base(declared, &cast), by_place(edges, &cast));
        Self { edges, declared, networks, ranges, cast, selectors, base, by_place }
    }

    /// The policy of one workload: exactly what it was observed to do, in both directions, and DNS. Nothing where it cannot
    /// be selected or did nothing that counts.
    ///
    /// # Errors
    /// What came of it does not hold.
    pub fn of_workload(&self, place: &Place) -> Result<Option<String>, SuggestError> {
        let Place::Workload { namespace, owner, name } = place else { return Ok(None) };
        let choice = Choice {
            namespaces: [namespace.to_string()].into(),
            workloads: [(owner.to_string(), name.to_string())].into(),
            ..Choice::default()
        };
        let also = self.selectors.chosen(place);
        let places = std::iter::once(place).chain(also.into_iter().flat_map(|chosen| &chosen.also));
        let numbers: BTreeSet<usize> =
            places.filter_map(|place| self.by_place.get(place)).flatten().copied().collect();
        let edges = numbers.into_iter().filter_map(|number| self.edges.get(number));
        let suggestion = self.suggest_from(&choice, edges, false)?;
        Ok(suggestion.documents.into_iter().next().map(|document| document.text))
    }

    /// The policies that are wanted.
    ///
    /// # Errors
    /// What came of it does not hold.
    pub fn suggest(&self, choice: &Choice) -> Result<Suggestion, SuggestError> {
        if choice.namespaces.is_empty() && choice.workloads.is_empty() {
            return self.suggest_from(choice, self.edges.iter(), true);
        }
        let wanted = self.by_place.iter().filter(|(place, _)| self.is_selected(choice, place));
        let numbers: BTreeSet<usize> = wanted.flat_map(|(_, numbers)| numbers).copied().collect();
        let edges = numbers.into_iter().filter_map(|number| self.edges.get(number));
        self.suggest_from(choice, edges, true)
    }

    fn suggest_from(
        &self,
        choice: &Choice,
        edges: impl Iterator<Item = &'a Edge>,
        count: bool,
    ) -> Result<Suggestion, SuggestError> {
        let mut suggestion = Suggestion::default();
        let planner = Planner {
            cast: &self.cast,
            selectors: &self.selectors,
            networks: self.networks,
            ranges: self.ranges,
            declared: choice.merge.then_some(&self.base),
            choice,
        };
        let mut flows: Vec<Flow<'a>> = Vec::new();
        let mut left_out: BTreeMap<(String, String), u64> = BTreeMap::new();
        for edge in edges {
            if !choice.counts(edge.class) {
                let count = suggestion.not_counted.entry(edge.class).or_default();
                *count = count.saturating_add(edge.count);
                continue;
            }
            match plan::ways(edge, &self.cast) {
                Ok(ways) => flows.extend(ways),
                Err(why) => {
                    let what =
                        format!("{} → {} {}", edge.source, edge.destination, at(edge.protocol, edge.port));
                    let count = left_out.entry((what, why)).or_default();
                    *count = count.saturating_add(edge.count);
                }
            }
        }
        let plans = planner.plan(&flows);
        let mut kept: Vec<&Flow<'a>> = Vec::new();
        for flow in &flows {
            match planner.left_out(flow) {
                None => kept.push(flow),
                Some(LeftOut { what, why, count }) => {
                    let known = left_out.entry((what, why)).or_default();
                    *known = known.saturating_add(count);
                }
            }
        }
        let window = window(&flows);
        for (subject, plan) in &plans {
            match self.document(subject, plan, choice, window) {
                Some(document) => suggestion.documents.push(document),
                None => suggestion.covered.push(name_of(subject)),
            }
        }
        if choice.default_deny {
            suggestion.documents.extend(self.default_deny(choice, &flows));
        }
        suggestion
            .documents
            .sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        let texts = suggestion.documents.iter().map(|document| document.text.as_str());
        let check = Check::new(&self.cast, self.declared, texts)?;
        suggestion.conflicts = check.flows(&kept)?;
        suggestion.triples = if count { check.triples(&kept) } else { None };
        suggestion.flows = kept.iter().map(|flow| plan::told(flow)).collect::<BTreeSet<_>>().len();
        suggestion.left_out =
            left_out.into_iter().map(|((what, why), count)| LeftOut { what, why, count }).collect();
        suggestion.without = self.without(choice, &flows);
        Ok(suggestion)
    }

    /// Whether a policy that is wanted selects the pods of this place.
    fn is_selected(&self, choice: &Choice, place: &Place) -> bool {
        choice.is_wanted(place) || self.selectors.selecting(place).iter().any(|other| choice.is_wanted(other))
    }

    fn document(
        &self,
        subject: &Subject,
        plan: &Plan,
        choice: &Choice,
        window: Option<(Timestamp, Timestamp)>,
    ) -> Option<Document> {
        let existing = self.existing(subject);
        let is_needed = |(direction, wants): &(Direction, &Wants)| {
            !choice.merge
                || !wants.peers.is_empty()
                || !existing.values().any(|isolates| isolates.contains(direction))
        };
        let directions =
            DIRECTIONS.into_iter().filter_map(|direction| Some((direction, plan.wants(direction)?)));
        let wants: Vec<(Direction, &Wants)> = directions.filter(is_needed).collect();
        if wants.is_empty() {
            return None;
        }
        let namespace = match subject {
            Subject::Workload(place) => Arc::clone(place.namespace()?),
            Subject::Namespace(namespace) => Arc::clone(namespace),
        };
        let mut head = Head { name: write::name(subject), namespace, comments: Vec::new() };
        head.comments = self.comments(subject, &wants, choice, &existing, window);
        let naming = Naming { cast: &self.cast, selectors: &self.selectors };
        let text = naming.policy(&head, subject, &wants);
        Some(Document { namespace: head.namespace.to_string(), name: head.name, text })
    }

    fn comments(
        &self,
        subject: &Subject,
        wants: &[(Direction, &Wants)],
        choice: &Choice,
        existing: &BTreeMap<PolicyRef, BTreeSet<Direction>>,
        window: Option<(Timestamp, Timestamp)>,
    ) -> Vec<String> {
        let seen = window.map_or_else(String::new, |(first, last)| format!(", {first:.0} to {last:.0}"));
        let mut comments = vec![format!("What {} was observed to do{seen}, and no more.", name_of(subject))];
        if let Subject::Workload(place) = subject {
            let chosen = self.selectors.chosen(place);
            if let Some(also) = chosen.map(|chosen| &chosen.also).filter(|also| !also.is_empty()) {
                let names: Vec<String> = also.iter().map(ToString::to_string).collect();
                comments.push(format!("No label tells its pods apart from those of {}:", names.join(", ")));
                comments.push("it selects these, too, and allows what they were observed to do.".to_owned());
            }
            if !self.cast.find(place).is_some_and(|member| member.declared) {
                comments.push("Its labels are those that records tell: no object was read.".to_owned());
            }
        }
        if !existing.is_empty() {
            let names: Vec<String> =
                existing.keys().map(|policy| format!("NetworkPolicy {}", policy.name)).collect();
            let what = if choice.merge {
                "what they allow is not repeated"
            } else {
                "what each of them allows is allowed"
            };
            comments.push(format!("Selected already by {}; policies add up: {what}.", names.join(", ")));
        }
        let left_out: Vec<_> = wants.iter().flat_map(|(_, wants)| &wants.left_out).collect();
        for ((what, why), count) in left_out.iter().take(MOST_LEFT_OUT) {
            comments.push(format!("NOT ALLOWED: {what}, {count} times: {why}."));
        }
        if let Some(more) = left_out.len().checked_sub(MOST_LEFT_OUT).filter(|more| *more > 0) {
            comments.push(format!("NOT ALLOWED: {more} more."));
        }
        comments
    }

    /// The NetworkPolicies that select a subject, with the directions in which they isolate every pod of it.
    fn existing(&self, subject: &Subject) -> BTreeMap<PolicyRef, BTreeSet<Direction>> {
        let members: Vec<_> = match subject {
            Subject::Workload(place) => self.cast.find(place).into_iter().collect(),
            Subject::Namespace(namespace) => (self.cast.members())
                .filter(|(place, member)| place.namespace() == Some(namespace) && !member.is_on_host())
                .map(|(_, member)| member)
                .collect(),
        };
        let mut existing: BTreeMap<PolicyRef, BTreeSet<Direction>> = BTreeMap::new();
        for policy in self.base.policies().filter(|policy| matches!(&***policy, Policy::NetworkPolicy(_))) {
            for direction in DIRECTIONS {
                let parties = members.iter().flat_map(|member| member.openers());
                let answers: Vec<Match> = parties.map(|party| policy.selects(&party, direction)).collect();
                if answers.iter().any(|answer| *answer != Match::No) {
                    let directions = existing.entry(policy.reference()).or_default();
                    if answers.iter().all(|answer| *answer == Match::Yes) {
                        directions.insert(direction);
                    }
                }
            }
        }
        existing
    }

    /// Namespaces that take part, each shut but for what other policies allow.
    fn default_deny(&self, choice: &Choice, flows: &[Flow<'_>]) -> Vec<Document> {
        let ends = flows.iter().flat_map(|flow| [&flow.source, &flow.destination]);
        let wanted = ends.filter(|place| {
            choice.is_wanted(place) && self.cast.find(place).is_some_and(|member| !member.is_on_host())
        });
        let namespaces: BTreeSet<&Arc<str>> =
            wanted.filter_map(Place::namespace).filter(|name| labels::is_dns_label(name)).collect();
        let document = |namespace: &Arc<str>| {
            let comments = vec![format!(
                "Every pod of namespace {namespace}: what no other policy allows is denied, DNS among it."
            )];
            let head = Head { name: DEFAULT_DENY.to_owned(), namespace: Arc::clone(namespace), comments };
            let text = write::default_deny(&head, &choice.directions);
            Document { namespace: namespace.to_string(), name: head.name, text }
        };
        namespaces.into_iter().map(document).collect()
    }

    /// Workloads that take part and that no policy can select.
    fn without(&self, choice: &Choice, flows: &[Flow<'_>]) -> BTreeMap<String, String> {
        let ends = flows.iter().flat_map(|flow| [&flow.source, &flow.destination]);
        let wanted = ends.filter(|place| choice.per == Per::Workload && choice.is_wanted(place));
        let failed = wanted.filter_map(|place| match self.selectors.find(place) {
            Some(Err(why)) => Some((place.to_string(), why.clone())),
            _ => None,
        });
        failed.collect()
    }
}

/// What is declared but for policies of the names that suggestions have.
fn base(declared: &PolicySet, cast: &Cast<'_>) -> PolicySet {
    let mut base = declared.clone();
    for (place, _) in cast.members() {
        let Some(namespace) = place.namespace() else { continue };
        let subjects = [Subject::Workload(place.clone()), Subject::Namespace(Arc::clone(namespace))];
        for name in subjects.iter().map(write::name).chain([DEFAULT_DENY.to_owned()]) {
            let namespace = Some(namespace.to_string());
            let reference = PolicyRef { kind: PolicyKind::NetworkPolicy, namespace, name, rule: None };
            if base.find_policy(&reference).is_some() {
                base.remove_policy(&reference);
            }
        }
    }
    base
}

fn by_place(edges: &[Edge], cast: &Cast<'_>) -> BTreeMap<Place, Vec<usize>> {
    let mut by_place: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (number, edge) in edges.iter().enumerate() {
        let mut places = BTreeSet::from([edge.source.clone(), edge.destination.clone()]);
        if let (Place::Service { namespace, name }, Some(port)) = (&edge.destination, edge.port) {
            let behind = cast.backends(namespace, name, edge.protocol, port);
            places.extend(
                behind.iter().filter_map(|backend| backend.endpoint.as_pod()).map(|pod| place_of(pod)),
            );
        }
        for place in places.into_iter().filter(|place| matches!(place, Place::Workload { .. })) {
            by_place.entry(place).or_default().push(number);
        }
    }
    by_place
}

/// The name of a policy that denies all that no other allows.
const DEFAULT_DENY: &str = "flowlog-default-deny";

fn name_of(subject: &Subject) -> String {
    match subject {
        Subject::Workload(place) => place.to_string(),
        Subject::Namespace(namespace) => format!("namespace {namespace}"),
    }
}

fn window(flows: &[Flow<'_>]) -> Option<(Timestamp, Timestamp)> {
    let first = flows.iter().map(|flow| flow.edge.first).min()?;
    let last = flows.iter().map(|flow| flow.edge.last).max()?;
    Some((first, last))
}

fn at(protocol: Protocol, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{}/{port}", protocol.as_kubernetes()),
        None => protocol.as_kubernetes().to_owned(),
    }
}
