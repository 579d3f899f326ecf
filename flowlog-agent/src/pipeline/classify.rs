//! Classify vendor: whose software stands at each end, and whether the end is sensitive.
//!
//! A pod's answer is found once: the same object again costs one look-up, and pods that differ in name and address alone
//! share what was found.

use crate::model::{Endpoint, Labels, Name, Origin, Party, Pod, Provenance, VendorSource, Whose, Workload};
use crate::vendor::ranges::Ranges;
use crate::vendor::{Catalog, Sensitive};
use foldhash::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Pods, and kinds of pods, whose answers are kept; one more, and all begin anew. Together they take 1 MB at most.
const MOST: usize = 4_096;

/// What classification goes by, as the settings have it.
#[derive(Clone, Debug, Default)]
pub struct Classification {
    /// Whose software is known by what.
    pub catalog: Catalog,
    /// What is sensitive.
    pub sensitive: Sensitive,
    /// Whose networks addresses outside lie in.
    pub ranges: Ranges,
}

/// The stage.
#[derive(Default)]
pub(super) struct Classifier {
    by: Classification,
    /// By address in memory, which stays this pod's as long as the entry holds it.
    pods: HashMap<usize, (Arc<Pod>, Arc<Known>)>,
    alike: HashMap<Alike, Arc<Known>>,
    networks: HashMap<IpAddr, Option<Network>>,
    /// By the name of a service outside.
    services: HashMap<Arc<str>, Option<(Origin, Arc<str>)>>,
}

/// Whose network an address outside lies in.
#[derive(Clone, Debug)]
struct Network {
    name: Arc<str>,
    vendor: Arc<str>,
    told_by: VendorSource,
}

/// What an answer hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    namespace: Arc<str>,
    labels: Arc<Labels>,
    namespace_labels: Arc<Labels>,
    workload: Option<Arc<Workload>>,
    images: Box<[String]>,
}

/// The answer of pods that are alike.
#[derive(Debug)]
struct Known {
    /// Of the pod, where it is not known which container took part.
    pod: Whose,
    /// Of each container, in the order of the pod.
    containers: Box<[Whose]>,
}

impl Classifier {
    pub(super) fn new(by: Classification) -> Self {
        Self { by, ..Self::default() }
    }

    /// Whose software stands at an end; `container` is the one that took part, where it is known, and `names` are those by
    /// which the opener knew it.
    pub(super) fn classify(&mut self, party: &Party, container: Option<&str>, names: &[Name]) -> Whose {
        match &party.endpoint {
            Endpoint::Pod(pod) => self.known(pod).of(pod, container),
            Endpoint::External(_) => self.outside(party.ip, names),
            _ => Whose::default(),
        }
    }

    /// Tell the network of an address outside, where the settings have no name for it.
    pub(super) fn locate(&mut self, party: &mut Party) {
        let Endpoint::External(external) = &mut party.endpoint else { return };
        if external.network.is_none() {
            external.network = party.ip.and_then(|ip| self.network(ip)).map(|network| network.name);
        }
    }

    /// By the names that the opener had for it, where they agree; else by the network.
    fn outside(&mut self, ip: Option<IpAddr>, names: &[Name]) -> Whose {
        let mut told = names.iter().map(|name| self.service(&name.name));
        let first = told.next().flatten();
        let by_name =
            first.filter(|(_, vendor)| told.all(|one| one.is_some_and(|(_, other)| other == *vendor)));
        if let Some((origin, vendor)) = by_name {
            let (origin, told_by) = (Some(origin), Some(VendorSource::DnsName));
            return Whose { origin, vendor: Some(vendor), told_by, sensitive: false };
        }
        let network = ip.and_then(|ip| self.network(ip));
        network.map_or_else(Whose::default, |Network { vendor, told_by, .. }| Whose {
            origin: Some(Origin::ThirdParty),
            vendor: Some(vendor),
            told_by: Some(told_by),
            sensitive: false,
        })
    }

    fn service(&mut self, name: &Arc<str>) -> Option<(Origin, Arc<str>)> {
        if let Some(known) = self.services.get(name) {
            return known.clone();
        }
        if self.services.len() >= MOST {
            self.services.clear();
        }
        let vendor = self.by.catalog.find_by_domain(name);
        let found = vendor.map(|vendor| (vendor.origin, Arc::clone(&vendor.name)));
        self.services.insert(Arc::clone(name), found.clone());
        found
    }

