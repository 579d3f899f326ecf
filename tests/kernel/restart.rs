//! The kernel half in bpffs: it outlives the agent, and the next one tells what the one before could not.

use crate::repeats::{BYTES, exchange};
use crate::stage::{
    API, Family, NO_HOST, Net, SOON, Stage, allow_ports, alone, any, check_lines, count_of, deny_ingress,
    do_step, internet, lacks, missing_hooks, number, place, pod, small, sum,
};
use aya::maps::{Array, Map, MapData};
use flowlog_tests::{Agent, Listen, Outcome, Step, agent, matching, program, wait};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A bpffs of the test's own, and the file that every agent of the test writes to.
struct Bpffs {
    mounted: TempDir,
    logs: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bpffs {
    fn new() -> Self {
        let alone = alone();
        let mounted = tempfile::tempdir().unwrap();
        mount(Some("bpf"), mounted.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        Self { mounted, logs: tempfile::tempdir().unwrap(), _alone: alone }
    }

    fn folder(&self) -> PathBuf {
        self.mounted.path().join("flowlog")
    }

    fn pin(&self) -> String {
        format!("--pin={}", self.folder().display())
    }

    fn log(&self) -> PathBuf {
        self.logs.path().join("flows.json")
    }

    /// Every line so far, but one that a kill has torn.
    fn lines(&self) -> Vec<Value> {
        self.lines_from(0)
    }

    /// The same, of what stands from this byte on.
    fn lines_from(&self, first: u64) -> Vec<Value> {
        let Ok(mut log) = fs::File::open(self.log()) else { return Vec::new() };
        log.seek(SeekFrom::Start(first)).unwrap();
        let lines = BufReader::new(log).split(b'\n').map(Result::unwrap);
        lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect()
    }

    fn matching(&self, part: &Value) -> Vec<Value> {
        self.lines().into_iter().filter(|line| matching::contains(line, part)).collect()
    }

    /// An agent that writes to the file, once it has said so there.
    fn agent(&self, stage: &Stage, more: &[&str]) -> Agent {
        let started = json!({"agent": {"event": "start"}});
        let before = fs::metadata(self.log()).map_or(0, |log| log.len());
        let (pin, log) = (self.pin(), self.log());
        let mut arguments = vec![pin.as_str(), "--output", log.to_str().unwrap()];
        arguments.extend(more);
        let mut agent = agent::Start::new(stage.arguments(&arguments)).spawn().unwrap();
        // What was there before is not read again: under load it is much, and grows while it is read.
        let begun = wait::until("the agent starts", 3 * SOON, || {
            Ok(self.lines_from(before).iter().any(|line| matching::contains(line, &started)))
        });
        if let Err(error) = begun {
            agent.signal(Signal::SIGKILL).unwrap();
            panic!("{error:#}: {}", agent.ended().unwrap().stderr);
        }
        agent
    }

    /// What the latest run said of how it came to its kernel half.
    fn origin(&self) -> Value {
        self.matching(&json!({"agent": {"event": "start"}})).pop().unwrap()["agent"]["pin"].clone()
    }

    fn told(&self, part: &Value) {
        wait::until("it is told", SOON, || Ok(!self.matching(part).is_empty()))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", matching::nearest(&self.lines(), part)));
    }

    fn detach(&self) -> String {
        let output =
            Command::new(program::flowlog().unwrap()).args(["detach", &self.pin()]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Connections that the kernel half has counted in each of the first slots.
    fn counted(&self) -> Vec<u64> {
        let map = MapData::from_pin(self.folder().join("map_REPEAT_COUNTS")).unwrap();
        let slots: Array<MapData, [u64; 8]> = Map::from_map_data(map).unwrap().try_into().unwrap();
        slots.iter().take(64).map(|counts| counts.unwrap()[0]).collect()
    }

    /// A number of the ledger (`model/ledger.rs`).
    fn set_word(&self, at: u32, value: u64) {
        let map = MapData::from_pin(self.folder().join("map_LEDGER")).unwrap();
        let mut words: Array<MapData, u64> = Map::from_map_data(map).unwrap().try_into().unwrap();
        words.set(at, value, 0).unwrap();
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        umount2(self.mounted.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[track_caller]
fn kill(mut agent: Agent) {
    agent.signal(Signal::SIGKILL).unwrap();
    assert_eq!(agent.ended().unwrap().status.code(), None);
}

#[track_caller]
fn stop(agent: Agent) {
    let ended = agent.stop().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

const LAYOUT: u32 = 15;
const OBJECT: u32 = 8;

fn to_api() -> Value {
    json!({"flow": {"direction": "egress"}, "source": {"pod": "client"}, "destination": {"pod": "api"}})
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_happens_without_an_agent_is_told_by_the_next_one() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let mut client = stage.actor("client");
    let mut connect = |family| {
        do_step(&mut client, &Step::connect(net.at(family, API, 8080)), Outcome::Established);
    };
    let first = bpffs.agent(&stage, &["--each"]);
    assert_eq!(bpffs.origin()["state"], "new");
    connect(Family::V4);
    kill(first);
    connect(Family::V6);
    connect(Family::V6);
    let second = bpffs.agent(&stage, &["--each"]);
    let origin = bpffs.origin();
    assert_eq!(
        (&origin["state"], &origin["ended"], &origin["lost"]),
        (&json!("adopted"), &json!(false), &json!(0))
    );
    assert!(number(&origin["waiting"]) > 0, "{origin}");
    connect(Family::V4);
    wait::until("all are told", SOON, || Ok(bpffs.matching(&to_api()).len() >= 4)).unwrap();
    stop(second);
    connect(Family::V4);
    let third = bpffs.agent(&stage, &["--each"]);
    assert_eq!(bpffs.origin()["ended"], json!(true));
    wait::until("all are told", SOON, || Ok(bpffs.matching(&to_api()).len() >= 5)).unwrap();
    stop(third);
    let flows = bpffs.matching(&to_api());
    assert_eq!(sum(&flows.iter().collect::<Vec<_>>()), 5, "{flows:#?}");
    assert!(flows.iter().all(|flow| flow["flow"]["replayed"].is_null()), "{flows:#?}");
    assert!(bpffs.matching(&json!({"kind": "loss"})).is_empty());
    for run in bpffs.matching(&json!({"agent": {"event": "stop"}})) {
        let attempts = &run["agent"]["counters"]["attempts"];
        let part = |name: &str| number(&attempts[name]);
        assert_eq!(part("seen"), part("recorded") + part("lost") + part("out_of_scope"), "{run:#}");
    }
}

/// What another run has told is known to the next one: the close of a connection, what becomes of an attempt, and that a
/// SYN which is sent again is no other attempt.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_was_told_before_is_not_told_again_and_goes_on() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    stage.world.enforce(DENIED).unwrap();
    let bpffs = Bpffs::new();
    let first = bpffs.agent(&stage, &["--each"]);
    let mut client = stage.actor("client");
    do_step(&mut client, &crate::stage::keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    let denied = net.at(Family::V4, API, 8081);
    std::thread::scope(|scope| {
        let mut other = stage.actor("client");
        let step = Step::connect(denied).within(Duration::from_millis(4_000));
        let trying = scope.spawn(move || other.act(&step).unwrap());
        bpffs.told(&json!({"destination": {"port": 8080}, "outcome": {"state": "established"}}));
        let state = if lacks("drop") { "pending" } else { "dropped" };
        bpffs.told(&json!({"destination": {"port": 8081}, "outcome": {"state": state}}));
        kill(first);
        client.act(&Step::Release).unwrap();
        let second = bpffs.agent(&stage, &["--each"]);
        trying.join().unwrap();
        bpffs.told(&json!({"flow": {"update": true, "count": 0}, "destination": {"port": 8080}}));
        stop(second);
    });
    for port in [8080, 8081] {
        let flows = bpffs.matching(&json!({"kind": "flow", "destination": {"port": port}}));
        assert_eq!(sum(&flows.iter().collect::<Vec<_>>()), 1, "{flows:#?}");
    }
    let closed = bpffs.matching(&json!({"flow": {"update": true}, "destination": {"port": 8080}}));
    assert!(closed[0]["flow"]["duration_ms"].is_u64(), "{closed:#?}");
}

const DENIED: &str = "table inet plugin {
    chain forward {
        type filter hook forward priority filter; policy accept;
        tcp dport 8081 drop
        udp dport 8081 drop
    }
}";

/// What a client did while agents came and went.
#[derive(Debug, Default)]
struct Done {
    allowed: u64,
    denied: u64,
    datagrams: u64,
}

/// A client that connects, is denied and sends datagrams until it is told to stop.
fn load(stage: &Stage, net: Net, over: &AtomicBool) -> Done {
    let mut client = stage.actor("client");
    let mut done = Done::default();
    let mut port = 10_000;
    while !over.load(Ordering::Relaxed) {
        let burst =
            Step::Burst { to: net.at(Family::V4, API, 8080), count: 200, threads: 2, timeout_ms: 5_000 };
        let answer = client.act(&burst).unwrap();
        assert_eq!(answer.counts.get("established"), Some(&200), "{:?}", answer.counts);
        done.allowed += 200;
        let denied = Step::connect(net.at(Family::V4, API, 8081)).within(Duration::from_millis(50));
        do_step(&mut client, &denied, Outcome::Timeout);
        done.denied += 1;
        let to = SocketAddr::new(internet(Family::V4, NO_HOST), port);
        do_step(&mut client, &Step::UdpMany { to, count: 10, ports: 10 }, Outcome::Done);
        port += 10;
        done.datagrams += 10;
    }
    done
}

#[expect(clippy::disallowed_methods, reason = "a random moment is what is tested, no condition")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Killed at moments within so much of each start. How many connections were made, and how many of them the kernel half
/// counted.
///
/// The ring has room for the whole load: an agent without optimisations that is killed before it has read again what is
/// kept for it would let the default one fill up, and it is not the order of giving way that is looked at here.
fn twenty_kills(more: &[&str], within: Duration) -> (u64, u64) {
    const KILLS: u64 = 20;
    let more = &[more, &["--events-ring-bytes", "33554432"]].concat();
    let within_ms = u64::try_from(within.as_millis()).unwrap();
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    stage.world.enforce(DENIED).unwrap();
    let bpffs = Bpffs::new();
    let over = AtomicBool::new(false);
    let (mut moments, mut slots, mut counted) = (Vec::new(), vec![0; 64], 0);
    let done = std::thread::scope(|scope| {
        let mut agent = bpffs.agent(&stage, more);
        let working = scope.spawn(|| load(&stage, net, &over));
        for kills in 0..KILLS {
            // At a random moment: that is what is tested.
            let moment = Duration::from_millis(RandomState::new().hash_one(kills) % within_ms);
            moments.push(moment);
            pass(moment);
            kill(agent);
            // A slot that begins anew has less than before.
            let before = std::mem::replace(&mut slots, bpffs.counted());
            let new = slots.iter().zip(before).map(|(now, before)| now.checked_sub(before).unwrap_or(*now));
            counted += new.sum::<u64>();
            agent = bpffs.agent(&stage, more);
        }
        over.store(true, Ordering::Relaxed);
        let done = working.join().unwrap();
        stop(agent);
        done
    });
    let mut repeats = 0;
    eprintln!("kills at {moments:?}; {counted} connections were counted by then");
    let lines = bpffs.lines();
    let matching = |part: Value| lines.iter().filter(move |line| matching::contains(line, &part));
    let lost = |part: Value| {
        let losses = matching(json!({"kind": "loss", "loss": part}));
        losses.map(|record| number(&record["loss"]["count"])).sum::<u64>()
    };
    let killed = lost(json!({"cause": "killed"}));
    for (what, protocol, event, due) in [
        ("connections", "tcp", "attempt", done.allowed + done.denied),
        ("datagrams", "udp", "sent_to", done.datagrams),
    ] {
        let part = json!({"kind": "flow", "flow": {"protocol": protocol}, "source": {"pod": "client"}});
        let flows: Vec<&Value> = matching(part).collect();
        let told = sum(&flows);
        let lost = lost(json!({"what": event}));
        let marked: Vec<&Value> =
            flows.iter().copied().filter(|flow| flow["flow"]["replayed"] == true).collect();
        eprintln!(
            "{what}: {due} made, {told} told, {lost} lost, {killed} events killed, {} lines marked",
            marked.len()
        );
        let mut ids = BTreeSet::new();
        let one = |flow: &&Value| number(&flow["flow"]["count"]) > 0;
        let twice: Vec<&Value> = flows
            .iter()
            .copied()
            .filter(one)
            .filter(|flow| flow["flow"]["replayed"].is_null() && !ids.insert(flow["flow"]["id"].to_string()))
            .collect();
        assert!(twice.is_empty(), "{what}: told twice and not marked: {twice:#?}");
        assert_eq!(lost, 0, "{what}");
        assert!(told + killed >= due, "{what}: {due} made, {told} told");
        assert!(told <= due + sum(&marked), "{what}: {due} made, {told} told, unmarked repeats among them");
        repeats += marked.len();
    }
    assert!(repeats <= 20, "{repeats} lines may be repeats");
    let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let run = line["run"].as_str().unwrap().to_owned();
        runs.entry(run).or_default().push(line);
    }
    assert_eq!(runs.len(), 21);
    for of_run in runs.values() {
        check_lines(of_run);
    }
    bpffs.detach();
    (done.allowed, counted)
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn twenty_kills_under_load_lose_nothing() {
    twenty_kills(&["--each"], Duration::from_millis(700));
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn twenty_kills_under_load_lose_nothing_of_what_is_folded() {
    twenty_kills(&["--fold-denied-ms", "400", "--fold-other-ms", "900"], Duration::from_millis(700));
}

/// Long enough for the kernel half to be told what to count.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn twenty_kills_under_load_lose_nothing_of_what_is_counted() {
    let short = ["--fold-denied-ms", "400", "--fold-other-ms", "300"];
    let (made, counted) = twenty_kills(&short, wait::stretched(Duration::from_millis(3_500)));
    assert!(counted > made / 20, "{counted} of {made} connections were counted");
}

/// Told by a line of the agent that counted it, by the one after it, or after its end: all with the same sums.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_was_counted_is_told_once_whoever_tells_it() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let mut client = stage.actor("client");
    let mut made = 0;
    let step = exchange(net.at(Family::V4, API, 8080));
    let mut connect = |times: u64| {
        for _ in 0..times {
            do_step(&mut client, &step, Outcome::Established);
        }
        made += times;
    };
    let first = bpffs.agent(&stage, &[]);
    connect(1_500);
    // The first of a key is written at once, the rest after a minute.
    kill(first);
    connect(20);
    let second = bpffs.agent(&stage, &[]);
    assert_eq!(bpffs.origin()["state"], "adopted");
    connect(700);
    stop(second);
    connect(20);
    // Other settings: its programs take the place of those that counted.
    let third = bpffs.agent(&stage, &["--each"]);
    assert_eq!(bpffs.origin()["state"], "replaced");
    connect(20);
    stop(third);
    stop(bpffs.agent(&stage, &["--each"]));
    let flows = bpffs.matching(&to_api());
    let of = |field: &str| flows.iter().map(|flow| count_of(&flow["flow"][field])).sum::<u64>();
    let bytes = made * u64::try_from(BYTES).unwrap();
    assert_eq!((of("count"), of("bytes_sent"), of("bytes_received")), (made, bytes, bytes), "{flows:#?}");
    assert!(flows.iter().all(|flow| flow["flow"]["replayed"].is_null()), "{flows:#?}");
    assert!(bpffs.matching(&json!({"kind": "loss"})).is_empty());
    for run in bpffs.matching(&json!({"agent": {"event": "stop"}})) {
        let attempts = &run["agent"]["counters"]["attempts"];
        let part = |name: &str| number(&attempts[name]);
        assert_eq!(part("seen"), part("recorded") + part("lost") + part("out_of_scope"), "{run:#}");
        assert_eq!(part("lost"), 0, "{run:#}");
    }
    let counted = |run: &Value| count_of(&run["agent"]["counters"]["stages"]["repeats_counted"]);
    let counted: Vec<u64> =
        bpffs.matching(&json!({"agent": {"event": "stop"}})).iter().map(counted).collect();
    assert!(counted[0] > 500, "told by the second run, by the third, by the fourth: {counted:?}");
    assert_eq!(counted[2], 0, "nothing was left to the fourth: {counted:?}");
    let within = flows.iter().all(|flow| count_of(&flow["flow"]["duration_ms"]) < 600_000);
    assert!(within, "no time is made up: {flows:#?}");
}

/// Nobody reads, nobody is dead: traffic goes on, and the ring holds what it can.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_agent_that_stands_still_disturbs_nobody() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let agent = bpffs.agent(&stage, &["--events-ring-bytes", "65536"]);
    agent.signal(Signal::SIGSTOP).unwrap();
    let burst =
        Step::Burst { to: net.at(Family::V4, API, 8080), count: 5_000, threads: 2, timeout_ms: 5_000 };
    let answer = stage.actor("client").act(&burst).unwrap();
    assert_eq!(answer.counts.get("established"), Some(&5_000), "{:?}", answer.counts);
    // Killed before it reads on: what the ring refused is told by the next one.
    kill(agent);
    let next = bpffs.agent(&stage, &["--events-ring-bytes", "65536"]);
    bpffs.told(&json!({"loss": {"cause": "ring_full", "what": "attempt"}}));
    stop(next);
    let flows = bpffs.matching(&to_api());
    let lost = bpffs.matching(&json!({"loss": {"cause": "ring_full", "what": "attempt"}}));
    let lost: u64 = lost.iter().map(|record| number(&record["loss"]["count"])).sum();
    assert_eq!(sum(&flows.iter().collect::<Vec<_>>()) + lost, 5_000);
    let stop = bpffs.matching(&json!({"agent": {"event": "stop"}})).pop().unwrap();
    assert_eq!(count_of(&stop["agent"]["counters"]["attempts_lost"]["ring_full"]), lost, "{stop:#}");
    let last = bpffs.agent(&stage, &["--events-ring-bytes", "65536"]);
    crate::restart::stop(last);
    let again = bpffs.matching(&json!({"loss": {"cause": "ring_full", "what": "attempt"}}));
    let again: u64 = again.iter().map(|record| number(&record["loss"]["count"])).sum();
    assert_eq!(again, lost, "told once");
}

/// Another build's programs make way; what they had told goes on, and connections meanwhile are told once.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn another_build_takes_over_what_the_one_before_left() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    kill(bpffs.agent(&stage, &["--each"]));
    bpffs.set_word(OBJECT, 1);
    let over = AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let mut client = stage.actor("client");
            let mut made = 0;
            while !over.load(Ordering::Relaxed) {
                do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
                made += 1;
            }
            made
        });
        let agent = bpffs.agent(&stage, &["--each"]);
        assert_eq!(bpffs.origin()["state"], "replaced");
        over.store(true, Ordering::Relaxed);
        let made = working.join().unwrap();
        stop(agent);
        made
    });
    let flows = bpffs.matching(&to_api());
    assert_eq!(sum(&flows.iter().collect::<Vec<_>>()), made);
    assert!(made > 10, "{made}");
    // Of sockets elsewhere on the machine something may be lost; attempts are those below the watched cgroup.
    assert!(bpffs.matching(&json!({"kind": "loss", "loss": {"what": "attempt"}})).is_empty());
    let again = bpffs.agent(&stage, &["--each"]);
    assert_eq!(bpffs.origin()["state"], "adopted", "it is this build's now");
    stop(again);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn events_of_another_layout_are_refused_with_a_word_and_a_loss() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    kill(bpffs.agent(&stage, &["--each"]));
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    bpffs.set_word(LAYOUT, 99);
    let agent = bpffs.agent(&stage, &["--each"]);
    let origin = bpffs.origin();
    assert_eq!(origin["state"], "refused", "{origin}");
    assert!(origin["why"].as_str().unwrap().contains("of layout 99"), "{origin}");
    let lost = number(&origin["lost"]);
    assert!(lost >= 3, "{origin}");
    bpffs.told(
        &json!({"loss": {"stage": "restart", "cause": "other_layout", "what": "event", "count": lost}}),
    );
    bpffs.told(&json!({"agent": {"event": "gap", "gap": {"reason": "what was kept in bpffs was not understood, and removed"}}}));
    do_step(&mut client, &Step::connect(net.at(Family::V6, API, 8080)), Outcome::Established);
    bpffs.told(&json!({"flow": {"family": "ipv6"}, "outcome": {"state": "established"}}));
    stop(agent);
}

