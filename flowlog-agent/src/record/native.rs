//! flowlog's own format: the structure of a `flow` and a `loss` line, borrowed from the model.
//!
//! The doc comments here are the field descriptions of the published schema. `x-cardinality` says how many
//! values a field takes over a day on one node (low: under ten; medium: hundreds; high: grows with traffic).

use super::community::community_id;
use super::errno::errno_name;
use super::shorten::Shortening;
use super::{Labelling, Run};
use crate::model::{
    Attribution, Basis, Class, Decision, Dialed, Direction, DirectionVerdict, DropPlace, Endpoint, Evidence,
    Flow, FlowId, IcmpMessage, Labels, Loss, LossCause, LossStage, Mixed, Name, NameSource, Origin, Outcome,
    Party, Pod, PolicyKind, PolicyRef, Process, Protocol, Service, ServiceNote, Severity, State, Tier,
    TrialVerdict, VendorSource, Verdict, Whose,
};
use arrayvec::ArrayString;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use schemars::JsonSchema;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A moment as every record writes it: RFC 3339, UTC, always nine digits of a second.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(transparent, extend("format" = "date-time", "pattern" = "^[0-9-]{10}T[0-9:]{8}\\.[0-9]{9}Z$"))]
pub(super) struct Moment(#[schemars(with = "String")] pub(super) Timestamp);

const MOMENT: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Seconds that are kept, by their last bits: a folded line has a first and a last one, and a snapshot one of its own.
const SECONDS: usize = 8;

/// A moment as text.
type MomentText = ArrayString<30>;

thread_local! {
    /// What was written last of a second: a line has four moments, most of them the same, and a second thousands of lines.
    static WRITTEN: [Cell<(Timestamp, MomentText)>; SECONDS] =
        const { [const { Cell::new((Timestamp::MIN, MomentText::new_const())) }; SECONDS] };
}

impl Moment {
    /// Absent outside the years that have four digits, and before 1970, where a second's part counts backwards.
    fn text(self) -> Option<MomentText> {
        if self.0 < Timestamp::UNIX_EPOCH {
            return None;
        }
        let second = self.0.as_second();
        let place = usize::try_from(second.unsigned_abs()).unwrap_or(0) % SECONDS;
        let (known, mut text) = WRITTEN.with(|written| written[place].get());
        if known != self.0 || text.is_empty() {
            text = match known.as_second() == second {
                true => self.text_after(&text)?,
                false => self.new_text()?,
            };
            WRITTEN.with(|written| written[place].set((self.0, text)));
        }
        Some(text)
    }

    /// From that of another moment of the same second.
    fn text_after(self, other: &MomentText) -> Option<MomentText> {
        let mut nanos = u32::try_from(self.0.subsec_nanosecond()).ok()?;
        let mut bytes: [u8; 30] = other.as_bytes().try_into().ok()?;
        for digit in bytes[20..29].iter_mut().rev() {
            *digit = b'0' + u8::try_from(nanos % 10).unwrap_or_default();
            nanos /= 10;
        }
        MomentText::from_byte_string(&bytes).ok()
    }

    fn new_text(self) -> Option<MomentText> {
        let mut whole = String::with_capacity(32);
        MOMENT.print_timestamp(&self.0, &mut whole).ok()?;
        MomentText::from(&whole).ok().filter(MomentText::is_full)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.text() {
            return serializer.serialize_str(&text);
        }
        let mut text = String::with_capacity(32);
        MOMENT.print_timestamp(&self.0, &mut text).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// What every line begins with, after `v` and `seq`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Head<'a> {
    /// Kind of the record.
    kind: &'static str,
    /// When it happened: a flow's last attempt or last change, a loss's last moment.
    #[schemars(example = &"2026-11-23T13:53:52.123456789Z")]
    time: Moment,
    /// Name of the node that this agent runs on.
    #[schemars(example = &"worker-1", extend("x-cardinality" = "low"))]
    node: &'a str,
    /// Name of the cluster, where configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    cluster: Option<&'a str>,
    /// Id of this run of the agent; `seq` counts within it.
    #[schemars(extend("x-cardinality" = "low"))]
    run: &'a str,
}

impl<'a> Head<'a> {
    pub(super) fn of(kind: &'static str, time: Timestamp, run: &'a Run, short: &Shortening) -> Self {
        Self {
            kind,
            time: Moment(time),
            node: short.name(&run.node),
            cluster: run.cluster.as_deref().map(|cluster| short.name(cluster)),
            run: short.name(&run.id),
        }
    }
}

/// A connection attempt and what became of it, alone or folded with its repeats.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowLine")]
pub(super) struct FlowLine<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    flow: FlowPart,
    source: EndPart<'a>,
    destination: EndPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialed: Option<DialedPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessPart<'a>>,
    verdict: VerdictPart<'a>,
    outcome: OutcomePart<'a>,
    /// Where declared verdict and observed outcome meet.
    #[schemars(extend("x-cardinality" = "low"))]
    class: Class,
    /// How much the class matters.
    #[schemars(extend("x-cardinality" = "low"))]
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution: Option<AttributionPart<'a>>,
    /// What was left out or shortened to keep the line within its limit, in that order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<Truncated>,
    /// Present and true where the output leaves parts of lines out (`fields`), or the agent labels (`labels`), and this line
    /// had such: what is not there may have been.
    #[serde(skip_serializing_if = "is_false")]
    masked: bool,
}

/// A part of a record that was left out or shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncated {
    /// Both ends' `labels` were left out.
    Labels,
    /// Both ends' `namespace_labels` were left out.
    NamespaceLabels,
    /// Lists of policies end early.
    Policies,
    /// Reasons and paths end early.
    Reasons,
    /// Names end early.
    Names,
    /// The effective configuration was left out.
    Config,
    /// Lists of hooks, problems or counters end early.
    Lists,
}

