//! The JSON line: model values in, one line of bytes out, encoded once and shared by every sink.
//!
//! Pure: no clock, no file, no network. What a line holds is in `native.rs` (flows, losses) and `agent.rs`;
//! what it gives up when it grows too long in `shorten.rs`; why no text can forge a line in `text.rs`.

mod agent;
mod community;
mod edge;
mod errno;
mod fields;
mod finding;
mod json;
mod native;
pub mod read;
mod schema;
mod shared;
mod shorten;
mod text;

pub use agent::{
    Agent, AgentEvent, Attempts, ConfinementState, Counters, Gap, HookCondition, HookState, PinCondition,
    PinState, SinkCounters, SnapshotState, Start, Stop,
};
pub use edge::edge_line;
pub use native::Truncated;
pub use schema::schema;

use crate::model::{Class, Flow, LiveFinding, Loss, Receipts};
use agent::AgentLine;
use bytes::Bytes;
use finding::FindingLine;
use native::{FlowLine, LossLine};
use serde::Serialize;
use shared::Shared;
use shorten::Shortening;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

/// The fields of every kind of line as Markdown tables: the part of `docs/log-format.md` that is not written by
/// hand.
pub fn field_tables() -> String {
    fields::tables(&schema())
}

/// Version of the schema, `v` in every line.
pub const SCHEMA_VERSION: u32 = 1;

/// Most bytes of a line, its newline included: rsyslog's default limit is 8 KiB and it breaks longer ones,
/// CRI-O splits at 8 KiB.
pub const MAX_LINE_BYTES: usize = 7_900;

/// Bytes of the longest beginning, `{"v":1,"seq":18446744073709551615,`.
pub(crate) const MAX_FRONT_BYTES: usize = 34;

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
    /// These keys only.
    Only(BTreeSet<String>),
}

impl Labelling {
    /// Whether a label with this key is shown.
    pub fn keeps(&self, key: &str) -> bool {
        match self {
            Self::AllButNoise => !crate::model::NOISE_LABELS.contains(&key),
            Self::Only(keys) => keys.contains(key),
        }
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

/// A record as every sink writes it, but for its beginning, which holds the sink's own `seq`.
#[derive(Clone, Debug)]
pub struct Line {
    body: Bytes,
    content: Content,
    receipts: Option<Arc<Receipts>>,
}

impl Line {
    /// What follows the beginning, up to and including the newline.
    pub fn body(&self) -> &Bytes {
        &self.body
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
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"v\":{SCHEMA_VERSION},\"seq\":{seq},");
        out.extend_from_slice(&self.body);
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
    buffer: Vec<u8>,
    shared: Shared,
}

impl Encoder {
    /// An encoder for this run's lines.
    pub fn new(run: Run, labelling: Labelling) -> Self {
        Self { run, labelling, buffer: Vec::with_capacity(MAX_LINE_BYTES), shared: Shared::default() }
    }

    /// Encode a flow.
    pub fn flow(&mut self, flow: &Flow) -> Result<Line, EncodeError> {
        let Self { run, labelling, buffer, shared } = self;
        let json = |source| EncodeError::Json { kind: "flow", source };
        buffer.clear();
        shared.append_flow(buffer, flow, run, labelling).map_err(json)?;
        let body = match finished(buffer) {
            Some(body) => body,
            None => fit(buffer, "flow", |short| FlowLine::of(flow, run, labelling, short))?,
        };
        // An existing connection is no attempt.
        let count = if flow.existing { 0 } else { flow.count };
        Ok(Line { body, content: Content::Flow { class: flow.class, count }, receipts: None })
    }

    /// Encode a finding.
    pub fn finding(&mut self, found: &LiveFinding) -> Result<Line, EncodeError> {
        let Self { run, labelling, buffer, .. } = self;
        let body = fit(buffer, "finding", |short| FindingLine::of(found, run, labelling, short))?;
        Ok(Line { body, content: Content::Finding, receipts: None })
    }

    /// Encode a loss.
    pub fn loss(&mut self, loss: &Loss) -> Result<Line, EncodeError> {
        let Self { run, buffer, .. } = self;
        let body = fit(buffer, "loss", |short| LossLine::of(loss, run, short))?;
        Ok(Line { body, content: Content::Loss(Box::new(loss.clone())), receipts: None })
    }

    /// Encode a record about the agent.
    pub fn agent(&mut self, agent: &Agent) -> Result<Line, EncodeError> {
        let Self { run, buffer, .. } = self;
        let body = fit(buffer, "agent", |short| AgentLine::of(agent, run, short))?;
        Ok(Line { body, content: Content::Agent, receipts: None })
    }
}

/// Encode, shortened as far as the limit asks; nearly every line fits as it is.
fn fit<T: Serialize>(
    buffer: &mut Vec<u8>,
    kind: &'static str,
    line: impl Fn(&Shortening) -> T,
) -> Result<Bytes, EncodeError> {
    let mut bytes = 0;
    for short in Shortening::steps() {
        buffer.clear();
        text::append_json(buffer, &line(&short)).map_err(|source| EncodeError::Json { kind, source })?;
        if let Some(body) = finished(buffer) {
            return Ok(body);
        }
        bytes = MAX_FRONT_BYTES.saturating_add(buffer.len());
    }
    Err(EncodeError::TooLong { kind, bytes })
}

/// The body of a line from its JSON object, where it is short enough.
fn finished(buffer: &mut Vec<u8>) -> Option<Bytes> {
    buffer.push(b'\n');
    // The object's opening brace gives way to the beginning that the sink writes.
    let body = buffer.get(1..).unwrap_or_default();
    (MAX_FRONT_BYTES.saturating_add(body.len()) <= MAX_LINE_BYTES).then(|| Bytes::copy_from_slice(body))
}

#[cfg(test)]
pub(crate) mod tests;
