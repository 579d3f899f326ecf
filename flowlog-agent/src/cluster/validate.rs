//! What the API server refuses of a NetworkPolicy, and `kubectl` before it (unknown fields).
//!
//! Follows `ValidateNetworkPolicy` of Kubernetes 1.33 with its older, lenient reading of addresses (host
//! bits set are accepted), since policies stored under that still stand.

use super::objects::FieldError;
use crate::model::{PolicyKind, normalise_block};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

/// What may stand in a field.
pub(super) enum Shape {
    Any,
    Object(&'static [(&'static str, Shape)]),
    List(&'static Shape),
}

use Shape::{Any, List, Object};

const REQUIREMENT: Shape = Object(&[("key", Any), ("operator", Any), ("values", Any)]);
pub(super) const SELECTOR: Shape = Object(&[("matchLabels", Any), ("matchExpressions", List(&REQUIREMENT))]);
const BLOCK: Shape = Object(&[("cidr", Any), ("except", Any)]);
const PEER: Shape = Object(&[("podSelector", SELECTOR), ("namespaceSelector", SELECTOR), ("ipBlock", BLOCK)]);
const PORT: Shape = Object(&[("protocol", Any), ("port", Any), ("endPort", Any)]);
const INGRESS: Shape = Object(&[("from", List(&PEER)), ("ports", List(&PORT))]);
const EGRESS: Shape = Object(&[("to", List(&PEER)), ("ports", List(&PORT))]);
const SPEC: Shape = Object(&[
    ("podSelector", SELECTOR),
    ("policyTypes", Any),
    ("ingress", List(&INGRESS)),
    ("egress", List(&EGRESS)),
]);
const NETWORK_POLICY: Shape =
    Object(&[("apiVersion", Any), ("kind", Any), ("metadata", Any), ("spec", SPEC), ("status", Any)]);

/// Refuses a field that a NetworkPolicy does not have: a misspelt selector would select everything.
pub(super) fn known_fields(policy: &Value) -> Result<(), FieldError> {
    known(&NETWORK_POLICY, policy, "", PolicyKind::NetworkPolicy)
}

pub(super) fn known(shape: &Shape, value: &Value, path: &str, kind: PolicyKind) -> Result<(), FieldError> {
    match (shape, value) {
        (Object(fields), Value::Object(object)) => object.iter().try_for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match fields.iter().find(|(name, _)| name == key) {
                Some((_, shape)) => known(shape, value, &path, kind),
                None => Err(FieldError::new(path, format!("is no field of {kind:?}"))),
            }
        }),
        (List(shape), Value::Array(items)) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(place, item)| known(shape, item, &format!("{path}[{place}]"), kind))
        }
        _ => Ok(()),
    }
}

/// Refuses names, labels and annotations that no object may have (`ValidateObjectMeta`).
pub(super) fn metadata(of: &ObjectMeta) -> Result<(), FieldError> {
    let (name, namespace) = (of.name.as_deref().unwrap_or_default(), of.namespace.as_deref());
    if !is_subdomain(name) {
        let what = "no name (a–z, 0–9, - and ., a letter or digit at the ends, at most 253 characters)";
        return Err(FieldError::new("metadata.name", format!("`{name}` is {what}")));
    }
    let fits = |name: &&str| name.is_empty() || (name.len() <= 63 && is_dns_label(name));
    if let Some(odd) = namespace.filter(|name| !fits(name)) {
        let what = "no namespace (a–z, 0–9 and -, a letter or digit at the ends, at most 63 characters)";
        return Err(FieldError::new("metadata.namespace", format!("`{odd}` is {what}")));
    }
    for (key, value) in of.labels.iter().flatten() {
        label_key(key, "metadata.labels")?;
        label_value(value, "metadata.labels")?;
    }
    // Prefixes of these may be written in capitals.
    let mut annotations = of.annotations.iter().flatten();
    annotations.try_for_each(|(key, _)| label_key(&key.to_ascii_lowercase(), "metadata.annotations"))
}

/// Refuses what the API server refuses of a policy that has its defaults.
pub(super) fn network_policy(spec: &NetworkPolicySpec) -> Result<(), FieldError> {
    if let Some(pods) = &spec.pod_selector {
        selector(pods, "spec.podSelector")?;
    }
    policy_types(spec.policy_types.as_deref().unwrap_or_default())?;
    for (place, rule) in spec.ingress.iter().flatten().enumerate() {
        let field = format!("spec.ingress[{place}]");
        each(&rule.ports, &format!("{field}.ports"), port)?;
        each(&rule.from, &format!("{field}.from"), peer)?;
    }
    for (place, rule) in spec.egress.iter().flatten().enumerate() {
        let field = format!("spec.egress[{place}]");
        each(&rule.ports, &format!("{field}.ports"), port)?;
        each(&rule.to, &format!("{field}.to"), peer)?;
    }
    Ok(())
}

fn each<T>(
    items: &Option<Vec<T>>,
    field: &str,
    check: impl Fn(&T, &str) -> Result<(), FieldError>,
) -> Result<(), FieldError> {
    let mut items = items.iter().flatten().enumerate();
    items.try_for_each(|(place, item)| check(item, &format!("{field}[{place}]")))
}

