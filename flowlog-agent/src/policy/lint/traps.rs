//! What is written and means something else than it seems to.

use super::cover::{self, View};
use super::reach::{is_pod, may_match};
use super::{
    Candidate, EMPTY_PEERS, Estate, Finding, Linted, NO_DNS, RULES_WITHOUT_EFFECT, Report, Sight, blind,
    count, word,
};
use crate::model::{Direction, Protocol, Tier};
use crate::policy::kinds::cluster_rules::Action;
use crate::policy::kinds::network_policy::{Isolation, NetworkPolicy};
use crate::policy::{Match, Namespaces, Numbers, Peer, Policy, Port};
use std::collections::BTreeSet;

pub(super) fn check(policies: &[Linted], estate: &Estate, report: &mut Report) {
    for one in policies {
        if let Policy::NetworkPolicy(policy) = &*one.policy {
            report.findings.extend(without_effect(one, policy));
        }
        report.findings.extend(one.written.empty_peers.iter().map(|field| empty_peers(one, field)));
    }
    no_dns(policies, estate, report);
}

/// Rules of a direction that `policyTypes` leaves out.
fn without_effect(one: &Linted, policy: &NetworkPolicy) -> Vec<Finding> {
    let written =
        [(Direction::Ingress, one.written.ingress_rules), (Direction::Egress, one.written.egress_rules)];
    let ignored = written
        .into_iter()
        .filter(|(direction, rules)| *rules > 0 && matches!(policy.direction(*direction), Isolation::None));
    let told = ignored.map(|(direction, rules)| {
        let name = match direction {
            Direction::Egress => "Egress",
            Direction::Ingress => "Ingress",
        };
        let rules = count(rules, "rule has", "rules have");
        let message = format!("{rules} no effect: `policyTypes` does not name {name}");
        let help =
            format!("add {name} to `policyTypes`, which isolates the pods for it, or take the rules out");
        let field = format!("spec.{}", word(direction));
        Finding::new(RULES_WITHOUT_EFFECT, one.reference(), field, message, help)
    });
    told.collect()
}

fn empty_peers(one: &Linted, field: &str) -> Finding {
    let message = "an empty list means everybody, inside the cluster and outside".to_owned();
    let help = "leave the field out if everybody is meant; for nobody, take the whole rule out".to_owned();
    Finding::new(EMPTY_PEERS, one.reference(), field, message, help)
}

/// Pods that may reach others by name, and nothing lets them ask for names.
fn no_dns(policies: &[Linted], estate: &Estate, report: &mut Report) {
    let isolating: Vec<(&Linted, &NetworkPolicy)> = (policies.iter())
        .filter_map(|one| match &*one.policy {
            Policy::NetworkPolicy(policy) => Some((one, policy)),
            _ => None,
        })
        .filter(|(_, policy)| !matches!(policy.direction(Direction::Egress), Isolation::None))
        .collect();
    if isolating.is_empty() {
        return;
    }
    if estate.sight() == Sight::Blind {
        return blind(estate, &[NO_DNS], report);
    }
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (one, policy) in &isolating {
        let pods: Vec<&Candidate> = selected(policy, estate).collect();
        let is_cut_off = |pod: &&Candidate| is_cut_off(pod, &isolating, policies);
        let key = |pod: &&Candidate| !told.contains(&(&*pod.pod.namespace, &*pod.title));
        if !pods.iter().any(key) || !pods.iter().all(is_cut_off) {
            continue;
        }
        let whom = count(pods.len(), "pod that it selects", "pods that it selects");
        let message = format!("nothing lets the {whom} ask the DNS: no rule opens port 53");
        let help =
            "allow UDP and TCP 53 to the DNS pods, unless a cache on the node answers or no name is used";
        let finding = Finding::new(NO_DNS, one.reference(), "spec.egress", message, help.to_owned());
        report.findings.push(finding);
        told.extend(pods.iter().map(|pod| (&*pod.pod.namespace, &*pod.title)));
    }
}

fn selected<'e>(policy: &NetworkPolicy, estate: &'e Estate) -> impl Iterator<Item = &'e Candidate> {
    let (own, subject) = (Namespaces::Own(policy.namespace.clone()), policy.subject.clone());
    estate.candidates().filter(move |one| is_pod(one) && may_match(&own, &subject, one))
}

/// Whether a pod surely may not ask the DNS, and may reach pods by other rules: one that may reach nobody, or
/// addresses alone, needs no names.
fn is_cut_off(one: &Candidate, isolating: &[(&Linted, &NetworkPolicy)], policies: &[Linted]) -> bool {
    let own: Vec<_> = isolating
        .iter()
        .filter(|(_, policy)| policy.isolates(&one.pod, Direction::Egress) != Match::No)
        .collect();
    let is_sure = own.iter().all(|(_, policy)| policy.isolates(&one.pod, Direction::Egress) == Match::Yes);
    let rules = || own.iter().flat_map(|(one, _)| cover::views(&one.policy, Direction::Egress));
    is_sure
        && rules().any(|rule| by_name(&rule))
        && !rules().any(|rule| may_ask(&rule))
        && !admin_may(one, policies)
}

fn by_name(rule: &View<'_>) -> bool {
    rule.peers.is_none_or(|peers| peers.iter().any(|peer| matches!(peer, Peer::Pods { .. })))
}

/// A name of a port may stand for 53.
fn may_ask(rule: &View<'_>) -> bool {
    rule.ports.is_none_or(|ports| {
        ports.iter().any(|port| match port {
            Port::Of { protocol, numbers } => {
                matches!(protocol, Protocol::Tcp | Protocol::Udp)
                    && match numbers {
                        Numbers::Range(first, last) => (*first..=*last).contains(&53),
                        Numbers::Every | Numbers::Named(_) => true,
                    }
            }
            Port::Named(_) | Port::Undetermined(_) => true,
        })
    })
}

/// Whether a policy of the Admin tier may allow it before NetworkPolicies are asked.
fn admin_may(one: &Candidate, policies: &[Linted]) -> bool {
    policies.iter().any(|other| match &*other.policy {
        Policy::Cluster(policy) => {
            policy.tier == Tier::Admin
                && policy.selects(&one.pod, Direction::Egress) != Match::No
                && (policy.egress.iter()).any(|rule| !matches!(rule.action, Action::Deny | Action::Pass))
        }
        Policy::NotUnderstood(policy) => policy.may_select(&one.pod),
        Policy::NetworkPolicy(_) => false,
    })
}
