//! Flows for tests.

use super::at;
use crate::model::{
    Basis, Class, Decision, Direction, DirectionVerdict, Evidence, Flow, FlowId, Names, Outcome, Party,
    PolicyRefs, Protocol, Receipts, RoundTrip, State, Tier, Verdict, Whose,
};
use smallvec::smallvec;

/// One connection by TCP to this port that no policy restricted and that was established, told by the opener's node;
/// whose software it is nobody asked.
pub fn flow(source: Party, destination: Party, port: u16) -> Flow {
    Flow {
        id: FlowId(1),
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        icmp: None,
        existing: false,
        count: 1,
        first: at(0),
        last: at(0),
        update: false,
        duration_ns: None,
        bytes_sent: None,
        bytes_received: None,
        datagrams_sent: None,
        datagrams_received: None,
        retransmits: None,
        srtt: RoundTrip::default(),
        connect_ns: None,
        source,
        destination: Party { port: Some(port), ..destination },
        source_whose: Whose::default(),
        destination_whose: Whose::default(),
        names: Names::default(),
        dialed: None,
        process: None,
        verdict: Verdict {
            decision: Decision::Allow,
            egress: side(),
            ingress: side(),
            mixed: None,
            snapshot: 1,
            as_of: at(0),
            stale_since: None,
            settling: false,
            trial: None,
        },
        outcome: Outcome {
            state: State::Established,
            errno: None,
            syn_retries: None,
            drop: None,
            evidence: smallvec![Evidence::Handshake],
        },
        class: Class::Unrestricted,
        attribution: None,
        receipts: Receipts::untracked(),
    }
}

fn side() -> DirectionVerdict {
    DirectionVerdict {
        decision: Decision::Allow,
        basis: Basis::Unselected,
        tier: Some(Tier::Default),
        policies: PolicyRefs::default(),
        reason: None,
    }
}
