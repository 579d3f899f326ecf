//! A folder of manifests, looked through for what is wrong with its policies: each finding with its place.
//!
//! The checks are the policy room's. Here the objects are given to them as they were read and as they are
//! written, with the pods that workloads would make, and what they find gets file, document and line.

use super::documents::{self, Document};
use super::objects::{self, Key, Objects};
use super::places::{self, Tree};
use super::pods::ReadPod;
use super::templates::{self, Template, Templates};
use super::{ClusterError, Folders, Loaded, Problem, manifests};
use crate::model::{ContainerPort, PolicyKind, PolicyRef};
use crate::policy::Policy;
use crate::policy::lint::{
    self as checks, Candidate, Estate, Finding, IGNORE, Linted, Severity, Unchecked, Written,
};
use foldhash::HashMap;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linting {
    /// Sorted by file, line and rule.
    pub findings: Vec<Placed>,
    /// How much was looked at.
    pub checked: Checked,
    /// What could not be checked.
    pub unchecked: Vec<Unchecked>,
    /// Findings that annotations silence.
    pub ignored: usize,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Policies, those that cannot be read included.
    pub policies: usize,
    /// Pods.
    pub pods: usize,
    /// Workloads whose pods were looked at as well.
    pub workloads: usize,
    /// Namespaces.
    pub namespaces: usize,
}

/// A finding, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The rule that found it.
    pub rule: &'static str,
    /// What it weighs.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Number of the document in it, from 1; absent where it is about the file.
    pub document: Option<usize>,
    /// The line in the file, from 1, where it can be told.
    pub line: Option<u64>,
    /// Kind of the object, as far as it can be read.
    pub kind: Option<String>,
    /// Its namespace; absent for one of the cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Path of the field, as the API writes it.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Placed {
    /// The policy that it is about, where it is about one whose kind and name can be read.
    pub fn policy(&self) -> Option<PolicyRef> {
        let kind = self.kind.as_deref()?;
        let kind = PolicyKind::ALL.into_iter().find(|known| format!("{known:?}") == kind)?;
        Some(PolicyRef { kind, namespace: self.namespace.clone(), name: self.name.clone()?, rule: None })
    }
}

/// Looks through the folders. Policies in trial are looked at among the declared ones, as they would stand.
pub fn lint(folders: &Folders) -> Result<Linting, ClusterError> {
    let mut seen = Seen { trial: folders.trial.clone(), ..Seen::default() };
    let loaded = manifests::load_and(folders, &mut |document| seen.look(document))?;
    Ok(judge(loaded, seen))
}

/// Looks through what an API server has: objects, by the name of their kind's list, which is where they are told to stand.
/// Policies in trial are those of a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn lint_listed(listed: Vec<(String, Vec<Value>)>, trial: Option<&Path>) -> Result<Linting, ClusterError> {
    let mut seen = Seen { trial: trial.map(Path::to_owned), ..Seen::default() };
    let mut loaded = Loaded::default();
    let names: BTreeSet<PathBuf> = listed.iter().map(|(name, _)| PathBuf::from(name)).collect();
    for (name, objects) in listed {
        for (value, number) in objects.into_iter().zip(1..) {
            let place = documents::Place { file: PathBuf::from(&name), document: number };
            let document = Document { place, value, text: "", lines_before: 0 };
            loaded.add_and(document, &mut |document| seen.look(document));
        }
    }
    if let Some(trial) = trial {
        let folders = Folders::from(trial.to_owned());
        loaded.add_trial(manifests::load_and(&folders, &mut |document| seen.look(document))?);
    }
    let mut linting = judge(loaded, seen);
    // Which of a list's objects it is, its name tells.
    let of_lists = linting.findings.iter_mut().filter(|placed| names.contains(&placed.file));
    of_lists.for_each(|placed| placed.document = None);
    Ok(linting)
}

/// A policy as it is written.
#[derive(Debug)]
struct SeenPolicy {
    key: Key,
    file: PathBuf,
    document: usize,
    written: Written,
    tree: Option<Tree>,
}

/// What the reading of objects does not keep.
#[derive(Debug, Default)]
struct Seen {
    /// The folder whose policies are all in trial.
    trial: Option<PathBuf>,
    policies: Vec<SeenPolicy>,
    templates: Templates,
    /// By namespace and name of the pod.
    init_ports: HashMap<(String, String), Vec<ContainerPort>>,
}

