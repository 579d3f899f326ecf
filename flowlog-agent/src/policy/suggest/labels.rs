//! By which labels the pods of a workload are told from all others of their namespace.
//!
//! Only labels that all of its pods have and that stay from roll-out to roll-out. Those that name an application come
//! first, then others that tell it from its neighbours, then those of a version, then labels that only neighbours have.

use crate::model::{Labels, NOISE_LABELS, Place, Pod};
use crate::policy::observed::{Cast, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels by which applications are named.
const NAMES: [&str; 7] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app",
    "k8s-app",
    "name",
    "component",
];

/// Labels that a release changes: they serve where nothing else tells workloads apart.
const OF_A_RELEASE: [&str; 6] = [
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    "chart",
    "heritage",
    "version",
];

/// Labels that differ from one pod of a Job to the next, beside the noise.
const OF_A_POD: [&str; 2] = ["batch.kubernetes.io/job-completion-index", "job-completion-index"];

/// Labels that differ from one Job of a CronJob to the next.
const OF_A_RUN: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// What selects the pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Labels that they have; at least one.
    pub(super) labels: Labels,
    /// Labels that they do not have, and others of the namespace do.
    pub(super) absent: Vec<String>,
    /// Whom it selects, too.
    pub(super) also: Vec<Place>,
}

impl Chosen {
    pub(super) fn selects(&self, pod: &Pod) -> bool {
        !pod.host_network && matches(&self.labels, &self.absent, pod)
    }
}

/// What selects each workload, or why nothing does.
#[derive(Clone, Debug, Default)]
pub(super) struct Selectors {
    by_place: BTreeMap<Place, Result<Chosen, String>>,
    /// Whose policies select the pods of a workload: its own, and those of others that no label tells it from.
    selecting: BTreeMap<Place, Vec<Place>>,
}

impl Selectors {
    pub(super) fn find(&self, place: &Place) -> Option<&Result<Chosen, String>> {
        self.by_place.get(place)
    }

    pub(super) fn chosen(&self, place: &Place) -> Option<&Chosen> {
        self.by_place.get(place)?.as_ref().ok()
    }

    pub(super) fn selecting(&self, place: &Place) -> &[Place] {
        self.selecting.get(place).map_or(&[], Vec::as_slice)
    }
}

/// For every workload.
pub(super) fn choose_all(cast: &Cast<'_>) -> Selectors {
    let mut by_namespace: BTreeMap<&str, Vec<(&Place, &Member)>> = BTreeMap::new();
    for (place, member) in cast.members() {
        if let Some(namespace) = place.namespace() {
            by_namespace.entry(namespace).or_default().push((place, member));
        }
    }
    let mut selectors = Selectors::default();
    for members in by_namespace.values() {
        for (place, member) in members {
            let chosen = choose(place, member, members);
            if let Ok(chosen) = &chosen {
                for selected in std::iter::once(*place).chain(&chosen.also) {
                    selectors.selecting.entry(selected.clone()).or_default().push((*place).clone());
                }
            }
            selectors.by_place.insert((*place).clone(), chosen);
        }
    }
    selectors
}

fn choose(place: &Place, member: &Member, there: &[(&Place, &Member)]) -> Result<Chosen, String> {
    let Place::Workload { namespace, owner, .. } = place else {
        return Err("it is no workload".to_owned());
    };
    if !is_dns_label(namespace) {
        return Err("its namespace has a name that no namespace can have".to_owned());
    }
    if member.is_on_host() {
        return Err("its pods use their nodes' network, and no policy selects them".to_owned());
    }
    let common = common(owner, member);
    if common.is_empty() {
        return Err("its pods have no label in common that stays".to_owned());
    }
    let others: Vec<(&Place, Vec<&Arc<Pod>>)> = there
        .iter()
        .filter(|(other, _)| *other != place)
        .map(|(other, member)| (*other, member.kinds().filter(|pod| !pod.host_network).collect()))
        .collect();
    let labels = grow(&common, &others);
    let absent = shrink(member, &labels, &others);
    let selected = |pods: &Vec<&Arc<Pod>>| pods.iter().any(|pod| matches(&labels, &absent, pod));
    let also = others.iter().filter(|(_, pods)| selected(pods)).map(|(other, _)| (*other).clone()).collect();
    Ok(Chosen { labels, absent, also })
}

