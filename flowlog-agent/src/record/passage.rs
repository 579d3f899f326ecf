//! What a connection's outcome comes to in formats that ask whether a control let it through. What the policies say is not
//! mixed in, but for the two cases that only both together make.

use crate::model::{Class, Evidence, Flow, Protocol, Severity, State};

/// What became of it, as far as that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It went through.
    Passed,
    /// It went through, and the policies deny it.
    NotEnforced,
    /// It was turned away by a filter, with an answer.
    Rejected,
    /// The kernel reported that a filter dropped it.
    Dropped,
    /// It did not go through, and the policies deny it; no filter was seen at it.
    Blocked,
    /// No filter was seen: it failed for another reason, or was not answered. A time-out alone proves none.
    Unknown,
}

impl Passage {
    pub(super) fn of(flow: &Flow) -> Self {
        let dropped = flow.outcome.evidence.contains(&Evidence::KernelDrop);
        match (flow.class, flow.outcome.state) {
            (Class::PolicyNotEnforced, _) => Self::NotEnforced,
            (_, state) if succeeded(state) == Some(true) => Self::Passed,
            (_, State::Rejected) => Self::Rejected,
            (_, State::Dropped) if dropped => Self::Dropped,
            (Class::DeniedAttempt, _) => Self::Blocked,
            _ => Self::Unknown,
        }
    }

    /// It was kept from going through.
    pub(super) fn is_denied(self) -> bool {
        matches!(self, Self::Rejected | Self::Dropped | Self::Blocked)
    }
}

/// Whether the attempt came to what it was for; none where that is not known, or not yet.
pub(super) fn succeeded(state: State) -> Option<bool> {
    match state {
        State::Established | State::Answered | State::Received => Some(true),
        State::Refused | State::Unreachable | State::Rejected | State::Dropped | State::Aborted => {
            Some(false)
        }
        State::Pending | State::Sent | State::Unknown => None,
    }
}

/// From 1, `info`, to 5, `critical`.
pub(super) fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

/// IANA's keyword, in lower case, and number.
pub(super) fn iana(protocol: Protocol) -> (&'static str, u8) {
    match protocol {
        Protocol::Tcp => ("tcp", 6),
        Protocol::Udp => ("udp", 17),
        Protocol::Sctp => ("sctp", 132),
        Protocol::Icmp => ("icmp", 1),
        Protocol::Icmpv6 => ("ipv6-icmp", 58),
    }
}
