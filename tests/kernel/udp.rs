//! Datagrams whose peer is named in the call: who sent to whom first, what came back, and what is no flow.

use crate::stage::{
    API, CLIENT, FAMILIES, Family, NO_HOST, Net, Stage, allow_ports, any, count_of, deny_ingress, do_step,
    end, internet, lacks, place, settled, small, sum, told,
};
use flowlog_tests::{Ended, Listen, Outcome, Place, Step};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn sendto(to: SocketAddr) -> Step {
    Step::UdpSendto { to, timeout_ms: 2_000 }
}

fn silent(to: SocketAddr) -> Step {
    sendto(to).within(Duration::from_millis(100))
}

/// What a resolver, a collector of metrics and a game have in common.
fn udp() -> Value {
    json!({"kind": "flow", "flow": {"protocol": "udp"}})
}

#[track_caller]
fn check_count(ended: &Ended, count: usize) {
    let mut flows = ended.matching(&udp());
    // What came after the first datagram is told by updates.
    flows.retain(|record| record["flow"]["count"] != 0);
    assert_eq!(flows.len(), count, "{flows:#?}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_answered_datagram_on_one_node_is_one_flow_and_its_answer_is_none() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    for family in FAMILIES {
        let local =
            do_step(&mut client, &sendto(net.at(family, API, 8080)), Outcome::Answered).local.unwrap();
        let part = json!({
            "flow": {"protocol": "udp", "count": 1, "direction": "egress"},
            "source": {"pod": "client", "container": "main", "ip": net.ip(family, CLIENT), "port": local.port()},
            "destination": {"pod": "api", "ip": net.ip(family, API), "port": 8080},
            "process": {"comm": "curl"},
            "outcome": {"state": "answered", "evidence": ["answer", "accepted", "datagram_sent"]},
            "class": "allowed",
        });
        settled(&agent, &part);
    }
    check_count(&end(agent), 2);
}

/// Of a socket of the other family: the same flow as of its own.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_mapped_address_is_the_ipv4_address() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    let IpAddr::V4(ip) = net.ip(Family::V4, API) else { panic!() };
    let to = SocketAddr::new(ip.to_ipv6_mapped().into(), 8080);
    do_step(&mut stage.actor("client"), &sendto(to), Outcome::Answered);
    let part = json!({
        "flow": {"family": "ipv4", "direction": "egress"},
        "source": {"pod": "client", "ip": net.ip(Family::V4, CLIENT)},
        "destination": {"pod": "api", "ip": ip},
        "outcome": {"state": "answered"},
        "class": "unrestricted",
    });
    settled(&agent, &part);
    check_count(&end(agent), 1);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn one_socket_that_sends_to_two_is_told_for_each() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    let to = SocketAddr::new(internet(Family::V4, NO_HOST), 9000);
    do_step(&mut stage.actor("client"), &Step::UdpMany { to, count: 10, ports: 2 }, Outcome::Done);
    for port in [9000, 9001] {
        let part = json!({
            "flow": {"count": 1},
            "destination": {"kind": "external", "ip": to.ip(), "port": port},
            "outcome": {"state": "sent", "evidence": ["datagram_sent"]},
        });
        told(&agent, &part);
    }
    check_count(&end(agent), 2);
}

/// A filter drops each: one attempt that was denied, whatever the number of datagrams and sockets. Where the kernel does
/// not tell of drops, it was sent for all that is known, and denied by what is declared.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_denied_datagram_is_one_flow_with_the_kernels_reason() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(deny_ingress("api-closed", "api"));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            udp dport 8080 drop
        }
    }";
    stage.world.enforce(rules).unwrap();
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    let outcome = if lacks("drop") {
        json!({"state": "sent", "drop": null, "evidence": ["datagram_sent"]})
    } else {
        json!({"state": "dropped", "drop": {"reason": "NETFILTER_DROP", "where": "node"}})
    };
    for family in FAMILIES {
        for _ in 0..3 {
            do_step(&mut client, &silent(net.at(family, API, 8080)), Outcome::Timeout);
        }
        let part = json!({
            "flow": {"count": 1, "direction": "egress"},
            "source": {"pod": "client", "ip": net.ip(family, CLIENT)},
            "destination": {"pod": "api", "port": 8080},
            "process": {"comm": "curl"},
            "outcome": outcome,
            "class": "denied_attempt",
        });
        let record = told(&agent, &part);
        assert!(record.get("attribution").is_none(), "{record}");
    }
    let ended = end(agent);
    check_count(&ended, 2);
    let stages = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
    assert_eq!(count_of(&stages["drops_repeated"]), if lacks("drop") { 0 } else { 4 }, "{stages}");
}

