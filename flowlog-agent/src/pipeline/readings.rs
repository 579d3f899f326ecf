//! What the spine puts on the board for whoever asks over HTTP: its own counts, once a second, and nothing per flow but
//! one addition.

use super::Spine;
use super::books::Balance;
use crate::capture::{Capture, HookStatus, KernelCounts};
use crate::cluster::Snapshot;
use crate::cluster::watch::KindHealth;
use crate::model::{Class, Direction, Loss, LossCause, LossStage};
use crate::record::SnapshotState;
use crate::sinks::{SinkState, SpoolState};
use crate::telemetry::{
    Board, FlowReading, HookReading, KindReading, LossReading, Readings, RingReading, SinkReading,
    SnapshotReading, SpoolReading,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A peak is shown for this many postings at least, and twice as many at most: a scraper that comes twice a minute
/// misses none.
const PEAK_TURNS: u32 = 30;

/// Counts that are kept for the board alone, and what is on it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    board: Option<Arc<Board>>,
    /// Attempts that were told, by place in `Class::ALL`: egress, ingress.
    flows: [[u64; 2]; Class::ALL.len()],
    losses: BTreeMap<LossKey, u64>,
    snapshot: SnapshotReading,
    kinds: Vec<KindReading>,
    /// Attempts seen, at the last posting: what is found out later never makes them fewer.
    seen: u64,
    /// Attempts lost by cause, likewise.
    lost: BTreeMap<String, u64>,
    /// The agent is in a pod itself.
    in_pod: bool,
    peaks: BTreeMap<&'static str, Peak>,
    turns: u32,
}

/// Stage, cause, what and class, as records write them.
type LossKey = (String, String, &'static str, Option<Class>);

/// The highest of late.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    now: u64,
    before: u64,
}

impl Peak {
    fn note(&mut self, value: u64, turn: u32) -> u64 {
        if turn.is_multiple_of(PEAK_TURNS) {
            self.before = std::mem::take(&mut self.now);
        }
        self.now = self.now.max(value);
        self.now.max(self.before)
    }
}

impl Meter {
    pub(super) fn new(board: Option<Arc<Board>>, in_pod: bool) -> Self {
        let lost = ["overload", "ring_full", "unknown_event"].map(|cause| (cause.to_owned(), 0)).into();
        Self { board, in_pod, lost, losses: no_losses(), ..Self::default() }
    }

    /// The spine goes on.
    pub(super) fn turn(&self, now: Instant) {
        if let Some(board) = &self.board {
            board.turn(now);
        }
    }

    /// So many attempts were told.
    pub(super) fn count(&mut self, class: Class, direction: Direction, attempts: u64) {
        let place = Class::ALL.iter().position(|one| *one == class);
        if let Some(counts) = place.and_then(|place| self.flows.get_mut(place)) {
            let [egress, ingress] = counts;
            *match direction {
                Direction::Egress => egress,
                Direction::Ingress => ingress,
            } += attempts;
        }
    }

    /// A loss was told.
    pub(super) fn lose(&mut self, loss: &Loss) {
        let key = (word(&loss.stage), word(&loss.cause), loss.what, loss.class);
        *self.losses.entry(key).or_default() += loss.count;
    }

    /// This is what is judged by.
    pub(super) fn set_snapshot(&mut self, state: &SnapshotState, snapshot: &Snapshot) {
        let reasons = [("policies", snapshot.unread.as_ref()), ("names", snapshot.inventory.incomplete())];
        let missing: BTreeMap<&'static str, String> =
            reasons.into_iter().filter_map(|(what, why)| Some((what, why?.to_string()))).collect();
        // While a kind was never read, the snapshot lags and says what is missing. Without a lag, it is an object that is not
        // understood, and waiting mends nothing.
        let read = missing.is_empty() || state.stale_since.is_none();
        self.snapshot = SnapshotReading {
            revision: state.revision,
            read: self.snapshot.read || read,
            missing,
            as_of: Some(state.as_of),
            stale_since: state.stale_since,
            objects: state.objects.clone(),
            problems: state.problems.clone(),
        };
    }

    /// This is how the cluster's kinds are followed.
    pub(super) fn set_kinds(&mut self, kinds: Vec<KindHealth>) {
        let reading =
            |KindHealth { kind, in_sync, heard, restarts }| KindReading { kind, in_sync, heard, restarts };
        self.kinds = kinds.into_iter().map(reading).collect();
    }

    /// A counter that goes down is taken for one that began anew: what is found out later never makes them fewer.
    fn keep_highest(&mut self, lost: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        for (cause, count) in lost {
            let highest = self.lost.entry(cause).or_default();
            *highest = count.max(*highest);
        }
        self.lost.clone()
    }

    fn flows(&self) -> Vec<FlowReading> {
        let of_class = |(class, counts): (&Class, &[u64; 2])| {
            let class = class.as_str();
            let [egress, ingress] = *counts;
            [("egress", egress), ("ingress", ingress)].map(|(direction, count)| FlowReading {
                class,
                direction,
                count,
            })
        };
        Class::ALL.iter().zip(&self.flows).flat_map(of_class).collect()
    }

