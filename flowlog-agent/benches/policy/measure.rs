//! One case, measured.

use anyhow::{Context, Result, bail};
use flowlog::cluster::{Change, Loaded, Settings, Snapshot, Store};
use flowlog::model::{Decision, Labels, Party, Pod, PolicyKind, Protocol, Tier};
use flowlog::policy::kinds::cluster_rules::{Action, ClusterPolicy, ClusterRule, Subject};
use flowlog::policy::kinds::network_policy::NetworkPolicy;
use flowlog::policy::{Block, BlockScope, Cache, Peer, Policy, PolicySet, Query, Requirement, Selector};
use jiff::Timestamp;
use nix::time::ClockId;
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LISTS: [(&str, &str, &str); 4] = [
    ("nodes", "v1", "Node"),
    ("namespaces", "v1", "Namespace"),
    ("pods", "v1", "Pod"),
    ("networkPolicies", "networking.k8s.io/v1", "NetworkPolicy"),
];

/// A figure of questions is the median of passes over all of them, in so much CPU time at least.
const PASSES_NS: u64 = 400_000_000;

/// Updates of each sort.
const UPDATES: usize = 201;

/// What was measured of a case: CPU time, memory.
pub(crate) struct Figures {
    pods: usize,
    subjects: usize,
    policies: usize,
    /// The decisions of both directions, ends known.
    decide_ns: u64,
    /// The same from two addresses on.
    decide_from_addresses_ns: u64,
    /// The decisions asked of a new set, of which no list of policies was made yet.
    first_ns: u64,
    /// With every policy that took part.
    rule_ns: u64,
    /// The same in words, as a record tells it.
    evaluate_ns: u64,
    /// `rule` where it was asked before.
    cached_ns: u64,
    cached_from_addresses_ns: u64,
    /// Of the cache of default size, asked once over.
    hit_ratio: f64,
    /// The policy set, from policies and pods that were read.
    load_us: u64,
    /// Inventory and policy set, from objects that were parsed.
    snapshot_us: u64,
    pod_us: Update,
    policy_us: Update,
    /// A policy whose selectors no policy had before, of keys that some had.
    new_selector_us: Update,
    /// One whose selector names a key that every pod has and no policy named before.
    new_key_us: Update,
    /// The same of a key by which no pods are told apart otherwise.
    noise_key_us: Update,
    /// A policy of the whole cluster.
    cluster_policy_us: Update,
    namespace_us: Update,
    /// A whole snapshot after the last, inventory included: a pod's labels and address, a policy's rules.
    snapshot_pod_us: Update,
    snapshot_policy_us: Update,
    memory_bytes: u64,
    allowed: usize,
    questions: usize,
}

/// Median and 99th percentile of updates, in microseconds. The worst of them tells more of what was freed
/// before, and is tidied up in it, than of the update.
#[derive(Clone, Copy)]
struct Update {
    median: f64,
    p99: f64,
}

