//! What people write for an end: a name, an address, or a key with its value.

use crate::selection::{Condition, SelectionError};
use anyhow::Context as _;
use ipnet::IpNet;
use std::net::IpAddr;

/// A condition's keys with their values.
pub(super) type Keys = Vec<(String, Vec<String>)>;

/// Keys that can be named here; no name of an object has a colon.
const KEYS: [&str; 9] =
    ["kind", "namespace", "pod", "workload", "labels", "namespace_labels", "vendor", "cidr", "port"];

/// The ways in which an end can be one of those that were named: each is to be asked in a condition of its own. One that asks
/// for nothing where none was named.
pub(super) fn ways(flag: &str, end: &str, named: &[String]) -> anyhow::Result<Vec<Keys>> {
    if named.is_empty() {
        return Ok(vec![Keys::new()]);
    }
    let mut ways: Vec<(&str, Vec<String>)> = Vec::new();
    for name in named {
        for (key, value) in readings(name) {
            let key_of_end = format!("{end}.{key}");
            Condition::read("", [(&*key_of_end, &[value.to_owned()][..])])
                .with_context(|| format!("{flag} {name}"))?;
            match ways.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value.to_owned()),
                None => ways.push((key, vec![value.to_owned()])),
            }
        }
    }
    Ok(ways.into_iter().map(|(key, values)| vec![(format!("{end}.{key}"), values)]).collect())
}

/// What a name can mean.
pub(super) fn readings(name: &str) -> Vec<(&'static str, &str)> {
    // What begins as an address is meant as one.
    let looks_so = |text: &str| text.contains('.') && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if name.parse::<IpNet>().is_ok()
        || name.parse::<IpAddr>().is_ok()
        || name.split('/').next().is_some_and(looks_so)
    {
        return vec![("cidr", name)];
    }
    if let Some((key, value)) = name.split_once(':')
        && let Some(key) = KEYS.iter().find(|known| **known == key)
    {
        return vec![(key, value)];
    }
    match name.matches('/').count() {
        0 => vec![("namespace", name)],
        1 if !name.starts_with(|first: char| first.is_ascii_uppercase()) => {
            vec![("pod", name), ("workload", name)]
        }
        _ => vec![("workload", name)],
    }
}

/// What `--not` holds.
pub(super) fn denied(written: &str) -> anyhow::Result<Condition> {
    read_pair(written).with_context(|| format!("--not {written}"))
}

/// `KEY=VALUE[,VALUE]`; a label selector has its own commas.
pub(in crate::commands) fn read_pair(written: &str) -> Result<Condition, SelectionError> {
    let (key, values) = written.split_once('=').unwrap_or((written, ""));
    let values: Vec<String> = match key.ends_with("labels") {
        _ if values.is_empty() => Vec::new(),
        true => vec![values.to_owned()],
        false => values.split(',').map(str::to_owned).collect(),
    };
    Condition::read("", [(key, &*values)])
}
