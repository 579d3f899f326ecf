//! Policies in trial: what the set would say with them in it, told beside what it says.
//!
//! What Calico's staged policies and Cilium's audit mode do for their own plugins. Nothing enforces a policy
//! in trial, and none has a part in a verdict.

use super::{Match, Policy, PolicySet};
use crate::model::{Direction, Party, PolicyRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The declared policies with those in trial beside them, or in the place of those of their names.
#[derive(Clone, Debug)]
pub struct Trial {
    set: PolicySet,
    /// Those in trial, and the declared ones in whose place they stand.
    parting: Vec<Arc<Policy>>,
    in_trial: Vec<Arc<Policy>>,
    names: BTreeSet<PolicyRef>,
}

impl Trial {
    /// Puts these beside what is declared; absent where there are none.
    pub fn new(declared: &PolicySet, policies: &[Arc<Policy>]) -> Option<Self> {
        if policies.is_empty() {
            return None;
        }
        let (mut set, names) = (declared.clone(), policies.iter().map(|policy| policy.reference()).collect());
        let replaced = policies.iter().filter_map(|policy| declared.find_policy(&policy.reference()));
        let parting = replaced.chain(policies).cloned().collect();
        policies.iter().for_each(|policy| set.put_policy(policy));
        Some(Self { set, parting, in_trial: policies.to_vec(), names })
    }

    /// The set as it would be.
    pub fn policies(&self) -> &PolicySet {
        &self.set
    }

    /// Those in trial.
    pub fn in_trial(&self) -> &[Arc<Policy>] {
        &self.in_trial
    }

    /// How many policies are in trial.
    pub fn policy_count(&self) -> usize {
        self.names.len()
    }

    /// Whether the policy of this name is in trial.
    pub fn holds(&self, reference: &PolicyRef) -> bool {
        self.names.contains(reference)
    }

    /// Whether one of them may have a say about a connection between these ends, or takes a say from the
    /// policy in whose place it stands. An end that is not known brings none into it.
    pub fn takes_part(&self, source: &Party, destination: &Party) -> bool {
        let ends = [(source, Direction::Egress), (destination, Direction::Ingress)];
        let known = ends.into_iter().filter(|(party, _)| party.endpoint.as_pod().is_some());
        let says = |policy: &Policy, (party, direction): (&Party, Direction)| {
            policy.selects(party, direction) != Match::No
        };
        known.into_iter().any(|end| self.parting.iter().any(|policy| says(policy, end)))
    }
}