/// The attempt, or the attempts that this record stands for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowPart")]
pub(super) struct FlowPart {
    /// Identity, 32 hex digits; the same in every record that tells of this flow.
    #[schemars(length(equal = 32), pattern("^[0-9a-f]{32}$"), extend("x-cardinality" = "high"))]
    id: HexId,
    /// Community ID 1 of the tuple on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"1:LQU9qZlK+B5F3KDmev6m5PMibrg=", extend("x-cardinality" = "high"))]
    community_id: Option<String>,
    /// Which end's node tells it.
    #[schemars(extend("x-cardinality" = "low"))]
    direction: Direction,
    /// Protocol.
    #[schemars(extend("x-cardinality" = "low"))]
    protocol: Protocol,
    /// The message that opened it, with ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpPart>,
    /// Address family of the tuple.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    family: Option<Family>,
    /// Present and true for connections that were open, or opening, when the agent was started. They are no attempts, and
    /// how long they have been there is not known.
    #[serde(skip_serializing_if = "is_false")]
    existing: bool,
    /// Attempts that this record stands for, or existing connections; 0 where it only adds what became of such as were
    /// told before.
    count: u64,
    /// First attempt; of existing connections, when they were found.
    first: Moment,
    /// Last attempt, or last change that this record tells.
    last: Moment,
    /// Present and true where this tells anew what became of a flow that was told before under the same `id`.
    #[serde(skip_serializing_if = "is_false")]
    update: bool,
    /// Present and true where this may repeat what the run before wrote: it was killed while it wrote this, and nobody can
    /// tell whether it came through. Then the two have the same `id`, or this has the `id` of one that the other stands for.
    #[serde(skip_serializing_if = "is_false")]
    replayed: bool,
    /// Sum of the closed connections' durations, whole milliseconds, rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// Payload bytes that the opener sent and saw acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    /// Payload bytes that the opener received.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
    /// Datagrams that the opener sent to a peer that it names in each call, or messages by ICMP. Absent while only a first one
    /// and a first answer were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams_sent: Option<u64>,
    /// Datagrams that the opener received, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams_received: Option<u64>,
    /// Segments retransmitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u64>,
    /// Smoothed round trip, microseconds, as it was when the connection closed; the mean, where several did.
    #[serde(skip_serializing_if = "Option::is_none")]
    srtt_us: Option<u64>,
    /// From the connect call to the handshake's end, whole microseconds; of the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_us: Option<u64>,
}