impl Seen {
    fn look(&mut self, document: &Document<'_>) {
        // Lines cost a second parse, and only policies are told by line.
        let is_told = document.text.contains("NetworkPolicy") || document.text.contains("policy.networking");
        let tree = if is_told { places::read(document.text, document.lines_before) } else { None };
        self.look_into(document, &document.value, tree, None);
    }

    fn look_into(
        &mut self,
        document: &Document<'_>,
        object: &Value,
        tree: Option<Tree>,
        of_list: Option<&Value>,
    ) {
        let (group, kind) = objects::identity(object, of_list);
        if let Some(Value::Array(items)) = object.get("items").filter(|_| kind.ends_with("List")) {
            let mut trees = tree.map(|tree| tree.into_items("items")).unwrap_or_default().into_iter();
            for item in items {
                self.look_into(document, item, trees.next(), Some(object));
            }
            return;
        }
        let key = objects::key(kind, object);
        match (group, kind) {
            ("policy.networking.k8s.io", _) => self.policy(document, key, object, tree),
            ("networking.k8s.io" | "extensions", kind) if kind.ends_with("NetworkPolicy") => {
                self.policy(document, key, object, tree);
            }
            ("", "Pod") => {
                let ports = templates::init_ports(object.get("spec"));
                if !ports.is_empty() {
                    self.init_ports.insert((key.namespace, key.name), ports);
                }
            }
            _ => self.templates.look(&document.place, group, &key, object),
        }
    }

    fn policy(&mut self, document: &Document<'_>, mut key: Key, object: &Value, tree: Option<Tree>) {
        key.trial |= self.trial.as_ref().is_some_and(|trial| document.place.file.starts_with(trial));
        let (file, number) = (document.place.file.clone(), document.place.document);
        self.policies.push(SeenPolicy { key, file, document: number, written: written(object), tree });
    }

    /// The policy that stands there.
    fn find(&self, problem: &Problem) -> Option<&SeenPolicy> {
        let title = problem.object.as_ref()?;
        self.policies.iter().rfind(|seen| {
            seen.file == problem.file
                && Some(seen.document) == problem.document
                && objects::title(&seen.key) == *title
        })
    }

    fn find_policy(&self, policy: &PolicyRef, trial: bool) -> Option<&SeenPolicy> {
        let kind = format!("{:?}", policy.kind);
        let namespace = policy.namespace.as_deref().unwrap_or_default();
        self.policies.iter().filter(|seen| seen.key.trial == trial).find(|seen| {
            seen.key.kind == kind && seen.key.namespace == namespace && seen.key.name == policy.name
        })
    }
}

fn written(object: &Value) -> Written {
    let ignored = object.pointer("/metadata/annotations").and_then(|all| all.get(IGNORE));
    let ignored = ignored.and_then(Value::as_str).unwrap_or_default().split([',', ' ']);
    let rules = |list: &str| object.get("spec").and_then(|spec| spec.get(list)).and_then(Value::as_array);
    let (ingress, egress) = (rules("ingress"), rules("egress"));
    let peers = |rules: Option<&Vec<Value>>, list: &str, peers: &str| -> Vec<Vec<String>> {
        let rules = rules.into_iter().flatten().enumerate();
        rules
            .map(|(place, rule)| peer_fields(rule, &format!("spec.{list}[{place}].{peers}"), peers))
            .collect()
    };
    let empty = |rules: Option<&Vec<Value>>, list: &str, peers: &str| -> Vec<String> {
        let rules = rules.into_iter().flatten().enumerate();
        let empty = rules.filter(|(_, rule)| rule[peers].as_array().is_some_and(Vec::is_empty));
        empty.map(|(place, _)| format!("spec.{list}[{place}].{peers}")).collect()
    };
    Written {
        ignored: ignored.filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        ingress_rules: ingress.map_or(0, Vec::len),
        egress_rules: egress.map_or(0, Vec::len),
        empty_peers: [empty(ingress, "ingress", "from"), empty(egress, "egress", "to")].concat(),
        ingress_peers: peers(ingress, "ingress", "from"),
        egress_peers: peers(egress, "egress", "to"),
    }
}

