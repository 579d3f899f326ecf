//! A connection put to a snapshot: over the endpoints of a service, with what the snapshot knows of itself.

use super::{PolicyChange, Snapshot};
use crate::model::{
    Backend, Basis, Decision, Direction, DirectionVerdict, Endpoint, Mixed, Party, Protocol, Service,
    ServiceNote, Target, TrialVerdict, Verdict,
};
use crate::policy::{Cache, Match, PolicySet, Query, combine};
use jiff::Timestamp;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// What a connection reaches, as far as is known.
enum Reached<'a> {
    /// This.
    One(Cow<'a, Party>),
    /// Any of the endpoints of a service.
    Each(Vec<Party>),
}

impl Reached<'_> {
    fn parties(&self) -> &[Party] {
        match self {
            Self::One(party) => std::slice::from_ref(party),
            Self::Each(parties) => parties,
        }
    }
}

/// One endpoint's answer.
struct Answer {
    at: Option<(IpAddr, u16)>,
    decision: Decision,
    egress: DirectionVerdict,
    ingress: DirectionVerdict,
}

/// What a set of policies says about everything that may be reached.
struct Said {
    decision: Decision,
    egress: DirectionVerdict,
    ingress: DirectionVerdict,
    mixed: Option<Mixed>,
}

impl Snapshot {
    /// What the declared rules say about one connection, opened at `at`.
    ///
    /// `destination` is the end that was reached, or the one that was dialed while that is not known; in
    /// the latter case, and where `target` is a service, each of the service's endpoints is judged.
    pub fn evaluate(
        &self,
        source: &Party,
        destination: &Party,
        target: &Target,
        protocol: Protocol,
        at: Timestamp,
    ) -> Verdict {
        self.evaluate_with(&mut Cache::new(1), source, destination, target, protocol, at)
    }

    /// The same, with the answers of before at hand, also those of earlier snapshots.
    pub fn evaluate_with(
        &self,
        cache: &mut Cache,
        source: &Party,
        destination: &Party,
        target: &Target,
        protocol: Protocol,
        at: Timestamp,
    ) -> Verdict {
        if let Some(why) = &self.unread {
            return self.unknown(why);
        }
        let reached = reached(target, destination);
        let Said { decision, egress, ingress, mixed } =
            self.say(&self.policies, cache, source, &reached, protocol);
        let trial = self.trial.as_ref().filter(|trial| {
            reached.parties().iter().any(|destination| trial.takes_part(source, destination))
        });
        let trial = trial.map(|trial| {
            let said = self.say(trial.policies(), cache, source, &reached, protocol);
            TrialVerdict { decision: said.decision, egress: said.egress, ingress: said.ingress }
        });
        let settling = reached.parties().iter().any(|destination| self.is_settling(source, destination, at));
        Verdict {
            decision,
            egress,
            ingress,
            mixed,
            snapshot: self.revision,
            as_of: self.as_of,
            stale_since: self.stale_since,
            settling,
            trial,
        }
    }

    /// The answer while the rules are not known.
    fn unknown(&self, why: &str) -> Verdict {
        let side = || DirectionVerdict {
            decision: Decision::Unknown,
            basis: Basis::Unknown,
            tier: None,
            policies: Arc::from([]),
            reason: Some(why.to_owned()),
        };
        Verdict {
            decision: Decision::Unknown,
            egress: side(),
            ingress: side(),
            mixed: None,
            snapshot: self.revision,
            as_of: self.as_of,
            stale_since: self.stale_since,
            settling: false,
            trial: None,
        }
    }

    /// What a set of policies says.
    fn say(
        &self,
        policies: &PolicySet,
        cache: &mut Cache,
        source: &Party,
        reached: &Reached<'_>,
        protocol: Protocol,
    ) -> Said {
        let mut answers = reached.parties().iter().map(|destination| {
            let range_of = self.range_of(source).or_else(|| self.range_of(destination));
            let query = Query { source, destination, protocol, port: destination.port, range_of };
            let (egress, ingress) = policies.rule_with(&query, cache);
            let (mut egress, mut ingress) = (egress.verdict(), ingress.verdict());
            if protocol.is_icmp() {
                (egress, ingress) = (of_icmp(egress), of_icmp(ingress));
            }
            let decision = combine(egress.decision, ingress.decision);
            Answer { at: destination.ip.zip(destination.port), decision, egress, ingress }
        });
        match (reached, answers.next()) {
            (Reached::Each(_), first) => join(&first.into_iter().chain(answers).collect::<Vec<_>>()),
            (Reached::One(_), Some(Answer { decision, egress, ingress, .. })) => {
                Said { decision, egress, ingress, mixed: None }
            }
            (Reached::One(_), None) => join(&[]),
        }
    }

    fn range_of(&self, party: &Party) -> Option<&str> {
        match (&party.endpoint, party.ip) {
            (Endpoint::Unknown { .. }, Some(ip)) => self.inventory.find_range(ip)?.node.as_deref(),
            _ => None,
        }
    }

