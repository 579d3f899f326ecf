//! One object as the API server writes it, read into what the store takes.
//!
//! The readers are those of manifests, one object at a time: one that cannot be read is a problem of its own, and
//! loses no other.

use super::super::documents::Place;
use super::super::objects::{FieldError, Objects, typed};
use super::super::pods::{self, ReadPod};
use super::super::{NoAddress, Problem};
use super::cut::CutPod;
use super::kinds::{Kind, Row};
use crate::inventory::{ServiceSpec, Slice};
use crate::model::{Labels, Node, Workload};
use crate::policy::Policy;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Namespace, empty for what has none, and name.
pub(super) type Id = (Arc<str>, Arc<str>);

/// An object, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: Id,
    /// Absent where nothing of it can be used.
    pub(super) object: Option<Object>,
    pub(super) problem: Option<Box<Problem>>,
}

/// What the store takes of an object.
#[derive(Debug)]
pub(super) enum Object {
    Namespace(Arc<Labels>),
    Node(Box<Node>),
    Pod(Box<ReadPod>),
    Service(Arc<ServiceSpec>),
    /// A service that has no address.
    WithoutAddress(NoAddress),
    /// None for a slice of no service.
    Slice(Option<Arc<Slice>>),
    Ranges(Vec<IpNet>),
    /// Who owns the Job.
    Job(Option<Arc<Workload>>),
    Policy(Arc<Policy>, Option<Timestamp>),
    /// A policy in trial by its annotation.
    Trial(Arc<Policy>),
}

/// What every object has.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub(super) metadata: HeadMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HeadMeta {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) resource_version: Option<String>,
}

impl Head {
    /// Who it is, and of which version; none where it has no name.
    fn id(self) -> Option<(Id, Option<String>)> {
        let HeadMeta { name, namespace, resource_version } = self.metadata;
        let name = name.filter(|name| !name.is_empty())?;
        let id = (namespace.unwrap_or_default().into(), name.into());
        Some((id, resource_version.filter(|version| !version.is_empty())))
    }
}

/// Who an object is, and of which version.
pub(super) fn identify(text: &str) -> Option<(Id, Option<String>)> {
    serde_json::from_str::<Head>(text).ok()?.id()
}

/// Where problems of watched objects are said to be.
pub(super) const SOURCE: &str = "API server";

/// Reads an object of a kind, and its version; none where it has no name.
pub(super) fn read(kind: Kind, text: &str) -> Option<(Read, Option<String>)> {
    let row = kind.row();
    // Most of what comes are pods: their text is gone through once.
    let mut cut = (kind == Kind::Pod).then(|| parse::<CutPod>(text));
    let head = match &mut cut {
        Some(Ok(cut)) => cut.take_head().id(),
        _ => identify(text),
    };
    let (id, version) = head?;
    let read = match cut {
        Some(cut) => cut.and_then(read_pod),
        None if kind == Kind::Job => read_job(text),
        None => return Some((read_whole(row, id, text), version)),
    };
    let read = match read {
        Ok(object) => Read { id, object: Some(object), problem: None },
        Err(error) => {
            let problem = problem(row, &id, error);
            Read { id, object: None, problem: Some(Box::new(problem)) }
        }
    };
    Some((read, version))
}

fn read_pod(cut: CutPod) -> Result<Object, FieldError> {
    Ok(Object::Pod(Box::new(pods::read_pod(core::Pod::from(cut))?)))
}

fn read_job(text: &str) -> Result<Object, FieldError> {
    let value: Value = parse(text)?;
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    Ok(Object::Job(pods::controller(&typed(metadata)?)))
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, FieldError> {
    // Where it goes wrong is asked for once it does: keeping track of that all along is half as much work again.
    serde_json::from_str(text).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let field = Some(error.path().to_string()).filter(|path| path != ".");
            FieldError { field, what: error.into_inner().to_string() }
        })
    })
}

/// As a manifest with this one object in it.
fn read_whole(row: &'static Row, id: Id, text: &str) -> Read {
    let mut value: Value = match parse(text) {
        Ok(value) => value,
        Err(error) => {
            return Read { problem: Some(Box::new(problem(row, &id, error))), object: None, id };
        }
    };
    if let Value::Object(fields) = &mut value {
        // The items of a list do not repeat what they are.
        fields.insert("kind".to_owned(), row.name.into());
        fields.insert("apiVersion".to_owned(), row.api_version.into());
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.remove("managedFields");
        }
    }
    let (mut objects, mut problems) = (Objects::default(), Vec::new());
    objects.add(&Place { file: PathBuf::from(SOURCE), document: 0 }, value, &mut problems);
    let noted = objects.notes().first().cloned();
    let whole = problems.is_empty();
    let problem = problems.into_iter().next().or(noted);
    let problem = problem.map(|problem| Box::new(Problem { document: None, ..problem }));
    Read { object: taken(row.kind, objects, &id, whole), id, problem }
}

fn taken(kind: Kind, mut objects: Objects, id: &Id, whole: bool) -> Option<Object> {
    match kind {
        Kind::Namespace => objects.namespaces.remove(&*id.1).map(Object::Namespace),
        Kind::Node => objects.nodes.pop().map(|node| Object::Node(Box::new(node))),
        Kind::Service => match objects.services.pop() {
            Some(spec) => Some(Object::Service(Arc::new(spec))),
            None => objects.find_without_address(&id.0, &id.1).cloned().map(Object::WithoutAddress),
        },
        // What of it could not be read is left out of it.
        Kind::EndpointSlice => match objects.slices.pop() {
            Some(slice) => Some(Object::Slice(Some(Arc::new(slice)))),
            None => whole.then_some(Object::Slice(None)),
        },
        Kind::ServiceCidr if whole => Some(Object::Ranges(objects.ranges)),
        kind if kind.is_policy() => match (objects.policies.pop(), objects.trial.pop()) {
            (Some((policy, created)), _) => Some(Object::Policy(Arc::new(policy), created)),
            (None, Some(policy)) => Some(Object::Trial(Arc::new(policy))),
            (None, None) => None,
        },
        _ => None,
    }
}

fn problem(row: &Row, id: &Id, error: FieldError) -> Problem {
    let (namespace, name) = id;
    let title = if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") };
    Problem {
        file: PathBuf::from(SOURCE),
        object: Some(format!("{} {title}", row.name)),
        field: error.field,
        what: error.what,
        ..Problem::default()
    }
}
