//! Connections that are older than the agent: found, told as such, and their end told.

use crate::stage::{
    API, CLIENT, FAMILIES, Family, NO_HOST, Net, SOON, Stage, allow_ports, any, base, do_step, end, internet,
    keep, place, pod, small, sum, told,
};
use flowlog_tests::{Actor, Listen, Outcome, Place, Step, wait};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A connect that is kept until released, after so many bytes each way.
fn keep_after(to: SocketAddr, bytes: usize) -> Step {
    serde_json::from_value(json!({"do": "connect", "to": to, "keep": true, "send": bytes, "receive": bytes}))
        .unwrap()
}

#[track_caller]
fn release(actor: &mut Actor) {
    do_step(actor, &Step::Release, Outcome::Done);
}

/// Part of the record of one that is there.
fn found(more: &Value) -> Value {
    let mut part = json!({
        "kind": "flow",
        "flow": {"existing": true, "count": 1, "update": null, "duration_ms": null, "connect_us": null, "protocol": "tcp"},
        "outcome": {"state": "established", "errno": null, "evidence": ["existing"]},
        "attribution": null,
    });
    for (key, value) in more.as_object().unwrap() {
        match part[key].as_object_mut() {
            Some(object) => object.extend(value.as_object().unwrap().clone()),
            None => part[key] = value.clone(),
        }
    }
    part
}

/// Between two pods, from outside, and to the outside: which end is the opener's, its bytes tell, whatever was sent.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn connections_that_are_older_than_the_agent_are_told_with_their_ends_and_their_end() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(allow_ports("api-ports", "api", &[8080]));
    let mut stage = Stage::new(net, &objects);
    let _api = stage.serve_api();
    let hosts = FAMILIES.map(|family| internet(family, 77));
    let listen = Listen { tcp: hosts.map(|host| SocketAddr::new(host, 443)).to_vec(), ..Listen::default() };
    let _host = stage.world.serve(&Place::Outside, None, &listen).unwrap();
    let mut client = stage.actor("client");
    let mut outside = stage.world.actor(&Place::Outside, Some("visitor")).unwrap();
    let mut expected = Vec::new();
    for (family, host) in FAMILIES.into_iter().zip(hosts) {
        for (to, bytes) in [
            (net.at(family, API, 8080), 0),
            (net.at(family, API, 8080), 4000),
            (SocketAddr::new(host, 443), 1),
        ] {
            let near = do_step(&mut client, &keep_after(to, bytes), Outcome::Established).local.unwrap();
            let inside = to.port() == 8080;
            expected.push((family, bytes, found(&json!({
                "flow": {"direction": "egress"},
                "source": {"pod": "client", "container": "main", "ip": net.ip(family, CLIENT), "port": near.port()},
                "destination": {"pod": if inside { json!("api") } else { Value::Null }, "ip": to.ip(), "port": to.port()},
                "process": {"comm": "curl", "pid": client.pid()},
                "class": if inside { "allowed" } else { "unrestricted" },
            }))));
        }
        let near = do_step(&mut outside, &keep_after(net.at(family, API, 8080), 500), Outcome::Established)
            .local
            .unwrap();
        expected.push((
            family,
            500,
            found(&json!({
                "flow": {"direction": "ingress"},
                "source": {"kind": "external", "ip": host, "port": near.port()},
                "destination": {"pod": "api", "container": "main", "port": 8080},
                "process": {"comm": "api"},
                "class": "undetermined",
                "verdict": {"decision": "deny"},
            })),
        ));
    }
    let agent = stage.agent(&["--each", "--fold-other-ms", "200"]);
    for (_, _, part) in &expected {
        told(&agent, part);
    }
    release(&mut client);
    release(&mut outside);
    // Of those with the same ends their sums are told together.
    let sums = |lines: &[Value]| {
        let closed = lines.iter().filter(|line| line["flow"]["update"] == true);
        let mut sums = [0, 0];
        for line in closed {
            let flow = &line["flow"];
            assert_eq!(
                (&flow["existing"], &flow["count"], &flow["duration_ms"]),
                (&json!(true), &json!(0), &Value::Null),
                "{line}"
            );
            sums[0] += flow["bytes_sent"].as_u64().unwrap();
            sums[1] += flow["bytes_received"].as_u64().unwrap();
        }
        sums
    };
    let all: usize = expected.iter().map(|(_, bytes, _)| *bytes).sum();
    let all = u64::try_from(all).unwrap();
    let found = agent.wait_until(SOON, |lines| (sums(lines) == [all, all]).then_some(()));
    found.unwrap().unwrap_or_else(|lines| panic!("{:?} of {all}: {lines:#?}", sums(&lines)));
    let ended = end(agent);
    let flows = ended.matching(&json!({"kind": "flow"}));
    assert_eq!(sum(&flows), 8, "{flows:#?}");
    let stages = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
    assert_eq!(
        (&stages["existing_paired"], &stages["existing_recorded"]),
        (&json!(4), &json!(8)),
        "{stages}"
    );
    assert_eq!(stages["existing_lost"], 0, "{stages}");
}

