//! `cargo xtask bench ring`: what a flow costs the agent, from the ring to a JSON line with its verdict.
//!
//! Real events of real connections: the agent is stopped (SIGSTOP) while they are made, so that making them and
//! reading them do not share a CPU, then goes on, and its CPU time is read from the kernel's own account of it.

use super::stage::{ADDRESSES, NODE, container, objects};
use super::summary::{quantile, sorted};
use crate::command::{need_root, say};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use flowlog_tests::agent::{self, Agent};
use flowlog_tests::cgroup::Subtree;
use flowlog_tests::manifests::Cluster;
use flowlog_tests::netns::Netns;
use flowlog_tests::traffic::step::Seat;
use flowlog_tests::traffic::{Actor, Step};
use flowlog_tests::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// What a flow takes of the ring at most: five events of 120 bytes, each with a header.
const RING_BYTES_A_FLOW: u32 = 5 * 128;
/// As by default. Less than twice what a round takes, and the kernel half would hand over less: it is to be half full at
/// most. Much more, and the agent would read memory that no cache holds.
const LEAST_RING_BYTES: u32 = 8 * 1_024 * 1_024;
/// The agent is done with a round when its lines are all there, and none has come for this long: half of the events are the
/// listeners', which are told at their openers.
const SETTLE: Duration = Duration::from_millis(100);
/// By then they are.
const PATIENCE: Duration = Duration::from_secs(120);
/// Loading and attaching takes well under a second; a loaded machine takes longer.
const START: Duration = Duration::from_secs(30);

/// Arguments of `cargo xtask bench ring`.
#[derive(Args)]
pub(crate) struct RingArgs {
    /// Rounds of each kind of flow.
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Flows a round.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(1..=50_000))]
    count: u16,
    /// Pods of the cluster, all of this node.
    #[arg(long, default_value_t = 100)]
    pods: u16,
    /// This build of the agent, in the place of a fresh one.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn ring(args: &RingArgs) -> Result<()> {
    need_root("the benchmark")?;
    setup::setup()?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build::agent(true)?,
    };
    build::traffic()?;
    let interrupt = Interrupt::hold()?;
    let stage = Stage::set(args)?;
    let mut summary = json!({"bench": "ring", "pods": args.pods, "flows": args.count, "rounds": args.rounds});
    for kind in Kind::ALL {
        let run = stage.run(kind, &program, args, &interrupt)?;
        summary[kind.name()] = run;
    }
    summary["resident_mib"] = stage.resident(&program, &interrupt)?;
    summary["flows_per_s_per_core"] = summary[Kind::Connections.name()]["flows_per_s_per_core"].clone();
    println!("{summary}");
    Ok(())
}

/// What the flows of a round are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// TCP, both ends on this node: five events a flow.
    Connections,
    /// First datagrams to a peer, one event a flow.
    Datagrams,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Connections, Self::Datagrams];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Datagrams => "datagrams",
        }
    }
}

/// CPU time of the agent.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    /// The thread that takes events to lines.
    spine: Duration,
    /// All threads, the outputs' among them.
    all: Duration,
}

struct Stage {
    // The order is that of dropping: who lives in the cgroup and the namespace goes first.
    client: RefCell<Actor>,
    manifests: tempfile::TempDir,
    subtree: Subtree,
    _netns: Netns,
    cpus: usize,
}

impl Stage {
    fn set(args: &RingArgs) -> Result<Self> {
        let netns = Netns::create("the benchmark")?;
        let mut commands = ADDRESSES.map(|address| format!("addr add {address}/32 dev lo")).to_vec();
        // What is sent there is swallowed.
        commands.extend(["link add out type veth peer name void", "link set void up"].map(str::to_owned));
        commands.push("link set out arp off up".to_owned());
        commands.push("route add 198.51.100.0/24 dev out".to_owned());
        netns.ip(&commands)?;
        let subtree = Subtree::create()?;
        subtree.make(container())?;
        let manifests = tempfile::tempdir().context("make a folder for manifests")?;
        let mut all = objects();
        all.extend((2..args.pods).map(bystander));
        Cluster::from_objects(all).write(manifests.path())?;
        let cpus = available_parallelism().context("count CPUs")?.get();
        let seat = Seat {
            cgroup: Some(subtree.top().join(container())),
            netns: Some(netns.path()),
            comm: Some("bench".to_owned()),
            cpu: Some(0),
        };
        let client = RefCell::new(Actor::start(&seat, "the benchmark")?);
        Ok(Self { _netns: netns, subtree, manifests, client, cpus })
    }

