//! Why a selector selects nothing, and what it nearly selects.

use crate::model::Labels;
use crate::policy::{Match, Requirement, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// Why a selector selects none of some label sets.
pub(super) struct Why {
    /// In words that go on a sentence (`none has …`).
    pub(super) message: String,
    /// What would nearly fit, as written in a manifest.
    pub(super) near: Option<String>,
    /// What else there is, in words.
    pub(super) there: Option<String>,
}

/// The name among these that is nearest, where one is near.
pub(super) fn name<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored =
        known.filter(|known| *known != written).filter_map(|known| Some((distance(written, known)?, known)));
    scored.min().map(|(_, known)| known)
}

/// How far apart two names are; absent where they are not near. Short names differ by a letter and mean
/// different things (`api`, `app`).
fn distance(one: &str, other: &str) -> Option<usize> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    if plain(one) == plain(other) {
        return Some(0);
    }
    // Names that differ by their numbers are names of different things.
    let words = |name: &str| name.replace(|of: char| of.is_ascii_digit(), "");
    if words(one) == words(other) {
        return None;
    }
    let length = one.chars().count().min(other.chars().count());
    let most = match length {
        0..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    let apart = strsim::osa_distance(one, other);
    (apart <= most).then_some(apart)
}

/// Why none of these is selected; `what` is one of them in a word.
pub(super) fn why_none(selector: &Selector, sets: &[&Labels], what: &str) -> Why {
    let meets = |requirement: &Requirement, labels: &Labels| {
        Selector(vec![requirement.clone()]).matches(labels) != Match::No
    };
    let failing = selector.0.iter().find(|wanted| !sets.iter().any(|labels| meets(wanted, labels)));
    match failing {
        Some(Requirement::In(key, values)) => no_value(key, values, sets),
        Some(Requirement::Exists(key)) => Why {
            message: format!("none has the label `{key}`"),
            near: name(key, keys(sets).into_iter()).map(|near| format!("`{near}`")),
            there: None,
        },
        Some(Requirement::DoesNotExist(key)) => plain(format!("each has the label `{key}`")),
        Some(Requirement::NotIn(key, values)) => plain(format!("each has `{key}` of {}", values.join(", "))),
        Some(Requirement::Undetermined(_)) | None => Why {
            message: "none meets all requirements at once".to_owned(),
            near: None,
            there: closest(selector, sets, what, meets),
        },
    }
}

fn plain(message: String) -> Why {
    Why { message, near: None, there: None }
}

fn no_value(key: &str, values: &[String], sets: &[&Labels]) -> Why {
    let wanted = match values {
        [one] => format!("`{key}: {one}`"),
        many => format!("`{key}` of {}", many.join(", ")),
    };
    let there: BTreeSet<&str> =
        sets.iter().filter_map(|labels| labels.get(key)).map(String::as_str).collect();
    let of_value = values.iter().find_map(|value| name(value, there.iter().copied()));
    // The same value under another key: `app` and `app.kubernetes.io/name`.
    let of_key = || {
        let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
        for (other, value) in sets.iter().flat_map(|labels| labels.iter()) {
            if other != key && values.contains(value) && is_kin(key, other) {
                keys.insert(other, value);
            }
        }
        keys.into_iter().next()
    };
    let near = match of_value {
        Some(value) => Some(format!("`{key}: {value}`")),
        None => of_key().map(|(key, value)| format!("`{key}: {value}`")),
    };
    let message = match there.is_empty() && !sets.is_empty() {
        true => format!("none has {wanted}, nor the label `{key}` at all"),
        false => format!("none has {wanted}"),
    };
    let there = (!there.is_empty()).then(|| format!("`{key}` is {} there", several(&there)));
    Why { message, near, there }
}

/// Whether two keys are commonly taken for each other.
fn is_kin(one: &str, other: &str) -> bool {
    let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let names = ["app", "name", "k8s-app", "component", "metadata.name", "instance"];
    let both_name = names.contains(&&*last(one)) && names.contains(&&*last(other));
    both_name || last(one) == last(other) || distance(one, other).is_some()
}

fn keys<'a>(sets: &[&'a Labels]) -> BTreeSet<&'a str> {
    sets.iter().flat_map(|labels| labels.keys()).map(String::as_str).collect()
}

fn several(values: &BTreeSet<&str>) -> String {
    let mut shown: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
    if shown.len() > 5 {
        let more = shown.len() - 4;
        shown.truncate(4);
        return format!("{} or one of {more} others", shown.join(", "));
    }
    shown.join(" or ")
}

/// What the label set that meets most of it lacks.
fn closest(
    selector: &Selector,
    sets: &[&Labels],
    what: &str,
    meets: impl Fn(&Requirement, &Labels) -> bool,
) -> Option<String> {
    let lacking = |labels: &Labels| selector.0.iter().filter(|wanted| !meets(wanted, labels)).count();
    let best = sets.iter().min_by_key(|labels| lacking(labels))?;
    let key = selector.0.iter().find(|wanted| !meets(wanted, best)).and_then(Requirement::key)?;
    let found = best.get(key).map_or_else(|| "has none".to_owned(), |value| format!("has `{value}`"));
    Some(format!("the {what} that comes nearest {found} as `{key}`"))
}