/// Repeats into one, and what opens later is a flow of its own.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn existing_connections_are_folded_among_themselves() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _api = stage.serve_api();
    let mut client = stage.actor("client");
    let to = net.at(Family::V4, API, 8080);
    for _ in 0..3 {
        do_step(&mut client, &keep_after(to, 100), Outcome::Established);
    }
    let agent = stage.agent(&["--fold-other-ms", "300"]);
    told(&agent, &found(&json!({})));
    told(&agent, &json!({"flow": {"existing": true, "count": 2}}));
    let later = Step::Burst { to, count: 2_000, threads: 1, timeout_ms: 2_000 };
    do_step(&mut client, &later, Outcome::Done);
    release(&mut client);
    // The far end closes in its own time.
    let all = |lines: &[Value]| (bytes(lines) == (300, 300)).then_some(());
    let told = agent.wait_until(SOON, all).unwrap();
    told.unwrap_or_else(|lines| panic!("{:?}: {lines:#?}", bytes(&lines)));
    let ended = end(agent);
    let of = |existing: Value| ended.matching(&json!({"kind": "flow", "flow": {"existing": existing}}));
    assert_eq!((sum(&of(json!(true))), sum(&of(Value::Null))), (3, 2_000), "{:#?}", ended.lines);
    assert_eq!(bytes(&ended.lines), (300, 300), "{:#?}", ended.lines);
}

/// Of all flows: sent and received.
fn bytes(lines: &[Value]) -> (u64, u64) {
    let of = |key: &str| lines.iter().filter_map(|line| line["flow"][key].as_u64()).sum();
    (of("bytes_sent"), of("bytes_received"))
}

/// The opener dialed a service, and the listener's socket shows which backend it was.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_existing_connection_by_a_service_has_what_was_dialed_and_the_backend() {
    let net = Net::new();
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "web-a", 31)]);
    objects.extend(crate::services::service(net, &[31]));
    let mut stage = Stage::new(net, &objects);
    let _web = stage.world.serve(&place("web-a"), Some("web"), &Listen::tcp(any(8080))).unwrap();
    let mut client = stage.actor("client");
    for family in FAMILIES {
        do_step(&mut client, &keep(SocketAddr::new(net.service(family, 10), 80)), Outcome::Established);
    }
    let agent = stage.agent(&["--each"]);
    for family in FAMILIES {
        told(
            &agent,
            &found(&json!({
                "flow": {"direction": "egress"},
                "source": {"pod": "client"},
                "dialed": {"ip": net.service(family, 10), "port": 80, "service": {"namespace": "shop", "name": "web"}},
                "destination": {"pod": "web-a", "ip": net.ip(family, 31), "port": 8080},
            })),
        );
    }
    let ended = end(agent);
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 2, "{:#?}", ended.lines);
}

/// What was connecting then has an outcome like any other.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_attempt_that_is_older_than_the_agent_is_pending_until_its_end() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let steps = FAMILIES.map(|family| {
        let to = SocketAddr::new(internet(family, NO_HOST), 443);
        (to, Step::connect(to).within(Duration::from_secs(20)))
    });
    let mut clients = FAMILIES.map(|_| stage.actor("client"));
    for (client, (_, step)) in clients.iter_mut().zip(&steps) {
        client.begin(step).unwrap();
    }
    // Both have sent their SYN by then; the answer comes to one that is sent again.
    wait::until("both are connecting", Duration::from_secs(5), || {
        let sockets = stage.world.netns(&place("client")).unwrap().inside(|| {
            Ok(["tcp", "tcp6"]
                .map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap()))
        })?;
        Ok(sockets.iter().all(|table| table.contains(":01BB 02 ")))
    })
    .unwrap();
    let agent = stage.agent(&["--each"]);
    let pending = steps.each_ref().map(|(to, _)| {
        let part = json!({
            "flow": {"existing": true, "count": 1, "direction": "egress"},
            "source": {"pod": "client"},
            "destination": {"ip": to.ip(), "port": 443},
            "outcome": {"state": "pending", "evidence": ["existing"]},
            "process": {"comm": "curl"},
            "class": "failed",
        });
        told(&agent, &part)
    });
    let listen = Listen { tcp: steps.each_ref().map(|(to, _)| *to).to_vec(), ..Listen::default() };
    let _host = stage.world.serve(&Place::Outside, None, &listen).unwrap();
    for ((client, (_, step)), pending) in clients.iter_mut().zip(&steps).zip(&pending) {
        assert_eq!(client.finish(step).unwrap().outcome, Outcome::Established);
        let part = json!({
            "flow": {"id": pending["flow"]["id"], "existing": true, "update": true, "count": 0, "connect_us": null},
            "outcome": {"state": "established", "evidence": ["handshake", "syn_retransmitted", "existing"]},
            "class": "unrestricted",
        });
        let record = told(&agent, &part);
        // From the handshake, which was seen, to the close.
        let duration_ms = record["flow"]["duration_ms"].as_u64();
        assert!(duration_ms.is_some_and(|ms| ms < 10_000), "{record}");
    }
    end(agent);
}

