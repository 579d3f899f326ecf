//! The quick way to an answer: compiled rules over classes.
//!
//! Whatever is in doubt, an end that is not known above all, is left to the direct reading.

use super::compile::{Compiled, Declared, Dialed, Does, Rule};
use super::ends::{End, PodEnd};
use super::{Index, Lists, place_of};
use crate::model::{Basis, Decision, Direction, Endpoint, Party, PolicyRefs, Tier};
use crate::policy::ruling::{Ruling, in_order};
use crate::policy::{BlockScope, Query};
use std::sync::Arc;

/// How much an answer is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Want {
    /// The decision alone: the first rule that allows ends it.
    Decision,
    /// The policies too.
    Policies,
}

/// A question whose ends were found.
pub(in crate::policy) struct Found<'a> {
    pub(super) index: &'a Index,
    pub(super) source: End<'a>,
    pub(super) destination: End<'a>,
    pub(super) dialed: Dialed<'a>,
}

impl Index {
    /// Finds the ends; absent where the direct reading has to answer.
    pub(in crate::policy) fn find<'a>(&'a self, query: &Query<'_>, scope: BlockScope) -> Option<Found<'a>> {
        let (source, destination) = (self.end(query.source)?, self.end(query.destination)?);
        let port = query.port?;
        let declared: &[Declared] = match &destination.pod {
            Some(pod) => self.ports.key(pod.subject.key.ports)?,
            None => &[],
        };
        let dialed = Dialed { protocol: query.protocol, port, declared, scope };
        let found = Found { index: self, source, destination, dialed };
        (!found.is_odd(Direction::Egress) && !found.is_odd(Direction::Ingress)).then_some(found)
    }

    fn end<'a>(&'a self, party: &Party) -> Option<End<'a>> {
        let ip = party.ip?.to_canonical();
        let pod = match &party.endpoint {
            Endpoint::Pod(pod) => match self.pods.get(&place_of(pod)) {
                Some(known) => {
                    let (identity, subject) = (known.identity, self.subjects.get(known.subject)?);
                    let space = self.spaces.get(subject.key.space)?;
                    let labels = self.labels.get(subject.key.labels)?;
                    // What selects a namespace that was never seen is in doubt.
                    Some(PodEnd { identity, subject, space, labels }).filter(|pod| pod.space.seen)?.into()
                }
                // None of those is added.
                None if pod.host_network => None,
                None => return None,
            },
            Endpoint::Node(_) | Endpoint::External(_) => None,
            Endpoint::Service(_) | Endpoint::Local | Endpoint::Unknown { .. } => return None,
        };
        Some(End { ip, pod })
    }

    /// The same, for ends that are neither one pod nor a pod and its node, as their kinds tell: who they are
    /// need not be looked at.
    pub(in crate::policy) fn find_apart<'a>(
        &'a self,
        query: &Query<'_>,
        scope: BlockScope,
    ) -> Option<Found<'a>> {
        let outside = |party: &Party| matches!(party.endpoint, Endpoint::External(_));
        let found = self.find(query, scope)?;
        let apart = match (&found.source.pod, &found.destination.pod) {
            (Some(source), Some(destination)) => source.identity != destination.identity,
            _ => outside(query.source) || outside(query.destination),
        };
        apart.then_some(found)
    }

    /// The answer of both directions; absent where it is in doubt.
    pub(in crate::policy) fn judge(&self, found: &Found<'_>, want: Want) -> Option<(Ruling, Ruling)> {
        Some((found.judge(Direction::Egress, want)?, found.judge(Direction::Ingress, want)?))
    }
}

