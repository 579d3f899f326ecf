//! The fields of the schema in the words of stores: what an index maps them to, which columns a table has. The machine's part of
//! `deploy/siem` and `deploy/clickhouse`.

mod clickhouse;
mod ecs;
mod index;

use serde_json::Value;
use std::collections::BTreeMap;

/// What a file of these is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Elasticsearch, flowlog's own format.
    Elastic,
    /// Elasticsearch, ECS: what its own template does not have.
    ElasticEcs,
    /// OpenSearch, flowlog's own format.
    Opensearch,
    /// OpenSearch, ECS: all of it.
    OpensearchEcs,
    /// ClickHouse, flowlog's own format.
    Clickhouse,
}

impl Store {
    /// Every store by its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("elastic", Self::Elastic),
        ("elastic-ecs", Self::ElasticEcs),
        ("opensearch", Self::Opensearch),
        ("opensearch-ecs", Self::OpensearchEcs),
        ("clickhouse", Self::Clickhouse),
    ];
}

/// The file.
pub(super) fn text(schema: &Value, store: Store) -> String {
    let own = Field::of_schema(schema);
    let (engine, ecs) = match store {
        Store::Clickhouse => return clickhouse::table(&own),
        Store::Elastic => (index::Engine::Elastic, false),
        Store::ElasticEcs => (index::Engine::Elastic, true),
        Store::Opensearch => (index::Engine::OpenSearch, false),
        Store::OpensearchEcs => (index::Engine::OpenSearch, true),
    };
    let template = match (ecs, engine) {
        (false, _) => index::template(&own, engine),
        (true, index::Engine::OpenSearch) => index::template(&ecs::fields(own), engine),
        (true, index::Engine::Elastic) => index::own_part(&ecs::fields(own), engine),
    };
    format!("{template:#}\n")
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Text {
        few: bool,
    },
    Ip,
    Time {
        optional: bool,
    },
    Whole {
        bits: u8,
        optional: bool,
    },
    Flag {
        optional: bool,
    },
    /// Keys that are no fields, each with a text, a number, or anything.
    Map(Inner),
    Parts(BTreeMap<String, Self>),
    List(Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    Text,
    Whole,
    Any,
}

impl Field {
    /// All kinds of records together.
    fn of_schema(schema: &Value) -> Self {
        let mut all = BTreeMap::new();
        for kind in schema["oneOf"].as_array().into_iter().flatten() {
            add(&mut all, parts(schema, kind));
        }
        Self::Parts(all)
    }

    fn of(schema: &Value, field: &Value, required: bool) -> Self {
        let target = super::fields::follow(schema, field);
        let optional = !required;
        let name = match &target["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            one => one.as_str(),
        };
        match name {
            Some("object") if target["properties"].is_object() => Self::Parts(parts(schema, target)),
            Some("object") => Self::Map(match target["additionalProperties"]["type"].as_str() {
                Some("string") => Inner::Text,
                Some("integer") => Inner::Whole,
                _ => Inner::Any,
            }),
            Some("array") => Self::List(Box::new(Self::of(schema, &target["items"], true))),
            Some("boolean") => Self::Flag { optional: optional && target["type"].is_array() },
            Some("integer") => Self::Whole { bits: bits(target), optional },
            _ => match target["format"].as_str() {
                Some("ip") => Self::Ip,
                Some("date-time") => Self::Time { optional },
                _ => Self::Text { few: is_of_few(field, target) },
            },
        }
    }
}

/// Numbers without a format are as wide as can be.
fn bits(field: &Value) -> u8 {
    let format = field["format"].as_str().and_then(|format| format.strip_prefix("uint"));
    format.and_then(|bits| bits.parse().ok()).unwrap_or(64)
}

/// Listed values, or few of them by what the types say.
fn is_of_few(field: &Value, target: &Value) -> bool {
    let listed = ["enum", "oneOf", "const"].iter().any(|key| target.get(key).is_some());
    listed || field["x-cardinality"] == "low"
}

fn parts(schema: &Value, object: &Value) -> BTreeMap<String, Field> {
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = object["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, field)| (name.clone(), Field::of(schema, field, required.contains(&name.as_str()))))
        .collect()
}

/// What another kind of record has more.
fn add(all: &mut BTreeMap<String, Field>, more: BTreeMap<String, Field>) {
    for (name, field) in more {
        match (all.get_mut(&name), field) {
            (Some(Field::Parts(had)), Field::Parts(new)) => add(had, new),
            (Some(_), _) => {}
            (None, field) => {
                all.insert(name, field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::schema;

    fn get<'a>(field: &'a Field, path: &str) -> &'a Field {
        path.split('.').fold(field, |field, step| {
            let inner = if let Field::List(inner) = field { inner } else { field };
            let Field::Parts(parts) = inner else { panic!("{path}: {inner:?}") };
            &parts[step]
        })
    }

    #[test]
    fn every_kind_of_field_is_known_for_what_it_is() {
        let all = Field::of_schema(&schema());
        for (path, expected) in [
            ("source.ip", Field::Ip),
            ("time", Field::Time { optional: false }),
            ("verdict.stale_since", Field::Time { optional: true }),
            ("destination.port", Field::Whole { bits: 16, optional: true }),
            ("flow.count", Field::Whole { bits: 64, optional: false }),
            ("source.labels", Field::Map(Inner::Text)),
            ("agent.counters.events", Field::Map(Inner::Whole)),
            ("agent.config", Field::Map(Inner::Any)),
            ("class", Field::Text { few: true }),
            ("source.pod", Field::Text { few: false }),
            ("flow.update", Field::Flag { optional: false }),
            ("outcome.evidence", Field::List(Box::new(Field::Text { few: true }))),
            ("verdict.egress.policies.rule", Field::Whole { bits: 32, optional: true }),
            ("loss.stage", Field::Text { few: true }),
        ] {
            assert_eq!(*get(&all, path), expected, "{path}");
        }
    }
}
