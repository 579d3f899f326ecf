//! Storms: whatever the agent could not keep up with, attempts = records + losses, exactly, by the lines alone; and what
//! is denied is told in full while repeats of what is allowed give way.

use crate::services::service;
use crate::stage::{
    API, CLIENT, Family, NO_HOST, Net, Stage, allow_ports, alone, base, count_of, deny_ingress, do_step, end,
    internet, number, pod, policy, small, stand_still, sum, told,
};
use flowlog_tests::{Agent, Ended, Outcome, Step, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::MutexGuard;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A port of the API that no policy opens, and that the node drops.
const FENCED: u16 = 9_999;
const FENCE: &str = "table inet fence {
    chain forward {
        type filter hook forward priority 0
        tcp dport 9999 drop
        udp dport 5000-65000 drop
    }
}
";

/// The client dials `shop/web`, behind which the API stands alone: such connections are told one by one, since a service
/// may lead now here, now there.
struct Scene {
    net: Net,
    stage: Stage,
    _server: flowlog_tests::Server,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Self {
        let alone = alone();
        let net = Net::new();
        let mut objects = base(net);
        objects.extend([pod(net, "client", CLIENT), pod(net, "api", API)]);
        objects.extend(service(net, &[API]));
        objects.push(allow_ports("api-ports", "api", &[8080]));
        let mut stage = Stage::new(net, &objects);
        let server = stage.serve_api();
        stage.world.enforce(FENCE).unwrap();
        // Connections that are over would fill the node's table of them.
        let node = stage.world.netns(&flowlog_tests::Place::Node).unwrap();
        node.sysctl(&[("netfilter/nf_conntrack_tcp_timeout_close", "1")]).unwrap();
        Self { net, stage, _server: server, _alone: alone }
    }

    fn web(&self) -> SocketAddr {
        SocketAddr::new(self.net.service(Family::V4, 10), 80)
    }

    fn fenced(&self) -> SocketAddr {
        self.net.at(Family::V4, API, FENCED)
    }

    /// The agent has seen connections to the service come again, and knows them to be allowed.
    fn acquaint(&self, agent: &Agent) {
        let step = Step::connect(self.web());
        let mut client = self.stage.actor("client");
        for _ in 0..FIRST {
            do_step(&mut client, &step, Outcome::Established);
        }
        told(agent, &json!({"class": "allowed", "dialed": {"port": 80}}));
        let mut other = self.stage.actor("client");
        other.act(&denied(self.fenced(), 1)).unwrap();
        // A drop is told later than a handshake.
        told(agent, &json!({"class": "denied_attempt"}));
    }
}

/// Connections by which a kind becomes known, and the denied one by which it shows that it is.
const FIRST: u64 = 5;

fn allowed(to: SocketAddr, count: u64) -> Step {
    Step::Burst { to, count, threads: 2, timeout_ms: 20_000 }
}

/// Each is given up as soon as its SYN has left.
fn denied(to: SocketAddr, count: u64) -> Step {
    Step::Burst { to, count, threads: 1, timeout_ms: 0 }
}

fn of_client<'a>(ended: &'a Ended, class: Option<&str>) -> Vec<&'a Value> {
    let mut part = json!({"kind": "flow", "source": {"pod": "client"}});
    if let Some(class) = class {
        part["class"] = class.into();
    }
    ended.matching(&part)
}

/// Losses of attempts that pass the hooks of the watched cgroups, by what loss records say.
fn lost(ended: &Ended, part: &Value) -> u64 {
    let attempts = ["attempt", "sent", "sent_to"];
    let mut part = part.clone();
    part["kind"] = "loss".into();
    let losses = ended.matching(&part);
    let losses = losses.iter().filter(|loss| attempts.contains(&loss["loss"]["what"].as_str().unwrap()));
    losses.map(|loss| number(&loss["loss"]["count"])).sum()
}

/// Attempts = records + losses, by the lines and by the books; no loss is told twice within a second.
#[track_caller]
fn check(ended: &Ended, attempts: u64) {
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    let flows = of_client(ended, None);
    assert_eq!(
        sum(&flows) + lost(ended, &json!({})),
        attempts,
        "by the lines: {} recorded; {counters:#}\n{:#?}",
        sum(&flows),
        ended.matching(&json!({"kind": "loss"}))
    );
    assert_eq!(number(&counters["attempts"]["lost"]), lost(ended, &json!({})), "by the books: {counters:#}");
    check_pace(ended);
}

