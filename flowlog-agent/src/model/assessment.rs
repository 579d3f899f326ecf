//! An assessment: the findings of one look, and what they were drawn from. All that a report shows is in here.

use super::{
    Class, Clue, Decision, Direction, Finding, FindingId, Origin, Place, PolicyRef, Protocol, RecordRef,
    Severity, State,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the schema of assessments, `v`.
pub const ASSESSMENT_VERSION: u32 = 1;

/// The findings of one look, and what they were drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assessment {
    /// Version of this schema.
    pub v: u32,
    /// Version of flowlog that made it.
    pub flowlog: String,
    /// When it was made.
    pub made: Timestamp,
    /// Name of the cluster, where records or configuration tell one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What it was drawn from.
    pub inputs: Inputs,
    /// Everybody who takes part. Links and reaches name them by their place in this list.
    pub actors: Vec<Actor>,
    /// What was observed between them.
    pub links: Vec<Link>,
    /// What third parties could reach by the declared policies.
    pub reaches: Vec<Reach>,
    /// The vendors of third parties, and those that nothing tells of.
    pub vendors: Vec<VendorSummary>,
    /// Images that run.
    pub images: Vec<ImageState>,
    /// What counts, the most severe first.
    pub findings: Vec<Finding>,
    /// What was suppressed, with the reasons.
    pub suppressed: Vec<Finding>,
    /// What changed against the baseline, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSummary>,
    /// Findings by severity, without what is suppressed.
    pub counts: BTreeMap<Severity, u64>,
    /// What this look could not tell, in words: kinds of findings for which an input was missing, bounds that were reached.
    pub limits: Vec<Limit>,
}

/// What an assessment was drawn from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inputs {
    /// The records, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsRead>,
    /// The cluster's objects, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsRead>,
    /// Reports of scanners.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scans: Vec<ScanRead>,
    /// The baseline's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// What could not be read or used, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<InputProblem>,
    /// Problems beyond those that are listed.
    pub more_problems: u64,
}

/// Something of the input that could not be read or used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InputProblem {
    /// The file, or what else was read.
    pub file: String,
    /// Line in it, from 1, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong, and what to do.
    pub what: String,
}

/// What was read of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordsRead {
    /// Files.
    pub files: u64,
    /// Bytes, uncompressed.
    pub bytes: u64,
    /// Lines by `kind`; those of a kind that this version does not know under its name.
    pub lines: BTreeMap<String, u64>,
    /// Lines that were left out, since they cannot be read.
    pub unreadable: u64,
    /// Flow records by the version of their schema.
    pub versions: BTreeMap<u32, u64>,
    /// First attempt that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Nodes that told.
    pub nodes: Vec<String>,
    /// Attempts that agents lost, as their `loss` records say.
    pub lost: u64,
    /// Lines that are missing between two of one run, by their `seq`.
    pub missing: u64,
}

/// What was read of the cluster's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectsRead {
    /// The folder, or `live`.
    pub from: String,
    /// Namespaces.
    pub namespaces: u64,
    /// Pods, and those that workloads without pods would have.
    pub pods: u64,
    /// Workloads.
    pub workloads: u64,
    /// Policies.
    pub policies: u64,
    /// Why verdicts are unknown, where policies could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// A scanner's report that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScanRead {
    /// The file, or the object.
    pub from: String,
    /// Its format: `trivy`, `cyclonedx`, `spdx`, `vulnerability_report`, `sbom_report`.
    pub format: String,
    /// Images that it tells of.
    pub images: u64,
}

/// Who takes part: a workload, the internet, a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Where.
    pub place: Place,
    /// Whose software it is; for something outside, whose it is.
    pub origin: Origin,
    /// The vendor, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// What tells, the strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub clues: Vec<Clue>,
    /// Why it is sensitive, where it is: the rule's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<String>,
    /// Pods, where objects tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Its containers' images, by their place in `images`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub images: Vec<usize>,
    /// The names of those containers, in the same order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub containers: Vec<String>,
    /// Policies that select it for egress; absent where objects were not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_policies: Option<Vec<PolicyRef>>,
    /// Policies that select it for ingress; absent where objects were not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_policies: Option<Vec<PolicyRef>>,
    /// What it is beside its place: `kubernetes_api`, `metadata`, `kubelet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// An interface of the cluster's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The Kubernetes API.
    KubernetesApi,
    /// The cloud's metadata address.
    Metadata,
    /// A node's kubelet.
    Kubelet,
    /// A node.
    Node,
}

