//! A policy case: a cluster, queries, and the verdicts that are expected. One JSON line each.
//!
//! The objects stay as they are written; what they mean is for `oracle` and the engine to say.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;

const V1ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";

/// A cluster with queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Case {
    /// Name of the case.
    pub id: String,
    /// What the case is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Node objects.
    #[serde(deserialize_with = "or_empty")]
    pub nodes: Vec<Value>,
    /// Namespace objects.
    #[serde(deserialize_with = "or_empty")]
    pub namespaces: Vec<Value>,
    /// Pod objects.
    #[serde(deserialize_with = "or_empty")]
    pub pods: Vec<Value>,
    /// NetworkPolicy objects.
    #[serde(deserialize_with = "or_empty")]
    pub network_policies: Vec<Value>,
    /// AdminNetworkPolicy objects.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub admin_network_policies: Vec<Value>,
    /// BaselineAdminNetworkPolicy objects.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub baseline_admin_network_policies: Vec<Value>,
    /// ClusterNetworkPolicy objects.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub cluster_network_policies: Vec<Value>,
    /// The connections that are asked about.
    pub queries: Vec<Query>,
    /// What is known of the right answers.
    pub expect: Vec<Expected>,
}

/// Lists written as `null` are empty: Go writes them so.
fn or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Case {
    /// The cluster as one manifest, a `List` of objects that name their kind.
    pub fn manifest(&self) -> Value {
        let lists: [(&str, &str, &[Value]); 7] = [
            ("v1", "Node", &self.nodes),
            ("v1", "Namespace", &self.namespaces),
            ("v1", "Pod", &self.pods),
            ("networking.k8s.io/v1", "NetworkPolicy", &self.network_policies),
            (V1ALPHA1, "AdminNetworkPolicy", &self.admin_network_policies),
            (V1ALPHA1, "BaselineAdminNetworkPolicy", &self.baseline_admin_network_policies),
            ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", &self.cluster_network_policies),
        ];
        let named = lists.into_iter().flat_map(|(version, kind, objects)| {
            objects.iter().map(move |object| {
                let mut object = object.clone();
                for (field, value) in [("apiVersion", version), ("kind", kind)] {
                    if object[field].is_null() {
                        object[field] = value.into();
                    }
                }
                object
            })
        });
        json!({"apiVersion": "v1", "kind": "List", "items": named.collect::<Vec<_>>()})
    }

    /// The query of this id.
    pub fn find_query(&self, id: u64) -> Option<&Query> {
        self.queries.iter().find(|query| query.id == id)
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Number within the case.
    pub id: u64,
    /// The opener's address.
    #[serde(rename = "srcIP")]
    pub src_ip: IpAddr,
    /// The listener's address.
    #[serde(rename = "dstIP")]
    pub dst_ip: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// What the query is about.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Protocols that policies know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What is known of the right answer to one query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// The query's id.
    pub id: u64,
    /// What ingress alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Decision>,
    /// What egress alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Decision>,
    /// What both decide.
    pub combined: Decision,
}

/// What declared policy says of a connection, or of one direction of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may open.
    Allow,
    /// It may not.
    Deny,
    /// Neither may be claimed.
    Unknown,
}
