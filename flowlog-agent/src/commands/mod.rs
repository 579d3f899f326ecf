//! One file a subcommand. Arguments come in here, exit codes go out.
//!
//! 0: done, nothing to report; 1: something to report; 2: it could not be done.

mod answer;
mod assess;
mod check;
mod completions;
mod configured;
mod detach;
mod edges;
mod logs;
mod man;
mod observe;
mod observed;
mod observing;
mod plugin;
mod policy;
mod run;
mod schema;
mod selected;
mod simulate;
mod source;
mod top;
mod vendors;

use crate::capture::OBJECT_SOURCE;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::LazyLock;

/// Version, and the sources of the embedded kernel half.
static LONG_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (kernel half {OBJECT_SOURCE})", env!("CARGO_PKG_VERSION")));

/// Logs denied connections on Kubernetes nodes: what the declared policies say of a connection, and what the
/// network did with it, on one JSON line. Observes only: it never changes traffic.
#[derive(Debug, Parser)]
#[command(name = "flowlog", version, long_version = LONG_VERSION.as_str(), max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture on this node and write records.
    #[command(after_help = "Examples:\n  flowlog run --manifests ./cluster --node node-1\n  \
        flowlog run --manifests ./cluster --node node-1 --output /var/log/flowlog/flows.json\n  \
        flowlog run --manifests ./cluster --node node-1 --only denials\n  \
kubectl get -A -o yaml \\\n      \
        pods,namespaces,services,endpointslices,networkpolicies,nodes,replicasets,jobs \\\n      \
        > cluster/all.yaml")]
    Run(Box<run::Args>),
    /// Tell what this host can and cannot do, hook by hook, and how to mend it; on request the cluster, too.
    #[command(
        after_help = "Exit code: 0 everything is there, 1 flowlog runs and sees less, 2 it cannot run.\n\n\
        Examples:\n  flowlog check\n  flowlog check --output json\n  \
        kubectl exec --namespace flowlog daemonset/flowlog -- /flowlog check --in-cluster"
    )]
    Check(check::Args),
    /// Take everything that `flowlog run --pin` left in the kernel out of it.
    #[command(
        after_help = "Exit code: 0 nothing is left, 2 it could not be done.\n\nExamples:\n  flowlog detach\n  \
        flowlog detach --pin /sys/fs/bpf/flowlog"
    )]
    Detach(detach::Args),
    /// Show what was logged: filtered, nodes in one order of time, with its gaps.
    #[command(
        after_help = "Exit code: 0 done, also where nothing is there that was asked for; 2 it could not be done, or nothing that was \
        given is a record.\n\nExamples:\n  flowlog observe /var/log/flowlog\n  \
        flowlog observe /var/log/flowlog --follow --only denials\n  \
        flowlog observe flows.json --from monitoring --to payments/ledger-db --last 1h\n  \
        flowlog observe /var/log/pods --class policy_not_enforced -o json | jq .verdict\n  \
        flowlog observe --live --follow --vendor third_party --not class=allowed"
    )]
    Observe(Box<observe::Args>),
    /// Watch what is denied or not enforced now, by who, whom, vendor, policy; down to the flows.
    #[command(
        after_help = "In the screen `?` tells the keys. Exit code: 0 done, 2 it could not be done.\n\nExamples:\n  \
        flowlog top /var/log/flowlog\n  \
        flowlog top --live --by policy\n  \
        kubectl logs -f -n flowlog -l app.kubernetes.io/name=flowlog --tail=-1 \\\n      \
        --max-log-requests=1000 | flowlog top --window 1m\n  \
        flowlog top recorded.json.zst --window all --from monitoring\n  \
        flowlog top --batch --rows 10 --window 15m /var/log/flowlog"
    )]
    Top(Box<top::Args>),
    /// Ask what the declared policies say: of one connection, or of whole cases.
    #[command(
        after_help = "Examples:\n  flowlog policy explain --manifests cluster --from shop/web-0 --to shop/db-0 --port 5432\n  \
        flowlog policy lint --manifests cluster\n  \
        flowlog policy suggest --logs /var/log/flowlog --manifests cluster > policies.yaml"
    )]
    Policy(policy::Args),
    /// List whose software runs in the cluster, and why it is thought to be.
    #[command(
        after_help = "Exit code: 0 told, 1 some could not be told whose it is (--fail-on-unknown), 2 it could not be \
        done.\n\nExamples:\n  flowlog vendors --manifests cluster\n  \
        flowlog vendors --manifests cluster --vendors our-vendors.yaml --output json\n  \
        flowlog vendors test datadog/agent:7 registry.example.com/app"
    )]
    Vendors(vendors::Args),
    /// Sum up flow logs: one line for each kind of connection, which can be given in the place of the logs.
    #[command(
        hide = true,
        after_help = "Exit code: 0 done, 2 it could not be done.\n\nExample:\n  \
        flowlog edges --logs /var/log/flowlog --since 7d > edges.json"
    )]
    Edges(edges::Args),
    /// Assess third-party risk: who reaches what, what could be reached, what to do.
    #[command(
        after_help = "Exit code: 0 nothing at or above --fail-on that the baseline does not know, 1 findings, 2 it could not be \
        made.\n\nExamples:\n  flowlog assess --manifests cluster --logs /var/log/flowlog\n  \
        flowlog assess --live --logs flows.json --output html=report.html\n  \
        flowlog assess --manifests deploy --logs recorded.json.zst --baseline baseline.json \\\n      \
        --output markdown --output sarif=flowlog.sarif --fail-on medium\n  \
        flowlog assess --live --logs flows.json --write-baseline baseline.json --fail-on never"
    )]
    Assess(Box<assess::Args>),
    /// Tell what changed policies would do to observed connections and to possible reach.
    #[command(
        after_help = "Exit code: 0 nothing would be denied (--fail-on says what counts), 1 something would be, 2 it could not \
        be done.\n\nExamples:\n  flowlog simulate --logs /var/log/flowlog --manifests cluster --policies new\n  \
        flowlog simulate --logs flows.json --live --policies new --fail-on any --output json\n  \
        flowlog simulate --logs flows.json --manifests deploy --policies new --fail-on denied,wider\n  \
        flowlog simulate --logs flows.json --manifests cluster --remove NetworkPolicy/shop/web\n  \
        flowlog simulate --logs flows.json --policies new"
    )]
    Simulate(Box<simulate::Args>),
    /// Print what a shell needs to complete flowlog's words.
    #[command(after_help = "Examples:\n  source <(flowlog completions bash)\n  \
        flowlog completions zsh > \"${fpath[1]}/_flowlog\"\n  \
        flowlog completions fish > ~/.config/fish/completions/flowlog.fish")]
    Completions(completions::Args),
    /// Print the manual page, or write those of all subcommands.
    #[command(
        after_help = "Exit code: 0 done, 2 it could not be done.\n\nExamples:\n  flowlog man | man -l -\n  \
        flowlog man --into /usr/local/share/man/man1"
    )]
    Man(man::Args),
    /// Print the JSON Schema of the records.
    #[command(hide = true)]
    Schema(schema::Args),
}

