//! Pods that workloads would make: a pull request's manifests have Deployments, and no pods.
//!
//! A made-up pod has what its template tells: labels, containers, ports, service account. Address, node and uid it has
//! none. Whoever watches what happens must not see it; whoever asks what could happen has to.

use super::documents::{Document, Place};
use super::objects::{self, FieldError, Key};
use super::pods::{self, ReadPod};
use super::{ClusterError, Folders, Loaded, Problem, manifests};
use crate::model::{ContainerPort, Workload};
use foldhash::{HashSet, HashSetExt as _};
use k8s_openapi::api::core;
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads the folders as [`manifests::load`] does; of each workload that has no pod there, adds one made of its template.
///
/// # Errors
/// A folder cannot be listed, or there is nothing in it.
pub fn load_estate(folders: &Folders) -> Result<Loaded, ClusterError> {
    let mut templates = Templates::default();
    let mut loaded = manifests::load_and(folders, &mut |document| templates.look_into(document))?;
    templates.add_to(&mut loaded);
    Ok(loaded)
}

/// The pods that a workload would make.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) pod: ReadPod,
    pub(super) title: String,
    pub(super) init_ports: Vec<ContainerPort>,
    workload: Arc<Workload>,
    place: Place,
}

/// The templates of workloads, as they are met.
#[derive(Debug, Default)]
pub(super) struct Templates {
    pub(super) read: Vec<Template>,
    /// Workloads whose template cannot be read.
    pub(super) unread: Vec<Problem>,
}

