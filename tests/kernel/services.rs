//! Service addresses, connections from outside, and policies that are declared and not enforced.

use crate::balancer::balance;
use crate::stage::{
    API, CLIENT, FAMILIES, Family, Net, Stage, base, count_of, deny_ingress, do_step, end, internet, place,
    pod, policy, small, sum, told,
};
use flowlog_tests::traffic::step::Seat;
use flowlog_tests::{Listen, Outcome, Place, Step, agent};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// `shop/web`: 80 leads to 8080 of the two backends.
pub(crate) fn service(net: Net, backends: &[u8]) -> Vec<Value> {
    let [v4, v6] = FAMILIES.map(|family| net.service(family, 10));
    let slice = |family: Family, kind: &str| {
        let endpoints: Vec<Value> =
            backends.iter().map(|last| json!({"addresses": [net.ip(family, *last)]})).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": "shop", "name": format!("web-{kind}").to_lowercase(), "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": kind,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        })
    };
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"type": "ClusterIP", "clusterIP": v4, "clusterIPs": [v4, v6], "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]},
        }),
        slice(Family::V4, "IPv4"),
        slice(Family::V6, "IPv6"),
    ]
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connection_by_a_service_is_one_flow_with_what_was_dialed_and_the_backend_taken() {
    let net = Net::new();
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "web-a", 31), pod(net, "web-b", 32)]);
    objects.extend(service(net, &[31, 32]));
    let mut stage = Stage::new(net, &objects);
    let _servers = ["web-a", "web-b"].map(|name| {
        stage.world.serve(&place(name), Some("web"), &Listen::tcp("[::]:8080".parse().unwrap())).unwrap()
    });
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    const TRIES: u64 = 12;
    for family in FAMILIES {
        let to = SocketAddr::new(net.service(family, 10), 80);
        for _ in 0..TRIES {
            do_step(&mut client, &Step::connect(to), Outcome::Established);
        }
        told(&agent, &json!({"dialed": {"ip": to.ip()}}));
    }
    let ended = end(agent);
    let all = ended.matching(&json!({"kind": "flow"}));
    assert_eq!(sum(&all), TRIES * 2, "one flow each, told at the opener alone: {all:#?}");
    for family in FAMILIES {
        let dialed = json!({
            "flow": {"direction": "egress"},
            "source": {"pod": "client", "container": "main"},
            "dialed": {"ip": net.service(family, 10), "port": 80,
                "service": {"namespace": "shop", "name": "web", "port_name": "http"}, "note": null},
            "outcome": {"state": "established", "evidence": ["handshake", "accepted"]},
            "class": "unrestricted",
        });
        assert_eq!(sum(&ended.matching(&dialed)), TRIES, "{family:?}");
        // Both backends are met in 12 tries, but for one chance in 2^11; which one, the packets decide.
        let taken = ["web-a", "web-b"].iter().zip([31, 32]).map(|(name, last)| {
            let part = json!({"destination": {"kind": "pod", "pod": name, "ip": net.ip(family, last), "port": 8080}});
            sum(&ended.matching(&part))
        });
        let taken: Vec<u64> = taken.collect();
        assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
        assert_eq!(taken.iter().sum::<u64>(), TRIES, "{taken:?}");
    }
}

/// The backend that was taken is judged, not the service as a whole.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn the_verdict_by_a_service_is_that_of_the_backend_taken() {
    let net = Net::new();
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "web-a", 31), pod(net, "web-b", 32)]);
    objects.extend(service(net, &[31, 32]));
    objects.push(deny_ingress("web-b-closed", "web-b"));
    let mut stage = Stage::new(net, &objects);
    let _servers = ["web-a", "web-b"].map(|name| {
        stage.world.serve(&place(name), Some("web"), &Listen::tcp("[::]:8080".parse().unwrap())).unwrap()
    });
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    for _ in 0..16 {
        do_step(
            &mut client,
            &Step::connect(SocketAddr::new(net.service(Family::V4, 10), 80)),
            Outcome::Established,
        );
    }
    told(
        &agent,
        &json!({"destination": {"pod": "web-a"}, "class": "unrestricted", "verdict": {"decision": "allow"}}),
    );
    told(
        &agent,
        &json!({
            "destination": {"pod": "web-b"},
            "class": "policy_not_enforced",
            "severity": "high",
            "verdict": {"decision": "deny", "ingress": {"basis": "isolated", "policies": [{"name": "web-b-closed"}]}},
        }),
    );
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 16);
}

