//! On which line of a file a field stands.
//!
//! A second reading of a document, made only where something is to be told of it.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value, cut down to where it and its parts stand.
#[derive(Debug)]
pub(super) struct Tree {
    /// From 1.
    pub(super) line: u64,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    /// With the line of each key.
    Fields(Vec<(String, u64, Tree)>),
    Items(Vec<Tree>),
    None,
}

/// The lines of a document; absent where it reads otherwise than the objects' reader does.
pub(super) fn read(text: &str, lines_before: u64) -> Option<Tree> {
    let text = text.trim_start_matches('\u{feff}');
    let read =
        serde_saphyr::from_str_with_options::<Spanned<Parts>>(text, super::documents::yaml_options()).ok()?;
    Some(tree(read, lines_before))
}

fn tree(read: Spanned<Parts>, lines_before: u64) -> Tree {
    let mut tree = Tree { line: read.referenced.line(), parts: read.value };
    tree.shift(lines_before);
    tree
}

impl Tree {
    fn shift(&mut self, lines: u64) {
        self.line += lines;
        match &mut self.parts {
            Parts::Fields(fields) => fields.iter_mut().for_each(|(_, line, tree)| {
                *line += lines;
                tree.shift(lines);
            }),
            Parts::Items(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Parts::None => {}
        }
    }

    /// The items of the list that this field holds.
    pub(super) fn into_items(self, field: &str) -> Vec<Self> {
        let Parts::Fields(fields) = self.parts else { return Vec::new() };
        match fields.into_iter().find(|(key, ..)| key == field) {
            Some((.., Self { parts: Parts::Items(items), .. })) => items,
            _ => Vec::new(),
        }
    }

    /// The line of a field, or of what should hold it where it is not there.
    pub(super) fn line_of(&self, path: &str) -> u64 {
        self.find(path).unwrap_or(self.line)
    }

    fn find(&self, path: &str) -> Option<u64> {
        let (line, part, rest) = self.step(path)?;
        Some(part.find(rest).unwrap_or(line))
    }

    /// One step down a path: the line of the part, the part, and what is left of the path.
    fn step<'p>(&self, path: &'p str) -> Option<(u64, &Self, &'p str)> {
        match &self.parts {
            // Keys may hold dots: the longest that fits is meant.
            Parts::Fields(fields) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
                let fitting = fields.iter().filter_map(|(key, line, tree)| {
                    let rest = path.strip_prefix(key.as_str())?;
                    ends(rest).then_some((key.len(), *line, tree, rest))
                });
                fitting.max_by_key(|(length, ..)| *length).map(|(_, line, tree, rest)| (line, tree, rest))
            }
            Parts::Items(items) => {
                let (place, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(place.parse::<usize>().ok()?)?;
                Some((item.line, item, rest))
            }
            Parts::None => None,
        }
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_unit<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_none<E>(self) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Parts, E> {
        Ok(Parts::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parts, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Parts>>()? {
            items.push(tree(item, 0));
        }
        Ok(Parts::Items(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Parts, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = object.next_key::<Spanned<String>>()? {
            let value = object.next_value::<Spanned<Parts>>()?;
            fields.push((key.value, key.referenced.line(), tree(value, 0)));
        }
        Ok(Parts::Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment
kind: NetworkPolicy
metadata:
  annotations:
    flowlog.dev/lint-ignore: x
spec:
  podSelector: {matchLabels: {app: x}}
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: y
    - {ipBlock: {cidr: 10.0.0.0/8}}
    ports: [{port: 1},
      {port: 2}]
  - {}
";

    #[test]
    fn a_field_stands_on_the_line_of_its_key_and_an_item_where_it_begins() {
        let rows = [
            ("", 2),
            ("kind", 2),
            ("metadata.annotations", 4),
            ("metadata.annotations.flowlog.dev/lint-ignore", 5),
            ("spec.podSelector", 7),
            ("spec.podSelector.matchLabels", 7),
            ("spec.ingress", 8),
            ("spec.ingress[0]", 9),
            ("spec.ingress[0].from[0].podSelector.matchLabels.app.kubernetes.io/name", 12),
            ("spec.ingress[0].from[1]", 13),
            ("spec.ingress[0].ports[1].port", 15),
            ("spec.ingress[1]", 16),
            ("spec.ingress[7]", 8),
            ("spec.egress", 6),
            ("nothing", 2),
        ];
        for (path, line) in rows {
            assert_eq!(read(TEXT, 0).unwrap().line_of(path), line, "{path}");
            assert_eq!(read(TEXT, 10).unwrap().line_of(path), line + 10, "{path}, further down");
        }
    }

    #[test]
    fn items_of_a_list_and_json_have_their_lines() {
        let text = "{\n \"items\": [\n  {\"kind\": \"A\"},\n  {\"kind\":\n   \"B\", \"spec\": {\n   \"x\": 1.5}}\n ]\n}";
        let items = read(text, 0).unwrap().into_items("items");
        let lines: Vec<_> = items.iter().map(|item| (item.line, item.line_of("spec.x"))).collect();
        assert_eq!(lines, [(3, 3), (4, 6)]);
    }
}
