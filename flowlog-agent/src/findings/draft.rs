//! A finding in the making: what a rule says of it, before severities and suppressions of the user's.

use super::estate::Estate;
use crate::model::{Actor, Finding, FindingId, Link, Proof, Remedy, Severity, Subject};
use sha1::{Digest as _, Sha1};

/// A finding in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft(Finding);

impl Draft {
    /// Of this kind, about this subject; `summary` names everyone.
    pub(super) fn new(id: FindingId, subject: Subject, summary: String) -> Self {
        Self(Finding {
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
        })
    }

    /// Whom else it is about: with the subject it tells one finding from another.
    pub(super) fn object(mut self, object: String) -> Self {
        self.0.object = Some(object);
        self
    }

    pub(super) fn vendor(mut self, vendor: Option<&str>) -> Self {
        self.0.vendor = vendor.map(str::to_owned);
        self
    }

    /// Other than what is usual.
    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.0.severity = severity;
        self
    }

    /// Why it matters.
    pub(super) fn why(mut self, why: &str) -> Self {
        self.0.why = why.to_owned();
        self
    }

    /// What mends it.
    pub(super) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.0.remedy.text = text.into();
        self
    }

    /// A policy to apply.
    pub(super) fn policy(mut self, policy: String) -> Self {
        self.0.remedy.policy = Some(policy);
        self
    }

    pub(super) fn evidence(mut self, proof: Proof) -> Self {
        self.0.evidence.push(proof);
        self
    }

    /// These links, those of most attempts first, and the policies that took part.
    pub(super) fn links(mut self, estate: &Estate<'_>, links: &[&Link]) -> Self {
        let mut sorted = links.to_vec();
        sorted.sort_by(|one, other| (other.count, one.first).cmp(&(one.count, other.first)));
        self.0.evidence.extend(sorted.iter().map(|link| estate.proof(link)));
        let mut policies: Vec<_> = links.iter().flat_map(|link| &link.policies).collect();
        policies.sort();
        policies.dedup();
        self.0.evidence.extend(policies.into_iter().map(|policy| Proof::Policy {
            policy: policy.clone(),
            what: "took part in the verdict".to_owned(),
        }));
        self
    }

    /// What says whose the actor's software is: the strongest clue.
    pub(super) fn clue(mut self, actor: &Actor) -> Self {
        self.0.evidence.extend(actor.clues.first().map(|clue| Proof::Clue { clue: clue.clone() }));
        self
    }

    /// Done: with so many pieces of evidence at most.
    pub(super) fn finish(self, most: usize) -> Finding {
        let mut finding = self.0;
        finding.fingerprint = fingerprint(
            finding.id,
            &finding.subject.to_string(),
            finding.object.as_deref().unwrap_or_default(),
        );
        let beyond = finding.evidence.len().saturating_sub(most);
        finding.more_evidence = u64::try_from(beyond).unwrap_or(u64::MAX);
        finding.evidence.truncate(most);
        finding
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