/// A message by ICMP (IANA's numbers; those of `icmp` and `icmpv6` differ).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Icmp")]
struct IcmpPart {
    /// Its type: 8 (`icmp`) and 128 (`icmpv6`) ask for an echo.
    #[schemars(extend("x-cardinality" = "low"))]
    r#type: u8,
    /// Its code.
    #[schemars(extend("x-cardinality" = "low"))]
    code: u8,
}

/// Address family.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Family {
    /// IPv4; an IPv4-mapped IPv6 address is its IPv4 address.
    Ipv4,
    /// IPv6.
    Ipv6,
}

#[derive(Clone, Copy, JsonSchema)]
#[schemars(transparent)]
pub(super) struct HexId(#[schemars(with = "String")] pub(super) FlowId);

impl Serialize for HexId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Twice as fast as the formatter, which every line pays for.
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [0; 32];
        let halves = self.0.0.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for (place, half) in text.iter_mut().zip(halves) {
            *place = DIGITS[usize::from(half)];
        }
        serializer.serialize_str(std::str::from_utf8(&text).map_err(S::Error::custom)?)
    }
}

/// Who stands at an end, and the address it used.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "End")]
pub(super) struct EndPart<'a> {
    /// What stands there.
    #[schemars(extend("x-cardinality" = "low"))]
    kind: EndKind,
    /// Address on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.244.1.7", extend("x-cardinality" = "high"))]
    ip: Option<IpAddr>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "high"))]
    port: Option<u16>,
    /// Namespace of the pod or service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"shop", extend("x-cardinality" = "medium"))]
    namespace: Option<&'a str>,
    /// Name of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"web-6d4cf56db6-x7k2p", extend("x-cardinality" = "high"))]
    pod: Option<&'a str>,
    /// `metadata.uid` of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "high"))]
    pod_uid: Option<&'a str>,
    /// Who owns the pod, as people name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadPart<'a>>,
    /// The service, where a service address stands here and its backend is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServicePart<'a>>,
    /// The pod's labels, filtered by configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    labels: Option<LabelsPart<'a>>,
    /// Labels of the pod's namespace, filtered by configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    namespace_labels: Option<LabelsPart<'a>>,
    /// Name of the container: at the local end that of the process, else that of a pod with only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "medium"))]
    container: Option<&'a str>,
    /// Image of that container, as the pod names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"docker.io/library/nginx:1.29", extend("x-cardinality" = "medium"))]
    image: Option<&'a str>,
    /// Digest of the image that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "medium"))]
    image_digest: Option<&'a str>,
    /// Service account of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "medium"))]
    service_account: Option<&'a str>,
    /// The node: the one that runs the pod, or the one that stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"worker-1", extend("x-cardinality" = "medium"))]
    node: Option<&'a str>,
    /// Present and true for a pod on its node's network: no policy selects it.
    #[serde(skip_serializing_if = "is_false")]
    host_network: bool,
    /// Whose software it is: that of the container where it is known, else that of the pod's least trusted container. Of
    /// an address outside the cluster `third_party`, where its vendor is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    origin: Option<Origin>,
    /// The vendor, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Datadog", extend("x-cardinality" = "medium"))]
    vendor: Option<&'a str>,
    /// What tells the vendor of an address outside the cluster: evidence, not identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    vendor_from: Option<VendorSource>,
    /// Present and true where the configuration, or a rule that ships, calls it sensitive.
    #[serde(skip_serializing_if = "is_false")]
    sensitive: bool,
    /// Names by which the opener's pod knew the address before it opened, the one that was told last first: evidence, not
    /// identity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<NamePart<'a>>,
    /// Name of the address block that an external address lies in: a configured one's, else provider, service and region as a
    /// cloud publishes them, else the autonomous system's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"aws/S3/eu-west-1", extend("x-cardinality" = "medium"))]
    network: Option<&'a str>,
    /// Why it is not known who stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    reason: Option<&'a str>,
}

