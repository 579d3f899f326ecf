//! One finding each. A rule looks at the estate and says what is wrong; whether it counts is decided elsewhere.

mod blocked;
mod changed_image;
mod crosses_namespaces;
mod denied;
mod ineffective;
mod internet;
mod new_flow;
mod no_default_deny;
mod not_enforced;
mod opaque;
mod own_interfaces;
mod probing;
mod rule_use;
mod sensitive_reachable;
mod sensitive_reached;
mod unknown_origin;
mod unpinned;
mod unrestricted;
mod untrusted_registry;
mod vulnerable;
mod widened;

use super::draft::Draft;
use super::estate::Estate;
use crate::model::{Direction, FindingId, PolicyRef, Proof, Reach, ReachPort};

/// What a rule cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// Flow records.
    Records,
    /// The cluster's objects, and all of its policies.
    Objects,
    /// The same, and what the checks of policies say.
    Checks,
    /// Both.
    Both,
    /// Objects, or records that tell of images.
    Any,
    /// Registries that are named as trusted.
    Registries,
    /// Scanners' reports.
    Scans,
    /// All scanners' reports that there are.
    AllScans,
    /// A baseline, and records.
    BaselineRecords,
    /// A baseline, and objects.
    BaselineObjects,
}

impl Needs {
    fn words(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Objects | Self::Checks => "objects",
            Self::Both => "records and objects",
            Self::Any => "records or objects",
            Self::Registries => "records or objects, registries that are named as trusted",
            Self::Scans | Self::AllScans => "scanners' reports",
            Self::BaselineRecords => "baseline and records",
            Self::BaselineObjects => "baseline and objects",
        }
    }

    /// Why a rule that needs this finds nothing, if so.
    pub(super) fn lacking(self, estate: &Estate<'_>) -> Option<&'static str> {
        let input = &estate.input;
        let records = input.observed.is_some();
        let objects = input.cluster.is_some();
        let baseline = input.baseline.is_some();
        let unread = input.cluster.is_some_and(|cluster| cluster.read.unread.is_some());
        match self {
            Self::Records | Self::Both if !records => Some("no flow records were given (--logs)"),
            Self::Any if !records && !objects => Some("neither records nor objects were given"),
            Self::Registries if input.settings.trusted_registries.is_empty() => {
                Some("no registry is named as trusted (`trusted_registries`)")
            }
            Self::Scans | Self::AllScans if input.scans.is_empty() => Some(match input.scans_unread {
                true => "no scanner's reports could be read",
                false => "no scanner's reports were given (--scans)",
            }),
            Self::AllScans if input.scans_unread => Some("not all scanners' reports could be read"),
            Self::BaselineRecords | Self::BaselineObjects if !baseline => {
                Some("no baseline was given (--baseline)")
            }
            Self::BaselineRecords if !records => Some("no flow records were given (--logs)"),
            Self::BaselineObjects | Self::Objects | Self::Checks | Self::Both if !objects => {
                Some("no objects of the cluster were given (--manifests or --live)")
            }
            Self::Objects | Self::Checks | Self::Both if unread => Some("not all policies could be read"),
            Self::Checks if input.cluster.is_some_and(|cluster| cluster.faults.is_none()) => {
                Some("the policies as they are written could not be read")
            }
            _ => None,
        }
    }
}

