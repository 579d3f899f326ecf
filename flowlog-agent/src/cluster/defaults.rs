//! What the API server fills in before it stores a policy.

use crate::policy::kinds::cluster_object::ClusterObject;
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// The namespace of an object that names none, as `kubectl` sends it.
pub(super) const NAMESPACE: &str = "default";

/// The protocol of a port that names none.
pub(super) const PROTOCOL: &str = "TCP";

/// The label that the API server sets on every namespace.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Brings a policy as a person writes it into the form that is stored.
///
/// Rules that are written as an empty list stay an empty list, which allows nothing. A missing
/// `podSelector` stays missing, which selects every pod.
pub(crate) fn network_policy(policy: &mut NetworkPolicy) {
    policy.metadata.namespace.get_or_insert_with(|| NAMESPACE.to_owned());
    let spec = policy.spec.get_or_insert_default();
    let egress_rules = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let types = spec.policy_types.get_or_insert_default();
    if types.is_empty() {
        types.push("Ingress".to_owned());
        types.extend(egress_rules.then(|| "Egress".to_owned()));
    }
    let ingress = spec.ingress.iter_mut().flatten().map(|rule| &mut rule.ports);
    let egress = spec.egress.iter_mut().flatten().map(|rule| &mut rule.ports);
    for port in ingress.chain(egress).flatten().flatten() {
        port.protocol.get_or_insert_with(|| PROTOCOL.to_owned());
    }
}

/// The same for the policies of the cluster: v1alpha1 takes a port without a protocol for one of TCP.
pub(crate) fn cluster_policy(policy: &mut ClusterObject) {
    let spec = &mut policy.spec;
    let rules = spec.ingress.iter_mut().chain(&mut spec.egress).flatten();
    for port in rules.filter_map(|rule| rule.ports.as_mut()).flatten() {
        let numbered = port.port_number.iter_mut().map(|one| &mut one.protocol);
        let ranged = port.port_range.iter_mut().map(|range| &mut range.protocol);
        for protocol in numbered.chain(ranged) {
            protocol.get_or_insert_with(|| PROTOCOL.to_owned());
        }
    }
}
