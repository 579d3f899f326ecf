//! The fields of a line of ECS: ours, moved to where ECS has a place for them.

use super::Field;
use crate::record::ecs::{MADE, MOVES};
use std::collections::BTreeMap;

/// What ECS counts; all else that is made for it is text.
const NUMBERS: [&str; 3] = ["event.severity", "event.duration", "network.bytes"];
const ADDRESSES: [&str; 1] = ["related.ip"];
/// What it has in another shape, and so not in ours.
const TAKEN: [&str; 1] = ["flow.protocol"];

/// Of these fields of our own.
pub(super) fn fields(own: Field) -> Field {
    let mut all = BTreeMap::new();
    let mut rest = own;
    for (from, to) in MOVES {
        if let Some(field) = take(&mut rest, from) {
            put(&mut all, to, field);
        }
    }
    for from in TAKEN {
        take(&mut rest, from);
    }
    all.insert("flowlog".to_owned(), rest);
    for (to, _) in MADE {
        put(&mut all, to, made(to));
    }
    Field::Parts(all)
}

fn made(path: &str) -> Field {
    match path {
        path if NUMBERS.contains(&path) => Field::Whole { bits: 64, optional: true },
        path if ADDRESSES.contains(&path) => Field::List(Box::new(Field::Ip)),
        // Of each sink its name and its counters.
        "flowlog.agent.counters.sinks" => Field::Map(super::Inner::Any),
        _ => Field::Text { few: false },
    }
}

fn take(field: &mut Field, path: &str) -> Option<Field> {
    let Field::Parts(parts) = field else { return None };
    match path.split_once('.') {
        None => parts.remove(path),
        Some((step, rest)) => take(parts.get_mut(step)?, rest),
    }
}

/// What was there gives way.
fn put(parts: &mut BTreeMap<String, Field>, path: &str, field: Field) {
    match path.split_once('.') {
        None => {
            parts.insert(path.to_owned(), field);
        }
        Some((step, rest)) => {
            let inner = parts.entry(step.to_owned()).or_insert_with(|| Field::Parts(BTreeMap::new()));
            if let Field::Parts(inner) = inner {
                put(inner, rest, field);
            }
        }
    }
}
