//! Who is a third party: whose software a container is, by what its image, labels and namespace are called.
//!
//! Every clue is kept, the strongest decides: the user's own rules, then where the image comes from, then what installed it,
//! then names that anybody can choose. Names alone make nothing trusted.

mod catalog;
mod image;
mod pattern;
pub mod ranges;
mod sensitive;

pub use catalog::{Catalog, CatalogError, Vendor};
pub use image::{Image, ImageError};
pub use sensitive::{Sensitive, SensitiveError};

use crate::model::{Clue, Confidence, Labels, Origin, Pod, Provenance, Signal, glob};
use std::sync::Arc;

/// Registries of many accounts, by whose names they call images.
const PUBLIC: [&str; 6] =
    ["docker.io", "quay.io", "ghcr.io", "gcr.io", "public.ecr.aws", "registry.gitlab.com"];

const CHART: &str = "helm.sh/chart";
const NAMES: [&str; 2] = ["app.kubernetes.io/name", "app.kubernetes.io/part-of"];

/// What is around a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// Namespace, where there is one.
    pub namespace: &'a str,
    /// The pod's labels.
    pub labels: Option<&'a Labels>,
    /// The namespace's.
    pub namespace_labels: Option<&'a Labels>,
    /// API group of what owns the pod; empty where nothing does, or the core group.
    pub owner_group: &'a str,
}

/// Whose a pod is: its least trusted container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodProvenance {
    /// Whose it is.
    pub origin: Origin,
    /// The vendor of the first container of that origin.
    pub vendor: Option<Arc<str>>,
    /// Each container, in the order of the pod.
    pub containers: Vec<Provenance>,
}

impl Catalog {
    /// Whose this pod is.
    pub fn classify_pod(&self, pod: &Pod) -> PodProvenance {
        let setting = Setting {
            namespace: &pod.namespace,
            labels: Some(&pod.labels),
            namespace_labels: Some(&pod.namespace_labels),
            owner_group: pod.workload.as_ref().map_or("", |workload| &workload.group),
        };
        let containers: Vec<Provenance> =
            pod.containers.iter().map(|container| self.classify(&container.image, setting)).collect();
        // Of several that are trusted as little the first one.
        let least = containers.iter().rev().max_by_key(|container| container.origin);
        PodProvenance {
            origin: least.map_or(Origin::Unknown, |container| container.origin),
            vendor: least.and_then(|container| container.vendor.clone()),
            containers,
        }
    }

    /// Categories of the vendors whose software these are.
    pub fn categories<'a>(&'a self, containers: &'a [Provenance]) -> impl Iterator<Item = &'a str> {
        let vendors = containers.iter().filter_map(|container| container.vendor.as_deref());
        vendors.filter_map(|name| self.find(name)?.category.as_deref())
    }

    /// Whose an image is, and with it a container that runs it there.
    pub fn classify(&self, image: &str, setting: Setting<'_>) -> Provenance {
        let mut clues = Vec::new();
        if let Ok(image) = Image::parse(image) {
            self.by_image(&image.name, &mut clues);
        }
        self.by_ownership(setting, &mut clues);
        self.by_namespace(setting.namespace, &mut clues);
        self.by_owner(setting.owner_group, &mut clues);
        if let Some(labels) = setting.labels {
            self.by_labels(labels, &mut clues);
        }
        Provenance::of(clues)
    }

    fn by_image(&self, name: &str, clues: &mut Vec<Clue>) {
        let copied = self.unmirror(name);
        let seen = match &copied {
            Some(of) => format!("{name}, a mirror of {of}"),
            None => name.to_owned(),
        };
        let name = copied.as_deref().unwrap_or(name);
        if let Some(clue) = self.by_repository(name, &seen) {
            clues.push(clue);
            return;
        }
        let parts: Vec<&str> = name.split('/').collect();
        if let Some(clue) = self.by_mirrored_path(&parts, &seen) {
            clues.push(clue);
        } else if let [registry, account, _, ..] = &*parts
            && PUBLIC.contains(registry)
        {
            clues.push(Clue {
                origin: Origin::ThirdParty,
                vendor: Some((*account).into()),
                signal: Signal::Organisation,
                confidence: Confidence::Low,
                value: seen,
                rule: format!("accounts of {registry}"),
            });
        }
    }

