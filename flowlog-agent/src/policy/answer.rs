//! What a tier answers, and how the tiers' answers make the verdict of a direction.
//!
//! An answer holds what it is where nothing in doubt matches, and whatever else it may be. A doubt that
//! could not change the decision makes nothing unknown.

use super::matching::Reason;
use super::ruling::{Ruling, refs};
use crate::model::{Basis, Decision, PolicyRef, Tier};

/// What is said where nothing in doubt matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// These rules allow it.
    Allow(Vec<PolicyRef>),
    /// These rules deny it, or these policies isolate the pod and no rule of theirs matches.
    Deny(Basis, Vec<PolicyRef>),
    /// Nothing: it is handed over.
    Pass,
}

/// Everything that an answer may turn out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct May {
    pub(super) allow: bool,
    pub(super) deny: bool,
    pub(super) pass: bool,
}

impl May {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            allow: self.allow || other.allow,
            deny: self.deny || other.deny,
            pass: self.pass || other.pass,
        }
    }
}

/// Why something is in doubt, and the policies that are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    /// The first reason that was met.
    pub(super) reason: Option<Reason>,
    pub(super) policies: Vec<PolicyRef>,
}

impl Doubt {
    pub(super) fn add(&mut self, reason: &Reason, policies: impl IntoIterator<Item = PolicyRef>) {
        self.reason.get_or_insert_with(|| reason.clone());
        self.policies.extend(policies);
    }

    pub(super) fn join(&mut self, other: Self) {
        if let Some(reason) = other.reason {
            self.add(&reason, other.policies);
        }
    }
}

/// What one tier answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) plain: Plain,
    pub(super) may: May,
    pub(super) doubt: Doubt,
}

impl Answer {
    /// One without a doubt.
    pub(super) fn sure(plain: Plain) -> Self {
        let may = match plain {
            Plain::Allow(_) => May { allow: true, deny: false, pass: false },
            Plain::Deny(..) => May { allow: false, deny: true, pass: false },
            Plain::Pass => May { allow: false, deny: false, pass: true },
        };
        Self { plain, may, doubt: Doubt::default() }
    }
}

/// The tiers' answers, first to last, until one surely decides; allowed where none does.
pub(super) fn ruling(answers: impl Iterator<Item = (Tier, Answer)>) -> Ruling {
    let (mut found, mut may, mut doubt) = (None, May::default(), Doubt::default());
    for (tier, answer) in answers {
        may = May { pass: false, ..may }.or(answer.may);
        doubt.join(answer.doubt);
        found = found.or(match answer.plain {
            Plain::Allow(policies) => {
                Some(Ruling::decided(Decision::Allow, Basis::Policy, tier, Some(refs(policies))))
            }
            Plain::Deny(basis, policies) => {
                Some(Ruling::decided(Decision::Deny, basis, tier, Some(refs(policies))))
            }
            Plain::Pass => None,
        });
        if !may.pass {
            break;
        }
    }
    match doubt.reason {
        Some(reason) if may.deny && (may.allow || may.pass) => {
            Ruling::unknown(&reason, Some(refs(doubt.policies)))
        }
        _ => found.unwrap_or_else(Ruling::unselected),
    }
}
