//! What is written, as the API server stores it: `pkg/apis/networking/v1/defaults.go` and `core/v1/defaults.go` of Kubernetes.

use crate::case::Case;
use serde_json::{Value, json};

/// The same cluster with the API server's defaults filled in, and empty optional lists left out as Go writes them.
pub fn stored(case: &Case) -> Case {
    let mut case = case.clone();
    case.network_policies.iter_mut().for_each(network_policy);
    case.pods.iter_mut().for_each(pod);
    for namespace in &mut case.namespaces {
        let name = namespace["metadata"]["name"].clone();
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
    case
}

fn network_policy(policy: &mut Value) {
    let spec = &mut policy["spec"];
    if is_empty(&spec["policyTypes"]) {
        let egress = !is_empty(&spec["egress"]);
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    if spec["podSelector"].is_null() {
        spec["podSelector"] = json!({});
    }
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec[rules].as_array_mut().into_iter().flatten() {
            for port in rule["ports"].as_array_mut().into_iter().flatten() {
                default_protocol(port);
            }
            leave_out_empty(rule, peers);
            leave_out_empty(rule, "ports");
        }
        leave_out_empty(spec, rules);
    }
}

fn pod(pod: &mut Value) {
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            ports.into_iter().flatten().for_each(default_protocol);
        }
    }
}

fn default_protocol(port: &mut Value) {
    if port["protocol"].is_null() {
        port["protocol"] = "TCP".into();
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn leave_out_empty(of: &mut Value, list: &str) {
    if is_empty(&of[list]) {
        of.as_object_mut().map(|fields| fields.remove(list));
    }
}
