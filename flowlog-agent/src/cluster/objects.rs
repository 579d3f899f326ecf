//! Kubernetes objects, by kind, cut down to what flowlog reads and turned into our own words.
//!
//! Kinds that flowlog does not read are counted by name. A policy that cannot be read is kept as one that
//! is not understood, beside the problem that says why.

use super::documents::Place;
use super::{Problem, defaults, pods, services, validate, validate_cluster};
use crate::inventory::{Builder, ServiceSpec, Slice};
use crate::model::{Labels, Node, Pod, PolicyKind, PolicyRef, Tier, Workload};
use crate::policy::Policy;
use crate::policy::kinds::cluster_object::ClusterObject;
use crate::policy::kinds::cluster_rules::ClusterPolicy;
use crate::policy::kinds::not_understood::NotUnderstood;
use crate::policy::kinds::{
    admin_network_policy, baseline_admin_network_policy, cluster_network_policy, network_policy,
};
use foldhash::HashMap;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::{apps, batch, core, discovery, networking};
use pods::ReadPod;
use serde::de::DeserializeOwned;
use serde_json::Value;
use services::NoAddress;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What is wrong with a field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    pub(super) field: Option<String>,
    pub(super) what: String,
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { field: Some(field.into()), what: what.into() }
    }
}

/// Kind, namespace and name. A policy in trial stands beside the declared one of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) trial: bool,
}

/// The annotation that puts a policy in trial, by `"true"`.
const TRIAL: &str = "flowlog.dev/trial";

/// The objects of one load.
#[derive(Debug, Default)]
pub struct Objects {
    pub(super) namespaces: HashMap<String, Arc<Labels>>,
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<ReadPod>,
    pub(super) services: Vec<ServiceSpec>,
    /// Services that no address stands for, by namespace and name.
    without_address: HashMap<(String, String), NoAddress>,
    pub(super) slices: Vec<Slice>,
    pub(super) ranges: Vec<IpNet>,
    /// With the time of their creation, where told.
    pub(super) policies: Vec<(Policy, Option<Timestamp>)>,
    /// Policies in trial: nothing is known of them but what they say.
    pub(super) trial: Vec<Policy>,
    /// ReplicaSets and Jobs, and who owns them.
    pub(super) owners: HashMap<Key, Option<Arc<Workload>>>,
    skipped: BTreeMap<String, usize>,
    seen: HashMap<Key, Place>,
    /// What a person should know of objects that can be read.
    notes: Vec<Problem>,
}

/// Pods of before, by namespace and name.
pub(super) type KeptPods<'a> = HashMap<(&'a str, &'a str), &'a Arc<Pod>>;

/// A policy, and when it was created, where told.
pub(super) type Dated = (Arc<Policy>, Option<Timestamp>);

type Reader = fn(&mut Objects, Value) -> Result<(), FieldError>;

/// The kinds that are read. One of these kinds and groups in another version is a problem, not skipped.
const KINDS: &[(&str, &str, &str, Reader)] = &[
    ("", "v1", "Namespace", Objects::add_namespace),
    ("", "v1", "Node", Objects::add_node),
    ("", "v1", "Pod", Objects::add_pod),
    ("", "v1", "Service", Objects::add_service),
    ("apps", "v1", "ReplicaSet", Objects::add_replica_set),
    ("batch", "v1", "Job", Objects::add_job),
    ("discovery.k8s.io", "v1", "EndpointSlice", Objects::add_slice),
    ("networking.k8s.io", "v1", "NetworkPolicy", Objects::add_network_policy),
    ("networking.k8s.io", "v1", "ServiceCIDR", Objects::add_service_range),
];

/// Policies of the cluster: kind, version, and the tier that it decides in where the kind tells.
///
/// One in another version, or with a field that the version does not have, is not understood: clusters run
/// ahead of this build, and it should say what it does not know rather than refuse to start.
const CLUSTER_POLICIES: &[(&str, &str, PolicyKind, Option<Tier>)] = &[
    ("AdminNetworkPolicy", "v1alpha1", PolicyKind::AdminNetworkPolicy, Some(Tier::Admin)),
    ("BaselineAdminNetworkPolicy", "v1alpha1", PolicyKind::BaselineAdminNetworkPolicy, Some(Tier::Baseline)),
    ("ClusterNetworkPolicy", "v1alpha2", PolicyKind::ClusterNetworkPolicy, None),
];