/// By which name this was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    /// Its own.
    Alone,
    /// That of a plugin of kubectl, at a workstation.
    Plugin,
}

/// Parse the arguments, run the subcommand, translate its answer into an exit code.
pub fn main() -> ExitCode {
    let called = Called::by(std::env::args_os().next().as_deref());
    let command = match called {
        Called::Alone => Arguments::command(),
        Called::Plugin => {
            if let Err(error) = plugin::refuse_on_workstation(std::env::args_os().skip(1)) {
                return refuse(&error);
            }
            plugin::command(Arguments::command())
        }
    };
    let parsed = Arguments::from_arg_matches(&command.get_matches());
    let result = match parsed.unwrap_or_else(|error| error.exit()).command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args, called),
        Command::Detach(args) => detach::run(&args),
        Command::Observe(args) => observe::run(&args, called),
        Command::Top(args) => top::run(&args, called),
        Command::Policy(args) => policy::run(&args, called),
        Command::Vendors(args) => vendors::run(&args, called),
        Command::Edges(args) => edges::run(&args),
        Command::Assess(args) => assess::run(&args, called),
        Command::Simulate(args) => simulate::run(&args, called),
        Command::Completions(args) => Ok(completions::run(args)),
        Command::Man(args) => man::run(&args),
        Command::Schema(args) => Ok(schema::run(args)),
    };
    result.unwrap_or_else(|error| refuse(&error))
}

/// An error with those of its causes that it does not tell itself.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.contains(&cause) => text,
        told => format!("{told}: {cause}"),
    })
}

/// What could not be done, with its causes, in one line on stderr.
fn refuse(error: &anyhow::Error) -> ExitCode {
    // Nothing can be done where stderr is gone, too.
    let _ = writeln!(std::io::stderr(), "flowlog: {}", told(error));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::{Arguments, told};
    use anyhow::Context as _;
    use clap::{Command, CommandFactory as _};

    /// Subcommands that help shows, by their names, which have no example of how they are called.
    fn without_example(command: &Command) -> Vec<String> {
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown
            .flat_map(|command| {
                let has_one = command.get_after_help().is_some_and(|help| {
                    let help = help.to_string();
                    help.contains("Example") && help.contains(command.get_name())
                });
                let own = (!has_one).then(|| command.get_name().to_owned());
                own.into_iter().chain(without_example(command)).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn every_subcommand_that_help_shows_has_an_example() {
        assert_eq!(without_example(&Arguments::command()), Vec::<String>::new());
    }

    #[test]
    fn a_cause_is_told_once() {
        let missing = std::fs::read("/no/such/file").unwrap_err();
        let cause = missing.to_string();
        let repeated = anyhow::anyhow!(missing).context(format!("read /no/such/file: {cause}"));
        assert_eq!(told(&repeated), format!("read /no/such/file: {cause}"));
        let own = Err::<(), _>(anyhow::anyhow!("no")).context("start").unwrap_err();
        assert_eq!(told(&own), "start: no");
    }
}
