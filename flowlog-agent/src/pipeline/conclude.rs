//! What the facts about one attempt amount to: its outcome. A pure function of what was seen.
//!
//! The rules are those of `docs/log-format.md`, "Outcome": what was never seen is not claimed.

use crate::model::{Drop, Evidence, Outcome, Protocol, State};
use smallvec::{SmallVec, smallvec};

// Linux errno values, the same on every architecture that eBPF runs on.
const EPERM: u16 = 1;
const EACCES: u16 = 13;
const ENETUNREACH: u16 = 101;
const ETIMEDOUT: u16 = 110;
const ECONNREFUSED: u16 = 111;
const EHOSTUNREACH: u16 = 113;

/// How an attempt ended, if it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Not yet.
    #[default]
    Open,
    /// It was established before the agent was there.
    Found,
    /// The opener's handshake completed.
    Established,
    /// The socket closed before that, with this errno.
    Failed(Option<u16>),
    /// A datagram left; nothing more is due.
    Sent,
}

/// Everything that was seen of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How it ended.
    pub(super) end: End,
    /// An error that was reported to the socket, or by the send call.
    pub(super) error: Option<u16>,
    /// An error reached the socket whose number could not be read, or which the process took before that.
    pub(super) error_consumed: bool,
    /// The socket was there before the agent.
    pub(super) existing: bool,
    /// The kernel dropped its packet.
    pub(super) drop: Option<Drop>,
    /// The far end's own stack had no socket for it (same node).
    pub(super) no_socket: bool,
    /// A listener on this node accepted it, or took the datagram.
    pub(super) accepted: bool,
    /// A datagram came to a socket on this node, or a question by ICMP to its stack.
    pub(super) arrived: bool,
    /// A datagram came back.
    pub(super) answered: bool,
    /// SYN retransmissions.
    pub(super) syn_retries: u32,
    /// A SYN is known to have left: its port is known, or it was sent again.
    pub(super) syn_sent: bool,
    /// The time in which a SYN would have been sent again is over.
    pub(super) overdue: bool,
}

impl Facts {
    /// The state, from what is known by now.
    pub(super) fn state(&self, protocol: Protocol) -> State {
        match protocol {
            Protocol::Tcp => self.stream_state(),
            // Of SCTP the packets that open an association are known, not the association.
            Protocol::Udp | Protocol::Sctp | Protocol::Icmp | Protocol::Icmpv6 => self.datagram_state(),
        }
    }

    /// The outcome, from what is known by now.
    pub(super) fn conclude(&self, protocol: Protocol) -> Outcome {
        let state = self.state(protocol);
        Outcome {
            state,
            errno: self.errno(),
            syn_retries: (self.syn_retries > 0).then_some(self.syn_retries),
            drop: self.drop.clone(),
            evidence: self.evidence(protocol, state),
        }
    }

    fn errno(&self) -> Option<u16> {
        match self.end {
            End::Established | End::Found => None,
            End::Failed(Some(errno)) => Some(errno),
            End::Failed(None) | End::Open | End::Sent => self.error,
        }
    }

    fn stream_state(&self) -> State {
        match self.end {
            End::Established | End::Found => State::Established,
            End::Failed(_) => self.failed_state(),
            End::Open | End::Sent if self.accepted => State::Established,
            End::Open | End::Sent if self.drop.is_some() => State::Dropped,
            End::Open | End::Sent if self.no_socket => State::Refused,
            End::Open | End::Sent if self.syn_sent => State::Pending,
            End::Open | End::Sent => State::Unknown,
        }
    }

    fn failed_state(&self) -> State {
        let filtered = self.drop.is_some();
        match self.errno() {
            Some(ECONNREFUSED) if filtered => State::Rejected,
            Some(ECONNREFUSED) => State::Refused,
            // ICMPv6 "administratively prohibited" and "policy" arrive as EACCES, a local filter as EPERM.
            Some(EACCES | EPERM) => State::Rejected,
            Some(EHOSTUNREACH | ENETUNREACH) if filtered => State::Rejected,
            Some(ETIMEDOUT) => State::Dropped,
            Some(_) => State::Unreachable,
            None if self.error_consumed && filtered => State::Rejected,
            None if self.error_consumed => State::Unreachable,
            None if filtered || self.syn_retries > 0 => State::Dropped,
            None if self.syn_sent => State::Aborted,
            None => State::Unknown,
        }
    }

