//! TCP connections that are not opened by a plain connect: each is one flow all the same.

use crate::stage::{
    API, CLIENT, FAMILIES, Net, SOON, Stage, allow_ports, any, do_step, end, number, place, small, sum,
};
use flowlog_tests::{Listen, Outcome, Special, Step};
use serde_json::json;

/// A worker of io_uring is a thread of the process, with a name of its own.
fn comm_of(by: Special, pid: u32) -> String {
    match by {
        Special::IoUringWorker => format!("iou-wrk-{pid}"),
        _ => "curl".to_owned(),
    }
}

/// One flow each, with the sums of its close, told at the opener.
#[track_caller]
fn run(server_speaks_mptcp: bool, ways: &[Special]) {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    // Fast open at both ends, without cookies, and for every listener (Documentation/networking/ip-sysctl.rst).
    for pod in ["client", "api"] {
        stage.world.netns(&place(pod)).unwrap().sysctl(&[("ipv4/tcp_fastopen", "1543")]).unwrap();
    }
    let listen = Listen { tcp: vec![any(8080)], mptcp: server_speaks_mptcp, ..Listen::default() };
    let _api = stage.world.serve(&place("api"), Some("api"), &listen).unwrap();
    let agent = stage.agent(&["--each", "--fold-other-ms", "200"]);
    let mut client = stage.actor("client");
    for family in FAMILIES {
        for by in ways {
            let first = agent.count();
            let to = net.at(family, API, 8080);
            do_step(&mut client, &Step::Special { to, by: *by }, Outcome::Established);
            let part = json!({
                "kind": "flow",
                "flow": {"protocol": "tcp", "direction": "egress", "count": 1},
                "source": {"pod": "client", "ip": net.ip(family, CLIENT)},
                "destination": {"pod": "api", "ip": to.ip(), "port": 8080},
                "process": {"comm": comm_of(*by, client.pid()), "pid": client.pid()},
                "class": "allowed",
            });
            let record = agent
                .wait_from(first, &part, SOON)
                .unwrap_or_else(|error| panic!("{by:?} {family:?}: {error:#}"));
            assert_eq!(record["outcome"]["state"], "established", "{by:?} {family:?}: {record}");
            assert_eq!(
                record["outcome"]["evidence"],
                json!(["handshake", "accepted"]),
                "{by:?} {family:?}: {record}"
            );
        }
    }
    let ended = end(agent);
    let flows = ended.matching(&json!({"kind": "flow"}));
    let expected = u64::try_from(FAMILIES.len() * ways.len()).unwrap();
    assert_eq!(sum(&flows), expected, "each once, at the opener: {flows:#?}");
    let total = |key: &str| {
        flows.iter().map(|line| number(&line["flow"].get(key).cloned().unwrap_or(json!(0)))).sum::<u64>()
    };
    assert_eq!((total("bytes_sent"), total("bytes_received")), (expected, expected), "{flows:#?}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connection_by_fast_open_is_one_flow() {
    run(false, &[Special::FastOpen, Special::FastOpenConnect]);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_multipath_connection_is_one_flow_and_its_subflows_are_none() {
    run(true, &[Special::Mptcp]);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_multipath_connection_that_falls_back_to_tcp_is_one_flow() {
    run(false, &[Special::Mptcp]);
}

/// The process that asked for it, in its container, whoever calls connect in its name.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connection_by_io_uring_is_one_flow_of_the_process_that_asked() {
    run(false, &[Special::IoUring, Special::IoUringWorker]);
}
