//! FL302 and FL304: rules that nothing used, and rules that are wider than what used them.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{
    Actor, Direction, Edge, FindingId, Place, PolicyRef, Proof, RecordRef, RecordsRead, Severity, Subject,
};
use crate::policy::{Breadth, Policy, Wide};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const WHY_UNUSED: &str = "A rule that nothing needs is reach that nobody watches. The window may have been too short, and what \
    happens once a quarter is needed all the same.";
const WHY_WIDE: &str = "What a rule opens beyond its use is there for whoever comes next. A narrower rule would have let the same \
    connections through.";

/// So many peers or ports are few.
const FEW: usize = 5;

/// A rule, by direction.
type Named = (bool, PolicyRef);

/// What used a rule.
#[derive(Default)]
struct Use<'e> {
    peers: BTreeSet<&'e Place>,
    ports: BTreeSet<String>,
    count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    example: Option<&'e RecordRef>,
}

impl<'e> Use<'e> {
    fn add(&mut self, edge: &'e Edge, peer: &'e Place) {
        self.peers.insert(peer);
        let protocol = edge.protocol.as_kubernetes();
        self.ports.insert(edge.port.map_or_else(|| protocol.to_owned(), |port| format!("{port}/{protocol}")));
        self.count = self.count.saturating_add(edge.count);
        if self.first.is_none_or(|first| edge.first < first) {
            (self.first, self.example) = (Some(edge.first), Some(&edge.example));
        }
        self.last = self.last.max(Some(edge.last));
    }

    fn peers(&self) -> String {
        super::listed(&self.peers.iter().map(ToString::to_string).collect::<Vec<_>>(), FEW)
    }

    fn ports(&self) -> String {
        super::listed(&self.ports.iter().cloned().collect::<Vec<_>>(), FEW)
    }
}

pub(super) fn unused(estate: &Estate<'_>) -> Vec<Draft> {
    let (Some(observed), used) = (estate.input.observed, used(estate)) else { return Vec::new() };
    let window = window(&observed.read);
    let unused = rules(estate).into_iter().filter(|rule| !used.contains_key(&named(rule)));
    unused
        .map(|rule| {
            let name = super::rule_name(&rule.policy, rule.direction);
            let summary = format!("No connection used {name} ({}) within {window}.", rule.words());
            draft(FindingId::FL302, &rule, summary).severity(Severity::Info).why(WHY_UNUSED).evidence(proof(&rule)).remedy(
                "If nothing needs it, take it out; `flowlog simulate` shows which recorded flows would be denied. If something \
                 needs it seldom, suppress the finding with the reason.",
            )
        })
        .collect()
}

pub(super) fn wide(estate: &Estate<'_>) -> Vec<Draft> {
    let used = used(estate);
    let told = rules(estate).into_iter().filter_map(|rule| {
        let used = used.get(&named(&rule))?;
        let wide = excess(&rule, used);
        if wide.is_empty() {
            return None;
        }
        let wide: Vec<&str> = wide.into_iter().map(Wide::as_str).collect();
        let name = super::rule_name(&rule.policy, rule.direction);
        let summary = format!(
            "{name} opens {}; what used it: {}, on {}.",
            wide.join(" and "),
            used.peers(),
            used.ports()
        );
        let mut told = draft(FindingId::FL304, &rule, summary)
            .severity(Severity::Low)
            .why(WHY_WIDE)
            .evidence(proof(&rule));
        if let (Some(first), Some(last), Some(example)) = (used.first, used.last, used.example) {
            told = told.evidence(Proof::Records {
                what: format!("{} on {}", used.peers(), used.ports()),
                count: used.count,
                first,
                last,
                example: example.clone(),
            });
        }
        if let Some(workload) = selected_alone(estate, &rule) {
            told = told.restrict(&workload.place);
        }
        Some(told.remedy("Name the peers and ports that use it; `flowlog policy suggest` writes them."))
    });
    told.collect()
}

