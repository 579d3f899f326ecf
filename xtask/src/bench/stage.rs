//! The stage: a network namespace, a pod's cgroup, a cluster of two pods, a worker on one CPU; the agent, or another
//! tool, on another.

use super::rivals::Running;
use super::summary::Cost;
use super::{Attached, Work};
use crate::command::say;
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

pub(super) const NODE: &str = "bench";
const UID: &str = "6f0e6f52-9a1f-4c39-8f3d-2f6b1f2f9a01";
const CONTAINER: &str = "5b1f0c7d9e2a4b6c8d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";

/// The client's pod is the process's own; the address it connects to is another pod's.
pub(super) const ADDRESSES: [&str; 2] = ["10.244.1.21", "10.244.1.22"];

/// All of them are local, so that one socket can be many peers.
const RANGE: &str = "10.244.0.0/16";

pub(super) struct Stage<'work> {
    work: &'work Work,
    pub(super) count: u32,
    each: bool,
    netns: Netns,
    subtree: Subtree,
    manifests: tempfile::TempDir,
    cpus: usize,
}

impl<'work> Stage<'work> {
    pub(super) fn set_up(work: &'work Work, count: u32, each: bool) -> Result<Self> {
        let netns = Netns::create("the benchmark")?;
        netns.ip(&ADDRESSES.map(|address| format!("addr add {address}/32 dev lo")))?;
        netns.ip(&[format!("route add local {RANGE} dev lo")])?;
        if !work.filter.is_empty() {
            netns.nft(work.filter)?;
        }
        let subtree = Subtree::create()?;
        subtree.make(container())?;
        let manifests = tempfile::tempdir().context("make a folder for manifests")?;
        Cluster::from_objects(objects()).write(manifests.path())?;
        let cpus = available_parallelism().context("count CPUs")?.get();
        if cpus < 2 {
            say("only one CPU: the agent's own work is counted in");
        }
        Ok(Self { work, count, each, netns, subtree, manifests, cpus })
    }

    pub(super) fn worker(&self, program: &Path) -> Result<Worker> {
        let seat = Seat {
            cgroup: Some(self.subtree.top().join(container())),
            netns: Some(self.netns.path()),
            comm: Some("bench".to_owned()),
            cpu: Some(0),
        };
        let mut child = process::command_of(program, &seat)
            .args(["bench", self.work.name, "--to", &format!("{}:8080", ADDRESSES[1])])
            .args(["--count", &self.count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the worker")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Held::new(child);
        let mut worker = Worker {
            stdin: stdin.context("stdin of the worker")?,
            stdout: BufReader::new(stdout.context("stdout of the worker")?),
            figures: self.work.figures.len(),
            _process: process,
        };
        match worker.line()?.as_str() {
            "ready" => Ok(worker),
            other => bail!("the worker says `{other}` instead of `ready`"),
        }
    }

    /// Where the agent, or what is measured in its place, runs.
    pub(super) fn seat(&self) -> Seat {
        Seat { cpu: (self.cpus > 1).then_some(1), ..Seat::default() }
    }

    /// Attach, measure, detach.
    pub(super) fn round(&self, attached: &Attached, worker: &mut Worker) -> Result<Vec<Cost>> {
        match attached {
            Attached::Nothing => worker.round(),
            Attached::Agent(program) => self.with_agent(program, worker, Worker::round),
            Attached::Rival(rival) => {
                let running = Running::start(rival, &self.seat())?;
                running.wait_until_it_sees(|| worker.round().map(drop))?;
                worker.round()
            }
        }
    }

    /// Measure with the agent attached; what the agent did not see measures nothing.
    pub(super) fn with_agent<T>(
        &self,
        program: &Path,
        worker: &mut Worker,
        measure: impl FnOnce(&mut Worker) -> Result<T>,
    ) -> Result<T> {
        let mut args: Vec<OsString> = vec![
            "run".into(),
            "--node".into(),
            NODE.into(),
            "--manifests".into(),
            self.manifests.path().into(),
            "--cgroup-root".into(),
            self.subtree.top().into(),
        ];
        if self.each {
            args.push("--each".into());
        }
        let agent = agent::Start::new(args).program(program.to_owned()).seat(self.seat()).start()?;
        // The first of its kind are told, the rest are counted: what is measured is the long run.
        worker.round()?;
        let measured = measure(worker)?;
        let ended = agent.stop()?;
        let attempts = &ended.stop_record()?["agent"]["counters"]["attempts"];
        let seen =
            attempts["seen"].as_u64().context("the stop record has no agent.counters.attempts.seen")?;
        let due = (self.work.seen)(2 * self.count);
        if seen < due {
            bail!("the agent saw {seen} of {due} attempts: {}", ended.stderr);
        }
        Ok(measured)
    }
}

pub(super) struct Worker {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    figures: usize,
    _process: Held,
}

impl Worker {
    /// The cost of each figure.
    pub(super) fn round(&mut self) -> Result<Vec<Cost>> {
        writeln!(self.stdin, "go").context("tell the worker to go")?;
        let line = self.line()?;
        let numbers: Option<Vec<u32>> = line.split(' ').map(|word| word.parse().ok()).collect();
        let costs: Vec<Cost> = numbers
            .iter()
            .flat_map(|numbers| numbers.chunks_exact(2))
            .filter_map(|pair| pair.first().zip(pair.get(1)))
            .map(|(wall, cpu)| Cost { wall_ns: *wall, cpu_ns: *cpu })
            .collect();
        if costs.len() != self.figures {
            bail!("the worker says `{line}`");
        }
        Ok(costs)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).context("listen to the worker")? == 0 {
            bail!("the worker ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

pub(super) fn container() -> PathBuf {
    cgroup::pod_path(Naming::Cgroupfs, Qos::Burstable, UID).join(CONTAINER)
}

/// Two pods and a policy, so that the agent goes the whole way of a flow.
pub(super) fn objects() -> Vec<Value> {
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
