//! `flowlog policy explain`: what the policies say of one connection, and why, in words or as JSON.

use super::super::answer;
use super::super::source::{self, Source, SourceArgs};
use super::{Called, put};
use crate::cluster::{self, NoAddress, Settings, Snapshot, Store};
use crate::model::{Basis, Decision, Endpoint, Party, Pod, Protocol, ServiceNote, Target};
use crate::policy::{PolicyTrace, RuleTrace, SideTrace, Trace, Tried};
use anstyle::AnsiColor;
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

/// Arguments of `flowlog policy explain`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Folder with policies in trial: what they would make of it is told, too.
    #[arg(long, env = "FLOWLOG_TRIAL_POLICIES", value_name = "DIR")]
    trial_policies: Option<PathBuf>,
    /// Namespace of names that are written without one; default: that of the context, none for a folder.
    #[arg(long, short, value_name = "NS")]
    namespace: Option<String>,
    /// Who opens the connection: a pod, a workload by one of its pods, or an address.
    #[arg(long, value_name = "NS/POD|NS/WORKLOAD|IP")]
    from: String,
    /// Who listens: the same, or a service.
    #[arg(long, value_name = "NS/POD|NS/WORKLOAD|svc/NS/NAME|IP")]
    to: String,
    /// The port that is dialed; TCP where no protocol is named.
    #[arg(long, value_name = "PORT[/tcp|udp|sctp]")]
    port: Dialed,
    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: super::Output,
}

#[derive(Clone, Copy, Debug)]
struct Dialed {
    port: u16,
    protocol: Protocol,
}

impl FromStr for Dialed {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let (port, protocol) = written.split_once('/').unwrap_or((written, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => return Err(format!("`{other}` is none of tcp, udp, sctp")),
        };
        match port.parse() {
            Ok(0) | Err(_) => Err(format!("`{port}` is no port from 1 to 65535")),
            Ok(port) => Ok(Self { port, protocol }),
        }
    }
}

/// The answer as JSON.
#[derive(Serialize)]
struct Explained {
    from: String,
    to: String,
    port: u16,
    protocol: &'static str,
    decision: Decision,
    /// With the policies in trial among the declared ones, where any of those takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Decision>,
    /// Kinds that could not be read, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unread: BTreeMap<&'static str, String>,
    /// One, or one for each endpoint of a service.
    endpoints: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    to: String,
    #[serde(flatten)]
    trace: Trace,
    /// With the policies in trial among the declared ones, where any of those takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trace>,
}

/// A question, and the cluster that it is about.
struct Asked {
    snapshot: Arc<Snapshot>,
    from: String,
    to: String,
    dialed: Dialed,
    /// Kinds that could not be read.
    unread: BTreeMap<&'static str, String>,
}

/// Explain one connection.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let asked = match args.source.source(called, args.trial_policies.clone())? {
        Source::Folders(folders) => {
            let end = |written: &str| in_namespace(written, args.namespace.as_deref());
            let (from, to) = (end(&args.from), end(&args.to));
            let loaded = cluster::load(&folders)?;
            refuse_without_address(&to, |namespace, name| {
                loaded.objects.find_without_address(namespace, name)
            })?;
            let snapshot = Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH)?.snapshot();
            Asked { snapshot, from, to, dialed: args.port, unread: BTreeMap::new() }
        }
        Source::Live(live) => {
            let namespace = args.namespace.as_deref().unwrap_or(live.namespace());
            let end = |written: &str| in_namespace(written, Some(namespace));
            let (from, to) = (end(&args.from), end(&args.to));
            let read = live.read()?;
            source::tell_unread(&read, |_| true);
            refuse_without_address(&to, |namespace, name| read.find_without_address(namespace, name))?;
            Asked { snapshot: read.snapshot, from, to, dialed: args.port, unread: read.unread }
        }
    };
    let explained = explain(&asked)?;
    Ok(match args.output {
        super::Output::Json => {
            let json = serde_json::to_string(&explained).context("write JSON")?;
            answer::print(&format!("{json}\n"))
        }
        super::Output::Text => answer::show(&styled(&text(&explained))),
    })
}

/// A name with its namespace, where one is given for those without.
fn in_namespace(written: &str, namespace: Option<&str>) -> String {
    let Some(namespace) = namespace.filter(|_| written.parse::<IpAddr>().is_err()) else {
        return written.to_owned();
    };
    match written.strip_prefix("svc/") {
        Some(name) if !name.contains('/') => format!("svc/{namespace}/{name}"),
        None if !written.contains('/') => format!("{namespace}/{written}"),
        _ => written.to_owned(),
    }
}