/// Labels that all pods have and that stay. Pods of which a record showed none tell nothing.
fn common(owner: &str, member: &Member) -> Labels {
    let pods = || member.pods.iter().filter(|pod| !pod.host_network);
    let telling = pods().filter(|pod| member.declared || !pod.labels.is_empty());
    let mut telling = telling.map(|pod| &pod.labels);
    let Some(first) = telling.next() else { return Labels::new() };
    let mut common = Labels::clone(first);
    for labels in telling {
        common.retain(|key, value| labels.get(key) == Some(value));
    }
    common.retain(|key, value| stays(owner, key) && is_key(key) && is_value(value));
    common
}

fn stays(owner: &str, key: &str) -> bool {
    let goes = NOISE_LABELS.contains(&key) || OF_A_POD.contains(&key);
    !goes && (owner != "CronJob" || !OF_A_RUN.contains(&key))
}

/// Begins with what names the application and adds what tells it from others, as long as something does.
fn grow(common: &Labels, others: &[(&Place, Vec<&Arc<Pod>>)]) -> Labels {
    let of = |keep: &dyn Fn(&str) -> bool| -> Labels {
        common.iter().filter(|(key, _)| keep(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let firm = |key: &str| !OF_A_RELEASE.contains(&key);
    let mut labels = of(&|key| NAMES.contains(&key));
    if labels.is_empty() {
        labels = of(&firm);
    }
    if labels.is_empty() {
        labels = common.clone();
    }
    loop {
        let taken = |labels: &Labels| {
            others.iter().filter(|(_, pods)| pods.iter().any(|pod| matches(labels, &[], pod))).count()
        };
        let now = taken(&labels);
        let left = common.iter().filter(|(key, _)| !labels.contains_key(*key));
        let better = left.filter_map(|(key, value)| {
            let mut more = labels.clone();
            more.insert(key.clone(), value.clone());
            let count = taken(&more);
            (count < now).then_some((!firm(key), count, more))
        });
        match better.min_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1))) {
            Some((.., more)) => labels = more,
            None => return labels,
        }
    }
}

/// Labels that only others have, where that tells them apart.
fn shrink(member: &Member, labels: &Labels, others: &[(&Place, Vec<&Arc<Pod>>)]) -> Vec<String> {
    let own: BTreeSet<&String> = member.pods.iter().flat_map(|pod| pod.labels.keys()).collect();
    let mut absent: Vec<String> = Vec::new();
    for (_, pods) in others {
        let mut taken = pods.iter().filter(|pod| matches(labels, &absent, pod));
        let Some(first) = taken.next() else { continue };
        let rest: Vec<_> = taken.collect();
        let tells = |key: &&String| {
            !own.contains(*key)
                && stays("CronJob", key)
                && !OF_A_RELEASE.contains(&key.as_str())
                && is_key(key)
                && rest.iter().all(|pod| pod.labels.contains_key(*key))
        };
        if let Some(key) = first.labels.keys().find(tells) {
            absent.push(key.clone());
        }
    }
    absent.sort();
    absent
}

fn matches(labels: &Labels, absent: &[String], pod: &Pod) -> bool {
    labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        && !absent.iter().any(|key| pod.labels.contains_key(key))
}

/// As the API server takes names of namespaces (RFC 1123).
pub(super) fn is_dns_label(text: &str) -> bool {
    is_word(text, 63, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), |byte| byte == b'-')
}

/// As it takes keys of labels.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_prefix)
}

/// As it takes values of labels.
fn is_value(value: &str) -> bool {
    let inner = |byte| matches!(byte, b'-' | b'_' | b'.');
    value.is_empty() || is_word(value, 63, |byte: u8| byte.is_ascii_alphanumeric(), inner)
}

/// At most so long, of letters at both ends, and of these and others between.
fn is_word(text: &str, most: usize, outer: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= most
        && ends.iter().all(|end| end.is_some_and(|byte| outer(*byte)))
        && bytes.iter().all(|byte| outer(*byte) || inner(*byte))
}
