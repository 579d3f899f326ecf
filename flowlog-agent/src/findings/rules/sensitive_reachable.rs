//! FL202: a third party can reach a sensitive workload, whether or not it did.

use super::super::draft::Draft;
use super::super::estate::{Estate, is_foreign, subject, with_vendor};
use crate::model::{Actor, Decision, FindingId, Origin, Proof, Reach, Severity};
use std::collections::BTreeMap;

const WHY: &str = "What may be reached will be reached by whoever takes the third party over: by a stolen token, by the next \
    release. That nothing was seen of it says only that nobody tried.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let mut found: BTreeMap<(usize, usize), Vec<&Reach>> = BTreeMap::new();
    for reach in &estate.reaches {
        let Some((source, target)) = estate.actor(reach.source).zip(estate.actor(reach.target)) else {
            continue;
        };
        // One's own database is no risk of reach.
        let is_own = source.vendor.is_some()
            && source.vendor == target.vendor
            && source.place.namespace() == target.place.namespace();
        if is_foreign(source) && target.sensitive.is_some() && !is_own {
            found.entry((reach.source, reach.target)).or_default().push(reach);
        }
    }
    let told = found.into_iter().filter_map(|((source, target), reaches)| {
        judge(estate, estate.actor(source)?, estate.actor(target)?, &reaches)
    });
    told.collect()
}

/// The gravest that can be said of the two.
fn judge(estate: &Estate<'_>, source: &Actor, target: &Actor, reaches: &[&Reach]) -> Option<Draft> {
    let free: Vec<&Reach> = reaches.iter().copied().filter(|reach| reach.unrestricted).collect();
    if !free.is_empty() {
        return Some(unrestricted(source, target, &free));
    }
    let unused: Vec<Reach> = reaches.iter().filter_map(|reach| without_used(reach)).collect();
    let allowed: Vec<&Reach> = unused.iter().filter(|reach| reach.decision == Decision::Allow).collect();
    if !allowed.is_empty() {
        return Some(by_policy(estate, source, target, &allowed));
    }
    let is_used = unused.len() < reaches.len();
    let first = unused.iter().find(|reach| reach.decision == Decision::Unknown).filter(|_| !is_used)?;
    Some(unknown(source, target, first))
}

/// The same without the ports that were used.
fn without_used(reach: &Reach) -> Option<Reach> {
    let ports: Vec<_> = reach.ports.iter().filter(|port| !port.observed).cloned().collect();
    (!ports.is_empty()).then(|| Reach { ports, ..reach.clone() })
}

fn draft(source: &Actor, target: &Actor, summary: String) -> Draft {
    Draft::new(FindingId::FL202, subject(source), summary)
        .object(target.place.to_string())
        .vendor(source.vendor.as_deref())
        .why(WHY)
}

fn whom(target: &Actor, reaches: &[&Reach]) -> String {
    let ports = super::ports_of(reaches.iter().copied());
    format!(
        "{}{ports}, which is sensitive ({})",
        target.place,
        target.sensitive.as_deref().unwrap_or_default()
    )
}

fn unrestricted(source: &Actor, target: &Actor, reaches: &[&Reach]) -> Draft {
    let summary =
        format!("{} can reach {}; no policy restricts either.", with_vendor(source), whom(target, reaches));
    let what = format!("no policy selects {} for egress, nor {} for ingress", source.place, target.place);
    let whose = if source.origin == Origin::Unknown { "it" } else { "the third party" };
    draft(source, target, summary).severity(Severity::Medium).evidence(Proof::Absence { what }).clue(source).restrict(&target.place).remedy(format!(
        "Allow ingress to {} only from those that need it, and egress of {whose} only to what it needs: `flowlog policy suggest` \
         makes both of what was observed.",
        target.place
    ))
}

fn by_policy(estate: &Estate<'_>, source: &Actor, target: &Actor, reaches: &[&Reach]) -> Draft {
    let used = match estate.input.observed {
        Some(_) => "it was never seen to",
        None => "whether it does is not known: no records were given",
    };
    let by = if reaches.iter().all(|reach| reach.policies.is_empty()) {
        "since it runs on the same node, where no policy holds it back"
    } else {
        "by policies"
    };
    let summary = format!("{} can reach {}, {by}; {used}.", with_vendor(source), whom(target, reaches));
    let mut told = draft(source, target, summary).severity(Severity::Low);
    let mut policies: Vec<_> = reaches.iter().flat_map(|reach| &reach.policies).collect();
    policies.sort();
    policies.dedup();
    for policy in policies {
        told = told.evidence(super::policy_proof(estate, policy));
    }
    told.clue(source).restrict(&target.place).remedy(
        "If it must, suppress the finding with the reason. If not, narrow the rule that allows it to those that use it \
         (`flowlog policy suggest` shows them).",
    )
}

fn unknown(source: &Actor, target: &Actor, reach: &Reach) -> Draft {
    let why = reach.reason.as_deref().unwrap_or("a part of the policies cannot be read");
    let summary =
        format!("Whether {} can reach {} is not known: {why}.", with_vendor(source), whom(target, &[reach]));
    draft(source, target, summary)
        .severity(Severity::Low)
        .evidence(Proof::Absence { what: format!("not known: {why}") })
        .clue(source)
        .remedy("Give what is missing, so that it can be told.")
}
