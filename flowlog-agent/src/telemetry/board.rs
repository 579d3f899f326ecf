//! What the spine tells of itself: plain numbers on a board, put up whole once a second, read by whoever asks.
//!
//! Nobody who reads holds up who writes: a new set of numbers takes the place of the old one.

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the spine says that it goes on, and how it stands.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    /// Milliseconds from `began` to the spine's last turn.
    turned_ms: AtomicU64,
    readings: ArcSwapOption<Readings>,
}

impl Board {
    /// An empty one. The spine's first turn is due from `now` on.
    pub fn new(now: Instant) -> Self {
        Self { began: now, turned_ms: AtomicU64::new(0), readings: ArcSwapOption::empty() }
    }

    /// The spine has turned once more.
    pub fn turn(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        self.turned_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub(super) fn still_for(&self, now: Instant) -> Duration {
        let turned = Duration::from_millis(self.turned_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.began).saturating_sub(turned)
    }

    /// Put up new numbers.
    pub fn post(&self, readings: Readings) {
        self.readings.store(Some(Arc::new(readings)));
    }

    /// The latest; absent until the spine runs.
    pub(super) fn readings(&self) -> Option<Arc<Readings>> {
        self.readings.load_full()
    }
}

/// How everything stands at one moment. Whatever names something is one of few words: of the code, or of the
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Attempts that the kernel half saw.
    pub attempts_seen: u64,
    /// Attempts that flow records stand for.
    pub attempts_recorded: u64,
    /// Attempts that the configuration leaves out.
    pub attempts_out_of_scope: u64,
    /// Attempts of flows that no output wanted.
    pub attempts_unselected: u64,
    /// Attempts lost, by cause.
    pub attempts_lost: BTreeMap<String, u64>,
    /// Attempts that flow records stand for, by class and direction.
    pub flows: Vec<FlowReading>,
    /// Events decoded, by kind.
    pub events: BTreeMap<String, u64>,
    /// Records made, by kind.
    pub records: BTreeMap<String, u64>,
    /// Whatever else the stages count, by name.
    pub stages: BTreeMap<String, u64>,
    /// Losses that were told.
    pub losses: Vec<LossReading>,
    /// Attempts that wait for their pod.
    pub waiting: u64,
    /// Kinds of connections that the kernel half counts.
    pub kinds_counted: u64,
    /// The kernel half's rings.
    pub rings: Vec<RingReading>,
    /// The outputs.
    pub sinks: Vec<SinkReading>,
    /// The hooks.
    pub hooks: Vec<HookReading>,
    /// The cluster as known.
    pub snapshot: SnapshotReading,
    /// The kinds of the cluster that are followed; none where it is read from a folder.
    pub kinds: Vec<KindReading>,
    /// Cgroups that are known as a pod's.
    pub pod_cgroups: u64,
    /// The agent is in a pod itself: there is one at least.
    pub in_pod: bool,
}

/// Attempts of one class and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowReading {
    /// The class, as records have it.
    pub class: &'static str,
    /// The direction, as records have it.
    pub direction: &'static str,
    /// How many.
    pub count: u64,
}

/// A kind of loss, as `loss` records tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossReading {
    /// Where.
    pub stage: String,
    /// Why.
    pub cause: String,
    /// What.
    pub what: &'static str,
    /// Class of the flows, where it was known.
    pub class: Option<&'static str>,
    /// How many.
    pub count: u64,
}

/// A ring of the kernel half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingReading {
    /// What it carries.
    pub ring: &'static str,
    /// The most that waited to be read, of late.
    pub peak_bytes: u64,
    /// What it has room for.
    pub size_bytes: u64,
}

/// An output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkReading {
    /// As the configuration writes it.
    pub sink: String,
    /// Lines that wait.
    pub queue_lines: u64,
    /// Bytes of these.
    pub queue_bytes: u64,
    /// Most lines that may wait.
    pub queue_lines_limit: u64,
    /// Most bytes that may wait.
    pub queue_bytes_limit: u64,
    /// Lines written.
    pub lines: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Attempts that those lines stand for.
    pub attempts: u64,
    /// Attempts of flows that others wanted, and it did not.
    pub unselected: u64,
    /// Lines lost.
    pub lost_lines: u64,
    /// Times that writing, opening or syncing failed.
    pub failures: u64,
    /// Times that it was opened anew.
    pub reopened: u64,
    /// Attempts of lost lines: cause, class, how many.
    pub lost_attempts: Vec<(String, &'static str, u64)>,
    /// Its lines on disk, where they wait there.
    pub spool: Option<SpoolReading>,
}

