//! What the tests of this folder share: a small cluster with addresses of its own, an agent that watches it, and
//! the checks that every line of every run has to pass.

use flowlog_tests::manifests::Cluster;
use flowlog_tests::world::Plan;
use flowlog_tests::{Actor, Agent, Ended, Listen, Outcome, Place, Server, Step, World, agent, program, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Held by whoever makes a storm, and by whoever's ring no other's storm may fill: tracepoints see the sockets of the whole
/// machine.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record comes within this time of what it tells, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The node's name.
pub(crate) const NODE: &str = "one";

/// Hooks that this kernel does not have, as `cargo xtask vm` says, which has asked it; everywhere else it has all.
pub(crate) fn missing_hooks() -> impl Iterator<Item = &'static str> {
    static MISSING: LazyLock<String> =
        LazyLock::new(|| std::env::var("FLOWLOG_HOOKS_MISSING").unwrap_or_default());
    MISSING.split(',').filter(|hook| !hook.is_empty())
}

/// Whether this kernel does not have this hook.
pub(crate) fn lacks(hook: &str) -> bool {
    missing_hooks().any(|missing| missing == hook)
}

/// Version of this kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(|part: char| !part.is_ascii_digit()).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// Address families, each of which most cases are run for.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A host of the internet on which nobody listens.
pub(crate) const CLOSED_HOST: u8 = 10;
/// A host of the internet that does not exist: what goes there is swallowed.
pub(crate) const NO_HOST: u8 = 99;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Addresses of one world. No other world of this machine has them: the hooks on tracepoints see the packets of
/// every namespace, and a packet is known by its addresses alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    process: u8,
    world: u8,
}

static NEXT: AtomicU8 = AtomicU8::new(1);

impl Net {
    pub(crate) fn new() -> Self {
        let process = u8::try_from(std::process::id() % 128).unwrap() + 64;
        Self { process, world: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// A pod's address, by its last part.
    pub(crate) fn ip(self, family: Family, last: u8) -> IpAddr {
        let (process, world) = (u16::from(self.process), u16::from(self.world));
        match family {
            Family::V4 => Ipv4Addr::new(10, self.process, self.world, last).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, process, world, 0, 0, 0, last.into()).into(),
        }
    }

    pub(crate) fn at(self, family: Family, last: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family, last), port)
    }

    /// The address of a service, by its last part.
    pub(crate) fn service(self, family: Family, last: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 96, self.world, last).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x96, self.world.into(), 0, 0, 0, last.into()).into(),
        }
    }
}

/// A host of the internet.
pub(crate) fn internet(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 51, 100, last).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

/// The node and the namespace `shop`.
pub(crate) fn base(net: Net) -> Vec<Value> {
    let [v4, v6] = FAMILIES.map(|family| net.ip(family, 0));
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "spec": {"podCIDRs": [format!("{v4}/24"), format!("{v6}/64")]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": format!("172.18.{}.2", net.world)},
                {"type": "InternalIP", "address": format!("fd00:172:18:{:x}::2", net.world)},
            ]},
        }),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "shop"}}}),
    ]
}

/// `metadata.uid` of the pod with this address.
pub(crate) fn uid(last: u8) -> String {
    format!("5f1e0000-0000-4000-8000-0000000000{last:02x}")
}

/// A pod of the namespace `shop` with one container, `main`, and the label `app: <name>`.
pub(crate) fn pod(net: Net, name: &str, last: u8) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": uid(last), "labels": {"app": name}},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "example.test/main:1"}]},
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "podIPs": FAMILIES.map(|family| json!({"ip": net.ip(family, last)})),
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{last:064x}")}],
        },
    })
}

pub(crate) const CLIENT: u8 = 20;
pub(crate) const API: u8 = 30;

/// The node, a client and an API.
pub(crate) fn small(net: Net) -> Vec<Value> {
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "api", API)]);
    objects
}

/// A policy for the pods with the label `app: <app>`; `spec` is what else it says.
pub(crate) fn policy(name: &str, app: &str, mut spec: Value) -> Value {
    spec["podSelector"] = json!({"matchLabels": {"app": app}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": spec,
    })
}

