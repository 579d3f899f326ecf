//! Clusters by seed, their policies changed piece by piece: the engine answers as the oracle does.
//!
//! The first eight bytes are the seed, every four that follow a change. A policy that the API server would refuse
//! is unknown to the engine as a whole, to the oracle by its rules: the engine may know less of it, never other.
#![no_main]

use flowlog::cluster::Case;
use flowlog::model::Decision;
use flowlog::policy::{Cache, Policy};
use flowlog_tests::case::{self, Case as Written};
use flowlog_tests::{oracle, random};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((seed, changes)) = bytes.split_first_chunk() else { return };
    // Few clusters, many changes: what is learnt of one seed is of use to the next.
    let mut written = random::cluster(u64::from_le_bytes(*seed) % 4096);
    for change in changes.chunks_exact(4).take(16) {
        let Ok([list, place, what, from]) = <[u8; 4]>::try_from(change) else { continue };
        apply(&mut written, list.into(), place.into(), what, from.into());
    }
    let line = serde_json::to_vec(&written).unwrap();
    let case =
        Case::read(&line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)));
    let is_whole = |policy: &Policy| !matches!(policy, Policy::NotUnderstood(_));
    let is_damaged = !case.snapshot().policies.policies().all(|policy| is_whole(policy));
    let mut cache = Cache::new(8);
    for (query, asked) in written.queries.iter().zip(&case.queries) {
        let right = oracle::evaluate(&written, query);
        let got = case.answer(asked, &mut cache);
        let rows = [
            (right.ingress.decision, got.ingress.decision),
            (right.egress.decision, got.egress.decision),
            (right.combined, got.combined),
        ];
        for (right, got_one) in rows {
            let is_same = decision(right) == got_one;
            let is_less = got_one == Decision::Unknown && is_damaged;
            let line = || String::from_utf8_lossy(&line).into_owned();
            assert!(
                is_same || is_less,
                "{query:?} is {right:?}, got {got:?} ({:?}) of {}",
                case.problems,
                line()
            );
        }
    }
});

fn decision(word: case::Decision) -> Decision {
    match word {
        case::Decision::Allow => Decision::Allow,
        case::Decision::Deny => Decision::Deny,
        case::Decision::Unknown => Decision::Unknown,
    }
}

/// Changes one thing in one of the policies, perhaps to what another of its kind has there.
fn apply(case: &mut Written, list: usize, place: usize, what: u8, from: usize) {
    let mut kinds = [
        &mut case.network_policies,
        &mut case.admin_network_policies,
        &mut case.baseline_admin_network_policies,
        &mut case.cluster_network_policies,
    ];
    let policies = &mut kinds[list % 4];
    if policies.is_empty() {
        return;
    }
    let count = policies.len();
    let donor = policies[from % count]["spec"].clone();
    let spec = &mut policies[list / 4 % count]["spec"];
    let mut places = Vec::new();
    find_places(spec, String::new(), &mut places);
    let Some(at) = places.get(place % places.len().max(1)) else { return };
    let (parent, key) = at.rsplit_once('/').unwrap_or_default();
    let Some(parent) = spec.pointer_mut(parent) else { return };
    match (what % 4, parent) {
        // What another policy, or this one, has under the same key.
        (0 | 1, parent) => {
            let mut offered = Vec::new();
            find_places(&donor, String::new(), &mut offered);
            let is_list = parent.is_array();
            let same = |other: &&String| match other.rsplit_once('/') {
                Some((list, _)) if is_list => {
                    at.rsplit_once('/').is_some_and(|(own, _)| last(own) == last(list))
                }
                Some((_, other)) => other == key,
                None => false,
            };
            let offered: Vec<&String> = offered.iter().filter(same).collect();
            let chosen = offered.get(from / 2 % offered.len().max(1)).and_then(|other| donor.pointer(other));
            if let (Some(chosen), Some(slot)) = (chosen, spec.pointer_mut(at)) {
                *slot = chosen.clone();
            }
        }
        (2, Value::Array(items)) => {
            let item = items[from % items.len()].clone();
            items.push(item);
        }
        (3, Value::Array(items)) => drop(items.remove(key.parse().unwrap_or(0))),
        (_, Value::Object(fields)) => drop(fields.remove(&key.replace("~1", "/").replace("~0", "~"))),
        _ => {}
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn find_places(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                places.push(format!("{at}/{place}"));
                find_places(item, format!("{at}/{place}"), places);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                places.push(path.clone());
                find_places(value, path, places);
            }
        }
        _ => {}
    }
}