    /// The most particular pattern; of two alike the one that was written last, which is the user's.
    fn by_repository(&self, name: &str, seen: &str) -> Option<Clue> {
        let own = self.own_images.iter().map(|pattern| (pattern, true, Origin::FirstParty, None));
        let vendors = self.vendors.iter().flat_map(|vendor| {
            let rules = vendor.images.iter();
            rules.map(move |rule| (&rule.about, rule.is_users, vendor.origin, Some(&vendor.name)))
        });
        let found = vendors.chain(own).filter(|(pattern, ..)| pattern.matches(name));
        let (pattern, is_users, origin, vendor) =
            found.max_by_key(|(pattern, is_users, ..)| (*is_users, pattern.weight()))?;
        Some(Clue {
            origin,
            vendor: vendor.cloned(),
            signal: Signal::Image,
            confidence: if is_users { Confidence::Certain } else { Confidence::High },
            value: seen.to_owned(),
            rule: pattern.written().to_owned(),
        })
    }

    /// `harbor.example/quay.io/argoproj/argocd`: a copy, as far as its path can be believed. Nobody is trusted for that.
    fn by_mirrored_path(&self, parts: &[&str], seen: &str) -> Option<Clue> {
        let place = parts.iter().skip(1).position(|part| part.contains('.'))? + 1;
        let of = parts.get(place..).filter(|rest| rest.len() > 1)?.join("/");
        let clue = self.by_repository(&of, seen).filter(|clue| clue.origin == Origin::ThirdParty)?;
        Some(Clue { signal: Signal::MirroredPath, confidence: Confidence::Low, ..clue })
    }

    fn by_ownership(&self, setting: Setting<'_>, clues: &mut Vec<Clue>) {
        let labels = [setting.labels, setting.namespace_labels];
        let found = labels.into_iter().flatten().find_map(|labels| self.find_own_label(labels));
        clues.extend(found.map(|(value, rule)| own(Signal::Ownership, value, rule)));
    }

    fn by_namespace(&self, namespace: &str, clues: &mut Vec<Clue>) {
        if namespace.is_empty() {
            return;
        }
        let rule = self.own_namespaces.iter().find(|pattern| glob(pattern, namespace));
        clues.extend(rule.map(|rule| own(Signal::Namespace, namespace.to_owned(), rule.clone())));
        for vendor in &self.vendors {
            let rule = vendor.namespaces.iter().find(|rule| glob(&rule.about, namespace));
            clues.extend(rule.map(|rule| Clue {
                origin: vendor.origin,
                vendor: Some(Arc::clone(&vendor.name)),
                signal: Signal::Namespace,
                confidence: if rule.is_users { Confidence::Certain } else { Confidence::Low },
                value: namespace.to_owned(),
                rule: rule.about.clone(),
            }));
        }
    }

    fn by_owner(&self, group: &str, clues: &mut Vec<Clue>) {
        clues.extend(self.find_by_group(group).map(|(vendor, rule)| Clue {
            origin: vendor.origin,
            vendor: Some(Arc::clone(&vendor.name)),
            signal: Signal::Group,
            confidence: Confidence::Medium,
            value: group.to_owned(),
            rule: rule.to_owned(),
        }));
    }

    fn by_labels(&self, labels: &Labels, clues: &mut Vec<Clue>) {
        let chart =
            labels.get(CHART).map(|value| (Signal::Chart, Confidence::Medium, value, chart_name(value)));
        let names = NAMES.iter().filter_map(|key| labels.get(*key));
        let names = names.map(|value| (Signal::Name, Confidence::Low, value, value.as_str()));
        for (signal, confidence, value, name) in chart.into_iter().chain(names) {
            let is_its = |vendor: &&Vendor| {
                let list = if signal == Signal::Chart { &vendor.charts } else { &vendor.names };
                list.iter().any(|known| known == name)
            };
            let vendor = self.vendors.iter().find(is_its);
            clues.extend(vendor.map(|vendor| Clue {
                origin: vendor.origin,
                vendor: Some(Arc::clone(&vendor.name)),
                signal,
                confidence,
                value: value.clone(),
                rule: name.to_owned(),
            }));
        }
    }
}

fn own(signal: Signal, value: String, rule: String) -> Clue {
    Clue { origin: Origin::FirstParty, vendor: None, signal, confidence: Confidence::Certain, value, rule }
}

/// `kube-prometheus-stack-61.3.2` is version 61.3.2 of a chart (Helm: the label is name and version, joined by `-`).
fn chart_name(label: &str) -> &str {
    let is_version = |rest: &str| {
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        rest.starts_with(|letter: char| letter.is_ascii_digit()) && rest.contains('.')
    };
    let found = label.match_indices('-').find(|(at, _)| label.get(at + 1..).is_some_and(is_version));
    found.and_then(|(at, _)| label.get(..at)).unwrap_or(label)
}

#[cfg(test)]
mod tests;
