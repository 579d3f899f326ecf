//! What shows by its packets alone, with `--packets`: datagrams before they are taken, ICMP, SCTP; and that what calls tell
//! is not told twice.

use crate::stage::{
    API, CLIENT, FAMILIES, Family, NO_HOST, Net, Stage, allow_ports, any, count_of, deny_ingress, do_step,
    end, internet, place, small, sum, told,
};
use flowlog_tests::{Ended, Listen, Outcome, Place, Special, Step, agent};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn ping(to: IpAddr, raw: bool) -> Step {
    Step::Ping { to, raw, count: 1, timeout_ms: 2_000 }
}

/// The protocol of echoes, as records name it, and the type of what asks for one.
fn echo(family: Family) -> (&'static str, Value) {
    match family {
        Family::V4 => ("icmp", json!({"type": 8, "code": 0})),
        Family::V6 => ("icmpv6", json!({"type": 128, "code": 0})),
    }
}

/// Whoever wants may ping, as most distributions have it.
fn let_ping(stage: &Stage, place: &Place) {
    stage.world.netns(place).unwrap().sysctl(&[("ipv4/ping_group_range", "0 2147483647")]).unwrap();
}

#[track_caller]
fn check_count(ended: &Ended, count: u64) {
    let flows = ended.matching(&json!({"kind": "flow"}));
    assert_eq!(sum(&flows), count, "{flows:#?}");
}

/// By a socket that is made for it, and by a raw one; the answer is none.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_ping_is_one_flow_of_the_process_that_asked() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let_ping(&stage, &place("client"));
    for (family, raw) in FAMILIES.into_iter().flat_map(|family| [(family, false), (family, true)]) {
        let agent = stage.agent(&["--packets"]);
        let mut client = stage.actor("client");
        let (protocol, message) = echo(family);
        do_step(&mut client, &ping(net.ip(family, API), raw), Outcome::Answered);
        let part = json!({
            "flow": {"protocol": protocol, "icmp": message, "direction": "egress"},
            "source": {"pod": "client", "container": "main", "ip": net.ip(family, CLIENT), "port": null},
            "destination": {"pod": "api", "ip": net.ip(family, API), "port": null},
            "process": {"comm": "curl", "pid": client.pid()},
            "verdict": {"decision": "allow"},
            "outcome": {"state": "answered"},
            "class": "unrestricted",
        });
        told(&agent, &part);
        check_count(&end(agent), 1);
    }
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_becomes_of_a_ping_is_told_and_what_policies_say_of_it_is_not_known() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(deny_ingress("api-closed", "api"));
    let stage = Stage::new(net, &objects);
    let_ping(&stage, &place("client"));
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            icmp type echo-request drop
            icmpv6 type echo-request drop
        }
    }";
    let agent = stage.agent(&["--packets"]);
    let mut client = stage.actor("client");
    for family in FAMILIES {
        let (protocol, _) = echo(family);
        // Nobody is there; nothing says so.
        let nobody = internet(family, NO_HOST);
        let silent = ping(nobody, false).within(Duration::from_millis(100));
        do_step(&mut client, &silent, Outcome::Timeout);
        let part = json!({
            "flow": {"protocol": protocol},
            "destination": {"kind": "external", "ip": nobody},
            "outcome": {"state": "sent", "evidence": ["datagram_sent"]},
            "class": "failed",
        });
        told(&agent, &part);
    }
    stage.world.enforce(rules).unwrap();
    for family in FAMILIES {
        let (protocol, message) = echo(family);
        let silent = ping(net.ip(family, API), false).within(Duration::from_millis(100));
        do_step(&mut client, &silent, Outcome::Timeout);
        let part = json!({
            "flow": {"protocol": protocol, "icmp": message},
            "source": {"pod": "client"},
            "destination": {"pod": "api"},
            "process": {"comm": "curl"},
            "outcome": {"state": "dropped", "drop": {"reason": "NETFILTER_DROP", "where": "node"}},
            "verdict": {"decision": "unknown", "ingress": {"basis": "unknown",
                "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "api-closed"}],
                "reason": "policies do not speak of ICMP: it is left to the network plugin"}},
            "class": "undetermined",
        });
        let record = told(&agent, &part);
        assert!(record.get("attribution").is_none(), "{record}");
    }
    check_count(&end(agent), 4);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn pings_after_the_first_are_counted() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let_ping(&stage, &place("client"));
    let agent = stage.agent(&["--packets"]);
    let step = Step::Ping { to: net.ip(Family::V6, API), raw: false, count: 20, timeout_ms: 2_000 };
    do_step(&mut stage.actor("client"), &step, Outcome::Answered);
    let ended = end(agent);
    let flows = ended.matching(&json!({"flow": {"protocol": "icmpv6", "direction": "egress"}}));
    let sums = ["count", "datagrams_sent", "datagrams_received"]
        .map(|key| flows.iter().map(|record| count_of(&record["flow"][key])).sum::<u64>());
    assert_eq!(sums, [1, 20, 20], "{flows:#?}");
    check_count(&ended, 1);
}

