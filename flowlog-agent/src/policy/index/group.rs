//! The rules of all policies of a subject that open the same ports, as one: whom any of them lets talk.
//!
//! Most questions are denied, and a group answers that without a look at its rules. 42 policies a pod
//! (case `dense` of the benchmark) come down to two groups a direction.

use super::blocks::Blocks;
use super::compile::{Compiled, Dialed, Peers, Ports, Rule};
use super::ends::End;
use super::shared::Bits;
use crate::model::Direction;
use crate::policy::BlockScope;
use std::sync::Arc;

/// Rules that open the same ports.
#[derive(Debug, Default)]
pub(super) struct Group {
    ports: Option<Ports>,
    /// A rule that lets everyone talk.
    every: bool,
    /// The policies' namespace by number, and the selectors of its pods.
    own: Option<(u32, Bits)>,
    /// A selector of pods, with those of the namespaces.
    pods: Vec<(u32, Bits)>,
    blocks: Option<Blocks>,
    /// The rules: a policy's place in the list, a rule's in the policy.
    rules: Vec<(usize, usize)>,
}

/// The rules of a list of policies, by the ports that they open.
pub(super) fn groups(policies: &[Arc<Compiled>], direction: Direction) -> Box<[Group]> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        for (number, rule) in policy.rules(direction).list.iter().enumerate() {
            match groups.iter_mut().find(|group| group.ports == rule.ports) {
                Some(group) => group.rules.push((place, number)),
                None => {
                    let ports = rule.ports.clone();
                    groups.push(Group { ports, rules: vec![(place, number)], ..Group::default() });
                }
            }
        }
    }
    groups.iter_mut().for_each(|group| group.join(policies, direction));
    groups.into()
}

impl Group {
    fn join(&mut self, policies: &[Arc<Compiled>], direction: Direction) {
        let mut blocks = Vec::new();
        for (place, number) in std::mem::take(&mut self.rules) {
            let rule = policies.get(place).and_then(|policy| policy.rules(direction).list.get(number));
            let Some(rule) = rule else { continue };
            self.rules.push((place, number));
            match &rule.peers {
                None => self.every = true,
                Some(peers) => {
                    self.add(peers);
                    blocks.extend(&peers.blocks);
                }
            }
        }
        self.blocks = (!blocks.is_empty()).then(|| Blocks::join(blocks.into_iter()));
    }

    fn add(&mut self, peers: &Peers) {
        if let Some((name, selectors)) = &peers.own {
            let (_, own) = self.own.get_or_insert_with(|| (*name, Bits::default()));
            selectors.iter().for_each(|selector| own.set(*selector, true));
        }
        for (spaces, pods) in &peers.pods {
            match self.pods.iter_mut().find(|(selector, _)| selector == pods) {
                Some((_, together)) => together.set(*spaces, true),
                None => {
                    let mut together = Bits::default();
                    together.set(*spaces, true);
                    self.pods.push((*pods, together));
                }
            }
        }
    }

    /// Whether one of the rules matches.
    pub(super) fn matches(&self, other: &End<'_>, dialed: &Dialed<'_>) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.open(dialed)) && self.holds(other, dialed.scope)
    }

    fn holds(&self, other: &End<'_>, scope: BlockScope) -> bool {
        if self.every {
            return true;
        }
        if let Some(pod) = &other.pod {
            let own = self.own.as_ref();
            let own = own.is_some_and(|(name, pods)| pod.space.name == *name && pods.meets(pod.labels));
            let selected =
                |(pods, spaces): &(u32, Bits)| pod.labels.has(*pods) && spaces.meets(&pod.space.bits);
            if own || self.pods.iter().any(selected) {
                return true;
            }
            if scope == BlockScope::OutsidePods {
                return false;
            }
        }
        self.blocks.as_ref().is_some_and(|blocks| blocks.hold(other.ip))
    }

    /// The rules that match, of a group that does, with their places.
    pub(super) fn matching<'a>(
        &'a self,
        policies: &'a [Arc<Compiled>],
        direction: Direction,
        other: &'a End<'_>,
        scope: BlockScope,
    ) -> impl Iterator<Item = ((usize, usize), &'a Rule)> {
        let rule = move |at: &(usize, usize)| {
            let (place, number) = *at;
            Some((*at, policies.get(place)?.rules(direction).list.get(number)?))
        };
        let holds =
            move |(_, rule): &(_, &Rule)| rule.peers.as_ref().is_none_or(|peers| peers.hold(other, scope));
        self.rules.iter().filter_map(rule).filter(holds)
    }
}
