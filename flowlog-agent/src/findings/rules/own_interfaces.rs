//! FL207: a third party talks to the Kubernetes API, a node, or the metadata address.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, is_foreign, subject, went_through, with_vendor};
use crate::model::{FindingId, Role, Severity};

const METADATA: &str = "The metadata address hands out the machine's own credentials: what can ask there can be the node, in \
    the cloud's eyes.";
const KUBELET: &str = "The kubelet runs commands in every pod of its node for whoever it lets in.";
const API: &str = "The Kubernetes API is where everything here is decided: what a third party may do there goes by its service \
    account's rights.";
const NODE: &str = "What listens on a node's own address is outside every policy that selects pods.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let found = estate.by_target(|link, source, destination| {
        is_foreign(source) && destination.role.is_some() && went_through(link)
    });
    let drafts = found.into_iter().filter_map(|Group { source, destination, target, links }| {
        let (severity, why, remedy) = match destination.role? {
            Role::Metadata => (
                Severity::High,
                METADATA,
                "Deny egress to the address for this workload, or give it a workload identity of its own and let the cloud \
                 refuse what comes from pods (hop limit 1, metadata concealment).",
            ),
            Role::Kubelet => (
                Severity::Medium,
                KUBELET,
                "Let it ask the API server in the kubelet's place (`nodes/proxy`), or take care that the kubelet lets nobody in \
                 without certificate or token, and allow this one workload by a policy.",
            ),
            Role::KubernetesApi => (
                Severity::Low,
                API,
                "Look at the rights of its service account (`kubectl auth can-i --list --as=system:serviceaccount:NAMESPACE:NAME`), \
                 and give it none that it does not need.",
            ),
            Role::Node => (
                Severity::Low,
                NODE,
                "Find out what listens there, and allow the node's address and that port alone.",
            ),
        };
        let summary = format!("{} talks to {target}.", with_vendor(source));
        Some(
            Draft::new(FindingId::FL207, subject(source), summary)
                .object(target)
                .vendor(source.vendor.as_deref())
                .severity(severity)
                .why(why)
                .links(estate, &links)
                .clue(source)
                .remedy(remedy),
        )
    });
    drafts.collect()
}
