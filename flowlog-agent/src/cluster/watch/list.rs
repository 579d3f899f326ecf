//! Objects of a kind that takes no part in verdicts, read once and handed over as they are.

use super::{Reach, WatchError};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, Error};
use serde_json::Value;

/// Objects a page: reports are long.
const PAGE: u32 = 100;

/// The objects of a kind, in all namespaces; absent where the server says that it does not have the kind.
///
/// # Errors
/// They cannot be read.
pub async fn list(
    reach: &Reach,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
) -> Result<Option<Vec<Value>>, WatchError> {
    let client = reach.client()?;
    let unread = |error: &Error| WatchError::Unread { url: reach.url(), why: error.to_string() };
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let (mut objects, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let mut listed = match api.list(&page).await {
            Ok(listed) => listed,
            Err(Error::Api(status)) if status.code == 404 => {
                return if has_group(client, group).await.map_err(|error| unread(&error))? {
                    Err(unread(&Error::Api(status)))
                } else {
                    Ok(None)
                };
            }
            Err(error) => return Err(unread(&error)),
        };
        for mut object in listed.items.drain(..) {
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

/// A 404 alone proves nothing: only a document that lists what is there tells that something is not.
async fn has_group(client: Client, group: &str) -> Result<bool, Error> {
    Ok(client.list_api_groups().await?.groups.iter().any(|listed| listed.name == group))
}