/// A service that has no address of its own has nothing that a connection could be judged to.
fn refuse_without_address<'a>(
    written: &str,
    find: impl Fn(&str, &str) -> Option<&'a NoAddress>,
) -> anyhow::Result<()> {
    let Some((namespace, name)) = service_name(written) else { return Ok(()) };
    match find(namespace, name) {
        None => Ok(()),
        Some(NoAddress::Headless) => bail!(
            "service {namespace}/{name} is headless: its name stands for the addresses of its pods; name one of \
             these, and the port that it listens on"
        ),
        Some(NoAddress::ExternalName(host)) => bail!(
            "service {namespace}/{name} is another name for {host} (ExternalName), and has no address: give one \
             of {host}\'s"
        ),
    }
}

impl Asked {
    /// What is not there may only not have been read.
    fn refuse_unread(&self, kind: &str, what: &str) -> anyhow::Result<()> {
        match self.unread.get(kind) {
            Some(why) => bail!("{what} cannot be told: {kind} could not be read: {why}"),
            None => Ok(()),
        }
    }
}

/// `svc/NS/NAME`
fn service_name(written: &str) -> Option<(&str, &str)> {
    written.strip_prefix("svc/")?.split_once('/')
}

fn explain(args: &Asked) -> anyhow::Result<Explained> {
    let snapshot = &*args.snapshot;
    let (sources, destinations) = (addresses(args, &args.from)?, addresses(args, &args.to)?);
    if args.from.starts_with("svc/") {
        bail!("--from {}: a service opens no connections; name one of its pods", args.from);
    }
    let pair = sources.iter().find_map(|source| {
        let same = destinations.iter().find(|other| other.is_ipv4() == source.is_ipv4())?;
        Some((*source, *same))
    });
    let Some((source, ip)) = pair else {
        bail!("{} and {} have no address of the same family", args.from, args.to);
    };
    let (Dialed { port, protocol }, at) = (args.dialed, snapshot.as_of);
    let endpoint = |name: &str, ip| match find_pod(snapshot, name) {
        Some(pod) => Endpoint::Pod(Arc::clone(pod)),
        None => snapshot.inventory.resolve_address(ip, at),
    };
    let source = Party { endpoint: endpoint(&args.from, source), ip: Some(source), port: None };
    let target = match find_pod(snapshot, &args.to) {
        Some(pod) => Target::Endpoint(Endpoint::Pod(Arc::clone(pod))),
        None => snapshot.inventory.resolve(ip, port, protocol, at),
    };
    let destination = Party { endpoint: target.endpoint(), ip: Some(ip), port: Some(port) };
    let behind = match &target {
        Target::Service { service, backends, note } if backends.is_empty() => {
            let (namespace, name) = (&service.namespace, &service.name);
            let protocol = protocol.as_kubernetes();
            args.refuse_unread("EndpointSlice", &format!("who is behind service {namespace}/{name}"))?;
            match note {
                Some(ServiceNote::NoSuchPort) => {
                    bail!("service {namespace}/{name} ({ip}) has no port {port}/{protocol}")
                }
                _ => bail!(
                    "service {namespace}/{name} has no ready endpoint behind {ip} port {port}/{protocol}"
                ),
            }
        }
        Target::Service { backends, .. } => backends
            .iter()
            .map(|one| Party { endpoint: one.endpoint.clone(), ip: Some(one.ip), port: Some(one.port) })
            .collect(),
        Target::Endpoint(_) => vec![destination.clone()],
    };
    let judged = |party: &Party| Judged {
        to: title(party),
        trace: snapshot.explain(&source, party, protocol),
        trial: snapshot.explain_trial(&source, party, protocol),
    };
    let verdict = snapshot.evaluate(&source, &destination, &target, protocol, at);
    Ok(Explained {
        from: title(&source),
        to: if args.to.starts_with("svc/") {
            format!("service {}", args.to.trim_start_matches("svc/"))
        } else {
            title(&destination)
        },
        port,
        protocol: protocol.as_kubernetes(),
        decision: verdict.decision,
        trial: verdict.trial.map(|trial| trial.decision),
        unread: args.unread.clone(),
        endpoints: behind.iter().map(judged).collect(),
    })
}

fn find_pod<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Arc<Pod>> {
    let (namespace, name) = name.split_once('/')?;
    let pods = || snapshot.inventory.pods().filter(|pod| *pod.namespace == *namespace);
    let of_workload = |pod: &&Arc<Pod>| pod.workload.as_ref().is_some_and(|workload| workload.name == name);
    // Any pod of a workload stands for the others: the first by name, so that it is the same one tomorrow.
    let any = || {
        pods()
            .filter(of_workload)
            .filter(|pod| !pod.terminated && !pod.ips.is_empty())
            .min_by_key(|pod| &pod.name)
    };
    pods().find(|pod| *pod.name == *name).or_else(any)
}

