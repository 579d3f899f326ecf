//! `flowlog schema`: the JSON Schema of a line, on standard output. `deploy/schema/` ships what it prints.

use crate::findings;
use crate::policy::lint;
use crate::record;
use crate::record::mapping::Store;
use crate::report;
use crate::telemetry;
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
    /// Print the schema of an assessment instead.
    #[arg(long, conflicts_with_all = ["markdown", "lint", "metrics"])]
    assessment: bool,
    /// Print the schema of what `flowlog simulate` tells instead.
    #[arg(long, conflicts_with_all = ["markdown", "lint", "metrics", "assessment"])]
    simulation: bool,
    /// Print the table of metrics for `docs/operating.md` instead.
    #[arg(long)]
    metrics: bool,
    /// Print the tables of ECS and OCSF for `docs/log-format.md` instead.
    #[arg(long)]
    formats: bool,
    /// Print the table of findings for `docs/findings.md` instead.
    #[arg(long)]
    findings: bool,
    /// Print what a store is told of the fields instead, for `deploy/siem` and `deploy/clickhouse`.
    #[arg(long, value_name = "STORE", value_parser = store_of)]
    mapping: Option<Store>,
}

/// Print it.
pub(super) fn run(args: Args) -> ExitCode {
    if args.assessment {
        return super::answer::print(&format!("{:#}\n", report::schema()));
    }
    if args.simulation {
        return super::answer::print(&format!("{:#}\n", super::simulate::schema()));
    }
    if let Some(store) = args.mapping {
        return super::answer::print(&record::mapping(store));
    }
    let answer = match (args.metrics, args.lint, args.markdown) {
        _ if args.findings => findings::table(),
        _ if args.formats => record::format_tables(),
        (true, ..) => telemetry::metric_table(),
        (_, false, false) => text(),
        (_, false, true) => record::field_tables(),
        (_, true, false) => format!("{:#}\n", super::policy::lint_schema()),
        (_, true, true) => lint::rule_table(),
    };
    super::answer::print(&answer)
}

/// The schema as the file in `deploy/schema/` has it.
pub(super) fn text() -> String {
    format!("{:#}\n", record::schema())
}

fn store_of(name: &str) -> Result<Store, String> {
    let found = Store::ALL.into_iter().find(|(known, _)| *known == name);
    let names = || Store::ALL.map(|(name, _)| name).join(", ");
    found.map(|(_, store)| store).ok_or_else(|| format!("no such store; {} are", names()))
}
