//! What the kernel half counts instead of handing it over, and what it loses first: told to it, and read from it.

use super::attribute::Attributed;
use super::correlate::{Surroundings, Told, Tried};
use super::repeats::Repeats;
use super::{Spine, judge, judged, naming, repeats};
use crate::capture::{Capture, Kind, Repeat};
use crate::model::{Direction, Evidence, Flow};
use jiff::Timestamp;
use std::net::SocketAddr;

impl Spine {
    /// Whether repeats of this may give way when the ring fills up.
    pub(super) fn judge_kind(&mut self, tried: &Tried, flow: &Flow) {
        let Some(kind) = self.judged.see(tried, flow) else { return };
        let class = if tried.taken.is_none() {
            Some(flow.class)
        } else {
            // Behind the address that was dialed stands also what was not taken this time.
            let whole = Tried { taken: None, ..tried.clone() };
            let (view, answers) = self.view_and_answers(tried.last);
            let whole = match view.attribute(&whole) {
                Attributed::Ends(ends) => Some(judge(view.snapshot, answers, &whole, *ends)),
                Attributed::NotYet(_) | Attributed::OutOfScope => None,
            };
            whole.filter(judged::is_good).map(|whole| whole.class)
        };
        self.judged.decide(kind, class);
    }

    /// What the kernel half is to know of kinds.
    pub(super) fn set_judged(&mut self, capture: &mut Capture) {
        for kind in self.judged.take_unwanted() {
            if let Err(error) = capture.forget_judged(&kind) {
                tracing::warn!(%error, "the kernel half takes for allowed what did not go well");
            }
        }
        for (kind, class) in self.judged.take_wanted() {
            if let Err(error) = capture.set_judged(&kind, class) {
                tracing::debug!(%error, "the kernel half does not know this kind to be allowed");
            }
        }
    }

    pub(super) fn forget_judged(&mut self, capture: &mut Capture) {
        self.judged.clear();
        if let Err(error) = capture.forget_all_judged() {
            tracing::warn!(%error, "the kernel half goes by what an earlier snapshot allowed");
        }
    }

    /// What the kernel half counts from now on, and what it tells again.
    pub(super) fn set_repeats(&mut self, capture: &mut Capture, now_ns: u64, now: Timestamp) {
        for repeat in self.repeats.take_unwanted() {
            match capture.tell_repeats(&repeat) {
                Ok(()) => self.repeats.left(&repeat, now_ns),
                Err(error) => tracing::warn!(%error, "the kernel half counts on what it should tell"),
            }
        }
        let mut wanted = self.repeats.take_wanted();
        if !self.correlate.is_calm(now_ns) {
            // An attempt whose handshake was lost would be taken for one that is counted.
            wanted.clear();
        }
        for wanted in wanted {
            match capture.count_repeats(&kind_from(&wanted)) {
                Ok(Some(slot)) => {
                    let open = self.fold.take_open(&wanted.2);
                    for id in &open {
                        self.correlate.release(*id);
                    }
                    self.repeats.begin(wanted, slot, &open, now_ns, now);
                }
                Ok(None) => self.repeats.crowded += 1,
                Err(error) => {
                    self.repeats.crowded += 1;
                    tracing::debug!(%error, "the kernel half cannot count this kind");
                }
            }
        }
    }

    /// What the kernel half has counted since the last look becomes flows.
    pub(super) fn sweep(&mut self, capture: &mut Capture, now_ns: u64, now: Timestamp) {
        let mut flows = Vec::new();
        self.judge_found(now);
        let read = |slot| {
            let counts = capture
                .read_repeats(slot)
                .inspect_err(|error| tracing::warn!(%error, "what the kernel half counted waits to be read"))
                .ok()?;
            let last = capture.wall(counts.last_ns);
            Some((counts, last))
        };
        let free = self.repeats.sweep((now_ns, now), read, &mut flows);
        for slot in free {
            if let Err(error) = capture.release_slot(slot) {
                tracing::warn!(%error, "a slot in which the kernel half counted stays taken");
            }
        }
        self.registry.attempts_out_of_scope.add(std::mem::take(&mut self.repeats.left_out));
        self.fold_repeats(flows, now_ns);
    }

