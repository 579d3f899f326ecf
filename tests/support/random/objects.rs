//! Nodes, namespaces and pods: labels that collide, addresses that are used twice, port names that repeat.

use super::dice::Dice;
use serde_json::{Map, Value, json};

/// Keys and values that pods and namespaces share, so that one taken for the other is seen.
pub(super) const LABELS: [(&str, &[&str]); 5] = [
    ("app", &["web", "db", "api", ""]),
    ("tier", &["fe", "be"]),
    ("team", &["a", "b", ""]),
    ("env", &["prod", ""]),
    ("vendor.example.com/name", &["acme", "globex"]),
];

pub(super) const PORT_NAMES: [&str; 3] = ["http", "metrics", "dns"];
pub(super) const PORTS: [u16; 8] = [1, 53, 80, 81, 443, 8080, 9090, 65535];
pub(super) const PROTOCOLS: [&str; 4] = ["TCP", "TCP", "UDP", "SCTP"];

const NAMESPACES: [&str; 5] = ["default", "payments", "team-b", "vendor", "web"];

pub(super) fn labels(dice: &mut Dice) -> Map<String, Value> {
    let mut labels = Map::new();
    for (key, values) in LABELS {
        if dice.chance(45) {
            labels.insert(key.to_owned(), dice.pick(values).into());
        }
    }
    labels
}

pub(super) fn nodes(dice: &mut Dice) -> Vec<Value> {
    let count = dice.between(1, 3);
    (1..=count)
        .map(|number| {
            let mut addresses = vec![
                json!({"type": "InternalIP", "address": format!("192.168.0.{number}")}),
                json!({"type": "InternalIP", "address": format!("fd00:192:168::{number}")}),
                json!({"type": "Hostname", "address": format!("n{number}")}),
            ];
            if dice.chance(30) {
                let external = format!("198.51.100.{number}");
                addresses.push(json!({"type": "ExternalIP", "address": external}));
            }
            let labels = json!({"zone": dice.pick(&["a", "b"]), "kubernetes.io/os": "linux"});
            json!({
                "metadata": {"name": format!("n{number}"), "labels": labels},
                "status": {"addresses": addresses},
            })
        })
        .collect()
}

pub(super) fn namespaces(dice: &mut Dice) -> Vec<Value> {
    let (mut names, count) = (NAMESPACES, dice.between(2, 4));
    dice.shuffle(&mut names);
    names[..count]
        .iter()
        .map(|name| {
            let mut labels = labels(dice);
            // The API server sets it, over what is written.
            match dice.below(10) {
                0..4 => {}
                4 => drop(labels.insert("kubernetes.io/metadata.name".into(), dice.pick(&NAMESPACES).into())),
                _ => drop(labels.insert("kubernetes.io/metadata.name".into(), (*name).into())),
            }
            json!({"metadata": {"name": name, "labels": labels}})
        })
        .collect()
}

pub(super) fn pods(dice: &mut Dice, nodes: &[Value], namespaces: &[Value]) -> Vec<Value> {
    let count = dice.between(3, 7);
    let mut pods: Vec<Value> = (0..count).map(|number| pod(dice, number, nodes, namespaces)).collect();
    if dice.chance(40) {
        let gone = ended(dice, &pods, namespaces);
        pods.push(gone);
    }
    dice.shuffle(&mut pods);
    pods
}

fn pod(dice: &mut Dice, number: usize, nodes: &[Value], namespaces: &[Value]) -> Value {
    let node = dice.pick(nodes);
    let namespace = dice.pick(namespaces)["metadata"]["name"].clone();
    let mut pod = json!({
        "metadata": {"name": format!("p{number}"), "namespace": namespace, "labels": labels(dice)},
        "spec": {"nodeName": node["metadata"]["name"], "containers": containers(dice)},
        "status": {"phase": "Running", "hostIP": node["status"]["addresses"][0]["address"]},
    });
    if dice.chance(12) {
        pod["metadata"].as_object_mut().map(|metadata| metadata.remove("labels"));
    }
    if dice.chance(45) {
        let mut init = container(dice, "i0");
        if dice.chance(60) {
            init["restartPolicy"] = "Always".into();
        }
        pod["spec"]["initContainers"] = json!([init]);
    }
    give_addresses(dice, number, &node, &mut pod);
    pod
}

fn give_addresses(dice: &mut Dice, number: usize, node: &Value, pod: &mut Value) {
    let (v4, v6) = (format!("10.244.{}.{}", number % 2, 10 + number), format!("fd00:10:244::{number:x}"));
    let (own, second) = match dice.below(20) {
        0..3 => {
            pod["spec"]["hostNetwork"] = true.into();
            let of_node = &node["status"]["addresses"];
            (of_node[0]["address"].clone(), of_node[1]["address"].clone())
        }
        // Not started yet: no address.
        3 => {
            pod["status"] = json!({"phase": "Pending"});
            return;
        }
        // Its init containers run already.
        4 => {
            pod["status"]["phase"] = "Pending".into();
            (v4.into(), v6.into())
        }
        5 => (v6.into(), v4.into()),
        _ => (v4.into(), v6.into()),
    };
    pod["status"]["podIP"] = own.clone();
    match dice.below(10) {
        0 => {}
        1..4 => pod["status"]["podIPs"] = json!([{"ip": own}]),
        _ => pod["status"]["podIPs"] = json!([{"ip": own}, {"ip": second}]),
    }
}

/// A pod that has ended: its address is free, or another pod's by now.
fn ended(dice: &mut Dice, pods: &[Value], namespaces: &[Value]) -> Value {
    let heir = dice.pick(pods);
    let reused = heir["status"]["podIP"].as_str().filter(|_| dice.chance(60));
    let ip = reused.unwrap_or("10.244.0.99").to_owned();
    json!({
        "metadata": {
            "name": "old", "namespace": dice.pick(namespaces)["metadata"]["name"], "labels": labels(dice),
        },
        "spec": {"nodeName": heir["spec"]["nodeName"], "containers": containers(dice)},
        "status": {"phase": dice.pick(&["Succeeded", "Failed"]), "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn containers(dice: &mut Dice) -> Vec<Value> {
    let count = dice.between(1, 3);
    (0..count).map(|number| container(dice, &format!("c{number}"))).collect()
}

/// Names are unique within a container only: the API server refuses them twice there.
fn container(dice: &mut Dice, name: &str) -> Value {
    let mut names = PORT_NAMES;
    dice.shuffle(&mut names);
    let ports: Vec<Value> = (0..dice.below(names.len() + 1))
        .map(|place| {
            let mut port = json!({"containerPort": dice.pick(&PORTS)});
            if dice.chance(75) {
                port["name"] = names[place].into();
            }
            if dice.chance(70) {
                port["protocol"] = dice.pick(&PROTOCOLS).into();
            }
            port
        })
        .collect();
    if ports.is_empty() { json!({"name": name}) } else { json!({"name": name, "ports": ports}) }
}
