//! The words of flowlog as plain data: no clock, no file, no network, no imports of ours.
//!
//! Every other room speaks in these types. A value that is not known is absent or a variant
//! that says so, never a zero or an empty string.

pub mod address;
pub mod assessment;
pub mod class;
pub mod edge;
pub mod endpoint;
pub mod finding;
pub mod flow;
pub mod ledger;
pub mod loss;
pub mod name;
pub mod observation;
pub mod outcome;
pub mod pattern;
pub mod scan;
pub mod selector;
pub(crate) mod shared;
pub mod tally;
pub mod vendor;
pub mod verdict;

pub use address::{normalise, normalise_block};
pub use assessment::{
    ASSESSMENT_VERSION, Actor, Assessment, DriftSummary, Gone, ImageChange, ImageState, InputProblem, Inputs,
    Limit, Link, ObjectsRead, Reach, ReachPort, RecordsRead, Role, ScanRead, VendorSummary, Vulnerabilities,
};
pub use class::{Class, Severity};
pub use edge::{Edge, Observations, Place, RecordRef, Told, Traits};
pub use endpoint::{
    Backend, Container, ContainerPort, Endpoint, External, Labels, NOISE_LABELS, Node, Party, Pod, Service,
    ServiceNote, Target, Workload,
};
pub use finding::{Drift, Finding, FindingId, LiveFinding, Proof, Remedy, Subject, Suppression};
pub use flow::{Attribution, Dialed, Direction, Flow, FlowId, IcmpMessage, Process, RoundTrip};
pub use ledger::{Ledger, Mark, Receipts};
pub use loss::{Loss, LossCause, LossStage};
pub use name::{Name, NameSource, Names};
pub use observation::{DnsAnswer, Fact, Observation, Task};
pub use outcome::{Drop, DropPlace, Evidence, Outcome, State};
pub use pattern::glob;
pub use scan::{ImageScan, ScannedContainer};
pub use selector::Selector;
pub use tally::{Part, Tally};
pub use vendor::{Clue, Confidence, Origin, Provenance, Signal, VendorSource, Whose};
pub use verdict::{
    Basis, Decision, DirectionVerdict, Mixed, PolicyKind, PolicyRef, PolicyRefs, Tier, TrialVerdict, Verdict,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Protocol of a flow (IANA protocol numbers 6, 17, 132, 1, 58).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, and MPTCP, which looks like TCP on the wire.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP, over IPv4.
    Icmp,
    /// ICMP over IPv6.
    Icmpv6,
}

impl Protocol {
    /// The name as Kubernetes objects write it (`TCP`, `UDP`, `SCTP`); ICMP has none there.
    pub fn as_kubernetes(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Icmpv6 => "ICMPv6",
        }
    }

    /// Without ports: in their place stand the number that a question is asked by, and its type and code.
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp | Self::Icmpv6)
    }
}
