//! The JSON line: model values in, one line of bytes out, encoded once and shared by every sink.
//!
//! Pure: no clock, no file, no network. What a line holds is in `native.rs` (flows, losses) and `agent.rs`;
//! what it gives up when it grows too long in `shorten.rs`; why no text can forge a line in `text.rs`. `ecs.rs` and `ocsf.rs`
//! say the same in the words of others.

mod agent;
mod bodies;
mod community;
mod ecs;
mod edge;
mod errno;
mod fields;
mod finding;
mod format;
mod json;
pub mod mapping;
mod mask;
mod native;
mod ocsf;
mod passage;
pub mod read;
pub mod row;
mod schema;
mod shared;
mod shorten;
mod text;
mod tree;
mod wanted;
mod wrapped;

pub use agent::{
    Agent, AgentEvent, Attempts, ConfinementState, Counters, Gap, HookCondition, HookState, PinCondition,
    PinState, SinkCounters, SnapshotState, SpoolCounters, Start, Stop,
};
pub use edge::edge_line;
pub use format::{Format, Formats};
pub use mask::{Mask, MaskError};
pub use native::Truncated;
pub use schema::schema;
pub use text::escape_line;
pub use wanted::Wanted;
pub use wrapped::{Wrapped, unwrap_line};

use crate::model::{Class, Endpoint, Flow, LiveFinding, Loss, Receipts, Severity, glob};
use agent::AgentLine;
use bodies::{Bodies, Body};
use finding::FindingLine;
use jiff::Timestamp;
use native::{FlowLine, LossLine};
use shared::Shared;
use shorten::Shortening;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The fields of every kind of line as Markdown tables: the part of `docs/log-format.md` that is not written by
/// hand.
pub fn field_tables() -> String {
    fields::tables(&schema())
}

/// What a store is told of the fields.
pub fn mapping(store: mapping::Store) -> String {
    mapping::text(&schema(), store)
}

/// The fields of the formats of others as Markdown tables, likewise.
pub fn format_tables() -> String {
    fields::format_tables()
}

/// Version of the schema, `v` in every line.
pub const SCHEMA_VERSION: u32 = 1;

/// Most bytes of a line, its newline included: rsyslog's default limit is 8 KiB and it breaks longer ones,
/// CRI-O splits at 8 KiB.
pub const MAX_LINE_BYTES: usize = 7_900;

/// Whose lines these are: the same in every line of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Name of the node.
    pub node: String,
    /// Name of the cluster, where configured.
    pub cluster: Option<String>,
    /// Id of this run of the agent.
    pub id: String,
}

/// Which labels of pods and namespaces a record shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Labelling {
    /// All but [`NOISE_LABELS`](crate::model::NOISE_LABELS).
    #[default]
    AllButNoise,
    /// These keys only; `*` stands for any letters.
    Only(BTreeSet<String>),
}

impl Labelling {
    /// Whether a label with this key is shown.
    pub fn keeps(&self, key: &str) -> bool {
        match self {
            Self::AllButNoise => !crate::model::NOISE_LABELS.contains(&key),
            Self::Only(keys) => keys.contains(key) || keys.iter().any(|pattern| glob(pattern, key)),
        }
    }

    /// Whether a list takes something from what stands here, that nobody would take for a number of a roll-out.
    pub(crate) fn takes(&self, endpoint: &Endpoint) -> bool {
        let (Self::Only(_), Some(pod)) = (self, endpoint.as_pod()) else { return false };
        let mut keys = pod.labels.keys().chain(pod.namespace_labels.keys());
        keys.any(|key| !self.keeps(key) && Self::AllButNoise.keeps(key))
    }
}

/// What a line tells, for the sink that may have to count it as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A flow that stands for so many attempts (0: an outcome told later).
    Flow {
        /// Its class: what is shed first goes by it.
        class: Class,
        /// Attempts.
        count: u64,
    },
    /// A finding of the agent's.
    Finding,
    /// A loss; a sink that cannot write it tells it later instead.
    Loss(Box<Loss>),
    /// A record about the agent.
    Agent,
}

impl Content {
    /// Attempts that it stands for.
    pub fn attempts(&self) -> u64 {
        match self {
            Self::Flow { count, .. } => *count,
            Self::Finding | Self::Loss(_) | Self::Agent => 0,
        }
    }
}