#[track_caller]
fn check_pace(ended: &Ended) {
    let losses = ended.matching(&json!({"kind": "loss"}));
    for (at, loss) in losses.iter().enumerate() {
        let same = |other: &&&Value| {
            ["stage", "cause", "what", "class"].iter().all(|key| other["loss"][key] == loss["loss"][key])
        };
        let Some(before) = losses[..at].iter().rev().find(same) else { continue };
        let [earlier, later] = [before, loss]
            .map(|loss| loss["loss"]["last"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
        // The last word at the stop comes when it must.
        let last = losses[at..].iter().skip(1).find(same).is_none();
        assert!(last || later.duration_since(earlier).as_millis() >= 900, "{before}\n{loss}");
    }
}

fn ring_full(ended: &Ended) -> u64 {
    let losses = &ended.stop_record().unwrap()["agent"]["counters"]["kernel_losses"];
    ["attempt", "drop", "failed", "sent_to"].iter().map(|kind| count_of(&losses[*kind])).sum()
}

/// The agent stands still, and the ring takes what it can.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn while_the_agent_stands_still_what_is_denied_has_the_ring_to_itself() {
    const ALLOWED: u64 = 30_000;
    const DENIED: u64 = 4_000;
    let scene = Scene::new();
    // Sockets and packets of whatever else runs on this machine take their part of it.
    let agent = scene.stage.agent(&["--events-ring-bytes", "16777216"]);
    scene.acquaint(&agent);
    stand_still(&agent);
    let (mut one, mut other) = (scene.stage.actor("client"), scene.stage.actor("client"));
    let steps = [allowed(scene.web(), ALLOWED), denied(scene.fenced(), DENIED)];
    let answer = one.act(&steps[0]).unwrap();
    assert_eq!(answer.counts.get("established"), Some(&ALLOWED), "{:?}", answer.counts);
    let answer = other.act(&steps[1]).unwrap();
    assert_eq!(answer.counts.get("timeout"), Some(&DENIED), "{:?}", answer.counts);
    agent.signal(Signal::SIGCONT).unwrap();
    let ended = end(agent);
    check(&ended, FIRST + 1 + ALLOWED + DENIED);
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    let shed = lost(&ended, &json!({"loss": {"stage": "kernel", "cause": "overload", "class": "allowed"}}));
    assert!(shed > ALLOWED / 4, "{shed} of {ALLOWED} gave way: {counters:#}");
    assert_eq!(ring_full(&ended), 0, "{counters:#}");
    let complete = of_client(&ended, Some("denied_attempt"));
    assert_eq!(sum(&complete), 1 + DENIED, "{complete:#?}");
    // What was told is not said to have come to nothing since its outcome gave way.
    let unknown = json!({"source": {"pod": "client"}, "outcome": {"state": "unknown"}});
    assert!(ended.matching(&unknown).is_empty(), "{:#?}", ended.matching(&unknown));
}

/// As fast as two cores make them, with denied ones all the while.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_storm_of_connects_is_accounted_for_and_what_is_denied_in_it_is_told_in_full() {
    const ALLOWED: u64 = 200_000;
    const DENIED: u64 = 2_000;
    const PARTS: u64 = 10;
    let scene = Scene::new();
    let agent = scene.stage.agent(&[]);
    scene.acquaint(&agent);
    let (mut one, mut other) = (scene.stage.actor("client"), scene.stage.actor("client"));
    for _ in 0..PARTS {
        let storm = allowed(scene.web(), ALLOWED / PARTS);
        one.begin(&storm).unwrap();
        let answer = other.act(&denied(scene.fenced(), DENIED / PARTS)).unwrap();
        assert_eq!(answer.counts.get("timeout"), Some(&(DENIED / PARTS)), "{:?}", answer.counts);
        let answer = one.finish(&storm).unwrap();
        assert_eq!(answer.counts.get("established"), Some(&(ALLOWED / PARTS)), "{:?}", answer.counts);
    }
    let ended = end(agent);
    check(&ended, FIRST + 1 + ALLOWED + DENIED);
    let complete = of_client(&ended, Some("denied_attempt"));
    assert_eq!(sum(&complete), 1 + DENIED, "{complete:#?}");
}

/// SYNs and datagrams, to one port and to as many as there are.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_storm_of_dropped_packets_is_accounted_for() {
    const EACH: u64 = 30_000;
    let scene = Scene::new();
    let agent = scene.stage.agent(&[]);
    let (mut one, mut other) = (scene.stage.actor("client"), scene.stage.actor("client"));
    let syns = denied(scene.fenced(), EACH);
    one.begin(&syns).unwrap();
    let to = scene.net.at(Family::V4, API, 10_000);
    let ports = u16::try_from(EACH).unwrap();
    do_step(&mut other, &Step::UdpMany { to, count: EACH, ports }, Outcome::Done);
    assert_eq!(one.finish(&syns).unwrap().counts.get("timeout"), Some(&EACH));
    let ended = end(agent);
    check(&ended, 2 * EACH);
    let complete = of_client(&ended, Some("denied_attempt"));
    assert_eq!(sum(&complete) + lost(&ended, &json!({})), 2 * EACH, "of another class, too");
}

