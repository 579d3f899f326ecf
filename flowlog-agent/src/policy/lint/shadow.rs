//! Rules that never change an answer, since others match all that they match.
//!
//! What is found may be taken out, all of it at once: a rule counts as covered only by rules that stay.

use super::cover::{self, View};
use super::{DIRECTIONS, Finding, Linted, Report, SHADOWED, Severity, listed, rule_field, word};
use crate::model::{Direction, PolicyRef};
use crate::policy::kinds::cluster_rules::{Action, ClusterPolicy, Subject};
use crate::policy::kinds::network_policy::{Isolation, NetworkPolicy};
use crate::policy::{Policy, title};

pub(super) fn check(policies: &[Linted], report: &mut Report) {
    let gone = whole(policies, report);
    for one in policies {
        match &*one.policy {
            Policy::NetworkPolicy(policy) if !gone.contains(&policy.reference()) => within(one, report),
            Policy::Cluster(policy) => after(policy, policies, report),
            Policy::NetworkPolicy(_) | Policy::NotUnderstood(_) => {}
        }
    }
}

fn name(policy: &PolicyRef) -> String {
    title(policy.kind, policy.namespace.as_deref(), &policy.name)
}

/// Rules of one NetworkPolicy; of two that say the same the later one is told.
fn within(one: &Linted, report: &mut Report) {
    for direction in DIRECTIONS {
        let mut left: Vec<(usize, View<'_>)> =
            cover::views(&one.policy, direction).into_iter().enumerate().collect();
        for place in (0..left.len()).rev() {
            let mut others = left.clone();
            let (own, view) = others.remove(place);
            let Some(covering) = cover::by(view, &others) else { continue };
            left.remove(place);
            let names =
                covering.iter().map(|rule| format!("{}[{rule}]", word(direction))).collect::<Vec<_>>();
            let message =
                format!("never changes an answer: {} {} all of it", listed(&names), allow(names.len()));
            let help = "take it out, or narrow the other".to_owned();
            report.findings.push(Finding::new(
                SHADOWED,
                one.reference(),
                rule_field(direction, own),
                message,
                help,
            ));
        }
    }
}

fn allow(number: usize) -> &'static str {
    if number == 1 { "allows" } else { "allow" }
}

/// NetworkPolicies that add nothing to others. One without any rule is left alone: it says on purpose what
/// another happens to say as well.
fn whole(policies: &[Linted], report: &mut Report) -> Vec<PolicyRef> {
    let mut sorted: Vec<(&Linted, &NetworkPolicy)> = (policies.iter())
        .filter_map(|one| match &*one.policy {
            Policy::NetworkPolicy(policy) => Some((one, policy)),
            _ => None,
        })
        .collect();
    sorted.sort_by_key(|(_, policy)| policy.reference());
    let mut gone = Vec::new();
    for (one, policy) in sorted.iter().rev() {
        let others = sorted.iter().filter(|(other, own)| {
            own.namespace == policy.namespace
                && own.name != policy.name
                && !gone.contains(&other.reference())
                && cover::selector(&own.subject, &policy.subject)
        });
        let others: Vec<&Linted> = others.map(|(other, _)| *other).collect();
        let Some(covering) = added_by_others(one, policy, &others) else { continue };
        gone.push(policy.reference());
        let mut names: Vec<String> = covering.iter().map(name).collect();
        if names.len() > 4 {
            let more = names.len() - 3;
            names.truncate(3);
            names.push(format!("{more} others"));
        }
        let message = format!("never changes an answer: {} {} all of it", listed(&names), allow(names.len()));
        let help = "take it out, if nobody else relies on it".to_owned();
        let finding = Finding::new(SHADOWED, policy.reference(), "spec", message, help);
        report.findings.push(Finding { severity: Severity::Info, ..finding });
    }
    gone
}

