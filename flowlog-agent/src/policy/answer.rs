//! What a kind answers, and the verdict of a direction that it makes.

use super::matching::Reason;
use crate::model::{Basis, Decision, DirectionVerdict, PolicyRef, Tier};

/// What one kind of policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These rules allow it.
    Allow(Vec<PolicyRef>),
    /// These policies isolate the pod and no rule of theirs matches.
    Isolated(Vec<PolicyRef>),
    /// This kind has nothing to say.
    Pass,
    /// It cannot be told, for this reason, because of these policies.
    Unknown(Reason, Vec<PolicyRef>),
}

impl Answer {
    pub(super) fn verdict(self, tier: Tier) -> DirectionVerdict {
        match self {
            Self::Allow(policies) => decided(Decision::Allow, Basis::Policy, tier, policies),
            Self::Isolated(policies) => decided(Decision::Deny, Basis::Isolated, tier, policies),
            Self::Pass => unselected(),
            Self::Unknown(reason, policies) => unknown(&reason, policies),
        }
    }
}

fn decided(decision: Decision, basis: Basis, tier: Tier, mut policies: Vec<PolicyRef>) -> DirectionVerdict {
    policies.sort();
    policies.dedup();
    DirectionVerdict { decision, basis, tier: Some(tier), policies, reason: None }
}

/// No policy selects this end in this direction.
pub(super) fn unselected() -> DirectionVerdict {
    decided(Decision::Allow, Basis::Unselected, Tier::Default, Vec::new())
}

/// Neither may be claimed.
pub(super) fn unknown(reason: &Reason, mut policies: Vec<PolicyRef>) -> DirectionVerdict {
    policies.sort();
    policies.dedup();
    DirectionVerdict {
        decision: Decision::Unknown,
        basis: Basis::Unknown,
        tier: None,
        policies,
        reason: Some(reason.to_string()),
    }
}
