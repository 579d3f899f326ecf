//! Pod not known yet: attempts wait a moment for their ends to become known, then go out saying so.
//!
//! The first connect of a pod can come 100 ms before the API shows its address and container.

use super::correlate::{Totals, Tried};
use crate::model::{FlowId, Receipts};
use foldhash::{HashMap, HashMapExt};
use std::collections::VecDeque;
use std::time::Duration;

/// Attempts that wait at a time. One more goes out at once, saying that its pod is not known: it is not lost.
const MOST: usize = 65_536;

/// The stage.
pub(super) struct Waiting {
    patience_ns: u64,
    held: HashMap<FlowId, Tried>,
    order: VecDeque<(u64, FlowId)>,
    /// Attempts that could not wait since too many did.
    pub(super) crowded: u64,
}

impl Waiting {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience_ns: u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX),
            held: HashMap::new(),
            order: VecDeque::new(),
            crowded: 0,
        }
    }

    /// Let an attempt wait; `Err` gives it back where it cannot.
    pub(super) fn hold(&mut self, tried: Box<Tried>, now_ns: u64) -> Result<(), Box<Tried>> {
        if self.patience_ns == 0 || self.held.len() >= MOST {
            self.crowded += u64::from(self.patience_ns > 0);
            return Err(tried);
        }
        let id = tried.id;
        if self.held.contains_key(&id) {
            // An update of one that waits still: one telling is enough, and it keeps its place.
            self.merge(*tried);
            return Ok(());
        }
        self.order.push_back((now_ns.saturating_add(self.patience_ns), id));
        self.held.insert(id, *tried);
        Ok(())
    }

    /// Whether this attempt waits.
    pub(super) fn holds(&self, id: FlowId) -> bool {
        self.held.contains_key(&id)
    }

    /// A connection that waits has closed.
    pub(super) fn close(&mut self, id: FlowId, totals: Totals, receipts: Receipts) {
        if let Some(held) = self.held.get_mut(&id) {
            held.closed = Some(totals);
            held.receipts.add(receipts);
        }
    }

    /// Attempts of which the ring keeps an event from before `sequence`: they cannot wait longer.
    pub(super) fn take_before(&mut self, sequence: u64) -> Vec<Tried> {
        let mut taken = Vec::new();
        while let Some((_, id)) = self.order.front().copied() {
            let oldest = self.held.get(&id).map(|held| held.receipts.oldest());
            if oldest.is_some_and(|oldest| oldest.is_none_or(|oldest| oldest >= sequence)) {
                break;
            }
            self.order.pop_front();
            taken.extend(self.held.remove(&id));
        }
        taken
    }

    /// Attempts whose time is over at `now_ns`.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<Tried> {
        let mut due = Vec::new();
        while let Some((until_ns, id)) = self.order.front().copied() {
            if until_ns > now_ns {
                break;
            }
            self.order.pop_front();
            due.extend(self.held.remove(&id));
        }
        due
    }

    /// Attempts for which `ready` holds by now, in the order in which they came.
    pub(super) fn take_ready(&mut self, ready: impl Fn(&Tried) -> bool) -> Vec<Tried> {
        let held = &mut self.held;
        let mut taken = Vec::new();
        self.order.retain(|(_, id)| {
            let Some(waiting) = held.get(id) else { return false };
            if !ready(waiting) {
                return true;
            }
            taken.extend(held.remove(id));
            false
        });
        taken
    }

    /// Attempts that wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn merge(&mut self, newer: Tried) {
        if let Some(held) = self.held.get_mut(&newer.id) {
            let told_before = held.update;
            let receipts = held.receipts.take();
            *held = newer;
            held.update = told_before;
            held.receipts.add(receipts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::correlate::{Origin, Totals, Tried};
    use super::Waiting;
    use crate::model::{FlowId, Names, Outcome, Protocol, Receipts, State};
    use jiff::Timestamp;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn tried(id: u128, state: State) -> Box<Tried> {
        Box::new(Tried {
            id: FlowId(id),
            origin: Origin::Opener,
            time: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            protocol: Protocol::Tcp,
            cgroup_id: Some(7),
            task: None,
            opener: None,
            requested: "10.0.0.1:80".parse().unwrap(),
            taken: None,
            peer: None,
            names: Names::default(),
            outcome: Outcome {
                state,
                errno: None,
                syn_retries: None,
                drop: None,
                evidence: smallvec::SmallVec::new(),
            },
            connect_ns: None,
            closed: None,
            update: false,
            existing: false,
            unannounced: false,
            untold: false,
            receipts: Receipts::untracked(),
        })
    }

    #[test]
    fn an_attempt_goes_out_when_its_time_is_over_and_not_before() {
        let mut waiting = Waiting::new(Duration::from_secs(2));
        waiting.hold(tried(1, State::Refused), 0).unwrap();
        assert!(waiting.take_due(2 * SECOND - 1).is_empty());
        assert_eq!(waiting.take_due(2 * SECOND).len(), 1);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn an_attempt_whose_pod_appears_goes_out_at_once_and_the_others_stay() {
        let mut waiting = Waiting::new(Duration::from_secs(2));
        waiting.hold(tried(1, State::Refused), 0).unwrap();
        waiting.hold(tried(2, State::Refused), 0).unwrap();
        let ready = waiting.take_ready(|tried| tried.id == FlowId(2));
        assert_eq!(ready.iter().map(|tried| tried.id).collect::<Vec<_>>(), [FlowId(2)]);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting.take_due(9 * SECOND).len(), 1);
    }

    #[test]
    fn what_happens_while_it_waits_is_told_in_one_flow() {
        let mut waiting = Waiting::new(Duration::from_secs(2));
        waiting.hold(tried(1, State::Pending), 0).unwrap();
        let mut settled = tried(1, State::Established);
        settled.update = true;
        waiting.hold(settled, SECOND).unwrap();
        waiting.close(FlowId(1), Totals { bytes_sent: 5, ..Totals::default() }, Receipts::untracked());
        let due = waiting.take_due(2 * SECOND);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].outcome.state, State::Established);
        assert!(!due[0].update, "it was never told before");
        assert_eq!(due[0].closed.unwrap().bytes_sent, 5);
    }

    #[test]
    fn without_patience_nothing_waits() {
        let mut waiting = Waiting::new(Duration::ZERO);
        assert!(waiting.hold(tried(1, State::Refused), 0).is_err());
        assert_eq!(waiting.crowded, 0);
    }
}
