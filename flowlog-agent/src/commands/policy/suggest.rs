//! `flowlog policy suggest`: the least that policies have to allow so that what was observed goes on.

use super::super::answer;
use super::super::observed::{Observed, ObservedArgs, plural};
use super::Called;
use crate::config::{self, Overrides, Settings};
use crate::model::{Class, Direction};
use crate::policy::suggest::{Choice, Dns, LeftOut, Outside, Per, Suggestion, Triples};
use anyhow::{Context as _, bail};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `flowlog policy suggest`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    observed: ObservedArgs,
    /// These namespaces alone; may be given several times.
    #[arg(long, short, value_name = "NS")]
    namespace: Vec<String>,
    /// These workloads alone; may be given several times.
    #[arg(long, value_name = "KIND/NAME", value_parser = workload)]
    workload: Vec<(String, String)>,
    /// Whom each policy is for.
    #[arg(long, value_name = "WHOM", default_value = "workload", conflicts_with = "workload")]
    per: PerArg,
    /// Which direction is restricted.
    #[arg(long, value_name = "DIRECTION", default_value = "both")]
    direction: DirectionArg,
    /// How peers outside the cluster are named: by address, by the network of the configuration that they lie in, not at all.
    #[arg(long, value_name = "HOW", default_value = "cidr")]
    external: ExternalArg,
    /// The agent's configuration, whose `networks` and `pod_cidrs` are used.
    #[arg(long, env = "FLOWLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where names may be asked for: at the cluster's own DNS where it is known, anywhere, only where it was observed.
    #[arg(long, value_name = "WHERE", default_value = "cluster")]
    dns: DnsArg,
    /// Add a policy for each namespace that denies everything else.
    #[arg(long, conflicts_with = "workload")]
    default_deny: bool,
    /// Leave out what existing policies allow already.
    #[arg(long)]
    merge: bool,
    /// Classes of flows that count beside `allowed` and `unrestricted` (`policy_not_enforced`, `denied_attempt`, …).
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    include: Vec<Class>,
    /// How the policies are written.
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    output: OutputArg,
    /// Write each policy into a file of its own in this folder, in place of standard output.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    into: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PerArg {
    Workload,
    Namespace,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DirectionArg {
    Both,
    Egress,
    Ingress,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ExternalArg {
    Cidr,
    Network,
    Any,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DnsArg {
    Cluster,
    Any,
    None,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OutputArg {
    Yaml,
    Json,
}

fn workload(written: &str) -> Result<(String, String), String> {
    match written.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((kind.to_owned(), name.to_owned()))
        }
        _ => Err("write KIND/NAME, as in Deployment/web; its namespace goes to --namespace".to_owned()),
    }
}

fn class(written: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.as_str() == written).ok_or_else(|| {
        let known: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        format!("`{written}` is none of {}", known.join(", "))
    })
}

/// The suggestion as JSON.
#[derive(Serialize)]
struct Told<'a> {
    /// The policies, as the API takes them.
    policies: Vec<Value>,
    /// Kinds of connections that they were made for.
    flows: usize,
    /// Connections that they would deny.
    left_out: Vec<Left<'a>>,
    /// Attempts of classes that did not count.
    not_counted: BTreeMap<&'a str, u64>,
    /// Connections that other policies deny, or may, all the same.
    conflicts: &'a BTreeMap<String, String>,
    /// Workloads that no policy can select, and why.
    without_policy: &'a BTreeMap<String, String>,
    /// Workloads for which existing policies are enough.
    covered: &'a [String],
    /// (workload, workload, port) before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    triples: Option<Counted>,
}

#[derive(Serialize)]
struct Left<'a> {
    flow: &'a str,
    reason: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Counted {
    still_allowed: u64,
    no_longer_allowed: u64,
    newly_allowed: u64,
    unknown: u64,
}

impl Args {
    fn choice(&self) -> Choice {
        Choice {
            per: match self.per {
                PerArg::Workload => Per::Workload,
                PerArg::Namespace => Per::Namespace,
            },
            directions: match self.direction {
                DirectionArg::Both => [Direction::Egress, Direction::Ingress].into(),
                DirectionArg::Egress => [Direction::Egress].into(),
                DirectionArg::Ingress => [Direction::Ingress].into(),
            },
            outside: match self.external {
                ExternalArg::Cidr => Outside::Cidr,
                ExternalArg::Network => Outside::Network,
                ExternalArg::Any => Outside::Any,
            },
            dns: match self.dns {
                DnsArg::Cluster => Dns::Cluster,
                DnsArg::Any => Dns::Any,
                DnsArg::None => Dns::None,
            },
            default_deny: self.default_deny,
            merge: self.merge,
            include: self.include.iter().copied().collect(),
            namespaces: self.namespace.iter().cloned().collect(),
            workloads: self.workload.iter().cloned().collect(),
        }
    }
}