/// A name of an address.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Name")]
struct NamePart<'a> {
    /// The name that was asked for.
    #[schemars(example = &"api.vendor.example", extend("x-cardinality" = "high"))]
    name: &'a str,
    /// The name that it is an alias of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "high"))]
    canonical: Option<&'a str>,
    /// Where the name came from.
    #[schemars(extend("x-cardinality" = "low"))]
    from: NameSource,
    /// How long before the first attempt of this record it was told last, whole milliseconds.
    age_ms: u64,
    /// How long whoever told it lets it be kept, seconds; a pod may have kept it longer.
    ttl_s: u32,
}

/// What stands at an end.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum EndKind {
    /// A pod.
    Pod,
    /// A service address whose backend is not known.
    Service,
    /// A node, or a process outside any pod on this node.
    Node,
    /// An address outside the cluster.
    External,
    /// The loopback of the opener's own network namespace.
    Local,
    /// Not known; `reason` says why.
    Unknown,
}

/// Owner of a pod.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workload")]
struct WorkloadPart<'a> {
    /// Kind as the API writes it.
    #[schemars(example = &"Deployment", extend("x-cardinality" = "low"))]
    kind: &'a str,
    /// Name.
    #[schemars(example = &"web", extend("x-cardinality" = "medium"))]
    name: &'a str,
}

/// A service port.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Service")]
struct ServicePart<'a> {
    /// Namespace.
    #[schemars(extend("x-cardinality" = "medium"))]
    namespace: &'a str,
    /// Name.
    #[schemars(extend("x-cardinality" = "medium"))]
    name: &'a str,
    /// Name of the port that was dialed, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    port_name: Option<&'a str>,
}

/// Labels, in key order, and which of them are shown.
struct LabelsPart<'a>(&'a Labels, &'a Labelling);

/// The address that the process asked for, where it differs from the destination.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Dialed")]
pub(super) struct DialedPart<'a> {
    /// Address.
    #[schemars(extend("x-cardinality" = "high"))]
    ip: IpAddr,
    /// Port.
    #[schemars(extend("x-cardinality" = "medium"))]
    port: u16,
    /// The service that the address belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServicePart<'a>>,
    /// Why the service leads nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<NotePart>,
}

/// Why a service address leads to no backend.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NotePart {
    /// No ready endpoint behind the dialed port.
    NoEndpoints,
    /// The service has no such port.
    NoSuchPort,
}

/// The process that opened or accepted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Process")]
pub(super) struct ProcessPart<'a> {
    /// Process id in the node's own PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "high"))]
    pid: Option<u32>,
    /// Command name, at most 15 bytes. The process chooses it: evidence, not identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"curl", extend("x-cardinality" = "medium"))]
    comm: Option<&'a str>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "medium"))]
    exe: Option<&'a str>,
    /// Id of the cgroup it runs in.
    #[schemars(extend("x-cardinality" = "high"))]
    cgroup_id: u64,
}

/// What the declared policies say.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Verdict")]
pub(super) struct VerdictPart<'a> {
    /// The combined answer.
    #[schemars(extend("x-cardinality" = "low"))]
    decision: Decision,
    /// At the opener.
    egress: SidePart<'a>,
    /// At the listener.
    ingress: SidePart<'a>,
    /// Counts, where the endpoints of a service differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<MixedPart>,
    /// Revision of the cluster snapshot that was asked.
    snapshot: u64,
    /// When that snapshot was taken.
    as_of: Moment,
    /// Since when that snapshot is known to lag behind its source, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_since: Option<Moment>,
    /// Present and true where a policy that takes part changed shortly before the attempt: enforcement takes
    /// time to follow.
    #[serde(skip_serializing_if = "is_false")]
    settling: bool,
    /// What the policies in trial would say.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialPart<'a>>,
}

/// The answer of the policies in trial; never part of the verdict.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Trial")]
pub(super) struct TrialPart<'a> {
    /// The combined answer.
    decision: Decision,
    /// At the opener.
    egress: SidePart<'a>,
    /// At the listener.
    ingress: SidePart<'a>,
}

