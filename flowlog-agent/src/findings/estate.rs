//! Everything in one view: who there is by objects and by records, whose software they are, and who reached whom.

use super::Input;
use crate::model::{
    Actor, Container, Direction, Edge, ImageState, Labels, Limit, Link, Origin, Place, Pod, PolicyRef, Proof,
    Protocol, Reach, Role, State, Subject, Traits, Workload,
};
use crate::policy::observed::place_of;
use crate::vendor::Image;
use foldhash::{HashMap, HashMapExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Where clouds answer questions about the machine, credentials among them: AWS, GCP, Azure and others; AWS over IPv6;
/// Alibaba; AWS's credentials of ECS and EKS pod identities; Oracle's is the first one, too.
pub(super) const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// The kubelet's own ports: its API, and the one that asks nobody who they are.
pub(super) const KUBELET: [u16; 2] = [10_250, 10_255];

/// Who takes part, and what only the rules need to know of them.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) actor: Actor,
    /// Its pods by the objects; where only records tell of it, one made of what they say.
    pub(super) pods: Vec<Arc<Pod>>,
    /// What its vendor's software is for.
    pub(super) category: Option<String>,
}

/// Everything in one view.
#[derive(Clone, Debug)]
pub(super) struct Estate<'a> {
    pub(super) input: Input<'a>,
    pub(super) members: Vec<Member>,
    pub(super) links: Vec<Link>,
    pub(super) images: Vec<ImageState>,
    /// What third parties could reach.
    pub(super) reaches: Vec<Reach>,
    /// What could not be told.
    pub(super) limits: Vec<Limit>,
    /// Addresses outside at which one was seen to reach another, whatever that is called.
    pub(super) outside: BTreeMap<(usize, usize), BTreeSet<IpAddr>>,
    by_place: HashMap<(Place, Option<Role>), usize>,
    by_image: HashMap<String, usize>,
}

/// Links between two ends, of one port and protocol.
pub(super) struct Group<'e> {
    pub(super) source: &'e Actor,
    pub(super) destination: &'e Actor,
    /// The destination with the port, in words.
    pub(super) target: String,
    pub(super) links: Vec<&'e Link>,
}

/// Links of one kind are told as one.
type Alike = (usize, usize, Option<String>, Protocol, Option<u16>, crate::model::Class, State, Direction);

