//! Whether outputs would take lines: each is looked at or spoken to as its writer would, and no line is sent.

use super::{Opening, Request, SinkError, kind_of, spool, validate};
use crate::record::Run;

/// What was found of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The output as written.
    pub to: String,
    /// Whether its lines wait on disk while it does not take them.
    pub spooled: bool,
    /// What was looked at, in order. Where one stands in the way of those that follow, it is the last.
    pub steps: Vec<Step>,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What: `name`, `connection`, `tls`, …
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// How to mend it; empty where nothing is to be mended.
    pub remedy: String,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should.
    Fine,
    /// Lines are taken, and may not be for long.
    Doubtful,
    /// Lines are not taken now. The agent runs, and they wait.
    Away,
    /// The agent is not started with this output.
    Unusable,
}

impl Step {
    pub(super) fn fine(name: &'static str, found: String) -> Self {
        Self { name, standing: Standing::Fine, found, remedy: String::new() }
    }

    pub(super) fn doubtful(name: &'static str, found: String, remedy: impl Into<String>) -> Self {
        Self { name, standing: Standing::Doubtful, found, remedy: remedy.into() }
    }

    pub(super) fn away(name: &'static str, found: String, remedy: impl Into<String>) -> Self {
        Self { name, standing: Standing::Away, found, remedy: remedy.into() }
    }

    pub(super) fn unusable(name: &'static str, found: String, remedy: impl Into<String>) -> Self {
        Self { name, standing: Standing::Unusable, found, remedy: remedy.into() }
    }
}

/// Whether lines would get no further than these steps.
pub(super) fn stopped(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.standing >= Standing::Away)
}

/// Try each of these as this run's writer would.
///
/// # Errors
/// They are none that could be written to together.
pub fn probe(outputs: &[Request], run: &Run) -> Result<Vec<Probed>, SinkError> {
    validate(outputs, super::formats(outputs))?;
    let one = |(number, request): (usize, &Request)| {
        let opening = Opening { request, run, number };
        let mut steps = match kind_of(opening.place()) {
            Ok(kind) => (kind.probe)(&opening),
            Err(error) => vec![Step::unusable("place", error.to_string(), "write a place that there is")],
        };
        steps.extend(request.spool.iter().map(spool::probe));
        Probed { to: request.to.clone(), spooled: request.spool.is_some(), steps }
    };
    Ok(outputs.iter().enumerate().map(one).collect())
}
