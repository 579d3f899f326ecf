//! What an API server says it serves, asked where it answers 404 for a kind.
//!
//! A 404 alone proves nothing: a balancer without a server behind it gives one, too, and so does a server that has only
//! just started or is of an older version. API servers write it as plain text, so that only a document that lists
//! what is there tells that something is not.

use super::kinds::Row;
use serde::Deserialize;

/// How a kind is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// As it is asked for, after all.
    Here,
    /// In these versions alone.
    Elsewhere(Vec<String>),
    /// In none.
    Nowhere,
    /// Its group has no document; whether that is listed is to be asked.
    NoGroup,
}

/// Versions of a group that are looked through; groups have one to three.
const MOST_VERSIONS: usize = 8;

/// Any of the documents.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    kind: String,
    groups: Vec<Group>,
    versions: Vec<Version>,
    resources: Vec<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
}

/// Group and version of a row; those that are asked for have both.
fn group_of(row: &Row) -> (&'static str, &'static str) {
    row.api_version.split_once('/').unwrap_or(("", row.api_version))
}

/// Where the group's document is.
pub(super) fn group_path(row: &Row) -> String {
    format!("/apis/{}", group_of(row).0)
}

/// Where what a version serves is listed.
pub(super) fn version_path(row: &Row, version: &str) -> String {
    format!("/apis/{}/{version}", group_of(row).0)
}

/// Where all groups are listed.
pub(super) const GROUPS: &str = "/apis";

/// Versions of a group, by its document.
pub(super) fn versions(text: &[u8]) -> Option<Vec<String>> {
    let document: Document = serde_json::from_slice(text).ok().filter(|document| is(document, "APIGroup"))?;
    let versions = document.versions.into_iter().map(|version| version.version);
    Some(versions.filter(|version| is_plain(version)).take(MOST_VERSIONS).collect())
}

/// Whether a version lists the row's kind.
pub(super) fn lists_kind(text: &[u8], row: &Row) -> Option<bool> {
    let document: Document =
        serde_json::from_slice(text).ok().filter(|document| is(document, "APIResourceList"))?;
    Some(document.resources.iter().any(|resource| resource.name == row.plural()))
}

/// Whether the row's group is listed.
pub(super) fn lists_group(text: &[u8], row: &Row) -> Option<bool> {
    let document: Document =
        serde_json::from_slice(text).ok().filter(|document| is(document, "APIGroupList"))?;
    Some(document.groups.iter().any(|group| group.name == group_of(row).0))
}

/// What the versions that list the kind come to.
pub(super) fn judge(row: &Row, found: Vec<String>) -> Served {
    match found {
        found if found.iter().any(|version| version == group_of(row).1) => Served::Here,
        found if found.is_empty() => Served::Nowhere,
        found => Served::Elsewhere(found),
    }
}

fn is(document: &Document, kind: &str) -> bool {
    document.kind == kind
}

/// As versions are named; it becomes part of a path.
fn is_plain(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Kind;
    use super::*;

    #[test]
    fn only_documents_of_their_kind_tell_anything() {
        let row = Kind::AdminNetworkPolicy.row();
        let groups = br#"{"kind":"APIGroupList","groups":[{"name":"apps"}]}"#;
        assert_eq!(lists_group(groups, row), Some(false));
        for text in ["404 page not found", "{}", r#"{"kind":"Status","code":404}"#, "<html>"] {
            let bytes = text.as_bytes();
            assert_eq!(
                (lists_group(bytes, row), lists_kind(bytes, row), versions(bytes)),
                (None, None, None)
            );
        }
        let group =
            br#"{"kind":"APIGroup","name":"x","versions":[{"version":"v1beta1"},{"version":"../v1"}]}"#;
        assert_eq!(versions(group), Some(vec!["v1beta1".to_owned()]));
        let list = br#"{"kind":"APIResourceList","resources":[{"name":"adminnetworkpolicies/status"}]}"#;
        assert_eq!(lists_kind(list, row), Some(false));
        let list = br#"{"kind":"APIResourceList","resources":[{"name":"adminnetworkpolicies"}]}"#;
        assert_eq!(lists_kind(list, row), Some(true));
    }

    #[test]
    fn a_kind_of_another_version_is_not_absent() {
        let row = Kind::AdminNetworkPolicy.row();
        let found =
            |versions: &[&str]| judge(row, versions.iter().map(|&version| version.to_owned()).collect());
        assert_eq!(found(&["v1beta1", "v1alpha1"]), Served::Here);
        assert_eq!(found(&["v1beta1"]), Served::Elsewhere(vec!["v1beta1".to_owned()]));
        assert_eq!(found(&[]), Served::Nowhere);
    }
}
