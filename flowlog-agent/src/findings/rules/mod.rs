//! One finding each. A rule looks at the estate and says what is wrong; whether it counts is decided elsewhere.

mod blocked;
mod changed_image;
mod crosses_namespaces;
mod denied;
mod internet;
mod new_flow;
mod not_enforced;
mod opaque;
mod own_interfaces;
mod probing;
mod sensitive_reached;
mod unknown_origin;
mod unpinned;
mod untrusted_registry;
mod vulnerable;

use super::draft::Draft;
use super::estate::Estate;
use crate::model::{FindingId, PolicyRef, Proof};

/// What a rule cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// Flow records.
    Records,
    /// Objects, or records that tell of images.
    Any,
    /// Registries that are named as trusted.
    Registries,
    /// Scanners' reports.
    Scans,
    /// A baseline, and records.
    BaselineRecords,
    /// A baseline, and objects.
    BaselineObjects,
}

impl Needs {
    /// Why a rule that needs this finds nothing, if so.
    pub(super) fn lacking(self, estate: &Estate<'_>) -> Option<&'static str> {
        let input = &estate.input;
        let records = input.observed.is_some();
        let objects = input.cluster.is_some();
        let baseline = input.baseline.is_some();
        match self {
            Self::Records if !records => Some("no flow records were given (--logs)"),
            Self::Any if !records && !objects => Some("neither records nor objects were given"),
            Self::Registries if input.settings.trusted_registries.is_empty() => {
                Some("no registry is named as trusted (`trusted_registries`)")
            }
            Self::Scans if input.scans.is_empty() => Some("no scanner's reports were given (--scans)"),
            Self::BaselineRecords | Self::BaselineObjects if !baseline => {
                Some("no baseline was given (--baseline)")
            }
            Self::BaselineRecords if !records => Some("no flow records were given (--logs)"),
            Self::BaselineObjects if !objects => {
                Some("no objects of the cluster were given (--manifests or --live)")
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
    rule(FindingId::FL205, Needs::Records, crosses_namespaces::find),
    rule(FindingId::FL206, Needs::Records, internet::find),
    rule(FindingId::FL207, Needs::Records, own_interfaces::find),
    rule(FindingId::FL401, Needs::Any, unpinned::find),
    rule(FindingId::FL402, Needs::Registries, untrusted_registry::find),
    rule(FindingId::FL403, Needs::Scans, vulnerable::find),
    rule(FindingId::FL404, Needs::Scans, opaque::find),
    rule(FindingId::FL405, Needs::Any, unknown_origin::find),
    rule(FindingId::FL501, Needs::BaselineRecords, new_flow::find),
    rule(FindingId::FL502, Needs::BaselineObjects, changed_image::find),
];

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
