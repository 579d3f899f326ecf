//! Metrics and health of the real agent: they move with what it sees, and whoever crowds or stalls them holds up nothing.

use crate::stage::{API, Family, Net, SOON, Stage, deny_ingress, do_step, end, small, told};
use flowlog_tests::{Agent, Outcome, Step, agent, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Port 8080 of the API is closed to everybody.
const FENCE: &str = "table inet fence {
    chain forward {
        type filter hook forward priority 0
        tcp dport 8080 drop
    }
}
";

/// A client and an API that no policy lets it reach, watched by an agent that answers at a free port and at a socket.
struct Scene {
    net: Net,
    stage: Stage,
    folder: TempDir,
    agent: Agent,
    address: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let net = Net::new();
        let mut objects = small(net);
        objects.push(deny_ingress("api-closed", "api"));
        let stage = Stage::new(net, &objects);
        stage.world.enforce(FENCE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("debug.sock");
        let agent =
            stage.agent(&["--each", "--metrics-listen=0", "--debug-socket", socket.to_str().unwrap()]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listening_port(&agent)));
        Self { net, stage, folder, agent, address }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("debug.sock")
    }

    fn get(&self, path: &str) -> (u16, String) {
        ask(TcpStream::connect(self.address).unwrap(), path)
    }

    fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        parse(&body)
    }

    /// The client tries the API, which is denied, and the record says so.
    fn try_in_vain(&self) {
        let (before, part) = (self.agent.count(), json!({"class": "denied_attempt"}));
        let mut client = self.stage.actor("client");
        let to = self.net.at(Family::V4, API, 8080);
        let step: Step =
            serde_json::from_value(json!({"do": "connect", "to": to, "timeout_ms": 300})).unwrap();
        do_step(&mut client, &step, Outcome::Timeout);
        self.agent.wait_from(before, &part, SOON).unwrap();
    }
}

