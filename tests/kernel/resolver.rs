//! What must never be reported as traffic: a resolver's connects that send nothing.

use crate::stage::{API, FAMILIES, Family, Net, Stage, do_step, end, internet, place, small, told};
use flowlog_tests::{Outcome, Step};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};

/// glibc connects a UDP socket to each address that a name has, to learn which can be reached. That it did is
/// seen by the order in which it answers: a route that is taken away moves an address to the end.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_c_librarys_probes_are_no_flows() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    let addresses: Vec<IpAddr> = [61, 62].map(|last| internet(Family::V4, last)).to_vec();
    let step = Step::Resolve { host: "db.example.test".to_owned(), port: 5432, addresses: addresses.clone() };
    let before = do_step(&mut client, &step, Outcome::Done).addresses;
    assert_eq!(before.len(), 2, "{before:?}");
    let first = before[0];
    let netns = stage.world.netns(&place("client")).unwrap();
    netns.ip(&[format!("route add unreachable {first}/32")]).unwrap();
    let after = do_step(&mut stage.actor("client"), &step, Outcome::Done).addresses;
    assert_eq!(
        after.last(),
        Some(&first),
        "it asked the kernel for a way to each: {before:?}, then {after:?}"
    );
    // What does send is told, and comes after the probes: they have been handled by then.
    do_step(&mut client, &Step::udp(net.at(Family::V4, API, 8080)), Outcome::Answered);
    told(
        &agent,
        &json!({"flow": {"protocol": "udp"}, "source": {"pod": "client"}, "destination": {"pod": "api", "port": 8080}}),
    );
    let ended = end(agent);
    let probes = ended.matching(&json!({"kind": "flow", "destination": {"port": 5432}}));
    assert!(probes.is_empty(), "{probes:#?}");
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 1, "{:#?}", ended.lines);
    let attempts = &ended.stop_record().unwrap()["agent"]["counters"]["attempts"];
    assert_eq!(attempts["recorded"], 1, "{attempts}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connect_that_sends_nothing_is_no_flow_and_the_first_datagram_is() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    for family in FAMILIES {
        for to in [net.at(family, API, 5432), SocketAddr::new(internet(family, 99), 5432)] {
            do_step(&mut client, &Step::UdpProbe { to }, Outcome::Done);
        }
        let step = Step::UdpConnected { to: net.at(family, API, 8080), timeout_ms: 2_000, count: 3 };
        do_step(&mut client, &step, Outcome::Answered);
        let part = json!({
            "flow": {"protocol": "udp", "count": 1, "direction": "egress"},
            "destination": {"pod": "api", "ip": net.ip(family, API), "port": 8080},
            "outcome": {"state": "answered", "evidence": ["answer", "accepted", "datagram_sent"]},
        });
        told(&agent, &part);
    }
    let ended = end(agent);
    let flows = ended.matching(&json!({"kind": "flow"}));
    assert_eq!(flows.len(), 2, "three datagrams of one socket are one flow, probes are none: {flows:#?}");
}
