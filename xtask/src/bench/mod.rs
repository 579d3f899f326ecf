//! Benchmarks: the stage they share, the rounds they are made of, and what is said of them.
//!
//! Rounds with and without the agent take turns, in an order that changes from pair to pair, and each pair
//! gives one ratio: what drifts (clock speed, other load) meets both rounds of a pair alike.

mod connect;
mod policy;
mod ring;

pub(crate) use connect::{ConnectArgs, connect};
pub(crate) use policy::{PolicyArgs, policy};
pub(crate) use ring::{RingArgs, ring};

use crate::command;
use crate::command::{run, say, target};
use anyhow::{Context, Result, bail};
use flowlog_tests::agent;
use flowlog_tests::cgroup::{self, Naming, Qos, Subtree};
use flowlog_tests::manifests::Cluster;
use flowlog_tests::netns::Netns;
use flowlog_tests::traffic::process::{self, Held};
use flowlog_tests::traffic::step::Seat;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::thread::available_parallelism;

const NODE: &str = "bench";
const UID: &str = "6f0e6f52-9a1f-4c39-8f3d-2f6b1f2f9a01";
const CONTAINER: &str = "5b1f0c7d9e2a4b6c8d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";

/// The client's pod is the process's own; the address it connects to is another pod's.
const ADDRESSES: [&str; 2] = ["10.244.1.21", "10.244.1.22"];

fn release_traffic() -> Result<PathBuf> {
    run(command::cargo()?.args(["build", "--locked", "--release", "--package", "flowlog-tests", "--bins"]))?;
    Ok(target()?.join("release/flowlog-traffic"))
}

/// Of one connection.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall_ns: u32,
    cpu_ns: u32,
}

/// Two rounds, one after the other.
#[derive(Clone, Copy, Debug)]
struct Pair {
    base: Cost,
    with: Cost,
}

struct Bench<'args> {
    args: &'args ConnectArgs,
    program: PathBuf,
    netns: Netns,
    subtree: Subtree,
    manifests: tempfile::TempDir,
    cpus: usize,
}

impl<'args> Bench<'args> {
    fn stage(args: &'args ConnectArgs, program: PathBuf, worker: &Path) -> Result<Self> {
        if !worker.is_file() {
            bail!("cargo built no {}", worker.display());
        }
        let netns = Netns::create("the benchmark")?;
        netns.ip(&ADDRESSES.map(|address| format!("addr add {address}/32 dev lo")))?;
        let subtree = Subtree::create()?;
        subtree.make(container())?;
        let manifests = tempfile::tempdir().context("make a folder for manifests")?;
        Cluster::from_objects(objects()).write(manifests.path())?;
        let cpus = available_parallelism().context("count CPUs")?.get();
        if cpus < 2 {
            say("only one CPU: the agent's own work is counted in");
        }
        Ok(Self { args, program, netns, subtree, manifests, cpus })
    }

