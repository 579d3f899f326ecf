//! What is suggested, put to the engine before anyone sees it: the text is read as the API server's objects are, and every
//! connection that it was made for is asked again.

use super::plan::{Flow, told};
use super::{SuggestError, Triples};
use crate::model::{Decision, Direction, Party, Place, PolicyRef, Protocol};
use crate::policy::kinds::network_policy;
use crate::policy::observed::{BARE, Cast};
use crate::policy::{Policy, PolicySet, Query, Ruling, combine};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many questions are asked to count; a cluster that needs more is told so.
const MOST_QUESTIONS: usize = 10_000_000;

/// Two sets of policies: as it is, and as it would be.
pub(super) struct Check<'c, 'a> {
    pub(super) cast: &'c Cast<'a>,
    pub(super) before: &'c PolicySet,
    after: PolicySet,
    suggested: BTreeSet<PolicyRef>,
}

impl<'c, 'a> Check<'c, 'a> {
    pub(super) fn new<'t>(
        cast: &'c Cast<'a>,
        before: &'c PolicySet,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Self, SuggestError> {
        let (mut after, mut suggested) = (before.clone(), BTreeSet::new());
        for text in texts {
            let policy = network_policy::read_text(text)
                .map_err(|why| SuggestError::Unreadable { text: text.to_owned(), why })?;
            let policy = Arc::new(Policy::NetworkPolicy(policy));
            if !suggested.insert(policy.reference()) {
                let name = policy.reference().name;
                return Err(SuggestError::Twice { name });
            }
            after.put_policy(&policy);
        }
        Ok(Self { cast, before, after, suggested })
    }

    /// Every one of these flows is allowed, or was not before and what is suggested is not why. Gives those.
    pub(super) fn flows(&self, flows: &[&Flow<'_>]) -> Result<BTreeMap<String, String>, SuggestError> {
        let mut conflicts = BTreeMap::new();
        for flow in flows {
            for source in self.cast.openers(&flow.source) {
                for destination in self.cast.listeners(&flow.destination, flow.protocol, Some(flow.port)) {
                    self.one(flow, &source, &destination, &mut conflicts)?;
                }
            }
        }
        Ok(conflicts)
    }

    fn one(
        &self,
        flow: &Flow<'_>,
        source: &Party,
        destination: &Party,
        conflicts: &mut BTreeMap<String, String>,
    ) -> Result<(), SuggestError> {
        let range_of = Cast::range_of(source, destination);
        let query = Query { source, destination, protocol: flow.protocol, port: Some(flow.port), range_of };
        let (before, after) = (self.before.rule(&query), self.after.rule(&query));
        let sides = [(Direction::Egress, &before.0, &after.0), (Direction::Ingress, &before.1, &after.1)];
        for (direction, before, after) in sides {
            if flow.is_exempt(direction) || after.decision == Decision::Allow {
                continue;
            }
            if before.decision == Decision::Allow || self.takes_part(after) {
                return Err(SuggestError::Lost { flow: told(flow), why: words(after) });
            }
            conflicts.insert(told(flow), words(after));
        }
        Ok(())
    }

    fn takes_part(&self, ruling: &Ruling) -> bool {
        ruling.policies().any(|policy| self.suggested.contains(&PolicyRef { rule: None, ..policy.clone() }))
    }

    /// What workloads could do to each other before, and what of it they can do after.
    pub(super) fn triples(&self, flows: &[&Flow<'_>]) -> Option<Triples> {
        let mut ports: BTreeMap<&Place, BTreeSet<(Protocol, u16)>> = BTreeMap::new();
        for flow in flows {
            ports.entry(&flow.destination).or_default().insert((flow.protocol, flow.port));
        }
        for (place, member) in self.cast.members().filter(|(_, member)| !member.is_on_host()) {
            let declared = member.pods.iter().flat_map(|pod| pod.ports.iter());
            ports.entry(place).or_default().extend(declared.map(|port| (port.protocol, port.port)));
        }
        let members: Vec<_> = self.cast.members().filter(|(_, member)| !member.is_on_host()).collect();
        let asked: usize = ports.values().map(BTreeSet::len).sum::<usize>().saturating_mul(members.len());
        if asked > MOST_QUESTIONS {
            return None;
        }
        let mut triples = Triples::default();
        for (from, opener) in &members {
            let sources: Vec<Party> = opener.openers().collect();
            // A pod that nobody owns is alone, and to itself nothing is denied.
            let is_itself = |place: &Place| {
                place == *from && matches!(place, Place::Workload { owner, .. } if &**owner == BARE)
            };
            for (place, listener) in members.iter().filter(|(place, _)| !is_itself(place)) {
                let destinations: Vec<Party> = listener.listeners().collect();
                for (protocol, port) in ports.get(place).into_iter().flatten() {
                    let at = (*protocol, *port);
                    let before = allowed(self.before, &sources, &destinations, at);
                    let after = allowed(&self.after, &sources, &destinations, at);
                    triples.add(before, after);
                }
            }
        }
        Some(triples)
    }
}

impl Triples {
    fn add(&mut self, before: Decision, after: Decision) {
        self.asked += 1;
        match (before, after) {
            (Decision::Allow, Decision::Allow) => self.kept += 1,
            (Decision::Allow, Decision::Deny) => self.lost += 1,
            (Decision::Deny, Decision::Allow) => self.opened += 1,
            (Decision::Deny, Decision::Deny) => {}
            _ => self.unknown += 1,
        }
    }
}

/// Whether any of these may reach any of those.
fn allowed(set: &PolicySet, sources: &[Party], destinations: &[Party], at: (Protocol, u16)) -> Decision {
    let mut answer = Decision::Deny;
    for source in sources {
        for destination in destinations {
            let query = Query { source, destination, protocol: at.0, port: Some(at.1), range_of: None };
            let (egress, ingress) = set.decide(&query);
            match combine(egress, ingress) {
                Decision::Allow => return Decision::Allow,
                Decision::Unknown => answer = Decision::Unknown,
                Decision::Deny | Decision::Mixed => {}
            }
        }
    }
    answer
}

/// A ruling in words.
fn words(ruling: &Ruling) -> String {
    let verdict = ruling.verdict();
    let names: Vec<String> = (verdict.policies.iter())
        .map(|policy| match &policy.namespace {
            Some(namespace) => format!("{:?} {namespace}/{}", policy.kind, policy.name),
            None => format!("{:?} {}", policy.kind, policy.name),
        })
        .collect();
    let reason = verdict.reason.unwrap_or_default();
    match (verdict.decision, names.as_slice()) {
        (Decision::Unknown, _) => format!("it cannot be told: {reason}"),
        (_, []) => "it is denied".to_owned(),
        _ => format!("{} does not allow it", names.join(", ")),
    }
}
