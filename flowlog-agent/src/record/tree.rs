//! A record of ours as a tree, out of which another format takes what it has a place for. What it has none for stays, under
//! the names that it has in our own format: nothing is lost on the way, and nothing is said twice by accident.

use super::format::Format;
use jiff::Timestamp;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::{Error, Map, Value};

/// A field of ours and the other format's field that says just the same.
pub(super) type Move = (&'static str, &'static str);

/// A field that the other format has beside those, and what it is made of.
pub(super) type Made = (&'static str, &'static str);

/// What is left of a record of ours, and the fields of the other format.
pub(super) struct Tree {
    left: Map<String, Value>,
    own: Map<String, Value>,
}

impl Tree {
    /// Nothing taken yet.
    pub(super) fn of<T: Serialize>(record: &T) -> Result<Self, Error> {
        match serde_json::to_value(record)? {
            Value::Object(left) => Ok(Self { left, own: Map::new() }),
            _ => Err(Error::custom("a record that is no object")),
        }
    }

    /// A field of ours that is still there.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        let mut steps = path.split('.');
        let first = self.left.get(steps.next()?)?;
        steps.try_fold(first, |part, step| part.get(step))
    }

    /// That, as text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// Take a field of ours out, with the parts that are empty then.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        take(&mut self.left, path)
    }

    /// Give a field of the other format its value.
    pub(super) fn put(&mut self, path: &str, value: impl Into<Value>) {
        put(&mut self.own, path, value.into());
    }

    /// Likewise, where there is one.
    pub(super) fn put_some(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(path, value);
        }
    }

    /// Take a field of the other format back.
    pub(super) fn give(&mut self, name: &str) -> Option<Value> {
        self.own.remove(name)
    }

    /// Take what is there of these fields over as it is.
    pub(super) fn take_over(&mut self, moves: &[Move]) {
        for (from, to) in moves {
            let value = self.take(from);
            self.put_some(to, value);
        }
    }

    /// Put something else in the place of a field of ours.
    pub(super) fn change(&mut self, path: &str, change: impl FnOnce(Value) -> Value) {
        if let Some(value) = self.take(path) {
            put(&mut self.left, path, change(value));
        }
    }

    /// As this format nests the two.
    pub(super) fn nested(self, format: Format) -> Nested {
        Nested { tree: Ok(self), format }
    }
}

/// A tree, or why there is none, as one JSON object that starts with what is left of ours.
pub(super) struct Nested {
    tree: Result<Tree, Error>,
    format: Format,
}

impl Nested {
    /// What `make` takes out of a record of ours.
    pub(super) fn of<T: Serialize>(format: Format, record: &T, make: impl FnOnce(&mut Tree)) -> Self {
        match Tree::of(record) {
            Ok(mut tree) => {
                make(&mut tree);
                tree.nested(format)
            }
            Err(error) => Self { tree: Err(error), format },
        }
    }
}

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Tree { left, own } = self.tree.as_ref().map_err(S::Error::custom)?;
        let mut members = serializer.serialize_map(None)?;
        match self.format {
            Format::Flowlog => {
                left.iter().try_for_each(|(key, value)| members.serialize_entry(key, value))?;
            }
            Format::Ecs => members.serialize_entry("flowlog", left)?,
            Format::Ocsf => members.serialize_entry("unmapped", &Unmapped { flowlog: left })?,
        }
        own.iter().try_for_each(|(key, value)| members.serialize_entry(key, value))?;
        members.end()
    }
}

#[derive(Serialize)]
struct Unmapped<'a> {
    flowlog: &'a Map<String, Value>,
}

fn take(part: &mut Map<String, Value>, path: &str) -> Option<Value> {
    let Some((step, rest)) = path.split_once('.') else { return part.remove(path) };
    let Some(Value::Object(inner)) = part.get_mut(step) else { return None };
    let taken = take(inner, rest)?;
    if inner.is_empty() {
        part.remove(step);
    }
    Some(taken)
}

fn put(part: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((step, rest)) = path.split_once('.') else {
        part.insert(path.to_owned(), value);
        return;
    };
    if !part.contains_key(step) {
        part.insert(step.to_owned(), Value::Object(Map::new()));
    }
    if let Some(Value::Object(inner)) = part.get_mut(step) {
        put(inner, rest, value);
    }
}

/// Nanoseconds from one moment to another; none where it goes backwards.
pub(super) fn ns_between(first: Timestamp, last: Timestamp) -> Option<i64> {
    i64::try_from(last.duration_since(first).as_nanos()).ok().filter(|ns| *ns >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_is_gone_with_the_part_it_emptied() {
        let mut tree = Tree::of(&json!({"a": {"b": {"c": 1}}, "d": {"e": 2, "f": 3}})).unwrap();
        assert_eq!(tree.take("a.b.c"), Some(json!(1)));
        assert_eq!(tree.take("a.b.c"), None);
        assert_eq!(tree.take("d.x"), None);
        tree.take_over(&[("d.e", "x.y.z"), ("none", "never")]);
        tree.put("x.w", "text");
        tree.change("d.f", |value| json!([value]));
        for (format, left) in [
            (Format::Ecs, json!({"flowlog": {"d": {"f": [3]}}})),
            (Format::Ocsf, json!({"unmapped": {"flowlog": {"d": {"f": [3]}}}})),
        ] {
            let mut expected = left;
            expected["x"] = json!({"y": {"z": 2}, "w": "text"});
            let tree = Tree { left: tree.left.clone(), own: tree.own.clone() };
            let text = serde_json::to_string(&tree.nested(format)).unwrap();
            assert!(text.starts_with(format.opening()), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }
    }
}
