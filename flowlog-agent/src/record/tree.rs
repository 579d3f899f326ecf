//! A record of ours as a tree, out of which another format takes what it has a place for. What it has none for stays, under
//! the names that it has in our own format: nothing is lost on the way, and nothing is said twice by accident.
//!
//! A leaf is its JSON text, written once and moved by its place: a tree of `serde_json::Value`s takes ten times the time.

mod build;

use super::format::Format;
use super::json;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Error;

/// A field of ours and the other format's field that says just the same.
pub(super) type Move = (&'static str, &'static str);

/// A field that the other format has beside those, and what it is made of.
pub(super) type Made = (&'static str, &'static str);

/// A value: its JSON text's place, or what it is made of.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A text, a number, a truth value.
    Leaf(Span),
    /// An object.
    Object(Members),
    /// A list.
    List(Vec<Self>),
}

/// From where to where in the text of the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    from: usize,
    to: usize,
}

/// A member's name: most are fields of structs; those of maps are JSON text, with its quotation marks.
#[derive(Clone, Copy, Debug)]
enum Key {
    Field(&'static str),
    Text(Span),
}

/// The members of an object, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(Vec<(Key, Node)>);

/// What is left of a record of ours, and the fields of the other format.
pub(super) struct Tree {
    text: Vec<u8>,
    left: Members,
    own: Members,
}

impl Tree {
    /// Nothing taken yet.
    fn of<T: Serialize>(record: &T) -> Result<Self, Error> {
        let mut text = Vec::with_capacity(super::MAX_LINE_BYTES);
        let left = build::members(&mut text, record)?;
        Ok(Self { text, left, own: Members::default() })
    }

    /// A field of ours that is still there.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        let mut members = &self.left;
        let mut path = path;
        while let Some((step, rest)) = split(path) {
            let Node::Object(inner) = members.get(&self.text, step)? else { return None };
            (members, path) = (inner, rest);
        }
        members.get(&self.text, path)
    }

