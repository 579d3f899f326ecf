//! What the kinds tell, put together: pods with their namespace's labels and their owner's owner, in whatever order
//! these come, as changes for the store.

use super::super::Change;
use super::super::objects::Key;
use super::super::pods::{ReadPod, is_between};
use super::alike::Pool;
use super::follow::{State, Told};
use super::kinds::Kind;
use super::read::{Id, Object, Read};
use super::standing::Standings;
use crate::inventory::{Inventory, Scope};
use crate::model::{Labels, Pod, PolicyKind, PolicyRef, Workload};
use crate::policy::Policy;
use foldhash::{HashMap, HashSet};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is put together of what is watched.
pub(super) struct Gather {
    /// This node: what concerns its pods is urgent.
    node: Arc<str>,
    scope: Scope,
    pub(super) standings: Standings,
    /// Objects that are there, by kind, where the store does not tell.
    present: HashMap<Kind, HashSet<Id>>,
    namespaces: HashMap<String, Arc<Labels>>,
    /// Pods that came before their namespace: without its labels no rule could be held against them.
    early: HashMap<Arc<str>, HashMap<Arc<str>, ReadPod>>,
    /// Jobs that somebody owns.
    jobs: HashMap<Key, Option<Arc<Workload>>>,
    workloads: Pool<Workload>,
    /// Pods of Jobs, by the Job, and the other way round: who owns it may be told later.
    of_job: HashMap<Key, HashSet<Id>>,
    job_of: HashMap<Id, Key>,
    ranges: BTreeMap<String, Vec<IpNet>>,
    /// Policies in trial by their annotation, and those that were given.
    in_trial: BTreeMap<PolicyRef, Arc<Policy>>,
    given_trial: Vec<Arc<Policy>>,
    /// Gathered, and not yet taken.
    changes: Vec<Change>,
    /// Pods among them: the inventory does not have them as they will be.
    touched: HashSet<Id>,
    urgent: bool,
    restated: bool,
}

/// What was gathered.
pub(super) struct Gathered {
    pub(super) changes: Vec<Change>,
    /// How far it can be relied on may be another.
    pub(super) restated: bool,
}

impl Gather {
    pub(super) fn new(node: Arc<str>, standings: Standings, given_trial: Vec<Arc<Policy>>) -> Self {
        let changes = match given_trial.is_empty() {
            true => Vec::new(),
            false => vec![Change::Trial(given_trial.clone())],
        };
        Self {
            node,
            scope: Scope::default(),
            standings,
            present: HashMap::default(),
            namespaces: HashMap::default(),
            early: HashMap::default(),
            jobs: HashMap::default(),
            workloads: Pool::default(),
            of_job: HashMap::default(),
            job_of: HashMap::default(),
            ranges: BTreeMap::new(),
            in_trial: BTreeMap::new(),
            given_trial,
            changes,
            touched: HashSet::default(),
            urgent: false,
            restated: false,
        }
    }

