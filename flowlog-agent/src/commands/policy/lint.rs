//! `flowlog policy lint`: what is wrong, or surely not meant, in the policies of a folder of manifests, or of a cluster.

use super::super::source::{self, Source, SourceArgs};
use super::Called;
use super::put;
use crate::cluster::{self, Linting, Placed};
use crate::policy::lint::{Severity, Unchecked};
use anyhow::Context as _;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `flowlog policy lint`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Folder with policies in trial: what they would make of it is told, too.
    #[arg(long, env = "FLOWLOG_TRIAL_POLICIES", value_name = "DIR")]
    trial_policies: Option<PathBuf>,
    /// How the findings are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: super::Output,
    /// The least severity for which the exit code is 1.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Info,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
        }
    }
}

/// The findings as JSON.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Told<'a> {
    /// By file, line and rule.
    findings: Vec<Found<'a>>,
    /// How much was looked at.
    checked: Checked,
    /// Rules that could not be checked, or not wholly.
    unchecked: &'a [Unchecked],
    /// Findings that annotations silence.
    ignored: usize,
}

/// One finding.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Found<'a> {
    /// The rule that found it.
    rule: &'a str,
    /// What it weighs.
    severity: Severity,
    /// The file, below the folder as it was named; of an API server's objects the name of their list.
    file: String,
    /// Number of the document in the file, from 1; absent where it is about the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<usize>,
    /// The line in the file, from 1, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// Kind of the object, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// Its namespace; absent for an object of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// Path of the field, as the API writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// What is wrong.
    message: &'a str,
    /// What to do.
    help: &'a str,
}

/// How much was looked at.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Checked {
    /// Policies, those that cannot be read included.
    policies: usize,
    /// Pods.
    pods: usize,
    /// Workloads whose pods were looked at as well.
    workloads: usize,
    /// Namespaces.
    namespaces: usize,
}

/// Look through a folder, or a cluster.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let linting = match args.source.source(called, args.trial_policies.clone())? {
        Source::Folders(folders) => cluster::lint(&folders)?,
        Source::Live(live) => {
            let (linting, unread) = live.lint()?;
            unread.iter().for_each(|line| source::tell(line));
            linting
        }
    };
    let printed = super::super::answer::print(&match args.output {
        super::Output::Json => format!("{}\n", serde_json::to_string(&told(&linting)).context("write JSON")?),
        super::Output::Text => text(&linting),
    });
    let fails = linting.findings.iter().any(|finding| finding.severity >= args.fail_on.severity());
    Ok(if fails && printed == ExitCode::SUCCESS { ExitCode::FAILURE } else { printed })
}

/// The schema of the findings as JSON.
pub(in crate::commands) fn schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Told<'_>>();
    schema.insert("title".to_owned(), "What flowlog policy lint finds".into());
    schema.to_value()
}

fn told(linting: &Linting) -> Told<'_> {
    let cluster::Checked { policies, pods, workloads, namespaces } = linting.checked;
    Told {
        findings: linting.findings.iter().map(found).collect(),
        checked: Checked { policies, pods, workloads, namespaces },
        unchecked: &linting.unchecked,
        ignored: linting.ignored,
    }
}

fn found(one: &Placed) -> Found<'_> {
    Found {
        rule: one.rule,
        severity: one.severity,
        file: one.file.display().to_string(),
        document: one.document,
        line: one.line,
        kind: one.kind.as_deref(),
        namespace: one.namespace.as_deref(),
        name: one.name.as_deref(),
        field: one.field.as_deref(),
        message: &one.message,
        help: &one.help,
    }
}

fn text(linting: &Linting) -> String {
    let mut out = String::new();
    for one in &linting.findings {
        put(&mut out, 0, &line(one));
        put(&mut out, 4, &format!("help: {}", one.help));
    }
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in &linting.unchecked {
        by_reason.entry(&one.why).or_default().push(one.rule);
    }
    for (why, rules) in by_reason {
        put(&mut out, 0, &format!("not wholly checked: {}: {why}", rules.join(", ")));
    }
    put(&mut out, 0, &sums(linting));
    out
}

/// `file:line: severity[rule] object: field: message`
fn line(one: &Placed) -> String {
    let place = match (one.line, one.document) {
        (Some(line), _) => format!(":{line}"),
        (None, Some(document)) => format!(": document {document}"),
        (None, None) => String::new(),
    };
    let name = match (&one.namespace, &one.name) {
        (Some(namespace), Some(name)) => format!(" {namespace}/{name}"),
        (_, Some(name)) => format!(" {name}"),
        _ => String::new(),
    };
    let object = one.kind.as_ref().map_or_else(String::new, |kind| format!(" {kind}{name}:"));
    let field = one.field.as_ref().map_or_else(String::new, |field| format!(" {field}:"));
    format!("{}{place}: {}[{}]{object}{field} {}", one.file.display(), one.severity, one.rule, one.message)
}

fn sums(linting: &Linting) -> String {
    let of = |severity| linting.findings.iter().filter(|one| one.severity == severity).count();
    let count = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        _ if one.ends_with('y') => format!("{number} {}ies", one.trim_end_matches('y')),
        _ => format!("{number} {one}s"),
    };
    let cluster::Checked { policies, pods, workloads, namespaces } = linting.checked;
    let workloads = match workloads {
        0 => String::new(),
        number => format!("{}, ", count(number, "workload")),
    };
    let ignored = match linting.ignored {
        0 => String::new(),
        number => format!(", {number} ignored"),
    };
    format!(
        "{}, {}, {} info{ignored}; {}, {}, {workloads}{}",
        count(of(Severity::Error), "error"),
        count(of(Severity::Warning), "warning"),
        of(Severity::Info),
        count(policies, "policy"),
        count(pods, "pod"),
        count(namespaces, "namespace"),
    )
}