/// What was observed between two actors, of one port, protocol and class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Opener, by its place in `actors`.
    pub source: usize,
    /// Listener, by its place in `actors`.
    pub destination: usize,
    /// The service that was dialed, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Class.
    pub class: Class,
    /// What became of it.
    pub state: State,
    /// What the declared rules said then.
    pub decision: Decision,
    /// Policies that took part.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<PolicyRef>,
    /// Which end's node told it; where both did, the opener's.
    pub direction: Direction,
    /// Attempts.
    pub count: u64,
    /// First of them.
    pub first: Timestamp,
    /// Last of them.
    pub last: Timestamp,
    /// Payload bytes that the opener sent, as far as told.
    pub bytes_sent: u64,
    /// Payload bytes that it received.
    pub bytes_received: u64,
    /// One of the records.
    pub example: RecordRef,
}

/// Ports of a target that a third party could reach by the declared policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reach {
    /// The third party, by its place in `actors`.
    pub source: usize,
    /// Whom it could reach, likewise.
    pub target: usize,
    /// The ports, all that have the same answer.
    pub ports: Vec<ReachPort>,
    /// Allow or unknown; what is denied is not listed.
    pub decision: Decision,
    /// Why it is unknown, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// No policy restricts either side.
    pub unrestricted: bool,
    /// Policies that take part.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<PolicyRef>,
}

/// A port that could be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachPort {
    /// Protocol.
    pub protocol: Protocol,
    /// Port; absent where it is every port of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last port, where it is a range that begins with `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u16>,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It was reached, too.
    pub observed: bool,
}

/// One vendor: who runs for it, and how far that reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VendorSummary {
    /// Its name; absent for what nothing tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Third party or unknown.
    pub origin: Origin,
    /// What it sells, by the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Its workloads, by their place in `actors`.
    pub workloads: Vec<usize>,
    /// Places outside the cluster that are the vendor's own, likewise.
    pub outside: Vec<usize>,
    /// Pairs of target and port that it reached.
    pub reached: u64,
    /// Pairs of target and port that it could reach; absent where objects were not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reachable: Option<u64>,
    /// Of those, pairs that it never reached in the window: the least-privilege gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused: Option<u64>,
    /// Sensitive workloads that it reached, by their place in `actors`.
    pub sensitive_reached: Vec<usize>,
    /// Sensitive workloads that it could reach, likewise.
    pub sensitive_reachable: Vec<usize>,
    /// Policies that allow what its workloads were observed to do, and no more, as YAML, where they could be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// An image, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageState {
    /// As the spec names it.
    pub image: String,
    /// `sha256:…` that runs, where known; more than one where pods differ.
    pub digests: Vec<String>,
    /// Whose it is.
    pub origin: Origin,
    /// The vendor, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The spec names it by digest.
    pub pinned: bool,
    /// Its registry is among those that are trusted; absent where none are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// Vulnerabilities by severity, where a report tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vulnerabilities: Option<Vulnerabilities>,
    /// A bill of materials is there.
    pub sbom: bool,
    /// Reports that tell of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reports: Vec<String>,
}

/// Known vulnerabilities of an image, by severity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vulnerabilities {
    /// Critical.
    pub critical: u64,
    /// High.
    pub high: u64,
    /// Medium.
    pub medium: u64,
    /// Low.
    pub low: u64,
    /// Without a severity.
    pub unknown: u64,
    /// Those that a newer version mends.
    pub fixable: u64,
    /// Ids of the worst, at most 20.
    pub worst: Vec<String>,
}

/// What changed against a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftSummary {
    /// When the baseline was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Findings that are new.
    pub new: u64,
    /// Findings that are more severe than they were.
    pub worse: u64,
    /// Findings that are as they were.
    pub known: u64,
    /// Findings that are gone.
    pub gone: Vec<Gone>,
    /// Workloads that are new, in words.
    pub workloads_new: Vec<String>,
    /// Workloads that are gone.
    pub workloads_gone: Vec<String>,
    /// Images of third parties that changed: workload, container, before, after.
    pub images_changed: Vec<ImageChange>,
}

/// A finding that the baseline has and this look does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gone {
    /// What kind.
    pub id: FindingId,
    /// Its fingerprint.
    pub fingerprint: String,
    /// How severe it was.
    pub severity: Severity,
    /// What was so.
    pub summary: String,
}

/// An image that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageChange {
    /// The workload, in words.
    pub workload: String,
    /// The container.
    pub container: String,
    /// The image, with its digest where known, as it was.
    pub before: String,
    /// As it is.
    pub after: String,
}

/// What a look could not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The kinds of findings that it is about; all where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ids: Vec<FindingId>,
    /// Why, and what to give.
    pub what: String,
}