/// Group, kind and where the template stands.
const WORKLOADS: &[(&str, &str, &str)] = &[
    ("apps", "Deployment", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
    ("", "ReplicationController", "/spec/template"),
    ("argoproj.io", "Rollout", "/spec/template"),
    ("apps.openshift.io", "DeploymentConfig", "/spec/template"),
];

impl Templates {
    /// Looks at all objects of a document.
    pub(super) fn look_into(&mut self, document: &Document<'_>) {
        self.look_at(&document.place, &document.value, None);
    }

    fn look_at(&mut self, place: &Place, object: &Value, of_list: Option<&Value>) {
        let (group, kind) = objects::identity(object, of_list);
        match object.get("items") {
            Some(Value::Array(items)) if kind.ends_with("List") => {
                items.iter().for_each(|item| self.look_at(place, item, Some(object)));
            }
            _ => self.look(place, group, &objects::key(kind, object), object),
        }
    }

    /// Adds a pod of each workload that has none.
    fn add_to(self, loaded: &mut Loaded) {
        loaded.problems.extend(self.unread);
        let objects = &mut loaded.objects;
        let key = |namespace: &str, workload: &Workload| {
            (namespace.to_owned(), workload.kind.clone(), workload.name.clone())
        };
        let named = |pod: &ReadPod| (pod.pod.namespace.to_string(), pod.pod.name.to_string());
        let mut names: HashSet<_> = objects.pods.iter().map(named).collect();
        let owned = objects.pods.iter().filter_map(|pod| {
            let workload = pod.workload(&objects.owners)?;
            Some(key(&pod.pod.namespace, &workload))
        });
        let owned: HashSet<_> = owned.collect();
        let mut made = HashSet::new();
        for Template { mut pod, title, workload, place, .. } in self.read {
            let own = key(&pod.pod.namespace, &workload);
            if owned.contains(&own) {
                continue;
            }
            if !made.insert(own) {
                loaded.problems.push(Problem {
                    file: place.file,
                    document: Some(place.document),
                    object: Some(title),
                    what: "is defined twice".to_owned(),
                    ..Problem::default()
                });
                continue;
            }
            // A Deployment and a CronJob may have one name, and two pods may not.
            if !names.insert(named(&pod)) {
                pod.pod.name = format!("{} ({})", workload.name, workload.kind).into();
                names.insert(named(&pod));
            }
            pod.controller = Some(workload);
            objects.pods.push(pod);
        }
    }

    /// Takes the template of an object, where it has one.
    pub(super) fn look(&mut self, place: &Place, group: &str, key: &Key, object: &Value) {
        let row = WORKLOADS.iter().find(|row| (row.0, row.1) == (group, &*key.kind));
        let Some((.., at)) = row else { return };
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
            Ok(pod) => self.read.push(Template {
                pod,
                title: objects::title(key),
                init_ports,
                workload: Arc::new(Workload {
                    kind: key.kind.clone(),
                    name: key.name.clone(),
                    group: group.to_owned(),
                }),
                place: place.clone(),
            }),
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

#[cfg(test)]
mod tests {
    use super::Templates;
    use crate::cluster::{Loaded, Problem, Settings, Store};
    use crate::model::{Pod, Protocol};
    use crate::testkit::at;
    use std::path::Path;
    use std::sync::Arc;

    fn estate(manifests: &str) -> Loaded {
        let (mut loaded, mut templates) = (Loaded::default(), Templates::default());
        loaded.add_text_and(Path::new("all.yaml"), manifests, &mut |document| templates.look_into(document));
        templates.add_to(&mut loaded);
        loaded
    }

    fn pods(loaded: Loaded) -> Vec<Arc<Pod>> {
        assert_eq!(loaded.problems, []);
        let snapshot = Store::start(Settings::default(), loaded, at(0)).unwrap().snapshot();
        let mut pods: Vec<Arc<Pod>> = snapshot.inventory.pods().cloned().collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        pods
    }

    fn told(pods: &[Arc<Pod>]) -> Vec<String> {
        let owner = |pod: &Pod| {
            let owner = pod.workload.as_ref();
            owner.map_or_else(|| "nobody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name))
        };
        pods.iter().map(|pod| format!("{}/{} of {}", pod.namespace, pod.name, owner(pod))).collect()
    }

    const TEMPLATE: &str = r#"{"metadata": {"labels": {"app": "web"}}, "spec": {"serviceAccountName": "s", "containers":
        [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}]}]}}"#;

    fn workload(version: &str, kind: &str, name: &str) -> String {
        let spec = match kind {
            "CronJob" => format!(r#"{{"jobTemplate": {{"spec": {{"template": {TEMPLATE}}}}}}}"#),
            _ => format!(r#"{{"replicas": 0, "template": {TEMPLATE}}}"#),
        };
        format!(
            r#"{{"apiVersion": "{version}", "kind": "{kind}", "metadata": {{"namespace": "shop", "name": "{name}"}}, "spec": {spec}}}"#
        )
    }

    fn list(items: &[String]) -> String {
        format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}]}}"#, items.join(", "))
    }

    #[test]
    fn a_workload_without_a_pod_gets_one_of_its_template() {
        let [pod] = &pods(estate(&list(&[workload("apps/v1", "Deployment", "web")])))[..] else { panic!() };
        assert_eq!(told(std::slice::from_ref(pod)), ["shop/web of Deployment web"]);
        assert_eq!(pod.labels.get("app").map(String::as_str), Some("web"));
        assert_eq!(pod.containers.first().map(|one| &*one.image), Some("i"));
        assert_eq!(pod.ports.first().map(|one| (one.port, one.protocol)), Some((80, Protocol::Tcp)));
        assert_eq!((pod.service_account.as_deref(), &*pod.uid, pod.ips.len()), (Some("s"), "", 0));
        assert_eq!(pod.workload.as_ref().map(|owner| &*owner.group), Some("apps"));
    }

    #[test]
    fn a_pod_that_is_there_is_not_made_up() {
        let owned = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "web-5d-x",
            "labels": {"pod-template-hash": "5d"}, "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u", "controller": true}]}, "spec": {"containers": []}}"#;
        let items = [
            owned.to_owned(),
            workload("apps/v1", "Deployment", "web"),
            workload("batch/v1", "CronJob", "web"),
            workload("argoproj.io/v1alpha1", "Rollout", "web"),
            workload("example.com/v1", "Deployment", "other"),
        ];
        let told = told(&pods(estate(&list(&items))));
        assert_eq!(
            told,
            [
                "shop/web of CronJob web",
                "shop/web (Rollout) of Rollout web",
                "shop/web-5d-x of Deployment web"
            ]
        );
    }

    #[test]
    fn what_cannot_be_made_is_told() {
        let broken = workload("apps/v1", "Deployment", "broken").replace("80", "0");
        let web = workload("apps/v1", "Deployment", "web");
        let found = estate(&list(&[broken, web.clone(), web])).problems;
        let told: Vec<_> =
            found.iter().map(|Problem { object, what, .. }| (object.as_deref().unwrap(), &**what)).collect();
        assert_eq!(
            told,
            [
                ("Deployment shop/broken", "0 is not between 1 and 65535"),
                ("Deployment shop/web", "is defined twice")
            ]
        );
    }

    #[test]
    fn what_a_workload_made_is_its_own_matter() {
        let owned = workload("apps/v1", "ReplicaSet", "web-5d").replace(
            r#""name": "web-5d""#,
            r#""name": "web-5d", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]"#,
        );
        assert_eq!(told(&pods(estate(&list(&[owned])))), Vec::<String>::new());
    }
}