/// The agent listens at one port alone.
fn listening_port(agent: &Agent) -> u16 {
    let links = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let own: Vec<String> = links
        .filter_map(|link| Some(fs::read_link(link.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Local address, state (listening), inode.
        (fields[3] == "0A" && own.iter().any(|inode| inode == fields[9])).then(|| fields[1].to_owned())
    });
    let local = listening.unwrap_or_else(|| panic!("{own:?} listens nowhere:\n{table}"));
    assert!(local.starts_with("0100007F:"), "a port alone is one of 127.0.0.1: {local}");
    u16::from_str_radix(local.rsplit_once(':').unwrap().1, 16).unwrap()
}

fn ask(mut stream: impl Read + Write, path: &str) -> (u16, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: flowlog\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Every sample by its name with labels; what is no sample is a comment.
fn parse(body: &str) -> BTreeMap<String, f64> {
    let lines = body.lines().filter(|line| !line.starts_with("# "));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    lines.map(sample).collect()
}

const DENIED: &str = "flowlog_flows_total{class=\"denied_attempt\",direction=\"egress\"}";

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn metrics_move_with_what_the_agent_sees() {
    let scene = Scene::new();
    assert_eq!(scene.get("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(scene.get("/readyz"), (200, "ok\n".to_owned()));
    let before = scene.metrics();
    scene.try_in_vain();
    let moved = || {
        let now = scene.metrics();
        let by = |name: &str| now[name] - before[name];
        let (told, seen) = (by("flowlog_attempts_recorded_total"), by("flowlog_attempts_seen_total"));
        Ok((by(DENIED), told >= 1.0 && seen >= told) == (1.0, true))
    };
    wait::until("one more is denied", SOON, moved).unwrap();
    let now = scene.metrics();
    for (name, value) in [
        ("flowlog_hook_attached{hook=\"connect4\"}", 1.0),
        ("flowlog_hook_attached{hook=\"packets_in\"}", 0.0),
        ("flowlog_snapshot_revision", 1.0),
        ("flowlog_snapshot_objects{kind=\"pods\"}", 2.0),
        ("flowlog_sink_lost_lines_total{sink=\"stdout\"}", 0.0),
        ("flowlog_ring_size_bytes{ring=\"events\"}", 8_388_608.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name} of {now:#?}");
    }
    let at_least = |name: &str, least: f64| assert!(now[name] >= least, "{name}: {}", now[name]);
    at_least("flowlog_ring_peak_bytes{ring=\"events\"}", 128.0);
    at_least("flowlog_sink_lines_total{sink=\"stdout\"}", 2.0);
    at_least("process_resident_memory_bytes", 1e6);
    assert!(now.contains_key("flowlog_stage_cpu_seconds_total{stage=\"spine\"}"), "{now:#?}");
    assert!(!now.keys().any(|name| name.contains("stage=\"other\"")), "a thread without a name: {now:#?}");
    end(scene.agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_debug_socket_tells_the_snapshot_and_goes_with_the_agent() {
    let scene = Scene::new();
    let snapshot = || -> Value {
        let (status, body) = ask(UnixStream::connect(scene.socket()).unwrap(), "/debug/snapshot");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let told = snapshot();
    assert_eq!((&told["revision"], &told["objects"]["policies"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(scene.get("/debug/snapshot").0, 404, "not for whoever reaches the port");
    // What cannot be read is named, and it lags from then on; it is ready all the same.
    fs::write(scene.stage.folder.path().join("more.yaml"), "kind: [").unwrap();
    wait::until("it lags", SOON, || Ok(snapshot().get("stale_since").is_some())).unwrap();
    assert!(snapshot()["problems"][0].as_str().unwrap().contains("more.yaml"), "{}", snapshot());
    let (status, body) = scene.get("/readyz");
    assert!(status == 200 && body.starts_with("ok; the snapshot lags since "), "{status} {body}");
    let socket = scene.socket();
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    let ended = end(scene.agent);
    assert!(!socket.exists(), "{}", ended.stderr);
}

/// 1,000 that say nothing, and some that ask and never read.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn whoever_crowds_or_stalls_holds_up_neither_capture_nor_memory() {
    let scene = Scene::new();
    let resident = || {
        let text = fs::read_to_string(format!("/proc/{}/statm", scene.agent.pid())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
    };
    scene.try_in_vain();
    let (before, began) = (resident(), Instant::now());
    let mut crowd = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        if number % 2 == 0 {
            // It may be closed already.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: flowlog\r\n\r\n");
        }
        crowd.push(stream);
    }
    scene.try_in_vain();
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for 1,000 connections");
    // Whoever holds a place loses it after 10 s at most.
    let limit = Duration::from_secs(20);
    let mut now = BTreeMap::new();
    wait::until("there is room again", limit, || {
        let mut stream = TcpStream::connect(scene.address)?;
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: flowlog\r\n\r\n");
        let read = asked.and_then(|()| stream.read_to_string(&mut answer));
        let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|_| read.is_ok()) else {
            return Ok(false);
        };
        now = parse(body);
        Ok(true)
    })
    .unwrap();
    assert!(now["flowlog_http_refused_total"] > 0.0, "{} s: {now:#?}", began.elapsed().as_secs());
    assert!(now["flowlog_spine_still_seconds"] < 2.0, "{now:#?}");
    drop(crowd);
    end(scene.agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_address_that_is_taken_is_named_before_anything_is_attached() {
    let scene = Scene::new();
    let listen = format!("--metrics-listen={}", scene.address);
    let arguments = scene.stage.arguments(&["--each", &listen]);
    let ended = agent::Start::new(arguments).spawn().unwrap().ended().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let expected = format!("listen on {} for metrics and health: ", scene.address);
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    scene.try_in_vain();
    told(&scene.agent, &json!({"class": "denied_attempt"}));
    end(scene.agent);
}