    /// A member of an object.
    pub(super) fn member<'a>(&self, node: &'a Node, name: &str) -> Option<&'a Node> {
        match node {
            Node::Object(members) => members.get(&self.text, name),
            _ => None,
        }
    }

    /// That, as it stands in JSON between the quotation marks of a text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        let Node::Leaf(span) = self.get(path)? else { return None };
        let quoted = str::from_utf8(span.of(&self.text)).ok()?;
        quoted.strip_prefix('"')?.strip_suffix('"')
    }

    /// The same ones, each once.
    pub(super) fn unique(&self, nodes: impl IntoIterator<Item = Node>) -> Vec<Node> {
        let mut all: Vec<Node> = Vec::new();
        let mut texts: Vec<&[u8]> = Vec::new();
        for node in nodes {
            let text = match &node {
                Node::Leaf(span) => span.of(&self.text),
                _ => &[],
            };
            if !texts.contains(&text) {
                texts.push(text);
                all.push(node);
            }
        }
        all
    }

    /// Take a field of ours out, with the parts that are empty then.
    pub(super) fn take(&mut self, path: &str) -> Option<Node> {
        self.left.take(&self.text, path)
    }

    /// Give a field of the other format its value.
    pub(super) fn put(&mut self, path: &'static str, value: impl Serialize) {
        let leaf = self.leaf(&value);
        self.own.put(&self.text, path, leaf);
    }

    /// Likewise, where there is one.
    pub(super) fn put_some(&mut self, path: &'static str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(path, value);
        }
    }

    /// Likewise, what was taken out of ours, or is like it.
    pub(super) fn put_node(&mut self, path: &'static str, node: Option<Node>) {
        if let Some(node) = node {
            self.own.put(&self.text, path, node);
        }
    }

    /// Likewise, of a field of ours, which stays.
    pub(super) fn copy(&mut self, from: &str, path: &'static str) {
        let node = self.get(from).cloned();
        self.put_node(path, node);
    }

    /// A value as a leaf.
    pub(super) fn leaf(&mut self, value: &impl Serialize) -> Node {
        let from = self.text.len();
        // What is given here are texts, numbers and lists of them: serde has no reason to refuse any.
        if json::append(&mut self.text, value).is_err() {
            self.text.truncate(from);
            self.text.extend_from_slice(b"null");
        }
        Node::Leaf(Span { from, to: self.text.len() })
    }

    /// A text as a leaf, which stands in JSON so between quotation marks.
    pub(super) fn quoted(&mut self, inner: &str) -> Node {
        self.join(|text| text.extend_from_slice(inner.as_bytes()))
    }

    fn join(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Node {
        let from = self.text.len();
        self.text.push(b'"');
        append(&mut self.text);
        self.text.push(b'"');
        Node::Leaf(Span { from, to: self.text.len() })
    }

    /// The members of a field of ours, which are texts, as a list of texts `key=value` in its place.
    pub(super) fn pair(&mut self, path: &'static str) {
        self.list(path, |tree, key, node| {
            let Node::Leaf(value) = node else { return node };
            tree.join(|text| {
                match key {
                    Key::Field(name) => text.extend_from_slice(name.as_bytes()),
                    Key::Text(span) => text.extend_from_within(span.inside()),
                }
                text.push(b'=');
                text.extend_from_within(value.inside());
            })
        });
    }

    /// The members of a field of ours, which are objects, as a list in its place, each with its `name`.
    pub(super) fn name(&mut self, path: &'static str) {
        self.list(path, |tree, key, node| {
            let name = match key {
                Key::Field(name) => tree.quoted(name),
                Key::Text(span) => Node::Leaf(span),
            };
            let Node::Object(Members(mut members)) = node else { return node };
            members.insert(0, (Key::Field("name"), name));
            Node::Object(Members(members))
        });
    }

    fn list(&mut self, path: &'static str, make: impl Fn(&mut Self, Key, Node) -> Node) {
        let node = match self.take(path) {
            None => return,
            Some(Node::Object(Members(members))) => {
                Node::List(members.into_iter().map(|(key, node)| make(self, key, node)).collect())
            }
            Some(other) => other,
        };
        self.left.put(&self.text, path, node);
    }

    /// A field of ours as JSON in a text.
    pub(super) fn quote(&mut self, path: &'static str) {
        let Some(node) = self.take(path) else { return };
        let mut text = Vec::new();
        node.append(&self.text, &mut text);
        let leaf = self.leaf(&String::from_utf8_lossy(&text));
        self.left.put(&self.text, path, leaf);
    }

    /// Take a field of the other format back.
    pub(super) fn give(&mut self, name: &str) -> Option<Node> {
        self.own.remove(&self.text, name)
    }

    /// Take what is there of these fields over as it is.
    pub(super) fn take_over(&mut self, moves: &[Move]) {
        // Most of the table is of other kinds of records.
        let mut absent = "";
        for (from, to) in moves {
            let (first, _) = split(from).unwrap_or((from, ""));
            if first == absent {
                continue;
            }
            match self.take(from) {
                Some(node) => self.own.put(&self.text, to, node),
                None if self.left.get(&self.text, first).is_none() => absent = first,
                None => {}
            }
        }
    }

    /// Append the record as this format nests the two: one JSON object that starts with what is left of ours.
    fn append(&self, format: Format, out: &mut Vec<u8>) {
        let (before, after) = match format {
            Format::Flowlog => ("{", ""),
            Format::Ecs => ("{\"flowlog\":{", "}"),
            Format::Ocsf => ("{\"unmapped\":{\"flowlog\":{", "}}"),
        };
        out.extend_from_slice(before.as_bytes());
        self.left.append(&self.text, out);
        out.extend_from_slice(after.as_bytes());
        if !self.own.0.is_empty() {
            out.push(b',');
        }
        self.own.append(&self.text, out);
        out.push(b'}');
    }
}

/// Append a record of ours in another format, out of which `make` takes what that has a place for.
pub(super) fn append<T: Serialize>(
    out: &mut Vec<u8>,
    format: Format,
    record: &T,
    make: impl FnOnce(&mut Tree),
) -> Result<(), Error> {
    let mut tree = Tree::of(record)?;
    make(&mut tree);
    tree.append(format, out);
    Ok(())
}

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.from..self.to).unwrap_or_default()
    }

    /// Of a text: what stands between its quotation marks.
    fn inside(self) -> std::ops::Range<usize> {
        let from = self.from.saturating_add(1).min(self.to);
        from..self.to.saturating_sub(1).max(from)
    }
}

impl Key {
    fn is(self, text: &[u8], name: &str) -> bool {
        match self {
            Self::Field(field) => field == name,
            Self::Text(span) => text.get(span.inside()).is_some_and(|inner| inner == name.as_bytes()),
        }
    }
}

impl Node {
    /// An object of these.
    pub(super) fn object(members: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let members = members.into_iter().map(|(name, node)| (Key::Field(name), node));
        Self::Object(Members(members.collect()))
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    fn append(&self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Leaf(span) => out.extend_from_slice(span.of(text)),
            Self::Object(members) => {
                out.push(b'{');
                members.append(text, out);
                out.push(b'}');
            }
            Self::List(elements) => {
                out.push(b'[');
                for (number, element) in elements.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    element.append(text, out);
                }
                out.push(b']');
            }
        }
    }
}

/// The first step of a path, and the rest. Steps are short: looking at each byte takes a third of what a searcher takes.
fn split(path: &str) -> Option<(&str, &str)> {
    let (step, rest) = path.split_at(path.bytes().position(|byte| byte == b'.')?);
    Some((step, rest.get(1..).unwrap_or_default()))
}

