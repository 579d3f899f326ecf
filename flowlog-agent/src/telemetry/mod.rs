//! flowlog's own log (stderr, never records), the counters of everything seen, folded, lost, and who may ask for them.
//!
//! `board.rs` holds what the spine tells of itself, `metrics.rs` how that is scraped, `process.rs` what the process uses,
//! `server.rs` who answers.

mod board;
mod metrics;
mod process;
mod server;

pub use board::{
    Board, FlowReading, HookReading, KindReading, LossReading, Readings, RingReading, SinkReading,
    SnapshotReading, SpoolReading,
};
pub use server::{Listen, Listeners, ServeError, Server};

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the own log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Why the own log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The format is not one of ours.
    #[error("log format `{0}` is not known: text or json")]
    Format(String),
    /// The level or filter cannot be read.
    #[error(
        "log level `{filter}` cannot be used: {source}; give error, warn, info, debug or trace, or a filter \
         such as info,flowlog::sinks=debug"
    )]
    Level {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A log is set up already.
    #[error("the own log is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(TelemetryError::Format(other.to_owned())),
        }
    }
}

/// Libraries that warn at each try of what the agent tries again and tells once; a filter of its own for one of them counts more.
const QUIET: &str = "rskafka=error";

/// Write the own log to stderr from here on, and what libraries and the kernel half say by way of the `log` crate.
/// `filter` is a level, or a filter by module.
pub fn start_log(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let level = EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|source| TelemetryError::Level { filter: filter.to_owned(), source })?;
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            // Colours belong to a terminal; a log file would keep the escape sequences.
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            log.with_ansi(colours).finish().try_init()?;
        }
        LogFormat::Json => {
            log.json().flatten_event(true).finish().try_init()?;
        }
    }
    Ok(())
}

/// The table of metrics, for `docs/operating.md`.
pub fn metric_table() -> String {
    metrics::table()
}

/// Lets a repeated warning through once per interval, and says how many were held back.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    state: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    last: Option<Instant>,
    count: u64,
}

impl RateLimit {
    /// At most one in so long.
    pub fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::default() }
    }

    /// How many were held back since the last one, where this one may go; nothing where it may not.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        // The numbers in here are whole whatever a thread that held the lock did.
        let mut held = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            held.count = held.count.saturating_add(1);
            return None;
        }
        held.last = Some(now);
        Some(std::mem::take(&mut held.count))
    }
}

/// A number that only grows, counted from any thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Count so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Count one more.
    pub fn one(&self) {
        self.add(1);
    }

    /// What it stands at.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Take over a number that is counted elsewhere (the kernel half's).
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }
}

/// A counter for each of some names that are known when they are counted.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<&'static str, u64>>);

impl Counters {
    /// Count so many more of this name.
    pub fn add(&self, name: &'static str, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = counts.entry(name).or_default();
        *entry = entry.saturating_add(count);
    }

    /// Take over a number that is counted elsewhere.
    pub fn set(&self, name: &'static str, count: u64) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, count);
    }