/// A raw socket of the pod has a copy of what comes; the kernel's own answer leaves by a socket that is no pod's.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_ping_from_elsewhere_is_told_at_the_pod_that_has_a_raw_socket() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 77))).unwrap();
    let_ping(&stage, &Place::Outside);
    let agent = stage.agent(&["--packets"]);
    let mut api = stage.world.actor(&place("api"), Some("pinger")).unwrap();
    let mut outside = stage.world.actor(&Place::Outside, Some("scan")).unwrap();
    for (family, protocol) in [(Family::V4, 1), (Family::V6, 58)] {
        let to = net.ip(family, API);
        do_step(&mut api, &Step::Raw { to, protocol, packet: Vec::new() }, Outcome::Done);
        for _ in 0..2 {
            do_step(&mut outside, &ping(to, false), Outcome::Answered);
        }
        let (protocol, message) = echo(family);
        let part = json!({
            "flow": {"protocol": protocol, "icmp": message, "direction": "ingress", "count": 1},
            "source": {"kind": "external"},
            "destination": {"pod": "api", "container": "main", "ip": to, "port": null},
            "outcome": {"state": "received", "evidence": ["arrived"]},
            "class": "unrestricted",
        });
        told(&agent, &part);
    }
    check_count(&end(agent), 2);
}

/// The kernel answers for the pod, by a socket of its own, which belongs to the root of all cgroups: that shows where flowlog
/// is attached there, as it is by default, and the question has arrived then.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_kernels_own_answer_shows_at_the_root_of_cgroups() {
    for (at_root, evidence) in
        [(true, json!(["answer", "arrived", "datagram_sent"])), (false, json!(["answer", "datagram_sent"]))]
    {
        let net = Net::new();
        let stage = Stage::new(net, &small(net));
        let_ping(&stage, &place("client"));
        let mut arguments = stage.arguments(&["--packets"]);
        if at_root {
            let at = arguments.iter().position(|argument| argument == "--cgroup-root").unwrap();
            arguments.drain(at..at + 2);
        }
        let agent = agent::Start::new(arguments).start().unwrap();
        let mut client = stage.actor("client");
        for family in FAMILIES {
            for _ in 0..2 {
                do_step(&mut client, &ping(net.ip(family, API), false), Outcome::Answered);
            }
            let part = json!({
                "flow": {"protocol": echo(family).0, "direction": "egress"},
                "source": {"pod": "client"},
                "destination": {"pod": "api"},
                "outcome": {"state": "answered"},
            });
            let record = told(&agent, &part);
            assert_eq!(record["outcome"]["evidence"], evidence, "{record}");
        }
        let ended = end(agent);
        let flows = ended.matching(&json!({"kind": "flow", "destination": {"pod": "api"}}));
        assert_eq!(sum(&flows), 2, "{flows:#?}");
    }
}

