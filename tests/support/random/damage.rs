//! One thing in a cluster that cannot be read: a version, a field, a value. What it could decide is unknown.

use super::dice::Dice;
use crate::case::Case;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What stands where, and what is written over it: a key, and values for it.
const VALUES: [(&str, &[&str]); 9] = [
    ("apiVersion", &["policy.networking.k8s.io/v9", "networking.k8s.io/v1beta1"]),
    ("action", &["Log", "allow"]),
    ("tier", &["Middle"]),
    ("operator", &["Like", "Gt"]),
    ("cidr", &["10.0.0.0/33", "10.0.0.0", "fd00::/129", "ten/8"]),
    ("protocol", &["ICMP", "tcp"]),
    ("port", &["0", "65536", "-1"]),
    ("endPort", &["0", "70000"]),
    ("priority", &["-1", "1001"]),
];

/// The same cluster with one policy damaged, where it has any.
pub fn damaged(case: &Case, seed: u64) -> Case {
    let (mut case, dice) = (case.clone(), &mut Dice::new(seed));
    case.id = format!("{}-damaged-{seed}", case.id);
    let mut policies: Vec<&mut Value> = case
        .network_policies
        .iter_mut()
        .chain(&mut case.admin_network_policies)
        .chain(&mut case.baseline_admin_network_policies)
        .chain(&mut case.cluster_network_policies)
        .collect();
    let chosen = dice.below(policies.len());
    if let Some(policy) = policies.get_mut(chosen) {
        damage(dice, policy);
    }
    case
}

fn damage(dice: &mut Dice, policy: &mut Value) {
    let mut places = Vec::new();
    find_places(policy, "", &mut places);
    // What is damaged is chosen before where: an action is one place, fields can be added in many.
    let kinds: BTreeSet<&str> = places.iter().map(|(_, what)| what.as_str()).collect();
    let Some(what) = dice.find(&kinds.into_iter().collect::<Vec<_>>()) else { return };
    let fitting: Vec<&str> =
        places.iter().filter(|(_, one)| one == what).map(|(place, _)| place.as_str()).collect();
    let Some(object) = dice.find(&fitting).and_then(|place| policy.pointer_mut(place)) else { return };
    match VALUES.iter().find(|(known, _)| *known == what) {
        Some((_, values)) => {
            let value = dice.pick(values);
            object[what] = value.parse::<i64>().map_or_else(|_| value.into(), Value::from);
        }
        None if what == PEER => *object = json!({"notYetKnown": {"matchLabels": {"app": "web"}}}),
        None => object["notYetKnown"] = json!({"mode": "strict"}),
    }
}

const FIELD: &str = "a field that is not known";
const PEER: &str = "a peer that is not known";

/// Every value that can be written over, every object below `spec` that a field can be added to, every peer.
fn find_places(value: &Value, at: &str, places: &mut Vec<(String, String)>) {
    if let Value::Array(items) = value {
        for (place, item) in items.iter().enumerate() {
            let at_item = format!("{at}/{place}");
            if at.ends_with("/from") || at.ends_with("/to") {
                places.push((at_item.clone(), PEER.to_owned()));
            }
            find_places(item, &at_item, places);
        }
    }
    let Value::Object(fields) = value else { return };
    let is_map = at.ends_with("/matchLabels") || at.starts_with("/metadata");
    if at.starts_with("/spec") && !is_map {
        places.push((at.to_owned(), FIELD.to_owned()));
    }
    for (key, value) in fields.iter().filter(|_| !is_map) {
        if VALUES.iter().any(|(known, _)| known == key) {
            places.push((at.to_owned(), key.clone()));
        }
        find_places(value, &format!("{at}/{key}"), places);
    }
}
