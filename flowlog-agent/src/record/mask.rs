//! Which parts of flow and finding lines an output does not show. Only what a record may lack anyway can be left out, so
//! that every line stays one by the schema; never what changes the meaning of the rest.

use super::schema;
use crate::model::glob;
use serde_json::Value;

/// Parts by their paths, and labels by their keys; none where nothing is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    paths: Vec<Vec<String>>,
    /// Keys of the labels that are shown, with `*` for any letters, and the paths to labels; absent: all are shown.
    labels: Option<(Vec<String>, Vec<Vec<String>>)>,
}

/// Where lines have labels.
const LABELS: [[&str; 2]; 4] = [
    ["source", "labels"],
    ["source", "namespace_labels"],
    ["destination", "labels"],
    ["destination", "namespace_labels"],
];

/// What becomes of the part with this path, below the object in hand.
#[derive(Clone, Copy, Debug)]
struct Rule<'a> {
    path: &'a [String],
    what: What<'a>,
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    /// It is left out.
    Drop,
    /// Of its members those alone are kept whose names are like one of these.
    Keep(&'a [String]),
}

/// Optional, but the rest would mean something else without it.
const NEEDED: [&str; 8] = [
    "truncated",
    "masked",
    "flow.existing",
    "flow.update",
    "flow.replayed",
    "finding.repeat",
    "verdict.settling",
    "verdict.stale_since",
];

/// What a line has last that is not the whole: without it nobody could tell what is not known from what is not shown.
const MARK: &[u8] = b"\"masked\":true";

/// A part that cannot be left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// No record has it.
    #[error("`{key}` has `{path}`, which no record has{}; docs/log-format.md lists what there is", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// Where it was written.
        key: String,
        /// The part.
        path: String,
        /// The part most like it.
        near: Option<String>,
    },
    /// Records are none without it.
    #[error(
        "`{key}` has `{path}`, which cannot be left out: every record has it, or means something else without it"
    )]
    Needed {
        /// Where it was written.
        key: String,
        /// The part.
        path: String,
    },
}

impl Mask {
    /// Leave these parts out: paths such as `process` and `source.labels`. `key` is how the user calls where they stand.
    ///
    /// # Errors
    /// There is no such part, or records need it.
    pub fn read<T: AsRef<str>>(key: &str, written: &[T]) -> Result<Self, MaskError> {
        let schema = schema();
        let kinds: Vec<&Value> =
            ["flow", "finding"].into_iter().filter_map(|kind| of_kind(&schema, kind)).collect();
        let one = |path: &str| {
            let parts: Vec<&str> = path.split('.').collect();
            let found: Vec<bool> = kinds.iter().filter_map(|kind| look_up(&schema, kind, &parts)).collect();
            let (key, path) = (key.to_owned(), path.to_owned());
            if found.is_empty() {
                return Err(MaskError::Unknown { key, near: nearest(&schema, &kinds, &parts), path });
            }
            if found.contains(&true) || NEEDED.contains(&&*path) {
                return Err(MaskError::Needed { key, path });
            }
            Ok(parts.into_iter().map(str::to_owned).collect())
        };
        let paths = written.iter().map(|path| one(path.as_ref().trim())).collect::<Result<_, _>>()?;
        Ok(Self { paths, labels: None })
    }

    /// The same, and labels with these keys alone; `*` stands for any letters.
    #[must_use]
    pub fn with_labels(self, keys: &[String]) -> Self {
        let paths = LABELS.map(|path| path.map(str::to_owned).to_vec()).to_vec();
        Self { labels: Some((keys.to_vec(), paths)), ..self }
    }

    /// Whether nothing is left out.
    pub fn is_nothing(&self) -> bool {
        self.paths.is_empty() && self.labels.is_none()
    }

