//! A finding in the making: what a rule says of it, before severities and suppressions of the user's.

use super::estate::Estate;
use crate::model::{Actor, Class, Finding, FindingId, Link, Place, Proof, Remedy, Severity, Subject};
use sha1::{Digest as _, Sha1};

/// A finding in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    finding: Finding,
    /// The workload that a policy of what was observed would mend it by.
    restrict: Option<Place>,
}

impl Draft {
    /// Of this kind, about this subject; `summary` names everyone.
    pub(super) fn new(id: FindingId, subject: Subject, summary: String) -> Self {
        let finding = Finding {
            id,
            fingerprint: String::new(),
            title: id.title().to_owned(),
            severity: id.severity(),
            subject,
            object: None,
            vendor: None,
            summary,
            why: String::new(),
            evidence: Vec::new(),
            more_evidence: 0,
            remedy: Remedy::default(),
            drift: None,
            suppressed: None,
        };
        Self { finding, restrict: None }
    }

    /// Whom else it is about: with the subject it tells one finding from another.
    pub(super) fn object(mut self, object: String) -> Self {
        self.finding.object = Some(object);
        self
    }

    pub(super) fn vendor(mut self, vendor: Option<&str>) -> Self {
        self.finding.vendor = vendor.map(str::to_owned);
        self
    }

    /// Other than what is usual.
    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.finding.severity = severity;
        self
    }

    /// Why it matters.
    pub(super) fn why(mut self, why: &str) -> Self {
        self.finding.why = why.to_owned();
        self
    }

    /// What mends it.
    pub(super) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.finding.remedy.text = text.into();
        self
    }

    /// A policy to apply.
    pub(super) fn policy(mut self, policy: String) -> Self {
        self.finding.remedy.policy = Some(policy);
        self
    }

    /// It is mended by a policy that allows this workload what it was observed to do, and no more.
    pub(super) fn restrict(mut self, workload: &Place) -> Self {
        self.restrict = Some(workload.clone());
        self
    }

    /// The same where one of these links is restricted by no policy: what a policy allows needs no other one.
    pub(super) fn restrict_loose(self, workload: &Place, links: &[&Link]) -> Self {
        if links.iter().any(|link| link.class == Class::Unrestricted) {
            self.restrict(workload)
        } else {
            self
        }
    }

    pub(super) fn evidence(mut self, proof: Proof) -> Self {
        self.finding.evidence.push(proof);
        self
    }

    /// These links, those of most attempts first, and the policies that took part.
    pub(super) fn links(mut self, estate: &Estate<'_>, links: &[&Link]) -> Self {
        let mut sorted = links.to_vec();
        sorted.sort_by(|one, other| (other.count, one.first).cmp(&(one.count, other.first)));
        self.finding.evidence.extend(sorted.iter().map(|link| estate.proof(link)));
        let mut policies: Vec<_> = links.iter().flat_map(|link| &link.policies).collect();
        policies.sort();
        policies.dedup();
        self.finding.evidence.extend(policies.into_iter().map(|policy| Proof::Policy {
            policy: policy.clone(),
            what: "took part in the verdict".to_owned(),
        }));
        self
    }

    /// What says whose the actor's software is: the strongest clue.
    pub(super) fn clue(mut self, actor: &Actor) -> Self {
        self.finding.evidence.extend(actor.clues.first().map(|clue| Proof::Clue { clue: clue.clone() }));
        self
    }

    /// Done: with so many pieces of evidence at most; and the workload that a policy is to restrict.
    pub(super) fn finish(self, most: usize) -> (Finding, Option<Place>) {
        let mut finding = self.finding;
        finding.fingerprint = fingerprint(
            finding.id,
            &finding.subject.to_string(),
            finding.object.as_deref().unwrap_or_default(),
        );
        let beyond = finding.evidence.len().saturating_sub(most);
        finding.more_evidence = u64::try_from(beyond).unwrap_or(u64::MAX);
        finding.evidence.truncate(most);
        (finding, self.restrict)
    }
}

/// Stays the same as long as the finding is about the same, whatever its severity and evidence.
pub(super) fn fingerprint(id: FindingId, subject: &str, object: &str) -> String {
    let mut hash = Sha1::new();
    for part in [id.as_str(), subject, object] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
