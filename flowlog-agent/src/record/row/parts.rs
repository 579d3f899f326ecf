//! The parts of a row, as they stand in a line; what nobody is shown is passed over.

use super::super::read::id_of;
use super::{Pairs, Text};
use crate::model::{Class, Decision, Direction, Origin, Protocol, State};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// The attempts that a line stands for.
#[derive(Clone, Debug, Deserialize)]
pub struct FlowRow {
    /// The same in every record that tells of this flow.
    #[serde(default, deserialize_with = "flow_id")]
    pub id: Option<u128>,
    /// Which end's node tells it.
    pub direction: Direction,
    /// Protocol.
    pub protocol: Protocol,
    /// It was there before the agent was.
    #[serde(default)]
    pub existing: bool,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// It tells anew what became of a flow.
    #[serde(default)]
    pub update: bool,
    /// It may repeat what the run before wrote.
    #[serde(default)]
    pub replayed: bool,
    /// Sum of durations.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Payload bytes that the opener sent.
    #[serde(default)]
    pub bytes_sent: Option<u64>,
    /// Payload bytes that it received.
    #[serde(default)]
    pub bytes_received: Option<u64>,
    /// Datagrams that were sent.
    #[serde(default)]
    pub datagrams_sent: Option<u64>,
    /// Datagrams that came back.
    #[serde(default)]
    pub datagrams_received: Option<u64>,
}

impl FlowRow {
    /// It adds what was counted since, and does not say that the outcome is another.
    pub fn adds_sums(&self) -> bool {
        [self.duration_ms, self.bytes_sent, self.bytes_received, self.datagrams_sent, self.datagrams_received]
            .iter()
            .any(Option::is_some)
    }
}

/// 32 hex digits; any other is none that could come again.
fn flow_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
    let text = Text::deserialize(deserializer)?;
    Ok(id_of(text.as_bytes()))
}

/// What stands at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKindRow {
    /// A pod.
    Pod,
    /// A service whose backend is not known.
    Service,
    /// A node.
    Node,
    /// An address outside the cluster.
    External,
    /// The loopback of the opener.
    Local,
    /// Not known.
    Unknown,
}

/// Who stands at an end.
#[derive(Clone, Debug, Deserialize)]
pub struct EndRow<'a> {
    /// What it is.
    pub kind: EndKindRow,
    /// Address.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// Port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Namespace.
    #[serde(borrow, default)]
    pub namespace: Option<Text<'a>>,
    /// Pod.
    #[serde(borrow, default)]
    pub pod: Option<Text<'a>>,
    /// Its owner.
    #[serde(borrow, default)]
    pub workload: Option<WorkloadRow<'a>>,
    /// Service.
    #[serde(borrow, default)]
    pub service: Option<ServiceRow<'a>>,
    /// The pod's labels.
    #[serde(borrow, default)]
    pub labels: Pairs<'a>,
    /// Those of its namespace.
    #[serde(borrow, default)]
    pub namespace_labels: Pairs<'a>,
    /// Container.
    #[serde(borrow, default)]
    pub container: Option<Text<'a>>,
    /// Image.
    #[serde(borrow, default)]
    pub image: Option<Text<'a>>,
    /// Service account.
    #[serde(borrow, default)]
    pub service_account: Option<Text<'a>>,
    /// Node.
    #[serde(borrow, default)]
    pub node: Option<Text<'a>>,
    /// It is on its node's network.
    #[serde(default)]
    pub host_network: bool,
    /// Whose software it is.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// The vendor.
    #[serde(borrow, default)]
    pub vendor: Option<Text<'a>>,
    /// A rule calls it sensitive.
    #[serde(default)]
    pub sensitive: bool,
    /// Names of the address, the latest first.
    #[serde(borrow, default)]
    pub names: Vec<NameRow<'a>>,
    /// Name of its address block.
    #[serde(borrow, default)]
    pub network: Option<Text<'a>>,
    /// Why it is not known.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}

/// Owner of a pod.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkloadRow<'a> {
    /// Kind.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// Name.
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceRow<'a> {
    /// Namespace.
    #[serde(borrow)]
    pub namespace: Text<'a>,
    /// Name.
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// A name of an address.
#[derive(Clone, Debug, Deserialize)]
pub struct NameRow<'a> {
    /// The name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// What it is an alias of.
    #[serde(borrow, default)]
    pub canonical: Option<Text<'a>>,
}

/// What was dialed.
#[derive(Clone, Debug, Deserialize)]
pub struct DialedRow<'a> {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Its service.
    #[serde(borrow, default)]
    pub service: Option<ServiceRow<'a>>,
}

/// A process.
#[derive(Clone, Debug, Deserialize)]
pub struct ProcessRow<'a> {
    /// Id.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its name, which it chooses.
    #[serde(borrow, default)]
    pub comm: Option<Text<'a>>,
    /// Its file.
    #[serde(borrow, default)]
    pub exe: Option<Text<'a>>,
}

