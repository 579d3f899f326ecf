//! Traffic is never touched: whatever befalls the agent, each connect and each datagram comes to what it would come to
//! without it.

use crate::stage::{API, Family, NO_HOST, Net, Stage, allow_ports, count_of, internet, small, stand_still};
use flowlog_tests::{Actor, Agent, Answer, Outcome, Step};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The node drops what goes to the API's port 9999.
const FENCE: &str = "table inet fence {
    chain forward {
        type filter hook forward priority 0
        tcp dport 9999 drop
        udp dport 9999 drop
    }
}
";

/// Of each kind of attempt, for each of the five failures: 100,000 in all, and more.
const CONNECTS: u64 = 8_000;
const REFUSED: u64 = 4_000;
const DROPPED: u64 = 2_000;
const EXCHANGES: u64 = 2_000;
const DATAGRAMS: u64 = 5_000;

/// More than the kernel half remembers at a time: peers of datagram sockets (65,536), and connected ones that never sent
/// (16,384).
const PEERS: u64 = 60_000;
const PROBES: u64 = 17_000;

/// What befalls the agent: before the traffic, and while it runs.
struct Failure {
    name: &'static str,
    arguments: &'static [&'static str],
    before: fn(&Agent, &mut Actor),
    amid: fn(&Agent),
    /// What the agent's counters say of it at the end, where it lives to tell.
    shows: Option<fn(&Value) -> bool>,
}

fn nothing(_: &Agent) {}

fn hold(agent: &Agent, _: &mut Actor) {
    stand_still(agent);
}

fn go_on(agent: &Agent) {
    agent.signal(Signal::SIGCONT).unwrap();
}

fn kill(agent: &Agent) {
    agent.signal(Signal::SIGKILL).unwrap();
}

fn fill_tables(_: &Agent, client: &mut Actor) {
    for last in [NO_HOST, NO_HOST + 1] {
        let to = SocketAddr::new(internet(Family::V4, last), 1_000);
        let ports = u16::try_from(PEERS).unwrap();
        assert_eq!(client.act(&Step::UdpMany { to, count: PEERS, ports }).unwrap().outcome, Outcome::Done);
    }
    let to = SocketAddr::new(internet(Family::V4, NO_HOST), 53);
    let probes = Step::UdpBurst { to, count: PROBES, threads: 1, send: false, timeout_ms: 0 };
    assert_eq!(client.act(&probes).unwrap().outcome, Outcome::Done);
}

const FAILURES: [Failure; 5] = [
    Failure { name: "none", arguments: &[], before: |_, _| (), amid: nothing, shows: None },
    Failure {
        name: "ring full",
        arguments: &["--each", "--events-ring-bytes", "65536"],
        before: hold,
        amid: nothing,
        shows: Some(|losses| count_of(&losses["attempt"]) > 0 && count_of(&losses["sent_to"]) > 0),
    },
    Failure { name: "tables full", arguments: &["--each"], before: fill_tables, amid: nothing, shows: None },
    Failure { name: "agent stopped", arguments: &["--each"], before: hold, amid: go_on, shows: None },
    Failure { name: "agent dead", arguments: &["--each"], before: |_, _| (), amid: kill, shows: None },
];

/// How many of each step ended how.
type Ends = Vec<(String, BTreeMap<String, u64>)>;

fn traffic(net: Net) -> Vec<Step> {
    let [open, closed, fenced] = [8080, 8081, 9999].map(|port| net.at(Family::V4, API, port));
    let burst = |to, count, timeout_ms| Step::Burst { to, count, threads: 2, timeout_ms };
    let exchange =
        |to, timeout_ms| Step::UdpBurst { to, count: EXCHANGES, threads: 2, send: true, timeout_ms };
    let datagrams = |to| Step::UdpMany { to, count: DATAGRAMS, ports: 1 };
    vec![
        burst(open, CONNECTS, 20_000),
        exchange(open, 20_000),
        burst(closed, REFUSED, 20_000),
        burst(fenced, DROPPED, 0),
        exchange(fenced, 0),
        datagrams(open),
        datagrams(fenced),
    ]
}

fn ends(steps: &[Step], client: &mut Actor, mut amid: impl FnMut(usize)) -> Ends {
    let ended = |(at, step): (usize, &Step)| {
        client.begin(step).unwrap();
        amid(at);
        let Answer { outcome, errno, counts, .. } = client.finish(step).unwrap();
        (format!("{step:?}: {outcome:?} {errno:?}"), counts)
    };
    steps.iter().enumerate().map(ended).collect()
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn traffic_comes_to_what_it_would_come_to_whatever_befalls_the_agent() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    stage.world.enforce(FENCE).unwrap();
    let steps = traffic(net);
    let without = ends(&steps, &mut stage.actor("client"), |_| ());
    let [open, refused] = [(0, "established"), (2, "ECONNREFUSED")].map(|(at, end)| without[at].1[end]);
    assert_eq!((open, refused), (CONNECTS, REFUSED), "{without:#?}");
    for Failure { name, arguments, before, amid, shows } in &FAILURES {
        let agent = stage.agent(arguments);
        let mut client = stage.actor("client");
        before(&agent, &mut client);
        // Amid the first storm of connects.
        let with = ends(&steps, &mut client, |at| {
            if at == 0 {
                amid(&agent);
            }
        });
        assert_eq!(with, without, "{name}");
        // It may stand still, or have ended.
        let _ = agent.signal(Signal::SIGCONT);
        let ended = agent.stop().unwrap();
        if let Some(shows) = shows {
            let counters = &ended.stop_record().unwrap()["agent"]["counters"];
            assert!(shows(&counters["kernel_losses"]), "{name}: {counters:#}");
        }
    }
}
