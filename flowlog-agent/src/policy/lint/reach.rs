//! Policies that select nothing, and peers that match nothing.

use super::near::{self, Why};
use super::{
    Candidate, DIRECTIONS, Estate, Finding, Linted, PEER_MATCHES_NOTHING, Report, SELECTS_NOTHING, Sight,
    Unchecked, blind, count, cover, listed,
};
use crate::model::Labels;
use crate::policy::kinds::cluster_rules::Subject;
use crate::policy::peer::NAMESPACE_NAME;
use crate::policy::{Block, Match, Namespaces, Peer, Policy, Requirement, Selector};
use std::sync::Arc;

/// What came of looking for whoever is meant.
pub(super) enum Found {
    /// Someone is, or may be.
    Some,
    /// Nobody is.
    None(Nobody),
    /// It cannot be told, and why.
    Unsure(String),
}

/// Why nobody is meant.
pub(super) struct Nobody {
    message: String,
    help: String,
    /// Something nearly fits.
    is_near: bool,
}

pub(super) fn check(policies: &[Linted], estate: &Estate, report: &mut Report) {
    for one in policies {
        if let Some((field, found)) = subject(&one.policy, estate) {
            note(report, estate, one, SELECTS_NOTHING, field.to_owned(), found);
        }
        peers(one, estate, report);
    }
    if !policies.is_empty() {
        blind(estate, &[SELECTS_NOTHING, PEER_MATCHES_NOTHING], report);
    }
}

fn note(report: &mut Report, estate: &Estate, one: &Linted, rule: super::Rule, field: String, found: Found) {
    match found {
        Found::None(nobody) if nobody.is_near || estate.sight() == Sight::Pods => {
            let Nobody { message, help, .. } = nobody;
            report.findings.push(Finding::new(rule, one.reference(), field, message, help));
        }
        Found::Unsure(why) => report.unchecked.push(Unchecked { rule: rule.id, why }),
        Found::Some | Found::None(_) => {}
    }
}

/// Whom a policy selects, and the field that says so.
fn subject(policy: &Policy, estate: &Estate) -> Option<(&'static str, Found)> {
    if estate.sight() == Sight::Blind {
        return None;
    }
    match policy {
        Policy::NetworkPolicy(policy) => {
            let own = Namespaces::Own(policy.namespace.clone());
            Some(("spec.podSelector", selected("selects", &own, &policy.subject, estate)))
        }
        Policy::Cluster(policy) => match &policy.subject {
            Subject::Pods { namespaces, pods } => {
                let namespaces = Namespaces::Selected(namespaces.clone());
                Some(("spec.subject", selected("selects", &namespaces, pods, estate)))
            }
            Subject::Undetermined(_) => None,
        },
        Policy::NotUnderstood(_) => None,
    }
}

fn peers(one: &Linted, estate: &Estate, report: &mut Report) {
    for direction in DIRECTIONS {
        for (place, rule) in cover::views(&one.policy, direction).iter().enumerate() {
            for (number, peer) in rule.peers.unwrap_or_default().iter().enumerate() {
                let field = one.peer_field(direction, place, number);
                note(report, estate, one, PEER_MATCHES_NOTHING, field, matched(peer, estate));
            }
        }
    }
}

fn matched(peer: &Peer, estate: &Estate) -> Found {
    match peer {
        Peer::Block(block) => leaves_something(block),
        Peer::Nodes(selector) => nodes(selector, estate),
        Peer::Pods { .. } if estate.sight() == Sight::Blind => Found::Some,
        Peer::Pods { namespaces, pods } => selected("matches", namespaces, pods, estate),
        Peer::Names(_) | Peer::Undetermined(_) => Found::Some,
    }
}

fn nobody(message: String, help: &str, near: Option<String>) -> Found {
    let is_near = near.is_some();
    let help = near.map_or_else(|| help.to_owned(), |near| format!("did you mean {near}?"));
    Found::None(Nobody { message, help, is_near })
}

/// It leaves out all that it holds. Certain without any pod.
fn leaves_something(block: &Block) -> Found {
    if block.unread.is_some() || !cover::is_covered(block.block, &block.except) {
        return Found::Some;
    }
    let message = format!("matches nothing: `except` leaves nothing of {}", block.block);
    let help = "take an `except` out, or the peer".to_owned();
    // Nothing that is not known could change it.
    Found::None(Nobody { message, help, is_near: true })
}

