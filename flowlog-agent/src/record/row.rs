//! One record as a row: what a person is shown of it and what filters ask for, its texts borrowed from the line.
//!
//! A line of another format, of a newer schema, or with a part missing is refused, with the reason in words.

mod head;
mod parts;
mod text;

pub use head::LineHead;
pub use parts::{
    AgentRow, AttributionRow, DialedRow, DropRow, EndKindRow, EndRow, FindingRow, FlowRow, GapRow, HookRow,
    LossRow, NameRow, OutcomeRow, PinRow, PolicyRow, ProcessRow, ServiceRow, SideRow, SnapshotRow,
    VerdictRow, WorkloadRow,
};
pub use text::{Pairs, Text};

use super::{Format, SCHEMA_VERSION};
use crate::model::{Class, Severity};
use jiff::Timestamp;
use serde::Deserialize;

/// A record.
#[derive(Clone, Debug, Deserialize)]
pub struct Row<'a> {
    v: u32,
    /// Kind of the record.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// Its number in its run and output.
    #[serde(default)]
    pub seq: Option<u64>,
    /// When it happened.
    pub time: Timestamp,
    /// Whose it is.
    #[serde(borrow)]
    pub node: Text<'a>,
    /// The cluster, where configured.
    #[serde(borrow, default)]
    pub cluster: Option<Text<'a>>,
    /// Run of the agent.
    #[serde(borrow)]
    pub run: Text<'a>,
    /// The attempts; of a flow.
    #[serde(default)]
    pub flow: Option<FlowRow>,
    /// The opener; of a flow and a finding.
    #[serde(borrow, default)]
    pub source: Option<EndRow<'a>>,
    /// The listener; likewise.
    #[serde(borrow, default)]
    pub destination: Option<EndRow<'a>>,
    /// What was asked for, where that is not the destination.
    #[serde(borrow, default)]
    pub dialed: Option<DialedRow<'a>>,
    /// Who opened or accepted.
    #[serde(borrow, default)]
    pub process: Option<ProcessRow<'a>>,
    /// What the policies say; of a flow.
    #[serde(borrow, default)]
    pub verdict: Option<VerdictRow<'a>>,
    /// What the network did; of a flow.
    #[serde(borrow, default)]
    pub outcome: Option<OutcomeRow<'a>>,
    /// Where the two meet; of a flow.
    #[serde(default)]
    pub class: Option<Class>,
    /// How much it matters; of a flow and a finding.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// How the local pod was found.
    #[serde(borrow, default)]
    pub attribution: Option<AttributionRow<'a>>,
    /// What was concluded; of a finding.
    #[serde(borrow, default)]
    pub finding: Option<FindingRow<'a>>,
    /// What was lost; of a loss.
    #[serde(borrow, default)]
    pub loss: Option<LossRow<'a>>,
    /// What was left out or shortened.
    #[serde(borrow, default)]
    pub truncated: Vec<Text<'a>>,
    /// Whether the output left parts out.
    #[serde(default)]
    pub masked: bool,
    /// What happened to the agent; of an `agent` record.
    #[serde(borrow, default)]
    pub agent: Option<AgentRow<'a>>,
}

impl<'a> Row<'a> {
    /// Read a line.
    ///
    /// # Errors
    /// In words: why it is no record that this build reads.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        let row: Self = serde_json::from_slice(line).map_err(|error| refusal(line, &error))?;
        if row.v != SCHEMA_VERSION {
            return Err(format!(
                "of schema version {}: this flowlog reads {SCHEMA_VERSION}, another is needed",
                row.v
            ));
        }
        match row.missing() {
            Some(part) => Err(format!("no record of flowlog: a `{}` without `{part}`", &*row.kind)),
            None => Ok(row),
        }
    }

    /// A part that records of its kind have, and this has not.
    fn missing(&self) -> Option<&'static str> {
        let ends = [("source", self.source.is_some()), ("destination", self.destination.is_some())];
        let parts: &[(&str, bool)] = match &*self.kind {
            "flow" => &[
                ends[0],
                ends[1],
                ("flow", self.flow.is_some()),
                ("verdict", self.verdict.is_some()),
                ("outcome", self.outcome.is_some()),
                ("class", self.class.is_some()),
            ],
            "finding" => &[ends[0], ends[1], ("finding", self.finding.is_some())],
            "loss" => &[("loss", self.loss.is_some())],
            "agent" => &[("agent", self.agent.is_some())],
            _ => &[],
        };
        parts.iter().find(|(_, is_there)| !is_there).map(|(part, _)| *part)
    }

    /// From when on it tells of something; `time` is until when.
    pub fn begins(&self) -> Timestamp {
        let first = self.flow.as_ref().map(|flow| flow.first);
        let first = first.or_else(|| self.finding.as_ref().map(|finding| finding.first));
        let first = first.or_else(|| self.loss.as_ref().map(|loss| loss.first));
        let first = first.or_else(|| Some(self.agent.as_ref()?.gap.as_ref()?.from));
        first.map_or(self.time, |first| first.min(self.time))
    }
}

/// Why a line is none of ours.
fn refusal(line: &[u8], error: &serde_json::Error) -> String {
    let other = [Format::Ecs, Format::Ocsf].into_iter().find(|format| {
        line.get(..format.opening().len()).is_some_and(|opening| opening == format.opening().as_bytes())
    });
    match other {
        Some(format) => format!(
            "in the format `{}`: flowlog's own commands read its own format alone (an output without a format before \
             its place has it)",
            format.as_str()
        ),
        None if error.is_data() => format!("no record of flowlog: {error}"),
        None => format!("not JSON: {error}"),
    }
}

#[cfg(test)]
mod tests;