/// Ingress of `app` from `client`, to these ports alone, TCP and UDP.
pub(crate) fn allow_ports(name: &str, app: &str, ports: &[u16]) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .flat_map(|port| ["TCP", "UDP"].map(|protocol| json!({"protocol": protocol, "port": port})))
        .collect();
    let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
    policy(name, app, json!({"policyTypes": ["Ingress"], "ingress": [{"from": from, "ports": ports}]}))
}

pub(crate) fn deny_ingress(name: &str, app: &str) -> Value {
    policy(name, app, json!({"policyTypes": ["Ingress"]}))
}

/// A world and the manifests that the agent reads.
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) world: World,
    pub(crate) folder: TempDir,
}

impl Stage {
    /// A world of these objects; the agent is told the same.
    pub(crate) fn new(net: Net, objects: &[Value]) -> Self {
        let world = Plan::new(Cluster::from_objects(objects.to_vec()), NODE).build().unwrap();
        Self::of(net, world, objects)
    }

    /// A world, and the objects that the agent is told.
    pub(crate) fn of(net: Net, world: World, told: &[Value]) -> Self {
        let stage = Self { net, world, folder: tempfile::tempdir().unwrap() };
        stage.tell(told);
        // Several cases have the node send one pod ICMP errors at a time; it would hold back all but the first.
        let unlimited = [("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")];
        stage.world.netns(&Place::Node).unwrap().sysctl(&unlimited).unwrap();
        stage
    }

    /// What the agent reads from now on.
    pub(crate) fn tell(&self, objects: &[Value]) {
        let new = tempfile::tempdir_in(self.folder.path()).unwrap();
        let written = Cluster::from_objects(objects.to_vec()).write(new.path()).unwrap();
        // Replaced in one go, as a person's editor or kubectl's redirection into place would.
        fs::rename(written, self.manifest()).unwrap();
    }

    /// The one manifest file.
    pub(crate) fn manifest(&self) -> std::path::PathBuf {
        self.folder.path().join("cluster.json")
    }

    /// `flowlog run` for this world, with more arguments.
    pub(crate) fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<std::ffi::OsString> {
        let mut args: Vec<std::ffi::OsString> = vec!["run".into(), "--manifests".into()];
        args.push(self.folder.path().into());
        args.extend(["--node", NODE, "--cgroup-root"].map(Into::into));
        args.push(self.world.cgroup_root().into());
        args.extend(more.iter().map(Into::into));
        args
    }

    pub(crate) fn agent(&self, more: &[&str]) -> Agent {
        agent::Start::new(self.arguments(more)).start().unwrap()
    }

    pub(crate) fn actor(&self, pod: &str) -> Actor {
        self.world.actor(&place(pod), Some("curl")).unwrap()
    }

    /// The API listens on 8080, TCP and UDP, both families.
    pub(crate) fn serve_api(&mut self) -> Server {
        let both = Listen { tcp: vec![any(8080)], udp: vec![any(8080)], ..Listen::default() };
        self.world.serve(&place("api"), Some("api"), &both).unwrap()
    }
}

pub(crate) fn place(pod: &str) -> Place {
    Place::Pod(format!("shop/{pod}"))
}

/// Dual-stack.
pub(crate) fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

/// A connect that is kept until released.
pub(crate) fn keep(to: SocketAddr) -> Step {
    serde_json::from_value(json!({"do": "connect", "to": to, "keep": true})).unwrap()
}

#[track_caller]
pub(crate) fn do_step(actor: &mut Actor, step: &Step, outcome: Outcome) -> flowlog_tests::Answer {
    let answer = actor.act(step).unwrap();
    assert_eq!(answer.outcome, outcome, "{step:?}: {answer:?}");
    answer
}

