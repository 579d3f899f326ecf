//! IPv4-mapped IPv6 addresses are the IPv4 addresses that they stand for, whoever uses them.

use crate::stage::{API, CLIENT, Family, Net, Stage, do_step, end, internet, small, told};
use flowlog_tests::{Outcome, Place, Step};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

fn mapped(address: SocketAddr) -> SocketAddr {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address} is no IPv4 address") };
    SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
}

#[track_caller]
fn no_mapped_address(lines: &[Value]) {
    for line in lines {
        assert!(!line.to_string().contains("::ffff:"), "{line}");
    }
}

/// A dual-stack socket dials `::ffff:a.b.c.d`, and a dual-stack listener takes it.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_dual_stack_opener_is_told_by_ipv4_addresses() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    let to = net.at(Family::V4, API, 8080);
    do_step(&mut client, &Step::connect(mapped(to)), Outcome::Established);
    do_step(&mut client, &Step::udp(mapped(to)), Outcome::Answered);
    do_step(&mut client, &Step::connect(mapped(net.at(Family::V4, API, 7000))), Outcome::Error);
    for (protocol, port, state) in
        [("tcp", 8080, "established"), ("udp", 8080, "answered"), ("tcp", 7000, "refused")]
    {
        let part = json!({
            "flow": {"protocol": protocol, "family": "ipv4", "direction": "egress", "count": 1},
            "source": {"pod": "client", "ip": net.ip(Family::V4, CLIENT)},
            "destination": {"pod": "api", "ip": to.ip(), "port": port},
            "dialed": null,
            "outcome": {"state": state},
        });
        told(&agent, &part);
    }
    let ended = end(agent);
    no_mapped_address(&ended.lines);
    assert_eq!(
        ended.matching(&json!({"kind": "flow", "source": {"pod": "client"}, "flow": {"count": 1}})).len(),
        3
    );
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_dual_stack_listener_is_told_by_ipv4_addresses() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    stage.world.add_outside([internet(Family::V4, 77)]).unwrap();
    let agent = stage.agent(&[]);
    let mut outside = stage.world.actor(&Place::Outside, None).unwrap();
    let opener =
        do_step(&mut outside, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established).local;
    let opener = opener.unwrap();
    let part = json!({
        "flow": {"family": "ipv4", "direction": "ingress"},
        "source": {"kind": "external", "ip": opener.ip(), "port": opener.port()},
        "destination": {"pod": "api", "ip": net.ip(Family::V4, API)},
    });
    told(&agent, &part);
    no_mapped_address(&end(agent).lines);
}