/// A hook that somebody took out is put in again, and the time without it is told.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_hook_that_was_taken_out_leaves_a_gap() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let mut client = stage.actor("client");
    let first = bpffs.agent(&stage, &["--each"]);
    let mut before = stage.actor("client");
    do_step(&mut before, &crate::stage::keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    bpffs.told(&json!({"flow": {"direction": "egress"}, "outcome": {"state": "established"}}));
    stop(first);
    let stopped = bpffs.matching(&json!({"agent": {"event": "stop"}})).pop().unwrap();
    fs::remove_file(bpffs.folder().join("link_connect4")).unwrap();
    let mut holder = stage.actor("client");
    do_step(&mut holder, &crate::stage::keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    let agent = bpffs.agent(&stage, &["--each"]);
    assert_eq!(bpffs.origin()["state"], "replaced");
    // What was opened meanwhile is found, at its opener unless the walk of another test's agent came by first; what was told
    // before is not told again.
    let run = bpffs.matching(&json!({"agent": {"event": "start"}})).pop().unwrap()["run"].clone();
    let found = json!({"run": run, "flow": {"family": "ipv4"}, "source": {"pod": "client"}});
    bpffs.told(&found);
    let gap = json!({"agent": {"event": "gap", "gap": {"reason": "hooks were taken out: connect4"}}});
    bpffs.told(&gap);
    let gap = bpffs.matching(&gap).pop().unwrap();
    let moment = |value: &Value| value.as_str().unwrap().to_owned();
    let [from, to] = ["from", "to"].map(|end| moment(&gap["agent"]["gap"][end]));
    assert!(from < to && from[..16] <= moment(&stopped["time"])[..16], "{gap:#} {stopped:#}");
    do_step(&mut client, &Step::connect(net.at(Family::V6, API, 8080)), Outcome::Established);
    bpffs.told(&json!({"flow": {"family": "ipv6", "direction": "egress"}}));
    stop(agent);
    stop(bpffs.agent(&stage, &["--each"]));
    assert_eq!(bpffs.origin()["state"], "adopted");
    assert_eq!(bpffs.matching(&json!({"agent": {"event": "gap"}})).len(), 1);
    let found = bpffs.matching(&found);
    assert_eq!(sum(&found.iter().collect::<Vec<_>>()), 1, "{found:#?}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn check_tells_what_is_pinned() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let check = |format: &str| {
        let arguments = ["check", "--output", format, &bpffs.pin()];
        let output = Command::new(program::flowlog().unwrap()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let pinned = || serde_json::from_str::<Value>(&check("json").1).unwrap()["pinned"].clone();
    assert!(pinned().is_null() && check("text").1.contains("nothing in"), "{}", check("text").1);
    let agent = bpffs.agent(&stage, &[]);
    let found = pinned();
    assert_eq!(found["agent"], json!(agent.pid()), "{found}");
    assert!(found["hooks"].as_array().unwrap().contains(&json!("connect4")), "{found}");
    kill(agent);
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let found = pinned();
    let part = |name: &str| found[name].clone();
    assert_eq!(
        [part("agent"), part("own"), part("understood"), part("ended")],
        [Value::Null, json!(true), json!(true), json!(false)],
        "{found}"
    );
    assert!(number(&part("waiting")) > 0, "{found}");
    assert!(part("since").as_str().unwrap() <= part("last_alive").as_str().unwrap(), "{found}");
    let (code, text) = check("text");
    // What this kernel lacks makes it 1, too.
    assert_eq!(code, Some(i32::from(missing_hooks().next().is_some())), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("this build's; the last agent was killed at"), "{text}");
    bpffs.set_word(OBJECT, 1);
    assert_eq!(pinned()["own"], false);
    bpffs.set_word(LAYOUT, 99);
    assert_eq!(pinned()["understood"], false);
    let (code, text) = check("text");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("of layout 99") && text.contains("start the build that pinned it"), "{text}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn detach_removes_everything_and_traffic_goes_on() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let bpffs = Bpffs::new();
    let agent = bpffs.agent(&stage, &[]);
    let refused = Command::new(program::flowlog().unwrap()).args(["detach", &bpffs.pin()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "an agent is running");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another flowlog is running"), "{refused:?}");
    stop(agent);
    let links: Vec<u32> = aya::programs::loaded_links().filter_map(|link| Some(link.ok()?.id())).collect();
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let said = bpffs.detach();
    assert!(
        said.contains("link_connect4") && said.contains("events that no agent has told are lost"),
        "{said}"
    );
    assert!(!bpffs.folder().exists());
    // Two hooks have no link of their own.
    let ours = 14 - missing_hooks().filter(|hook| !["existing", "answers"].contains(hook)).count();
    wait::until("the links are gone", SOON, || {
        let left = aya::programs::loaded_links().filter_map(|link| Some(link.ok()?.id()));
        Ok(left.filter(|id| links.contains(id)).count() + ours <= links.len())
    })
    .unwrap();
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    assert!(bpffs.detach().contains("nothing is pinned"));
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_second_agent_is_refused() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let bpffs = Bpffs::new();
    let agent = bpffs.agent(&stage, &[]);
    let mut second = agent::Start::new(stage.arguments(&[&bpffs.pin()])).spawn().unwrap();
    let ended = second.ended().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("another flowlog is running with it"), "{}", ended.stderr);
    stop(agent);
}

/// What no output of a run wanted is decided: a run that wants it does not tell it again.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_no_output_wanted_is_not_told_by_the_next_one() {
    let net = Net::new();
    let mut objects = small(net);
    objects.extend([
        pod(net, "closed", 31),
        allow_ports("api", "api", &[8080]),
        deny_ingress("closed", "closed"),
    ]);
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let listen = Listen { tcp: vec![any(8080)], ..Listen::default() };
    let _closed = stage.world.serve(&place("closed"), Some("closed"), &listen).unwrap();
    let bpffs = Bpffs::new();
    let mut client = stage.actor("client");
    let mut connect = |last| {
        do_step(&mut client, &Step::connect(net.at(Family::V4, last, 8080)), Outcome::Established);
    };
    let first = bpffs.agent(&stage, &["--each", "--only", "denials"]);
    (0..3).for_each(|_| connect(API));
    connect(31);
    // Events are told in their order.
    bpffs.told(&json!({"kind": "flow", "class": "policy_not_enforced"}));
    pass(Duration::from_millis(500));
    kill(first);
    connect(API);
    let second = bpffs.agent(&stage, &["--each"]);
    wait::until("what came between is told", SOON, || Ok(!bpffs.matching(&to_api()).is_empty())).unwrap();
    stop(second);
    let flows = bpffs.matching(&to_api());
    assert_eq!(sum(&flows.iter().collect::<Vec<_>>()), 1, "{flows:#?}");
    assert!(bpffs.matching(&json!({"kind": "loss"})).is_empty());
}
