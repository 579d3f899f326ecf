//! What CI runs, in the order in which it fails soonest.

use crate::command::say;
use crate::test::TestArgs;
use crate::{docs, layers, lint, setup, test};
use anyhow::{Context, Result};
use std::time::Instant;

/// A name, and what it does.
type Stage = (&'static str, fn() -> Result<()>);

const STAGES: [Stage; 5] = [
    ("layers", layers::layers),
    ("setup", setup::setup),
    ("lint", || lint::lint(false)),
    ("docs", || docs::docs(false)),
    ("test", || test::test(&TestArgs::default())),
];

/// All of it; stops at the first failure.
pub(crate) fn ci() -> Result<()> {
    for (name, stage) in STAGES {
        let began = Instant::now();
        say(&format!("ci: {name}"));
        stage().with_context(|| format!("ci: {name}"))?;
        say(&format!("ci: {name} took {} s", began.elapsed().as_secs()));
    }
    Ok(())
}
