//! What was observed between two places: all records of one kind of connection, summed up.

use super::{
    Basis, Class, Decision, Direction, InputProblem, Labels, Origin, PolicyRef, Protocol, RecordsRead, State,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Somewhere that connections come from or go to. The pods of a workload are one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// The pods of a workload; a pod that nobody owns is a workload of kind `Pod`.
    Workload {
        /// Namespace.
        namespace: Arc<str>,
        /// Kind of the owner, as the API writes it (`Deployment`).
        #[serde(rename = "workload_kind")]
        owner: Arc<str>,
        /// Name of the owner.
        name: Arc<str>,
    },
    /// A service whose backend is not known.
    Service {
        /// Namespace.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// A node, or what runs on it outside pods.
    Node {
        /// Its name, where known.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
    },
    /// Outside the cluster.
    External {
        /// Its address; absent where several of one name or network were put together.
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<IpAddr>,
        /// The name by which it was asked for, where one is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
        /// The network that it lies in, where one is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        network: Option<Arc<str>>,
    },
    /// The opener's own network namespace.
    Local,
    /// Not known.
    Unknown {
        /// Its address, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<IpAddr>,
    },
}

/// What records say of an end beside its place; of what differs from record to record, the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traits {
    /// Labels of the pods, without those that only number a roll-out.
    pub labels: Arc<Labels>,
    /// Labels of their namespace.
    pub namespace_labels: Arc<Labels>,
    /// Name of the container that opened or listened, where known.
    pub container: Option<Arc<str>>,
    /// Its image, as the spec names it.
    pub image: Option<Arc<str>>,
    /// `sha256:…` of the image that ran.
    pub image_digest: Option<Arc<str>>,
    /// Service account.
    pub service_account: Option<Arc<str>>,
    /// The pod uses its node's network.
    pub host_network: bool,
    /// Whose software it is, as the agent had it.
    pub origin: Option<Origin>,
    /// The vendor, likewise.
    pub vendor: Option<Arc<str>>,
    /// The agent's configuration calls it sensitive.
    pub sensitive: bool,
}

/// What the rules said in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// Allow, deny, mixed or unknown.
    pub decision: Decision,
    /// What it rests on.
    pub basis: Basis,
    /// The policies that took part.
    pub policies: Arc<[PolicyRef]>,
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RecordRef {
    /// The file as it was given, or `-` for standard input.
    pub file: Arc<str>,
    /// Line in it, from 1; of a compressed file, in what is in it. Absent where records were summed up elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// All that was observed of one kind of connection between two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Opener.
    pub source: Place,
    /// Listener.
    pub destination: Place,
    /// What records say of the opener.
    pub source_traits: Arc<Traits>,
    /// What they say of the listener.
    pub destination_traits: Arc<Traits>,
    /// Namespace and name of the service that was dialed, where one was.
    pub service: Option<(Arc<str>, Arc<str>)>,
    /// Which end's node told it. A connection between two nodes is told by both: one edge each.
    pub direction: Direction,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the listener; absent where the protocol has none.
    pub port: Option<u16>,
    /// Class.
    pub class: Class,
    /// What became of it.
    pub state: State,
    /// The combined verdict.
    pub decision: Decision,
    /// The verdict at the opener.
    pub egress: Told,
    /// The verdict at the listener.
    pub ingress: Told,
    /// Attempts; connections that were open before the agent was there count once each.
    pub count: u64,
    /// First attempt.
    pub first: Timestamp,
    /// Last attempt, or what was told of it last.
    pub last: Timestamp,
    /// Payload bytes that the opener sent, as far as told.
    pub bytes_sent: u64,
    /// Payload bytes that the opener received, likewise.
    pub bytes_received: u64,
    /// One of the records, the first.
    pub example: RecordRef,
}

/// All that records tell: who was seen to reach whom, and what was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// The edges, in an order that only hangs on what they are.
    pub edges: Vec<Edge>,
    /// Name of the cluster, where every record that has one has the same.
    pub cluster: Option<String>,
    /// What was read.
    pub read: RecordsRead,
    /// What could not be read, each with its place; the first of many.
    pub problems: Vec<InputProblem>,
    /// Problems beyond those.
    pub more_problems: u64,
    /// Bounds that were reached, in words: what was put together since there was too much of it.
    pub limits: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, owner, name } => write!(out, "{namespace}/{owner}/{name}"),
            Self::Service { namespace, name } => write!(out, "{namespace}/Service/{name}"),
            Self::Node { name: Some(name) } => write!(out, "node {name}"),
            Self::Node { name: None } => out.write_str("a node"),
            Self::External { name: Some(name), .. } => out.write_str(name),
            Self::External { ip: Some(ip), .. } => write!(out, "{ip}"),
            Self::External { network: Some(network), .. } => out.write_str(network),
            Self::External { .. } => out.write_str("outside the cluster"),
            Self::Local => out.write_str("itself"),
            Self::Unknown { ip: Some(ip) } => write!(out, "{ip} (not known)"),
            Self::Unknown { ip: None } => out.write_str("not known"),
        }
    }
}

impl Place {
    /// Its namespace, where it has one.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Workload { namespace, .. } | Self::Service { namespace, .. } => Some(namespace),
            _ => None,
        }
    }
}