/// The answer of one direction.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Side")]
pub(super) struct SidePart<'a> {
    /// The answer.
    #[schemars(extend("x-cardinality" = "low"))]
    decision: Decision,
    /// What it rests on.
    #[schemars(extend("x-cardinality" = "low"))]
    basis: Basis,
    /// Where it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "low"))]
    tier: Option<Tier>,
    /// The policies that took part; for `isolated` those that isolate the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<PolicyPart<'a>>,
    /// Why the answer is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// A policy, and the rule of it that matched.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Policy")]
struct PolicyPart<'a> {
    /// Kind as the API writes it.
    #[schemars(extend("x-cardinality" = "low"))]
    kind: PolicyKind,
    /// Namespace; absent for a cluster-scoped kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-cardinality" = "medium"))]
    namespace: Option<&'a str>,
    /// Name.
    #[schemars(example = &"default-deny", extend("x-cardinality" = "medium"))]
    name: &'a str,
    /// Index of the rule in its direction's list, from 0; absent where no rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<u32>,
}

/// How the endpoints of a service were judged, where they differ.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Mixed")]
pub(super) struct MixedPart {
    /// Endpoints that the policies allow.
    allow: u32,
    /// Endpoints that they deny.
    deny: u32,
    /// Endpoints that cannot be judged.
    unknown: u32,
    /// One that is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_example: Option<AddressPart>,
    /// One that is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_example: Option<AddressPart>,
}

/// An address and a port.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Address")]
struct AddressPart {
    /// Address.
    ip: IpAddr,
    /// Port.
    port: u16,
}

/// What the network did.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Outcome")]
pub(super) struct OutcomePart<'a> {
    /// What became of the attempt.
    #[schemars(extend("x-cardinality" = "low"))]
    state: State,
    /// The error that the process sees, by its Linux name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"ECONNREFUSED", extend("x-cardinality" = "low"))]
    errno: Option<Cow<'static, str>>,
    /// Retransmissions of the opening segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_retries: Option<u32>,
    /// The drop, where the kernel reported one.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<DropPart<'a>>,
    /// The facts that the state rests on, strongest first.
    evidence: &'a [Evidence],
}

/// A drop that the kernel reported.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Drop")]
struct DropPart<'a> {
    /// Name of the kernel's drop reason.
    #[schemars(example = &"NETFILTER_DROP", extend("x-cardinality" = "low"))]
    reason: &'a str,
    /// Where on its way the packet was.
    #[schemars(extend("x-cardinality" = "low"))]
    r#where: DropPlace,
}

/// How the local pod was found, where not at once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attribution")]
pub(super) struct AttributionPart<'a> {
    /// How.
    #[schemars(extend("x-cardinality" = "low"))]
    how: AttributionHow,
    /// Why it was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// How the local pod was found.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AttributionHow {
    /// It appeared while the attempt waited.
    Late,
    /// It had gone already; named from what was kept of it.
    Departed,
    /// By the address of the packet, since no socket was seen.
    ByAddress,
    /// Not found; `reason` says why.
    Failed,
}

/// Something seen or due that could not be logged.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LossLine")]
pub(super) struct LossLine<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    loss: LossPart,
    /// What was shortened to keep the line within its limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<Truncated>,
}

