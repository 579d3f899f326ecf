//! What an API server lets an account do of what the agent does: reached, known, each kind followed, the node found.
//!
//! It is found out by the agent's own requests, and by one review of who the account is; nothing is changed.

use super::follow::{Followed, Follower};
use super::kinds::{KINDS, Kind, Needed, Row};
use super::{Reach, Timing, WatchError};
use http::StatusCode;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What was found.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The API server's address.
    pub url: String,
    /// Its version, where it tells; or why it does not answer at all.
    pub server: Result<Option<String>, String>,
    /// Whose the credentials are, where that is told; or why they are not accepted. None where nothing answers.
    pub account: Option<Result<Option<String>, String>>,
    /// Each kind; none where the credentials are not accepted.
    pub kinds: Vec<ProbedKind>,
    /// The node, where one was asked for; or why that cannot be told.
    pub node: Option<Result<Option<ProbedNode>, String>>,
}

/// A kind.
#[derive(Clone, Debug)]
pub struct ProbedKind {
    /// As people write it.
    pub name: &'static str,
    /// As RBAC writes it.
    pub plural: &'static str,
    /// Its group, empty for the core's.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What hangs on it.
    pub needed: Needed,
    /// Whether it can be followed.
    pub followed: Followed,
}

/// What of a Node object shows whether it is this machine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbedNode {
    /// Of the boot that its kubelet runs in.
    pub boot_id: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Asks. `node` is the name of a node to be found.
///
/// # Errors
/// There is no way to the API server, whatever it does.
pub async fn probe(reach: &Reach, node: Option<&str>, timing: &Timing) -> Result<Probe, WatchError> {
    let client = reach.client()?;
    // Nobody is told anything: each is asked, and answers.
    let (tell, _) = mpsc::channel(1);
    let of =
        |row: &'static Row| Follower::new(row, client.clone(), timing.clone(), tell.clone(), Arc::default());
    let any = of(Kind::Node.row());
    let mut found =
        Probe { url: reach.url(), server: Ok(None), account: None, kinds: Vec::new(), node: None };
    match any.look("/version").await {
        Err(why) => found.server = Err(why),
        Ok((status, text)) => {
            found.server = Ok(version(&text).filter(|_| status.is_success()));
            found.account = Some(account(&any, status).await);
        }
    }
    if !matches!(found.account, Some(Ok(_))) {
        return Ok(found);
    }
    let asked: Vec<_> = KINDS.iter().map(|row| (row, tokio::spawn(of(row).probe()))).collect();
    for (row, answer) in asked {
        let followed = answer.await.unwrap_or_else(|error| Followed::Fails(error.to_string()));
        let (group, version) = row.api_version.split_once('/').unwrap_or(("", row.api_version));
        let (name, plural) = (row.name, row.plural());
        found.kinds.push(ProbedKind { name, plural, group, version, needed: row.needed, followed });
    }
    if let Some(name) = node {
        found.node = Some(any.named(name).await.and_then(|text| read_node(&text)));
    }
    Ok(found)
}

/// Whose the credentials are, as the server says; before Kubernetes 1.28 it does not.
async fn account(any: &Follower, first: StatusCode) -> Result<Option<String>, String> {
    if first == StatusCode::UNAUTHORIZED {
        return Err("401 Unauthorized".to_owned());
    }
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    match any.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await {
        Ok((StatusCode::UNAUTHORIZED, _)) => Err("401 Unauthorized".to_owned()),
        Ok((status, text)) if status.is_success() => {
            let review: Value = serde_json::from_slice(&text).unwrap_or_default();
            Ok(review["status"]["userInfo"]["username"].as_str().map(str::to_owned))
        }
        Ok((StatusCode::FORBIDDEN, text)) => match message(&text) {
            // Who may not act for another is told so in answer to whatever he asks.
            Some(why) if why.contains("cannot impersonate") => Err(format!("403 Forbidden: {why}")),
            _ => Ok(None),
        },
        Ok(_) | Err(_) => Ok(None),
    }
}

fn message(text: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(text).ok()?;
    status["message"].as_str().map(str::to_owned)
}

fn version(text: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(text).ok()?;
    document["gitVersion"].as_str().map(str::to_owned)
}

/// The one node of a list, if it has any.
fn read_node(text: &[u8]) -> Result<Option<ProbedNode>, String> {
    let list: Value =
        serde_json::from_slice(text).map_err(|error| format!("the list cannot be read: {error}"))?;
    let Some(node) = list["items"].as_array().and_then(|items| items.first()) else { return Ok(None) };
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let addresses = addresses.filter_map(|address| address["address"].as_str()?.parse().ok()).collect();
    let boot_id = node["status"]["nodeInfo"]["bootID"].as_str().filter(|id| !id.is_empty());
    Ok(Some(ProbedNode { boot_id: boot_id.map(str::to_owned), addresses }))
}