/// A record as every sink writes it, but for its beginning, which holds the sink's own `seq`.
#[derive(Clone, Debug)]
pub struct Line {
    body: Body,
    format: Format,
    others: Option<Box<Others>>,
    about: About,
    content: Content,
    receipts: Option<Arc<Receipts>>,
    wanted: Wanted,
}

/// What a sink's protocol says of a record beside the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The record's own `kind`.
    pub kind: &'static str,
    /// The record's own `time`.
    pub time: Timestamp,
    /// How much it matters: a flow's by its class, a finding's own; a loss counts as a denial does.
    pub severity: Severity,
}

/// The same record in the other formats that outputs have.
type Others = [Option<(Format, Body)>; 2];

impl Line {
    /// What follows the beginning, up to and including the newline.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Kind, time and severity.
    pub fn about(&self) -> About {
        self.about
    }

    /// The most bytes that the line takes, with its beginning.
    pub fn max_bytes(&self) -> usize {
        self.body.len().saturating_add(self.format.front_bytes())
    }

    /// A copy in this format alone; in the line's own where it was not encoded in this one.
    #[must_use]
    pub fn to_format(&self, format: Format) -> Self {
        let others = self.others.iter().flat_map(|others| others.iter().flatten());
        let found = others.map(|(other, body)| (*other, body)).find(|(other, _)| *other == format);
        let (format, body) = found.unwrap_or((self.format, &self.body));
        let (about, content, receipts) = (self.about, self.content.clone(), self.receipts.clone());
        let wanted = self.wanted;
        Self { body: body.clone(), format, others: None, about, content, receipts, wanted }
    }

    /// Likewise, and no copy stays behind.
    #[must_use]
    pub fn into_format(self, format: Format) -> Self {
        let Some(others) = self.others else { return self };
        let found = others.into_iter().flatten().find(|(other, _)| *other == format);
        let (format, body) = found.unwrap_or((self.format, self.body));
        let Self { about, content, receipts, wanted, .. } = self;
        Self { body, format, others: None, about, content, receipts, wanted }
    }

    /// The line, for these outputs alone.
    #[must_use]
    pub fn wanted(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    /// Whether this output is to have it.
    pub fn is_wanted_by(&self, output: usize) -> bool {
        self.wanted.is_by(output)
    }

    /// What the line tells.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The line with the duty to tell of these events: they are told when its last copy goes, written or counted as lost.
    #[must_use]
    pub fn with(mut self, receipts: Receipts) -> Self {
        self.receipts = receipts.ledger().is_some().then(|| Arc::new(receipts));
        self
    }

    /// That duty, taken out of the line; absent where there is none, or another copy has it too.
    pub fn take_receipts(self) -> Option<Receipts> {
        Arc::into_inner(self.receipts?)
    }

    /// That duty, where there is one.
    pub fn receipts(&self) -> Option<&Arc<Receipts>> {
        self.receipts.as_ref()
    }

    /// Append the whole line under its number in a sink.
    pub fn append_to(&self, seq: u64, out: &mut Vec<u8>) {
        self.format.begin(seq, out);
        out.extend_from_slice(&self.body);
    }

    /// The line without these parts, which are those of flowlog's own format. A loss, and what tells of the agent, is whole.
    #[must_use]
    pub fn masked(&self, mask: &Mask) -> Self {
        let mut masked = self.clone();
        if matches!(self.content, Content::Flow { .. } | Content::Finding) && self.format == Format::Flowlog {
            let mut rest = Vec::with_capacity(self.body.len());
            mask.append(&self.body, &mut rest);
            masked.body = Arc::new(rest);
        }
        masked
    }
}

/// A record that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Still too long when everything was shortened that may be.
    #[error("a `{kind}` record takes {bytes} bytes shortened, the limit of a line is {MAX_LINE_BYTES}")]
    TooLong {
        /// Kind of the record.
        kind: &'static str,
        /// Bytes of the line, shortened.
        bytes: usize,
    },
    /// serde_json refused a value.
    #[error("a `{kind}` record cannot be written as JSON: {source}")]
    Json {
        /// Kind of the record.
        kind: &'static str,
        /// What it said.
        source: serde_json::Error,
    },
}