/// Where, why, how many.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Loss")]
struct LossPart {
    /// The stage that lost it.
    stage: LossStage,
    /// Why.
    cause: LossCause,
    /// What was lost.
    #[schemars(example = &"attempt")]
    what: &'static str,
    /// Class of the lost flows, where it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    /// How many.
    count: u64,
    /// From when.
    first: Moment,
    /// To when.
    last: Moment,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference to skip_serializing_if")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

impl<'a> FlowLine<'a> {
    pub(super) fn of(flow: &'a Flow, run: &'a Run, labelling: &'a Labelling, short: &Shortening) -> Self {
        let (at_source, at_destination) = flow.containers();
        let mut line = Self {
            head: Head::of("flow", flow.last, run, short),
            flow: FlowPart::of(flow),
            source: EndPart::of(&flow.source, at_source, labelling, short)
                .with_whose(&flow.source_whose, short),
            destination: EndPart::of(&flow.destination, at_destination, labelling, short)
                .with_whose(&flow.destination_whose, short)
                .with_names(&flow.names, short),
            dialed: flow.dialed.as_ref().map(|dialed| DialedPart::of(dialed, short)),
            process: flow.process.as_ref().map(|process| ProcessPart::of(process, short)),
            verdict: VerdictPart::of(&flow.verdict, short),
            outcome: OutcomePart::of(&flow.outcome, short),
            class: flow.class,
            severity: flow.class.severity(),
            attribution: flow.attribution.as_ref().map(|how| AttributionPart::of(how, short)),
            truncated: Vec::new(),
            masked: labelling.takes(&flow.source.endpoint) || labelling.takes(&flow.destination.endpoint),
        };
        line.truncated = short.taken();
        line
    }
}

impl<'a> NamePart<'a> {
    fn of(name: &'a Name, short: &Shortening) -> Self {
        Self {
            name: short.name(&name.name),
            canonical: name.canonical.as_deref().map(|canonical| short.name(canonical)),
            from: name.source,
            age_ms: name.age_ns / 1_000_000,
            ttl_s: name.ttl_s,
        }
    }
}

impl FlowPart {
    pub(super) fn of(flow: &Flow) -> Self {
        let tuple = flow.source.ip.zip(flow.source.port).zip(flow.destination.ip.zip(flow.destination.port));
        let ip = flow.destination.ip.or(flow.source.ip);
        Self {
            id: HexId(flow.id),
            community_id: tuple.and_then(|(from, to)| community_id(flow.protocol, from, to)),
            direction: flow.direction,
            protocol: flow.protocol,
            icmp: flow.icmp.map(|IcmpMessage { kind, code }| IcmpPart { r#type: kind, code }),
            family: ip.map(|ip| if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }),
            existing: flow.existing,
            count: flow.count,
            first: Moment(flow.first),
            last: Moment(flow.last),
            update: flow.update,
            replayed: flow.receipts.are_doubtful(),
            duration_ms: flow.duration_ns.map(|ns| ns / 1_000_000),
            bytes_sent: flow.bytes_sent,
            bytes_received: flow.bytes_received,
            datagrams_sent: flow.datagrams_sent,
            datagrams_received: flow.datagrams_received,
            retransmits: flow.retransmits,
            srtt_us: flow.srtt.mean_us(),
            connect_us: flow.connect_ns.map(|ns| ns / 1_000),
        }
    }
}

impl<'a> EndPart<'a> {
    pub(super) fn of(
        party: &'a Party,
        container: Option<&'a str>,
        labelling: &'a Labelling,
        short: &Shortening,
    ) -> Self {
        let end = Self { ip: party.ip, port: party.port, ..Self::unnamed(EndKind::Local) };
        match &party.endpoint {
            Endpoint::Pod(pod) => end.with_pod(pod, container, labelling, short),
            Endpoint::Service(service) => Self {
                kind: EndKind::Service,
                namespace: Some(short.name(&service.namespace)),
                service: Some(ServicePart::of(service, short)),
                ..end
            },
            Endpoint::Node(node) => Self { kind: EndKind::Node, node: Some(short.name(&node.name)), ..end },
            Endpoint::External(external) => Self {
                kind: EndKind::External,
                network: external.network.as_deref().map(|name| short.name(name)),
                ..end
            },
            Endpoint::Local => end,
            Endpoint::Unknown { reason, pod_uid } => Self {
                kind: EndKind::Unknown,
                reason: Some(short.words(reason)),
                pod_uid: pod_uid.as_deref().map(|uid| short.name(uid)),
                ..end
            },
        }
    }

    pub(super) fn with_whose(self, whose: &'a Whose, short: &Shortening) -> Self {
        Self {
            origin: whose.origin,
            vendor: whose.vendor.as_deref().map(|vendor| short.name(vendor)),
            vendor_from: whose.told_by,
            sensitive: whose.sensitive,
            ..self
        }
    }

