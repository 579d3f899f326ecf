//! `flowlog simulate`: what changed policies would do to the connections that were observed, and to what third parties could
//! reach.

mod reach;

use super::configured::{self, ConfigArgs, Configured};
use super::observed::{Observed, ObservedArgs, plural};
use super::policy::{self, Output};
use super::{Called, answer};
use crate::cluster::{self, Folders};
use crate::findings::simulate::{
    Altered, Change, DeclaredBy, Effect, ReachChange, Simulation, reach_change, simulate,
};
use crate::findings::{Cluster, Input};
use crate::model::{Decision, Direction, ObjectsRead, Place, PolicyKind, PolicyRef};
use crate::policy::PolicySet;
use anyhow::{Context as _, bail};
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `flowlog simulate`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    observed: ObservedArgs,
    /// Folder with the policies as they would be: in the place of those of their names, or new.
    #[arg(long, value_name = "DIR", required_unless_present = "remove")]
    policies: Option<PathBuf>,
    /// A policy that would be gone; may be given several times.
    #[arg(long, value_name = "KIND/[NS/]NAME", value_parser = reference)]
    remove: Vec<PolicyRef>,
    #[command(flatten)]
    config: ConfigArgs,
    /// What makes the exit code 1: connections that would be denied, or allowed; possible reach of third parties that would be
    /// wider; any of these, also where it cannot be told; never. Several with commas between.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "denied")]
    fail_on: Vec<FailOn>,
    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Denied,
    Allowed,
    Wider,
    Any,
    Never,
}

/// Kinds, as kubectl takes them, too.
const KINDS: [(PolicyKind, &[&str]); 4] = [
    (PolicyKind::NetworkPolicy, &["networkpolicy", "networkpolicies", "netpol"]),
    (PolicyKind::AdminNetworkPolicy, &["adminnetworkpolicy", "adminnetworkpolicies", "anp"]),
    (
        PolicyKind::BaselineAdminNetworkPolicy,
        &["baselineadminnetworkpolicy", "baselineadminnetworkpolicies", "banp"],
    ),
    (PolicyKind::ClusterNetworkPolicy, &["clusternetworkpolicy", "clusternetworkpolicies", "cnp"]),
];

fn reference(written: &str) -> Result<PolicyRef, String> {
    let mut parts = written.split('/');
    let (kind, rest) = (parts.next().unwrap_or_default().to_ascii_lowercase(), parts.collect::<Vec<_>>());
    let known = KINDS.iter().find(|(_, names)| names.contains(&kind.as_str()));
    let Some((kind, _)) = known else {
        return Err(format!(
            "`{kind}` is no kind of policy: NetworkPolicy (netpol), AdminNetworkPolicy (anp), \
            BaselineAdminNetworkPolicy (banp), ClusterNetworkPolicy (cnp)"
        ));
    };
    match (kind, rest.as_slice()) {
        (PolicyKind::NetworkPolicy, [namespace, name]) if !namespace.is_empty() && !name.is_empty() => {
            Ok(PolicyRef {
                kind: *kind,
                namespace: Some((*namespace).to_owned()),
                name: (*name).to_owned(),
                rule: None,
            })
        }
        (PolicyKind::NetworkPolicy, _) => Err("write NetworkPolicy/NAMESPACE/NAME".to_owned()),
        (_, [name]) if !name.is_empty() => {
            Ok(PolicyRef { kind: *kind, namespace: None, name: (*name).to_owned(), rule: None })
        }
        _ => Err(format!("write {kind:?}/NAME: it has no namespace")),
    }
}

