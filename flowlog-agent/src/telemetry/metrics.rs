//! The metrics: one row each, from which come what is scraped and the table in `docs/operating.md`.
//!
//! Labels have few values, all of the code or of the configuration: no pod, address or name of a policy is among them.

use super::board::{KindReading, Readings, SinkReading, SnapshotReading, SpoolReading};
use super::process::Usage;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one look shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape {
    /// Of the build: what it is, and its version.
    pub(super) build: Vec<(&'static str, &'static str)>,
    /// Since when the spine has not turned.
    pub(super) still_for: Duration,
    /// Connections to this server that were one too many.
    pub(super) refused: u64,
    /// Processor time by stage.
    pub(super) cpu_seconds: BTreeMap<String, f64>,
    /// What the process uses, where the system tells.
    pub(super) usage: Option<Usage>,
    /// What the spine tells; absent until it runs.
    pub(super) readings: Option<Arc<Readings>>,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Only grows.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Is always 1; its labels are what it says.
    Info,
}

/// A number, with a value for each of the metric's labels; an empty one is left out.
struct Sample {
    labels: Vec<Cow<'static, str>>,
    value: f64,
}

/// A metric.
struct Metric {
    /// Without the ending that its kind gives it.
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Scrape) -> Vec<Sample>,
}

