//! What pods have alike, kept once: the pods of a workload differ in name, uid and address alone.

use super::super::pods::ReadPod;
use super::read::{Id, Object, Read};
use crate::model::{Container, ContainerPort, Labels, Workload};
use foldhash::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// What was seen of pods so far.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// This node, by its name, if there is one.
    node: Option<Arc<str>>,
    words: Pool<str>,
    labels: Pool<Labels>,
    containers: Pool<[Container]>,
    ports: Pool<[ContainerPort]>,
    owners: Pool<Workload>,
}

impl Alike {
    pub(super) fn new(node: Arc<str>) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    /// The same, with whatever it has in common with others kept once.
    pub(super) fn share(&mut self, mut read: Read) -> Read {
        if let Some(Object::Pod(pod)) = &mut read.object {
            self.share_pod(pod, &mut read.id);
        }
        read
    }

    fn share_pod(&mut self, read: &mut ReadPod, id: &mut Id) {
        id.0 = self.words.keep(&id.0);
        read.share_name(id);
        let ReadPod { pod, controller } = read;
        let is_here = pod.node.is_some() && pod.node == self.node;
        if !is_here && pod.containers.iter().any(|container| container.id.is_some()) {
            // Only the cgroups of this node lead to a container by its id.
            let nameless = |container: &Container| Container { id: None, ..container.clone() };
            pod.containers = pod.containers.iter().map(nameless).collect();
        }
        pod.labels = self.labels.keep(&pod.labels);
        pod.containers = self.containers.keep(&pod.containers);
        pod.ports = self.ports.keep(&pod.ports);
        pod.ips.shrink_to_fit();
        for word in [&mut pod.service_account, &mut pod.node].into_iter().flatten() {
            *word = self.words.keep(word);
        }
        if let Some(owner) = controller {
            *owner = self.owners.keep(owner);
        }
    }
}

/// Values of which equal ones are kept once.
#[derive(Debug)]
pub(super) struct Pool<T: ?Sized> {
    kept: HashSet<Arc<T>>,
    /// So many are looked through for those that nobody uses any more.
    full: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { kept: HashSet::default(), full: FEW }
    }
}

/// A pool of fewer is not looked through.
const FEW: usize = 1_024;

impl<T: Eq + Hash + ?Sized> Pool<T> {
    /// The value as it is kept, from now on at the latest.
    pub(super) fn keep(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(kept) = self.kept.get(value) {
            return Arc::clone(kept);
        }
        if self.kept.len() >= self.full {
            self.kept.retain(|kept| Arc::strong_count(kept) > 1);
            self.full = (self.kept.len() * 2).max(FEW);
        }
        self.kept.insert(Arc::clone(value));
        Arc::clone(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Kind;
    use super::super::read::read;
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_of_a_workload_differ_in_what_is_theirs_alone() {
        let mut alike = Alike::new("n1".into());
        let mut shared = |name: &str, node: &str| {
            let pod = json!({
                "metadata": {"namespace": "shop", "name": name, "uid": format!("u-{name}"), "labels": {"app": "web"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r",
                        "controller": true}]},
                "spec": {"nodeName": node, "serviceAccountName": "web",
                    "containers": [{"name": "app", "image": "i", "ports": [{"containerPort": 80}]}]},
                "status": {"containerStatuses": [{"name": "app", "containerID": format!("containerd://{name}"),
                    "imageID": "", "image": "i", "ready": true, "restartCount": 0}]},
            });
            let (found, _) = read(Kind::Pod, &pod.to_string()).unwrap();
            let Some(Object::Pod(read)) = alike.share(found).object else { panic!("no pod") };
            *read
        };
        let (one, two, here) = (shared("a", "n2"), shared("b", "n2"), shared("c", "n1"));
        let (pod, other) = (&one.pod, &two.pod);
        assert_eq!((&*pod.name, &*other.uid), ("a", "u-b"));
        assert!(Arc::ptr_eq(&pod.namespace, &other.namespace));
        assert!(Arc::ptr_eq(&pod.labels, &other.labels) && Arc::ptr_eq(&pod.labels, &here.pod.labels));
        assert!(Arc::ptr_eq(&pod.containers, &other.containers) && Arc::ptr_eq(&pod.ports, &other.ports));
        assert!(Arc::ptr_eq(pod.node.as_ref().unwrap(), other.node.as_ref().unwrap()));
        assert!(Arc::ptr_eq(one.controller.as_ref().unwrap(), two.controller.as_ref().unwrap()));
        assert_eq!((&pod.containers[0].id, here.pod.containers[0].id.as_deref()), (&None, Some("c")));
    }

    #[test]
    fn what_is_equal_is_kept_once_and_what_nobody_uses_goes() {
        let mut pool: Pool<str> = Pool::default();
        let one = pool.keep(&"one".into());
        assert!(Arc::ptr_eq(&one, &pool.keep(&"one".into())));
        for number in 0..10 * FEW {
            pool.keep(&number.to_string().into());
        }
        assert!(pool.kept.len() <= FEW, "{}", pool.kept.len());
        assert!(Arc::ptr_eq(&one, &pool.keep(&"one".into())));
    }
}