/// The ring is the smallest there is, and nobody drains it: dropped packets of attempts that were refused are no attempts
/// of their own.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_became_of_a_lost_attempt_is_not_counted_again() {
    const EACH: u64 = 2_000;
    let scene = Scene::new();
    let agent = scene.stage.agent(&["--events-ring-bytes", "65536"]);
    let (mut one, mut other) = (scene.stage.actor("client"), scene.stage.actor("client"));
    stand_still(&agent);
    let to = scene.net.at(Family::V4, API, 5_000);
    let ports = u16::try_from(EACH).unwrap();
    do_step(&mut other, &Step::UdpMany { to, count: EACH, ports }, Outcome::Done);
    agent.signal(Signal::SIGCONT).unwrap();
    // Whose first datagrams were lost: told by a later one, and by its drop.
    do_step(&mut other, &Step::UdpMany { to, count: EACH, ports }, Outcome::Done);
    assert_eq!(one.act(&denied(scene.fenced(), EACH)).unwrap().counts.get("timeout"), Some(&EACH));
    let ended = end(agent);
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    assert!(ring_full(&ended) > 0, "{counters:#}");
    let late = of_client(&ended, Some("denied_attempt"));
    assert!(late.iter().any(|flow| flow["flow"]["update"] == true), "{late:#?}");
    check(&ended, 2 * EACH);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn storms_of_datagrams_to_one_and_to_many_are_accounted_for() {
    const COUNT: u64 = 200_000;
    const MANY: u16 = 50_000;
    let _alone = alone();
    let net = Net::new();
    let mut objects = small(net);
    objects.push(policy("client-out", "client", json!({"policyTypes": ["Egress"]})));
    objects.push(deny_ingress("api-closed", "api"));
    let stage = Stage::new(net, &objects);
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    let one = SocketAddr::new(internet(Family::V4, NO_HOST), 4_000);
    do_step(&mut client, &Step::UdpMany { to: one, count: COUNT, ports: 1 }, Outcome::Done);
    let many = SocketAddr::new(internet(Family::V4, NO_HOST), 10_000);
    do_step(&mut client, &Step::UdpMany { to: many, count: COUNT, ports: MANY }, Outcome::Done);
    let ended = end(agent);
    check(&ended, 1 + u64::from(MANY));
}

/// A reader that stops reading for ten seconds and goes on: it gets every denial, and is told what it did not get.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_reader_that_stalls_gets_every_denial_and_is_told_of_the_rest() {
    const ALLOWED: u64 = 45_000;
    const DENIED: u64 = 1_000;
    const STALL: Duration = Duration::from_secs(10);
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (go_on, wait_for) = channel();
    let reader = read_and_stall(pipe.clone(), wait_for);
    // The ring holds them all: what is shed is shed before the reader.
    let ring = ["--events-ring-bytes", "67108864"];
    let each = ["--each", "--output", "stdout", "--output", pipe.to_str().unwrap()];
    let agent = scene.stage.agent(&[&each[..], &ring].concat());
    let stalled = Instant::now();
    let (mut one, mut other) = (scene.stage.actor("client"), scene.stage.actor("client"));
    let storm = allowed(scene.web(), ALLOWED);
    assert_eq!(one.act(&storm).unwrap().counts.get("established"), Some(&ALLOWED));
    assert_eq!(other.act(&denied(scene.fenced(), DENIED)).unwrap().counts.get("timeout"), Some(&DENIED));
    // Each line is looked at once: there are tens of thousands.
    let (mut counted, mut seen) = (0, 0);
    let all = |lines: &[Value]| {
        counted += sum_of_client(lines.get(seen..).unwrap_or_default());
        seen = lines.len();
        (counted == ALLOWED + DENIED).then_some(())
    };
    let got = agent.wait_until(WORKED_OFF, all).unwrap();
    assert!(got.is_ok(), "the other reader has got {counted} in {seen} lines");
    wait::until("the reader has stalled for long", 2 * STALL, || Ok(stalled.elapsed() >= STALL)).unwrap();
    go_on.send(()).unwrap();
    let ended = end(agent);
    check(&ended, ALLOWED + DENIED);
    let lines = reader.join().unwrap();
    crate::stage::check_lines(&lines);
    let got = Ended { lines, stderr: String::new(), status: ended.status };
    let denials = of_client(&got, Some("denied_attempt"));
    assert_eq!(sum(&denials), DENIED, "every denial");
    let shed = lost(&got, &json!({"loss": {"stage": "sink", "cause": "queue_full", "class": "allowed"}}));
    assert!(shed > 0, "{:#?}", got.matching(&json!({"kind": "loss"})));
    assert_eq!(sum(&of_client(&got, None)) + lost(&got, &json!({})), ALLOWED + DENIED);
    check_pace(&got);
}

/// A storm is worked off within this time, on a machine with other things to do.
const WORKED_OFF: Duration = Duration::from_secs(100);

fn sum_of_client(lines: &[Value]) -> u64 {
    let of_client = lines.iter().filter(|line| line["source"]["pod"] == "client");
    of_client.map(|line| count_of(&line["flow"]["count"])).sum()
}

/// Reads the first line, then nothing until it is told to go on.
fn read_and_stall(pipe: std::path::PathBuf, wait_for: Receiver<()>) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(File::open(pipe).unwrap()).lines();
        let mut read = vec![lines.next().unwrap().unwrap()];
        wait_for.recv().unwrap();
        read.extend(lines.map(Result::unwrap));
        read.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    })
}
