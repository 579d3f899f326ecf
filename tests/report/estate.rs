//! Assessments that are shown: the small one that ships as a fixture, one full of hostile names, one of 2,000 links.

use flowlog::model::Assessment;
use serde_json::{Value, json};

const SMALL: &str = include_str!("../fixtures/assessments/small.json");

/// What names may be, and what no reader may take them for.
const HOSTILE: [&str; 4] = [
    "</script><script>window.pwned=1</script>",
    "<script>window.pwned=1</script>",
    "\"'><img src=x onerror=window.pwned=1>",
    "\u{202e}evil\u{202c}\u{2066}x\u{2069}\u{200f}\u{1b}[31m",
];

pub(crate) fn small() -> Assessment {
    read(value())
}

/// Every text of a name, a reason or a sentence is hostile, or 4 KiB long.
pub(crate) fn hostile() -> Assessment {
    let mut value = value();
    let mut next = 0;
    poison(&mut value, "", &mut |text| {
        let long = ["x".repeat(4096), "日本".repeat(700)];
        *text = match HOSTILE.get(next % 6) {
            Some(hostile) => (*hostile).to_owned(),
            None => long[next % 2].clone(),
        };
        next += 1;
    });
    // The first vendor's page is looked at; places stay told apart.
    for (place, actor) in value["actors"].as_array_mut().unwrap().iter_mut().enumerate() {
        if let Some(name) = actor["place"].get_mut("name") {
            *name = json!(format!("{}{place}", name.as_str().unwrap()));
        }
    }
    for (place, finding) in value["findings"].as_array_mut().unwrap().iter_mut().enumerate() {
        finding["summary"] = json!(HOSTILE[place % 4]);
    }
    value["inputs"]["problems"][0]["what"] = json!(HOSTILE[0]);
    read(value)
}

/// Keys whose texts anybody may choose.
const CHOSEN: [&str; 24] = [
    "after",
    "before",
    "category",
    "cluster",
    "container",
    "file",
    "from",
    "image",
    "name",
    "namespace",
    "nodes",
    "object",
    "policy",
    "reason",
    "report",
    "reports",
    "sensitive",
    "service",
    "summary",
    "text",
    "value",
    "vendor",
    "what",
    "why",
];

fn poison(value: &mut Value, key: &str, with: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) if CHOSEN.contains(&key) => with(text),
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, key, with)),
        Value::Object(members) => members.iter_mut().for_each(|(key, member)| poison(member, key, with)),
        _ => {}
    }
}

/// 20 namespaces of 12 workloads each, and 2,000 links between different pairs of them.
pub(crate) fn large() -> Assessment {
    const WORKLOADS: usize = 240;
    let mut value = value();
    let (actor, link) = (value["actors"][0].clone(), value["links"][0].clone());
    value["actors"] = (0..WORKLOADS)
        .map(|place| {
            let mut actor = actor.clone();
            actor["place"]["namespace"] = json!(format!("team-{:02}", place / 12));
            actor["place"]["name"] = json!(format!("service-{place:03}"));
            if place % 10 == 0 {
                actor["origin"] = json!("third_party");
                actor["vendor"] = json!("Datadog");
            }
            actor
        })
        .collect();
    let classes = ["allowed", "allowed", "unrestricted", "denied_attempt", "policy_not_enforced", "refused"];
    value["links"] = (0..2_000)
        .map(|place| {
            let mut link = link.clone();
            let source = place % WORKLOADS;
            link["source"] = json!(source);
            // Nine distances, so that no pair comes twice.
            link["destination"] = json!((source + 1 + 13 * (place / WORKLOADS)) % WORKLOADS);
            link["class"] = json!(classes[place % classes.len()]);
            link
        })
        .collect();
    value["reaches"] = json!([]);
    value["vendors"][0]["workloads"] = (0..WORKLOADS).step_by(10).collect();
    value["vendors"][0]["outside"] = json!([]);
    value["vendors"][0]["sensitive_reached"] = json!([]);
    value["vendors"].as_array_mut().unwrap().truncate(1);
    read(value)
}

fn value() -> Value {
    serde_json::from_str(SMALL).expect("the fixture is JSON")
}

fn read(value: Value) -> Assessment {
    serde_json::from_value(value).expect("it is an assessment")
}