    fn run(&self, kind: Kind, program: &Path, args: &RingArgs, interrupt: &Interrupt) -> Result<Value> {
        let output = tempfile::tempdir().context("make a folder for lines")?;
        let lines = output.path().join("flows.jsonl");
        let ring = ring_bytes(args.count).to_string();
        let agent = self.agent(program, &lines, &["--each", "--events-ring-bytes", &ring])?;
        let mut rounds = Vec::new();
        let mut flows = Flows::open(&lines)?;
        // The first round pays for page faults and cold caches.
        for number in 0..=args.rounds {
            interrupt.check()?;
            let used = self.round(kind, &agent, args.count, number, &mut flows)?;
            if number > 0 {
                say(&format!("{} {number} of {}: {used:?}", kind.name(), args.rounds));
                rounds.push(used);
            }
        }
        let ended = agent.stop()?;
        let due = u64::from(args.count) * u64::from(args.rounds + 1);
        if flows.read()? < due {
            bail!("the agent wrote {} of {due} flows: {}", flows.count, ended.stderr);
        }
        let bytes = flows.bytes / flows.count.max(1);
        Ok(summary(&rounds, args.count, bytes))
    }

    /// Of an agent with default settings, whose ring has been filled once over.
    fn resident(&self, program: &Path, interrupt: &Interrupt) -> Result<Value> {
        let output = tempfile::tempdir().context("make a folder for lines")?;
        let agent = self.agent(program, &output.path().join("flows.jsonl"), &[])?;
        for number in 0..7 {
            interrupt.check()?;
            self.make(Kind::Connections, 10_000, number)?;
        }
        let resident = resident_mib(agent.pid())?;
        agent.stop()?;
        Ok(resident)
    }

    fn agent(&self, program: &Path, lines: &Path, more: &[&str]) -> Result<Agent> {
        let mut args: Vec<OsString> = ["run", "--node", NODE, "--output"].map(Into::into).to_vec();
        args.extend([lines.into(), "--manifests".into(), self.manifests.path().into()]);
        args.extend(["--cgroup-root".into(), self.subtree.top().into()]);
        args.extend(more.iter().map(Into::into));
        let seat = Seat { cpu: (self.cpus > 1).then_some(1), ..Seat::default() };
        let agent = agent::Start::new(args).program(program.to_owned()).seat(seat).spawn()?;
        wait::until("the agent says that it started", START, || {
            Ok(fs::read_to_string(lines).is_ok_and(|text| text.contains(r#""event":"start""#)))
        })?;
        Ok(agent)
    }

    fn round(&self, kind: Kind, agent: &Agent, count: u16, number: u32, flows: &mut Flows) -> Result<Used> {
        let pid = agent.pid();
        agent.signal(Signal::SIGSTOP)?;
        let before = used(pid)?;
        self.make(kind, count, number)?;
        let due = flows.read()? + u64::from(count);
        agent.signal(Signal::SIGCONT)?;
        let mut grown = (0, Instant::now());
        wait::until("the agent writes the round's flows", PATIENCE, || {
            // Reading them meanwhile would take from the agent what two threads of a core share.
            let bytes = flows.size()?;
            if bytes != grown.0 {
                grown = (bytes, Instant::now());
            }
            Ok(grown.1.elapsed() >= SETTLE && flows.read()? >= due)
        })?;
        let after = used(pid)?;
        Ok(Used { spine: after.spine - before.spine, all: after.all - before.all })
    }

    fn make(&self, kind: Kind, count: u16, number: u32) -> Result<()> {
        let step = match kind {
            Kind::Connections => Step::BurstToSelf { to: listener(), count: count.into() },
            Kind::Datagrams => {
                let host = u8::try_from(number % 250).context("a number below 250")?.saturating_add(1);
                let to = SocketAddr::new(Ipv4Addr::new(198, 51, 100, host).into(), 10_000);
                Step::UdpMany { to, count: count.into(), ports: count }
            }
        };
        self.client.borrow_mut().act(&step).map(drop)
    }
}

/// What the lines of flows have.
const FLOW: &[u8] = br#""kind":"flow""#;

/// The lines of flows in a file that grows.
struct Flows {
    file: BufReader<File>,
    /// What was read of a line that is not whole yet.
    part: Vec<u8>,
    count: u64,
    bytes: u64,
}

impl Flows {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), part: Vec::new(), count: 0, bytes: 0 })
    }

    /// Bytes of the file.
    fn size(&self) -> Result<u64> {
        Ok(self.file.get_ref().metadata().context("look at the agent's lines")?.len())
    }

    /// How many there are by now.
    fn read(&mut self) -> Result<u64> {
        while self.file.read_until(b'\n', &mut self.part).context("read the agent's lines")? > 0 {
            if self.part.last() != Some(&b'\n') {
                break;
            }
            // Near the beginning: an end has a kind, too.
            let head = self.part.get(..64).unwrap_or(&self.part);
            if head.windows(FLOW.len()).any(|word| word == FLOW) {
                self.count += 1;
                self.bytes += u64::try_from(self.part.len()).unwrap_or_default();
            }
            self.part.clear();
        }
        Ok(self.count)
    }
}

