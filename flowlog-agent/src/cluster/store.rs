//! One load after another, or one change after another, becomes one snapshot after another: revisions, departed
//! pods, policy changes. Snapshots share what did not change between them.

use super::{ClusterError, Loaded, PolicyChange, Problem, Settings, Snapshot};
use crate::inventory::{Inventory, ServiceSpec, Slice};
use crate::model::{Labels, Node, Pod, PolicyRef};
use crate::policy::{Policy, PolicySet, Trial};
use foldhash::HashSet;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of policies are kept for so long beyond the time in which they settle: attempts wait for their
/// outcome before they are judged.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_mins(5);

/// One object that changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pod that is new, or in the place of the one of its name.
    Pod(Arc<Pod>),
    /// The pod of this namespace and name went.
    PodGone(Arc<str>, Arc<str>),
    /// The labels of a namespace, its name among them; none where its object went.
    Namespace(String, Arc<Labels>),
    /// A policy that is new, or in the place of the one of its name.
    Policy(Arc<Policy>),
    /// A policy that was there at the first look, and when it was created, where told.
    PolicyFound(Arc<Policy>, Option<Timestamp>),
    /// The policy of this name went.
    PolicyGone(PolicyRef),
    /// All policies that are in trial.
    Trial(Vec<Arc<Policy>>),
    /// A node that is new, or in the place of the one of its name.
    Node(Box<Node>),
    /// The node of this name went.
    NodeGone(String),
    /// A service that has addresses, new or in the place of the one of its name.
    Service(Arc<ServiceSpec>),
    /// The service of this namespace and name went, or has no address any more.
    ServiceGone(Arc<str>, Arc<str>),
    /// An EndpointSlice that is new, or in the place of the one of its name.
    Slice(Arc<Slice>),
    /// The EndpointSlice of this namespace and name went, or belongs to no service any more.
    SliceGone(Arc<str>, Arc<str>),
    /// All ranges of addresses that no node tells.
    Ranges(Vec<IpNet>),
}

/// How far a snapshot can be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is known to lag behind its source, if it does.
    pub stale_since: Option<Timestamp>,
    /// Why somebody may be missing in it: whoever it does not have is then unknown.
    pub incomplete: Option<Arc<str>>,
    /// Why policies may be missing, or what they select by: every verdict is then unknown.
    pub unread: Option<Arc<str>>,
    /// What could not be read of its source.
    pub problems: Arc<[Problem]>,
}

/// Holds the last good snapshot and makes the next.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    current: Arc<Snapshot>,
}

impl Store {
    /// Makes the first snapshot.
    pub fn start(settings: Settings, loaded: Loaded, now: Timestamp) -> Result<Self, ClusterError> {
        let current = Arc::new(next(&settings, None, acceptable(&settings, loaded)?, now));
        Ok(Self { settings, current })
    }

    /// The snapshot to judge with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current)
    }

    /// Makes the next snapshot out of the last one and what changed at `now`; how far it can be relied on is left as
    /// it was. One object costs what it concerns, not what there is; a namespace's labels cost a look at every
    /// pod, and a range of addresses one at every service.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>, now: Timestamp) -> Arc<Snapshot> {
        let before = &self.current;
        let standing = Standing {
            stale_since: before.stale_since,
            incomplete: before.inventory.incomplete().cloned(),
            unread: before.unread.clone(),
            problems: Arc::clone(&before.problems),
        };
        self.apply_as(changes, standing, now)
    }

    /// The same, and says how far it can be relied on.
    pub fn apply_as(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        standing: Standing,
        now: Timestamp,
    ) -> Arc<Snapshot> {
        let before = &self.current;
        let mut next = Next {
            inventory: Inventory::clone(&before.inventory),
            policies: PolicySet::clone(&before.policies),
            changes: Vec::new(),
            trial: before.trial.as_ref().map_or_else(Vec::new, |trial| trial.in_trial().to_vec()),
            settle: self.settings.settle,
            now,
        };
        changes.into_iter().for_each(|change| next.apply(change));
        let Next { mut inventory, policies, changes, trial, .. } = next;
        let Standing { stale_since, incomplete, unread, problems } = standing;
        inventory.settle_ranges(now);
        inventory.set_incomplete(incomplete, now);
        let kept = before.changes.iter().filter(|change| is_kept(change, self.settings.settle, now));
        let changes: Vec<PolicyChange> = kept.cloned().chain(changes).collect();
        self.current = Arc::new(Snapshot {
            revision: before.revision + 1,
            as_of: now,
            stale_since,
            trial: Trial::new(&policies, &trial).map(Arc::new),
            inventory: Arc::new(inventory),
            policies: Arc::new(policies),
            changes: changes.into(),
            problems,
            unread,
            settle: self.settings.settle,
        });
        self.snapshot()
    }

    /// Makes the next snapshot. Where the source cannot be read, the last one stays, marked stale from `now`
    /// on (or from when it was first found so).
    pub fn reload(
        &mut self,
        loaded: Result<Loaded, ClusterError>,
        now: Timestamp,
    ) -> Result<Arc<Snapshot>, ClusterError> {
        match loaded.and_then(|loaded| acceptable(&self.settings, loaded)) {
            Ok(loaded) => {
                self.current = Arc::new(next(&self.settings, Some(&self.current), loaded, now));
                Ok(self.snapshot())
            }
            Err(error) => {
                let stale_since = self.current.stale_since.or(Some(now));
                self.current = Arc::new(Snapshot { stale_since, ..Snapshot::clone(&self.current) });
                Err(error)
            }
        }
    }
}

