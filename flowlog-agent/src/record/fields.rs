//! The fields of every kind of line as Markdown tables, from the schema: the machine's part of
//! `docs/log-format.md`.

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
fn follow<'a>(schema: &'a Value, field: &'a Value) -> &'a Value {
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
