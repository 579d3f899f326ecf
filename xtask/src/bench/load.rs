//! `cargo xtask bench load`: what one agent costs the API server of a cluster of so many nodes, kind by kind: requests and
//! bytes at its start, and for each hour.
//!
//! The real agent against a scripted API server. Bytes are counted there: those of a start as they are, those of a change
//! by a sample of each kind; how many changes an hour has is said (`Hour`), and multiplied.

use super::cluster::{self, NODE, PATIENCE, address};
use super::ring::resident_mib;
use crate::command::{need_root, say};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use flowlog_tests::apiserver::ApiServer;
use flowlog_tests::cgroup::Subtree;
use flowlog_tests::wait;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Changes of each kind that are measured.
const SAMPLE: u32 = 20;
/// A watch is begun anew after 5 to 10 minutes.
const WATCHES_AN_HOUR: f64 = 8.0;
/// Bookmarks of a watch, one a minute.
const BOOKMARKS_AN_HOUR: f64 = 60.0;
/// Kinds that most clusters do not serve, each looked for every 60 to 120 s.
const LOOKS_AN_HOUR: f64 = 3.0 * 40.0;

/// Arguments of `cargo xtask bench load`.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    nodes: u32,
    /// Pods of each node.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=200))]
    pods: u32,
    /// What the agent reads of pods and nodes.
    #[arg(long, value_enum, default_value_t = Scope::Cluster)]
    scope: Scope,
    /// Have the API server list in pages.
    #[arg(long)]
    paged: bool,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long)]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    Cluster,
    Node,
}

/// How large the cluster is, and what an hour of it has: a day's life for each pod, of seven changes; a Job a node an hour, of
/// four, with a pod; a status of each node every five minutes, as kubelets report; two pods of three behind a service, whose
/// slice changes three times for each; and a policy of a hundred.
struct Hour {
    nodes: u32,
    pods: u32,
}

impl Hour {
    fn services(&self) -> u32 {
        (self.pods / 10).max(1)
    }

    fn policies(&self) -> u32 {
        (self.pods / 15).max(1)
    }

    fn namespaces(&self) -> u32 {
        (self.pods / 50).max(1)
    }

    fn jobs(&self) -> u32 {
        self.nodes * 3
    }

