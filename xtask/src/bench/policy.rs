//! `cargo xtask bench policy`: what the policy engine costs, alone, without a kernel.

use crate::command::{cargo, run};
use crate::setup;
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask bench policy`.
#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// Folder with small.json.gz, big.json.gz and dense.json.gz; cases of the same make where absent.
    #[arg(long)]
    cases: Option<PathBuf>,
    /// Of the cases that are made.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave out how the figures grow with the cluster (up to 50,000 pods: the longest part).
    #[arg(long)]
    no_growth: bool,
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn policy(args: &PolicyArgs) -> Result<()> {
    setup::setup()?;
    let mut command = cargo()?;
    command.args(["bench", "--locked", "--package", "flowlog-agent", "--bench", "policy", "--"]);
    command.args(["--seed", &args.seed.to_string()]);
    if let Some(cases) = &args.cases {
        command.arg("--cases").arg(absolute(cases)?);
    }
    if args.no_growth {
        command.arg("--no-growth");
    }
    run(&mut command)
}

/// Cargo runs a benchmark in its package's folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("find {}", path.display()))
}