fn ring_bytes(count: u16) -> u32 {
    (2 * RING_BYTES_A_FLOW * u32::from(count)).next_power_of_two().max(LEAST_RING_BYTES)
}

fn listener() -> SocketAddr {
    SocketAddr::new(ADDRESSES[1].parse().unwrap_or(Ipv4Addr::LOCALHOST.into()), 8080)
}

/// A pod that takes no part but in the agent's memory.
fn bystander(number: u16) -> Value {
    let [high, low] = number.to_be_bytes();
    let app = format!("app-{}", number % 10);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "bench", "name": format!("{app}-{number}"),
            "uid": format!("6f0e6f52-9a1f-4c39-8f3d-2f6b1f2f{number:04x}"),
            "labels": {"app": app, "app.kubernetes.io/part-of": "bench"},
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "bench.example/main:1"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.245.{high}.{low}")}]},
    })
}

fn used(pid: u32) -> Result<Used> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut sum = Used::default();
    for task in fs::read_dir(&tasks).with_context(|| format!("list {}", tasks.display()))? {
        let path = task.context("list threads")?.path();
        // First number: nanoseconds on a CPU (Documentation/scheduler/sched-stats.rst).
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        let ns = text.split_whitespace().next().and_then(|word| word.parse().ok());
        let time = Duration::from_nanos(ns.with_context(|| format!("schedstat says `{text}`"))?);
        sum.all += time;
        if path.file_name().is_some_and(|name| name == pid.to_string().as_str()) {
            sum.spine = time;
        }
    }
    Ok(sum)
}

/// Resident memory by kind, MiB, from `/proc/PID/status`.
pub(super) fn resident_mib(pid: u32) -> Result<Value> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("read the agent's status")?;
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib =
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
        kib.map(|kib| (kib / 102.4).round() / 10.0)
    };
    Ok(json!({"all": of("VmRSS:"), "anonymous": of("RssAnon:"), "peak": of("VmHWM:")}))
}

/// Medians over the rounds.
fn summary(rounds: &[Used], count: u16, line_bytes: u64) -> Value {
    let us_per_flow = |of: fn(&Used) -> Duration| {
        let times = sorted(rounds.iter().map(|used| of(used).as_secs_f64() * 1e6 / f64::from(count)));
        quantile(&times, 2).unwrap_or_default()
    };
    let (spine, all) = (us_per_flow(|used| used.spine), us_per_flow(|used| used.all));
    json!({
        "flows_per_s_per_core": (1e6 / spine).round(),
        "us_per_flow": spine,
        "us_per_flow_with_output": all,
        "line_bytes": line_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_that_of_the_median_round() {
        let round = |ms| Used { spine: Duration::from_millis(ms), all: Duration::from_millis(2 * ms) };
        let summary = summary(&[round(20), round(10), round(90)], 10_000, 1_000);
        assert_eq!(summary["flows_per_s_per_core"], 500_000.0);
        assert_eq!(summary["us_per_flow_with_output"], 4.0);
    }

    #[test]
    fn a_round_fills_no_more_than_half_of_the_ring() {
        assert_eq!(ring_bytes(5_000), 8 << 20);
        assert_eq!(ring_bytes(50_000), 64 << 20);
    }

    #[test]
    fn this_process_has_used_its_cpu() {
        let pid = std::process::id();
        let used = used(pid).unwrap();
        assert!(used.all >= used.spine && used.all > Duration::ZERO, "{used:?}");
        assert!(resident_mib(pid).unwrap()["all"].as_f64().unwrap() > 1.0);
    }
}