/// Errors belong to the flows that they are about: here a refused datagram.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn errors_by_icmp_are_no_flows() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let agent = stage.agent(&["--packets"]);
    let mut client = stage.actor("client");
    for (family, protocol) in [(Family::V4, 1), (Family::V6, 58)] {
        let to = net.ip(family, API);
        // It has copies of the errors.
        do_step(&mut client, &Step::Raw { to, protocol, packet: Vec::new() }, Outcome::Done);
        let answer = do_step(&mut client, &Step::udp(SocketAddr::new(to, 7000)), Outcome::Error);
        assert_eq!(answer.errno.as_deref(), Some("ECONNREFUSED"));
        told(
            &agent,
            &json!({"flow": {"protocol": "udp"}, "destination": {"ip": to}, "outcome": {"state": "refused"}}),
        );
    }
    check_count(&end(agent), 2);
}

/// It comes from elsewhere to a socket of the pod: whoever takes it asks from whom, does not ask, or never takes it.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_datagram_is_told_when_it_comes_however_it_is_taken() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(deny_ingress("api-closed", "api"));
    let mut stage = Stage::new(net, &objects);
    let listen = Listen {
        udp: vec![any(8080)],
        udp_blind: vec![any(8081)],
        udp_deaf: vec![any(8082)],
        ..Listen::default()
    };
    let _server = stage.world.serve(&place("api"), Some("api"), &listen).unwrap();
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 78))).unwrap();
    let agent = stage.agent(&["--each", "--packets"]);
    let mut outside = stage.world.actor(&Place::Outside, Some("curl")).unwrap();
    for family in FAMILIES {
        for (port, outcome, evidence) in [
            (8080, Outcome::Answered, "accepted"),
            (8081, Outcome::Timeout, "arrived"),
            (8082, Outcome::Timeout, "arrived"),
        ] {
            let step = Step::UdpSendto { to: net.at(family, API, port), timeout_ms: 200 };
            do_step(&mut outside, &step, outcome);
            let part = json!({
                "flow": {"protocol": "udp", "count": 1, "direction": "ingress"},
                "source": {"kind": "external", "ip": internet(family, 78)},
                "destination": {"pod": "api", "container": "main", "ip": net.ip(family, API), "port": port},
                "outcome": {"state": "received", "evidence": [evidence]},
                "class": "policy_not_enforced",
            });
            let record = told(&agent, &part);
            assert_eq!(record["process"]["comm"].is_string(), evidence == "accepted", "{record}");
        }
    }
    let ended = end(agent);
    check_count(&ended, 6);
    assert!(ended.matching(&json!({"flow": {"direction": "egress"}})).is_empty(), "{:#?}", ended.lines);
}

/// The answer is taken without asking from whom it came.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_answer_is_known_however_it_is_taken() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    for (packets, state) in [(&["--packets"][..], "answered"), (&[], "received")] {
        let agent = stage.agent(packets);
        let mut client = stage.actor("client");
        for family in FAMILIES {
            do_step(&mut client, &Step::UdpBlind { to: net.at(family, API, 8080) }, Outcome::Answered);
            let part = json!({
                "flow": {"direction": "egress"},
                "source": {"pod": "client"},
                "destination": {"pod": "api", "ip": net.ip(family, API), "port": 8080},
                "process": {"comm": "curl"},
                "outcome": {"state": state},
            });
            told(&agent, &part);
        }
        check_count(&end(agent), 2);
    }
}

