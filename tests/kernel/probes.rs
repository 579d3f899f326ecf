//! Somebody elsewhere tries ports of a pod on which nobody listens: told at the pod's end.

use crate::stage::{
    API, FAMILIES, Family, Net, SOON, Stage, allow_ports, do_step, end, internet, lacks, number, policy,
    small, sum, told,
};
use flowlog_tests::{Actor, Listen, Outcome, Place, Step};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Outside, at these addresses of the internet.
fn visitor(stage: &mut Stage) -> Actor {
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 77))).unwrap();
    stage.world.actor(&Place::Outside, Some("scan")).unwrap()
}

fn sendto(to: SocketAddr) -> Step {
    Step::UdpSendto { to, timeout_ms: 300 }
}

/// By the verdict: allowed and refused, or denied and not stopped on its way.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_probe_of_a_closed_port_is_told_at_the_pod_that_it_reached() {
    let net = Net::new();
    let mut objects = small(net);
    let from_all = json!({"policyTypes": ["Ingress"], "ingress": [{"ports": [
        {"protocol": "TCP", "port": 7000}, {"protocol": "UDP", "port": 7000}]}]});
    objects.push(policy("api-7000", "api", from_all));
    let mut stage = Stage::new(net, &objects);
    let mut visitor = visitor(&mut stage);
    let agent = stage.agent(&[]);
    for family in FAMILIES {
        for (port, class) in [(7000, "refused"), (7001, "policy_not_enforced")] {
            let to = net.at(family, API, port);
            let answer = do_step(&mut visitor, &Step::connect(to), Outcome::Error);
            assert_eq!(answer.errno.as_deref(), Some("ECONNREFUSED"));
            do_step(&mut visitor, &sendto(to), Outcome::Timeout);
            for protocol in ["tcp", "udp"] {
                let part = json!({
                    "kind": "flow",
                    "flow": {"protocol": protocol, "direction": "ingress", "count": 1},
                    "source": {"kind": "external", "ip": internet(family, 77)},
                    "destination": {"kind": "pod", "pod": "api", "ip": to.ip(), "port": port},
                    "outcome": {"state": "refused", "errno": null, "drop": null},
                    "class": class,
                    "process": null,
                    "attribution": {"how": "by_address"},
                });
                let record = told(&agent, &part);
                assert_eq!(record["outcome"]["evidence"], json!(["far_end_no_socket"]), "{record}");
            }
        }
    }
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 8, "{:#?}", ended.lines);
}

const PORTS: u16 = 2_000;
const PART: u16 = 200;

/// As few lines as it takes, and each packet in the books; every one where that is asked for.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_scan_of_many_ports_is_few_lines_unless_each_is_asked_for() {
    for each in [false, true] {
        let net = Net::new();
        let mut stage = Stage::new(net, &small(net));
        let mut visitor = visitor(&mut stage);
        let agent = stage.agent(if each { &["--each"] } else { &["--fold-other-ms", "300"] });
        let to = net.at(Family::V4, API, 20_000);
        let probes = |lines: &[Value]| -> Vec<Value> {
            let told = lines.iter().filter(|line| line["flow"]["direction"] == "ingress");
            told.filter(|line| line["source"]["ip"] == json!(internet(Family::V4, 77))).cloned().collect()
        };
        let count =
            |lines: &[Value]| probes(lines).iter().map(|line| number(&line["flow"]["count"])).sum::<u64>();
        // In parts that the kernel's queue between two links takes whole, also on a busy machine.
        for done in (0..PORTS).step_by(usize::from(PART)) {
            let to = SocketAddr::new(to.ip(), to.port() + done);
            do_step(&mut visitor, &Step::UdpMany { to, count: PART.into(), ports: PART }, Outcome::Done);
            let due = u64::from(done + PART);
            let all = agent.wait_until(SOON, |lines| (count(lines) == due).then_some(())).unwrap();
            all.unwrap_or_else(|lines| panic!("{} of {due} probes are told", count(&lines)));
        }
        let ended = end(agent);
        let lines = probes(&ended.lines);
        assert!(lines.iter().all(|line| line["outcome"]["state"] == "refused"), "{:#?}", lines.first());
        if each {
            assert_eq!(lines.len(), usize::from(PORTS));
        } else {
            assert!(lines.len() <= usize::from(4 * PORTS / PART), "{} lines", lines.len());
        }
    }
}

/// An answer that finds its socket closed is no probe, nor is what a pod of this node tries: that is told at the opener.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn answers_and_attempts_from_here_are_no_probes() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[7000]));
    let mut stage = Stage::new(net, &objects);
    let host = SocketAddr::new(internet(Family::V4, 53), 53);
    let server = stage.world.serve(&Place::Outside, None, &Listen::udp(host)).unwrap();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    // The socket is closed before the answer comes.
    server.signal(Signal::SIGSTOP).unwrap();
    do_step(&mut client, &Step::udp(host).within(Duration::ZERO), Outcome::Timeout);
    server.signal(Signal::SIGCONT).unwrap();
    for family in FAMILIES {
        do_step(&mut client, &Step::connect(net.at(family, API, 7000)), Outcome::Error);
        do_step(&mut client, &sendto(net.at(family, API, 7000)), Outcome::Timeout);
    }
    for family in FAMILIES {
        for protocol in ["tcp", "udp"] {
            let (state, evidence) = match (lacks("drop"), protocol) {
                (false, _) => ("refused", "far_end_no_socket"),
                (true, "tcp") => ("refused", "reset"),
                (true, _) => ("sent", "datagram_sent"),
            };
            let part = json!({
                "flow": {"direction": "egress", "protocol": protocol, "count": 1},
                "source": {"pod": "client"},
                "destination": {"ip": net.ip(family, API), "port": 7000},
                "outcome": {"state": state, "evidence": [evidence]},
            });
            told(&agent, &part);
        }
    }
    let ended = end(agent);
    let ingress = ended.matching(&json!({"flow": {"direction": "ingress"}}));
    assert!(ingress.is_empty(), "{ingress:#?}");
}