/// One item may name several networks, each of which is a peer.
fn peer_fields(rule: &Value, field: &str, peers: &str) -> Vec<String> {
    let items = rule[peers].as_array().into_iter().flatten().enumerate();
    let fields = items.flat_map(|(place, item)| match item["networks"].as_array() {
        Some(networks) => {
            (0..networks.len()).map(|network| format!("{field}[{place}].networks[{network}]")).collect()
        }
        None => vec![format!("{field}[{place}]")],
    });
    fields.collect()
}

fn judge(loaded: Loaded, mut seen: Seen) -> Linting {
    let Loaded { objects, mut problems, .. } = loaded;
    problems.append(&mut seen.templates.unread);
    let Objects { namespaces, nodes, pods, policies, trial, owners, .. } = objects;
    let unsure = problems.iter().find(|problem| seen.find(problem).is_none() && may_be_about_pods(problem));
    let candidate = |read: ReadPod, title: Option<String>, init_ports: Option<Vec<ContainerPort>>| {
        let pod = read.complete(&namespaces, &owners);
        let title = title.unwrap_or_else(|| format!("pod {}/{}", pod.namespace, pod.name));
        Candidate { title, init_ports: init_ports.unwrap_or_default(), pod: Arc::new(pod) }
    };
    let (mut init_ports, templates) =
        (std::mem::take(&mut seen.init_ports), std::mem::take(&mut seen.templates.read));
    let mut pods: Vec<Candidate> = pods.into_iter().map(|pod| candidate(pod, None, None)).collect();
    for one in &mut pods {
        let own = init_ports.remove(&(one.pod.namespace.to_string(), one.pod.name.to_string()));
        one.init_ports = own.unwrap_or_default();
    }
    let made = |one: Template| candidate(one.pod, Some(one.title), Some(one.init_ports));
    let estate = Estate {
        pods,
        templates: templates.into_iter().map(made).collect(),
        nodes: nodes.into_iter().map(Arc::new).collect(),
        unsure: unsure.map(|problem| format!("not all can be read: {}", named(problem))),
        namespaces: namespaces.into_iter().collect(),
    };
    let linted = |policy: Policy, trial: bool| {
        let written = seen.find_policy(&policy.reference(), trial).map(|seen| seen.written.clone());
        Linted { policy: Arc::new(policy), written: written.unwrap_or_default() }
    };
    let declared: Vec<Linted> = policies.into_iter().map(|(policy, _)| linted(policy, false)).collect();
    let in_trial: Vec<Linted> = trial.into_iter().map(|policy| linted(policy, true)).collect();
    let checked = Checked {
        policies: seen.policies.len(),
        pods: estate.pods.len(),
        workloads: estate.templates.len(),
        namespaces: estate.namespaces.len(),
    };
    let mut report = checks::lint(&declared, &estate);
    let mut findings: Vec<Placed> = problems.iter().map(|problem| of_problem(problem, &seen)).collect();
    findings.extend(not_understood(&declared, &problems, &seen, false));
    findings.extend(report.findings.into_iter().map(|finding| of_finding(finding, &seen, false)));
    if !in_trial.is_empty() {
        let names: BTreeSet<PolicyRef> = in_trial.iter().map(|one| one.policy.reference()).collect();
        findings.extend(not_understood(&in_trial, &problems, &seen, true));
        let others = declared.into_iter().filter(|one| !names.contains(&one.policy.reference()));
        let as_it_would_be: Vec<Linted> = in_trial.into_iter().chain(others).collect();
        let tried = checks::lint(&as_it_would_be, &estate);
        let theirs = tried.findings.into_iter().filter(|finding| names.contains(&finding.policy));
        findings.extend(theirs.map(|finding| of_finding(finding, &seen, true)));
        let more = tried.unchecked.into_iter().filter(|one| !report.unchecked.contains(one));
        report.unchecked.extend(more.collect::<Vec<_>>());
    }
    let found = findings.len();
    findings.retain(|finding| !seen.is_ignored(finding));
    let order = |one: &Placed| (one.file.clone(), one.line, one.document, one.rule, one.field.clone());
    findings.sort_by_cached_key(order);
    Linting { ignored: found - findings.len(), findings, checked, unchecked: report.unchecked }
}

impl Seen {
    fn is_ignored(&self, finding: &Placed) -> bool {
        self.policies.iter().any(|seen| {
            seen.file == finding.file
                && Some(seen.document) == finding.document
                && Some(&seen.key.kind) == finding.kind.as_ref()
                && Some(&seen.key.name) == finding.name.as_ref()
                && finding.namespace.as_ref().is_none_or(|namespace| seen.key.namespace == *namespace)
                && seen.written.ignored.iter().any(|id| id == finding.rule)
        })
    }
}

