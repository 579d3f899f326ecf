//! What the user says of the assessment: what is trusted, what counts, what is known and accepted.

use crate::model::{FindingId, Severity};
use crate::vendor::Sensitive;
use jiff::SignedDuration;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// What the user says, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is sensitive.
    pub sensitive: Sensitive,
    /// Registries and folders in them that are trusted (`registry.example.com/`, `ghcr.io/acme/`); none: any is.
    pub trusted_registries: Vec<String>,
    /// Vulnerabilities of this severity and above are told.
    pub vulnerabilities: Severity,
    /// A source probes that is denied or refused at so many targets or ports within `probe_within`.
    pub probe_targets: usize,
    /// See `probe_targets`.
    pub probe_within: SignedDuration,
    /// Severities other than what the rules give.
    pub severities: BTreeMap<FindingId, Severity>,
    /// Kinds of findings that are not looked for.
    pub off: BTreeSet<FindingId>,
    /// What is known and accepted.
    pub suppressions: Vec<SuppressionRule>,
    /// Pieces of evidence that a finding lists; the rest is counted.
    pub evidence: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sensitive: Sensitive::default(),
            trusted_registries: Vec::new(),
            vulnerabilities: Severity::High,
            probe_targets: 10,
            probe_within: SignedDuration::from_mins(10),
            severities: BTreeMap::new(),
            off: BTreeSet::new(),
            suppressions: Vec::new(),
            evidence: 20,
        }
    }
}

/// Findings that are known and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRule {
    /// Of this kind; absent: of any.
    pub id: Option<FindingId>,
    /// About this subject, as reports show it; `*` stands for any part. Absent: about anyone.
    pub subject: Option<String>,
    /// With this object, likewise.
    pub object: Option<String>,
    /// This finding alone.
    pub fingerprint: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// The last day (UTC) on which it holds.
    pub expires: Option<Date>,
    /// The file that it is written in.
    pub file: String,
    /// The line in it.
    pub line: Option<u64>,
}
