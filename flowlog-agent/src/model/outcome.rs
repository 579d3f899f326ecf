//! What the network did with an attempt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The handshake completed.
    Established,
    /// RST, and no sign of a filter.
    Refused,
    /// ICMP error other than "prohibited", or no route or neighbour.
    Unreachable,
    /// Administratively prohibited: ICMP prohibited, EPERM, or an RST while the kernel reported that a
    /// filter dropped the packet.
    Rejected,
    /// The kernel reported the drop, or the attempt timed out.
    Dropped,
    /// No answer yet; told after the first retransmission.
    Pending,
    /// A datagram left and no answer is due.
    Sent,
    /// A datagram got an answer.
    Answered,
    /// A datagram came to a socket at the far end, or its process took it (told by its own node).
    Received,
    /// Closed by the process before an answer.
    Aborted,
    /// Not known.
    Unknown,
}

impl State {
    /// The name in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Received => "received",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }
}

/// One observed fact that a state rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The opener's socket reached ESTABLISHED.
    Handshake,
    /// A datagram came back from the far end.
    Answer,
    /// The listener's socket reached ESTABLISHED, or its process took the datagram (its own kernel saw the opener).
    Accepted,
    /// A datagram came to a socket of the listener, or a question by ICMP to a stack that answered it; whether a process takes
    /// it is not known.
    Arrived,
    /// ECONNREFUSED: an RST (TCP), ICMP port unreachable (UDP) or an ABORT (SCTP) came back.
    Reset,
    /// The node's kernel reported that it dropped the packet, with a reason.
    KernelDrop,
    /// The far end's own stack found no socket for the packet (same node): it got through the filters.
    FarEndNoSocket,
    /// An ICMP error reached the opener's socket.
    IcmpError,
    /// The opener's SYN was retransmitted at least once.
    SynRetransmitted,
    /// The kernel gave up after its last SYN retransmission.
    TimedOut,
    /// The process closed the socket before an answer came.
    ClosedByProcess,
    /// The socket sent at least one datagram.
    DatagramSent,
    /// The connection was open, or opening, before the agent was there.
    Existing,
    /// The connect call was seen and no SYN followed: no route, no free port, or another program refused it.
    NoSynSent,
    /// The outcome event was refused by a full buffer, or never came; nothing is known.
    None,
}

/// Where the kernel dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropPlace {
    /// While the packet still had the opener's socket: its own network namespace, or its veth.
    Opener,
    /// On its way through the node (the socket is lost there).
    Node,
}

/// A drop that the kernel reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drop {
    /// Name from the running kernel's `enum skb_drop_reason` without its prefix (`NETFILTER_DROP`).
    pub reason: Arc<str>,
    /// Where.
    pub place: DropPlace,
}

/// What the network did with an attempt, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub state: State,
    /// errno that the process sees (Linux numbers, e.g. 111 ECONNREFUSED), where the kernel set one.
    pub errno: Option<u16>,
    /// SYN retransmissions seen.
    pub syn_retries: Option<u32>,
    /// The drop, when the kernel reported one.
    pub drop: Option<Drop>,
    /// The facts it rests on, in order of value, without repeats.
    pub evidence: SmallVec<[Evidence; 16]>,
}

impl Outcome {
    /// Of an attempt of which nothing more was seen.
    pub fn unknown() -> Self {
        let evidence = SmallVec::from_slice(&[Evidence::None]);
        Self { state: State::Unknown, errno: None, syn_retries: None, drop: None, evidence }
    }

    /// True where the far end's own stack took or refused the packet: no filter stopped it.
    pub fn reached_far_end(&self) -> bool {
        matches!(self.state, State::Established | State::Answered | State::Received)
            || self
                .evidence
                .iter()
                .any(|fact| matches!(fact, Evidence::FarEndNoSocket | Evidence::Accepted | Evidence::Arrived))
    }

    /// True where it was found established: whether it would be let through now was not seen.
    pub fn is_found(&self) -> bool {
        let seen = |fact: &Evidence| matches!(fact, Evidence::Handshake | Evidence::Accepted);
        self.state == State::Established
            && self.evidence.contains(&Evidence::Existing)
            && !self.evidence.iter().any(seen)
    }
}
