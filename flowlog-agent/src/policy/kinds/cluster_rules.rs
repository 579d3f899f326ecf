//! Policies of the whole cluster, of any kind: rules in order, the first that matches decides.
//!
//! Within a tier the lower priority number goes first. Which of two equal ones does is not defined upstream,
//! nor is the order of a kind without priorities beside one that has them: where such policies answer
//! differently, the answer is in doubt.

use super::not_understood::in_tier;
use crate::model::{Basis, Direction, Pod, PolicyKind, PolicyRef, Tier};
use crate::policy::answer::{Answer, Doubt, May, Plain};
use crate::policy::{BlockScope, Match, Namespaces, Peer, PolicySet, Port, Reason, Selector, Side, title};

/// A policy of the cluster, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its name.
    pub name: String,
    /// Where it decides: Admin or Baseline.
    pub tier: Tier,
    /// Its place in the tier, the lower the earlier; absent for a kind that has none.
    pub priority: Option<i32>,
    /// The pods that it selects.
    pub subject: Subject,
    /// Its rules about connections to them.
    pub ingress: Vec<ClusterRule>,
    /// Its rules about connections from them.
    pub egress: Vec<ClusterRule>,
}

/// Whom a policy of the cluster selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Pods by the labels of their namespace and their own.
    Pods {
        /// In which namespaces.
        namespaces: Selector,
        /// Which of their pods.
        pods: Selector,
    },
    /// Could not be read, and why.
    Undetermined(Reason),
}

/// One rule: what it does, with whom, and on which ports; absent means all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    /// What it does.
    pub action: Action,
    /// With whom.
    pub peers: Vec<Peer>,
    /// On which ports.
    pub ports: Option<Vec<Port>>,
}

/// What a rule does with what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allows it.
    Allow,
    /// Denies it.
    Deny,
    /// Hands it over to the next tier.
    Pass,
    /// Could not be read, and why.
    Undetermined(Reason),
}

impl ClusterRule {
    pub(in crate::policy) fn matches(&self, side: &Side<'_>, scope: BlockScope) -> Match {
        side.matches(self.ports.as_deref(), Some(&self.peers), scope)
    }
}

impl ClusterPolicy {
    pub(crate) fn reference(&self) -> PolicyRef {
        PolicyRef { kind: self.kind, namespace: None, name: self.name.clone(), rule: None }
    }

    pub(crate) fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// Whether it has rules of this direction for any pod.
    pub(crate) fn names(&self, direction: Direction) -> bool {
        !self.rules(direction).is_empty()
    }

    /// Whether it selects this pod, and has rules of this direction.
    pub(crate) fn selects(&self, pod: &Pod, direction: Direction) -> Match {
        if !self.names(direction) {
            return Match::No;
        }
        match &self.subject {
            Subject::Pods { namespaces, pods } => {
                let namespaces = Namespaces::Selected(namespaces.clone());
                namespaces.matches(pod).and(|| pods.matches(&pod.labels))
            }
            Subject::Undetermined(reason) => Match::Unknown(reason.clone()),
        }
    }

    fn title(&self) -> String {
        title(self.kind, None, &self.name)
    }
}

/// What one or several policies say: a rule's action, or nothing.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// The action where nothing in doubt matches, and the rules that take it.
    plain: Option<(Action, Vec<PolicyRef>)>,
    /// Everything that a rule may do.
    may: May,
    /// No rule may match.
    falls: bool,
    doubt: Doubt,
}

impl Outcome {
    fn nothing() -> Self {
        Self { falls: true, ..Self::default() }
    }

    /// This one first, and the other for what it leaves.
    fn then(mut self, next: impl FnOnce() -> Self) -> Self {
        if !self.falls {
            return self;
        }
        let next = next();
        self.plain = self.plain.or(next.plain);
        self.may = self.may.or(next.may);
        self.falls = next.falls;
        self.doubt.join(next.doubt);
        self
    }

    /// Both, in an order that nobody defines.
    fn beside(mut self, other: Self, why: impl FnOnce() -> Reason) -> Self {
        match (&mut self.plain, other.plain) {
            (Some((one, named)), Some((another, others))) if *one == another => named.extend(others),
            (Some((_, named)), Some((_, others))) => {
                self.doubt.add(&why(), named.iter().cloned().chain(others));
            }
            (None, plain) => self.plain = plain,
            (Some(_), None) => {}
        }
        self.may = self.may.or(other.may);
        self.falls = self.falls && other.falls;
        self.doubt.join(other.doubt);
        self
    }