impl Members {
    /// What is asked for is mostly near what was put last.
    fn place(&self, text: &[u8], name: &str) -> Option<usize> {
        self.0.iter().rposition(|(key, _)| key.is(text, name))
    }

    fn get(&self, text: &[u8], name: &str) -> Option<&Node> {
        self.0.get(self.place(text, name)?).map(|(_, node)| node)
    }

    fn remove(&mut self, text: &[u8], name: &str) -> Option<Node> {
        self.place(text, name).map(|place| self.0.remove(place).1)
    }

    fn take(&mut self, text: &[u8], path: &str) -> Option<Node> {
        let Some((step, rest)) = split(path) else { return self.remove(text, path) };
        let place = self.place(text, step)?;
        let Some((_, Node::Object(inner))) = self.0.get_mut(place) else { return None };
        let taken = inner.take(text, rest)?;
        if inner.0.is_empty() {
            self.0.remove(place);
        }
        Some(taken)
    }

    fn put(&mut self, text: &[u8], path: &'static str, node: Node) {
        let Some((step, rest)) = split(path) else {
            match self.place(text, path).and_then(|place| self.0.get_mut(place)) {
                Some((_, there)) => *there = node,
                None => self.0.push((Key::Field(path), node)),
            }
            return;
        };
        let place = self.place(text, step).unwrap_or_else(|| {
            self.0.push((Key::Field(step), Node::Object(Self::default())));
            self.0.len() - 1
        });
        if let Some((_, Node::Object(inner))) = self.0.get_mut(place) {
            inner.put(text, rest, node);
        }
    }

    fn append(&self, text: &[u8], out: &mut Vec<u8>) {
        for (number, (key, node)) in self.0.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            match key {
                Key::Field(name) => {
                    out.push(b'"');
                    out.extend_from_slice(name.as_bytes());
                    out.push(b'"');
                }
                Key::Text(span) => out.extend_from_slice(span.of(text)),
            }
            out.push(b':');
            node.append(text, out);
        }
    }
}

/// Nanoseconds from one moment to another; none where it goes backwards.
pub(super) fn ns_between(first: Timestamp, last: Timestamp) -> Option<i64> {
    i64::try_from(last.duration_since(first).as_nanos()).ok().filter(|ns| *ns >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(format: Format, record: &Value, make: impl FnOnce(&mut Tree)) -> Value {
        let mut out = Vec::new();
        append(&mut out, format, record, make).unwrap();
        assert!(out.starts_with(format.opening().as_bytes()), "{}", String::from_utf8_lossy(&out));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_is_taken_is_gone_with_the_part_it_emptied() {
        for (format, left) in [
            (Format::Ecs, json!({"flowlog": {"d": {"f": 3}}})),
            (Format::Ocsf, json!({"unmapped": {"flowlog": {"d": {"f": 3}}}})),
        ] {
            let mut expected = left;
            expected["x"] = json!({"y": {"z": 2}, "w": "text", "u": 1});
            let record = json!({"a": {"b": {"c": 1}}, "d": {"e": 2, "f": 3}});
            let got = written(format, &record, |tree| {
                let taken = tree.take("a.b.c");
                assert!(taken.is_some() && tree.take("a.b.c").is_none() && tree.take("d.x").is_none());
                tree.take_over(&[("d.e", "x.y.z"), ("none", "never")]);
                tree.put("x.w", "text");
                tree.put_node("x.u", taken);
                tree.copy("nowhere", "never");
            });
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_is_made_of_texts_stays_one_text_whatever_they_have() {
        let labels = json!({"a\"b": "c\\", "d.e/f": "ü\n\u{1}", "": ""});
        let record = json!({"v": 1, "labels": labels, "sinks": {"x\ty": {"lines": 1}}, "config": labels});
        let got = written(Format::Ecs, &record, |tree| {
            tree.pair("labels");
            tree.name("sinks");
            tree.quote("config");
        });
        let ours = &got["flowlog"];
        let mut pairs: Vec<&str> =
            ours["labels"].as_array().unwrap().iter().map(|pair| pair.as_str().unwrap()).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["=", "a\"b=c\\", "d.e/f=ü\n\u{1}"]);
        assert_eq!(ours["sinks"], json!([{"name": "x\ty", "lines": 1}]));
        assert_eq!(serde_json::from_str::<Value>(ours["config"].as_str().unwrap()).unwrap(), labels);
    }

    #[test]
    fn any_record_is_written_as_it_is_where_nothing_is_taken() {
        let record = json!({"a": [1, [true, null], {"b": "c", "d": []}], "e": {"f": {}, "g": -1.5}});
        assert_eq!(written(Format::Flowlog, &record, |_| {}), record);
        assert!(Tree::of(&json!([1])).is_err());
    }
}