    pub(super) fn with_names(self, names: &'a [Name], short: &Shortening) -> Self {
        Self { names: short.names(names).iter().map(|name| NamePart::of(name, short)).collect(), ..self }
    }

    fn unnamed(kind: EndKind) -> Self {
        Self {
            kind,
            ip: None,
            port: None,
            namespace: None,
            pod: None,
            pod_uid: None,
            workload: None,
            service: None,
            labels: None,
            namespace_labels: None,
            container: None,
            image: None,
            image_digest: None,
            service_account: None,
            node: None,
            host_network: false,
            origin: None,
            vendor: None,
            vendor_from: None,
            sensitive: false,
            names: Vec::new(),
            network: None,
            reason: None,
        }
    }

    fn with_pod(
        self,
        pod: &'a Pod,
        container: Option<&'a str>,
        labelling: &'a Labelling,
        short: &Shortening,
    ) -> Self {
        // Elsewhere than at the local end it is not known which container took part, unless there is only one.
        let known = match (container, &*pod.containers) {
            (Some(name), all) => all.iter().find(|one| &*one.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        Self {
            kind: EndKind::Pod,
            namespace: Some(short.name(&pod.namespace)),
            pod: Some(short.name(&pod.name)),
            pod_uid: Some(short.name(&pod.uid)),
            workload: pod
                .workload
                .as_ref()
                .map(|owner| WorkloadPart { kind: short.name(&owner.kind), name: short.name(&owner.name) }),
            labels: LabelsPart::of(&pod.labels, labelling, short, Truncated::Labels),
            namespace_labels: LabelsPart::of(
                &pod.namespace_labels,
                labelling,
                short,
                Truncated::NamespaceLabels,
            ),
            container: container.or(known.map(|one| &*one.name)).map(|name| short.name(name)),
            image: known.filter(|one| !one.image.is_empty()).map(|one| short.name(&one.image)),
            image_digest: known.and_then(|one| one.image_digest.as_deref()).map(|digest| short.name(digest)),
            service_account: pod.service_account.as_deref().map(|name| short.name(name)),
            node: pod.node.as_deref().map(|name| short.name(name)),
            host_network: pod.host_network,
            ..self
        }
    }
}

impl<'a> LabelsPart<'a> {
    fn of(labels: &'a Labels, labelling: &'a Labelling, short: &Shortening, part: Truncated) -> Option<Self> {
        let any = labels.keys().any(|key| labelling.keeps(key));
        (any && short.keeps(part)).then_some(Self(labels, labelling))
    }
}

impl Serialize for LabelsPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(key, _)| self.1.keeps(key)))
    }
}

impl<'a> ServicePart<'a> {
    fn of(service: &'a Service, short: &Shortening) -> Self {
        Self {
            namespace: short.name(&service.namespace),
            name: short.name(&service.name),
            port_name: service.port_name.as_deref().map(|name| short.name(name)),
        }
    }
}

impl<'a> DialedPart<'a> {
    pub(super) fn of(dialed: &'a Dialed, short: &Shortening) -> Self {
        Self {
            ip: dialed.ip,
            port: dialed.port,
            service: dialed.service.as_deref().map(|service| ServicePart::of(service, short)),
            note: dialed.note.map(|note| match note {
                ServiceNote::NoEndpoints => NotePart::NoEndpoints,
                ServiceNote::NoSuchPort => NotePart::NoSuchPort,
            }),
        }
    }
}

impl<'a> ProcessPart<'a> {
    pub(super) fn of(process: &'a Process, short: &Shortening) -> Self {
        Self {
            pid: process.pid,
            comm: process.comm.as_deref().map(|comm| short.name(comm)),
            exe: process.exe.as_deref().map(|exe| short.words(exe)),
            cgroup_id: process.cgroup_id,
        }
    }
}

impl<'a> VerdictPart<'a> {
    pub(super) fn of(verdict: &'a Verdict, short: &Shortening) -> Self {
        Self {
            decision: verdict.decision,
            egress: SidePart::of(&verdict.egress, short),
            ingress: SidePart::of(&verdict.ingress, short),
            mixed: verdict.mixed.as_ref().map(MixedPart::of),
            snapshot: verdict.snapshot,
            as_of: Moment(verdict.as_of),
            stale_since: verdict.stale_since.map(Moment),
            settling: verdict.settling,
            trial: verdict.trial.as_ref().map(|trial| TrialPart::of(trial, short)),
        }
    }
}