/// The addresses of what is named.
fn addresses(asked: &Asked, written: &str) -> anyhow::Result<Vec<IpAddr>> {
    let snapshot = &*asked.snapshot;
    if let Ok(ip) = written.parse::<IpAddr>() {
        return Ok(vec![ip.to_canonical()]);
    }
    if let Some((namespace, name)) = service_name(written) {
        let found = snapshot.inventory.service_addresses(namespace, name);
        if found.is_empty() {
            asked.refuse_unread("Service", &format!("the address of service {namespace}/{name}"))?;
            let known = snapshot.inventory.service_names().map(|(space, name)| format!("svc/{space}/{name}"));
            bail!("there is no service {namespace}/{name} with an address{}", near(written, known));
        }
        return Ok(found);
    }
    match find_pod(snapshot, written) {
        Some(pod) if pod.terminated => bail!(
            "pod {}/{} has ended: its address may be another pod's by now; give the address itself if that is \
             meant",
            pod.namespace,
            pod.name
        ),
        Some(pod) if pod.ips.is_empty() => bail!("pod {written} has no address"),
        Some(pod) => Ok(pod.ips.clone()),
        None if snapshot.inventory.service_names().any(|(space, name)| is_name(written, space, name)) => {
            bail!("there is no pod {written}, but a service: write svc/{written}")
        }
        None => {
            asked.refuse_unread("Pod", &format!("the address of {written}"))?;
            let known = snapshot.inventory.pods().map(|pod| format!("{}/{}", pod.namespace, pod.name));
            bail!(
                "there is no pod {written} (an end is written NS/POD, NS/WORKLOAD, svc/NS/NAME or as an address){}",
                near(written, known)
            )
        }
    }
}

fn is_name(written: &str, namespace: &str, name: &str) -> bool {
    written.split_once('/') == Some((namespace, name))
}

/// Names that are nearly this one.
fn near(written: &str, known: impl Iterator<Item = String>) -> String {
    let scored = known.map(|name| (strsim::jaro_winkler(written, &name), name));
    let mut scored: Vec<(f64, String)> = scored.filter(|(score, _)| *score > 0.7).collect();
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    scored.dedup_by(|one, other| one.1 == other.1);
    let names: Vec<String> = scored.into_iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(": did you mean {}?", names.join(" or ")) }
}

fn title(party: &Party) -> String {
    let ip = party.ip.map_or_else(String::new, |ip| ip.to_string());
    match &party.endpoint {
        Endpoint::Pod(pod) => format!("pod {}/{} ({ip})", pod.namespace, pod.name),
        Endpoint::Node(node) => format!("node {} ({ip})", node.name),
        Endpoint::Service(service) => format!("service {}/{} ({ip})", service.namespace, service.name),
        Endpoint::External(_) => format!("{ip} (outside the cluster)"),
        Endpoint::Local => format!("{ip} (the loopback)"),
        Endpoint::Unknown { .. } => format!("{ip} (not known)"),
    }
}

fn upper(decision: Decision) -> String {
    decision.as_str().to_uppercase()
}

/// The decisions in colours.
fn styled(text: &str) -> String {
    let style = |word: &str| match word {
        "ALLOW" => Some(AnsiColor::Green),
        "DENY" => Some(AnsiColor::Red),
        "MIXED" | "UNKNOWN" => Some(AnsiColor::Yellow),
        _ => None,
    };
    let pieces = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|piece| {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match style(word) {
            Some(color) => {
                let (style, rest) = (color.on_default().bold(), piece.trim_start_matches(word));
                format!("{style}{word}{style:#}{rest}")
            }
            None => piece.to_owned(),
        }
    });
    pieces.collect()
}

