//! The books: what the kernel half saw against what became of it, and every counter as the stop record has it.

use super::Spine;
use crate::capture::KernelCounts;
use crate::model::{LossCause, LossStage};
use crate::record::{Attempts, Counters};
use jiff::Timestamp;

/// What the kernel half saw against what was decoded, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Balance {
    /// Attempts that are not among the registry's yet.
    pub(super) seen: u64,
    /// Attempts that were no event, since their kind is counted.
    pub(super) passed_over: u64,
    /// Attempts whose outcome did not come: lost, once nothing can come any more.
    pub(super) not_seen: u64,
    /// Attempts that gave way.
    pub(super) overload: u64,
    /// Attempts that a full ring refused.
    pub(super) ring_full: u64,
    /// Attempts that were not understood.
    pub(super) unknown_event: u64,
}

impl Spine {
    /// `counts` are of this run.
    pub(super) fn balance(&self, counts: &KernelCounts) -> Balance {
        let kinds = ["attempt", "sent", "sent_to"];
        let unmatched = self.correlate.unmatched;
        let seen = kinds.iter().map(|kind| counts.seen(kind)).sum::<u64>().saturating_sub(unmatched.late);
        let lost: u64 = kinds.iter().map(|kind| counts.lost(kind)).sum();
        let events = self.registry.events.get_all();
        let decoded = kinds.iter().filter_map(|kind| events.get(*kind)).sum::<u64>();
        let decoded = decoded.saturating_sub(unmatched.late);
        let shed = counts.shed.iter().map(|(_, shed)| shed).sum::<u64>();
        // What was passed over is counted at its handshake, or told by another event. What is told that way beyond it had
        // been refused by a full ring, or began before the hooks were attached.
        let told = self.repeats.egress + unmatched.unannounced;
        // Where the kernel half outlives the agent, what is still on its way is the next one's to tell.
        let (passed_over, on_their_way) = match self.ledger {
            None => (counts.passed_over, 0),
            Some(_) => {
                (told.saturating_sub(unmatched.passed_over), unmatched.passed_over.saturating_sub(told))
            }
        };
        let due = (passed_over + unmatched.passed_over).saturating_sub(on_their_way);
        let beyond = told.saturating_sub(due);
        let recovered = beyond.min(lost);
        let all = (seen + shed + passed_over + (beyond - recovered)).saturating_sub(on_their_way);
        Balance {
            seen: all.saturating_sub(unmatched.adopted),
            passed_over,
            not_seen: due.saturating_sub(told),
            overload: shed,
            ring_full: lost - recovered,
            unknown_event: seen.saturating_sub(lost).saturating_sub(decoded),
        }
    }

    /// The books at the end.
    pub(super) fn settle(&mut self, counts: &KernelCounts, now: Timestamp) {
        self.losses.add_kernel(counts, self.losses_told, now);
        let counts = &self.of_this_run(counts);
        let Balance { seen, passed_over, not_seen, overload, ring_full, unknown_event } =
            self.balance(counts);
        self.passed_over = passed_over;
        self.registry.attempts_seen.add(seen);
        self.registry.attempts_lost.add("outcome_not_seen", not_seen);
        if not_seen > 0 {
            let (stage, cause) = (LossStage::Correlate, LossCause::OutcomeNotSeen);
            self.losses.add(stage, cause, "attempt", None, not_seen, now);
        }
        self.registry.attempts_lost.add("overload", overload);
        self.registry.attempts_lost.add("ring_full", ring_full);
        self.registry.attempts_lost.add("unknown_event", unknown_event);
        for (kind, lost) in &counts.lost {
            self.registry.kernel_losses.set(kind, *lost);
        }
        self.registry.kernel_losses.set("cgroup", counts.cgroup_lost);
        self.registry.kernel_losses.set("overload", overload + counts.shed_closes);
        let missed = counts.missed.iter().map(|(_, missed)| missed).sum();
        self.registry.kernel_losses.set("hook_busy", missed);
        self.registry.kernel_losses.set("unreadable", counts.unreadable);
        self.registry.kernel_losses.set("table_full", counts.table_full);
        self.registry.kernel_losses.set("dns_answer", counts.answers_lost);
        self.registry.kernel_losses.set("dns_answer_unreadable", counts.answers_unreadable);
    }

