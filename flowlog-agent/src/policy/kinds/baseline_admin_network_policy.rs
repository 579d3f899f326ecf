//! policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy: one for the cluster, without `Pass`.

use super::admin_network_policy::ports;
use super::cluster_object::{self, ClusterObject, Kind};
use super::cluster_rules::{Action, ClusterPolicy};
use crate::model::{PolicyKind, Tier};

const KIND: Kind = Kind { kind: PolicyKind::BaselineAdminNetworkPolicy, tier: Tier::Baseline, action, ports };

/// Reads an object that has its defaults.
pub fn read(object: &ClusterObject) -> ClusterPolicy {
    cluster_object::read(&KIND, object)
}

fn action(written: &str) -> Option<Action> {
    match written {
        "Allow" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        _ => None,
    }
}