impl<'a> TrialPart<'a> {
    pub(super) fn of(trial: &'a TrialVerdict, short: &Shortening) -> Self {
        Self {
            decision: trial.decision,
            egress: SidePart::of(&trial.egress, short),
            ingress: SidePart::of(&trial.ingress, short),
        }
    }
}

impl<'a> SidePart<'a> {
    pub(super) fn of(side: &'a DirectionVerdict, short: &Shortening) -> Self {
        Self {
            decision: side.decision,
            basis: side.basis,
            tier: side.tier,
            policies: short.policies(&side.policies).iter().map(|one| PolicyPart::of(one, short)).collect(),
            reason: side.reason.as_deref().map(|reason| short.words(reason)),
        }
    }
}

impl<'a> PolicyPart<'a> {
    fn of(policy: &'a PolicyRef, short: &Shortening) -> Self {
        Self {
            kind: policy.kind,
            namespace: policy.namespace.as_deref().map(|namespace| short.name(namespace)),
            name: short.name(&policy.name),
            rule: policy.rule,
        }
    }
}

impl MixedPart {
    pub(super) fn of(mixed: &Mixed) -> Self {
        let address = |(ip, port)| AddressPart { ip, port };
        Self {
            allow: mixed.allow,
            deny: mixed.deny,
            unknown: mixed.unknown,
            allow_example: mixed.allow_example.map(address),
            deny_example: mixed.deny_example.map(address),
        }
    }
}

impl<'a> OutcomePart<'a> {
    pub(super) fn of(outcome: &'a Outcome, short: &Shortening) -> Self {
        Self {
            state: outcome.state,
            errno: outcome.errno.map(errno_name),
            syn_retries: outcome.syn_retries,
            drop: outcome
                .drop
                .as_ref()
                .map(|drop| DropPart { reason: short.name(&drop.reason), r#where: drop.place }),
            evidence: &outcome.evidence,
        }
    }
}

impl<'a> AttributionPart<'a> {
    pub(super) fn of(attribution: &'a Attribution, short: &Shortening) -> Self {
        let (how, reason) = match attribution {
            Attribution::Late => (AttributionHow::Late, None),
            Attribution::Departed => (AttributionHow::Departed, None),
            Attribution::ByAddress => (AttributionHow::ByAddress, None),
            Attribution::Failed(reason) => (AttributionHow::Failed, Some(short.words(reason))),
        };
        Self { how, reason }
    }
}

impl<'a> LossLine<'a> {
    pub(super) fn of(loss: &Loss, run: &'a Run, short: &Shortening) -> Self {
        let head = Head::of("loss", loss.last, run, short);
        let loss = LossPart {
            stage: loss.stage,
            cause: loss.cause,
            what: loss.what,
            class: loss.class,
            count: loss.count,
            first: Moment(loss.first),
            last: Moment(loss.last),
        };
        Self { head, loss, truncated: short.taken() }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOMENT, Moment};
    use jiff::Timestamp;

    /// A second's text is kept: one from before must not be taken for that of another.
    #[test]
    fn a_moment_is_written_as_its_library_writes_it() {
        for (second, nanos) in [
            (0, 0),
            (0, 999_999_999),
            (1, 1),
            (-1, 0),
            (-1, -1),
            (0, -5),
            (0, 7),
            (0, -5),
            (1_795_000_000, 123_456_789),
            (1_795_000_000, 5),
            (1_795_000_001, 5),
            (1_795_000_000, 6),
            (-62_135_596_801, 0),
            (253_402_207_199, 999_999_999),
        ] {
            let time = Timestamp::new(second, nanos).unwrap();
            let mut expected = String::new();
            MOMENT.print_timestamp(&time, &mut expected).unwrap();
            assert_eq!(serde_json::to_string(&Moment(time)).unwrap(), format!("\"{expected}\""));
        }
    }
}