    fn worker(&self, program: &Path) -> Result<Worker> {
        let seat = Seat {
            cgroup: Some(self.subtree.top().join(container())),
            netns: Some(self.netns.path()),
            comm: Some("bench".to_owned()),
            cpu: Some(0),
        };
        let mut child = process::command_of(program, &seat)
            .args([
                "bench-connect",
                "--to",
                &format!("{}:8080", ADDRESSES[1]),
                "--count",
                &self.args.count.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the worker")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Held::new(child);
        let mut worker = Worker {
            stdin: stdin.context("stdin of the worker")?,
            stdout: BufReader::new(stdout.context("stdout of the worker")?),
            _process: process,
        };
        match worker.line()?.as_str() {
            "ready" => Ok(worker),
            other => bail!("the worker says `{other}` instead of `ready`"),
        }
    }

    /// Attach, measure, detach; a round that the agent did not see measures nothing.
    fn round_with_agent(&self, worker: &mut Worker) -> Result<Cost> {
        let mut args: Vec<OsString> = vec![
            "run".into(),
            "--node".into(),
            NODE.into(),
            "--manifests".into(),
            self.manifests.path().into(),
            "--cgroup-root".into(),
            self.subtree.top().into(),
        ];
        if self.args.each {
            args.push("--each".into());
        }
        let seat = Seat { cpu: (self.cpus > 1).then_some(1), ..Seat::default() };
        let agent = agent::Start::new(args).program(self.program.clone()).seat(seat).start()?;
        // The first of its kind are told, the rest are counted: what is measured is the long run.
        worker.round()?;
        let cost = worker.round()?;
        let ended = agent.stop()?;
        let attempts = &ended.stop_record()?["agent"]["counters"]["attempts"];
        let seen =
            attempts["seen"].as_u64().context("the stop record has no agent.counters.attempts.seen")?;
        if seen < 2 * u64::from(self.args.count) {
            bail!("the agent saw {seen} of {} connections: {}", 2 * self.args.count, ended.stderr);
        }
        Ok(cost)
    }
}

struct Worker {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Held,
}

impl Worker {
    fn round(&mut self) -> Result<Cost> {
        writeln!(self.stdin, "go").context("tell the worker to go")?;
        let line = self.line()?;
        let numbers =
            line.split_once(' ').and_then(|(wall, cpu)| Some((wall.parse().ok()?, cpu.parse().ok()?)));
        let (wall_ns, cpu_ns) = numbers.with_context(|| format!("the worker says `{line}`"))?;
        Ok(Cost { wall_ns, cpu_ns })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).context("listen to the worker")? == 0 {
            bail!("the worker ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

fn container() -> PathBuf {
    cgroup::pod_path(Naming::Cgroupfs, Qos::Burstable, UID).join(CONTAINER)
}

/// Two pods and a policy, so that the agent goes the whole way of a flow.
fn objects() -> Vec<Value> {
    let pod = |name: &str, uid: &str, address: &str, container: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "bench", "name": name, "uid": uid, "labels": {"app": name}},
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "bench.example/main:1"}]},
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "containerStatuses": [{
                    "name": "main", "image": "bench.example/main:1", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": format!("containerd://{container}"),
                }],
            },
        })
    };
    let other = CONTAINER.replace('5', "6");
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]},
        }),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}),
        pod("client", UID, ADDRESSES[0], CONTAINER),
        pod("server", "6f0e6f52-9a1f-4c39-8f3d-2f6b1f2f9a02", ADDRESSES[1], &other),
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": "bench", "name": "server"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 8080}]}],
            },
        }),
    ]
}

/// Medians, and the spread of the pairs' ratios; the last line that a script reads. `cpu_ratio` leaves out
/// the time in which the worker waited for a CPU: where it differs much, the machine was busy.
fn summary(pairs: &[Pair]) -> Value {
    let ratios = sorted(pairs.iter().map(|pair| f64::from(pair.with.wall_ns) / f64::from(pair.base.wall_ns)));
    let cpu_ratios =
        sorted(pairs.iter().map(|pair| f64::from(pair.with.cpu_ns) / f64::from(pair.base.cpu_ns)));
    let base = sorted(pairs.iter().map(|pair| f64::from(pair.base.wall_ns) / 1000.0));
    let with = sorted(pairs.iter().map(|pair| f64::from(pair.with.wall_ns) / 1000.0));
    json!({
        "bench": "connect",
        "ratio": quantile(&ratios, 2),
        "ratio_p25": quantile(&ratios, 1),
        "ratio_p75": quantile(&ratios, 3),
        "cpu_ratio": quantile(&cpu_ratios, 2),
        "base_us": quantile(&base, 2),
        "with_us": quantile(&with, 2),
        "rounds": pairs.len(),
    })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value at so many quarters of the way, the nearest there is, to four digits.
fn quantile(sorted: &[f64], quarters: usize) -> Option<f64> {
    let at = (sorted.len().checked_sub(1)? * quarters + 2) / 4;
    sorted.get(at).map(|value| (value * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair((base, with): (u32, u32)) -> Pair {
        let cost = |ns| Cost { wall_ns: ns, cpu_ns: ns / 2 };
        Pair { base: cost(base), with: cost(with) }
    }

    #[test]
    fn the_summary_is_of_pairs_not_of_sums() {
        let pairs =
            [(30_000, 33_000), (60_000, 63_000), (30_000, 31_500), (30_000, 30_000), (30_000, 36_000)];
        let expected = json!({
            "bench": "connect", "ratio": 1.05, "ratio_p25": 1.05, "ratio_p75": 1.1, "cpu_ratio": 1.05,
            "base_us": 30.0, "with_us": 33.0, "rounds": 5,
        });
        assert_eq!(summary(&pairs.map(pair)), expected);
    }

    #[test]
    fn one_pair_is_its_own_median() {
        assert_eq!(summary(&[pair((10_000, 11_000))])["ratio"], 1.1);
        assert_eq!(quantile(&[], 2), None);
    }
}