    /// Of a cluster that is read so far.
    pub(super) fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Whether something waits that is not to wait long.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.restated
    }

    /// Hands over what was gathered.
    pub(super) fn take(&mut self) -> Gathered {
        self.touched = HashSet::default();
        self.urgent = false;
        let restated = std::mem::take(&mut self.restated);
        Gathered { changes: std::mem::take(&mut self.changes), restated }
    }

    /// Takes what a kind tells. `inventory` is as of what was handed over last.
    pub(super) fn add(&mut self, told: Told, inventory: &Inventory) {
        match told {
            Told::State(kind, state) => {
                if matches!(state, State::Unserved | State::Elsewhere(_)) {
                    self.replace(kind, Vec::new(), inventory);
                }
                let news = self.standings.set(kind, state);
                self.restated |= news;
                self.urgent |= news;
                if kind == Kind::Namespace && !self.holds() {
                    for (namespace, pods) in std::mem::take(&mut self.early) {
                        let pods = pods.into_iter().map(|(name, pod)| ((namespace.clone(), name), pod));
                        pods.for_each(|(id, pod)| self.put_pod(id, pod, inventory));
                    }
                }
            }
            Told::Replaced(kind, found) => self.replace(kind, found, inventory),
            Told::Put(kind, read) => self.put(kind, *read, false, inventory),
            Told::Gone(kind, id) => self.remove(kind, &id, inventory),
        }
    }

    /// Pods wait for their namespace, unless namespaces cannot be read: then every verdict is unknown, and the pods are
    /// named all the same.
    fn holds(&self) -> bool {
        self.standings.is_known(Kind::Namespace) || !self.standings.is_lost(Kind::Namespace)
    }

    fn replace(&mut self, kind: Kind, found: Vec<Read>, inventory: &Inventory) {
        let first = !self.standings.is_known(kind);
        let now: HashSet<Id> = found.iter().map(|read| read.id.clone()).collect();
        let before = self.present.get(&kind).into_iter().flatten();
        let gone: Vec<Id> = before.filter(|id| !now.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.remove(kind, id, inventory));
        // What could not be read is not among those that were present.
        self.restated |= self.standings.forget_others(kind, &now);
        if kind == Kind::Node && found.is_empty() && self.scope != Scope::Cluster {
            self.restated |= self.standings.set_no_node(&self.node);
        }
        found.into_iter().for_each(|read| self.put(kind, read, first, inventory));
        self.urgent = true;
    }

    fn put(&mut self, kind: Kind, read: Read, first: bool, inventory: &Inventory) {
        let Read { id, object, problem } = read;
        let problem = problem.map(|problem| *problem);
        self.restated |= self.standings.set_problem(kind, &id, problem, object.is_none());
        let Some(object) = object else { return self.remove_object(kind, &id, inventory) };
        let present = self.present.entry(kind).or_default();
        let id = present.get(&id).cloned().unwrap_or(id);
        present.insert(id.clone());
        match object {
            Object::Namespace(labels) => self.put_namespace(&id.1, labels, inventory),
            Object::Node(node) => self.changes.push(Change::Node(node)),
            Object::Pod(pod) => self.put_pod(id, *pod, inventory),
            Object::Service(spec) => self.changes.push(Change::Service(spec)),
            Object::WithoutAddress(_) => self.changes.push(Change::ServiceGone(id.0, id.1)),
            Object::Slice(Some(slice)) => self.changes.push(Change::Slice(slice)),
            Object::Slice(None) => self.changes.push(Change::SliceGone(id.0, id.1)),
            Object::Ranges(ranges) => {
                self.ranges.insert(id.1.to_string(), ranges);
                self.tell_ranges();
            }
            Object::Job(owner) => self.put_job(job(&id), owner, inventory),
            Object::Policy(policy, created) => {
                self.urgent = true;
                self.leave_trial(&policy.reference());
                self.changes.push(match first {
                    true => Change::PolicyFound(policy, created),
                    false => Change::Policy(policy),
                });
            }
            Object::Trial(policy) => {
                self.urgent = true;
                self.changes.push(Change::PolicyGone(policy.reference()));
                self.in_trial.insert(policy.reference(), policy);
                self.tell_trial();
            }
        }
    }

    fn remove(&mut self, kind: Kind, id: &Id, inventory: &Inventory) {
        self.restated |= self.standings.set_problem(kind, id, None, false);
        self.remove_object(kind, id, inventory);
    }

    fn remove_object(&mut self, kind: Kind, id: &Id, inventory: &Inventory) {
        if let Some(present) = self.present.get_mut(&kind) {
            present.remove(id);
        }
        let (namespace, name) = id.clone();
        match kind {
            // Pods that are told to be gone a moment later keep the labels that they were judged by.
            Kind::Namespace => drop(self.namespaces.remove(&*name)),
            Kind::Node => self.changes.push(Change::NodeGone(name.to_string())),
            Kind::Pod => self.remove_pod(id, inventory),
            Kind::Service => self.changes.push(Change::ServiceGone(namespace, name)),
            Kind::EndpointSlice => self.changes.push(Change::SliceGone(namespace, name)),
            Kind::ServiceCidr => {
                self.ranges.remove(&*name);
                self.tell_ranges();
            }
            Kind::Job => self.put_job(job(id), None, inventory),
            Kind::NetworkPolicy => self.remove_policy(PolicyKind::NetworkPolicy, Some(&namespace), &name),
            Kind::AdminNetworkPolicy => self.remove_policy(PolicyKind::AdminNetworkPolicy, None, &name),
            Kind::BaselineAdminNetworkPolicy => {
                self.remove_policy(PolicyKind::BaselineAdminNetworkPolicy, None, &name);
            }
            Kind::ClusterNetworkPolicy => self.remove_policy(PolicyKind::ClusterNetworkPolicy, None, &name),
        }
    }

    fn put_namespace(&mut self, name: &str, labels: Arc<Labels>, inventory: &Inventory) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(name.to_owned(), Arc::clone(&labels));
            self.changes.push(Change::Namespace(name.to_owned(), labels));
            self.urgent = true;
        }
        for (_, read) in self.early.remove(name).into_iter().flatten() {
            let id = (Arc::clone(&read.pod.namespace), Arc::clone(&read.pod.name));
            self.put_pod(id, read, inventory);
        }
    }

    fn put_pod(&mut self, id: Id, mut pod: ReadPod, inventory: &Inventory) {
        pod.share_name(&id);
        self.leave_job(&id);
        if !self.namespaces.contains_key(&*id.0) && self.holds() {
            if inventory.find_pod(&id.0, &id.1).is_some() {
                // Its namespace's object went before it: what it was is not known any more.
                self.changes.push(Change::PodGone(id.0.clone(), id.1.clone()));
                self.touched.insert(id.clone());
            }
            self.early.entry(id.0).or_default().insert(id.1, pod);
            return;
        }
        if let Some(job) = pod.owner().filter(|owner| owner.kind == "Job" && is_between(owner)) {
            let job = job_key(id.0.to_string(), job.name.clone());
            self.of_job.entry(job.clone()).or_default().insert(id.clone());
            self.job_of.insert(id.clone(), job);
        }
        let mut pod = pod.complete(&self.namespaces, &self.jobs);
        pod.workload = pod.workload.map(|workload| self.workloads.keep(&workload));
        let same = inventory.find_pod(&id.0, &id.1).is_some_and(|before| **before == pod);
        if same && !self.touched.contains(&id) {
            return;
        }
        self.urgent |= pod.node.as_deref() == Some(&self.node);
        self.touched.insert(id);
        self.changes.push(Change::Pod(Arc::new(pod)));
    }

    fn remove_pod(&mut self, id: &Id, inventory: &Inventory) {
        if let Some(early) = self.early.get_mut(&id.0) {
            early.remove(&id.1);
            if early.is_empty() {
                self.early.remove(&id.0);
            }
        }
        let before = inventory.find_pod(&id.0, &id.1);
        self.urgent |= before.is_some_and(|pod| pod.node.as_deref() == Some(&self.node));
        self.touched.insert(id.clone());
        self.changes.push(Change::PodGone(id.0.clone(), id.1.clone()));
        self.leave_job(id);
    }

    fn leave_job(&mut self, id: &Id) {
        if let Some(job) = self.job_of.remove(id)
            && let Some(pods) = self.of_job.get_mut(&job)
        {
            pods.remove(id);
            if pods.is_empty() {
                self.of_job.remove(&job);
            }
        }
    }

    /// Its pods are its owner's, or its own where nobody owns it, or it went.
    fn put_job(&mut self, job: Key, owner: Option<Arc<Workload>>, inventory: &Inventory) {
        let group = || "batch".to_owned();
        let itself = || Arc::new(Workload { kind: job.kind.clone(), name: job.name.clone(), group: group() });
        let whose = owner.clone().unwrap_or_else(itself);
        for id in self.of_job.get(&job).into_iter().flatten() {
            let pending = self.changes.iter_mut().rev().find_map(|change| match change {
                Change::Pod(pod) if (&pod.namespace, &pod.name) == (&id.0, &id.1) => Some(pod),
                _ => None,
            });
            let is_other = |pod: &&Arc<Pod>| pod.workload.as_ref() != Some(&whose);
            if let Some(pod) = pending {
                Arc::make_mut(pod).workload = Some(Arc::clone(&whose));
            } else if let Some(pod) = inventory.find_pod(&id.0, &id.1).filter(is_other)
                && !self.touched.contains(id)
            {
                // The labels may have changed with what is handed over together with this.
                let labels = self.namespaces.get(&*id.0).unwrap_or(&pod.namespace_labels);
                let (workload, namespace_labels) = (Some(Arc::clone(&whose)), Arc::clone(labels));
                self.changes.push(Change::Pod(Arc::new(Pod {
                    workload,
                    namespace_labels,
                    ..Pod::clone(pod)
                })));
                self.touched.insert(id.clone());
            }
        }
        match owner {
            Some(owner) => drop(self.jobs.insert(job, Some(owner))),
            None => drop(self.jobs.remove(&job)),
        }
    }

    fn remove_policy(&mut self, kind: PolicyKind, namespace: Option<&str>, name: &str) {
        let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
        let reference = PolicyRef { kind, namespace, name, rule: None };
        self.urgent = true;
        self.leave_trial(&reference);
        self.changes.push(Change::PolicyGone(reference));
    }

    fn leave_trial(&mut self, reference: &PolicyRef) {
        if self.in_trial.remove(reference).is_some() {
            self.tell_trial();
        }
    }

    fn tell_trial(&mut self) {
        let annotated = self.in_trial.values().cloned();
        self.changes.push(Change::Trial(self.given_trial.iter().cloned().chain(annotated).collect()));
    }

    fn tell_ranges(&mut self) {
        self.changes.push(Change::Ranges(self.ranges.values().flatten().copied().collect()));
    }
}

fn job(id: &Id) -> Key {
    job_key(id.0.to_string(), id.1.to_string())
}

fn job_key(namespace: String, name: String) -> Key {
    Key { kind: "Job".to_owned(), namespace, name, trial: false }
}
