//! A policy case: a cluster and questions about it, one JSON line. Its objects are read as manifests are.
//!
//! What a policy that cannot be read could decide is unknown; where another object cannot be read, nobody
//! can tell any more who is who, and every answer is.

use super::documents::{OneOfEach, Place};
use super::{Loaded, Problem, Settings, Snapshot, Store};
use crate::model::{Basis, Decision, DirectionVerdict, Party, PolicyRefs, Protocol};
use crate::policy::{self, Cache};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A case, read.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// What is asked.
    pub queries: Vec<CaseQuery>,
    /// What is known of the right answers.
    pub expected: Vec<Expectation>,
    /// What of its objects could not be read, or would be refused by the API server.
    pub problems: Vec<Problem>,
    /// Who is who cannot be told.
    is_unsure: bool,
    snapshot: Arc<Snapshot>,
}

/// A line that is no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}{what}")]
pub struct CaseError {
    /// Path of the field, with a colon; empty where it is about the line.
    field: String,
    /// What is wrong.
    what: String,
}

/// One question of a case.
#[derive(Clone, Debug, Deserialize)]
pub struct CaseQuery {
    /// Its name in the case, as it is written.
    pub id: Value,
    /// The opener's address.
    #[serde(rename = "srcIP")]
    pub source: IpAddr,
    /// The listener's address.
    #[serde(rename = "dstIP")]
    pub destination: IpAddr,
    /// The listener's port.
    pub port: u16,
    #[serde(deserialize_with = "protocol")]
    /// The protocol.
    pub protocol: Protocol,
}

/// What is known of the right answer to a question.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// The question's name.
    pub id: Value,
    /// What ingress alone decides.
    pub ingress: Option<Word>,
    /// What egress alone decides.
    pub egress: Option<Word>,
    /// What both decide.
    pub combined: Option<Word>,
    /// The implementations that agree; absent where the answer does not rest on them.
    lineages_agreeing: Option<Vec<Value>>,
}

impl Expectation {
    /// Two implementations at least agree, or it rests on none.
    pub fn is_agreed(&self) -> bool {
        self.lineages_agreeing.as_ref().is_none_or(|lineages| lineages.len() >= 2)
    }
}

/// A decision as cases write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It may open.
    Allow,
    /// It may not.
    Deny,
    /// Neither may be claimed.
    Unknown,
}

impl From<Word> for Decision {
    fn from(word: Word) -> Self {
        match word {
            Word::Allow => Self::Allow,
            Word::Deny => Self::Deny,
            Word::Unknown => Self::Unknown,
        }
    }
}

/// The answer to a question of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseAnswer {
    /// At the listener.
    pub ingress: DirectionVerdict,
    /// At the opener.
    pub egress: DirectionVerdict,
    /// Both together.
    pub combined: Decision,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    id: String,
    #[serde(default)]
    nodes: Option<Vec<OneOfEach>>,
    #[serde(default)]
    namespaces: Option<Vec<OneOfEach>>,
    #[serde(default)]
    pods: Option<Vec<OneOfEach>>,
    #[serde(default)]
    network_policies: Option<Vec<OneOfEach>>,
    #[serde(default)]
    admin_network_policies: Option<Vec<OneOfEach>>,
    #[serde(default)]
    baseline_admin_network_policies: Option<Vec<OneOfEach>>,
    #[serde(default)]
    cluster_network_policies: Option<Vec<OneOfEach>>,
    queries: Vec<CaseQuery>,
    #[serde(default)]
    expect: Option<Vec<Expectation>>,
}

/// One of a case's lists of objects, and what its items are where they do not say so themselves.
struct List {
    field: &'static str,
    api_version: &'static str,
    kind: &'static str,
    /// What is not read of a policy is a matter of that policy.
    of_policies: bool,
    items: Option<Vec<OneOfEach>>,
}

impl Written {
    fn lists(&mut self) -> [List; 7] {
        const V1ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";
        let list = |field, api_version, kind: &'static str, items: &mut Option<Vec<OneOfEach>>| List {
            field,
            api_version,
            kind,
            of_policies: kind.ends_with("NetworkPolicy"),
            items: items.take(),
        };
        [
            list("nodes", "v1", "Node", &mut self.nodes),
            list("namespaces", "v1", "Namespace", &mut self.namespaces),
            list("pods", "v1", "Pod", &mut self.pods),
            list("networkPolicies", "networking.k8s.io/v1", "NetworkPolicy", &mut self.network_policies),
            list("adminNetworkPolicies", V1ALPHA1, "AdminNetworkPolicy", &mut self.admin_network_policies),
            list(
                "baselineAdminNetworkPolicies",
                V1ALPHA1,
                "BaselineAdminNetworkPolicy",
                &mut self.baseline_admin_network_policies,
            ),
            list(
                "clusterNetworkPolicies",
                "policy.networking.k8s.io/v1alpha2",
                "ClusterNetworkPolicy",
                &mut self.cluster_network_policies,
            ),
        ]
    }
}