/// Every metric. The first sentence of what a row says is its help.
const METRICS: &[Metric] = &[
    Metric {
        name: "flowlog_build",
        kind: Kind::Info,
        labels: &["version", "kernel_half"],
        help: "This build, and the sources of the kernel half in it",
        read: |scrape| {
            vec![Sample {
                labels: scrape.build.iter().map(|(_, value)| (*value).into()).collect(),
                value: 1.0,
            }]
        },
    },
    Metric {
        name: "flowlog_attempts_seen",
        kind: Kind::Counter,
        labels: &[],
        help: "Attempts that the kernel half saw; what is neither recorded, lost, unselected nor out of scope is still open",
        read: |scrape| one(scrape, |readings| readings.attempts_seen),
    },
    Metric {
        name: "flowlog_attempts_recorded",
        kind: Kind::Counter,
        labels: &[],
        help: "Attempts that flow records stand for",
        read: |scrape| one(scrape, |readings| readings.attempts_recorded),
    },
    Metric {
        name: "flowlog_attempts_out_of_scope",
        kind: Kind::Counter,
        labels: &[],
        help: "Attempts that the configuration leaves out",
        read: |scrape| one(scrape, |readings| readings.attempts_out_of_scope),
    },
    Metric {
        name: "flowlog_attempts_unselected",
        kind: Kind::Counter,
        labels: &[],
        help: "Attempts of flows that no output wanted",
        read: |scrape| one(scrape, |readings| readings.attempts_unselected),
    },
    Metric {
        name: "flowlog_attempts_lost",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Attempts that no flow record stands for, by cause, at most: one whose event a full ring refused may be told \
               by a later one, which the stop record knows; it alone has `outcome_not_seen`",
        read: |scrape| many(scrape, |readings| &readings.attempts_lost),
    },
    Metric {
        name: "flowlog_flows",
        kind: Kind::Counter,
        labels: &["class", "direction"],
        help: "Attempts that flow records stand for, or would if an output wanted them, by class as first told, and direction",
        read: |scrape| {
            let flows = scrape.readings.iter().flat_map(|readings| &readings.flows);
            let sample = |flow: &super::board::FlowReading| {
                sample([flow.class.into(), flow.direction.into()], flow.count)
            };
            flows.map(sample).collect()
        },
    },
    Metric {
        name: "flowlog_events",
        kind: Kind::Counter,
        labels: &["kind"],
        help: "Events of the kernel half that were decoded",
        read: |scrape| many(scrape, |readings| &readings.events),
    },
    Metric {
        name: "flowlog_records",
        kind: Kind::Counter,
        labels: &["kind"],
        help: "Lines made, before any output had them",
        read: |scrape| many(scrape, |readings| &readings.records),
    },
    Metric {
        name: "flowlog_losses",
        kind: Kind::Counter,
        labels: &["stage", "cause", "what", "class"],
        help: "What `loss` records tell, but for those of outputs",
        read: |scrape| {
            let losses = scrape.readings.iter().flat_map(|readings| &readings.losses);
            let sample = |loss: &super::board::LossReading| {
                let class = loss.class.unwrap_or_default();
                let labels =
                    [loss.stage.clone().into(), loss.cause.clone().into(), loss.what.into(), class.into()];
                sample(labels, loss.count)
            };
            losses.map(sample).collect()
        },
    },
    Metric {
        name: "flowlog_stage_counts",
        kind: Kind::Counter,
        labels: &["counter"],
        help: "What the stages count, by the names of `stages` in the stop record",
        read: |scrape| many(scrape, |readings| &readings.stages),
    },
    Metric {
        name: "flowlog_waiting_attempts",
        kind: Kind::Gauge,
        labels: &[],
        help: "Attempts that wait for their pod to become known",
        read: |scrape| one(scrape, |readings| readings.waiting),
    },
    Metric {
        name: "flowlog_counted_kinds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Kinds of connections that the kernel half counts instead of handing each over",
        read: |scrape| one(scrape, |readings| readings.kinds_counted),
    },
    Metric {
        name: "flowlog_ring_peak_bytes",
        kind: Kind::Gauge,
        labels: &["ring"],
        help: "The most that waited in a ring of the kernel half before it was drained, in the last 30 to 60 s",
        read: |scrape| rings(scrape, |ring| ring.peak_bytes),
    },
    Metric {
        name: "flowlog_ring_size_bytes",
        kind: Kind::Gauge,
        labels: &["ring"],
        help: "What a ring of the kernel half has room for; with `--pin` half of it is kept for the next agent",
        read: |scrape| rings(scrape, |ring| ring.size_bytes),
    },
    Metric {
        name: "flowlog_sink_queue_lines",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Lines that wait for an output",
        read: |scrape| sinks(scrape, |sink| sink.queue_lines),
    },
    Metric {
        name: "flowlog_sink_queue_bytes",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Bytes of the lines that wait for an output",
        read: |scrape| sinks(scrape, |sink| sink.queue_bytes),
    },
    Metric {
        name: "flowlog_sink_queue_limit_lines",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Most lines that may wait for an output",
        read: |scrape| sinks(scrape, |sink| sink.queue_lines_limit),
    },
    Metric {
        name: "flowlog_sink_queue_limit_bytes",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Most bytes of lines that may wait for an output",
        read: |scrape| sinks(scrape, |sink| sink.queue_bytes_limit),
    },
    Metric {
        name: "flowlog_sink_lines",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Lines that an output has written",
        read: |scrape| sinks(scrape, |sink| sink.lines),
    },
    Metric {
        name: "flowlog_sink_bytes",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Bytes that an output has written",
        read: |scrape| sinks(scrape, |sink| sink.bytes),
    },
    Metric {
        name: "flowlog_sink_attempts",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Attempts that the lines stand for which an output has written",
        read: |scrape| sinks(scrape, |sink| sink.attempts),
    },
    Metric {
        name: "flowlog_sink_unselected_attempts",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Attempts of flows that other outputs wanted, and this one did not",
        read: |scrape| sinks(scrape, |sink| sink.unselected),
    },
    Metric {
        name: "flowlog_sink_lost_lines",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Lines that an output could not take or write",
        read: |scrape| sinks(scrape, |sink| sink.lost_lines),
    },
    Metric {
        name: "flowlog_sink_lost_attempts",
        kind: Kind::Counter,
        labels: &["sink", "cause", "class"],
        help: "Attempts of the lines that an output could not take or write",
        read: |scrape| {
            let sinks = scrape.readings.iter().flat_map(|readings| &readings.sinks);
            let lost = |sink: &SinkReading| {
                let name = sink.sink.clone();
                let sample = |(cause, class, count): &(String, &'static str, u64)| {
                    sample([name.clone().into(), cause.clone().into(), (*class).into()], *count)
                };
                sink.lost_attempts.iter().map(sample).collect::<Vec<_>>()
            };
            sinks.flat_map(lost).collect()
        },
    },
    Metric {
        name: "flowlog_sink_failures",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Times that writing, opening or syncing an output failed",
        read: |scrape| sinks(scrape, |sink| sink.failures),
    },
    Metric {
        name: "flowlog_sink_reopened",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Times that an output's file was opened anew",
        read: |scrape| sinks(scrape, |sink| sink.reopened),
    },
    Metric {
        name: "flowlog_spool_lines",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Lines of an output that wait on disk",
        read: |scrape| spools(scrape, |spool| spool.lines),
    },
    Metric {
        name: "flowlog_spool_bytes",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Bytes of the files in which an output's lines wait",
        read: |scrape| spools(scrape, |spool| spool.bytes),
    },
    Metric {
        name: "flowlog_spool_limit_bytes",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Most bytes of the files in which an output's lines may wait",
        read: |scrape| spools(scrape, |spool| spool.limit_bytes),
    },
    Metric {
        name: "flowlog_spool_oldest_seconds",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "How long the line of an output waits on disk that is to be delivered next",
        read: |scrape| spools(scrape, |spool| spool.oldest_seconds),
    },
    Metric {
        name: "flowlog_spool_delivered_lines",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Lines that an output has delivered from disk",
        read: |scrape| spools(scrape, |spool| spool.delivered_lines),
    },
    Metric {
        name: "flowlog_spool_delivered_bytes",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Bytes that an output has delivered from disk",
        read: |scrape| spools(scrape, |spool| spool.delivered_bytes),
    },
    Metric {
        name: "flowlog_spool_refused_lines",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Lines from disk that an output's destination refused for good",
        read: |scrape| spools(scrape, |spool| spool.refused_lines),
    },
    Metric {
        name: "flowlog_spool_damaged_lines",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Lines of an output that were damaged on disk, or gone from there",
        read: |scrape| spools(scrape, |spool| spool.damaged_lines),
    },
    Metric {
        name: "flowlog_spool_failures",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Times that delivering an output's lines from disk failed",
        read: |scrape| spools(scrape, |spool| spool.failures),
    },
    Metric {
        name: "flowlog_hook_attached",
        kind: Kind::Gauge,
        labels: &["hook"],
        help: "1 where a hook observes, 0 where it is switched off or this kernel has it not",
        read: |scrape| {
            let hooks = scrape.readings.iter().flat_map(|readings| &readings.hooks);
            hooks.map(|hook| sample([hook.hook.into()], u64::from(hook.attached))).collect()
        },
    },
    Metric {
        name: "flowlog_pod_cgroups",
        kind: Kind::Gauge,
        labels: &[],
        help: "Cgroups that are known as a pod's or one of its containers'; 0 where pods are not recognised",
        read: |scrape| one(scrape, |readings| readings.pod_cgroups),
    },
    Metric {
        name: "flowlog_snapshot_revision",
        kind: Kind::Gauge,
        labels: &[],
        help: "Revision of the snapshot of the cluster, from 1",
        read: |scrape| one(scrape, |readings| readings.snapshot.revision),
    },
    Metric {
        name: "flowlog_snapshot_taken_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the snapshot of the cluster was taken; old is not stale: it is replaced when something changes",
        read: |scrape| moment(scrape, |snapshot| snapshot.as_of),
    },
    Metric {
        name: "flowlog_snapshot_stale_since_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Since when the snapshot lags behind its source; absent while it does not",
        read: |scrape| moment(scrape, |snapshot| snapshot.stale_since),
    },
    Metric {
        name: "flowlog_snapshot_objects",
        kind: Kind::Gauge,
        labels: &["kind"],
        help: "Objects in the snapshot of the cluster",
        read: |scrape| many(scrape, |readings| &readings.snapshot.objects),
    },
    Metric {
        name: "flowlog_snapshot_problems",
        kind: Kind::Gauge,
        labels: &[],
        help: "Objects and files that could not be read; `/debug/snapshot` names them",
        read: |scrape| {
            one(scrape, |readings| u64::try_from(readings.snapshot.problems.len()).unwrap_or(u64::MAX))
        },
    },
    Metric {
        name: "flowlog_watch_in_sync",
        kind: Kind::Gauge,
        labels: &["kind"],
        help: "1 where changes of a kind of objects come as they are made, 0 while they do not; absent where the API server \
               does not serve it",
        read: |scrape| {
            kinds(scrape, |kind| {
                kind.in_sync
                    .map(|in_sync| sample([kind.kind.into()], u64::from(in_sync)))
                    .into_iter()
                    .collect()
            })
        },
    },
    Metric {
        name: "flowlog_watch_heard_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["kind"],
        help: "When the API server last said something of a kind: a change, or the bookmark that it sends each minute",
        read: |scrape| {
            kinds(scrape, |kind| {
                let heard = kind.heard.filter(|_| kind.in_sync.is_some());
                let sample = |time| Sample { labels: vec![kind.kind.into()], value: seconds(time) };
                heard.map(sample).into_iter().collect()
            })
        },
    },
    Metric {
        name: "flowlog_watch_restarts",
        kind: Kind::Counter,
        labels: &["kind", "cause"],
        help: "Times that a list or watch of a kind was begun anew; `ended`: in its time, each 5 to 10 minutes",
        read: |scrape| {
            kinds(scrape, |kind| {
                let sample = |(cause, count): &(&'static str, u64)| {
                    sample([kind.kind.into(), (*cause).into()], *count)
                };
                kind.restarts.iter().map(sample).collect()
            })
        },
    },
    Metric {
        name: "flowlog_stage_cpu_seconds",
        kind: Kind::Counter,
        labels: &["stage"],
        help: "Processor time by the stage that a thread works for; `spine` is all from the ring to the line",
        read: |scrape| {
            let stages = scrape.cpu_seconds.iter();
            stages
                .map(|(stage, seconds)| Sample { labels: vec![stage.clone().into()], value: *seconds })
                .collect()
        },
    },
    Metric {
        name: "flowlog_spine_still_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "For how long the spine has not turned; `/livez` fails from 10 on",
        read: |scrape| vec![Sample { labels: Vec::new(), value: scrape.still_for.as_secs_f64() }],
    },
    Metric {
        name: "flowlog_http_refused",
        kind: Kind::Counter,
        labels: &[],
        help: "Connections to this server that were closed at once, since too many were open",
        read: |scrape| vec![sample([], scrape.refused)],
    },
    Metric {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        labels: &[],
        help: "Processor time of the whole process",
        read: |scrape| usage(scrape, |usage| usage.cpu_seconds),
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory of the process, without the kernel half's",
        read: |scrape| usage(scrape, |usage| number(usage.resident_bytes)),
    },
    Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Open file descriptors",
        read: |scrape| usage(scrape, |usage| number(usage.open_descriptors)),
    },
    Metric {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the process was started, in seconds since 1970",
        read: |scrape| usage(scrape, |usage| usage.started_seconds),
    },
];

