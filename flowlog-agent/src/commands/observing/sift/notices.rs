//! What is missing from the logs: told where it is missing, and summed up at the end.

use crate::record::read::Numbers;
use crate::record::row::{AgentRow, LineHead, LossRow, Row};
use hashbrown::HashMap;

/// Gaps of a run that are told where they are. Where there are more the lines were chosen (by class, say) and not lost.
const MOST_GAPS: u32 = 20;

/// What was read of each run and node.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    by_run: HashMap<usize, u32, foldhash::fast::RandomState>,
    /// Of each node the run that was last told of, and whether it told its stop.
    nodes: HashMap<String, (String, Option<String>), foldhash::fast::RandomState>,
}

impl Gaps {
    /// What is to be added where the gap is told; nothing where it is not.
    pub(super) fn find(&mut self, run: usize) -> Option<&'static str> {
        let count = self.by_run.entry(run).or_default();
        *count = count.saturating_add(1);
        match *count {
            MOST_GAPS => Some(" (were lines chosen from it? further gaps of this run are counted alone)"),
            count if count < MOST_GAPS => Some(""),
            _ => None,
        }
    }

    /// The first line of a run of a node.
    pub(super) fn meet(&mut self, head: &LineHead<'_>) {
        self.nodes.entry(head.node.to_string()).or_insert_with(|| (head.run.to_string(), None));
    }

    /// A run begins or ends. What nobody observed between two of a node is told.
    pub(super) fn turn(&mut self, row: &Row<'_>, agent: &AgentRow<'_>) -> Option<String> {
        let (node, time) = (row.node.to_string(), row.time.to_string());
        match &*agent.event {
            "stop" => {
                self.nodes.insert(node, (row.run.to_string(), Some(time)));
                None
            }
            "start" => {
                let before = self.nodes.insert(node, (row.run.to_string(), None))?;
                let observed_on =
                    agent.pin.as_ref().is_some_and(|pin| matches!(&*pin.state, "adopted" | "replaced"));
                match before {
                    (run, _) if *run == *row.run => None,
                    _ if observed_on => None,
                    (_, Some(stop)) => {
                        Some(format!("{}: nothing was captured from {stop} to {time}", &*row.node))
                    }
                    (run, None) => Some(format!(
                        "{}: run {run} ended without its stop record; until {time} nothing was captured",
                        &*row.node
                    )),
                }
            }
            _ => None,
        }
    }
}

/// What was read of all logs.
#[derive(Debug, Default)]
pub(in crate::commands) struct Summary {
    /// Records.
    pub(in crate::commands) lines: u64,
    /// Those that were shown.
    pub(in crate::commands) shown: u64,
    /// Lines of the agents' own logs, beside the records.
    pub(in crate::commands) own_log: u64,
    /// Lines that are no records, and the first of them.
    pub(in crate::commands) refused: u64,
    first: Option<String>,
    problems: Vec<String>,
    /// Attempts that the agents lost, and what else they did.
    lost: (u64, u64),
    pub(in crate::commands) uncaptured: u64,
    pub(in crate::commands) cut_short: u64,
}

impl Summary {
    pub(super) fn refuse(&mut self, what: String) {
        self.refused += 1;
        self.first.get_or_insert(what);
    }

    pub(in crate::commands) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// What is to be told at once.
    pub(in crate::commands) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    pub(super) fn lose(&mut self, loss: &LossRow<'_>) {
        let attempts = matches!(&*loss.what, "attempt" | "sent" | "sent_to" | "flow");
        let lost = if attempts { &mut self.lost.0 } else { &mut self.lost.1 };
        *lost = lost.saturating_add(loss.count);
    }

    /// Nothing was read.
    pub(in crate::commands) fn is_empty(&self) -> bool {
        self.lines == 0 && self.own_log == 0
    }

    /// Nothing of what was given is a record.
    pub(in crate::commands) fn is_foreign(&self) -> bool {
        self.lines == 0 && self.refused > 0
    }

    /// What is to be said.
    pub(super) fn finish(&mut self, numbers: &Numbers) -> Vec<String> {
        let mut said = self.take_problems();
        if let Some(first) = self.first.take() {
            said.push(match self.refused {
                1 => format!("a line is no record: {first}"),
                count => format!("{count} lines are no records; the first: {first}"),
            });
        }
        if self.lines == 0 && self.own_log > 0 {
            said.push(format!(
                "no records among {} lines of the agents' own logs: do they write their records elsewhere (`--output`)?",
                self.own_log
            ));
        }
        for (count, one, several) in [
            (
                numbers.missing(),
                "line is missing",
                "lines are missing: lost behind flowlog, or chosen before",
            ),
            (self.lost.0, "attempt was lost by the agents", "attempts were lost by the agents"),
            (self.lost.1, "more event was lost by the agents", "more events were lost by the agents"),
            (
                self.uncaptured,
                "time without capture is told by the agents",
                "times without capture are told by the agents",
            ),
            (
                self.cut_short,
                "time nothing was captured between two runs",
                "times nothing was captured between two runs",
            ),
            (
                numbers.repeated(),
                "line was there twice, and is shown once",
                "lines were there more than once, and are shown once",
            ),
        ] {
            if count > 0 {
                said.push(format!("{count} {}", if count == 1 { one } else { several }));
            }
        }
        said
    }
}
