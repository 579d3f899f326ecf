//! `flowlog schema`: the JSON Schema of a line, on standard output. `deploy/schema/` ships what it prints.

use crate::record;
use std::process::ExitCode;

/// Arguments of `flowlog schema`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// Print the tables of fields for `docs/log-format.md` instead.
    #[arg(long)]
    markdown: bool,
}

/// Print it.
pub(super) fn run(args: Args) -> ExitCode {
    let answer = if args.markdown { record::field_tables() } else { text() };
    super::answer::print(&answer)
}

/// The schema as the file in `deploy/schema/` has it.
pub(super) fn text() -> String {
    format!("{:#}\n", record::schema())
}
