//! An attempt with both ends named, its verdict, outcome and class.

use super::{
    Class, Evidence, Names, Outcome, Party, Protocol, Receipts, Service, ServiceNote, State, Verdict, Whose,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Which end's node tells the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Seen at the opener.
    Egress,
    /// Seen at the listener.
    Ingress,
}

/// Identity of a flow, stable between the records that tell of it: boot-time nanoseconds of its first
/// attempt and the socket's cookie, 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u128);

/// What a message by ICMP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpMessage {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
}

impl IcmpMessage {
    /// As it stands in place of a port.
    pub fn of_port(port: u16) -> Self {
        let [kind, code] = port.to_be_bytes();
        Self { kind, code }
    }
}

/// The address that the process asked for, where it differs from the destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialed {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// The service that it belongs to, if any.
    pub service: Option<Arc<Service>>,
    /// Why the service leads nowhere, if so.
    pub note: Option<ServiceNote>,
}

/// The process that opened or accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id in the node's initial PID namespace.
    pub pid: Option<u32>,
    /// Command name (at most 15 bytes), lossy UTF-8.
    pub comm: Option<Arc<str>>,
    /// Path of the executable, where it could still be read.
    pub exe: Option<String>,
    /// Id of the cgroup it runs in.
    pub cgroup_id: u64,
    /// Name of the container, where known.
    pub container: Option<Arc<str>>,
}

/// How the local pod was found, when not at once; or why not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// It appeared while the attempt waited.
    Late,
    /// It had gone already; named from what was kept of it.
    Departed,
    /// By the address of the packet, since no socket was seen.
    ByAddress,
    /// Not found, and why.
    Failed(String),
}

/// Smoothed round trips of connections, as they were at their closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    /// Sum, microseconds.
    pub sum_us: u64,
    /// Of how many connections.
    pub connections: u64,
}

impl RoundTrip {
    /// Of one connection; nothing where it was never measured.
    pub fn of(srtt_us: Option<u32>) -> Self {
        srtt_us.map_or_else(Self::default, |us| Self { sum_us: us.into(), connections: 1 })
    }

    /// Those of more connections.
    pub fn add(&mut self, more: Self) {
        self.sum_us = self.sum_us.saturating_add(more.sum_us);
        self.connections = self.connections.saturating_add(more.connections);
    }

    /// Their mean, microseconds.
    pub fn mean_us(self) -> Option<u64> {
        self.sum_us.checked_div(self.connections)
    }
}

/// A flow: one attempt, or one with its repeats folded into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Identity.
    pub id: FlowId,
    /// Seen at the opener or at the listener.
    pub direction: Direction,
    /// Protocol.
    pub protocol: Protocol,
    /// The message that opened it, with ICMP.
    pub icmp: Option<IcmpMessage>,
    /// It was open, or opening, before the agent was there: no attempt, and since when is not known.
    pub existing: bool,
    /// Attempts, or existing connections, that this flow stands for; 0 where it only adds what became of attempts told before.
    pub count: u64,
    /// First attempt.
    pub first: Timestamp,
    /// Last attempt, or last change that this flow tells.
    pub last: Timestamp,
    /// True where this tells anew what became of a flow that was told before under the same `id`.
    pub update: bool,
    /// Sum of the connections' durations, nanoseconds, for those that have closed.
    pub duration_ns: Option<u64>,
    /// Payload bytes that the opener sent, for connections that have closed.
    pub bytes_sent: Option<u64>,
    /// Payload bytes that the opener received, for connections that have closed.
    pub bytes_received: Option<u64>,
    /// Datagrams, or messages by ICMP, that the opener sent, where more were counted than the first.
    pub datagrams_sent: Option<u64>,
    /// Datagrams that the opener received, likewise.
    pub datagrams_received: Option<u64>,
    /// Segments retransmitted over the connections' life.
    pub retransmits: Option<u64>,
    /// Smoothed round trip, for connections that have closed.
    pub srtt: RoundTrip,
    /// Time from the connect call to the handshake's end, nanoseconds; of the first attempt.
    pub connect_ns: Option<u64>,
    /// Opener.
    pub source: Party,
    /// Listener.
    pub destination: Party,
    /// Whose software the opener is.
    pub source_whose: Whose,
    /// Whose the listener is.
    pub destination_whose: Whose,
    /// Names by which the opener's pod knew the destination, where that is outside the cluster or not known.
    pub names: Names,
    /// What was dialed, where that differs from the destination.
    pub dialed: Option<Dialed>,
    /// The process at the local end.
    pub process: Option<Process>,
    /// What the declared rules say.
    pub verdict: Verdict,
    /// What the network did.
    pub outcome: Outcome,
    /// Where the two meet.
    pub class: Class,
    /// How the local pod was found, when not at once.
    pub attribution: Option<Attribution>,
    /// The duty to tell of the events that it was made of.
    pub receipts: Receipts,
}

impl Flow {
    /// A packet from elsewhere that reached a pod here and found nobody: no opener's socket was seen, nor a listener's. A
    /// scan is one such flow, whatever its ports.
    pub fn is_probe(&self) -> bool {
        self.direction == Direction::Ingress
            && self.outcome.state == State::Refused
            && self.outcome.evidence[..] == [Evidence::FarEndNoSocket]
    }

    /// Name of the container at each end, where it is known: at the local one.
    pub fn containers(&self) -> (Option<&str>, Option<&str>) {
        let container = self.process.as_ref().and_then(|process| process.container.as_deref());
        match self.direction {
            Direction::Egress => (container, None),
            Direction::Ingress => (None, container),
        }
    }
}