    fn network(&mut self, ip: IpAddr) -> Option<Network> {
        if self.by.ranges.is_empty() {
            return None;
        }
        if let Some(known) = self.networks.get(&ip) {
            return known.clone();
        }
        if self.networks.len() >= MOST {
            self.networks.clear();
        }
        let found = self.by.ranges.find(ip).map(|found| Network {
            name: found.name.into(),
            vendor: found.vendor.into(),
            told_by: found.told_by,
        });
        self.networks.insert(ip, found.clone());
        found
    }

    /// Pods that nobody else has any more are let go.
    pub(super) fn forget_gone(&mut self) {
        self.pods.retain(|_, (pod, _)| Arc::strong_count(pod) > 1);
    }

    fn known(&mut self, pod: &Arc<Pod>) -> Arc<Known> {
        let key = Arc::as_ptr(pod).addr();
        if let Some((_, known)) = self.pods.get(&key) {
            return Arc::clone(known);
        }
        if self.pods.len() >= MOST {
            self.pods.clear();
        }
        let known = self.find_alike(pod);
        self.pods.insert(key, (Arc::clone(pod), Arc::clone(&known)));
        known
    }

    fn find_alike(&mut self, pod: &Arc<Pod>) -> Arc<Known> {
        let alike = Alike {
            namespace: Arc::clone(&pod.namespace),
            labels: Arc::clone(&pod.labels),
            namespace_labels: Arc::clone(&pod.namespace_labels),
            workload: pod.workload.clone(),
            images: pod.containers.iter().map(|container| container.image.clone()).collect(),
        };
        if let Some(known) = self.alike.get(&alike) {
            return Arc::clone(known);
        }
        if self.alike.len() >= MOST {
            self.alike.clear();
        }
        let known = Arc::new(self.by.know(pod));
        self.alike.insert(alike, Arc::clone(&known));
        known
    }
}

impl Classification {
    fn know(&self, pod: &Pod) -> Known {
        let found = self.catalog.classify_pod(pod);
        let sensitive = self.sensitive.why(pod, self.catalog.categories(&found.containers)).is_some();
        let whose = |origin, vendor| Whose { origin: Some(origin), vendor, told_by: None, sensitive };
        let of = |one: Provenance| whose(one.origin, one.vendor);
        Known {
            pod: whose(found.origin, found.vendor),
            containers: found.containers.into_iter().map(of).collect(),
        }
    }
}

impl Known {
    /// Of the container of this name; of the pod where it is not known which one took part.
    fn of(&self, pod: &Pod, container: Option<&str>) -> Whose {
        let place = container.and_then(|name| pod.containers.iter().position(|one| &*one.name == name));
        place.and_then(|place| self.containers.get(place)).unwrap_or(&self.pod).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Classification, Classifier};
    use crate::model::{
        Container, Endpoint, External, Name, NameSource, Origin, Party, Pod, VendorSource, Whose,
    };
    use crate::testkit::{external, pod};
    use crate::vendor::ranges::RangesBuilder;
    use crate::vendor::{Catalog, Sensitive};
    use std::sync::Arc;

    fn classifier() -> Classifier {
        let sensitive = Sensitive::new(&["payments"], &[], true).unwrap();
        let mut ranges = RangesBuilder::default();
        ranges.read_announced("198.51.100.0/25,64496,Example Carrier\n".as_bytes()).unwrap();
        let ranges = ranges.build();
        Classifier::new(Classification { catalog: Catalog::built_in().unwrap(), sensitive, ranges })
    }

    fn running(path: &str, images: &[(&str, &str)]) -> Party {
        let mut pod = Pod::clone(&pod(path).build());
        let container = |(name, image): &(&str, &str)| Container {
            name: (*name).into(),
            image: (*image).to_owned(),
            ..Container::default()
        };
        pod.containers = images.iter().map(container).collect();
        Party { endpoint: Endpoint::Pod(Arc::new(pod)), ip: None, port: None }
    }

    fn whose(origin: Origin, vendor: &str, sensitive: bool) -> Whose {
        Whose { origin: Some(origin), vendor: Some(vendor.into()), told_by: None, sensitive }
    }