/// Whether what cannot be read may be a pod, a workload, a namespace or a node.
fn may_be_about_pods(problem: &Problem) -> bool {
    let kind = problem.object.as_ref().and_then(|title| title.split(' ').next());
    !matches!(kind, Some("Service" | "EndpointSlice" | "ServiceCIDR"))
}

fn named(problem: &Problem) -> String {
    problem.object.clone().unwrap_or_else(|| match problem.document {
        Some(document) => format!("{}, document {document}", problem.file.display()),
        None => problem.file.display().to_string(),
    })
}

fn of_problem(problem: &Problem, seen: &Seen) -> Placed {
    let Problem { file, document, line, object, field, what } = problem.clone();
    let policy = seen.find(problem);
    let rule = if policy.is_some() { checks::REJECTED } else { checks::UNREAD };
    let line = line.or_else(|| line_of(policy?, field.as_deref()));
    let (kind, namespace, name) = match policy {
        Some(seen) => parts(&seen.key),
        None => of_title(object.as_deref()),
    };
    let help = match policy {
        Some(_) => "mend it: until then flowlog takes what the policy could decide for unknown",
        None => "mend it: as long as it cannot be read, nothing is claimed about pods",
    };
    let (rule, severity) = (rule.id, rule.severity);
    Placed {
        rule,
        severity,
        file,
        document,
        line,
        kind,
        namespace,
        name,
        field,
        message: what,
        help: help.to_owned(),
    }
}

/// Policies that were read and are not understood: of a version, or with a field, that this build does not know.
fn not_understood<'a>(
    policies: &'a [Linted],
    problems: &'a [Problem],
    seen: &'a Seen,
    trial: bool,
) -> impl Iterator<Item = Placed> + use<'a> {
    policies.iter().filter_map(move |one| {
        let Policy::NotUnderstood(policy) = &*one.policy else { return None };
        let place = seen.find_policy(&policy.reference(), trial)?;
        let title = objects::title(&place.key);
        if problems.iter().any(|problem| problem.object.as_ref() == Some(&title)) {
            return None;
        }
        // The reason begins with the field.
        let (field, what) = policy.why.split_once(' ').unwrap_or(("", &policy.why));
        let (kind, namespace, name) = parts(&place.key);
        Some(Placed {
            rule: checks::REJECTED.id,
            severity: checks::REJECTED.severity,
            file: place.file.clone(),
            document: Some(place.document),
            line: line_of(place, Some(field)),
            kind,
            namespace,
            name,
            field: Some(field.to_owned()),
            message: what.to_owned(),
            help: "what the policy could decide stays unknown: write what this version of flowlog reads"
                .to_owned(),
        })
    })
}

fn of_finding(finding: Finding, seen: &Seen, trial: bool) -> Placed {
    let Finding { rule, severity, policy, field, message, help } = finding;
    let place = seen.find_policy(&policy, trial);
    Placed {
        rule: rule.id,
        severity,
        file: place.map(|place| place.file.clone()).unwrap_or_default(),
        document: place.map(|place| place.document),
        line: place.and_then(|place| line_of(place, field.as_deref())),
        kind: Some(format!("{:?}", policy.kind)),
        namespace: policy.namespace,
        name: Some(policy.name),
        field,
        message,
        help,
    }
}

fn line_of(policy: &SeenPolicy, field: Option<&str>) -> Option<u64> {
    Some(policy.tree.as_ref()?.line_of(field.unwrap_or_default()))
}

fn parts(key: &Key) -> (Option<String>, Option<String>, Option<String>) {
    let told = |part: &String| Some(part.clone()).filter(|part| !part.is_empty());
    (told(&key.kind), told(&key.namespace), told(&key.name))
}

/// `Pod shop/web` taken apart.
fn of_title(title: Option<&str>) -> (Option<String>, Option<String>, Option<String>) {
    let Some(title) = title else { return (None, None, None) };
    let Some((kind, name)) = title.split_once(' ') else { return (Some(title.to_owned()), None, None) };
    let (namespace, name) = name.split_once('/').map_or((None, name), |(space, name)| (Some(space), name));
    (Some(kind.to_owned()), namespace.map(str::to_owned), Some(name.to_owned()))
}