fn nodes(selector: &Selector, estate: &Estate) -> Found {
    if estate.unsure.is_some() {
        return Found::Some;
    }
    if estate.nodes.is_empty() {
        return Found::Unsure("there are no nodes in the manifests".to_owned());
    }
    // A node without labels was only heard of.
    let may_match = |labels: &Labels| labels.is_empty() || selector.matches(labels) != Match::No;
    if estate.nodes.iter().any(|node| may_match(&node.labels)) {
        return Found::Some;
    }
    let sets: Vec<&Labels> = estate.nodes.iter().map(|node| &node.labels).collect();
    let why = near::why_none(selector, &sets, "node");
    let message = format!("matches none of {}: {}", count(sets.len(), "node", "nodes"), why.message);
    nobody(message, &there(&why, "name a label that a node has"), why.near)
}

fn there(why: &Why, otherwise: &str) -> String {
    why.there.clone().unwrap_or_else(|| otherwise.to_owned())
}

/// Whether a selector of namespaces and one of pods select a pod.
fn selected(verb: &str, namespaces: &Namespaces, pods: &Selector, estate: &Estate) -> Found {
    if estate.candidates().any(|one| is_pod(one) && may_match(namespaces, pods, one)) {
        return Found::Some;
    }
    if let Some(found) = unsure_or_no_namespace(verb, namespaces, estate) {
        return found;
    }
    let there: Vec<&Candidate> =
        estate.candidates().filter(|one| namespaces.matches(&one.pod) != Match::No).collect();
    let place = place(namespaces);
    if may_be_unseen(namespaces, estate) {
        return unseen(namespaces, pods, &there, estate, verb);
    }
    if there.is_empty() {
        let message = format!("{verb} nothing: there is no pod in {}", names(namespaces, estate));
        return nobody(message, "check the namespace; for pods yet to come nothing needs to be done", None);
    }
    let hosted =
        there.iter().filter(|one| one.pod.host_network && pods.matches(&one.pod.labels) == Match::Yes);
    if let Some(example) = hosted.clone().next() {
        let message = format!(
            "{verb} nothing: of {place} only {} that use their node's network ({})",
            count(hosted.count(), "pod fits", "pods fit"),
            example.title
        );
        return nobody(
            message,
            "such a pod counts as its node: name the node's address with an ipBlock",
            None,
        );
    }
    let sets: Vec<&Labels> = there.iter().map(|one| &*one.pod.labels).collect();
    let why = near::why_none(pods, &sets, "pod");
    let message = format!("{verb} none of {} in {place}: {}", count(sets.len(), "pod", "pods"), why.message);
    let help = match verb {
        "selects" => "name labels that a pod has: as it is, the policy does nothing",
        _ => "name labels that a pod has: as it is, the peer stands for nobody",
    };
    nobody(message, &self::there(&why, help), why.near)
}

/// Whether there may be pods of these namespaces that are not known: a namespace without pods and one whose
/// pods were not asked for look alike, unless the whole cluster is known.
pub(super) fn may_be_unseen(namespaces: &Namespaces, estate: &Estate) -> bool {
    if estate.is_whole() {
        return false;
    }
    match namespaces {
        Namespaces::Own(name) => !estate.knows(name),
        Namespaces::Selected(selector) => {
            let mut fitting =
                estate.namespaces.iter().filter(|(_, labels)| selector.matches(labels) != Match::No);
            !(estate.has_all_namespaces() || is_pinned(selector, estate))
                || fitting.any(|(name, _)| !estate.knows(name))
        }
    }
}

/// Whether a selector names namespaces that are known, so that no other can fit.
fn is_pinned(selector: &Selector, estate: &Estate) -> bool {
    selector.0.iter().any(|requirement| match requirement {
        Requirement::In(key, names) if key == NAMESPACE_NAME => {
            names.iter().all(|name| estate.namespaces.contains_key(name))
        }
        _ => false,
    })
}

