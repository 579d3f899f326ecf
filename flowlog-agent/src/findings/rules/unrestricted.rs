//! FL203 and FL204: nothing holds a third party's pods in one direction.

use super::super::draft::Draft;
use super::super::estate::{Estate, Member, is_foreign, subject, with_vendor};
use crate::model::{Direction, FindingId, Pod, Proof, Severity, Tier};
use crate::policy::{Breadth, Policy, PolicySet};
use std::sync::Arc;

const WHY_OUT: &str = "Without a limit it can reach every workload that does not defend itself, the cloud's metadata, and any \
    address outside: what is needed to spread, and to carry data away.";
const WHY_IN: &str = "Whoever gets a foot into the cluster can try every port of it. Third parties' software listens on more \
    than its documentation tells.";

pub(super) fn egress(estate: &Estate<'_>) -> Vec<Draft> {
    find(estate, Direction::Egress)
}

pub(super) fn ingress(estate: &Estate<'_>) -> Vec<Draft> {
    find(estate, Direction::Ingress)
}

/// Why pods are not held.
enum Loose {
    /// They use their node's network.
    OfNode,
    /// No policy holds them.
    Unselected,
    /// This rule lets everything through.
    By(Breadth),
}

fn find(estate: &Estate<'_>, direction: Direction) -> Vec<Draft> {
    let Some(cluster) = estate.input.cluster else { return Vec::new() };
    let foreign =
        estate.workloads().filter(|(_, member)| is_foreign(&member.actor) && member.actor.pods.is_some());
    let told = foreign.filter_map(|(_, member)| {
        let loose: Vec<Loose> =
            member.pods.iter().filter_map(|pod| loose(cluster.policies, pod, direction)).collect();
        let count = loose.len();
        Some(told(member, direction, &loose.into_iter().next()?, count))
    });
    told.collect()
}

fn loose(set: &PolicySet, pod: &Arc<Pod>, direction: Direction) -> Option<Loose> {
    if pod.host_network {
        return Some(Loose::OfNode);
    }
    let policies: Vec<&Arc<Policy>> = set.find_selecting(pod, direction).collect();
    let rules = |policy: &Policy| policy.breadths(direction);
    let denies = |policy: &Policy, tier: Tier| match policy {
        Policy::Cluster(cluster) => {
            cluster.tier == tier && rules(policy).iter().any(|rule| !matches!(rule.action, "allow" | "pass"))
        }
        // What cannot be read may hold them.
        Policy::NotUnderstood(_) => true,
        Policy::NetworkPolicy(_) => false,
    };
    if policies.iter().any(|policy| denies(policy, Tier::Admin)) {
        return None;
    }
    let isolating = || policies.iter().filter(|policy| matches!(****policy, Policy::NetworkPolicy(_)));
    if isolating().next().is_none() {
        let is_held = policies.iter().any(|policy| denies(policy, Tier::Baseline));
        return (!is_held).then_some(Loose::Unselected);
    }
    isolating().flat_map(|policy| rules(policy)).find(Breadth::allows_everything).map(Loose::By)
}

fn told(member: &Member, direction: Direction, loose: &Loose, count: usize) -> Draft {
    let actor = &member.actor;
    let (id, way, why) = match direction {
        Direction::Egress => (FindingId::FL203, "egress", WHY_OUT),
        Direction::Ingress => (FindingId::FL204, "ingress", WHY_IN),
    };
    let some = match count < member.pods.len() {
        true => format!(" (of {} of {})", super::many(count, "pod"), member.pods.len()),
        false => String::new(),
    };
    let because = match loose {
        Loose::OfNode => "it uses its node's network, where no policy selects it".to_owned(),
        Loose::Unselected => format!("no policy restricts its {way}"),
        Loose::By(rule) => {
            format!("{} lets everything through: {}", super::rule_name(&rule.policy, direction), rule.words())
        }
    };
    let summary = format!("{}: {because}{some}.", with_vendor(actor));
    let evidence = match loose {
        Loose::OfNode => Proof::Inventory { what: "hostNetwork: true".to_owned() },
        Loose::Unselected => {
            Proof::Absence { what: format!("no policy with rules of {way} selects {}", actor.place) }
        }
        Loose::By(rule) => Proof::Policy { policy: rule.policy.clone(), what: rule.words() },
    };
    let severity = match (direction, loose) {
        (Direction::Egress, Loose::Unselected | Loose::By(_)) => Severity::Medium,
        _ => Severity::Low,
    };
    let remedy = match loose {
        Loose::OfNode => {
            "Take it off its node's network if it does not need it; else watch it: NetworkPolicy cannot hold it."
        }
        Loose::Unselected => {
            "Restrict it to what it needs: `flowlog policy suggest` makes the policy of what was observed."
        }
        Loose::By(_) => {
            "Replace the rule by those that it needs: `flowlog policy suggest` makes them of what was observed."
        }
    };
    Draft::new(id, subject(actor), summary)
        .vendor(actor.vendor.as_deref())
        .severity(severity)
        .why(why)
        .evidence(evidence)
        .clue(actor)
        .remedy(remedy)
        .restrict(&actor.place)
}
