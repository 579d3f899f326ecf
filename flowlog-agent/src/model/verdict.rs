//! What the declared rules say.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// The answer to "does the declared policy let this connection open?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Both directions allow it.
    Allow,
    /// A direction denies it.
    Deny,
    /// A service whose endpoints differ in their answers.
    Mixed,
    /// An endpoint or a rule is not known; neither may be claimed.
    Unknown,
}

impl Decision {
    /// The word that records and answers have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a direction's decision rests on (`policy-semantics`, "Basis").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Named rules allow or deny it.
    Policy,
    /// A policy isolates the pod in this direction and none of its rules matches.
    Isolated,
    /// No policy selects the pod in this direction.
    Unselected,
    /// A pod to itself.
    #[serde(rename = "self")]
    SelfTraffic,
    /// Between a pod and the node that runs it.
    Node,
    /// An endpoint or a rule is not known.
    Unknown,
}

/// Where in the fixed order a decision fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// AdminNetworkPolicy, ClusterNetworkPolicy of tier Admin.
    Admin,
    /// NetworkPolicy.
    Namespace,
    /// BaselineAdminNetworkPolicy, ClusterNetworkPolicy of tier Baseline.
    Baseline,
    /// Nothing decided: allowed by default.
    Default,
}

/// Kind of a policy object, spelled as the API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PolicyKind {
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy,
    /// policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy.
    AdminNetworkPolicy,
    /// policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy.
    BaselineAdminNetworkPolicy,
    /// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.
    ClusterNetworkPolicy,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NetworkPolicy,
        Self::AdminNetworkPolicy,
        Self::BaselineAdminNetworkPolicy,
        Self::ClusterNetworkPolicy,
    ];
}

/// A policy that took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRef {
    /// Kind of the object.
    pub kind: PolicyKind,
    /// Namespace; absent for a cluster-scoped kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Index of the rule in the direction's list, from 0; absent where no rule matched (isolated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
}

/// Policies of an answer, in kind, namespace, name, rule order, each once; shared, since a policy takes part in
/// many answers.
pub type PolicyRefs = Arc<[Arc<PolicyRef>]>;

/// The decision of one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirectionVerdict {
    /// Allow, deny or unknown; mixed where a service's endpoints differ.
    pub decision: Decision,
    /// What it rests on.
    pub basis: Basis,
    /// Where it was decided; absent where no tier was asked (`self`, `node`, `unknown`).
    pub tier: Option<Tier>,
    /// The policies that took part; for `isolated` every policy that isolates the pod.
    pub policies: PolicyRefs,
    /// Why it is unknown, in words; only with `Basis::Unknown`.
    pub reason: Option<String>,
}

/// How the endpoints of a service were judged, where one answer does not hold for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mixed {
    /// Endpoints that the policies allow.
    pub allow: u32,
    /// Endpoints that they deny.
    pub deny: u32,
    /// Endpoints that cannot be judged.
    pub unknown: u32,
    /// One endpoint that is allowed.
    pub allow_example: Option<(IpAddr, u16)>,
    /// One endpoint that is denied.
    pub deny_example: Option<(IpAddr, u16)>,
}

/// What policies in trial would say; never mixed into the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrialVerdict {
    /// The combined answer.
    pub decision: Decision,
    /// At the opener.
    pub egress: DirectionVerdict,
    /// At the listener.
    pub ingress: DirectionVerdict,
}

/// What the declared rules say about one connection, as of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The combined answer.
    pub decision: Decision,
    /// At the opener.
    pub egress: DirectionVerdict,
    /// At the listener.
    pub ingress: DirectionVerdict,
    /// Counts, where a service's endpoints differ.
    pub mixed: Option<Mixed>,
    /// Revision of the snapshot that was asked, from 1.
    pub snapshot: u64,
    /// When that snapshot was taken.
    pub as_of: Timestamp,
    /// Since when the snapshot is known to lag behind its source, if it does.
    pub stale_since: Option<Timestamp>,
    /// A policy that takes part changed within the last seconds before the attempt.
    pub settling: bool,
    /// The same question put to the policies in trial, where there are any that take part.
    pub trial: Option<TrialVerdict>,
}
