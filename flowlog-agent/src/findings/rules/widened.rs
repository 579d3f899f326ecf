//! FL503: a third party could reach more than it could when the baseline was made.

use super::super::baseline::{Baseline, KnownFlow};
use super::super::draft::Draft;
use super::super::estate::{Estate, is_foreign, subject, with_vendor};
use crate::model::{Actor, Decision, FindingId, Place, PolicyRef, Proof, ReachPort, Severity};
use ipnet::IpNet;
use std::collections::BTreeMap;

const WHY: &str = "Somebody changed a policy, or took one away, and a third party may reach what it could not reach when it was \
    assessed. That is for whoever accepted the third party to decide.";

/// What one can reach now and could not then.
#[derive(Default)]
struct More {
    /// Targets with their ports, in words.
    targets: Vec<String>,
    policies: Vec<PolicyRef>,
    /// No policy restricts some of it.
    unrestricted: bool,
}

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let Some((file, baseline)) = estate.input.baseline else { return Vec::new() };
    if baseline.reach.is_none() {
        return Vec::new();
    }
    let mut found: BTreeMap<usize, More> = BTreeMap::new();
    for reach in estate.reaches.iter().filter(|reach| reach.decision == Decision::Allow) {
        let Some((source, target)) = estate.actor(reach.source).zip(estate.actor(reach.target)) else {
            continue;
        };
        // Who is new was never assessed, and what is new could not be reached before.
        let is_new = |actor: &Actor| {
            matches!(actor.place, Place::Workload { .. }) && !baseline.has_place(&actor.place)
        };
        if !is_foreign(source) || is_new(source) || is_new(target) {
            continue;
        }
        let ports: Vec<ReachPort> = reach
            .ports
            .iter()
            .filter(|port| !could(baseline, &source.place, &target.place, port))
            .cloned()
            .collect();
        if !ports.is_empty() {
            let more = found.entry(reach.source).or_default();
            more.targets.push(format!("{}{}", target.place, super::ports_words(&ports)));
            more.policies.extend(reach.policies.iter().cloned());
            more.unrestricted |= reach.unrestricted;
        }
    }
    let told =
        found.into_iter().filter_map(|(source, more)| Some(told(estate, estate.actor(source)?, file, more)));
    told.collect()
}

fn told(estate: &Estate<'_>, source: &Actor, file: &str, more: More) -> Draft {
    let More { mut targets, mut policies, unrestricted } = more;
    targets.sort();
    policies.sort();
    policies.dedup();
    let summary = format!(
        "{} could reach more than when the baseline was made: {}.",
        with_vendor(source),
        super::listed(&targets, 5)
    );
    let mut told = Draft::new(FindingId::FL503, subject(source), summary)
        .vendor(source.vendor.as_deref())
        .severity(Severity::High)
        .why(WHY);
    for target in &targets {
        told = told.evidence(Proof::Baseline { what: format!("{file}: does not have {target}") });
    }
    if unrestricted {
        told = told.evidence(Proof::Absence { what: "no policy restricts some of it".to_owned() });
    }
    for policy in &policies {
        told = told.evidence(super::policy_proof(estate, policy));
    }
    told.clue(source).remedy(
        "Look at the change of the policies that are named. If it is meant to be, write a new baseline (`--write-baseline`); if \
         not, take it back.",
    )
}

/// Whether the baseline's reaches hold all of these ports.
fn could(baseline: &Baseline, source: &Place, target: &Place, port: &ReachPort) -> bool {
    let known = baseline.reach.iter().flatten().filter(|known| {
        known.source == *source && known.protocol == port.protocol && lies_in(target, &known.destination)
    });
    let mut spans: Vec<(u32, u32)> = known.map(span).collect();
    spans.sort_unstable();
    let (first, last) = bounds(port.port, port.last);
    let mut next = first;
    for (from, to) in spans {
        if from <= next {
            next = next.max(to + 1);
        }
    }
    next > last
}

fn span(known: &KnownFlow) -> (u32, u32) {
    bounds(known.port, known.last)
}

fn bounds(port: Option<u16>, last: Option<u16>) -> (u32, u32) {
    let (first, end) = match port {
        None => (1, u16::MAX),
        Some(port) => (port, last.unwrap_or(port)),
    };
    (u32::from(first), u32::from(end))
}

/// The same place, or a block within one that could be reached as a whole.
fn lies_in(place: &Place, known: &Place) -> bool {
    if place == known {
        return true;
    }
    match (block(place), block(known)) {
        // What a policy names now and did not then lay in the rest of the addresses.
        (Some(Some(_)), Some(None)) => true,
        (Some(Some(block)), Some(Some(known))) => known.contains(&block),
        _ => false,
    }
}

/// The block of something outside, or none where it is everywhere else.
fn block(place: &Place) -> Option<Option<IpNet>> {
    match place {
        Place::External { ip: None, name: None, network: None } => Some(None),
        Place::External { ip: None, name: None, network: Some(network) } => network.parse().ok().map(Some),
        _ => None,
    }
}