fn policy_types(types: &[String]) -> Result<(), FieldError> {
    let field = "spec.policyTypes";
    if types.len() > 2 {
        return Err(FieldError::new(field, "may have at most two items"));
    }
    match types.iter().find(|named| !["Ingress", "Egress"].contains(&named.as_str())) {
        Some(odd) => {
            Err(FieldError::new(field, format!("`{odd}` is not supported: must be Ingress or Egress")))
        }
        None => Ok(()),
    }
}

fn port(port: &NetworkPolicyPort, field: &str) -> Result<(), FieldError> {
    let at = |name: &str, what: String| Err(FieldError::new(format!("{field}.{name}"), what));
    let protocol = port.protocol.as_deref().unwrap_or_default();
    if !["TCP", "UDP", "SCTP"].contains(&protocol) {
        return at("protocol", format!("`{protocol}` is not supported: must be TCP, UDP or SCTP"));
    }
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(number)), _) if !is_port(*number) => {
            at("port", format!("{number} is not between 1 and 65535"))
        }
        (Some(IntOrString::Int(first)), Some(last)) if !is_port(last) || last < *first => {
            at("endPort", format!("{last} is not between port ({first}) and 65535"))
        }
        (Some(IntOrString::String(name)), _) if !is_port_name(name) => {
            at("port", format!("`{name}` is no port name (at most 15 of a–z, 0–9 and -, with a letter)"))
        }
        (Some(IntOrString::String(_)), Some(_)) => {
            at("endPort", "may not stand beside a named port".to_owned())
        }
        (None, Some(_)) => at("endPort", "may not stand without port".to_owned()),
        _ => Ok(()),
    }
}

fn is_port(number: i32) -> bool {
    (1..=65_535).contains(&number)
}

/// `IsValidPortName`.
fn is_port_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn peer(peer: &NetworkPolicyPeer, field: &str) -> Result<(), FieldError> {
    if let Some(pods) = &peer.pod_selector {
        selector(pods, &format!("{field}.podSelector"))?;
    }
    if let Some(namespaces) = &peer.namespace_selector {
        selector(namespaces, &format!("{field}.namespaceSelector"))?;
    }
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    match &peer.ip_block {
        None if !selects => Err(FieldError::new(field, "must name a peer")),
        None => Ok(()),
        Some(_) if selects => Err(FieldError::new(
            format!("{field}.ipBlock"),
            "may not stand beside podSelector or namespaceSelector",
        )),
        Some(block) => ip_block(block, &format!("{field}.ipBlock")),
    }
}

fn ip_block(block: &IPBlock, field: &str) -> Result<(), FieldError> {
    let whole = cidr(&block.cidr, &format!("{field}.cidr"))?;
    for (place, written) in block.except.iter().flatten().enumerate() {
        let field = format!("{field}.except[{place}]");
        let part = cidr(written, &field)?;
        if !whole.contains(&part) || whole == part {
            return Err(FieldError::new(field, format!("{written} must be a strict part of {}", block.cidr)));
        }
    }
    Ok(())
}

pub(super) fn cidr(written: &str, field: &str) -> Result<IpNet, FieldError> {
    let read = written.parse().map(normalise_block);
    read.map_err(|_| FieldError::new(field, format!("`{written}` is no CIDR (10.9.8.0/24, 2001:db8::/64)")))
}

fn selector(selector: &LabelSelector, field: &str) -> Result<(), FieldError> {
    for (key, value) in selector.match_labels.iter().flatten() {
        let field = format!("{field}.matchLabels");
        label_key(key, &field)?;
        label_value(value, &field)?;
    }
    each(&selector.match_expressions, &format!("{field}.matchExpressions"), requirement)
}

fn requirement(written: &LabelSelectorRequirement, field: &str) -> Result<(), FieldError> {
    let values = written.values.as_deref().unwrap_or_default();
    match written.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            return Err(FieldError::new(format!("{field}.values"), "must not be empty for In and NotIn"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return Err(FieldError::new(
                format!("{field}.values"),
                "may not stand with Exists and DoesNotExist",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        odd => {
            let what = format!("`{odd}` is not supported: must be In, NotIn, Exists or DoesNotExist");
            return Err(FieldError::new(format!("{field}.operator"), what));
        }
    }
    label_key(&written.key, &format!("{field}.key"))?;
    values.iter().try_for_each(|value| label_value(value, &format!("{field}.values")))
}

/// `IsQualifiedName`: an optional DNS subdomain and `/`, then a name.
fn label_key(key: &str, field: &str) -> Result<(), FieldError> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_subdomain) && name.len() <= 63 && is_label_word(name) {
        return Ok(());
    }
    Err(FieldError::new(field, format!("`{key}` is no label key")))
}

fn label_value(value: &str, field: &str) -> Result<(), FieldError> {
    if value.is_empty() || (value.len() <= 63 && is_label_word(value)) {
        return Ok(());
    }
    Err(FieldError::new(field, format!("`{value}` is no label value")))
}

fn is_label_word(word: &str) -> bool {
    is_word(word, |byte| matches!(byte, b'-' | b'_' | b'.'))
}

/// `IsDNS1123Subdomain`.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

fn is_dns_label(part: &str) -> bool {
    is_word(part, |byte| byte == b'-') && !part.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Letters and digits, with these others between them.
pub(super) fn is_word(word: &str, between: impl Fn(u8) -> bool) -> bool {
    let bytes = word.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || between(*byte))
}
