//! Whose software something is, and what says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Whose software it is, the most trusted first: of two the later one is the less trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The user's own.
    FirstParty,
    /// What the cluster itself runs.
    Platform,
    /// Somebody else's.
    ThirdParty,
    /// Nothing tells.
    Unknown,
}

/// How far a clue can be relied on, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The user's own rule.
    Certain,
    /// Where the image was pulled from: its vendor alone can push there.
    High,
    /// What installs it says so.
    Medium,
    /// A name that anybody can choose.
    Low,
}

/// What tells whose it is, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The registry and repository of the image.
    Image,
    /// A label of the pod or its namespace that says whose it is.
    Ownership,
    /// The namespace.
    Namespace,
    /// The API group of the custom resource that owns the pod.
    Group,
    /// The Helm chart (label `helm.sh/chart`).
    Chart,
    /// A registry's name within the image's path, as mirrors have it.
    MirroredPath,
    /// The label `app.kubernetes.io/name` or `app.kubernetes.io/part-of`.
    Name,
    /// The account at a public registry.
    Organisation,
}

/// One thing that tells whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clue {
    /// Whose it is by this.
    pub origin: Origin,
    /// The vendor by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub vendor: Option<Arc<str>>,
    /// What tells.
    pub signal: Signal,
    /// How far it can be relied on.
    pub confidence: Confidence,
    /// What was seen.
    pub value: String,
    /// The rule that it matched.
    pub rule: String,
}

/// What tells the vendor of an address outside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VendorSource {
    /// The name by which the opener asked for the address: whoever made that answer may have lied, and hosts share addresses.
    DnsName,
    /// The address ranges that a cloud publishes. What runs there may be any of its customers'.
    Range,
    /// The autonomous system that announces the address: whose network it is, not whose service.
    Asn,
}

/// Whose software stands at an end of a flow, as far as that is known, and how much harm could be done there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Whose {
    /// Whose it is; absent where nobody asked (a node, a service's address), or where nothing tells of an address outside.
    pub origin: Option<Origin>,
    /// The vendor, where there is one.
    pub vendor: Option<Arc<str>>,
    /// What tells the vendor, outside the cluster.
    pub told_by: Option<VendorSource>,
    /// The configuration, or a rule that ships, calls it sensitive.
    pub sensitive: bool,
}

impl Whose {
    /// Somebody else's.
    pub fn is_third_party(&self) -> bool {
        self.origin == Some(Origin::ThirdParty)
    }
}

/// Whose it is: what the strongest clue says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// Whose it is.
    pub origin: Origin,
    /// The vendor, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub vendor: Option<Arc<str>>,
    /// All that tells, the strongest first; nothing where the origin is unknown.
    pub clues: Vec<Clue>,
}

impl Provenance {
    /// From clues in any order.
    pub fn of(mut clues: Vec<Clue>) -> Self {
        clues.sort_by_key(|clue| (clue.confidence, clue.signal));
        let first = clues.first();
        Self {
            origin: first.map_or(Origin::Unknown, |clue| clue.origin),
            vendor: first.and_then(|clue| clue.vendor.clone()),
            clues,
        }
    }
}