/// Not all pods are known: only what nearly fits one that is is told.
fn unseen(
    namespaces: &Namespaces,
    pods: &Selector,
    there: &[&Candidate],
    estate: &Estate,
    verb: &str,
) -> Found {
    let sets: Vec<&Labels> = there.iter().map(|one| &*one.pod.labels).collect();
    let why = near::why_none(pods, &sets, "pod");
    match why.near {
        Some(near) => {
            let (pods, place) = (count(sets.len(), "pod", "pods"), place(namespaces));
            nobody(format!("{verb} none of {pods} in {place}: {}", why.message), "", Some(near))
        }
        None => Found::Unsure(format!(
            "the pods of {} may not all be in the manifests",
            names(namespaces, estate)
        )),
    }
}

/// A pod that a selector can match.
pub(super) fn is_pod(one: &Candidate) -> bool {
    !one.pod.host_network
}

/// Whether a pod is meant, or may be.
pub(super) fn may_match(namespaces: &Namespaces, pods: &Selector, one: &Candidate) -> bool {
    namespaces.matches(&one.pod).and(|| pods.matches(&one.pod.labels)) != Match::No
}

fn place(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Own(name) => format!("namespace {name}"),
        Namespaces::Selected(selector) if selector.0.is_empty() => "any namespace".to_owned(),
        Namespaces::Selected(_) => "the namespaces that fit".to_owned(),
    }
}

/// The namespaces that are meant, by name.
fn names(namespaces: &Namespaces, estate: &Estate) -> String {
    let fitting: Vec<String> = match namespaces {
        Namespaces::Own(name) => vec![name.clone()],
        Namespaces::Selected(selector) => {
            let fitting =
                estate.namespaces.iter().filter(|(_, labels)| selector.matches(labels) != Match::No);
            fitting.map(|(name, _)| name.clone()).collect()
        }
    };
    match &fitting[..] {
        [one] => format!("namespace {one}"),
        [] => "other namespaces".to_owned(),
        _ if matches!(namespaces, Namespaces::Selected(selector) if selector.0.is_empty()) => {
            "all namespaces".to_owned()
        }
        few if few.len() <= 3 => format!("namespaces {}", listed(few)),
        many => format!("{} namespaces", many.len()),
    }
}

/// What can be told by the namespaces alone.
fn unsure_or_no_namespace(verb: &str, namespaces: &Namespaces, estate: &Estate) -> Option<Found> {
    let names = || estate.namespaces.keys().map(String::as_str);
    match namespaces {
        Namespaces::Own(name) if estate.knows(name) || estate.namespaces.contains_key(name) => None,
        Namespaces::Own(name) => {
            let near = near::name(name, names()).map(|near| format!("namespace `{near}`"));
            if near.is_none() && !estate.has_all_namespaces() {
                return Some(Found::Unsure(format!("nothing in the manifests tells of namespace {name}")));
            }
            let message = format!("{verb} nothing: there is no namespace {name} in the manifests");
            Some(nobody(message, "check the namespace", near))
        }
        Namespaces::Selected(selector) if selector.0.is_empty() => None,
        Namespaces::Selected(_) if estate.namespaces.is_empty() => {
            Some(Found::Unsure("there are no namespaces with their labels in the manifests".to_owned()))
        }
        Namespaces::Selected(selector) => {
            let fits = estate.namespaces.values().any(|labels| selector.matches(labels) != Match::No);
            // One that is only known by its pods may have any label.
            let may_fit = || estate.candidates().any(|one| namespaces.matches(&one.pod) != Match::No);
            (!fits && !may_fit()).then(|| no_namespace(verb, selector, estate))
        }
    }
}

fn no_namespace(verb: &str, selector: &Selector, estate: &Estate) -> Found {
    let labels: Vec<Arc<Labels>> = estate.namespaces.values().cloned().collect();
    let sets: Vec<&Labels> = labels.iter().map(|labels| &**labels).collect();
    let why = near::why_none(selector, &sets, "namespace");
    let spaces = count(sets.len(), "namespace", "namespaces");
    if why.near.is_none() && !estate.has_all_namespaces() {
        return Found::Unsure("the namespaces may not all be in the manifests".to_owned());
    }
    let message = format!("{verb} nothing: of {spaces} none fits: {}", why.message);
    let help = match why.there {
        Some(there) if !there.contains(NAMESPACE_NAME) => there,
        _ => "name labels that a namespace has".to_owned(),
    };
    nobody(message, &help, why.near)
}