/// Makes lines; keeps its buffer from one to the next.
#[derive(Clone, Debug)]
pub struct Encoder {
    run: Run,
    labelling: Labelling,
    formats: Formats,
    buffer: Vec<u8>,
    bodies: Bodies,
    shared: Shared,
}

impl Encoder {
    /// An encoder for this run's lines, in our own format.
    pub fn new(run: Run, labelling: Labelling) -> Self {
        let buffer = Vec::with_capacity(MAX_LINE_BYTES);
        let (bodies, shared) = (Bodies::default(), Shared::default());
        Self { run, labelling, formats: Formats::default(), buffer, bodies, shared }
    }

    /// The same in these formats.
    #[must_use]
    pub fn in_formats(self, formats: impl Into<Formats>) -> Self {
        Self { formats: formats.into(), ..self }
    }

    /// Whose lines these are.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The formats that lines are encoded in.
    pub fn formats(&self) -> Formats {
        self.formats
    }

    /// Take back what these lines were written in, for those to come. What is left of them is the duty to tell, where no other
    /// copy has it.
    pub fn give_back(&self, lines: Vec<Line>) -> Vec<Receipts> {
        let (mut bodies, mut told) = (Vec::with_capacity(lines.len()), Vec::new());
        for Line { body, others, receipts, .. } in lines {
            bodies.push(body);
            bodies.extend(
                others.into_iter().flat_map(|others| others.into_iter().flatten()).map(|(_, body)| body),
            );
            told.extend(receipts.and_then(Arc::into_inner));
        }
        self.bodies.give_back(bodies);
        told
    }

    /// Encode a flow.
    pub fn flow(&mut self, flow: &Flow) -> Result<Line, EncodeError> {
        self.flow_for(flow, self.formats)
    }

    /// The same, in these formats alone.
    pub fn flow_for(&mut self, flow: &Flow, formats: Formats) -> Result<Line, EncodeError> {
        // An existing connection is no attempt.
        let count = if flow.existing { 0 } else { flow.count };
        let about = About { kind: "flow", time: flow.last, severity: flow.class.severity() };
        let content = Content::Flow { class: flow.class, count };
        self.line(about, formats, content, |encoder, format| encoder.flow_in(format, flow))
    }

    fn flow_in(&mut self, format: Format, flow: &Flow) -> Result<Body, EncodeError> {
        let Self { run, labelling, buffer, bodies, shared, .. } = self;
        let with = Encoding { run, labelling };
        match format {
            Format::Flowlog => {
                let json = |source| EncodeError::Json { kind: "flow", source };
                buffer.clear();
                shared.append_flow(buffer, flow, run, labelling).map_err(json)?;
                match finished(buffer, bodies, format) {
                    Some(body) => Ok(body),
                    None => fit((buffer, bodies), format, "flow", |out, short| {
                        json::append(out, &FlowLine::of(flow, run, labelling, short))
                    }),
                }
            }
            Format::Ecs => {
                fit((buffer, bodies), format, "flow", |out, short| ecs::flow(out, flow, with, short))
            }
            Format::Ocsf => {
                fit((buffer, bodies), format, "flow", |out, short| ocsf::flow(out, flow, with, short))
            }
        }
    }

    /// Encode a finding.
    pub fn finding(&mut self, found: &LiveFinding) -> Result<Line, EncodeError> {
        self.finding_for(found, self.formats)
    }

    /// The same, in these formats alone.
    pub fn finding_for(&mut self, found: &LiveFinding, formats: Formats) -> Result<Line, EncodeError> {
        let about = About { kind: "finding", time: found.last, severity: found.severity };
        self.line(about, formats, Content::Finding, |encoder, format| {
            let Self { run, labelling, buffer, bodies, .. } = encoder;
            let with = Encoding { run, labelling };
            match format {
                Format::Flowlog => fit((buffer, bodies), format, "finding", |out, short| {
                    json::append(out, &FindingLine::of(found, run, labelling, short))
                }),
                Format::Ecs => fit((buffer, bodies), format, "finding", |out, short| {
                    ecs::finding(out, found, with, short)
                }),
                Format::Ocsf => fit((buffer, bodies), format, "finding", |out, short| {
                    ocsf::finding(out, found, with, short)
                }),
            }
        })
    }

