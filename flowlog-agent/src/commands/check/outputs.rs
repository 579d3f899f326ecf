//! The outputs' part of `flowlog check`: whether each would take lines, step by step.

use super::{Ability, Row};
use crate::commands::selected::requests;
use crate::config::Settings;
use crate::record::Run;
use crate::sinks::{self, Probed, Standing, Step};
use serde::Serialize;

/// What was found of an output.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct OutputPart {
    /// As it is written.
    pub(super) output: String,
    /// Step by step.
    pub(super) rows: Vec<Row>,
}

/// Whose lines they are, where there is none.
const NO_RUN: &str = "check";

/// Looks at every output of these settings.
pub(super) fn look(settings: &Settings) -> anyhow::Result<Vec<OutputPart>> {
    let (node, cluster) = (settings.node.clone(), settings.cluster.clone());
    let run = Run { node, cluster, id: NO_RUN.to_owned() };
    let found = sinks::probe(&requests(settings)?, &run)?;
    Ok(found.into_iter().map(OutputPart::of).collect())
}

impl OutputPart {
    fn of(Probed { to, spooled, steps }: Probed) -> Self {
        Self { output: to, rows: steps.into_iter().map(|step| row(step, spooled)).collect() }
    }

    pub(super) fn ability(&self) -> Ability {
        self.rows.iter().map(Row::ability).max().unwrap_or_default()
    }
}

fn row(Step { name, standing, found, remedy }: Step, spooled: bool) -> Row {
    match standing {
        Standing::Fine => Row::optional(name).ok(found),
        Standing::Doubtful => {
            Row::optional(name).degraded(found, "lines are taken now, and may not be later", remedy)
        }
        Standing::Away if spooled => {
            let without =
                "lines wait on disk until it takes them; those that do not fit are lost, and counted";
            Row::optional(name).missing(found, without, remedy)
        }
        Standing::Away => {
            let without =
                "lines wait in memory until it takes them; those that do not fit are lost, and counted";
            Row::optional(name).missing(found, without, remedy)
        }
        Standing::Unusable => Row::needed(name).missing(found, "the agent is not started", remedy),
    }
}