/// Exact up to 2^53, as every number of this format is.
fn number(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}

fn sample<const N: usize>(labels: [Cow<'static, str>; N], count: u64) -> Sample {
    Sample { labels: labels.into(), value: number(count) }
}

fn one(scrape: &Scrape, of: fn(&Readings) -> u64) -> Vec<Sample> {
    scrape.readings.iter().map(|readings| sample([], of(readings))).collect()
}

fn many(scrape: &Scrape, of: fn(&Readings) -> &BTreeMap<String, u64>) -> Vec<Sample> {
    let counts = scrape.readings.iter().flat_map(|readings| of(readings));
    counts.map(|(name, count)| sample([name.clone().into()], *count)).collect()
}

fn rings(scrape: &Scrape, of: fn(&super::board::RingReading) -> u64) -> Vec<Sample> {
    let rings = scrape.readings.iter().flat_map(|readings| &readings.rings);
    rings.map(|ring| sample([ring.ring.into()], of(ring))).collect()
}

fn spools(scrape: &Scrape, of: fn(&SpoolReading) -> u64) -> Vec<Sample> {
    let sinks = scrape.readings.iter().flat_map(|readings| &readings.sinks);
    sinks.filter_map(|sink| Some(sample([sink.sink.clone().into()], of(sink.spool.as_ref()?)))).collect()
}

fn sinks(scrape: &Scrape, of: fn(&SinkReading) -> u64) -> Vec<Sample> {
    let sinks = scrape.readings.iter().flat_map(|readings| &readings.sinks);
    sinks.map(|sink| sample([sink.sink.clone().into()], of(sink))).collect()
}

fn kinds(scrape: &Scrape, of: fn(&KindReading) -> Vec<Sample>) -> Vec<Sample> {
    scrape.readings.iter().flat_map(|readings| &readings.kinds).flat_map(of).collect()
}

fn usage(scrape: &Scrape, of: fn(&Usage) -> f64) -> Vec<Sample> {
    scrape.usage.iter().map(|usage| Sample { labels: Vec::new(), value: of(usage) }).collect()
}

fn moment(scrape: &Scrape, of: fn(&SnapshotReading) -> Option<Timestamp>) -> Vec<Sample> {
    let time = scrape.readings.iter().find_map(|readings| of(&readings.snapshot));
    time.map(|time| Sample { labels: Vec::new(), value: seconds(time) }).into_iter().collect()
}

/// Since 1970.
fn seconds(time: Timestamp) -> f64 {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default().as_secs_f64()
}

impl Metric {
    fn encode(&self, scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = (self.read)(scrape);
        if samples.is_empty() {
            return Ok(());
        }
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Info => MetricType::Info,
        };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for sample in samples {
            let named = self.labels.iter().copied().zip(sample.labels.iter().map(Cow::as_ref));
            let labels: Vec<(&str, &str)> = named.filter(|(_, value)| !value.is_empty()).collect();
            match (self.kind, labels.is_empty()) {
                (Kind::Info, _) => family.encode_info(&labels)?,
                (_, true) => self.encode_value(&mut family, sample.value)?,
                (_, false) => self.encode_value(&mut family.encode_family(&labels)?, sample.value)?,
            }
        }
        Ok(())
    }

    fn encode_value(&self, family: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
        match self.kind {
            Kind::Counter => family.encode_counter::<NoLabelSet, f64, f64>(&value, None),
            Kind::Gauge | Kind::Info => family.encode_gauge(&value),
        }
    }

    /// As a scraper stores it.
    fn stored_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge => self.name.to_owned(),
            Kind::Info => format!("{}_info", self.name),
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| metric.encode(self, &mut encoder))
    }
}

