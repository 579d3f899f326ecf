//! Objects of a kind, read once and handed over as they are: what takes no part in verdicts, and what is looked through as it
//! is written.

use super::follow::chain;
use super::kinds::{KINDS, Kind};
use super::{Reach, WatchError};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, Error};
use serde_json::Value;

/// Objects a page: reports are long.
const PAGE: u32 = 100;

/// A kind whose objects are looked through as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenKind {
    /// Group and version.
    pub api_version: &'static str,
    /// As the API writes it.
    pub kind: &'static str,
    /// As requests and rights name it.
    pub plural: &'static str,
    /// It tells of pods that are there, or what the policies say. Others make pods that may not be there yet.
    pub needed: bool,
}

/// What makes pods.
const MAKERS: [(&str, &str, &str); 4] = [
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "CronJob", "cronjobs"),
];

/// The kinds that the checks of policies look at.
pub fn written_kinds() -> impl Iterator<Item = WrittenKind> {
    let is_looked_at =
        |kind: Kind| kind.is_policy() || [Kind::Namespace, Kind::Node, Kind::Pod].contains(&kind);
    let watched = KINDS.iter().filter(move |row| is_looked_at(row.kind)).map(|row| WrittenKind {
        api_version: row.api_version,
        kind: row.name,
        plural: row.plural(),
        needed: true,
    });
    let makers = MAKERS.iter().map(|(api_version, kind, plural)| WrittenKind {
        api_version,
        kind,
        plural,
        needed: false,
    });
    watched.chain(makers)
}

/// The objects of a kind, in all namespaces, without what tells who wrote which field of them (44 % of a pod); absent where
/// the server says that it does not have the kind.
///
/// # Errors
/// They cannot be read.
pub async fn list(
    reach: &Reach,
    api_version: &str,
    kind: &str,
    plural: &str,
) -> Result<Option<Vec<Value>>, WatchError> {
    let client = reach.client()?;
    let unread = |error: &Error| WatchError::Unlisted { why: words(error) };
    // The core group has a version alone.
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let (mut objects, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let mut listed = match api.list(&page).await {
            Ok(listed) => listed,
            // The server has forgotten what the first page showed: all at once, as its other clients do.
            Err(Error::Api(status)) if status.code == 410 && page.continue_token.is_some() => {
                objects.clear();
                page = ListParams::default();
                continue;
            }
            // A 404 alone proves nothing, and who has no right to a kind is told 403 whether or not there is one.
            Err(Error::Api(status)) if matches!(status.code, 403 | 404) => {
                return match is_listed(client, &kind).await {
                    Ok(false) => Ok(None),
                    Ok(true) | Err(_) => Err(unread(&Error::Api(status))),
                };
            }
            Err(error) => return Err(unread(&error)),
        };
        for mut object in listed.items.drain(..) {
            object.metadata.managed_fields = None;
            // The items of a list do not always repeat what they are.
            object.types.get_or_insert_with(|| kube::api::TypeMeta {
                api_version: kind.api_version.clone(),
                kind: kind.kind.clone(),
            });
            let value = serde_json::to_value(object).map_err(|error| unread(&Error::SerdeError(error)))?;
            objects.push(value);
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(Some(objects)),
        }
    }
}

/// What the server says is told without what the client makes of it.
fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{} {}: {}", status.code, status.reason, status.message),
        other => chain(other),
    }
}

/// Only a document that lists what is there tells that something is not.
async fn is_listed(client: Client, kind: &ApiResource) -> Result<bool, Error> {
    if kind.group.is_empty() {
        // The core group is in no list of groups, and has no kind that a server may lack.
        return Ok(true);
    }
    if !client.list_api_groups().await?.groups.iter().any(|listed| listed.name == kind.group) {
        return Ok(false);
    }
    let listed = client.list_api_group_resources(&kind.api_version).await?;
    Ok(listed.resources.iter().any(|resource| resource.name == kind.plural))
}
