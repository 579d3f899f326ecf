//! Looking for a record by the part of it that matters, and telling what came nearest.

use serde_json::Value;

/// True where `record` has all that `part` has: objects by key, each item of a list by some item.
pub fn contains(record: &Value, part: &Value) -> bool {
    let (matched, wanted) = score(record, part);
    matched == wanted
}

/// Leaves of `part` that `record` has, and how many there are.
fn score(record: &Value, part: &Value) -> (usize, usize) {
    let add = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
    match part {
        Value::Object(keys) if !keys.is_empty() => {
            keys.iter().map(|(key, part)| score(&record[key.as_str()], part)).fold((0, 0), add)
        }
        Value::Array(parts) if !parts.is_empty() => {
            parts.iter().map(|part| best_item(record, part)).fold((0, 0), add)
        }
        // `null` in the part: the key must be absent. An empty object or list: there must be one.
        Value::Object(_) => (usize::from(record.is_object()), 1),
        Value::Array(_) => (usize::from(record.is_array()), 1),
        leaf => (usize::from(record == leaf), 1),
    }
}

fn best_item(record: &Value, part: &Value) -> (usize, usize) {
    let items = record.as_array().into_iter().flatten();
    items.map(|item| score(item, part)).max().unwrap_or((0, score(&Value::Null, part).1))
}

/// The records that have most of `part`, best first, at most three, with what they lack.
pub fn nearest(records: &[Value], part: &Value) -> String {
    let mut ranked: Vec<_> = records.iter().map(|record| (score(record, part), record)).collect();
    ranked.sort_by_key(|((matched, _), _)| std::cmp::Reverse(*matched));
    if ranked.is_empty() {
        return "nothing was written at all".to_owned();
    }
    ranked
        .iter()
        .take(3)
        .map(|((matched, wanted), record)| {
            format!(
                "{matched} of {wanted}; differs in {}\n    {record}",
                differences(record, part, "").join(", ")
            )
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn differences(record: &Value, part: &Value, path: &str) -> Vec<String> {
    match part {
        Value::Object(keys) if !keys.is_empty() => keys
            .iter()
            .flat_map(|(key, part)| {
                let dot = if path.is_empty() { "" } else { "." };
                differences(&record[key.as_str()], part, &format!("{path}{dot}{key}"))
            })
            .collect(),
        _ if contains(record, part) => Vec::new(),
        _ => vec![format!("{path} (wanted {part}, is {record})")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_is_found_by_its_keys_and_items() {
        let record = json!({"class": "allowed", "source": {"pod": "a", "ip": "1.1.1.1"}, "list": [{"x": 1}, {"x": 2, "y": 3}]});
        let table = [
            ("a leaf", json!({"class": "allowed"}), true),
            ("a nested leaf", json!({"source": {"pod": "a"}}), true),
            ("another value", json!({"source": {"pod": "b"}}), false),
            ("an item of a list", json!({"list": [{"x": 2}]}), true),
            ("no item has both", json!({"list": [{"x": 1, "y": 3}]}), false),
            ("an absent key", json!({"errno": null}), true),
            ("a present key that must be absent", json!({"class": null}), false),
            ("some object", json!({"source": {}}), true),
        ];
        for (name, part, expected) in table {
            assert_eq!(contains(&record, &part), expected, "{name}");
        }
    }

    #[test]
    fn the_nearest_miss_tells_what_it_lacks() {
        let records = [
            json!({"class": "failed", "source": {"pod": "z"}}),
            json!({"class": "failed", "source": {"pod": "a"}}),
        ];
        let told = nearest(&records, &json!({"class": "allowed", "source": {"pod": "a"}}));
        let first = told.lines().next().unwrap();
        assert_eq!(first, r#"1 of 2; differs in class (wanted "allowed", is "failed")"#);
    }
}
