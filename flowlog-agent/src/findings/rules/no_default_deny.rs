//! FL301: a namespace without default deny, per direction.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{Direction, FindingId, Labels, Origin, Pod, Proof, Severity, Subject};
use crate::policy::{Breadth, Policy, PolicySet, Wide};
use std::collections::BTreeMap;
use std::sync::Arc;

const WHY: &str = "A pod that nobody thought of, the next one that is installed there, is open until somebody writes a policy \
    for it. Default deny turns that around.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let Some(cluster) = estate.input.cluster else { return Vec::new() };
    let mut namespaces: BTreeMap<Arc<str>, (Arc<Labels>, bool)> = BTreeMap::new();
    for (_, member) in estate.workloads().filter(|(_, member)| member.actor.pods.is_some()) {
        for pod in &member.pods {
            let fresh = || (Arc::clone(&pod.namespace_labels), true);
            let (_, is_platform) = namespaces.entry(Arc::clone(&pod.namespace)).or_insert_with(fresh);
            *is_platform &= member.actor.origin == Origin::Platform;
        }
    }
    // What the cluster itself is made of is its provider's to restrict.
    let own = namespaces.into_iter().filter(|(_, (_, is_platform))| !is_platform);
    let told = own.flat_map(|(namespace, (labels, _))| {
        let pod = Arc::new(Pod {
            namespace: Arc::clone(&namespace),
            name: "new".into(),
            namespace_labels: labels,
            ..Pod::default()
        });
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .filter(|direction| !is_denied(cluster.policies, &pod, *direction))
            .map(|direction| told(&namespace, direction))
            .collect::<Vec<_>>()
    });
    told.collect()
}

/// Whether a pod without labels is denied what no rule allows it.
fn is_denied(set: &PolicySet, pod: &Arc<Pod>, direction: Direction) -> bool {
    set.find_selecting(pod, direction).any(|policy| match &**policy {
        Policy::NetworkPolicy(_) => !policy.breadths(direction).iter().any(Breadth::allows_everything),
        Policy::Cluster(_) => policy.breadths(direction).iter().any(denies_everybody),
        // Whether it does, cannot be told.
        Policy::NotUnderstood(_) => true,
    })
}

fn denies_everybody(rule: &Breadth) -> bool {
    let everybody = [Wide::EveryNamespace, Wide::EveryAddress].iter().any(|wide| rule.wide.contains(wide));
    rule.action == "deny" && everybody && rule.ports.is_empty()
}

fn told(namespace: &str, direction: Direction) -> Draft {
    let (way, types, doing) = match direction {
        Direction::Egress => ("egress", "Egress", "open a connection to anyone"),
        Direction::Ingress => ("ingress", "Ingress", "be reached by anyone"),
    };
    let summary =
        format!("A new pod of namespace {namespace} can {doing}: there is no default deny of {way}.");
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: default-deny-{way}\n  namespace: {namespace}\n\
         spec:\n  podSelector: {{}}\n  policyTypes:\n    - {types}\n"
    );
    Draft::new(FindingId::FL301, Subject::Namespace { name: namespace.to_owned() }, summary)
        .object(way.to_owned())
        .severity(Severity::Low)
        .why(WHY)
        .evidence(Proof::Absence { what: format!("no policy isolates a pod without labels for {way}") })
        .remedy(format!(
            "Allow first what is needed (`flowlog policy suggest`{}), then apply the policy.",
            if direction == Direction::Egress { ", the DNS among it" } else { "" }
        ))
        .policy(policy)
}
