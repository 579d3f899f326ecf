//! What CI runs, in the order in which it fails soonest.

use crate::command::say;
use crate::test::TestArgs;
use crate::vm::VmArgs;
use crate::{deploy, docs, layers, lint, setup, test, vm};
use anyhow::{Context, Result};
use std::time::Instant;

/// A name, and what it does.
type Stage = (&'static str, fn() -> Result<()>);

const STAGES: [Stage; 7] = [
    ("layers", layers::layers),
    ("setup", setup::setup),
    ("lint", || lint::lint(false)),
    ("docs", || docs::docs(false)),
    ("deploy", deploy::deploy),
    ("test", || test::test(&TestArgs::default())),
    ("vm", || vm::vm(&VmArgs::brief())),
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