impl Found<'_> {
    /// Whether all pods of the question were added: one on its node's network never is.
    pub(in crate::policy) fn has_pods_of(&self, query: &Query<'_>) -> bool {
        let added = |party: &Party, end: &End<'_>| party.endpoint.as_pod().is_some() == end.pod.is_some();
        added(query.source, &self.source) && added(query.destination, &self.destination)
    }

    fn ends(&self, direction: Direction) -> (&End<'_>, &End<'_>) {
        match direction {
            Direction::Egress => (&self.source, &self.destination),
            Direction::Ingress => (&self.destination, &self.source),
        }
    }

    /// Absent for an end that no policy selects.
    pub(super) fn lists(&self, direction: Direction) -> Option<&Lists> {
        let pod = self.ends(direction).0.pod.as_ref()?;
        Some(pod.subject.lists(direction, self.index))
    }

    fn is_odd(&self, direction: Direction) -> bool {
        let to_address = self.ends(direction).1.pod.is_none();
        self.lists(direction).is_some_and(|lists| lists.odd || (lists.odd_addresses && to_address))
    }

    fn judge(&self, direction: Direction, want: Want) -> Option<Ruling> {
        let Some(lists) = self.lists(direction) else { return Some(Ruling::unselected()) };
        if let Some(ruling) = self.cluster(&lists.admin, direction, Tier::Admin)? {
            return Some(ruling);
        }
        if !lists.namespace.is_empty() {
            return Some(self.namespace(lists, direction, want));
        }
        let baseline = self.cluster(&lists.baseline, direction, Tier::Baseline)?;
        Some(baseline.unwrap_or_else(Ruling::unselected))
    }

    /// Policies add up: what one allows is allowed.
    fn namespace(&self, lists: &Lists, direction: Direction, want: Want) -> Ruling {
        let other = self.ends(direction).1;
        let mut groups = lists.groups.iter().filter(|group| group.matches(other, &self.dialed));
        let Some(first) = groups.next() else {
            let isolating = Some(&lists.isolating).filter(|_| want == Want::Policies);
            return Ruling::decided(Decision::Deny, Basis::Isolated, Tier::Namespace, isolating.cloned());
        };
        let named = (want == Want::Policies).then(|| {
            let groups = std::iter::once(first).chain(groups);
            let scope = self.dialed.scope;
            let mut rules: Vec<_> =
                groups.flat_map(|group| group.matching(&lists.namespace, direction, other, scope)).collect();
            // Policies lie by name: no name has to be compared.
            rules.sort_unstable_by_key(|(at, _)| *at);
            match &*rules {
                [(_, one)] => Arc::clone(&one.named),
                rules => rules.iter().flat_map(|(_, rule)| rule.named.iter().cloned()).collect(),
            }
        });
        Ruling::decided(Decision::Allow, Basis::Policy, Tier::Namespace, named)
    }

    /// The first rule that matches decides. Equal priorities that contradict each other are in doubt.
    fn cluster(&self, list: &[Arc<Compiled>], direction: Direction, tier: Tier) -> Option<Option<Ruling>> {
        for equal in list.chunk_by(|one, other| one.priority == other.priority) {
            let mut first: Option<&Rule> = None;
            let mut others = Vec::new();
            for policy in equal {
                let Some(rule) = self.first(policy, direction) else { continue };
                match first {
                    None => first = Some(rule),
                    Some(first) if first.does == rule.does => others.push(rule),
                    Some(_) => return None,
                }
            }
            let Some(first) = first else { continue };
            let named = Some(joined(std::iter::once(first).chain(others)));
            return Some(match first.does {
                Does::Allow => Some(Ruling::decided(Decision::Allow, Basis::Policy, tier, named)),
                Does::Deny => Some(Ruling::decided(Decision::Deny, Basis::Policy, tier, named)),
                Does::Pass => None,
            });
        }
        Some(None)
    }

    fn first<'a>(&self, policy: &'a Compiled, direction: Direction) -> Option<&'a Rule> {
        let other = self.ends(direction).1;
        policy.rules(direction).list.iter().find(|rule| rule.matches(other, &self.dialed))
    }
}

/// The rules as the policies of an answer; one alone is kept as that.
fn joined<'a>(mut rules: impl Iterator<Item = &'a Rule>) -> PolicyRefs {
    match (rules.next(), rules.next()) {
        (Some(one), None) => Arc::clone(&one.named),
        (first, second) => {
            let rules = first.into_iter().chain(second).chain(rules);
            in_order(rules.flat_map(|rule| rule.named.iter().cloned()).collect())
        }
    }
}