    fn answer(self) -> Answer {
        let plain = match self.plain {
            Some((Action::Allow, rules)) => Plain::Allow(rules),
            Some((Action::Deny, rules)) => Plain::Deny(Basis::Policy, rules),
            Some((Action::Pass | Action::Undetermined(_), _)) | None => Plain::Pass,
        };
        let may = May { pass: self.may.pass || self.falls, ..self.may };
        Answer { plain, may, doubt: self.doubt }
    }
}

/// How the policies of the cluster decide in one tier about one end.
pub(in crate::policy) fn decide(set: &PolicySet, side: &Side<'_>, tier: Tier) -> Answer {
    let Some(pod) = side.own().endpoint.as_pod() else { return Answer::sure(Plain::Pass) };
    // One that is not understood may come before any other.
    let mut outcome = Outcome::nothing();
    for policy in in_tier(set, tier).filter(|policy| policy.may_select(pod)) {
        outcome.may = May { allow: true, deny: true, pass: true };
        outcome.doubt.add(&policy.reason(), [policy.reference()]);
    }
    let policies: Vec<&ClusterPolicy> = set.cluster_policies(pod, side.direction, tier).collect();
    let (placed, unplaced): (Vec<_>, Vec<_>) =
        policies.into_iter().partition(|policy| policy.priority.is_some());
    outcome
        .then(|| {
            let placed = by_priority(&placed, set, side, pod);
            let unplaced = group(&unplaced, set, side, pod);
            placed.beside(unplaced, || "nothing defines which kind of a tier goes first".into())
        })
        .answer()
}

/// In order of priority; `policies` are sorted by it.
fn by_priority(policies: &[&ClusterPolicy], set: &PolicySet, side: &Side<'_>, pod: &Pod) -> Outcome {
    let mut outcome = Outcome::nothing();
    for equal in policies.chunk_by(|one, other| one.priority == other.priority) {
        outcome = outcome.then(|| group(equal, set, side, pod));
    }
    outcome
}

/// Policies of which none goes before another.
fn group(policies: &[&ClusterPolicy], set: &PolicySet, side: &Side<'_>, pod: &Pod) -> Outcome {
    let mut policies = policies.iter();
    let Some(first) = policies.next() else { return Outcome::nothing() };
    policies.fold(one(first, set, side, pod), |outcome, other| {
        outcome.beside(one(other, set, side, pod), || {
            let (one, other) = (first.title(), other.title());
            format!("{one} and {other} contradict each other and have the same priority").into()
        })
    })
}

fn one(policy: &ClusterPolicy, set: &PolicySet, side: &Side<'_>, pod: &Pod) -> Outcome {
    let mut outcome = Outcome::nothing();
    let selects = policy.selects(pod, side.direction);
    if selects == Match::No {
        return outcome;
    }
    for (rule, index) in policy.rules(side.direction).iter().zip(0_u32..) {
        let alone = rule.matches(side, set.scope);
        let matches = selects.clone().and(|| alone.clone());
        outcome = outcome.then(|| matched(policy, rule, index, matches));
        // If the policy selects the pod after all, no later rule is reached.
        if alone == Match::Yes {
            break;
        }
    }
    outcome
}

fn matched(policy: &ClusterPolicy, rule: &ClusterRule, index: u32, matches: Match) -> Outcome {
    let mut outcome = Outcome::nothing();
    if matches == Match::No {
        return outcome;
    }
    let named = PolicyRef { rule: Some(index), ..policy.reference() };
    outcome.may = match &rule.action {
        Action::Allow => May { allow: true, ..May::default() },
        Action::Deny => May { deny: true, ..May::default() },
        Action::Pass => May { pass: true, ..May::default() },
        Action::Undetermined(_) => May { allow: true, deny: true, pass: true },
    };
    match (matches, &rule.action) {
        (Match::Unknown(reason), _) => outcome.doubt.add(&reason, [named]),
        (_, Action::Undetermined(reason)) => {
            outcome.doubt.add(reason, [named]);
            outcome.falls = false;
        }
        (_, action) => {
            outcome.plain = Some((action.clone(), vec![named]));
            outcome.falls = false;
        }
    }
    outcome
}