    /// Changes by plural.
    fn changes(&self) -> BTreeMap<&'static str, f64> {
        let (pods, nodes) = (f64::from(self.pods), f64::from(self.nodes));
        BTreeMap::from([
            ("pods", pods * 7.0 / 24.0 + nodes * 7.0),
            ("nodes", nodes * 12.0),
            ("endpointslices", pods * (2.0 / 3.0) * 3.0 / 24.0),
            ("jobs", nodes * 4.0),
            ("networkpolicies", f64::from(self.policies()) / 100.0),
        ])
    }
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn load(args: &LoadArgs) -> Result<()> {
    need_root("the benchmark")?;
    setup::setup()?;
    let program = args.program.clone().map_or_else(|| build::agent(true), Ok)?;
    let interrupt = Interrupt::hold()?;
    let hour = Hour { nodes: args.nodes, pods: args.nodes * args.pods };
    let server = ApiServer::start()?;
    server.stream(!args.paged);
    server.keep_changes(4_096);
    objects(&hour, args.pods).for_each(|object| server.apply(object));
    let folder = tempfile::tempdir().context("make a folder for lines")?;
    let subtree = Subtree::create()?;
    let scope = match args.scope {
        Scope::Cluster => "cluster",
        Scope::Node => "node",
    };
    let (agent, lines) =
        cluster::start(&program, &server, folder.path(), &subtree, &["--cluster-scope", scope])?;
    wait::until("all is read", PATIENCE, || {
        interrupt.check()?;
        let text = fs::read_to_string(&lines).unwrap_or_default();
        Ok(text.lines().any(|line| line.contains(r#""state":"in_sync""#)))
    })?;
    // What was needed to read it is given back within a moment.
    std::thread::park_timeout(Duration::from_secs(2));
    let resident = resident_mib(agent.pid())?;
    let at_start = server.bytes();
    let requests = server.requests().len();
    say(&format!("read: {at_start:?}"));
    let mut kinds = Map::new();
    let (mut start_bytes, mut hour_bytes) = (0, 0.0);
    for (plural, changes) in hour.changes() {
        let bytes = sample(&server, plural, &hour, args.pods)?;
        // Of what one node has, it is told of that alone.
        let own = args.scope == Scope::Node && ["pods", "nodes"].contains(&plural);
        let told = if own { changes / f64::from(hour.nodes) } else { changes };
        kinds.insert(plural.to_owned(), json!({
            "start_bytes": at_start.get(plural), "change_bytes": bytes.round(), "changes_an_hour": told.round(),
            "hour_bytes": (bytes * told).round(),
        }));
        hour_bytes += bytes * told;
    }
    for (plural, bytes) in &at_start {
        start_bytes += bytes;
        if !kinds.contains_key(plural) && !plural.is_empty() {
            kinds.insert(plural.clone(), json!({"start_bytes": bytes}));
        }
    }
    if args.scope == Scope::Node && hour.nodes > 1 {
        elsewhere(&server, &hour, args.pods)?;
    }
    agent.stop()?;
    let watches = f64::from(u32::try_from(kinds.len()).unwrap_or(u32::MAX));
    let summary = json!({
        "bench": "load", "nodes": hour.nodes, "pods": hour.pods, "policies": hour.policies(), "services": hour.services(),
        "scope": scope, "paged": args.paged,
        "rss_mib": resident["all"], "peak_mib": resident["peak"],
        "start_requests": requests, "start_bytes": start_bytes,
        "hour_requests": watches * WATCHES_AN_HOUR + LOOKS_AN_HOUR,
        "hour_bytes": (hour_bytes + watches * BOOKMARKS_AN_HOUR * 150.0).round(),
        "kinds": kinds,
    });
    println!("{summary}");
    Ok(())
}

/// Bytes of a change of this kind, of objects that the agent reads whatever its scope.
fn sample(server: &ApiServer, plural: &'static str, hour: &Hour, pods: u32) -> Result<f64> {
    let of = |server: &ApiServer| server.bytes().get(plural).copied().unwrap_or(0);
    let before = of(server);
    for number in 0..SAMPLE {
        server.apply(match plural {
            "pods" => pod(number % pods, number + 1, pods),
            "nodes" => node(0, number + 1),
            "endpointslices" => cluster::slice(number % hour.services(), hour.pods, number),
            "jobs" => job(number % hour.jobs(), number + 1),
            _ => cluster::policy(
                number % hour.policies(),
                &format!("policy-{}", number % hour.policies()),
                number,
            ),
        });
    }
    let mut last = before;
    // The last one is out when nothing came for a while: each is written at once.
    wait::until("a change is told", PATIENCE, || {
        std::thread::park_timeout(Duration::from_millis(300));
        let now = of(server);
        Ok(now > before && std::mem::replace(&mut last, now) == now)
    })?;
    let bytes = u32::try_from(last - before).context("bytes of a sample")?;
    Ok(f64::from(bytes) / f64::from(SAMPLE))
}

/// What another node has is not told of.
fn elsewhere(server: &ApiServer, hour: &Hour, pods: u32) -> Result<()> {
    let before = server.bytes();
    for number in 0..SAMPLE {
        server.apply(pod(hour.pods - 1 - number % pods, number + 1, pods));
        server.apply(node(hour.nodes - 1, number + 1));
    }
    std::thread::park_timeout(Duration::from_secs(1));
    let after = server.bytes();
    let same = ["pods", "nodes"].iter().all(|plural| before.get(*plural) == after.get(*plural));
    ensure!(same, "it was told of another node's pods: {before:?}, then {after:?}");
    Ok(())
}

fn objects(hour: &Hour, pods: u32) -> impl Iterator<Item = Value> {
    let (all, services) = (hour.pods, hour.services());
    let namespaces = (0..hour.namespaces().max(200)).map(cluster::namespace_object);
    let nodes = (0..hour.nodes).map(|which| node(which, 0));
    let of_nodes = (0..all).map(move |which| pod(which, 0, pods));
    let services =
        (0..services).flat_map(move |which| [cluster::service(which), cluster::slice(which, all, 0)]);
    let policies =
        (0..hour.policies()).map(|which| cluster::policy(which, &format!("policy-{which}"), which));
    let jobs = (0..hour.jobs()).map(|which| job(which, 0));
    namespaces.chain(nodes).chain(of_nodes).chain(services).chain(policies).chain(jobs)
}

/// One of so many of its node.
fn pod(which: u32, state: u32, pods: u32) -> Value {
    let (place, number) = (which / pods, which % pods);
    let ip = address(10, (place << 8) + number + 2);
    let mut pod = cluster::pod(which, state);
    pod["spec"]["nodeName"] = if place == 0 { NODE.to_owned() } else { format!("n{place}") }.into();
    pod["status"]["podIP"] = ip.clone().into();
    pod["status"]["podIPs"] = json!([{"ip": ip}]);
    pod
}

/// As large as a real one, 13 kB: fifty images of two names each, conditions, and who manages what.
fn node(which: u32, state: u32) -> Value {
    let mut node = cluster::node(which);
    for (number, image) in node["status"]["images"].as_array_mut().into_iter().flatten().enumerate() {
        image["names"] = json!([
            format!("registry.example/team/image-{number}@sha256:{number:064x}"),
            format!("registry.example/team/image-{number}:v1.{state}.0"),
        ]);
    }
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({"type": kind, "status": "False", "lastHeartbeatTime": format!("2026-01-01T00:{:02}:00Z", state % 60),
            "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": format!("KubeletHas{kind}"),
            "message": format!("kubelet has sufficient resources of this kind: {kind}")})
    });
    let fields: Map<String, Value> = (0..62)
        .map(|field| (format!("f:field-of-some-manager-{field}"), json!({".": {}, "f:value": {}})))
        .collect();
    node["status"]["conditions"] = conditions.into();
    node["metadata"]["managedFields"] = json!([{"manager": "kubelet", "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields, "subresource": "status"}]);
    node
}

fn job(which: u32, state: u32) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "namespace": cluster::namespace(which), "name": format!("job-{which}"), "generation": state,
            "labels": {"batch.kubernetes.io/job-name": format!("job-{which}"), "app": format!("app-{}", which % 1_500)},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": format!("cron-{}", which / 3), "uid": "c",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "batch/v1",
                "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z", "subresource": "status",
                "fieldsV1": {"f:status": {"f:completionTime": {}, "f:conditions": {}, "f:ready": {}, "f:startTime": {},
                    "f:succeeded": {}, "f:terminating": {}, "f:uncountedTerminatedPods": {}}}}],
        },
        "spec": {"template": {}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_as_large_as_a_real_one() {
        let all = node(7, 0).to_string().len();
        assert!((11_000..16_000).contains(&all), "{all} bytes");
    }

    #[test]
    fn an_hour_grows_with_the_cluster() {
        let of = |nodes| Hour { nodes, pods: nodes * 30 }.changes();
        let (small, large) = (of(10), of(5_000));
        assert!((small["pods"] - 157.5).abs() < 0.1, "{small:?}");
        assert!(
            large.iter().all(|(plural, changes)| (changes / small[plural] - 500.0).abs() < 1.0),
            "{large:?}"
        );
    }
}
