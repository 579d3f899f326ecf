//! Names of addresses outside the cluster, from the DNS answers that a pod takes: by the C library and by hand, over
//! both families, for each pod its own.

use crate::stage::{
    API, CLOSED_HOST, FAMILIES, Family, Net, Stage, any, count_of, do_step, end, internet, lacks, number,
    place, small, told,
};
use flowlog_tests::traffic::step::Taking;
use flowlog_tests::{Actor, Agent, Listen, Outcome, Place, Server, Step};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

const NAME: &str = "api.vendor.example";
const EDGE: &str = "edge.cdn.example";

/// The name server stands in the pod `api`.
fn resolver(net: Net, family: Family) -> SocketAddr {
    net.at(family, API, 53)
}

/// For both families: the vendor's API is an alias of a host on which nobody listens.
fn records() -> Vec<String> {
    let addresses = FAMILIES.map(|family| format!("{EDGE}={}", internet(family, CLOSED_HOST)));
    [vec![format!("{NAME}={EDGE}")], addresses.to_vec()].concat()
}

fn serve(stage: &mut Stage, records: &[String]) -> Server {
    stage.world.add_outside(FAMILIES.map(|family| internet(family, CLOSED_HOST))).unwrap();
    stage.world.serve_dns(&place("api"), any(53), 60, records).unwrap()
}

fn look_up(actor: &mut Actor, server: IpAddr) -> Vec<IpAddr> {
    do_step(actor, &Step::LookUp { host: NAME.to_owned(), server }, Outcome::Done).addresses
}

fn ask(server: SocketAddr, host: &str, connected: bool, by: Taking) -> Step {
    Step::Ask { server, host: host.to_owned(), connected, by }
}

/// Connect there; the record of it.
#[track_caller]
fn connect(agent: &Agent, actor: &mut Actor, pod: &str, to: SocketAddr) -> Value {
    do_step(actor, &Step::connect(to), Outcome::Error);
    let destination = json!({"kind": "external", "ip": to.ip(), "port": to.port()});
    told(agent, &json!({"source": {"pod": pod}, "destination": destination}))
}

fn names(record: &Value) -> Vec<&str> {
    let names = record["destination"]["names"].as_array();
    names.into_iter().flatten().map(|name| name["name"].as_str().unwrap()).collect()
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_external_address_has_the_name_that_the_c_library_asked_for() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = serve(&mut stage, &records());
    let agent = stage.agent(&["--each"]);
    for (port, family) in [(4431, Family::V4), (4432, Family::V6)] {
        let mut client = stage.actor("client");
        let found = look_up(&mut client, resolver(net, family).ip());
        assert_eq!(found.len(), 2, "{found:?}");
        for to in FAMILIES.map(|family| SocketAddr::new(internet(family, CLOSED_HOST), port)) {
            let record = connect(&agent, &mut client, "client", to);
            let named = &record["destination"]["names"];
            let part = json!([{"name": NAME, "canonical": EDGE, "from": "dns_answer", "ttl_s": 60}]);
            assert_eq!(named.as_array().map(Vec::len), Some(1), "{record}");
            for key in ["name", "canonical", "from", "ttl_s"] {
                assert_eq!(named[0][key], part[0][key], "{record}");
            }
            assert!(number(&named[0]["age_ms"]) < 10_000, "{record}");
        }
    }
    end(agent);
}

/// Go's resolver connects and reads, musl's names the server in each call; `recvmmsg` does not tell its buffer.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_answer_is_found_however_it_is_taken() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let ways = [
        (Taking::Read, true),
        (Taking::Readv, true),
        (Taking::Recvfrom, true),
        (Taking::Recvmsg, true),
        (Taking::Recvfrom, false),
        (Taking::Recvmsg, false),
        (Taking::Recvmmsg, true),
        (Taking::Recvmmsg, false),
    ];
    let host = |number: usize| format!("way{number}.example");
    let mut all = Vec::new();
    for number in 0..ways.len() {
        all.extend(FAMILIES.map(|family| format!("{}={}", host(number), internet(family, CLOSED_HOST))));
    }
    let _server = serve(&mut stage, &all);
    let agent = stage.agent(&["--each"]);
    for family in FAMILIES {
        for (number, (by, connected)) in ways.into_iter().enumerate() {
            let mut client = stage.actor("client");
            do_step(
                &mut client,
                &ask(resolver(net, family), &host(number), connected, by),
                Outcome::Answered,
            );
            let port = 5_000 + u16::try_from(number).unwrap();
            let to = SocketAddr::new(internet(family, CLOSED_HOST), port);
            let record = connect(&agent, &mut client, "client", to);
            let latest = names(&record).first().copied().unwrap_or_default().to_owned();
            let found = latest == host(number);
            // Without the hook on receives those are seen that ask from whom.
            let asks = !matches!(by, Taking::Read | Taking::Readv);
            let seen = by != Taking::Recvmmsg && (asks || !lacks("recv"));
            assert_eq!(found, seen, "{by:?}, connected: {connected}: {record}");
        }
    }
    let ended = end(agent);
    let losses = &ended.stop_record().unwrap()["agent"]["counters"]["kernel_losses"];
    assert_eq!(losses["dns_answer_unreadable"], 4, "{losses}");
    let loss = json!({"loss": {"cause": "unreadable", "what": "dns_answer"}});
    let told: u64 = ended.matching(&loss).iter().map(|line| number(&line["loss"]["count"])).sum();
    assert_eq!(told, 4);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn names_are_those_of_the_pod_that_asked() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = serve(&mut stage, &records());
    let agent = stage.agent(&["--each"]);
    let to = SocketAddr::new(internet(Family::V4, CLOSED_HOST), 443);
    let mut client = stage.actor("client");
    look_up(&mut client, resolver(net, Family::V4).ip());
    assert_eq!(names(&connect(&agent, &mut client, "client", to)), [NAME]);
    // Another process of the pod has them, another pod has not.
    let other = SocketAddr::new(to.ip(), 444);
    assert_eq!(names(&connect(&agent, &mut stage.actor("client"), "client", other)), [NAME]);
    assert_eq!(names(&connect(&agent, &mut stage.actor("api"), "api", to)), [""; 0]);
    end(agent);
}

