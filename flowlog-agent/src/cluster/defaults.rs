//! What the API server fills in before it stores a NetworkPolicy.

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
