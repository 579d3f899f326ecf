//! What the policies say in one direction, without words: a verdict's strings are made where one is told.

use super::matching::Reason;
use crate::model::{Basis, Decision, DirectionVerdict, PolicyRef, PolicyRefs, Tier};
use std::sync::Arc;

/// The decision of one direction, with its policies by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Allow, deny or unknown.
    pub decision: Decision,
    /// What it rests on.
    pub basis: Basis,
    /// Where it was decided; absent where no tier was asked.
    pub tier: Option<Tier>,
    policies: Option<PolicyRefs>,
    reason: Option<Reason>,
}

impl Ruling {
    /// No policy selects this end in this direction.
    pub(super) fn unselected() -> Self {
        let tier = Some(Tier::Default);
        Self { decision: Decision::Allow, basis: Basis::Unselected, tier, policies: None, reason: None }
    }

    /// Traffic that no policy can deny.
    pub(super) fn exempt(basis: Basis) -> Self {
        Self { decision: Decision::Allow, basis, tier: None, policies: None, reason: None }
    }

    pub(super) fn decided(
        decision: Decision,
        basis: Basis,
        tier: Tier,
        policies: Option<PolicyRefs>,
    ) -> Self {
        Self { decision, basis, tier: Some(tier), policies, reason: None }
    }

    /// Neither may be claimed.
    pub(super) fn unknown(reason: &Reason, policies: Option<PolicyRefs>) -> Self {
        let (decision, basis) = (Decision::Unknown, Basis::Unknown);
        Self { decision, basis, tier: None, policies, reason: Some(reason.clone()) }
    }

    /// The same, in doubt where it denies.
    pub(super) fn doubted(self, reason: &Reason) -> Self {
        match self.decision {
            Decision::Deny => Self::unknown(reason, self.policies),
            _ => self,
        }
    }

    /// The policies that took part.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyRef> {
        self.policies.iter().flat_map(|policies| policies.iter().map(|policy| &**policy))
    }

    /// The same in words.
    pub fn verdict(&self) -> DirectionVerdict {
        DirectionVerdict {
            decision: self.decision,
            basis: self.basis,
            tier: self.tier,
            policies: self.policies.clone().unwrap_or_default(),
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}

/// Policies as an answer holds them.
pub(super) fn refs(policies: Vec<PolicyRef>) -> PolicyRefs {
    in_order(policies.into_iter().map(Arc::new).collect())
}

/// In order, each once.
pub(super) fn in_order(mut policies: Vec<Arc<PolicyRef>>) -> PolicyRefs {
    policies.sort_unstable();
    policies.dedup();
    policies.into()
}