/// What the policies say.
#[derive(Clone, Debug, Deserialize)]
pub struct VerdictRow<'a> {
    /// Both directions together.
    pub decision: Decision,
    /// At the opener.
    #[serde(borrow)]
    pub egress: SideRow<'a>,
    /// At the listener.
    #[serde(borrow)]
    pub ingress: SideRow<'a>,
    /// A policy of it changed a moment before.
    #[serde(default)]
    pub settling: bool,
    /// The snapshot lagged behind its source since.
    #[serde(default)]
    pub stale_since: Option<Timestamp>,
}

/// One direction.
#[derive(Clone, Debug, Deserialize)]
pub struct SideRow<'a> {
    /// The answer.
    pub decision: Decision,
    /// What it rests on.
    #[serde(borrow)]
    pub basis: Text<'a>,
    /// The policies that took part.
    #[serde(borrow, default)]
    pub policies: Vec<PolicyRow<'a>>,
    /// Why it is not known.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}

/// A policy.
#[derive(Clone, Debug, Deserialize)]
pub struct PolicyRow<'a> {
    /// Kind.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// Namespace.
    #[serde(borrow, default)]
    pub namespace: Option<Text<'a>>,
    /// Name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Index of the rule.
    #[serde(default)]
    pub rule: Option<u32>,
}

/// What the network did.
#[derive(Clone, Debug, Deserialize)]
pub struct OutcomeRow<'a> {
    /// What became of the attempt.
    pub state: State,
    /// The error.
    #[serde(borrow, default)]
    pub errno: Option<Text<'a>>,
    /// The drop.
    #[serde(borrow, default)]
    pub drop: Option<DropRow<'a>>,
    /// What the state rests on.
    #[serde(borrow, default)]
    pub evidence: Vec<Text<'a>>,
}

/// A drop.
#[derive(Clone, Debug, Deserialize)]
pub struct DropRow<'a> {
    /// The kernel's reason.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// Where the packet was.
    #[serde(borrow, rename = "where")]
    pub place: Text<'a>,
}

/// How the local pod was found.
#[derive(Clone, Debug, Deserialize)]
pub struct AttributionRow<'a> {
    /// How.
    #[serde(borrow)]
    pub how: Text<'a>,
    /// Why it was not.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}

/// What was concluded.
#[derive(Clone, Debug, Deserialize)]
pub struct FindingRow<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// What it is called.
    #[serde(borrow)]
    pub title: Text<'a>,
    /// Whom it is about.
    #[serde(borrow)]
    pub subject: Text<'a>,
    /// What was reached.
    #[serde(borrow, default)]
    pub object: Option<Text<'a>>,
    /// It was told before.
    #[serde(default)]
    pub repeat: bool,
    /// Attempts.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
}

/// What was lost.
#[derive(Clone, Debug, Deserialize)]
pub struct LossRow<'a> {
    /// The stage.
    #[serde(borrow)]
    pub stage: Text<'a>,
    /// Why.
    #[serde(borrow)]
    pub cause: Text<'a>,
    /// What.
    #[serde(borrow)]
    pub what: Text<'a>,
    /// Class of the flows.
    #[serde(default)]
    pub class: Option<Class>,
    /// How many.
    pub count: u64,
    /// From when.
    pub first: Timestamp,
    /// To when.
    pub last: Timestamp,
}

/// What happened to the agent.
#[derive(Clone, Debug, Deserialize)]
pub struct AgentRow<'a> {
    /// What.
    #[serde(borrow)]
    pub event: Text<'a>,
    /// Its version.
    #[serde(borrow, default)]
    pub version: Option<Text<'a>>,
    /// Its hooks.
    #[serde(borrow, default)]
    pub hooks: Vec<HookRow<'a>>,
    /// How the kernel half outlives it.
    #[serde(borrow, default)]
    pub pin: Option<PinRow<'a>>,
    /// The snapshot.
    #[serde(borrow, default)]
    pub snapshot: Option<SnapshotRow<'a>>,
    /// The time without capture.
    #[serde(borrow, default)]
    pub gap: Option<GapRow<'a>>,
    /// Why it stops.
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}

/// A hook.
#[derive(Clone, Debug, Deserialize)]
pub struct HookRow<'a> {
    /// Name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// How it stands.
    #[serde(borrow)]
    pub state: Text<'a>,
}

/// How a run came to the kernel half.
#[derive(Clone, Debug, Deserialize)]
pub struct PinRow<'a> {
    /// How.
    #[serde(borrow)]
    pub state: Text<'a>,
}

/// State of the snapshot.
#[derive(Clone, Debug, Deserialize)]
pub struct SnapshotRow<'a> {
    /// Whether it follows its source.
    #[serde(borrow)]
    pub state: Text<'a>,
    /// Its revision.
    pub revision: u64,
    /// Since when it lags behind.
    #[serde(default)]
    pub stale_since: Option<Timestamp>,
    /// What could not be read.
    #[serde(default)]
    pub problem_count: Option<u64>,
}

/// A time without capture.
#[derive(Clone, Debug, Deserialize)]
pub struct GapRow<'a> {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
    /// Why.
    #[serde(borrow)]
    pub reason: Text<'a>,
}
