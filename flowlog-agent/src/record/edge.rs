//! A line of kind `edge`: records that are summed up, in the shape that a flow's line has. `read.rs` reads it again.

use super::native::Moment;
use crate::model::{Edge, Place, Told, Traits};
use serde_json::{Map, Value, json};

/// An edge as a line, without its newline.
pub fn edge_line(edge: &Edge) -> String {
    let mut flow = object(json!({
        "direction": edge.direction,
        "protocol": edge.protocol,
        "count": edge.count,
        "first": Moment(edge.first),
        "last": Moment(edge.last),
    }));
    for (name, bytes) in [("bytes_sent", edge.bytes_sent), ("bytes_received", edge.bytes_received)] {
        if bytes > 0 {
            flow.insert(name.to_owned(), bytes.into());
        }
    }
    let mut destination = end(&edge.destination, &edge.destination_traits);
    if let Some(port) = edge.port {
        destination.insert("port".to_owned(), port.into());
    }
    let mut line = object(json!({
        "v": super::SCHEMA_VERSION,
        "kind": "edge",
        "flow": flow,
        "source": end(&edge.source, &edge.source_traits),
        "destination": destination,
    }));
    if let Some((namespace, name)) = &edge.service {
        line.insert("dialed".to_owned(), json!({"service": {"namespace": namespace, "name": name}}));
    }
    let verdict =
        json!({"decision": edge.decision, "egress": side(&edge.egress), "ingress": side(&edge.ingress)});
    line.insert("verdict".to_owned(), verdict);
    line.insert("outcome".to_owned(), json!({"state": edge.state}));
    line.insert("class".to_owned(), json!(edge.class));
    let mut text = Value::Object(line).to_string().into_bytes();
    super::text::escape(&mut text, 0);
    // What was escaped was text, and so is what came of it.
    String::from_utf8_lossy(&text).into_owned()
}

fn end(place: &Place, traits: &Traits) -> Map<String, Value> {
    let mut end = object(match place {
        Place::Workload { namespace, owner, name } if &**owner == "Pod" => {
            json!({"kind": "pod", "namespace": namespace, "pod": name})
        }
        Place::Workload { namespace, owner, name } => {
            json!({"kind": "pod", "namespace": namespace, "workload": {"kind": owner, "name": name}})
        }
        Place::Service { namespace, name } => {
            let service = json!({"namespace": namespace, "name": name});
            json!({"kind": "service", "namespace": namespace, "service": service})
        }
        Place::Node { name } => json!({"kind": "node", "node": name}),
        Place::External { ip, name, network } => {
            let names: Vec<Value> = name.iter().map(|name| json!({"name": name})).collect();
            json!({"kind": "external", "ip": ip, "names": names, "network": network})
        }
        Place::Local => json!({"kind": "local"}),
        Place::Unknown { ip } => json!({"kind": "unknown", "ip": ip}),
    });
    let told = json!({
        "labels": traits.labels,
        "namespace_labels": traits.namespace_labels,
        "container": traits.container,
        "image": traits.image,
        "image_digest": traits.image_digest,
        "service_account": traits.service_account,
        "host_network": traits.host_network.then_some(true),
        "origin": traits.origin,
        "vendor": traits.vendor,
        "sensitive": traits.sensitive.then_some(true),
    });
    end.extend(object(told));
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    end.retain(|_, value| !is_empty(value));
    end
}

fn side(told: &Told) -> Value {
    let mut side = object(json!({"decision": told.decision, "basis": told.basis}));
    if !told.policies.is_empty() {
        side.insert("policies".to_owned(), json!(told.policies));
    }
    Value::Object(side)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
