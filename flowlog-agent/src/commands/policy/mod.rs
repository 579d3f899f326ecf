//! `flowlog policy`: what the declared policies say, asked from the command line.

mod eval;
mod explain;
mod lint;
mod suggest;

pub(super) use lint::schema as lint_schema;

use super::Called;
use crate::model::PolicyRef;
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
    /// Tell what the policies say of one connection, and why.
    #[command(after_help = "Exit code: 0 answered, whatever the answer, 2 it could not be.\n\n\
        Examples:\n  flowlog policy explain --manifests cluster --from shop/web-0 --to shop/db-0 --port 5432\n  \
        flowlog policy explain --manifests cluster --from shop/web-0 --to svc/shop/db --port 5432/tcp\n  \
        flowlog policy explain --manifests cluster --from 198.51.100.7 --to shop/web --port 80\n  \
        flowlog policy explain --manifests cluster --trial-policies new --from shop/web --to shop/db --port 80\n  \
        flowlog policy explain --live --namespace shop --from web-0 --to svc/db --port 5432")]
    Explain(explain::Args),
    /// Find what is wrong, or surely not meant, in policies.
    #[command(
        after_help = "Exit code: 0 nothing at or above --fail-on, 1 findings, 2 objects that cannot be \
        read.\nThe annotation flowlog.dev/lint-ignore: \"RULE, RULE\" on a policy silences rules for it.\n\n\
        Examples:\n  flowlog policy lint --manifests cluster\n  \
        flowlog policy lint --manifests cluster --fail-on error --output json\n  \
        flowlog policy lint --live --trial-policies new"
    )]
    Lint(lint::Args),
    /// Suggest NetworkPolicies that allow what was observed, and no more.
    #[command(
        after_help = "Exit code: 0 suggested, 1 suggested and something that was observed would be denied (told on standard \
        error), 2 it could not be done.\n\n\
        Examples:\n  flowlog policy suggest --logs /var/log/flowlog --manifests cluster > policies.yaml\n  \
        flowlog policy suggest --logs flows.json --manifests cluster --namespace shop --workload Deployment/web\n  \
        flowlog policy suggest --logs flows.json --live --merge --default-deny --into policies\n  \
        flowlog policy suggest --logs flows.json --direction egress --external network --config flowlog.yaml"
    )]
    Suggest(Box<suggest::Args>),
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Eval(args) => eval::run(args),
        Command::Explain(args) => explain::run(args, called),
        Command::Lint(args) => lint::run(args, called),
        Command::Suggest(args) => suggest::run(args, called),
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A policy, with its rule where one is meant.
pub(super) fn name(policy: &PolicyRef) -> String {
    let rule = policy.rule.map_or_else(String::new, |rule| format!(", rule {rule}"));
    match &policy.namespace {
        Some(namespace) => format!("{:?} {namespace}/{}{rule}", policy.kind, policy.name),
        None => format!("{:?} {}{rule}", policy.kind, policy.name),
    }
}

const WIDTH: usize = 100;

/// Breaks a line between words; what follows stands two columns further in. What a terminal would take for a
/// command is made visible.
pub(super) fn put(out: &mut String, indent: usize, text: &str) {
    let text = text.replace(char::is_control, "\u{fffd}");
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            (line, is_empty) = (" ".repeat(indent + 2), true);
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}
