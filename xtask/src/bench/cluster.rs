//! `cargo xtask bench cluster`: what following a large cluster costs the agent, on one of its nodes.
//!
//! The real agent against a scripted API server with objects as large as real ones: memory when all is read and at its
//! peak, CPU while the cluster changes, and how long a policy takes to be in force.

use super::ring::resident_mib;
use super::summary::{quantile, sorted};
use crate::command::{need_root, say};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result};
use clap::Args;
use flowlog_tests::agent::{self, Agent};
use flowlog_tests::apiserver::ApiServer;
use flowlog_tests::cgroup::Subtree;
use flowlog_tests::wait;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pods on each node, as the scheduler's own limit has it.
const PODS_A_NODE: u32 = 110;
pub(super) const NODE: &str = "n0";
/// By then all is read.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// What the spine adds until it judges by a snapshot that is there: one turn.
const TURN_MS: f64 = 20.0;

/// Arguments of `cargo xtask bench cluster`.
#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// Pods of the cluster.
    #[arg(long, default_value_t = 10_000)]
    pods: u32,
    /// NetworkPolicies.
    #[arg(long, default_value_t = 2_000)]
    policies: u32,
    /// Services, with an EndpointSlice each.
    #[arg(long, default_value_t = 1_000)]
    services: u32,
    /// How long the cluster changes.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Changes a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    changes: u32,
    /// Have the API server list in pages.
    #[arg(long)]
    paged: bool,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn cluster(args: &ClusterArgs) -> Result<()> {
    need_root("the benchmark")?;
    setup::setup()?;
    let program = args.program.clone().map_or_else(|| build::agent(true), Ok)?;
    let interrupt = Interrupt::hold()?;
    let server = ApiServer::start()?;
    server.stream(!args.paged);
    server.keep_changes(4_096);
    objects(args).for_each(|object| server.apply(object));
    let folder = tempfile::tempdir().context("make a folder for lines")?;
    let subtree = Subtree::create()?;
    let (agent, lines) = start(&program, &server, folder.path(), &subtree, &[])?;
    let began = Instant::now();
    wait::until("all is read", PATIENCE, || {
        interrupt.check()?;
        let text = fs::read_to_string(&lines).unwrap_or_default();
        Ok(text.lines().any(|line| line.contains(r#""state":"in_sync""#)))
    })?;
    let read_s = began.elapsed().as_secs_f64();
    // What was needed to read it is given back within a moment.
    std::thread::park_timeout(Duration::from_secs(2));
    let at_first = resident_mib(agent.pid())?;
    let bytes_at_start = bytes(&server);
    let requests_at_start = server.requests().len();
    say(&format!("read in {read_s:.1} s: {at_first}"));
    let (before, since) = (cpu(agent.pid())?, Instant::now());
    let applied = change(args, &server, &interrupt)?;
    let wall = since.elapsed();
    let used = cpu(agent.pid())?.saturating_sub(before);
    let at_last = resident_mib(agent.pid())?;
    let ended = agent.stop()?;
    let took = sorted(took_ms(args.policies, &applied, &ended.stderr).into_iter());
    let summary = json!({
        "bench": "cluster", "pods": args.pods, "policies": args.policies, "services": args.services,
        "paged": args.paged,
        "rss_mib": at_first["all"], "peak_mib": at_first["peak"], "anonymous_mib": at_first["anonymous"],
        "rss_after_mib": at_last["all"], "peak_after_mib": at_last["peak"],
        "read_s": rounded(read_s),
        "changes_per_s": args.changes, "seconds": args.seconds,
        "cpu_share": rounded(used.as_secs_f64() / wall.as_secs_f64()),
        "policy_ms": {"rounds": took.len(), "p50": quantile(&took, 2), "most": took.last()},
        "start_requests": requests_at_start, "start_bytes": bytes_at_start,
        "churn_bytes": bytes(&server) - bytes_at_start,
    });
    println!("{summary}");
    Ok(())
}

fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

fn bytes(server: &ApiServer) -> u64 {
    server.bytes().values().sum()
}

/// The agent, which follows this server, and where its lines go.
pub(super) fn start(
    program: &Path,
    server: &ApiServer,
    folder: &Path,
    subtree: &Subtree,
    more: &[&str],
) -> Result<(Agent, PathBuf)> {
    let kubeconfig = server.kubeconfig(folder, &json!({}))?;
    let lines = folder.join("flows.jsonl");
    let mut args: Vec<std::ffi::OsString> = vec!["run".into(), "--node".into(), NODE.into()];
    args.extend(["--kubeconfig".into(), kubeconfig.into(), "--output".into(), lines.clone().into()]);
    args.extend(["--cgroup-root".into(), subtree.top().into()]);
    args.extend(["--log", "info,flowlog::cluster::watch=debug", "--log-format", "json"].map(Into::into));
    args.extend(more.iter().map(Into::into));
    let agent = agent::Start::new(args).program(program.to_owned()).spawn()?;
    Ok((agent, lines))
}

/// Changes the cluster as long as it is to, pods above all, and leaves it as large as it was; once a second a policy comes,
/// and goes half a second later. Answers when each of these came.
fn change(args: &ClusterArgs, server: &ApiServer, interrupt: &Interrupt) -> Result<Vec<Timestamp>> {
    let (began, mut applied) = (Instant::now(), Vec::new());
    let mut lives = vec![0_u32; usize::try_from(args.pods).context("so many pods")?];
    for number in 0..args.changes.saturating_mul(args.seconds) {
        interrupt.check()?;
        let due = Duration::from_secs_f64(f64::from(number) / f64::from(args.changes));
        std::thread::park_timeout(due.saturating_sub(began.elapsed()));
        let which = number.wrapping_mul(7_919) % args.pods;
        let Some(life) = usize::try_from(which).ok().and_then(|which| lives.get_mut(which)) else { continue };
        match number % args.changes {
            0 => {
                applied.push(Timestamp::now());
                server.apply(policy(0, "new", which));
            }
            rest if rest == args.changes / 2 => server.delete("networkpolicies", &namespace(0), "new"),
            1 => server.apply(slice(which % args.services, args.pods, number)),
            // Most changes of a cluster are states of pods; some pods are replaced.
            rest if rest % 10 == 2 => {
                server.delete("pods", &namespace(which), &format!("pod-{which}"));
                *life += 1;
                server.apply(pod(which, *life * 2));
            }
            _ => server.apply(pod(which, *life * 2 + number % 2)),
        }
    }
    Ok(applied)
}

/// From each policy's coming to the first snapshot that has it, and the spine's turn.
fn took_ms(first: u32, applied: &[Timestamp], log: &str) -> Vec<f64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let made: Vec<(u64, Timestamp)> = lines
        .filter_map(|line| Some((line["policies"].as_u64()?, line["timestamp"].as_str()?.parse().ok()?)))
        .collect();
    let took = applied.iter().filter_map(|at| {
        let (_, made) = made.iter().find(|(policies, made)| *policies > u64::from(first) && made >= at)?;
        Some(rounded(made.duration_since(*at).as_secs_f64() * 1e3 + TURN_MS))
    });
    took.collect()
}

/// CPU time that a process has used, by its status of the scheduler, in ticks of 10 ms.
fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

pub(super) fn namespace(which: u32) -> String {
    format!("ns-{}", which % 200)
}

pub(super) fn address(first: u8, which: u32) -> String {
    let [_, high, middle, low] = which.to_be_bytes();
    Ipv4Addr::new(first, high, middle, low).to_string()
}

fn objects(args: &ClusterArgs) -> impl Iterator<Item = Value> {
    let (pods, services) = (args.pods, args.services);
    let namespaces = (0..200).map(namespace_object);
    let nodes = (0..pods.div_ceil(PODS_A_NODE)).map(node);
    let all = (0..pods).map(|which| pod(which, 0));
    let services = (0..services).flat_map(move |which| [service(which), slice(which, pods, 0)]);
    let policies = (0..args.policies).map(|which| policy(which, &format!("policy-{which}"), which));
    namespaces.chain(nodes).chain(all).chain(services).chain(policies)
}

pub(super) fn namespace_object(which: u32) -> Value {
    let name = namespace(which);
    let labels = json!({"kubernetes.io/metadata.name": name, "team": format!("team-{}", which % 20)});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(super) fn node(which: u32) -> Value {
    let images: Vec<Value> = (0..50)
        .map(|image| json!({"names": [format!("registry.example/team/image-{image}@sha256:{image:064x}")], "sizeBytes": 1}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("n{which}"), "labels": {"kubernetes.io/hostname": format!("n{which}")}},
        "spec": {"podCIDR": format!("{}/24", address(10, which << 8)), "podCIDRs": [format!("{}/24", address(10, which << 8))]},
        "status": {"addresses": [{"type": "InternalIP", "address": address(172, which)}], "images": images},
    })
}

/// As large as a real one: 7.5 kB, of which managed fields are 44 %. Of two states, ready and not, from an even one on, it is
/// the same pod; the next ones are another of its name.
pub(super) fn pod(which: u32, state: u32) -> Value {
    let (app, place, life) = (which % 1_500, which / PODS_A_NODE, state / 2);
    let ip = address(10, (place << 8) + which % PODS_A_NODE + 2);
    let fields: Map<String, Value> = (0..62)
        .map(|field| (format!("f:field-of-some-manager-{field}"), json!({".": {}, "f:value": {}})))
        .collect();
    let variables: Vec<Value> = (0..45)
        .map(|number| json!({"name": format!("SETTING_NUMBER_{number}"), "value": format!("a value of some length, {number}")}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace(which), "name": format!("pod-{which}"), "uid": format!("0000{which:08}-{life:08}"),
            "labels": {"app": format!("app-{app}"), "app.kubernetes.io/name": format!("app-{app}"), "pod-template-hash": "5d9f7c",
                "app.kubernetes.io/version": format!("1.{}", app % 9), "tier": if which.is_multiple_of(3) { "front" } else { "back" }},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{app}-5d9f7c"), "uid": "r",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "time": "2026-01-01T00:00:00Z", "fieldsV1": fields, "subresource": "status"}],
        },
        "spec": {
            "nodeName": format!("n{place}"), "serviceAccountName": format!("app-{app}"),
            "containers": [{"name": "main", "image": format!("registry.example/app-{app}:1.2.3"), "env": variables,
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": address(172, place), "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": if state.is_multiple_of(2) { "True" } else { "False" }}],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{which:056x}{life:08x}"),
                "image": format!("registry.example/app-{app}:1.2.3"), "ready": true, "restartCount": 0,
                "imageID": format!("registry.example/app-{app}@sha256:{app:064x}")}],
        },
    })
}

