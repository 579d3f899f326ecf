//! `flowlog policy`: what the declared policies say, asked from the command line.

mod eval;

use crate::model::Decision;
use clap::Subcommand;
use std::process::ExitCode;

/// Arguments of `flowlog policy`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Answer cases: clusters with questions, as JSON Lines.
    #[command(after_help = "Exit code: 0 answered, 1 an answer differs from what is expected, 2 input that \
        cannot be read (the other lines are answered).\n\n\
        Examples:\n  flowlog policy eval cases.jsonl.gz > answers.jsonl\n  \
        flowlog policy eval --expect cases.jsonl.gz > /dev/null\n  \
        generate-cases | flowlog policy eval -")]
    Eval(eval::Args),
}

/// Run the subcommand.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Eval(args) => eval::run(args),
    }
}

/// A decision in a word.
fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Mixed => "mixed",
        Decision::Unknown => "unknown",
    }
}
