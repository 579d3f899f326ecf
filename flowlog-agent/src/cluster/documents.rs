//! A file's text, cut into documents and parsed as `kubectl` would.
//!
//! Every document is parsed for itself, so that a broken one does not take the others with it. Keys that
//! stand twice are refused: one of them would be lost.

use super::Problem;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Options, budget, options};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// From 1; empty ones do not count.
    pub(super) document: usize,
}

/// A document, parsed.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) place: Place,
    pub(super) value: Value,
    /// What it was parsed from.
    pub(super) text: &'a str,
    /// Lines of the file before that.
    pub(super) lines_before: u64,
}

/// A document that could not be parsed.
#[derive(Debug)]
pub(super) struct Unread<'a> {
    pub(super) problem: Problem,
    pub(super) text: &'a str,
}

/// The documents of a file, empty ones left out.
pub(super) fn split<'a>(file: &Path, text: &'a str) -> Vec<Result<Document<'a>, Unread<'a>>> {
    // Editors on Windows begin a file with it; YAML and JSON both let a reader skip it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    if is_json { json(file, text) } else { yaml(file, text) }
}

fn json<'a>(file: &Path, text: &'a str) -> Vec<Result<Document<'a>, Unread<'a>>> {
    let mut parsed = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<OneOfEach>();
    let mut start = 0;
    while let Some(value) = values.next() {
        let place = Place { file: file.to_owned(), document: parsed.len() + 1 };
        let end = values.byte_offset();
        let (before, own) = (text.get(..start).unwrap_or_default(), text.get(start..end).unwrap_or_default());
        start = end;
        parsed.push(match value {
            Ok(OneOfEach(value)) => Ok(Document { place, value, text: own, lines_before: newlines(before) }),
            Err(error) => Err(unread(place, u64::try_from(error.line()).ok(), error.to_string(), text)),
        });
    }
    parsed
}

fn newlines(text: &str) -> u64 {
    u64::try_from(text.matches('\n').count()).unwrap_or(u64::MAX)
}

fn yaml<'a>(file: &Path, text: &'a str) -> Vec<Result<Document<'a>, Unread<'a>>> {
    let mut parsed = Vec::new();
    for (chunk, lines_before) in chunks(text) {
        let place = Place { file: file.to_owned(), document: parsed.len() + 1 };
        match serde_saphyr::from_str_with_options::<Option<Value>>(chunk, yaml_options()) {
            Ok(None | Some(Value::Null)) => {}
            Ok(Some(value)) => parsed.push(Ok(Document { place, value, text: chunk, lines_before })),
            Err(error) => {
                let line = error.location().map(|location| location.line() + lines_before);
                parsed.push(Err(unread(place, line, error.without_snippet().to_string(), chunk)));
            }
        }
    }
    parsed
}

fn unread(place: Place, line: Option<u64>, what: String, text: &str) -> Unread<'_> {
    let Place { file, document } = place;
    let problem = Problem { file, document: Some(document), line, object: None, field: None, what };
    Unread { problem, text }
}

/// Cuts before every line that begins with `---`: at the first column YAML takes it for nothing else, not
/// even in a block of text. Comments and directives before it belong to the document that it begins. With
/// each piece comes the number of lines before it.
fn chunks(text: &str) -> Vec<(&str, u64)> {
    let (mut found, mut start, mut lines_before) = (Vec::new(), 0, 0);
    let (mut offset, mut line, mut has_content) = (0, 0, false);
    for written in text.split_inclusive('\n') {
        if is_marker(written) && has_content {
            found.push((text.get(start..offset).unwrap_or_default(), lines_before));
            (start, lines_before) = (offset, line);
        }
        has_content |= !written.trim().is_empty() && !written.starts_with(['#', '%']);
        offset += written.len();
        line += 1;
    }
    found.push((text.get(start..).unwrap_or_default(), lines_before));
    found
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace))
}

/// The words of YAML 1.1 that `kubectl` still knows (`yes`, `0644`), and limits that a listing of a large
/// cluster stays under. Aliases keep their limits: a few lines of them can stand for gigabytes.
pub(super) fn yaml_options() -> Options {
    options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            max_depth: 256,
        },
    }
}