    fn datagram_state(&self) -> State {
        let filtered = self.drop.is_some();
        match self.error {
            Some(ECONNREFUSED) if filtered => State::Rejected,
            Some(ECONNREFUSED) => State::Refused,
            Some(EACCES | EPERM) => State::Rejected,
            Some(_) if filtered => State::Rejected,
            Some(_) => State::Unreachable,
            None if filtered => State::Dropped,
            None if self.no_socket => State::Refused,
            None if self.answered => State::Answered,
            None if self.accepted || self.arrived => State::Received,
            None if self.end == End::Sent => State::Sent,
            None => State::Unknown,
        }
    }

    fn evidence(&self, protocol: Protocol, state: State) -> SmallVec<[Evidence; 16]> {
        let errno = self.errno();
        let refused = errno == Some(ECONNREFUSED);
        let failed = matches!(self.end, End::Failed(_));
        let stream = protocol == Protocol::Tcp;
        let by_process = stream && failed && self.syn_sent && errno.is_none() && !self.error_consumed;
        let gave_up = failed && errno.is_none() && !self.error_consumed && self.drop.is_none();
        let no_syn = stream && !self.syn_sent && (gave_up || (self.end == End::Open && self.overdue));
        let icmp = !refused && errno != Some(EPERM) && (errno.is_some() || self.error_consumed);
        let rows = [
            (self.end == End::Established, Evidence::Handshake),
            (self.answered, Evidence::Answer),
            (self.accepted, Evidence::Accepted),
            (self.arrived && !self.accepted, Evidence::Arrived),
            (self.drop.is_some(), Evidence::KernelDrop),
            (self.no_socket, Evidence::FarEndNoSocket),
            (refused, Evidence::Reset),
            (matches!(state, State::Unreachable | State::Rejected) && icmp, Evidence::IcmpError),
            (errno == Some(ETIMEDOUT), Evidence::TimedOut),
            (self.syn_retries > 0, Evidence::SynRetransmitted),
            (by_process, Evidence::ClosedByProcess),
            (self.end == End::Sent && self.error != Some(EPERM), Evidence::DatagramSent),
            (self.existing, Evidence::Existing),
            (no_syn, Evidence::NoSynSent),
        ];
        let mut evidence = SmallVec::new();
        for (holds, fact) in rows {
            if holds {
                evidence.push(fact);
            }
        }
        if evidence.is_empty() { smallvec![Evidence::None] } else { evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Facts};
    use crate::model::{Drop, DropPlace, Evidence, Protocol, State};

    fn dropped() -> Option<Drop> {
        Some(Drop { reason: "NETFILTER_DROP".into(), place: DropPlace::Node })
    }

    /// Rows of the table "What each case looks like" of the kernel's side (docs/architecture.md).
    #[test]
    fn each_case_is_concluded_from_what_was_seen() {
        use Evidence as E;
        let rows: Vec<(&str, Protocol, Facts, State, Vec<Evidence>)> = vec![
            (
                "handshake",
                Protocol::Tcp,
                Facts { end: End::Established, accepted: true, syn_sent: true, ..Facts::default() },
                State::Established,
                vec![E::Handshake, E::Accepted],
            ),
            (
                "port closed, far end elsewhere",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(111)), ..Facts::default() },
                State::Refused,
                vec![E::Reset],
            ),
            (
                "port closed, far end on this node",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(111)), no_socket: true, ..Facts::default() },
                State::Refused,
                vec![E::FarEndNoSocket, E::Reset],
            ),
            (
                "reject with RST",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(111)), drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop, E::Reset],
            ),
            (
                "reject, ICMP prohibited",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(113)), drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop, E::IcmpError],
            ),
            (
                "reject, ICMP prohibited, error consumed by the process",
                Protocol::Tcp,
                Facts { end: End::Failed(None), error: Some(113), drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop, E::IcmpError],
            ),
            (
                "reject, ICMP prohibited, taken by the process before the kernel half could read it",
                Protocol::Tcp,
                Facts { end: End::Failed(None), error_consumed: true, drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop, E::IcmpError],
            ),
            (
                "drop, first packet",
                Protocol::Tcp,
                Facts { drop: dropped(), syn_sent: true, ..Facts::default() },
                State::Dropped,
                vec![E::KernelDrop],
            ),
            (
                "drop, the process gave up",
                Protocol::Tcp,
                Facts {
                    end: End::Failed(None),
                    drop: dropped(),
                    syn_retries: 2,
                    syn_sent: true,
                    ..Facts::default()
                },
                State::Dropped,
                vec![E::KernelDrop, E::SynRetransmitted, E::ClosedByProcess],
            ),
            (
                "no answer after the first retransmission",
                Protocol::Tcp,
                Facts { syn_retries: 1, syn_sent: true, ..Facts::default() },
                State::Pending,
                vec![E::SynRetransmitted],
            ),
            (
                "no answer, the kernel gave up",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(110)), syn_retries: 6, syn_sent: true, ..Facts::default() },
                State::Dropped,
                vec![E::TimedOut, E::SynRetransmitted],
            ),
            (
                "no neighbour",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(113)), syn_sent: true, ..Facts::default() },
                State::Unreachable,
                vec![E::IcmpError],
            ),
            (
                "closed before an answer",
                Protocol::Tcp,
                Facts { end: End::Failed(None), syn_sent: true, ..Facts::default() },
                State::Aborted,
                vec![E::ClosedByProcess],
            ),
            (
                "no free port, or another program refused it",
                Protocol::Tcp,
                Facts { end: End::Failed(None), ..Facts::default() },
                State::Unknown,
                vec![E::NoSynSent],
            ),
            (
                "no SYN followed",
                Protocol::Tcp,
                Facts { overdue: true, ..Facts::default() },
                State::Unknown,
                vec![E::NoSynSent],
            ),
            (
                "found open",
                Protocol::Tcp,
                Facts { end: End::Found, existing: true, syn_sent: true, ..Facts::default() },
                State::Established,
                vec![E::Existing],
            ),
            (
                "found opening, and refused",
                Protocol::Tcp,
                Facts { end: End::Failed(Some(111)), existing: true, syn_sent: true, ..Facts::default() },
                State::Refused,
                vec![E::Reset, E::Existing],
            ),
            ("nothing seen", Protocol::Tcp, Facts::default(), State::Unknown, vec![E::None]),
            (
                "datagram sent",
                Protocol::Udp,
                Facts { end: End::Sent, ..Facts::default() },
                State::Sent,
                vec![E::DatagramSent],
            ),
            (
                "datagram refused on this node",
                Protocol::Udp,
                Facts { end: End::Sent, error: Some(111), no_socket: true, ..Facts::default() },
                State::Refused,
                vec![E::FarEndNoSocket, E::Reset, E::DatagramSent],
            ),
            (
                "datagram rejected with ICMP port unreachable by a filter",
                Protocol::Udp,
                Facts { end: End::Sent, error: Some(111), drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop, E::Reset, E::DatagramSent],
            ),
            (
                "datagram stopped in the pod's own OUTPUT chain",
                Protocol::Udp,
                Facts { end: End::Sent, error: Some(1), drop: dropped(), ..Facts::default() },
                State::Rejected,
                vec![E::KernelDrop],
            ),
            (
                "datagram that came to a socket",
                Protocol::Udp,
                Facts { arrived: true, ..Facts::default() },
                State::Received,
                vec![E::Arrived],
            ),
            (
                "datagram that came and was taken",
                Protocol::Udp,
                Facts { arrived: true, accepted: true, ..Facts::default() },
                State::Received,
                vec![E::Accepted],
            ),
            (
                "echo by ICMP, answered",
                Protocol::Icmpv6,
                Facts { end: End::Sent, arrived: true, answered: true, ..Facts::default() },
                State::Answered,
                vec![E::Answer, E::Arrived, E::DatagramSent],
            ),
            (
                "association refused by ABORT",
                Protocol::Sctp,
                Facts { end: End::Sent, error: Some(111), ..Facts::default() },
                State::Refused,
                vec![E::Reset, E::DatagramSent],
            ),
            (
                "unconnected datagram dropped",
                Protocol::Udp,
                Facts { drop: dropped(), ..Facts::default() },
                State::Dropped,
                vec![E::KernelDrop],
            ),
        ];
        for (name, protocol, facts, state, evidence) in rows {
            let outcome = facts.conclude(protocol);
            assert_eq!(outcome.state, state, "{name}");
            assert_eq!(outcome.evidence.as_slice(), evidence, "{name}");
        }
    }

    #[test]
    fn an_established_connection_has_no_errno_even_where_an_error_was_reported_before() {
        let facts = Facts { end: End::Established, error: Some(113), ..Facts::default() };
        assert_eq!(facts.conclude(Protocol::Tcp).errno, None);
    }
}
