//! A judged fact: what is wrong, with whom, what shows it, and what mends it.

use super::{Clue, Flow, FlowId, Place, PolicyRef, RecordRef, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! finding_ids {
    ($($(#[$doc:meta])* $id:ident $severity:ident $title:literal,)*) => {
        /// What kind of finding; its number is stable and never given to another kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum FindingId {
            $($(#[$doc])* $id,)*
        }

        impl FindingId {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            /// `FL101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => stringify!($id),)* }
            }

            /// What it is called.
            pub fn title(self) -> &'static str {
                match self { $(Self::$id => $title,)* }
            }

            /// How much it matters where nothing about it makes it matter more or less.
            pub fn severity(self) -> Severity {
                match self { $(Self::$id => Severity::$severity,)* }
            }
        }
    };
}

finding_ids! {
    /// A declared deny was not enforced: the connection was established.
    FL101 High "Declared deny not enforced",
    /// An allowed connection was blocked.
    FL102 Medium "Allowed connection blocked",
    /// Denied attempts, by source and target.
    FL103 Low "Denied attempts",
    /// A source probes many targets or ports that are denied or refused.
    FL104 High "Probing source",
    /// A third party reached a sensitive workload.
    FL201 High "Third party reached a sensitive workload",
    /// A third party can reach a sensitive workload.
    FL202 Medium "Third party can reach a sensitive workload",
    /// A third-party pod has no egress policy, or one that allows everything.
    FL203 Medium "Third party's egress not restricted",
    /// A third-party pod has no ingress policy.
    FL204 Low "Third party's ingress not restricted",
    /// A third party crosses namespaces.
    FL205 Low "Third party crosses namespaces",
    /// A third party talks to the internet.
    FL206 Low "Third party talks to the internet",
    /// A third party talks to the Kubernetes API, a node, or the metadata address.
    FL207 Medium "Third party talks to the cluster's own interfaces",
    /// A namespace without default deny.
    FL301 Low "Namespace without default deny",
    /// A rule that no observed connection used.
    FL302 Info "Unused rule",
    /// A policy that selects nothing, a peer that matches nothing, a named port nobody declares.
    FL303 Medium "Policy that cannot take effect",
    /// A rule wider than what was observed.
    FL304 Low "Rule wider than its use",
    /// An image not pinned by digest, or a moving tag.
    FL401 Low "Image not pinned",
    /// An image from a registry that is not trusted.
    FL402 Medium "Image from an untrusted registry",
    /// An image with known vulnerabilities at or over the threshold.
    FL403 High "Image with known vulnerabilities",
    /// No scan report, SBOM or signature result for a third-party image.
    FL404 Low "Third-party image not transparent",
    /// Origin unknown.
    FL405 Medium "Origin unknown",
    /// A flow that the baseline does not have.
    FL501 Medium "Flow not in the baseline",
    /// A third-party image changed since the baseline.
    FL502 Medium "Third-party image changed",
    /// A policy change that widens what a third party may reach.
    FL503 High "Third party's possible reach widened",
}

impl fmt::Display for FindingId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for FindingId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|id| id.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Subject {
    /// A workload, a service, a node, something outside.
    Place {
        /// Which.
        place: Place,
    },
    /// A namespace.
    Namespace {
        /// Its name.
        name: String,
    },
    /// A policy, and the rule where it is about one.
    Policy {
        /// Which.
        policy: PolicyRef,
        /// `egress` or `ingress`, where it is about a rule.
        #[serde(skip_serializing_if = "Option::is_none")]
        direction: Option<super::Direction>,
    },
    /// An image.
    Image {
        /// As the spec names it.
        image: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place { place } => place.fmt(out),
            Self::Namespace { name } => write!(out, "namespace {name}"),
            Self::Policy { policy, .. } => match &policy.namespace {
                Some(namespace) => write!(out, "{:?} {namespace}/{}", policy.kind, policy.name),
                None => write!(out, "{:?} {}", policy.kind, policy.name),
            },
            Self::Image { image } => out.write_str(image),
        }
    }
}

/// Something that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Proof {
    /// Records, summed up.
    Records {
        /// What they tell, in words: ends, port, class, outcome.
        what: String,
        /// Attempts.
        count: u64,
        /// First of them.
        first: Timestamp,
        /// Last of them.
        last: Timestamp,
        /// One of them.
        example: RecordRef,
    },
    /// What a policy says.
    Policy {
        /// Which, with its rule.
        policy: PolicyRef,
        /// What about it.
        what: String,
    },
    /// What the cluster's objects say.
    Inventory {
        /// What they say.
        what: String,
    },
    /// What is not there: no policy selects it, no report has it.
    Absence {
        /// What is missing.
        what: String,
    },
    /// What tells whose software it is.
    Clue {
        /// What.
        clue: Clue,
    },
    /// What a scanner says.
    Scan {
        /// The report: a file, or a report object of the cluster.
        report: String,
        /// What it says.
        what: String,
    },
    /// What the baseline has.
    Baseline {
        /// What it has.
        what: String,
    },
}

/// What mends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// What to do, in words.
    pub text: String,
    /// A policy to apply, as YAML, where one could be made and was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What a later look makes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// The baseline does not have it.
    New,
    /// The baseline has it, less severe.
    Worse,
    /// The baseline has it as it is, or more severe.
    Known,
}

/// Why a finding is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suppression {
    /// The reason that was given.
    pub reason: String,
    /// The last day on which it holds, where it ends (`2027-01-31`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A judged fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind.
    pub id: FindingId,
    /// Stays the same from look to look as long as it is about the same: 32 hex digits, from id, subject and object.
    pub fingerprint: String,
    /// What it is called.
    pub title: String,
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// Whom else it is about: what was reached, which port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The vendor, where a third party has to do with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// What is so, in one sentence that names everyone.
    pub summary: String,
    /// Why it matters.
    pub why: String,
    /// What it rests on; a reader can look each up.
    pub evidence: Vec<Proof>,
    /// Evidence beyond what is listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_evidence: u64,
    /// What mends it.
    pub remedy: Remedy,
    /// What it is against a baseline, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Why it is not counted, where it is suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A finding of the agent's, while it runs: a flow shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFinding {
    /// What kind.
    pub id: FindingId,
    /// How much it matters.
    pub severity: Severity,
    /// Stays the same as long as it is about the same.
    pub fingerprint: String,
    /// Whom it is about.
    pub subject: String,
    /// What was reached, where it is not about the subject alone.
    pub object: Option<String>,
    /// Attempts that it stands for.
    pub count: u64,
    /// First of them.
    pub first: Timestamp,
    /// Last of them.
    pub last: Timestamp,
    /// Flows that show it, the first few.
    pub flows: Vec<FlowId>,
    /// It was told before: this is what was seen since then.
    pub repeat: bool,
    /// The last of these flows.
    pub flow: Box<Flow>,
}