/// The next snapshot, while it changes.
struct Next {
    inventory: Inventory,
    policies: PolicySet,
    changes: Vec<PolicyChange>,
    trial: Vec<Arc<Policy>>,
    settle: SignedDuration,
    now: Timestamp,
}

impl Next {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Pod(pod) => self.put_pod(&pod),
            Change::PodGone(namespace, name) => {
                if let Some(pod) = self.inventory.find_pod(&namespace, &name) {
                    self.policies.remove_pod(pod);
                    self.inventory.remove_pod(&namespace, &name, self.now);
                }
            }
            Change::Namespace(name, labels) => {
                let there = self.inventory.pods().filter(|pod| *pod.namespace == name);
                let labelled =
                    |pod: &Arc<Pod>| Pod { namespace_labels: Arc::clone(&labels), ..Pod::clone(pod) };
                let there: Vec<Arc<Pod>> = there.map(|pod| Arc::new(labelled(pod))).collect();
                there.iter().for_each(|pod| self.put_pod(pod));
            }
            Change::Policy(policy) => {
                let before = self.policies.find_policy(&policy.reference()).cloned();
                if before.as_ref() != Some(&policy) {
                    self.policies.put_policy(&policy);
                    self.note(policy.reference(), before, Some(policy));
                }
            }
            Change::PolicyFound(policy, created) => {
                self.policies.put_policy(&policy);
                let recent = created.filter(|created| self.now.duration_since(*created) <= self.settle);
                if let Some(at) = recent {
                    let after = Some(Arc::clone(&policy));
                    let policy = policy.reference();
                    self.changes.push(PolicyChange { policy, at, before: None, after });
                }
            }
            Change::PolicyGone(reference) => {
                if let Some(before) = self.policies.find_policy(&reference).cloned() {
                    self.policies.remove_policy(&reference);
                    self.note(reference, Some(before), None);
                }
            }
            Change::Trial(policies) => self.trial = policies,
            Change::Node(node) => self.inventory.put_node(*node, self.now),
            Change::NodeGone(name) => self.inventory.remove_node(&name, self.now),
            Change::Service(spec) => self.inventory.put_service(spec, self.now),
            Change::ServiceGone(namespace, name) => self.inventory.remove_service(&namespace, &name),
            Change::Slice(slice) => self.inventory.put_slice(slice, self.now),
            Change::SliceGone(namespace, name) => self.inventory.remove_slice(&namespace, &name, self.now),
            Change::Ranges(ranges) => self.inventory.set_ranges(ranges),
        }
    }

    fn put_pod(&mut self, pod: &Arc<Pod>) {
        if let Some(before) = self.inventory.find_pod(&pod.namespace, &pod.name) {
            self.policies.remove_pod(before);
        }
        self.inventory.put_pod(pod, self.now);
        self.policies.put_pod(pod);
    }

    fn note(&mut self, policy: PolicyRef, before: Option<Arc<Policy>>, after: Option<Arc<Policy>>) {
        self.changes.push(PolicyChange { policy, at: self.now, before, after });
    }
}

fn acceptable(settings: &Settings, loaded: Loaded) -> Result<Loaded, ClusterError> {
    if loaded.problems.is_empty() || settings.accept_problems {
        return Ok(loaded);
    }
    Err(ClusterError::Problems { path: loaded.folder, problems: loaded.problems })
}

