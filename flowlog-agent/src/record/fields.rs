//! The fields of every kind of line as Markdown tables, from the schema: the machine's part of
//! `docs/log-format.md`.

use super::tree::{Made, Move};
use super::{ecs, ocsf};
use serde_json::Value;
use std::fmt::Write as _;

/// One table a kind of record. `schema` is what [`super::schema()`] gives.
pub(super) fn tables(schema: &Value) -> String {
    let mut text = String::new();
    for kind in schema["oneOf"].as_array().into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "### `{}`\n", word(&kind["title"]));
        text.push_str("| field | type | cardinality | meaning |\n|---|---|---|---|\n");
        rows(&mut text, schema, "", kind);
        text.push('\n');
    }
    text
}

/// One table for each format of others: its fields, and what of ours each is made of.
pub(super) fn format_tables() -> String {
    let mut text = String::new();
    for (name, moves, made) in [("ECS", &ecs::MOVES[..], &ecs::MADE[..]), ("OCSF", &ocsf::MOVES, &ocsf::MADE)]
    {
        // Writing to a String cannot fail.
        let _ = write!(text, "### {name}\n\n| field | made of |\n|---|---|\n");
        for (field, source) in mapping(moves, made) {
            let _ = writeln!(text, "| `{field}` | {source} |");
        }
        text.push('\n');
    }
    text
}

/// Every field, in the order of the tables; one that several kinds of record have names all it is taken from.
fn mapping(moves: &[Move], made: &[Made]) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    for (from, to) in moves {
        match rows.iter_mut().find(|(field, _)| field == to) {
            Some((_, sources)) => {
                let _ = write!(sources, ", `{from}`");
            }
            None => rows.push((to, format!("`{from}`"))),
        }
    }
    rows.extend(made.iter().map(|(field, source)| (*field, (*source).to_owned())));
    rows
}

fn rows(text: &mut String, schema: &Value, at: &str, part: &Value) {
    let required: Vec<&str> =
        part["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in part["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let target = follow(schema, field);
        let optional = if required.contains(&name.as_str()) { "" } else { ", optional" };
        let meaning = [&field["description"], &target["description"]].into_iter().find_map(Value::as_str);
        let _ = writeln!(
            text,
            "| `{path}` | {}{optional} | {} | {} |",
            type_of(schema, target),
            field["x-cardinality"].as_str().unwrap_or_default(),
            meaning.unwrap_or_default().replace(['\n', '|'], " "),
        );
        let inner = follow(schema, if target["items"].is_object() { &target["items"] } else { target });
        rows(text, schema, &path, inner);
    }
}

/// What a reference, alone or as one of "this or nothing", leads to.
pub(super) fn follow<'a>(schema: &'a Value, field: &'a Value) -> &'a Value {
    let alternatives = field["anyOf"].as_array().into_iter().flatten();
    let found = std::iter::once(field).chain(alternatives).find_map(|one| one["$ref"].as_str());
    let name = found.and_then(|path| path.strip_prefix("#/$defs/"));
    name.map_or(field, |name| &schema["$defs"][name])
}

fn type_of(schema: &Value, field: &Value) -> String {
    let values: Vec<String> = field["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(field["enum"].as_array().into_iter().flatten())
        .flat_map(|one| {
            let listed = one["enum"].as_array().into_iter().flatten();
            [&one["const"], one]
                .into_iter()
                .chain(listed)
                .filter_map(Value::as_str)
                .map(|word| format!("`{word}`"))
        })
        .collect();
    if !values.is_empty() {
        return values.join(" ");
    }
    let name = match &field["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        one => one.as_str(),
    };
    match name {
        Some("array") => format!("list of {}", type_of(schema, follow(schema, &field["items"]))),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