/// Whatever calls tell, by every kind of socket: once, with and without packets.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_calls_tell_is_not_told_twice() {
    for more in [&["--packets", "--each"][..], &["--each"]] {
        let net = Net::new();
        let mut objects = small(net);
        objects.push(allow_ports("api-ports", "api", &[8080]));
        let mut stage = Stage::new(net, &objects);
        let _server = stage.serve_api();
        let agent = stage.agent(more);
        let mut client = stage.actor("client");
        for family in FAMILIES {
            let to = net.at(family, API, 8080);
            let sendto = Step::UdpSendto { to, timeout_ms: 2_000 };
            do_step(&mut client, &sendto, Outcome::Answered);
            do_step(&mut client, &sendto, Outcome::Answered);
            told(
                &agent,
                &json!({"destination": {"ip": to.ip()}, "outcome": {"state": "answered",
                "evidence": ["answer", "accepted", "datagram_sent"]}, "class": "allowed"}),
            );
            do_step(&mut client, &Step::udp(to), Outcome::Answered);
            do_step(&mut client, &Step::connect(to), Outcome::Established);
            do_step(&mut client, &Step::Special { to, by: Special::FastOpen }, Outcome::Established);
        }
        let ended = end(agent);
        check_count(&ended, 8);
        let flows = ended.matching(&json!({"kind": "flow", "flow": {"direction": "ingress"}}));
        assert!(flows.is_empty(), "{more:?}: {flows:#?}");
        let sums = ["datagrams_sent", "datagrams_received"].map(|key| {
            let flows = ended.matching(&json!({"flow": {"protocol": "udp"}}));
            flows.iter().map(|record| count_of(&record["flow"][key])).sum::<u64>()
        });
        assert_eq!(sums, [4, 4], "{more:?}: {:#?}", ended.lines);
    }
}

/// Where the hook on sends is missing, as on kernels before 6.3: the first datagram and the first answer show by packets.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_send_hook_packets_tell_of_connected_sockets() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--packets", "--hook-off", "send", "--hook-off", "recv"]);
    let mut client = stage.actor("client");
    for family in FAMILIES {
        for (port, outcome, state) in
            [(8080, Outcome::Answered, "answered"), (7000, Outcome::Error, "refused")]
        {
            do_step(&mut client, &Step::udp(net.at(family, API, port)), outcome);
            let part = json!({
                "flow": {"protocol": "udp", "direction": "egress"},
                "source": {"pod": "client", "ip": net.ip(family, CLIENT)},
                "destination": {"pod": "api", "port": port},
                "process": {"comm": "curl"},
                "outcome": {"state": state},
            });
            told(&agent, &part);
        }
    }
    check_count(&end(agent), 4);
}

// SCTP, RFC 9260: ports, tag, a checksum that no filter looks at, and one chunk.
fn sctp(from: u16, to: u16, chunk: u8) -> Vec<u8> {
    let ports = [from, to].map(u16::to_be_bytes).concat();
    [&ports[..], &[0; 8], &[chunk, 0, 0, 20], &[0; 16]].concat()
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const DATA: u8 = 0;
const ABORT: u8 = 6;

/// No kernel of ours speaks SCTP everywhere, so raw sockets do, at both ends.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn each_end_of_an_association_is_told_by_its_packets() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(sctp_policy());
    let stage = Stage::new(net, &objects);
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            sctp dport 3003 drop
        }
    }";
    stage.world.enforce(rules).unwrap();
    let agent = stage.agent(&["--packets"]);
    let mut client = stage.actor("client");
    let mut api = stage.world.actor(&place("api"), Some("api")).unwrap();
    let send = |to, packet| Step::Raw { to, protocol: 132, packet };
    for family in FAMILIES {
        let [near, far] = [net.ip(family, CLIENT), net.ip(family, API)];
        do_step(&mut api, &send(near, Vec::new()), Outcome::Done);
        let rows = [
            (
                3000,
                Some(INIT_ACK),
                json!({"state": "answered", "evidence": ["answer", "arrived", "datagram_sent"]}),
                "allowed",
            ),
            (3001, Some(ABORT), json!({"state": "refused", "errno": "ECONNREFUSED"}), "policy_not_enforced"),
            (
                3002,
                None,
                json!({"state": "received", "evidence": ["arrived", "datagram_sent"]}),
                "policy_not_enforced",
            ),
            (3003, None, json!({"state": "dropped", "drop": {"reason": "NETFILTER_DROP"}}), "denied_attempt"),
        ];
        for (port, answer, outcome, class) in rows {
            // What follows a handshake opens nothing.
            for chunk in [INIT, INIT, DATA] {
                do_step(&mut client, &send(far, sctp(4000, port, chunk)), Outcome::Done);
            }
            if let Some(chunk) = answer {
                do_step(&mut api, &send(near, sctp(port, 4000, chunk)), Outcome::Done);
            }
            let part = json!({
                "flow": {"protocol": "sctp", "direction": "egress"},
                "source": {"pod": "client", "ip": near, "port": 4000},
                "destination": {"pod": "api", "ip": far, "port": port},
                "process": {"comm": "curl"},
                "outcome": outcome,
                "class": class,
            });
            told(&agent, &part);
        }
        do_step(&mut api, &Step::Release, Outcome::Done);
        do_step(&mut client, &Step::Release, Outcome::Done);
    }
    let ended = end(agent);
    check_count(&ended, 8);
    let sent = ended.matching(&json!({"kind": "flow", "flow": {"protocol": "sctp"}}));
    assert!(sent.iter().all(|line| line["flow"].get("datagrams_sent").is_none()), "{sent:#?}");
}