    /// Append the rest of a line's body, of flowlog's own format, marked where it is not the whole. The mark may take some bytes
    /// more than what is left out; a line has room for a number of ten digits more than any has.
    pub(super) fn append(&self, body: &[u8], out: &mut Vec<u8>) {
        let drop = self.paths.iter().map(|path| Rule { path, what: What::Drop });
        let keep = self
            .labels
            .iter()
            .flat_map(|(keys, paths)| paths.iter().map(|path| Rule { path, what: What::Keep(keys) }));
        let rules: Vec<Rule<'_>> = drop.chain(keep).collect();
        let before = out.len();
        let end = append_members(body, &rules, out);
        let kept = out.len() - before;
        // The agent's own list of labels may have taken some before.
        let marked = body.get(..end).is_some_and(|members| members.ends_with(MARK));
        if kept < end && !marked {
            let comma: &[u8] = if kept > 0 { b"," } else { b"" };
            out.extend_from_slice(comma);
            out.extend_from_slice(MARK);
        }
        out.extend_from_slice(body.get(end..).unwrap_or_default());
    }
}

/// Append the members of an object that are not left out; returns where its `}` is. What is not as we write it is kept.
fn append_members(text: &[u8], rules: &[Rule<'_>], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    walk(text, |name, member, value| {
        let below = rules.iter().filter_map(|rule| {
            let (_, path) = rule.path.split_first().filter(|(part, _)| part.as_bytes() == name)?;
            Some(Rule { path, what: rule.what })
        });
        let below: Vec<Rule<'_>> = below.collect();
        let ends = || below.iter().filter(|rule| rule.path.is_empty()).map(|rule| rule.what);
        if ends().any(|what| matches!(what, What::Drop)) {
            return;
        }
        let inner = value.strip_prefix(b"{").filter(|_| !below.is_empty());
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        let Some(inner) = inner else { return out.extend_from_slice(member) };
        out.extend_from_slice(member.get(..member.len() - inner.len()).unwrap_or_default());
        let keys = ends().find_map(|what| match what {
            What::Keep(keys) => Some(keys),
            What::Drop => None,
        });
        let opened = out.len();
        let closed = match keys {
            Some(keys) => append_like(inner, keys, out),
            None => append_members(inner, &below, out),
        };
        if keys.is_some() && out.len() == opened {
            // Nobody has labels and none.
            return out.truncate(before);
        }
        out.extend_from_slice(inner.get(closed..).unwrap_or_default());
    })
}

/// Append the members of an object whose names are like one of these; returns where its `}` is.
fn append_like(text: &[u8], keys: &[String], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    walk(text, |name, member, _| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        if keys.iter().any(|key| glob(key, name)) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
    })
}

/// Call with each member of an object: its name, all of it, its value. Returns where the object's `}` is.
fn walk<'a>(text: &'a [u8], mut with: impl FnMut(&'a [u8], &'a [u8], &'a [u8])) -> usize {
    let mut at = 0;
    while text.get(at) == Some(&b'"') {
        let colon = at + skip_string(text.get(at..).unwrap_or_default());
        let end = colon + 1 + skip_value(text.get(colon + 1..).unwrap_or_default());
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        with(part(at + 1, colon.saturating_sub(1)), part(at, end), part(colon + 1, end));
        at = end;
        if text.get(at) == Some(&b',') {
            at += 1;
        }
    }
    at
}

/// Bytes of the string that begins here, with its quotes.
fn skip_string(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Bytes of the value that begins here.
fn skip_value(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at += skip_string(text.get(at..).unwrap_or_default());
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

fn of_kind<'a>(schema: &'a Value, kind: &str) -> Option<&'a Value> {
    schema["oneOf"].as_array()?.iter().find(|one| one["title"] == kind)
}

/// Whether this part is required where there is one; absent where there is none.
fn look_up(schema: &Value, object: &Value, path: &[&str]) -> Option<bool> {
    let (name, rest) = path.split_first()?;
    let object = resolve(schema, object);
    let part = object["properties"].get(name)?;
    let required = object["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    if rest.is_empty() { Some(required) } else { look_up(schema, part, rest) }
}

/// What a reference, or what may also be absent, is.
fn resolve<'a>(schema: &'a Value, mut part: &'a Value) -> &'a Value {
    if let Some(is) = part["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null")) {
        part = is;
    }
    let name = part["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/"));
    name.and_then(|name| schema["$defs"].get(name)).unwrap_or(part)
}