/// The workload that the rule's policy selects, where it selects one alone: what that needs is all that the rule must allow.
fn selected_alone<'e>(estate: &'e Estate<'_>, rule: &Breadth) -> Option<&'e Actor> {
    let whole = PolicyRef { rule: None, ..rule.policy.clone() };
    let mut selected = estate.workloads().map(|(_, member)| &member.actor).filter(|actor| {
        let policies = match rule.direction {
            Direction::Egress => &actor.egress_policies,
            Direction::Ingress => &actor.ingress_policies,
        };
        policies.iter().flatten().any(|policy| *policy == whole)
    });
    selected.next().filter(|_| selected.next().is_none())
}

/// Where a rule is wide, and what used it is little.
fn excess(rule: &Breadth, used: &Use<'_>) -> Vec<Wide> {
    let is_excess = |wide: &Wide| match wide {
        Wide::EveryPeer | Wide::EveryAddress | Wide::EveryNamespace | Wide::LargeBlock => {
            used.peers.len() <= FEW
        }
        Wide::EveryPort | Wide::LargeRange => used.ports.len() <= FEW,
        Wide::EveryPod => false,
    };
    rule.wide.iter().copied().filter(is_excess).collect()
}

/// Rules that allow, of policies that select some pod: of others it is said elsewhere that they do nothing.
fn rules(estate: &Estate<'_>) -> Vec<Breadth> {
    let Some(cluster) = estate.input.cluster else { return Vec::new() };
    let mut policies: BTreeMap<(PolicyRef, bool), &Policy> = BTreeMap::new();
    for pod in estate.workloads().flat_map(|(_, member)| member.pods.iter()) {
        for direction in [Direction::Egress, Direction::Ingress] {
            for policy in cluster.policies.find_selecting(pod, direction) {
                policies.insert((policy.reference(), direction == Direction::Egress), &**policy);
            }
        }
    }
    let told = policies.into_iter().flat_map(|((_, is_egress), policy)| {
        policy.breadths(if is_egress { Direction::Egress } else { Direction::Ingress })
    });
    told.filter(Breadth::allows).collect()
}

fn named(rule: &Breadth) -> Named {
    (rule.direction == Direction::Egress, rule.policy.clone())
}

/// What used each rule, as the records tell.
fn used<'e>(estate: &Estate<'e>) -> BTreeMap<Named, Use<'e>> {
    let mut found: BTreeMap<Named, Use<'e>> = BTreeMap::new();
    for edge in estate.input.observed.into_iter().flat_map(|observed| &observed.edges) {
        for (is_egress, told, peer) in
            [(true, &edge.egress, &edge.destination), (false, &edge.ingress, &edge.source)]
        {
            for policy in told.policies.iter().filter(|policy| policy.rule.is_some()) {
                found.entry((is_egress, policy.clone())).or_default().add(edge, peer);
            }
        }
    }
    found
}

fn draft(id: FindingId, rule: &Breadth, summary: String) -> Draft {
    let subject = Subject::Policy { policy: rule.policy.clone(), direction: Some(rule.direction) };
    let object = super::rule_title(&rule.policy, rule.direction);
    Draft::new(id, subject, summary).object(object)
}

fn proof(rule: &Breadth) -> Proof {
    Proof::Policy { policy: rule.policy.clone(), what: rule.words() }
}

/// How long was looked.
fn window(read: &RecordsRead) -> String {
    let (Some(first), Some(last)) = (read.first, read.last) else { return "the records".to_owned() };
    let length = last.duration_since(first);
    let told = match length {
        length if length >= SignedDuration::from_hours(48) => format!("{} days", length.as_hours() / 24),
        length if length >= SignedDuration::from_mins(120) => format!("{} hours", length.as_hours()),
        length => format!("{} minutes", length.as_mins()),
    };
    format!("{told} ({first} to {last})")
}