/// The policies that isolate as this one does, and allow what it allows.
fn added_by_others(one: &Linted, policy: &NetworkPolicy, others: &[&Linted]) -> Option<Vec<PolicyRef>> {
    let mut covering: Vec<PolicyRef> = Vec::new();
    let mut has_rules = false;
    for direction in DIRECTIONS {
        match policy.direction(direction) {
            Isolation::None => continue,
            Isolation::Undetermined(_) => return None,
            Isolation::Rules(_) => {}
        }
        let isolating: Vec<&&Linted> = others.iter().filter(|other| isolates(other, direction)).collect();
        let first = isolating.first()?;
        let rules: Vec<(PolicyRef, View<'_>)> = (isolating.iter())
            .flat_map(|other| {
                cover::views(&other.policy, direction).into_iter().map(|view| (other.reference(), view))
            })
            .collect();
        let own = cover::views(&one.policy, direction);
        has_rules |= !own.is_empty();
        let mut found = Vec::new();
        for view in &own {
            found.extend(cover::by(*view, &rules)?);
        }
        covering.extend(if own.is_empty() { vec![first.reference()] } else { found });
    }
    covering.sort();
    covering.dedup();
    Some(covering).filter(|_| has_rules)
}

fn isolates(one: &Linted, direction: Direction) -> bool {
    matches!(&*one.policy, Policy::NetworkPolicy(policy) if matches!(policy.direction(direction), Isolation::Rules(_)))
}

/// Rules of a policy of the cluster that come after rules which match all of theirs, whatever those do.
fn after(policy: &ClusterPolicy, policies: &[Linted], report: &mut Report) {
    for direction in DIRECTIONS {
        let earlier: Vec<&ClusterPolicy> = (policies.iter())
            .filter_map(|one| match &*one.policy {
                Policy::Cluster(other) if goes_before(other, policy) => Some(other),
                _ => None,
            })
            .collect();
        let mut before: Vec<(PolicyRef, View<'_>)> =
            earlier.iter().flat_map(|other| decided(other, direction)).collect();
        for (own, place) in decided(policy, direction).into_iter().zip(0_usize..) {
            if let Some(covering) = cover::by(own.1, &before) {
                let names: Vec<String> = covering.iter().map(|rule| named(rule, policy, direction)).collect();
                let comes =
                    if names.len() == 1 { "comes before it and matches" } else { "come before it and match" };
                let message = format!("never decides: {} {comes} all of it", listed(&names));
                let help = "put it first, narrow the other, or take it out".to_owned();
                let field = rule_field(direction, place);
                report.findings.push(Finding::new(SHADOWED, policy.reference(), field, message, help));
            }
            if is_plain(policy, direction, place) {
                before.push(own);
            }
        }
    }
}

fn is_plain(policy: &ClusterPolicy, direction: Direction, place: usize) -> bool {
    policy.rules(direction).get(place).is_some_and(|rule| !matches!(rule.action, Action::Undetermined(_)))
}

/// The rules of a direction, each with its place.
fn decided(policy: &ClusterPolicy, direction: Direction) -> Vec<(PolicyRef, View<'_>)> {
    let rules = policy.rules(direction).iter().zip(0_u32..);
    let view = |(rule, place)| {
        let named = PolicyRef { rule: Some(place), ..policy.reference() };
        let rule: &crate::policy::kinds::cluster_rules::ClusterRule = rule;
        (named, View { peers: Some(&rule.peers), ports: rule.ports.as_deref() })
    };
    rules.map(view).collect()
}

/// Whether a policy decides before another about every pod that the other selects.
fn goes_before(one: &ClusterPolicy, other: &ClusterPolicy) -> bool {
    let is_earlier = match (one.priority, other.priority) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    };
    let covers = match (&one.subject, &other.subject) {
        (
            Subject::Pods { namespaces: wide, pods: wide_pods },
            Subject::Pods { namespaces: narrow, pods: narrow_pods },
        ) => cover::selector(wide, narrow) && cover::selector(wide_pods, narrow_pods),
        _ => false,
    };
    let rules = || one.ingress.iter().chain(&one.egress);
    one.tier == other.tier
        && is_earlier
        && covers
        && !rules().any(|rule| matches!(rule.action, Action::Undetermined(_)))
}

fn named(rule: &PolicyRef, policy: &ClusterPolicy, direction: Direction) -> String {
    let place = rule.rule.unwrap_or_default();
    let list = word(direction);
    let own = rule.kind == policy.kind && rule.name == policy.name;
    if own { format!("{list}[{place}]") } else { format!("{}, {list}[{place}],", name(rule)) }
}
