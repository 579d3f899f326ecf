//! Datagrams after the first: how many went each way between a cgroup and a peer, as the kernel half counts them.
//!
//! A flow was told with its first datagram; what came since is told as an update of it. Nothing is told of a flow of
//! which there was no more than a first datagram and a first answer.

use super::fold;
use crate::capture::{PeerCounts, Repeat};
use crate::model::{Direction, Flow};
use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use std::collections::VecDeque;

/// How often a peer is looked at: well before its silence makes the next datagram a first one.
const EVERY_NS: u64 = 10 * fold::SECOND_NS;
/// Peers that are looked at in one go; a look is a system call of half a microsecond.
const MOST_LOOKS: usize = 8_192;
/// Without a datagram for so long, a peer is forgotten: the next is a first one, and counted from one on.
const QUIET_NS: u64 = 120 * fold::SECOND_NS;
/// Peers at a time; of a kilobyte each.
const MOST: usize = 16_384;

/// What is known of one peer.
struct Counted {
    /// What its updates are told by; stands for nothing itself.
    flow: Flow,
    /// What of the counts was told.
    told: PeerCounts,
    /// More than the first were told of this flow.
    begun: bool,
}

/// The stage.
#[derive(Default)]
pub(super) struct Exchanged {
    known: Option<HashMap<Repeat, Counted>>,
    /// When each is to be looked at, the earliest first.
    due: VecDeque<(u64, Repeat)>,
    /// Flows of which no datagrams are counted, since too many were.
    pub(super) crowded: u64,
}

impl Exchanged {
    /// A flow with this peer was judged; `update` where it had been told before.
    pub(super) fn remember(&mut self, peer: Repeat, update: bool, flow: &Flow, now_ns: u64) {
        let known = self.known.get_or_insert_with(HashMap::new);
        if let Some(counted) = known.get_mut(&peer) {
            if !update {
                // The one before had fallen silent, and was looked at since; the kernel half counts anew.
                counted.told = PeerCounts::default();
                counted.begun = false;
            }
            counted.flow = template(flow);
        } else if known.len() < MOST {
            let told = PeerCounts::default();
            known.insert(peer, Counted { flow: template(flow), told, begun: false });
            self.due.push_back((now_ns.saturating_add(EVERY_NS), peer));
        } else {
            self.crowded += u64::from(!update);
        }
    }

    /// Look at those whose time has come, in the end at all; `read` gives the counts and the time of the latest.
    pub(super) fn sweep(
        &mut self,
        now_ns: u64,
        end: bool,
        read: impl Fn(&Repeat) -> Option<(PeerCounts, Timestamp)>,
        out: &mut Vec<Flow>,
    ) {
        let Some(known) = &mut self.known else { return };
        let looks = if end { self.due.len() } else { MOST_LOOKS.min(self.due.len()) };
        for _ in 0..looks {
            let Some((_, peer)) = self.due.pop_front_if(|(due_ns, _)| end || *due_ns <= now_ns) else {
                return;
            };
            let Some(counted) = known.get_mut(&peer) else { continue };
            let Some((counts, last)) = read(&peer) else {
                known.remove(&peer);
                continue;
            };
            out.extend(counted.take(counts, last));
            if counts.last_ns.saturating_add(QUIET_NS) < now_ns {
                known.remove(&peer);
                continue;
            }
            self.due.push_back((now_ns.saturating_add(EVERY_NS), peer));
        }
    }
}

impl Counted {
    /// What came since it was last told.
    fn take(&mut self, counts: PeerCounts, last: Timestamp) -> Option<Flow> {
        if counts.sent < self.told.sent || counts.received < self.told.received {
            // It gave way, and came again.
            self.told = PeerCounts::default();
        }
        let (sent, received) = (counts.sent - self.told.sent, counts.received - self.told.received);
        if (sent == 0 && received == 0) || (!self.begun && sent <= 1 && received <= 1) {
            return None;
        }
        self.told = counts;
        self.begun = true;
        let (sent, received) = match self.flow.direction {
            Direction::Egress => (sent, received),
            Direction::Ingress => (received, sent),
        };
        let mut flow = self.flow.clone();
        flow.last = flow.last.max(last);
        (flow.datagrams_sent, flow.datagrams_received) = (Some(sent), Some(received));
        Some(flow)
    }
}

/// The flow without anything that it stands for.
fn template(flow: &Flow) -> Flow {
    let mut template = flow.clone();
    fold::clear(&mut template);
    template.update = true;
    template
}