    /// The kernel half's counts without those of the runs before. Where it outlives the agent, what was seen is what was
    /// read, lost and not understood: its own count has what another run read.
    pub(super) fn of_this_run(&self, counts: &KernelCounts) -> KernelCounts {
        let mut own = counts.clone();
        if self.ledger.is_none() {
            return own;
        }
        let before = &self.lost_before;
        let events = self.registry.events.get_all();
        for (kind, lost) in &mut own.lost {
            *lost = lost.saturating_sub(before.lost(kind));
        }
        for (hook, missed) in &mut own.missed {
            *missed = missed.saturating_sub(before.missed(hook));
        }
        for (kind, seen) in &mut own.seen {
            let lost = own.lost.iter().find(|(other, _)| other == kind).map_or(0, |(_, lost)| *lost);
            let not_understood = if *kind == "attempt" { self.not_understood } else { 0 };
            *seen = events.get(*kind).copied().unwrap_or(0) + lost + not_understood;
        }
        own.cgroup_lost = own.cgroup_lost.saturating_sub(before.cgroup_lost);
        own.unreadable = own.unreadable.saturating_sub(before.unreadable);
        own.table_full = own.table_full.saturating_sub(before.table_full);
        for (class, shed) in &mut own.shed {
            *shed = shed.saturating_sub(before.shed(*class));
        }
        own.shed_closes = own.shed_closes.saturating_sub(before.shed_closes);
        own.answers_lost = own.answers_lost.saturating_sub(before.answers_lost);
        own.answers_unreadable = own.answers_unreadable.saturating_sub(before.answers_unreadable);
        own
    }

    pub(super) fn counters(&self) -> Counters {
        let counts = self.registry.read();
        let lost = counts.attempts_lost.values().sum();
        let unmatched = self.correlate.unmatched;
        let mut stages = counts.stages;
        stages.extend(
            [
                ("outcomes_unmatched", unmatched.outcomes),
                ("accepts_paired", unmatched.accepts_paired),
                ("attempts_passed_over", self.passed_over),
                ("attempts_unannounced", unmatched.unannounced),
                ("kinds_counted", u64::try_from(self.repeats.len()).unwrap_or(u64::MAX)),
                ("kinds_crowded", self.repeats.crowded),
                ("repeats_counted", self.repeats.egress + self.repeats.ingress),
                ("replies_dropped", unmatched.replies),
                ("drops_repeated", unmatched.repeats),
                ("flows_folded", self.fold.folded),
                ("closes_unmatched", self.fold.closes_unmatched),
                ("existing_paired", unmatched.existing_paired),
                ("existing_known", unmatched.existing_known),
                ("conntrack_found", self.backends.found),
                ("conntrack_missed", self.backends.missed),
                ("conntrack_spared", self.backends.spared),
                ("waiting_crowded", self.waiting.crowded),
                ("dns_answers", self.naming.read),
                ("dns_answers_refused", self.naming.refused),
                ("dns_answers_unowned", self.naming.unowned),
                ("datagrams_crowded", self.exchanged.crowded),
                ("names_forgotten", self.naming.names.forgotten),
                ("findings_told", self.live.told),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        );
        Counters {
            attempts: Attempts {
                seen: counts.attempts_seen,
                recorded: counts.attempts_recorded,
                lost,
                out_of_scope: counts.attempts_out_of_scope,
                unselected: counts.attempts_unselected,
            },
            events: counts.events,
            kernel_losses: counts.kernel_losses,
            attempts_lost: counts.attempts_lost,
            records: counts.records,
            stages,
            sinks: self.sinks.counters(),
        }
    }
}
