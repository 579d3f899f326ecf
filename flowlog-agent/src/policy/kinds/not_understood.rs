//! Policies that this build cannot read as a whole: what they could decide is unknown.

use crate::model::{Pod, PolicyKind, PolicyRef, Tier};
use crate::policy::{Match, Policy, PolicySet, Reason, title};

/// A policy of which only the name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; absent for a cluster-scoped kind, or where it cannot be read.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it decides; absent where that cannot be read.
    pub tier: Option<Tier>,
    /// Why it is not understood.
    pub why: Reason,
}

impl NotUnderstood {
    pub(crate) fn reference(&self) -> PolicyRef {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        PolicyRef { kind: self.kind, namespace, name, rule: None }
    }

    /// One without a namespace may have a say about every pod.
    pub(crate) fn may_select(&self, pod: &Pod) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == *pod.namespace)
    }

    pub(crate) fn selects(&self, pod: &Pod) -> Match {
        if self.may_select(pod) { Match::Unknown(self.reason()) } else { Match::No }
    }

    /// Why, with its name.
    pub(crate) fn reason(&self) -> Reason {
        format!("{}: {}", title(self.kind, self.namespace.as_deref(), &self.name), self.why).into()
    }
}

/// Those of a tier, and those whose tier cannot be read.
pub(super) fn in_tier(set: &PolicySet, tier: Tier) -> impl Iterator<Item = &NotUnderstood> {
    set.not_understood.iter().filter_map(move |policy| match &**policy {
        Policy::NotUnderstood(policy) if policy.tier.is_none_or(|own| own == tier) => Some(policy),
        _ => None,
    })
}
