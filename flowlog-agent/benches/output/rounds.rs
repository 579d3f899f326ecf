//! Rounds: every way of writing takes all records once in each, one after the other.

use anyhow::{Context, Result, bail};
use flowlog::model::Flow;
use flowlog::record::{Encoder, Format, Formats, Labelling, Run};
use flowlog::sinks::{QueueLimits, Request, Sinks};
use nix::time::ClockId;
use serde_json::{Value, json};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines that are handed over at once, as the spine does after each batch of events.
const BATCH: usize = 256;

/// Lines that may wait: a spine that outran its writer for long would be measured by how the system hands out fresh memory.
const AHEAD: usize = 4_096;

/// Nothing is to be shed.
const LIMITS: QueueLimits = QueueLimits { lines: usize::MAX, bytes: usize::MAX };

/// Records whose values are kept for serde_json: in memory they take ten times what they take as text.
const PLAIN: usize = 10_000;

/// By then the writer is done.
const PATIENCE: Duration = Duration::from_secs(120);

/// A way of writing.
#[derive(Clone, Copy)]
enum Way {
    /// To a line in memory.
    Encoded(Format),
    /// To a file.
    Filed(Format),
    /// To three files, one in each format.
    FiledInAll,
    /// The same values as the lines of this format have, by serde_json.
    Plain(Format),
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Encoded(format) => format!("{}_encoded", format.as_str()),
            Self::Filed(format) => format!("{}_file", format.as_str()),
            Self::FiledInAll => "all_files".to_owned(),
            Self::Plain(format) => format!("{}_serde_json", format.as_str()),
        }
    }
}

/// What was measured.
pub(crate) struct Rounds {
    flows: Vec<Flow>,
    values: Vec<(Format, Vec<Value>)>,
    folder: PathBuf,
    figures: Vec<(Way, Vec<Figure>)>,
}

#[derive(Clone, Copy)]
struct Figure {
    cpu_ns: u64,
    records: u64,
    bytes: u64,
}

impl Figure {
    fn since(cpu_ns_before: u64, records: usize, bytes: usize) -> Result<Self> {
        let cpu_ns = cpu_ns()? - cpu_ns_before;
        Ok(Self { cpu_ns, records: u64::try_from(records)?, bytes: u64::try_from(bytes)? })
    }

    fn a_record_ns(self) -> f64 {
        float(self.cpu_ns) / float(self.records)
    }
}

impl Rounds {
    pub(crate) fn new(flows: Vec<Flow>, folder: &Path, way: Option<&str>) -> Result<Self> {
        let ways = Format::ALL
            .into_iter()
            .flat_map(|format| [Way::Encoded(format), Way::Filed(format), Way::Plain(format)])
            .chain([Way::FiledInAll])
            .filter(|one| way.is_none_or(|way| one.name() == way));
        let figures: Vec<_> = ways.map(|way| (way, Vec::new())).collect();
        if figures.is_empty() {
            bail!("no way of writing is called {}", way.unwrap_or_default());
        }
        let plain = figures.iter().filter_map(|(way, _)| match way {
            Way::Plain(format) => Some(*format),
            _ => None,
        });
        let values = plain.map(|format| values(&flows, format).map(|values| (format, values)));
        let values = values.collect::<Result<_>>()?;
        Ok(Self { flows, values, folder: folder.to_owned(), figures })
    }

    /// One round.
    pub(crate) fn turn(&mut self) -> Result<()> {
        let mut figures = std::mem::take(&mut self.figures);
        for (way, figures) in &mut figures {
            figures.push(match *way {
                Way::Encoded(format) => self.encode(format)?,
                Way::Filed(format) => self.file(&[format])?,
                Way::FiledInAll => self.file(&Format::ALL)?,
                Way::Plain(format) => self.plain(format)?,
            });
        }
        self.figures = figures;
        Ok(())
    }

    fn encode(&self, format: Format) -> Result<Figure> {
        let mut encoder = encoder([format]);
        let before = cpu_ns()?;
        let mut bytes = 0;
        for flow in &self.flows {
            bytes += black_box(encoder.flow(flow)?).body().len();
        }
        Figure::since(before, self.flows.len(), bytes)
    }