    #[test]
    fn the_container_counts_where_it_is_known_and_else_the_least_trusted_one() {
        let mut classifier = classifier();
        let two = running("shop/a", &[("pause", "registry.k8s.io/pause:3"), ("agent", "datadog/agent:7")]);
        let platform = whose(Origin::Platform, "Kubernetes", false);
        let third = whose(Origin::ThirdParty, "Datadog", false);
        for (container, expected) in
            [(Some("pause"), &platform), (Some("agent"), &third), (None, &third), (Some("new"), &third)]
        {
            assert_eq!(classifier.classify(&two, container, &[]), *expected, "{container:?}");
        }
        assert_eq!(classifier.pods.len(), 1);
    }

    #[test]
    fn sensitive_is_what_the_settings_and_the_shipped_rules_say() {
        let mut classifier = classifier();
        let own = running("payments/a", &[("app", "registry.example.com/app:1")]);
        let unknown = Whose { origin: Some(Origin::Unknown), vendor: None, told_by: None, sensitive: true };
        assert_eq!(classifier.classify(&own, None, &[]), unknown);
        // The data store is not the least trusted of its pod's containers.
        let images = [("db", "docker.io/library/postgres:16"), ("own", "registry.example.com/backup:1")];
        let store = running("shop/db-0", &images);
        assert_eq!(classifier.classify(&store, None, &[]), unknown);
        let db = whose(Origin::ThirdParty, "PostgreSQL", true);
        assert_eq!(classifier.classify(&store, Some("db"), &[]), db);
        let node = Party { endpoint: Endpoint::Node(Arc::default()), ip: None, port: None };
        assert_eq!(classifier.classify(&node, None, &[]), Whose::default());
    }

    #[test]
    fn outside_names_that_agree_tell_and_else_the_network() {
        let named = |names: &[&str]| -> Vec<Name> {
            let name = |name: &&str| Name {
                name: (*name).into(),
                canonical: None,
                source: NameSource::DnsAnswer,
                age_ns: 0,
                ttl_s: 60,
            };
            names.iter().map(name).collect()
        };
        let by = |told_by, vendor: &str| Whose {
            told_by: Some(told_by),
            ..whose(Origin::ThirdParty, vendor, false)
        };
        let carrier = by(VendorSource::Asn, "Example Carrier");
        let datadog = by(VendorSource::DnsName, "Datadog");
        let rows: [(&str, &[&str], &str, Whose); 6] = [
            ("a name", &["api.datadoghq.com"], "198.51.100.1", datadog.clone()),
            ("two of one vendor", &["api.datadoghq.com", "datadoghq.eu"], "198.51.100.200", datadog),
            (
                "two that do not agree",
                &["api.datadoghq.com", "shop.example"],
                "198.51.100.1",
                carrier.clone(),
            ),
            ("a name of nobody's", &["shop.example"], "198.51.100.1", carrier.clone()),
            ("no name", &[], "198.51.100.1", carrier),
            ("neither", &[], "198.51.100.200", Whose::default()),
        ];
        let mut classifier = classifier();
        for (name, names, address, expected) in rows {
            assert_eq!(classifier.classify(&external(address), None, &named(names)), expected, "{name}");
        }
        let located = |classifier: &mut Classifier, network: Option<&str>, address| {
            let mut party = external(address);
            party.endpoint = Endpoint::External(External { network: network.map(Into::into) });
            classifier.locate(&mut party);
            match party.endpoint {
                Endpoint::External(External { network }) => network.map(|network| network.to_string()),
                _ => None,
            }
        };
        let told = located(&mut classifier, None, "198.51.100.1");
        assert_eq!(told.as_deref(), Some("AS64496"));
        let told = located(&mut classifier, Some("office"), "198.51.100.1");
        assert_eq!(told.as_deref(), Some("office"), "the settings' own name comes first");
        assert_eq!(located(&mut classifier, None, "198.51.100.200"), None);
    }

    #[test]
    fn pods_that_are_alike_are_classified_once_and_those_that_went_are_let_go() {
        let mut classifier = classifier();
        let pods: Vec<Party> = (0..3)
            .map(|number| {
                let party = running("shop/a", &[("agent", "datadog/agent:7")]);
                let mut pod = Pod::clone(party.endpoint.as_pod().unwrap());
                pod.name = format!("a-{number}").into();
                Party { endpoint: Endpoint::Pod(Arc::new(pod)), ..party }
            })
            .collect();
        for pod in &pods {
            classifier.classify(pod, None, &[]);
        }
        assert_eq!((classifier.pods.len(), classifier.alike.len()), (3, 1));
        drop(pods);
        classifier.forget_gone();
        assert_eq!((classifier.pods.len(), classifier.alike.len()), (0, 1));
    }
}