    fn losses(&self) -> Vec<LossReading> {
        let reading = |((stage, cause, what, class), count): (&LossKey, &u64)| LossReading {
            stage: stage.clone(),
            cause: cause.clone(),
            what,
            class: class.map(Class::as_str),
            count: *count,
        };
        self.losses.iter().map(reading).collect()
    }
}

/// What an agent that is well may lose of flows, at zero: a rate shows from the first one on. Others come when they do.
fn no_losses() -> BTreeMap<LossKey, u64> {
    let plain = [
        (LossStage::Kernel, LossCause::RingFull, "attempt"),
        (LossStage::Kernel, LossCause::RingFull, "sent"),
        (LossStage::Kernel, LossCause::RingFull, "sent_to"),
        (LossStage::Kernel, LossCause::RingFull, "cgroup"),
        (LossStage::Kernel, LossCause::RingFull, "dns_answer"),
        (LossStage::Kernel, LossCause::TableFull, "sent"),
        (LossStage::Kernel, LossCause::Overload, "closed"),
        (LossStage::Decode, LossCause::UnknownEvent, "event"),
        (LossStage::Restart, LossCause::Killed, "event"),
        (LossStage::Restart, LossCause::OtherLayout, "event"),
    ];
    plain.map(|(stage, cause, what)| ((word(&stage), word(&cause), what, None), 0)).into()
}

/// As records write it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        // Stages and causes are plain words all.
        _ => String::new(),
    }
}

impl Spine {
    /// Put up how everything stands. `counts` are the kernel half's, where they could be read.
    pub(super) fn post(&mut self, capture: &mut Capture, counts: Option<&KernelCounts>) {
        let Some(board) = self.meter.board.clone() else { return };
        self.meter.turns = self.meter.turns.wrapping_add(1);
        let turn = self.meter.turns;
        let rings = capture.take_fills().map(|(ring, waited, size_bytes)| {
            let peak_bytes = self.meter.peaks.entry(ring).or_default().note(waited, turn);
            RingReading { ring, peak_bytes, size_bytes }
        });
        let counters = self.counters();
        let mut attempts_lost = counters.attempts_lost;
        if let Some(counts) = counts {
            let balance = self.balance(&self.of_this_run(counts));
            self.meter.seen = self.meter.seen.max(counters.attempts.seen + balance.seen);
            add_lost(&mut attempts_lost, &balance, self.not_understood);
        }
        let attempts_lost = self.meter.keep_highest(attempts_lost);
        let mut stages = counters.stages;
        // Neither only grows: they have gauges of their own.
        let kinds_counted = stages.remove("kinds_counted").unwrap_or(0);
        stages.remove("manifest_problems");
        // Known at the end alone.
        stages.remove("attempts_passed_over");
        board.post(Readings {
            attempts_seen: self.meter.seen,
            attempts_recorded: counters.attempts.recorded,
            attempts_out_of_scope: counters.attempts.out_of_scope,
            attempts_unselected: counters.attempts.unselected,
            attempts_lost,
            flows: self.meter.flows(),
            events: counters.events,
            records: counters.records,
            stages,
            losses: self.meter.losses(),
            waiting: u64::try_from(self.waiting.len()).unwrap_or(u64::MAX),
            kinds_counted,
            rings: rings.to_vec(),
            sinks: self.sinks.states().into_iter().map(|(name, state)| sink_reading(name, state)).collect(),
            hooks: capture.hooks.iter().map(hook_reading).collect(),
            snapshot: self.meter.snapshot.clone(),
            kinds: self.meter.kinds.clone(),
            pod_cgroups: u64::try_from(self.cgroups.pods()).unwrap_or(u64::MAX),
            in_pod: self.meter.in_pod,
        });
    }
}

/// What was not understood is counted where it is found: in the balance it cannot be told from what the ring still holds.
fn add_lost(lost: &mut BTreeMap<String, u64>, balance: &Balance, not_understood: u64) {
    let found =
        [("overload", balance.overload), ("ring_full", balance.ring_full), ("unknown_event", not_understood)];
    for (cause, count) in found {
        *lost.entry(cause.to_owned()).or_default() += count;
    }
}

fn spool_reading(state: SpoolState) -> SpoolReading {
    SpoolReading {
        lines: state.lines,
        bytes: state.bytes,
        limit_bytes: state.limit_bytes,
        oldest_seconds: state.oldest.as_secs(),
        delivered_lines: state.delivered_lines,
        delivered_bytes: state.delivered_bytes,
        refused_lines: state.refused_lines,
        damaged_lines: state.damaged_lines,
        failures: state.failures,
    }
}