    /// Datagrams after the first that the kernel half has counted since the last look become updates of their flows.
    pub(super) fn count_datagrams(&mut self, capture: &Capture, now_ns: u64, end: bool) {
        let read = |peer: &Repeat| {
            let counts = capture
                .read_peer(peer)
                .inspect_err(|error| tracing::warn!(%error, "datagrams that were counted cannot be read"))
                .ok()??;
            Some((counts, capture.wall(counts.last_ns)))
        };
        let (mut flows, mut written) = (Vec::new(), Vec::new());
        self.exchanged.sweep(now_ns, end, read, &mut flows);
        for flow in flows {
            self.fold.fold_counted(flow, now_ns, &mut written);
        }
        self.record(written);
    }

    pub(super) fn fold_repeats(&mut self, flows: Vec<Flow>, now_ns: u64) {
        let mut written = Vec::new();
        for mut flow in flows {
            if flow.direction == Direction::Ingress {
                self.registry.attempts_seen.add(flow.count);
            }
            self.name_anew(&mut flow, now_ns);
            self.fold.fold_counted(flow, now_ns, &mut written);
        }
        self.record(written);
    }

    /// What was counted in the kernel has the names of now: its attempts were not seen one by one.
    pub(super) fn name_anew(&mut self, flow: &mut Flow, now_ns: u64) {
        let cgroup_id = flow.process.as_ref().map(|process| process.cgroup_id);
        if let (Direction::Egress, Some(cgroup_id), Some(ip)) =
            (flow.direction, cgroup_id, flow.destination.ip)
        {
            let names = self.view(flow.last).names_of(cgroup_id, ip, now_ns);
            flow.names = naming::names_for(&flow.destination, &names);
            flow.destination_whose = self.known.vendors.classify(&flow.destination, None, &flow.names);
        }
    }

    /// A connection whose handshake was counted, and whose close was told.
    pub(super) fn close_counted(&mut self, told: Told, now_ns: u64, now: Timestamp) {
        let Told::ClosedUnannounced { cgroup_id, protocol, local, remote, boot_ns, totals, mut receipts } =
            told
        else {
            return;
        };
        if !receipts.are_news() {
            return;
        }
        let mut flows = Vec::new();
        let kinds = repeats::kinds_of(cgroup_id, protocol, local, remote);
        let counted = kinds
            .iter()
            .any(|kind| self.repeats.close(kind, &totals, &mut receipts, (boot_ns, now), &mut flows));
        if !counted {
            self.correlate.unmatched.outcomes += 1;
        }
        self.fold_repeats(flows, now_ns);
    }

    /// Kinds of which what is declared now makes another flow are told again.
    pub(super) fn judge_repeats(&mut self, now: Timestamp) {
        let mut repeats = std::mem::replace(&mut self.repeats, Repeats::stand_in());
        let (view, answers) = self.view_and_answers(now);
        repeats.judge_anew(|tried| match view.attribute_at(tried, now) {
            Attributed::Ends(ends) => Some(judge(view.snapshot, answers, tried, *ends)),
            Attributed::NotYet(_) | Attributed::OutOfScope => None,
        });
        self.repeats = repeats;
    }

    /// What an agent before has counted is judged by what is known by now.
    pub(super) fn judge_found(&mut self, now: Timestamp) {
        if !self.repeats.has_found() {
            return;
        }
        let mut repeats = std::mem::replace(&mut self.repeats, Repeats::stand_in());
        let (view, answers) = self.view_and_answers(now);
        repeats.judge_found(|tried| match view.attribute_at(tried, now) {
            Attributed::Ends(ends) | Attributed::NotYet(ends) => {
                Some(judge(view.snapshot, answers, tried, *ends))
            }
            Attributed::OutOfScope => None,
        });
        self.repeats = repeats;
    }
}

/// What is kept of a kind that is to be counted.
fn kind_from((repeat, tried, flow): &(Repeat, Tried, Flow)) -> Kind {
    let near = match repeat.direction {
        Direction::Egress => tried.opener.map(|opener| SocketAddr::new(opener.ip(), 0)),
        Direction::Ingress => Some(tried.requested),
    };
    Kind { repeat: *repeat, near, accepted: flow.outcome.evidence.contains(&Evidence::Accepted) }
}
