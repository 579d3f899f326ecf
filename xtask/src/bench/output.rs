//! `cargo xtask bench output`: what a record costs from the flow to the file, in each format, without a kernel.

use crate::command::{cargo, run, target};
use crate::setup;
use anyhow::Result;
use clap::Args;

/// Arguments of `cargo xtask bench output`.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Records of a round.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    records: u32,
    /// Rounds: each output takes the records once in each.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn output(args: &OutputArgs) -> Result<()> {
    setup::setup()?;
    let mut command = cargo()?;
    command.args(["bench", "--locked", "--package", "flowlog-agent", "--bench", "output", "--"]);
    command.args(["--records", &args.records.to_string(), "--rounds", &args.rounds.to_string(), "--folder"]);
    command.arg(target()?);
    run(&mut command)
}