impl<'a> Estate<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        let mut estate = Self::gathered(input);
        estate.take_scans();
        estate.take_reaches();
        estate
    }

    /// Who there is, and who reached whom; nobody is asked about anything yet.
    pub(super) fn gathered(input: Input<'a>) -> Self {
        let mut estate = Self {
            input,
            members: Vec::new(),
            links: Vec::new(),
            images: Vec::new(),
            reaches: Vec::new(),
            limits: Vec::new(),
            outside: BTreeMap::new(),
            by_place: HashMap::new(),
            by_image: HashMap::new(),
        };
        estate.take_objects();
        estate.take_edges();
        estate
    }

    fn take_objects(&mut self) {
        let Some(cluster) = self.input.cluster else { return };
        let mut workloads: BTreeMap<Place, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in cluster.inventory.pods() {
            workloads.entry(place_of(pod)).or_default().push(Arc::clone(pod));
        }
        for (place, mut pods) in workloads {
            pods.sort_by(|one, other| one.name.cmp(&other.name));
            let index = self.add_workload(place, pods, true);
            self.select(index);
        }
    }

    /// Which policies select it.
    fn select(&mut self, index: usize) {
        let (Some(cluster), Some(member)) = (self.input.cluster, self.members.get_mut(index)) else { return };
        let selecting = |direction| -> Vec<PolicyRef> {
            let policies = member.pods.iter().flat_map(|pod| cluster.policies.find_selecting(pod, direction));
            let mut policies: Vec<PolicyRef> = policies.map(|policy| policy.reference()).collect();
            policies.sort();
            policies.dedup();
            policies
        };
        let (egress, ingress) = (selecting(Direction::Egress), selecting(Direction::Ingress));
        member.actor.egress_policies = Some(egress);
        member.actor.ingress_policies = Some(ingress);
    }

    fn add_workload(&mut self, place: Place, pods: Vec<Arc<Pod>>, declared: bool) -> usize {
        let catalog = self.input.catalog;
        let (mut images, mut names): (Vec<usize>, Vec<String>) = (Vec::new(), Vec::new());
        let mut least: Option<(Origin, Option<Arc<str>>, Vec<crate::model::Clue>)> = None;
        for pod in &pods {
            let provenance = catalog.classify_pod(pod);
            for (container, whose) in pod.containers.iter().zip(&provenance.containers) {
                if container.image.is_empty() {
                    continue;
                }
                let image = self.add_image(&container.image, container.image_digest.as_deref(), whose);
                if !images.iter().zip(&names).any(|(one, name)| *one == image && **name == *container.name) {
                    images.push(image);
                    names.push(container.name.to_string());
                }
            }
            if least.as_ref().is_none_or(|(origin, ..)| *origin < provenance.origin) {
                let telling = provenance
                    .containers
                    .iter()
                    .find(|one| (one.origin, &one.vendor) == (provenance.origin, &provenance.vendor));
                let clues = telling.map(|one| one.clues.clone()).unwrap_or_default();
                least = Some((provenance.origin, provenance.vendor, clues));
            }
        }
        let (origin, vendor, clues) = least.unwrap_or((Origin::Unknown, None, Vec::new()));
        let category =
            vendor.as_deref().and_then(|name| catalog.find(name)).and_then(|one| one.category.clone());
        let sensitive =
            pods.iter().find_map(|pod| self.input.settings.sensitive.why(pod, category.as_deref()));
        let actor = Actor {
            place: place.clone(),
            origin,
            vendor: vendor.map(|name| name.to_string()),
            clues,
            sensitive,
            pods: declared.then(|| u64::try_from(pods.len()).unwrap_or(u64::MAX)),
            images,
            containers: names,
            egress_policies: None,
            ingress_policies: None,
            role: None,
        };
        self.push(place, None, Member { actor, pods, category })
    }

    fn push(&mut self, place: Place, role: Option<Role>, member: Member) -> usize {
        let index = self.members.len();
        self.members.push(member);
        self.by_place.insert((place, role), index);
        index
    }

    fn add_image(&mut self, image: &str, digest: Option<&str>, whose: &crate::model::Provenance) -> usize {
        let index = *self.by_image.entry(image.to_owned()).or_insert_with(|| {
            let parsed = Image::parse(image).ok();
            let trusted = &self.input.settings.trusted_registries;
            self.images.push(ImageState {
                image: image.to_owned(),
                digests: Vec::new(),
                origin: whose.origin,
                vendor: whose.vendor.as_deref().map(str::to_owned),
                pinned: parsed.as_ref().is_some_and(|image| image.digest.is_some()),
                trusted: (!trusted.is_empty()).then(|| {
                    parsed
                        .as_ref()
                        .is_some_and(|image| trusted.iter().any(|one| lies_below(&image.name, one)))
                }),
                vulnerabilities: None,
                sbom: false,
                reports: Vec::new(),
            });
            self.images.len() - 1
        });
        if let (Some(state), Some(digest)) = (self.images.get_mut(index), digest)
            && !state.digests.iter().any(|known| known == digest)
        {
            state.digests.push(digest.to_owned());
        }
        index
    }

    fn take_edges(&mut self) {
        let Some(observed) = self.input.observed else { return };
        let mut places: HashMap<Alike, usize> = HashMap::new();
        let mut links: Vec<Link> = Vec::new();
        for edge in &observed.edges {
            let source = self.member_of(&edge.source, &edge.source_traits, None);
            let role = role_of(edge);
            let destination = self.member_of(&edge.destination, &edge.destination_traits, role);
            if let Place::External { ip: Some(ip), .. } = edge.destination {
                self.outside.entry((source, destination)).or_default().insert(ip);
            }
            let service = edge.service.as_ref().map(|(namespace, name)| format!("{namespace}/{name}"));
            let alike = (
                source,
                destination,
                service.clone(),
                edge.protocol,
                edge.port,
                edge.class,
                edge.state,
                edge.direction,
            );
            let place = *places.entry(alike).or_insert_with(|| {
                links.push(Link {
                    source,
                    destination,
                    service,
                    protocol: edge.protocol,
                    port: edge.port,
                    class: edge.class,
                    state: edge.state,
                    decision: edge.decision,
                    policies: Vec::new(),
                    direction: edge.direction,
                    count: 0,
                    first: edge.first,
                    last: edge.last,
                    bytes_sent: 0,
                    bytes_received: 0,
                    example: edge.example.clone(),
                });
                links.len() - 1
            });
            let Some(link) = links.get_mut(place) else { continue };
            link.count = link.count.saturating_add(edge.count);
            link.bytes_sent = link.bytes_sent.saturating_add(edge.bytes_sent);
            link.bytes_received = link.bytes_received.saturating_add(edge.bytes_received);
            if edge.first < link.first {
                (link.first, link.example) = (edge.first, edge.example.clone());
            }
            link.last = link.last.max(edge.last);
            for policy in edge.egress.policies.iter().chain(edge.ingress.policies.iter()) {
                if !link.policies.contains(policy) {
                    link.policies.push(policy.clone());
                }
            }
        }
        drop(places);
        links.sort_unstable_by(|one, other| in_order(one).cmp(&in_order(other)));
        drop_second_views(&mut links);
        self.links = links;
    }

    /// Who that is; made of what the record says where nobody told of it yet.
    pub(super) fn member_of(&mut self, place: &Place, traits: &Traits, role: Option<Role>) -> usize {
        let place = as_told(place, role);
        if let Some(index) = self.by_place.get(&(place.clone(), role)) {
            return *index;
        }
        if let Place::Workload { namespace, owner, name } = &place {
            let pod = Pod {
                namespace: Arc::clone(namespace),
                name: Arc::clone(name),
                labels: Arc::clone(&traits.labels),
                namespace_labels: if traits.namespace_labels.is_empty() {
                    let name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_string());
                    Arc::new(Labels::from([name]))
                } else {
                    Arc::clone(&traits.namespace_labels)
                },
                workload: (**owner != *"Pod").then(|| {
                    Arc::new(Workload {
                        kind: owner.to_string(),
                        name: name.to_string(),
                        group: String::new(),
                    })
                }),
                containers: traits
                    .image
                    .iter()
                    .map(|image| Container {
                        name: traits.container.clone().unwrap_or_default(),
                        image: image.to_string(),
                        image_digest: traits.image_digest.as_deref().map(str::to_owned),
                        ..Container::default()
                    })
                    .collect(),
                service_account: traits.service_account.clone(),
                host_network: traits.host_network,
                ..Pod::default()
            };
            let index = self.add_workload(place, vec![Arc::new(pod)], false);
            if let Some(Member { actor, .. }) = self.members.get_mut(index) {
                // Where nothing here tells more, the agent's word counts.
                if actor.origin == Origin::Unknown
                    && let Some(origin) = traits.origin
                {
                    actor.origin = origin;
                    actor.vendor = traits.vendor.as_deref().map(str::to_owned);
                }
                if actor.sensitive.is_none() && traits.sensitive {
                    actor.sensitive = Some("the agent's configuration".to_owned());
                }
            }
            return index;
        }
        let is_outside = matches!(place, Place::External { .. });
        let named = match &place {
            Place::External { name: Some(name), .. } => self.input.catalog.find_by_domain(name),
            _ => None,
        };
        let vendor = named
            .map(|vendor| vendor.name.to_string())
            .or_else(|| traits.vendor.as_deref().map(str::to_owned));
        let category = named.and_then(|vendor| vendor.category.clone());
        let origin = match (&place, &vendor) {
            (Place::External { .. }, Some(_)) => Origin::ThirdParty,
            (Place::Node { .. } | Place::Local, _) => Origin::Platform,
            _ => traits.origin.unwrap_or(Origin::Unknown),
        };
        let actor = Actor {
            place: place.clone(),
            origin,
            vendor: vendor.filter(|_| is_outside),
            clues: Vec::new(),
            sensitive: None,
            pods: None,
            images: Vec::new(),
            containers: Vec::new(),
            egress_policies: None,
            ingress_policies: None,
            role: role.or(matches!(place, Place::Node { .. }).then_some(Role::Node)),
        };
        self.push(place, role, Member { actor, pods: Vec::new(), category })
    }

    /// What scanners say, put to the images that run.
    fn take_scans(&mut self) {
        for scan in self.input.scans {
            let wanted = scan.image.as_deref().and_then(|image| Image::parse(image).ok());
            for state in &mut self.images {
                let by_digest = scan.digests.iter().any(|digest| {
                    state.digests.contains(digest) || state.image.ends_with(&format!("@{digest}"))
                });
                // A digest that is told decides: the same tag may have been something else then.
                let may_differ = !scan.digests.is_empty() && !state.digests.is_empty();
                let by_name = !may_differ
                    && wanted.is_some()
                    && Image::parse(&state.image).ok().is_some_and(|image| Some(&image) == wanted.as_ref());
                if !by_digest && !by_name {
                    continue;
                }
                state.sbom |= scan.sbom;
                if let Some(found) = &scan.vulnerabilities {
                    // Of several reports the worst counts.
                    let worse = |known: &crate::model::Vulnerabilities| {
                        (found.critical, found.high, found.medium, found.low)
                            > (known.critical, known.high, known.medium, known.low)
                    };
                    if state.vulnerabilities.as_ref().is_none_or(worse) {
                        state.vulnerabilities = Some(found.clone());
                    }
                }
                if !state.reports.contains(&scan.report) {
                    state.reports.push(scan.report.clone());
                }
            }
        }
    }

    pub(super) fn member(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }

    pub(super) fn actor(&self, index: usize) -> Option<&Actor> {
        self.members.get(index).map(|member| &member.actor)
    }

    /// Whom a link joins; absent never, since links are made with their ends.
    pub(super) fn ends(&self, link: &Link) -> Option<(&Actor, &Actor)> {
        self.actor(link.source).zip(self.actor(link.destination))
    }

    /// Workloads, with their places in the list.
    pub(super) fn workloads(&self) -> impl Iterator<Item = (usize, &Member)> {
        let is_workload =
            |(_, member): &(usize, &Member)| matches!(member.actor.place, Place::Workload { .. });
        self.members.iter().enumerate().filter(is_workload)
    }

    /// Links that these ends, port and protocol have in common, in order.
    pub(super) fn by_target(&self, wanted: impl Fn(&Link, &Actor, &Actor) -> bool) -> Vec<Group<'_>> {
        let mut found: BTreeMap<(usize, usize, Protocol, Option<u16>), Vec<&Link>> = BTreeMap::new();
        for link in &self.links {
            if self.ends(link).is_some_and(|(source, destination)| wanted(link, source, destination)) {
                found
                    .entry((link.source, link.destination, link.protocol, link.port))
                    .or_default()
                    .push(link);
            }
        }
        let told = found.into_iter().filter_map(|((source, destination, protocol, port), links)| {
            let (source, destination) = self.actor(source).zip(self.actor(destination))?;
            Some(Group { source, destination, target: target(destination, protocol, port), links })
        });
        told.collect()
    }

    /// A link as evidence.
    pub(super) fn proof(&self, link: &Link) -> Proof {
        let what = self.ends(link).map_or_else(String::new, |(source, destination)| {
            format!(
                "{} → {}, {}, {}",
                source.place,
                target(destination, link.protocol, link.port),
                link.class.as_str(),
                link.state.as_str()
            )
        });
        Proof::Records {
            what,
            count: link.count,
            first: link.first,
            last: link.last,
            example: link.example.clone(),
        }
    }
}