/// From the right port, and to a socket that takes datagrams from anybody.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn an_answer_that_the_pod_did_not_ask_for_names_nothing() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    stage.world.add_outside(FAMILIES.map(|family| internet(family, CLOSED_HOST))).unwrap();
    let listen = Listen::udp(any(8080));
    let _server = stage.world.serve(&place("api"), Some("api"), &listen).unwrap();
    let agent = stage.agent(&["--each"]);
    let mut outside = stage.world.actor(&Place::Outside, Some("liar")).unwrap();
    let address = internet(Family::V4, CLOSED_HOST);
    let forged = Step::Forge {
        from: SocketAddr::new(address, 53),
        to: net.at(Family::V4, API, 8080),
        host: "bank.example".to_owned(),
        address,
    };
    do_step(&mut outside, &forged, Outcome::Done);
    told(
        &agent,
        &json!({"flow": {"direction": "ingress", "protocol": "udp"}, "destination": {"pod": "api"}}),
    );
    let to = SocketAddr::new(address, 443);
    assert_eq!(names(&connect(&agent, &mut stage.actor("api"), "api", to)), [""; 0]);
    let ended = end(agent);
    let stages = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
    assert_eq!(count_of(&stages["dns_answers"]), 0, "{stages}");
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn of_a_long_answer_the_beginning_counts_and_addresses_of_the_cluster_get_no_names() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let mut all: Vec<String> =
        (100..140).map(|last| format!("many.example={}", internet(Family::V4, last))).collect();
    all.push(format!("own.example={}", net.ip(Family::V4, API)));
    let _server = serve(&mut stage, &all);
    let agent = stage.agent(&["--each"]);
    let mut client = stage.actor("client");
    let server = resolver(net, Family::V4);
    for host in ["many.example", "own.example"] {
        do_step(&mut client, &ask(server, host, true, Taking::Recvfrom), Outcome::Answered);
    }
    stage.world.add_outside([100, 139].map(|last| internet(Family::V4, last))).unwrap();
    let first = SocketAddr::new(internet(Family::V4, 100), 443);
    assert_eq!(names(&connect(&agent, &mut client, "client", first)), ["many.example"]);
    let last = SocketAddr::new(internet(Family::V4, 139), 443);
    assert_eq!(names(&connect(&agent, &mut client, "client", last)), [""; 0]);
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 7_000)), Outcome::Error);
    let record = told(&agent, &json!({"destination": {"pod": "api", "port": 7_000}}));
    assert_eq!(names(&record), [""; 0]);
    end(agent);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn switched_off_nothing_is_read() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = serve(&mut stage, &records());
    let agent = stage.agent(&["--each", "--hook-off", "answers"]);
    let mut client = stage.actor("client");
    look_up(&mut client, resolver(net, Family::V4).ip());
    let to = SocketAddr::new(internet(Family::V4, CLOSED_HOST), 443);
    assert_eq!(names(&connect(&agent, &mut client, "client", to)), [""; 0]);
    let ended = end(agent);
    let hooks =
        ended.matching(&json!({"agent": {"event": "start", "hooks": [{"name": "answers", "state": "off"}]}}));
    let told = hooks.len();
    let stages = &ended.stop_record().unwrap()["agent"]["counters"]["stages"];
    assert_eq!((told, count_of(&stages["dns_answers"])), (1, 0), "{stages}");
}