impl Objects {
    /// Adds one document: an object, or a list of them.
    pub(super) fn add(&mut self, place: &Place, document: Value, problems: &mut Vec<Problem>) {
        let (api_version, kind) = (text(&document, "/apiVersion"), text(&document, "/kind"));
        let Some(item_kind) = kind.strip_suffix("List").filter(|_| document.get("items").is_some()) else {
            return self.add_object(place, document, problems);
        };
        let (api_version, item_kind) = (api_version.to_owned(), item_kind.to_owned());
        let Value::Object(mut list) = document else { return };
        let items = match list.remove("items") {
            Some(Value::Array(items)) => items,
            Some(Value::Null) | None => Vec::new(),
            Some(_) => {
                let error = FieldError::new("items", "is no list");
                return problems.push(problem(place, &format!("{item_kind}List"), error));
            }
        };
        for mut item in items {
            // The items of a typed list do not repeat what they are.
            if let Value::Object(fields) = &mut item
                && !item_kind.is_empty()
            {
                fields.entry("kind").or_insert_with(|| item_kind.clone().into());
                fields.entry("apiVersion").or_insert_with(|| api_version.clone().into());
            }
            self.add(place, item, problems);
        }
    }

    fn add_object(&mut self, place: &Place, object: Value, problems: &mut Vec<Problem>) {
        let (api_version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind").to_owned());
        let key = key(&kind, &object);
        for (field, written) in [("kind", &*kind), ("apiVersion", api_version)] {
            if written.is_empty() {
                let error = FieldError::new(field, "is missing: no Kubernetes object");
                return problems.push(problem(place, &title(&key), error));
            }
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is_applied = key.trial && !text(&object, "/metadata/uid").is_empty();
        let read = match KINDS.iter().find(|row| row.0 == group && row.2 == kind) {
            Some((_, known, _, reader)) if *known == version => {
                self.first(&key, place).and_then(|()| reader(self, object))
            }
            Some((_, known, ..)) => {
                Err(FieldError::new("apiVersion", format!("{version} is not read, only {known}")))
            }
            None if group == "policy.networking.k8s.io" => {
                let version = version.to_owned();
                self.add_cluster_policy(&key, &version, place, object)
            }
            // Where NetworkPolicy lives its kin may live one day, in a form that is not known yet.
            None if group == "networking.k8s.io" && CLUSTER_POLICIES.iter().any(|row| row.0 == kind) => {
                let version = api_version.to_owned();
                self.add_cluster_policy(&key, &version, place, object)
            }
            // NetworkPolicy was born there and some still keep it so.
            None if group == "extensions" && kind == "NetworkPolicy" => {
                Err(FieldError::new("apiVersion", "extensions is gone: write networking.k8s.io/v1"))
            }
            None => {
                *self.skipped.entry(format!("{api_version} {kind}")).or_default() += 1;
                Ok(())
            }
        };
        if let Err(error) = read {
            if kind == "NetworkPolicy" {
                let broken = NotUnderstood {
                    kind: PolicyKind::NetworkPolicy,
                    namespace: Some(key.namespace.clone()),
                    name: key.name.clone(),
                    tier: Some(Tier::Namespace),
                    why: why(&error).into(),
                };
                self.add_broken_policy(broken, key.trial);
            }
            problems.push(problem(place, &title(&key), error));
        } else if is_applied {
            let what = "keeps it out of verdicts, but it was applied to the cluster (it has a uid), where the \
                        network plugin enforces it all the same: put policies in trial into a folder instead";
            let error = FieldError::new(format!("metadata.annotations[{TRIAL}]"), what);
            self.notes.push(problem(place, &title(&key), error));
        }
    }

    /// What a person should know of objects that could be read.
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    /// Takes the policies of another folder: all of them are in trial, annotated or not. What else is in it
    /// is counted as not read.
    pub(super) fn add_trial(&mut self, other: Self, problems: &mut Vec<Problem>) {
        let mut taken: BTreeSet<PolicyRef> = self.trial.iter().map(Policy::reference).collect();
        for policy in other.policies.into_iter().map(|(policy, _)| policy).chain(other.trial) {
            let reference = policy.reference();
            if taken.insert(reference.clone()) {
                self.trial.push(policy);
                continue;
            }
            let what =
                "is in trial twice: by its annotation, and by the folder of policies in trial".to_owned();
            if let Some((key, place)) = other.seen.iter().find(|(key, _)| key.is_of(&reference)) {
                problems.push(problem(place, &title(key), FieldError { field: None, what: what.clone() }));
            }
            let PolicyRef { kind, namespace, name, .. } = reference;
            let broken = NotUnderstood { kind, namespace, name, tier: None, why: what.into() };
            self.add_broken_policy(broken, true);
        }
        let kinds = other.seen.keys().filter(|key| !key.kind.ends_with("NetworkPolicy"));
        for key in kinds {
            *self.skipped.entry(format!("{} among the policies in trial", key.kind)).or_default() += 1;
        }
        for (kind, count) in other.skipped {
            *self.skipped.entry(kind).or_default() += count;
        }
    }

    /// Why the service of this name has no address, where it is one of those.
    pub fn find_without_address(&self, namespace: &str, name: &str) -> Option<&NoAddress> {
        self.without_address.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Kinds that are not read, and how many objects of each there were.
    pub fn skipped(&self) -> &BTreeMap<String, usize> {
        &self.skipped
    }

    /// Notes a document that could not be parsed: where it may have held a policy, whatever that could
    /// decide is unknown. An empty `text` stands for one that could not even be read.
    pub(super) fn add_unread_text(&mut self, file: &Path, document: Option<usize>, text: &str) {
        if !text.is_empty() && !text.contains("NetworkPolicy") {
            return;
        }
        let name = match document {
            Some(document) => format!("in {}, document {document}", file.display()),
            None => format!("in {}", file.display()),
        };
        let why = "cannot be read".into();
        let kind = PolicyKind::NetworkPolicy;
        let policy = NotUnderstood { kind, namespace: None, name, tier: None, why };
        self.add_policy(Policy::NotUnderstood(policy), None, false);
    }

    /// Everything into an inventory, the policies, and those in trial. A pod that `kept` holds just as it is stays the same
    /// one: whoever knows it need not look at it again.
    pub(super) fn assemble(
        self,
        builder: Builder,
        kept: &KeptPods<'_>,
    ) -> (Builder, Vec<Dated>, Vec<Arc<Policy>>) {
        let Self { namespaces, nodes, pods, services, slices, ranges, policies, trial, owners, .. } = self;
        let builder = nodes.into_iter().fold(builder, Builder::node);
        let builder = services.into_iter().fold(builder, Builder::service);
        let builder = slices.into_iter().fold(builder, Builder::slice);
        let builder = ranges.into_iter().fold(builder, Builder::range);
        let builder = pods.into_iter().fold(builder, |builder, pod| {
            let pod = pod.complete(&namespaces, &owners);
            match kept.get(&(&*pod.namespace, &*pod.name)) {
                Some(same) if ***same == pod => builder.pod(Arc::clone(same)),
                _ => builder.pod(pod),
            }
        });
        let policies = policies.into_iter().map(|(policy, created)| (Arc::new(policy), created));
        (builder, policies.collect(), trial.into_iter().map(Arc::new).collect())
    }

    fn first(&mut self, key: &Key, place: &Place) -> Result<(), FieldError> {
        if key.name.is_empty() {
            return Err(FieldError::new("metadata.name", "is missing"));
        }
        match self.seen.insert(key.clone(), place.clone()) {
            None => Ok(()),
            Some(other) => {
                let (file, document) = (other.file.display(), other.document);
                let what = format!("is defined before, in {file}, document {document}");
                Err(FieldError { field: None, what })
            }
        }
    }

    fn add_policy(&mut self, policy: Policy, created: Option<Timestamp>, trial: bool) {
        match trial {
            true => self.trial.push(policy),
            false => self.policies.push((policy, created)),
        }
    }

    fn add_broken_policy(&mut self, policy: NotUnderstood, trial: bool) {
        // Of two that claim one name neither is known to be the one that stands.
        match trial {
            true => self.trial.retain(|known| known.reference() != policy.reference()),
            false => self.policies.retain(|(known, _)| known.reference() != policy.reference()),
        }
        self.add_policy(Policy::NotUnderstood(policy), None, trial);
    }

    fn add_cluster_policy(
        &mut self,
        key: &Key,
        version: &str,
        place: &Place,
        object: Value,
    ) -> Result<(), FieldError> {
        let Some((_, known, kind, tier)) = CLUSTER_POLICIES.iter().find(|row| row.0 == key.kind) else {
            return Err(FieldError::new("kind", "is no policy kind that this build knows"));
        };
        // What a version that is not known means by its tier is not known either.
        let written = Some(text(&object, "/spec/tier")).filter(|_| version == *known);
        let tier = tier.or_else(|| written.and_then(cluster_network_policy::tier));
        let broken = |error: &FieldError| NotUnderstood {
            kind: *kind,
            namespace: None,
            name: key.name.clone(),
            tier,
            why: why(error).into(),
        };
        if let Err(error) = self.first(key, place).and_then(|()| in_trial(&object).map(drop)) {
            self.add_broken_policy(broken(&error), key.trial);
            return Err(error);
        }
        let understood = if version == *known {
            validate_cluster::known_fields(*kind, &object)
        } else {
            Err(FieldError::new("apiVersion", format!("{version} is not read, only {known}")))
        };
        if let Err(error) = understood {
            self.add_broken_policy(broken(&error), key.trial);
            return Ok(());
        }
        match read_cluster_policy(*kind, object) {
            Ok((policy, created)) => self.add_policy(Policy::Cluster(policy), created, key.trial),
            Err(error) => {
                self.add_broken_policy(broken(&error), key.trial);
                return Err(error);
            }
        }
        Ok(())
    }

    fn add_namespace(&mut self, value: Value) -> Result<(), FieldError> {
        let metadata = typed::<core::v1::Namespace>(value)?.metadata;
        let name = metadata.name.unwrap_or_default();
        let mut labels = metadata.labels.unwrap_or_default();
        labels.insert(defaults::NAMESPACE_NAME.to_owned(), name.clone());
        self.namespaces.insert(name, Arc::new(labels));
        Ok(())
    }

    fn add_node(&mut self, value: Value) -> Result<(), FieldError> {
        self.nodes.push(pods::read_node(typed(value)?)?);
        Ok(())
    }

    fn add_pod(&mut self, value: Value) -> Result<(), FieldError> {
        self.pods.push(pods::read_pod(typed(value)?)?);
        Ok(())
    }

    fn add_service(&mut self, value: Value) -> Result<(), FieldError> {
        let service = typed::<core::v1::Service>(value)?;
        match services::find_no_address(&service) {
            Some(why) => {
                let core::v1::Service { metadata, .. } = service;
                let namespace = metadata.namespace.unwrap_or_else(|| defaults::NAMESPACE.to_owned());
                self.without_address.insert((namespace, metadata.name.unwrap_or_default()), why);
            }
            None => {
                let (service, first_error) = services::read_service(service);
                self.services.push(service);
                return first_error;
            }
        }
        Ok(())
    }

    fn add_slice(&mut self, value: Value) -> Result<(), FieldError> {
        let (slice, first_error) = services::read_slice(typed::<discovery::v1::EndpointSlice>(value)?);
        self.slices.extend(slice);
        first_error
    }

    fn add_service_range(&mut self, value: Value) -> Result<(), FieldError> {
        let spec = typed::<networking::v1::ServiceCIDR>(value)?.spec.unwrap_or_default();
        for (place, written) in spec.cidrs.iter().flatten().enumerate() {
            self.ranges.push(pods::block(written, &format!("spec.cidrs[{place}]"))?);
        }
        Ok(())
    }

    fn add_replica_set(&mut self, value: Value) -> Result<(), FieldError> {
        let metadata = typed::<apps::v1::ReplicaSet>(value)?.metadata;
        self.owners.insert(pods::owner_key("ReplicaSet", &metadata), pods::controller(&metadata));
        Ok(())
    }

    fn add_job(&mut self, value: Value) -> Result<(), FieldError> {
        let metadata = typed::<batch::v1::Job>(value)?.metadata;
        self.owners.insert(pods::owner_key("Job", &metadata), pods::controller(&metadata));
        Ok(())
    }

    fn add_network_policy(&mut self, value: Value) -> Result<(), FieldError> {
        let trial = in_trial(&value)?;
        validate::known_fields(&value)?;
        let mut policy = typed::<networking::v1::NetworkPolicy>(value)?;
        validate::metadata(&policy.metadata)?;
        defaults::network_policy(&mut policy);
        validate::network_policy(
            policy.spec.as_ref().unwrap_or(&networking::v1::NetworkPolicySpec::default()),
        )?;
        let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0);
        self.add_policy(Policy::NetworkPolicy(network_policy::read(&policy)), created, trial);
        Ok(())
    }
}

fn read_cluster_policy(
    kind: PolicyKind,
    object: Value,
) -> Result<(ClusterPolicy, Option<Timestamp>), FieldError> {
    let mut policy = typed::<ClusterObject>(object)?;
    validate::metadata(&policy.metadata)?;
    defaults::cluster_policy(&mut policy);
    validate_cluster::cluster_policy(kind, &policy)?;
    let read = match kind {
        PolicyKind::AdminNetworkPolicy => admin_network_policy::read(&policy),
        PolicyKind::BaselineAdminNetworkPolicy => baseline_admin_network_policy::read(&policy),
        PolicyKind::ClusterNetworkPolicy => {
            cluster_network_policy::read(&policy, validate_cluster::tier_of(&policy)?)
        }
        PolicyKind::NetworkPolicy => return Err(FieldError::new("kind", "is no policy of the cluster")),
    };
    Ok((read, policy.metadata.creation_timestamp.as_ref().map(|time| time.0)))
}

/// What is wrong, with its field.
fn why(error: &FieldError) -> String {
    match &error.field {
        Some(field) => format!("{field} {}", error.what),
        None => error.what.clone(),
    }
}

/// Reads a value as the API's type, naming the field where it does not fit.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = Some(path).filter(|path| path != ".");
        FieldError { field, what: error.into_inner().to_string() }
    })
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Group and kind; the items of a typed list do not repeat what they are.
pub(super) fn identity<'a>(object: &'a Value, of_list: Option<&'a Value>) -> (&'a str, &'a str) {
    let listed = |field: &str| of_list.map(|list| text(list, field)).unwrap_or_default();
    let told = |own: &'a str, listed: &'a str| if own.is_empty() { listed } else { own };
    let kind = told(text(object, "/kind"), listed("/kind").trim_end_matches("List"));
    let version = told(text(object, "/apiVersion"), listed("/apiVersion"));
    (version.split_once('/').map_or("", |(group, _)| group), kind)
}