    /// Whether a policy that has a say about this connection, or had, changed too short a time before.
    fn is_settling(&self, source: &Party, destination: &Party, at: Timestamp) -> bool {
        let recent = |change: &&PolicyChange| at.duration_since(change.at) <= self.settle;
        self.changes.iter().filter(recent).any(|change| {
            let forms = change.before.iter().chain(&change.after);
            forms.into_iter().any(|policy| {
                policy.selects(source, Direction::Egress) != Match::No
                    || policy.selects(destination, Direction::Ingress) != Match::No
            })
        })
    }
}

fn reached<'a>(target: &Target, destination: &'a Party) -> Reached<'a> {
    match (target, &destination.endpoint) {
        (Target::Service { backends, service, note }, Endpoint::Service(_)) if backends.is_empty() => {
            Reached::One(Cow::Owned(leads_nowhere(service, *note, destination)))
        }
        (Target::Service { backends, .. }, Endpoint::Service(_)) => {
            let party = |backend: &Backend| Party {
                endpoint: backend.endpoint.clone(),
                ip: Some(backend.ip),
                port: Some(backend.port),
            };
            Reached::Each(backends.iter().map(party).collect())
        }
        _ => Reached::One(Cow::Borrowed(destination)),
    }
}

fn leads_nowhere(service: &Service, note: Option<ServiceNote>, dialed: &Party) -> Party {
    let why = match note {
        Some(ServiceNote::NoSuchPort) => "has no such port",
        Some(ServiceNote::NoEndpoints) => "has no ready endpoint for this port",
        None => "has endpoints that were not read, if any",
    };
    let reason = format!("service {}/{} {why}", service.namespace, service.name);
    Party { endpoint: Endpoint::Unknown { reason, pod_uid: None }, ip: None, port: dialed.port }
}

/// What the objects say holds for TCP, UDP and SCTP. What becomes of other protocols where a policy selects the pod, allowed
/// or denied, upstream leaves to each network plugin
/// (https://kubernetes.io/docs/concepts/services-networking/network-policies/). Where none has a say, all is allowed.
fn of_icmp(said: DirectionVerdict) -> DirectionVerdict {
    if !matches!(said.basis, Basis::Policy | Basis::Isolated) {
        return said;
    }
    let reason = Some("policies do not speak of ICMP: it is left to the network plugin".to_owned());
    DirectionVerdict { decision: Decision::Unknown, basis: Basis::Unknown, tier: None, reason, ..said }
}

/// One answer for all endpoints: theirs, where they agree; mixed, where one is allowed and one is denied.
fn together(decisions: impl Iterator<Item = Decision>) -> Decision {
    decisions
        .reduce(|one, other| match (one, other) {
            _ if one == other => one,
            (Decision::Mixed, _) | (_, Decision::Mixed) => Decision::Mixed,
            (Decision::Unknown, _) | (_, Decision::Unknown) => Decision::Unknown,
            _ => Decision::Mixed,
        })
        .unwrap_or(Decision::Unknown)
}

/// One answer for all endpoints, direction by direction.
fn join(answers: &[Answer]) -> Said {
    let decision = together(answers.iter().map(|answer| answer.decision));
    let egress = join_side(answers, |answer| &answer.egress);
    let ingress = join_side(answers, |answer| &answer.ingress);
    let mixed = matches!(decision, Decision::Mixed | Decision::Unknown).then(|| counts(answers));
    Said { decision, egress, ingress, mixed }
}

/// One direction's answer for all endpoints: what it rests on is told of the endpoint that weighs most.
fn join_side(answers: &[Answer], side: impl Fn(&Answer) -> &DirectionVerdict) -> DirectionVerdict {
    let decision = together(answers.iter().map(|answer| side(answer).decision));
    let mut policies: Vec<_> =
        answers.iter().flat_map(|answer| side(answer).policies.iter().cloned()).collect();
    policies.sort();
    policies.dedup();
    let wanted = answers.iter().map(&side).filter(|verdict| match decision {
        Decision::Mixed => verdict.decision == Decision::Deny,
        decision => verdict.decision == decision,
    });
    let weighing = wanted.max_by_key(|verdict| weight(verdict.basis));
    DirectionVerdict {
        decision,
        basis: weighing.map_or(Basis::Unknown, |verdict| verdict.basis),
        tier: weighing.and_then(|verdict| verdict.tier),
        policies: policies.into(),
        reason: weighing.and_then(|verdict| verdict.reason.clone()),
    }
}

fn weight(basis: Basis) -> u8 {
    match basis {
        Basis::Unknown => 5,
        Basis::Policy => 4,
        Basis::Isolated => 3,
        Basis::Unselected => 2,
        Basis::Node => 1,
        Basis::SelfTraffic => 0,
    }
}

fn counts(answers: &[Answer]) -> Mixed {
    let of = |decision| answers.iter().filter(move |answer| answer.decision == decision);
    let count = |decision| u32::try_from(of(decision).count()).unwrap_or(u32::MAX);
    Mixed {
        allow: count(Decision::Allow),
        deny: count(Decision::Deny),
        unknown: count(Decision::Unknown),
        allow_example: of(Decision::Allow).find_map(|answer| answer.at),
        deny_example: of(Decision::Deny).find_map(|answer| answer.at),
    }
}