    /// Until all is written. What the end of an agent adds once, syncing the file, is not counted in.
    fn file(&self, formats: &[Format]) -> Result<Figure> {
        let paths: Vec<PathBuf> =
            formats.iter().map(|format| self.folder.join(format!("{}.json", format.as_str()))).collect();
        let to = |(format, path): (&Format, &PathBuf)| {
            Request::from(&*format!("{}={}", format.as_str(), path.display()))
        };
        let requests: Vec<Request> = formats.iter().zip(&paths).map(to).collect();
        let mut encoder = encoder(formats.iter().copied());
        let sinks = Sinks::start(&requests, &encoder, LIMITS, None)?;
        let before = cpu_ns()?;
        for flows in self.flows.chunks(BATCH) {
            let lines = flows.iter().map(|flow| encoder.flow(flow)).collect::<Result<Vec<_>, _>>()?;
            sinks.offer(lines);
            if sinks.states().values().any(|state| state.lines > AHEAD) {
                sinks.flush(PATIENCE);
            }
        }
        sinks.flush(PATIENCE);
        let mut figure = Figure::since(before, self.flows.len(), 0)?;
        let counters = sinks.finish(PATIENCE);
        let expected = u64::try_from(self.flows.len())?;
        if counters.values().any(|sink| sink.lines != expected || sink.lost_lines > 0) {
            bail!("not every record was written: {counters:?}");
        }
        paths.iter().try_for_each(fs::remove_file).context("remove what was written")?;
        figure.bytes = counters.values().map(|sink| sink.bytes).sum();
        Ok(figure)
    }

    fn plain(&self, format: Format) -> Result<Figure> {
        let values = self.values.iter().find(|(of, _)| *of == format).context("values of every format")?;
        let (mut bytes, before) = (0, cpu_ns()?);
        for value in &values.1 {
            bytes += black_box(serde_json::to_vec(value)?).len();
        }
        Figure::since(before, values.1.len(), bytes)
    }

    /// The last round, for people.
    pub(crate) fn last(&self) -> String {
        let told = self.figures.iter().filter_map(|(way, figures)| {
            let figure = figures.last()?;
            Some(format!("{} {:.2} us", way.name(), figure.a_record_ns() / 1_000.0))
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// Medians of all rounds.
    pub(crate) fn tell(&self, summary: &mut Value) {
        for (way, figures) in &self.figures {
            let mut spent: Vec<f64> = figures.iter().map(|figure| figure.a_record_ns()).collect();
            spent.sort_by(f64::total_cmp);
            let (Some(median), Some(figure)) = (spent.get(spent.len() / 2), figures.first()) else {
                continue;
            };
            let a_second = (1e9 / median).round();
            let length = float(figure.bytes) / float(figure.records);
            summary[way.name()] = json!({
                "records_per_s": a_second,
                "mb_per_s": (length * 1e3 / median).round(),
                "bytes_per_record": length.round(),
            });
            if matches!(way, Way::Filed(Format::Flowlog)) {
                summary["native_records_per_s"] = json!(a_second);
            }
        }
    }
}

/// As the spine makes it: one encoder for a run.
fn encoder(formats: impl IntoIterator<Item = Format>) -> Encoder {
    let run = Run { node: "worker-0".into(), cluster: Some("production".into()), id: "bench".into() };
    Encoder::new(run, Labelling::default()).in_formats(Formats::of(formats))
}

fn values(flows: &[Flow], format: Format) -> Result<Vec<Value>> {
    let mut encoder = encoder([format]);
    let mut line = Vec::new();
    let some = flows.iter().take(PLAIN).map(|flow| {
        line.clear();
        encoder.flow(flow)?.append_to(1, &mut line);
        Ok(serde_json::from_slice(&line)?)
    });
    some.collect()
}

/// A round's numbers are well below 2^53.
fn float(number: u64) -> f64 {
    let (high, low) = (number >> 32, number & u64::from(u32::MAX));
    let half = |half| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    half(high).mul_add(4_294_967_296.0, half(low))
}

/// CPU time of all threads of this process.
fn cpu_ns() -> Result<u64> {
    let spent = Duration::from(ClockId::CLOCK_PROCESS_CPUTIME_ID.now().context("read the CPU clock")?);
    Ok(u64::try_from(spent.as_nanos())?)
}