/// A connected datagram socket shows nothing by itself; its next datagram is told.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_datagram_socket_that_was_connected_before_is_told_from_its_next_datagram_on() {
    let net = Net::new();
    let stage = Stage::new(net, &small(net));
    let mut client = stage.actor("client");
    let hosts = FAMILIES.map(|family| SocketAddr::new(internet(family, NO_HOST), 4444));
    for to in hosts {
        do_step(&mut client, &Step::UdpKeep { to }, Outcome::Done);
        do_step(&mut client, &Step::Speak, Outcome::Done);
    }
    let agent = stage.agent(&[]);
    for _ in 0..3 {
        do_step(&mut client, &Step::Speak, Outcome::Done);
    }
    for to in hosts {
        let part = json!({
            "flow": {"protocol": "udp", "direction": "egress", "count": 1, "existing": null},
            "source": {"pod": "client"},
            "destination": {"ip": to.ip(), "port": 4444},
            "outcome": {"state": "sent", "evidence": ["datagram_sent"]},
        });
        told(&agent, &part);
    }
    let ended = end(agent);
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 2, "{:#?}", ended.lines);
}

/// What is opened while the agent starts is told once: by its own events, or as one that was there.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_opens_while_the_agent_starts_is_told_once() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _api = stage.serve_api();
    let to = net.at(Family::V4, API, 8080);
    // Some before it, some after it, however long it takes.
    let hold_ms = u64::try_from(wait::stretched(Duration::from_millis(300)).as_millis()).unwrap();
    let held =
        Step::Connect { to, timeout_ms: 5_000, hold_ms, send: 0, receive: 0, keep: false, abort: true };
    let mut clients: Vec<Actor> = (0..8).map(|_| stage.actor("client")).collect();
    const TIMES: usize = 30;
    for client in &mut clients {
        for _ in 0..TIMES {
            client.begin(&held).unwrap();
        }
    }
    let agent = stage.agent(&["--each"]);
    for client in &mut clients {
        for _ in 0..TIMES {
            assert_eq!(client.finish(&held).unwrap().outcome, Outcome::Established);
        }
    }
    let ended = end(agent);
    let told = ended.matching(&json!({"kind": "flow", "flow": {"update": null}}));
    let mut sockets: Vec<&str> =
        told.iter().map(|line| &line["flow"]["id"].as_str().unwrap()[16..]).collect();
    sockets.sort_unstable();
    sockets.dedup();
    assert_eq!(sockets.len(), told.len(), "each socket once: {told:#?}");
    assert!(told.iter().all(|line| line["flow"]["direction"] == "egress"), "{told:#?}");
    // Those that were open when the agent began, and all that came after.
    assert!(told.iter().any(|line| line["flow"]["existing"] == true), "{told:#?}");
    assert!(told.iter().any(|line| line["flow"]["existing"] == Value::Null), "{told:#?}");
}

/// Without the hook they are not told, nor is their end.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn without_the_hook_nothing_is_told_of_existing_connections() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _api = stage.serve_api();
    let mut client = stage.actor("client");
    do_step(&mut client, &keep(net.at(Family::V4, API, 8080)), Outcome::Established);
    let agent = stage.agent(&["--hook-off", "existing"]);
    release(&mut client);
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    told(&agent, &json!({"flow": {"count": 1}, "source": {"pod": "client"}}));
    let ended = end(agent);
    assert_eq!(ended.matching(&json!({"kind": "flow"})).len(), 1, "{:#?}", ended.lines);
}