fn text(explained: &Explained) -> String {
    let Explained { from, to, port, protocol, decision, trial, endpoints, .. } = explained;
    let mut out = String::new();
    put(&mut out, 0, &format!("{}: {from} to {to}, port {port}/{protocol}", upper(*decision)));
    if let Some(trial) = trial {
        put(&mut out, 0, &format!("{} with the policies in trial", upper(*trial)));
    }
    let is_service = endpoints.len() > 1;
    if is_service {
        for one in endpoints {
            put(&mut out, 2, &format!("{}: {}", in_a_word(one), one.to));
        }
    }
    let mut shown = Vec::new();
    for one in endpoints {
        // Endpoints that are judged alike are told once.
        let decisions = (one.trace.decision, one.trial.as_ref().map(|trial| trial.decision));
        if shown.contains(&decisions) {
            continue;
        }
        shown.push(decisions);
        if is_service {
            out.push('\n');
            put(&mut out, 0, &format!("For {}: {}", one.to, in_a_word(one)));
        }
        let (egress, ingress) = (format!("Egress, leaving {from}"), format!("Ingress, reaching {}", one.to));
        side(&mut out, &egress, &one.trace.egress);
        side(&mut out, &ingress, &one.trace.ingress);
        let Some(trial) = &one.trial else { continue };
        for (name, declared, tried) in
            [(egress, &one.trace.egress, &trial.egress), (ingress, &one.trace.ingress, &trial.ingress)]
        {
            match declared == tried {
                true => {
                    out.push('\n');
                    put(&mut out, 0, &format!("{name}, in trial: {}, as declared", upper(tried.decision)));
                }
                false => side(&mut out, &format!("{name}, in trial"), tried),
            }
        }
    }
    out
}

fn in_a_word(one: &Judged) -> String {
    let declared = upper(one.trace.decision);
    match &one.trial {
        Some(trial) => format!("{declared} ({} in trial)", upper(trial.decision)),
        None => declared,
    }
}

fn side(out: &mut String, name: &str, side: &SideTrace) {
    out.push('\n');
    put(out, 0, &format!("{name}: {}", upper(side.decision)));
    put(out, 2, &because(side));
    for tier in &side.tiers {
        let says = match (tier.says, tier.policies.is_empty()) {
            ("unknown", _) => "cannot be told for sure",
            (_, true) => "no policy",
            ("pass", _) => "nothing decided",
            (says, _) => says,
        };
        put(out, 2, &format!("{:?} tier: {says}", tier.tier));
        tier.policies.iter().for_each(|policy| put_policy(out, policy));
    }
}

fn because(side: &SideTrace) -> String {
    let names: Vec<String> = side.policies.iter().map(super::name).collect();
    let names = names.join(", ");
    match side.basis {
        Basis::Policy if side.decision == Decision::Deny => format!("Denied by {names}."),
        Basis::Policy => format!("Allowed by {names}."),
        Basis::Isolated => {
            format!("Denied because the pod is isolated by {names}, and no rule there matches.")
        }
        // A node, or an address outside: no tier was asked.
        Basis::Unselected if side.tiers.is_empty() => "Allowed by default: no policy selects it.".to_owned(),
        Basis::Unselected => "Allowed by default: no policy decides.".to_owned(),
        Basis::SelfTraffic => "Allowed always: a pod may reach itself.".to_owned(),
        Basis::Node => "Allowed always: a pod and the node that runs it.".to_owned(),
        Basis::Unknown => format!("Not known: {}.", side.reason.as_deref().unwrap_or("no reason is told")),
    }
}

fn put_policy(out: &mut String, policy: &PolicyTrace) {
    let priority = policy.priority.map_or_else(String::new, |priority| format!(" (priority {priority})"));
    let name = super::name(&policy.policy);
    let trial = if policy.in_trial { " (in trial)" } else { "" };
    // A reason names its policy, which stands before it here.
    let why = policy.selects.why.strip_prefix(&format!("{name}: ")).unwrap_or(&policy.selects.why);
    put(out, 4, &format!("{name}{priority}{trial}: {why}"));
    labels(out, 6, &policy.selects);
    for rule in &policy.rules {
        put_rule(out, rule);
    }
    if policy.rules.is_empty() && policy.selects.matches == "yes" {
        put(out, 6, "it has no rule, so that nothing is allowed");
    }
}

fn put_rule(out: &mut String, rule: &RuleTrace) {
    let matches = match rule.matches {
        "yes" => "matches",
        "no" => "does not match",
        _ => "may match",
    };
    put(out, 6, &format!("rule {} ({}) {matches}", rule.rule, rule.action));
    put(out, 8, &format!("port: {}: {}", rule.ports.matches, rule.ports.why));
    for peer in &rule.peers {
        put(out, 8, &format!("peer: {}: {}", peer.matches, peer.why));
        labels(out, 10, peer);
    }
}

fn labels(out: &mut String, indent: usize, tried: &Tried) {
    for label in &tried.labels {
        let found = label.found.as_ref().map_or_else(|| "none".to_owned(), |found| format!("`{found}`"));
        let (of, key, wanted) = (&label.of, &label.key, &label.wanted);
        put(out, indent, &format!("label {key} of {of}: wanted {wanted}, found {found}"));
    }
}