/// Simulate a change.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let put = match &args.policies {
        Some(folder) => cluster::load(&Folders::from(folder.clone()))?.into_trial()?,
        None => Vec::new(),
    };
    if put.is_empty() && args.remove.is_empty() {
        bail!(
            "no policy is changed: there is none in {}",
            args.policies.clone().unwrap_or_default().display()
        );
    }
    if let Some(both) = args.remove.iter().find(|gone| put.iter().any(|policy| policy.reference() == **gone))
    {
        bail!("{} would be removed, and it is among the policies as they would be", policy::name(both));
    }
    let change = Change { put, removed: args.remove.clone() };
    // Nothing of a suppression is used here: what is wrong with one is told by `assess`.
    let settings = configured::read(&args.config, &mut Vec::new())?;
    let observed = Observed::read(&args.observed, called)?;
    let declared = observed.declared();
    if declared.is_none() && args.fail_on.contains(&FailOn::Wider) {
        bail!(
            "--fail-on wider: how far third parties could reach is not told by records: give the cluster's objects \
             (--manifests DIR, or --live)"
        );
    }
    let is_missing = |gone: &&PolicyRef| declared.is_some_and(|set| set.find_policy(gone).is_none());
    if let Some(missing) = args.remove.iter().find(is_missing) {
        bail!("there is no {} to remove", policy::name(missing));
    }
    let nothing = PolicySet::default();
    let after = change.applied(declared.unwrap_or(&nothing));
    let sets = [declared.unwrap_or(&nothing), &after];
    let mut simulation =
        observed.with_cast(&sets, |cast| simulate(&observed.records.edges, cast, declared, &change));
    simulation.possible_reach = possible_reach(&observed, &settings, &after);
    let printed = match args.output {
        Output::Json => {
            let json = serde_json::to_string(&simulation).context("write JSON")?;
            answer::print(&format!("{json}\n"))
        }
        Output::Text => answer::print(&text(&simulation)),
    };
    let fails = args.fail_on.iter().any(|what| fails(&simulation, *what));
    Ok(if fails && printed == ExitCode::SUCCESS { ExitCode::FAILURE } else { printed })
}

/// What becomes of the reach of third parties, who are the same as to `assess`.
fn possible_reach(observed: &Observed, configured: &Configured, after: &PolicySet) -> Option<ReachChange> {
    let cluster = observed.cluster.as_ref()?;
    let read = ObjectsRead::default();
    let input = Input {
        observed: Some(&observed.records),
        cluster: Some(Cluster {
            inventory: &cluster.inventory,
            policies: &cluster.policies,
            read: &read,
            faults: None,
        }),
        ..Input::new(&configured.catalog, &configured.settings, cluster.as_of)
    };
    reach_change(input, after)
}

fn fails(simulation: &Simulation, what: FailOn) -> bool {
    let becomes = |effect| simulation.changes.iter().any(|change| change.effect == effect);
    let reach = simulation.possible_reach.as_ref().map(|reach| reach.sums).unwrap_or_default();
    match what {
        FailOn::Denied => becomes(Effect::Denied),
        FailOn::Allowed => becomes(Effect::Allowed),
        FailOn::Wider => reach.wider > 0,
        FailOn::Any => !simulation.changes.is_empty() || reach.wider > 0 || reach.unsure > 0,
        FailOn::Never => false,
    }
}

/// The schema of the answer as JSON.
pub(super) fn schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Simulation>();
    schema.insert("title".to_owned(), "What flowlog simulate tells".into());
    schema.to_value()
}