    /// Encode a loss.
    pub fn loss(&mut self, loss: &Loss) -> Result<Line, EncodeError> {
        let about = About { kind: "loss", time: loss.last, severity: Severity::Medium };
        let content = Content::Loss(Box::new(loss.clone()));
        self.line(about, self.formats, content, |encoder, format| {
            let Self { run, labelling, buffer, bodies, .. } = encoder;
            let with = Encoding { run, labelling };
            match format {
                Format::Flowlog => fit((buffer, bodies), format, "loss", |out, short| {
                    json::append(out, &LossLine::of(loss, run, short))
                }),
                Format::Ecs => {
                    fit((buffer, bodies), format, "loss", |out, short| ecs::loss(out, loss, with, short))
                }
                Format::Ocsf => {
                    fit((buffer, bodies), format, "loss", |out, short| ocsf::loss(out, loss, with, short))
                }
            }
        })
    }

    /// Encode a record about the agent.
    pub fn agent(&mut self, agent: &Agent) -> Result<Line, EncodeError> {
        let about = About { kind: "agent", time: agent.time, severity: Severity::Info };
        self.line(about, self.formats, Content::Agent, |encoder, format| {
            let Self { run, labelling, buffer, bodies, .. } = encoder;
            let with = Encoding { run, labelling };
            match format {
                Format::Flowlog => fit((buffer, bodies), format, "agent", |out, short| {
                    json::append(out, &AgentLine::of(agent, run, short))
                }),
                Format::Ecs => {
                    fit((buffer, bodies), format, "agent", |out, short| ecs::agent(out, agent, with, short))
                }
                Format::Ocsf => {
                    fit((buffer, bodies), format, "agent", |out, short| ocsf::agent(out, agent, with, short))
                }
            }
        })
    }

    /// A record in these formats, once each.
    fn line(
        &mut self,
        about: About,
        formats: Formats,
        content: Content,
        body: impl Fn(&mut Self, Format) -> Result<Body, EncodeError>,
    ) -> Result<Line, EncodeError> {
        let Formats { first: format, more } = formats;
        let body_of_first = body(self, format)?;
        let mut line = Line {
            body: body_of_first,
            format,
            others: None,
            about,
            content,
            receipts: None,
            wanted: Wanted::BY_ALL,
        };
        if more != [None; 2] {
            let mut others = Others::default();
            for (other, format) in others.iter_mut().zip(more) {
                *other = format.map(|format| Ok((format, body(self, format)?))).transpose()?;
            }
            line.others = Some(Box::new(others));
        }
        Ok(line)
    }
}

/// What lines in every format are made with.
#[derive(Clone, Copy)]
struct Encoding<'a> {
    run: &'a Run,
    labelling: &'a Labelling,
}

/// Encode, shortened as far as the limit asks; nearly every line fits as it is.
fn fit(
    (buffer, bodies): (&mut Vec<u8>, &mut Bodies),
    format: Format,
    kind: &'static str,
    append: impl Fn(&mut Vec<u8>, &Shortening) -> Result<(), serde_json::Error>,
) -> Result<Body, EncodeError> {
    let mut bytes = 0;
    for short in Shortening::steps() {
        buffer.clear();
        append(buffer, &short).map_err(|source| EncodeError::Json { kind, source })?;
        text::escape(buffer, 0);
        if let Some(body) = finished(buffer, bodies, format) {
            return Ok(body);
        }
        bytes = format.front_bytes().saturating_add(buffer.len()).saturating_sub(format.opening().len());
    }
    Err(EncodeError::TooLong { kind, bytes })
}

/// The body of a line from its JSON object, where it is short enough.
fn finished(buffer: &mut Vec<u8>, bodies: &mut Bodies, format: Format) -> Option<Body> {
    buffer.push(b'\n');
    // Its opening gives way to the beginning that the sink writes.
    let body = buffer.get(format.opening().len()..).unwrap_or_default();
    (format.front_bytes().saturating_add(body.len()) <= MAX_LINE_BYTES).then(|| bodies.holding(body))
}

#[cfg(test)]
pub(crate) mod tests;