    /// What all of them stand at.
    pub fn get_all(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        let counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Everything the agent counts. One attempt ends in exactly one of `attempts_recorded`, `attempts_lost`,
/// `attempts_out_of_scope` and `attempts_unselected`.
#[derive(Debug, Default)]
pub struct Registry {
    /// Attempts that the kernel half saw, handed over or not.
    pub attempts_seen: Counter,
    /// Attempts that flow records stand for.
    pub attempts_recorded: Counter,
    /// Attempts lost, by cause.
    pub attempts_lost: Counters,
    /// Attempts that the configuration leaves out.
    pub attempts_out_of_scope: Counter,
    /// Attempts of flows that no output wanted.
    pub attempts_unselected: Counter,
    /// Existing connections that flow records stand for.
    pub existing_recorded: Counter,
    /// Existing connections that the configuration leaves out.
    pub existing_out_of_scope: Counter,
    /// Existing connections of which no record could be made.
    pub existing_lost: Counter,
    /// Existing connections that no output wanted.
    pub existing_unselected: Counter,
    /// Findings that no output wanted.
    pub findings_unselected: Counter,
    /// Events decoded, by kind.
    pub events: Counters,
    /// Events that the kernel half could not hand over, by cause.
    pub kernel_losses: Counters,
    /// Events that could not be decoded.
    pub decode_errors: Counter,
    /// Flows that were folded into one written before.
    pub flows_folded: Counter,
    /// Flows whose pod appeared while they waited.
    pub attributed_late: Counter,
    /// Flows whose pod never appeared.
    pub attributed_never: Counter,
    /// Records made, by kind.
    pub records: Counters,
    /// Records that could not be encoded.
    pub encode_errors: Counter,
    /// Snapshots taken of the cluster.
    pub snapshots: Counter,
    /// Manifests that could not be read, at the last look.
    pub manifest_problems: Counter,
}

/// What everything stood at, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that the kernel half saw.
    pub attempts_seen: u64,
    /// Attempts that flow records stand for.
    pub attempts_recorded: u64,
    /// Attempts lost, by cause.
    pub attempts_lost: BTreeMap<String, u64>,
    /// Attempts that the configuration leaves out.
    pub attempts_out_of_scope: u64,
    /// Attempts of flows that no output wanted.
    pub attempts_unselected: u64,
    /// Events decoded, by kind.
    pub events: BTreeMap<String, u64>,
    /// Events that the kernel half could not hand over, by cause.
    pub kernel_losses: BTreeMap<String, u64>,
    /// Records made, by kind.
    pub records: BTreeMap<String, u64>,
    /// Everything else, by name; zeros included.
    pub stages: BTreeMap<String, u64>,
}

impl Registry {
    /// Read every counter. Those that belong together agree once the stages that count them have stopped.
    pub fn read(&self) -> Counts {
        let stages = [
            ("decode_errors", &self.decode_errors),
            ("existing_recorded", &self.existing_recorded),
            ("existing_out_of_scope", &self.existing_out_of_scope),
            ("existing_lost", &self.existing_lost),
            ("existing_unselected", &self.existing_unselected),
            ("findings_unselected", &self.findings_unselected),
            ("flows_folded", &self.flows_folded),
            ("attributed_late", &self.attributed_late),
            ("attributed_never", &self.attributed_never),
            ("encode_errors", &self.encode_errors),
            ("snapshots", &self.snapshots),
            ("manifest_problems", &self.manifest_problems),
        ];
        Counts {
            attempts_seen: self.attempts_seen.get(),
            attempts_recorded: self.attempts_recorded.get(),
            attempts_lost: self.attempts_lost.get_all(),
            attempts_out_of_scope: self.attempts_out_of_scope.get(),
            attempts_unselected: self.attempts_unselected.get(),
            events: self.events.get_all(),
            kernel_losses: self.kernel_losses.get_all(),
            records: self.records.get_all(),
            stages: stages.into_iter().map(|(name, counter)| (name.to_owned(), counter.get())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_warning_passes_once_an_interval_and_tells_how_many_were_held_back() {
        let limit = RateLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limit.pass(start), Some(0));
        assert_eq!(limit.pass(start + Duration::from_secs(1)), None);
        assert_eq!(limit.pass(start + Duration::from_secs(9)), None);
        assert_eq!(limit.pass(start + Duration::from_secs(10)), Some(2));
        assert_eq!(limit.pass(start + Duration::from_secs(30)), Some(0));
    }

    #[test]
    fn everything_counted_is_in_the_counts() {
        let registry = Registry::default();
        registry.attempts_seen.add(10);
        registry.attempts_recorded.add(7);
        registry.attempts_lost.add("ring_full", 2);
        registry.attempts_out_of_scope.one();
        registry.events.add("attempt", 3);
        registry.events.add("attempt", 5);
        registry.kernel_losses.set("ring_full", 2);
        registry.flows_folded.add(4);
        let counts = registry.read();
        let lost: u64 = counts.attempts_lost.values().sum();
        assert_eq!(counts.attempts_recorded + lost + counts.attempts_out_of_scope, counts.attempts_seen);
        assert_eq!(registry.attempts_lost.sum(), 2);
        assert_eq!(counts.events["attempt"], 8);
        assert_eq!(counts.kernel_losses["ring_full"], 2);
        assert_eq!(counts.stages["flows_folded"], 4);
        assert_eq!(counts.stages["decode_errors"], 0);
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_is_allowed() {
        let error = start_log("flowlog=loud", LogFormat::Text).unwrap_err().to_string();
        assert!(error.starts_with("log level `flowlog=loud` cannot be used: "), "{error}");
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err().to_string(),
            "log format `xml` is not known: text or json"
        );
    }
}