impl Figures {
    pub(crate) fn to_json(&self) -> Value {
        let update = |update: Update| json!({"median": update.median, "p99": update.p99});
        json!({
            "pods": self.pods, "subjects": self.subjects, "policies": self.policies,
            "decide_ns": self.decide_ns, "decide_from_addresses_ns": self.decide_from_addresses_ns,
            "first_ns": self.first_ns, "rule_ns": self.rule_ns, "evaluate_ns": self.evaluate_ns,
            "cached_ns": self.cached_ns, "cached_from_addresses_ns": self.cached_from_addresses_ns,
            "hit_ratio": self.hit_ratio,
            "load_us": self.load_us, "snapshot_us": self.snapshot_us, "pod_update_us": update(self.pod_us),
            "policy_update_us": update(self.policy_us), "new_selector_update_us": update(self.new_selector_us),
            "new_key_update_us": update(self.new_key_us), "noise_key_update_us": update(self.noise_key_us),
            "cluster_policy_update_us": update(self.cluster_policy_us), "namespace_update_us": update(self.namespace_us),
            "snapshot_pod_update_us": update(self.snapshot_pod_us),
            "snapshot_policy_update_us": update(self.snapshot_policy_us),
            "memory_bytes": self.memory_bytes, "allowed": self.allowed, "questions": self.questions,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "decide {} ns ({} from addresses, {} the first time), with policies {}, in words {}, cached {} ({} from addresses); \
             load {} µs, with inventory {}; update of a pod {:.0} µs (p99 {:.0}), a policy {:.0} ({:.0}), \
             one with a new selector {:.0} ({:.0}), with a new key {:.0} ({:.0}) or that of a roll-out {:.0} ({:.0}), one of the cluster {:.0} ({:.0}), \
             a namespace {:.0} ({:.0}); the next snapshot after a pod's change {:.0} ({:.0}), after a policy's {:.0} ({:.0}); {} subjects, {} KiB",
            self.decide_ns,
            self.decide_from_addresses_ns,
            self.first_ns,
            self.rule_ns,
            self.evaluate_ns,
            self.cached_ns,
            self.cached_from_addresses_ns,
            self.load_us,
            self.snapshot_us,
            self.pod_us.median,
            self.pod_us.p99,
            self.policy_us.median,
            self.policy_us.p99,
            self.new_selector_us.median,
            self.new_selector_us.p99,
            self.new_key_us.median,
            self.new_key_us.p99,
            self.noise_key_us.median,
            self.noise_key_us.p99,
            self.cluster_policy_us.median,
            self.cluster_policy_us.p99,
            self.namespace_us.median,
            self.namespace_us.p99,
            self.snapshot_pod_us.median,
            self.snapshot_pod_us.p99,
            self.snapshot_policy_us.median,
            self.snapshot_policy_us.p99,
            self.subjects,
            self.memory_bytes / 1024,
        )
    }
}

struct Asked {
    source: Party,
    destination: Party,
    protocol: Protocol,
    port: u16,
}

impl Asked {
    fn query(&self) -> Query<'_> {
        Query {
            source: &self.source,
            destination: &self.destination,
            protocol: self.protocol,
            port: Some(self.port),
            range_of: None,
        }
    }
}

/// Measures a case.
pub(crate) fn case(case: &Value) -> Result<Figures> {
    let text = manifests(case)?;
    let snapshot_us = median((0..5).map(|_| {
        let loaded = loaded(&text)?;
        let (store, ns) = timed(|| Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH))?;
        drop(store?);
        Ok(ns / 1000)
    }))?;
    let mut store = Store::start(Settings::default(), loaded(&text)?, Timestamp::UNIX_EPOCH)?;
    drop(text);
    let snapshot = store.snapshot();
    let set = &*snapshot.policies;
    let pods: Vec<Arc<Pod>> = snapshot.inventory.pods().cloned().collect();
    let policies: Vec<Arc<Policy>> = set.policies().cloned().collect();
    let asked = asked(case, &snapshot)?;
    let allowed =
        asked.iter().filter(|asked| set.decide(&asked.query()) == (Decision::Allow, Decision::Allow));
    let allowed = allowed.count();
    let load = || fresh(&policies, &pods);
    let load_us = median((0..5).map(|_| Ok(timed(load)?.1 / 1000)))?;
    let mut cache = Cache::default();
    asked.iter().for_each(|asked| drop(black_box(set.rule_with(&asked.query(), &mut cache)).clone()));
    let (before, _) = cache.counts();
    let hit_ratio = ratio(before, asked.len());
    Ok(Figures {
        pods: pods.len(),
        subjects: set.sizes().1,
        policies: policies.len(),
        decide_ns: each(&asked, |asked| {
            black_box(set.decide(&asked.query()));
        })?,
        decide_from_addresses_ns: each(&asked, |asked| {
            let asked = from_addresses(&snapshot, asked);
            black_box(set.decide(&asked.query()));
        })?,
        first_ns: median((0..5).map(|_| {
            let set = load();
            let ((), ns) = timed(|| {
                asked.iter().for_each(|asked| {
                    black_box(set.decide(&asked.query()));
                });
            })?;
            Ok(ns / u64::try_from(asked.len())?.max(1))
        }))?,
        rule_ns: each(&asked, |asked| drop(black_box(set.rule(&asked.query()))))?,
        evaluate_ns: each(&asked, |asked| drop(black_box(set.evaluate(&asked.query()))))?,
        cached_ns: each(&asked, |asked| {
            black_box(set.rule_with(&asked.query(), &mut cache).0.decision);
        })?,
        cached_from_addresses_ns: each(&asked, |asked| {
            let asked = from_addresses(&snapshot, asked);
            black_box(set.rule_with(&asked.query(), &mut cache).0.decision);
        })?,
        hit_ratio,
        load_us,
        snapshot_us,
        pod_us: updates(|turn| update_pod(set, &pods, turn))?,
        policy_us: updates(|turn| update_policy(set, &policies, turn))?,
        new_selector_us: updates(|turn| add_policy(set, &selecting(&policies, "app", turn)?))?,
        new_key_us: update_new_key(&policies, &pods, "bench")?,
        noise_key_us: update_new_key(&policies, &pods, "pod-template-generation")?,
        cluster_policy_us: updates(|turn| add_policy(set, &of_cluster(turn)?))?,
        namespace_us: updates(|turn| update_namespace(set, &pods, turn))?,
        snapshot_pod_us: updates(|turn| next_snapshot(&mut store, Change::Pod(changed_pod(&pods, turn)?)))?,
        snapshot_policy_us: updates(|turn| {
            next_snapshot(&mut store, Change::Policy(changed_policy(&policies, turn)?))
        })?,
        memory_bytes: memory(|| {
            let set = load();
            asked.iter().for_each(|asked| {
                black_box(set.decide(&asked.query()));
            });
            set
        })?,
        allowed,
        questions: asked.len(),
    })
}

