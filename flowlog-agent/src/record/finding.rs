//! The structure of a `finding` line: what the agent concluded while it runs, with the flow that shows it.

use super::native::{DialedPart, EndPart, Head, HexId, Moment, ProcessPart, Truncated, is_false};
use super::shorten::Shortening;
use super::{Labelling, Run};
use crate::model::{FindingId, LiveFinding, Severity};
use schemars::JsonSchema;
use serde::Serialize;

/// A conclusion of the agent while it runs: told at first sight, its repeats summed up.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FindingLine")]
pub(super) struct FindingLine<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    finding: FindingPart<'a>,
    /// The opener of the last flow that shows it.
    source: EndPart<'a>,
    /// The listener of that flow.
    destination: EndPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialed: Option<DialedPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessPart<'a>>,
    /// How much the finding matters.
    #[schemars(extend("x-cardinality" = "low"))]
    severity: Severity,
    /// What was left out or shortened to keep the line within its limit, in that order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<Truncated>,
    /// As of a flow.
    #[serde(skip_serializing_if = "is_false")]
    masked: bool,
}

/// What is wrong, with whom, and which flows show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
struct FindingPart<'a> {
    /// What kind of finding; assessments have the same.
    #[schemars(example = &"FL201", extend("x-cardinality" = "low"))]
    id: FindingId,
    /// What it is called.
    #[schemars(extend("x-cardinality" = "low"))]
    title: &'static str,
    /// The same in every line, run and node that tells of the same subject and object: 32 hex digits.
    #[schemars(length(equal = 32), pattern("^[0-9a-f]{32}$"), extend("x-cardinality" = "medium"))]
    fingerprint: &'a str,
    /// Whom it is about.
    #[schemars(example = &"monitoring/Deployment/grafana", extend("x-cardinality" = "medium"))]
    subject: &'a str,
    /// What was reached; absent where it is about the subject alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"payments/StatefulSet/ledger-db :5432/tcp", extend("x-cardinality" = "medium"))]
    object: Option<&'a str>,
    /// Present and true where it was told before in this run: `count` is of what was seen since then.
    #[serde(skip_serializing_if = "is_false")]
    repeat: bool,
    /// Attempts that this line stands for.
    count: u64,
    /// First of them.
    first: Moment,
    /// Last of them.
    last: Moment,
    /// Ids of flows that show it, the first few: `flow.id` of their records.
    flows: Vec<HexId>,
}

impl<'a> FindingLine<'a> {
    pub(super) fn of(
        found: &'a LiveFinding,
        run: &'a Run,
        labelling: &'a Labelling,
        short: &Shortening,
    ) -> Self {
        let flow = &*found.flow;
        let (at_source, at_destination) = flow.containers();
        let mut line = Self {
            head: Head::of("finding", found.last, run, short),
            finding: FindingPart {
                id: found.id,
                title: found.id.title(),
                fingerprint: &found.fingerprint,
                subject: short.words(&found.subject),
                object: found.object.as_deref().map(|object| short.words(object)),
                repeat: found.repeat,
                count: found.count,
                first: Moment(found.first),
                last: Moment(found.last),
                flows: found.flows.iter().map(|id| HexId(*id)).collect(),
            },
            source: EndPart::of(&flow.source, at_source, labelling, short)
                .with_whose(&flow.source_whose, short),
            destination: EndPart::of(&flow.destination, at_destination, labelling, short)
                .with_whose(&flow.destination_whose, short)
                .with_names(&flow.names, short),
            dialed: flow.dialed.as_ref().map(|dialed| DialedPart::of(dialed, short)),
            process: flow.process.as_ref().map(|process| ProcessPart::of(process, short)),
            severity: found.severity,
            truncated: Vec::new(),
            masked: labelling.takes(&flow.source.endpoint) || labelling.takes(&flow.destination.endpoint),
        };
        line.truncated = short.taken();
        line
    }
}