/// A kind of finding, and who looks for it.
pub(super) struct Rule {
    pub(super) id: FindingId,
    pub(super) needs: Needs,
    pub(super) find: fn(&Estate<'_>) -> Vec<Draft>,
}

const fn rule(id: FindingId, needs: Needs, find: fn(&Estate<'_>) -> Vec<Draft>) -> Rule {
    Rule { id, needs, find }
}

/// All rules, in the order of their numbers.
pub(super) const RULES: &[Rule] = &[
    rule(FindingId::FL101, Needs::Records, not_enforced::find),
    rule(FindingId::FL102, Needs::Records, blocked::find),
    rule(FindingId::FL103, Needs::Records, denied::find),
    rule(FindingId::FL104, Needs::Records, probing::find),
    rule(FindingId::FL201, Needs::Records, sensitive_reached::find),
    rule(FindingId::FL202, Needs::Objects, sensitive_reachable::find),
    rule(FindingId::FL203, Needs::Objects, unrestricted::egress),
    rule(FindingId::FL204, Needs::Objects, unrestricted::ingress),
    rule(FindingId::FL205, Needs::Records, crosses_namespaces::find),
    rule(FindingId::FL206, Needs::Records, internet::find),
    rule(FindingId::FL207, Needs::Records, own_interfaces::find),
    rule(FindingId::FL301, Needs::Objects, no_default_deny::find),
    rule(FindingId::FL302, Needs::Both, rule_use::unused),
    rule(FindingId::FL303, Needs::Checks, ineffective::find),
    rule(FindingId::FL304, Needs::Both, rule_use::wide),
    rule(FindingId::FL401, Needs::Any, unpinned::find),
    rule(FindingId::FL402, Needs::Registries, untrusted_registry::find),
    rule(FindingId::FL403, Needs::Scans, vulnerable::find),
    rule(FindingId::FL404, Needs::AllScans, opaque::find),
    rule(FindingId::FL405, Needs::Any, unknown_origin::find),
    rule(FindingId::FL501, Needs::BaselineRecords, new_flow::find),
    rule(FindingId::FL502, Needs::BaselineObjects, changed_image::find),
    rule(FindingId::FL503, Needs::BaselineObjects, widened::find),
];

/// The table of findings for `docs/findings.md`.
pub fn table() -> String {
    let row = |rule: &Rule| {
        let (id, title, severity) = (rule.id, rule.id.title(), rule.id.severity().as_str());
        format!("| {id} | {title} | {severity} | {} |\n", rule.needs.words())
    };
    let rows: String = RULES.iter().map(row).collect();
    format!("| id | title | usual | needs |\n|---|---|---|---|\n{rows}")
}

/// `NetworkPolicy shop/frontend`.
fn policy_name(policy: &PolicyRef) -> String {
    match &policy.namespace {
        Some(namespace) => format!("{:?} {namespace}/{}", policy.kind, policy.name),
        None => format!("{:?} {}", policy.kind, policy.name),
    }
}

/// `1 port`, `3 ports`.
fn many(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// The first few, and how many more there are.
fn listed(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Where an image runs.
fn runs_in(estate: &Estate<'_>, image: usize) -> Proof {
    let places = estate.workloads().filter(|(_, member)| member.actor.images.contains(&image));
    let places: Vec<String> = places.map(|(_, member)| member.actor.place.to_string()).collect();
    Proof::Inventory { what: format!("runs in {}", listed(&places, 5)) }
}

/// `egress rule 0`.
fn rule_title(policy: &PolicyRef, direction: Direction) -> String {
    let way = match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    };
    format!("{way} rule {}", policy.rule.unwrap_or_default())
}

/// `egress rule 0 of NetworkPolicy shop/frontend`.
fn rule_name(policy: &PolicyRef, direction: Direction) -> String {
    format!("{} of {}", rule_title(policy, direction), policy_name(policy))
}

/// ` :80/tcp, :8000-8999/tcp`, of all that could be reached.
fn ports_of<'r>(reaches: impl IntoIterator<Item = &'r Reach>) -> String {
    let ports: Vec<ReachPort> = reaches.into_iter().flat_map(|reach| reach.ports.iter().cloned()).collect();
    ports_words(&ports)
}

fn ports_words(ports: &[ReachPort]) -> String {
    let mut ports: Vec<&ReachPort> = ports.iter().collect();
    ports.sort_by_key(|port| (port.protocol, port.port));
    let words: Vec<String> = ports
        .into_iter()
        .map(|port| {
            let protocol = port.protocol.as_kubernetes().to_lowercase();
            match (port.port, port.last) {
                (None, _) => format!("all {protocol}"),
                (Some(first), Some(last)) => format!(":{first}-{last}/{protocol}"),
                (Some(port), None) => format!(":{port}/{protocol}"),
            }
        })
        .collect();
    format!(" {}", listed(&words, 5))
}

/// A policy that takes part, with the rule in words.
fn policy_proof(estate: &Estate<'_>, policy: &PolicyRef) -> Proof {
    let whole = PolicyRef { rule: None, ..policy.clone() };
    let found = estate.input.cluster.and_then(|cluster| cluster.policies.find_policy(&whole));
    let rules = |direction| found.map(|found| found.breadths(direction)).unwrap_or_default();
    // The number alone does not tell of which direction the rule is.
    let told = [Direction::Egress, Direction::Ingress].into_iter().filter_map(|direction| {
        let rule = rules(direction).into_iter().find(|rule| rule.policy == *policy)?;
        Some(format!("{}: {}", rule_title(policy, direction), rule.words()))
    });
    let told: Vec<String> = told.collect();
    let what = if told.is_empty() { "takes part".to_owned() } else { told.join("; ") };
    Proof::Policy { policy: policy.clone(), what }
}