/// Suggest policies.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let (networks, mut ranges) = configured(args.config.as_deref())?;
    let observed = Observed::read(&args.observed, called)?;
    ranges.extend(observed.nodes.iter().flat_map(|node| node.pod_cidrs.iter().copied()));
    if args.merge && observed.cluster.is_none() {
        bail!(
            "--merge needs the policies that there are: give the cluster's objects (--manifests DIR, or --live)"
        );
    }
    let suggestion = observed.suggest(&networks, &ranges, &args.choice())?;
    if suggestion.flows == 0 && suggestion.left_out.is_empty() {
        bail!("nothing to suggest from: {}", nothing(&suggestion));
    }
    let printed = match (&args.into, args.output) {
        (Some(folder), _) => write(folder, &suggestion)?,
        (None, OutputArg::Yaml) => {
            let texts: Vec<&str> =
                suggestion.documents.iter().map(|document| document.text.as_str()).collect();
            answer::print(&texts.join("---\n"))
        }
        (None, OutputArg::Json) => {
            answer::print(&format!("{}\n", serde_json::to_string(&told(&suggestion)?)?))
        }
    };
    for line in summary(&suggestion) {
        // Where stderr is gone, the answer is not.
        let _ = writeln!(std::io::stderr(), "flowlog: {}", line.replace(char::is_control, "\u{fffd}"));
    }
    let is_whole = suggestion.left_out.is_empty() && suggestion.conflicts.is_empty();
    Ok(if printed == ExitCode::SUCCESS && !is_whole { ExitCode::FAILURE } else { printed })
}

type Networks = Vec<(IpNet, String)>;

/// Networks by name, and the cluster's own ranges, as the agent is told them.
fn configured(file: Option<&Path>) -> anyhow::Result<(Networks, Vec<IpNet>)> {
    let Some(file) = file else { return Ok((Vec::new(), Vec::new())) };
    let settings = Settings::resolve(Some(&config::load(file)?), &Overrides::default())?;
    let named = settings
        .networks
        .iter()
        .flat_map(|(name, blocks)| blocks.iter().map(move |block| (*block, name.clone())));
    Ok((named.collect(), settings.pod_cidrs))
}

fn nothing(suggestion: &Suggestion) -> String {
    if suggestion.not_counted.is_empty() {
        return "no record tells of a connection of what was asked for".to_owned();
    }
    let classes: Vec<String> =
        suggestion.not_counted.iter().map(|(class, count)| format!("{count} {}", class.as_str())).collect();
    format!(
        "no connection went through ({}); --include counts classes beside allowed and unrestricted",
        classes.join(", ")
    )
}

fn write(folder: &Path, suggestion: &Suggestion) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    for document in &suggestion.documents {
        // Names of namespaces have no dot: no two files have one name.
        let path = folder.join(format!("{}.{}.yaml", document.namespace, document.name));
        fs::write(&path, &document.text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(suggestion: &Suggestion) -> anyhow::Result<Told<'_>> {
    let policies = suggestion.documents.iter().map(|document| {
        serde_saphyr::from_str::<Value>(&document.text).with_context(|| format!("read {}", document.name))
    });
    Ok(Told {
        policies: policies.collect::<anyhow::Result<_>>()?,
        flows: suggestion.flows,
        left_out: suggestion
            .left_out
            .iter()
            .map(|one| Left { flow: &one.what, reason: &one.why, count: one.count })
            .collect(),
        not_counted: suggestion.not_counted.iter().map(|(class, count)| (class.as_str(), *count)).collect(),
        conflicts: &suggestion.conflicts,
        without_policy: &suggestion.without,
        covered: &suggestion.covered,
        triples: suggestion.triples.map(|triples| Counted {
            still_allowed: triples.kept,
            no_longer_allowed: triples.lost,
            newly_allowed: triples.opened,
            unknown: triples.unknown,
        }),
    })
}

/// What a reader should know beside the policies.
fn summary(suggestion: &Suggestion) -> Vec<String> {
    let mut lines = Vec::new();
    for LeftOut { what, why, count } in &suggestion.left_out {
        lines.push(format!("would be denied: {what}, {count} times: {why}"));
    }
    for (what, why) in &suggestion.conflicts {
        lines.push(format!("not allowed by what is suggested alone: {what}: {why}"));
    }
    for (what, why) in &suggestion.without {
        lines.push(format!("no policy for {what}: {why}"));
    }
    for what in &suggestion.covered {
        lines.push(format!("no policy for {what}: existing ones allow what was observed"));
    }
    let others = suggestion.not_counted.iter();
    lines.extend(others.map(|(class, count)| {
        let class = class.as_str();
        format!("not counted: {count} attempts of class {class} (--include {class} counts them)")
    }));
    lines.push(format!(
        "{} for {}; checked: each is allowed with them in place, but for what is told above",
        plural(suggestion.documents.len(), "policy", "policies"),
        plural(suggestion.flows, "observed connection", "observed connections"),
    ));
    lines.push(match suggestion.triples {
        Some(Triples { kept, lost, opened, unknown, .. }) => format!(
            "of {} (workload, workload, port) that were allowed, {lost} no longer are{}{}",
            kept + lost,
            if opened > 0 { format!("; {opened} newly are") } else { String::new() },
            if unknown > 0 { format!("; of {unknown} it cannot be told") } else { String::new() },
        ),
        None => {
            "how many (workload, workload, port) are no longer allowed was not counted: there are too many"
                .to_owned()
        }
    });
    lines
}
