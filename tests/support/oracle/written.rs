//! What stands in an object, and what cannot be told from it.

use super::Named;
use serde_json::Value;

/// Yes, no, or not to be told from what is written.
pub(super) type Told = Option<bool>;

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn node_name(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// What is applied without a namespace lands in `default`.
pub(super) fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or("default")
}

pub(super) fn named(kind: &'static str, policy: &Value, rule: Option<usize>) -> Named {
    let namespace = (kind == "NetworkPolicy").then(|| namespace(policy).to_owned());
    Named { kind, namespace, name: name(policy).to_owned(), rule }
}

/// Stored lists leave the version out; where one is written it must be the one that is known.
pub(super) fn is_version(policy: &Value, known: &str) -> bool {
    set(policy, "apiVersion").is_none_or(|version| version == known)
}

/// The field, where it is set: `null` is not.
pub(super) fn set<'a>(of: &'a Value, field: &str) -> Option<&'a Value> {
    of.get(field).filter(|value| !value.is_null())
}

/// The list: empty where it is absent, `None` where it is something else.
pub(super) fn list<'a>(of: &'a Value, field: &str) -> Option<&'a [Value]> {
    set(of, field).map_or(Some(&[]), |value| value.as_array().map(Vec::as_slice))
}

/// Nothing but these fields is set.
pub(super) fn has_only(of: &Value, fields: &[&str]) -> bool {
    of.as_object().is_some_and(|object| {
        object.iter().all(|(key, value)| value.is_null() || fields.contains(&key.as_str()))
    })
}

/// The one field that is set.
pub(super) fn only_key(of: &Value) -> Option<&str> {
    let mut set = of.as_object()?.iter().filter(|(_, value)| !value.is_null());
    let (key, _) = set.next()?;
    set.next().is_none().then_some(key)
}

/// True where one is true; not to be told where none is and one is not to be told.
pub(super) fn any(each: impl IntoIterator<Item = Told>) -> Told {
    let told: Vec<Told> = each.into_iter().collect();
    if told.contains(&Some(true)) {
        return Some(true);
    }
    (!told.contains(&None)).then_some(false)
}

/// False where one is false; not to be told where none is and one is not to be told.
pub(super) fn all(each: impl IntoIterator<Item = Told>) -> Told {
    any(each.into_iter().map(|told| told.map(|told| !told))).map(|told| !told)
}

/// An empty list asks for nothing, so it matches.
pub(super) fn any_or_all(items: &[Value], matches: impl FnMut(&Value) -> Told) -> Told {
    if items.is_empty() { Some(true) } else { any(items.iter().map(matches)) }
}