/// A socket load balancer in the same cgroup turns the connect itself. Who was attached first runs first: what the process
/// dialed is seen by whoever comes before the balancer, and the backend by both.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_socket_load_balancer_shows_what_was_dialed_to_those_before_it_and_the_backend_to_all() {
    let net = Net::new();
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "web-a", 31), pod(net, "web-b", 32)]);
    objects.extend(service(net, &[31, 32]));
    objects.push(deny_ingress("web-b-closed", "web-b"));
    let mut stage = Stage::new(net, &objects);
    let _servers = ["web-a", "web-b"].map(|name| {
        stage.world.serve(&place(name), Some("web"), &Listen::tcp("[::]:8080".parse().unwrap())).unwrap()
    });
    let [service, backend] = [(net.service(Family::V4, 10), 80), (net.ip(Family::V4, 32), 8080)]
        .map(|(ip, port)| SocketAddr::new(ip, port));
    let (SocketAddr::V4(service_v4), SocketAddr::V4(backend_v4)) = (service, backend) else { unreachable!() };
    let turn = || balance(&stage.world.cgroup_root(), service_v4, backend_v4);
    // More than chance gives one of two backends by turns.
    const TRIES: u64 = 12;
    for we_are_first in [true, false] {
        let before = (!we_are_first).then(turn);
        let agent = stage.agent(&["--each"]);
        let after = we_are_first.then(turn);
        let mut client = stage.actor("client");
        for _ in 0..TRIES {
            do_step(&mut client, &Step::connect(service), Outcome::Established);
        }
        let dialed = json!({"ip": service.ip(), "port": 80, "service": {"namespace": "shop", "name": "web"}});
        let record = json!({
            "flow": {"direction": "egress"},
            "source": {"pod": "client"},
            "destination": {"kind": "pod", "pod": "web-b", "ip": backend.ip(), "port": 8080},
            "dialed": if we_are_first { dialed } else { Value::Null },
            "outcome": {"state": "established", "evidence": ["handshake", "accepted"]},
            "class": "policy_not_enforced",
            "verdict": {"decision": "deny"},
        });
        told(&agent, &record);
        let ended = end(agent);
        let all = ended.matching(&json!({"kind": "flow"}));
        assert_eq!(sum(&all), TRIES, "one flow each: {all:#?}");
        assert_eq!(sum(&ended.matching(&record)), TRIES, "we are first: {we_are_first}: {all:#?}");
        drop((before, after));
    }
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connection_from_outside_is_told_at_the_listener() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    stage.world.add_outside(FAMILIES.map(|family| internet(family, 77))).unwrap();
    let agent = stage.agent(&[]);
    let mut outside = stage.world.actor(&Place::Outside, Some("visitor")).unwrap();
    for family in FAMILIES {
        let answer = do_step(&mut outside, &Step::connect(net.at(family, API, 8080)), Outcome::Established);
        let opener = answer.local.unwrap();
        let record = told(
            &agent,
            &json!({
                "kind": "flow",
                "flow": {"direction": "ingress", "count": 1},
                "source": {"kind": "external", "ip": opener.ip(), "port": opener.port(), "pod": null},
                "destination": {"kind": "pod", "pod": "api", "ip": net.ip(family, API), "port": 8080, "container": "main"},
                "outcome": {"state": "established", "evidence": ["accepted"]},
                "class": "unrestricted",
                "attribution": null,
            }),
        );
        assert_eq!(record["process"]["pid"], Value::Null, "no process accepted yet: {record}");
    }
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_declared_deny_that_does_not_hold_is_told_at_the_opener_and_at_the_listener() {
    let net = Net::new();
    let mut objects = small(net);
    // 198.51.100.0/28 may come in; .77 is outside it.
    let block = json!({"policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "198.51.100.0/28"}}]}]});
    objects.push(policy("api-from-partner", "api", block));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    stage.world.add_outside([internet(Family::V4, 77)]).unwrap();
    let agent = stage.agent(&[]);
    let step = Step::connect(net.at(Family::V4, API, 8080));
    let not_enforced = |direction: &str, source: Value| {
        json!({
            "class": "policy_not_enforced",
            "severity": "high",
            "flow": {"direction": direction, "count": 1},
            "source": source,
            "destination": {"pod": "api", "port": 8080},
            "outcome": {"state": "established"},
            "verdict": {"decision": "deny", "ingress": {"decision": "deny", "basis": "isolated",
                "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "api-from-partner"}]}},
        })
    };
    do_step(&mut stage.actor("client"), &step, Outcome::Established);
    told(&agent, &not_enforced("egress", json!({"pod": "client"})));
    let mut outside = stage.world.actor(&Place::Outside, Some("visitor")).unwrap();
    let opener = do_step(&mut outside, &step, Outcome::Established).local.unwrap();
    assert_eq!(opener.ip(), internet(Family::V4, 77));
    told(&agent, &not_enforced("ingress", json!({"kind": "external", "ip": opener.ip()})));
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_closed_connection_tells_its_bytes_at_the_openers_count() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let agent = stage.agent(&["--fold-other-ms", "200"]);
    let step = json!({"do": "connect", "to": net.at(Family::V4, API, 8080), "send": 4000, "receive": 3000});
    do_step(&mut stage.actor("client"), &serde_json::from_value(step).unwrap(), Outcome::Established);
    // With the flow's own record where it closed at once, else with an update.
    let closed = told(&agent, &json!({"source": {"pod": "client"}, "flow": {"bytes_sent": 4000}}));
    let received = closed["flow"]["bytes_received"].as_u64().unwrap();
    assert!((3000..=4000).contains(&received), "{closed}");
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 1, "{:#?}", ended.lines);
}

const MASQUERADE: &str = "table inet translate {
    chain leave {
        type nat hook postrouting priority srcnat; policy accept;
        oifname cbr0 masquerade
    }
}";

/// Where the node puts its own address in the opener's place, nothing that the hooks see joins the two ends: each is told,
/// the listener's with the address that it saw. So it is where a pod reaches itself by its service.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_connection_whose_source_is_translated_is_told_at_both_ends() {
    let net = Net::new();
    let mut objects = small(net);
    objects.push(pod(net, "web-a", 31));
    objects.extend(service(net, &[31]));
    let mut stage = Stage::new(net, &objects);
    let _server = stage.serve_api();
    let _web =
        stage.world.serve(&place("web-a"), Some("web"), &Listen::tcp("[::]:8080".parse().unwrap())).unwrap();
    stage.world.enforce(MASQUERADE).unwrap();
    let agent = stage.agent(&[]);
    for family in FAMILIES {
        let by_service = SocketAddr::new(net.service(family, 10), 80);
        for (from, to, at) in [
            ("client", net.at(family, API, 8080), json!({"pod": "api", "port": 8080})),
            (
                "web-a",
                by_service,
                json!({"kind": "service", "ip": by_service.ip(), "service": {"name": "web"}}),
            ),
        ] {
            do_step(&mut stage.actor(from), &Step::connect(to), Outcome::Established);
            let opener = json!({
                "flow": {"direction": "egress", "count": 1},
                "source": {"pod": from},
                "destination": at,
                "outcome": {"state": "established"},
            });
            assert_eq!(told(&agent, &opener)["outcome"]["evidence"], json!(["handshake"]));
        }
        for pod in ["api", "web-a"] {
            let listener = json!({
                "flow": {"direction": "ingress", "count": 1},
                "source": {"ip": net.ip(family, 1), "pod": null},
                "destination": {"pod": pod, "port": 8080},
                "outcome": {"state": "established", "evidence": ["accepted"]},
            });
            told(&agent, &listener);
        }
    }
    let ended = end(agent);
    assert_eq!(sum(&ended.matching(&json!({"kind": "flow"}))), 8, "{:#?}", ended.lines);
}

/// Where the node masquerades, nothing that the hooks see joins the two ends, as with a backend on another node: the node's
/// connection tracking knows.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn connection_tracking_tells_the_backend_that_nothing_else_shows() {
    let net = Net::new();
    let mut objects = base(net);
    objects.extend([pod(net, "client", CLIENT), pod(net, "web-a", 31), pod(net, "web-b", 32)]);
    objects.extend(service(net, &[31, 32]));
    objects.push(deny_ingress("web-b-closed", "web-b"));
    let mut stage = Stage::new(net, &objects);
    let _servers = ["web-a", "web-b"].map(|name| {
        stage.world.serve(&place(name), Some("web"), &Listen::tcp("[::]:8080".parse().unwrap())).unwrap()
    });
    stage.world.enforce(MASQUERADE).unwrap();
    // Where the agent belongs: the tables of another namespace know nothing.
    let seat = || Seat { netns: Some(stage.world.netns(&Place::Node).unwrap().path()), ..Seat::default() };
    let mut client = stage.actor("client");
    const TRIES: u64 = 12;
    for asks in [true, false] {
        let more: &[&str] = if asks { &["--each", "--conntrack"] } else { &["--each"] };
        let agent = agent::Start::new(stage.arguments(more)).seat(seat()).start().unwrap();
        for family in FAMILIES {
            let to = SocketAddr::new(net.service(family, 10), 80);
            for _ in 0..TRIES {
                do_step(&mut client, &Step::connect(to), Outcome::Established);
            }
            told(
                &agent,
                &json!({"flow": {"direction": "egress", "family": format!("{family:?}").replace('V', "ipv")}}),
            );
        }
        let ended = end(agent);
        let egress = ended.matching(&json!({"flow": {"direction": "egress"}, "source": {"pod": "client"}}));
        assert_eq!(sum(&egress), 2 * TRIES, "{egress:#?}");
        let held =
            &ended.matching(&json!({"agent": {"event": "start"}}))[0]["agent"]["confinement"]["capabilities"];
        let keeps = held.as_array().unwrap().contains(&json!("CAP_NET_ADMIN"));
        assert_eq!(keeps, asks, "{held}");
        let counters = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
        let found = count_of(&counters["conntrack_found"]);
        if !asks {
            assert_eq!(found, 0);
            let unknown = json!({"flow": {"direction": "egress"}, "destination": {"kind": "service", "pod": null}, "verdict": {"decision": "mixed"}});
            assert_eq!(sum(&ended.matching(&unknown)), 2 * TRIES, "{egress:#?}");
            continue;
        }
        assert_eq!(found, 2 * TRIES, "{counters:#}");
        for (family, (name, last, decision)) in FAMILIES.into_iter().flat_map(|family| {
            [("web-a", 31, "allow"), ("web-b", 32, "deny")].map(|backend| (family, backend))
        }) {
            let record = json!({
                "flow": {"direction": "egress"},
                "destination": {"kind": "pod", "pod": name, "ip": net.ip(family, last), "port": 8080},
                "dialed": {"ip": net.service(family, 10), "port": 80, "service": {"name": "web"}},
                "outcome": {"state": "established"},
                "verdict": {"decision": decision},
            });
            let taken = sum(&ended.matching(&record));
            // The listener's own account, whoever it takes for the opener.
            let listener = json!({"flow": {"direction": "ingress"}, "destination": {"pod": name, "ip": net.ip(family, last)}});
            assert!(taken > 0, "{name} {family:?}: {egress:#?}");
            assert_eq!(taken, sum(&ended.matching(&listener)), "{name} {family:?}: {:#?}", ended.lines);
        }
    }
}
