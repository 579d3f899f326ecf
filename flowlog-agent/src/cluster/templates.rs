//! Pods that workloads would make: a pull request's manifests have Deployments, and no pods.

use super::Problem;
use super::documents::Place;
use super::objects::{self, FieldError, Key};
use super::pods::{self, ReadPod};
use crate::model::ContainerPort;
use k8s_openapi::api::core;
use serde_json::{Value, json};

/// The pods that a workload would make.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) pod: ReadPod,
    pub(super) title: String,
    pub(super) init_ports: Vec<ContainerPort>,
}

/// The templates of workloads, as they are met.
#[derive(Debug, Default)]
pub(super) struct Templates {
    pub(super) read: Vec<Template>,
    /// Workloads whose template cannot be read.
    pub(super) unread: Vec<Problem>,
}

impl Templates {
    /// Takes the template of an object, where it has one.
    pub(super) fn look(&mut self, place: &Place, group: &str, key: &Key, object: &Value) {
        let at = match (group, &*key.kind) {
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => "/spec/template",
            ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
            _ => return,
        };
        // What a controller made is its controller's: old ReplicaSets keep the labels of before.
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        if owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true)) {
            return;
        }
        let Some(template) = object.pointer(at) else { return };
        let mut pod = json!({"metadata": template["metadata"], "spec": template["spec"]});
        if !pod["metadata"].is_object() {
            pod["metadata"] = json!({});
        }
        pod["metadata"]["namespace"] = key.namespace.clone().into();
        pod["metadata"]["name"] = key.name.clone().into();
        let init_ports = init_ports(pod.get("spec"));
        match objects::typed::<core::v1::Pod>(pod).and_then(pods::read_pod) {
            Ok(pod) => self.read.push(Template { pod, title: objects::title(key), init_ports }),
            Err(FieldError { field, what }) => self.unread.push(Problem {
                file: place.file.clone(),
                document: Some(place.document),
                line: None,
                object: Some(objects::title(key)),
                field: field.map(|field| format!("{}.{field}", at.trim_start_matches('/').replace('/', "."))),
                what,
            }),
        }
    }
}

/// Named ports of init containers that end before the others start.
pub(super) fn init_ports(spec: Option<&Value>) -> Vec<ContainerPort> {
    let containers = spec.and_then(|spec| spec.get("initContainers")).and_then(Value::as_array);
    let ordinary = containers.into_iter().flatten().filter(|one| one["restartPolicy"] != "Always");
    let ports = ordinary.filter_map(|one| one["ports"].as_array()).flatten();
    let read = ports.filter_map(|port| {
        Some(ContainerPort {
            name: Some(port["name"].as_str()?.to_owned()),
            port: u16::try_from(port["containerPort"].as_u64()?).ok()?,
            protocol: pods::protocol(port["protocol"].as_str(), "").ok()?,
        })
    });
    read.collect()
}