/// A form in which a scraper can have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus's own text, 0.0.4: for whoever asks for nothing in particular.
    Text,
}

impl Format {
    /// What an `Accept` header asks for.
    pub(super) fn wanted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` that goes with it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Write all of them out.
pub(super) fn write(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Text => plain(&text),
    })
}

/// In the older text a family has the name of its samples, an info is a gauge, and no end is marked.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 1_024);
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let metric = METRICS.iter().find(|metric| metric.name == name);
                let name = metric.map_or_else(|| name.to_owned(), Metric::stored_name);
                let rest = if (what, rest) == ("TYPE", "info") { "gauge" } else { rest };
                plain.extend(["# ", what, " ", &name, " ", rest]);
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

/// The table of `docs/operating.md`.
pub(super) fn table() -> String {
    let mut text = "| metric | labels | |\n|---|---|---|\n".to_owned();
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!("| `{}` | {} | {} |\n", metric.stored_name(), labels.join(", "), metric.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::board::{FlowReading, HookReading, LossReading, RingReading};
    use super::*;
    use std::collections::BTreeSet;

    fn full() -> Scrape {
        let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
        let readings = Readings {
            attempts_seen: 12,
            attempts_recorded: 7,
            attempts_out_of_scope: 1,
            attempts_unselected: 2,
            attempts_lost: counts("ring_full", 2),
            flows: vec![FlowReading { class: "denied_attempt", direction: "egress", count: 7 }],
            events: counts("attempt", 9),
            records: counts("flow", 5),
            stages: counts("flows_folded", 3),
            losses: vec![LossReading {
                stage: "kernel".to_owned(),
                cause: "ring_full".to_owned(),
                what: "attempt",
                class: None,
                count: 2,
            }],
            waiting: 4,
            kinds_counted: 6,
            rings: vec![RingReading { ring: "events", peak_bytes: 1_024, size_bytes: 8_388_608 }],
            sinks: vec![SinkReading {
                sink: "/var/log/\"odd\"\\file".to_owned(),
                lines: 5,
                lost_attempts: vec![("queue_full".to_owned(), "allowed", 8)],
                spool: Some(SpoolReading::default()),
                ..SinkReading::default()
            }],
            hooks: vec![HookReading { hook: "connect4", attached: true, missed: false }],
            pod_cgroups: 4,
            in_pod: true,
            kinds: vec![KindReading {
                kind: "pods",
                in_sync: Some(true),
                heard: Some(Timestamp::from_millisecond(2_500).unwrap()),
                restarts: vec![("expired", 0), ("ended", 3)],
            }],
            snapshot: SnapshotReading {
                revision: 3,
                read: true,
                missing: BTreeMap::new(),
                as_of: Some(Timestamp::from_millisecond(1_500).unwrap()),
                stale_since: Some(Timestamp::from_second(60).unwrap()),
                objects: counts("pods", 2),
                problems: vec!["one".to_owned()],
            },
        };
        Scrape {
            build: vec![("version", "1.2.3"), ("kernel_half", "abc")],
            still_for: Duration::from_millis(250),
            refused: 0,
            cpu_seconds: BTreeMap::from([("spine".to_owned(), 1.25)]),
            usage: Some(Usage {
                cpu_seconds: 2.0,
                started_seconds: 9.0,
                resident_bytes: 10,
                open_descriptors: 5,
            }),
            readings: Some(Arc::new(readings)),
        }
    }

    #[test]
    fn every_metric_is_written_and_has_the_labels_that_its_row_says() {
        let text = write(full(), Format::OpenMetrics).unwrap();
        for metric in METRICS {
            let samples = (metric.read)(&full());
            assert!(!samples.is_empty(), "{}", metric.name);
            for sample in samples {
                assert_eq!(sample.labels.len(), metric.labels.len(), "{}", metric.name);
            }
            assert!(text.contains(&format!("\n{}", metric.stored_name())), "{} in\n{text}", metric.name);
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(
            text.contains("flowlog_flows_total{class=\"denied_attempt\",direction=\"egress\"} 7.0\n"),
            "{text}"
        );
        assert!(text.contains("sink=\"/var/log/\\\"odd\\\"\\\\file\""), "{text}");
        assert!(
            text.contains(
                "flowlog_losses_total{stage=\"kernel\",cause=\"ring_full\",what=\"attempt\"} 2.0\n"
            )
        );
        assert!(text.contains("flowlog_snapshot_taken_timestamp_seconds 1.5\n"), "{text}");
        for line in [
            "flowlog_watch_in_sync{kind=\"pods\"} 1.0\n",
            "flowlog_watch_heard_timestamp_seconds{kind=\"pods\"} 2.5\n",
            "flowlog_watch_restarts_total{kind=\"pods\",cause=\"expired\"} 0.0\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_older_text_names_families_as_their_samples() {
        let text = write(full(), Format::Text).unwrap();
        assert!(
            text.contains("# TYPE flowlog_attempts_seen_total counter\nflowlog_attempts_seen_total 12.0\n")
        );
        assert!(text.contains("# TYPE flowlog_build_info gauge\nflowlog_build_info{"), "{text}");
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn names_are_given_once_and_nothing_is_said_before_the_spine_runs() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        let text = write(Scrape::default(), Format::OpenMetrics).unwrap();
        assert!(!text.contains("attempts") && text.contains("flowlog_spine_still_seconds"), "{text}");
    }

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::wanted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::wanted("*/*"), Format::Text);
    }

    #[test]
    fn large_counts_keep_their_digits() {
        assert_eq!(number(9_007_199_254_740_991), 9_007_199_254_740_991.0);
        assert_eq!(number(4_294_967_296), 4_294_967_296.0);
    }
}
