//! What is missing from the logs: told where it is missing, and summed up at the end.

use crate::record::row::{AgentRow, LineHead, LossRow, Row};
use hashbrown::HashMap;
use jiff::Timestamp;

/// Gaps of a run that are told where they are. Where there are more the lines were chosen (by class, say) and not lost.
const MOST_GAPS: u32 = 20;

/// What was read of each run and node.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    by_run: HashMap<usize, u32, foldhash::fast::RandomState>,
    /// Of each node the run that was last told of, and when that told its stop.
    nodes: HashMap<Node, (String, Option<Timestamp>), foldhash::fast::RandomState>,
}

/// Its cluster, where that is known, and its name.
type Node = (Option<String>, String);

/// The clusters that were told of, as far as it matters: a node's name says it all where there is one.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    first: Option<Option<String>>,
    several: bool,
}

impl Clusters {
    /// A line of this one.
    pub(super) fn see(&mut self, cluster: Option<&str>) {
        match &self.first {
            Some(first) => self.several |= first.as_deref() != cluster,
            None => self.first = Some(cluster.map(str::to_owned)),
        }
    }

    /// More than one is read.
    pub(super) fn are_several(&mut self) {
        self.several = true;
    }

    /// A node as people know it.
    pub(super) fn name(&self, cluster: Option<&str>, node: &str) -> String {
        match cluster {
            Some(cluster) if self.several => format!("{cluster}/{node}"),
            _ => node.to_owned(),
        }
    }
}

/// A time of which nothing was captured, and what is told of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) from: Timestamp,
    pub(super) text: String,
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
        let node = (head.cluster.as_deref().map(str::to_owned), head.node.to_string());
        self.nodes.entry(node).or_insert_with(|| (head.run.to_string(), None));
    }

    /// A run begins or ends. What nobody observed between two of a node is told; `name` is what it is called, `last` when the
    /// line before was written.
    pub(super) fn turn(
        &mut self,
        row: &Row<'_>,
        agent: &AgentRow<'_>,
        (name, last): (&str, Option<Timestamp>),
    ) -> Option<Cut> {
        let node = (row.cluster.as_deref().map(str::to_owned), row.node.to_string());
        let time = row.time;
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
                    (_, Some(stop)) => Some(Cut {
                        from: stop,
                        text: format!("{name}: nothing was captured from {stop} to {time}"),
                    }),
                    (run, None) => Some(Cut {
                        from: last.unwrap_or(time),
                        text: format!(
                            "{name}: run {run} ended without its stop record; until {time} nothing was captured"
                        ),
                    }),
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
    /// Lines that are missing in the time that is asked for.
    pub(super) missing: u64,
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

    /// Lines are missing in the time that is asked for.
    pub(super) fn miss(&mut self, count: u64) {
        self.missing = self.missing.saturating_add(count);
    }

    /// One of them came late.
    pub(super) fn find(&mut self) {
        self.missing = self.missing.saturating_sub(1);
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
    pub(super) fn finish(&mut self, missing: u64, repeated: u64) -> Vec<String> {
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
            (missing, "line is missing", "lines are missing: lost behind flowlog, or chosen before"),
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
                repeated,
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