/// Lines of an output that wait on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolReading {
    /// Lines that wait.
    pub lines: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Most of these.
    pub limit_bytes: u64,
    /// How long the line waits that is to be delivered next, seconds.
    pub oldest_seconds: u64,
    /// Lines delivered.
    pub delivered_lines: u64,
    /// Bytes of these.
    pub delivered_bytes: u64,
    /// Lines that the destination refused for good.
    pub refused_lines: u64,
    /// Lines damaged on disk, or gone from there.
    pub damaged_lines: u64,
    /// Times that delivering failed.
    pub failures: u64,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReading {
    /// Its name.
    pub hook: &'static str,
    /// Whether it observes.
    pub attached: bool,
    /// Nothing works without it, and nobody has switched it off.
    pub missed: bool,
}

/// A kind of the cluster's objects that is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindReading {
    /// Its plural.
    pub kind: &'static str,
    /// Changes come as they are made; absent where it is not served.
    pub in_sync: Option<bool>,
    /// When the API server last said something of it.
    pub heard: Option<Timestamp>,
    /// How often a list or a watch was begun anew, by cause.
    pub restarts: Vec<(&'static str, u64)>,
}

/// The cluster as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotReading {
    /// From 1.
    pub revision: u64,
    /// Whether all of the cluster was read once in this run.
    pub read: bool,
    /// What is not known whole (`names`, `policies`), and why: in the words of the source, which may name anything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<&'static str, String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// Since when it lags behind its source; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Objects by kind.
    pub objects: BTreeMap<String, u64>,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl Readings {
    /// What is missing for the agent to be ready; nothing where it is. A snapshot that lags is none of it: while the
    /// source is away, capture goes on, and records say so. With `why` in the words of the source.
    pub(super) fn missing(&self, why: bool) -> Vec<String> {
        let hooks = self.hooks.iter().filter(|hook| hook.missed);
        let mut missing: Vec<String> =
            hooks.map(|hook| format!("hook {} is not attached", hook.hook)).collect();
        if !self.snapshot.read {
            let told = |(what, because): (&&str, &String)| match why {
                true => format!("{what}: {because}"),
                false => format!("{what}: not read"),
            };
            missing.extend(self.snapshot.missing.iter().map(told));
        }
        if self.in_pod && self.pod_cgroups == 0 {
            missing.push(
                "no cgroup is a pod's, not even this one's: pods have none in the cgroup2 tree".to_owned(),
            );
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_tells_how_long_the_spine_has_not_turned() {
        let start = Instant::now();
        let board = Board::new(start);
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(board.still_for(later(3)), Duration::from_secs(3), "before its first turn, too");
        board.turn(later(3));
        assert_eq!(board.still_for(later(3)), Duration::ZERO);
        assert_eq!(board.still_for(later(10)), Duration::from_secs(7));
        assert_eq!(board.readings(), None);
    }

    #[test]
    fn what_lags_is_ready_and_what_was_never_there_is_not() {
        let now = Timestamp::now();
        let mut readings = Readings::default();
        readings.snapshot.stale_since = Some(now);
        readings.snapshot.missing = [("names", "Pod (10.0.0.1 refused)".to_owned())].into();
        assert_eq!(readings.missing(true), ["names: Pod (10.0.0.1 refused)"]);
        assert_eq!(readings.missing(false), ["names: not read"]);
        readings.snapshot = SnapshotReading {
            revision: 3,
            read: true,
            as_of: Some(now),
            stale_since: Some(now),
            missing: [("policies", "not understood: one policy".to_owned())].into(),
            ..SnapshotReading::default()
        };
        assert!(readings.missing(true).is_empty());
        readings.hooks.push(HookReading { hook: "connect4", attached: false, missed: true });
        readings.hooks.push(HookReading { hook: "packets_in", attached: false, missed: false });
        assert_eq!(readings.missing(false), ["hook connect4 is not attached"]);
    }

    #[test]
    fn an_agent_in_a_pod_that_finds_no_pod_is_not_ready() {
        let snapshot = SnapshotReading { read: true, ..SnapshotReading::default() };
        for (in_pod, pod_cgroups, ready) in
            [(true, 0, false), (true, 1, true), (false, 0, true), (false, 1, true)]
        {
            let readings =
                Readings { in_pod, pod_cgroups, snapshot: snapshot.clone(), ..Readings::default() };
            assert_eq!(readings.missing(false).is_empty(), ready, "{in_pod} {pod_cgroups}");
        }
    }
}
