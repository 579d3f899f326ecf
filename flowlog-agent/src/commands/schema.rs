//! `flowlog schema`: the JSON Schema of a line, on standard output. `deploy/schema/` ships what it prints.

use crate::policy::lint;
use crate::record;
use std::process::ExitCode;

/// Arguments of `flowlog schema`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {
    /// Print the tables of fields for `docs/log-format.md` instead.
    #[arg(long)]
    markdown: bool,
    /// Print the schema of what `flowlog policy lint` finds instead, or the table of its rules.
    #[arg(long)]
    lint: bool,
}

/// Print it.
pub(super) fn run(args: Args) -> ExitCode {
    let answer = match (args.lint, args.markdown) {
        (false, false) => text(),
        (false, true) => record::field_tables(),
        (true, false) => format!("{:#}\n", super::policy::lint_schema()),
        (true, true) => lint::rule_table(),
    };
    super::answer::print(&answer)
}

/// The schema as the file in `deploy/schema/` has it.
pub(super) fn text() -> String {
    format!("{:#}\n", record::schema())
}