/// The same by a kernel's own SCTP, which is not everywhere: `cargo xtask test` leaves it out, and says so, where there is
/// none; `cargo xtask vm` has kernels that do.
#[test]
#[ignore = "kernel: root, cgroup2, BPF, SCTP"]
fn sctp_of_the_kernels_own_is_told_by_its_packets() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(sctp_policy());
    let stage = Stage::new(net, &objects);
    let agent = stage.agent(&["--packets"]);
    let mut client = stage.actor("client");
    let mut api = stage.world.actor(&place("api"), Some("api")).unwrap();
    for family in FAMILIES {
        let [near, far] = [net.ip(family, CLIENT), net.ip(family, API)];
        do_step(&mut api, &Step::SctpListen { at: (far, 3000).into() }, Outcome::Done);
        do_step(&mut client, &Step::SctpConnect { to: (far, 3000).into() }, Outcome::Established);
        do_step(&mut client, &Step::SctpConnect { to: (far, 3001).into() }, Outcome::Error);
        let rows = [
            (
                3000,
                json!({"state": "answered", "evidence": ["answer", "arrived", "datagram_sent"]}),
                "allowed",
            ),
            // No socket of the pod's was there for the INIT to come to: that it passed is not known.
            (
                3001,
                json!({"state": "refused", "errno": "ECONNREFUSED", "evidence": ["reset", "datagram_sent"]}),
                "denied_attempt",
            ),
        ];
        for (port, outcome, class) in rows {
            let part = json!({
                "flow": {"protocol": "sctp", "direction": "egress"},
                "source": {"pod": "client", "ip": near},
                "destination": {"pod": "api", "ip": far, "port": port},
                "process": {"comm": "curl"},
                "outcome": outcome,
                "class": class,
            });
            told(&agent, &part);
        }
    }
    check_count(&end(agent), 4);
}

/// Port 3000 by SCTP alone.
fn sctp_policy() -> Value {
    crate::stage::policy(
        "api-sctp",
        "api",
        json!({"policyTypes": ["Ingress"], "ingress": [{"ports": [{"protocol": "SCTP", "port": 3000}]}]}),
    )
}

/// Its end is told by address: no hook on calls shows SCTP.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_packets_a_dropped_association_is_told_still_and_icmp_is_not() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(sctp_policy());
    let stage = Stage::new(net, &objects);
    let_ping(&stage, &place("client"));
    let rules = "table inet plugin {
        chain forward {
            type filter hook forward priority filter; policy accept;
            sctp dport 3003 drop
            icmp type echo-request drop
        }
    }";
    stage.world.enforce(rules).unwrap();
    let agent = stage.agent(&[]);
    let mut client = stage.actor("client");
    let far = net.ip(Family::V4, API);
    do_step(&mut client, &ping(far, false).within(Duration::from_millis(100)), Outcome::Timeout);
    let packet = sctp(4000, 3003, INIT);
    do_step(&mut client, &Step::Raw { to: far, protocol: 132, packet }, Outcome::Done);
    let part = json!({
        "flow": {"protocol": "sctp", "direction": "egress", "count": 1},
        "source": {"pod": "client"},
        "destination": {"pod": "api", "port": 3003},
        "outcome": {"state": "dropped", "drop": {"reason": "NETFILTER_DROP"}},
        "class": "denied_attempt",
    });
    told(&agent, &part);
    check_count(&end(agent), 1);
}
