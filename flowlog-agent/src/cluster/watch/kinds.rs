//! The kinds that are watched.

use crate::inventory::Scope;
use std::fmt;

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidr,
    /// `batch/v1` Job.
    Job,
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1` AdminNetworkPolicy.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1` BaselineAdminNetworkPolicy.
    BaselineAdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.
    ClusterNetworkPolicy,
}

/// What cannot be said while a kind is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Who has an address.
    Names,
    /// What the rules say.
    Rules,
    /// Nothing: what it adds is left out.
    Nothing,
}

/// What is to be known of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// As the API writes it.
    pub(super) name: &'static str,
    pub(super) api_version: &'static str,
    /// Where all objects of the kind are listed.
    pub(super) path: &'static str,
    /// Only `metadata` is asked for.
    pub(super) metadata_only: bool,
    /// Not every API server serves it.
    pub(super) optional: bool,
    pub(super) needed: Needed,
}

impl Row {
    /// Which of its objects are asked for, where that is not all of them.
    pub(super) fn fields(&self, scope: Scope, node: &str) -> Option<String> {
        match (scope, self.kind) {
            (Scope::Node { .. }, Kind::Pod) => Some(format!("spec.nodeName={node}")),
            (Scope::Node { .. }, Kind::Node) => Some(format!("metadata.name={node}")),
            _ => None,
        }
    }

    /// As requests and rights name it.
    pub(super) fn plural(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

const fn row(
    kind: Kind,
    name: &'static str,
    api_version: &'static str,
    path: &'static str,
    needed: Needed,
) -> Row {
    Row { kind, name, api_version, path, metadata_only: false, optional: false, needed }
}

const fn optional(row: Row) -> Row {
    Row { optional: true, ..row }
}

/// All kinds, in the order of [`Kind`].
pub(super) const KINDS: [Row; 11] = [
    row(Kind::Namespace, "Namespace", "v1", "/api/v1/namespaces", Needed::Rules),
    row(Kind::Node, "Node", "v1", "/api/v1/nodes", Needed::Names),
    row(Kind::Pod, "Pod", "v1", "/api/v1/pods", Needed::Names),
    row(Kind::Service, "Service", "v1", "/api/v1/services", Needed::Names),
    row(
        Kind::EndpointSlice,
        "EndpointSlice",
        "discovery.k8s.io/v1",
        "/apis/discovery.k8s.io/v1/endpointslices",
        Needed::Names,
    ),
    // In v1 from Kubernetes 1.33 on.
    optional(row(
        Kind::ServiceCidr,
        "ServiceCIDR",
        "networking.k8s.io/v1",
        "/apis/networking.k8s.io/v1/servicecidrs",
        Needed::Names,
    )),
    // A Job's CronJob is told by its owner reference alone. ReplicaSets need no watch: their name and their pods' labels
    // tell the Deployment, and a cluster keeps ten old ones for each that runs.
    Row { metadata_only: true, ..row(Kind::Job, "Job", "batch/v1", "/apis/batch/v1/jobs", Needed::Nothing) },
    row(
        Kind::NetworkPolicy,
        "NetworkPolicy",
        "networking.k8s.io/v1",
        "/apis/networking.k8s.io/v1/networkpolicies",
        Needed::Rules,
    ),
    optional(row(
        Kind::AdminNetworkPolicy,
        "AdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
        "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
        Needed::Rules,
    )),
    optional(row(
        Kind::BaselineAdminNetworkPolicy,
        "BaselineAdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
        "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
        Needed::Rules,
    )),
    optional(row(
        Kind::ClusterNetworkPolicy,
        "ClusterNetworkPolicy",
        "policy.networking.k8s.io/v1alpha2",
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        Needed::Rules,
    )),
];

impl Kind {
    pub(super) fn row(self) -> &'static Row {
        // Each kind has its row: asserted by a test below.
        KINDS.iter().find(|row| row.kind == self).unwrap_or(&KINDS[0])
    }

    /// Whether its objects are policies.
    pub(super) fn is_policy(self) -> bool {
        matches!(
            self,
            Self::NetworkPolicy
                | Self::AdminNetworkPolicy
                | Self::BaselineAdminNetworkPolicy
                | Self::ClusterNetworkPolicy
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.row().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_row() {
        for row in &KINDS {
            assert_eq!(row.kind.row().name, row.name);
            let (group, version) = row.api_version.split_once('/').unwrap_or(("", row.api_version));
            let folder = if group.is_empty() {
                format!("/api/{version}/")
            } else {
                format!("/apis/{group}/{version}/")
            };
            assert!(row.path.starts_with(&folder), "{}", row.name);
        }
        let kinds: std::collections::BTreeSet<Kind> = KINDS.iter().map(|row| row.kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
    }
}