pub(super) fn subject(actor: &Actor) -> Subject {
    Subject::Place { place: actor.place.clone() }
}

/// `payments/StatefulSet/ledger-db :5432/tcp`.
pub(super) fn target(actor: &Actor, protocol: Protocol, port: Option<u16>) -> String {
    target_of(&actor.place, actor.role, protocol, port)
}

/// The same, of what is a place and has a role.
pub(super) fn target_of(place: &Place, role: Option<Role>, protocol: Protocol, port: Option<u16>) -> String {
    let whose = match role {
        Some(Role::KubernetesApi) => "the Kubernetes API".to_owned(),
        Some(Role::Metadata) => format!("{place} (cloud metadata)"),
        Some(Role::Kubelet) => format!("{place} (kubelet)"),
        Some(Role::Node) | None => place.to_string(),
    };
    let protocol = protocol.as_kubernetes().to_lowercase();
    port.map_or_else(|| format!("{whose} {protocol}"), |port| format!("{whose} :{port}/{protocol}"))
}

/// Somebody else's, or nobody knows whose.
pub(super) fn is_foreign(actor: &Actor) -> bool {
    matches!(actor.place, Place::Workload { .. })
        && matches!(actor.origin, Origin::ThirdParty | Origin::Unknown)
}

/// `Grafana Labs' monitoring/Deployment/grafana`.
pub(super) fn with_vendor(actor: &Actor) -> String {
    match (&actor.vendor, actor.origin) {
        (Some(vendor), _) => format!("{} ({vendor})", actor.place),
        (None, Origin::Unknown) => format!("{} (nobody knows whose)", actor.place),
        (None, _) => actor.place.to_string(),
    }
}