fn next(settings: &Settings, before: Option<&Snapshot>, loaded: Loaded, now: Timestamp) -> Snapshot {
    let Loaded { objects, problems, .. } = loaded;
    let pods_before = before.into_iter().flat_map(|before| before.inventory.pods());
    let kept = pods_before.map(|pod| ((&*pod.namespace, &*pod.name), pod)).collect();
    let (builder, policies, trial) = objects.assemble(Inventory::builder(&settings.inventory), &kept);
    let inventory = builder.build(before.map(|before| &*before.inventory), now);
    let created: BTreeMap<PolicyRef, Timestamp> =
        policies.iter().filter_map(|(policy, created)| Some((policy.reference(), (*created)?))).collect();
    let policies: Vec<Arc<Policy>> = policies.into_iter().map(|(policy, _)| policy).collect();
    let policies = match before {
        None => PolicySet::new(policies, settings.block_scope),
        Some(before) => follow(before, &policies, &inventory),
    };
    let policies = with_pods(policies, &inventory);
    let changes = match before {
        None => created_lately(&policies, &created, settings.settle, now),
        Some(before) => changes(before, &policies, settings.settle, now),
    };
    let trial = Trial::new(&policies, &trial).map(Arc::new);
    Snapshot {
        revision: before.map_or(1, |before| before.revision + 1),
        as_of: now,
        stale_since: None,
        inventory: Arc::new(inventory),
        policies: Arc::new(policies),
        trial,
        changes: changes.into(),
        problems: problems.into(),
        unread: None,
        settle: settings.settle,
    }
}

/// The policies of before, changed where they differ; pods that went are taken out.
fn follow(before: &Snapshot, policies: &[Arc<Policy>], inventory: &Inventory) -> PolicySet {
    let mut set = PolicySet::clone(&before.policies);
    let names: HashSet<PolicyRef> = policies.iter().map(|policy| policy.reference()).collect();
    for gone in before.policies.policies().map(|policy| policy.reference()) {
        if !names.contains(&gone) {
            set.remove_policy(&gone);
        }
    }
    let live: HashSet<*const Pod> = inventory.pods().map(Arc::as_ptr).collect();
    let gone = before.inventory.pods().filter(|pod| !live.contains(&Arc::as_ptr(pod)));
    gone.for_each(|pod| set.remove_pod(pod));
    policies.iter().for_each(|policy| set.put_policy(policy));
    set
}

/// By namespace: pods of one are alike in more.
fn with_pods(mut policies: PolicySet, inventory: &Inventory) -> PolicySet {
    let mut new: Vec<&Arc<Pod>> = inventory.pods().filter(|pod| !policies.has_pod(pod)).collect();
    new.sort_unstable_by(|one, other| one.namespace.cmp(&other.namespace));
    new.into_iter().for_each(|pod| policies.put_pod(pod));
    policies
}

/// At the first look nothing tells what changed, but for what was created a moment ago.
fn created_lately(
    policies: &PolicySet,
    created: &BTreeMap<PolicyRef, Timestamp>,
    settle: SignedDuration,
    now: Timestamp,
) -> Vec<PolicyChange> {
    let change = |policy: &Arc<Policy>| {
        let reference = policy.reference();
        let at = *created.get(&reference)?;
        let lately = now.duration_since(at) <= settle + CHANGES_KEPT;
        lately.then(|| PolicyChange { policy: reference, at, before: None, after: Some(Arc::clone(policy)) })
    };
    {
        let mut found: Vec<PolicyChange> = policies.policies().filter_map(change).collect();
        found.sort_by(|one, other| one.policy.cmp(&other.policy));
        found
    }
}

fn is_kept(change: &PolicyChange, settle: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(change.at) <= settle + CHANGES_KEPT
}

fn changes(
    before: &Snapshot,
    policies: &PolicySet,
    settle: SignedDuration,
    now: Timestamp,
) -> Vec<PolicyChange> {
    let by_name = |set: &PolicySet| -> BTreeMap<PolicyRef, Arc<Policy>> {
        set.policies().map(|policy| (policy.reference(), Arc::clone(policy))).collect()
    };
    let (old, new) = (by_name(&before.policies), by_name(policies));
    let kept = before.changes.iter().filter(|change| is_kept(change, settle, now));
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name)).map(|(name, policy)| PolicyChange {
        policy: name.clone(),
        at: now,
        before: Some(Arc::clone(policy)),
        after: None,
    });
    let changed = new.iter().filter(|(name, policy)| old.get(*name) != Some(*policy));
    let changed = changed.map(|(name, policy)| PolicyChange {
        policy: name.clone(),
        at: now,
        before: old.get(name).cloned(),
        after: Some(Arc::clone(policy)),
    });
    kept.cloned().chain(gone).chain(changed).collect()
}