fn ratio(part: u64, of: usize) -> f64 {
    let of = u32::try_from(of).unwrap_or(u32::MAX);
    let part = u32::try_from(part).unwrap_or(u32::MAX);
    f64::from(part) / f64::from(of.max(1))
}

fn manifests(case: &Value) -> Result<String> {
    let mut items = Vec::new();
    for (field, api_version, kind) in LISTS {
        for object in case[field].as_array().context("a list of objects")? {
            let mut object = object.clone();
            object["apiVersion"] = api_version.into();
            object["kind"] = kind.into();
            items.push(object);
        }
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

fn loaded(text: &str) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    loaded.add_text(Path::new("case.json"), text);
    match loaded.problems.first() {
        Some(problem) => bail!("{problem}"),
        None => Ok(loaded),
    }
}

fn fresh(policies: &[Arc<Policy>], pods: &[Arc<Pod>]) -> PolicySet {
    let mut set = PolicySet::new(policies.iter().cloned(), BlockScope::default());
    pods.iter().for_each(|pod| set.put_pod(pod));
    set
}

fn asked(case: &Value, snapshot: &Snapshot) -> Result<Vec<Asked>> {
    let queries = case["queries"].as_array().context("queries")?;
    let read = |query: &Value| {
        let ip =
            |field: &str| -> Result<IpAddr> { Ok(query[field].as_str().context("an address")?.parse()?) };
        let protocol = match query["protocol"].as_str() {
            Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            other => bail!("protocol {other:?}"),
        };
        let port = u16::try_from(query["port"].as_u64().context("a port")?)?;
        Ok(Asked {
            source: party(snapshot, ip("srcIP")?),
            destination: party(snapshot, ip("dstIP")?),
            protocol,
            port,
        })
    };
    queries.iter().map(read).collect()
}

fn party(snapshot: &Snapshot, ip: IpAddr) -> Party {
    let endpoint = snapshot.inventory.resolve_address(ip, Timestamp::UNIX_EPOCH);
    Party { endpoint, ip: Some(ip), port: None }
}

fn from_addresses(snapshot: &Snapshot, asked: &Asked) -> Asked {
    let again = |ip: Option<IpAddr>| party(snapshot, ip.unwrap_or(IpAddr::from([0, 0, 0, 0])));
    Asked { source: again(asked.source.ip), destination: again(asked.destination.ip), ..*asked }
}

/// CPU time of one question: the median pass over all of them.
fn each(asked: &[Asked], mut ask: impl FnMut(&Asked)) -> Result<u64> {
    let count = u64::try_from(asked.len())?.max(1);
    let (mut passes, mut spent) = (Vec::new(), 0);
    // The first pass fills what the processor keeps.
    asked.iter().for_each(&mut ask);
    while spent < PASSES_NS || passes.len() < 5 {
        let ((), ns) = timed(|| asked.iter().for_each(&mut ask))?;
        spent += ns.max(1);
        passes.push(ns);
    }
    Ok(median(passes.into_iter().map(Ok))? / count)
}

/// An update as a snapshot takes it: a copy of the set, changed, the old one still there.
fn updates(mut update: impl FnMut(usize) -> Result<u64>) -> Result<Update> {
    let mut ns = (0..UPDATES).map(&mut update).collect::<Result<Vec<u64>>>()?;
    ns.sort_unstable();
    let us =
        |ns: Option<&u64>| u32::try_from(ns.copied().unwrap_or_default()).map(|ns| f64::from(ns) / 1000.0);
    Ok(Update { median: us(ns.get(ns.len() / 2))?, p99: us(ns.get(ns.len() * 99 / 100))? })
}

/// Some item, another one every turn.
fn pick<T>(items: &[T], turn: usize) -> Result<&T> {
    items.get(turn * 7_919 % items.len().max(1)).context("nothing to update")
}

fn next_snapshot(store: &mut Store, change: Change) -> Result<u64> {
    // Whoever judges holds the last one.
    let (before, now) = (store.snapshot(), Timestamp::UNIX_EPOCH);
    let (next, ns) = timed(|| store.apply([change], now))?;
    drop((before, next));
    Ok(ns)
}

fn changed_pod(pods: &[Arc<Pod>], turn: usize) -> Result<Arc<Pod>> {
    let (before, other) = (pick(pods, turn)?, pick(pods, turn + 1)?);
    let ips = vec![IpAddr::from([198, 51, 100, u8::try_from(turn % 250)?])];
    Ok(Arc::new(Pod { labels: other.labels.clone(), ips, ..Pod::clone(before) }))
}

fn update_pod(set: &PolicySet, pods: &[Arc<Pod>], turn: usize) -> Result<u64> {
    let (before, other) = (pick(pods, turn)?, pick(pods, turn + 1)?);
    let after = Arc::new(Pod { labels: other.labels.clone(), ..Pod::clone(before) });
    let (changed, ns) = timed(|| {
        let mut next = set.clone();
        next.remove_pod(before);
        next.put_pod(&after);
        Arc::new(next)
    })?;
    drop(changed);
    Ok(ns)
}

fn changed_policy(policies: &[Arc<Policy>], turn: usize) -> Result<Arc<Policy>> {
    let (Policy::NetworkPolicy(before), Policy::NetworkPolicy(other)) =
        (&**pick(policies, turn)?, &**pick(policies, turn + 1)?)
    else {
        bail!("a policy that is no NetworkPolicy");
    };
    let (namespace, name) = (before.namespace.clone(), before.name.clone());
    Ok(Arc::new(Policy::NetworkPolicy(NetworkPolicy { namespace, name, ..other.clone() })))
}

fn update_policy(set: &PolicySet, policies: &[Arc<Policy>], turn: usize) -> Result<u64> {
    let after = changed_policy(policies, turn)?;
    let (changed, ns) = timed(|| {
        let mut next = set.clone();
        next.put_policy(&after);
        Arc::new(next)
    })?;
    drop(changed);
    Ok(ns)
}

fn add_policy(set: &PolicySet, policy: &Arc<Policy>) -> Result<u64> {
    let (changed, ns) = timed(|| {
        let mut next = set.clone();
        next.put_policy(policy);
        Arc::new(next)
    })?;
    drop(changed);
    Ok(ns)
}

/// Some policy, of another name, that selects by this label what no other policy selects so.
fn selecting(policies: &[Arc<Policy>], key: &str, turn: usize) -> Result<Arc<Policy>> {
    let Policy::NetworkPolicy(like) = &**pick(policies, turn)? else {
        bail!("a policy that is no NetworkPolicy");
    };
    let values = vec![turn.to_string(), (turn % 10).to_string()];
    let subject = Selector(vec![Requirement::In(key.to_owned(), values)]);
    Ok(Arc::new(Policy::NetworkPolicy(NetworkPolicy { name: "new".to_owned(), subject, ..like.clone() })))
}

/// The policies name none of this key, and every pod has it, in ten sorts.
fn update_new_key(policies: &[Arc<Policy>], pods: &[Arc<Pod>], key: &str) -> Result<Update> {
    let labelled = |(place, pod): (usize, &Arc<Pod>)| {
        let mut labels = Arc::clone(&pod.labels);
        Arc::make_mut(&mut labels).insert(key.to_owned(), (place % 10).to_string());
        Arc::new(Pod { labels, ..Pod::clone(pod) })
    };
    let labelled: Vec<Arc<Pod>> = pods.iter().enumerate().map(labelled).collect();
    let set = fresh(policies, &labelled);
    updates(|turn| add_policy(&set, &selecting(policies, key, turn)?))
}

/// A policy that selects every pod, and denies one of the addresses outside.
fn of_cluster(turn: usize) -> Result<Arc<Policy>> {
    let every = || Selector(Vec::new());
    let block = ipnet::IpNet::from(IpAddr::from([198, 51, 100, u8::try_from(turn % 250)?]));
    Ok(Arc::new(Policy::Cluster(ClusterPolicy {
        kind: PolicyKind::AdminNetworkPolicy,
        name: "new".to_owned(),
        tier: Tier::Admin,
        priority: Some(7),
        subject: Subject::Pods { namespaces: every(), pods: every() },
        egress: vec![ClusterRule {
            action: Action::Deny,
            peers: vec![Peer::Block(Block { block, except: Vec::new(), unread: None })],
            ports: None,
        }],
        ingress: Vec::new(),
    })))
}

fn update_namespace(set: &PolicySet, pods: &[Arc<Pod>], turn: usize) -> Result<u64> {
    let namespace = &pick(pods, turn)?.namespace;
    let before: Vec<&Arc<Pod>> = pods.iter().filter(|pod| pod.namespace == *namespace).collect();
    let mut labels = Labels::clone(&before.first().context("a pod")?.namespace_labels);
    labels.insert("team".to_owned(), format!("t{}", turn % 10));
    labels.insert("turn".to_owned(), turn.to_string());
    let labels = Arc::new(labels);
    let after = |pod: &&Arc<Pod>| Arc::new(Pod { namespace_labels: Arc::clone(&labels), ..Pod::clone(pod) });
    let after: Vec<Arc<Pod>> = before.iter().map(after).collect();
    let (changed, ns) = timed(|| {
        let mut next = set.clone();
        before.iter().for_each(|pod| next.remove_pod(pod));
        after.iter().for_each(|pod| next.put_pod(pod));
        Arc::new(next)
    })?;
    drop(changed);
    Ok(ns)
}

/// What one more set takes, asked all questions, objects not counted: the mean of many. The first ones go
/// where memory was left free, and are not counted.
fn memory(load: impl Fn() -> PolicySet) -> Result<u64> {
    const FIRST_BYTES: u64 = 32 << 20;
    const COUNTED_BYTES: u64 = 96 << 20;
    let begin = resident()?;
    let mut kept = Vec::new();
    while resident()? < begin + FIRST_BYTES {
        kept.push(load());
    }
    let (before, first) = (resident()?, kept.len());
    while resident()? < before + COUNTED_BYTES {
        kept.push(load());
    }
    let counted = u64::try_from(kept.len() - first)?;
    Ok((resident()? - before) / counted.max(1))
}

fn resident() -> Result<u64> {
    let told = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS")?;
    Ok(kib * 1024)
}

fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, u64)> {
    let before = cpu_ns()?;
    let done = work();
    Ok((done, cpu_ns()? - before))
}

/// CPU time of this thread.
fn cpu_ns() -> Result<u64> {
    let spent = Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().context("read the CPU clock")?);
    Ok(u64::try_from(spent.as_nanos())?)
}

fn median(values: impl Iterator<Item = Result<u64>>) -> Result<u64> {
    let mut values = values.collect::<Result<Vec<u64>>>()?;
    values.sort_unstable();
    values.get(values.len() / 2).copied().context("nothing was measured")
}
