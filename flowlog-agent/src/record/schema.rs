//! The JSON Schema of a line, made from the types that are written.

use super::agent::AgentLine;
use super::finding::FindingLine;
use super::native::{FlowLine, LossLine};
use super::{MAX_LINE_BYTES, SCHEMA_VERSION};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The schema of a whole line, every kind of record.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let kinds: Vec<Value> = [
        line::<FlowLine<'static>>(&mut generator, "flow"),
        line::<FindingLine<'static>>(&mut generator, "finding"),
        line::<LossLine<'static>>(&mut generator, "loss"),
        line::<AgentLine<'static>>(&mut generator, "agent"),
    ]
    .into();
    let mut parts = Value::Object(generator.take_definitions(true));
    close(&mut parts);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of flowlog",
        "description": format!(
            "One JSON object a line, at most {MAX_LINE_BYTES} bytes with its newline. A key is absent when its \
             value is unknown. Keys are only added; a changed meaning is a new `v`."
        ),
        "oneOf": kinds,
        "$defs": parts,
    })
}

/// The schema of one kind: what the sink puts before the body is added, the kind is fixed.
fn line<T: JsonSchema>(generator: &mut SchemaGenerator, kind: &str) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    close(&mut schema);
    let Some(object) = schema.as_object_mut() else { return schema };
    object.insert("title".into(), json!(kind));
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        add_front(properties, kind);
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.splice(0..0, [json!("v"), json!("seq")]);
    }
    schema
}

fn add_front(properties: &mut Map<String, Value>, kind: &str) {
    properties.insert(
        "v".into(),
        json!({"description": "Version of this schema.", "const": SCHEMA_VERSION, "type": "integer"}),
    );
    properties.insert(
        "seq".into(),
        json!({
            "description": "Number of the line, from 1, without gaps within a `run` and a sink.",
            "type": "integer", "minimum": 1
        }),
    );
    properties.insert(
        "kind".into(),
        json!({"description": "Kind of the record.", "const": kind, "type": "string"}),
    );
}

/// Refuse keys that the types do not have; maps (labels, counters, configuration) have no fixed keys.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(Value::is_object) && object.contains_key("type") {
                object.insert("additionalProperties".into(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