fn text(simulation: &Simulation) -> String {
    let mut out = String::new();
    let titles = [
        (Effect::Denied, "would be denied"),
        (Effect::Allowed, "would be allowed"),
        (Effect::Unsure, "may change: it cannot be told"),
    ];
    for (effect, title) in titles {
        let of: Vec<&Altered> = simulation.changes.iter().filter(|one| one.effect == effect).collect();
        if of.is_empty() {
            continue;
        }
        policy::put(&mut out, 0, &format!("{title}: {}", connections(of.len())));
        for one in of {
            policy::put(&mut out, 2, &line(one));
            policy::put(&mut out, 6, &why(one));
        }
        out.push('\n');
    }
    if let Some(change) = &simulation.possible_reach {
        reach::text(&mut out, change);
    }
    for one in &simulation.unjudged {
        let flows = usize::try_from(one.flows).unwrap_or(usize::MAX);
        policy::put(
            &mut out,
            0,
            &format!("not judged: {}, {} attempts: {}", connections(flows), one.count, one.reason),
        );
    }
    if simulation.declared_by == DeclaredBy::Records {
        let what = "what is declared is taken from the records, and how far third parties could reach is not told: no objects \
                    were given";
        policy::put(&mut out, 0, what);
    }
    policy::put(&mut out, 0, &sums(simulation));
    if let Some(change) = &simulation.possible_reach {
        policy::put(&mut out, 0, &reach::sums(change));
    }
    out
}

fn connections(count: usize) -> String {
    plural(count, "observed connection", "observed connections")
}

fn line(one: &Altered) -> String {
    let port = one.port.map_or_else(String::new, |port| format!("/{port}"));
    let service = match (&one.service, &one.destination) {
        (Some(service), Place::Workload { .. }) => format!(" (by service {service})"),
        _ => String::new(),
    };
    format!("{} → {} {}{port}{service}", one.source, one.destination, one.protocol.as_kubernetes())
}

fn why(one: &Altered) -> String {
    let classes: Vec<&str> = one.classes.iter().map(|class| class.as_str()).collect();
    let mut words = format!("{} before, {} after", one.before.as_str(), one.after.as_str());
    if let Some(direction) = one.direction {
        words.push_str(match direction {
            Direction::Egress => ", at the opener",
            Direction::Ingress => ", at the listener",
        });
    }
    if !one.policies.is_empty() {
        let names: Vec<String> = one.policies.iter().map(policy::name).collect();
        words.push_str(&format!(", by {}", names.join(", ")));
    }
    if let Some(reason) = &one.reason {
        words.push_str(&format!(" ({reason})"));
    }
    if !one.recorded.is_empty() {
        let told: Vec<&str> = one.recorded.iter().copied().map(Decision::as_str).collect();
        words.push_str(&format!("; records said {}", told.join(", ")));
    }
    format!("{words}; {} attempts ({}), {:.0} to {:.0}", one.count, classes.join(", "), one.first, one.last)
}

fn sums(simulation: &Simulation) -> String {
    let sums = &simulation.sums;
    let policies = |list: &[PolicyRef], what: &str| match list.len() {
        0 => None,
        count => Some(format!("{count} {what}")),
    };
    let changed = [
        policies(&simulation.added, "new"),
        policies(&simulation.replaced, "replaced"),
        policies(&simulation.removed, "removed"),
    ];
    let changed: Vec<String> = changed.into_iter().flatten().collect();
    format!(
        "{} ({} policies): {} would be denied, {} allowed, {} unknown; {} stay allowed, {} denied{}",
        connections(usize::try_from(sums.flows).unwrap_or(usize::MAX)),
        changed.join(", "),
        sums.denied,
        sums.allowed,
        sums.unknown,
        sums.still_allowed,
        sums.still_denied,
        if sums.still_mixed > 0 { format!(", {} mixed", sums.still_mixed) } else { String::new() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_named_by_kind_namespace_and_name() {
        let named = reference("netpol/shop/web").unwrap();
        assert_eq!(
            (named.kind, named.namespace.as_deref(), &*named.name),
            (PolicyKind::NetworkPolicy, Some("shop"), "web")
        );
        let of_cluster = reference("AdminNetworkPolicy/shut").unwrap();
        assert_eq!(
            (of_cluster.kind, of_cluster.namespace, &*of_cluster.name),
            (PolicyKind::AdminNetworkPolicy, None, "shut")
        );
        for wrong in ["web", "netpol/web", "anp/shop/web", "pod/shop/web", "netpol//web", ""] {
            assert!(reference(wrong).is_err(), "{wrong}");
        }
    }
}