/// A JSON value whose objects have each key once.
#[derive(Debug)]
pub(super) struct OneOfEach(pub(super) Value);

impl<'de> serde::Deserialize<'de> for OneOfEach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OneOfEachSeed.deserialize(deserializer).map(Self)
    }
}

struct OneOfEachSeed;

impl<'de> DeserializeSeed<'de> for OneOfEachSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneOfEachSeed {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let value = object.next_value_seed(Self)?;
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` stands twice")));
            }
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(file: &str, text: &str) -> Vec<Result<Value, String>> {
        let told = |unread: Unread<'_>| unread.problem.to_string();
        split(Path::new(file), text).into_iter().map(|one| one.map(|one| one.value).map_err(told)).collect()
    }

    #[test]
    fn yaml_is_read_as_kubectl_reads_it() {
        let rows = [
            ("documents", "a: 1\n---\nb: 2\n", vec![json!({"a": 1}), json!({"b": 2})]),
            ("empty ones", "---\n---\n# nothing\n---\na: 1\n---\n", vec![json!({"a": 1})]),
            ("a directive and a comment", "%YAML 1.2\n# x\n---\na: 1\n", vec![json!({"a": 1})]),
            (
                "content beside the marker",
                "--- {a: 1}\n--- # x\nb: 2\n",
                vec![json!({"a": 1}), json!({"b": 2})],
            ),
            ("a marker in a block of text", "a: |\n  x\n  ---\n  y\n", vec![json!({"a": "x\n---\ny\n"})]),
            ("lines of Windows", "\u{feff}a: 1\r\n---\r\nb: 2\r\n", vec![json!({"a": 1}), json!({"b": 2})]),
            ("the end of a document", "a: 1\n...\n", vec![json!({"a": 1})]),
            (
                "words of YAML 1.1",
                "a: [yes, off, 0644, 'yes', ~]",
                vec![json!({"a": [true, false, 420, "yes", null]})],
            ),
            (
                "anchors and merges",
                "a: &x {k: 1}\nb: {<<: *x, l: 2}",
                vec![json!({"a": {"k": 1}, "b": {"k": 1, "l": 2}})],
            ),
            ("JSON", "{\"a\": [1, \"\\u00e9\"]}", vec![json!({"a": [1, "é"]})]),
        ];
        for (name, text, expected) in rows {
            assert_eq!(parsed("x.yaml", text), expected.into_iter().map(Ok).collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn a_line_is_counted_from_the_files_beginning() {
        let told = parsed("x.yaml", "a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n");
        assert_eq!(told.len(), 3);
        assert!(told[1].as_ref().unwrap_err().starts_with("x.yaml:4, document 2: "), "{told:?}");
        assert_eq!(told[2], Ok(json!({"c": 3})));
    }

    #[test]
    fn json_documents_follow_each_other_and_keys_stand_once() {
        assert_eq!(
            parsed("x.json", "{\"a\": 1.5}\n[null, true]"),
            [Ok(json!({"a": 1.5})), Ok(json!([null, true]))]
        );
        let told = parsed("x.json", "{\"a\": 1}\n{\"b\": {\"c\": 1,\n\"c\": 2}}");
        assert!(
            told[1].as_ref().unwrap_err().starts_with("x.json:3, document 2: key `c` stands twice"),
            "{told:?}"
        );
    }

    #[test]
    fn a_listing_of_a_large_cluster_stays_under_the_limits_and_a_bomb_does_not() {
        let items: String =
            (0..60_000).map(|item| format!("- {{name: n{item}, labels: {{a: b, c: d}}}}\n")).collect();
        let read = parsed("x.yaml", &format!("items:\n{items}"));
        assert_eq!(read[0].as_ref().unwrap()["items"].as_array().unwrap().len(), 60_000);
        let bomb: String = (1..12)
            .map(|level| format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9)))
            .collect();
        assert!(parsed("x.yaml", &format!("a0: &a0 x\n{bomb}"))[0].is_err());
    }
}