/// The record of which this is a part, soon.
#[track_caller]
pub(crate) fn told(agent: &Agent, part: &Value) -> Value {
    agent.wait_for(part, SOON).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The same, where what became of it may be told later, by an update: on a slow machine an answer takes longer than the
/// agent waits for it.
#[track_caller]
pub(crate) fn settled(agent: &Agent, part: &Value) -> Value {
    let mut first = part.clone();
    let object = first.as_object_mut().unwrap();
    let mut last = json!({"flow": {"id": null}});
    for key in ["outcome", "class"] {
        if let Some(value) = object.remove(key) {
            last[key] = value;
        }
    }
    let first = told(agent, &first);
    last["flow"]["id"] = first["flow"]["id"].clone();
    told(agent, &last);
    first
}

/// Hold the agent still, until it is sent SIGCONT.
#[track_caller]
pub(crate) fn stand_still(agent: &Agent) {
    agent.signal(Signal::SIGSTOP).unwrap();
    let stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    wait::until("the agent stands still", SOON, || Ok(stopped())).unwrap();
}

/// Stop the agent and check everything that holds for every run: it ends well, and the lines and the books are
/// right.
#[track_caller]
pub(crate) fn end(agent: Agent) -> Ended {
    let ended = agent.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    check(&ended);
    ended
}

#[track_caller]
pub(crate) fn check(ended: &Ended) {
    check_lines(&ended.lines);
    check_books(ended);
}

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let output = Command::new(program::flowlog().unwrap()).arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// Every line is what the published schema says, and none is missing: the numbers have no gap.
#[track_caller]
pub(crate) fn check_lines(lines: &[Value]) {
    for line in lines {
        let errors: Vec<String> = SCHEMA.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "not by the schema: {errors:?}\n{line}");
    }
    for flow in lines.iter().map(|line| &line["flow"]).filter(|flow| flow.is_object()) {
        let moments = [&flow["first"], &flow["last"]].map(|moment| moment.as_str().unwrap().to_owned());
        assert!(moments[0] <= moments[1], "the last attempt is not before the first: {flow}");
    }
    let numbers: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "sequence numbers");
    assert!(lines.iter().all(|line| line["run"] == lines[0]["run"]), "one run has one id");
}

/// attempts seen = sum of `count` + lost + left out, and each kind of line was counted.
#[track_caller]
fn check_books(ended: &Ended) {
    let stop = ended.stop_record().unwrap();
    assert_eq!(ended.lines.last(), Some(stop), "the stop record is the last");
    let counters = &stop["agent"]["counters"];
    let attempts = |key: &str| number(&counters["attempts"][key]);
    assert_eq!(
        attempts("seen"),
        attempts("recorded") + attempts("lost") + attempts("out_of_scope") + attempts("unselected"),
        "seen = recorded + lost + out of scope + unselected: {counters:#} {:#?}",
        ended.matching(&json!({"kind": "flow"}))
    );
    let flows = ended.matching(&json!({"kind": "flow"}));
    let (existing, tried): (Vec<_>, Vec<_>) =
        flows.into_iter().partition(|line| line["flow"]["existing"] == true);
    assert_eq!(sum(&tried), attempts("recorded"), "{counters:#}");
    let stage = |key: &str| count_of(&counters["stages"][key]);
    assert_eq!(sum(&existing), stage("existing_recorded"), "{counters:#}");
    let ways = ["recorded", "out_of_scope", "lost", "unselected", "paired", "known"];
    let sum: u64 = ways.iter().map(|way| stage(&format!("existing_{way}"))).sum();
    assert_eq!(count_of(&counters["events"]["existing"]), sum, "found = what became of them: {counters:#}");
    let mut lines = BTreeMap::<&str, u64>::new();
    for line in ended.lines.iter().filter(|line| *line != stop) {
        *lines.entry(line["kind"].as_str().unwrap()).or_default() += 1;
    }
    for (kind, count) in lines {
        assert_eq!(number(&counters["records"][kind]), count, "records of kind {kind}: {counters:#}");
    }
}

#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("`{value}` is no number"))
}

/// A counter that is left out is zero.
pub(crate) fn count_of(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The attempts that these records stand for.
#[track_caller]
pub(crate) fn sum(records: &[&Value]) -> u64 {
    records.iter().map(|record| number(&record["flow"]["count"])).sum()
}

/// A new folder with these files.
pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}