impl Case {
    /// Reads a line.
    pub fn read(line: &[u8]) -> Result<Self, CaseError> {
        let mut written = parse(line)?;
        let (mut loaded, mut is_unsure) = (Loaded::default(), false);
        for list in written.lists() {
            let before = loaded.problems.len();
            let of_policies = list.of_policies;
            list.add_to(&mut loaded);
            is_unsure |= !of_policies && loaded.problems.len() > before;
        }
        let problems = loaded.problems.clone();
        let settings = Settings { accept_problems: true, ..Settings::default() };
        let store = Store::start(settings, loaded, Timestamp::UNIX_EPOCH)
            .map_err(|error| CaseError { field: String::new(), what: error.to_string() })?;
        let (queries, expected) = (written.queries, written.expect.unwrap_or_default());
        Ok(Self { id: written.id, queries, expected, problems, is_unsure, snapshot: store.snapshot() })
    }

    /// The cluster of the case.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The question of this name.
    pub fn find_query(&self, id: &Value) -> Option<&CaseQuery> {
        self.queries.iter().find(|query| query.id == *id)
    }

    /// What the policies say.
    pub fn answer(&self, query: &CaseQuery, cache: &mut Cache) -> CaseAnswer {
        if self.is_unsure {
            let reason = Some("an object of the case cannot be read".to_owned());
            let (decision, basis) = (Decision::Unknown, Basis::Unknown);
            let side =
                DirectionVerdict { decision, basis, tier: None, policies: PolicyRefs::default(), reason };
            return CaseAnswer { ingress: side.clone(), egress: side, combined: decision };
        }
        let (snapshot, at) = (&self.snapshot, Timestamp::UNIX_EPOCH);
        let source = snapshot.inventory.resolve_address(query.source, at);
        let source = Party { endpoint: source, ip: Some(query.source), port: None };
        let target = snapshot.inventory.resolve(query.destination, query.port, query.protocol, at);
        let (ip, port) = (Some(query.destination), Some(query.port));
        let destination = Party { endpoint: target.endpoint(), ip, port };
        let verdict = snapshot.evaluate_with(cache, &source, &destination, &target, query.protocol, at);
        let combined = policy::combine(verdict.egress.decision, verdict.ingress.decision);
        CaseAnswer { ingress: verdict.ingress, egress: verdict.egress, combined }
    }
}

impl List {
    fn add_to(self, loaded: &mut Loaded) {
        for (place, OneOfEach(mut object)) in self.items.into_iter().flatten().enumerate() {
            let file = PathBuf::from(format!("{}[{place}]", self.field));
            let before = loaded.problems.len();
            if let Value::Object(fields) = &mut object {
                for (field, value) in [("apiVersion", self.api_version), ("kind", self.kind)] {
                    let told = fields.entry(field).or_insert(Value::Null);
                    if told.is_null() {
                        *told = value.into();
                    }
                }
            }
            loaded.objects.add(&Place { file, document: 1 }, object, &mut loaded.problems);
            // A list of a case holds one object in each place: there are no documents to be counted.
            loaded.problems.iter_mut().skip(before).for_each(|problem| problem.document = None);
        }
    }
}

fn parse(line: &[u8]) -> Result<Written, CaseError> {
    let mut deserializer = serde_json::Deserializer::from_slice(line.trim_ascii());
    let told = |field: Option<String>, error: &serde_json::Error| {
        let text = error.to_string();
        // The parser counts lines from the beginning of this one.
        let text = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
        let what = match error.column() {
            0 => text.to_owned(),
            column => format!("{text}, column {column}"),
        };
        CaseError { field: field.map_or_else(String::new, |field| format!("{field}: ")), what }
    };
    let written: Written = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        told(Some(path).filter(|path| path != "."), error.inner())
    })?;
    deserializer.end().map_err(|error| told(None, &error))?;
    Ok(written)
}

fn protocol<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(serde::de::Error::custom(format!("`{other}` is none of TCP, UDP, SCTP"))),
    }
}