fn sink_reading(sink: String, state: SinkState) -> SinkReading {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let causes = [LossCause::QueueFull, LossCause::WriteFailed, LossCause::Refused];
    let none = causes.into_iter().flat_map(|cause| Class::ALL.iter().map(move |class| ((cause, *class), 0)));
    let mut lost: BTreeMap<(LossCause, Class), u64> = none.collect();
    lost.extend(state.lost_attempts);
    SinkReading {
        sink,
        queue_lines: number(state.lines),
        queue_bytes: number(state.bytes),
        queue_lines_limit: number(state.limits.lines),
        queue_bytes_limit: number(state.limits.bytes),
        lines: state.counters.lines,
        bytes: state.counters.bytes,
        attempts: state.counters.attempts,
        unselected: state.counters.unselected,
        lost_lines: state.counters.lost_lines,
        failures: state.counters.failures,
        reopened: state.counters.reopened,
        spool: state.spool.map(spool_reading),
        lost_attempts: lost
            .into_iter()
            .map(|((cause, class), count)| (word(&cause), class.as_str(), count))
            .collect(),
    }
}

fn hook_reading(state: &crate::capture::HookState) -> HookReading {
    let attached = state.status == HookStatus::Attached;
    let missed = !attached && state.hook.needed && state.status != HookStatus::Off;
    HookReading { hook: state.hook.name, attached, missed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn attempts_are_counted_by_class_and_direction() {
        let mut meter = Meter::default();
        meter.count(Class::DeniedAttempt, Direction::Egress, 3);
        meter.count(Class::DeniedAttempt, Direction::Ingress, 1);
        meter.count(Class::Allowed, Direction::Egress, 5);
        let told: Vec<_> = meter
            .flows()
            .into_iter()
            .filter(|flow| flow.count > 0)
            .map(|flow| (flow.class, flow.direction, flow.count))
            .collect();
        let expected =
            [("denied_attempt", "egress", 3), ("denied_attempt", "ingress", 1), ("allowed", "egress", 5)];
        assert_eq!(told, expected);
        assert_eq!(meter.flows().len(), 18, "zeros, too: a rate is known from the first of a class on");
    }

    #[test]
    fn lost_attempts_never_become_fewer_and_what_waits_in_the_ring_is_none_of_them() {
        let mut meter = Meter::default();
        let lost = |ring_full, unknown_event, not_understood| {
            // 7 events that the ring still holds look like such that were not understood.
            let balance =
                Balance { seen: 0, passed_over: 0, not_seen: 0, overload: 0, ring_full, unknown_event };
            let mut lost = BTreeMap::new();
            add_lost(&mut lost, &balance, not_understood);
            lost
        };
        let told = |lost: &BTreeMap<String, u64>| (lost["ring_full"], lost["unknown_event"]);
        assert_eq!(told(&meter.keep_highest(lost(5, 7, 0))), (5, 0));
        assert_eq!(told(&meter.keep_highest(lost(3, 0, 2))), (5, 2), "two refused ones are told by others");
        assert_eq!(told(&meter.keep_highest(lost(6, 1, 2))), (6, 2));
    }

    #[test]
    fn what_may_be_lost_is_there_before_the_first_loss() {
        let mut meter = Meter::new(None, false);
        assert_eq!(
            meter.keep_highest(BTreeMap::new()).get("ring_full"),
            Some(&0),
            "at the first posting, too"
        );
        let told = meter.losses();
        let ring_full = |what| {
            let mut one = told.iter().filter(|loss| loss.cause == "ring_full" && loss.what == what);
            one.next().map(|loss| loss.count)
        };
        assert_eq!((ring_full("attempt"), ring_full("dns_answer")), (Some(0), Some(0)), "{told:#?}");
        let state = SinkState::default();
        let lost = sink_reading("stdout".to_owned(), state).lost_attempts;
        assert!(lost.contains(&("queue_full".to_owned(), "denied_attempt", 0)), "{lost:?}");
    }

    #[test]
    fn losses_add_up_under_the_words_of_their_records() {
        let mut meter = Meter::default();
        let now = Timestamp::UNIX_EPOCH;
        let loss = Loss {
            stage: LossStage::Kernel,
            cause: LossCause::RingFull,
            what: "attempt",
            class: Some(Class::Allowed),
            count: 2,
            first: now,
            last: now,
        };
        meter.lose(&loss);
        meter.lose(&loss);
        let told = meter.losses();
        assert_eq!(told.len(), 1);
        assert_eq!(
            (&*told[0].stage, &*told[0].cause, told[0].class),
            ("kernel", "ring_full", Some("allowed"))
        );
        assert_eq!(told[0].count, 4);
    }

    #[test]
    fn a_peak_is_shown_for_half_a_minute_at_least() {
        let mut peak = Peak::default();
        assert_eq!(peak.note(900, 29), 900);
        for turn in 30..60 {
            assert_eq!(peak.note(5, turn), 900, "{turn}");
        }
        assert_eq!(peak.note(4, 60), 5);
    }
}