/// It got through, as far as its opener can tell.
pub(super) fn went_through(link: &Link) -> bool {
    matches!(link.state, State::Established | State::Answered | State::Received)
}

/// Outside, what was asked for by one name, or lies in one network, is one place; the metadata address stays what it is.
fn as_told(place: &Place, role: Option<Role>) -> Place {
    match (place, role) {
        (_, Some(Role::KubernetesApi)) => {
            Place::Service { namespace: "default".into(), name: "kubernetes".into() }
        }
        (Place::External { name: Some(name), network, .. }, None) => {
            Place::External { ip: None, name: Some(Arc::clone(name)), network: network.clone() }
        }
        (Place::External { name: None, network: Some(network), .. }, None) => {
            Place::External { ip: None, name: None, network: Some(Arc::clone(network)) }
        }
        _ => place.clone(),
    }
}

/// What the destination is beside its place.
fn role_of(edge: &Edge) -> Option<Role> {
    let is_api = |namespace: &str, name: &str| namespace == "default" && name == "kubernetes";
    match &edge.destination {
        Place::External { ip: Some(ip), .. } if METADATA.contains(ip) => Some(Role::Metadata),
        Place::Service { namespace, name } if is_api(namespace, name) => Some(Role::KubernetesApi),
        _ if edge.service.as_ref().is_some_and(|(namespace, name)| is_api(namespace, name)) => {
            Some(Role::KubernetesApi)
        }
        Place::Node { .. } if edge.port.is_some_and(|port| KUBELET.contains(&port)) => Some(Role::Kubelet),
        _ => None,
    }
}

/// The listener's view of what the opener's node told as well adds nothing.
fn drop_second_views(links: &mut Vec<Link>) {
    let key = |link: &Link| (link.source, link.destination, link.protocol, link.port, link.class);
    let openers: BTreeSet<_> =
        links.iter().filter(|link| link.direction == Direction::Egress).map(key).collect();
    links.retain(|link| link.direction == Direction::Egress || !openers.contains(&key(link)));
}

/// What tells links apart, each in its place.
fn in_order(link: &Link) -> impl Ord {
    let ends = (link.source, link.destination, link.service.as_deref());
    (ends, link.protocol, link.port, link.class, link.state, link.direction)
}

/// Whether a repository is this one, or lies below it (`registry.example.com/`).
fn lies_below(name: &str, trusted: &str) -> bool {
    let trusted = trusted.trim_end_matches('/');
    name.strip_prefix(trusted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
