//! Mappings for Elasticsearch and OpenSearch.
//!
//! A key that the mapping does not have is kept and not searched (`dynamic` false): a newer agent's line is not refused, for a
//! refused line is a lost one. No text is too long for a keyword: a whole line is shorter.

use super::Field;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Whose words differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Elastic,
    OpenSearch,
}

/// A component template of all fields. In Elasticsearch a data stream goes by `@timestamp` alone, which the pipeline makes of
/// `time`; in OpenSearch by what its template names.
pub(super) fn template(fields: &Field, engine: Engine) -> Value {
    let mut properties = properties(fields, engine);
    if engine == Engine::Elastic {
        properties.insert("@timestamp".into(), json!({"type": "date_nanos"}));
    }
    json!({"template": {"mappings": {"dynamic": false, "date_detection": false, "properties": properties}}})
}

/// A component template of what is ours in another format.
pub(super) fn own_part(fields: &Field, engine: Engine) -> Value {
    let mut properties = properties(fields, engine);
    properties.retain(|name, _| name == "flowlog");
    for own in properties.values_mut() {
        own["dynamic"] = Value::Bool(false);
    }
    json!({"template": {"mappings": {"properties": properties}}})
}

fn properties(field: &Field, engine: Engine) -> Map<String, Value> {
    let none = BTreeMap::new();
    let parts = if let Field::Parts(parts) = field { parts } else { &none };
    parts.iter().map(|(name, field)| (name.clone(), mapping(field, engine))).collect()
}

fn mapping(field: &Field, engine: Engine) -> Value {
    match field {
        Field::Text { .. } => json!({"type": "keyword"}),
        Field::Ip => json!({"type": "ip"}),
        Field::Time { .. } => json!({"type": "date_nanos"}),
        Field::Whole { .. } => json!({"type": "long"}),
        Field::Flag { .. } => json!({"type": "boolean"}),
        Field::Map(_) if engine == Engine::Elastic => json!({"type": "flattened"}),
        Field::Map(_) => json!({"type": "flat_object"}),
        // A list has the type of what is in it.
        Field::List(inner) => mapping(inner, engine),
        Field::Parts(_) => json!({"properties": properties(field, engine)}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Store, text};
    use serde_json::Value;

    fn properties(store: Store) -> Value {
        let text = text(&crate::record::schema(), store);
        serde_json::from_str::<Value>(&text).unwrap()["template"]["mappings"]["properties"].take()
    }

    #[test]
    fn each_engine_has_its_own_words() {
        let elastic = properties(Store::Elastic);
        assert_eq!(elastic["source"]["properties"]["labels"]["type"], "flattened");
        assert_eq!(elastic["@timestamp"]["type"], "date_nanos");
        assert_eq!(properties(Store::Opensearch)["source"]["properties"]["labels"]["type"], "flat_object");
    }

    #[test]
    fn of_ecs_elasticsearch_is_told_what_is_ours_alone() {
        let [own, all] = [Store::ElasticEcs, Store::OpensearchEcs].map(properties);
        assert_eq!(own.as_object().unwrap().keys().collect::<Vec<_>>(), ["flowlog"]);
        assert_eq!(own["flowlog"]["dynamic"], false);
        let ours = &all["flowlog"]["properties"];
        assert!(ours["source"]["properties"]["ip"].is_null(), "it moved");
        assert_eq!(ours["source"]["properties"]["labels"]["type"], "keyword", "pairs");
        assert_eq!(all["source"]["properties"]["ip"]["type"], "ip");
        assert_eq!(all["event"]["properties"]["duration"]["type"], "long");
        assert_eq!(all["@timestamp"]["type"], "date_nanos");
    }
}