/// The answer is dropped: the datagram arrived, and what was dropped is no attempt.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_dropped_answer_is_no_attempt_and_the_arrival_is_told() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(deny_ingress("api-closed", "api"));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            udp sport 8080 drop
        }
    }";
    stage.world.enforce(rules).unwrap();
    let agent = stage.agent(&["--each"]);
    do_step(&mut stage.actor("client"), &silent(net.at(Family::V4, API, 8080)), Outcome::Timeout);
    let part = json!({
        "source": {"pod": "client"},
        "destination": {"pod": "api", "port": 8080},
        "outcome": {"state": "received", "evidence": ["accepted", "datagram_sent"], "drop": null},
        "class": "policy_not_enforced",
    });
    settled(&agent, &part);
    check_count(&end(agent), 1);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_closed_port_on_this_node_refuses_an_unconnected_datagram() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let agent = stage.agent(&["--each"]);
    do_step(&mut stage.actor("client"), &silent(net.at(Family::V6, API, 7000)), Outcome::Timeout);
    // Where the kernel does not tell of drops, nothing is heard of the far end.
    let (state, evidence, class) = if lacks("drop") {
        ("sent", &["datagram_sent"][..], "failed")
    } else {
        ("refused", &["far_end_no_socket", "datagram_sent"][..], "refused")
    };
    let part = json!({
        "destination": {"pod": "api", "port": 7000},
        "outcome": {"state": state, "errno": null},
        "class": class,
    });
    let record = told(&agent, &part);
    assert_eq!(record["outcome"]["evidence"], json!(evidence), "{record}");
    check_count(&end(agent), 1);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_datagram_from_elsewhere_is_told_at_the_listener_and_its_answer_is_none() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 78))).unwrap();
    let mut outside = stage.world.actor(&Place::Outside, Some("curl")).unwrap();
    for family in FAMILIES {
        // A second client port of the same peer is no second flow.
        for _ in 0..2 {
            do_step(&mut outside, &sendto(net.at(family, API, 8080)), Outcome::Answered);
        }
        let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
        let part = json!({
            "flow": {"protocol": "udp", "count": 1, "direction": "ingress", "family": family},
            "source": {"kind": "external"},
            "destination": {"pod": "api", "container": "main", "port": 8080},
            "process": {"comm": "api"},
            "outcome": {"state": "received", "evidence": ["accepted"]},
            "class": "unrestricted",
        });
        told(&agent, &part);
    }
    check_count(&end(agent), 2);
}

/// The listener's view of a connected socket's flow is paired, too.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connected_sockets_datagram_that_is_taken_on_this_node_is_one_flow() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--each"]);
    for family in FAMILIES {
        do_step(&mut stage.actor("client"), &Step::udp(net.at(family, API, 8080)), Outcome::Answered);
    }
    let ended = end(agent);
    check_count(&ended, 2);
    // At once, or by an update.
    let answered = json!({"state": "answered", "evidence": ["answer", "accepted", "datagram_sent"]});
    let part = json!({"flow": {"direction": "egress"}, "outcome": answered, "class": "unrestricted"});
    let flows = ended.matching(&part);
    assert_eq!(flows.len(), 2, "{:#?}", ended.lines);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn datagrams_to_one_peer_are_one_event() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage
        .world
        .serve(&place("api"), Some("api"), &Listen { udp: vec![any(8125)], ..Listen::default() })
        .unwrap();
    let agent = stage.agent(&["--each"]);
    let to = net.at(Family::V4, API, 8125);
    do_step(&mut stage.actor("client"), &Step::UdpMany { to, count: 20_000, ports: 1 }, Outcome::Done);
    told(&agent, &json!({"source": {"pod": "client"}, "destination": {"port": 8125}}));
    let ended = end(agent);
    check_count(&ended, 1);
    for flow in ended.matching(&udp()) {
        let sent = &flow["flow"]["datagrams_sent"];
        assert_eq!(sent.is_u64(), flow["flow"]["update"] == true, "{flow}");
    }
    let updates = ended.matching(&json!({"flow": {"update": true, "count": 0}, "source": {"pod": "client"}}));
    let sent: u64 = updates.iter().map(|record| count_of(&record["flow"]["datagrams_sent"])).sum();
    assert_eq!(sent, 20_000, "{updates:#?}");
    let events = &ended.stop_record().unwrap()["agent"]["counters"]["events"];
    assert_eq!((&events["sent_to"], &events["received"]), (&json!(1), &json!(1)), "{events}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn datagrams_to_many_peers_are_all_accounted_for() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let agent = stage.agent(&[]);
    let to = SocketAddr::new(internet(Family::V6, NO_HOST), 10_000);
    do_step(&mut stage.actor("client"), &Step::UdpMany { to, count: 10_000, ports: 5_000 }, Outcome::Done);
    let ended = end(agent);
    let counters = &ended.stop_record().unwrap()["agent"]["counters"];
    let lost = count_of(&counters["kernel_losses"]["sent_to"]);
    assert_eq!(count_of(&counters["events"]["sent_to"]) + lost, 5_000, "{counters:#}");
    assert_eq!(count_of(&counters["attempts"]["recorded"]) + lost, 5_000, "{counters:#}");
    let flows = ended.matching(&json!({"source": {"pod": "client"}, "destination": {"ip": to.ip()}}));
    assert_eq!(sum(&flows) + lost, 5_000, "{counters:#}");
}

/// At the opener, and at the listener where the opener is elsewhere: as the opener sent and received.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn datagrams_after_the_first_are_counted_each_way() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&[]);
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 78))).unwrap();
    let to = net.at(Family::V4, API, 8080);
    let mut client = stage.actor("client");
    let mut outside = stage.world.actor(&Place::Outside, Some("curl")).unwrap();
    for _ in 0..5 {
        do_step(&mut client, &sendto(to), Outcome::Answered);
        do_step(&mut outside, &sendto(to), Outcome::Answered);
    }
    let ended = end(agent);
    for direction in ["egress", "ingress"] {
        let flows = ended.matching(&json!({"flow": {"protocol": "udp", "direction": direction}}));
        let sums = ["count", "datagrams_sent", "datagrams_received"]
            .map(|key| flows.iter().map(|record| count_of(&record["flow"][key])).sum::<u64>());
        assert_eq!(sums, [1, 5, 5], "{direction}: {flows:#?}");
    }
}
