//! `flowlog edges`: flow logs, summed up. `--logs` takes what it prints in the place of the logs.

use super::answer;
use super::logs::{self, LogArgs};
use crate::model::InputProblem;
use crate::record::edge_line;
use anyhow::bail;
use std::io::Write as _;
use std::process::ExitCode;

/// Arguments of `flowlog edges`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    logs: LogArgs,
    /// Print nothing but what was read.
    #[arg(long)]
    summary: bool,
}

/// Run the subcommand.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(observed) = logs::read(&args.logs)? else {
        bail!("no flow logs: give files or folders, or - for standard input (--logs PATH)")
    };
    let mut said = Vec::new();
    for InputProblem { file, line, what } in &observed.problems {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        said.push(format!("{file}{line}: {what}"));
    }
    if observed.more_problems > 0 {
        said.push(format!("{} more problems", observed.more_problems));
    }
    said.extend(observed.limits);
    for line in said {
        // Where stderr is gone, the answer is not.
        let _ = writeln!(std::io::stderr(), "flowlog: {}", line.replace(char::is_control, "\u{fffd}"));
    }
    if args.summary {
        return Ok(answer::print(&format!("{}\n", serde_json::to_string(&observed.read)?)));
    }
    let lines: String = observed.edges.iter().map(|edge| edge_line(edge) + "\n").collect();
    Ok(answer::print(&lines))
}