/// The part that is written most like the first one of these that there is not.
fn nearest(schema: &Value, kinds: &[&Value], path: &[&str]) -> Option<String> {
    let known = (0..path.len()).rfind(|count| {
        *count == 0
            || kinds
                .iter()
                .any(|kind| look_up(schema, kind, path.get(..*count).unwrap_or_default()).is_some())
    })?;
    let (before, wrong) = (path.get(..known)?, path.get(known)?);
    let mut near: Option<(f64, String)> = None;
    for kind in kinds {
        let mut object = resolve(schema, kind);
        for name in before {
            object = resolve(schema, &object["properties"][name]);
        }
        for name in object["properties"].as_object().into_iter().flat_map(|all| all.keys()) {
            let likeness = strsim::jaro_winkler(wrong, name);
            if likeness > near.as_ref().map_or(0.8, |(best, _)| *best) {
                near = Some((likeness, name.clone()));
            }
        }
    }
    let (_, name) = near?;
    Some(before.iter().map(|name| (*name).to_owned()).chain([name]).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{encoder, flow};
    use proptest::prelude::*;
    use serde_json::json;

    fn mask(paths: &[&str]) -> Result<Mask, String> {
        Mask::read("outputs[0].fields.drop", paths).map_err(|error| error.to_string())
    }

    /// Slow and obvious.
    fn without(mut value: Value, paths: &[&str]) -> Value {
        for path in paths {
            let (above, name) = path.rsplit_once('.').map_or(("", *path), |(above, name)| (above, name));
            let mut part = Some(&mut value);
            for name in above.split('.').filter(|name| !name.is_empty()) {
                part = part.and_then(|part| part.get_mut(name));
            }
            if let Some(object) = part.and_then(Value::as_object_mut) {
                object.remove(name);
            }
        }
        value
    }

    fn masked(value: &Value, paths: &[&str]) -> String {
        let mask = Mask {
            paths: paths.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect(),
            labels: None,
        };
        let text = format!("{value}\n");
        let mut out = b"{".to_vec();
        mask.append(text.as_bytes().get(1..).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_left_out_and_all_else_stays_as_it_was() {
        let mut encoder = encoder();
        let line = encoder.flow(&flow()).unwrap();
        let paths = ["process", "source.labels", "source.namespace_labels", "flow.community_id"];
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        line.append_to(7, &mut whole);
        line.masked(&mask(&paths).unwrap()).append_to(7, &mut rest);
        let [whole, rest]: [Value; 2] = [whole, rest].map(|line| serde_json::from_slice(&line).unwrap());
        assert!(whole["process"].is_object() && whole["source"]["labels"].is_object());
        let mut expected = without(whole, &paths);
        expected["masked"] = true.into();
        assert_eq!(rest, expected);
        let schema = jsonschema::validator_for(&schema()).unwrap();
        assert!(schema.is_valid(&rest), "{rest}");
    }

    fn shown(line: &crate::record::Line) -> Value {
        let mut out = Vec::new();
        line.append_to(7, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn labels(line: &Value) -> Vec<Vec<&str>> {
        let keys = |path: &[&str; 2]| {
            let all = line[path[0]][path[1]].as_object();
            all.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default()
        };
        LABELS.iter().map(keys).collect()
    }

    #[test]
    fn labels_that_are_not_listed_are_left_out_and_that_is_said() {
        let line = encoder().flow(&flow()).unwrap();
        let whole = shown(&line);
        let all = labels(&whole);
        assert!(all.iter().filter(|keys| !keys.is_empty()).count() > 1, "{whole}");
        let keep = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            shown(&line.masked(&Mask::default().with_labels(&keys)))
        };
        assert_eq!(keep(&["*"]), whole, "nothing is taken, and nothing is said");
        let none = keep(&[]);
        for [end, part] in LABELS {
            assert!(none[end].get(part).is_none(), "{none}");
        }
        assert_eq!((&none["masked"], &none["process"]), (&true.into(), &whole["process"]));
        let first = all.iter().flatten().next().unwrap();
        let pattern = format!("{}*", &first[..1]);
        let some = keep(&[&pattern]);
        let expected: Vec<Vec<&str>> = all
            .iter()
            .map(|keys| keys.iter().copied().filter(|key| key.starts_with(&first[..1])).collect())
            .collect();
        assert_eq!(labels(&some), expected, "{pattern}");
        let schema = jsonschema::validator_for(&schema()).unwrap();
        for line in [&none, &some] {
            assert!(schema.is_valid(line), "{line}");
        }
    }

    /// By the agent's list, and by an output's: said once.
    #[test]
    fn the_agents_own_list_says_what_it_took_too() {
        use crate::record::{Labelling, Run};
        let encoder = |keys: &[&str]| {
            let run = Run { node: "n".to_owned(), cluster: None, id: "r".to_owned() };
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            crate::record::Encoder::new(run, Labelling::Only(keys))
        };
        let whole = shown(&encoder(&["*"]).flow(&flow()).unwrap());
        assert!(whole.get("masked").is_none(), "{whole}");
        let line = encoder(&["ap*"]).flow(&flow()).unwrap();
        let some = shown(&line);
        assert_eq!(some["masked"], true, "{some}");
        assert!(labels(&some).iter().flatten().all(|key| key.starts_with("ap")), "{some}");
        let mut out = Vec::new();
        line.masked(&mask(&["process"]).unwrap()).append_to(1, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("masked").count(), 1, "{text}");
    }

    #[test]
    fn what_tells_of_losses_and_of_the_agent_is_whole() {
        let loss = crate::model::Loss {
            stage: crate::model::LossStage::Decode,
            cause: crate::model::LossCause::UnknownEvent,
            what: "event",
            class: None,
            count: 1,
            first: jiff::Timestamp::UNIX_EPOCH,
            last: jiff::Timestamp::UNIX_EPOCH,
        };
        let line = encoder().loss(&loss).unwrap();
        let (mut whole, mut masked) = (Vec::new(), Vec::new());
        line.append_to(1, &mut whole);
        line.masked(&Mask { paths: vec![vec!["loss".to_owned()]], labels: None }).append_to(1, &mut masked);
        assert_eq!(whole, masked);
    }

    #[test]
    fn what_a_record_needs_or_never_has_is_refused() {
        for path in [
            "process",
            "process.exe",
            "source.labels",
            "destination.names",
            "dialed",
            "verdict.trial",
            "finding.object",
        ] {
            assert!(mask(&[path]).is_ok(), "{path}: {:?}", mask(&[path]));
        }
        for path in [
            "v",
            "seq",
            "kind",
            "time",
            "node",
            "run",
            "flow",
            "flow.count",
            "source",
            "source.kind",
            "verdict",
            "class",
            "flow.existing",
            "truncated",
            "masked",
            "finding.id",
        ] {
            let expected = format!(
                "`outputs[0].fields.drop` has `{path}`, which cannot be left out: every record has it, or means something else \
                 without it"
            );
            assert_eq!(mask(&["process", path]).unwrap_err(), expected);
        }
        for (path, near) in [
            ("proces", "; did you mean `process`?"),
            ("source.label", "; did you mean `source.labels`?"),
            ("labels", ""),
            ("loss", ""),
            ("process.exe.x", ""),
            ("", ""),
        ] {
            let expected = format!(
                "`outputs[0].fields.drop` has `{path}`, which no record has{near}; docs/log-format.md lists what there is"
            );
            assert_eq!(mask(&[path]).unwrap_err(), expected);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,4}[\"\\\\{}\\[\\],:]{0,3}".prop_map(Value::from),
            Just(Value::Null),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab\"\\\\,}]{1,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        });
        prop::collection::btree_map("[ab]{1,2}", value, 0..4).prop_map(|map| json!(map))
    }

    proptest! {
        #[test]
        fn whatever_is_in_it_the_rest_stays(value in values(), paths in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,2}", 0..4)) {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let text = masked(&value, &paths);
            let whole = text.ends_with("}\n");
            prop_assert!(whole);
            let mut expected = without(value.clone(), &paths);
            if expected != value {
                expected["masked"] = true.into();
            }
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }
    }
}