pub(super) fn service(which: u32) -> Value {
    let ip = address(11, which);
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace(which), "name": format!("service-{which}")},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": format!("app-{which}")},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
    })
}

pub(super) fn slice(which: u32, pods: u32, state: u32) -> Value {
    let endpoints: Vec<Value> = (0..10)
        .map(|number| {
            let pod = (which * 10 + number) % pods;
            let ip = address(10, ((pod / PODS_A_NODE) << 8) + pod % PODS_A_NODE + 2);
            json!({"addresses": [ip], "conditions": {"ready": number != state % 10, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": format!("pod-{pod}"), "uid": format!("0000{pod:08}-00000000")},
                "nodeName": format!("n{}", pod / PODS_A_NODE)})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": namespace(which), "name": format!("service-{which}-abcde"),
            "labels": {"kubernetes.io/service-name": format!("service-{which}")}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

pub(super) fn policy(which: u32, name: &str, app: u32) -> Value {
    let from = json!([
        {"podSelector": {"matchLabels": {"app": format!("app-{}", app % 1_500)}}},
        {"namespaceSelector": {"matchLabels": {"team": format!("team-{}", app % 20)}}},
        {"ipBlock": {"cidr": "198.51.100.0/24"}},
    ]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace(which), "name": name},
        "spec": {"podSelector": {"matchLabels": {"app": format!("app-{}", which % 1_500)}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"protocol": "TCP", "port": 8080}]}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_as_large_as_a_real_one() {
        let pod = pod(4_711, 0);
        let (all, managed) = (pod.to_string().len(), pod["metadata"]["managedFields"].to_string().len());
        assert!((6_500..8_500).contains(&all), "{all} bytes");
        assert!((38..50).contains(&(managed * 100 / all)), "{managed} of {all}");
    }

    #[test]
    fn a_policy_is_in_force_with_the_first_snapshot_that_counts_it() {
        let at = |ms: i64| Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
        let line = |ms, policies: u32| format!("{{\"timestamp\":\"{}\",\"policies\":{policies}}}\n", at(ms));
        let log =
            [line(5, 7), line(30, 8), line(35, 7), "no JSON\n".to_owned(), line(55, 7), line(60, 8)].concat();
        assert_eq!(took_ms(7, &[at(10), at(50)], &log), [40.0, 30.0]);
    }
}