pub(super) fn key(kind: &str, object: &Value) -> Key {
    let namespace = match (kind, text(object, "/metadata/namespace")) {
        ("Namespace" | "Node" | "ServiceCIDR", _) => "",
        (kind, _) if CLUSTER_POLICIES.iter().any(|row| row.0 == kind) => "",
        (_, "") => defaults::NAMESPACE,
        (_, namespace) => namespace,
    };
    let name = text(object, "/metadata/name").to_owned();
    let trial = kind.ends_with("NetworkPolicy") && in_trial(object).unwrap_or(false);
    Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name, trial }
}

impl Key {
    fn is_of(&self, policy: &PolicyRef) -> bool {
        let namespace = policy.namespace.as_deref().unwrap_or_default();
        self.kind == format!("{:?}", policy.kind) && self.namespace == namespace && self.name == policy.name
    }
}

/// Whether a policy is in trial by its annotation.
fn in_trial(object: &Value) -> Result<bool, FieldError> {
    let annotation = object.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(TRIAL));
    match annotation {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(word)) if word == "true" => Ok(true),
        Some(Value::String(word)) if word == "false" => Ok(false),
        Some(other) => Err(FieldError::new(
            format!("metadata.annotations[{TRIAL}]"),
            format!("is {other}: write \"true\" or \"false\""),
        )),
    }
}

pub(super) fn title(key: &Key) -> String {
    match key {
        Key { kind, name, .. } if kind.is_empty() || name.is_empty() => kind.clone(),
        Key { kind, namespace, name, .. } if namespace.is_empty() => format!("{kind} {name}"),
        Key { kind, namespace, name, .. } => format!("{kind} {namespace}/{name}"),
    }
}

fn problem(place: &Place, object: &str, error: FieldError) -> Problem {
    Problem {
        file: place.file.clone(),
        document: Some(place.document),
        line: None,
        object: Some(object.to_owned()).filter(|object| !object.is_empty()),
        field: error.field,
        what: error.what,
    }
}
